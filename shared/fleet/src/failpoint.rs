//! Points at which a test can end the process.
//!
//! Only with the feature `failpoints`; without it there is nothing here. With it, the environment variable `FAILPOINTS` arms points by
//! name when the first point is reached: `executor.pushed=1*return` ends the process, as `SIGKILL` would, once the executor has pushed.
//! The other actions of the crate `fail`, such as `2*off->return` (the third time), `sleep(ms)` or `pause`, work too.
//!
//! Where the points are, and what each is for, is said in `docs/testing.md`.

/// Says that a point is reached. `name` is `role.what` in the past tense behind an effect, in the present one before it.
#[inline]
pub fn reached(name: &'static str) {
    #[cfg(feature = "failpoints")]
    {
        arm();
        fail::fail_point!(name, |_| std::process::abort());
    }
    #[cfg(not(feature = "failpoints"))]
    {
        _ = name;
    }
}

#[cfg(feature = "failpoints")]
fn arm() {
    static ARMED: std::sync::Once = std::sync::Once::new();
    ARMED.call_once(|| {
        if std::env::var_os("FAILPOINTS").is_some() {
            // Dropping it would disarm the points.
            std::mem::forget(fail::FailScenario::setup());
        }
    });
}

/// Whether a test has this process be of an older version, which does not know a kind of message: `wire.unknown=return(step.promote)`
/// names it by the beginning of its routing key.
#[inline]
pub(crate) fn is_unknown(routing_key: impl FnOnce() -> String) -> bool {
    #[cfg(feature = "failpoints")]
    {
        arm();
        fail::fail_point!("wire.unknown", |kind| kind
            .is_some_and(|kind| routing_key().starts_with(&kind)));
        false
    }
    #[cfg(not(feature = "failpoints"))]
    {
        drop(routing_key);
        false
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests;
