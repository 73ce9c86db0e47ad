use std::time::Duration;

use lockflight_fleet::worker::Done;
use lockflight_forge::{
    AccountType, Collaborator, PullRequest, PullRequestState, ReactionKind, RepoRef, Status, StatusState,
};
use lockflight_git::testing::{REPO, branch};
use lockflight_promotion::command::{Role, SHOW_PLAN};
use lockflight_promotion::control::ControlsRead;
use lockflight_promotion::message::{Body, CommandV1, Envelope, Outcome, Sender};
use lockflight_promotion::text::controls;
use lockflight_promotion::text::marker::{self, Marker, MarkerKey};
use lockflight_promotion::{CommitOid, ErrorClass, PrNumber};

use super::world::{World, login, oid, repository};

const SOURCE: PrNumber = PrNumber::new(7);

/// A merged change, and people of each kind.
fn world() -> World {
    populate(World::new())
}

fn populate(world: World) -> World {
    {
        let mut state = world.forge.state();
        let merge = world.main.clone();
        state.pulls.push(pull_request(7, Some(merge)));
        for (name, id, role) in [
            ("mona", 4, Role::Write),
            ("admin", 5, Role::Admin),
            ("stranger", 6, Role::Read),
        ] {
            state.people.insert(name.to_owned(), Collaborator { id, role });
        }
    }
    world
}

fn pull_request(number: u64, merge_commit: Option<CommitOid>) -> PullRequest {
    let repo = RepoRef {
        id: REPO,
        name: repository().name,
        default_branch: "main".to_owned(),
    };
    let merged = merge_commit.is_some();
    PullRequest {
        number: PrNumber::new(number),
        node_id: String::new(),
        html_url: String::new(),
        title: "Raise the replicas".to_owned(),
        body: String::new(),
        author: login("ann"),
        author_type: AccountType::User,
        state: if merged {
            PullRequestState::Closed
        } else {
            PullRequestState::Open
        },
        draft: false,
        merged,
        merged_at: None,
        merge_commit,
        head: oid('c'),
        head_branch: "replicas".to_owned(),
        head_repo: Some(repo.clone()),
        base_branch: branch("main"),
        base: oid('b'),
        base_repo: repo,
        labels: [].into(),
        assignees: Vec::new(),
        commits: None,
        changed_files: None,
        mergeable: None,
        mergeable_state: None,
        created_at: 0,
        updated_at: 0,
    }
}

fn sender(name: &str) -> Sender {
    let id = match name {
        "mona" => 4,
        "admin" => 5,
        "stranger" => 6,
        _ => 99,
    };
    Sender {
        id,
        login: login(name),
    }
}

fn asked(comment: u64, by: &str, line: &str) -> CommandV1 {
    CommandV1 {
        parts: Vec::new(),
        number: SOURCE,
        head: oid('c'),
        comment: Some(comment),
        by: sender(by),
        at_s: 1_764_000_000,
        line: line.to_owned(),
        toggle: None,
        answer: None,
    }
}

/// Has it done; gives whether it was, and what else follows.
async fn give(world: &World, command: CommandV1) -> (bool, Vec<Envelope>) {
    let done = world.run(&[world.command(command)]).await.remove(0);
    let Ok(Done::Ack(mut follow)) = done else {
        panic!("{done:?}")
    };
    let last = follow.pop().expect("the journal is told");
    let Body::Outcome(Outcome::Commanded { done, .. }) = last.body else {
        panic!("{last:?}")
    };
    (done, follow)
}

fn reactions(world: &World, comment: u64) -> Vec<ReactionKind> {
    let state = world.forge.state();
    let all = state.reactions.get(&comment).into_iter().flatten();
    all.map(|reaction| reaction.kind).collect()
}

fn said(world: &World) -> Vec<String> {
    let state = world.forge.state();
    state
        .comments
        .iter()
        .map(|comment| comment.body.clone())
        .collect()
}

fn decided(world: &World) -> ControlsRead {
    let bodies = said(world);
    controls::read(
        &[MarkerKey::derive(b"secret")],
        REPO,
        SOURCE,
        bodies.iter().map(String::as_str),
    )
}

#[tokio::test]
async fn a_hold_stands_in_one_comment_and_a_release_ends_it() {
    let world = world();
    let (done, follow) = give(&world, asked(500, "mona", "/promote hold until 2h party")).await;
    assert!(done);
    assert_eq!(reactions(&world, 500), [ReactionKind::Eyes, ReactionKind::Rocket]);
    assert!(decided(&world).hindrance(1_764_000_000).is_some());
    assert!(decided(&world).hindrance(1_764_007_200).is_none());
    assert!(said(&world)[0].contains("**Held until 2025-11-24 18:00 UTC** by `mona`"));
    // Somebody looks at the change anew.
    assert!(matches!(&follow[..], [one] if matches!(one.body, Body::Delivery(_))));

    let (done, _) = give(&world, asked(501, "admin", "/promote release")).await;
    assert!(done);
    assert_eq!(said(&world).len(), 1, "it is the same comment");
    assert!(decided(&world).hindrance(1_764_000_000).is_none());
}

#[tokio::test]
async fn the_same_message_twice_does_nothing_twice() {
    let world = world();
    for (comment, line) in [
        (500, "/promote hold"),
        (501, "/promote nonsense"),
        (502, "/promote help"),
    ] {
        let command = asked(comment, "mona", line);
        drop(give(&world, command.clone()).await);
        let (said_once, reacted_once) = (said(&world), reactions(&world, comment));
        let again = world.run(&[world.command(command)]).await.remove(0);
        assert!(matches!(again, Ok(Done::Ack(follow)) if follow.is_empty()));
        assert_eq!(said(&world), said_once);
        assert_eq!(reactions(&world, comment), reacted_once);
    }
}

#[tokio::test]
async fn an_attempt_that_ended_before_its_last_reaction_does_nothing_twice() {
    let world = world();
    drop(give(&world, asked(500, "mona", "/promote hold")).await);
    drop(give(&world, asked(501, "mona", "/promote release")).await);
    let said_once = said(&world);
    world.forge.state().reactions.clear();
    let (done, _) = give(&world, asked(500, "mona", "/promote hold")).await;
    assert!(done);
    assert_eq!(
        said(&world),
        said_once,
        "the hold that was released does not come back"
    );
}

#[tokio::test]
async fn who_may_is_decided_by_role_and_by_the_id_of_the_account() {
    let world = world();
    for (comment, by, id, line, done) in [
        (500, "stranger", 6, "/promote hold", false),
        (501, "stranger", 6, "/promote status", true),
        (502, "mona", 4, "/promote override soak hotfix", false),
        (503, "admin", 5, "/promote override soak hotfix", true),
        (504, "mona", 44, "/promote hold", false),
        (505, "gone", 99, "/promote help", false),
    ] {
        let mut command = asked(comment, by, line);
        command.by.id = id;
        assert_eq!(give(&world, command).await.0, done, "{by}: {line}");
        let last = *reactions(&world, comment).last().unwrap();
        assert_eq!(last == ReactionKind::Rocket, done, "{by}: {line}");
    }
    let said = said(&world).join("\n");
    assert!(said.contains("It needs the role write in this repository; `stranger` has read."));
    assert!(said.contains("`mona` has passed to another account"));
    assert!(decided(&world).hindrance(0).is_none());
}

#[tokio::test]
async fn what_was_written_for_another_head_is_refused_unless_it_only_asks() {
    let world = world();
    for (comment, line, done) in [
        (500, "/promote hold", false),
        (501, "/promote retry", false),
        (502, "/promote status", true),
    ] {
        let command = CommandV1 {
            head: oid('d'),
            ..asked(comment, "mona", line)
        };
        assert_eq!(give(&world, command).await.0, done, "{line}");
    }
    assert!(said(&world)[0].contains("has moved from `dddddddddddd` to `cccccccccccc`"));
    assert_eq!(decided(&world), ControlsRead::Absent);
}

#[tokio::test]
async fn a_mistake_is_answered_once_with_what_was_meant() {
    let world = world();
    let (done, follow) = give(&world, asked(500, "stranger", "/promote hodl")).await;
    assert!(!done && follow.is_empty());
    assert_eq!(said(&world).len(), 1);
    assert!(said(&world)[0].contains("Did you mean `/promote hold`?"));
    assert_eq!(
        reactions(&world, 500),
        [ReactionKind::Eyes, ReactionKind::Confused]
    );
}

#[tokio::test]
async fn a_command_on_a_promotion_pull_request_is_about_its_source() {
    let world = world();
    let change = world.change();
    let step = world.step("lab");
    let line = marker::write(
        &MarkerKey::derive(b"secret"),
        REPO,
        &step.branch,
        &Marker::of(&change, None, &step),
    );
    let mut promotion = pull_request(9, None);
    promotion.head_branch = step.branch.to_string();
    promotion.body = format!("{line}\nPromotes it.");
    world.forge.state().pulls.push(promotion);
    let command = CommandV1 {
        number: PrNumber::new(9),
        ..asked(500, "mona", "/promote hold")
    };
    assert!(give(&world, command).await.0);
    assert!(decided(&world).hindrance(0).is_some());
    let state = world.forge.state();
    assert_eq!(state.comments[0].number, Some(SOURCE));
}

#[tokio::test]
async fn a_change_that_is_not_merged_can_be_held_and_not_planned_anew() {
    let world = world();
    world.forge.state().pulls.push(pull_request(8, None));
    let on_eight = |comment, line| CommandV1 {
        number: PrNumber::new(8),
        ..asked(comment, "mona", line)
    };
    let (done, follow) = give(&world, on_eight(500, "/promote hold")).await;
    assert!(done && follow.is_empty());
    let (done, follow) = give(&world, on_eight(501, "/promote replan")).await;
    assert!(!done && follow.is_empty());
    assert!(said(&world).iter().any(|said| said.contains("#8 is not merged")));
}

#[tokio::test]
async fn a_replan_is_told_to_a_planner_as_the_merge_was() {
    let world = world();
    for (comment, line) in [
        (500, "/promote replan"),
        (501, "/retrigger"),
        (502, "/promote retry"),
    ] {
        let (done, follow) = give(&world, asked(comment, "mona", line)).await;
        assert!(done, "{line}");
        let [message] = &follow[..] else {
            panic!("{follow:?}")
        };
        let Body::Delivery(delivery) = &message.body else {
            panic!("{message:?}")
        };
        assert_eq!(delivery.event, "pull_request");
        assert_eq!(
            delivery.pull_request.as_ref().map(|hint| hint.number),
            Some(SOURCE)
        );
        assert_eq!(message.id.as_str(), format!("replan:{REPO}:7:{comment}"));
        assert_eq!(message.routing_key(), "delivery.pull_request");
    }
    drop(give(&world, asked(503, "mona", "/promote hold")).await);
    let (done, _) = give(&world, asked(504, "mona", "/promote retry")).await;
    assert!(!done, "what is held is not tried anew");
}

#[tokio::test]
async fn a_status_is_flipped_once_by_a_comment() {
    let world = world();
    let status = |state| Status {
        state,
        context: "ci/freeze".to_owned(),
        description: "by CI".to_owned(),
        target_url: None,
    };
    let flip = |comment| CommandV1 {
        toggle: Some("ci/freeze".to_owned()),
        ..asked(comment, "mona", "/deploy-freeze")
    };
    let (done, _) = give(&world, flip(500)).await;
    assert!(!done, "there is none yet");
    let set = |state| drop(world.forge.state().statuses.insert(oid('c'), status(state)));
    let stands = || world.forge.state().statuses[&oid('c')].clone();
    set(StatusState::Success);
    assert!(give(&world, flip(501)).await.0);
    assert_eq!(stands().state, StatusState::Failure);
    assert_eq!(stands().description, "Comment 501: set to failure by mona");
    // An attempt that ended before the rocket comes again.
    world.forge.state().reactions.clear();
    assert!(give(&world, flip(501)).await.0);
    assert_eq!(stands().state, StatusState::Failure);
    assert!(give(&world, flip(502)).await.0);
    assert_eq!(stands().state, StatusState::Success);
    set(StatusState::Pending);
    assert!(!give(&world, flip(503)).await.0);
    assert_eq!(stands().state, StatusState::Pending);
}

#[tokio::test]
async fn a_plan_that_a_label_asks_for_stands_in_one_comment() {
    let world = world();
    for text in ["Plan one.", "Plan two."] {
        let command = CommandV1 {
            comment: None,
            answer: Some(text.to_owned()),
            ..asked(0, "stranger", SHOW_PLAN)
        };
        assert!(give(&world, command).await.0);
        assert_eq!(said(&world).len(), 1);
        assert!(said(&world)[0].ends_with(text));
    }
}

#[tokio::test]
async fn controls_that_a_person_edited_hold_until_they_are_begun_anew() {
    let world = world();
    drop(give(&world, asked(500, "mona", "/promote skip clusters/lab")).await);
    {
        let mut state = world.forge.state();
        let body = &mut state.comments[0].body;
        *body = body.replacen("v1 ", "v1 A", 1);
    }
    assert_eq!(decided(&world), ControlsRead::Forged);
    let (done, _) = give(&world, asked(501, "mona", "/promote skip clusters/prod")).await;
    assert!(!done);
    let (done, _) = give(&world, asked(502, "mona", "/promote release")).await;
    assert!(done);
    assert!(matches!(decided(&world), ControlsRead::Valid(_)));
    assert!(decided(&world).hindrance(0).is_none());
}

#[tokio::test]
async fn nothing_is_written_under_a_lease_that_is_over() {
    let world = populate(World::with_lock(Duration::ZERO, false));
    let command = world.command(asked(500, "mona", "/promote hold"));
    let done = world.run(&[command]).await.remove(0);
    assert_eq!(done.unwrap_err().class, ErrorClass::Retry);
    assert!(said(&world).is_empty());
    assert_eq!(reactions(&world, 500), [ReactionKind::Eyes]);
}

#[tokio::test]
async fn status_says_how_it_is_and_who_holds_it() {
    let world = world();
    drop(give(&world, asked(500, "mona", "/promote hold party")).await);
    assert!(give(&world, asked(501, "stranger", "/promote status")).await.0);
    let answer = said(&world).pop().unwrap();
    assert!(
        answer.contains("**Promotion of #7:** nothing has been said about it yet"),
        "{answer}"
    );
    assert!(answer.contains("Held by mona until released: party"), "{answer}");
}
