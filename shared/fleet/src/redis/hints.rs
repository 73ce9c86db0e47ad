//! What other processes whisper over pub/sub.
//!
//! A hint only makes somebody look sooner. Any of them may be lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use redis::Value;
use tokio::sync::{Notify, watch};

/// Passes hints on.
#[derive(Debug)]
pub(super) struct Hints {
    /// The channel on which it is told that members came or went; the other one is about tickets.
    members_channel: String,
    waiters: Mutex<HashMap<String, Arc<Notify>>>,
    members: watch::Sender<()>,
}

impl Hints {
    pub(super) fn new(members_channel: String) -> Self {
        Self {
            members_channel,
            waiters: Mutex::default(),
            members: watch::Sender::new(()),
        }
    }

    /// Takes what came on a channel: its name and a text.
    pub(super) fn receive(&self, message: &[Value]) {
        let [Value::BulkString(channel), Value::BulkString(text)] = message else {
            return;
        };
        if channel == self.members_channel.as_bytes() {
            self.members.send_replace(());
        } else if let Ok(ticket) = std::str::from_utf8(text) {
            let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waiter) = waiters.get(ticket) {
                waiter.notify_one();
            }
        }
    }

    /// Listens for a ticket's turn.
    pub(super) fn listen(self: &Arc<Self>, ticket: &str) -> Listener {
        let turn = Arc::new(Notify::new());
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.insert(ticket.to_owned(), Arc::clone(&turn));
        drop(waiters);
        Listener {
            hints: Arc::clone(self),
            ticket: ticket.to_owned(),
            turn,
        }
    }

    /// Changes when members came or went.
    pub(super) fn members(&self) -> watch::Receiver<()> {
        self.members.subscribe()
    }
}

/// Hears when it is a ticket's turn.
#[derive(Debug)]
pub(super) struct Listener {
    hints: Arc<Hints>,
    ticket: String,
    turn: Arc<Notify>,
}

impl Listener {
    /// Waits for the hint. One that came before is kept.
    pub(super) async fn turn(&self) {
        self.turn.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut waiters = self.hints.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, text: &str) -> [Value; 2] {
        [channel, text].map(|text| Value::BulkString(text.as_bytes().to_vec()))
    }

    #[tokio::test]
    async fn a_hint_reaches_the_one_it_is_for_even_before_it_listens() {
        let hints = Arc::new(Hints::new("p:members".to_owned()));
        let (one, other) = (hints.listen("a.1"), hints.listen("a.2"));
        hints.receive(&message("p:wake:a", "a.1"));
        one.turn().await;
        let silence = tokio::time::timeout(std::time::Duration::from_millis(20), other.turn());
        assert!(silence.await.is_err());
        drop(one);
        hints.receive(&message("p:wake:a", "a.1"));
        assert_eq!(hints.waiters.lock().unwrap().len(), 1, "who left is forgotten");
    }

    #[tokio::test]
    async fn what_is_no_hint_is_no_trouble() {
        let hints = Arc::new(Hints::new("p:members".to_owned()));
        let mut members = hints.members();
        for odd in [&[][..], &[Value::Nil], &[Value::Int(1), Value::Int(2)]] {
            hints.receive(odd);
        }
        assert!(!members.has_changed().unwrap());
        hints.receive(&message("p:members", "executor"));
        members.changed().await.unwrap();
    }
}
