//! Who has which partition of the steps.
//!
//! It is a pure function of what everybody knows, so that nobody has to agree on anything. While two members see different lists of the
//! live ones, both may claim a partition; the single active consumer of its queue then lets only one of them have it.
//!
//! The hash should not change, and a test holds it: members of different versions work side by side.

use std::collections::BTreeSet;

use crate::MemberId;

/// The partitions of one member, by rendezvous hashing.
///
/// Each partition belongs to the member with the greatest hash of both, so that a member that comes or goes moves its own share only.
/// None for one who is no member.
#[must_use]
pub fn owned(members: &BTreeSet<MemberId>, me: &MemberId, partitions: u16) -> BTreeSet<u16> {
    (0..partitions)
        .filter(|partition| owner(members, *partition) == Some(me))
        .collect()
}

fn owner(members: &BTreeSet<MemberId>, partition: u16) -> Option<&MemberId> {
    // Should two hashes be equal, the greater name has it, for everybody alike.
    members
        .iter()
        .max_by_key(|member| (weight(member.as_str(), partition), *member))
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>) of both, finished, since its upper bits alone hardly depend on the last bytes.
fn weight(member: &str, partition: u16) -> u64 {
    // The partition has a fixed width, so that no two pairs are the same bytes.
    let bytes = member.bytes().chain(partition.to_be_bytes());
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    finish(hash)
}

/// The end of splitmix64 (<https://prng.di.unimi.it/splitmix64.c>).
const fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use lockflight_promotion::RepoId;

    use super::super::partition_of;
    use super::*;

    fn members(names: impl IntoIterator<Item = String>) -> BTreeSet<MemberId> {
        names
            .into_iter()
            .map(|name| MemberId::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn the_hashes_do_not_change() {
        for (repo, partition) in [(0, 15), (1, 1), (2, 14), (42, 5), (1_296_269, 14), (1 << 63, 11)] {
            assert_eq!(partition_of(RepoId::new(repo), 16), partition, "{repo}");
            assert_eq!(partition_of(RepoId::new(repo), 0), 0);
        }
        for (member, partition, expected) in [
            ("executor-0", 0, 0x141A_F947_04E8_429F),
            ("executor-0", 1, 0x974A_BE9D_C4D6_E013),
            ("executor-1", 0, 0xC5DC_6573_3DDB_024F),
            ("b7f3", 15, 0xD254_F5C2_45DB_667F),
        ] {
            assert_eq!(weight(member, partition), expected, "{member} {partition}");
        }
    }

    #[test]
    fn one_who_is_no_member_has_nothing_and_a_single_one_has_all() {
        let alone = members(["a".to_owned()]);
        let [me, stranger] = ["a", "b"].map(|name| MemberId::parse(name).unwrap());
        assert_eq!(owned(&alone, &me, 16), (0..16).collect());
        assert!(owned(&alone, &stranger, 16).is_empty());
        assert!(owned(&BTreeSet::new(), &me, 16).is_empty());
        assert!(owned(&alone, &me, 0).is_empty());
    }

    #[test]
    fn shares_are_about_equal() {
        for count in 2..=8_usize {
            let members = members((0..count).map(|n| format!("executor-{n}")));
            for member in &members {
                let share = owned(&members, member, 10_000).len() * count;
                assert!((9_000..=11_000).contains(&share), "{member} of {count}: {share}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_partition_has_one_owner_and_a_member_moves_its_own_share_only(
            names in prop::collection::btree_set("[a-z0-9-]{1,12}", 2..8),
            partitions in 1..64_u16,
        ) {
            let all = members(names);
            let shares: Vec<_> = all.iter().map(|member| owned(&all, member, partitions)).collect();
            let union: BTreeSet<u16> = shares.iter().flatten().copied().collect();
            prop_assert_eq!(union.len(), usize::from(partitions));
            prop_assert_eq!(shares.iter().map(BTreeSet::len).sum::<usize>(), usize::from(partitions));
            for leaver in &all {
                let mut rest = all.clone();
                rest.remove(leaver);
                let left = owned(&all, leaver, partitions);
                for member in &rest {
                    let before = owned(&all, member, partitions);
                    let after = owned(&rest, member, partitions);
                    // Nothing but what the leaver had changes hands.
                    prop_assert!(before.is_subset(&after));
                    prop_assert!(after.difference(&before).all(|partition| left.contains(partition)));
                }
            }
        }
    }
}
