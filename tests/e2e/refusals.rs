//! Webhooks that are refused, and leave no trace.

use lockflight_tests::world::{Post, Setup, World, put};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::policies::LAB;
use crate::world;

const GUID: &str = "12345678-1234-1234-1234-123456789abc";

/// A world in which nothing is said of a pull request before it is merged, so that whatever is asked of the forge follows from what was posted.
fn silent() -> Setup {
    world(LAB).without_previews()
}

/// A webhook that would promote, were it taken: a real one that was lost.
async fn lost_webhook(world: &World) -> Post {
    let change = world
        .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
        .await;
    world.forge.webhook_faults().drop_next(1);
    world.merge(change).await;
    let lost = world.merge_delivery(change).await;
    world.signed("pull_request", &lost.guid, lost.payload)
}

async fn assert_nothing_happened(world: &World) {
    world.quiet().await;
    assert!(world.promotions().is_empty() && world.promotion_branches().is_empty());
    let by_us = world
        .forge
        .requests()
        .into_iter()
        .filter(|request| request.actor == world.bot())
        .count();
    assert_eq!(by_us, 0, "nobody even asked the forge");
}

#[tokio::test]
async fn what_is_not_signed_with_the_secret_is_refused() {
    silent()
        .run(async |world| {
            let good = lost_webhook(world).await;
            let signature = good.signature.clone().unwrap();
            let other_body = String::from_utf8_lossy(&good.body).replace("\"closed\"", "\"opened\"");
            let cut = good.body.slice(..good.body.len() / 2);
            let forgeries = [
                (
                    "unsigned",
                    Post {
                        signature: None,
                        ..good.clone()
                    },
                ),
                (
                    "empty",
                    Post {
                        signature: Some(String::new()),
                        ..good.clone()
                    },
                ),
                (
                    "no hash",
                    Post {
                        signature: Some("sha256=".to_owned()),
                        ..good.clone()
                    },
                ),
                (
                    "another algorithm",
                    Post {
                        signature: Some(signature.replace("sha256", "sha1")),
                        ..good.clone()
                    },
                ),
                (
                    "another secret",
                    Post {
                        signature: Some(format!("sha256={}", "0".repeat(64))),
                        ..good.clone()
                    },
                ),
                (
                    "another body",
                    Post {
                        body: other_body.into(),
                        ..good.clone()
                    },
                ),
                (
                    "half of the body",
                    Post {
                        body: cut,
                        ..good.clone()
                    },
                ),
            ];
            for (what, forgery) in forgeries {
                assert_eq!(world.post(&forgery).await, 401, "{what}");
            }
            assert_nothing_happened(world).await;
            assert_eq!(world.post(&good).await, 202, "the real one is taken all the same");
            world
                .until("its pull request", |_| {
                    (!world.promotions().is_empty()).then_some(())
                })
                .await;
        })
        .await;
}

#[tokio::test]
async fn what_is_signed_but_no_webhook_is_refused() {
    silent()
        .run(async |world| {
            let good = lost_webhook(world).await;
            let cut = good.body.slice(..good.body.len() / 2);
            for (what, body) in [
                ("no JSON", b"promote everything".to_vec()),
                ("half of it", cut.to_vec()),
                ("nothing", Vec::new()),
                ("another JSON", b"[1, 2, 3]".to_vec()),
                (
                    "no repository",
                    br#"{"action": "closed", "pull_request": {"number": 1, "merged": true}}"#.to_vec(),
                ),
            ] {
                assert_eq!(
                    world.post(&world.signed("pull_request", GUID, body)).await,
                    400,
                    "{what}"
                );
            }
            assert_nothing_happened(world).await;
        })
        .await;
}

#[tokio::test]
async fn events_that_mean_nothing_to_us_are_taken_and_forgotten() {
    silent()
        .run(async |world| {
            lost_webhook(world).await;
            for event in ["star", "an_event_of_tomorrow", "push", "issues"] {
                let post = world.signed(event, GUID, r#"{"action": "created", "repository": {"id": 1}}"#);
                assert_eq!(world.post(&post).await, 202, "{event}");
            }
            assert_nothing_happened(world).await;
        })
        .await;
}

/// Sends bytes and returns the status of the answer; the connection may be cut after that.
async fn raw(world: &World, head: &str, body: impl Iterator<Item = Vec<u8>>) -> u16 {
    let mut stream = TcpStream::connect(world.webhook_address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in body {
        // It may be answered, and closed, before all is sent.
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    stream.shutdown().await.ok();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.strip_prefix("HTTP/1.1 ")
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{text:?}"))
}

fn head(world: &World, length: &str) -> String {
    format!(
        "POST /webhook HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nx-github-event: pull_request\r\n\
         x-github-delivery: {GUID}\r\nx-hub-signature-256: sha256={}\r\n{length}\r\n\r\n",
        world.webhook_address(),
        "0".repeat(64)
    )
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_there() {
    silent()
        .run(async |world| {
            lost_webhook(world).await;
            let announced = head(world, &format!("content-length: {}", 26 * 1024 * 1024));
            assert_eq!(
                raw(world, &announced, std::iter::empty()).await,
                413,
                "by its announced length"
            );

            let streamed = head(world, "transfer-encoding: chunked");
            let mut chunk = b"100000\r\n".to_vec();
            chunk.extend(vec![b'x'; 0x10_0000]);
            chunk.extend(b"\r\n");
            assert_eq!(
                raw(world, &streamed, std::iter::repeat_n(chunk, 27)).await,
                413,
                "while it comes"
            );
            assert_nothing_happened(world).await;
        })
        .await;
}

#[tokio::test]
async fn what_ends_too_early_is_refused() {
    silent()
        .run(async |world| {
            lost_webhook(world).await;
            let announced = head(world, "content-length: 1000");
            assert_eq!(raw(world, &announced, std::iter::once(vec![b'x'; 10])).await, 400);
            assert_nothing_happened(world).await;
        })
        .await;
}

#[tokio::test]
async fn the_health_of_serve_can_be_asked() {
    silent()
        .run(async |world| {
            let client = lockflight_tests::client::Client::new(world.webhook_address(), "");
            for path in ["/healthz", "/readyz"] {
                assert_eq!(client.get(path).await.status, 200, "{path}");
            }
            assert_eq!(client.get("/webhook").await.status, 405);
            assert_eq!(client.get("/nothing").await.status, 404);
        })
        .await;
}
