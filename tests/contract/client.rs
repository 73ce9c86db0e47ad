//! Lockflight's own client on the sandbox, with every call held to GitHub's description.

use lockflight_forge::{
    Annotation, AnnotationLevel, Auth, CheckOutcome, CheckRun, CheckRunState, CheckState, Closing,
    Conclusion, Forge, ForgeConfig, ForgeError, PullRequestEdit, RepoClient,
};
use lockflight_promotion::{CommitOid, ErrorClass, PrNumber, RepoName};
use lockflight_sandbox::{AppOptions, Level};

use crate::world::{REPOSITORY, World};

const CHANGE: [(&str, Option<&str>); 1] = [("workspace/app/values.yaml", Some("replicas: 21\n"))];

fn name(name: &str) -> RepoName {
    RepoName::parse(name).unwrap()
}

fn forge(world: &World, auth: Auth) -> Forge {
    Forge::new(ForgeConfig::new(world.proxy.api_url(), auth)).unwrap()
}

fn as_app(world: &World) -> Forge {
    forge(world, Auth::app(world.app_id(), world.app_key()))
}

fn as_mona(world: &World) -> Forge {
    forge(world, Auth::token(world.mona_token.clone()))
}

async fn client(forge: &Forge) -> RepoClient {
    let found = forge.find(&name(REPOSITORY)).await.unwrap().unwrap();
    forge.repository(&found.repository).await.unwrap()
}

fn run(state: CheckRunState, annotations: u32) -> CheckRun {
    CheckRun {
        name: "lockflight".to_owned(),
        external_id: "promotion-1".to_owned(),
        state,
        title: "Waits for an approval of acme/platform".to_owned(),
        summary: "Then comes *production*.".to_owned(),
        annotations: (1..=annotations)
            .map(|line| Annotation {
                path: "workspace/app/values.yaml".to_owned(),
                start_line: line,
                end_line: line,
                level: AnnotationLevel::Warning,
                title: Some("Unknown key".to_owned()),
                message: format!("Line {line} means nothing."),
            })
            .collect(),
        details_url: Some("http://127.0.0.1/plan".to_owned()),
    }
}

#[tokio::test]
async fn repositories_of_several_owners_are_found_each_in_its_installation() {
    let world = World::start().await;
    world
        .forge
        .create_repository("umbrella/fleet", "trunk")
        .await
        .unwrap();
    world
        .forge
        .create_repository("umbrella/closed", "main")
        .await
        .unwrap();
    let other = world.forge.install(world.app_id(), &["umbrella/fleet"]).unwrap();

    let app = as_app(&world);
    let here = app.find(&name(REPOSITORY)).await.unwrap().unwrap();
    let there = app.find(&name("Umbrella/Fleet")).await.unwrap().unwrap();
    assert_eq!(there.repository.installation.map(|id| id.get()), Some(other));
    assert_ne!(here.repository.installation, there.repository.installation);
    assert_eq!(there.repository.name.to_string(), "umbrella/fleet");
    assert_eq!(there.default_branch.as_str(), "trunk");
    assert_eq!(
        there.repository.id.get(),
        world.forge.repository_id("umbrella/fleet").unwrap()
    );
    app.repository(&there.repository).await.unwrap();
    assert_eq!(app.find(&name("umbrella/closed")).await.unwrap(), None);
    assert_eq!(app.find(&name("no/where")).await.unwrap(), None);

    let mona = as_mona(&world);
    let seen = mona.find(&name("umbrella/fleet")).await.unwrap().unwrap();
    assert_eq!(seen.repository.id, there.repository.id);
    assert_eq!(mona.find(&name("no/where")).await.unwrap(), None);
    world.finish().await;
}

#[tokio::test]
async fn a_pull_request_is_edited_and_closed_once() {
    let world = World::start().await;
    let number = PrNumber::new(world.open_pull_request("edit", &CHANGE).await);
    let client = client(&as_app(&world)).await;
    let edit = PullRequestEdit {
        title: Some("Now with more".to_owned()),
        body: Some("Carries two changes.".to_owned()),
        ..PullRequestEdit::default()
    };
    let edited = client.update_pull_request(number, &edit).await.unwrap();
    assert_eq!(
        (edited.title.as_str(), edited.body.as_str()),
        ("Now with more", "Carries two changes.")
    );
    let closing = client.close_pull_request(number).await.unwrap();
    assert!(matches!(closing, Closing::Closed(_)), "{closing:?}");
    let closing = client.close_pull_request(number).await.unwrap();
    assert!(matches!(closing, Closing::AlreadyClosed(_)), "{closing:?}");
    world.finish().await;
}

#[tokio::test]
async fn what_ci_says_in_either_form_is_read() {
    let world = World::start().await;
    let sha = world.push("checked", &CHANGE).await;
    let commit = CommitOid::parse(&sha).unwrap();
    let forge = &world.forge;
    let set = async |check: &str, conclusion: Option<&str>| {
        forge
            .set_check_run(REPOSITORY, &sha, check, conclusion, "mona")
            .await
            .unwrap();
    };
    set("build", Some("failure")).await;
    set("build", None).await;
    set("lint", Some("neutral")).await;
    forge
        .set_status(REPOSITORY, &sha, "deploy", "pending", "mona")
        .await
        .unwrap();
    for client in [client(&as_app(&world)).await, client(&as_mona(&world)).await] {
        let checks = client.checks(&commit).await.unwrap();
        let found: Vec<(&str, CheckState)> = checks
            .list
            .iter()
            .map(|check| (check.name.as_str(), check.state))
            .collect();
        assert_eq!(
            found,
            [
                ("build", CheckState::Pending),
                ("deploy", CheckState::Pending),
                ("lint", CheckState::Success)
            ]
        );
        assert_eq!(checks.unreadable, None);
    }
    set("build", Some("success")).await;
    let checks = client(&as_app(&world)).await.checks(&commit).await.unwrap();
    assert_eq!(checks.named("build").unwrap().state, CheckState::Success);
    world
        .app_hooks
        .wait_for("check_run", |delivery| delivery.action() == "completed")
        .await;
    world.finish().await;
}

#[tokio::test]
async fn a_check_run_is_made_updated_and_continued_with_many_annotations() {
    let world = World::start().await;
    let sha = world.push("annotated", &CHANGE).await;
    let commit = CommitOid::parse(&sha).unwrap();
    let client = client(&as_app(&world)).await;
    let set = async |run: &CheckRun| match client.set_check(&commit, run).await.unwrap() {
        CheckOutcome::Set(id) | CheckOutcome::Stands(id) => id,
        CheckOutcome::NotAllowed(why) => panic!("{why}"),
    };
    let runs = || world.forge.check_runs(REPOSITORY, &sha).unwrap();

    let first = set(&run(CheckRunState::InProgress, 0)).await;
    let done = run(CheckRunState::Completed(Conclusion::ActionRequired), 120);
    assert_eq!(set(&done).await, first);
    assert_eq!(runs().len(), 1);
    assert_eq!(runs()[0].annotations.len(), 120);
    assert_eq!(runs()[0].conclusion.as_deref(), Some("action_required"));

    let before = client.calls();
    assert_eq!(set(&done).await, first);
    assert_eq!(
        client.calls() - before,
        3,
        "one list of runs and two pages of annotations are read, and nothing is written"
    );

    // Fewer annotations can't be had in the same run.
    let second = set(&run(CheckRunState::Completed(Conclusion::Success), 1)).await;
    assert_ne!(second, first);
    assert_eq!(runs().last().unwrap().annotations.len(), 1);
    let checks = client.checks(&commit).await.unwrap();
    assert_eq!(checks.named("lockflight").unwrap().state, CheckState::Success);

    let outcome = self::client(&as_mona(&world))
        .await
        .set_check(&commit, &done)
        .await
        .unwrap();
    assert!(matches!(outcome, CheckOutcome::NotAllowed(_)), "{outcome:?}");
    world.finish().await;
}

#[tokio::test]
async fn an_app_without_the_optional_permissions_says_what_it_cannot_do() {
    let world = World::start().await;
    let mut options = AppOptions::new("modest");
    options.permissions.remove("checks");
    options.permissions.remove("members");
    assert_eq!(options.permissions.get("statuses"), Some(&Level::Write));
    let modest = world.forge.add_app(options).await.unwrap();
    world.forge.install(modest.id, &[REPOSITORY]).unwrap();
    world.forge.set_team("acme", "platform", &["mona", "hubot"]);
    let sha = world.push("modest", &CHANGE).await;
    let commit = CommitOid::parse(&sha).unwrap();
    world
        .forge
        .set_status(REPOSITORY, &sha, "ci", "success", "mona")
        .await
        .unwrap();

    let forge = forge(&world, Auth::app(modest.id, modest.private_key_pem.clone()));
    let lacks = forge.checkup().await.unwrap();
    assert_eq!(lacks.lacks, Vec::<String>::new());
    assert_eq!(lacks.lacks_optional.len(), 2, "{lacks:?}");
    let client = client(&forge).await;
    let outcome = client
        .set_check(&commit, &run(CheckRunState::Queued, 0))
        .await
        .unwrap();
    assert!(
        matches!(&outcome, CheckOutcome::NotAllowed(why) if why.contains("Checks: write")),
        "{outcome:?}"
    );
    let checks = client.checks(&commit).await.unwrap();
    assert_eq!(checks.named("ci").unwrap().state, CheckState::Success);
    assert!(checks.unreadable.unwrap().contains("Checks: read"));
    let error = client.team_members("acme", "platform").await.unwrap_err();
    assert!(matches!(error, ForgeError::NotGranted { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::User);
    assert!(error.to_string().contains("Members: read"), "{error}");
    world.finish().await;
}

#[tokio::test]
async fn the_members_of_a_large_team_are_all_read() {
    let world = World::start().await;
    let logins: Vec<String> = (0..130).map(|number| format!("person-{number}")).collect();
    let logins: Vec<&str> = logins.iter().map(String::as_str).collect();
    world.forge.set_team("acme", "everybody", &logins);
    for forge in [as_app(&world), as_mona(&world)] {
        let client = client(&forge).await;
        let members = client.team_members("acme", "everybody").await.unwrap();
        assert_eq!(members.len(), 130);
        assert_eq!(members[129].as_str(), "person-129");
        let error = client.team_members("acme", "nobody").await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::User);
    }
    world.finish().await;
}
