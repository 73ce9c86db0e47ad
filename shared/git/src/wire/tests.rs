//! The wire against git's own server side, and against servers that do what they should not.

mod fake;
mod fetch;
mod hostile;
mod hostile_push;
mod push;

use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use lockflight_promotion::CommitOid;
use tempfile::TempDir;

use super::{Limits, Request, Wire};
use crate::testing::git_in;
use crate::tests::bridge::{TOKEN, remote};
use crate::{MirrorsConfig, PlainHttp};

fn wire() -> Wire {
    wire_within(Limits::default())
}

fn wire_within(limits: Limits) -> Wire {
    let mut config = MirrorsConfig::new("/nonexistent");
    config.plain_http = PlainHttp::Loopback;
    Wire::with_limits(&config, limits)
}

fn oid(commit: &CommitOid) -> Oid {
    Oid::from_str(commit.as_str()).unwrap()
}

fn want(id: Oid) -> Request {
    Request {
        wants: vec![id],
        ..Request::default()
    }
}

/// An empty bare repository that takes for granted that objects may be missing.
struct Here {
    home: TempDir,
}

impl Here {
    fn new() -> Self {
        let here = Self {
            home: tempfile::tempdir().unwrap(),
        };
        Repository::init_bare(here.path()).unwrap();
        here
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("here.git")
    }

    fn repo(&self) -> Repository {
        Repository::open_bare(self.path()).unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        git_in(&self.path(), arguments, &[], b"")
    }

    /// The kind and id of every object that is here, as `git` sees it.
    fn objects(&self) -> Vec<(String, Oid)> {
        let listed = self.git(&[
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objecttype) %(objectname)",
        ]);
        listed
            .lines()
            .map(|line| {
                let (kind, id) = line.split_once(' ').unwrap();
                (kind.to_owned(), Oid::from_str(id).unwrap())
            })
            .collect()
    }

    fn count(&self, kind: &str) -> usize {
        self.objects().iter().filter(|(this, _)| this == kind).count()
    }

    /// All files below `objects`, by their paths there.
    fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, files: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, files);
                } else {
                    files.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let mut files = Vec::new();
        walk(
            &self.path().join("objects"),
            &self.path().join("objects"),
            &mut files,
        );
        files.sort();
        files
    }

    /// Checks that nothing was brought and nothing was left.
    #[track_caller]
    fn assert_untouched(&self) {
        let mut entries: Vec<_> = std::fs::read_dir(self.path().join("objects"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        entries.sort();
        assert_eq!(entries, ["info", "pack"]);
        assert_eq!(self.files(), Vec::<String>::new());
    }

    fn set_shallow(&self, boundary: &[Oid]) {
        let lines: String = boundary.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(self.path().join("shallow"), lines).unwrap();
    }
}
