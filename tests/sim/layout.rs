//! A repository's policy, made up from the seed: as the file that the planner reads, and as what the oracle knows of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use lockflight_promotion::PathInRepo;

use crate::dice::Dice;
use crate::objects::Files;

/// The policy file, and each component's own.
pub(crate) const POLICY: &str = "telefonistka.yaml";

/// The label that some flows ask for.
pub(crate) const LABEL: &str = "fast-lane";

#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) source: &'static str,
    pub(crate) labelled: bool,
    pub(crate) auto_merge: bool,
    /// One pull request each, with the environments that it leads to.
    pub(crate) groups: Vec<Vec<&'static str>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) flows: Vec<Flow>,
    /// Where people make their changes.
    pub(crate) entrance: &'static str,
    pub(crate) components: Vec<String>,
    pub(crate) approve: bool,
    pub(crate) dry_run: bool,
    /// Components and the environments that they are kept from.
    blocked: BTreeSet<(String, &'static str)>,
    depth: usize,
    text: Arc<str>,
}

/// One component that goes from one environment to another, as pull request `step`.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) step: (usize, usize),
    pub(crate) from: PathInRepo,
    pub(crate) to: PathInRepo,
    /// Whether the component's own policy keeps it from there, where it has that.
    pub(crate) blocked: bool,
}

impl Layout {
    pub(crate) fn throw(dice: &mut Dice) -> Self {
        let mut flows = match dice.below(5) {
            // A chain.
            0 => vec![flow("lab", &[&["staging"]]), flow("staging", &[&["prod"]])],
            // A fan, one pull request for each place.
            1 => vec![flow("lab", &[&["east"], &["west"]])],
            // A fan in one pull request, and on from one of its ends.
            2 => vec![flow("lab", &[&["east", "west"]]), flow("west", &[&["prod"]])],
            // A fast lane beside the chain.
            3 => {
                let mut fast = flow("lab", &[&["staging"], &["prod"]]);
                fast.labelled = true;
                vec![fast, flow("lab", &[&["staging"]]), flow("staging", &[&["prod"]])]
            }
            // Only what is labelled goes on, and fans out behind.
            _ => {
                let mut first = flow("lab", &[&["staging"]]);
                first.labelled = true;
                vec![first, flow("staging", &[&["east"], &["west"]])]
            }
        };
        let automatic = *dice.pick(&[0, 300, 700]).unwrap_or(&0);
        for flow in &mut flows {
            flow.auto_merge = dice.chance(automatic);
        }
        let depth = usize::from(dice.chance(250));
        let count = dice.between(1, 3);
        let components: Vec<String> = (0..count)
            .map(|n| {
                if depth == 0 {
                    format!("c{n}")
                } else {
                    format!("team{}/c{n}", n % 2)
                }
            })
            .collect();
        let mut blocked = BTreeSet::new();
        if dice.chance(150)
            && let Some(component) = dice.pick(&components).cloned()
        {
            let ends: Vec<&str> = flows
                .iter()
                .flat_map(|flow| flow.groups.iter().flatten().copied())
                .collect();
            blocked.extend(dice.pick(&ends).map(|end| (component, *end)));
        }
        let mut layout = Self {
            flows,
            entrance: "lab",
            components,
            approve: dice.chance(250),
            dry_run: dice.chance(30),
            blocked,
            depth,
            text: Arc::from(""),
        };
        layout.text = Arc::from(layout.yaml());
        layout
    }

    fn yaml(&self) -> String {
        let mut text = String::new();
        if self.dry_run {
            text.push_str("dryRunMode: true\n");
        }
        if self.approve {
            text.push_str("autoApprovePromotionPrs: true\n");
        }
        text.push_str("promotionPaths:\n");
        for flow in &self.flows {
            write!(
                text,
                "  - sourcePath: \"env/{}/\"\n    componentPathExtraDepth: {}\n    conditions:\n      autoMerge: {}\n",
                flow.source, self.depth, flow.auto_merge
            )
            .unwrap();
            if flow.labelled {
                writeln!(text, "      prHasLabels: [\"{LABEL}\"]").unwrap();
            }
            text.push_str("    promotionPrs:\n");
            for group in &flow.groups {
                text.push_str("      - targetPaths:\n");
                for end in group {
                    writeln!(text, "          - \"env/{end}/\"").unwrap();
                }
            }
        }
        text
    }

    /// What stands in the repository at first: in one of two worlds the environments are empty but for the first.
    pub(crate) fn files(&self, dice: &mut Dice) -> Files {
        let mut files = Files::new();
        files.insert(Arc::from(POLICY), Arc::clone(&self.text));
        files.insert(Arc::from("README.md"), Arc::from("0"));
        let everywhere = dice.chance(500);
        for environment in self.environments() {
            for component in &self.components {
                if environment != self.entrance && !everywhere {
                    continue;
                }
                let directory = self.path(environment, component);
                files.insert(Arc::from(format!("{directory}/values.yaml")), Arc::from("v0"));
                files.insert(Arc::from(format!("{directory}/more/extra.yaml")), Arc::from("e0"));
                let blocked: Vec<&str> = self
                    .blocked
                    .iter()
                    .filter(|(blocked, _)| blocked == component)
                    .map(|(_, end)| *end)
                    .collect();
                if !blocked.is_empty() {
                    let list: String = blocked.iter().map(|end| format!("  - env/{end}/.*\n")).collect();
                    files.insert(
                        Arc::from(format!("{directory}/{POLICY}")),
                        Arc::from(format!("promotionTargetBlockList:\n{list}")),
                    );
                }
            }
        }
        files
    }

    fn environments(&self) -> BTreeSet<&'static str> {
        self.flows
            .iter()
            .flat_map(|flow| flow.groups.iter().flatten().copied().chain([flow.source]))
            .collect()
    }

    #[expect(clippy::unused_self, reason = "where a component is, is up to the layout")]
    pub(crate) fn path(&self, environment: &str, component: &str) -> PathInRepo {
        PathInRepo::parse(format!("env/{environment}/{component}")).unwrap()
    }

    pub(crate) fn is_policy(&self, text: Option<&Arc<str>>) -> bool {
        text == Some(&self.text)
    }

    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The environment and component that a file lies in.
    fn component_of<'p>(&self, path: &'p str) -> Option<(&'p str, &'p str)> {
        let (environment, rest) = path.strip_prefix("env/")?.split_once('/')?;
        let end = rest.match_indices('/').nth(self.depth)?.0;
        Some((environment, rest.get(..end)?))
    }

    /// Where the policy would have a change go that touched these files.
    pub(crate) fn ways<'p>(&self, labelled: bool, touched: impl IntoIterator<Item = &'p str>) -> Vec<Way> {
        let components: BTreeSet<(&str, &str)> = touched
            .into_iter()
            .filter_map(|path| self.component_of(path))
            .collect();
        let mut ways = Vec::new();
        for (environment, component) in components {
            let first = self
                .flows
                .iter()
                .enumerate()
                .find(|(_, flow)| flow.source == environment && (labelled || !flow.labelled));
            let Some((index, flow)) = first else { continue };
            for (group, ends) in flow.groups.iter().enumerate() {
                for end in ends {
                    ways.push(Way {
                        step: (index, group),
                        from: self.path(environment, component),
                        to: self.path(end, component),
                        blocked: self.blocked.contains(&(component.to_owned(), end)),
                    });
                }
            }
        }
        ways
    }
}

fn flow(source: &'static str, groups: &[&[&'static str]]) -> Flow {
    Flow {
        source,
        labelled: false,
        auto_merge: false,
        groups: groups.iter().map(|group| group.to_vec()).collect(),
    }
}
