//! `main` moves all the time: between the plan of a change and the look at its target, and between that and the push.

use std::collections::BTreeMap;

use http::Method;
use lockflight_sandbox::{HoldPoint, RequestMatcher};
use lockflight_tests::world::{Fleet, Role, World, put};

use crate::on;
use crate::policies::{LAB, LAB_AND_TOOLS};

/// What somebody merges meanwhile.
#[derive(Clone, Copy)]
enum Move {
    /// A file of the very target.
    Target,
    /// A file of a target of another flow.
    OtherTarget,
    /// A policy that knows our flow no more.
    PolicyWithout,
    /// The policy as it was, with a word more.
    PolicyWith,
    /// Another component of the same source, which is promoted too.
    Component,
    /// The very component, with later content.
    Source,
}

/// Ten moves; at their end the policy is what it was.
const MOVES: [Move; 10] = [
    Move::Target,
    Move::OtherTarget,
    Move::Component,
    Move::PolicyWithout,
    Move::Target,
    Move::OtherTarget,
    Move::PolicyWith,
    Move::Source,
    Move::Target,
    Move::Component,
];

/// Moves `main` ten times. Returns the changes, each with how many promotions it leads to.
async fn move_ten_times(world: &World, part: usize) -> Vec<(u64, usize)> {
    let mut changes = Vec::new();
    for (place, step) in MOVES.iter().enumerate() {
        let name = format!("m{part}{place}");
        let text = format!("move: {name}\n");
        let (path, content, leads_to) = match step {
            Move::Target => (format!("clusters/lab/checkout/{name}.yaml"), text, 0),
            Move::OtherTarget => (format!("clusters/lab-tools/{name}/values.yaml"), text, 0),
            Move::PolicyWithout => {
                let (_, tools) = LAB_AND_TOOLS.split_once("  - sourcePath: \"tools/\"").unwrap();
                let policy = format!("promotionPaths:\n  - sourcePath: \"tools/\"{tools}");
                ("telefonistka.yaml".to_owned(), policy, 0)
            }
            Move::PolicyWith => (
                "telefonistka.yaml".to_owned(),
                format!("{LAB_AND_TOOLS}# {name}\n"),
                0,
            ),
            Move::Component => (format!("workspace/{name}/values.yaml"), text, 1),
            Move::Source => ("workspace/checkout/values.yaml".to_owned(), text, 1),
        };
        changes.push((world.merge_change(&[put(&path, &content)]).await, leads_to));
    }
    changes
}

/// How many promotion pull requests each change has.
fn promoted(world: &World) -> BTreeMap<u64, usize> {
    let mut promoted = BTreeMap::new();
    for promotion in world.promotions() {
        let rest = promotion.head.branch.strip_prefix("promotions/").unwrap();
        let (change, _) = rest.split_once('-').unwrap();
        *promoted.entry(change.parse().unwrap()).or_default() += 1;
    }
    promoted
}

/// Scenario: `main` moves twenty times between plan and push, among it the very target, the policy and the component itself.
#[tokio::test]
async fn main_moves_twenty_times_between_plan_and_push() {
    on(Fleet::shared().with(Role::Executor, 2), LAB_AND_TOOLS)
        .file("clusters/lab/checkout/values.yaml", "replicas: 1\n")
        .run(async |world| {
            let look = RequestMatcher::rest(Method::GET, "/repos/*/*/pulls");
            let looking = world.forge.faults().hold(look, HoldPoint::BeforeEffect);
            let change = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            let merged_as = world.merge(change).await;
            let mut expected = vec![(change, 1)];
            world.until_held("the look", &looking).await;
            expected.extend(move_ten_times(world, 0).await);
            let push = RequestMatcher::git_receive_pack();
            let pushing = world.forge.faults().hold(push, HoldPoint::BeforeEffect);
            looking.release();
            world.until_held("the push", &pushing).await;
            expected.extend(move_ten_times(world, 1).await);
            pushing.release();

            // I1, I2, I11: each change comes to its end, with just the pull requests that it leads to.
            for (change, _) in &expected {
                world.until_status(*change, "success").await;
            }
            world.quiet().await;
            let wanted: BTreeMap<u64, usize> =
                expected.iter().copied().filter(|(_, count)| *count > 0).collect();
            assert_eq!(promoted(world), wanted);
            let all: usize = wanted.values().sum();
            assert_eq!(world.promotion_branches().len(), all);
            assert_eq!(world.calls("POST /repos/{owner}/{repo}/pulls"), all as u64);
            // Nothing was made anew because main had moved.
            let pushes = world.forge.usage().git().pushes;
            assert!(pushes <= all as u64, "{pushes} pushes for {all} promotions");

            // I8: the content of the change that was planned, whatever main had by then, and nothing but its target.
            let [lab] = world.promotions_of(change).await;
            assert_eq!(
                world.tree(&merged_as, "workspace/checkout").await,
                world.tree(&lab.head.sha, "clusters/lab/checkout").await,
            );
            for promotion in world.promotions() {
                let files = world.files_of(promotion.number).await;
                assert!(!files.is_empty());
                for (path, _) in files {
                    assert!(path.starts_with("clusters/lab/"), "#{}: {path}", promotion.number);
                }
            }
        })
        .await;
}

/// The same as a race that nobody arranges: `main` moves right before each of twenty pushes. Each change is promoted in its order, with no
/// more pushes than changes, and the lab ends as the workspace is.
#[tokio::test]
async fn main_moves_before_each_of_twenty_pushes() {
    on(Fleet::shared().with(Role::Executor, 2), LAB)
        .run(async |world| {
            let mut last = 0;
            for round in 0..20 {
                let push = RequestMatcher::git_receive_pack();
                let pushing = world.forge.faults().hold(push, HoldPoint::BeforeEffect);
                let content = format!("replicas: {round}\n");
                let change = world
                    .merge_change(&[put("workspace/checkout/values.yaml", &content)])
                    .await;
                world.until_held("the push", &pushing).await;
                // Without a pull request, so that nobody plans anything of it.
                let note = format!("clusters/lab/notes/{round}.md");
                world.commit("main", &[put(&note, "Mine.\n")]).await;
                pushing.release();
                let [lab] = world.promotions_of(change).await;
                world.until_status(change, "success").await;
                // I5: later changes have later pull requests.
                assert!(lab.number > last, "#{} comes after #{last}", lab.number);
                last = lab.number;
                world.merge(lab.number).await;
                world
                    .assert_same_tree("main", "workspace/checkout", "clusters/lab/checkout")
                    .await;
            }
            world.quiet().await;
            assert_eq!(world.promotions().len(), 20);
            let pushes = world.forge.usage().git().pushes;
            assert!(pushes <= 20, "{pushes} pushes");
        })
        .await;
}
