//! Mirrors that live long: many fetches and pushes, a full disk, locks that nobody holds, and more repositories than there is room for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockflight_git::testing::{REPO, branch, lease};
use lockflight_git::{Mirror, Mirrors, PushOutcome, RefUpdate, Upkeep};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, RepoId, TreeOid};

use crate::place::{Dir, Place, WAYS, Way, Writer, config, file, git, path, put, spec};

/// A component and some siblings; each number gives another content.
fn content(number: usize) -> Dir {
    let mut root = Dir::new();
    put(&mut root, "src/c/f", file(format!("{number}")));
    put(&mut root, "dst/c/f", file("old"));
    for sibling in 0..20 {
        put(
            &mut root,
            format!("src/other{sibling}/f"),
            file(format!("{sibling}")),
        );
    }
    root
}

fn update(name: &str, new: &CommitOid) -> RefUpdate {
    RefUpdate {
        branch: branch(name),
        expected: None,
        new: Some(new.clone()),
    }
}

/// Brings `main`, makes the promotion of `src/c` and pushes it to that branch.
async fn promote(place: &Place, mirror: &Mirror, name: &str) -> (CommitOid, CommitOid) {
    let main = place.head("main").unwrap();
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
    let tree = place.tree_at(&main, "src/c");
    let sync = [(path("src/c"), Some(tree.clone()))];
    mirror.inspect(&main, &sync).await.unwrap();
    let made = mirror
        .commit(spec(&main, &[("dst/c", Some(&tree))]))
        .await
        .unwrap();
    let outcome = mirror.push(&lease(), &[update(name, &made.oid)]).await.unwrap();
    assert_eq!(outcome, [PushOutcome::Pushed]);
    assert_eq!(place.head(name).as_ref(), Some(&made.oid));
    (main, made.oid)
}

fn packs(mirror: &Path) -> Vec<PathBuf> {
    let mut packs: Vec<PathBuf> = std::fs::read_dir(mirror.join("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "pack"))
        .collect();
    packs.sort();
    packs
}

/// The ids of all objects of a repository, as git sees them.
fn objects(repository: &Path) -> Vec<String> {
    let listed = git(
        repository,
        &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"],
        b"",
    );
    String::from_utf8(listed)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn loose(repository: &Path) -> usize {
    let listed = git(repository, &["count-objects"], b"");
    let listed = String::from_utf8(listed).unwrap();
    listed.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_fetches_leave_few_packs_and_lose_nothing_while_others_read() {
    for way in WAYS {
        let place = Place::new(way).await;
        let mirrors = place.mirrors();
        let mirror = mirrors.open(REPO, place.remote.clone());
        let mut writer = Writer::default();
        let mut last = None;
        let mut most = 0;
        for round in 0..40 {
            place.advance(&writer.tree(&place, &content(round)));
            last = Some(promote(&place, &mirror, &format!("promotions/{round}")).await);
            most = most.max(packs(&place.mirror_dir()).len());
            if round % 13 != 12 {
                continue;
            }
            // Readers go on all the while, each with handles of its own, and find what they found before.
            let (main, made) = last.clone().unwrap();
            let expected = mirror.entry(&main, &path("src/c")).await.unwrap();
            let before = objects(&place.mirror_dir());
            let stop = Arc::new(AtomicBool::new(false));
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let (stop, mirror, expected) = (Arc::clone(&stop), mirror.clone(), expected.clone());
                    let (main, made) = (main.clone(), made.clone());
                    tokio::spawn(async move {
                        let mut reads = 0_u32;
                        while !stop.load(Ordering::Relaxed) || reads == 0 {
                            let entry = mirror.entry(&main, &path("src/c")).await.unwrap();
                            assert_eq!(entry, expected);
                            mirror.commit_info(&made).await.unwrap();
                            reads += 1;
                        }
                    })
                })
                .collect();
            let done = mirrors.maintain().await;
            stop.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.await.unwrap();
            }
            assert_eq!(done.packed, 1, "{way:?}: {done:?}");
            assert!(packs(&place.mirror_dir()).len() <= 8, "{way:?}");
            assert_eq!(objects(&place.mirror_dir()), before, "{way:?}");
            // There is nothing left to do.
            assert_eq!(mirrors.maintain().await.packed, 0, "{way:?}");
        }
        assert!(most > 8, "{way:?}: there were never many packs");
        let (main, made) = last.unwrap();
        // Another process finds it as good.
        drop((mirror, mirrors));
        let mirror = place.mirror();
        assert!(
            mirror.fetch(&branch("main"), &main).await.unwrap().skipped,
            "{way:?}"
        );
        mirror.commit_info(&made).await.unwrap();
        if way == Way::Path {
            git(&place.mirror_dir(), &["fsck", "--strict", "--no-dangling"], b"");
        }
        place.assert_sound();
    }
}

#[tokio::test]
async fn loose_objects_are_put_into_a_pack_and_can_still_be_pushed() {
    for way in WAYS {
        let place = Place::new(way).await;
        let mirrors = place.mirrors();
        let mirror = mirrors.open(REPO, place.remote.clone());
        let main = place.advance(&Writer::default().tree(&place, &content(0)));
        let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
        let tree = place.tree_at(&main, "src/c");
        let mut made = Vec::new();
        while loose(&place.mirror_dir()) <= 1_000 {
            for _ in 0..50 {
                let target = format!("new/{}/c", made.len());
                made.push(
                    mirror
                        .commit(spec(&main, &[(&target, Some(&tree))]))
                        .await
                        .unwrap(),
                );
            }
        }
        let before = objects(&place.mirror_dir());
        assert_eq!(mirrors.maintain().await.packed, 1, "{way:?}");
        assert_eq!(loose(&place.mirror_dir()), 0, "{way:?}");
        assert_eq!(objects(&place.mirror_dir()), before, "{way:?}");
        for made in [made.first().unwrap(), made.last().unwrap()] {
            let name = format!("promotions/{}", made.oid);
            let outcome = mirror.push(&lease(), &[update(&name, &made.oid)]).await.unwrap();
            assert_eq!(outcome, [PushOutcome::Pushed], "{way:?}");
        }
        place.assert_sound();
    }
}

/// A `git` that tells when it packs, and waits for leave to begin.
fn slow_git(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let script = dir.join("slow-git");
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = pack-objects ]; then touch {0}/packing; while [ ! -e {0}/go ]; do sleep 0.02; done; fi\nexec git \"$@\"\n",
        dir.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_mins(1), async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_does_not_wait_for_packs_to_be_written() {
    for way in WAYS {
        let place = Place::new(way).await;
        let mut config = place.config();
        config.git = slow_git(place.home.path());
        let mirrors = Mirrors::new(config).unwrap();
        let mirror = mirrors.open(REPO, place.remote.clone());
        let mut writer = Writer::default();
        for round in 0..20 {
            place.advance(&writer.tree(&place, &content(round)));
            let (main, _) = promote_unpushed(&place, &mirror).await;
            assert_eq!(place.head("main"), Some(main));
        }
        assert!(packs(&place.mirror_dir()).len() > 8);
        let upkeep = tokio::spawn({
            let mirrors = mirrors.clone();
            async move { mirrors.maintain().await }
        });
        let packing = place.home.path().join("packing");
        until("the packing", || packing.exists()).await;
        // The push of a path remote packs, too; over HTTP all of it goes on while the upkeep stands still.
        if way == Way::Http {
            place.advance(&writer.tree(&place, &content(99)));
            promote(&place, &mirror, "promotions/meanwhile").await;
        } else {
            place.advance(&writer.tree(&place, &content(99)));
            let (main, made) = promote_unpushed(&place, &mirror).await;
            mirror.commit_info(&main).await.unwrap();
            mirror.commit_info(&made).await.unwrap();
        }
        assert!(!upkeep.is_finished());
        std::fs::write(place.home.path().join("go"), "").unwrap();
        assert_eq!(upkeep.await.unwrap().packed, 1, "{way:?}");
        place.advance(&writer.tree(&place, &content(100)));
        promote(&place, &mirror, "promotions/after").await;
        place.assert_sound();
    }
}

/// As [`promote`], without the push.
async fn promote_unpushed(place: &Place, mirror: &Mirror) -> (CommitOid, CommitOid) {
    let main = place.head("main").unwrap();
    let _fetched = mirror.fetch(&branch("main"), &main).await.unwrap();
    let tree = place.tree_at(&main, "src/c");
    let made = mirror
        .commit(spec(&main, &[("dst/c", Some(&tree))]))
        .await
        .unwrap();
    (main, made.oid)
}

fn size(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                size(&entry.path())
            } else {
                about.len()
            }
        })
        .sum()
}

#[tokio::test]
async fn the_mirror_that_was_not_used_for_the_longest_time_makes_room_and_none_in_use_does() {
    let places = [
        Place::new(Way::Path).await,
        Place::new(Way::Path).await,
        Place::new(Way::Path).await,
        Place::new(Way::Path).await,
    ];
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("mirrors");
    let dir = |number: usize| root.join(format!("{}.git", number + 1));
    let mut writer = Writer::default();
    let heads: Vec<CommitOid> = places
        .iter()
        .map(|place| {
            let mut dir = content(0);
            put(&mut dir, "big", file(vec![b'x'; 10_000]));
            writer = Writer::default();
            place.advance(&writer.tree(place, &dir))
        })
        .collect();
    let open = |mirrors: &Mirrors, number: usize| {
        mirrors.open(
            RepoId::new(u64::try_from(number).unwrap() + 1),
            places[number].remote.clone(),
        )
    };
    let mirrors = Mirrors::new(config(&root)).unwrap();
    for (number, head) in heads.iter().enumerate() {
        let _fetched = open(&mirrors, number).fetch(&branch("main"), head).await.unwrap();
    }
    let one = size(&dir(0));
    // Without a limit they all stay.
    let kept = Upkeep {
        bytes: (0..4).map(|number| size(&dir(number))).sum(),
        ..Upkeep::default()
    };
    assert_eq!(mirrors.maintain().await, kept);
    drop(mirrors);

    let limited = |bytes| {
        let mut config = config(&root);
        config.max_bytes = Some(bytes);
        Mirrors::new(config).unwrap()
    };
    // Room for two and a half. Of the four, 0 is in use, 2 was used last, and 3 was not used by this process.
    let mirrors = limited(one * 5 / 2);
    let in_use = open(&mirrors, 0);
    for number in [1, 2] {
        drop(open(&mirrors, number));
    }
    let done = mirrors.maintain().await;
    assert_eq!(done.evicted, 2, "{done:?}");
    let standing = |number: usize| dir(number).exists();
    assert_eq!([0, 1, 2, 3].map(standing), [true, false, true, false]);
    assert!(in_use.fetch(&branch("main"), &heads[0]).await.unwrap().skipped);
    // What was removed comes back when it is needed.
    let again = open(&mirrors, 1);
    assert!(!again.fetch(&branch("main"), &heads[1]).await.unwrap().skipped);
    assert_eq!(
        again.entry(&heads[1], &path("src/c")).await.unwrap(),
        Entry::Tree(places[1].tree_at(&heads[1], "src/c"))
    );
    drop((in_use, again, mirrors));

    // However little room there is: the one that was used last stays.
    let mirrors = limited(1);
    drop(open(&mirrors, 2));
    assert_eq!(mirrors.maintain().await.evicted, 2);
    assert_eq!([0, 1, 2, 3].map(standing), [false, false, true, false]);
    let left: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("discarded"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_pack_that_upkeep_finds_broken_makes_the_next_fetch_begin_anew() {
    let place = Place::new(Way::Path).await;
    let mirrors = place.mirrors();
    let mirror = mirrors.open(REPO, place.remote.clone());
    let mut writer = Writer::default();
    for round in 0..12 {
        place.advance(&writer.tree(&place, &content(round)));
        promote_unpushed(&place, &mirror).await;
    }
    let broken = packs(&place.mirror_dir()).swap_remove(0);
    let mut bytes = std::fs::read(&broken).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..] {
        *byte ^= 0x55;
    }
    std::fs::remove_file(&broken).unwrap();
    std::fs::write(&broken, bytes).unwrap();

    let done = mirrors.maintain().await;
    assert_eq!(done.packed, 0, "{done:?}");
    place.advance(&writer.tree(&place, &content(99)));
    promote(&place, &mirror, "promotions/1").await;
    git(&place.mirror_dir(), &["fsck", "--strict", "--no-dangling"], b"");
}

/// What a process that was killed leaves: locks of every kind, and packs and directories that were not finished.
#[tokio::test]
async fn locks_and_halves_of_a_killed_process_are_swept_away() {
    for way in WAYS {
        let place = Place::new(way).await;
        place.advance(&Writer::default().tree(&place, &content(0)));
        let mirrors = place.mirrors();
        let mirror = mirrors.open(REPO, place.remote.clone());
        promote(&place, &mirror, "promotions/1").await;
        drop((mirror, mirrors));

        let dir = place.mirror_dir();
        let reference = std::fs::read_dir(dir.join("refs/lockflight"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let mut left = vec![
            dir.join("objects/pack/tmp_pack_x1y2z3"),
            reference.path().with_extension("lock"),
        ];
        for name in ["shallow.lock", "packed-refs.lock", "HEAD.lock", "config.lock"] {
            left.push(dir.join(name));
        }
        for file in &left {
            std::fs::write(file, "half").unwrap();
        }
        for half in ["objects/incoming-upkeep", "objects/tmp_objdir-incoming-Ab1"] {
            std::fs::create_dir_all(dir.join(half)).unwrap();
            left.push(dir.join(half));
        }
        place.advance(&Writer::default().tree(&place, &content(1)));
        let mirror = place.mirror();
        promote(&place, &mirror, "promotions/2").await;
        for file in left {
            assert!(!file.exists(), "{way:?}: {}", file.display());
        }
    }
}

mod full_disk {
    //! A disk without room. Where this machine lets a process have a file system of its own, that is a small one which is really full;
    //! everywhere, it is a limit on the size of files, which every process may set for itself.

    use std::process::Output;

    use tokio::process::Command;

    use super::*;

    /// The part that runs without room: says what the promotion came to, and whether it could be done with room again.
    #[tokio::test]
    #[ignore = "the other tests start it as a process of its own"]
    async fn worker() {
        let Some(given) = std::env::var_os("FULL_DISK_CASE") else {
            return;
        };
        let given = given.into_string().unwrap();
        let [root, url, main, tree]: [&str; 4] = given.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let mirrors = Mirrors::new(config(Path::new(root))).unwrap();
        let credentials = std::env::var_os("FULL_DISK_TOKEN")
            .map(|token| lockflight_git::Credentials::token(token.into_string().unwrap().into()));
        let remote = lockflight_git::Remote {
            url: url.to_owned(),
            credentials,
        };
        let mirror = mirrors.open(REPO, remote);
        let (main, tree) = (CommitOid::parse(main).unwrap(), TreeOid::parse(tree).unwrap());
        println!("ANSWER {}", attempt(&mirror, &main, &tree).await);
    }

    async fn attempt(mirror: &Mirror, main: &CommitOid, tree: &TreeOid) -> String {
        let said = |class: lockflight_promotion::ErrorClass, error: &dyn std::error::Error| {
            let chain: Vec<String> = std::iter::successors(Some(error), |error| error.source())
                .map(ToString::to_string)
                .collect();
            format!("{class:?}: {}", chain.join(": ").replace('\n', " "))
        };
        if let Err(error) = mirror.fetch(&branch("main"), main).await {
            return said(error.class(), &error);
        }
        if let Err(error) = mirror.entry(main, &path("src/c")).await {
            return said(error.class(), &error);
        }
        match mirror.commit(spec(main, &[("dst/c", Some(tree))])).await {
            Err(error) => said(error.class(), &error),
            Ok(made) => format!("made {}", made.oid),
        }
    }

    fn answer(output: &Output) -> String {
        let text = String::from_utf8_lossy(&output.stdout);
        let answer = text.lines().find_map(|line| line.split_once("ANSWER "));
        answer
            .unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
            .1
            .to_owned()
    }

    /// An upstream with more than fits: thousands of ids, which nothing makes shorter, in the one tree that has to be read.
    async fn large(way: Way) -> (Place, CommitOid, TreeOid) {
        let place = Place::new(way).await;
        let mut stream =
            "commit refs/heads/main\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 0\n".to_owned();
        for number in 0..8_000 {
            let content = number.to_string();
            stream.push_str(&format!(
                "M 100644 inline src/c/{number:05}\ndata {}\n{content}\n",
                content.len()
            ));
        }
        place.git(&["fast-import", "--quiet"], stream.as_bytes());
        let main = place.head("main").unwrap();
        let tree = place.tree_at(&main, "src/c");
        (place, main, tree)
    }

    /// Runs the worker by a shell that first says these words.
    async fn run(
        place: &Place,
        root: &Path,
        main: &CommitOid,
        tree: &TreeOid,
        before: &str,
        by: &[&str],
    ) -> Output {
        let script = format!("{before}\nexec \"$0\" --exact upkeep::full_disk::worker --ignored --nocapture");
        let mut words: Vec<&str> = by.to_vec();
        words.extend(["sh", "-c", &script]);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(std::env::current_exe().unwrap())
            .env(
                "FULL_DISK_CASE",
                format!("{} {} {main} {tree}", root.display(), place.remote.url),
            );
        if let Some(credentials) = &place.remote.credentials {
            let token = secrecy::ExposeSecret::expose_secret(&credentials.token);
            command.env("FULL_DISK_TOKEN", token);
        }
        command.output().await.unwrap()
    }

    fn assert_clear(answer: &str, way: Way) {
        assert!(answer.starts_with("Retry"), "{way:?}: {answer}");
        assert!(answer.contains("disk"), "{way:?}: {answer}");
        assert!(
            answer.contains("full") || answer.contains("make room"),
            "{way:?}: {answer}"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_that_may_not_grow_is_a_clear_error_and_the_mirror_is_usable_afterwards() {
        for way in WAYS {
            let (place, main, tree) = large(way).await;
            let root = place.home.path().join("mirrors");
            // 16 KiB a file: what is fetched is more.
            let cramped = "trap '' XFSZ; ulimit -f 16";
            let said = answer(&run(&place, &root, &main, &tree, cramped, &[]).await);
            assert_clear(&said, way);
            let said = answer(&run(&place, &root, &main, &tree, "", &[]).await);
            assert!(said.starts_with("made"), "{way:?}: {said}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_system_without_room_is_a_clear_error_and_the_mirror_is_usable_afterwards() {
        let alone = ["unshare", "--user", "--map-root-user", "--mount"];
        for way in WAYS {
            let (place, main, tree) = large(way).await;
            let root = place.home.path().join("mirrors");
            std::fs::create_dir(&root).unwrap();
            let mount = format!(
                "mount -t tmpfs -o size=128k none {0} || exit 99\ncd {0}",
                root.display()
            );
            let output = run(&place, &root, &main, &tree, &mount, &alone).await;
            if !output.status.success() && output.stdout.is_empty() {
                // Not every machine lets one; the test above is for all of them.
                println!(
                    "no file system of its own: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                return;
            }
            assert_clear(&answer(&output), way);
            // With room for more: in the same file system, what the failure left does not stand in the way.
            let grows = format!("{mount}\nmount -o remount,size=64m {}", root.display());
            let said = answer(&run(&place, &root, &main, &tree, &grows, &alone).await);
            assert!(said.starts_with("made"), "{way:?}: {said}");
        }
    }
}
