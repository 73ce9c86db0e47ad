//! Keys of one file set in another.

use lockflight_promotion::plan::{Edit as Change, File, Keys};
use lockflight_promotion::values::KeyPath;
use lockflight_promotion::{BlobOid, CommitOid, ErrorClass};

use super::bridge::Bridge;
use super::{path, spec};
use crate::testing::{Edit, REPO, Upstream, branch, lease};
use crate::{CommitError, CommitSpec, LocalRepository, Mirrors, PlainHttp, PushOutcome, RefUpdate};

fn keys(blob: &str, keys: &[&str]) -> Change {
    Change::Keys(Keys {
        blob: BlobOid::parse(blob).unwrap(),
        keys: keys.iter().map(|key| KeyPath::parse(key).unwrap()).collect(),
    })
}

fn editing(parent: &CommitOid, edits: &[(&str, Change)]) -> CommitSpec {
    let mut spec = spec(parent, &[]);
    spec.edits = edits.iter().map(|(at, edit)| (path(at), edit.clone())).collect();
    spec
}

const LAB: &str = "# lab\ntag: v2\nreplicas: 1\n";
const PROD: &str = "# prod, keep calm\nreplicas: 9 # many\ntag: v1\n";

#[tokio::test]
async fn keys_are_set_in_a_file_and_pushed_with_it() {
    let upstream = Upstream::new();
    let main = upstream.push(
        "main",
        "one",
        &[
            Edit::File("apps/web/lab.yaml", LAB),
            Edit::Executable("apps/web/prod-a.yaml", PROD),
            Edit::File("apps/web/prod-b.yaml", PROD),
            Edit::File("apps/web/chart/f", "0"),
            Edit::File("apps/db/chart/f", "1"),
            Edit::File("apps/web/z.txt", "x"),
        ],
    );
    let bridge = Bridge::of(&upstream).await;
    let mut config = upstream.mirrors_config();
    config.plain_http = PlainHttp::Loopback;
    let mirror = Mirrors::new(config).unwrap().open(REPO, bridge.remote());
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();

    let places = ["lab.yaml", "prod-a.yaml", "absent.yaml", "chart", "z.txt/below"];
    let places = places.map(|name| path(&format!("apps/web/{name}")));
    let files = mirror.files(&main, &places, 1 << 20).await.unwrap();
    let File::Text { blob, text } = &files[&places[0]] else {
        panic!("{files:?}");
    };
    assert_eq!(text, LAB);
    assert_eq!(files[&places[2]], File::Absent);
    for place in &places[3..] {
        assert!(matches!(&files[place], File::Unreadable(_)), "{files:?}");
    }
    let small = mirror.files(&main, &places[..1], 3).await.unwrap();
    assert_eq!(
        small[&places[0]],
        File::Unreadable(format!("it has {} bytes; at most 3 are read", LAB.len()))
    );

    let tree = upstream.tree(&main, "apps/db/chart");
    let edits = [
        ("apps/web/prod-a.yaml", keys(blob.as_str(), &["tag"])),
        ("apps/web/prod-b.yaml", keys(blob.as_str(), &["tag"])),
        ("apps/web/chart", Change::Whole(Some(tree))),
    ];
    let spec = editing(&main, &edits);
    assert_eq!(
        mirror.would_change(&main, &spec.edits).await.unwrap(),
        [true, true, true]
    );
    let made = mirror.commit(spec.clone()).await.unwrap();
    let after = PROD.replace("v1", "v2");
    let expected = upstream.commit(
        &[&main],
        "Promote",
        &[
            Edit::Executable("apps/web/prod-a.yaml", &after),
            Edit::File("apps/web/prod-b.yaml", &after),
            Edit::File("apps/web/chart/f", "1"),
        ],
    );
    assert_eq!(made.oid, expected, "byte for byte what git makes");
    assert_eq!(
        mirror.would_change(&made.oid, &spec.edits).await.unwrap(),
        [false, false, false]
    );

    // The upstream is not to have the result already.
    upstream.git(&["prune", "--expire=now"]);
    let update = RefUpdate {
        branch: branch("promotions/1"),
        expected: None,
        new: Some(made.oid.clone()),
    };
    let outcome = mirror.push(&lease(), &[update]).await.unwrap();
    assert_eq!(outcome, [PushOutcome::Pushed]);
    upstream.git(&["fsck", "--strict", "--full"]);
    assert_eq!(
        upstream.git(&["show", &format!("{}:apps/web/prod-a.yaml", made.oid)]),
        after.trim_end()
    );
}

#[test]
fn keys_of_what_is_no_file_are_refused() {
    let upstream = Upstream::new();
    let big = format!("tag: {}\n", "x".repeat(1 << 20));
    let main = upstream.push(
        "main",
        "one",
        &[
            Edit::File("lab.yaml", LAB),
            Edit::File("dir.yaml/f", "x"),
            Edit::Symlink("link.yaml", "lab.yaml"),
            Edit::Submodule("module.yaml", &"1".repeat(40)),
            Edit::File("notes.txt", "tag: v1\n"),
            Edit::File("big.yaml", &big),
            Edit::File("prod.yaml", PROD),
        ],
    );
    let local = LocalRepository::open(upstream.path()).unwrap();
    let blob = upstream.blob(LAB);
    let attempt = |at: &str, blob: &str| {
        let edit = keys(blob, &["tag"]);
        let would = local.would_change(&main, &[(path(at), edit.clone())]).unwrap();
        assert_eq!(would, [true], "the commit tells why: {at}");
        local.preview(&editing(&main, &[(at, edit)])).unwrap_err()
    };
    for (at, says) in [
        ("absent.yaml", "not there"),
        ("gone/absent.yaml", "not there"),
        ("dir.yaml", "a directory"),
        ("link.yaml", "a symlink"),
        ("module.yaml", "a submodule"),
        ("notes.txt", "YAML"),
        ("big.yaml", "bytes"),
        ("prod.yaml/below.yaml", "not a directory"),
    ] {
        let error = attempt(at, &blob);
        assert_eq!(error.class(), ErrorClass::User, "{at}: {error:?}");
        let text = format!(
            "{error} {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        );
        assert!(text.contains(says), "{at}: {text}");
    }
    let binary = upstream.git_with(&["hash-object", "-w", "--stdin"], &[], b"tag: \xff\n");
    let error = attempt("prod.yaml", &binary);
    assert!(matches!(error, CommitError::NotText { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::User);
    let error = attempt("prod.yaml", &"1".repeat(40));
    assert!(matches!(error, CommitError::MissingBlob { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Retry);
    let twice = [
        ("prod.yaml", keys(&blob, &["tag"])),
        ("prod.yaml", keys(&blob, &["replicas"])),
    ];
    let error = local.preview(&editing(&main, &twice)).unwrap_err();
    assert!(matches!(error, CommitError::Overlap { .. }), "{error:?}");
}
