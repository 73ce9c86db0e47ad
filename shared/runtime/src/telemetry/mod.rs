//! Logs on stderr, for people or as JSON, one line per event; traces, metrics and logs to a collector over OTLP; `/metrics`.
//!
//! Guarantees: nothing is sent unless the standard `OTEL_*` variables ask for it; a collector that is slow or away costs what it
//! does not take, and no work; what is left is sent at the end, for a bounded time. Spans have ids whether they are sent or not, so
//! that messages and log lines of one delivery belong together.
//!
//! Libraries know only the API: `tracing` for spans and events, `opentelemetry` for instruments. The SDK, exporters and encoders are
//! here alone. The names of all that is measured are in [`lockflight_promotion::telemetry`].
//!
//! This is the one place that looks at the environment of the terminal (`NO_COLOR`, `CLICOLOR_FORCE`, `TERM`), at `RUST_LOG`, and, with
//! the SDK that is made here, at `OTEL_*`.

mod collector;
mod colour;
mod export;
mod json;
mod metrics;
mod quiet;
mod settings;
mod text;

use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::time::Duration;

use axum::Router;
use serde::Deserialize;
use tracing::{error, warn};
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use export::Providers;
use quiet::Quiet;
use settings::Settings;

/// What is logged when nothing else is asked for.
pub const DEFAULT_FILTER: &str = "info";

/// What is not logged unless a filter names it. RabbitMQ's client prints the bodies of messages that come back, and calls the end of a
/// connection an error; whoever uses it says what there is to say.
const UNHEARD: &str = "lapin=off";

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

/// Which process this is, for whoever looks at the telemetry of many.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// The service, unless `OTEL_SERVICE_NAME` names it: `lockflight-planner`.
    pub service: &'static str,
    /// What it does: `planner`.
    pub role: &'static str,
    /// The version of the program.
    pub version: &'static str,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            service: "lockflight",
            role: "serve",
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// How long the end of a process waits for a collector at most.
pub const FLUSH: Duration = Duration::from_secs(5);

/// Keeps telemetry in order until the end of `main`. When it is dropped, what is left is sent, for at most [`FLUSH`]; the thread waits
/// for it, so drop it where no runtime needs the thread.
#[derive(Debug)]
#[must_use = "telemetry ends when this is dropped"]
pub struct Telemetry {
    hooked: bool,
    providers: Option<Providers>,
    registry: prometheus::Registry,
}

impl Telemetry {
    /// The route `/metrics`, for the listener that has the health routes too.
    pub fn metrics_router(&self) -> Router {
        metrics::router(self.registry.clone())
    }

    /// Ends it: sends what is left, for at most `time`. Blocks. Whether everything was taken.
    pub fn finish(mut self, time: Duration) -> bool {
        self.flush(time)
    }

    fn flush(&mut self, time: Duration) -> bool {
        self.providers
            .take()
            .is_none_or(|providers| providers.shut_down(time))
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.flush(FLUSH);
        // A panic after this point must still be seen, in whatever form.
        if self.hooked && !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

/// Begins telemetry for the whole process, as [`Process::default`].
///
/// # Errors
/// As [`init_as`].
pub fn init(config: &LogConfig) -> Result<Telemetry, TelemetryError> {
    init_as(config, &Process::default())
}

/// Begins telemetry for the whole process: logs on stderr, and what the environment asks for.
///
/// # Errors
/// When the filter can't be read, or when the process logs already. Variables for OpenTelemetry that can't be followed are no error:
/// they are logged.
pub fn init_as(config: &LogConfig, process: &Process) -> Result<Telemetry, TelemetryError> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let filter = config.filter.clone().or_else(|| variable("RUST_LOG"));
    let coloured = colour::wanted(std::io::stderr().is_terminal(), variable);
    let lines = lines(config.format, filter.as_deref(), coloured, std::io::stderr)?;
    let records = env_filter(filter.as_deref())?;

    let mut settings = Settings::read(variable);
    let providers = Providers::new(process, &mut settings);
    let sent = providers.records(records);
    let layers: Vec<BoxedLayer> = std::iter::once(providers.spans(process.version).boxed())
        .chain([lines])
        .chain(sent.map(Layer::boxed))
        .collect();
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(TelemetryError::Twice)?;
    providers.install();
    for complaint in settings.complaints {
        warn!("{complaint}");
    }
    let hooked = config.format == LogFormat::Json;
    if hooked {
        // The text that the standard library prints would break the stream of JSON lines.
        std::panic::set_hook(Box::new(log_panic));
    }
    let registry = providers.registry.clone();
    Ok(Telemetry {
        hooked,
        providers: Some(providers),
        registry,
    })
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(a panic without a text)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(location, panic = message, "panicked at {location}");
}

type BoxedLayer = Box<dyn Layer<tracing_subscriber::Registry> + Send + Sync>;

/// Log lines, towards any writer.
fn lines<W>(
    format: LogFormat,
    filter: Option<&str>,
    coloured: bool,
    writer: W,
) -> Result<BoxedLayer, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = env_filter(filter)?.and(Quiet::default());
    Ok(match format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(coloured)
            .fmt_fields(text::Fields)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => json::JsonLines::new(writer).with_filter(filter).boxed(),
    })
}

fn env_filter(filter: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    let filter = filter
        .map(str::trim)
        .filter(|filter| !filter.is_empty())
        .unwrap_or(DEFAULT_FILTER);
    EnvFilter::try_new(format!("{UNHEARD},{filter}")).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
