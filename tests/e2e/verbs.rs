//! What each command of `/promote` does to a change on its way through waves. Who may give one, and how it is read, is in `commands`.

use lockflight_sandbox::Access;
use lockflight_tests::world::{HUBOT, MONA, REPOSITORY, Setup, World};

use crate::native::{change, native, said, until_said};

/// Staging, which gates may close, then production.
fn policy(gates: &str) -> Setup {
    let yaml = format!(
        "
version: 1
environments:
  staging: {{ path: clusters/staging }}
  production:
    domains:
      us-west1: {{ path: clusters/prod/us-west1 }}
      us-east4: {{ path: clusters/prod/us-east4 }}
flows:
  - from: {{ path: workspace }}
    waves:
      - {{ to: [staging], gates: {{ {gates} }} }}
      - {{ to: [production], pull_requests: per-domain }}
"
    );
    native(&yaml).setting("promotion.merge_poll=200ms")
}

/// Somebody says something that is done.
async fn done(world: &World, number: u64, command: &str) {
    let comment = world.say(number, command, MONA).await;
    world.until_reaction(number, comment, "rocket").await;
}

async fn refused(world: &World, number: u64, command: &str, by: &str, why: &str) {
    let comment = world.say(number, command, by).await;
    world.until_reaction(number, comment, "confused").await;
    world.until_comment(number, why).await;
}

#[tokio::test]
async fn what_is_skipped_is_left_out_and_the_rest_goes_on() {
    policy("")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            done(
                world,
                change,
                "/promote skip clusters/prod/us-west1 it is being rebuilt",
            )
            .await;
            world.until_comment(change, "it is being rebuilt").await;
            world.merge(staging.number).await;
            let [_, east] = world.promotions_of(change).await;
            assert_eq!(
                world.files_of(east.number).await,
                [("clusters/prod/us-east4/checkout/values.yaml".to_owned(), "added")]
            );
            world.merge(east.number).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 2);
            assert_eq!(
                world
                    .file("main", "clusters/prod/us-west1/checkout/values.yaml")
                    .await,
                None
            );
        })
        .await;
}

#[tokio::test]
async fn what_is_aborted_opens_nothing_more_until_it_is_released() {
    policy("")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            world.merge(staging.number).await;
            let [_, west, east] = world.promotions_of(change).await;
            world.merge(west.number).await;
            done(world, change, "/promote abort it leaks memory").await;
            let status = world.until_status(change, "failure").await;
            assert_eq!(said(&status), "Aborted by mona: it leaks memory");
            refused(
                world,
                change,
                "/promote retry",
                MONA,
                "`/promote release` goes before a retry",
            )
            .await;

            done(world, change, "/promote release").await;
            until_said(world, change, "Waiting for the merge of").await;
            world.until_comment(change, "**Nobody holds**").await;
            // The same pull request as before, or one in its place.
            let open = world
                .until("a pull request to us-east4", |_| {
                    world
                        .promotions()
                        .into_iter()
                        .rfind(|one| world.is_open(one.number))
                })
                .await;
            assert!(open.number >= east.number);
            world.merge(open.number).await;
            world.until_status(change, "success").await;
            for read in [east.number, open.number] {
                world.comments(read);
            }
        })
        .await;
}

#[tokio::test]
async fn an_override_opens_a_gate_for_those_who_may_and_says_who_it_was() {
    policy("soak: 30d")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            world.merge(staging.number).await;
            until_said(world, change, "to stand until").await;
            for (who, access) in [(HUBOT, Access::Write), (MONA, Access::Maintain)] {
                world.forge.set_access(REPOSITORY, who, access).unwrap();
            }
            refused(
                world,
                change,
                "/promote override soak I am in a hurry",
                HUBOT,
                "It needs the role maintain",
            )
            .await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);

            done(
                world,
                change,
                "/promote override soak wave 1 the fix of the outage",
            )
            .await;
            world.promotions_of::<3>(change).await;
            let record = world.until_comment(change, "the fix of the outage").await;
            assert!(
                record.body.contains("soak after wave 1") && record.body.contains("`mona`"),
                "{}",
                record.body
            );
        })
        .await;
}

#[tokio::test]
async fn a_retry_tries_what_stopped_anew() {
    policy("")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            let closed = world
                .forge
                .close_pull_request(REPOSITORY, staging.number, HUBOT)
                .await;
            closed.unwrap();
            until_said(world, change, "closed by people").await;
            let reopened = world
                .forge
                .reopen_pull_request(REPOSITORY, staging.number, HUBOT)
                .await;
            reopened.unwrap();
            done(world, change, "/promote retry").await;
            until_said(world, change, &format!("the merge of #{}", staging.number)).await;
            world.merge(staging.number).await;
            world.promotions_of::<3>(change).await;
        })
        .await;
}

#[tokio::test]
async fn those_who_only_ask_get_an_answer_and_change_nothing() {
    policy("")
        .run(async |world| {
            let change = change(world).await;
            let [staging] = world.promotions_of(change).await;
            until_said(world, change, "the merge of").await;
            done(world, change, "/promote help").await;
            let help = world.until_comment(change, "**Commands** stand at").await;
            for verb in ["hold", "release", "skip", "retry", "abort", "override"] {
                assert!(
                    help.body.contains(&format!("/promote {verb}")),
                    "{verb}: {}",
                    help.body
                );
            }
            done(world, change, "/promote status").await;
            let status = world.until_comment(change, "**Promotion of").await;
            assert!(
                status.body.contains(&format!("#{}", staging.number))
                    || status.body.contains(&format!("#&#8203;{}", staging.number)),
                "{}",
                status.body
            );
            done(world, change, "/promote explain checkout").await;
            let plan = world.until_comment(change, "**Plan:**").await;
            for target in [
                "clusters/staging",
                "clusters/prod/us-west1",
                "clusters/prod/us-east4",
            ] {
                assert!(plan.body.contains(target), "{target}: {}", plan.body);
            }
            // On the promotion, too, the commands are of the change that it promotes.
            done(world, staging.number, "/promote status").await;
            world
                .until_comment(staging.number, &format!("**Promotion of #{change}"))
                .await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 1);
        })
        .await;
}
