//! The process that opens a damaged ledger and says what it finds. It is
//! `torture serve`, asked again and again; where it dies or hangs, that is what
//! was found, and the next one takes its place.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Longer than any check takes, on a busy machine too.
const ANSWER_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Everything is there.
    Right,
    /// An error says that something is damaged.
    Reported(String),
    /// None does, and something is not as it was written.
    Wrong(String),
    /// The process has ended, with this.
    Died(String),
    Hangs,
}

pub(crate) struct Checker {
    running: Option<Running>,
}

struct Running {
    child: Child,
    answers: Receiver<String>,
    errors: tempfile::NamedTempFile,
}

pub(crate) fn torture() -> PathBuf {
    example("torture")
}

pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let program = built.join("examples").join(name);
    let shown = program.display();
    assert!(
        program.exists(),
        "{shown} is missing: build the examples, too"
    );
    program
}

impl Checker {
    pub(crate) fn new() -> Checker {
        Checker { running: None }
    }

    /// Asks about `dir`, of which writers have said `said`: lines with an end each.
    pub(crate) fn ask(&mut self, what: &str, dir: &Path, said: &str) -> Answer {
        let running = self.running.get_or_insert_with(Running::start);
        let request = format!("{what} {}\n{said}.\n", dir.display());
        let stdin = running.child.stdin.as_mut().expect("it is a pipe");
        // Where that fails the process has died, as is found below.
        let _ = stdin.write_all(request.as_bytes());
        let answer = match running.answers.recv_timeout(ANSWER_MAX) {
            Ok(line) => match line.split_once(':') {
                Some(("right", _)) => return Answer::Right,
                Some(("reported", what)) => return Answer::Reported(what.trim().to_owned()),
                Some(("wrong", what)) => return Answer::Wrong(what.trim().to_owned()),
                _ => panic!("what is {line:?}?"),
            },
            Err(RecvTimeoutError::Timeout) => {
                running.child.kill().unwrap();
                Answer::Hangs
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = running.child.wait().unwrap();
                let errors = std::fs::read_to_string(running.errors.path()).unwrap();
                Answer::Died(format!("{status}: {}", errors.trim()))
            }
        };
        self.running = None;
        answer
    }
}

impl Running {
    fn start() -> Running {
        let errors = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(torture())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (sender, answers) = sync_channel(1);
        let listen = move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("listener".to_owned());
        thread.spawn(listen).unwrap();
        Running {
            child,
            answers,
            errors,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
