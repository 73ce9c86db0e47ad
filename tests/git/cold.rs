//! Mirrors that have just been born.

use std::collections::{BTreeMap, BTreeSet};

use lockflight_git::testing::git_in;
use lockflight_git::{FetchError, PushOutcome};
use lockflight_promotion::CommitOid;
use lockflight_promotion::plan::Entry;

use crate::scene::{POLICY, Scene, branch, components, creation, path};

const ENVIRONMENTS: [&str; 4] = ["dev", "lab", "prod", "staging"];

/// What the git program makes of the same edit, at the forge.
fn expected(scene: &Scene, at: &CommitOid, from: &str, to: &str) -> String {
    let index = tempfile::tempdir().unwrap();
    let index = index.path().join("index");
    let git = |arguments: &[&str]| git_in(&scene.dir(), arguments, &[("GIT_INDEX_FILE", &index)], b"");
    git(&["read-tree", at.as_str()]);
    git(&["rm", "-r", "--quiet", "--cached", "--", to]);
    git(&[
        "read-tree",
        "-i",
        &format!("--prefix={to}/"),
        &format!("{at}:{from}"),
    ]);
    git(&["write-tree"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_promotion_of_one_component_asks_for_the_trees_on_its_way_and_no_other() {
    let scene = Scene::new().await;
    // Ten thousand files.
    scene.begin(components(&ENVIRONMENTS, 250));
    let head = scene.write("main", "dev/c0007/f0.yaml", "changed");
    scene.forge.reset_usage();

    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let policy = mirror.blob(&head, &path(POLICY), 1_000).await.unwrap();
    assert!(policy.is_some());
    let commit = scene
        .promote(&mirror, &head, "dev/c0007", &["staging/c0007"])
        .await;
    let outcomes = scene.push(&mirror, &[creation("promotions/1", &commit)]).await;
    assert_eq!(outcomes, [PushOutcome::Pushed]);

    let made = scene.tree(&commit, "");
    assert_eq!(
        made.as_str(),
        expected(&scene, &head, "dev/c0007", "staging/c0007")
    );
    scene.git(&["fsck", "--strict", "--connectivity-only"]);
    let mut trees = BTreeSet::new();
    for (commit, places) in [
        (&format!("{head}~1"), &[""][..]),
        (
            &head.to_string(),
            &["", "dev", "dev/c0007", "dev/c0007/templates", "staging"],
        ),
        (&commit.to_string(), &["", "staging"]),
    ] {
        trees.extend(
            places
                .iter()
                .map(|place| scene.git(&["rev-parse", &format!("{commit}:{place}")])),
        );
    }
    assert_eq!(scene.held("tree"), trees);
    assert_eq!(scene.held("blob").len(), 1, "the policy");
    let usage = scene.forge.usage().git();
    assert!(usage.bytes_out < 60_000, "{usage:?}");
    assert!(usage.bytes_in < 20_000, "{usage:?}");
    assert!(usage.round_trips <= 12, "{usage:?} {:?}", scene.requests());
    assert_eq!(usage.pushes, 1);
    // What git itself thinks of the mirror.
    git_in(&scene.mirror_dir(), &["fsck", "--connectivity-only"], &[], b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_paths_cost_as_many_round_trips_as_the_deepest() {
    let scene = Scene::new().await;
    let head = scene.begin(components(&ENVIRONMENTS, 100));
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let before = mirror.usage();
    let paths: Vec<_> = ENVIRONMENTS
        .iter()
        .flat_map(|environment| (0..100).map(move |number| format!("{environment}/c{number:04}/templates")))
        .map(|place| path(&place))
        .collect();
    let entries = mirror.entries(&head, &paths).await.unwrap();
    assert_eq!(entries.len(), 400);
    assert!(
        entries
            .iter()
            .all(|(at, entry)| *entry == Entry::Tree(scene_tree(&scene, &head, at.as_str())))
    );
    let after = mirror.usage();
    assert_eq!(
        after.lazy_fetches - before.lazy_fetches,
        2,
        "the environments, then the components"
    );
    assert_eq!(after.lazy_objects - before.lazy_objects, 4 + 400);
    let again = mirror.entries(&head, &paths).await.unwrap();
    assert_eq!(again, entries);
    assert_eq!(mirror.usage(), after);
}

/// The trees of all directories, listed once: a child for each would take minutes.
fn scene_tree(scene: &Scene, commit: &CommitOid, at: &str) -> lockflight_promotion::TreeOid {
    use std::sync::OnceLock;
    static ALL: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let listed = scene.git(&[
            "ls-tree",
            "-r",
            "-d",
            "--format=%(objectname) %(path)",
            commit.as_str(),
        ]);
        listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(id, path)| (path.to_owned(), id.to_owned()))
            .collect()
    });
    lockflight_promotion::TreeOid::parse(all[at].clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_miss_the_same_ask_for_it_once() {
    let scene = Scene::new().await;
    let head = scene.begin(components(&["dev"], 50));
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    let before = mirror.usage();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (mirror, head) = (mirror.clone(), head.clone());
            tokio::spawn(async move { mirror.entry(&head, &path("dev/c0001/templates")).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(mirror.usage().lazy_fetches - before.lazy_fetches, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_beyond_the_boundary_is_fetched_before_an_answer_is_given() {
    let scene = Scene::new().await;
    scene.begin(components(&["dev"], 1));
    scene.write_often(300, &["dev/c0000/f0.yaml"]);
    let line: Vec<CommitOid> = scene
        .git(&["rev-list", "--reverse", "main"])
        .lines()
        .map(|id| CommitOid::parse(id).unwrap())
        .collect();
    let head = line.last().unwrap().clone();
    scene.git(&["update-ref", "refs/heads/side", line[20].as_str()]);
    let side = scene.write("side", "side", "1");
    let mirror = scene.mirror();
    let main = branch("main");
    let _fetched = mirror.fetch(&main, &head).await.unwrap();
    assert_eq!(scene.held("commit").len(), 64, "no more than a beginning");

    let _fetched = mirror.fetch(&main, &line[5]).await.unwrap();
    assert!(mirror.is_descendant(&head, &line[5]).await.unwrap());
    assert!(!mirror.is_descendant(&line[5], &head).await.unwrap());
    let error = mirror.fetch(&main, &side).await.unwrap_err();
    assert!(matches!(error, FetchError::NotOnBranch { .. }), "{error:?}");
    let unknown = CommitOid::parse("1".repeat(40)).unwrap();
    let error = mirror.fetch(&main, &unknown).await.unwrap_err();
    assert!(matches!(error, FetchError::NotOnBranch { .. }), "{error:?}");
    // The beginning of all is no end that was cut.
    assert_eq!(mirror.parent(&line[5]).await.unwrap().as_ref(), Some(&line[4]));
    git_in(&scene.mirror_dir(), &["fsck", "--connectivity-only"], &[], b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_continues_where_the_first_was_killed() {
    let scene = Scene::new().await;
    scene.begin(components(&["dev", "prod"], 30));
    let head = scene.write_often(80, &["dev/c0000/f0.yaml"]);
    // What is there after each of the steps pack, shallow, ref.
    for last in ["pack", "shallow", "ref"] {
        let _removed = std::fs::remove_dir_all(scene.mirror_dir());
        {
            let mirror = scene.mirror();
            let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
        }
        let dir = scene.mirror_dir();
        assert!(dir.join("shallow").exists());
        if last != "ref" {
            std::fs::remove_dir_all(dir.join("refs/lockflight")).unwrap();
        }
        if last == "pack" {
            std::fs::rename(dir.join("shallow"), dir.join("shallow.lock")).unwrap();
        }
        std::fs::create_dir(dir.join("objects/tmp_killed")).unwrap();
        let mirror = scene.mirror();
        let fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
        assert_eq!(fetched.skipped, last == "ref", "{last}");
        assert!(
            mirror.usage().fetches == 0,
            "{last}: the commit was there already"
        );
        let commit = scene.promote(&mirror, &head, "dev/c0003", &["prod/c0003"]).await;
        let name = format!("promotions/{last}");
        let outcomes = scene.push(&mirror, &[creation(&name, &commit)]).await;
        assert_eq!(outcomes, [PushOutcome::Pushed], "{last}");
        let next = scene.write("main", "dev/c0000/f0.yaml", last);
        let _fetched = mirror.fetch(&branch("main"), &next).await.unwrap();
        assert!(mirror.is_descendant(&next, &head).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_nothing_out_gives_one_branch_without_its_history() {
    let scene = Scene::new().await;
    scene.git(&["config", "uploadpack.allowFilter", "false"]);
    scene.begin(components(&["dev", "prod"], 30));
    let head = scene.write_often(40, &["dev/c0000/f0.yaml"]);
    let old = scene.git(&["rev-parse", "main~30"]);
    let old = CommitOid::parse(old).unwrap();
    let mirror = scene.mirror();
    let _fetched = mirror.fetch(&branch("main"), &head).await.unwrap();
    assert_eq!(scene.held("commit").len(), 2);
    let commit = scene.promote(&mirror, &head, "dev/c0003", &["prod/c0003"]).await;
    let outcomes = scene.push(&mirror, &[creation("promotions/1", &commit)]).await;
    assert_eq!(outcomes, [PushOutcome::Pushed]);
    assert_eq!(mirror.usage().lazy_fetches, 0, "all of it came at once");
    let next = scene.write("main", "prod/c0004/f0.yaml", "changed");
    let _fetched = mirror.fetch(&branch("main"), &next).await.unwrap();
    let _fetched = mirror.fetch(&branch("main"), &old).await.unwrap();
    assert_eq!(
        mirror
            .blob(&next, &path("prod/c0004/f0.yaml"), 100)
            .await
            .unwrap()
            .unwrap(),
        b"changed"
    );
}
