//! Whether policies of RabbitMQ change what our queues were declared with.
//!
//! A policy is laid over every queue whose name fits, by whoever administers the broker, and may well be meant for other queues. AMQP tells
//! nothing of policies: only the management API does.

use std::time::{Duration, Instant};

use lockflight_fleet::amqp::AmqpOptions;
use lockflight_runtime::Secret;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::management::{Management, Unanswered, encoded};
use super::{Finding, Verdict};

const CHECK: &str = "policies";

/// More queues than the greatest number of partitions and waits makes.
const MOST: usize = 500;

/// How long a broker may take until it knows the policies of queues that were declared just now. It looks every five seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many queues are named, at most.
const NAMED: usize = 3;

/// What the API says of a queue.
#[derive(Debug, Deserialize)]
struct Queue {
    name: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    policy: Option<String>,
    #[serde(default)]
    operator_policy: Option<String>,
    /// What both policies say together, as an object or an empty list. Not there for the first seconds of a queue (seen with 3.10.8).
    effective_policy_definition: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Queue>,
}

/// Looks at the policies of our queues, where the configuration says how.
pub(super) async fn look(management: Option<&Secret>, options: &AmqpOptions) -> Vec<Finding> {
    let Some(url) = management else {
        return vec![Finding::absent(
            CHECK,
            "not checked, since AMQP does not tell: set queue.management_url_file, or look with \
             `rabbitmqctl list_queues name policy operator_policy effective_policy_definition`",
        )];
    };
    let asked = match url.load() {
        Ok(url) => ask(url.expose_secret(), options).await,
        Err(error) => return vec![unknown(&super::checks::said(&error))],
    };
    match asked {
        Err(error) => vec![unknown(&super::checks::said(&error))],
        Ok(queues) if queues.is_empty() => {
            vec![unknown("RabbitMQ's management API shows none of our queues")]
        }
        Ok(queues) => judge(&queues),
    }
}

fn unknown(reason: &str) -> Finding {
    Finding::warning(
        CHECK,
        format!("not checked: {reason}"),
        "look whether the plugin rabbitmq_management runs, queue.management_url_file is right, and its user has the tag `management` \
         and may use the virtual host",
    )
}

async fn ask(url: &str, options: &AmqpOptions) -> Result<Vec<Queue>, Unanswered> {
    let api = Management::parse(url)?;
    let ours = format!("^{}[.]", options.prefix.replace('.', "[.]"));
    let path = format!(
        "/api/queues/{}?page=1&page_size={MOST}&use_regex=true&name={}&columns=name,arguments,policy,operator_policy,effective_policy_definition",
        encoded(options.uri.vhost()),
        encoded(&ours),
    );
    let asking = Instant::now();
    loop {
        let page: Page = api.get(&path).await?;
        if page.items.iter().all(Queue::is_known) || asking.elapsed() > PATIENCE {
            return Ok(page.items);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl Queue {
    const fn is_known(&self) -> bool {
        self.effective_policy_definition.is_some()
    }
}

/// What a policy changes, and whether messages can be lost or go astray by it.
struct Change {
    says: String,
    verdict: Verdict,
    means: &'static str,
}

/// One finding for each thing that is changed, with the queues that it is changed for.
fn judge(queues: &[Queue]) -> Vec<Finding> {
    let mut changed: Vec<(Change, Vec<&Queue>)> = Vec::new();
    for queue in queues {
        let definition = queue.effective_policy_definition.as_ref();
        let Some(definition) = definition.and_then(Value::as_object) else {
            continue;
        };
        for change in changes(queue, definition) {
            match changed
                .iter_mut()
                .find(|(other, _)| other.says == change.says && other.means == change.means)
            {
                Some((_, same)) => same.push(queue),
                None => changed.push((change, vec![queue])),
            }
        }
    }
    let mut findings: Vec<_> = changed
        .into_iter()
        .map(|(change, of)| finding(&change, &of))
        .collect();
    let unknown: Vec<_> = queues.iter().filter(|queue| !queue.is_known()).collect();
    if !unknown.is_empty() {
        findings.push(Finding::warning(
            CHECK,
            format!(
                "not checked of {}: RabbitMQ does not know them yet",
                named(&unknown)
            ),
            "run it again in a moment",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("none changes one of our {} queues", queues.len()),
        ));
    }
    findings
}

/// The names of the first of some queues, and how many more there are.
fn named(queues: &[&Queue]) -> String {
    let mut names: Vec<_> = queues
        .iter()
        .take(NAMED)
        .map(|queue| queue.name.as_str())
        .collect();
    let more = format!("{} more", queues.len().saturating_sub(NAMED));
    if queues.len() > NAMED {
        names.push(&more);
    }
    names.join(", ")
}

fn finding(change: &Change, queues: &[&Queue]) -> Finding {
    let policies = queues
        .iter()
        .flat_map(|queue| [&queue.policy, &queue.operator_policy]);
    let mut policies: Vec<_> = policies
        .flatten()
        .filter(|policy| !policy.is_empty())
        .map(|policy| format!("{policy:?}"))
        .collect();
    policies.sort();
    policies.dedup();
    Finding {
        check: CHECK,
        verdict: change.verdict,
        detail: format!("{} of {}: {}", change.says, named(queues), change.means),
        remedy: Some(format!(
            "let the policy {} leave our queues out: give it a pattern that does not fit them, or take the key away",
            policies.join(" or ")
        )),
    }
}

fn changes(queue: &Queue, definition: &Map<String, Value>) -> Vec<Change> {
    let declared = |key: &str| queue.arguments.get(format!("x-{key}"));
    let number = |key: &str| declared(key).and_then(Value::as_u64);
    let refuses_when_full = declared("overflow").and_then(Value::as_str) == Some("reject-publish");
    let is_stream = declared("queue-type").and_then(Value::as_str) == Some("stream");
    let mut changes = Vec::new();
    for (key, value) in definition {
        // RabbitMQ takes the smaller one of policy and argument.
        let smaller = value
            .as_u64()
            .is_none_or(|value| number(key).is_none_or(|ours| value < ours));
        let (verdict, means) = match key.as_str() {
            "message-ttl" if smaller => (
                Verdict::Failed,
                if declared("message-ttl").is_some() {
                    "what waits there for its time comes too early"
                } else {
                    "what waits there longer is thrown away, or given up on"
                },
            ),
            "expires" => (
                Verdict::Failed,
                "a queue that nobody uses for that long is deleted with what is in it",
            ),
            "delivery-limit" if smaller => (
                Verdict::Failed,
                "the broker gives up on messages before Lockflight does",
            ),
            "dead-letter-routing-key" if declared(key).is_none() => (
                Verdict::Failed,
                "what comes back from there has another key, and does not find its queue",
            ),
            "dead-letter-exchange" if declared(key).is_none() => {
                (Verdict::Warning, "what is thrown away there goes somewhere else")
            }
            "max-length" | "max-length-bytes" if smaller && is_stream => (
                Verdict::Warning,
                "the journal keeps less than it was declared with",
            ),
            "max-age" if is_stream => (
                Verdict::Warning,
                "the journal may keep less than it was declared with",
            ),
            "max-length" | "max-length-bytes" if smaller && refuses_when_full => (
                Verdict::Warning,
                "it is full sooner than it was declared; publishing is refused then",
            ),
            "max-length" | "max-length-bytes" if smaller => (
                Verdict::Failed,
                "when it is full, the oldest message in it is thrown away",
            ),
            "consumer-timeout" => (
                Verdict::Warning,
                "a worker that takes longer loses its channel; keep it above 15 minutes",
            ),
            // All that is left of what a policy can say either concerns other kinds of queues, or loses to what ours were declared with.
            _ => continue,
        };
        changes.push(Change {
            says: format!("{key} = {value}"),
            verdict,
            means,
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::{Path, Query};
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::get;
    use lockflight_fleet::amqp::AmqpUri;
    use serde_json::json;

    use super::*;

    /// Queues as RabbitMQ 3.10 gives them, with this policy over those whose names have the word in them.
    fn queues(word: &str, definition: &Value) -> Vec<Queue> {
        let names = [
            (
                "lockflight.plan",
                json!({"x-queue-type": "quorum", "x-delivery-limit": 20, "x-overflow": "reject-publish",
                "x-max-length-bytes": 4_294_967_296_u64, "x-dead-letter-exchange": "lockflight.dlx"}),
            ),
            (
                "lockflight.parked",
                json!({"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}),
            ),
            (
                "lockflight.retry.5s",
                json!({"x-queue-type": "quorum", "x-message-ttl": 5_000, "x-overflow": "reject-publish",
                "x-dead-letter-exchange": "lockflight.work", "x-max-length-bytes": 4_294_967_296_u64}),
            ),
            (
                "lockflight.journal",
                json!({"x-queue-type": "stream", "x-max-age": "7776000s", "x-max-length-bytes": 1_073_741_824}),
            ),
        ];
        let queue = |(name, arguments): (&str, Value)| {
            let fits = name.contains(word);
            let policy = if fits { json!("theirs") } else { json!("") };
            let definition = if fits { definition.clone() } else { json!([]) };
            json!({"name": name, "arguments": arguments, "policy": policy, "operator_policy": null,
                "effective_policy_definition": definition})
        };
        let all: Vec<Value> = names.into_iter().map(queue).collect();
        serde_json::from_value(all.into()).unwrap()
    }

    #[test]
    fn no_policy_and_one_that_changes_nothing_are_fine() {
        for definition in [
            json!([]),
            json!({}),
            json!({"queue-mode": "lazy", "ha-mode": "all"}),
            json!({"overflow": "drop-head", "max-length-bytes": 8_589_934_592_u64}),
        ] {
            let found = judge(&queues("lockflight.plan", &definition));
            assert_eq!(found.len(), 1, "{definition}: {found:?}");
            assert_eq!(found[0].verdict, Verdict::Ok);
            assert!(found[0].detail.contains("our 4 queues"), "{}", found[0].detail);
        }
    }

    #[test]
    fn what_loses_messages_or_misleads_them_fails_and_says_which_policy_does_it() {
        let cases = [
            (
                "plan",
                json!({"message-ttl": 60_000}),
                Verdict::Failed,
                "thrown away",
            ),
            (
                "retry",
                json!({"message-ttl": 1_000}),
                Verdict::Failed,
                "too early",
            ),
            ("plan", json!({"expires": 1_800_000}), Verdict::Failed, "deleted"),
            ("plan", json!({"delivery-limit": 3}), Verdict::Failed, "gives up"),
            (
                "retry",
                json!({"dead-letter-routing-key": "x"}),
                Verdict::Failed,
                "another key",
            ),
            ("parked", json!({"max-length": 1_000}), Verdict::Failed, "oldest"),
            (
                "plan",
                json!({"max-length": 1_000}),
                Verdict::Warning,
                "full sooner",
            ),
            (
                "journal",
                json!({"max-length-bytes": 1_000}),
                Verdict::Warning,
                "keeps less",
            ),
            (
                "plan",
                json!({"consumer-timeout": 60_000}),
                Verdict::Warning,
                "15 minutes",
            ),
        ];
        for (word, definition, verdict, means) in cases {
            let found = judge(&queues(word, &definition));
            assert_eq!(found.len(), 1, "{word} {definition}: {found:?}");
            assert_eq!(found[0].verdict, verdict, "{word} {definition}");
            assert!(found[0].detail.contains(means), "{}", found[0].detail);
            assert!(found[0].detail.contains(word), "{}", found[0].detail);
            assert!(
                found[0].remedy.as_ref().unwrap().contains("\"theirs\""),
                "{found:?}"
            );
        }
    }

    #[test]
    fn one_policy_over_many_queues_is_one_finding() {
        let found = judge(&queues("lockflight", &json!({"expires": 1_000})));
        assert_eq!(found.len(), 1);
        assert!(found[0].detail.contains("1 more"), "{}", found[0].detail);
    }

    #[test]
    fn a_queue_that_the_broker_does_not_know_yet_is_not_called_fine() {
        let mut queues = queues("none", &json!({}));
        queues[1].effective_policy_definition = None;
        let found = judge(&queues);
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Warning));
        assert!(
            found[0].detail.contains("not checked of lockflight.parked"),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn the_api_is_asked_for_our_queues_alone_with_user_and_password() {
        let answer = |Path(vhost): Path<String>,
                      Query(query): Query<Vec<(String, String)>>,
                      headers: HeaderMap| async move {
            let has = |name: &str, value: &str| query.iter().any(|(n, v)| n == name && v == value);
            if headers
                .get("authorization")
                .is_none_or(|sent| sent != "Basic YW5uOnNlY3JldA==")
            {
                return (
                    StatusCode::UNAUTHORIZED,
                    String::from("{\"error\":\"not_authorised\"}"),
                );
            }
            assert_eq!(vhost, "team/a");
            assert!(
                has("name", "^lockflight[.]") && has("use_regex", "true"),
                "{query:?}"
            );
            let items = json!([{"name": "lockflight.plan", "arguments": {"x-delivery-limit": 20}, "policy": "all",
                "operator_policy": "", "effective_policy_definition": {"delivery-limit": 5}}]);
            (StatusCode::OK, json!({"items": items, "page": 1}).to_string())
        };
        let router = Router::new().route("/api/queues/{vhost}", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum_serve(listener, router).await });
        let options = AmqpOptions::new(AmqpUri::parse("amqp://broker/team%2Fa").unwrap());
        let secret = |url: String| Secret::from_value("a test", url.into());

        let found = look(Some(&secret(format!("http://ann:secret@{address}"))), &options).await;
        assert_eq!(found[0].verdict, Verdict::Failed, "{found:?}");
        assert!(found[0].detail.contains("delivery-limit = 5"), "{found:?}");

        let found = look(Some(&secret(format!("http://ann:wrong@{address}"))), &options).await;
        assert_eq!(found[0].verdict, Verdict::Warning);
        assert!(
            found[0].detail.contains("password") && !found[0].detail.contains("wrong"),
            "{found:?}"
        );
        serving.abort();

        let found = look(None, &options).await;
        assert_eq!(found[0].verdict, Verdict::Absent);
        assert!(found[0].detail.contains("not checked"), "{found:?}");
    }

    async fn axum_serve(listener: tokio::net::TcpListener, router: Router) {
        let shutdown = lockflight_runtime::Shutdown::new();
        lockflight_runtime::http::serve(listener, router, shutdown)
            .await
            .unwrap();
    }
}
