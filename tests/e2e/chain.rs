//! The whole way of a change.

use lockflight_tests::world::{BOT, HUBOT, MONA, REPOSITORY, World, put};

use crate::policies::{CHAIN, CHAIN_TARGETS};
use crate::world;

/// Merges one change and every promotion pull request that follows, as people do, to the end of [`CHAIN`].
pub(crate) async fn walk_the_chain(world: &World) -> Vec<u64> {
    let edits = [
        put("workspace/checkout/values.yaml", "replicas: 3\n"),
        put(
            "workspace/checkout/templates/budget.yaml",
            "kind: PodDisruptionBudget\n",
        ),
    ];
    let change = world.merge_change(&edits).await;
    let [lab] = world.promotions_of(change).await;
    world.merge(lab.number).await;
    let [staging] = world.promotions_of(lab.number).await;
    world.merge(staging.number).await;
    let [first_region] = world.promotions_of(staging.number).await;
    world.merge(first_region.number).await;
    let [americas, europe_and_asia] = world.promotions_of(first_region.number).await;
    world.merge(americas.number).await;
    world.merge(europe_and_asia.number).await;
    for last in [americas.number, europe_and_asia.number] {
        world.until_status(last, "success").await;
    }
    for target in CHAIN_TARGETS {
        world
            .assert_same_tree("main", "workspace/checkout", &format!("{target}/checkout"))
            .await;
    }
    vec![
        change,
        lab.number,
        staging.number,
        first_region.number,
        americas.number,
        europe_and_asia.number,
    ]
}

#[tokio::test]
async fn one_merge_travels_the_whole_chain() {
    let setup = world(CHAIN)
        .file("workspace/checkout/values.yaml", "replicas: 2\n")
        .file("workspace/search/values.yaml", "replicas: 1\n")
        .file("clusters/prod/asia-east1/c2/search/values.yaml", "of: its own\n");
    setup
        .run(async |world| {
            let way = walk_the_chain(world).await;
            assert_eq!(
                world.promotions().len(),
                5,
                "nothing follows the last group of production"
            );

            let titles: Vec<String> = world.promotions().into_iter().map(|one| one.title).collect();
            for place in [
                "Lab",
                "Staging",
                "Production, first region",
                "Production, Americas",
                "Production, Europe and Asia",
            ] {
                let title = format!("🚀 Promotion: checkout ➡️  {place}");
                assert!(titles.contains(&title), "{title:?} is not in {titles:?}");
            }
            for promotion in world.promotions() {
                assert_eq!(promotion.author, BOT);
                assert_eq!(promotion.labels, ["promotion"]);
                assert_eq!(
                    promotion.assignees,
                    [MONA],
                    "the author of the first change looks after all that follows"
                );
                let body = promotion.body.unwrap();
                assert!(body.starts_with("<!-- lockflight:v1 "), "{body}");
                assert!(
                    body.contains(&format!("- #{} by `{MONA}` changed `workspace`", way[0])),
                    "{body}"
                );
            }
            // The last pull requests tell of every hop.
            let body = world.pull_request(way[5]).body.unwrap();
            for number in &way[..4] {
                assert!(
                    body.contains(&format!("#{number} ")),
                    "#{number} is not in {body}"
                );
            }
            assert_eq!(
                world
                    .file("main", "clusters/prod/asia-east1/c2/search/values.yaml")
                    .await
                    .as_deref(),
                Some("of: its own\n"),
                "what the change did not touch stays as it is"
            );
        })
        .await;
}

#[tokio::test]
async fn the_merged_pull_request_tells_where_its_change_went() {
    world(CHAIN)
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [lab] = world.promotions_of(change).await;
            let status = world.until_status(change, "success").await;
            assert_eq!(status.creator, BOT);
            let description = status.description.unwrap();
            assert!(
                description.contains(&format!("#{} Lab", lab.number)),
                "{description}"
            );
            assert!(
                world.comments(change).is_empty(),
                "where nothing is to be done, nothing is said"
            );

            world.merge(lab.number).await;
            let [staging] = world.promotions_of(lab.number).await;
            let status = world.until_status(lab.number, "success").await;
            assert!(
                status
                    .description
                    .unwrap()
                    .contains(&format!("#{} Staging", staging.number))
            );
        })
        .await;
}

#[tokio::test]
async fn the_commit_of_a_promotion_differs_from_the_merge_at_its_targets_alone() {
    world(CHAIN)
        .file(
            "clusters/lab/europe-west4/c1/checkout/left-over.yaml",
            "old: true\n",
        )
        .run(async |world| {
            let number = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let merged_as = world.merge(number).await;
            let [lab] = world.promotions_of(number).await;
            let mut files = world.files_of(lab.number).await;
            files.sort();
            let path = |file: &str| format!("clusters/lab/europe-west4/c1/checkout/{file}");
            assert_eq!(
                files,
                [
                    (path("left-over.yaml"), "removed"),
                    (path("values.yaml"), "added")
                ]
            );

            let checkout = world.checkout(&lab.head.branch).await;
            assert_eq!(checkout.git(&["rev-parse", "HEAD^"]).await, merged_as);
            let message = checkout.git(&["log", "-1", "--format=%B"]).await;
            for trailer in ["Promotion-Id: ", "Promoted-From: ", "Traceparent: 00-"] {
                assert!(
                    message.lines().any(|line| line.starts_with(trailer)),
                    "no {trailer:?} in {message}"
                );
            }
        })
        .await;
}

#[tokio::test]
async fn a_change_of_another_person_is_assigned_to_that_person() {
    world(CHAIN)
        .run(async |world| {
            let branch = world.new_branch();
            world
                .commit(&branch, &[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let opened = world
                .forge
                .open_pull_request(REPOSITORY, &branch, "main", "More of it", HUBOT)
                .await;
            let number = opened.unwrap();
            world.merge(number).await;
            let [lab] = world.promotions_of(number).await;
            assert_eq!(lab.assignees, [HUBOT]);
            world.merge(lab.number).await;
            let [staging] = world.promotions_of(lab.number).await;
            assert_eq!(
                staging.assignees,
                [HUBOT],
                "though the bot is the author of the pull request before"
            );
        })
        .await;
}
