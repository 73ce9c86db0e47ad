//! The whole way over git's own smart HTTP, with a token.

use std::path::Path;

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
