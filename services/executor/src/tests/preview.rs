use lockflight_forge::{PullRequest, PullRequestState};
use lockflight_promotion::BranchName;
use lockflight_promotion::message::{Body, Envelope, Preview, Report, Verdict};

use super::world::{World, names, oid};

fn preview(world: &World, pull: &PullRequest, comment: Option<&str>) -> Envelope {
    let mut envelope = world.report(Report::Preview(Box::new(Preview {
        title: "Waiting to be merged; then goes to lab".to_owned(),
        summary: "**Plan**\n".to_owned(),
        verdict: Verdict::Good,
        remarks: Vec::new(),
        comment: comment.map(str::to_owned),
        heeds_labels: true,
    })));
    let Body::Report(report) = &mut envelope.body else {
        unreachable!("a report was made")
    };
    report.change.number = pull.number;
    report.change.head = pull.head.clone();
    report.change.branch = pull.base_branch.clone();
    report.change.labels = pull.labels.clone();
    envelope
}

async fn world() -> (World, PullRequest) {
    let world = World::new();
    world.run(&[world.promote("lab")]).await;
    let pull = world.forge.state().pulls[0].clone();
    world.forge.state().statuses.clear();
    (world, pull)
}

#[tokio::test]
async fn a_preview_is_said_once_and_its_comment_only_where_there_is_one() {
    let (world, pull) = world().await;
    for (comment, comments) in [
        (None, &[][..]),
        (Some("drift"), &["drift"]),
        (Some("drift"), &["drift"]),
        (None, &["nothing needs anybody any more.\n"]),
        (None, &["nothing needs anybody any more.\n"]),
    ] {
        let done = world.run(&[preview(&world, &pull, comment)]).await;
        assert_eq!(names(&done[0]), ["reported"]);
        let state = world.forge.state();
        assert_eq!(state.comments.len(), comments.len());
        for (comment, end) in state.comments.iter().zip(comments) {
            assert!(comment.body.ends_with(end), "{}", comment.body);
        }
        let status = state.statuses.get(&pull.head).unwrap();
        assert_eq!(
            (status.context.as_str(), status.description.as_str()),
            ("lockflight/preview", "Waiting to be merged; then goes to lab")
        );
    }
}

#[tokio::test]
async fn a_preview_of_another_state_of_the_pull_request_is_not_said() {
    for change in [
        |pull: &mut PullRequest| pull.head = oid('9'),
        |pull: &mut PullRequest| pull.state = PullRequestState::Closed,
        |pull: &mut PullRequest| pull.merged = true,
        |pull: &mut PullRequest| assert!(pull.labels.insert("quick".to_owned())),
        |pull: &mut PullRequest| pull.base_branch = BranchName::parse("other").unwrap(),
    ] {
        let (world, pull) = world().await;
        change(&mut world.forge.state().pulls[0]);
        let done = world.run(&[preview(&world, &pull, Some("drift"))]).await;
        assert_eq!(names(&done[0]), ["ignored"]);
        let state = world.forge.state();
        assert!(state.comments.is_empty() && state.statuses.is_empty());
    }
}
