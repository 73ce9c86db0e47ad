//! What `doctor` looks at.

use std::path::Path;
use std::time::Duration;

use lockflight_fleet::amqp::{self, AmqpFleet, AmqpOptions, Consume, TopologyError};
use lockflight_fleet::redis::{MemberId, Redis, RedisOptions};
use lockflight_fleet::worker::Failure;
use lockflight_fleet::{Queue as _, Work};
use lockflight_forge::Forge;
use lockflight_git::{Mirrors, MirrorsConfig};
use lockflight_promotion::ErrorClass;

use super::{Finding, policies};
use crate::config::RolesToml;
use crate::roles::{self, Backend};

/// How long one server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A signature of an App is refused when its clock is further ahead than that, in seconds
/// (<https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app>).
const CLOCK_SLACK_S: i64 = 30;

/// Clocks that differ by more than that mislead those who compare logs, in milliseconds.
const CLOCK_SLACK_MS: u64 = 5_000;

/// Below that many calls left of GitHub's limit, in percent, one should know.
const BUDGET_PERCENT: u64 = 10;

/// Looks at everything that the configuration names.
pub(super) async fn all(config: &RolesToml) -> Vec<Finding> {
    let mut findings = Vec::new();
    match config.servers_or_file() {
        Err(error) => findings.push(wrong_configuration("queue", &error)),
        Ok(Backend::Embedded { directory, .. }) => {
            findings.push(Finding::absent(
                "broker",
                "not configured: the queue is a file of `lockflight serve`",
            ));
            findings.push(Finding::absent(
                "redis",
                "not configured: locks are in the same file",
            ));
            findings.push(writable(&directory));
        }
        Ok(Backend::Servers { queue, locks, .. }) => {
            let options = (*queue).clone();
            findings.extend(broker(*queue).await);
            findings.extend(policies::look(config.management(), &options).await);
            findings.push(match locks {
                Some(locks) => lock_server(*locks).await,
                None => Finding::absent(
                    "redis",
                    "not configured; only executors need it, and planners to share the sweep",
                ),
            });
        }
    }
    match config.ingress() {
        None => findings.push(Finding::absent(
            "webhook",
            "not configured; only the ingress needs it",
        )),
        Some(ingress) => findings.push(match ingress.check() {
            Ok(()) => Finding::ok("webhook", format!("taken at {}", ingress.path)),
            Err(error) => Finding::failed("webhook", said(&error), "mend [webhook] in the configuration"),
        }),
    }
    match config.github() {
        None => findings.push(Finding::absent(
            "github",
            "not configured; planners and executors need it",
        )),
        Some(Err(error)) => findings.push(wrong_configuration("github", &error)),
        Some(Ok(workers)) => {
            findings.push(git(&workers.directory));
            match roles::forges(workers) {
                Err(error) => findings.push(wrong_configuration("github", &error)),
                Ok((forge, approver)) => {
                    findings.extend(github("github", "clock", &forge).await);
                    if let Some(approver) = approver {
                        findings.extend(github("approver", "approver clock", &approver).await);
                    }
                }
            }
        }
    }
    findings
}

pub(super) fn said(error: &dyn std::error::Error) -> String {
    Failure::of(ErrorClass::Retry, error).reason
}

fn wrong_configuration(check: &'static str, error: &anyhow::Error) -> Finding {
    Finding::failed(
        check,
        format!("{error:#}"),
        "mend the configuration: docs/configuration.md",
    )
}

/// Whether files can be kept in a directory.
fn writable(directory: &Path) -> Finding {
    let tried = std::fs::create_dir_all(directory).and_then(|()| tempfile::tempfile_in(directory).map(drop));
    match tried {
        Ok(()) => Finding::ok("storage", format!("{} can be written", directory.display())),
        Err(error) => Finding::failed(
            "storage",
            format!("{} can't be written: {error}", directory.display()),
            "create it and give it to the user that runs Lockflight, or set storage.directory",
        ),
    }
}

/// Whether git is there, and mirrors can be kept. The mirrors of a process that runs are left alone.
fn git(directory: &Path) -> Finding {
    let storage = writable(directory);
    if storage.verdict != super::Verdict::Ok {
        return storage;
    }
    let looked = tempfile::tempdir_in(directory)
        .map_err(|error| error.to_string())
        .and_then(|probe| {
            Mirrors::new(MirrorsConfig::new(probe.path().join("mirrors"))).map_err(|error| said(&error))
        });
    match looked {
        Ok(_) => Finding::ok(
            "git",
            format!("new enough, and {} can be written", directory.display()),
        ),
        Err(reason) => Finding::failed("git", reason, "install git 2.39 or newer: apt-get install git"),
    }
}

async fn broker(options: AmqpOptions) -> Vec<Finding> {
    const CONNECTION: &str = "broker";
    const QUEUES: &str = "queues";
    match tokio::time::timeout(PATIENCE, amqp::check(&options)).await {
        Err(_) => {
            return vec![Finding::failed(
                CONNECTION,
                format!("did not answer within {PATIENCE:?}"),
                "look whether RabbitMQ runs, whether an alarm (memory, disk) blocks it, and whether queue.url_file names it",
            )];
        }
        Ok(Err(error @ TopologyError::Connect { .. })) => {
            return vec![Finding::failed(
                CONNECTION,
                said(&error),
                "look whether RabbitMQ runs, and whether the address, user, password and virtual host of queue.url_file are right",
            )];
        }
        Ok(Err(error)) => {
            return vec![
                Finding::ok(CONNECTION, "reached"),
                Finding::failed(
                    QUEUES,
                    said(&error),
                    "run `lockflight topology` with the same configuration",
                ),
            ];
        }
        Ok(Ok(())) => {}
    }
    let mut findings = vec![Finding::ok(CONNECTION, "reached")];
    let fleet = AmqpFleet::start(options, Consume::default());
    findings.push(match tokio::time::timeout(PATIENCE, ready(&fleet)).await {
        Ok(()) => Finding::ok(QUEUES, "all there, bound, and taking messages"),
        Err(_) => Finding::failed(
            QUEUES,
            match fleet.ready().await {
                Err(error) => said(&error),
                Ok(()) => "taking messages, but slowly".to_owned(),
            },
            "run `lockflight topology` with the same configuration; look for alarms with `rabbitmq-diagnostics alarms`",
        ),
    });
    for work in Work::ALL {
        findings.push(match fleet.depth(work).await {
            Err(error) => Finding::failed(work.name(), said(&error), "see queues"),
            Ok(depth) if depth.parked > 0 && work == Work::Plan => Finding::warning(
                work.name(),
                format!("{} waiting, {} parked of all work", depth.ready, depth.parked),
                "`lockflight parked` lists them with their reasons",
            ),
            Ok(depth) => Finding::ok(
                work.name(),
                format!("{} waiting, {} delayed", depth.ready, depth.delayed),
            ),
        });
    }
    fleet.stop().await;
    findings
}

/// Waits until a fleet is ready.
async fn ready(fleet: &AmqpFleet) {
    while fleet.ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn lock_server(options: RedisOptions) -> Finding {
    const CHECK: &str = "redis";
    let redis = match Redis::start(options, MemberId::of_this_process()) {
        Ok(redis) => redis,
        Err(error) => return Finding::failed(CHECK, said(&error), "mend [locks] in the configuration"),
    };
    let answered = redis.ping().await;
    redis.close().await;
    let health = match answered {
        Ok(health) => health,
        Err(error) => {
            return Finding::failed(
                CHECK,
                said(&error),
                "look whether Redis runs and locks.url_file is right; until then executors go on without locks, at lower concurrency",
            );
        }
    };
    let version = health.version.as_deref().unwrap_or("of unknown version");
    if health.clock_ahead_ms.unsigned_abs() > CLOCK_SLACK_MS {
        return Finding::warning(
            CHECK,
            format!(
                "{version} answers, but its clock is {} ms ahead of ours",
                health.clock_ahead_ms
            ),
            "synchronise the clocks (NTP); locks do not depend on it, but those who compare logs do",
        );
    }
    if let Some(eviction) = health.eviction.filter(|eviction| eviction != "noeviction") {
        return Finding::warning(
            CHECK,
            format!("{version} answers, but may throw keys away: maxmemory-policy is {eviction}"),
            "set maxmemory-policy to noeviction: a lock that is thrown away is one that two may have",
        );
    }
    Finding::ok(CHECK, format!("{version} answers in {:?}", health.latency))
}

async fn github(check: &'static str, clock: &'static str, forge: &Forge) -> Vec<Finding> {
    let checkup = match tokio::time::timeout(PATIENCE * 3, forge.checkup()).await {
        Err(_) => {
            let detail = format!("did not answer within {:?}", PATIENCE * 3);
            return vec![Finding::failed(
                check,
                detail,
                "look whether github.api_url can be reached from here",
            )];
        }
        Ok(Err(error)) => {
            return vec![Finding::failed(
                check,
                said(&error),
                "look whether github.api_url can be reached, and the token or the App's id and key are right",
            )];
        }
        Ok(Ok(checkup)) => checkup,
    };
    let mut findings = Vec::new();
    findings.push(if !checkup.lacks.is_empty() {
        Finding::failed(
            check,
            format!("{} lacks {}", checkup.login, checkup.lacks.join(", ")),
            "add that in the App's settings, Permissions & events; each organisation then has to accept it",
        )
    } else if let Some((left, limit)) = checkup
        .budget
        .filter(|(left, limit)| left * 100 < limit * BUDGET_PERCENT)
    {
        Finding::warning(
            check,
            format!("{} has {left} of {limit} calls left", checkup.login),
            "wait for the reset; if it comes often, look who else uses this identity",
        )
    } else {
        let without = match checkup.lacks_optional.as_slice() {
            [] => String::new(),
            some => format!("; it goes without {}", some.join(" and ")),
        };
        Finding::ok(check, format!("answers to {}{without}", checkup.login))
    });
    findings.extend(checkup.clock_ahead_s.map(|ahead| {
        if ahead.abs() > CLOCK_SLACK_S {
            Finding::failed(
                clock,
                format!("GitHub's clock is {ahead} s ahead of this machine's"),
                "synchronise this machine's clock (NTP); an App's signature is refused beyond about a minute",
            )
        } else {
            Finding::ok(clock, format!("within {} s of GitHub's", ahead.abs().max(1)))
        }
    }));
    findings
}
