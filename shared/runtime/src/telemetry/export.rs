//! The OpenTelemetry SDK: who we are, what is measured, and where it goes.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use lockflight_promotion::telemetry::{SCHEMA_URL, SCOPE, attribute, metric, span, unit};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue, global};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use prometheus::Registry;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, FilterFn, LevelFilter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::Process;
use super::collector::{Collector, Sender};
use super::settings::{Settings, Signal};
use crate::trace_context;

/// The providers of a process, and what it keeps of their numbers.
#[derive(Debug)]
pub(super) struct Providers {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    /// Only where logs are sent.
    logs: Option<SdkLoggerProvider>,
    pub(super) registry: Registry,
}

impl Providers {
    /// Makes them. What can't be had is said in `settings.complaints`.
    pub(super) fn new(process: &Process, settings: &mut Settings) -> Self {
        let resource = resource(process, settings.service.take());
        let sender = (settings.traces.is_some() || settings.metrics.is_some() || settings.logs.is_some())
            .then(Sender::start)
            .transpose();
        let sender = sender.unwrap_or_else(|failed| {
            settings.complaints.push(format!(
                "no telemetry is sent, for its thread can't be started: {failed}"
            ));
            None
        });
        let mut exporter = Exporters {
            sender,
            complaints: &mut settings.complaints,
        };

        let mut traces = SdkTracerProvider::builder().with_resource(resource.clone());
        let spans = exporter.build(Signal::Traces, settings.traces, |client| {
            let builder = SpanExporter::builder().with_http().with_http_client(client);
            builder.with_protocol(Protocol::HttpBinary).build()
        });
        if let Some(spans) = spans {
            traces = traces.with_batch_exporter(spans);
        }

        let registry = Registry::new();
        let mut metrics = SdkMeterProvider::builder().with_resource(resource.clone());
        let scraped = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build();
        match scraped {
            Ok(reader) => metrics = metrics.with_reader(reader),
            Err(failed) => exporter.complaints.push(format!("/metrics is empty: {failed}")),
        }
        let numbers = exporter.build(Signal::Metrics, settings.metrics, |client| {
            let builder = MetricExporter::builder().with_http().with_http_client(client);
            builder.with_protocol(Protocol::HttpBinary).build()
        });
        if let Some(numbers) = numbers {
            metrics = metrics.with_reader(PeriodicReader::builder(numbers).build());
        }

        let records = exporter.build(Signal::Logs, settings.logs, |client| {
            let builder = LogExporter::builder().with_http().with_http_client(client);
            builder.with_protocol(Protocol::HttpBinary).build()
        });
        let logs = records.map(|records| {
            let logs = SdkLoggerProvider::builder().with_resource(resource);
            logs.with_batch_exporter(records).build()
        });
        let providers = Self {
            traces: traces.build(),
            metrics: metrics.build(),
            logs,
            registry,
        };
        providers.say_who_we_are(process);
        providers
    }

    fn say_who_we_are(&self, process: &Process) {
        let gauge = self
            .metrics
            .meter(SCOPE)
            .u64_gauge(metric::BUILD_INFO)
            .with_unit(unit::COUNT)
            .with_description("Always 1: which program this is.")
            .build();
        let attributes = [
            KeyValue::new(attribute::VERSION, process.version),
            KeyValue::new(attribute::ROLE, process.role),
        ];
        gauge.record(1, &attributes);
    }

    /// From now on the API's global providers are these.
    pub(super) fn install(&self) {
        global::set_tracer_provider(self.traces.clone());
        global::set_meter_provider(self.metrics.clone());
    }

    /// Makes spans of ours those of OpenTelemetry. They have ids even where nobody is sent any, for the log and for messages.
    pub(super) fn spans<S>(&self, version: &'static str) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(version)
            .with_schema_url(SCHEMA_URL)
            .build();
        let tracer: SdkTracer = self.traces.tracer_with_scope(scope);
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_error_records_to_exceptions(false)
            .with_filter(FilterFn::new(is_traced).with_max_level_hint(LevelFilter::INFO))
    }

    /// Sends log records, those that `filter` lets pass and that are not about sending.
    pub(super) fn records<S>(&self, filter: EnvFilter) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        let bridge = OpenTelemetryTracingBridge::new(self.logs.as_ref()?);
        Some(bridge.with_filter(filter.and(FilterFn::new(is_not_about_sending))))
    }

    /// Sends what is left, within `time`. Whether all of it was taken.
    pub(super) fn shut_down(self, time: Duration) -> bool {
        let (tell, told) = mpsc::channel();
        let Self {
            traces,
            metrics,
            logs,
            registry: _,
        } = self;
        let mut waiting = 0;
        let mut end = |shut_down: Box<dyn FnOnce() -> OTelSdkResult + Send>| {
            let tell = tell.clone();
            // Each on a thread of its own: one that waits for a collector must not keep the others, and not all of them take a timeout.
            let started = std::thread::Builder::new()
                .name("telemetry-end".to_owned())
                .spawn(move || tell.send(shut_down().is_ok()).ok());
            waiting += u8::from(started.is_ok());
        };
        end(Box::new(move || traces.shutdown_with_timeout(time)));
        end(Box::new(move || metrics.shutdown_with_timeout(time)));
        if let Some(logs) = logs {
            end(Box::new(move || logs.shutdown_with_timeout(time)));
        }
        let deadline = Instant::now() + time;
        (0..waiting).fold(true, |all, _one| {
            let left = deadline.saturating_duration_since(Instant::now());
            told.recv_timeout(left).unwrap_or(false) && all
        })
    }
}

/// Builds exporters, and says why one can't be.
struct Exporters<'s> {
    sender: Option<Sender>,
    complaints: &'s mut Vec<String>,
}

impl Exporters<'_> {
    fn build<E>(
        &mut self,
        signal: Signal,
        timeout: Option<Duration>,
        build: impl FnOnce(Collector) -> Result<E, ExporterBuildError>,
    ) -> Option<E> {
        let client = self.sender.as_ref()?.client(signal, timeout?);
        build(client)
            .inspect_err(|failed| self.complaints.push(format!("no {signal} are sent: {failed}")))
            .ok()
    }
}

/// Who we are. What the environment says of it goes before what we think.
fn resource(process: &Process, service: Option<String>) -> Resource {
    let ours = [
        KeyValue::new("service.name", process.service),
        KeyValue::new("service.namespace", SCOPE),
        KeyValue::new("service.version", process.version),
        KeyValue::new(
            "service.instance.id",
            trace_context::trace_id(&trace_context::new_trace()).to_owned(),
        ),
        KeyValue::new(attribute::ROLE, process.role),
    ];
    let resource = Resource::builder_empty()
        .with_schema_url(ours, SCHEMA_URL)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match service {
        Some(service) => resource.with_service_name(service).build(),
        None => resource.build(),
    }
}

/// Whether a span is one of a trace, or an event one of a span: warnings and errors, so that a trace by itself tells what went wrong.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    let least = if metadata.is_span() {
        Level::INFO
    } else {
        Level::WARN
    };
    *metadata.level() <= least
        && metadata.target().starts_with("lockflight")
        && !(metadata.is_span() && span::LOG_ONLY.contains(&metadata.name()))
}

/// The crates that send: what they log about a batch would make the next batch.
fn is_not_about_sending(metadata: &Metadata<'_>) -> bool {
    const SENDERS: [&str; 5] = ["hyper", "hyper_rustls", "hyper_util", "rustls", "tower"];
    let root = metadata.target().split("::").next().unwrap_or_default();
    !SENDERS.contains(&root) && !root.starts_with("opentelemetry")
}
