//! What the forge refuses, with which status, and in GitHub's shape.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_wrong_token_is_refused_and_no_token_sees_nothing() {
    let world = World::start().await;
    let repo = world.repo();
    world.client.bearer("gho_wrong").get(&repo).await.expect(401);
    world.client.get(&repo).await.expect(404);
    world.mona.get("/repos/acme/nothing").await.expect(404);
    // An App's key opens only what is about the App.
    world.mona.get("/app").await.expect(401);
    world.client.bearer("a.b.c").get("/app").await.expect(401);
    world.app_client().get(&repo).await.expect(403);
    world.finish().await;
}

#[tokio::test]
async fn an_installation_token_does_what_it_was_narrowed_to_and_no_more() {
    let world = World::start().await;
    let (app, repo) = (world.app_client(), world.repo());
    let installation = app.get(&format!("{repo}/installation")).await.expect(200)["id"]
        .as_u64()
        .unwrap();
    let tokens = format!("/app/installations/{installation}/access_tokens");

    let narrow = json!({"repositories": ["gitops"], "permissions": {"contents": "read", "metadata": "read"}});
    let token = app.post(&tokens, &narrow).await.expect(201);
    assert_eq!(
        token["permissions"],
        json!({"contents": "read", "metadata": "read"})
    );
    assert_eq!(token["repositories"][0]["full_name"], "acme/gitops");
    let client = world.client.bearer(token["token"].as_str().unwrap());
    client
        .get(&format!("{repo}/contents/README.md"))
        .await
        .expect(200);
    let wanted = json!({"title": "t", "head": "x", "base": "main"});
    client.post(&format!("{repo}/pulls"), &wanted).await.expect(403);
    let reference = json!({"ref": "refs/heads/x", "sha": "0000000000000000000000000000000000000000"});
    client
        .post(&format!("{repo}/git/refs"), &reference)
        .await
        .expect(403);

    app.post(&tokens, &json!({"permissions": {"administration": "write"}}))
        .await
        .expect(422);
    app.post(&tokens, &json!({"repositories": ["nothing"]}))
        .await
        .expect(422);
    world.finish().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_refused() {
    let world = World::start().await;
    let (mona, repo) = (&world.mona, world.repo());
    for wanted in [
        json!({"title": "t", "head": "nothing", "base": "main"}),
        json!({"title": "t", "head": "main", "base": "nothing"}),
        json!({"title": "", "head": "main", "base": "main"}),
    ] {
        let refused = mona.post(&format!("{repo}/pulls"), &wanted).await.expect(422);
        assert_eq!(refused["message"], "Validation Failed", "{wanted}");
        assert!(refused["errors"].is_array(), "{refused}");
    }
    mona.post(
        &format!("{repo}/statuses/0000000000000000000000000000000000000001"),
        &json!({"state": "success"}),
    )
    .await
    .expect(422);
    mona.post(&format!("{repo}/issues/999/comments"), &json!({"body": "x"}))
        .await
        .expect(404);

    let none = mona
        .post(&format!("{repo}/pulls"), &json!({"head": "main"}))
        .await;
    none.expect(422);
    let told = world.proxy.take_violations();
    assert!(
        told.iter()
            .all(|violation| violation.side == lockflight_tests::openapi::Side::Request),
        "{told:?}"
    );
    world.finish().await;
}
