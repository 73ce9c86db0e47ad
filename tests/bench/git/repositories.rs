//! Repositories as people have them who deploy from git: components in environments in failure domains.
//!
//! They are made once, with `git fast-import`, and kept in the build's own folder. The same code makes the same objects.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::progress;

/// Part of the names of what is kept: raise it with every change of what is made.
const VERSION: u32 = 1;

/// Commits after the first one.
const HISTORY: usize = 300;

/// One commit in so many has a branch that nobody promotes from. Each of them is told to whoever pushes.
const BRANCH_EVERY: usize = 6;

/// What a component consists of. `values.yaml` is of its own everywhere, the others are the same throughout an environment.
const FILES: [&str; 5] = [
    "deployment.yaml",
    "hpa.yaml",
    "kustomization.yaml",
    "service.yaml",
    "values.yaml",
];

/// The file that a release changes.
pub(crate) const VALUES: &str = "values.yaml";

const WORDS: [&str; 8] = [
    "catalog", "checkout", "gateway", "identity", "ledger", "notify", "payments", "search",
];

/// The time of the first commit, in seconds since 1970.
const BEGINNING: u64 = 1_760_000_000;

/// A size of repository. Files stand at `clusters/<environment>/<failure domain>/<component>/<file>`.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// In each failure domain: so many entries have the widest directories.
    pub(crate) components: usize,
    /// The first of them have all files, the others but one.
    whole: usize,
    /// Failure domains of each environment.
    environments: &'static [(&'static str, usize)],
}

pub(crate) const K1: Shape = Shape {
    name: "1k",
    components: 25,
    whole: 25,
    environments: &[("dev", 1), ("lab", 5), ("staging", 1), ("production", 1)],
};

pub(crate) const K10: Shape = Shape {
    name: "10k",
    components: 100,
    whole: 100,
    environments: &[("dev", 2), ("lab", 6), ("staging", 6), ("production", 6)],
};

/// As many files as [`K10`], in directories as wide as those of [`M1`].
pub(crate) const K10_WIDE: Shape = Shape {
    name: "10k-wide",
    components: 1_000,
    whole: 166,
    environments: &[("dev", 1), ("lab", 5)],
};

pub(crate) const K100: Shape = Shape {
    name: "100k",
    components: 500,
    whole: 500,
    environments: &[("dev", 2), ("lab", 8), ("staging", 10), ("production", 20)],
};

pub(crate) const M1: Shape = Shape {
    name: "1M",
    components: 1_000,
    whole: 1_000,
    environments: &[("dev", 2), ("lab", 8), ("staging", 40), ("production", 150)],
};

impl Shape {
    fn failure_domains(&self) -> usize {
        self.environments.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn files(&self) -> usize {
        let in_each = self.whole * FILES.len() + (self.components - self.whole);
        in_each * self.failure_domains()
    }

    /// Where each failure domain stands.
    fn places(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.environments
            .iter()
            .flat_map(|(environment, count)| (0..*count).map(move |domain| (*environment, domain)))
    }

    /// The bare repository, made if this is the first time. Blocks, for minutes if it is large.
    pub(crate) fn make(&self) -> PathBuf {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("cargo's folder for temporary files is in its own");
        let kept = target.join("bench-repos");
        let done = kept.join(format!("{}-v{VERSION}.git", self.name));
        if done.is_dir() {
            return done;
        }
        progress(&format!("making a repository of {} files", self.files()));
        std::fs::create_dir_all(&kept).expect("the build's folder can be written");
        let new = tempfile::Builder::new()
            .prefix("new-")
            .tempdir_in(&kept)
            .expect("the build's folder can be written");
        git(
            new.path(),
            &["init", "--quiet", "--bare", "--initial-branch=main"],
        );
        let mut child = command(
            new.path(),
            &["fast-import", "--quiet", "--max-pack-size=4g", "--depth=20"],
        )
        .stdin(Stdio::piped())
        .spawn()
        .expect("git is installed");
        let stdin = child.stdin.take().expect("it was asked for");
        let mut stream = BufWriter::with_capacity(1 << 20, stdin);
        self.write(&mut stream).expect("git reads what it is told");
        stream.flush().expect("git reads what it is told");
        drop(stream);
        let status = child.wait().expect("a child can be waited for");
        assert!(status.success(), "git fast-import failed");
        // As a forge keeps it: one pack with an index of what each commit reaches.
        git(new.path(), &["repack", "-a", "-d", "-q", "--write-bitmap-index"]);
        git(new.path(), &["commit-graph", "write", "--reachable"]);
        let made = new.keep();
        std::fs::rename(made, &done).expect("both are in one folder");
        done
    }

    fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        // What is the same in many places is told once.
        let mut mark = 0;
        for (environment, _) in self.environments {
            for component in 0..self.components {
                for file in FILES.iter().filter(|file| **file != VALUES) {
                    mark += 1;
                    let text = manifest(file, &name_of(component), environment);
                    write!(to, "blob\nmark :{mark}\ndata {}\n{text}\n", text.len())?;
                }
            }
        }
        begin(to, "main", 0, "Begin", None)?;
        let readme = "# Deployments\n\nEvery directory below `clusters` is what runs there.\n";
        write!(to, "M 100644 inline README.md\ndata {}\n{readme}\n", readme.len())?;
        let mut shared = 0;
        for (environment, count) in self.environments {
            for domain in 0..*count {
                let mut mark = shared;
                for component in 0..self.components {
                    let name = name_of(component);
                    let leaf = leaf(environment, domain, component);
                    for file in FILES {
                        if file == VALUES {
                            let text = values(&name, environment, domain, 0);
                            write!(to, "M 100644 inline {leaf}/{file}\ndata {}\n{text}\n", text.len())?;
                            continue;
                        }
                        mark += 1;
                        if component < self.whole {
                            writeln!(to, "M 100644 :{mark} {leaf}/{file}")?;
                        }
                    }
                }
            }
            shared += self.components * (FILES.len() - 1);
        }
        let places: Vec<_> = self.places().collect();
        for number in 1..=HISTORY {
            begin(to, "main", number, "Release", None)?;
            let (environment, domain) = places[number * 31 % places.len()];
            let component = number * 17 % self.components;
            let text = values(&name_of(component), environment, domain, number);
            let leaf = leaf(environment, domain, component);
            write!(
                to,
                "M 100644 inline {leaf}/{VALUES}\ndata {}\n{text}\n",
                text.len()
            )?;
            if number % BRANCH_EVERY == 0 {
                begin(
                    to,
                    &format!("feature/{number}"),
                    number,
                    "Try something",
                    Some("main"),
                )?;
                let text = values("feature", "dev", 0, number);
                write!(
                    to,
                    "M 100644 inline drafts/{number}.yaml\ndata {}\n{text}\n",
                    text.len()
                )?;
            }
        }
        writeln!(to, "done")
    }
}

/// The directory of a component.
pub(crate) fn leaf(environment: &str, domain: usize, component: usize) -> String {
    format!("{}/{}", place(environment, domain), name_of(component))
}

/// The directory of a failure domain.
pub(crate) fn place(environment: &str, domain: usize) -> String {
    format!("clusters/{environment}/fd-{domain:03}")
}

/// A component's name.
pub(crate) fn name_of(component: usize) -> String {
    format!("{}-{component:04}", WORDS[component % WORDS.len()])
}

/// The head of a commit in the language of `git fast-import`.
pub(crate) fn begin(
    to: &mut impl Write,
    branch: &str,
    number: usize,
    message: &str,
    from: Option<&str>,
) -> std::io::Result<()> {
    let when = BEGINNING + 600 * number as u64;
    write!(
        to,
        "commit refs/heads/{branch}\ncommitter Mona <mona@example.com> {when} +0000\ndata {}\n{message} {number}\n",
        message.len() + 1 + number.to_string().len()
    )?;
    match from {
        Some(from) => writeln!(to, "from refs/heads/{from}"),
        None => Ok(()),
    }
}

/// The values of a component in one place, in a version.
pub(crate) fn values(name: &str, environment: &str, domain: usize, version: usize) -> String {
    format!(
        "# The values of {name} for {environment}.\nimage:\n  repository: registry.example.com/{name}\n  tag: \"2.{version}.0\"\n\
         replicas: {}\nregion: fd-{domain:03}\nenvironment: {environment}\nresources:\n  requests:\n    cpu: 250m\n    \
         memory: 256Mi\n  limits:\n    memory: 512Mi\nlogLevel: info\n",
        2 + domain % 5
    )
}

fn manifest(file: &str, name: &str, environment: &str) -> String {
    let kind = file.trim_end_matches(".yaml");
    let mut text = format!(
        "# {kind}\nmetadata:\n  name: {name}\n  namespace: {name}\n  labels:\n    app.kubernetes.io/name: {name}\n    \
         app.kubernetes.io/part-of: shop\n    environment: {environment}\nspec:\n"
    );
    for line in 0..6 {
        writeln!(text, "  {kind}-setting-{line}: \"{name}-{}\"", line * 7)
            .expect("a string can be written to");
    }
    text
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .args(arguments)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
    command
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = command(folder, arguments).status().expect("git is installed");
    assert!(status.success(), "git {arguments:?} failed");
}
