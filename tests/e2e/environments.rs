//! The four ways to model environments, each from a merged change to the merged promotion: by directory, by branch, by repository, and by
//! the files of a single instance.

use lockflight_sandbox::{MergeMethod, PullRequest};
use lockflight_tests::world::{MONA, REPOSITORY, World, put, remove};

use crate::cli::run;
use crate::native::{native, said, until_said};

const BY_DIRECTORY: &str = "
version: 1
environments:
  lab: { path: clusters/lab }
  production:
    domains:
      us-west1: { path: clusters/prod/us-west1 }
      europe-west4: { path: clusters/prod/europe-west4 }
flows:
  - from: { path: workspace }
    select: { exclude: ['values-region-*.yaml'] }
    waves:
      - { to: [lab, production], pull_requests: per-wave }
";

const BY_BRANCH: &str = "
version: 1
environments:
  production: { branch: env/production, path: live }
flows:
  - from: { path: workspace }
    waves: [{ to: [production] }]
";

const BY_REPOSITORY: &str = "
version: 1
environments:
  production: { repository: acme/production, path: live }
flows:
  - from: { path: workspace }
    waves: [{ to: [production] }]
";

const SINGLE_INSTANCE: &str = "
version: 1
environments:
  staging: { path: apps, file: 'values-{environment}.yaml' }
  production: { path: apps, file: 'values-{environment}.yaml' }
flows:
  - from: staging
    keys: [image.tag]
    waves: [{ to: [production] }]
";

async fn assert_file(world: &World, revision: &str, path: &str, content: &str) {
    assert_eq!(
        world.file(revision, path).await.as_deref(),
        Some(content),
        "{path} at {revision}"
    );
}

#[tokio::test]
async fn directories_get_what_is_selected_and_keep_the_rest() {
    native(BY_DIRECTORY)
        .file("clusters/lab/checkout/values-region-lab.yaml", "region: lab\n")
        .file("clusters/lab/checkout/old.yaml", "old: true\n")
        .run(async |world| {
            let change = world
                .merge_change(&[
                    put("workspace/checkout/values.yaml", "replicas: 3\n"),
                    put("workspace/checkout/values-region-dev.yaml", "region: dev\n"),
                ])
                .await;
            let [promotion] = world.promotions_of(change).await;
            world.merge(promotion.number).await;
            let lab = world.tree("main", "clusters/lab/checkout").await;
            let names: Vec<&str> = lab.keys().map(String::as_str).collect();
            assert_eq!(names, ["values-region-lab.yaml", "values.yaml"]);
            for domain in ["us-west1", "europe-west4"] {
                let path = format!("clusters/prod/{domain}/checkout/values.yaml");
                assert_file(world, "main", &path, "replicas: 3\n").await;
            }

            // What is excluded at the source is no reason for a pull request.
            let change = world
                .merge_change(&[put(
                    "workspace/checkout/values-region-dev.yaml",
                    "region: other\n",
                )])
                .await;
            let status = world.until_status(change, "success").await;
            assert!(said(&status).contains("already"), "{}", said(&status));

            // The component goes, and what is excluded stays even then.
            let change = world.merge_change(&[remove("workspace/checkout")]).await;
            let [promotion] = world.promotions_of(change).await;
            world.merge(promotion.number).await;
            let lab = world.tree("main", "clusters/lab/checkout").await;
            assert_eq!(lab.len(), 1, "{lab:?}");
        })
        .await;
}

#[tokio::test]
async fn a_branch_of_its_own_gets_a_pull_request_into_that_branch() {
    native(BY_BRANCH)
        .run(async |world| {
            world
                .commit("env/production", &[put("live/other/values.yaml", "kept: true\n")])
                .await;
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [promotion] = world.promotions_of(change).await;
            assert_eq!(promotion.base.branch, "env/production");
            assert_eq!(
                world.files_of(promotion.number).await,
                [("live/checkout/values.yaml".to_owned(), "added")]
            );
            world.merge(promotion.number).await;
            assert_file(
                world,
                "env/production",
                "live/checkout/values.yaml",
                "replicas: 3\n",
            )
            .await;
            assert_file(world, "env/production", "live/other/values.yaml", "kept: true\n").await;
            assert_eq!(world.file("main", "live/checkout/values.yaml").await, None);
        })
        .await;
}

#[tokio::test]
async fn another_repository_gets_a_pull_request_of_its_own() {
    native(BY_REPOSITORY)
        .run(async |world| {
            let production = "acme/production";
            world
                .add_repository(
                    production,
                    &[
                        put("live/other/values.yaml", "kept: true\n"),
                        put("lockflight.yaml", "version: 1\naccept_from: [acme/*]\n"),
                    ],
                )
                .await;
            let change = world
                .merge_change(&[
                    put("workspace/checkout/values.yaml", "replicas: 3\n"),
                    put(
                        "workspace/checkout/templates/deployment.yaml",
                        "kind: Deployment\n",
                    ),
                ])
                .await;
            world.until_promoted_in(production, 1).await;
            let [promotion]: [PullRequest; 1] = world.promotions_in(production).try_into().unwrap();

            assert!(
                promotion
                    .body
                    .clone()
                    .unwrap_or_default()
                    .contains(&format!("{REPOSITORY}#{change}")),
                "{:?}",
                promotion.body
            );
            let merged = world
                .forge
                .merge_pull_request(production, promotion.number, MergeMethod::Merge, MONA)
                .await;
            merged.unwrap();
            let files = world
                .forge
                .list_files(production, "main", "live/checkout")
                .await
                .unwrap();
            assert_eq!(files, world.tree("main", "workspace/checkout").await);
            let kept = world
                .forge
                .read_file(production, "main", "live/other/values.yaml")
                .await
                .unwrap();
            assert!(kept.is_some());
            world.until_status(change, "success").await;
        })
        .await;
}

#[tokio::test]
async fn a_single_instance_gets_the_chosen_keys_and_keeps_every_other_byte() {
    let production = "# Production.\nimage:\n  tag: \"1.0\"   # by Lockflight\n  pullPolicy: Always\n\nreplicas: 9 # many\n";
    native(SINGLE_INSTANCE)
        .file(
            "apps/checkout/values-staging.yaml",
            "image: { tag: \"1.0\" }\nreplicas: 1\n",
        )
        .file("apps/checkout/values-production.yaml", production)
        .run(async |world| {
            let change = world
                .merge_change(&[put(
                    "apps/checkout/values-staging.yaml",
                    "image: { tag: \"1.1\" }\nreplicas: 2\n",
                )])
                .await;
            let [promotion] = world.promotions_of(change).await;
            world.merge(promotion.number).await;
            let wanted = production.replace("1.0", "1.1");
            assert_file(world, "main", "apps/checkout/values-production.yaml", &wanted).await;

            // A key that does not travel leads to nothing.
            let change = world
                .merge_change(&[put(
                    "apps/checkout/values-staging.yaml",
                    "image: { tag: \"1.1\" }\nreplicas: 5\n",
                )])
                .await;
            world.until_status(change, "success").await;
            assert_eq!(world.promotions().len(), 1);
        })
        .await;
}

#[tokio::test]
async fn another_repository_that_did_not_agree_gets_nothing() {
    native(BY_REPOSITORY)
        .run(async |world| {
            let production = "acme/production";
            world
                .add_repository(
                    production,
                    &[put("lockflight.yaml", "version: 1\naccept_from: [other/*]\n")],
                )
                .await;
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_status(change, "success").await;
            world.quiet().await;
            assert!(world.promotions_in(production).is_empty());
        })
        .await;
}

/// What `lockflight plan` says of the last merge into `main` of the repository, and that it is what the forge got: the tree of each step is
/// that of its pull request.
async fn assert_planned(
    world: &World,
    more: &[&str],
    promoted: &[(&str, &PullRequest)],
) -> serde_json::Value {
    let bare = world.forge.repository_dir(REPOSITORY).unwrap();
    let repo = bare.to_str().unwrap();
    let arguments = [
        "plan", "--repo", repo, "--base", "main^1", "--head", "main", "-o", "json",
    ];
    let ended = run(&bare, &[&arguments, more].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let plan: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    assert_eq!(steps.len(), promoted.len(), "{plan}");
    for (step, (repository, promotion)) in steps.iter().zip(promoted) {
        let tree = world.root(repository, &promotion.head.branch).await;
        assert_eq!(step["tree"].as_str(), Some(tree.as_str()), "{step}");
        assert_eq!(step["title"].as_str(), Some(promotion.title.as_str()));
    }
    plan
}

#[tokio::test]
async fn a_plan_of_directories_is_what_the_forge_gets() {
    native(BY_DIRECTORY)
        .file("clusters/lab/checkout/values-region-lab.yaml", "region: lab\n")
        .run(async |world| {
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [promotion] = world.promotions_of(change).await;
            let plan = assert_planned(world, &[], &[(REPOSITORY, &promotion)]).await;
            assert_eq!(plan["steps"][0]["wave"], 1);
        })
        .await;
}

#[tokio::test]
async fn a_plan_of_branches_is_what_the_forge_gets() {
    native(BY_BRANCH)
        .run(async |world| {
            world
                .commit("env/production", &[put("live/other/values.yaml", "kept: true\n")])
                .await;
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let [promotion] = world.promotions_of(change).await;
            let plan = assert_planned(world, &[], &[(REPOSITORY, &promotion)]).await;
            assert_eq!(plan["steps"][0]["base"], "env/production");
        })
        .await;
}

#[tokio::test]
async fn a_plan_into_another_repository_is_what_the_forge_gets() {
    native(BY_REPOSITORY)
        .run(async |world| {
            let production = "acme/production";
            let files = [
                put("live/other/values.yaml", "kept: true\n"),
                put("lockflight.yaml", "version: 1\naccept_from: [acme/*]\n"),
            ];
            world.add_repository(production, &files).await;
            world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_promoted_in(production, 1).await;
            let [promotion]: [PullRequest; 1] = world.promotions_in(production).try_into().unwrap();
            let clone = world.forge.repository_dir(production).unwrap();
            let beside = format!("{production}={}", clone.display());
            let plan = assert_planned(world, &["--beside", &beside], &[(production, &promotion)]).await;
            assert_eq!(plan["steps"][0]["repository"], production);
            assert_eq!(plan["steps"][0]["base"], "main");

            // Without a clone of it the plan says what is missing.
            let bare = world.forge.repository_dir(REPOSITORY).unwrap();
            let ended = run(&bare, &["plan", "--base", "main^1", "--head", "main"]);
            assert!(
                ended.stdout.contains("--beside acme/production=DIR"),
                "{}",
                ended.stdout
            );
        })
        .await;
}

#[tokio::test]
async fn a_plan_of_a_single_instance_is_what_the_forge_gets() {
    native(SINGLE_INSTANCE)
        .file("apps/checkout/values-staging.yaml", "image: { tag: \"1.0\" }\n")
        .file(
            "apps/checkout/values-production.yaml",
            "image:\n  tag: \"1.0\" # by Lockflight\n",
        )
        .run(async |world| {
            let change = world
                .merge_change(&[put(
                    "apps/checkout/values-staging.yaml",
                    "image: { tag: \"1.1\" }\n",
                )])
                .await;
            let [promotion] = world.promotions_of(change).await;
            let plan = assert_planned(world, &[], &[(REPOSITORY, &promotion)]).await;
            assert_eq!(
                plan["steps"][0]["sync"][0]["keys"],
                serde_json::json!(["image.tag"])
            );
        })
        .await;
}

const MIXED: &str = "
version: 1
environments:
  lab: { path: clusters/lab }
  staging: { branch: env/staging, path: live }
  production: { repository: acme/production, path: live }
flows:
  - from: { path: workspace }
    waves:
      - { to: [lab], merge: auto }
      - { to: [staging], merge: auto }
      - { to: [production] }
";

#[tokio::test]
async fn one_flow_leads_through_a_directory_a_branch_and_a_repository() {
    native(MIXED)
        .setting("promotion.merge_poll=200ms")
        .run(async |world| {
            let production = "acme/production";
            let agreed = [put("lockflight.yaml", "version: 1\naccept_from: [acme/*]\n")];
            world.add_repository(production, &agreed).await;
            world
                .commit("env/staging", &[put("live/other/values.yaml", "kept: true\n")])
                .await;
            let change = world
                .merge_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.until_promoted_in(production, 1).await;
            // What comes last was opened, so both of the others are where they belong.
            assert_file(
                world,
                "main",
                "clusters/lab/checkout/values.yaml",
                "replicas: 3\n",
            )
            .await;
            assert_file(world, "env/staging", "live/checkout/values.yaml", "replicas: 3\n").await;
            let [promotion]: [PullRequest; 1] = world.promotions_in(production).try_into().unwrap();
            let waits = format!("{production}#{}", promotion.number);
            until_said(world, change, &waits).await;
            let merged = world
                .forge
                .merge_pull_request(production, promotion.number, MergeMethod::Merge, MONA)
                .await;
            merged.unwrap();
            world.until_status(change, "success").await;
        })
        .await;
}
