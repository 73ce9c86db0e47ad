use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::with_default;
use tracing::{debug, info, info_span};

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Buffer {
    type Writer = Self;
    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

fn logged(format: LogFormat, filter: Option<&str>, coloured: bool, work: impl FnOnce()) -> String {
    let buffer = Buffer::default();
    with_default(
        tracing_subscriber::registry().with(lines(format, filter, coloured, buffer.clone()).unwrap()),
        work,
    );
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_json_line_carries_the_fields_of_the_spans_around_it() {
    let text = logged(LogFormat::Json, None, false, || {
        let outer = info_span!(
            "webhook",
            delivery.id = "d-1",
            repo = tracing::field::Empty,
            attempt = 1
        );
        let _outer = outer.enter();
        outer.record("repo", "acme/gitops");
        let _inner = info_span!("publish", attempt = 2).entered();
        info!(bytes = 12, level = "forged", "published\n{}", "\"quoted\"");
        debug!("not at this level");
    });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["message"], "published\n\"quoted\"");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["spans"], "webhook:publish");
    assert_eq!(line["delivery.id"], "d-1");
    assert_eq!(line["repo"], "acme/gitops");
    assert_eq!(line["attempt"], 2);
    assert_eq!(line["bytes"], 12);
    assert_eq!(line["target"], module_path!());
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[test]
fn an_error_field_says_its_causes_too() {
    #[derive(Debug, thiserror::Error)]
    #[error("not published")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("disk full"));
    let text = logged(LogFormat::Json, None, false, || {
        tracing::error!(error = &error as &(dyn std::error::Error + 'static), "failed");
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["error"], "not published: disk full");
}

#[test]
fn text_is_coloured_only_when_asked_and_the_filter_holds() {
    let work = || {
        info!("shown");
        debug!("hidden");
    };
    let plain = logged(LogFormat::Text, Some(" "), false, work);
    assert!(plain.contains("shown") && !plain.contains("hidden") && !plain.contains('\u{1b}'));
    assert!(logged(LogFormat::Text, None, true, work).contains('\u{1b}'));
    assert!(logged(LogFormat::Text, Some("debug"), false, work).contains("hidden"));
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let refused = lines(LogFormat::Text, Some("info,=x=y"), false, io::sink)
        .err()
        .unwrap();
    assert!(refused.to_string().contains("info,=x=y"), "{refused}");
}

#[test]
fn log_lines_tell_the_trace_and_not_how_spans_are_exported() {
    let providers = Providers::new(&Process::default(), &mut Settings::default());
    let work = || {
        let span = info_span!(
            "webhook",
            otel.name = "POST /webhook",
            otel.kind = "server",
            bytes = 5
        );
        let _span = span.enter();
        info!("within");
    };
    let lines = |format| {
        let buffer = Buffer::default();
        let layers = [
            providers.spans("0.0.0").boxed(),
            lines(format, None, false, buffer.clone()).unwrap(),
        ];
        with_default(tracing_subscriber::registry().with(Vec::from(layers)), work);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    };
    let text = lines(LogFormat::Text);
    assert!(text.contains("webhook{bytes=5}"), "{text}");
    let line: serde_json::Value = serde_json::from_str(&lines(LogFormat::Json)).unwrap();
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32, "{line}");
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16, "{line}");
    assert_eq!(
        (&line["bytes"], line.get("otel.name")),
        (&5.into(), None),
        "{line}"
    );
}

#[test]
fn a_span_for_the_log_alone_is_no_part_of_a_trace() {
    let providers = Providers::new(&Process::default(), &mut Settings::default());
    let buffer = Buffer::default();
    let layers = [
        providers.spans("0.0.0").boxed(),
        lines(LogFormat::Json, None, false, buffer.clone()).unwrap(),
    ];
    with_default(tracing_subscriber::registry().with(Vec::from(layers)), || {
        let _task = info_span!("task", task = "ingress").entered();
        info!("outside");
        for _ in 0..2 {
            let _webhook = info_span!("webhook").entered();
            info!("inside");
        }
    });
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0].get("trace_id"), None, "{text}");
    assert_ne!(lines[1]["trace_id"], lines[2]["trace_id"], "{text}");
    assert_eq!(
        (&lines[1]["task"], &lines[1]["spans"]),
        (&"ingress".into(), &"task:webhook".into())
    );
}
