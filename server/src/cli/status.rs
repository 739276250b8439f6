//! `corelet status`: how the server is doing.

use super::args::Global;
use super::failure::Failure;
use super::output::{Out, size};
use super::progress::during;

pub(super) fn run(global: &Global, out: &Out) -> Result<(), Failure> {
    let client = super::client(global)?;
    let status = during(out, "asking the server", || client.status())?;
    if !out.is_json() {
        let state = if status.ready { "ready" } else { "not ready" };
        out.say(&format!(
            "{} is {state}: version {}, up {} s, {} applications, node {}",
            client.url(),
            status.version,
            status.uptime_seconds,
            status.applications,
            status.node_id
        ));
    }
    let headings = [
        "shard",
        "connections",
        "queries",
        "updates",
        "failures",
        "refused",
        "waiting",
        "warm",
        "ledger",
    ];
    let rows = status.shards.iter().map(|shard| {
        vec![
            shard.shard.to_string(),
            shard.connections.to_string(),
            shard.queries.to_string(),
            shard.updates.to_string(),
            shard.guest_failures.to_string(),
            shard.refused.to_string(),
            shard.waiting.to_string(),
            shard.warm_instances.to_string(),
            format!(
                "{} of {}",
                size(shard.ledger_bytes),
                size(shard.ledger_bytes_max)
            ),
        ]
    });
    out.rows(&headings, rows, &status)
}
