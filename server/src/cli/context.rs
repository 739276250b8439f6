//! `corelet context`: create, list, show, release, cancel, stats, weight, delete; what is in one is in
//! `lines.rs`, copies are in `copies.rs`, upgrades in `upgrade.rs`.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::args::Global;
use super::args::context::ContextCommand;
use super::call::json_argument;
use super::copies;
use super::failure::{Exit, Failure};
use super::lines;
use super::output::{Out, date};
use super::progress::during;
use super::short;
use super::upgrade;
use crate::api;
use crate::client::Client;

pub(super) fn run(command: &ContextCommand, global: &Global, out: &Out) -> Result<(), Failure> {
    match command {
        ContextCommand::Create { app, name, args } => {
            let args = args
                .as_deref()
                .map(|args| json_argument(Some(args)))
                .transpose()?;
            let client = super::client(global)?;
            let wanted = api::CreateContext {
                application: app.clone(),
                name: name.clone(),
                args,
            };
            let created: api::Context = during(out, "creating the context", || {
                client.post("/v1/contexts", &wanted)
            })?;
            out.text(&created.id, || &created)
        }
        ContextCommand::List { after, limit } => {
            let mut path = format!("/v1/contexts?limit={limit}");
            if let Some(after) = after {
                path.push_str("&after=");
                path.push_str(path_part(after)?);
            }
            let client = super::client(global)?;
            let page: api::Contexts = during(out, "listing the contexts", || client.get(&path))?;
            let applications = Applications::shown(&client, out)?;
            let rows = page.contexts.iter();
            out.rows(&HEADINGS, rows.map(|it| row(it, &applications)), &page)?;
            for out_of_service in page
                .contexts
                .iter()
                .filter(|it| it.out_of_service.is_some())
            {
                let id = &out_of_service.id;
                out.say(&format!(
                    "{id} is out of service: `corelet context show {id}` says why"
                ));
            }
            if let Some(next) = &page.next {
                out.say(&format!("there are more: --after {next}"));
            }
            Ok(())
        }
        ContextCommand::Show { context } => {
            let (client, path) = (super::client(global)?, path(context)?);
            let shown: api::Context = during(out, "looking at the context", || client.get(&path))?;
            let applications = Applications::shown(&client, out)?;
            out.rows(&HEADINGS, [row(&shown, &applications)], &shown)?;
            if let Some(why) = &shown.out_of_service {
                out.say(&format!("it is out of service: {why}"));
            }
            Ok(())
        }
        ContextCommand::Upgrade {
            context,
            to,
            all_of,
            skip_before_upgrade,
        } => {
            let wanted = api::UpgradeContext {
                application: to.clone(),
                skip_before_upgrade: *skip_before_upgrade,
            };
            upgrade::run(context.as_deref(), all_of.as_deref(), &wanted, global, out)
        }
        ContextCommand::Release { context } => {
            let (client, path) = (super::client(global)?, path(context)?);
            let path = format!("{path}/quarantine");
            during(out, "putting the context back into service", || {
                client.delete(&path)
            })?;
            out.done(
                &format!("{context} is back in service"),
                || json!({ "released": context }),
            )
        }
        ContextCommand::Cancel { context } => {
            let (client, path) = (super::client(global)?, path(context)?);
            let path = format!("{path}/calls");
            let done: api::Cancelled = during(out, "cancelling calls", || client.end(&path))?;
            let calls = match done.cancelled {
                1 => "1 call".to_owned(),
                count => format!("{count} calls"),
            };
            out.done(
                &format!("cancelled {calls} of {context}"),
                || json!({ "cancelled": done.cancelled }),
            )
        }
        ContextCommand::Entries {
            context,
            at,
            space,
            prefix,
        } => {
            let wanted = [("at", at), ("space", space), ("prefix", prefix)];
            let given = wanted.iter().filter_map(|(name, value)| {
                let value = value.as_deref()?;
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                Some(format!("{name}={value}"))
            });
            let query = given.collect::<Vec<_>>().join("&");
            let path = format!("{}/entries?{query}", path(context)?);
            lines::entries(&path, global, out)
        }
        ContextCommand::Deltas { context, limit } => {
            let path = format!("{}/deltas?limit={limit}", path(context)?);
            lines::deltas(&path, global, out)
        }
        ContextCommand::Timers {
            context,
            after,
            limit,
        } => {
            let mut path = format!("{}/timers?limit={limit}", path(context)?);
            if let Some(after) = after {
                let after = utf8_percent_encode(after, NON_ALPHANUMERIC);
                path.push_str(&format!("&after={after}"));
            }
            let client = super::client(global)?;
            let page: api::Timers = during(out, "listing the timers", || client.get(&path))?;
            out.rows(&TIMER_HEADINGS, page.timers.iter().map(timer_row), &page)?;
            if let Some(next) = &page.next {
                out.say(&format!("there are more: --after {next:?}"));
            }
            Ok(())
        }
        ContextCommand::Calls {
            context,
            after,
            limit,
        } => {
            let mut path = format!("{}/sent?limit={limit}", path(context)?);
            if let Some(after) = after {
                let after = utf8_percent_encode(after, NON_ALPHANUMERIC);
                path.push_str(&format!("&after={after}"));
            }
            let client = super::client(global)?;
            let page: api::SentCalls = during(out, "listing the calls", || client.get(&path))?;
            out.rows(&SENT_HEADINGS, page.calls.iter().map(sent_row), &page)?;
            if let Some(next) = &page.next {
                out.say(&format!("there are more: --after {next:?}"));
            }
            Ok(())
        }
        ContextCommand::Subscriptions { context } => {
            let (client, path) = (super::client(global)?, path(context)?);
            let path = format!("{path}/subscriptions");
            let found: api::Subscriptions =
                during(out, "listing the subscriptions", || client.get(&path))?;
            let rows = found.subscriptions.iter().map(subscription_row);
            out.rows(&SUBSCRIPTION_HEADINGS, rows, &found)
        }
        ContextCommand::Unsubscribe {
            context,
            from,
            handler,
            all: _,
        } => {
            let wanted = [("from", from), ("handler", handler)];
            let given = wanted.iter().filter_map(|(name, value)| {
                let value = value.as_deref()?;
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                Some(format!("{name}={value}"))
            });
            let query = given.collect::<Vec<_>>().join("&");
            let (client, path) = (super::client(global)?, path(context)?);
            let path = format!("{path}/subscriptions?{query}");
            let done: api::EndedSubscriptions =
                during(out, "ending subscriptions", || client.end(&path))?;
            let subscriptions = match done.ended {
                1 => "1 subscription".to_owned(),
                count => format!("{count} subscriptions"),
            };
            out.done(
                &format!("ended {subscriptions} of {context}"),
                || json!({ "ended": done.ended }),
            )
        }
        ContextCommand::Export { context, to } => {
            copies::export(context, to.as_deref(), global, out)
        }
        ContextCommand::Import(args) => copies::import(args, global, out),
        ContextCommand::Stats { context } => {
            let (client, path) = (super::client(global)?, path(context)?);
            let path = format!("{path}/statistics");
            let found: api::Statistics =
                during(out, "looking at the context", || client.get(&path))?;
            out.rows(&STATS_HEADINGS, found.methods.iter().map(stats_row), &found)
        }
        ContextCommand::Weight { context, weight } => {
            let (client, path) = (super::client(global)?, path(context)?);
            let change = api::ChangeContext {
                weight: (*weight).into(),
            };
            let changed: api::Context = during(out, "changing the context", || {
                client.change(&path, &change)
            })?;
            out.done(
                &format!("{context} has the weight {}", changed.weight),
                || &changed,
            )
        }
        ContextCommand::Delete { context } => {
            let (client, path) = (super::client(global)?, path(context)?);
            during(out, "deleting the context", || client.delete(&path))?;
            out.done(
                &format!("deleted {context}"),
                || json!({ "deleted": context }),
            )
        }
    }
}

const HEADINGS: [&str; 8] = [
    "id",
    "name",
    "application",
    "created",
    "version",
    "entries",
    "bytes",
    "weight",
];

const TIMER_HEADINGS: [&str; 6] = ["name", "runs", "every", "handler", "attempts", "args"];

fn timer_row(timer: &api::Timer) -> Vec<String> {
    let every = timer.every_ms.map(Duration::from_millis);
    vec![
        timer.name.clone(),
        date(timer.at_unix_ms),
        every.map_or(String::new(), |every| format!("{every:?}")),
        timer.handler.clone(),
        timer.attempts.to_string(),
        timer.args.get().to_owned(),
    ]
}

const SENT_HEADINGS: [&str; 6] = ["to", "method", "sent", "callback", "attempts", "args"];

fn sent_row(call: &api::SentCall) -> Vec<String> {
    vec![
        call.to.clone(),
        call.method.clone(),
        date(call.sent_unix_ms),
        call.callback.clone().unwrap_or_default(),
        call.attempts.to_string(),
        call.args.get().to_owned(),
    ]
}

const SUBSCRIPTION_HEADINGS: [&str; 5] = ["context", "handler", "kind", "after", "attempts"];

fn subscription_row(subscription: &api::Subscription) -> Vec<String> {
    vec![
        subscription.context.clone(),
        subscription.handler.clone(),
        subscription.kind.clone().unwrap_or_default(),
        subscription
            .after
            .map_or(String::new(), |after| after.to_string()),
        subscription.attempts.to_string(),
    ]
}

const STATS_HEADINGS: [&str; 10] = [
    "method",
    "calls",
    "failed",
    "fuel/call",
    "most",
    "in",
    "out",
    "p50",
    "p99",
    "waited",
];

fn stats_row(row: &api::MethodStatistics) -> Vec<String> {
    let figures = &row.figures;
    let per_call = figures.fuel.checked_div(figures.calls).unwrap_or(0);
    let waited = percent(figures.waited_us, figures.time_us);
    let time = |micros: Option<u64>| micros.map_or(String::new(), short::time);
    vec![
        row.method.clone(),
        short::count(figures.calls),
        short::count(figures.failures.all()),
        short::count(per_call),
        short::count(figures.fuel_max),
        short::bytes(figures.bytes_in),
        short::bytes(figures.bytes_out),
        time(figures.p50_us),
        time(figures.p99_us),
        waited,
    ]
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "0%".to_owned(),
        // For people.
        _ => format!("{:.0}%", part as f64 / whole as f64 * 100.0),
    }
}

/// What applications are called, for people; scripts get the ids as they are.
struct Applications(Vec<api::Application>);

impl Applications {
    fn shown(client: &Client, out: &Out) -> Result<Applications, Failure> {
        if out.is_json() {
            return Ok(Applications(Vec::new()));
        }
        let list: api::Applications = during(out, "looking up applications", || {
            client.get("/v1/applications")
        })?;
        Ok(Applications(list.applications))
    }

    /// Name and version; the id, if it has just been removed.
    fn called(&self, id: &str) -> String {
        let found = self.0.iter().find(|application| application.id == id);
        found.map_or(id.to_owned(), |found| {
            format!("{} {}", found.name, found.version)
        })
    }
}

fn row(context: &api::Context, applications: &Applications) -> Vec<String> {
    vec![
        context.id.clone(),
        context.name.clone().unwrap_or_default(),
        applications.called(&context.application),
        date(context.created_unix_ms),
        context.version.to_string(),
        context.entries.to_string(),
        context.bytes.to_string(),
        context.weight.to_string(),
    ]
}

pub(super) fn path(context: &str) -> Result<String, Failure> {
    Ok(format!("/v1/contexts/{}", path_part(context)?))
}

/// Ids and names stand in a path as they are; anything else is a mistake.
pub(super) fn path_part(text: &str) -> Result<&str, Failure> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    // In a path they are other places.
    let is_elsewhere = matches!(text, "" | "." | "..");
    if plain && !is_elsewhere {
        Ok(text)
    } else {
        Err(Failure::new(
            Exit::Usage,
            format!("{text:?} cannot be an id or a name: those have letters, digits, - _ . and :"),
        ))
    }
}
