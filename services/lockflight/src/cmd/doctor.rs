//! `lockflight doctor`: looks at everything around Lockflight, and says how to mend what is not right.

mod checks;
mod management;
mod policies;

use std::io::Write as _;

use lockflight_runtime::telemetry;
use serde::Serialize;

use super::configured::{configuration, process, runtime};
use crate::cli::{DoctorArgs, ListFormat};
use crate::exit::Exit;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Ok,
    /// It works, but look at it.
    Warning,
    Failed,
    /// The configuration does not have it.
    Absent,
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    /// What was seen.
    pub(crate) detail: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    fn absent(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Absent,
            ..Self::ok(check, detail)
        }
    }

    fn warning(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(check, detail)
        }
    }

    fn failed(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            ..Self::warning(check, detail, remedy)
        }
    }
}

/// Looks at everything; exit code 1 when something failed.
pub(crate) fn run(args: &DoctorArgs, log: Option<&str>) -> anyhow::Result<Exit> {
    let mut config = configuration(&args.config, log)?;
    // What is wrong is what this command prints; its log would only say it again.
    if log.is_none() {
        config.log.filter = Some("off".to_owned());
    }
    let _telemetry = telemetry::init_as(&config.log, &process("doctor"))?;
    let findings = runtime()?.block_on(checks::all(&config));
    let mut out = std::io::stdout().lock();
    match args.output {
        ListFormat::Json => {
            let report = serde_json::json!({"apiVersion": "lockflight/v1", "checks": findings});
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        }
        ListFormat::Table => {
            for finding in &findings {
                let word = match finding.verdict {
                    Verdict::Ok => "ok",
                    Verdict::Warning => "warning",
                    Verdict::Failed => "FAILED",
                    Verdict::Absent => "-",
                };
                writeln!(out, "{word:8} {:14} {}", finding.check, finding.detail)?;
                if let Some(remedy) = &finding.remedy {
                    writeln!(out, "{:8} {:14} -> {remedy}", "", "")?;
                }
            }
        }
    }
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    Ok(if failed { Exit::Failed } else { Exit::Success })
}
