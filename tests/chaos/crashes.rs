//! A process dies by its own hand right before or after one of its effects, at points that only a test binary has. Another goes on, and
//! everything is there once.

use http::Method;
use lockflight_sandbox::{Effect, Fault, RequestMatcher, Status};
use lockflight_tests::world::{Fleet, Role, Setup, World, put};

use crate::on;
use crate::policies::{DRY_RUN, LAB, LAB_APPROVED};

/// A fleet whose first process of a role dies when it comes to a point for the first time.
fn doomed(role: Role, point: &str, policy: &str) -> Setup {
    let fleet = Fleet::shared().environment(role, 0, "FAILPOINTS", &format!("{point}=1*return"));
    on(fleet, policy)
}

/// Merges a change, waits for the death, and starts the process again.
async fn change_and_death(world: &World, role: Role) -> u64 {
    let change = world
        .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
        .await;
    world.until_dead(role, 0).await;
    world.start_healthy(role, 0).await;
    change
}

async fn assert_promoted_once(world: &World, change: u64) {
    let [lab] = world.promotions_of(change).await;
    world.until_status(change, "success").await;
    assert_eq!((lab.labels.len(), lab.assignees.len()), (1, 1));
    world
        .assert_same_tree(&lab.head.sha, "workspace/checkout", "clusters/lab/checkout")
        .await;
    world.quiet().await;
    assert_eq!(world.promotions().len(), 1);
    assert_eq!(world.promotion_branches(), [lab.head.branch]);
    let told = world.statuses(change);
    assert!(
        told.iter().all(|status| status.state == "success"),
        "nobody was alarmed: {told:?}"
    );
}

async fn a_death_leaves_one_pull_request(role: Role, point: &str) {
    Box::pin(doomed(role, point, LAB).run(async |world| {
        let change = change_and_death(world, role).await;
        assert_promoted_once(world, change).await;
    }))
    .await;
}

macro_rules! deaths {
    ($($name:ident: $role:ident at $point:literal;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                a_death_leaves_one_pull_request(Role::$role, $point).await;
            }
        )*
    };
}

deaths! {
    planned_but_not_published: Planner at "planner.planned";
    steps_published_but_the_delivery_not_settled: Planner at "worker.followed";
    the_delivery_settled: Planner at "worker.settled";
    committed_but_not_pushed: Executor at "executor.committed";
    pushed_but_not_opened: Executor at "executor.pushed";
    opened_but_not_labelled: Executor at "executor.opened";
    labelled_but_not_settled: Executor at "executor.labelled";
    the_status_set_but_not_settled: Executor at "executor.status_set";
    outcomes_published_but_the_step_not_settled: Executor at "worker.followed";
    the_step_settled: Executor at "worker.settled";
}

/// GitHub got no answer, so it was a failed delivery to it: it comes again with the same GUID, and is promoted once.
#[tokio::test]
async fn published_but_not_answered() {
    doomed(Role::Ingress, "ingress.published", LAB)
        .run(async |world| {
            let change = change_and_death(world, Role::Ingress).await;
            let first = world.merge_delivery(change).await;
            assert!(!first.succeeded(), "{first:?}");
            world.redeliver_merge(change).await;
            assert_promoted_once(world, change).await;
        })
        .await;
}

#[tokio::test]
async fn verified_but_not_published() {
    doomed(Role::Ingress, "ingress.publishing", LAB)
        .run(async |world| {
            let change = change_and_death(world, Role::Ingress).await;
            world.quiet().await;
            assert!(world.promotions().is_empty(), "nothing was promised");
            world.redeliver_merge(change).await;
            assert_promoted_once(world, change).await;
        })
        .await;
}

#[tokio::test]
async fn commented_but_not_settled() {
    doomed(Role::Executor, "executor.commented", DRY_RUN)
        .run(async |world| {
            let change = change_and_death(world, Role::Executor).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(world.comments(change).len(), 1);
        })
        .await;
}

async fn a_death_leaves_one_merge(point: &str) {
    Box::pin(
        doomed(Role::Executor, point, LAB_APPROVED)
            .with_approver()
            .run(async |world| {
                let change = change_and_death(world, Role::Executor).await;
                let [lab] = world.promotions_of(change).await;
                let merged = world.until_merged(lab.number).await;
                assert_eq!(merged.reviews.len(), 1);
                assert_eq!(merged.reviews[0].commit_id, merged.head.sha);
                world.quiet().await;
                assert_eq!(world.promotions().len(), 1);
            }),
    )
    .await;
}

#[tokio::test]
async fn approved_but_not_settled() {
    a_death_leaves_one_merge("executor.approved").await;
}

#[tokio::test]
async fn merged_but_not_settled() {
    a_death_leaves_one_merge("executor.merged").await;
}

/// A report that comes back with its executor's deaths is not given up for that: it waits for its steps as often as for any other reason.
#[tokio::test]
async fn deaths_are_not_counted_as_failures_of_a_report() {
    const ATTEMPTS: usize = 4;
    let fleet = Fleet::shared()
        .queue_key("max_attempts", &ATTEMPTS.to_string())
        .environment(Role::Executor, 0, "FAILPOINTS", "executor.pushed=1*return");
    on(fleet, LAB)
        .run(async |world| {
            let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
            world.forge.faults().add(Fault {
                matcher: opening,
                times: 1,
                effect: Effect::Status(502),
            });
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            for _death in 0..ATTEMPTS {
                world.until_dead(Role::Executor, 0).await;
                world.start_one(Role::Executor, 0).await;
            }
            world.until_dead(Role::Executor, 0).await;
            world.start_healthy(Role::Executor, 0).await;
            assert_promoted_once(world, change).await;
        })
        .await;
}

/// A plan whose step is parked is told as failed once its report has waited as long as it may; when the step is released, a redelivery tells
/// that all is well.
#[tokio::test]
async fn a_plan_whose_step_is_parked_is_red_until_that_is_mended() {
    on(Fleet::shared().queue_key("max_attempts", "2"), LAB)
        .run(async |world| {
            let opening = RequestMatcher::rest(Method::POST, "/repos/*/*/pulls");
            world.forge.faults().add(Fault {
                matcher: opening,
                times: 2,
                effect: Effect::Status(502),
            });
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_comment(change, "502").await;
            let missing = "1 of 1 promotion pull request could not be opened";
            world
                .until("a status that tells of the plan", |_| {
                    let told = world.statuses(change);
                    let is_told =
                        |one: &Status| one.state == "failure" && one.description.as_deref() == Some(missing);
                    told.iter().any(is_told).then_some(())
                })
                .await;
            world.quiet().await;
            let (_, said) = world.command(&["parked"]).await;
            assert_eq!(said.matches("step.").count(), 1, "{said}");
            let id = said.split_whitespace().next().unwrap();
            let (status, said) = world.command(&["parked", "--release", id]).await;
            assert!(status.success(), "{said}");
            let [_lab] = world.promotions_of(change).await;
            world.redeliver_merge(change).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
        })
        .await;
}
