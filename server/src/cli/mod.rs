//! The commands: from a command line to an exit code. What the command line
//! looks like is in `args.rs`; each command has its own file.

pub mod args;

mod app;
mod beside;
mod blob;
mod call;
mod check;
mod config;
mod context;
mod copies;
mod doctor;
mod events;
mod failure;
mod install;
mod kept;
mod left_out;
mod lines;
mod logs;
mod output;
mod progress;
mod settings;
mod short;
mod status;
mod terminal;
mod top;
mod upgrade;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::auth::{TOKEN_FILE, Token};
use crate::client::{Client, Whereabouts};
use crate::{dev, log, serve};
pub(crate) use app::build_component;
use args::{Cli, Command, Global};
pub(crate) use failure::{Exit, Failure};
pub(crate) use install::install;
pub(crate) use output::{Out, plain, shell};

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::told(&error),
    };
    let out = Out::new(&cli.global);
    let outcome = dispatch(&cli, &out);
    let read = log::flush();
    match outcome {
        Ok(()) => Exit::Worked.into(),
        Err(failure) => {
            // Where nobody reads the log, nobody would read this: it would wait for ever.
            if read {
                out.failure(&failure);
            }
            failure.exit.into()
        }
    }
}

fn dispatch(cli: &Cli, out: &Out) -> Result<(), Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Serve(args) => {
            let (config, effective) = settings::load(&args.settings, global, "serve")?;
            log::start(&config.log)?;
            log::catch_panics();
            Ok(serve::serve(config, &effective, &global.data_dir)?)
        }
        Command::Dev(args) => {
            let (config, effective) = settings::load(&args.settings, global, "dev")?;
            // What cannot work is said before anything starts.
            let projects = args.paths.iter().map(|path| dev::Project::at(path));
            let projects = projects.collect::<Result<Vec<_>, _>>()?;
            log::start(&config.log)?;
            log::catch_panics();
            dev::run(config, &effective, &global.data_dir, projects, out)
        }
        Command::App(command) => app::run(command, global, out),
        Command::Context(command) => context::run(command, global, out),
        Command::Blob(command) => blob::run(command, global, out),
        Command::Call(args) => call::run(args, global, out),
        Command::Events(args) => events::run(args, global, out),
        Command::Logs(args) => logs::run(args, global, out),
        Command::Token { header } => token(*header, global, out),
        Command::Status => status::run(global, out),
        Command::Top(args) => top::run(args, global, out),
        Command::Config(command) => config::run(command, global, out),
        Command::Doctor(args) => doctor::run(args, global, out),
        Command::Check => check::run(global, out),
        Command::Backup(args) => copies::back_up(args, global, out),
        Command::Restore(args) => copies::restore_backup(args, global, out),
        Command::Reshard(args) => copies::change_shards(args, global, out),
        Command::CompileWorker => {
            corelet_wasm_host::compile_worker().map_err(|error| Failure::usage(&error))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "corelet", &mut script);
            out.raw(&script)
        }
    }
}

/// What to type for this program: as it was started, if that names a file.
pub(crate) fn program() -> String {
    let started_as = std::env::args_os().next();
    match started_as.and_then(|path| path.into_string().ok()) {
        Some(path) if path.contains('/') => path,
        _ => "corelet".to_owned(),
    }
}

/// The secret is data here: it was asked for.
fn token(as_header: bool, global: &Global, out: &Out) -> Result<(), Failure> {
    let token = Token::load(&global.data_dir.join("keys").join(TOKEN_FILE))?;
    let token = token.reveal();
    if as_header {
        let header = format!("Authorization: Bearer {token}");
        out.text(&header, || serde_json::json!({ "header": header }))
    } else {
        out.text(token, || serde_json::json!({ "token": token }))
    }
}

/// The server that the flags and the environment name.
fn client(global: &Global) -> Result<Client, Failure> {
    let token = std::env::var("CORELET_TOKEN")
        .ok()
        .filter(|token| !token.is_empty());
    let whereabouts = Whereabouts {
        data_dir: global.data_dir.clone(),
        url: global.url.clone(),
        token_file: global.token_file.clone(),
        token,
    };
    Ok(Client::find(&whereabouts)?)
}
