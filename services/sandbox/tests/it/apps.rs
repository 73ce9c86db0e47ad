//! Apps, their JWTs and the tokens of their installations.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use lockflight_sandbox::{App, AppOptions, Level};
use serde_json::{Value, json};

use crate::support::{REPO, World};

/// Signs a JWT as the App, with these offsets of `iat` and `exp` from now, in seconds.
pub(crate) fn jwt(app: &App, issuer: Value, issued: i64, expires: i64) -> String {
    let lines: String = app
        .private_key_pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let key = RsaKeyPair::from_der(&STANDARD.decode(lines).unwrap()).expect("PKCS#1");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": issuer, "iat": now + issued, "exp": now + expires});
    let signed = format!("{}.{}", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) async fn installation_token(
    world: &World,
    app: &App,
    installation: u64,
    narrowing: Value,
) -> String {
    let jwt = jwt(app, json!(app.id), -60, 540);
    let path = format!("/app/installations/{installation}/access_tokens");
    let answer = world
        .try_call(&jwt, Method::POST, &path, Some(narrowing), &[])
        .await
        .unwrap();
    answer.expect(201).json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_jwt_is_taken_only_with_the_right_key_and_times() {
    let world = World::start().await;
    let app = world.forge.add_app(AppOptions::new("pilot")).await.unwrap();
    let other = world.forge.add_app(AppOptions::new("other")).await.unwrap();
    let ask = async |token: String| {
        world
            .try_call(&token, Method::GET, "/app", None, &[])
            .await
            .unwrap()
    };
    for issuer in [json!(app.id), json!(app.id.to_string()), json!(app.client_id)] {
        let answer = ask(jwt(&app, issuer, -60, 540)).await.expect(200);
        assert_eq!(answer.json()["slug"], "pilot");
    }
    for (issued, expires, complaint) in [
        (0, 700, "too far in the future"),
        (-120, -60, "must be a numeric value"),
        (120, 300, "must not be in the future"),
    ] {
        let answer = ask(jwt(&app, json!(app.id), issued, expires)).await.expect(401);
        assert!(answer.complaint().contains(complaint), "{}", answer.text);
    }
    let forged = ask(jwt(&other, json!(app.id), -60, 540)).await.expect(401);
    assert_eq!(forged.complaint(), "A JSON web token could not be decoded");
    ask(world.token.clone()).await.expect(401);
}

#[tokio::test]
async fn a_token_does_what_it_was_made_for_and_nothing_else() {
    let world = World::start().await;
    world.forge.create_repository("acme/other", "main").await.unwrap();
    let app = world.forge.add_app(AppOptions::new("pilot")).await.unwrap();
    let installation = world.forge.install(app.id, &[REPO]).unwrap();
    let narrow = json!({"repositories": ["gitops"], "permissions": {"contents": "read", "issues": "write"}});
    let token = installation_token(&world, &app, installation, narrow).await;
    let ask = async |method, path: &str, body| world.try_call(&token, method, path, body, &[]).await.unwrap();
    ask(Method::GET, "/repos/acme/gitops/contents/README.md", None)
        .await
        .expect(200);
    ask(Method::GET, "/repos/acme/other", None).await.expect(404);
    let tip = world.forge.branch(REPO, "main").unwrap().unwrap();
    let new = json!({"ref": "refs/heads/x", "sha": tip});
    let refused = ask(Method::POST, "/repos/acme/gitops/git/refs", Some(new))
        .await
        .expect(403);
    assert_eq!(refused.complaint(), "Resource not accessible by integration");
    let number = world.pull_request("change", "a", "a").await;
    let comments = format!("/repos/acme/gitops/issues/{number}/comments");
    let written = ask(Method::POST, &comments, Some(json!({"body": "hello"})))
        .await
        .expect(201)
        .json();
    assert_eq!(written["user"]["login"], "pilot[bot]");
    assert_eq!(written["user"]["type"], "Bot");
    assert_eq!(written["performed_via_github_app"]["slug"], "pilot");
    let listed = ask(Method::GET, "/installation/repositories", None)
        .await
        .expect(200)
        .json();
    assert_eq!(listed["total_count"], 1);
}

#[tokio::test]
async fn a_token_cannot_have_more_than_its_installation() {
    let world = World::start().await;
    let other = world.forge.create_repository("acme/other", "main").await.unwrap();
    let app = world.forge.add_app(AppOptions::new("pilot")).await.unwrap();
    let installation = world.forge.install(app.id, &[REPO]).unwrap();
    let token = jwt(&app, json!(app.id), -60, 540);
    let path = format!("/app/installations/{installation}/access_tokens");
    for narrowing in [
        json!({"repository_ids": [other]}),
        json!({"repositories": ["other"]}),
        json!({"permissions": {"administration": "read"}}),
    ] {
        world
            .try_call(&token, Method::POST, &path, Some(narrowing), &[])
            .await
            .unwrap()
            .expect(422);
    }
    world.forge.suspend(installation, true).unwrap();
    world
        .try_call(&token, Method::POST, &path, None, &[])
        .await
        .unwrap()
        .expect(403);
    world.forge.uninstall(installation);
    world
        .try_call(&token, Method::POST, &path, None, &[])
        .await
        .unwrap()
        .expect(404);
}

#[tokio::test]
async fn an_expired_token_is_a_bad_credential() {
    let world = World::start().await;
    let mut options = AppOptions::new("pilot");
    options.permissions.insert("metadata".into(), Level::Read);
    let app = world.forge.add_app(options).await.unwrap();
    let installation = world.forge.install(app.id, &[REPO]).unwrap();
    world.forge.set_installation_token_lifetime(Duration::ZERO);
    let token = installation_token(&world, &app, installation, json!({})).await;
    let answer = world
        .try_call(&token, Method::GET, "/repos/acme/gitops", None, &[])
        .await
        .unwrap();
    assert_eq!(answer.expect(401).complaint(), "Bad credentials");
}

#[tokio::test]
async fn nobody_sees_a_private_repository_and_every_answer_has_githubs_headers() {
    let world = World::start().await;
    let answer = world
        .try_call("", Method::GET, "/repos/acme/gitops", None, &[])
        .await
        .unwrap()
        .expect(404);
    assert_eq!(answer.json()["message"], "Not Found");
    let answer = world.get("/repos/acme/gitops").await.expect(200);
    assert_eq!(answer.header("x-ratelimit-remaining"), "4999");
    assert!(!answer.header("x-github-request-id").is_empty());
    let tag = answer.header("etag").to_owned();
    let again = [("if-none-match", tag.as_str())];
    let again = world
        .try_call(&world.token, Method::GET, "/repos/acme/gitops", None, &again)
        .await
        .unwrap();
    let again = again.expect(304);
    assert_eq!(
        (again.text.as_str(), again.header("x-ratelimit-remaining")),
        ("", "4999")
    );
}
