//! `corelet dev`: a server in this process, and beside it a client that brings
//! applications to it like any user: installs them, makes a context of each to
//! try, says what to type, and builds again what has changed. Starting it again
//! finds everything as it was.
//!
//! Here is the order of things; `dev/project.rs` brings one application,
//! `dev/banner.rs` has the words, `dev/example.rs` makes up arguments,
//! `dev/watch.rs` notices changes. Nothing here runs on a shard thread.

mod banner;
mod example;
mod project;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use crate::auth::{TOKEN_FILE, Token};
use crate::cli::{Exit, Failure, Out, program};
use crate::client::Client;
use crate::config::{Config, Effective};
use crate::run_file::RunFile;
use crate::serve::{Server, StopSignals};
use banner::Scene;
pub(crate) use project::Project;
use project::{Demo, How};
use watch::Watch;

/// Serves until Ctrl-C or SIGTERM, with these applications.
pub(crate) fn run(
    config: Config,
    effective: &Effective,
    data_dir: &Path,
    projects: Vec<Project>,
    out: &Out,
) -> Result<(), Failure> {
    let signals = StopSignals::new()?;
    let server = Server::start(config, effective, data_dir)?;
    let url = RunFile::of_this_process(server.facts.address).url;
    let token = Token::load(&data_dir.join("keys").join(TOKEN_FILE))?;
    let stopping = Arc::new(AtomicBool::new(false));
    // On a thread of its own, so that Ctrl-C ends the server in good order
    // while something compiles. It ends with the process.
    let companion = Companion {
        client: Client::new(url, token),
        data_dir: data_dir.to_owned(),
        projects,
        out: *out,
        stopping: Arc::clone(&stopping),
    };
    let started = thread::Builder::new()
        .name("dev".to_owned())
        .spawn(move || companion.run());
    if let Err(error) = started {
        server.stop()?;
        return Err(Failure::new(
            Exit::Failed,
            format!("starting a thread: {error}"),
        ));
    }
    signals.wait();
    stopping.store(true, Ordering::Relaxed);
    out.say("stopping");
    Ok(server.stop()?)
}

/// The client beside the server.
struct Companion {
    client: Client,
    data_dir: PathBuf,
    projects: Vec<Project>,
    out: Out,
    stopping: Arc<AtomicBool>,
}

impl Companion {
    fn run(self) {
        let brought = self.projects.iter().map(|project| self.bring(project));
        let demos: Vec<Demo> = brought.flatten().collect();
        if self.stopping.load(Ordering::Relaxed) {
            return;
        }
        self.welcome(&demos);
        self.rebuild_on_change();
    }

    /// Brings one application; a failure is told and does not end the server.
    fn bring(&self, project: &Project) -> Option<Demo> {
        match project.bring(&self.client, &self.out) {
            Ok(demo) => Some(demo),
            // A server that stops refuses; that is no news.
            Err(_) if self.stopping.load(Ordering::Relaxed) => None,
            Err(failure) => {
                self.out.failure(&failure);
                let path = project.path().display();
                self.out.say(&format!("the server runs on without {path}"));
                None
            }
        }
    }

    fn welcome(&self, demos: &[Demo]) {
        let scene = Scene {
            program: &program(),
            url: self.client.url(),
            data_dir: &self.data_dir,
            demos,
        };
        self.out.say(&banner::text(&scene));
        if !self.out.is_json() {
            return;
        }
        let applications: Vec<_> = demos.iter().map(Demo::document).collect();
        let token_file = self.data_dir.join("keys").join(TOKEN_FILE);
        let document = json!({
            "url": self.client.url(),
            // JSON has no way to say what is not UTF-8.
            "data_dir": self.data_dir.to_string_lossy(),
            "token_file": token_file.to_string_lossy(),
            "applications": applications,
        });
        if let Err(failure) = self.out.document(&document) {
            self.out.failure(&failure);
        }
    }

    fn rebuild_on_change(&self) {
        let crates = self.projects.iter().filter(|project| project.is_crate());
        let crates: Vec<&Project> = crates.collect();
        if crates.is_empty() {
            return;
        }
        let dirs: Vec<&Path> = crates.iter().map(|project| project.path()).collect();
        let mut watch = match Watch::begin(&dirs) {
            Ok(watch) => watch,
            Err(error) => {
                self.out
                    .say(&format!("changes will not be noticed: {error}"));
                return;
            }
        };
        while let Some(changed) = watch.next() {
            for project in changed.into_iter().filter_map(|index| crates.get(index)) {
                let path = project.path().display();
                self.out
                    .say(&format!("{path} has changed: building it again"));
                if let Some(demo) = self.bring(project) {
                    self.out.say(&changed_text(&demo));
                }
            }
        }
    }
}

fn changed_text(demo: &Demo) -> String {
    let (name, context) = (&demo.application.name, demo.context_name());
    match &demo.how {
        How::Found => format!("{name} is the same as before; its context is {context}"),
        How::New => format!("{name} is installed; its context is {context}"),
        How::Beside { older } => format!(
            "{name} is installed anew; the context {older} stays with the old version, the context {context} runs the new one"
        ),
    }
}
