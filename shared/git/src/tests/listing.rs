//! What files a component has.

use lockflight_promotion::ErrorClass;
use lockflight_promotion::plan::{File, ListedFile};

use super::bridge::Bridge;
use super::{nested, path};
use crate::listing::{Most, files_of, listings_of};
use crate::testing::{Edit, REPO, Upstream, branch};
use crate::{LocalRepository, Mirrors, PlainHttp, ReadError};

#[tokio::test]
async fn listings_say_all_files_in_few_round_trips() {
    let upstream = Upstream::new();
    let main = upstream.push(
        "main",
        "one",
        &[
            Edit::File("src/c/values.yaml", "1"),
            Edit::Executable("src/c/a/b/c/run.sh", "1"),
            Edit::Symlink("src/c/a/link", "b"),
            Edit::Submodule("src/c/module", &"1".repeat(40)),
            Edit::File("dst/one/c/a/b/x", "1"),
            Edit::File("dst/two/c/y/z/x", "1"),
            Edit::File("file", "1"),
        ],
    );
    let places = ["src/c", "dst/one/c", "dst/two/c", "dst/three/c", "file"].map(path);
    let bridge = Bridge::of(&upstream).await;
    let mut config = upstream.mirrors_config();
    config.plain_http = PlainHttp::Loopback;
    let mirror = Mirrors::new(config).unwrap().open(REPO, bridge.remote());
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
    let before = mirror.usage().round_trips();
    let listings = mirror.listings(&main, &places).await.unwrap();
    let asked = mirror.usage().round_trips() - before;
    assert!(asked <= 5, "{asked} round trips");
    let again = mirror.usage().round_trips();
    assert_eq!(mirror.listings(&main, &places).await.unwrap(), listings);
    assert_eq!(mirror.usage().round_trips(), again);

    assert_eq!(listings.len(), places.len());
    assert!(listings[&places[3]].is_empty() && listings[&places[4]].is_empty());
    let one = upstream.blob("1");
    let file = |mode, id: &str| ListedFile {
        mode,
        id: id.to_owned(),
    };
    let expected = [
        ("a/b/c/run.sh", file(0o100_755, &one)),
        ("a/link", file(0o120_000, &upstream.blob("b"))),
        ("module", file(0o160_000, &"1".repeat(40))),
        ("values.yaml", file(0o100_644, &one)),
    ];
    let expected = expected.map(|(path, file)| (path.as_bytes().to_vec(), file));
    assert_eq!(listings[&places[0]], expected.into());
    let local = LocalRepository::open(upstream.path()).unwrap();
    assert_eq!(local.listings(&main, &places).unwrap(), listings);
}

#[test]
fn what_is_too_much_to_list_is_said() {
    let upstream = Upstream::new();
    let blob = upstream.blob("x");
    // Three small trees: a thousand files, and a thousand directories without any.
    let files = nested(&upstream, &format!("100644 blob {blob}\tf\n"), 3, 10);
    let directories = nested(&upstream, "", 3, 10);
    let root = format!("040000 tree {directories}\td\n040000 tree {files}\tf\n");
    let root = upstream.git_with(&["mktree"], &[], root.as_bytes());
    let main = upstream.commit_tree(&[], "one", &root);
    let repo = git2::Repository::open_bare(upstream.path()).unwrap();
    let objects = crate::objects::Objects::complete(&repo).unwrap();
    let places = |name: &str| [path(name)];
    let each = |each| Most { each, all: 500_000 };
    assert_eq!(
        listings_of(&objects, &main, &places("f"), each(2_000)).unwrap()[&path("f")].len(),
        1_000
    );
    for name in ["f", "d"] {
        let error = listings_of(&objects, &main, &places(name), each(999)).unwrap_err();
        assert_eq!(error.class(), ErrorClass::User);
        assert!(
            matches!(error, ReadError::TooManyListed { most: 999, .. }),
            "{error:?}"
        );
    }
}

#[test]
fn what_is_too_much_to_list_together_is_said() {
    let upstream = Upstream::new();
    let blob = upstream.blob("x");
    // A hundred files in 111 directories; `a` and `b` are equal.
    let files = nested(&upstream, &format!("100644 blob {blob}\tf\n"), 2, 10);
    let more = format!("100644 blob {blob}\tg\n040000 tree {files}\th\n");
    let more = upstream.git_with(&["mktree"], &[], more.as_bytes());
    let root = format!("040000 tree {files}\ta\n040000 tree {files}\tb\n040000 tree {more}\tc\n");
    let root = upstream.git_with(&["mktree"], &[], root.as_bytes());
    let main = upstream.commit_tree(&[], "one", &root);
    let repo = git2::Repository::open_bare(upstream.path()).unwrap();
    let objects = crate::objects::Objects::complete(&repo).unwrap();
    let listed = |names: &[&str], all| {
        let places: Vec<_> = names.iter().map(|name| path(name)).collect();
        listings_of(&objects, &main, &places, Most { each: 1_000, all })
    };
    // The files of each listing count, and the directories of each tree that is read.
    for (names, all) in [
        (&["a"][..], 100 + 111),
        (&["a", "b"], 2 * 100 + 111),
        (&["a", "c"], 100 + 111 + 101 + 112),
        (&["a", "b", "c"], 2 * 100 + 111 + 101 + 112),
    ] {
        let found = listed(names, all).unwrap();
        assert_eq!(found.len(), names.len());
        assert!(found.values().all(|listing| listing.len() >= 100));
        let error = listed(names, all - 1).unwrap_err();
        assert_eq!(error.class(), ErrorClass::User);
        assert!(
            matches!(error, ReadError::TooManyListed { most, .. } if most == all - 1),
            "{names:?} {error:?}"
        );
    }
}

#[test]
fn of_too_much_text_together_the_rest_is_not_read() {
    let upstream = Upstream::new();
    let main = upstream.push(
        "main",
        "one",
        &[
            Edit::File("a", "1234"),
            Edit::File("b", "1234"),
            Edit::File("c", "12345"),
            Edit::File("d", "1"),
            Edit::File("e", "1234567890"),
        ],
    );
    let repo = git2::Repository::open_bare(upstream.path()).unwrap();
    let objects = crate::objects::Objects::complete(&repo).unwrap();
    let read = |most| {
        let places = ["a", "b", "c", "d", "e"].map(path);
        let files = files_of(&objects, &main, &places, 9, most).unwrap();
        assert_eq!(files.len(), 5);
        files
            .into_values()
            .map(|file| match file {
                File::Text { text, .. } => text,
                File::Unreadable(why) if why.contains("in one go") => "full".to_owned(),
                File::Unreadable(why) => why,
                File::Absent => "absent".to_owned(),
            })
            .collect::<Vec<_>>()
    };
    let big = "it has 10 bytes; at most 9 are read";
    assert_eq!(read(14), ["1234", "1234", "12345", "1", big]);
    assert_eq!(read(13), ["1234", "1234", "12345", "full", "full"]);
    assert_eq!(read(12), ["1234", "1234", "full", "full", "full"]);
    assert_eq!(read(3), ["full"; 5]);
}
