//! `corelet context`: create, list, show, delete.

use serde_json::json;

use super::args::{ContextCommand, Global};
use super::call::json_argument;
use super::failure::{Exit, Failure};
use super::output::{Out, date};
use super::progress::Progress;
use crate::api;

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
            let waiting = Progress::begin(out, "creating the context", None);
            let created = client.post::<api::Context>("/v1/contexts", &wanted);
            drop(waiting);
            let created = created?;
            out.text(&created.id, || &created)
        }
        ContextCommand::List { after, limit } => {
            let mut path = format!("/v1/contexts?limit={limit}");
            if let Some(after) = after {
                path.push_str("&after=");
                path.push_str(path_part(after)?);
            }
            let page: api::Contexts = super::client(global)?.get(&path)?;
            out.rows(&HEADINGS, page.contexts.iter().map(row), &page)?;
            if let Some(next) = &page.next {
                out.say(&format!("there are more: --after {next}"));
            }
            Ok(())
        }
        ContextCommand::Show { context } => {
            let shown: api::Context = super::client(global)?.get(&path(context)?)?;
            out.rows(&HEADINGS, [row(&shown)], &shown)
        }
        ContextCommand::Delete { context } => {
            super::client(global)?.delete(&path(context)?)?;
            out.done(
                &format!("deleted {context}"),
                || json!({ "deleted": context }),
            )
        }
    }
}

const HEADINGS: [&str; 7] = [
    "id",
    "name",
    "application",
    "created",
    "version",
    "entries",
    "bytes",
];

fn row(context: &api::Context) -> Vec<String> {
    vec![
        context.id.clone(),
        context.name.clone().unwrap_or_default(),
        context.application.clone(),
        date(context.created_unix_ms),
        context.version.to_string(),
        context.entries.to_string(),
        context.bytes.to_string(),
    ]
}

fn path(context: &str) -> Result<String, Failure> {
    Ok(format!("/v1/contexts/{}", path_part(context)?))
}

/// Ids and names stand in a path as they are; anything else is a mistake.
pub(super) fn path_part(text: &str) -> Result<&str, Failure> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    let dots = text.bytes().all(|byte| byte == b'.');
    if plain && !dots {
        Ok(text)
    } else {
        Err(Failure::new(
            Exit::Usage,
            format!("{text:?} cannot be an id or a name: those have letters, digits, - _ . and :"),
        ))
    }
}
