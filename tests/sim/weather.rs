//! How bad a run is: how often each thing goes wrong, in a thousand calls.

use std::time::Duration;

use crate::dice::Dice;

/// A mistake that is built in on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A push does not compare before it swaps.
    BlindPush,
    /// The list of pull requests is always empty.
    StaleList,
    /// The list of comments is always empty.
    NoComments,
    /// A merge takes whatever the head is.
    AnyHead,
    /// What follows from a message is not published.
    ForgetfulQueue,
    /// A message that was not settled does not come back.
    LossyQueue,
    /// What can't be read is said to be absent.
    EmptyReads,
    /// Commits differ from one attempt to the next.
    RestlessCommits,
    /// Deliveries that did not arrive are not asked for again.
    NoSweep,
    /// Neither lock nor queue keep two workers apart.
    NoLock,
    /// A write whose answer was lost is done again at once.
    BlindRetries,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// The worker's process is killed, before or after the call had its effect.
    pub(crate) kill: u64,
    /// The process stands still for longer than a lease, before or after.
    pub(crate) freeze: u64,
    /// The call fails and had no effect.
    pub(crate) refuse: u64,
    /// A write gets no answer; it had its effect or not.
    pub(crate) lose: u64,
    /// A limit is used up.
    pub(crate) limit: u64,
    /// The call takes long.
    pub(crate) slow: u64,
    /// A push without an answer lands only later.
    pub(crate) land_late: u64,
    /// A published message is there twice.
    pub(crate) double: u64,
    /// A published message comes late.
    pub(crate) delay: u64,
    /// A settled message comes again.
    pub(crate) again: u64,
    /// A webhook does not arrive.
    pub(crate) drop: u64,
    /// Redis forgets all locks, so often in a thousand seconds.
    pub(crate) wipe: u64,
    /// The lock is granted although another has it.
    pub(crate) degraded: u64,
    /// People push to branches of ours.
    pub(crate) meddle: u64,
    /// People close promotions.
    pub(crate) decline: u64,
    /// People merge what has been overtaken, push where promotions lead, and revert.
    pub(crate) wild: bool,
    /// Whether what follows is published in one act with the settlement.
    pub(crate) atomic: bool,
    /// Whether a waiting message stands for equal ones.
    pub(crate) collapse: bool,
    pub(crate) visibility: Duration,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Weather {
    pub(crate) fn throw(dice: &mut Dice) -> Self {
        let bad = dice.below(10);
        let mut rate = |low: u64, high: u64| match bad {
            0 => 0,
            1..=4 => *dice.pick(&[0, 0, low]).unwrap_or(&0),
            _ => *dice.pick(&[0, low, low, high]).unwrap_or(&0),
        };
        let mut weather = Self {
            kill: rate(8, 25),
            freeze: rate(4, 12),
            refuse: rate(15, 60),
            lose: rate(15, 60),
            limit: rate(5, 20),
            slow: rate(10, 50),
            land_late: rate(200, 500),
            double: rate(30, 200),
            delay: rate(50, 300),
            again: rate(20, 100),
            drop: rate(100, 300),
            wipe: rate(5, 20),
            degraded: rate(50, 300),
            meddle: rate(60, 150),
            decline: rate(80, 150),
            ..Self::default()
        };
        weather.wild = bad > 0 && dice.chance(300);
        weather.atomic = dice.chance(400);
        weather.collapse = dice.chance(500);
        weather.visibility = Duration::from_secs(dice.between(60, 300));
        weather
    }

    /// Whether two workers may think at the same time that they hold one repository.
    pub(crate) fn may_share_a_lock(&self) -> bool {
        self.freeze > 0 || self.wipe > 0 || self.degraded > 0 || self.sabotage == Some(Sabotage::NoLock)
    }

    /// What is left of it when the weather clears: nothing but how the queue is made.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            wild: self.wild,
            atomic: self.atomic,
            collapse: self.collapse,
            visibility: self.visibility,
            sabotage: self.sabotage,
            ..Self::default()
        };
    }
}
