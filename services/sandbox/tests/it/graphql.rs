//! Hiding comments.

use http::Method;
use serde_json::{Value, json};

use crate::support::{REPO, World};

const MUTATION: &str = "mutation($id: ID!) { minimizeComment(input: {subjectId: $id, classifier: OUTDATED}) { \
     minimizedComment { isMinimized minimizedReason } } }";

#[tokio::test]
async fn a_comment_is_hidden_and_shown_again() {
    let world = World::start().await;
    world.pull_request("change", "a", "a").await;
    let comment = world.forge.comment(REPO, 1, "old", "ann").await.unwrap();
    let listed = world.get("/repos/acme/gitops/issues/1/comments").await.json();
    let node = listed[0]["node_id"].clone();
    let ask = async |query: &str, id: &Value| {
        world
            .post("/graphql", json!({"query": query, "variables": {"id": id}}))
            .await
            .expect(200)
            .json()
    };
    let answer = ask(MUTATION, &node).await;
    let expected = json!({"isMinimized": true, "minimizedReason": "outdated"});
    assert_eq!(
        answer,
        json!({"data": {"minimizeComment": {"minimizedComment": expected}}})
    );
    let hidden = |number: usize| {
        world.forge.pull_request(REPO, 1).unwrap().comments[number]
            .minimized
            .clone()
    };
    assert_eq!(hidden(0).as_deref(), Some("outdated"));
    let show = "mutation($id: ID!) { unminimizeComment(input: {subjectId: $id}) { clientMutationId } }";
    ask(show, &node).await;
    assert_eq!(hidden(0), None);
    let stranger = ask(MUTATION, &json!("IC_unknown")).await;
    assert_eq!(stranger["errors"][0]["type"], "NOT_FOUND");
    assert_eq!(stranger["data"]["minimizeComment"], Value::Null);
    let wrong = ask(&MUTATION.replace("OUTDATED", "OUTDATEDX"), &node).await;
    assert!(
        wrong.get("data").is_none() && wrong["errors"][0]["message"].is_string(),
        "{wrong}"
    );
    assert!(comment.minimized.is_none());
}

#[tokio::test]
async fn graphql_wants_to_know_who_asks() {
    let world = World::start().await;
    let body = Some(json!({"query": "{ viewer { login } }"}));
    let answer = world
        .try_call("", Method::POST, "/graphql", body.clone(), &[])
        .await
        .unwrap();
    assert!(matches!(answer.status.as_u16(), 401 | 403));
    let answer = world
        .call(Method::POST, "/graphql", body)
        .await
        .expect(200)
        .json();
    assert_eq!(answer["data"]["viewer"]["login"], "ann");
}
