//! What every adapter promises, as tests.
//!
//! An adapter implements [`QueueWorld`] and [`LockWorld`] for its surroundings in tests and calls [`queue_contract!`](crate::queue_contract) and
//! [`lock_contract!`](crate::lock_contract) with a function that makes a fresh one. Each clause is a test of its own.
//!
//! Clauses wait on what can be observed. That *nothing* comes can only be observed for a while: [`QUIET`].

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite of tests, outside of cfg(test) so that other crates can run it"
)]

pub mod lock;
pub mod queue;
pub mod sample;

use std::time::{Duration, Instant};

use lockflight_promotion::RepoId;

use crate::{Journal, Queue, RepoLock, Work};

/// For how long nothing has to come, to count as nothing.
pub const QUIET: Duration = Duration::from_millis(60);

/// The longest that anything may take before a clause fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A queue in its surroundings.
pub trait QueueWorld: Sized + Send + Sync {
    /// The queue, which is also the journal.
    type Queue: Queue + Journal;

    /// The queue.
    fn queue(&self) -> Self::Queue;

    /// Puts bytes on a work queue as they are.
    fn inject(&self, work: Work, repo: RepoId, bytes: Vec<u8>) -> impl Future<Output = ()> + Send;

    /// Lets that much time pass for the queue: moves its clock, or sleeps.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// The visibility timeout.
    fn visibility(&self) -> Duration;

    /// After how many failures a message is parked: at least 2.
    fn max_attempts(&self) -> u32;

    /// The longest wait after a failure.
    fn longest_wait(&self) -> Duration;

    /// How many messages may be received, at most, before one of another repository that was published with them. More than 2 for a
    /// queue that takes turns only among what it has fetched so far.
    fn longest_turn(&self) -> usize {
        2
    }

    /// Shuts the receiving side down.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// The process dies, with all that it had in flight, and another takes its place.
    fn restart(self) -> impl Future<Output = Self> + Send;
}

/// A lock in its surroundings.
pub trait LockWorld: Sized + Send + Sync {
    /// The lock.
    type Lock: RepoLock;

    /// The lock.
    fn lock(&self) -> Self::Lock;

    /// How long a lease lasts.
    fn lease(&self) -> Duration;

    /// Lets that much time pass for the lock at once: no renewal comes in between.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// The moment on the monotonic clock that the lock's leases go by.
    fn now(&self) -> Instant;

    /// The process dies, and another takes its place.
    fn restart(self) -> impl Future<Output = Self> + Send;
}

/// Makes a test of each clause of the queue's contract. The argument names an `async fn() -> impl QueueWorld`.
#[macro_export]
macro_rules! queue_contract {
    ($make:path) => {
        $crate::contract_tests! { $make, queue:
            published_work_is_received_and_journaled
            outcomes_go_to_the_journal_alone
            publishing_nothing_is_fine
            steps_of_a_repository_go_one_after_another_in_order
            steps_of_a_repository_come_in_batches_one_batch_at_a_time
            the_next_batch_of_a_repository_waits_for_the_last_of_the_one_before
            what_came_back_counted_is_handed_out_alone
            a_busy_repository_does_not_hold_up_another
            a_step_that_waits_does_not_hold_up_the_next_of_its_repository
            repositories_take_turns
            plan_work_of_one_repository_goes_to_many_planners
            webhooks_that_are_passed_on_are_received_and_not_journaled
            webhooks_of_one_repository_are_passed_on_side_by_side
            a_webhook_that_is_not_taken_waits_and_is_parked_and_released
            an_acknowledged_message_is_gone_and_what_follows_is_there
            a_failed_message_waits_and_is_parked_after_the_last_attempt
            a_parked_message_stays_until_it_is_released
            deferring_counts_nothing
            what_is_not_settled_in_time_comes_again_and_the_late_worker_is_told
            a_kept_message_stays_with_its_worker
            a_dropped_delivery_comes_again_counted
            a_panicking_worker_gives_its_message_back
            an_unknown_version_waits_for_a_newer_reader
            malformed_bytes_are_parked_with_the_reason_and_hold_up_nobody
            a_cancelled_receive_loses_nothing
            a_waiting_worker_is_woken_by_work_and_by_time
            a_closed_queue_hands_out_nothing_but_settles
            what_was_confirmed_survives_a_restart
            a_reader_of_the_journal_is_woken_and_can_resume
            a_hundred_publishers_lose_nothing
        }
    };
}

/// Makes a test of each clause of the lock's contract. The argument names an `async fn() -> impl LockWorld`.
#[macro_export]
macro_rules! lock_contract {
    ($make:path) => {
        $crate::contract_tests! { $make, lock:
            one_worker_at_a_time_has_a_repository
            waiters_are_served_in_the_order_in_which_they_came
            a_held_repository_does_not_hold_up_another
            a_lease_is_renewed_while_its_guard_lives
            a_lapsed_lease_is_refused_and_the_next_fence_is_greater
            a_dropped_guard_gives_the_lock_back
            a_waiter_that_leaves_takes_nothing_with_it
            the_fence_grows_across_restarts
        }
    };
}

/// One test per clause.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($make:path, $port:ident: $($clause:ident)*) => {
        $(
            #[tokio::test]
            async fn $clause() {
                $crate::contract::$port::$clause($make().await).await;
            }
        )*
    };
}

/// Fails a clause that waits for too long.
async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

/// Waits until something holds, looking again whenever the runtime comes round.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    in_time(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
