//! The names of everything on the broker, and the partition of a repository.

use std::time::Duration;

use lockflight_promotion::RepoId;

use super::AmqpOptions;

/// The names of everything on the broker, in one place.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    partitions: u16,
    rungs: Vec<String>,
}

impl Names {
    pub(super) fn new(options: &AmqpOptions) -> Self {
        Self {
            prefix: options.prefix.clone(),
            partitions: options.partitions,
            rungs: options.ladder.iter().map(|rung| rung_name(*rung)).collect(),
        }
    }

    pub(super) const fn partitions(&self) -> u16 {
        self.partitions
    }

    fn named(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }

    /// The exchange that every new message is published to.
    pub(super) fn events(&self) -> String {
        self.named("events")
    }

    /// The exchange before the work queues. What comes again goes through this one, so that the journal does not get it twice.
    pub(super) fn work(&self) -> String {
        self.named("work")
    }

    /// Exchange and queue for what no work queue takes. The queue takes nothing either, so that the publisher is told.
    pub(super) fn refused(&self) -> String {
        self.named("refused")
    }

    /// The planners' queue.
    pub(super) fn plan(&self) -> String {
        self.named("plan")
    }

    /// The queue of the webhooks that are passed on.
    pub(super) fn forward(&self) -> String {
        self.named("forward")
    }

    /// One of the executors' queues.
    pub(super) fn steps(&self, partition: u16) -> String {
        self.named(&format!("steps.{partition:02}"))
    }

    /// Exchange and queue of a rung of the retry ladder.
    pub(super) fn retry(&self, rung: usize) -> String {
        let name = self.rungs.get(rung).or(self.rungs.last());
        self.named(&format!("retry.{}", name.map_or("none", String::as_str)))
    }

    /// The exchange before the queue of what the broker gave up on.
    pub(super) fn dlx(&self) -> String {
        self.named("dlx")
    }

    /// What the broker gave up on.
    pub(super) fn dead(&self) -> String {
        self.named("dead")
    }

    /// What waits for a person.
    pub(super) fn parked(&self) -> String {
        self.named("parked")
    }

    /// A queue that is always empty: whoever looks at what is parked is its only consumer.
    pub(super) fn looking(&self) -> String {
        self.named("looking")
    }

    /// The stream of everything that happened.
    pub(super) fn journal(&self) -> String {
        self.named("journal")
    }

    /// The queues of the retry ladder.
    pub(super) fn rungs(&self) -> Vec<String> {
        (0..self.rungs.len()).map(|rung| self.retry(rung)).collect()
    }

    /// Every exchange.
    pub(super) fn exchanges(&self) -> Vec<String> {
        let mut names = vec![self.refused(), self.dlx(), self.work(), self.events()];
        names.extend(self.rungs());
        names
    }

    /// Every queue, and the stream.
    pub(super) fn queues(&self) -> Vec<String> {
        let mut names = vec![
            self.refused(),
            self.dead(),
            self.parked(),
            self.looking(),
            self.journal(),
            self.plan(),
            self.forward(),
        ];
        names.extend((0..self.partitions).map(|partition| self.steps(partition)));
        names.extend(self.rungs());
        names
    }
}

/// The partition of a repository, 0 to `partitions` - 1.
///
/// Messages that wait on the broker were sorted by this function, so it must never change: the finalizer of splitmix64 over the
/// repository's number, modulo the number of partitions. A test holds it.
#[must_use]
pub fn partition_of(repo: RepoId, partitions: u16) -> u16 {
    let mut mixed = repo.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    // The rest is smaller than a u16.
    u16::try_from(mixed % u64::from(partitions.max(1))).unwrap_or(0)
}

/// A wait as part of a name: `5s`, `2m`, `1h`, or `250ms`.
fn rung_name(wait: Duration) -> String {
    let millis = wait.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units
        .into_iter()
        .find(|(size, _)| millis > 0 && millis.is_multiple_of(*size));
    unit.map_or_else(
        || format!("{millis}ms"),
        |(size, unit)| format!("{}{unit}", millis / size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::AmqpUri;

    fn names(ladder: &[Duration]) -> Names {
        let mut options = AmqpOptions::new(AmqpUri::parse("amqp://127.0.0.1").unwrap());
        options.ladder = ladder.to_vec();
        Names::new(&options)
    }

    #[test]
    fn a_repository_is_in_the_same_partition_for_ever() {
        let partitions: Vec<u16> = [1, 2, 3, 1_296_269, 687_123_456, u64::MAX]
            .map(|repo| partition_of(RepoId::new(repo), 16))
            .to_vec();
        assert_eq!(partitions, PARTITIONS_OF_16);
    }

    /// Computed once and for all: messages lie on the broker that were sorted so.
    const PARTITIONS_OF_16: [u16; 6] = [1, 14, 13, 14, 8, 0];

    #[test]
    fn repositories_are_spread_evenly_over_the_partitions() {
        let mut repositories = [0_u32; 16];
        for repo in 0..16_000 {
            let partition = partition_of(RepoId::new(repo), 16);
            if let Some(count) = repositories.get_mut(usize::from(partition)) {
                *count += 1;
            }
        }
        for count in repositories {
            assert!((900..1_100).contains(&count), "{repositories:?}");
        }
        assert_eq!(partition_of(RepoId::new(9), 0), 0, "no partitions count as one");
    }

    #[test]
    fn a_rung_is_named_by_its_wait() {
        let ladder = [
            Duration::from_millis(250),
            Duration::from_millis(1_500),
            Duration::from_secs(5),
            Duration::from_secs(90),
            Duration::from_mins(2),
            Duration::from_hours(1),
        ];
        let rungs = names(&ladder).rungs();
        let named: Vec<&str> = rungs
            .iter()
            .filter_map(|name| name.strip_prefix("lockflight.retry."))
            .collect();
        assert_eq!(named, ["250ms", "1500ms", "5s", "90s", "2m", "1h"]);
        // There is no rung beyond the last.
        assert_eq!(names(&ladder).retry(99), "lockflight.retry.1h");
    }

    #[test]
    fn every_name_begins_with_the_prefix_and_is_there_once() {
        let names = names(&[Duration::from_secs(1)]);
        let mut queues = names.queues();
        assert!(queues.iter().all(|name| name.starts_with("lockflight.")));
        assert_eq!(names.steps(3), "lockflight.steps.03");
        queues.sort();
        let all = queues.len();
        queues.dedup();
        assert_eq!(queues.len(), all);
    }
}
