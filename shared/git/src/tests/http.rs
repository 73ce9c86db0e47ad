//! The whole way over git's own smart HTTP, with a token.

use std::collections::BTreeSet;
use std::path::Path;

use git2::Oid;
use lockflight_promotion::ErrorClass;

use super::bridge::{Bridge, TOKEN, remote_with};
use super::{path, spec};
use crate::testing::{Edit, REPO, Upstream, branch, lease};
use crate::{FetchError, Mirror, Mirrors, PlainHttp, PushOutcome, RefUpdate, TransportError};

fn mirror(upstream: &Upstream, url: &str, root: &str, token: &str) -> Mirror {
    let mut config = upstream.mirrors_config();
    config.root = Path::new(&config.root).join(root);
    config.plain_http = PlainHttp::Loopback;
    config.allow_file = false;
    Mirrors::new(config).unwrap().open(REPO, remote_with(url, token))
}

#[tokio::test]
async fn a_promotion_travels_over_http_with_a_token() {
    let upstream = Upstream::new();
    let main = upstream.push(
        "main",
        "one",
        &[Edit::File("src/c/f", "1"), Edit::File("dst/c/f", "0")],
    );
    let bridge = Bridge::of(&upstream).await;

    let worker = mirror(&upstream, bridge.url(), "worker", TOKEN);
    let fetched = worker.fetch(&branch("main"), &main).await.unwrap();
    assert!(fetched.bytes > 0);
    assert_eq!(
        worker.blob(&main, &path("src/c/f"), 9).await.unwrap().unwrap(),
        b"1"
    );
    assert_eq!(worker.fetch_branch(&branch("nope")).await.unwrap(), None);
    let tree = upstream.tree(&main, "src/c");
    let made = worker
        .commit(spec(&main, &[("dst/c", Some(&tree))]))
        .await
        .unwrap();
    let update = RefUpdate {
        branch: branch("promotions/1"),
        expected: None,
        new: Some(made.oid.clone()),
    };
    for outcome in [PushOutcome::Pushed, PushOutcome::AlreadyThere] {
        assert_eq!(
            worker
                .push(&lease(), std::slice::from_ref(&update))
                .await
                .unwrap(),
            [outcome]
        );
    }
    assert_eq!(upstream.head("promotions/1"), Some(made.oid));
    let theirs = upstream.push("promotions/1", "by hand", &[Edit::File("x", "1")]);
    let moved = PushOutcome::Moved { actual: Some(theirs) };
    assert_eq!(worker.push(&lease(), &[update]).await.unwrap(), [moved]);

    let stranger = mirror(&upstream, bridge.url(), "stranger", "wrong");
    let error = stranger.fetch(&branch("main"), &main).await.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transport {
                source: TransportError::AuthenticationFailed { .. },
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn one_answer_of_another_version_costs_no_mirror() {
    let upstream = Upstream::new();
    let first = upstream.push("main", "one", &[Edit::File("f", "1")]);
    let bridge = Bridge::of(&upstream).await;
    let fetch = async |need| {
        let worker = mirror(&upstream, bridge.url(), "worker", TOKEN);
        let fetched = worker.fetch(&branch("main"), need).await;
        (worker, fetched)
    };
    let _fetched = fetch(&first).await.1.unwrap();
    let mark = upstream
        .mirrors_config()
        .root
        .join("worker")
        .join(format!("{REPO}.git"))
        .join("mark");
    std::fs::write(&mark, "").unwrap();

    let second = upstream.push("main", "two", &[Edit::File("f", "2")]);
    bridge.speak_old(true);
    let (worker, refused) = fetch(&second).await;
    let error = refused.unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Transport {
                source: TransportError::NoVersion2,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::Retry);
    assert!(worker.commit_info(&first).await.is_ok() && mark.exists());
    // The same process asks again, and does not go by what it heard before.
    bridge.speak_old(false);
    let _fetched = worker.fetch(&branch("main"), &second).await.unwrap();
    assert!(mark.exists());
    drop(worker);
    // A new mirror of a server that is old has nothing to lose.
    bridge.speak_old(true);
    let fresh = mirror(&upstream, bridge.url(), "fresh", TOKEN);
    let _fetched = fresh.fetch(&branch("main"), &second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_ends_of_history_are_written_by_one_at_a_time_whoever_was_cancelled() {
    let upstream = Upstream::new();
    let mut head = upstream.push("main", "first", &[Edit::File("f", "0")]);
    for number in 0..70 {
        let tree = upstream.tree(&head, "");
        head = upstream.commit_tree(&[&head], &format!("{number}"), tree.as_str());
    }
    upstream.set("main", &head);
    let bridge = Bridge::of(&upstream).await;
    let worker = mirror(&upstream, bridge.url(), "worker", TOKEN);
    let _fetched = worker.fetch(&branch("main"), &head).await.unwrap();
    let dir = upstream
        .mirrors_config()
        .root
        .join("worker")
        .join(format!("{REPO}.git"));
    let ends = std::fs::read_to_string(dir.join("shallow")).unwrap();
    assert!(!ends.is_empty());
    let all: BTreeSet<Oid> = ends.lines().map(|line| Oid::from_str(line).unwrap()).collect();
    for _ in 0..20 {
        // What somebody left who is gone, and many at once, each of whom has something to write.
        std::fs::write(dir.join("shallow.lock"), "left").unwrap();
        std::fs::write(dir.join("shallow"), "").unwrap();
        let writers = (0..8).map(|_| worker.note_ends(all.clone()));
        for written in futures::future::join_all(writers).await {
            written.unwrap();
        }
        assert!(!worker.slot.is_damaged());
        assert_eq!(std::fs::read_to_string(dir.join("shallow")).unwrap(), ends);
        assert!(!dir.join("shallow.lock").exists());
    }
}
