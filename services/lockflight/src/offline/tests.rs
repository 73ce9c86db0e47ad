//! What holds for every policy, whichever ways of modelling environments it mixes: made-up repositories, planned and carried out with git.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use lockflight_git::{Committed, LocalRepository};
use lockflight_promotion::plan::{Listing, Plan, Step, Sync};
use lockflight_promotion::policy::{NATIVE_FILE, Policy};
use lockflight_promotion::values::{self, Format};
use lockflight_promotion::{CommitOid, PathInRepo, RepoName};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::{Offline, Other};

type Files = BTreeMap<String, String>;

const OTHER: &str = "acme/production";

/// Two repositories on disk.
struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn directory(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    /// Makes a bare repository in which each of the commits has exactly these files, one after the other on its branch.
    fn make(&self, name: &str, commits: &[(&str, Files)]) {
        use std::fmt::Write as _;

        let directory = self.directory(name);
        // What `git init --bare` makes, without a process for it.
        for folder in ["objects", "refs"] {
            std::fs::create_dir_all(directory.join(folder)).unwrap();
        }
        std::fs::write(directory.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(
            directory.join("config"),
            "[core]\nrepositoryformatversion = 0\nbare = true\n",
        )
        .unwrap();
        let mut stream = String::new();
        let mut known = BTreeSet::new();
        for (branch, files) in commits {
            let head = format!("refs/heads/{branch}");
            write!(
                stream,
                "commit {head}\ncommitter Mona <mona@example.com> 1700000000 +0000\ndata 0\n"
            )
            .unwrap();
            if !known.insert(head) {
                stream.push_str("deleteall\n");
            }
            for (path, content) in files {
                let length = content.len();
                write!(stream, "M 100644 inline {path}\ndata {length}\n{content}\n").unwrap();
            }
        }
        let mut child = Command::new("git")
            .args(["fast-import", "--quiet", "--date-format=raw"])
            .current_dir(&directory)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{stream}");
    }
}

/// What a repository holds, branch by branch.
#[derive(Clone, Debug)]
struct World {
    policy: String,
    before: Files,
    main: Files,
    live: Files,
    other: Files,
}

impl World {
    /// The files of the branch that a step is merged into.
    fn base(&mut self, step: &Step) -> &mut Files {
        match (&step.repo, &step.base) {
            (Some(_), _) => &mut self.other,
            (None, Some(_)) => &mut self.live,
            (None, None) => &mut self.main,
        }
    }

    /// Makes the repositories, with `before` as the commit before the change.
    fn write(&self, before: &Files) -> Place {
        let place = Place {
            home: tempfile::tempdir().unwrap(),
        };
        let with_policy = |files: &Files| {
            let mut files = files.clone();
            files.insert(NATIVE_FILE.to_owned(), self.policy.clone());
            files
        };
        let own = [
            ("main", with_policy(before)),
            ("main", with_policy(&self.main)),
            ("env/live", self.live.clone()),
        ];
        place.make("own", &own);
        place.make("other", &[("main", self.other.clone())]);
        place
    }
}

/// The clones of a place, with what is read from them.
struct Clones {
    own: LocalRepository,
    others: [Other; 1],
    base: CommitOid,
    head: CommitOid,
}

impl Clones {
    fn of(place: &Place) -> Self {
        let own = LocalRepository::open(place.directory("own")).unwrap();
        let name = RepoName::parse(OTHER).unwrap();
        let others = [Other::open(name, &place.directory("other"), &own).unwrap()];
        let (base, head) = (own.resolve("main^").unwrap(), own.resolve("main").unwrap());
        Self {
            own,
            others,
            base,
            head,
        }
    }

    fn offline(&self) -> Offline<'_> {
        Offline::new(&self.own, self.base.clone(), self.head.clone(), BTreeSet::new())
            .unwrap()
            .beside(&self.others)
    }

    /// The clone that a step leads to.
    fn of_step(&self, step: &Step) -> &LocalRepository {
        match &step.repo {
            Some(_) => &self.others[0].repo,
            None => &self.own,
        }
    }
}

/// Every step with the commit that it would make; one that can't be done is left out.
fn carried_out(clones: &Clones) -> (Plan, Vec<(Step, CommitOid, Committed)>) {
    let offline = clones.offline();
    let policy: Policy = offline.policy().unwrap().unwrap();
    let plan = offline.plan(&policy).unwrap();
    let made = plan.steps.iter().filter_map(|step| {
        let (_, parent) = offline.parent_of(step).unwrap();
        Some((step.clone(), parent, offline.preview(step).ok()?))
    });
    let made = made.collect();
    (plan, made)
}

fn listing(repo: &LocalRepository, commit: &CommitOid, at: &PathInRepo) -> Listing {
    let found = repo.listings(commit, std::slice::from_ref(at)).unwrap();
    found.into_values().next().unwrap()
}

fn text(repo: &LocalRepository, commit: &CommitOid, at: &PathInRepo) -> String {
    String::from_utf8(repo.blob(commit, at, 1_000_000).unwrap().unwrap()).unwrap()
}

/// Of a directory that travels: what is selected becomes what the source has, everything else stays.
fn selection_holds(
    clones: &Clones,
    step: &Step,
    sync: &Sync,
    made: (&CommitOid, &CommitOid),
) -> TestCaseResult {
    let (before, after) = made;
    let repo = clones.of_step(step);
    let old = listing(repo, before, &sync.to);
    let new = listing(repo, after, &sync.to);
    let source = listing(&clones.own, &clones.head, &sync.from);
    let selector = sync
        .selection
        .compile()
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let selects = |path: &[u8]| selector.selects(std::str::from_utf8(path).unwrap());
    for path in old.keys().chain(new.keys()).chain(source.keys()) {
        let wanted = if selects(path) {
            source.get(path)
        } else {
            old.get(path)
        };
        prop_assert_eq!(new.get(path), wanted, "{}", String::from_utf8_lossy(path));
    }
    Ok(())
}

/// Of keys that travel: each is what the source has, and no line changes but those of the keys.
fn only_keys_change(
    clones: &Clones,
    step: &Step,
    sync: &Sync,
    made: (&CommitOid, &CommitOid),
) -> TestCaseResult {
    let repo = clones.of_step(step);
    let (old, new) = (text(repo, made.0, &sync.to), text(repo, made.1, &sync.to));
    let source = text(&clones.own, &clones.head, &sync.from);
    let keys = sync.keys.as_ref().unwrap();
    let get = |text: &str, key| values::get(Format::Yaml, text, key).unwrap();
    for key in &keys.keys {
        prop_assert_eq!(get(&new, key), get(&source, key), "{}", key);
    }
    // Each value stands on a line of its own in these files, behind its name.
    let names: Vec<String> = keys.keys.iter().map(ToString::to_string).collect();
    let is_of_a_key = |line: &str| {
        names.iter().any(|name| {
            let last = name.rsplit('.').next().unwrap_or(name);
            line.trim_start().starts_with(&format!("{last}:"))
        })
    };
    let others = |text: &str| {
        let lines = text.split_inclusive('\n').filter(|line| !is_of_a_key(line));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    prop_assert_eq!(others(&old), others(&new), "{}\n---\n{}", old, new);
    for line in new.lines().filter(|line| is_of_a_key(line)) {
        prop_assert!(line.ends_with("# kept"), "the comment is lost: {}", line);
    }
    Ok(())
}

fn values_file(region: &str, (tag, replicas, quoted): &(u8, u8, bool)) -> String {
    let quote = if *quoted { "\"" } else { "" };
    format!(
        "# {region}\nimage:\n  tag: {quote}v{tag}{quote}   # kept\n  pullPolicy: Always\n\nreplicas: {replicas} # kept\nregion: '{region}'\n"
    )
}

fn file_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "values.yaml",
        "values-region-eu.yaml",
        "sub/values-region-us.yaml",
        "sub/a.json",
        "deploy.yaml",
    ])
}

/// The files of three components below a directory.
fn below(directory: &'static str) -> impl Strategy<Value = Files> {
    let component = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::btree_map((component, file_name()), "[0-2]", 0..8).prop_map(move |files| {
        let path = |(component, name)| format!("{directory}/{component}/{name}");
        files
            .into_iter()
            .map(|(key, content)| (path(key), content))
            .collect()
    })
}

fn single(name: &'static str) -> impl Strategy<Value = Files> {
    let component = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::btree_map(component, (0_u8..3, 0_u8..3, any::<bool>()), 0..4).prop_map(move |all| {
        let file = |(component, values)| {
            (
                format!("apps/{component}/values-{name}.yaml"),
                values_file(name, &values),
            )
        };
        all.into_iter().map(file).collect()
    })
}

fn selections() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "select: { exclude: ['values-region-*.yaml'] }",
        "select: { include: ['*.yaml'] }",
        "select: { include: ['*.yaml'], exclude: [sub/] }",
        "select: { exclude: ['/values.yaml', '**/a.json'] }",
    ])
}

fn policies() -> impl Strategy<Value = String> {
    let ways = prop::sample::subsequence(vec!["lab", "prod/us", "prod/eu", "live", "elsewhere"], 1..=5)
        .prop_shuffle();
    let files = prop::sample::subsequence(vec!["us-file", "eu-file"], 1..=2).prop_shuffle();
    let keys = prop::sample::subsequence(vec!["image.tag", "replicas", "image.absent"], 1..=3);
    (ways, files, keys, selections(), any::<bool>()).prop_map(|(ways, files, keys, select, split)| {
        let waves = |places: &[&str]| {
            let wave = |place: &&str| format!("      - {{ to: [{place}] }}\n");
            if split {
                places.iter().map(wave).collect()
            } else {
                format!("      - {{ to: [{}] }}\n", places.join(", "))
            }
        };
        format!(
            "version: 1
environments:
  lab: {{ path: clusters/lab }}
  prod:
    path: 'clusters/prod/{{domain}}'
    domains: {{ us: , eu: }}
  live: {{ branch: env/live, path: apps }}
  elsewhere: {{ repository: {OTHER}, path: live }}
  staging-file: {{ path: apps, file: values-staging.yaml }}
  us-file: {{ path: apps, file: values-us.yaml }}
  eu-file: {{ path: apps, file: values-eu.yaml }}
flows:
  - from: {{ path: workspace }}
    {select}
    waves:
{}
  - from: staging-file
    keys: [{}]
    waves:
{}",
            waves(&ways),
            keys.join(", "),
            waves(&files)
        )
    })
}

fn worlds() -> impl Strategy<Value = World> {
    let sources = || (below("workspace"), single("staging"));
    let targets = (
        below("clusters/lab"),
        below("clusters/prod/us"),
        below("clusters/prod/eu"),
        single("us"),
        single("eu"),
    );
    (
        policies(),
        sources(),
        sources(),
        targets,
        below("apps"),
        below("live"),
    )
        .prop_map(|(policy, before, after, targets, live, other)| {
            let (lab, us, eu, us_files, eu_files) = targets;
            let targets: Files = [lab, us, eu, us_files, eu_files].into_iter().flatten().collect();
            let with = |(workspace, staging): (Files, Files)| {
                [workspace, staging, targets.clone()]
                    .into_iter()
                    .flatten()
                    .collect()
            };
            // A branch without a file can't be made.
            let kept = ("KEPT".to_owned(), String::new());
            World {
                policy,
                before: with(before),
                main: with(after),
                live: live.into_iter().chain([kept.clone()]).collect(),
                other: other.into_iter().chain([kept]).collect(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_plan_does_stays_inside_its_targets_and_its_selection(world in worlds()) {
        let place = world.write(&world.before);
        let clones = Clones::of(&place);
        for (step, parent, committed) in carried_out(&clones).1 {
            for path in &committed.paths {
                let path = PathInRepo::parse(path).unwrap();
                prop_assert!(step.sync.iter().any(|sync| path.is_within(&sync.to)), "{path}");
                prop_assert!(step.targets.iter().any(|target| path.is_within(&target.path)), "{path}");
            }
            for sync in &step.sync {
                let made = (&parent, &committed.oid);
                if sync.keys.is_some() {
                    only_keys_change(&clones, &step, sync, made)?;
                } else {
                    selection_holds(&clones, &step, sync, made)?;
                }
            }
        }
    }

    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_do(world in worlds()) {
        let place = world.write(&world.before);
        let clones = Clones::of(&place);
        let (_, made) = carried_out(&clones);
        let mut after = world.clone();
        for (step, _, committed) in &made {
            let repo = clones.of_step(step);
            for path in &committed.paths {
                let at = PathInRepo::parse(path).unwrap();
                match repo.blob(&committed.oid, &at, 1_000_000).unwrap() {
                    Some(content) => after.base(step).insert(path.clone(), String::from_utf8(content).unwrap()),
                    None => after.base(step).remove(path),
                };
            }
        }
        // The same change once more, at what the first plan has left.
        let again = after.write(&world.before);
        let clones = Clones::of(&again);
        let (_, made) = carried_out(&clones);
        for (step, _, committed) in made {
            prop_assert_eq!(&committed.paths, &Vec::<String>::new(), "{:#?}", step);
        }
    }
}

/// The properties would hold of plans that do nothing.
#[test]
fn what_is_made_up_is_promoted_in_all_ways() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..60 {
        let world = proptest::strategy::ValueTree::current(&worlds().new_tree(&mut runner).unwrap());
        let place = world.write(&world.before);
        let clones = Clones::of(&place);
        for (step, _, committed) in carried_out(&clones).1 {
            let way = match (&step.repo, &step.base) {
                (Some(_), _) => "repository",
                (None, Some(_)) => "branch",
                _ if step.sync.iter().any(|sync| sync.keys.is_some()) => "file",
                _ => "directory",
            };
            if !committed.paths.is_empty() {
                *seen.entry(way).or_default() += 1;
            }
            if step.sync.iter().any(|sync| !sync.selection.is_everything()) {
                *seen.entry("selection").or_default() += 1;
            }
        }
    }
    for way in ["directory", "branch", "repository", "file", "selection"] {
        assert!(seen.get(way).is_some_and(|count| *count >= 5), "{way}: {seen:?}");
    }
}
