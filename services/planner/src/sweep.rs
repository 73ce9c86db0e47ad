//! Asks GitHub for webhook deliveries that never arrived, and has them sent again: GitHub does not do so by itself
//! (<https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries>).
//!
//! A delivery that is sent again has the GUID that it had, and is harmless if it did arrive after all. It is asked for, less and less
//! often, for as long as GitHub keeps it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockflight_fleet::worker::Failure;
use lockflight_forge::{Forge, ForgeError, Hook};
use lockflight_promotion::{DeliveryId, ErrorClass};

/// How long GitHub keeps deliveries:
/// <https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>.
const KEPT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The longest wait before a delivery that failed again is asked for once more.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// What is known of a delivery that never arrived.
struct Asked {
    times: u32,
    /// When it is asked for again, since 1970.
    again: Duration,
}

/// Sweeps every so often until `stop` is there. The first sweep, right at the start, looks at all that GitHub keeps.
pub async fn sweep(forge: Forge, hook: Hook, every: Duration, stop: impl Future<Output = ()> + Send) {
    let mut stop = std::pin::pin!(stop);
    let every = every.max(Duration::from_secs(1));
    let mut asked = HashMap::new();
    let mut since = now().saturating_sub(KEPT);
    loop {
        let begun = now();
        let mut wait = every;
        match once(&forge, &hook, since, every, &mut asked).await {
            Ok(oldest) => {
                // Twice the interval, since deliveries are listed a little after they were tried; and never later than what is still missing.
                since = oldest
                    .unwrap_or(begun)
                    .min(begun.saturating_sub(every * 2))
                    .max(begun.saturating_sub(KEPT));
            }
            Err(error) => {
                let Failure { class, reason } = Failure::from(error);
                tracing::warn!("deliveries that never arrived can't be asked for: {reason}");
                if let ErrorClass::RetryAfter(limited) = class {
                    wait = limited.max(every);
                }
            }
        }
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Asks for what never arrived and is due; gives the time of the oldest of all that never arrived.
async fn once(
    forge: &Forge,
    hook: &Hook,
    since: Duration,
    every: Duration,
    asked: &mut HashMap<DeliveryId, Asked>,
) -> Result<Option<Duration>, ForgeError> {
    let from = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let failed = forge.failed_deliveries(hook, from).await?;
    asked.retain(|guid, _| failed.iter().any(|failed| failed.guid == *guid));
    let mut oldest: Option<Duration> = None;
    for failed in failed {
        let delivered = Duration::from_secs(u64::try_from(failed.delivered_at).unwrap_or_default());
        oldest = Some(oldest.map_or(delivered, |oldest| oldest.min(delivered)));
        let known = asked.entry(failed.guid.clone()).or_insert(Asked {
            times: 0,
            again: Duration::ZERO,
        });
        if now() < known.again {
            continue;
        }
        tracing::info!(
            delivery.id = %failed.guid, event = failed.event, code = failed.status_code,
            "delivery {} ({}) never arrived; asking GitHub for it again", failed.guid, failed.event,
        );
        // What keeps failing, such as a delivery signed with a secret of old, is asked for less and less often.
        known.again = now() + every.saturating_mul(1 << known.times.min(16)).min(LONGEST_WAIT);
        known.times += 1;
        match forge.redeliver(hook, failed.attempt).await {
            Ok(()) => {}
            Err(error @ ForgeError::RateLimited { .. }) => return Err(error),
            Err(error) => tracing::warn!(delivery.id = %failed.guid, "{}", Failure::from(error).reason),
        }
    }
    Ok(oldest)
}

/// The time since 1970 UTC. A clock before that counts as then.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
