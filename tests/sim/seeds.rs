//! The tests: many seeds, one seed, and that the simulation finds what is wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::run::{Numbers, Report, run};
use crate::weather::Sabotage;

/// How many seeds run when nobody says how many.
const SEEDS: u64 = 5_000;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var_os(variable)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{variable} has to be a number, and is {}", value.display())))
}

/// Runs seeds on as many threads as there are cores until so many have failed, or all have run. Each run has one thread of its own.
fn search(
    first: u64,
    count: u64,
    sabotage: Option<Sabotage>,
    most: usize,
) -> (BTreeMap<u64, Report>, Numbers) {
    let next = AtomicU64::new(first);
    let end = first + count;
    let found = Mutex::new((BTreeMap::new(), Numbers::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run(seed, sabotage, false);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.1.add(&report.numbers);
                    if !report.violations.is_empty() {
                        found.0.insert(seed, report);
                        if found.0.len() >= most {
                            next.store(end, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn command(seed: u64) -> String {
    format!("LOCKFLIGHT_SEED={seed} cargo test -p lockflight-tests --test sim -- one_seed --nocapture")
}

/// Runs as many seeds as `LOCKFLIGHT_SEEDS` says, and shows those that fail.
#[expect(clippy::print_stdout, reason = "how much was run is part of the result")]
fn hold(count: u64) {
    let count = number("LOCKFLIGHT_SEEDS").unwrap_or(count);
    let first = number("LOCKFLIGHT_FIRST_SEED").unwrap_or(0);
    let begun = Instant::now();
    let (found, numbers) = search(first, count, None, 5);
    println!("{count} seeds in {:?}: {numbers:?}", begun.elapsed());
    let told: String = found
        .iter()
        .map(|(seed, report)| {
            format!(
                "seed {seed}: {:#?}\nSee it with\n    {}\n",
                report.violations,
                command(*seed)
            )
        })
        .collect();
    assert!(told.is_empty(), "{told}");
}

#[test]
fn many_seeds_hold_all_invariants() {
    hold(SEEDS);
}

#[test]
#[ignore = "takes most of an hour"]
fn soak_of_a_hundred_thousand_seeds() {
    hold(100_000);
}

/// Shows one run, that of `LOCKFLIGHT_SEED`.
#[test]
fn one_seed_can_be_looked_at() {
    let seed = number("LOCKFLIGHT_SEED");
    let report = run(seed.unwrap_or(1), None, true);
    assert!(!report.trace.is_empty());
    if seed.is_some() {
        println!("{}", report.trace.join("\n"));
    }
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..25 {
        let (one, other) = (run(seed, None, true), run(seed, None, true));
        let differs = one
            .trace
            .iter()
            .zip(&other.trace)
            .position(|(one, other)| one != other);
        assert!(
            differs.is_none() && one.trace.len() == other.trace.len(),
            "seed {seed} differs at line {differs:?}: {:?} and {:?}",
            differs.and_then(|at| one.trace.get(at)),
            differs.and_then(|at| other.trace.get(at)),
        );
    }
}

/// A simulation that finds nothing proves nothing: each mistake on purpose has to be found soon.
#[test]
fn every_sabotage_is_found() {
    for sabotage in [
        Sabotage::BlindPush,
        Sabotage::StaleList,
        Sabotage::NoComments,
        Sabotage::AnyHead,
        Sabotage::ForgetfulQueue,
        Sabotage::LossyQueue,
        Sabotage::EmptyReads,
        Sabotage::RestlessCommits,
        Sabotage::NoSweep,
        Sabotage::BlindRetries,
    ] {
        let (found, _) = search(0, 500, Some(sabotage), 1);
        let (seed, report) = found
            .first_key_value()
            .unwrap_or_else(|| panic!("{sabotage:?} was not found"));
        println!(
            "{sabotage:?}: seed {seed}: {}",
            report.violations.first().unwrap()
        );
    }
}

/// The lock and the queue's order save work; what is fenced is fenced without them.
#[test]
fn without_lock_and_order_only_what_nothing_fences_is_doubled() {
    let (found, numbers) = search(0, 300, Some(Sabotage::NoLock), 1);
    let first = found
        .first_key_value()
        .map(|(seed, report)| (seed, &report.violations));
    assert!(first.is_none(), "{first:#?}");
    println!("{numbers:?}");
}
