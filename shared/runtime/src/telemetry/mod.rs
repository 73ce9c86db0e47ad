//! Logs on stderr, for people or as JSON, one line per event.
//!
//! This is the one place that looks at the environment of the terminal (`NO_COLOR`, `CLICOLOR_FORCE`, `TERM`) and at `RUST_LOG`.

mod colour;
mod json;

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use serde::Deserialize;
use tracing::{Subscriber, error};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// What is logged when nothing else is asked for.
pub const DEFAULT_FILTER: &str = "info";

/// The `[log]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// Which events are logged, such as `info` or `warn,lockflight_ingress=debug`:
    /// <https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html#directives>.
    /// When it is not set, `RUST_LOG` says it, or else it is [`DEFAULT_FILTER`].
    pub filter: Option<String>,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object per line. The fields of the event and of the spans around it are keys of the object.
    Json,
}

/// Logging can't begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be read.
    #[error(
        "the log filter {filter:?} is not one; write a level such as info, or target=level pairs parted by commas"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// Why it is none.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process logs already.
    #[error("logging was begun twice in one process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Keeps logging in order until the end of `main`.
#[derive(Debug)]
#[must_use = "logging ends when this is dropped"]
pub struct Telemetry {
    hooked: bool,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // A panic after this point must still be seen, in whatever form.
        if self.hooked && !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

/// Begins to log on stderr, for the whole process.
///
/// # Errors
/// When the filter can't be read, or when the process logs already.
pub fn init(config: &LogConfig) -> Result<Telemetry, TelemetryError> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let filter = config.filter.clone().or_else(|| variable("RUST_LOG"));
    let coloured = colour::wanted(std::io::stderr().is_terminal(), variable);
    subscriber(config.format, filter.as_deref(), coloured, std::io::stderr)?
        .try_init()
        .map_err(TelemetryError::Twice)?;
    let hooked = config.format == LogFormat::Json;
    if hooked {
        // The text that the standard library prints would break the stream of JSON lines.
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(Telemetry { hooked })
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(a panic without a text)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(location, panic = message, "panicked at {location}");
}

/// All of the logging, towards any writer.
fn subscriber<W>(
    format: LogFormat,
    filter: Option<&str>,
    coloured: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter
        .map(str::trim)
        .filter(|filter| !filter.is_empty())
        .unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(coloured)
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => json::JsonLines::new(writer).boxed(),
    };
    Ok(tracing_subscriber::registry().with(lines.with_filter(filter)))
}

#[cfg(test)]
mod tests;
