//! Much at once, and many who do it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lockflight_tests::world::{Fleet, Role, put};

use crate::on;
use crate::policies::LAB;

/// Steps of one repository that are fetched and pushed in one go, as configured by default.
const BATCH: u64 = 32;

/// From `workspace` to forty labs, a pull request each, and from `first` to one place.
fn forty_labs() -> String {
    let mut policy = "promotionPaths:
  - sourcePath: \"first/\"
    promotionPrs:
      - targetPaths: [\"clusters/first/\"]
  - sourcePath: \"workspace/\"
    promotionPrs:
"
    .to_owned();
    for number in 0..40 {
        writeln!(
            policy,
            "      - targetDescription: \"Lab {number}\"\n        targetPaths: [\"clusters/lab-{number}/\"]"
        )
        .unwrap();
    }
    policy
}

/// Scenario: two hundred promotions of one repository wait. They are fetched and pushed in batches, each is there once, and each target
/// gets its promotions in the order in which the changes were merged; however many executors there are.
async fn two_hundred_promotions_are_drained_by(executors: usize) {
    on(Fleet::shared().with(Role::Executor, executors), &forty_labs())
        .unvalidated()
        .patience(Duration::from_mins(3))
        .run(async |world| {
            for number in 0..executors {
                world.stop_one(Role::Executor, number).await;
            }
            // Whoever begins with an empty mirror also asks for what leads to the components; that is not what is counted here.
            for number in 0..executors {
                world.start_one(Role::Executor, number).await;
                let path = format!("first/c{number}/values.yaml");
                let first = world.merge_change(&[put(&path, "replicas: 3\n")]).await;
                let [_one] = world.promotions_of(first).await;
                world.until_status(first, "success").await;
                world.quiet().await;
                world.stop_one(Role::Executor, number).await;
            }
            let mut changes = Vec::new();
            for number in 0..5 {
                let path = format!("workspace/c{number}/values.yaml");
                changes.push(world.merge_change(&[put(&path, "replicas: 3\n")]).await);
            }
            for number in 0..changes.len() {
                world
                    .until_logged_times("planned pull request", executors + number + 1)
                    .await;
            }
            world.quiet().await;
            let before = world.forge.usage();
            for number in 0..executors {
                world.start_one(Role::Executor, number).await;
            }
            let mut lanes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            for change in &changes {
                let forty: [_; 40] = world.promotions_of(*change).await;
                world.until_status(*change, "success").await;
                for promotion in forty {
                    let (_, lab) = promotion.title.rsplit_once("Lab ").unwrap();
                    lanes.entry(lab.to_owned()).or_default().push(promotion.number);
                }
            }
            world.quiet().await;
            assert_eq!(lanes.len(), 40);
            assert!(lanes.values().all(|numbers| numbers.is_sorted()), "{lanes:?}");
            let after = world.forge.usage();
            let pushes = after.git().pushes - before.git().pushes;
            let looks = after.git().looks - before.git().looks;
            let fetches = after.git().fetches - before.git().fetches - looks;
            // The first batch may begin before the others have arrived, and the repository may change hands while executors come.
            let most = 200_u64.div_ceil(BATCH) + executors as u64;
            assert!(
                pushes <= most,
                "{pushes} pushes for 200 promotions in batches of {BATCH}"
            );
            assert!(
                looks <= most,
                "{looks} looks at the branch for 200 promotions in batches of {BATCH}"
            );
            // Nothing is merged any more: whoever has the repository fetches once what it has not.
            assert!(
                fetches <= executors as u64,
                "{fetches} fetches for 200 promotions by {executors} executors"
            );
            let all = executors + 200;
            assert_eq!(world.promotions().len(), all);
            assert_eq!(world.promotion_branches().len(), all);
            assert_eq!(world.calls("POST /repos/{owner}/{repo}/pulls"), all as u64);
        })
        .await;
}

#[tokio::test]
async fn two_hundred_promotions_of_one_repository_are_fetched_and_pushed_in_batches() {
    two_hundred_promotions_are_drained_by(1).await;
}

#[tokio::test]
async fn five_executors_drain_two_hundred_promotions_of_one_repository_as_one_does() {
    two_hundred_promotions_are_drained_by(5).await;
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
