//! The binary as the tests start it: a server, and commands that are to work or to fail.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The binary, without whatever the environment of the tests says about servers.
pub(crate) fn corelet(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corelet"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CORELET_") {
            command.env_remove(name);
        }
    }
    command
        .env("CORELET_DATA_DIR", data_dir)
        .stdin(Stdio::null());
    command
}

/// The key-value application.
pub(crate) fn kv() -> PathBuf {
    corelet_tests::component_path("kv")
}

/// A server of `corelet dev` that has said it is ready.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// What it printed when it was.
    pub(crate) ready: Value,
}

impl Server {
    pub(crate) fn start(data_dir: &Path, paths: &[&Path]) -> Server {
        let mut command = corelet(data_dir);
        command.args([
            "dev",
            "-o",
            "json",
            "--listen",
            "127.0.0.1:0",
            "--shards",
            "2",
        ]);
        command.args(paths).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        lines
            .read_line(&mut line)
            .expect("it says that it is ready");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Server { child, ready }
    }

    /// As a person would: Ctrl-C. The exit code.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn run(data_dir: &Path, args: &[&str]) -> Output {
    corelet(data_dir)
        .args(args)
        .output()
        .expect("the binary starts")
}

/// The standard output of a command that works.
#[track_caller]
pub(crate) fn ok(data_dir: &Path, args: &[&str]) -> String {
    let output = run(data_dir, args);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {talk}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one JSON document that a command prints.
#[track_caller]
pub(crate) fn document(data_dir: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let text = ok(data_dir, &args);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {text}: {error}"))
}

/// A command that fails with this code, prints no data, and says this.
#[track_caller]
pub(crate) fn fails(data_dir: &Path, args: &[&str], code: i32, says: &str) {
    let output = run(data_dir, args);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {talk}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(talk.contains(says), "{args:?}: {talk}");
}
