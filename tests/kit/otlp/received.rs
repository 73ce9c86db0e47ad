//! What a collector was sent, in a form that is easy to ask.

use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// Attributes by name, each value as text.
pub type Attributes = BTreeMap<String, String>;

/// All that came.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Spans, each once it has ended.
    pub spans: Vec<Span>,
    /// Points of metrics, the same series again and again.
    pub points: Vec<Point>,
    /// Log records.
    pub logs: Vec<Log>,
    /// The bodies as they were sent, in which texts stand as they are.
    pub bodies: Vec<Bytes>,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of who sent it.
    pub service: String,
    /// `service.instance.id` of who sent it: one for each life of a process.
    pub instance: String,
    /// The trace, as 32 hexadecimal digits.
    pub trace: String,
    /// The span, as 16 hexadecimal digits.
    pub id: String,
    /// The span around it, empty for a root.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its attributes.
    pub attributes: Attributes,
    /// The spans that it is linked with.
    pub links: Vec<String>,
    /// The names of its events.
    pub events: Vec<String>,
    /// Whether it failed.
    pub failed: bool,
}

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Within a process.
    Internal,
    /// Answers a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Works on a message.
    Consumer,
}

/// The value of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A counter's or gauge's.
    Number(f64),
    /// A histogram's.
    Histogram {
        /// How many values were recorded.
        count: u64,
        /// Their sum.
        sum: f64,
    },
}

impl Value {
    /// The number, or the count of a histogram.
    #[expect(clippy::cast_precision_loss, reason = "tests count to less than 2^52")]
    pub const fn number(self) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Histogram { count, .. } => count as f64,
        }
    }
}

/// One point of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// `service.name` of who sent it.
    pub service: String,
    /// The instrument.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What the series is about.
    pub attributes: Attributes,
    /// The value.
    pub value: Value,
}

/// A log record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `service.name` of who sent it.
    pub service: String,
    /// `INFO`, `WARN`, ...
    pub severity: String,
    /// What it says.
    pub body: String,
    /// Its fields.
    pub attributes: Attributes,
    /// The trace that it belongs to, empty for none.
    pub trace: String,
    /// The span that it belongs to, empty for none.
    pub span: String,
}

impl Received {
    /// The spans whose name begins so.
    pub fn spans_named<'r>(&'r self, name: &str) -> impl Iterator<Item = &'r Span> {
        self.spans.iter().filter(move |span| span.name.starts_with(name))
    }

    /// The spans of a trace.
    pub fn trace<'r>(&'r self, trace: &str) -> impl Iterator<Item = &'r Span> {
        self.spans.iter().filter(move |span| span.trace == trace)
    }

    /// The span with this id.
    pub fn span(&self, id: &str) -> Option<&Span> {
        self.spans.iter().find(|span| span.id == id)
    }

    /// The latest point of each series of a metric.
    pub fn points<'r>(&'r self, name: &str) -> impl Iterator<Item = &'r Point> {
        let mut latest: BTreeMap<(&str, &Attributes), &Point> = BTreeMap::new();
        for point in self.points.iter().filter(|point| point.name == name) {
            latest.insert((&point.service, &point.attributes), point);
        }
        latest.into_values()
    }

    /// All that was sent, as text; bytes that are none are replaced. Look here for what must not be sent.
    pub fn text(&self) -> String {
        self.bodies
            .iter()
            .map(|body| String::from_utf8_lossy(body).into_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(super) fn add(&mut self, other: Self) {
        self.spans.extend(other.spans);
        self.points.extend(other.points);
        self.logs.extend(other.logs);
        self.bodies.extend(other.bodies);
    }
}

impl From<ExportTraceServiceRequest> for Received {
    fn from(request: ExportTraceServiceRequest) -> Self {
        let mut spans = Vec::new();
        for resource in request.resource_spans {
            let service = service(resource.resource.as_ref());
            let instance = of_resource(resource.resource.as_ref(), "service.instance.id");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    service: service.clone(),
                    instance: instance.clone(),
                    kind: match span.kind() {
                        SpanKind::Server => Kind::Server,
                        SpanKind::Client => Kind::Client,
                        SpanKind::Producer => Kind::Producer,
                        SpanKind::Consumer => Kind::Consumer,
                        SpanKind::Internal | SpanKind::Unspecified => Kind::Internal,
                    },
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name,
                    attributes: attributes(span.attributes),
                    links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                    events: span.events.into_iter().map(|event| event.name).collect(),
                    failed: span
                        .status
                        .is_some_and(|status| status.code() == StatusCode::Error),
                });
            }
        }
        Self {
            spans,
            ..Self::default()
        }
    }
}

impl From<ExportMetricsServiceRequest> for Received {
    fn from(request: ExportMetricsServiceRequest) -> Self {
        let mut points = Vec::new();
        for resource in request.resource_metrics {
            let service = service(resource.resource.as_ref());
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let point = |attributes_of, value| Point {
                    service: service.clone(),
                    name: metric.name.clone(),
                    unit: metric.unit.clone(),
                    attributes: attributes(attributes_of),
                    value,
                };
                let numbers = match metric.data {
                    Some(Data::Gauge(gauge)) => gauge.data_points,
                    Some(Data::Sum(sum)) => sum.data_points,
                    Some(Data::Histogram(histogram)) => {
                        points.extend(histogram.data_points.into_iter().map(|data| {
                            let (count, sum) = (data.count, data.sum.unwrap_or_default());
                            point(data.attributes, Value::Histogram { count, sum })
                        }));
                        continue;
                    }
                    other => panic!(
                        "{} is a kind of metric that nobody asked for: {other:?}",
                        metric.name
                    ),
                };
                points.extend(
                    numbers
                        .into_iter()
                        .map(|data| point(data.attributes, Value::Number(number(data.value)))),
                );
            }
        }
        Self {
            points,
            ..Self::default()
        }
    }
}

impl From<ExportLogsServiceRequest> for Received {
    fn from(request: ExportLogsServiceRequest) -> Self {
        let mut logs = Vec::new();
        for resource in request.resource_logs {
            let service = service(resource.resource.as_ref());
            for log in resource
                .scope_logs
                .into_iter()
                .flat_map(|scope| scope.log_records)
            {
                logs.push(Log {
                    service: service.clone(),
                    severity: log.severity_text,
                    body: log.body.map(text).unwrap_or_default(),
                    attributes: attributes(log.attributes),
                    trace: hex(&log.trace_id),
                    span: hex(&log.span_id),
                });
            }
        }
        Self {
            logs,
            ..Self::default()
        }
    }
}

fn service(resource: Option<&Resource>) -> String {
    of_resource(resource, "service.name")
}

fn of_resource(resource: Option<&Resource>, name: &str) -> String {
    let found = resource.map(|resource| attributes(resource.attributes.clone()));
    found.and_then(|mut found| found.remove(name)).unwrap_or_default()
}

fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, attribute.value.map(text).unwrap_or_default()))
        .collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        None => String::new(),
        Some(Any::StringValue(text)) => text,
        Some(Any::BoolValue(value)) => value.to_string(),
        Some(Any::IntValue(value)) => value.to_string(),
        Some(Any::DoubleValue(value)) => value.to_string(),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(text).collect::<Vec<_>>().join(","),
        Some(other) => format!("{other:?}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "tests count to less than 2^52")]
fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => 0.0,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
