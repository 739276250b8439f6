//! What a context holds and has told: its entries, deltas, events and guests' lines, and copies of
//! it, or of all contexts. What is still to be done for it is in `agenda.rs`.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use corelet_shard::{ContextReader, EventRecord, GuestLine};
use corelet_store::ExportScope;
use corelet_wasm_host::LogLevel;
use percent_encoding::percent_decode_str;

use super::{Answer, Door, Named, at_home, unix_millis};
use crate::api;
use crate::http::copy::{self, Pace};
use crate::http::door::Front;
use crate::http::parameters::{bad_parameter, limit_of, number_of, parameters};
use crate::http::reply::document;
use crate::lines;
use crate::refusal::Refusal;

pub(super) async fn list_events(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after, limit] = parameters(query.as_deref(), ["after", "limit"])?;
        let (after, limit) = (number_of(after)?, limit_of(limit)?);
        let id = front.shard.resolve(&wanted)?;
        let page = front.shard.events(id, after, limit).await?;
        let events = api::Events {
            events: page.events.iter().map(event).collect(),
            gap: page.gap.map(|(from, to)| api::Gap { from, to }),
            next: page.next,
            last: page.last,
        };
        Ok(document(StatusCode::OK, &events))
    })
    .await
}

pub(super) async fn list_logs(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after] = parameters(query.as_deref(), ["after"])?;
        let after = number_of(after)?;
        let id = front.shard.resolve(&wanted)?;
        let found = front.shard.guest_logs(id, after).await?;
        let lines = api::LogLines {
            lines: found.lines.iter().map(log_line).collect(),
            next: found.next,
            cut: found.is_cut,
        };
        Ok(document(StatusCode::OK, &lines))
    })
    .await
}

/// What is kept in a context, now or as it was after a delta, a line for each entry.
pub(super) async fn list_entries(
    State(door): State<Door>,
    Extension(pace): Extension<Pace>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let entries = entries_wanted(query.as_deref())?;
        let read: ContextReader = Box::new(move |snapshot, context, is_over, out| {
            lines::entries(snapshot, context, &entries, is_over, out)
        });
        lines_of(&front, &wanted, read, pace).await
    })
    .await
}

/// The deltas of a context, the newest first, a line for each.
pub(super) async fn list_deltas(
    State(door): State<Door>,
    Extension(pace): Extension<Pace>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [limit] = parameters(query.as_deref(), ["limit"])?;
        let limit = limit_of(limit)?;
        let read: ContextReader = Box::new(move |snapshot, context, _, out| {
            lines::deltas(snapshot, context.slot, limit, out)
        });
        lines_of(&front, &wanted, read, pace).await
    })
    .await
}

/// One context as a file. Its private entries and its agenda belong to this node and stay here.
pub(super) async fn export_context(
    State(door): State<Door>,
    Extension(pace): Extension<Pace>,
    Named(wanted): Named,
) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let scope = ExportScope {
            private: false,
            log: true,
        };
        let stream = front.shard.export_context(id, scope)?;
        tracing::info!(context = %id, "exporting");
        Ok(copy::response(stream, pace).await?)
    })
    .await
}

/// Everything as a file.
pub(super) async fn back_up(
    State(door): State<Door>,
    Extension(pace): Extension<Pace>,
) -> Response {
    at_home(door, async move |front| {
        let stream = front.shard.back_up()?;
        tracing::info!("backing up");
        Ok(copy::response(stream, pace).await?)
    })
    .await
}

/// The lines that `read` makes of a context, while it is read.
async fn lines_of(front: &Front, wanted: &str, read: ContextReader, pace: Pace) -> Answer {
    let id = front.shard.resolve(wanted)?;
    let stream = front.shard.read_context(id, read)?;
    Ok(copy::lines(stream, pace).await?)
}

/// Which entries a query string asks for.
fn entries_wanted(query: Option<&str>) -> Result<lines::Wanted, Refusal> {
    let [at, space, prefix] = parameters(query, ["at", "space", "prefix"])?;
    let must = |_| bad_parameter("at", "at must be a delta's id");
    let at = at.map(|delta| delta.parse().map_err(must)).transpose()?;
    let names = "space must be shared, owned, private, attached, agenda or stable";
    let must = || bad_parameter("space", names);
    let space = space.map(|space| lines::space(space).ok_or_else(must));
    Ok(lines::Wanted {
        at,
        space: space.transpose()?,
        prefix: percent_decode_str(prefix.unwrap_or("")).collect(),
    })
}

fn event(event: &EventRecord) -> api::Event {
    let payload = serde_json::from_slice(&event.payload).unwrap_or_else(|_| {
        // Another node's word may be no JSON.
        let text = String::from_utf8_lossy(&event.payload);
        let quoted = serde_json::value::to_raw_value(&text);
        quoted.expect("a text can be written as JSON")
    });
    api::Event {
        sequence: event.sequence,
        delta_id: event.delta_id.to_string(),
        time_unix_ms: unix_millis(event.hlc),
        kind: event.kind.clone(),
        payload,
    }
}

fn log_line(line: &GuestLine) -> api::LogLine {
    let level = match line.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let outcome = if line.succeeded { "ok" } else { "failed" };
    api::LogLine {
        number: line.number,
        time_unix_ms: line.unix_micros / 1000,
        level: level.to_owned(),
        method: line.method.to_string(),
        outcome: outcome.to_owned(),
        message: line.message.to_string(),
    }
}
