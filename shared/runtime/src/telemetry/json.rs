//! One JSON object per event: `timestamp`, `level`, `target`, `message`, `spans`, within a span that is traced `trace_id` and `span_id`,
//! then the fields of the spans around the event, outermost first, then those of the event itself. A later field replaces an earlier
//! one of the same name; none replaces the first seven.

use std::fmt;
use std::io::Write as _;

use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::text::is_instruction;

/// Writes events as JSON lines.
pub(super) struct JsonLines<W> {
    writer: W,
}

impl<W> JsonLines<W> {
    pub(super) const fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// The fields of a span, kept with it.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.set(field, text.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        if !is_instruction(field) {
            self.0.insert(field.name().to_owned(), value);
        }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut line = Map::new();
        let mut spans = Vec::new();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            spans.push(span.name());
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.extend(fields.0.clone());
            }
        }
        let message = own.0.remove("message").unwrap_or_else(|| "".into());
        line.extend(own.0);
        let metadata = event.metadata();
        for (key, value) in [
            ("timestamp", now().into()),
            ("level", metadata.level().as_str().into()),
            ("target", metadata.target().into()),
            ("message", message),
            ("spans", spans.join(":").into()),
        ] {
            line.insert(key.to_owned(), value);
        }
        // The layer for OpenTelemetry attaches the context of each span that is entered.
        let around = opentelemetry::Context::current();
        let traced = around.span().span_context().clone();
        if traced.is_valid() {
            line.insert("trace_id".to_owned(), traced.trace_id().to_string().into());
            line.insert("span_id".to_owned(), traced.span_id().to_string().into());
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // One write, so that lines of several threads don't mix. When stderr is gone there is nobody left to tell.
        drop(self.writer.make_writer_for(metadata).write_all(text.as_bytes()));
    }
}

fn now() -> String {
    let mut text = String::new();
    match SystemTime.format_time(&mut Writer::new(&mut text)) {
        Ok(()) => text,
        Err(fmt::Error) => String::new(),
    }
}
