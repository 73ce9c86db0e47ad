//! Leases in the file: a fence that only grows, and a deadline.

use rusqlite::params;

use super::session::Session;
use super::store::StoreError;
use crate::clock::millis;

/// What came of asking for a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Granted {
    /// It is granted under that fence.
    Lease { fence: i64, expired: bool },
    /// Somebody holds it until that time, unless it is renewed or released.
    Held { until: i64 },
}

impl Session {
    /// Grants the lease of a repository if nobody holds it.
    pub(crate) fn grant(&mut self, repo: i64) -> Result<Granted, StoreError> {
        let now = self.clock().steady();
        let percent = self.options.strictness.expire_leases;
        let until = now.saturating_add(millis(self.options.lease));
        let fence = self.find(
            "INSERT INTO leases (repo, fence, deadline) VALUES (?1, 1, ?2)
             ON CONFLICT (repo) DO UPDATE SET fence = fence + 1, deadline = ?2 WHERE deadline <= ?3
             RETURNING fence",
            params![repo, until, now],
            |row| row.get(0),
        )?;
        if let Some(fence) = fence {
            let expired = self.dice.happens(percent);
            if expired {
                self.end_lease(repo, fence)?;
            }
            return Ok(Granted::Lease { fence, expired });
        }
        let until = self.find("SELECT deadline FROM leases WHERE repo = ?1", [repo], |row| {
            row.get(0)
        })?;
        Ok(Granted::Held {
            until: until.unwrap_or(now),
        })
    }

    /// Moves the deadline of a lease that still holds.
    pub(crate) fn renew(&mut self, repo: i64, fence: i64) -> Result<bool, StoreError> {
        let now = self.clock().steady();
        let until = now.saturating_add(millis(self.options.lease));
        let renewed = self.execute(
            "UPDATE leases SET deadline = ?3 WHERE repo = ?1 AND fence = ?2 AND deadline > ?4",
            params![repo, fence, until, now],
        )?;
        Ok(renewed > 0)
    }

    /// Ends a lease, if it is still that one.
    pub(crate) fn end_lease(&mut self, repo: i64, fence: i64) -> Result<(), StoreError> {
        self.execute(
            "UPDATE leases SET deadline = 0 WHERE repo = ?1 AND fence = ?2",
            params![repo, fence],
        )?;
        self.touched.leases = true;
        Ok(())
    }

    pub(super) fn end_all_leases(&mut self) -> Result<(), StoreError> {
        self.execute("UPDATE leases SET deadline = 0 WHERE deadline <> 0", [])?;
        Ok(())
    }
}
