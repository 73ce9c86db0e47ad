//! Looking through what is about to travel.
//!
//! A few small trees, each of which stands in the next one many times, are more paths than can be looked at. So a tree in which nothing
//! depends on its place is looked through once, and there is a limit for all others.

use std::collections::{BTreeSet, HashMap};

use git2::{Oid, TreeEntry};
use lockflight_promotion::plan::Entry;
use lockflight_promotion::{CommitOid, ErrorClass, PathInRepo, TreeOid};

use crate::extent::DEEPEST;
use crate::mirror::MirrorFailure;
use crate::objects::Objects;
use crate::read::{self, DIRECTORY, KIND, REGULAR, ReadError, SUBMODULE, SYMLINK, oid};

/// The longest symlink target that Linux takes (`PATH_MAX`), in bytes.
const LONGEST_TARGET: u64 = 4096;

/// The longest path that [`PathInRepo`] takes, in bytes.
const LONGEST_PATH: usize = 4096;

/// What one inspection looks at, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Entries of trees.
    pub(crate) entries: u64,
    /// Bytes of symlinks' targets.
    pub(crate) targets: usize,
}

/// Far more than any component has, and looked through in seconds.
pub(crate) const LIMITS: Limits = Limits {
    entries: 1_000_000,
    targets: 16 << 20,
};

/// Something that must not travel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} cannot be promoted: {reason}")]
pub struct Unsafe {
    /// Its path at the source; lossy where a name is not UTF-8.
    pub path: String,
    /// Why it must not, and what to do.
    pub reason: String,
}

/// Trees that were not found fit to travel.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Something in them must not.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// They are not what stands in the commit.
    #[error("{path} does not have tree {tree} in commit {commit}")]
    Mismatch {
        /// The component at its source.
        path: PathInRepo,
        /// The tree that was to travel.
        tree: TreeOid,
        /// The commit.
        commit: CommitOid,
    },
    /// They cannot be read.
    #[error("the trees that are to travel cannot be read")]
    Read(#[from] ReadError),
}

impl InspectError {
    /// What a worker does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unsafe(_) => ErrorClass::User,
            Self::Mismatch { .. } => ErrorClass::Bug,
            Self::Read(error) => error.class(),
        }
    }
}

impl MirrorFailure for InspectError {
    fn is_damage(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_damage())
    }

    fn is_incomplete(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_incomplete())
    }
}

pub(crate) fn inspect(
    objects: &Objects<'_>,
    commit: &CommitOid,
    sync: &[(PathInRepo, Option<TreeOid>)],
) -> Result<(), InspectError> {
    inspect_within(objects, commit, sync, LIMITS)
}

pub(crate) fn inspect_within(
    objects: &Objects<'_>,
    commit: &CommitOid,
    sync: &[(PathInRepo, Option<TreeOid>)],
    limits: Limits,
) -> Result<(), InspectError> {
    // One source usually goes to many targets.
    let components: BTreeSet<(&PathInRepo, &TreeOid)> = sync
        .iter()
        .filter_map(|(from, tree)| Some((from, tree.as_ref()?)))
        .collect();
    let places: Vec<PathInRepo> = components.iter().map(|(from, _)| (*from).clone()).collect();
    let standing = read::entries(objects, commit, &places)?;
    let mut left = limits;
    let mut plain = HashMap::new();
    Objects::each(components, |(from, tree)| {
        if standing.get(from) != Some(&Entry::Tree(tree.clone())) {
            return Err(InspectError::Mismatch {
                path: from.clone(),
                tree: tree.clone(),
                commit: commit.clone(),
            });
        }
        let mut component = Component {
            objects,
            from,
            links: Vec::new(),
            limits,
            left: &mut left,
            plain: &mut plain,
        };
        component.walk(oid(tree.as_str())?, &mut Vec::new())?;
        component.check_links()
    })?;
    Ok(())
}

/// A path inside a component, name by name.
type Names = Vec<Vec<u8>>;

struct Component<'a> {
    objects: &'a Objects<'a>,
    from: &'a PathInRepo,
    /// Each symlink's path inside the component and its target.
    links: Vec<(Names, Vec<u8>)>,
    limits: Limits,
    /// What is left of the limits for this inspection.
    left: &'a mut Limits,
    /// Trees that may travel wherever they stand, as long as their paths are not over-long, with the bytes of the longest one inside.
    plain: &'a mut HashMap<Oid, usize>,
}

impl Component<'_> {
    fn shown(&self, names: &[Vec<u8>]) -> String {
        let inside = String::from_utf8_lossy(&names.join(&b'/')).into_owned();
        if self.from.is_root() {
            inside
        } else {
            format!("{}/{inside}", self.from)
        }
    }

    fn refuse(&self, names: &[Vec<u8>], reason: impl Into<String>) -> InspectError {
        InspectError::Unsafe(Unsafe {
            path: self.shown(names),
            reason: reason.into(),
        })
    }

    /// Looks through a tree. Returns the bytes of the longest path inside when nothing in it depends on its place.
    fn walk(&mut self, tree: Oid, at: &mut Names) -> Result<Option<usize>, InspectError> {
        if let Some(longest) = self.plain.get(&tree) {
            // With the slash between.
            if self.shown(at).len() + 1 + longest <= LONGEST_PATH {
                return Ok(Some(*longest));
            }
        }
        if at.len() > DEEPEST {
            return Err(self.refuse(
                at,
                format!("it lies below more than {DEEPEST} directories; put it higher"),
            ));
        }
        let mut longest = Some(0);
        let mut incomplete = None;
        for entry in &self.objects.whole_tree(tree)? {
            self.left.entries = self.left.entries.checked_sub(1).ok_or_else(|| {
                self.too_much(format!(
                    "what travels with it has more than {} files and directories",
                    self.limits.entries
                ))
            })?;
            at.push(entry.name_bytes().to_vec());
            let length = match self.entry(&entry, at) {
                // What else is missing is looked for at once.
                Err(error) if error.is_incomplete() => {
                    incomplete = Some(error);
                    None
                }
                length => length?,
            };
            longest = longest.zip(length).map(|(one, other)| one.max(other));
            at.pop();
        }
        if let Some(incomplete) = incomplete {
            return Err(incomplete);
        }
        if let Some(longest) = longest {
            self.plain.insert(tree, longest);
        }
        Ok(longest)
    }

    /// Looks at an entry and all that is below it. Returns as [`Self::walk`] does.
    fn entry(&mut self, entry: &TreeEntry<'_>, at: &mut Names) -> Result<Option<usize>, InspectError> {
        self.check_name(at)?;
        let own = String::from_utf8_lossy(entry.name_bytes()).len();
        match entry.filemode_raw() & KIND {
            REGULAR => Ok(Some(own)),
            DIRECTORY => Ok(self.walk(entry.id(), at)?.map(|inside| own + 1 + inside)),
            SYMLINK => {
                let target = self.target(entry.id(), at)?;
                self.left.targets = self.left.targets.checked_sub(target.len()).ok_or_else(|| {
                    self.too_much(format!(
                        "the targets of the symlinks that travel with it have more than {} bytes",
                        self.limits.targets
                    ))
                })?;
                self.links.push((at.clone(), target));
                Ok(None)
            }
            SUBMODULE => Err(self.refuse(
                at,
                "it is a submodule, and submodules are not promoted; remove it",
            )),
            _ => Err(self.refuse(at, "its file mode is none that git knows")),
        }
    }

    fn too_much(&self, what: String) -> InspectError {
        InspectError::Unsafe(Unsafe {
            path: self.from.to_string(),
            reason: format!("{what}, which is too much to look through; split it into smaller components"),
        })
    }

    /// A name that is not UTF-8 may travel, since it is never used as text; the rules are then applied to its readable part.
    fn check_name(&self, at: &[Vec<u8>]) -> Result<(), InspectError> {
        let Some(name) = at.last() else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(name);
        // `parse` takes these for the root, or takes their slash off.
        let rule = if name.is_empty() || &**name == b"." || name.contains(&b'/') {
            Some("a component is empty, `.`, or has a slash")
        } else {
            PathInRepo::parse(&*text)
                .err()
                .map(|error| error.rule)
                .or_else(|| PathInRepo::parse(self.shown(at)).err().map(|error| error.rule))
        };
        match rule {
            None => Ok(()),
            Some(rule) => Err(self.refuse(at, format!("its name is refused: {rule}; rename it"))),
        }
    }

    fn target(&self, id: Oid, at: &[Vec<u8>]) -> Result<Vec<u8>, InspectError> {
        match read::small_blob(self.objects, id, self.from, LONGEST_TARGET) {
            Ok(target) => Ok(target),
            Err(ReadError::TooBig { .. }) => Err(self.refuse(at, "it is a symlink with an over-long target")),
            Err(error) => Err(error.into()),
        }
    }

    fn check_links(&self) -> Result<(), InspectError> {
        let places: BTreeSet<&[Vec<u8>]> = self.links.iter().map(|(at, _)| at.as_slice()).collect();
        for (at, target) in &self.links {
            if !stays_inside(at, target, &places) {
                return Err(self.refuse(
                    at,
                    format!(
                        "it is a symlink to {:?}, which leads out of the component; point it inside, or put a file there",
                        String::from_utf8_lossy(target)
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// Whether a symlink at `at` stays inside the component, whatever other symlinks it goes through.
///
/// The target is followed name by name. Going up is only safe from real directories: `..` behind another symlink leads
/// to the parent of wherever that one points, so it is refused. Every other symlink on the way is checked at its own place.
fn stays_inside(at: &[Vec<u8>], target: &[u8], links: &BTreeSet<&[Vec<u8>]>) -> bool {
    // A NUL cannot be in a path; what comes after it would be read differently by different programs.
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) || target.contains(&b'\\') {
        return false;
    }
    let mut here: Names = at.get(..at.len().saturating_sub(1)).unwrap_or_default().to_vec();
    let mut through_a_link =
        (1..=here.len()).any(|length| here.get(..length).is_some_and(|prefix| links.contains(prefix)));
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                if through_a_link || here.pop().is_none() {
                    return false;
                }
            }
            name => {
                here.push(name.to_vec());
                // Never undone: nothing goes up from below a symlink.
                through_a_link = through_a_link || links.contains(here.as_slice());
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Names {
        path.split('/').map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_target_is_followed_lexically_from_its_own_place() {
        let places = [names("a/link"), names("p/q/d")];
        let links: BTreeSet<&[Vec<u8>]> = places.iter().map(Vec::as_slice).collect();
        let inside = |at: &str, target: &str| stays_inside(&names(at), target.as_bytes(), &links);
        for good in ["file", "./b/c", "../file", "b/../c", "..", "a//b"] {
            assert!(inside("a/x", good), "{good}");
        }
        for bad in [
            "/etc/passwd",
            "../../x",
            "b/../../../x",
            "",
            "..\\..\\x",
            "link/../x",
            "link/y/../x",
        ] {
            assert!(!inside("a/x", bad), "{bad}");
        }
        assert!(!inside("x", ".."), "the component's parent is outside");
        assert!(
            !inside("p/x", "q/d/../../y"),
            "`..` behind a symlink goes wherever that one points"
        );
    }
}
