//! Waves side by side and together again, and which places share a pull request.

use lockflight_tests::world::{Setup, World, put};

use crate::native::{change, native, until_said};

/// Two waves side by side, and one that begins after `after` of them.
fn policy(after: &str) -> Setup {
    let yaml = format!(
        "
version: 1
environments:
  europe: {{ path: clusters/europe }}
  america: {{ path: clusters/america }}
  asia: {{ path: clusters/asia }}
flows:
  - from: {{ path: workspace }}
    waves:
      - {{ name: east, to: [europe] }}
      - {{ name: west, to: [america], after: {{ all: [] }} }}
      - {{ name: last, to: [asia], after: {{ {after}: [east, west] }} }}
"
    );
    native(&yaml).setting("promotion.merge_poll=200ms")
}

/// What each promotion pull request changes, in the order of their numbers.
async fn contents(world: &World) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for promotion in world.promotions() {
        let files = world.files_of(promotion.number).await;
        all.push(files.into_iter().map(|(path, _)| path).collect());
    }
    all
}

fn at(place: &str) -> Vec<String> {
    vec![format!("clusters/{place}/checkout/values.yaml")]
}

#[tokio::test]
async fn a_wave_after_all_of_several_waits_for_the_last_of_them() {
    policy("all")
        .run(async |world| {
            let change = change(world).await;
            let [one, other] = world.promotions_of(change).await;
            let mut seen = contents(world).await;
            seen.sort();
            assert_eq!(seen, [at("america"), at("europe")], "both at once");
            world.merge(other.number).await;
            until_said(world, change, &format!("the merge of #{} ", one.number)).await;
            world.quiet().await;
            assert_eq!(world.promotions().len(), 2);
            world.merge(one.number).await;
            let [_, _, last] = world.promotions_of(change).await;
            assert_eq!(contents(world).await[2], at("asia"));
            world.merge(last.number).await;
            world.until_status(change, "success").await;
        })
        .await;
}

#[tokio::test]
async fn a_wave_after_any_of_several_begins_with_the_first_of_them() {
    policy("any")
        .run(async |world| {
            let change = change(world).await;
            let [one, other] = world.promotions_of(change).await;
            world.merge(other.number).await;
            let [_, _, last] = world.promotions_of(change).await;
            assert_eq!(contents(world).await[2], at("asia"));
            assert!(world.is_open(one.number));
            world.merge(last.number).await;
            until_said(world, change, &format!("the merge of #{} ", one.number)).await;
            world.merge(one.number).await;
            world.until_status(change, "success").await;
        })
        .await;
}

#[tokio::test]
async fn places_share_a_pull_request_as_the_wave_has_it() {
    for (pull_requests, together) in [
        (
            "per-wave",
            vec![vec!["lab", "prod/east", "prod/north", "prod/west"]],
        ),
        (
            "per-environment",
            vec![vec!["lab"], vec!["prod/east", "prod/north", "prod/west"]],
        ),
        (
            "per-domain",
            vec![
                vec!["lab"],
                vec!["prod/east"],
                vec!["prod/north"],
                vec!["prod/west"],
            ],
        ),
        (
            "[[lab, production/west], { name: the others, to: [production] }]",
            vec![vec!["lab", "prod/west"], vec!["prod/east", "prod/north"]],
        ),
    ] {
        let yaml = format!(
            "
version: 1
environments:
  lab: {{ path: clusters/lab }}
  production:
    path: 'clusters/prod/{{domain}}'
    domains: {{ west: , east: , north: }}
flows:
  - from: {{ path: workspace }}
    waves:
      - {{ to: [lab, production], pull_requests: {pull_requests} }}
"
        );
        native(&yaml)
            .run(async |world| {
                let change = change(world).await;
                let expected: Vec<Vec<String>> = together
                    .into_iter()
                    .map(|places| places.into_iter().flat_map(at).collect())
                    .collect();
                world
                    .until(&format!("{} pull requests", expected.len()), |_| {
                        (world.promotions().len() >= expected.len()).then_some(())
                    })
                    .await;
                world.until_status(change, "success").await;
                world.quiet().await;
                let mut seen = contents(world).await;
                seen.sort();
                assert_eq!(seen, expected, "{pull_requests}");
            })
            .await;
    }
}

#[tokio::test]
async fn newer_changes_do_not_keep_an_older_one_from_having_stood_long_enough() {
    native(
        "
version: 1
environments:
  staging: { path: clusters/staging }
  production: { path: clusters/prod }
flows:
  - from: { path: workspace }
    waves:
      - { to: [staging], merge: auto, gates: { soak: 4s } }
      - { to: [production] }
",
    )
    .setting("promotion.merge_poll=200ms")
    .run(async |world| {
        let first = change(world).await;
        until_said(world, first, "to stand until").await;
        let [staging] = world.promotions_of(first).await;
        let merged = world.pull_request(staging.number).merged_at.unwrap().unix();
        // Another change of the same component each second, for as long as the first one stands.
        let production = async || {
            world
                .promotions()
                .into_iter()
                .find(|one| one.title.contains("production"))
        };
        let mut changes = vec![first];
        let opened = loop {
            if let Some(opened) = production().await {
                break opened;
            }
            assert!(changes.len() < 12, "the first change starves: {}", world.dump());
            let content = format!("replicas: {}\n", 10 + changes.len());
            let next = world
                .merge_change(&[put("workspace/checkout/values.yaml", &content)])
                .await;
            changes.push(next);
            until_said(world, next, "to stand until").await;
        };
        assert!(opened.created_at.unix() >= merged + 4);
        let body = opened.body.unwrap_or_default();
        assert!(body.contains(&format!("#{first}")), "{body}");
        assert!(changes.len() > 1, "there was churn");
        // The newer ones take the pull request over as their own time comes, and say so.
        world.quiet().await;
        for change in changes {
            world.comments(change);
        }
    })
    .await;
}
