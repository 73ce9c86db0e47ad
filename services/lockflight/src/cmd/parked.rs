//! `lockflight parked`: what waits for a person.

use std::collections::HashSet;
use std::io::Write as _;

use anyhow::Context as _;
use lockflight_fleet::amqp::{AmqpFleet, Consume};
use lockflight_fleet::{Content, Parked, ParkedId, Queue};
use lockflight_runtime::telemetry;
use serde_json::json;

use super::configured::{configuration, process, runtime};
use crate::cli::{ListFormat, ParkedArgs};
use crate::exit::Exit;
use crate::roles::{self, Backend};

/// Lists what is parked, or puts it back.
pub(crate) fn run(args: &ParkedArgs, log: Option<&str>) -> anyhow::Result<Exit> {
    let config = configuration(&args.config, log)?;
    let _telemetry = telemetry::init_as(&config.log, &process("parked"))?;
    let backend = config.servers_or_file()?;
    runtime()?.block_on(async {
        match backend {
            Backend::Embedded { directory, options } => {
                let fleet = roles::embedded(directory, *options).await.context(
                    "with the queue in a file, stop `lockflight serve` first: a file is used by one process at a time",
                )?;
                let exit = answer(&fleet, args).await;
                fleet.stop().await;
                exit
            }
            Backend::Servers { queue, .. } => {
                let fleet = AmqpFleet::start(*queue, Consume::default());
                let exit = answer(&fleet, args).await;
                fleet.stop().await;
                exit
            }
        }
    })
}

async fn answer(queue: &impl Queue, args: &ParkedArgs) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    if args.release.is_empty() && !args.release_all {
        print(&mut out, &queue.parked().await?, args.output)?;
        return Ok(Exit::Success);
    }
    let mut exit = Exit::Success;
    let mut seen = HashSet::new();
    let mut ids: Vec<ParkedId> = args.release.iter().map(ParkedId::new).collect();
    loop {
        ids.retain(|id| seen.insert(id.clone()));
        if !ids.is_empty() {
            for (id, released) in ids.iter().zip(queue.release_each(&ids).await?) {
                if released {
                    writeln!(out, "{id} is back on its queue")?;
                } else {
                    writeln!(out, "{id} is not parked (any more)")?;
                    exit = Exit::NotFound;
                }
            }
        }
        // A list has its limit, and there may be more behind it.
        let parked = if args.release_all {
            queue.parked().await?
        } else {
            Vec::new()
        };
        ids = parked.into_iter().map(|parked| parked.id).collect();
        if ids.iter().all(|id| seen.contains(id)) {
            return Ok(exit);
        }
    }
}

fn print(out: &mut impl std::io::Write, parked: &[Parked], format: ListFormat) -> anyhow::Result<()> {
    match format {
        ListFormat::Json => {
            let parked: Vec<_> = parked.iter().map(as_json).collect();
            serde_json::to_writer_pretty(
                &mut *out,
                &json!({"apiVersion": "lockflight/v1", "parked": parked}),
            )?;
            writeln!(out)?;
        }
        ListFormat::Table if parked.is_empty() => writeln!(out, "nothing is parked")?,
        ListFormat::Table => {
            for parked in parked {
                let envelope = parked.content.envelope();
                let repo = envelope.map_or_else(|| "?".to_owned(), |envelope| envelope.repo.name.to_string());
                let kind =
                    envelope.map_or_else(|| parked.work.to_string(), |envelope| envelope.routing_key());
                writeln!(
                    out,
                    "{}  {kind}  {repo}  tried {} times",
                    parked.id, parked.attempts
                )?;
                if let Some(envelope) = envelope {
                    writeln!(out, "    delivery {}", envelope.delivery)?;
                }
                writeln!(out, "    {}", parked.reason)?;
            }
            writeln!(out, "\nMend the cause, then: lockflight parked --release ID...")?;
        }
    }
    Ok(())
}

fn as_json(parked: &Parked) -> serde_json::Value {
    let message = match &parked.content {
        Content::Envelope(envelope) => serde_json::to_value(envelope).unwrap_or_default(),
        Content::Newer { .. } | Content::Malformed { .. } => serde_json::Value::Null,
    };
    json!({
        "id": parked.id.as_str(),
        "work": parked.work.name(),
        "reason": parked.reason,
        "attempts": parked.attempts,
        "parkedAtMs": parked.parked_at,
        "message": message,
    })
}
