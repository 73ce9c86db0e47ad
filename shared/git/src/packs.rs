//! The files of a mirror's object database, and which packs are worth merging.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use git2::Oid;

/// More packs than this in one mirror are merged. A lookup asks one pack after the other.
pub(crate) const MOST_PACKS: usize = 8;

/// More loose objects than this are put into a pack.
pub(crate) const MOST_LOOSE: usize = 1_000;

/// `\377tOc` and version 2: gitformat-pack(5).
const INDEX_HEADER: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];

/// One pack of a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pack {
    /// Its path without an ending.
    pub(crate) stem: PathBuf,
    pub(crate) objects: u32,
    /// Whether it came from a server that was asked for a part only, so that what it refers to may be missing.
    pub(crate) promised: bool,
}

/// An object in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loose {
    pub(crate) id: Oid,
    pub(crate) path: PathBuf,
}

/// What is to become one pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    pub(crate) packs: Vec<Pack>,
    pub(crate) loose: Vec<Loose>,
    pub(crate) promised: bool,
}

impl Pack {
    /// The pack's file with that ending.
    pub(crate) fn file(&self, ending: &str) -> PathBuf {
        self.stem.with_extension(ending)
    }

    fn open_index(&self) -> io::Result<(File, u32)> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "it is no index of version 2");
        let mut index = File::open(self.file("idx"))?;
        let mut header = [0; 8];
        index.read_exact(&mut header)?;
        if header != INDEX_HEADER {
            return Err(unknown());
        }
        // Of the fan-out table only the last number matters: how many there are in all.
        index.seek(SeekFrom::Start(8 + 255 * 4))?;
        let mut objects = [0; 4];
        index.read_exact(&mut objects)?;
        Ok((index, u32::from_be_bytes(objects)))
    }

    /// The ids of the objects in it.
    pub(crate) fn ids(&self) -> io::Result<Vec<Oid>> {
        let (mut index, objects) = self.open_index()?;
        let mut bytes = vec![0; usize::try_from(objects).map_err(io::Error::other)? * 20];
        index.read_exact(&mut bytes)?;
        bytes
            .chunks_exact(20)
            .map(|id| Oid::from_bytes(id).map_err(io::Error::other))
            .collect()
    }
}

/// The packs of a mirror that are whole and not to be kept as they are.
pub(crate) fn packs(mirror: &Path) -> io::Result<Vec<Pack>> {
    let mut packs = Vec::new();
    for path in files(&mirror.join("objects/pack"))? {
        if path.extension().is_none_or(|ending| ending != "idx") {
            continue;
        }
        let mut pack = Pack {
            promised: path.with_extension("promisor").exists(),
            stem: path.with_extension(""),
            objects: 0,
        };
        if pack.file("keep").exists() || !pack.file("pack").exists() {
            continue;
        }
        pack.objects = pack.open_index()?.1;
        packs.push(pack);
    }
    packs.sort_by(|one, other| (one.objects, &one.stem).cmp(&(other.objects, &other.stem)));
    Ok(packs)
}

/// The loose objects of a mirror.
pub(crate) fn loose(mirror: &Path) -> io::Result<Vec<Loose>> {
    let is_hex =
        |name: &str, digits: usize| name.len() == digits && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut loose = Vec::new();
    for dir in files(&mirror.join("objects"))? {
        let Some(start) = name(&dir).filter(|start| is_hex(start, 2)) else {
            continue;
        };
        for path in files(&dir)? {
            if let Some(rest) = name(&path).filter(|rest| is_hex(rest, 38)) {
                let id = Oid::from_str(&format!("{start}{rest}")).map_err(io::Error::other)?;
                loose.push(Loose { id, path });
            }
        }
    }
    Ok(loose)
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// The paths in a directory; none where there is no directory.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// What to merge, so that every pack that is left has at least twice as many objects as all smaller ones together: then there are few of
/// them, and each object is written again only when its pack has doubled.
///
/// Packs with promises are kept apart from those without: git takes what an object of the former refers to for promised.
pub(crate) fn merges(packs: &[Pack], loose: Vec<Loose>) -> Vec<Merge> {
    let too_many = packs.len() > MOST_PACKS;
    if !too_many && loose.len() <= MOST_LOOSE {
        return Vec::new();
    }
    let of_kind = |promised| {
        let kind: Vec<Pack> = packs
            .iter()
            .filter(|pack| pack.promised == promised)
            .cloned()
            .collect();
        let counts: Vec<u64> = kind.iter().map(|pack| u64::from(pack.objects)).collect();
        let first = if too_many { small_ones(&counts) } else { 0 };
        kind.into_iter().take(first).collect()
    };
    [
        Merge {
            packs: of_kind(true),
            loose: Vec::new(),
            promised: true,
        },
        Merge {
            packs: of_kind(false),
            loose,
            promised: false,
        },
    ]
    .into_iter()
    // One pack alone would become itself.
    .filter(|merge| merge.packs.len() + merge.loose.len() > 1)
    .collect()
}

/// How many of the smallest packs to merge, given the sizes of all from small to large.
fn small_ones(counts: &[u64]) -> usize {
    let grows = |pair: &[u64]| matches!(pair, [less, more] if *more >= less.saturating_mul(2));
    // Behind the last one that is not twice its predecessor all is well.
    let Some(last) = counts.windows(2).rposition(|pair| !grows(pair)) else {
        return 0;
    };
    let mut first = last + 1;
    let mut sum: u64 = counts.iter().take(first).sum();
    while let Some(next) = counts.get(first)
        && *next < sum.saturating_mul(2)
    {
        sum += next;
        first += 1;
    }
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_small_packs_are_merged_and_the_large_ones_left() {
        assert_eq!(small_ones(&[]), 0);
        assert_eq!(small_ones(&[7]), 0);
        assert_eq!(small_ones(&[1, 2, 4, 8]), 0);
        assert_eq!(small_ones(&[1, 1, 4, 8]), 2);
        assert_eq!(small_ones(&[1, 1, 1, 5, 100]), 4);
        assert_eq!(small_ones(&[3, 5, 1_000]), 2);
    }

    proptest! {
        #[test]
        fn what_is_left_at_least_doubles(mut counts in proptest::collection::vec(1_u64..100_000, 0..60)) {
            counts.sort_unstable();
            let merged = small_ones(&counts);
            let mut left: Vec<u64> = counts.split_off(merged);
            if merged > 0 {
                left.insert(0, counts.iter().sum());
            }
            prop_assert!(left.windows(2).all(|pair| pair[1] >= 2 * pair[0]), "{left:?}");
            prop_assert!(left.len() <= 64);
        }
    }
}
