//! Messages in the file: publishing, choosing the next, looking at them.

use std::time::Duration;

use lockflight_promotion::MessageId;
use lockflight_promotion::message::Envelope;
use rusqlite::params;

use super::session::{Session, code, code_index, work_of_code};
use super::store::StoreError;
use crate::clock::millis;
use crate::wire::Encoded;
use crate::{Content, Depth, Parked, ParkedId, Work};

/// How many deliveries a strict queue may choose from.
const SHUFFLED: i64 = 4;

/// Which hand-out of which message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) seq: i64,
    pub(super) number: i64,
}

/// A message that was taken for a worker.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) receipt: Receipt,
    pub(super) envelope: Box<Envelope>,
    /// How often its work failed before.
    pub(super) failures: u32,
}

/// What there is for a worker.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// What was asked for.
    Taken(T),
    /// Nothing now; something may be due at that time.
    Nothing { due_at: Option<i64> },
}

impl Session {
    /// Puts messages on their queues and into the journal.
    pub(super) fn publish(&mut self, messages: &[Encoded]) -> Result<(), StoreError> {
        self.record(messages)?;
        let now = self.clock().time_of_day();
        for message in messages {
            if let Some(work) = message.work {
                self.insert(
                    work,
                    message.repo.get().cast_signed(),
                    Some(&message.id),
                    now,
                    &message.bytes,
                )?;
            }
        }
        Ok(())
    }

    /// Puts a message on its queue, unless an equal one waits there: whoever takes that one looks at the world later than now, so it
    /// stands for both. That keeps a storm of equal deliveries from becoming a storm of calls. One that waits for its time is due at once,
    /// since somebody has asked for it anew.
    pub(super) fn insert(
        &mut self,
        work: Work,
        repo: i64,
        id: Option<&MessageId>,
        now: i64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let (code, id) = (code(work), id.map(MessageId::as_str));
        self.execute(
            "UPDATE messages SET state = 0 WHERE work = ?1 AND repo = ?2 AND id = ?3 AND state = 1",
            params![code, repo, id],
        )?;
        self.execute(
            "INSERT INTO messages (work, repo, id, published_at, envelope) SELECT ?1, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM messages WHERE work = ?1 AND repo = ?2 AND id = ?3 AND state = 0)",
            params![code, repo, id, now, bytes],
        )?;
        self.touch(work);
        Ok(())
    }

    /// Takes the next messages of that work, at most `most` of one repository, if any is due. See [`Queue::receive`](crate::Queue::receive)
    /// for which go together.
    pub(super) fn take(&mut self, work: Work, most: usize) -> Result<Next<Vec<Taken>>, StoreError> {
        let now = self.clock().steady();
        self.wake_due(now)?;
        while let Some(seq) = self.choose(work)? {
            let Some(first) = self.claim(work, seq, now)? else {
                continue;
            };
            let mut batch = vec![first];
            while work == Work::Steps && batch.len() < most {
                let Some(next) = self.follower(work, &batch)? else {
                    break;
                };
                batch.extend(self.claim(work, next, now)?);
            }
            return Ok(Next::Taken(batch));
        }
        let due_at = self
            .find(
                "SELECT MIN(due_at) FROM (
                     SELECT (SELECT MIN(due_at) FROM messages WHERE state = 1) AS due_at
                     UNION ALL SELECT (SELECT MIN(due_at) FROM messages WHERE state = 2))",
                [],
                |row| row.get(0),
            )?
            .flatten();
        Ok(Next::Nothing { due_at })
    }

    /// The message that goes along with a batch: the next ready one of its repository, unless it or the batch's came back counted.
    fn follower(&self, work: Work, batch: &[Taken]) -> Result<Option<i64>, StoreError> {
        let Some(repo) = batch
            .last()
            .filter(|last| last.envelope.attempt == 0)
            .map(|last| last.envelope.repo.id.get().cast_signed())
        else {
            return Ok(None);
        };
        let next: Option<(i64, bool)> = self.find(
            "SELECT seq, failed + lost > 0 FROM messages WHERE work = ?1 AND state = 0 AND repo = ?2 ORDER BY seq LIMIT 1",
            params![code(work), repo],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(next.filter(|(_, counted)| !counted).map(|(seq, _)| seq))
    }

    /// Marks a message as in flight. None if it can't be read: then it is put aside, or parked.
    fn claim(&mut self, work: Work, seq: i64, now: i64) -> Result<Option<Taken>, StoreError> {
        let back_at = now.saturating_add(millis(self.options.visibility));
        let row = self.find(
            "UPDATE messages SET state = 2, receipt = receipt + 1, due_at = ?2 WHERE seq = ?1
             RETURNING receipt, failed + lost, failed, envelope",
            params![seq, back_at],
            |row| {
                let (attempt, failures): (u32, u32) = (row.get(1)?, row.get(2)?);
                Ok((row.get(0)?, attempt, failures, row.get::<_, Vec<u8>>(3)?))
            },
        )?;
        let Some((number, attempt, failures, bytes)) = row else {
            return Ok(None);
        };
        let receipt = Receipt { seq, number };
        match Content::decode(&bytes) {
            Content::Envelope(mut envelope) => {
                envelope.attempt = attempt;
                return Ok(Some(Taken {
                    receipt,
                    envelope,
                    failures,
                }));
            }
            Content::Newer { reason, .. } => self.set_unreadable_aside(receipt, &reason)?,
            Content::Malformed { reason, .. } => {
                tracing::error!(queue.name = %work, message.seq = seq, reason, "a message was parked");
                self.park_row(receipt, &reason)?;
            }
        }
        Ok(None)
    }

    /// Makes ready what has waited for its time, and takes back what a worker has had for too long.
    fn wake_due(&mut self, now: i64) -> Result<(), StoreError> {
        let woken = self.list(
            "UPDATE messages SET state = 0 WHERE state = 1 AND due_at <= ?1 RETURNING work",
            [now],
            |row| row.get(0),
        )?;
        for work in woken {
            self.touch(work_of_code(work));
        }
        let overdue = self.list(
            "SELECT seq, receipt FROM messages WHERE state = 2 AND due_at <= ?1",
            [now],
            |row| {
                Ok(Receipt {
                    seq: row.get(0)?,
                    number: row.get(1)?,
                })
            },
        )?;
        for receipt in overdue {
            self.lose(receipt, "its worker did not settle it in time")?;
        }
        Ok(())
    }

    /// The message whose turn it is: repositories take turns, and within one the order of publication holds.
    fn choose(&mut self, work: Work) -> Result<Option<i64>, StoreError> {
        if self.options.strictness.reorder.is_some() {
            return self.choose_any(work);
        }
        let index = code_index(work);
        let last = self.turns.get(index).copied().unwrap_or(i64::MAX);
        // First the repositories after the one that was served last, then the others from the beginning.
        let chosen = match self.choose_between(work, last, i64::MAX)? {
            Some(chosen) => Some(chosen),
            None => self.choose_between(work, i64::MIN, last)?,
        };
        Ok(chosen.map(|(seq, repo)| {
            if let Some(slot) = self.turns.get_mut(index) {
                *slot = repo;
            }
            seq
        }))
    }

    /// The first free repository's first message, among the repositories after `after` up to `last`.
    fn choose_between(
        &self,
        work: Work,
        mut after: i64,
        last: i64,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        loop {
            let candidate: Option<(i64, i64)> = self.find(
                "SELECT seq, repo FROM messages WHERE work = ?1 AND state = 0 AND repo > ?2 AND repo <= ?3
                 ORDER BY repo, seq LIMIT 1",
                params![code(work), after, last],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            match candidate {
                Some((_, repo)) if work == Work::Steps && self.has_one_in_flight(work, repo)? => after = repo,
                candidate => return Ok(candidate),
            }
        }
    }

    /// A strict queue's choice: any free repository, and any of its next few deliveries.
    fn choose_any(&mut self, work: Work) -> Result<Option<i64>, StoreError> {
        let mut candidates = Vec::new();
        let mut after = i64::MIN;
        while let Some((seq, repo)) = self.choose_between(work, after, i64::MAX)? {
            candidates.push((seq, repo));
            after = repo;
        }
        let Some((seq, repo)) = self.dice.pick(&candidates) else {
            return Ok(None);
        };
        if work == Work::Steps {
            return Ok(Some(seq));
        }
        let few: Vec<i64> = self.list(
            "SELECT seq FROM messages WHERE work = ?1 AND state = 0 AND repo = ?2 ORDER BY seq LIMIT ?3",
            params![code(work), repo, SHUFFLED],
            |row| row.get(0),
        )?;
        Ok(self.dice.pick(&few))
    }

    fn has_one_in_flight(&self, work: Work, repo: i64) -> Result<bool, StoreError> {
        let found = self.find(
            "SELECT 1 FROM messages WHERE work = ?1 AND state = 2 AND repo = ?2 LIMIT 1",
            params![code(work), repo],
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }

    pub(super) fn depth(&mut self, work: Work) -> Result<Depth, StoreError> {
        let mut depth = Depth::default();
        let now = self.clock().steady();
        self.wake_due(now)?;
        let counts: Vec<(i64, u64)> = self.list(
            "SELECT state, COUNT(*) FROM messages WHERE work = ?1 GROUP BY state",
            [code(work)],
            |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())),
        )?;
        for (state, count) in counts {
            match state {
                0 => depth.ready = count,
                1 => depth.delayed = count,
                2 => depth.in_flight = count,
                _ => depth.parked = count,
            }
        }
        let oldest: Option<i64> = self
            .find(
                "SELECT MIN(published_at) FROM messages WHERE work = ?1 AND state < 3",
                [code(work)],
                |row| row.get(0),
            )?
            .flatten();
        let now = self.clock().time_of_day();
        depth.oldest_age = oldest
            .map(|oldest| Duration::from_millis(u64::try_from(now.saturating_sub(oldest)).unwrap_or(0)));
        Ok(depth)
    }

    pub(super) fn is_idle(&mut self) -> Result<bool, StoreError> {
        let found = self.find("SELECT 1 FROM messages WHERE state < 3 LIMIT 1", [], |_| Ok(()))?;
        Ok(found.is_none())
    }

    pub(super) fn parked(&self) -> Result<Vec<Parked>, StoreError> {
        self.list(
            "SELECT seq, work, envelope, reason, failed + lost, due_at FROM messages WHERE state = 3
             ORDER BY due_at, seq LIMIT 1000",
            [],
            |row| {
                Ok(Parked {
                    id: ParkedId::new(row.get::<_, i64>(0)?.to_string()),
                    work: work_of_code(row.get(1)?),
                    content: Content::decode(&row.get::<_, Vec<u8>>(2)?),
                    reason: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                    attempts: row.get(4)?,
                    parked_at: row.get(5)?,
                })
            },
        )
    }

    pub(super) fn release(&mut self, id: &ParkedId) -> Result<bool, StoreError> {
        let Ok(seq) = id.as_str().parse::<i64>() else {
            return Ok(false);
        };
        let work = self.find(
            "UPDATE messages SET state = 0, failed = 0, lost = 0, unreadable = 0, reason = NULL
             WHERE seq = ?1 AND state = 3 RETURNING work",
            [seq],
            |row| row.get(0),
        )?;
        if let Some(work) = work {
            self.touch(work_of_code(work));
        }
        Ok(work.is_some())
    }
}
