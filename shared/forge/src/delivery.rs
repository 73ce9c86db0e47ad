//! Webhook deliveries that failed, and asking for them again: GitHub never does so by itself.

use std::collections::HashMap;

use lockflight_promotion::{DeliveryId, RepoName};
use serde::Deserialize;

use crate::client::Forge;
use crate::error::ForgeError;
use crate::page::Pages;
use crate::route::{APP_DELIVERIES, APP_REDELIVER, REPO_DELIVERIES, REPO_REDELIVER, Route};
use crate::time;

/// The webhook whose deliveries are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// The one webhook of the App.
    App,
    /// A webhook of a repository; its deliveries need the permission "Webhooks: write".
    Repository {
        /// The repository.
        name: RepoName,
        /// The number in the address of the webhook's settings page.
        id: u64,
    },
}

impl Hook {
    fn deliveries(&self) -> (&'static Route, String) {
        match self {
            Self::App => (&APP_DELIVERIES, "/app/hook/deliveries".to_owned()),
            Self::Repository { name, id } => {
                (&REPO_DELIVERIES, format!("/repos/{name}/hooks/{id}/deliveries"))
            }
        }
    }
}

/// A delivery of which no attempt was answered with a 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedDelivery {
    /// The delivery: the same for all its attempts.
    pub guid: DeliveryId,
    /// The last attempt, which is the one to ask for again.
    pub attempt: u64,
    /// The event, such as `pull_request`.
    pub event: String,
    /// When that attempt was made, in seconds since 1970 UTC.
    pub delivered_at: i64,
    /// What it was answered with; 0 if there was no answer.
    pub status_code: u16,
}

#[derive(Deserialize)]
struct Attempt {
    id: u64,
    guid: DeliveryId,
    #[serde(deserialize_with = "time::iso")]
    delivered_at: i64,
    #[serde(default)]
    status_code: u16,
    event: String,
}

impl Forge {
    /// Finds the deliveries since `since` (in seconds since 1970 UTC) that never arrived, oldest first.
    ///
    /// GitHub keeps them for three days on github.com.
    ///
    /// # Errors
    /// When the deliveries cannot all be read.
    pub async fn failed_deliveries(
        &self,
        hook: &Hook,
        since: i64,
    ) -> Result<Vec<FailedDelivery>, ForgeError> {
        let (route, path) = hook.deliveries();
        let session = self.session();
        let (mut pages, mut attempts) =
            Pages::begin::<Vec<Attempt>>(&session, route, &format!("{path}?per_page=100")).await?;
        // Newest first, so that a delivery's later success is always seen before its failure.
        while attempts.last().is_some_and(|oldest| oldest.delivered_at >= since)
            && let Some(more) = pages.next::<Vec<Attempt>>().await?
        {
            attempts.extend(more);
        }
        Ok(never_arrived(attempts, since))
    }

    /// Asks GitHub to deliver an attempt again. It comes with the same GUID.
    ///
    /// # Errors
    /// When it is refused, or [`ForgeError::Unknown`].
    pub async fn redeliver(&self, hook: &Hook, attempt: u64) -> Result<(), ForgeError> {
        let (_, path) = hook.deliveries();
        let route = match hook {
            Hook::App => &APP_REDELIVER,
            Hook::Repository { .. } => &REPO_REDELIVER,
        };
        self.session()
            .write(
                route,
                &format!("{path}/{attempt}/attempts"),
                &serde_json::Map::new(),
            )
            .await?
            .success()?;
        Ok(())
    }
}

/// Of attempts, newest first, those deliveries that have no success among them.
fn never_arrived(attempts: Vec<Attempt>, since: i64) -> Vec<FailedDelivery> {
    let mut by_guid: HashMap<DeliveryId, Option<FailedDelivery>> = HashMap::new();
    for attempt in attempts
        .into_iter()
        .filter(|attempt| attempt.delivered_at >= since)
    {
        let arrived = (200..300).contains(&attempt.status_code);
        let entry = by_guid.entry(attempt.guid.clone()).or_insert_with(|| {
            Some(FailedDelivery {
                guid: attempt.guid,
                attempt: attempt.id,
                event: attempt.event,
                delivered_at: attempt.delivered_at,
                status_code: attempt.status_code,
            })
        });
        if arrived {
            *entry = None;
        }
    }
    let mut failed: Vec<FailedDelivery> = by_guid.into_values().flatten().collect();
    failed.sort_by_key(|delivery| (delivery.delivered_at, delivery.attempt));
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(id: u64, guid: &str, delivered_at: i64, status_code: u16) -> Attempt {
        Attempt {
            id,
            guid: DeliveryId::parse(guid).unwrap(),
            delivered_at,
            status_code,
            event: "pull_request".to_owned(),
        }
    }

    #[test]
    fn only_what_never_arrived_is_asked_for_again_by_its_last_attempt() {
        let attempts = vec![
            attempt(9, "again", 90, 503),
            attempt(8, "mended", 80, 202),
            attempt(7, "again", 70, 0),
            attempt(6, "mended", 60, 503),
            attempt(5, "fine", 50, 200),
            attempt(1, "old", 10, 500),
        ];
        let found: Vec<(String, u64)> = never_arrived(attempts, 20)
            .into_iter()
            .map(|delivery| (delivery.guid.to_string(), delivery.attempt))
            .collect();
        assert_eq!(found, [("again".to_owned(), 9)]);
    }
}
