//! What is said of a commit: reading it all, and writing check runs of our own.

use axum::http::Method;
use lockflight_promotion::{CommitOid, ErrorClass};
use serde_json::{Value, json};

use super::fake::{Fake, HEAD, REPO, REPO_ID, Say, repository, say};
use crate::{
    Annotation, AnnotationLevel, CheckOutcome, CheckRun, CheckRunState, CheckState, Conclusion, ForgeError,
    RepoClient,
};

const MINT: &str = "/app/installations/5/access_tokens";
/// The App of the fake.
const APP: u64 = 7;

fn head() -> CommitOid {
    CommitOid::parse(HEAD).unwrap()
}

fn minted() -> Say {
    say(
        201,
        &json!({"token": "ghs_one", "expires_at": "2999-01-01T01:00:00Z",
                "repositories": [{"id": REPO_ID, "full_name": "acme/gitops"}]}),
    )
}

fn not_granted() -> Say {
    let words = "The permissions requested are not granted to this installation.";
    say(422, &json!({"message": words}))
}

/// A client as an App, whose tokens are answered like this from the second on.
async fn as_app(fake: &Fake, second: Say) -> RepoClient {
    fake.on(Method::POST, MINT, [minted(), second]);
    fake.app().repository(&repository(Some(5))).await.unwrap()
}

fn runs(query: &str) -> String {
    format!("{REPO}/commits/{HEAD}/check-runs?{query}")
}

const READING: &str = "filter=latest&per_page=100";

fn ours() -> String {
    runs(&format!(
        "check_name=lockflight&filter=all&per_page=100&app_id={APP}"
    ))
}

fn run(id: u64, name: &str, status: &str, conclusion: Option<&str>) -> Value {
    json!({"id": id, "name": name, "status": status, "conclusion": conclusion,
           "details_url": "https://ci.example/1", "external_id": "p1", "app": {"id": APP},
           "output": {"title": "Waits", "summary": "For you", "annotations_count": 0}})
}

fn list(runs: &[Value]) -> Say {
    say(200, &json!({"total_count": runs.len(), "check_runs": runs}))
}

fn statuses(list: &[(&str, &str)]) -> Say {
    let list: Vec<Value> = list
        .iter()
        .map(|(context, state)| json!({"context": context, "state": state, "description": null, "target_url": ""}))
        .collect();
    say(200, &json!({"state": "pending", "statuses": list}))
}

fn status_path(page: usize) -> String {
    format!("{REPO}/commits/{HEAD}/status?per_page=100&page={page}")
}

#[tokio::test]
async fn runs_and_statuses_are_read_together_over_all_pages() {
    let fake = Fake::start().await;
    let next = format!("</api/v3{}&page=2>; rel=\"next\"", runs(READING));
    fake.on(
        Method::GET,
        &runs(READING),
        [list(&[
            run(2, "build", "completed", Some("success")),
            run(3, "lint", "completed", Some("skipped")),
        ])
        .with("link", next)],
    );
    fake.on(
        Method::GET,
        &format!("{}&page=2", runs(READING)),
        [list(&[
            // An older run of the same suite does not count.
            run(1, "build", "completed", Some("failure")),
            run(4, "deploy", "in_progress", None),
            run(5, "both", "completed", Some("success")),
        ])],
    );
    let mut first: Vec<(String, &str)> = (0..98)
        .map(|number| (format!("x{number:02}"), "success"))
        .collect();
    first.push(("both".to_owned(), "pending"));
    first.push(("deploy".to_owned(), "success"));
    let first: Vec<(&str, &str)> = first
        .iter()
        .map(|(context, state)| (context.as_str(), *state))
        .collect();
    fake.on(Method::GET, &status_path(1), [statuses(&first)]);
    fake.on(Method::GET, &status_path(2), [statuses(&[("last", "error")])]);

    let checks = fake.client().await.checks(&head()).await.unwrap();
    assert_eq!(checks.unreadable, None);
    assert_eq!(checks.list.len(), 98 + 5);
    let state = |name: &str| checks.named(name).map(|check| check.state);
    assert_eq!(state("build"), Some(CheckState::Success));
    assert_eq!(state("lint"), Some(CheckState::Success));
    assert_eq!(state("deploy"), Some(CheckState::Pending), "the worse of both");
    assert_eq!(state("both"), Some(CheckState::Pending), "the worse of both");
    assert_eq!(state("last"), Some(CheckState::Failure));
    assert_eq!(state("nothing"), None);
    let url = &checks.named("build").unwrap().details_url;
    assert_eq!(url.as_deref(), Some("https://ci.example/1"));
}

#[tokio::test]
async fn the_success_of_one_workflow_does_not_hide_the_failure_of_another() {
    let of = |suite: u64, app: u64, mut run: Value| {
        run["check_suite"] = json!({"id": suite});
        run["app"] = json!({"id": app, "slug": "ci"});
        run
    };
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        &runs(READING),
        [list(&[
            of(1, 1, run(1, "test", "completed", Some("failure"))),
            of(2, 1, run(2, "test", "completed", Some("success"))),
            of(1, 1, run(3, "lint", "completed", Some("failure"))),
            of(1, 2, run(4, "lint", "completed", Some("success"))),
            of(1, 1, run(5, "again", "completed", Some("failure"))),
            of(1, 1, run(6, "again", "completed", Some("success"))),
            of(1, 1, run(7, "slow", "in_progress", None)),
            of(2, 1, run(8, "slow", "completed", Some("success"))),
        ])],
    );
    fake.on(Method::GET, &status_path(1), [statuses(&[])]);
    let checks = fake.client().await.checks(&head()).await.unwrap();
    let states = checks.list.iter().map(|check| (check.name.as_str(), check.state));
    assert_eq!(
        states.collect::<Vec<_>>(),
        [
            ("again", CheckState::Success),
            ("lint", CheckState::Failure),
            ("slow", CheckState::Pending),
            ("test", CheckState::Failure),
        ]
    );
}

#[tokio::test]
async fn statuses_are_read_alone_where_runs_may_not_be() {
    let fake = Fake::start().await;
    fake.on(Method::GET, &status_path(1), [statuses(&[("ci", "success")])]);
    let client = as_app(&fake, not_granted()).await;
    for _ in 0..2 {
        let checks = client.checks(&head()).await.unwrap();
        assert_eq!(checks.named("ci").unwrap().state, CheckState::Success);
        let why = checks.unreadable.unwrap();
        assert!(
            why.contains("\"Checks: read\"") && why.contains("not granted"),
            "{why}"
        );
    }
    assert_eq!(fake.count(&Method::POST, MINT), 2, "a refusal is remembered");
    assert_eq!(
        fake.asked()[1].body,
        json!({"repository_ids": [REPO_ID], "permissions": {"checks": "read"}})
    );
}

#[tokio::test]
async fn a_failure_in_passing_is_no_missing_permission() {
    let fake = Fake::start().await;
    fake.on(
        Method::GET,
        &runs(READING),
        [say(429, &json!({"message": "slow"})).with("retry-after", "30")],
    );
    let error = fake.client().await.checks(&head()).await.unwrap_err();
    assert!(matches!(error.class(), ErrorClass::RetryAfter(_)), "{error:?}");
}

fn wanted(annotations: usize) -> CheckRun {
    CheckRun {
        name: "lockflight".to_owned(),
        external_id: "p1".to_owned(),
        state: CheckRunState::Completed(Conclusion::Success),
        title: "Done".to_owned(),
        summary: "All of it".to_owned(),
        annotations: (1..)
            .take(annotations)
            .map(|line| Annotation {
                path: "lockflight.yaml".to_owned(),
                start_line: line,
                end_line: line,
                level: AnnotationLevel::Warning,
                title: None,
                message: format!("line {line}"),
            })
            .collect(),
        details_url: None,
    }
}

fn annotation(line: u64) -> Value {
    json!({"path": "lockflight.yaml", "start_line": line, "end_line": line, "start_column": null,
           "annotation_level": "warning", "title": "", "message": format!("line {line}"), "raw_details": null})
}

fn sent(fake: &Fake, method: &Method, path: &str) -> Vec<Value> {
    let target = format!("/api/v3{path}");
    let asked = fake.asked().into_iter();
    asked
        .filter(|asked| asked.method == *method && asked.target == target)
        .map(|asked| asked.body)
        .collect()
}

#[tokio::test]
async fn a_run_is_made_once_and_updated_in_place() {
    let fake = Fake::start().await;
    let create = format!("{REPO}/check-runs");
    let update = format!("{REPO}/check-runs/9");
    let mut done = run(9, "lockflight", "completed", Some("success"));
    done["output"]["title"] = json!("Done");
    done["output"]["summary"] = json!("All of it");
    let mut foreign = run(8, "lockflight", "completed", Some("success"));
    foreign["app"] = json!({"id": 99});
    let mut other = run(10, "lockflight", "queued", None);
    other["external_id"] = json!("p2");
    fake.on(
        Method::GET,
        &ours(),
        [
            list(&[foreign, other]),
            list(&[run(9, "lockflight", "in_progress", None)]),
            list(&[done]),
        ],
    );
    fake.on(
        Method::POST,
        &create,
        [say(201, &run(9, "lockflight", "completed", None))],
    );
    fake.on(
        Method::PATCH,
        &update,
        [say(200, &run(9, "lockflight", "completed", None))],
    );
    let client = as_app(&fake, minted()).await;
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(client.set_check(&head(), &wanted(0)).await.unwrap());
    }
    let (set, stands) = (CheckOutcome::Set(9), CheckOutcome::Stands(9));
    assert_eq!(outcomes, [set.clone(), set, stands]);
    assert_eq!(
        sent(&fake, &Method::POST, &create),
        [
            json!({"name": "lockflight", "head_sha": HEAD, "external_id": "p1", "status": "completed",
                "conclusion": "success", "output": {"title": "Done", "summary": "All of it"}})
        ]
    );
    let updates = sent(&fake, &Method::PATCH, &update);
    assert_eq!(updates.len(), 1, "what says the same already is left alone");
    assert_eq!(updates[0]["head_sha"], Value::Null);
    assert_eq!(
        fake.asked()[1].body["permissions"],
        json!({"checks": "write"}),
        "a token of its own"
    );
}

#[tokio::test]
async fn annotations_go_in_fifties_and_only_those_that_are_missing() {
    let fake = Fake::start().await;
    let create = format!("{REPO}/check-runs");
    let update = format!("{REPO}/check-runs/9");
    let there = format!("{REPO}/check-runs/9/annotations?per_page=100");
    let mut half = run(9, "lockflight", "completed", Some("success"));
    half["output"] = json!({"title": "Done", "summary": "All of it", "annotations_count": 50});
    fake.on(Method::GET, &ours(), [list(&[]), list(&[half])]);
    let placed: Vec<Value> = (1..=50).map(annotation).collect();
    fake.on(Method::GET, &there, [say(200, &json!(placed))]);
    fake.on(
        Method::POST,
        &create,
        [say(201, &run(9, "lockflight", "completed", None))],
    );
    // The second request is lost, and the whole is asked for again.
    fake.on(
        Method::PATCH,
        &update,
        [
            say(502, &json!({})),
            say(200, &run(9, "lockflight", "completed", None)),
        ],
    );
    let client = as_app(&fake, minted()).await;
    let error = client.set_check(&head(), &wanted(120)).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unknown { .. }), "{error:?}");
    let outcome = client.set_check(&head(), &wanted(120)).await.unwrap();
    assert_eq!(outcome, CheckOutcome::Set(9));

    let lines = |body: &Value| -> (u64, u64) {
        let list = body["output"]["annotations"].as_array().unwrap();
        assert!(list.len() <= 50);
        let line = |place: usize| list[place]["start_line"].as_u64().unwrap();
        (line(0), line(list.len() - 1))
    };
    let creations = sent(&fake, &Method::POST, &create);
    assert_eq!(creations.iter().map(lines).collect::<Vec<_>>(), [(1, 50)]);
    let updates = sent(&fake, &Method::PATCH, &update);
    assert_eq!(
        updates.iter().map(lines).collect::<Vec<_>>(),
        [(51, 100), (51, 100), (101, 120)]
    );
}

#[tokio::test]
async fn other_annotations_than_those_that_are_there_need_a_new_run() {
    let fake = Fake::start().await;
    let mut old = run(9, "lockflight", "completed", Some("success"));
    old["output"]["annotations_count"] = json!(1);
    fake.on(Method::GET, &ours(), [list(&[old])]);
    fake.on(
        Method::GET,
        &format!("{REPO}/check-runs/9/annotations?per_page=100"),
        [say(200, &json!([annotation(3)]))],
    );
    fake.on(
        Method::POST,
        &format!("{REPO}/check-runs"),
        [say(201, &run(11, "lockflight", "completed", None))],
    );
    let client = as_app(&fake, minted()).await;
    for annotations in [0, 1] {
        let outcome = client.set_check(&head(), &wanted(annotations)).await.unwrap();
        assert_eq!(outcome, CheckOutcome::Set(11));
    }
}

#[tokio::test]
async fn texts_are_cut_to_what_github_takes() {
    let fake = Fake::start().await;
    fake.on(Method::GET, &ours(), [list(&[])]);
    let create = format!("{REPO}/check-runs");
    fake.on(
        Method::POST,
        &create,
        [say(201, &run(9, "lockflight", "completed", None))],
    );
    let mut long = wanted(1);
    long.title = "t".repeat(70_000);
    long.summary = "ü".repeat(70_000);
    long.annotations[0].title = Some("ü".repeat(300));
    long.annotations[0].message = "m".repeat(70_000);
    let client = as_app(&fake, minted()).await;
    let outcome = client.set_check(&head(), &long).await.unwrap();
    assert_eq!(outcome, CheckOutcome::Set(9));
    let output = &sent(&fake, &Method::POST, &create)[0]["output"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(text(&output["title"]).len(), 65_535);
    assert_eq!(text(&output["summary"]).len(), 65_534, "whole characters");
    let annotation = &output["annotations"][0];
    assert_eq!(text(&annotation["title"]).chars().count(), 255);
    assert_eq!(text(&annotation["message"]).len(), 65_536);
}

#[tokio::test]
async fn who_may_not_write_check_runs_is_told_so_as_an_outcome() {
    let refused = |outcome: CheckOutcome| match outcome {
        CheckOutcome::NotAllowed(why) => why,
        CheckOutcome::Set(id) | CheckOutcome::Stands(id) => panic!("the run {id} was set"),
    };
    // A personal token never may.
    let fake = Fake::start().await;
    let outcome = fake.client().await.set_check(&head(), &wanted(0)).await.unwrap();
    assert!(refused(outcome).contains("only Apps"));
    assert!(fake.asked().is_empty(), "which is known without asking");

    // An App may not where the permission was not given.
    let client = as_app(&fake, not_granted()).await;
    for _ in 0..2 {
        let why = refused(client.set_check(&head(), &wanted(0)).await.unwrap());
        assert!(why.contains("\"Checks: write\""), "{why}");
    }
    assert_eq!(fake.count(&Method::POST, MINT), 2);

    // Or it was taken away meanwhile.
    for status in [403, 404] {
        let fake = Fake::start().await;
        fake.on(Method::GET, &ours(), [list(&[])]);
        let words = json!({"message": "Resource not accessible by integration"});
        fake.on(Method::POST, &format!("{REPO}/check-runs"), [say(status, &words)]);
        let client = as_app(&fake, minted()).await;
        let why = refused(client.set_check(&head(), &wanted(0)).await.unwrap());
        assert!(why.contains("not accessible"), "{why}");
    }
}

#[tokio::test]
async fn what_github_refuses_of_a_run_is_an_error() {
    let fake = Fake::start().await;
    fake.on(Method::GET, &ours(), [list(&[])]);
    fake.on(
        Method::POST,
        &format!("{REPO}/check-runs"),
        [say(422, &json!({"message": "No commit found for SHA"}))],
    );
    let client = as_app(&fake, minted()).await;
    let error = client.set_check(&head(), &wanted(0)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::User);
}

#[tokio::test]
async fn the_members_of_a_team_are_read_over_all_pages_with_a_token_of_their_own() {
    let fake = Fake::start().await;
    let path = "/orgs/acme/teams/platform/members?per_page=100";
    let member = |login: &str| json!({"login": login, "id": 1, "type": "User"});
    fake.on(
        Method::GET,
        path,
        [say(200, &json!([member("ann"), member("ben")]))
            .with("link", format!("</api/v3{path}&page=2>; rel=\"next\""))],
    );
    fake.on(
        Method::GET,
        &format!("{path}&page=2"),
        [say(200, &json!([member("cleo")]))],
    );
    let client = as_app(&fake, minted()).await;
    let members = client.team_members("acme", "platform").await.unwrap();
    let logins: Vec<&str> = members.iter().map(|login| login.as_str()).collect();
    assert_eq!(logins, ["ann", "ben", "cleo"]);
    assert_eq!(
        fake.asked()[1].body,
        json!({"repository_ids": [REPO_ID], "permissions": {"members": "read"}})
    );
}

#[tokio::test]
async fn a_team_that_cannot_be_read_says_which_permission_is_missing() {
    let fake = Fake::start().await;
    let client = as_app(&fake, not_granted()).await;
    let error = client.team_members("acme", "platform").await.unwrap_err();
    assert!(matches!(error, ForgeError::NotGranted { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::User);
    assert!(error.to_string().contains("\"Members: read\""), "{error}");

    for status in [403, 404] {
        let fake = Fake::start().await;
        fake.on(
            Method::GET,
            "/orgs/acme/teams/platform/members?per_page=100",
            [say(status, &json!({"message": "Must have admin rights"}))],
        );
        let error = fake
            .client()
            .await
            .team_members("acme", "platform")
            .await
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::User, "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("acme/platform") && text.contains("read:org"),
            "{text}"
        );
    }
}
