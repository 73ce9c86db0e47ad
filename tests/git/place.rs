//! An upstream repository that is filled by git's plumbing, and the mirror of it: over HTTP from a forge, or over a path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockflight_git::testing::{REPO, WHEN};
use lockflight_git::{CommitSpec, Credentials, Identity, Mirror, Mirrors, MirrorsConfig, PlainHttp, Remote};
use lockflight_promotion::{CommitOid, PathInRepo, TreeOid};
use lockflight_sandbox::{Forge, ForgeOptions};
use tempfile::TempDir;

const NAME: &str = "acme/gitops";

/// How the upstream is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    Path,
}

pub(crate) const WAYS: [Way; 2] = [Way::Http, Way::Path];

/// An upstream with `main`, and a root for mirrors.
pub(crate) struct Place {
    pub(crate) home: TempDir,
    pub(crate) forge: Option<Forge>,
    pub(crate) upstream: PathBuf,
    pub(crate) remote: Remote,
}

impl Place {
    pub(crate) async fn new(way: Way) -> Self {
        let home = tempfile::tempdir().unwrap();
        match way {
            Way::Path => {
                let upstream = home.path().join("upstream.git");
                std::fs::create_dir(&upstream).unwrap();
                git(
                    &upstream,
                    &["init", "--quiet", "--bare", "--initial-branch=main", "."],
                    b"",
                );
                let remote = Remote {
                    url: upstream.display().to_string(),
                    credentials: None,
                };
                Self {
                    home,
                    forge: None,
                    upstream,
                    remote,
                }
            }
            Way::Http => {
                let forge = Forge::start(ForgeOptions::new(home.path().join("forge")))
                    .await
                    .unwrap();
                forge.create_repository(NAME, "main").await.unwrap();
                let token = forge.personal_token("lockflight").unwrap();
                let upstream = forge.repository_dir(NAME).unwrap();
                let remote = Remote {
                    url: forge.git_url(NAME),
                    credentials: Some(Credentials::token(token.into())),
                };
                Self {
                    home,
                    forge: Some(forge),
                    upstream,
                    remote,
                }
            }
        }
    }

    pub(crate) fn config(&self) -> MirrorsConfig {
        config(&self.home.path().join("mirrors"))
    }

    pub(crate) fn mirrors(&self) -> Mirrors {
        Mirrors::new(self.config()).unwrap()
    }

    /// The mirror, nothing fetched yet.
    pub(crate) fn mirror(&self) -> Mirror {
        self.mirrors().open(REPO, self.remote.clone())
    }

    pub(crate) fn mirror_dir(&self) -> PathBuf {
        self.home.path().join("mirrors").join(format!("{REPO}.git"))
    }

    /// Runs git in the upstream.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str], input: &[u8]) -> String {
        String::from_utf8(git(&self.upstream, arguments, input))
            .unwrap()
            .trim_end_matches('\n')
            .to_owned()
    }

    /// Puts `main` on a commit with that tree, on top of what it was.
    #[track_caller]
    pub(crate) fn advance(&self, tree: &str) -> CommitOid {
        let head = self.head("main");
        let mut arguments = vec!["commit-tree", tree, "-m", "one more"];
        if let Some(head) = &head {
            arguments.extend(["-p", head.as_str()]);
        }
        let commit = self.git(&arguments, b"");
        self.git(&["update-ref", "refs/heads/main", &commit], b"");
        CommitOid::parse(commit).unwrap()
    }

    pub(crate) fn head(&self, branch: &str) -> Option<CommitOid> {
        let reference = format!("refs/heads/{branch}");
        let listed = self.git(&["for-each-ref", "--format=%(objectname) %(refname)"], b"");
        listed
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(_, name)| *name == reference)
            .map(|(id, _)| CommitOid::parse(id).unwrap())
    }

    #[track_caller]
    pub(crate) fn tree_at(&self, commit: &CommitOid, path: &str) -> TreeOid {
        TreeOid::parse(self.git(&["rev-parse", "--verify", &format!("{commit}:{path}")], b"")).unwrap()
    }

    /// Bytes that git sent out of the upstream over HTTP so far.
    pub(crate) fn sent(&self) -> Option<u64> {
        self.forge.as_ref().map(|forge| forge.usage().git().bytes_out)
    }

    /// Fails unless git finds nothing wrong with anything in the upstream.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        git(
            &self.upstream,
            &["fsck", "--strict", "--full", "--no-dangling", "--no-progress"],
            b"",
        );
    }

    /// The tree that git's own index makes of a commit's with these directories in it.
    #[track_caller]
    pub(crate) fn independent(&self, base: &CommitOid, edits: &[(&str, Option<&TreeOid>)]) -> String {
        let index = self.home.path().join("index");
        std::fs::remove_file(&index).ok();
        let run = |arguments: &[&str], input: &[u8]| {
            git_with(&self.upstream, arguments, &[("GIT_INDEX_FILE", &index)], input)
        };
        run(&["read-tree", base.as_str()], b"");
        let listed = run(&["ls-files", "--stage", "-z"], b"");
        let mut left = Vec::new();
        for line in listed.split_inclusive(|byte| *byte == 0) {
            let at = line.iter().position(|byte| *byte == b'\t').unwrap() + 1;
            let inside = |edit: &str| line[at..].starts_with(format!("{edit}/").as_bytes());
            if !edits.iter().any(|(edit, _)| inside(edit)) {
                left.extend_from_slice(line);
            }
        }
        run(&["read-tree", "--empty"], b"");
        run(&["update-index", "-z", "--index-info"], &left);
        for (at, tree) in edits {
            if let Some(tree) = tree {
                run(
                    &["read-tree", "-i", &format!("--prefix={at}/"), tree.as_str()],
                    b"",
                );
            }
        }
        String::from_utf8(run(&["write-tree"], b""))
            .unwrap()
            .trim()
            .to_owned()
    }
}

/// How mirrors are kept in a test.
pub(crate) fn config(root: &Path) -> MirrorsConfig {
    let mut config = MirrorsConfig::new(root);
    config.allow_file = true;
    config.plain_http = PlainHttp::Loopback;
    config.timeout = std::time::Duration::from_secs(60);
    config
}

/// What stands in a directory.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    File(Vec<u8>),
    Executable(Vec<u8>),
    Symlink(Vec<u8>),
    Submodule,
    /// A file whose blob is there already.
    Blob(String),
    Dir(Dir),
}

/// A directory by the names in it, which may be any bytes.
pub(crate) type Dir = BTreeMap<Vec<u8>, Node>;

/// Puts something at a path, and makes the directories on the way.
pub(crate) fn put(dir: &mut Dir, path: impl AsRef<[u8]>, node: Node) {
    let path = path.as_ref();
    match path.iter().position(|byte| *byte == b'/') {
        None => {
            dir.insert(path.to_vec(), node);
        }
        Some(slash) => {
            let inside = dir
                .entry(path[..slash].to_vec())
                .or_insert_with(|| Node::Dir(Dir::new()));
            let Node::Dir(inside) = inside else {
                panic!("something stands in the way");
            };
            put(inside, &path[slash + 1..], node);
        }
    }
}

pub(crate) fn file(content: impl Into<Vec<u8>>) -> Node {
    Node::File(content.into())
}

/// Writes trees into a repository. Equal directories are written once.
#[derive(Default)]
pub(crate) struct Writer {
    known: BTreeMap<Vec<u8>, String>,
}

impl Writer {
    /// Writes the directory with `git mktree`, which takes names that an index would refuse.
    #[track_caller]
    pub(crate) fn tree(&mut self, place: &Place, dir: &Dir) -> String {
        let mut lines = Vec::new();
        for (name, node) in dir {
            let (mode, kind, id) = match node {
                Node::File(content) => ("100644", "blob", self.blob(place, content)),
                Node::Executable(content) => ("100755", "blob", self.blob(place, content)),
                Node::Symlink(target) => ("120000", "blob", self.blob(place, target)),
                Node::Submodule => ("160000", "commit", "1".repeat(40)),
                Node::Blob(id) => ("100644", "blob", id.clone()),
                Node::Dir(inside) => ("040000", "tree", self.tree(place, inside)),
            };
            lines.extend_from_slice(format!("{mode} {kind} {id}\t").as_bytes());
            lines.extend_from_slice(name);
            lines.push(0);
        }
        self.written(place, &["mktree", "-z"], b't', &lines)
    }

    #[track_caller]
    fn blob(&mut self, place: &Place, content: &[u8]) -> String {
        self.written(place, &["hash-object", "-w", "--stdin"], b'b', content)
    }

    #[track_caller]
    fn written(&mut self, place: &Place, arguments: &[&str], kind: u8, content: &[u8]) -> String {
        let key = [&[kind], content].concat();
        if let Some(id) = self.known.get(&key) {
            return id.clone();
        }
        let id = place.git(arguments, content);
        self.known.insert(key, id.clone());
        id
    }
}

/// A checked path.
pub(crate) fn path(path: &str) -> PathInRepo {
    PathInRepo::parse(path).unwrap()
}

/// The commit of a promotion.
pub(crate) fn spec(parent: &CommitOid, edits: &[(&str, Option<&TreeOid>)]) -> CommitSpec {
    CommitSpec {
        parent: parent.clone(),
        edits: edits
            .iter()
            .map(|(at, tree)| (path(at), tree.cloned().into()))
            .collect(),
        message: "Promote".into(),
        author: Identity {
            name: "Ada".into(),
            email: "ada@example.com".into(),
        },
        when: WHEN,
    }
}

/// Runs git, free of this machine's configuration, and gives what it printed.
#[track_caller]
pub(crate) fn git(dir: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    git_with(dir, arguments, &[], input)
}

/// As [`git`], with more in its environment.
#[track_caller]
pub(crate) fn git_with(
    dir: &Path,
    arguments: &[&str],
    environment: &[(&str, &Path)],
    input: &[u8],
) -> Vec<u8> {
    let date = format!("{WHEN} +0000");
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_DIR", dir)
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.com")
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.com")
        .env("GIT_COMMITTER_DATE", &date)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // Beside the reading, so that neither waits for the other.
        scope.spawn(move || std::io::Write::write_all(&mut stdin, input).ok());
        child.wait_with_output().unwrap()
    });
    assert!(
        output.status.success(),
        "git {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
