//! Rights: a GitHub App with its narrow tokens, and what is missing.

use http::Method;
use lockflight_sandbox::{Access, HoldPoint, RequestMatcher};
use lockflight_tests::client::Client;
use lockflight_tests::world::{BOT, REPOSITORY, put};

use crate::chain::walk_the_chain;
use crate::policies::{CHAIN, LAB};
use crate::world;

#[tokio::test]
async fn an_app_walks_the_whole_chain() {
    world(CHAIN)
        .as_app()
        .run(async |world| {
            walk_the_chain(world).await;
            assert!(
                world
                    .promotions()
                    .iter()
                    .all(|one| one.author == "lockflight[bot]")
            );
            let minted = world.calls("POST /app/installations/{id}/access_tokens");
            assert_eq!(
                minted, 2,
                "a token is kept while it is good, one of them for check runs alone"
            );
        })
        .await;
}

#[tokio::test]
async fn an_app_goes_on_when_its_token_has_expired() {
    world(LAB)
        .as_app()
        .run(async |world| {
            for component in ["checkout", "search"] {
                let path = format!("workspace/{component}/values.yaml");
                let change = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                let [_lab] = world.promotions_of(change).await;
                world.quiet().await;
                world.forge.expire_installation_tokens();
            }
        })
        .await;
}

#[tokio::test]
async fn the_token_of_an_app_reaches_one_repository_and_no_more_than_is_needed() {
    world(LAB)
        .as_app()
        .run(async |world| {
            world.forge.create_repository("acme/other", "main").await.unwrap();
            world
                .forge
                .commit_files("acme/other", "main", &[("a", Some(b"b"))], "Begin")
                .await
                .unwrap();
            // The installation as a whole may do this.
            world.forge.install(world.app(), &["acme/other"]).unwrap();
            let held = world
                .forge
                .faults()
                .hold(RequestMatcher::git_receive_pack(), HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the push", &held).await;
            let tokens = world.forge.installation_tokens();
            held.release();
            let [_lab] = world.promotions_of(change).await;

            assert!(!tokens.is_empty());
            for token in tokens {
                let thief = Client::new(
                    world.forge.url().trim_start_matches("http://").parse().unwrap(),
                    "/api/v3",
                )
                .bearer(&token);
                assert_eq!(
                    thief.get(&format!("/repos/{REPOSITORY}/pulls")).await.status,
                    200,
                    "the token is good"
                );
                let elsewhere = thief.get("/repos/acme/other/pulls").await.status;
                assert!(
                    [403, 404].contains(&elsewhere),
                    "another repository answers {elsewhere}"
                );
                let hooks = thief.get(&format!("/repos/{REPOSITORY}/hooks")).await.status;
                assert!([403, 404].contains(&hooks), "the webhooks answer {hooks}");
            }
        })
        .await;
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_is_made_good_by_a_redelivery() {
    world(LAB)
        .without_previews()
        .run(async |world| {
            world.forge.set_access(REPOSITORY, BOT, Access::None).unwrap();
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let line = world.until_logged("parked").await;
            assert!(
                line.contains("the token cannot see it") && line.contains("permission"),
                "{line}"
            );
            world.quiet().await;
            assert!(world.promotions().is_empty());

            world.forge.set_access(REPOSITORY, BOT, Access::Write).unwrap();
            world.redeliver_merge(change).await;
            let [_lab] = world.promotions_of(change).await;
            world.until_status(change, "success").await;
        })
        .await;
}

#[tokio::test]
async fn a_repository_that_may_only_be_read_is_made_good_by_a_redelivery() {
    world(LAB)
        .without_previews()
        .run(async |world| {
            world.forge.set_access(REPOSITORY, BOT, Access::Read).unwrap();
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let line = world
                .until_logged("check that the token may read and write")
                .await;
            assert!(!line.is_empty());
            world.quiet().await;
            assert!(world.promotions().is_empty());

            world.forge.set_access(REPOSITORY, BOT, Access::Write).unwrap();
            world.redeliver_merge(change).await;
            let [_lab] = world.promotions_of(change).await;
            world.until_status(change, "success").await;
            world.quiet().await;
            // What it had to say then can be said now, or is no longer true; never both.
            assert!(world.comments(change).len() <= 1);
        })
        .await;
}

#[tokio::test]
async fn an_app_that_was_suspended_goes_on_after_a_redelivery() {
    world(LAB)
        .without_previews()
        .as_app()
        .run(async |world| {
            let reading = RequestMatcher::rest(Method::GET, "/repos/*/*/pulls/*");
            let held = world.forge.faults().hold(reading, HoldPoint::BeforeEffect);
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_held("the pull request", &held).await;
            let installation = world.installation();
            world.forge.suspend(installation, true).unwrap();
            held.release();
            let line = world.until_logged("parked").await;
            assert!(line.contains("suspended"), "{line}");
            world.forge.suspend(installation, false).unwrap();
            world.redeliver_merge(change).await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}

#[tokio::test]
async fn an_app_asks_by_itself_for_what_came_while_it_was_down() {
    world(LAB)
        .as_app()
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.kill().await;
            world.merge(change).await;
            assert!(!world.merge_delivery(change).await.succeeded());
            world.restart().await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}

#[tokio::test]
async fn an_app_asks_by_itself_for_a_webhook_that_was_lost() {
    world(LAB)
        .as_app()
        .setting("github.sweep_every=1s")
        .run(async |world| {
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.forge.webhook_faults().drop_next(1);
            world.merge(change).await;
            let [_lab] = world.promotions_of(change).await;
        })
        .await;
}
