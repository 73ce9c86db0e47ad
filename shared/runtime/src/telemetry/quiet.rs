//! What OpenTelemetry's own crates may say in the log: each warning once.
//!
//! They warn of spans that the buffer could not hold, of what a collector refused in part, and of settings that can't be read; the same
//! again with every batch. That an export failed is left out altogether: the way to the collector says it itself, once
//! (see `collector`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Lets everything pass but what OpenTelemetry's crates said already, or say of exports.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    said: Mutex<BTreeSet<&'static str>>,
}

fn is_theirs(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("opentelemetry")
}

fn is_of_use(metadata: &Metadata<'_>) -> bool {
    let name = metadata.name();
    *metadata.level() <= Level::WARN && !name.ends_with("ExportError") && !name.starts_with("Export.Failed")
}

impl<S> Filter<S> for Quiet {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        if !is_theirs(metadata) {
            return true;
        }
        is_of_use(metadata)
            && self
                .said
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(metadata.name())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if !is_theirs(metadata) {
            Interest::always()
        } else if is_of_use(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }
}
