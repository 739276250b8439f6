//! `corelet app`: build, install, list, show, set, remove, and a new one to begin with. How one
//! is installed is in `install.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use corelet_build::{Request, SdkSource, Toolchain, build, new_project};
use serde_json::{Value, json};

use super::args::Global;
use super::args::app::AppCommand;
use super::context::path_part;
use super::failure::{Exit, Failure};
use super::install::install;
use super::output::{Out, date};
use super::progress::during;
use crate::api;

pub(super) fn run(command: &AppCommand, global: &Global, out: &Out) -> Result<(), Failure> {
    match command {
        AppCommand::Install { file, reuse } => {
            let client = super::client(global)?;
            let installed = install(&client, file, reuse.as_deref(), out)?;
            out.detail(&format!(
                "{} {} ({} bytes)",
                installed.name, installed.version, installed.size_bytes
            ));
            out.text(&installed.id, || &installed)
        }
        AppCommand::List => {
            let client = super::client(global)?;
            let list: api::Applications = during(out, "listing the applications", || {
                client.get("/v1/applications")
            })?;
            let row = |app: &api::Application| {
                vec![
                    app.id.clone(),
                    app.name.clone(),
                    app.version.clone(),
                    app.size_bytes.to_string(),
                    app.reuse.clone(),
                    date(app.installed_unix_ms),
                ]
            };
            out.rows(
                &["id", "name", "version", "bytes", "reuse", "installed"],
                list.applications.iter().map(row),
                &list,
            )
        }
        AppCommand::Show { app } => {
            let (client, path) = (super::client(global)?, path(app)?);
            let shown = during(out, "looking at the application", || client.get(&path))?;
            show(&shown, out)
        }
        AppCommand::Set { app, reuse } => {
            let (client, path) = (super::client(global)?, path(app)?);
            let change = api::ChangeApplication {
                reuse: reuse.clone(),
            };
            let changed: api::Application = during(out, "changing the application", || {
                client.change(&path, &change)
            })?;
            out.done(&format!("{app}: reuse is {}", changed.reuse), || &changed)
        }
        AppCommand::Uploads { end: None } => {
            let client = super::client(global)?;
            let list = during(out, "listing the uploads", || client.uploads())?;
            let columns = ["id", "application", "came", "of", "last", "state"];
            out.rows(&columns, list.uploads.iter().map(upload_row), &list)
        }
        AppCommand::Uploads { end: Some(id) } => {
            let client = super::client(global)?;
            let path = format!("/v1/uploads/{}", path_part(id)?);
            during(out, "ending the upload", || client.delete(&path))?;
            out.done(&format!("ended {id}"), || json!({ "ended": id }))
        }
        AppCommand::Remove { app } => {
            let (client, path) = (super::client(global)?, path(app)?);
            during(out, "removing the application", || client.delete(&path))?;
            out.done(&format!("removed {app}"), || json!({ "removed": app }))
        }
        AppCommand::Build { dir, to } => {
            let built = build_component(dir, to.as_deref(), global.quiet)?;
            out.text(&built.display().to_string(), || json!({ "file": built }))
        }
        AppCommand::New { name, sdk } => {
            let sdk = sdk.clone().map_or_else(SdkSource::nearest, SdkSource::Path);
            let dir = PathBuf::from(name);
            new_project(&dir, name, &sdk).map_err(|error| Failure::failed(&error))?;
            let told = format!("made {name}/; run it with: corelet dev {name}");
            out.done(&told, || json!({ "made": dir }))
        }
    }
}

/// Builds a crate and puts the component where it was asked for.
pub(crate) fn build_component(
    dir: &Path,
    to: Option<&Path>,
    quiet: bool,
) -> Result<PathBuf, Failure> {
    let toolchain = Toolchain::find().map_err(|error| Failure::failed(&error))?;
    let request = Request {
        quiet,
        ..Request::new(dir)
    };
    let built = build(&request, &toolchain).map_err(|error| Failure::failed(&error))?;
    match to {
        None => Ok(built.path),
        Some(to) => {
            fs::copy(&built.path, to).map_err(|error| {
                Failure::new(Exit::Failed, format!("writing {}: {error}", to.display()))
            })?;
            Ok(to.to_owned())
        }
    }
}

fn upload_row(upload: &api::Upload) -> Vec<String> {
    let state = match upload.unreadable {
        Some(_) => "unreadable",
        None if upload.size == Some(upload.offset) => "whole",
        None => "coming",
    };
    vec![
        upload.id.clone(),
        upload.application.clone().unwrap_or_default(),
        upload.offset.to_string(),
        upload
            .size
            .map_or_else(String::new, |size| size.to_string()),
        date(upload.used_unix_ms),
        state.to_owned(),
    ]
}

fn show(app: &api::Application, out: &Out) -> Result<(), Failure> {
    if !out.is_json() {
        out.say(&format!(
            "{} {}, id {}, {} bytes, reuse {}",
            app.name, app.version, app.id, app.size_bytes, app.reuse
        ));
    }
    let empty = Vec::new();
    let member = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let methods = app
        .description
        .as_ref()
        .and_then(|all| all.get("methods"))
        .and_then(Value::as_array);
    let rows = methods.unwrap_or(&empty).iter().map(|method| {
        let parameters = method
            .get("parameters")
            .and_then(Value::as_array)
            .unwrap_or(&empty);
        let parameters: Vec<String> = parameters
            .iter()
            .map(|parameter| {
                format!(
                    "{}: {}",
                    member(parameter, "name"),
                    member(parameter, "type_name")
                )
            })
            .collect();
        let doc = member(method, "doc")
            .lines()
            .next()
            .unwrap_or("")
            .to_owned();
        vec![
            member(method, "name"),
            member(method, "kind"),
            parameters.join(", "),
            member(method, "returns"),
            doc,
        ]
    });
    out.rows(
        &["method", "kind", "parameters", "returns", "what it does"],
        rows,
        app,
    )
}

fn path(app: &str) -> Result<String, Failure> {
    Ok(format!("/v1/applications/{}", path_part(app)?))
}
