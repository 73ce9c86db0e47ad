//! A look at a pack as it comes by, before libgit2 indexes it.
//!
//! libgit2 checks the hash of every object. It does not bound what a pack makes it do: it makes room for as many objects as the
//! head of the pack names, and for as many bytes as a delta says that it makes. So both are looked at here, and each entry is inflated once to find the
//! next; nothing is kept.

use flate2::{Decompress, FlushDecompress, Status};

/// What is wrong with a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPack {
    /// It is not as gitformat-pack(5) has it.
    #[error("the pack is malformed: {0}")]
    Malformed(&'static str),
    /// It holds more objects than is taken.
    #[error("the pack holds {0} objects")]
    TooManyObjects(u32),
    /// An object that has to be held in memory as a whole is larger than is taken.
    #[error("the pack holds an object of {0} bytes")]
    TooLargeObject(u64),
}

/// What a pack may make of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most objects.
    pub(super) objects: u32,
    /// The most bytes of one commit, tree, tag or delta, of what a delta makes and of what it is made of. Other blobs are never held in memory.
    pub(super) object: u64,
}

/// Where in the pack the next byte is.
#[derive(Debug)]
enum State {
    /// In the twelve bytes that it begins with.
    Head,
    /// At the first byte of an entry.
    Entry,
    /// In the rest of an entry's type and size.
    Size { kind: u8, size: u64, shift: u32 },
    /// In the id of a delta's base.
    BaseId { size: u64, left: usize },
    /// In the distance of a delta's base.
    BaseDistance { size: u64, read: usize },
    /// In the compressed bytes.
    Deflated { is_delta: bool, size: u64 },
    /// In the hash at the end.
    Trailer { left: usize },
}

const OF_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;
const HASH: usize = 20;

/// Enough of a delta for the two sizes that it begins with.
const DELTA_HEAD: usize = 20;

/// Reads a pack in pieces.
pub(super) struct Scanner {
    bounds: Bounds,
    state: State,
    head: Vec<u8>,
    objects: Option<u32>,
    left: u32,
    inflate: Decompress,
    scratch: Box<[u8; 16 * 1024]>,
    /// The first bytes of the delta that is read.
    delta: Vec<u8>,
    /// Whether there was a delta, and the largest blob: any blob may be what a delta is made of, and is held in memory then.
    has_delta: bool,
    largest_blob: u64,
}

impl Scanner {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Head,
            head: Vec::with_capacity(12),
            objects: None,
            left: 0,
            inflate: Decompress::new(true),
            scratch: Box::new([0; 16 * 1024]),
            delta: Vec::with_capacity(DELTA_HEAD),
            has_delta: false,
            largest_blob: 0,
        }
    }

    /// The number of objects, once the head was read.
    pub(super) const fn objects(&self) -> Option<u32> {
        self.objects
    }

    /// Whether all of the pack was read.
    pub(super) const fn is_complete(&self) -> bool {
        matches!(self.state, State::Trailer { left: 0 })
    }

    /// Looks at what came next.
    pub(super) fn read(&mut self, mut input: &[u8]) -> Result<(), BadPack> {
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                State::Head => {
                    self.head.push(byte);
                    input = rest;
                    self.read_head()?;
                }
                State::Entry => {
                    input = rest;
                    let (kind, size) = ((byte >> 4) & 7, u64::from(byte & 15));
                    self.state = if byte & 0x80 == 0 {
                        self.body(kind, size)?
                    } else {
                        State::Size { kind, size, shift: 4 }
                    };
                }
                State::Size { kind, size, shift } => {
                    input = rest;
                    let size = size | part(byte, shift)?;
                    self.state = if byte & 0x80 == 0 {
                        self.body(kind, size)?
                    } else {
                        State::Size {
                            kind,
                            size,
                            shift: shift + 7,
                        }
                    };
                }
                State::BaseId { size, left } => {
                    let taken = left.min(input.len());
                    input = input.get(taken..).unwrap_or_default();
                    self.state = if taken == left {
                        self.deflated(true, size)
                    } else {
                        State::BaseId {
                            size,
                            left: left - taken,
                        }
                    };
                }
                State::BaseDistance { size, read } => {
                    input = rest;
                    self.state = if byte & 0x80 == 0 {
                        self.deflated(true, size)
                    } else if read < 9 {
                        State::BaseDistance { size, read: read + 1 }
                    } else {
                        return Err(BadPack::Malformed("the distance of a base has no end"));
                    };
                }
                State::Deflated { is_delta, size } => input = self.inflate(is_delta, size, input)?,
                State::Trailer { left: 0 } => return Err(BadPack::Malformed("it goes on after its end")),
                State::Trailer { left } => {
                    input = rest;
                    self.state = State::Trailer { left: left - 1 };
                }
            }
        }
        Ok(())
    }

    fn read_head(&mut self) -> Result<(), BadPack> {
        let Some(&[s0, s1, s2, s3, v0, v1, v2, v3, n0, n1, n2, n3]) = self.head.first_chunk::<12>() else {
            return Ok(());
        };
        if [s0, s1, s2, s3] != *b"PACK" {
            return Err(BadPack::Malformed("it does not begin as a pack"));
        }
        if !matches!(u32::from_be_bytes([v0, v1, v2, v3]), 2 | 3) {
            return Err(BadPack::Malformed("its version is unknown"));
        }
        let objects = u32::from_be_bytes([n0, n1, n2, n3]);
        if objects > self.bounds.objects {
            return Err(BadPack::TooManyObjects(objects));
        }
        self.objects = Some(objects);
        self.left = objects;
        self.state = self.next_entry();
        Ok(())
    }

    const fn next_entry(&self) -> State {
        if self.left == 0 {
            State::Trailer { left: HASH }
        } else {
            State::Entry
        }
    }

    /// What follows the type and the size of an entry.
    fn body(&mut self, kind: u8, size: u64) -> Result<State, BadPack> {
        const BLOB: u8 = 3;
        if !matches!(kind, 1..=4 | OF_DELTA | REF_DELTA) {
            return Err(BadPack::Malformed("an object is of an unknown type"));
        }
        if kind != BLOB && size > self.bounds.object {
            return Err(BadPack::TooLargeObject(size));
        }
        match kind {
            BLOB => self.largest_blob = self.largest_blob.max(size),
            OF_DELTA | REF_DELTA => self.has_delta = true,
            _ => {}
        }
        if self.has_delta && self.largest_blob > self.bounds.object {
            return Err(BadPack::TooLargeObject(self.largest_blob));
        }
        Ok(match kind {
            OF_DELTA => State::BaseDistance { size, read: 0 },
            REF_DELTA => State::BaseId { size, left: HASH },
            _ => self.deflated(false, size),
        })
    }

    fn deflated(&mut self, is_delta: bool, size: u64) -> State {
        self.inflate.reset(true);
        self.delta.clear();
        State::Deflated { is_delta, size }
    }

    /// Inflates a part of an entry, and returns the input that is left.
    fn inflate<'a>(&mut self, is_delta: bool, size: u64, mut input: &'a [u8]) -> Result<&'a [u8], BadPack> {
        loop {
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, self.scratch.as_mut_slice(), FlushDecompress::None)
                .map_err(|_zlib| BadPack::Malformed("an object can't be inflated"))?;
            let advance = |before: u64, after: u64| usize::try_from(after - before).unwrap_or(usize::MAX);
            let (taken, made) = (
                advance(taken, self.inflate.total_in()),
                advance(made, self.inflate.total_out()),
            );
            input = input.get(taken..).unwrap_or_default();
            if is_delta && self.delta.len() < DELTA_HEAD {
                let room = DELTA_HEAD - self.delta.len();
                let new = self.scratch.get(..made.min(room)).unwrap_or_default();
                self.delta.extend_from_slice(new);
            }
            if self.inflate.total_out() > size {
                return Err(BadPack::Malformed("an object is larger than it says"));
            }
            if status == Status::StreamEnd {
                if self.inflate.total_out() != size {
                    return Err(BadPack::Malformed("an object is smaller than it says"));
                }
                if is_delta {
                    self.check_delta()?;
                }
                self.left -= 1;
                self.state = self.next_entry();
                return Ok(input);
            }
            if taken == 0 && made == 0 {
                // It needs more input than there is.
                return if input.is_empty() {
                    Ok(input)
                } else {
                    Err(BadPack::Malformed("an object can't be inflated"))
                };
            }
        }
    }

    /// Looks at the size of what a delta makes.
    fn check_delta(&self) -> Result<(), BadPack> {
        let mut bytes = self.delta.iter().copied();
        for _base_then_result in 0..2 {
            let (mut size, mut shift) = (0, 0);
            loop {
                let byte = bytes.next().ok_or(BadPack::Malformed("a delta is too short"))?;
                size |= part(byte, shift)?;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if size > self.bounds.object {
                return Err(BadPack::TooLargeObject(size));
            }
        }
        Ok(())
    }
}

/// Seven bits of a number that begins with its lowest.
fn part(byte: u8, shift: u32) -> Result<u64, BadPack> {
    let bits = u64::from(byte & 0x7f);
    bits.checked_shl(shift)
        .filter(|shifted| shifted >> shift == bits)
        .ok_or(BadPack::Malformed("a size has no end"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        objects: 100,
        object: 1 << 20,
    };

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A number with its lowest bits first, of which the first byte holds `first`.
    fn number(mut number: u64, mut byte: u8, first: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        byte |= (number & ((1 << first) - 1)) as u8;
        number >>= first;
        while number > 0 {
            bytes.push(byte | 0x80);
            byte = (number & 0x7f) as u8;
            number >>= 7;
        }
        bytes.push(byte);
        bytes
    }

    /// An entry: its type, the size that it says, what stands before the compressed bytes, and those.
    fn entry(kind: u8, size: u64, base: &[u8], content: &[u8]) -> Vec<u8> {
        [number(size, kind << 4, 4), base.to_vec(), deflated(content)].concat()
    }

    fn pack(entries: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(entries.len()).unwrap().to_be_bytes();
        [
            b"PACK\0\0\0\x02".to_vec(),
            count.to_vec(),
            entries.concat(),
            vec![7; HASH],
        ]
        .concat()
    }

    fn delta(base: u64, result: u64) -> Vec<u8> {
        [number(base, 0, 7), number(result, 0, 7), vec![0x90, 5]].concat()
    }

    fn scanned(pack: &[u8]) -> Result<bool, BadPack> {
        let mut scanner = Scanner::new(BOUNDS);
        scanner.read(pack)?;
        Ok(scanner.is_complete())
    }

    fn good() -> Vec<u8> {
        let change = delta(300, 5);
        let size = change.len() as u64;
        pack(&[
            entry(1, 6, b"", b"commit"),
            entry(2, 0, b"", b""),
            entry(3, 30_000, b"", &b"blob".repeat(7500)),
            entry(7, size, &[9; HASH], &change),
            entry(6, size, &[0x81, 0x02], &change),
            entry(4, 3, b"", b"tag"),
        ])
    }

    #[test]
    fn a_pack_is_read_to_its_end_and_no_further() {
        let good = good();
        assert_eq!(scanned(&good), Ok(true));
        assert_eq!(scanned(&good[..good.len() - 1]), Ok(false));
        assert_eq!(
            scanned(&[&good[..], b"x"].concat()),
            Err(BadPack::Malformed("it goes on after its end"))
        );
        assert_eq!(scanned(&pack(&[])), Ok(true));
    }

    #[test]
    fn what_would_need_too_much_memory_is_refused() {
        let large = BOUNDS.object + 1;
        for kind in [1, 2, 4, OF_DELTA, REF_DELTA] {
            let entry = entry(kind, large, b"", b"");
            assert_eq!(
                scanned(&pack(&[entry])),
                Err(BadPack::TooLargeObject(large)),
                "{kind}"
            );
        }
        let bomb = delta(10, large);
        let size = bomb.len() as u64;
        for (kind, base) in [(OF_DELTA, vec![1]), (REF_DELTA, vec![9; HASH])] {
            let entry = entry(kind, size, &base, &bomb);
            assert_eq!(
                scanned(&pack(&[entry])),
                Err(BadPack::TooLargeObject(large)),
                "{kind}"
            );
        }
        // A blob is held in memory when a delta is made of it, and only then.
        let blob = entry(3, large, b"", &vec![7; usize::try_from(large).unwrap()]);
        assert_eq!(scanned(&pack(std::slice::from_ref(&blob))), Ok(true));
        let change = delta(10, 5);
        let change = entry(REF_DELTA, change.len() as u64, &[9; HASH], &change);
        for entries in [[blob.clone(), change.clone()], [change, blob]] {
            assert_eq!(scanned(&pack(&entries)), Err(BadPack::TooLargeObject(large)));
        }
        assert_eq!(
            scanned(&pack(&vec![vec![]; 101])),
            Err(BadPack::TooManyObjects(101))
        );
    }

    #[test]
    fn what_is_no_pack_is_refused() {
        let mut unknown_version = good();
        unknown_version[7] = 9;
        for (name, bad) in [
            ("no pack", b"PUCK\0\0\0\x02\0\0\0\0".to_vec()),
            ("an unknown version", unknown_version),
            ("an unknown type", pack(&[entry(5, 1, b"", b"x")])),
            ("no type", pack(&[entry(0, 1, b"", b"x")])),
            ("larger than it says", pack(&[entry(3, 1, b"", b"xx")])),
            ("smaller than it says", pack(&[entry(3, 3, b"", b"xx")])),
            (
                "not deflated",
                pack(&[[number(4, 0x30, 4), b"xxxxxxxxxx".to_vec()].concat()]),
            ),
            (
                "a delta without sizes",
                pack(&[entry(OF_DELTA, 1, &[1], &[0x80])]),
            ),
            ("a size without end", pack(&[vec![0xff; 20]])),
            (
                "a distance without end",
                pack(&[[number(4, OF_DELTA << 4, 4), vec![0xff; 20]].concat()]),
            ),
        ] {
            assert!(
                matches!(scanned(&bad), Err(BadPack::Malformed(_))),
                "{name}: {:?}",
                scanned(&bad)
            );
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_pack_is_cut(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30)) {
            let good = good();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(good.len() + 1)).collect();
            places.extend([0, good.len()]);
            places.sort_unstable();
            let mut scanner = Scanner::new(BOUNDS);
            for ends in places.windows(2) {
                prop_assert!(!scanner.is_complete() || ends[0] == good.len());
                scanner.read(&good[ends[0]..ends[1]]).unwrap();
            }
            prop_assert!(scanner.is_complete());
            prop_assert_eq!(scanner.objects(), Some(6));
        }

        #[test]
        fn garbage_is_refused_or_waited_for(
            place in any::<prop::sample::Index>(),
            garbage in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = good();
            let start = place.index(bytes.len());
            bytes.splice(start.., garbage);
            // No panic is what is asked for.
            prop_assert!(scanned(&bytes).is_ok() || scanned(&bytes).is_err());
        }
    }
}
