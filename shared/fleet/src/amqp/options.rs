//! How a fleet on RabbitMQ behaves.

use std::fmt;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::{ExposeSecret as _, SecretString};

use super::topology::TopologyError;
use crate::Schedule;

/// How often both sides show that they are alive, in seconds; the connection counts as dead after about twice that.
const HEARTBEAT_SECONDS: u16 = 10;

/// How long a TCP connection may take, with TLS.
const CONNECT_MILLIS: u64 = 5_000;

/// Where the broker is, and who we are there. The password is never shown.
#[derive(Clone)]
pub struct AmqpUri {
    parsed: Parsed,
    password: SecretString,
}

#[derive(Clone)]
struct Parsed {
    tls: bool,
    host: String,
    port: u16,
    vhost: String,
    user: String,
    heartbeat: Option<u16>,
    connection_timeout: Option<u64>,
    frame_max: Option<u32>,
}

/// What is wrong with the address of a broker. It never repeats the address, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// It has another scheme.
    #[error("the address of RabbitMQ begins with neither amqp:// nor amqps://")]
    Scheme,
    /// It has no host.
    #[error("the address of RabbitMQ names no host: amqp://user:password@host:port/vhost")]
    Host,
    /// The client can't connect to an IPv6 address that is written out.
    #[error(
        "the address of RabbitMQ has an IPv6 address in brackets, which is not supported; give a name instead"
    )]
    Ipv6,
    /// It can't be read.
    #[error(
        "the address of RabbitMQ can't be read; it is amqp://user:password@host:port/vhost, with %xx for special characters"
    )]
    Malformed,
}

impl AmqpUri {
    /// Reads an address: `amqp://user:password@host:port/vhost` or `amqps://`. What is left out is RabbitMQ's default: guest, 5672 (5671
    /// with TLS), the virtual host `/` (also for an empty path). The parameters `heartbeat` (seconds), `connection_timeout` (milliseconds; for
    /// TCP and TLS, and as long again for the broker's first words) and `frame_max` (bytes) are taken over; by default they are 10, 5000
    /// and the broker's.
    ///
    /// # Errors
    /// When it is no such address.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        let rest = text
            .strip_prefix("amqp://")
            .or_else(|| text.strip_prefix("amqps://"))
            .ok_or(UriError::Scheme)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.starts_with('[') {
            return Err(UriError::Ipv6);
        }
        if host.split(':').next().unwrap_or_default().is_empty() {
            return Err(UriError::Host);
        }
        // What the client's parser says repeats the address.
        let uri: AMQPUri = text.parse().ok().ok_or(UriError::Malformed)?;
        let vhost = if uri.vhost.is_empty() {
            "/".to_owned()
        } else {
            uri.vhost
        };
        Ok(Self {
            parsed: Parsed {
                tls: uri.scheme == AMQPScheme::AMQPS,
                host: uri.authority.host,
                port: uri.authority.port,
                vhost,
                user: uri.authority.userinfo.username,
                heartbeat: uri.query.heartbeat,
                connection_timeout: uri.query.connection_timeout,
                frame_max: uri.query.frame_max,
            },
            password: uri.authority.userinfo.password.into(),
        })
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.parsed.vhost
    }

    /// How long a TCP connection may take. The handshake behind it may take as long again.
    pub(super) fn connection_timeout(&self) -> Duration {
        Duration::from_millis(self.parsed.connection_timeout.unwrap_or(CONNECT_MILLIS))
    }

    /// The address as the client wants it, the password included.
    pub(super) fn expose(&self) -> AMQPUri {
        let Parsed {
            tls,
            host,
            port,
            vhost,
            user,
            heartbeat,
            connection_timeout,
            frame_max,
        } = self.parsed.clone();
        let mut uri = AMQPUri {
            scheme: if tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            vhost,
            ..AMQPUri::default()
        };
        uri.authority.host = host;
        uri.authority.port = port;
        uri.authority.userinfo.username = user;
        self.password
            .expose_secret()
            .clone_into(&mut uri.authority.userinfo.password);
        uri.query.heartbeat = Some(heartbeat.unwrap_or(HEARTBEAT_SECONDS));
        uri.query.connection_timeout = Some(connection_timeout.unwrap_or(CONNECT_MILLIS));
        uri.query.frame_max = frame_max;
        uri
    }
}

impl fmt::Display for AmqpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parsed {
            tls,
            host,
            port,
            vhost,
            user,
            ..
        } = &self.parsed;
        let scheme = if *tls { "amqps" } else { "amqp" };
        let vhost = if vhost == "/" { "" } else { vhost };
        write!(f, "{scheme}://{user}@{host}:{port}/{vhost}")
    }
}

impl fmt::Debug for AmqpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How a fleet on RabbitMQ behaves. The defaults are for production. What the topology is made of (`prefix`, `partitions`, `ladder`,
/// `max_queue_bytes`, `journal`) has to be the same in every process.
#[derive(Clone, Debug)]
pub struct AmqpOptions {
    /// Where the broker is.
    pub uri: AmqpUri,
    /// What the names of exchanges and queues begin with.
    pub prefix: String,
    /// How many queues the steps are spread over, 1 to 100. Changing it means declaring the topology anew.
    pub partitions: u16,
    /// How long the rungs of the retry ladder hold a message, the shortest first. A longer wait is made of several rungs.
    pub ladder: Vec<Duration>,
    /// After that many failures a message is parked; at least 1.
    pub max_attempts: u32,
    /// After that many hand-outs that ended without a word (the worker hung, or the process died) a message is parked; at least 1. The first
    /// ten deaths of a process are not counted, since the broker can't tell what was in a worker's hands from what waited.
    pub max_losses: u32,
    /// How long a failed message waits.
    pub backoff: Schedule,
    /// How long a worker may have a message before it goes to another, unless the worker keeps it.
    pub visibility: Duration,
    /// How many deliveries, gates and pushes a planner holds, at most: those with workers and those that wait in its memory.
    pub window_plan: u16,
    /// How many steps an executor holds of each of its partitions, at most.
    pub window_steps: u16,
    /// How many webhooks that are passed on a process holds, at most. Each has the body of a webhook.
    pub window_forward: u16,
    /// The largest body that is published, compressed, in bytes. RabbitMQ 4 takes 16 MiB by default.
    pub max_message: usize,
    /// When nothing is confirmed for that long although something should be, the connection is given up and made anew.
    pub confirm_timeout: Duration,
    /// How long a message is tried to be published before its publisher is told that it is not known to be.
    pub publish_deadline: Duration,
    /// How many messages may wait for their confirm, at most. Beyond that, publishing is refused at once.
    pub outbox: usize,
    /// How many bytes of bodies may wait for their confirm, at most (but always one message).
    pub outbox_bytes: usize,
    /// The most that one queue holds, in bytes; publishing to a full one is refused.
    pub max_queue_bytes: u64,
    /// How much the journal keeps.
    pub journal: StreamLimits,
    /// The longest that a message is held before it is given back to the broker, which closes channels of consumers that are slower than its
    /// `consumer_timeout` (30 minutes by default).
    pub hold: Duration,
    /// How long a batch waits for more messages of its repository.
    pub linger: Duration,
}

/// How much the journal's stream keeps. It is pruned by whole segments, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// The greatest age of a record.
    pub max_age: Duration,
    /// The greatest size, in bytes.
    pub max_bytes: u64,
    /// The size of a segment, in bytes.
    pub segment_bytes: u64,
}

impl Default for StreamLimits {
    /// 90 days, 10 GiB, in segments of 100 MiB.
    fn default() -> Self {
        Self {
            max_age: Duration::from_hours(90 * 24),
            max_bytes: 10 << 30,
            segment_bytes: 100 << 20,
        }
    }
}

impl AmqpOptions {
    /// The defaults, for a broker.
    #[must_use]
    pub fn new(uri: AmqpUri) -> Self {
        Self {
            uri,
            prefix: "lockflight".to_owned(),
            partitions: 16,
            ladder: vec![
                Duration::from_secs(5),
                Duration::from_secs(30),
                Duration::from_mins(2),
                Duration::from_mins(10),
                Duration::from_hours(1),
            ],
            max_attempts: 10,
            max_losses: 10,
            backoff: Schedule::production(),
            visibility: Duration::from_secs(60),
            window_plan: 10_000,
            window_steps: 512,
            window_forward: 256,
            max_message: 15 << 20,
            confirm_timeout: Duration::from_secs(10),
            publish_deadline: Duration::from_secs(30),
            outbox: 10_000,
            outbox_bytes: 128 << 20,
            max_queue_bytes: 4 << 30,
            journal: StreamLimits::default(),
            hold: Duration::from_mins(10),
            linger: Duration::from_millis(3),
        }
    }
}

/// The most partitions: their numbers have two digits.
const MOST_PARTITIONS: u16 = 100;

/// The most rungs of the retry ladder.
const MOST_RUNGS: usize = 20;

impl AmqpOptions {
    /// Checks the options alone, without asking the broker anything: what the topology is made of, and that every limit lets something
    /// through. [`declare`](super::declare) and [`check`](super::check) begin with it.
    ///
    /// # Errors
    /// [`TopologyError::Options`], which says what is wrong with which.
    pub fn validate(&self) -> Result<(), TopologyError> {
        let refuse = |reason: String| Err(TopologyError::Options { reason });
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if self.prefix.is_empty()
            || self.prefix.len() > 100
            || !self.prefix.bytes().all(named)
            || self.prefix.starts_with("amq.")
        {
            return refuse(format!(
                "the prefix {:?} is not 1 to 100 letters, digits, dots, dashes and underscores, or begins with \"amq.\", which RabbitMQ keeps for itself",
                self.prefix
            ));
        }
        if !(1..=MOST_PARTITIONS).contains(&self.partitions) {
            return refuse(format!(
                "{} partitions are not 1 to {MOST_PARTITIONS}",
                self.partitions
            ));
        }
        let rising = self
            .ladder
            .windows(2)
            .all(|pair| matches!(pair, [shorter, longer] if shorter < longer));
        let whole = self.ladder.iter().all(|rung| rung.as_millis() > 0);
        if self.ladder.is_empty() || self.ladder.len() > MOST_RUNGS || !rising || !whole {
            return refuse(format!(
                "the retry ladder {:?} is not 1 to {MOST_RUNGS} waits of a millisecond or more, each longer than the one before",
                self.ladder
            ));
        }
        let counts = [
            ("attempts", u64::from(self.max_attempts)),
            ("losses", self.max_losses.into()),
            ("deliveries and gates of a planner", self.window_plan.into()),
            ("steps of an executor", self.window_steps.into()),
            ("webhooks to be passed on", self.window_forward.into()),
            ("bytes of a message", self.max_message as u64),
            ("messages that wait for their confirm", self.outbox as u64),
            ("bytes that wait for their confirm", self.outbox_bytes as u64),
            ("bytes of a queue", self.max_queue_bytes),
            ("bytes of the journal", self.journal.max_bytes),
            ("bytes of a segment of the journal", self.journal.segment_bytes),
        ];
        if let Some((what, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(format!("the most {what} are 0: nothing would go on"));
        }
        let times = [
            ("visibility timeout", self.visibility),
            ("timeout of confirms", self.confirm_timeout),
            ("deadline of publishing", self.publish_deadline),
            ("time that a message is held", self.hold),
        ];
        if let Some((what, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return refuse(format!("the {what} is 0: nothing would go on"));
        }
        if self.journal.max_age.as_secs() == 0 {
            return refuse("the journal's greatest age is less than a second".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_its_password_is_never_shown() {
        let uri = AmqpUri::parse(" amqps://ann:s%2Fcret@broker.example:5999/team%2Fa?heartbeat=30 ").unwrap();
        assert_eq!(uri.to_string(), "amqps://ann@broker.example:5999/team/a");
        assert!(!format!("{uri:?} {:?}", AmqpOptions::new(uri.clone())).contains("cret"));
        let exposed = uri.expose();
        assert_eq!(exposed.authority.userinfo.password, "s/cret");
        assert_eq!(exposed.vhost, "team/a");
        assert_eq!(
            (exposed.query.heartbeat, exposed.query.connection_timeout),
            (Some(30), Some(5_000))
        );
    }

    #[test]
    fn what_an_address_leaves_out_is_the_default() {
        for text in ["amqp://localhost", "amqp://localhost/", "amqp://localhost/%2f"] {
            let exposed = AmqpUri::parse(text).unwrap().expose();
            assert_eq!(exposed.vhost, "/", "{text}");
            assert_eq!(exposed.authority.port, 5_672);
            assert_eq!(exposed.query.heartbeat, Some(10));
        }
        assert_eq!(
            AmqpUri::parse("amqps://localhost")
                .unwrap()
                .expose()
                .authority
                .port,
            5_671
        );
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_repeating_it() {
        for (text, why) in [
            ("http://ann:secret@host", UriError::Scheme),
            ("secret", UriError::Scheme),
            ("amqp://", UriError::Host),
            ("amqp:///vhost", UriError::Host),
            ("amqp://ann:secret@:5672/", UriError::Host),
            ("amqp://ann:secret@[::1]:5672/", UriError::Ipv6),
            ("amqp://ann:secret@host:port/", UriError::Malformed),
            ("amqp://ann:secret@host/?heartbeat=often", UriError::Malformed),
            ("amqp://ann:secret%ff@host/", UriError::Malformed),
        ] {
            let error = AmqpUri::parse(text).unwrap_err();
            assert_eq!(error, why, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn options_that_make_no_topology_are_refused() {
        let good = AmqpOptions::new(AmqpUri::parse("amqp://localhost").unwrap());
        good.validate().unwrap();
        let second = Duration::from_secs(1);
        let bad = |change: &dyn Fn(&mut AmqpOptions)| {
            let mut options = good.clone();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert!(bad(&|options| options.prefix = String::new()).contains("prefix"));
        assert!(bad(&|options| options.prefix = "amq.mine".to_owned()).contains("prefix"));
        assert!(bad(&|options| options.prefix = "a b".to_owned()).contains("prefix"));
        assert!(bad(&|options| options.partitions = 0).contains("partitions"));
        assert!(bad(&|options| options.partitions = 101).contains("partitions"));
        assert!(bad(&|options| options.ladder = Vec::new()).contains("ladder"));
        assert!(bad(&|options| options.ladder = vec![second, second]).contains("ladder"));
        assert!(bad(&|options| options.ladder = vec![Duration::ZERO]).contains("ladder"));
        assert!(bad(&|options| options.max_losses = 0).contains("losses"));
        assert!(bad(&|options| options.window_steps = 0).contains("steps of an executor"));
        assert!(bad(&|options| options.visibility = Duration::ZERO).contains("visibility"));
        assert!(bad(&|options| options.journal.max_age = Duration::from_millis(1)).contains("age"));
    }
}
