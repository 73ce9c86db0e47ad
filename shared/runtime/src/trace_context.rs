//! The beginning of a trace, and reading one that a message carries.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use lockflight_promotion::{InvalidId, TraceParent};

/// The context of a new trace: random ids, sampled.
///
/// The randomness is that of the standard library's [`RandomState`], which the operating system seeds. It makes the ids differ; it is
/// not meant to make them hard to guess, and nothing relies on that.
#[must_use]
pub fn new_trace() -> TraceParent {
    loop {
        let value = format!("00-{:016x}{:016x}-{:016x}-01", random(), random(), random());
        // Only an id of nothing but zeros is refused.
        if let Ok(context) = TraceParent::parse(value) {
            return context;
        }
    }
}

/// Reads the context that a message or a person's header carries.
///
/// # Errors
/// When it is not a W3C `traceparent` of version 00.
pub fn parse(value: &str) -> Result<TraceParent, InvalidId> {
    TraceParent::parse(value)
}

/// The trace id within a context: 32 hexadecimal digits.
#[must_use]
pub fn trace_id(context: &TraceParent) -> &str {
    context.as_str().split('-').nth(1).unwrap_or_default()
}

fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_new_trace_has_ids_of_its_own() {
        let traces: BTreeSet<String> = (0..1_000).map(|_| trace_id(&new_trace()).to_owned()).collect();
        assert_eq!(traces.len(), 1_000);
        assert!(traces.iter().all(|trace| trace.len() == 32));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let context = new_trace();
        assert_eq!(parse(context.as_str()), Ok(context));
        assert!(parse("00-00000000000000000000000000000000-0000000000000001-01").is_err());
        assert!(parse("garbage").is_err());
    }
}
