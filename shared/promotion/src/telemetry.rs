//! The names of everything that is measured: metrics, attributes, spans.
//!
//! Constants only, so that a name is written once, and whoever looks for one finds it with its meaning. Names that OpenTelemetry has
//! settled are taken as they are, in the version of [`SCHEMA_URL`]; ours begin with `lockflight.`. Messaging names follow the
//! conventions for RabbitMQ: <https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/>.
//!
//! Two rules keep the number of series small. A metric never has a pull request, a commit, a branch, a repository or a delivery
//! as an attribute; those are for spans and logs. Whatever comes from outside and may have any value is folded to [`OTHER`] first.
//!
//! In the text form of Prometheus a dot is an underscore, the unit and `_total` are appended:
//! [`metric::WEBHOOK_HANDLE_DURATION`] is `lockflight_webhook_handle_duration_seconds` there.

/// The version of the semantic conventions that the names without `lockflight.` are from.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// The instrumentation scope of every span and instrument of ours.
pub const SCOPE: &str = "lockflight";

/// Stands for any value that is not one of a known few.
pub const OTHER: &str = "_OTHER";

/// Units in UCUM's notation: <https://ucum.org>. One in braces is only a word for people.
pub mod unit {
    /// Seconds.
    pub const SECONDS: &str = "s";
    /// Messages.
    pub const MESSAGES: &str = "{message}";
    /// Webhook deliveries.
    pub const DELIVERIES: &str = "{delivery}";
    /// HTTP requests.
    pub const REQUESTS: &str = "{request}";
    /// Outcomes of work.
    pub const OUTCOMES: &str = "{outcome}";
    /// Anything else that is counted. Not `1`, which is for ratios: Prometheus would append `_ratio`.
    pub const COUNT: &str = "{count}";
}

/// Upper bounds of histogram buckets, in seconds.
pub mod buckets {
    /// For what takes milliseconds and should: answering a webhook, publishing, one call to GitHub or git. The first twelve are those
    /// that the messaging conventions advise.
    pub const SHORT: [f64; 14] = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    /// For a piece of work as a whole, or the wait for a lock: milliseconds to ten minutes.
    pub const WORK: [f64; 15] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0,
    ];
}

/// Names of instruments. Each says its kind, its unit and its attributes.
pub mod metric {
    /// Counter, `{delivery}`: webhook deliveries that were answered. [`super::attribute::EVENT`], [`super::attribute::RESULT`].
    pub const WEBHOOK_DELIVERIES: &str = "lockflight.webhook.deliveries";
    /// Histogram, `s`: from the head of a webhook to its answer; GitHub gives up after ten seconds. [`super::attribute::EVENT`].
    pub const WEBHOOK_HANDLE_DURATION: &str = "lockflight.webhook.handle.duration";

    /// Counter, `{message}`: messages that were to be published. `messaging.*`, [`super::attribute::ERROR_TYPE`].
    pub const CLIENT_SENT_MESSAGES: &str = "messaging.client.sent.messages";
    /// Counter, `{message}`: messages that were handed to a worker. `messaging.*`.
    pub const CLIENT_CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
    /// Histogram, `s`: one publish with its confirm, or one settlement. `messaging.*`, [`super::attribute::ERROR_TYPE`].
    pub const CLIENT_OPERATION_DURATION: &str = "messaging.client.operation.duration";
    /// Histogram, `s`: how long a message was worked on, each attempt by itself. `messaging.*`, [`super::attribute::ERROR_TYPE`].
    pub const PROCESS_DURATION: &str = "messaging.process.duration";

    /// Gauge, `{message}`: how full a queue is. [`super::attribute::QUEUE`], [`super::attribute::STATE`].
    pub const QUEUE_MESSAGES: &str = "lockflight.queue.messages";
    /// Gauge, `s`: how long ago the oldest message that is not parked was published; 0 for an empty queue. [`super::attribute::QUEUE`].
    pub const QUEUE_OLDEST_MESSAGE_AGE: &str = "lockflight.queue.oldest_message.age";
    /// Counter, `{message}`: attempts that failed and are followed by another. [`super::attribute::QUEUE`],
    /// [`super::attribute::ERROR_TYPE`].
    pub const TASK_RETRIES: &str = "lockflight.task.retries";
    /// Counter, `{message}`: messages put aside for a while, which is no failure. [`super::attribute::QUEUE`],
    /// [`super::attribute::REASON`].
    pub const TASK_DEFERRED: &str = "lockflight.task.deferred";
    /// Counter, `{message}`: messages that were parked for a person. [`super::attribute::QUEUE`], [`super::attribute::ERROR_TYPE`].
    pub const TASK_PARKED: &str = "lockflight.task.parked";
    /// Counter, `{message}`: messages that had gone to another worker when they were settled. [`super::attribute::QUEUE`].
    pub const TASK_STALE: &str = "lockflight.task.stale";
    /// Counter, `{message}`: messages that were handed out and nothing was heard of. [`super::attribute::QUEUE`],
    /// [`super::attribute::REASON`]: `dropped`, `panic` or `timeout`.
    pub const TASK_LOST: &str = "lockflight.task.lost";
    /// Counter, `{message}`: messages that an equal one stood for. [`super::attribute::QUEUE`].
    pub const TASK_COALESCED: &str = "lockflight.task.coalesced";
    /// Counter, `{message}`: messages that were held for too long before their turn and put back. [`super::attribute::QUEUE`].
    pub const TASK_PUT_BACK: &str = "lockflight.task.put_back";
    /// Histogram, `s`: from a message's publication to its first hand-out. [`super::attribute::QUEUE`].
    pub const QUEUE_WAIT: &str = "lockflight.queue.wait";
    /// Gauge (up-down counter), `{count}`: batches in hand. [`super::attribute::QUEUE`].
    pub const WORKER_BUSY: &str = "lockflight.worker.busy";
    /// Gauge (up-down counter), `{count}`: batches that may be in hand at once. [`super::attribute::QUEUE`].
    pub const WORKER_CAPACITY: &str = "lockflight.worker.capacity";

    /// Counter, `{outcome}`: what became of work. [`super::attribute::OUTCOME`].
    pub const PROMOTION_OUTCOMES: &str = "lockflight.promotion.outcomes";
    /// Histogram, `s`: a part of planning or promoting. [`super::attribute::STAGE`], [`super::attribute::PHASE`].
    pub const PROMOTION_HOP_DURATION: &str = "lockflight.promotion.hop.duration";

    /// Counter, `{request}`: requests to GitHub, tries that failed included. [`super::attribute::HTTP_REQUEST_METHOD`],
    /// [`super::attribute::URL_TEMPLATE`], [`super::attribute::STATUS_CLASS`].
    pub const GITHUB_REQUESTS: &str = "lockflight.github.requests";
    /// Histogram, `s`: one request to GitHub. [`super::attribute::HTTP_REQUEST_METHOD`], [`super::attribute::URL_TEMPLATE`].
    pub const GITHUB_REQUEST_DURATION: &str = "lockflight.github.request.duration";
    /// Gauge, `{request}`: what is left of a primary limit in its window, as the last answer told it. [`super::attribute::RESOURCE`],
    /// [`super::attribute::CREDENTIAL`].
    pub const GITHUB_RATE_LIMIT_REMAINING: &str = "lockflight.github.rate_limit.remaining";
    /// Gauge, `{request}`: a primary limit. Attributes as [`GITHUB_RATE_LIMIT_REMAINING`].
    pub const GITHUB_RATE_LIMIT_LIMIT: &str = "lockflight.github.rate_limit.limit";
    /// Gauge, `s`: when the window of a primary limit ends, in seconds since 1970 UTC. Attributes as
    /// [`GITHUB_RATE_LIMIT_REMAINING`].
    pub const GITHUB_RATE_LIMIT_RESET: &str = "lockflight.github.rate_limit.reset";
    /// Counter, `{count}`: refusals for a limit. [`super::attribute::REASON`]: `primary` or `secondary`.
    pub const GITHUB_LIMIT_HITS: &str = "lockflight.github.limit.hits";
    /// Counter, `{request}`: requests that make something that people see; GitHub takes about 80 of them in a minute.
    pub const GITHUB_CONTENT_WRITES: &str = "lockflight.github.content_writes";

    /// Histogram, `s`: the wait for a repository's lock. [`super::attribute::RESULT`].
    pub const LOCK_WAIT: &str = "lockflight.lock.wait";
    /// Histogram, `s`: how long a repository's lock was held.
    pub const LOCK_HELD: &str = "lockflight.lock.held";
    /// Counter, `{count}`: locks that somebody else held when they were asked for.
    pub const LOCK_CONTENTION: &str = "lockflight.lock.contention";
    /// Counter, `{count}`: leases that ran out or were taken over under their holder.
    pub const LOCK_LOST: &str = "lockflight.lock.lost";
    /// Gauge, `{count}`: 1 while the lock's server can't be reached and work goes on without it, else 0.
    pub const LOCK_UNAVAILABLE: &str = "lockflight.lock.unavailable";
    /// Counter, `{count}`: work that was begun without a lock, since its server could not be reached.
    pub const LOCK_BYPASSED: &str = "lockflight.lock.bypassed";

    /// Gauge, `{count}`: 1 while the broker's connection stands, else 0. [`super::attribute::CONNECTION`].
    pub const BROKER_CONNECTED: &str = "lockflight.broker.connected";
    /// Gauge, `{count}`: 1 while the broker takes nothing, for want of memory or disk, else 0.
    pub const BROKER_BLOCKED: &str = "lockflight.broker.blocked";
    /// Counter, `{count}`: connections that were made again. [`super::attribute::CONNECTION`].
    pub const BROKER_RECONNECTS: &str = "lockflight.broker.reconnects";
    /// Counter, `{message}`: messages that the broker could not route and gave back.
    pub const BROKER_RETURNED: &str = "lockflight.broker.returned";
    /// Gauge, `{message}`: messages that were sent and are not confirmed yet.
    pub const BROKER_UNCONFIRMED: &str = "lockflight.broker.unconfirmed";
    /// Gauge, `{count}`: partitions of the steps that this process works on.
    pub const PARTITIONS_OWNED: &str = "lockflight.partitions.owned";
    /// Gauge, `{count}`: live executors, as this process sees them.
    pub const MEMBERS: &str = "lockflight.members";

    /// Histogram, `{message}`: messages in a batch. [`super::attribute::QUEUE`].
    pub const BATCH_MESSAGES: &str = "lockflight.batch.messages";

    /// Gauge, `{count}`: always 1. [`super::attribute::VERSION`], [`super::attribute::ROLE`].
    pub const BUILD_INFO: &str = "lockflight.build.info";
}

/// Names of attributes of spans, metrics and log records. Those of metrics have few values; the values are listed here.
pub mod attribute {
    /// Why an operation failed, as one word of few; absent where it did not fail.
    ///
    /// For messages: `retry`, `reject`, `bug`; parked ones also `user` and `last_attempt`; queue operations `unconfirmed` and `stale`.
    /// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/>
    pub const ERROR_TYPE: &str = "error.type";

    /// Which messaging system: [`SYSTEM_RABBITMQ`] or [`SYSTEM_EMBEDDED`].
    pub const MESSAGING_SYSTEM: &str = "messaging.system";
    /// [`MESSAGING_SYSTEM`] of the RabbitMQ adapter.
    pub const SYSTEM_RABBITMQ: &str = "rabbitmq";
    /// [`MESSAGING_SYSTEM`] of the queue on one SQLite file.
    pub const SYSTEM_EMBEDDED: &str = "lockflight.embedded";
    /// What is done, in the system's own word: `publish`, `receive`, `process`, `ack`, `retry`, `defer`, `park`.
    pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
    /// What kind of operation that is: `send`, `receive`, `process` or `settle`.
    pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
    /// Where a message goes or comes from: see [`super::destination`].
    pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
    /// The message's own id. Spans only.
    pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
    /// What the message belongs to: the webhook delivery that set everything off. Spans only.
    pub const MESSAGING_MESSAGE_CONVERSATION_ID: &str = "messaging.message.conversation_id";
    /// How many messages a span is about, where it is about several.
    pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
    /// The routing key, such as `step.promote`.
    pub const RABBITMQ_ROUTING_KEY: &str = "rabbitmq.destination.routing_key";

    /// The name of a server that is called.
    pub const SERVER_ADDRESS: &str = "server.address";
    /// The HTTP method.
    pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
    /// The HTTP status.
    pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
    /// The path that a server has a route for.
    pub const HTTP_ROUTE: &str = "http.route";
    /// The size of a request's body, in bytes.
    pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
    /// The path of a call with placeholders, as GitHub documents it, such as `/repos/{owner}/{repo}/pulls`.
    pub const URL_TEMPLATE: &str = "url.template";

    /// The repository, as `owner/name`. Spans only.
    pub const VCS_REPOSITORY_NAME: &str = "vcs.repository.name";

    /// The id of the webhook delivery that set everything off. Spans only.
    pub const DELIVERY_ID: &str = "lockflight.delivery.id";
    /// A plan's id. Spans only.
    pub const PLAN_ID: &str = "lockflight.plan.id";
    /// How many steps a plan has. Spans only.
    pub const PLAN_STEPS: &str = "lockflight.plan.steps";
    /// How often a message was tried before: 0 at first. Spans only.
    pub const ATTEMPT: &str = "lockflight.attempt";

    /// The webhook's event, if it is one of [`super::EVENTS`]; else [`super::OTHER`]. `none` for what was refused before it was known.
    pub const EVENT: &str = "lockflight.event";
    /// How it ended. Webhooks: `accepted`, `ignored`, `pong`, `bad_signature`, `refused`, `busy`, `unavailable`, `broken`. Locks:
    /// `acquired`, `bypassed`, `failed`.
    pub const RESULT: &str = "lockflight.result";
    /// The queue: `plan`, `steps` or `forward`.
    pub const QUEUE: &str = "lockflight.queue";
    /// The state of messages in a queue: `ready`, `delayed`, `in_flight`, `parked`.
    pub const STATE: &str = "lockflight.state";
    /// Why, as one word. Deferred: `waits` or `rate_limited`. Limits: `primary` or `secondary`. Lost: `dropped`, `panic` or `timeout`.
    pub const REASON: &str = "lockflight.reason";
    /// The name of an outcome: [`crate::message::Outcome::name`].
    pub const OUTCOME: &str = "lockflight.outcome";
    /// What the phase is a part of: `plan` or `promote`.
    pub const STAGE: &str = "lockflight.stage";
    /// The part itself: [`crate::message::Phase::name`].
    pub const PHASE: &str = "lockflight.phase";
    /// `2xx`, `3xx`, `4xx`, `5xx`, or `none` when no answer came.
    pub const STATUS_CLASS: &str = "lockflight.status_class";
    /// A limit of GitHub's, such as `core` or `graphql`.
    pub const RESOURCE: &str = "lockflight.github.resource";
    /// Whose limit: `token`, `app`, or `installation 5`. As many values as Lockflight has installations.
    pub const CREDENTIAL: &str = "lockflight.github.credential";
    /// What a connection to the broker is for: `publish` or `consume`.
    pub const CONNECTION: &str = "lockflight.connection";
    /// The version of this program.
    pub const VERSION: &str = "lockflight.version";
    /// The role of the process: `serve`, `ingress`, `planner`, `executor`.
    pub const ROLE: &str = "lockflight.role";
    /// How a link's span is related: `creation` for the one that made the message.
    pub const RELATION: &str = "lockflight.relation";
}

/// The webhook events that a metric tells apart.
pub const EVENTS: [&str; 12] = [
    "check_run",
    "check_suite",
    "installation",
    "installation_repositories",
    "issue_comment",
    "ping",
    "pull_request",
    "pull_request_review",
    "push",
    "repository",
    "status",
    "workflow_run",
];

/// The event as a metric may have it.
#[must_use]
pub fn event(name: &str) -> &'static str {
    EVENTS
        .iter()
        .find(|known| **known == name)
        .copied()
        .unwrap_or(OTHER)
}

/// Names of spans.
pub mod span {
    /// A webhook, from its head to its answer; kind `SERVER`.
    #[must_use]
    pub fn webhook(route: &str) -> String {
        format!("POST {route}")
    }

    /// A message on its way to the queue, until it is confirmed; kind `PRODUCER`. Its context travels with the message.
    #[must_use]
    pub fn publish(exchange: &str, routing_key: &str) -> String {
        format!("publish {}", super::destination(exchange, routing_key, ""))
    }

    /// A message that is worked on; kind `CONSUMER`. Its parent, and linked, is what the message carries.
    #[must_use]
    pub fn process(exchange: &str, routing_key: &str, queue: &str) -> String {
        format!("process {}", super::destination(exchange, routing_key, queue))
    }

    /// The end of the work on a message, by `ack`, `retry`, `defer` or `park`; kind `CLIENT`.
    #[must_use]
    pub fn settle(operation: &str, exchange: &str, routing_key: &str, queue: &str) -> String {
        format!("{operation} {}", super::destination(exchange, routing_key, queue))
    }

    /// A call to GitHub; kind `CLIENT`.
    #[must_use]
    pub fn github(method: &str, template: &str) -> String {
        format!("{method} {template}")
    }

    /// What is done once for all messages of a batch; kind `INTERNAL`, linked with each of them.
    pub const PREPARE: &str = "prepare batch";
    /// The wait for a repository's lock; kind `CLIENT`.
    pub const LOCK_ACQUIRE: &str = "lock acquire";

    /// Spans that are for the log alone, by the names that `tracing` knows them by: they go on for as long as the process, or
    /// lie around several traces.
    pub const LOG_ONLY: [&str; 4] = ["batch", "connection", "signals", "task"];
}

/// The destination of a message as the conventions for RabbitMQ have it.
///
/// That is `{exchange}:{routing key}` where it is published and `{exchange}:{routing key}:{queue}` where it is consumed. Empty parts are
/// left out, and a queue that is named like the routing key. It is part of span names, so none of the parts may have many values: no
/// partition, no retry queue.
#[must_use]
pub fn destination(exchange: &str, routing_key: &str, queue: &str) -> String {
    let queue = if queue == routing_key { "" } else { queue };
    let parts = [exchange, routing_key, queue];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "amq.default".to_owned();
    }
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_named_as_the_conventions_say() {
        assert_eq!(destination("logs", "warning", "mine"), "logs:warning:mine");
        assert_eq!(destination("logs", "warning", ""), "logs:warning");
        assert_eq!(destination("", "mine", "mine"), "mine");
        assert_eq!(destination("logs", "", ""), "logs");
        assert_eq!(destination("", "", ""), "amq.default");
        assert_eq!(
            span::publish("events", "step.promote"),
            "publish events:step.promote"
        );
        assert_eq!(
            span::process("events", "gate.check", "plan"),
            "process events:gate.check:plan"
        );
        assert_eq!(span::settle("ack", "", "plan", "plan"), "ack plan");
    }

    #[test]
    fn an_event_that_is_not_known_is_folded() {
        assert_eq!(event("pull_request"), "pull_request");
        assert_eq!(event("made_up"), OTHER);
        assert!(EVENTS.is_sorted());
    }

    #[test]
    fn buckets_grow() {
        assert!(buckets::SHORT.is_sorted() && buckets::WORK.is_sorted());
    }
}
