//! `corelet config`: the settings in force, a check, and the reference pages.

use serde_json::{Map, json};

use super::args::Global;
use super::args::config::ConfigCommand;
use super::failure::Failure;
use super::output::Out;
use super::settings;
use crate::{config, refusal};

pub(super) fn run(command: &ConfigCommand, global: &Global, out: &Out) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show {
            origin,
            settings: args,
        } => {
            let (_, effective) = settings::load(args, global, "config")?;
            let mut document = Map::new();
            let mut rows = Vec::new();
            for (field, value, from) in effective.iter() {
                document.insert(
                    field.path.to_owned(),
                    json!({ "value": value, "origin": from.to_string() }),
                );
                let mut row = vec![field.path.to_owned(), value.to_owned()];
                if *origin {
                    row.push(from.to_string());
                }
                rows.push(row);
            }
            let headings: &[&str] = if *origin {
                &["setting", "value", "origin"]
            } else {
                &["setting", "value"]
            };
            out.rows(headings, rows, &document)
        }
        ConfigCommand::Check { settings: args } => {
            settings::load(args, global, "config")?;
            out.done("the configuration is good", || json!({ "good": true }))
        }
        ConfigCommand::Reference => out.raw(config::reference().as_bytes()),
        ConfigCommand::Errors => out.raw(refusal::reference().as_bytes()),
    }
}
