//! The web pages, as a browser without scripts uses them.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use lockflight_sandbox::{Forge, ForgeError, ForgeOptions};
use tokio::io::AsyncReadExt as _;

use crate::support::{Answer, REPO, World, send};

async fn browse(world: &World, method: Method, path: &str, form: &str, host: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form.to_owned())))
        .unwrap();
    send(request, &world.authority()).await.unwrap()
}

async fn see(world: &World, path: &str) -> Answer {
    browse(world, Method::GET, path, "", &world.authority()).await
}

fn hidden(page: &Answer, name: &str) -> String {
    let from = page
        .text
        .split(&format!("name=\"{name}\" value=\""))
        .nth(1)
        .expect("a hidden field");
    from.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn every_page_is_there_and_shows_text_as_text() {
    let world = World::start().await;
    let branch = "feature/<b>x";
    let number = world
        .pull_request(branch, "lab/<i>.yaml", "<script>alert(1)</script>\n")
        .await;
    world
        .forge
        .comment(REPO, number, "**bold** <img src=x>", "ann")
        .await
        .unwrap();
    let head = world.forge.pull_request(REPO, number).unwrap().head.sha;
    world
        .forge
        .set_status(REPO, &head, "ci", "success", "ann")
        .await
        .unwrap();
    for (path, expected) in [
        ("/".to_owned(), "acme/gitops"),
        ("/acme/gitops".to_owned(), "README.md"),
        ("/acme/gitops/branches".to_owned(), "feature/&lt;b&gt;x"),
        ("/acme/gitops/commits/main".to_owned(), "Begin"),
        (
            "/acme/gitops/tree/feature/%3Cb%3Ex/lab".to_owned(),
            "&lt;i&gt;.yaml",
        ),
        ("/acme/gitops/blob/main/lab/app.yaml".to_owned(), "replicas: 1"),
        (format!("/acme/gitops/commit/{head}"), "Change a file"),
        ("/acme/gitops/pulls".to_owned(), "A change"),
        (format!("/acme/gitops/pull/{number}"), "<strong>bold</strong>"),
        ("/-/deliveries".to_owned(), "Nothing has been delivered yet"),
    ] {
        let page = see(&world, &path).await.expect(200);
        assert!(page.text.contains(expected), "{path}: {}", page.text);
        assert!(
            !page.text.contains("<script") && !page.text.contains("<img"),
            "{path}"
        );
        assert!(
            page.header("content-security-policy")
                .contains("default-src 'none'")
        );
    }
    let raw = see(&world, "/acme/gitops/raw/feature/%3Cb%3Ex/lab/%3Ci%3E.yaml")
        .await
        .expect(200);
    assert_eq!(
        (raw.header("content-type"), raw.header("x-content-type-options")),
        ("text/plain; charset=utf-8", "nosniff")
    );
    see(&world, "/acme/nothing").await.expect(404);
    see(&world, "/-/style.css").await.expect(200);
}

#[tokio::test]
async fn the_merge_button_merges_as_the_viewer_and_only_with_its_token() {
    let world = World::start().await;
    let number = world.pull_request("change", "a", "a\n").await;
    let address = format!("/acme/gitops/pull/{number}");
    let page = see(&world, &address).await.expect(200);
    let press = async |form: String| {
        browse(
            &world,
            Method::POST,
            &format!("{address}/merge"),
            &form,
            &world.authority(),
        )
        .await
    };
    let sha = hidden(&page, "sha");
    press(format!("token=guessed&method=squash&sha={sha}"))
        .await
        .expect(403);
    let done = press(format!(
        "token={}&method=squash&sha={sha}",
        hidden(&page, "token")
    ))
    .await
    .expect(303);
    assert_eq!(done.header("location"), address);
    let pull = world.forge.pull_request(REPO, number).unwrap();
    assert_eq!((pull.merged, pull.merged_by.as_deref()), (true, Some("you")));
    let again = press(format!(
        "token={}&method=squash&sha={sha}",
        hidden(&page, "token")
    ))
    .await
    .expect(409);
    assert!(again.text.contains("not mergeable"));
}

#[tokio::test]
async fn the_forge_answers_to_this_machine_only() {
    let world = World::start().await;
    browse(&world, Method::GET, "/", "", "rebound.example.com")
        .await
        .expect(421);
    let mut options = ForgeOptions::new(world.path("second"));
    options.listen = Some(([0, 0, 0, 0], 0).into());
    assert!(matches!(
        Forge::start(options).await,
        Err(ForgeError::NotLoopback(_))
    ));
    let outside = world.forge.set_webhook(REPO, "http://192.0.2.1/hook", "s");
    assert!(matches!(outside, Err(ForgeError::WebhookNotLoopback(_))));
}

#[tokio::test]
async fn a_forge_stops_when_its_last_handle_is_gone() {
    let world = World::start().await;
    let authority = world.authority();
    let World { forge, dir: _dir, .. } = world;
    let other = forge.clone();
    drop(forge);
    let mut connection = tokio::net::TcpStream::connect(&authority)
        .await
        .expect("still there");
    other.shutdown().await;
    let ended = connection.read(&mut [0; 1]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
