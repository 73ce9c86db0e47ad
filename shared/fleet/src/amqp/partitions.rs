//! Who has which partition of the steps.
//!
//! It is a pure function of what everybody knows, so that nobody has to agree on anything. While two members see different lists of the
//! live ones, both may claim a partition; the single active consumer of its queue then lets only one of them have it.
//!
//! What counts is the seat of a member, not its name, so that one that was restarted gets the partitions whose mirrors it has. Where two have
//! the same seat, as for the moment after one was killed and started again, the newer has it, and the older one next to it.
//!
//! The hash should not change, and a test holds it: members of different versions work side by side.

use std::collections::BTreeSet;

use crate::MemberId;
use crate::member::fnv;

/// The partitions of one member, by rendezvous hashing.
///
/// Each partition belongs to the member with the greatest hash of both, so that a member that comes or goes moves its own share only.
/// None for one who is no member.
#[must_use]
pub fn owned(members: &BTreeSet<MemberId>, me: &MemberId, partitions: u16) -> BTreeSet<u16> {
    let seated = seated(members);
    (0..partitions)
        .filter(|partition| owner(&seated, *partition) == Some(me))
        .collect()
}

/// The members, each with the number of those with its seat that are newer.
fn seated(members: &BTreeSet<MemberId>) -> Vec<(&MemberId, u16)> {
    // Should two have been made in the same moment, the greater name is the newer one, for everybody alike.
    fn age(one: &MemberId) -> (&str, &MemberId) {
        (one.moment(), one)
    }
    let newer = |member: &&MemberId| {
        let same = members.iter().filter(|other| other.seat() == member.seat());
        same.filter(|other| age(other) > age(member)).count()
    };
    let counted = members.iter().map(|member| (member, newer(&member)));
    counted
        .map(|(member, newer)| (member, u16::try_from(newer).unwrap_or(u16::MAX)))
        .collect()
}

fn owner<'m>(seated: &[(&'m MemberId, u16)], partition: u16) -> Option<&'m MemberId> {
    // Should two hashes be equal, the greater name has it, for everybody alike.
    let first = seated
        .iter()
        .max_by_key(|(member, newer)| (weight(member.seat(), *newer, partition), *member));
    first.map(|(member, _)| *member)
}

/// A hash of the seat, how many newer ones have it, and the partition.
fn weight(seat: &str, newer: u16, partition: u16) -> u64 {
    // The partition has a fixed width, so that no two pairs are the same bytes; and no seat has a zero in it.
    let again = (newer > 0).then(|| [&[0][..], &newer.to_be_bytes()].concat());
    let bytes = seat.bytes().chain(again.into_iter().flatten());
    fnv(bytes.chain(partition.to_be_bytes()))
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
            assert_eq!(weight(member, 0, partition), expected, "{member} {partition}");
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

    fn started(seat: &str, process: u32, moment: u64) -> MemberId {
        MemberId::parse(format!("{seat}-{process}-{moment:012x}00c0ffee")).unwrap()
    }

    #[test]
    fn one_that_is_started_again_gets_what_it_had() {
        let others = [started("b", 7, 50), started("c", 8, 60)];
        let fleet = |me: &MemberId| -> BTreeSet<_> { others.iter().chain([me]).cloned().collect() };
        let (before, after) = (started("a", 9, 70), started("a", 1, 80));
        let had = owned(&fleet(&before), &before, 64);
        assert!(!had.is_empty());
        assert_eq!(owned(&fleet(&after), &after, 64), had);
        // Also while the one that was killed still counts as alive.
        let mut both = fleet(&before);
        both.insert(after.clone());
        let has = owned(&both, &after, 64);
        assert!(has.is_subset(&had));
        assert!(has.len() * 2 > had.len(), "{has:?} of {had:?}");
    }

    #[test]
    fn two_with_the_same_seat_share_the_work_and_never_both_have_a_partition() {
        let members: BTreeSet<_> = [started("a", 1, 10), started("a", 2, 20), started("b", 3, 30)].into();
        let shares: Vec<_> = members.iter().map(|one| owned(&members, one, 3_000)).collect();
        assert_eq!(shares.iter().map(BTreeSet::len).sum::<usize>(), 3_000);
        for share in &shares {
            assert!((900..=1_100).contains(&share.len()), "{}", share.len());
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
