//! The sandbox, as somebody who is new to it starts it.

use tempfile::TempDir;

use crate::cli::run;
use crate::policies::CHAIN;
use crate::world;

#[test]
fn the_example_travels_to_the_last_failure_domain() {
    let folder = TempDir::new().unwrap();
    let ended = run(folder.path(), &["sandbox", "--once"]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    for place in [
        "Lab",
        "Staging",
        "Production, first region",
        "Production, Americas",
        "Production, Europe and Asia",
    ] {
        assert!(
            ended.stdout.contains(&format!("checkout ➡️  {place}")),
            "{place}: {}",
            ended.stdout
        );
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn each_way_to_model_environments_has_an_example() {
    let titles: [(&str, &[&str]); 4] = [
        (
            "directory",
            &[
                "checkout ➡️  lab, staging",
                "checkout ➡️  production/us-west1",
                "checkout ➡️  production/europe-west4",
                "checkout ➡️  production/us-east4",
            ],
        ),
        ("branch", &["checkout ➡️  staging", "checkout ➡️  production"]),
        (
            "repository",
            &[
                "checkout ➡️  staging",
                "acme/production: 🚀 Promotion: checkout ➡️  production",
            ],
        ),
        (
            "single",
            &["checkout ➡️  production/us", "checkout ➡️  production/eu"],
        ),
    ];
    for (example, titles) in titles {
        let folder = TempDir::new().unwrap();
        let ended = run(folder.path(), &["sandbox", "--once", "--example", example]);
        assert_eq!(ended.code, 0, "{example}: {}\n{}", ended.stdout, ended.stderr);
        for title in titles {
            assert!(
                ended.stdout.contains(title),
                "{example}, {title}: {}",
                ended.stdout
            );
        }
        let count = format!("promotion pull requests   {}", titles.len());
        assert!(ended.stdout.contains(&count), "{example}: {}", ended.stdout);
        assert!(
            ended.stdout.contains("Every target equals its source."),
            "{}",
            ended.stdout
        );
    }
}

#[tokio::test]
async fn a_repository_that_was_not_made_for_it_travels_too_and_is_left_as_it_was() {
    world(CHAIN)
        .file("workspace/checkout/values.yaml", "replicas: 2\n")
        .file(
            "clusters/lab/europe-west4/c1/checkout/values.yaml",
            "replicas: 1\n",
        )
        .run(async |world| {
            // A work tree of a person, with something that was not committed yet.
            let checkout = world.checkout("main").await;
            checkout.write("workspace/checkout/values.yaml", "replicas: 3\n");
            let state = async || {
                let refs = checkout.git(&["for-each-ref"]).await;
                (refs, checkout.git(&["status", "--porcelain"]).await)
            };
            let before = state().await;
            let repo = checkout.path().to_str().unwrap().to_owned();
            let elsewhere = TempDir::new().unwrap();
            let ended = run(elsewhere.path(), &["sandbox", "--once", "--repo", &repo]);
            assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
            assert!(
                ended.stdout.contains("Production, Europe and Asia"),
                "{}",
                ended.stdout
            );
            assert_eq!(state().await, before, "the original is never written to");
        })
        .await;
}

#[test]
fn it_listens_on_this_machine_alone() {
    let folder = TempDir::new().unwrap();
    let ended = run(folder.path(), &["sandbox", "--once", "--listen", "0.0.0.0:0"]);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("loopback"), "{}", ended.stderr);
}
