//! Much at once, and many who do it.

use std::fmt::Write as _;
use std::time::Duration;

use lockflight_tests::world::{Fleet, Role, put};

use crate::on;
use crate::policies::LAB;

/// Steps of one repository that are fetched and pushed in one go, as configured by default.
const BATCH: u64 = 32;

/// From `workspace` to forty labs, a pull request each.
fn forty_labs() -> String {
    let mut policy = "promotionPaths:\n  - sourcePath: \"workspace/\"\n    promotionPrs:\n".to_owned();
    for number in 0..40 {
        writeln!(
            policy,
            "      - targetDescription: \"Lab {number}\"\n        targetPaths: [\"clusters/lab-{number}/\"]"
        )
        .unwrap();
    }
    policy
}

/// Scenario: two hundred promotions of one repository wait. They are fetched and pushed in batches, and each is there once.
#[tokio::test]
async fn two_hundred_promotions_of_one_repository_are_fetched_and_pushed_in_batches() {
    on(Fleet::shared().with(Role::Executor, 1), &forty_labs())
        .unvalidated()
        .patience(Duration::from_mins(3))
        .run(async |world| {
            world.stop_one(Role::Executor, 0).await;
            let mut changes = Vec::new();
            for number in 0..5 {
                let path = format!("workspace/c{number}/values.yaml");
                changes.push(world.merge_change(&[put(&path, "replicas: 3\n")]).await);
            }
            for number in 0..changes.len() {
                world.until_logged_times("planned pull request", number + 1).await;
            }
            world.quiet().await;
            let before = world.forge.usage();
            world.start_one(Role::Executor, 0).await;
            for change in &changes {
                let _forty: [_; 40] = world.promotions_of(*change).await;
                world.until_status(*change, "success").await;
            }
            let after = world.forge.usage();
            let pushes = after.git().pushes - before.git().pushes;
            let fetches = after.git().fetches - before.git().fetches;
            // The first batch may begin before the others have arrived.
            let most = 200_u64.div_ceil(BATCH) + 1;
            assert!(
                pushes <= most,
                "{pushes} pushes for 200 promotions in batches of {BATCH}"
            );
            assert!(
                fetches <= most,
                "{fetches} fetches for 200 promotions in batches of {BATCH}"
            );
            assert_eq!(world.promotions().len(), 200);
            assert_eq!(world.promotion_branches().len(), 200);
        })
        .await;
}

/// An executor comes and another goes while there is work. Nothing is lost, nothing is there twice.
#[tokio::test]
async fn executors_that_come_and_go_lose_nothing() {
    on(
        Fleet::shared().with(Role::Executor, 2).with(Role::Planner, 2),
        LAB,
    )
    .run(async |world| {
        let mut changes = Vec::new();
        for round in 0..6 {
            let path = format!("workspace/c{round}/values.yaml");
            changes.push(world.merge_change(&[put(&path, "replicas: 3\n")]).await);
            match round {
                1 => world.start_one(Role::Executor, 2).await,
                2 => assert!(world.stop_one(Role::Executor, 0).await.success()),
                3 => world.kill_one(Role::Executor, 1).await,
                4 => world.start_one(Role::Executor, 0).await,
                _ => {}
            }
        }
        for change in &changes {
            let [_lab] = world.promotions_of(*change).await;
            world.until_status(*change, "success").await;
        }
        world.quiet().await;
        assert_eq!(world.promotions().len(), changes.len());
        assert_eq!(world.promotion_branches().len(), changes.len());
    })
    .await;
}
