use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use lockflight_promotion::plan::Entry;

use super::{path, spec};
use crate::testing::{Edit, Upstream};
use crate::{LocalError, LocalRepository};

/// Every file below `dir` with its size and time stamp.
fn stamps(dir: &Path) -> BTreeMap<std::path::PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let data = entry.metadata().unwrap();
        found.insert(entry.path(), (data.len(), data.modified().unwrap()));
        if data.is_dir() {
            found.extend(stamps(&entry.path()));
        }
    }
    found
}

#[test]
fn a_preview_is_the_commit_that_would_be_made_and_writes_nothing() {
    let upstream = Upstream::new();
    let base = upstream.push(
        "main",
        "one",
        &[Edit::File("src/c/f", "1"), Edit::File("dst/c/f", "0")],
    );
    let head = upstream.push("main", "two", &[Edit::File("src/c/f", "2")]);
    let tree = upstream.tree(&head, "src/c");
    // One that is all there already, one that is new, in a pack as well as loose.
    for pack in [false, true] {
        if pack {
            upstream.git(&["gc", "--quiet"]);
        }
        let before = stamps(&upstream.path());
        let local = LocalRepository::open(upstream.path()).unwrap();
        assert_eq!(local.resolve("main~1").unwrap(), base);
        assert_eq!(local.resolve("main").unwrap(), head);
        assert_eq!(local.merge_base(&base, &head).unwrap(), base);
        assert_eq!(local.changed(&base, &head).unwrap(), ["src/c/f"]);
        assert_eq!(
            local.entries(&head, &[path("src/c")]).unwrap()[&path("src/c")],
            Entry::Tree(tree.clone())
        );
        assert_eq!(local.blob(&head, &path("src/c/f"), 10).unwrap().unwrap(), b"2");
        local
            .inspect(&head, &[(path("src/c"), Some(tree.clone()))])
            .unwrap();
        let made = local.preview(&spec(&head, &[("dst/c", Some(&tree))])).unwrap();
        assert_eq!(made.paths, ["dst/c/f"]);
        let unmade = local
            .preview(&spec(&head, &[("dst/c", Some(&upstream.tree(&head, "dst/c")))]))
            .unwrap();
        assert!(!unmade.changed);
        // A tree that is in the repository already is not touched either.
        let back = local
            .preview(&spec(&head, &[("src/c", Some(&upstream.tree(&base, "src/c")))]))
            .unwrap();
        assert_eq!(back.tree, upstream.tree(&base, ""));
        drop(local);
        assert_eq!(stamps(&upstream.path()), before);

        let expected = upstream.commit(&[&head], "Promote", &[Edit::File("dst/c/f", "2")]);
        assert_eq!(made.oid, expected);
    }
}

#[test]
fn what_cannot_be_found_is_told_clearly() {
    let upstream = Upstream::new();
    let head = upstream.push("main", "one", &[Edit::File("d/f", "1")]);
    let other = upstream.commit(&[], "unrelated", &[Edit::File("d/f", "2")]);
    let nowhere = tempfile::tempdir().unwrap();
    assert!(matches!(
        LocalRepository::open(nowhere.path()),
        Err(LocalError::NotARepository { .. })
    ));
    let local = LocalRepository::open(upstream.path()).unwrap();
    for rev in [
        "nope",
        "main:d",
        "",
        "1111111111111111111111111111111111111111",
        "main..nope",
    ] {
        assert!(
            matches!(local.resolve(rev), Err(LocalError::NoSuchRevision { .. })),
            "{rev}"
        );
    }
    assert!(matches!(
        local.merge_base(&head, &other),
        Err(LocalError::Unrelated { .. })
    ));
}
