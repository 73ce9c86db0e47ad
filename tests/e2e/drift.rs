//! Targets that differ from what their sources would make of them.

use lockflight_tests::world::put;
use serde_json::Value;

use crate::cli::run;
use crate::native::native;
use crate::policies::LAB_AND_TOOLS;
use crate::world;

#[tokio::test]
async fn what_differs_is_shown_line_by_line_and_the_exit_code_tells() {
    world(LAB_AND_TOOLS)
        .file("workspace/checkout/values.yaml", "image: 2\nreplicas: 3\n")
        .file("workspace/checkout/new.yaml", "a: 1\n")
        .file("clusters/lab/checkout/values.yaml", "image: 2\nreplicas: 5\n")
        .file("clusters/lab/checkout/by-hand.yaml", "b: 1\n")
        .file("workspace/cart/values.yaml", "image: 1\n")
        .file("clusters/lab/cart/values.yaml", "image: 1\n")
        .run(async |world| {
            let checkout = world.checkout("main").await;
            let drift = |more: &[&str]| run(checkout.path(), &[&["drift"], more].concat());
            let text = drift(&[]).expect(0).stdout;
            for line in [
                "checkout at clusters/lab/checkout: differs from workspace/checkout (telefonistka.yaml:3)",
                "  clusters/lab/checkout/values.yaml differs (+1 -1)",
                "    | -replicas: 5",
                "    | +replicas: 3",
                "  clusters/lab/checkout/new.yaml is not at the target (+1 -0)",
                "  clusters/lab/checkout/by-hand.yaml is only at the target (+0 -1)",
            ] {
                assert!(text.contains(line), "{line:?} is not in:\n{text}");
            }
            assert!(!text.contains("cart"), "what is equal is no drift:\n{text}");
            drift(&["--exit-code"]).expect(3);
            drift(&["--exit-code", "--component", "cart"]).expect(0);
            drift(&["--exit-code", "--target", "clusters/lab-tools"]).expect(0);

            let json = drift(&["-o", "json", "--no-diff"]).expect(0).json();
            assert_eq!(json["apiVersion"], "lockflight/v1");
            let [one] = json["drifts"].as_array().unwrap().as_slice() else {
                panic!("{json:#}")
            };
            assert_eq!(
                (&one["from"], &one["line"]),
                (&"workspace/checkout".into(), &3.into())
            );
            let files = one["files"].as_array().unwrap();
            assert_eq!(files.len(), 3);
            assert!(files.iter().all(|file| file["diff"] == ""), "{files:#?}");

            checkout.write("clusters/lab/checkout/values.yaml", "image: 2\nreplicas: 3\n");
            checkout.write("clusters/lab/checkout/new.yaml", "a: 1\n");
            checkout
                .git(&["rm", "--quiet", "clusters/lab/checkout/by-hand.yaml"])
                .await;
            checkout.commit_all("Mend it").await;
            let mended = drift(&["--exit-code"]).expect(0).stdout;
            assert!(mended.starts_with("No drift."), "{mended}");
        })
        .await;
}

#[tokio::test]
async fn what_policy_keeps_apart_is_no_drift() {
    world(LAB_AND_TOOLS)
        .file("workspace/checkout/values.yaml", "replicas: 3\n")
        .file(
            "workspace/checkout/telefonistka.yaml",
            "promotionTargetBlockList: [clusters/lab/]\n",
        )
        .run(async |world| {
            let checkout = world.checkout("main").await;
            let ended = run(checkout.path(), &["drift", "--exit-code"]).expect(0);
            assert!(ended.stdout.starts_with("No drift."), "{}", ended.stdout);
            assert!(
                ended
                    .stdout
                    .contains("checkout at clusters/lab/checkout: blocked by"),
                "{}",
                ended.stdout
            );
        })
        .await;
}

#[tokio::test]
async fn selected_files_keys_and_other_branches_are_compared_as_they_travel() {
    let policy = r#"version: 1
environments:
  lab: { path: clusters/lab }
  production: { branch: production, path: apps }
flows:
  - from: { path: workspace }
    select: { exclude: ["values-region.yaml"] }
    waves: [{ to: [lab] }]
  - from: { branch: staging, path: apps }
    waves: [{ to: [production] }]
"#;
    native(policy)
        .file("workspace/checkout/values.yaml", "replicas: 3\n")
        .file("clusters/lab/checkout/values.yaml", "replicas: 3\n")
        .file("clusters/lab/checkout/values-region.yaml", "region: lab\n")
        .file("apps/cart/values.yaml", "image: 1\n")
        .run(async |world| {
            for (branch, image) in [("staging", "image: 2\n"), ("production", "image: 1\n")] {
                world.commit(branch, &[put("apps/cart/values.yaml", image)]).await;
            }
            let bare = world
                .forge
                .repository_dir(lockflight_tests::world::REPOSITORY)
                .unwrap();
            let checkout = world.checkout("main").await;
            // The default branch is told alike in a clone and in the bare repository of a forge.
            for directory in [bare.as_path(), checkout.path()] {
                let json = run(directory, &["drift", "-o", "json"]).expect(0).json();
                let drifts: Vec<(&Value, &Value)> = json["drifts"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|drift| (&drift["to"], &drift["branch"]))
                    .collect();
                assert_eq!(drifts, [(&"apps/cart".into(), &"production".into())], "{json:#}");
                assert_eq!(
                    json["drifts"][0]["files"][0]["diff"],
                    "@@ -1 +1 @@\n-image: 1\n+image: 2\n",
                );
            }
        })
        .await;
}
