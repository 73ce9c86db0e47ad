//! Which signals are sent, by the standard `OTEL_*` variables.
//!
//! Nothing is sent unless an exporter or an endpoint is named, so that nobody's process makes connections that were not asked for. What
//! the SDK reads by itself (endpoints, headers, compression, samplers, batches, limits, resource) is left to it. A setting that can't
//! be followed turns its signal off and is told once; it never keeps the process from its work.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::fmt;
use std::time::Duration;

/// How long one export may take when nothing is set.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    const fn variable(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        })
    }
}

/// What is sent, and how long one export of it may take. None: it is not sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) traces: Option<Duration>,
    pub(super) metrics: Option<Duration>,
    pub(super) logs: Option<Duration>,
    /// The service's name, if it is given.
    pub(super) service: Option<String>,
    /// What could not be followed, for people.
    pub(super) complaints: Vec<String>,
}

impl Settings {
    /// Reads the environment through `variable`.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        // An empty variable counts as unset, as the specification says.
        let variable = |name: &str| {
            variable(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        let mut settings = Self {
            service: variable("OTEL_SERVICE_NAME"),
            ..Self::default()
        };
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return settings;
        }
        let mut sent = |signal| settings.sent(signal, &variable);
        let (traces, metrics, logs) = (sent(Signal::Traces), sent(Signal::Metrics), sent(Signal::Logs));
        Self {
            traces,
            metrics,
            logs,
            ..settings
        }
    }

    fn sent(&mut self, signal: Signal, variable: &impl Fn(&str) -> Option<String>) -> Option<Duration> {
        let own = |what: &str| {
            let name = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.variable());
            variable(&name).map(|value| (name, value))
        };
        let general = |what: &str| {
            let name = format!("OTEL_EXPORTER_OTLP_{what}");
            variable(&name).map(|value| (name, value))
        };
        let either = |what: &str| own(what).or_else(|| general(what));

        let exporter = format!("OTEL_{}_EXPORTER", signal.variable());
        let wanted = match variable(&exporter) {
            None => either("ENDPOINT").is_some(),
            Some(value) => {
                let names: Vec<&str> = value.split(',').map(str::trim).collect();
                for name in &names {
                    // Metrics can always be had from /metrics.
                    let known = matches!(*name, "otlp" | "none" | "")
                        || (*name == "prometheus" && signal == Signal::Metrics);
                    if !known {
                        self.complaints.push(format!(
                            "{exporter} names {name:?}, which is not known here; otlp and none are"
                        ));
                    }
                }
                names.contains(&"otlp")
            }
        };
        if !wanted {
            return None;
        }
        if let Some((name, endpoint)) = either("ENDPOINT")
            && endpoint.contains('@')
        {
            self.complaints.push(format!(
                "the user and password in {name} are not sent; put them into OTEL_EXPORTER_OTLP_HEADERS, as authorization=Basic%20..."
            ));
        }
        if let Some((name, protocol)) = either("PROTOCOL")
            && protocol != "http/protobuf"
        {
            self.complaints.push(format!(
                "{name} is {protocol:?}, but only http/protobuf is spoken here, so no {signal} are sent; set {name}=http/protobuf \
                 and the endpoint to the collector's HTTP port, most often 4318"
            ));
            return None;
        }
        let timeout = match either("TIMEOUT") {
            None => TIMEOUT,
            Some((name, value)) => value.parse().map_or_else(
                |_odd| {
                    self.complaints.push(format!(
                        "{name} is {value:?}, which is no number of milliseconds; {} is taken",
                        TIMEOUT.as_millis()
                    ));
                    TIMEOUT
                },
                Duration::from_millis,
            ),
        };
        Some(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_sent_unless_it_is_asked_for() {
        assert_eq!(read(&[]), Settings::default());
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Settings::default());
        assert_eq!(
            read(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
            Settings::default()
        );
    }

    #[test]
    fn an_endpoint_turns_on_what_it_is_for() {
        let all = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "700"),
            ("OTEL_SERVICE_NAME", "ours"),
        ]);
        let half = Some(Duration::from_millis(500));
        assert_eq!((all.traces, all.metrics), (half, half));
        assert_eq!(all.logs, Some(Duration::from_millis(700)));
        assert_eq!(all.service.as_deref(), Some("ours"));
        let one = read(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")]);
        assert_eq!((one.traces, one.metrics, one.logs), (Some(TIMEOUT), None, None));
    }

    #[test]
    fn an_exporter_says_more_than_an_endpoint() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_LOGS_EXPORTER", "console"),
        ]);
        assert_eq!(
            (settings.traces, settings.metrics, settings.logs),
            (Some(TIMEOUT), None, None)
        );
        assert_eq!(
            settings.complaints,
            [r#"OTEL_LOGS_EXPORTER names "console", which is not known here; otlp and none are"#]
        );
        let settings = read(&[("OTEL_METRICS_EXPORTER", "prometheus, otlp")]);
        assert_eq!((settings.metrics, settings.complaints), (Some(TIMEOUT), vec![]));
    }

    #[test]
    fn what_can_not_be_followed_is_told_and_costs_no_more_than_its_signal() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "soon"),
        ]);
        assert_eq!((settings.traces, settings.metrics), (None, Some(TIMEOUT)));
        assert_eq!(settings.complaints.len(), 2, "{settings:?}");
        assert!(
            settings.complaints[0].contains("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"),
            "{settings:?}"
        );
        assert!(settings.complaints[1].contains("milliseconds"), "{settings:?}");
        let settings = read(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://me:canary@collector")]);
        assert!(
            settings.complaints[0].contains("OTEL_EXPORTER_OTLP_HEADERS"),
            "{settings:?}"
        );
        assert!(!settings.complaints[0].contains("canary"), "{settings:?}");
    }

    #[test]
    fn the_sdk_can_be_disabled() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_SDK_DISABLED", "True"),
        ]);
        assert_eq!(settings, Settings::default());
    }
}
