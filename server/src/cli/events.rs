//! `corelet events`: a page of a context's event log.

use super::args::{EventsArgs, Global};
use super::context::path;
use super::failure::Failure;
use super::output::{Out, date};
use super::progress::during;
use crate::api;

const HEADINGS: [&str; 4] = ["sequence", "time", "kind", "payload"];

pub(super) fn run(args: &EventsArgs, global: &Global, out: &Out) -> Result<(), Failure> {
    let EventsArgs { after, limit, .. } = args;
    let path = path(&args.context)?;
    let path = format!("{path}/events?after={after}&limit={limit}");
    let client = super::client(global)?;
    let page: api::Events = during(out, "reading the events", || client.get(&path))?;
    if let Some(api::Gap { from, to }) = page.gap {
        out.say(&match from {
            // Whoever reads from the beginning wants to know where that is.
            1 => format!("events are kept from number {} on", to + 1),
            _ => format!("events {from} to {to} are not kept any more"),
        });
    }
    let row = |event: &api::Event| {
        vec![
            event.sequence.to_string(),
            date(event.time_unix_ms),
            event.kind.clone(),
            event.payload.get().to_owned(),
        ]
    };
    out.rows(&HEADINGS, page.events.iter().map(row), &page)?;
    if page.next < page.last {
        out.say(&format!("there are more: --after {}", page.next));
    }
    Ok(())
}
