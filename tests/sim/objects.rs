//! What git keeps: trees and commits, named by what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, PathInRepo, TreeOid};

/// All files of a directory, by path.
pub(crate) type Files = BTreeMap<Arc<str>, Arc<str>>;

#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) root: TreeOid,
    pub(crate) files: Arc<Files>,
    pub(crate) parents: Vec<CommitOid>,
    pub(crate) when: i64,
    /// The longest way to a commit without parents.
    height: u64,
}

/// The objects of all repositories. That a commit is here says nothing of whether a mirror has it.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    commits: BTreeMap<CommitOid, Commit>,
    trees: BTreeMap<TreeOid, Arc<Files>>,
    entries: BTreeMap<(TreeOid, PathInRepo), Entry>,
}

/// A file that two sides changed differently.
#[derive(Debug)]
pub(crate) struct Conflict;

impl Objects {
    pub(crate) fn commit(
        &mut self,
        files: Files,
        parents: Vec<CommitOid>,
        message: &str,
        author: &str,
        when: i64,
    ) -> CommitOid {
        let files = Arc::new(files);
        let root = self.tree(&files);
        let mut name = Name::default();
        name.add(root.as_str());
        for parent in &parents {
            name.add(parent.as_str());
        }
        name.add(message);
        name.add(author);
        name.add(&when.to_string());
        let oid = CommitOid::parse(name.done()).unwrap();
        let height = parents
            .iter()
            .map(|parent| self.get(parent).height + 1)
            .max()
            .unwrap_or(0);
        self.commits.entry(oid.clone()).or_insert(Commit {
            root,
            files,
            parents,
            when,
            height,
        });
        oid
    }

    pub(crate) fn get(&self, commit: &CommitOid) -> &Commit {
        self.commits
            .get(commit)
            .unwrap_or_else(|| panic!("commit {commit} was never made"))
    }

    fn tree(&mut self, files: &Arc<Files>) -> TreeOid {
        let mut name = Name::default();
        for (path, content) in files.iter() {
            name.add(path);
            name.add(content);
        }
        let oid = TreeOid::parse(name.done()).unwrap();
        self.trees.entry(oid.clone()).or_insert_with(|| Arc::clone(files));
        oid
    }

    pub(crate) fn files_of(&self, tree: &TreeOid) -> Option<Arc<Files>> {
        self.trees.get(tree).cloned()
    }

    /// What stands at a path.
    pub(crate) fn entry(&mut self, commit: &CommitOid, path: &PathInRepo) -> Entry {
        let commit = self.get(commit);
        let key = (commit.root.clone(), path.clone());
        if let Some(known) = self.entries.get(&key) {
            return known.clone();
        }
        let files = Arc::clone(&commit.files);
        let inside = below(&files, path.as_str());
        let entry = if !inside.is_empty() {
            Entry::Tree(self.tree(&Arc::new(inside)))
        } else if files
            .keys()
            .any(|file| path.as_str() == &**file || within(path.as_str(), file))
        {
            Entry::NotADirectory
        } else {
            Entry::Absent
        };
        self.entries.insert(key, entry.clone());
        entry
    }

    /// The paths of files that differ.
    pub(crate) fn differing(&self, old: &CommitOid, new: &CommitOid) -> BTreeSet<String> {
        let (old, new) = (&self.get(old).files, &self.get(new).files);
        old.keys()
            .chain(new.keys())
            .filter(|path| old.get(*path) != new.get(*path))
            .map(|path| path.to_string())
            .collect()
    }

    pub(crate) fn is_descendant(&self, commit: &CommitOid, of: &CommitOid) -> bool {
        let lowest = self.get(of).height;
        let mut seen = BTreeSet::new();
        let mut open = vec![commit];
        while let Some(next) = open.pop() {
            if next == of {
                return true;
            }
            if self.get(next).height > lowest && seen.insert(next) {
                open.extend(&self.get(next).parents);
            }
        }
        false
    }

    pub(crate) fn history(&self, of: &CommitOid) -> BTreeSet<CommitOid> {
        let mut seen = BTreeSet::new();
        let mut open = vec![of];
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(&self.get(next).parents);
            }
        }
        seen
    }

    /// How many commits lead to `head` and not to `base`.
    pub(crate) fn ahead(&self, head: &CommitOid, base: &CommitOid) -> usize {
        self.history(head).difference(&self.history(base)).count()
    }

    pub(crate) fn merge_base(&self, one: &CommitOid, other: &CommitOid) -> CommitOid {
        let (one, other) = (self.history(one), self.history(other));
        one.intersection(&other)
            .max_by_key(|commit| (self.get(commit).height, (*commit).clone()))
            .unwrap()
            .clone()
    }

    /// What a merge of the two holds: file by file, whoever changed it.
    pub(crate) fn merged(&self, ours: &CommitOid, theirs: &CommitOid) -> Result<Files, Conflict> {
        let base = &self.get(&self.merge_base(ours, theirs)).files;
        let (ours, theirs) = (&self.get(ours).files, &self.get(theirs).files);
        let mut merged = Files::new();
        for path in ours.keys().chain(theirs.keys()) {
            let (was, our, their) = (base.get(path), ours.get(path), theirs.get(path));
            let content = if our == their || their == was {
                our
            } else if our == was {
                their
            } else {
                return Err(Conflict);
            };
            if let Some(content) = content {
                merged.insert(Arc::clone(path), Arc::clone(content));
            }
        }
        Ok(merged)
    }
}

/// The files below a directory, by their paths in it.
pub(crate) fn below(files: &Files, directory: &str) -> Files {
    let start = format!("{directory}/");
    files
        .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
        .map_while(|(path, content)| Some((Arc::from(path.strip_prefix(&start)?), Arc::clone(content))))
        .collect()
}

/// Puts other files below a directory in place of those that are there.
pub(crate) fn replace(files: &mut Files, directory: &str, with: Option<&Files>) {
    let start = format!("{directory}/");
    files.retain(|path, _| !path.starts_with(&start));
    for (path, content) in with.into_iter().flatten() {
        files.insert(Arc::from(format!("{start}{path}")), Arc::clone(content));
    }
}

pub(crate) fn within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// A name of 40 hexadecimal digits that is a function of all that was added: no SHA-1, but as good where nobody attacks.
#[derive(Debug)]
struct Name([u64; 3]);

impl Default for Name {
    fn default() -> Self {
        Self([
            0xcbf2_9ce4_8422_2325,
            0x6c62_272e_07bb_0142,
            0x27d4_eb2f_1656_67c5,
        ])
    }
}

impl Name {
    fn add(&mut self, text: &str) {
        for chunk in text.as_bytes().chunks(8) {
            let mut word = chunk.len() as u64;
            for byte in chunk {
                word = (word << 8) ^ u64::from(*byte) ^ (word >> 56);
            }
            self.word(word);
        }
        self.word(text.len() as u64 ^ 0xff00_ff00);
    }

    fn word(&mut self, word: u64) {
        let [a, b, c] = self.0;
        let a = (a ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let b = (b.wrapping_add(word))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .rotate_left(31)
            ^ a;
        let c = (c ^ word.rotate_left(17))
            .wrapping_mul(0x94d0_49bb_1331_11eb)
            .rotate_left(27)
            ^ b;
        self.0 = [a, b, c];
    }

    fn done(mut self) -> String {
        for _ in 0..4 {
            self.word(0);
        }
        let [a, b, c] = self.0;
        format!("{a:016x}{b:016x}{:08x}", c >> 32)
    }
}
