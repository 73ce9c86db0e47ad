//! `lockflight explain`: why a component goes where it goes, or does not.

use serde_json::Value;

use crate::cli::run;
use crate::native::native;
use crate::policies::LAB;
use crate::world;

const POLICY: &str = r#"version: 1
environments:
  lab: { path: clusters/lab }
  production:
    domains:
      us-west1: { path: clusters/prod/us-west1 }
      us-east4: { path: clusters/prod/us-east4 }
flows:
  - name: urgent
    from: { path: workspace }
    when: { labels: [urgent] }
    waves:
      - { to: [production] }
  - name: everything
    from: { path: workspace }
    waves:
      - { to: [lab] }
      - { to: [production] }
  - name: tools
    from: { path: tools }
    waves:
      - { to: [lab] }
freezes:
  - { environments: [production], cron: "* * * * *", duration: 24h, reason: "the fair" }
"#;

/// The rule of that name, and why it is as it is.
fn rule<'v>(of: &'v Value, name: &str) -> (bool, &'v str) {
    let rules = of["rules"].as_array().unwrap();
    let found = rules.iter().find(|rule| rule["rule"] == name);
    let found = found.unwrap_or_else(|| panic!("no rule {name}: {of:#}"));
    (found["holds"].as_bool().unwrap(), found["why"].as_str().unwrap())
}

fn target<'v>(flow: &'v Value, to: &str) -> &'v Value {
    let targets = flow["targets"].as_array().unwrap();
    let found = targets.iter().find(|target| target["to"] == to);
    found.unwrap_or_else(|| panic!("no target {to}: {flow:#}"))
}

#[tokio::test]
async fn each_rule_says_where_it_stands_and_why_it_holds() {
    native(POLICY)
        .file("workspace/checkout/values.yaml", "replicas: 3\n")
        .file(
            "workspace/checkout/lockflight.yaml",
            "targets:\n  block: [production/us-east4]\n",
        )
        .file("clusters/lab/checkout/values.yaml", "replicas: 3\n")
        .file(
            "clusters/lab/checkout/lockflight.yaml",
            "targets:\n  block: [production/us-east4]\n",
        )
        .run(async |world| {
            let checkout = world.checkout("main").await;
            let explain = |more: &[&str]| {
                run(
                    checkout.path(),
                    &[&["explain", "checkout", "-o", "json"], more].concat(),
                )
                .expect(0)
                .json()
            };
            let all = explain(&[]);
            assert_eq!(all["apiVersion"], "lockflight/v1");
            let one = &all["components"][0];
            assert_eq!(one["component"], "workspace/checkout");
            let [urgent, everything, tools] = one["flows"].as_array().unwrap().as_slice() else {
                panic!("{one:#}")
            };
            assert_eq!(
                (&urgent["file"], &urgent["line"]),
                (&"lockflight.yaml".into(), &9.into())
            );
            assert_eq!(urgent["applies"], false);
            assert_eq!(rule(urgent, "source"), (true, "it begins at workspace"));
            assert_eq!(
                rule(urgent, "label"),
                (
                    false,
                    "it needs one of the labels \"urgent\"; the change has none"
                )
            );
            assert_eq!(
                target(urgent, "clusters/prod/us-west1/checkout")["fate"],
                "not_asked"
            );

            assert_eq!(
                (everything["applies"].as_bool(), &everything["line"]),
                (Some(true), &14.into())
            );
            let lab = target(everything, "clusters/lab/checkout");
            assert_eq!(lab["fate"], "equal", "{lab:#}");
            let west = target(everything, "clusters/prod/us-west1/checkout");
            assert_eq!(west["fate"], "goes");
            assert!(
                rule(west, "wave").1.contains("when \"lab\" is merged"),
                "{west:#}"
            );
            let (open, why) = rule(west, "freeze");
            assert!(
                !open && why.starts_with("frozen now, until ") && why.ends_with(": the fair"),
                "{why}"
            );
            let east = target(everything, "clusters/prod/us-east4/checkout");
            assert_eq!(east["fate"], "refused");
            let (allowed, why) = rule(east, "allowed");
            assert!(
                !allowed && why.contains("workspace/checkout/lockflight.yaml:2"),
                "{why}"
            );

            assert_eq!(
                rule(tools, "source"),
                (false, "it begins at tools, and the component is not there")
            );

            let labelled = explain(&["--label", "urgent", "--target", "clusters/prod/us-west1"]);
            let flows = labelled["components"][0]["flows"].as_array().unwrap();
            assert_eq!(flows.len(), 2, "tools lead elsewhere: {flows:#?}");
            assert_eq!(flows[0]["applies"], true);
            assert_eq!(
                rule(&flows[1], "first"),
                (
                    false,
                    "the flow at lockflight.yaml:9 comes first and takes the component"
                )
            );
        })
        .await;
}

#[tokio::test]
async fn people_get_a_text_and_a_name_that_is_wrong_gets_the_right_one() {
    world(LAB)
        .file("workspace/checkout/values.yaml", "replicas: 3\n")
        .run(async |world| {
            let checkout = world.checkout("main").await;
            let explain = |arguments: &[&str]| run(checkout.path(), &[&["explain"], arguments].concat());
            let text = explain(&["checkout"]).expect(0).stdout;
            for line in [
                "workspace/checkout\n",
                "telefonistka.yaml:3: the flow applies\n",
                "    yes source     it begins at workspace\n",
                "clusters/lab/checkout (wave 1, Lab): goes\n",
            ] {
                assert!(text.contains(line), "{line:?} is not in:\n{text}");
            }
            let nowhere = explain(&["checkout", "--target", "clusters/moon"])
                .expect(0)
                .stdout;
            assert!(nowhere.contains("no flow leads to that target"), "{nowhere}");
            let outside = explain(&["clusters/lab"]).expect(5).stderr;
            assert!(outside.contains("there is no component"), "{outside}");
            let wrong = explain(&["workspace/check"]).expect(5).stderr;
            assert!(wrong.contains("did you mean workspace/checkout"), "{wrong}");
            explain(&[]).expect(2);
        })
        .await;
}

#[tokio::test]
async fn a_flow_that_begins_on_another_branch_is_explained_for_that_branch() {
    let policy = "version: 1
environments:
  production: { branch: production, path: apps }
flows:
  - from: { branch: staging, path: apps }
    waves: [{ to: [production] }]
";
    native(policy)
        .file("apps/checkout/values.yaml", "replicas: 3\n")
        .run(async |world| {
            for branch in ["staging", "production"] {
                world
                    .commit(
                        branch,
                        &[lockflight_tests::world::put(&format!("{branch}.txt"), "x\n")],
                    )
                    .await;
            }
            let checkout = world.checkout("main").await;
            let explain = |more: &[&str]| {
                let arguments = [&["explain", "apps/checkout", "-o", "json"], more].concat();
                run(checkout.path(), &arguments).expect(0).json()["components"][0]["flows"][0].clone()
            };
            let here = explain(&[]);
            assert_eq!(
                rule(&here, "branch"),
                (false, "it begins on the branch staging; the change is on main")
            );
            let there = explain(&["--branch", "staging", "--head", "origin/staging"]);
            assert_eq!(there["applies"], true, "{there:#}");
            assert_eq!(there["targets"][0]["branch"], "production");
        })
        .await;
}
