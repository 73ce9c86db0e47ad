//! A repository on a forge, and mirrors of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use lockflight_git::testing::{WHEN, git_in};
use lockflight_git::{
    CommitSpec, Credentials, Identity, Mirror, Mirrors, MirrorsConfig, PlainHttp, PushOutcome, RefUpdate,
    Remote,
};
use lockflight_promotion::{BranchName, CommitOid, Fence, Lease, PathInRepo, RepoId, TreeOid};
use lockflight_sandbox::{Forge, ForgeOptions};
use secrecy::SecretString;
use tempfile::TempDir;

pub(crate) const NAME: &str = "acme/gitops";
pub(crate) const POLICY: &str = "telefonistka.yaml";

/// A forge with one repository, and a place for mirrors.
pub(crate) struct Scene {
    pub(crate) forge: Forge,
    pub(crate) repo: RepoId,
    token: String,
    home: TempDir,
}

pub(crate) fn path(path: &str) -> PathInRepo {
    PathInRepo::parse(path).unwrap()
}

pub(crate) fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

/// The files of `environments` with `components` each; one of those has ten files in two directories.
pub(crate) fn components(environments: &[&str], components: usize) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([(POLICY.to_owned(), "promotionPaths: []\n".to_owned())]);
    for environment in environments {
        for component in 0..components {
            for file in 0..10 {
                let place = if file < 5 { "" } else { "templates/" };
                files.insert(
                    format!("{environment}/c{component:04}/{place}f{file}.yaml"),
                    format!("{environment} {component} {file}\n"),
                );
            }
        }
    }
    files
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let home = TempDir::new().unwrap();
        let forge = Forge::start(ForgeOptions::new(home.path().join("forge")))
            .await
            .unwrap();
        let repo = forge.create_repository(NAME, "main").await.unwrap();
        let token = forge.personal_token("mona").unwrap();
        Self {
            forge,
            repo: RepoId::new(repo),
            token,
            home,
        }
    }

    /// The directory of the repository at the forge.
    pub(crate) fn dir(&self) -> PathBuf {
        self.forge.repository_dir(NAME).unwrap()
    }

    /// Runs git at the forge.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.dir(), arguments, &[], b"")
    }

    /// Puts a commit of these files on top of `parents`, without a look at any of their other files; no content removes one.
    #[track_caller]
    pub(crate) fn commit(
        &self,
        name: &str,
        parents: &[&CommitOid],
        files: &BTreeMap<String, Option<String>>,
    ) -> CommitOid {
        let mut stream = String::new();
        let reference = format!("refs/heads/{name}");
        writeln!(
            stream,
            "commit {reference}\ncommitter Ada <ada@example.com> {WHEN} +0000\ndata 4\nnext"
        )
        .unwrap();
        for (number, parent) in parents.iter().enumerate() {
            let kind = if number == 0 { "from" } else { "merge" };
            writeln!(stream, "{kind} {parent}").unwrap();
        }
        for (file, content) in files {
            match content {
                Some(content) => {
                    writeln!(
                        stream,
                        "M 100644 inline {file}\ndata {}\n{content}",
                        content.len()
                    )
                    .unwrap();
                }
                None => writeln!(stream, "D {file}").unwrap(),
            }
        }
        let arguments = ["fast-import", "--quiet", "--force"];
        git_in(&self.dir(), &arguments, &[], stream.as_bytes());
        self.head(name)
    }

    /// The first commit of `main`.
    #[track_caller]
    pub(crate) fn begin(&self, files: BTreeMap<String, String>) -> CommitOid {
        let files = files
            .into_iter()
            .map(|(file, content)| (file, Some(content)))
            .collect();
        self.commit("main", &[], &files)
    }

    /// A commit on top of a branch that writes one file.
    #[track_caller]
    pub(crate) fn write(&self, name: &str, file: &str, content: &str) -> CommitOid {
        let files = BTreeMap::from([(file.to_owned(), Some(content.to_owned()))]);
        self.commit(name, &[&self.head(name)], &files)
    }

    /// As many commits on top of `main`, each of which writes one of `files` in turn.
    #[track_caller]
    pub(crate) fn write_often(&self, count: usize, files: &[&str]) -> CommitOid {
        let mut stream = String::new();
        let mut from = format!("from {}", self.head("main"));
        for (number, file) in files.iter().cycle().take(count).enumerate() {
            let content = format!("{number}\n");
            writeln!(
                stream,
                "commit refs/heads/main\nmark :{mark}\ncommitter Ada <ada@example.com> {WHEN} +0000\ndata 4\nnext\n{from}\n\
                 M 100644 inline {file}\ndata {length}\n{content}",
                mark = number + 1,
                length = content.len(),
            )
            .unwrap();
            from = format!("from :{}", number + 1);
        }
        git_in(&self.dir(), &["fast-import", "--quiet"], &[], stream.as_bytes());
        self.head("main")
    }

    #[track_caller]
    pub(crate) fn head(&self, name: &str) -> CommitOid {
        let id = self.git(&["rev-parse", "--verify", &format!("refs/heads/{name}")]);
        CommitOid::parse(id).unwrap()
    }

    #[track_caller]
    pub(crate) fn tree(&self, commit: &CommitOid, at: &str) -> TreeOid {
        TreeOid::parse(self.git(&["rev-parse", &format!("{commit}:{at}")])).unwrap()
    }

    /// A process's mirrors; one process has a root at a time.
    pub(crate) fn mirrors(&self, root: &str) -> Mirrors {
        let mut config = MirrorsConfig::new(self.home.path().join(root));
        config.plain_http = PlainHttp::Loopback;
        Mirrors::new(config).unwrap()
    }

    pub(crate) fn open(&self, mirrors: &Mirrors) -> Mirror {
        let remote = Remote {
            url: self.forge.git_url(NAME),
            credentials: Some(Credentials::token(SecretString::from(self.token.clone()))),
        };
        mirrors.open(self.repo, remote)
    }

    /// A mirror of which nothing was fetched.
    pub(crate) fn mirror(&self) -> Mirror {
        self.open(&self.mirrors("mirrors"))
    }

    /// A mirror of a process that has its own.
    pub(crate) fn other_mirror(&self) -> Mirror {
        self.open(&self.mirrors("others"))
    }

    pub(crate) fn mirror_dir(&self) -> PathBuf {
        self.home
            .path()
            .join("mirrors")
            .join(format!("{}.git", self.repo))
    }

    /// The ids of what the mirror holds of one kind.
    pub(crate) fn held(&self, kind: &str) -> BTreeSet<String> {
        let arguments = [
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objecttype) %(objectname)",
        ];
        let all = git_in(&self.mirror_dir(), &arguments, &[], b"");
        all.lines()
            .filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn lease(&self) -> Lease {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        Lease::issue(self.repo, Fence(1), until)
    }

    /// Commits what a promotion of one component does, and makes a branch of it.
    pub(crate) async fn promote(
        &self,
        mirror: &Mirror,
        at: &CommitOid,
        from: &str,
        to: &[&str],
    ) -> CommitOid {
        let source = mirror.entry(at, &path(from)).await.unwrap();
        let lockflight_promotion::plan::Entry::Tree(tree) = source else {
            panic!("{from} is {source:?}");
        };
        mirror
            .inspect(at, &[(path(from), Some(tree.clone()))])
            .await
            .unwrap();
        let made = mirror.commit(spec(at, to, Some(&tree))).await.unwrap();
        made.oid
    }

    pub(crate) async fn push(&self, mirror: &Mirror, updates: &[RefUpdate]) -> Vec<PushOutcome> {
        mirror.push(&self.lease(), updates).await.unwrap()
    }

    /// How many requests for git the forge has answered, and how many of them were pushes.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.forge
            .requests()
            .into_iter()
            .filter(|request| request.route.starts_with("git "))
            .map(|request| request.route)
            .collect()
    }
}

pub(crate) fn spec(parent: &CommitOid, to: &[&str], tree: Option<&TreeOid>) -> CommitSpec {
    CommitSpec {
        parent: parent.clone(),
        edits: to.iter().map(|to| (path(to), tree.cloned().into())).collect(),
        message: "Promote".to_owned(),
        author: Identity {
            name: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
        },
        when: WHEN,
    }
}

pub(crate) fn creation(name: &str, commit: &CommitOid) -> RefUpdate {
    RefUpdate {
        branch: branch(name),
        expected: None,
        new: Some(commit.clone()),
    }
}
