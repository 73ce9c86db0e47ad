//! Asks GitHub for webhook deliveries that never arrived, and has them sent again: GitHub does not do so by itself
//! (<https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries>).
//!
//! A delivery that is sent again has the GUID that it had, and is harmless if it did arrive after all. What keeps failing, such as one
//! signed with a secret that is no longer configured, is asked for only so often.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockflight_fleet::worker::Failure;
use lockflight_forge::{Forge, ForgeError, Hook};
use lockflight_promotion::{DeliveryId, ErrorClass};

/// How long GitHub keeps deliveries:
/// <https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>.
const KEPT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How often one delivery is asked for, as long as this process lives.
const TIMES: u32 = 3;

/// Sweeps every so often until `stop` is there. The first sweep, right at the start, looks at all that GitHub keeps.
pub async fn sweep(forge: Forge, hook: Hook, every: Duration, stop: impl Future<Output = ()> + Send) {
    let mut stop = std::pin::pin!(stop);
    let every = every.max(Duration::from_secs(1));
    let mut asked = HashMap::new();
    let mut since = now().saturating_sub(KEPT);
    loop {
        let begun = now();
        let wait = match once(&forge, &hook, since, &mut asked).await {
            Ok(()) => {
                // Twice the interval, since deliveries are listed a little after they were tried.
                since = begun.saturating_sub(every * 2);
                every
            }
            Err(error) => {
                let Failure { class, reason } = Failure::from(error);
                tracing::warn!("deliveries that never arrived can't be asked for: {reason}");
                if let ErrorClass::RetryAfter(wait) = class {
                    wait.max(every)
                } else {
                    every
                }
            }
        };
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn once(
    forge: &Forge,
    hook: &Hook,
    since: Duration,
    asked: &mut HashMap<DeliveryId, u32>,
) -> Result<(), ForgeError> {
    let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    for failed in forge.failed_deliveries(hook, since).await? {
        let times = asked.entry(failed.guid.clone()).or_default();
        if *times == TIMES {
            continue;
        }
        *times += 1;
        tracing::info!(
            delivery.id = %failed.guid, event = failed.event, code = failed.status_code,
            "delivery {} ({}) never arrived; asking GitHub for it again", failed.guid, failed.event,
        );
        forge.redeliver(hook, failed.attempt).await?;
    }
    Ok(())
}

/// The time since 1970 UTC. A clock before that counts as then.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
