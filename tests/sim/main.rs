//! Planner and executor, as they are, in a simulated world: everything beside them (queue, lock, git, forge, time, chance, people) is in
//! memory and decided by a seed, on one thread.
//!
//! Each run kills and freezes processes before and after any call, loses answers, lets messages come twice, late, again and not at all,
//! lets locks be forgotten and shared, and lets people do what people do. While it runs, [`witness`] looks at each effect; in the end
//! the weather clears, everything comes to rest, and [`oracle`] compares with what one perfect worker would have made of it.
//!
//! - `LOCKFLIGHT_SEED=7 cargo test -p lockflight-tests --test sim -- one_seed --nocapture` runs one seed and shows what happened.
//! - `LOCKFLIGHT_SEEDS=50000 cargo test -p lockflight-tests --test sim -- many_seeds` runs so many, from `LOCKFLIGHT_FIRST_SEED` on.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test: a failed expectation is a failed test"
)]

mod channel;
mod dice;
mod fleet;
mod forge;
mod git;
mod layout;
mod locks;
mod objects;
mod oracle;
mod people;
mod process;
mod pulls;
mod queue;
mod run;
mod seeds;
mod weather;
mod witness;
mod world;
