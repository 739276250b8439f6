//! `corelet context upgrade`: one context gets another application, or all of an application's do.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::args::Global;
use super::context::{path, path_part};
use super::failure::{Exit, Failure};
use super::output::Out;
use super::progress::{Progress, during};
use crate::api;
use crate::client::{Client, ClientError};

/// Contexts that are asked for at once.
const PAGE: usize = 1000;

/// How often all contexts are gone through: some may be created while others are upgraded.
const PASSES_MAX: usize = 10;

/// How often one is tried that is refused for want of something, and how long it is waited before
/// the second try; before each further one twice as long.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(250);

/// Contexts that could not be upgraded of which it is told why; those behind them are counted.
const FAILED_SHOWN_MAX: usize = 10_000;

pub(super) fn run(
    context: Option<&str>,
    all_of: Option<&str>,
    to: &api::UpgradeContext,
    global: &Global,
    out: &Out,
) -> Result<(), Failure> {
    let client = super::client(global)?;
    match (context, all_of) {
        (Some(context), _) => one(&client, context, to, out),
        (None, Some(from)) => all(&client, from, to, out),
        (None, None) => Err(Failure::new(
            Exit::Usage,
            "name a context, or an application with --all-of",
        )),
    }
}

fn one(client: &Client, context: &str, to: &api::UpgradeContext, out: &Out) -> Result<(), Failure> {
    let path = path(context)?;
    let upgraded = during(out, "upgrading the context", || upgrade(client, &path, to))?;
    let api::Upgraded {
        context: now,
        before,
        schema_version_before,
        schema_version,
    } = &upgraded;
    let to = &to.application;
    let told = if *before == now.application {
        format!("{context} runs {to} already")
    } else if schema_version_before == schema_version {
        format!("{context} runs {to} from now on")
    } else {
        format!(
            "{context} runs {to} from now on; its state was brought from schema version {schema_version_before} into {schema_version}"
        )
    };
    out.done(&told, || &upgraded)
}

fn upgrade(
    client: &Client,
    path: &str,
    to: &api::UpgradeContext,
) -> Result<api::Upgraded, ClientError> {
    client.post(&format!("{path}/upgrade"), to)
}

/// What became of all contexts of an application.
#[derive(Default, Serialize)]
struct Done {
    upgraded: u64,
    /// The first of those that were not.
    failed: Vec<Failed>,
    failed_count: u64,
    /// Contexts out of service of which nobody can tell what they run.
    unreadable: u64,
    /// All that are not tried again.
    #[serde(skip)]
    given_up: HashSet<String>,
}

/// A context that was not upgraded.
#[derive(Serialize)]
struct Failed {
    context: String,
    name: Option<String>,
    /// As the server has said it.
    error: Value,
    #[serde(skip)]
    message: String,
}

fn all(client: &Client, from: &str, to: &api::UpgradeContext, out: &Out) -> Result<(), Failure> {
    let find = |wanted: &str| -> Result<api::Application, Failure> {
        let path = format!("/v1/applications/{}", path_part(wanted)?);
        Ok(client.get(&path)?)
    };
    let (from, application) = (find(from)?, find(&to.application)?);
    if from.id == application.id {
        let message = format!(
            "both stand for the application {}: name the earlier one by its id, which `corelet app list` shows",
            from.id
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    // Whatever is installed meanwhile.
    let to = api::UpgradeContext {
        application: application.id.clone(),
        ..to.clone()
    };
    let mut done = Done::default();
    let shown = Progress::begin(out, "upgrading contexts", None);
    let mut went = Ok(true);
    for _ in 0..PASSES_MAX {
        went = pass(client, &from.id, &to, &mut done, &shown);
        if !matches!(went, Ok(true)) {
            break;
        }
    }
    drop(shown);
    let headings = ["context", "name", "not upgraded as"];
    if out.is_json() || !done.failed.is_empty() {
        let row = |failed: &Failed| {
            let name = failed.name.clone().unwrap_or_default();
            vec![failed.context.clone(), name, failed.message.clone()]
        };
        out.rows(&headings, done.failed.iter().map(row), &done)?;
    }
    if done.unreadable > 0 {
        let unreadable = done.unreadable;
        out.say(&format!(
            "{unreadable} out of service, of which nobody can tell what they run: `corelet context list` shows them"
        ));
    }
    let (name, version) = (&application.name, &application.version);
    let told = match done.upgraded {
        0 => format!("no more contexts run {name} {version} than before"),
        1 => format!("1 context runs {name} {version} from now on"),
        count => format!("{count} contexts run {name} {version} from now on"),
    };
    let is_all = match went {
        Ok(is_more) => !is_more,
        Err(failure) => {
            out.say(&told);
            return Err(failure);
        }
    };
    match (done.failed_count, is_all) {
        (0, true) => {
            out.say(&told);
            Ok(())
        }
        (0, false) => Err(Failure::new(
            Exit::Failed,
            format!("{told}, but others of {} are created all the time", from.id),
        )),
        (failed, _) => Err(Failure::new(
            Exit::Failed,
            format!("{told}, but {failed} could not be upgraded"),
        )),
    }
}

/// Goes once through all contexts; tells whether there was one to upgrade. Fails when the server
/// does not answer any more.
fn pass(
    client: &Client,
    from: &str,
    to: &api::UpgradeContext,
    done: &mut Done,
    shown: &Progress,
) -> Result<bool, Failure> {
    let (mut after, mut found) = (String::new(), false);
    let mut unreadable = 0;
    loop {
        let page: api::Contexts = client.get(&format!("/v1/contexts?limit={PAGE}{after}"))?;
        for context in &page.contexts {
            let is_known = context.created_unix_ms > 0;
            unreadable += u64::from(context.out_of_service.is_some() && !is_known);
            if context.application != from || done.given_up.contains(&context.id) {
                continue;
            }
            found = true;
            match upgrade_in_time(client, &path(&context.id)?, to) {
                Ok(_) => done.upgraded += 1,
                Err(ClientError::Refused {
                    message, document, ..
                }) => {
                    done.given_up.insert(context.id.clone());
                    done.failed_count += 1;
                    if done.failed.len() < FAILED_SHOWN_MAX {
                        done.failed.push(Failed {
                            context: context.id.clone(),
                            name: context.name.clone(),
                            error: document,
                            message,
                        });
                    }
                }
                Err(error) => return Err(error.into()),
            }
            let (upgraded, failed) = (done.upgraded, done.failed_count);
            shown.say(format!(
                "upgrading contexts: {upgraded} upgraded, {failed} not"
            ));
        }
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    done.unreadable = unreadable;
    Ok(found)
}

/// The same as [`upgrade`], again and again while others use what there is of something.
fn upgrade_in_time(
    client: &Client,
    path: &str,
    to: &api::UpgradeContext,
) -> Result<api::Upgraded, ClientError> {
    let mut pause = PAUSE;
    for _ in 1..TRIES_MAX {
        match upgrade(client, path, to) {
            Err(ClientError::Refused { passing: true, .. }) => super::pause(pause),
            end => return end,
        }
        pause *= 2;
    }
    upgrade(client, path, to)
}
