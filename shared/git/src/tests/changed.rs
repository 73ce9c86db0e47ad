use lockflight_promotion::{CommitOid, ErrorClass};

use super::nested;
use crate::testing::{Edit, Upstream, branch};
use crate::{
    ChangedPaths, ChangedPathsError, InspectError, LocalRepository, MergedPullRequest, Mirror, ReadError,
};

fn request(merged_as: &CommitOid, commits: u64, changed_files: u64) -> MergedPullRequest {
    MergedPullRequest {
        merged_as: merged_as.clone(),
        commits,
        changed_files,
        files: None,
    }
}

fn with_files(mut request: MergedPullRequest, files: &[(&str, Option<&str>)]) -> MergedPullRequest {
    request.files = Some(
        files
            .iter()
            .map(|(name, previous)| ((*name).to_owned(), previous.map(str::to_owned)))
            .collect(),
    );
    request
}

async fn fetched(upstream: &Upstream) -> Mirror {
    let mirror = upstream.mirror();
    mirror.fetch_branch(&branch("main")).await.unwrap().unwrap();
    mirror
}

fn known(changed: ChangedPaths) -> (Vec<String>, Option<CommitOid>) {
    match changed {
        ChangedPaths::Known { paths, before } => (paths, before),
        ChangedPaths::NeedsFileList => panic!("needs the file list"),
    }
}

/// The answer to a question that takes the list of files.
async fn listed(
    mirror: &Mirror,
    question: MergedPullRequest,
    files: &[(&str, Option<&str>)],
) -> Result<(Vec<String>, Option<CommitOid>), ChangedPathsError> {
    let without = mirror.changed_paths(question.clone()).await.unwrap();
    assert_eq!(without, ChangedPaths::NeedsFileList);
    mirror.changed_paths(with_files(question, files)).await.map(known)
}

/// `main` with one file, and two commits on a branch from it that change `a` and `b`.
fn two_commits() -> (Upstream, CommitOid, [CommitOid; 2]) {
    let upstream = Upstream::new();
    let base = upstream.push("main", "base", &[Edit::File("z", "0")]);
    let one = upstream.commit(&[&base], "one", &[Edit::File("a", "1")]);
    let two = upstream.commit(&[&one], "two", &[Edit::File("b", "1")]);
    (upstream, base, [one, two])
}

#[tokio::test]
async fn a_merge_commit_changed_what_lies_between_it_and_its_first_parent() {
    let (upstream, base, [_, head]) = two_commits();
    let base = upstream.commit(&[&base], "meanwhile", &[Edit::File("z", "1")]);
    let merge = upstream.commit(
        &[&base, &head],
        "merge",
        &[Edit::File("a", "1"), Edit::File("b", "1")],
    );
    upstream.set("main", &merge);
    let mirror = fetched(&upstream).await;
    let (paths, before) = known(mirror.changed_paths(request(&merge, 2, 2)).await.unwrap());
    assert_eq!(paths, ["a", "b"]);
    assert_eq!(before, Some(base));
}

#[tokio::test]
async fn a_squash_changed_what_its_one_commit_did() {
    let (upstream, base, _) = two_commits();
    let base = upstream.commit(&[&base], "meanwhile", &[Edit::File("z", "1")]);
    let squash = upstream.commit(&[&base], "squash", &[Edit::File("a", "1"), Edit::File("b", "1")]);
    upstream.set("main", &squash);
    let mirror = fetched(&upstream).await;
    let (paths, before) = listed(&mirror, request(&squash, 2, 2), &[("a", None), ("b", None)])
        .await
        .unwrap();
    assert_eq!(paths, ["a", "b"]);
    assert_eq!(before, Some(base));
}

#[tokio::test]
async fn a_rebase_changed_what_all_its_commits_did() {
    let (upstream, base, _) = two_commits();
    let base = upstream.commit(&[&base], "meanwhile", &[Edit::File("z", "1")]);
    let one = upstream.commit(&[&base], "one", &[Edit::File("a", "1")]);
    let two = upstream.commit(&[&one], "two", &[Edit::File("b", "1")]);
    upstream.set("main", &two);
    let mirror = fetched(&upstream).await;
    let (paths, before) = listed(&mirror, request(&two, 2, 2), &[("a", None), ("b", None)])
        .await
        .unwrap();
    assert_eq!(paths, ["a", "b"]);
    assert_eq!(before, Some(base));
}

#[tokio::test]
async fn a_fast_forward_is_told_like_a_rebase() {
    let (upstream, base, [_, head]) = two_commits();
    upstream.set("main", &head);
    let mirror = fetched(&upstream).await;
    let (paths, before) = listed(&mirror, request(&head, 2, 2), &[("a", None), ("b", None)])
        .await
        .unwrap();
    assert_eq!(paths, ["a", "b"]);
    assert_eq!(before, Some(base));
}

#[tokio::test]
async fn a_count_that_fits_two_ways_is_settled_by_the_list() {
    // The last commit changed one file, and so did both together.
    let upstream = Upstream::new();
    upstream.push("main", "base", &[Edit::File("z", "0")]);
    let one = upstream.push("main", "one", &[Edit::File("a", "1")]);
    let two = upstream.push("main", "two", &[Edit::File("b", "1"), Edit::Remove("a")]);
    let mirror = fetched(&upstream).await;
    // With its rename paired, the second commit has one file: `a` became `b`. Both together have one as well: `b` is new.
    let question = request(&two, 2, 1);
    assert_eq!(
        mirror.changed_paths(question.clone()).await.unwrap(),
        ChangedPaths::NeedsFileList
    );

    let squash = with_files(question.clone(), &[("b", Some("a"))]);
    let (paths, before) = known(mirror.changed_paths(squash).await.unwrap());
    assert_eq!(paths, ["a", "b"]);
    assert_eq!(before.as_ref(), Some(&one));

    let rebase = with_files(question, &[("b", None)]);
    let (paths, before) = known(mirror.changed_paths(rebase).await.unwrap());
    assert_eq!(paths, ["b"]);
    assert_ne!(before, Some(one));
}

#[tokio::test]
async fn two_ways_with_the_same_answer_are_no_question() {
    let upstream = Upstream::new();
    upstream.push("main", "base", &[Edit::File("a", "0")]);
    upstream.push("main", "one", &[Edit::File("a", "1")]);
    let two = upstream.push("main", "two", &[Edit::File("a", "2")]);
    let mirror = fetched(&upstream).await;
    let (paths, _) = known(mirror.changed_paths(request(&two, 2, 1)).await.unwrap());
    assert_eq!(paths, ["a"]);
}

#[tokio::test]
async fn a_squash_is_not_taken_for_a_rebase_that_includes_the_pull_request_before() {
    let upstream = Upstream::new();
    upstream.push("main", "base", &[Edit::File("z", "0")]);
    upstream.push("main", "another pull request", &[Edit::File("other", "1")]);
    let squash = upstream.push("main", "squash", &[Edit::File("a", "2"), Edit::File("b", "1")]);
    let mirror = fetched(&upstream).await;
    let (paths, _) = listed(&mirror, request(&squash, 2, 2), &[("a", None), ("b", None)])
        .await
        .unwrap();
    assert_eq!(paths, ["a", "b"]);
}

#[tokio::test]
async fn a_squash_of_which_the_base_had_a_part_changed_what_is_listed_and_not_what_others_did() {
    let (upstream, base, _) = two_commits();
    let hotfix = upstream.commit(&[&base], "hotfix", &[Edit::File("a", "1")]);
    let other = upstream.commit(&[&hotfix], "somebody else", &[Edit::File("x", "1")]);
    let squash = upstream.commit(&[&other], "squash", &[Edit::File("b", "1")]);
    upstream.set("main", &squash);
    let mirror = fetched(&upstream).await;
    // The last two commits changed two files, as the pull request did, but not the same two.
    let (paths, _) = listed(&mirror, request(&squash, 2, 2), &[("a", None), ("b", None)])
        .await
        .unwrap();
    assert_eq!(paths, ["a", "b"]);
}

#[tokio::test]
async fn a_rebase_of_which_the_base_had_a_part_changed_what_is_listed() {
    let (upstream, base, _) = two_commits();
    let hotfix = upstream.commit(&[&base], "hotfix", &[Edit::File("a", "1")]);
    let one = upstream.commit(
        &[&hotfix],
        "one",
        &[Edit::File("b", "1"), Edit::File("draft", "1")],
    );
    let two = upstream.commit(&[&one], "two", &[Edit::Remove("draft")]);
    upstream.set("main", &two);
    let mirror = fetched(&upstream).await;
    let (paths, before) = listed(&mirror, request(&two, 2, 2), &[("a", None), ("b", None)])
        .await
        .unwrap();
    assert_eq!(paths, ["a", "b"]);
    assert_eq!(before, Some(hotfix));
}

#[tokio::test]
async fn a_list_that_two_ways_are_a_part_of_is_itself_the_answer() {
    let (upstream, _, [_, head]) = two_commits();
    upstream.set("main", &head);
    let mirror = fetched(&upstream).await;
    let files = [("a", None), ("b", None), ("c", None)];
    let (paths, _) = listed(&mirror, request(&head, 2, 3), &files).await.unwrap();
    assert_eq!(paths, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_tree_bomb_is_too_many_files_and_not_listed() {
    let upstream = Upstream::new();
    let base = upstream.push("main", "base", &[Edit::File("z", "0")]);
    let blob = upstream.blob("x");
    let bomb = nested(&upstream, &format!("100644 blob {blob}\tf\n"), 7, 10);
    let big = upstream.commit_tree(&[&base], "big", &bomb);
    upstream.set("main", &big);
    // One file more in it: all others are the same.
    let inner = upstream.git_with(&["mktree"], &[], format!("040000 tree {bomb}\tbomb\n").as_bytes());
    let one = upstream.commit_tree(&[&big], "one", &inner);
    let tree = format!("040000 tree {bomb}\tbomb\n100644 blob {blob}\tnew\n");
    let tree = upstream.git_with(&["mktree"], &[], tree.as_bytes());
    let two = upstream.commit_tree(&[&one], "two", &tree);
    upstream.set("main", &two);
    let mirror = fetched(&upstream).await;
    let (paths, _) = known(mirror.changed_paths(request(&two, 1, 1)).await.unwrap());
    assert_eq!(paths, ["new"]);

    let error = mirror.changed_paths(request(&big, 1, 1)).await.unwrap_err();
    assert!(
        matches!(error, ChangedPathsError::Read(ReadError::TooManyFiles { .. })),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::User);
    assert!(
        mirror.changed_paths(request(&one, 1, 1)).await.is_err(),
        "both sides are big"
    );
}

#[tokio::test]
async fn directories_that_lie_too_deep_are_an_error_and_no_crash() {
    let upstream = Upstream::new();
    let blob = upstream.blob("x");
    let first = upstream.push("main", "base", &[Edit::File("z", "0")]);
    // Built by one index line: git makes the trees.
    let deep = format!("{}f", "d/".repeat(1_500));
    let tree = upstream.edited(Some(&first), &[Edit::File(&deep, "x")]);
    let commit = upstream.commit_tree(&[&first], &blob, &tree);
    upstream.set("main", &commit);
    let local = LocalRepository::open(upstream.path()).unwrap();
    let error = local.changed(&first, &commit).unwrap_err();
    assert!(matches!(error, ReadError::TooManyFiles { .. }), "{error:?}");
    let sync = [(super::path("d"), Some(upstream.tree(&commit, "d")))];
    let error = local.inspect(&commit, &sync).unwrap_err();
    assert!(
        matches!(&error, InspectError::Unsafe(found) if found.reason.contains("directories")),
        "{error:?}"
    );
}

#[tokio::test]
async fn renames_count_once_for_github_but_change_both_paths() {
    let upstream = Upstream::new();
    let content = (0..40).map(|line| format!("line {line}\n")).collect::<String>();
    upstream.push(
        "main",
        "base",
        &[
            Edit::File("old/exact", "the same"),
            Edit::File("old/edited", &content),
        ],
    );
    let merged = upstream.push(
        "main",
        "move",
        &[
            Edit::Remove("old"),
            Edit::File("new/exact", "the same"),
            Edit::File("new/edited", &content.replace("line 7\n", "line seven\n")),
        ],
    );
    let mirror = fetched(&upstream).await;
    for count in [2, 4] {
        let (paths, _) = known(mirror.changed_paths(request(&merged, 1, count)).await.unwrap());
        assert_eq!(
            paths,
            ["new/edited", "new/exact", "old/edited", "old/exact"],
            "{count}"
        );
    }
    let listed = with_files(
        request(&merged, 1, 2),
        &[
            ("new/edited", Some("old/edited")),
            ("new/exact", Some("old/exact")),
        ],
    );
    let (paths, _) = known(mirror.changed_paths(listed).await.unwrap());
    assert_eq!(paths.len(), 4);
}

#[tokio::test]
async fn a_merge_of_which_the_base_had_a_part_is_recognised_by_its_second_parent() {
    let (upstream, base, [_, head]) = two_commits();
    let base = upstream.commit(&[&base], "cherry-picked before", &[Edit::File("a", "1")]);
    let merge = upstream.commit(&[&base, &head], "merge", &[Edit::File("b", "1")]);
    upstream.set("main", &merge);
    let mirror = fetched(&upstream).await;
    let (paths, _) = known(mirror.changed_paths(request(&merge, 2, 2)).await.unwrap());
    assert_eq!(paths, ["b"]);

    // GitHub's count does not fit the second parent: only the list can tell.
    let odd = request(&merge, 3, 2);
    assert_eq!(
        mirror.changed_paths(odd.clone()).await.unwrap(),
        ChangedPaths::NeedsFileList
    );
    let (paths, _) = known(
        mirror
            .changed_paths(with_files(odd.clone(), &[("a", None), ("b", None)]))
            .await
            .unwrap(),
    );
    assert_eq!(paths, ["b"]);
    let error = mirror
        .changed_paths(with_files(odd, &[("a", None), ("c", None)]))
        .await
        .unwrap_err();
    assert!(matches!(error, ChangedPathsError::Unexplained { .. }));
    assert_eq!(error.class(), ErrorClass::User);
}

#[tokio::test]
async fn an_incomplete_list_decides_nothing() {
    let (upstream, _, [_, head]) = two_commits();
    upstream.set("main", &head);
    let mirror = fetched(&upstream).await;
    let error = mirror
        .changed_paths(with_files(request(&head, 2, 5), &[("a", None), ("b", None)]))
        .await
        .unwrap_err();
    assert!(matches!(error, ChangedPathsError::ListIncomplete { .. }));
}

#[tokio::test]
async fn the_first_commit_of_all_changed_everything_in_it() {
    let upstream = Upstream::new();
    let first = upstream.push("main", "first", &[Edit::File("a", "1"), Edit::File("d/b", "1")]);
    let mirror = fetched(&upstream).await;
    let (paths, before) = known(mirror.changed_paths(request(&first, 1, 2)).await.unwrap());
    assert_eq!(paths, ["a", "d/b"]);
    assert_eq!(before, None);
    // More commits than there are: only the squash is left.
    let second = upstream.push("main", "second", &[Edit::File("c", "1")]);
    mirror.fetch_branch(&branch("main")).await.unwrap();
    let (paths, _) = known(mirror.changed_paths(request(&second, 9, 1)).await.unwrap());
    assert_eq!(paths, ["c"]);
}

#[tokio::test]
async fn modes_types_submodules_and_awkward_names_are_changes_too() {
    let upstream = Upstream::new();
    let submodule = "1".repeat(40);
    upstream.push(
        "main",
        "base",
        &[
            Edit::File("mode", "x"),
            Edit::File("type", "x"),
            Edit::File("Case", "x"),
            Edit::File("swap/inner", "x"),
            Edit::File("same", "x"),
        ],
    );
    let merged = upstream.push(
        "main",
        "all kinds",
        &[
            Edit::Executable("mode", "x"),
            Edit::Symlink("type", "same"),
            Edit::Remove("Case"),
            Edit::File("case", "x"),
            Edit::Remove("swap"),
            Edit::File("swap", "now a file"),
            Edit::Submodule("module", &submodule),
            Edit::File("with space/ü", "x"),
        ],
    );
    let mirror = fetched(&upstream).await;
    let expected = [
        "Case",
        "case",
        "mode",
        "module",
        "swap",
        "swap/inner",
        "type",
        "with space/ü",
    ];
    for renames in ["--find-renames", "--no-renames"] {
        let listed = upstream.git(&[
            "diff-tree",
            "-r",
            "--no-commit-id",
            "--name-only",
            renames,
            merged.as_str(),
        ]);
        let count = listed.lines().count() as u64;
        let (paths, _) = known(mirror.changed_paths(request(&merged, 1, count)).await.unwrap());
        assert_eq!(paths, expected, "{renames}");
    }
}
