//! Which changes a flow takes, and what a component has to say about it.

use lockflight_tests::world::{HUBOT, MONA, World, put};

use crate::native::{native, said};

/// Two flows: the first takes what `when` says, the second takes the rest.
fn policy(when: &str) -> String {
    format!(
        "
version: 1
environments:
  fast: {{ path: clusters/fast }}
  slow: {{ path: clusters/slow }}
flows:
  - from: {{ path: workspace }}
    when: {{ {when} }}
    waves: [{{ to: [fast] }}]
  - from: {{ path: workspace }}
    waves: [{{ to: [slow] }}]
"
    )
}

/// Where the promotions of a change go: the files that they change.
async fn goes<const N: usize>(world: &World, change: u64) -> Vec<String> {
    let mut files = Vec::new();
    for promotion in world.promotions_of::<N>(change).await {
        files.extend(
            world
                .files_of(promotion.number)
                .await
                .into_iter()
                .map(|(path, _)| path),
        );
    }
    files.sort();
    files
}

#[tokio::test]
async fn a_flow_takes_the_changes_with_its_label() {
    native(&policy("labels: [hotfix]"))
        .run(async |world| {
            let hot = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.label(hot, "hotfix").await;
            world.merge(hot).await;
            assert_eq!(
                goes::<1>(world, hot).await,
                ["clusters/fast/checkout/values.yaml"]
            );
            let cold = world
                .merge_change(&[put("workspace/cart/values.yaml", "replicas: 3\n")])
                .await;
            assert_eq!(goes::<1>(world, cold).await, ["clusters/slow/cart/values.yaml"]);
        })
        .await;
}

#[tokio::test]
async fn a_flow_takes_the_changes_of_its_authors() {
    for (author, place) in [(MONA, "fast"), (HUBOT, "slow")] {
        native(&policy(&format!("authors: [{author}]")))
            .run(async |world| {
                let change = world
                    .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                    .await;
                let expected = format!("clusters/{place}/checkout/values.yaml");
                assert_eq!(goes::<1>(world, change).await, [expected]);
            })
            .await;
    }
}

#[tokio::test]
async fn a_flow_takes_its_paths_and_its_components_and_leaves_the_rest_to_the_next() {
    for when in ["paths: ['workspace/ca*/**']", "components: ['ca*']"] {
        native(&policy(when))
            .run(async |world| {
                let change = world
                    .merge_change(&[
                        put("workspace/cart/values.yaml", "replicas: 3\n"),
                        put("workspace/web/values.yaml", "replicas: 3\n"),
                    ])
                    .await;
                assert_eq!(
                    goes::<2>(world, change).await,
                    ["clusters/fast/cart/values.yaml", "clusters/slow/web/values.yaml"],
                    "{when}"
                );
            })
            .await;
    }
}

#[tokio::test]
async fn a_component_narrows_where_it_goes() {
    native(
        "
version: 1
environments:
  lab: { path: clusters/lab }
  production:
    path: 'clusters/prod/{domain}'
    domains: { west: , east: }
flows:
  - from: { path: workspace }
    waves: [{ to: [lab, production] }]
",
    )
    .run(async |world| {
        let change = world
            .merge_change(&[
                put("workspace/cart/values.yaml", "replicas: 3\n"),
                put(
                    "workspace/cart/lockflight.yaml",
                    "targets: { allow: [production], block: [production/east] }\n",
                ),
            ])
            .await;
        let files = goes::<1>(world, change).await;
        assert!(
            files
                .iter()
                .all(|file| file.starts_with("clusters/prod/west/cart/")),
            "{files:?}"
        );
        assert!(files.contains(&"clusters/prod/west/cart/values.yaml".to_owned()));

        // A narrowing that means nothing is refused with its place, and stops what it is about.
        let broken = world
            .merge_change(&[put(
                "workspace/cart/lockflight.yaml",
                "targets: { allow: [prodution] }\n",
            )])
            .await;
        let status = world.until_status(broken, "failure").await;
        assert!(
            said(&status).contains("workspace/cart/lockflight.yaml"),
            "{}",
            said(&status)
        );
        world
            .until_comment(broken, "did you mean \\`production\\`?")
            .await;
    })
    .await;
}
