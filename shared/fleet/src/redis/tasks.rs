//! What runs in the background.

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::link::State;

/// The tasks of a connection. They end with the last who has this.
#[derive(Debug)]
pub(super) struct Tasks {
    state: watch::Sender<State>,
    running: [AbortHandle; 2],
}

impl Tasks {
    pub(super) const fn new(state: watch::Sender<State>, running: [AbortHandle; 2]) -> Self {
        Self { state, running }
    }

    /// Ends them, and says so to whoever looks.
    pub(super) fn end(&self) {
        for task in &self.running {
            task.abort();
        }
        self.state.send_replace(State::Closed);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.end();
    }
}
