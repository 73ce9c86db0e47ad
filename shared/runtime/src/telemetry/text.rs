//! Fields in log lines for people: those for OpenTelemetry alone are left out.

use std::error::Error;
use std::fmt;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

/// Whether a field is an instruction to the layer for OpenTelemetry and says nothing more than the span's own name does.
pub(super) fn is_instruction(field: &Field) -> bool {
    field.name().starts_with("otel.")
}

/// As the default of `tracing-subscriber`, without `otel.*`.
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Without(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct Without<'w>(DefaultVisitor<'w>);

impl Visit for Without<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !is_instruction(field) {
            self.0.record_str(field, value);
        }
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0.record_error(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !is_instruction(field) {
            self.0.record_debug(field, value);
        }
    }
}
