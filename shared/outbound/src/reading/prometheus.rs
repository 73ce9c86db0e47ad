//! Gates that Prometheus answers, or what speaks its API
//! (<https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>).

use http::StatusCode;
use lockflight_promotion::gate::{Expectation, PrometheusGate};
use serde::Deserialize;
use serde_json::Value;

use super::http::{json, status};
use super::{Reading, is_met, wanted, words};
use crate::{Address, Answer, Outbound};

/// What stands for the window in a query.
const WINDOW: &str = "$window";

/// Reads a gate: has its query evaluated now, and compares each sample with the threshold. No sample, one that is not a number, or an
/// answer that Prometheus itself warns of, is no reading.
pub async fn read_prometheus(outbound: &Outbound, gate: &PrometheusGate) -> Reading {
    let asked = async {
        let query = gate.query.replace(WINDOW, &span(gate.window_s));
        let address = Address::parse(&gate.url)
            .map_err(|error| error.to_string())?
            .join("/api/v1/query")
            .with_field("query", &query);
        let answer = outbound.get(&address).await.map_err(|error| error.in_full())?;
        samples(&answer).map_err(|what| format!("{address} {what}"))
    };
    match asked.await {
        Ok(samples) => compare(&gate.expect, &samples),
        Err(reason) => Reading::unreadable(&reason),
    }
}

/// A time as Prometheus writes it in a query: `90s`, `5m`, `1h`, `1d`.
fn span(seconds: u64) -> String {
    [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit))
        .map_or_else(
            || format!("{seconds}s"),
            |(unit, name)| format!("{}{name}", seconds / unit),
        )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status: String,
    data: Option<Data>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Sample {
    /// The time, and the number as a text; none where the sample is a histogram.
    value: Option<(Value, String)>,
}

/// The numbers of an answer; or what is wrong with it, as the end of a sentence that begins with who answered.
fn samples(answer: &Answer) -> Result<Vec<f64>, String> {
    let is_ok = answer.status == StatusCode::OK;
    let reply = json(answer).and_then(|reply| {
        serde_json::from_value::<Reply>(reply).map_err(|_odd| "did not answer as Prometheus does".to_owned())
    });
    // What is wrong with a query comes with 400, 422 or 503 and says more than the status.
    let reply = match reply {
        Ok(reply) if is_ok || reply.error.is_some() => reply,
        Ok(_) | Err(_) if !is_ok => return Err(format!("answered {}", status(answer))),
        Ok(reply) => reply,
        Err(what) => return Err(what),
    };
    if reply.status != "success" || !is_ok {
        let kind = words::line(reply.error_type.as_deref().unwrap_or("error"), 20);
        let error = words::line(reply.error.as_deref().unwrap_or_default(), 120);
        return Err(format!("refuses the query: {kind}: {error}"));
    }
    // Older versions put what they now call infos among the warnings.
    if let Some(warning) = reply
        .warnings
        .iter()
        .find(|warning| !warning.starts_with("PromQL info"))
    {
        return Err(format!("warns of its own answer: {}", words::line(warning, 120)));
    }
    let data = reply.data.ok_or("answered without data")?;
    let odd = |_odd| "did not answer as Prometheus does".to_owned();
    let numbers = match data.result_type.as_str() {
        "scalar" => {
            let (_, number): (Value, String) = serde_json::from_value(data.result).map_err(odd)?;
            vec![number]
        }
        "vector" => serde_json::from_value::<Vec<Sample>>(data.result)
            .map_err(odd)?
            .into_iter()
            .map(|sample| sample.value.map(|(_, number)| number))
            .collect::<Option<Vec<_>>>()
            .ok_or("answered with a histogram; ask for one number of it, such as histogram_quantile")?,
        "matrix" => {
            return Err("answered with a range; wrap it in a function such as max_over_time".to_owned());
        }
        other => {
            return Err(format!(
                "answered with {}, not with numbers",
                words::quoted(other)
            ));
        }
    };
    if numbers.is_empty() {
        return Err("has no sample that the query finds".to_owned());
    }
    numbers
        .iter()
        .map(|number| match number.parse::<f64>() {
            Ok(number) if number.is_nan() => Err("has a sample that is not a number (NaN)".to_owned()),
            Ok(number) => Ok(number),
            Err(_odd) => Err("did not answer as Prometheus does".to_owned()),
        })
        .collect()
}

fn compare(expect: &Expectation, samples: &[f64]) -> Reading {
    let wanted = wanted(expect);
    let mut first_bad = None;
    let mut bad = 0_usize;
    for sample in samples {
        match is_met(expect, *sample) {
            // What comes of a division by zero is over any threshold, and means nothing.
            Some(true) if sample.is_infinite() => {
                return Reading::unreadable(&format!(
                    "a sample is infinite, which is {wanted} but no measurement"
                ));
            }
            Some(true) => {}
            Some(false) => {
                bad += 1;
                first_bad.get_or_insert(*sample);
            }
            None => {
                return Reading::unreadable(&format!("a sample is {sample}, which can't be {wanted}"));
            }
        }
    }
    match (first_bad, samples) {
        (None, [only]) => Reading::holds(&format!("it is {only}, {wanted} is asked for")),
        (None, all) => Reading::holds(&format!("all {} samples are {wanted}", all.len())),
        (Some(only), [_]) => Reading::does_not_hold(&format!("it is {only}, not {wanted}")),
        (Some(first), all) => Reading::does_not_hold(&format!(
            "{bad} of {} samples are not {wanted}; the first of them is {first}",
            all.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::CONTENT_TYPE;
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from(body.to_string()),
        }
    }

    fn vector(numbers: &[&str]) -> Value {
        let result: Vec<Value> = numbers
            .iter()
            .map(|number| json!({"metric": {"job": "a"}, "value": [1_700_000_000.123, number]}))
            .collect();
        json!({"status": "success", "data": {"resultType": "vector", "result": result}})
    }

    fn read(expect: &Value, status: u16, body: &Value) -> Reading {
        let expect: Expectation = serde_json::from_value(expect.clone()).unwrap();
        match samples(&answer(status, body)) {
            Ok(samples) => compare(&expect, &samples),
            Err(reason) => Reading::unreadable(&reason),
        }
    }

    #[test]
    fn every_sample_has_to_be_as_expected() {
        let below = json!({"below": 0.5});
        let scalar = json!({"status": "success", "data": {"resultType": "scalar", "result": [1.5, "0.25"]}});
        for (expect, body, wanted) in [
            (
                &below,
                vector(&["0.25"]),
                Reading::holds("it is 0.25, below 0.5 is asked for"),
            ),
            (
                &below,
                scalar,
                Reading::holds("it is 0.25, below 0.5 is asked for"),
            ),
            (
                &below,
                vector(&["0.5"]),
                Reading::does_not_hold("it is 0.5, not below 0.5"),
            ),
            (
                &below,
                vector(&["0", "0.1", "0.2"]),
                Reading::holds("all 3 samples are below 0.5"),
            ),
            (
                &below,
                vector(&["0", "0.7", "0.2", "0.9"]),
                Reading::does_not_hold("2 of 4 samples are not below 0.5; the first of them is 0.7"),
            ),
            (
                &below,
                vector(&["+Inf"]),
                Reading::does_not_hold("it is inf, not below 0.5"),
            ),
            (
                &json!({"equals": 1}),
                vector(&["1"]),
                Reading::holds("it is 1, 1 is asked for"),
            ),
        ] {
            assert_eq!(read(expect, 200, &body), wanted, "{expect} {body}");
        }
    }

    #[test]
    fn what_is_no_measurement_is_unreadable() {
        let histogram = json!({"status": "success", "data": {"resultType": "vector",
            "result": [{"metric": {}, "histogram": [1, {"count": "1"}]}]}});
        let matrix = json!({"status": "success", "data": {"resultType": "matrix", "result": []}});
        let string = json!({"status": "success", "data": {"resultType": "string", "result": [1, "a"]}});
        let error = json!({"status": "error", "errorType": "bad_data", "error": "parse error\nat char 3"});
        let mut partial = vector(&["0.1"]);
        partial["warnings"] = json!(["store a.example: deadline exceeded"]);
        let below = json!({"below": 0.5});
        for (expect, status, body, reason) in [
            (&below, 200, vector(&[]), "no sample"),
            (&below, 200, vector(&["NaN"]), "NaN"),
            (&below, 200, vector(&["0.1", "NaN"]), "NaN"),
            (&below, 200, vector(&["0.1x"]), "as Prometheus does"),
            (&json!({"above": 0.5}), 200, vector(&["+Inf"]), "infinite"),
            (&json!({"equals": "1"}), 200, vector(&["1"]), "can't be \"1\""),
            (&below, 200, histogram, "histogram"),
            (&below, 200, matrix, "range"),
            (&below, 200, string, "\"string\""),
            (&below, 200, partial, "deadline exceeded"),
            (&below, 400, error.clone(), "bad_data: parse error at char 3"),
            (&below, 200, error, "refuses"),
            (&below, 200, json!({"status": "success"}), "without data"),
            (&below, 200, json!([1]), "as Prometheus does"),
            (&below, 503, json!({"message": "no"}), "answered 503, not 200"),
            (&below, 302, json!({}), "redirects are not followed"),
            // A success that comes with another status is none.
            (&below, 201, vector(&["0.1"]), "answered 201, not 200"),
        ] {
            let Reading::Unreadable { reason: said } = read(expect, status, &body) else {
                panic!("{body} was read");
            };
            assert!(said.contains(reason), "{said:?} does not say {reason:?}");
        }
    }

    #[test]
    fn infos_of_old_and_new_versions_do_not_close_a_gate() {
        let mut body = vector(&["0.1"]);
        body["warnings"] = json!(["PromQL info: metric might not be a counter"]);
        body["infos"] = json!(["PromQL info: metric might not be a counter"]);
        assert!(matches!(
            read(&json!({"below": 1}), 200, &body),
            Reading::Holds { .. }
        ));
    }

    #[test]
    fn a_window_is_written_as_promql_writes_it() {
        for (seconds, written) in [
            (30, "30s"),
            (90, "90s"),
            (300, "5m"),
            (5400, "90m"),
            (7200, "2h"),
            (86_400, "1d"),
            (0, "0s"),
        ] {
            assert_eq!(span(seconds), written);
        }
    }
}
