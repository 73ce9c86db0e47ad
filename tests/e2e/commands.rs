//! What people ask for in comments and by a label.

use lockflight_sandbox::{Access, Protection};
use lockflight_tests::world::{HUBOT, MONA, REPOSITORY, World, put};

use crate::policies::{LAB, LAB_BY_ITSELF};
use crate::world;

/// What `serve` is told so that it looks soon whether a merge has become possible.
const LOOK_SOON: &str = "promotion.merge_poll=200ms";

async fn merged_change(world: &World) -> u64 {
    world
        .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
        .await
}

/// Waits until nothing follows from a comment any more, which nothing has been done about.
async fn assert_unanswered(world: &World, number: u64, comment: u64) {
    world.quiet().await;
    assert!(world.reactions(number, comment).is_empty());
}

fn require_ci(world: &World) {
    let protection = Protection {
        required_contexts: vec!["ci".to_owned()],
        required_approvals: 0,
    };
    world
        .forge
        .protect_branch(REPOSITORY, "main", Some(protection))
        .unwrap();
}

#[tokio::test]
async fn what_is_held_is_not_merged_until_it_is_released() {
    world(LAB_BY_ITSELF)
        .setting(LOOK_SOON)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let hold = world
                .say(change, "/promote hold until 4h release party", MONA)
                .await;
            world.until_reaction(change, hold, "rocket").await;
            world.until_comment(change, "**Held until").await;
            world.merge(change).await;
            world.until_status(change, "pending").await;
            world.quiet().await;
            assert!(
                world.promotions().is_empty(),
                "nothing is opened while it is held"
            );

            let release = world.say(change, "/promote release", MONA).await;
            world.until_reaction(change, release, "rocket").await;
            world.until_comment(change, "**Nobody holds**").await;
            let [lab] = world.promotions_of(change).await;
            world.until_merged(lab.number).await;
        })
        .await;
}

#[tokio::test]
async fn a_hold_on_the_promotion_pull_request_keeps_it_from_being_merged() {
    world(LAB_BY_ITSELF)
        .setting(LOOK_SOON)
        .run(async |world| {
            require_ci(world);
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let pass = async |number: u64| {
                let head = world.pull_request(number).head.sha;
                let set = world.forge.set_status(REPOSITORY, &head, "ci", "success", MONA);
                set.await.unwrap();
            };
            pass(change).await;
            world.merge(change).await;
            let [lab] = world.promotions_of(change).await;
            let hold = world.say(lab.number, "/promote hold", MONA).await;
            world.until_reaction(lab.number, hold, "rocket").await;
            world.until_comment(change, "**Held** by `mona`").await;
            world.until_logged("is not merged: Held by mona").await;
            pass(lab.number).await;
            world.quiet().await;
            assert!(world.is_open(lab.number));

            let release = world.say(lab.number, "/promote release", MONA).await;
            world.until_reaction(lab.number, release, "rocket").await;
            world.until_merged(lab.number).await;
        })
        .await;
}

#[tokio::test]
async fn a_stranger_is_refused_and_told_what_it_needs() {
    world(LAB)
        .run(async |world| {
            world.forge.set_access(REPOSITORY, HUBOT, Access::Read).unwrap();
            let change = merged_change(world).await;
            world.promotions_of::<1>(change).await;
            let hold = world.say(change, "/promote hold", HUBOT).await;
            world.until_reaction(change, hold, "confused").await;
            world
                .until_comment(
                    change,
                    "It needs the role write in this repository; `hubot` has read.",
                )
                .await;
            assert!(
                world
                    .comments(change)
                    .iter()
                    .all(|one| !one.body.contains("Held"))
            );
            let status = world.say(change, "/promote status", HUBOT).await;
            world.until_reaction(change, status, "rocket").await;
            world.until_comment(change, "**Promotion of").await;
        })
        .await;
}

#[tokio::test]
async fn an_unknown_verb_is_answered_once_with_what_was_meant() {
    world(LAB)
        .run(async |world| {
            let change = merged_change(world).await;
            world.promotions_of::<1>(change).await;
            let typo = world.say(change, "/promote hodl", MONA).await;
            world.until_reaction(change, typo, "confused").await;
            world.until_comment(change, "Did you mean `/promote hold`?").await;
            world.quiet().await;
            assert_eq!(world.comments(change).len(), 1);
            assert_eq!(world.reactions(change, typo), ["eyes", "confused"]);
        })
        .await;
}

#[tokio::test]
async fn a_command_in_a_quote_or_in_code_does_nothing() {
    world(LAB)
        .run(async |world| {
            let change = merged_change(world).await;
            world.promotions_of::<1>(change).await;
            for body in [
                "> /promote hold\n\nno",
                "```\n/promote hold\n```",
                "please /promote hold",
                "/else",
            ] {
                let comment = world.say(change, body, MONA).await;
                assert_unanswered(world, change, comment).await;
            }
            assert!(world.comments(change).is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_redelivery_does_nothing_twice() {
    world(LAB)
        .run(async |world| {
            let change = merged_change(world).await;
            world.promotions_of::<1>(change).await;
            let hold = world.say(change, "/promote hold", MONA).await;
            world.until_reaction(change, hold, "rocket").await;
            world.until_comment(change, "**Held** by `mona`").await;
            let release = world.say(change, "/promote release", MONA).await;
            world.until_reaction(change, release, "rocket").await;
            world.until_comment(change, "**Nobody holds**").await;
            let mut told = world.forge.deliveries();
            told.retain(|one| one.event == "issue_comment" && one.action.as_deref() == Some("created"));
            assert!(told.len() >= 2, "{} deliveries", told.len());
            for delivery in told {
                let again = world.signed("issue_comment", &delivery.guid, delivery.payload);
                assert_eq!(world.post(&again).await, 202);
            }
            world.quiet().await;
            let comments = world.comments(change);
            assert_eq!(comments.len(), 1);
            assert!(comments[0].body.contains("**Nobody holds**"));
        })
        .await;
}

#[tokio::test]
async fn retrigger_plans_the_change_anew() {
    world(LAB)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.forge.webhook_faults().drop_next(1);
            world.merge(change).await;
            world.quiet().await;
            assert!(world.promotions().is_empty(), "nobody told of the merge");
            let retrigger = world.say(change, "/retrigger", MONA).await;
            world.until_reaction(change, retrigger, "rocket").await;
            world.promotions_of::<1>(change).await;
        })
        .await;
}

/// Has `/deploy-freeze` flip the status `ci/freeze`.
const TOGGLE: &str = r#"
toggleCommitStatus:
  deploy-freeze: ci/freeze
promotionPaths:
  - sourcePath: "workspace/"
    promotionPrs:
      - targetDescription: "Lab"
        targetPaths: ["clusters/lab/"]
"#;

#[tokio::test]
async fn the_policys_own_command_flips_a_status() {
    world(TOGGLE)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let head = world.pull_request(change).head.sha;
            let set = world
                .forge
                .set_status(REPOSITORY, &head, "ci/freeze", "success", HUBOT);
            set.await.unwrap();
            for (round, state) in ["failure", "success"].into_iter().enumerate() {
                let flip = world.say(change, "/deploy-freeze\n\nthank you", MONA).await;
                world.until_reaction(change, flip, "rocket").await;
                let mut all = world.forge.statuses(REPOSITORY, &head).unwrap();
                all.retain(|status| status.context == "ci/freeze");
                assert_eq!(all.len(), round + 2);
                assert_eq!(all.last().unwrap().state, state);
            }
            let part = world.say(change, "please /deploy-freeze", MONA).await;
            assert_unanswered(world, change, part).await;
        })
        .await;
}

#[tokio::test]
async fn the_label_show_plan_brings_the_plan_and_another_label_does_not() {
    world(LAB)
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.label(change, "show-plan").await;
            let plan = world.until_comment(change, "**Plan:** This change will go").await;
            assert!(plan.body.contains("`clusters/lab`"), "{}", plan.body);
            let before = plan.updated_at;
            world.label(change, "another").await;
            world.quiet().await;
            let comments = world.comments(change);
            assert_eq!((comments.len(), comments[0].updated_at), (1, before));
            assert!(world.promotions().is_empty());
        })
        .await;
}

#[tokio::test]
async fn controls_that_somebody_edited_hold_the_change() {
    world(LAB)
        .run(async |world| {
            let change = merged_change(world).await;
            world.promotions_of::<1>(change).await;
            let skip = world.say(change, "/promote skip clusters/prod", MONA).await;
            world.until_reaction(change, skip, "rocket").await;
            let ours = world.until_comment(change, "`clusters/prod`").await;
            let edited = ours.body.replacen("v1 ", "v1 A", 1);
            world
                .forge
                .edit_comment(REPOSITORY, ours.id, &edited, MONA)
                .await
                .unwrap();
            let status = world.say(change, "/promote status", MONA).await;
            world.until_reaction(change, status, "rocket").await;
            world
                .until_comment(change, "the comment with what people decided was edited")
                .await;
            let release = world.say(change, "/promote release", MONA).await;
            world.until_reaction(change, release, "rocket").await;
            world
                .until_comment(change, "**Nobody holds** the promotion")
                .await;
        })
        .await;
}
