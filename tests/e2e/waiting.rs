//! What waits costs nothing: no worker, and no request.

use lockflight_sandbox::Status;
use lockflight_tests::world::{World, put};

use crate::native::{native, said};

/// How many changes wait at the same time.
const MANY: usize = 100;

fn last(world: &World, change: u64) -> Option<Status> {
    world.statuses(change).pop()
}

#[tokio::test]
async fn a_hundred_changes_that_wait_for_the_end_of_a_freeze_ask_for_nothing_and_hold_up_nobody() {
    native(
        "
version: 1
environments:
  staging: { path: clusters/staging }
  production: { path: clusters/prod }
flows:
  - from: { path: workspace }
    when: { components: ['slow-*'] }
    waves: [{ to: [production] }]
  - from: { path: workspace }
    waves: [{ to: [staging] }]
freezes:
  - { environments: [production], cron: '* * * * *', duration: 366d, reason: 'the sale' }
",
    )
    .without_previews()
    .run(async |world| {
        let mut changes = Vec::with_capacity(MANY);
        for number in 0..MANY {
            let path = format!("workspace/slow-{number}/values.yaml");
            changes.push(world.merge_change(&[put(&path, "replicas: 3\n")]).await);
        }
        for change in &changes {
            world
                .until(&format!("#{change} to wait"), |_| {
                    said(&last(world, *change)?).contains("the sale").then_some(())
                })
                .await;
        }
        // Not one request, from now until nothing can follow any more, nor a line in the log.
        world.quiet().await;
        let before = world.forge.usage().rest_calls;
        world.quiet().await;
        assert_eq!(world.forge.usage().rest_calls, before);
        assert!(world.promotions().is_empty());

        let quick = world
            .merge_change(&[put("workspace/quick/values.yaml", "replicas: 3\n")])
            .await;
        let [promotion] = world.promotions_of(quick).await;
        assert_eq!(
            world.files_of(promotion.number).await,
            [("clusters/staging/quick/values.yaml".to_owned(), "added")]
        );
        for change in changes {
            assert!(said(&last(world, change).unwrap()).contains("the sale"));
        }
    })
    .await;
}
