//! How a command failed, and the exit code that says so.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::beside;
use super::output::{pretty, size};
use crate::auth::TokenError;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::refusal::chain;
use crate::serve::ServeError;

/// The exit codes, as `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Worked = 0,
    Failed = 1,
    Usage = 2,
    Unavailable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A command that did not work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// For people.
    pub(crate) text: String,
    /// For scripts.
    pub(crate) document: Value,
    /// Whether the command line was at fault, so that `--help` helps.
    pub(crate) see_help: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Failure {
        let text = text.into();
        Failure {
            exit,
            document: json!({ "message": text }),
            text,
            see_help: exit == Exit::Usage,
        }
    }

    /// Adds what to do.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Failure {
        let advice = advice.into();
        self.text = format!("{}\n  {advice}", self.text);
        self.document["advice"] = advice.into();
        self
    }

    pub(crate) fn failed(error: &dyn std::error::Error) -> Failure {
        Failure::new(Exit::Failed, chain(error))
    }

    pub(crate) fn usage(error: &dyn std::error::Error) -> Failure {
        Failure::new(Exit::Usage, chain(error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure {
            see_help: false,
            ..Failure::usage(&error)
        }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        Failure::failed(&error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        let failure = Failure::failed(&error);
        match beside::command(&error) {
            Some(command) => failure.advise(format!("a second server beside it: {command}")),
            None => failure,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::failed(&error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let text = chain(&error);
        match error {
            ClientError::NoServer { .. }
            | ClientError::ServerGone { .. }
            | ClientError::Unreachable { .. } => Failure::new(Exit::Unavailable, text),
            // They say by themselves what to give.
            ClientError::NoToken { .. }
            | ClientError::ForeignServer { .. }
            | ClientError::BadToken
            | ClientError::BadUrl { .. } => Failure {
                see_help: false,
                ..Failure::new(Exit::Usage, text)
            },
            ClientError::RunFile { .. }
            | ClientError::NotPrivate { .. }
            | ClientError::Token(_)
            | ClientError::Unreadable { .. }
            | ClientError::Strange { .. } => Failure::new(Exit::Failed, text),
            ClientError::Refused {
                name,
                document,
                passing,
                ..
            } => {
                let exit = if passing {
                    Exit::Unavailable
                } else {
                    Exit::Failed
                };
                let mut text = format!("{text} ({name})");
                for fact in facts(&document, &text) {
                    text.push_str("\n  ");
                    text.push_str(&fact.replace('\n', "\n  "));
                }
                let failure = Failure {
                    exit,
                    text,
                    document,
                    see_help: false,
                };
                match advice(&name) {
                    Some(advice) => failure.advise(advice),
                    None => failure,
                }
            }
        }
    }
}

/// What a refusal tells beside its message: limits with their numbers in
/// units, and what the application said.
fn facts(document: &Value, text: &str) -> Vec<String> {
    // JSON-RPC keeps it in `data`, a problem document beside the rest.
    let data = document.get("data").unwrap_or(document);
    let mut lines = Vec::new();
    let number = |member: &str| data.get(member).and_then(Value::as_u64);
    if let (Some(Value::String(limit)), Some(max)) = (data.get("limit"), number("max")) {
        let amount = |number: u64| {
            if limit.contains("bytes") {
                size(number)
            } else {
                number.to_string()
            }
        };
        let used = number("used").or_else(|| number("got"));
        let used = used.map(|used| format!("; this was {}", amount(used)));
        let used = used.unwrap_or_default();
        lines.push(format!("{limit} is {}{used}", amount(max)));
    }
    for member in ["error", "trap", "reason"] {
        match data.get(member) {
            Some(Value::String(said)) if text.contains(said.as_str()) => {}
            Some(said) => lines.push(pretty(&said.to_string())),
            None => {}
        }
    }
    lines
}

/// What to do about a refusal, where something helps that its message does not say.
fn advice(name: &str) -> Option<&'static str> {
    Some(match name {
        "unauthenticated" => "give the token with --token-file or in CORELET_TOKEN",
        "unknown_context" => "`corelet context list` shows what is there",
        "unknown_application" => "`corelet app list` shows what is there",
        "unknown_blob" => "`corelet blob ls` shows what is there",
        "unknown_method" => "`corelet app show APP` lists the methods",
        "busy" | "unavailable" => "nothing has happened; try again in a moment",
        "out_of_fuel" | "out_of_memory" | "stack_overflow" | "limit_exceeded" | "trapped" => {
            "nothing that the call did has happened"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::{Code, Refusal};

    /// Both shapes that a refusal arrives in are shown alike.
    #[track_caller]
    fn check(refusal: &Refusal, exit: Exit, expected: &str) {
        let mut object = Vec::new();
        refusal.write_error_object(&mut object);
        for document in [object, refusal.problem()] {
            let failure = Failure::from(ClientError::Refused {
                code: refusal.code.entry().number.into(),
                name: refusal.code.entry().name.to_owned(),
                message: refusal.message.to_string(),
                document: serde_json::from_slice(&document).unwrap(),
                passing: matches!(refusal.code, Code::Busy | Code::Unavailable),
            });
            assert_eq!(failure.text, expected);
            assert_eq!(failure.exit, exit);
        }
    }

    #[test]
    fn limits_come_with_their_name_and_numbers() {
        check(
            &Refusal::limit(Code::TooLarge, "limits.args_bytes_max", 70_000, 65_536),
            Exit::Failed,
            "70000 exceeds limits.args_bytes_max = 65536 (too_large)\n  limits.args_bytes_max is 64 KiB; this was 68.4 KiB",
        );
        check(
            &Refusal::limit(Code::Busy, "shards.waiting_max", 10, 10),
            Exit::Unavailable,
            "10 exceeds shards.waiting_max = 10 (busy)\n  shards.waiting_max is 10; this was 10\n  nothing has happened; try again in a moment",
        );
    }

    #[test]
    fn what_the_application_said_is_shown_once() {
        check(
            &Refusal::new(
                Code::ApplicationError,
                "the application refused the call: no",
            )
            .with("error", "no"),
            Exit::Failed,
            "the application refused the call: no (application_error)",
        );
        check(
            &Refusal::new(Code::ApplicationError, "the application refused the call")
                .with("error", json!({ "code": "overflow" })),
            Exit::Failed,
            "the application refused the call (application_error)\n  {\n    \"code\": \"overflow\"\n  }",
        );
    }

    #[test]
    fn whoever_has_no_token_learns_where_to_give_it() {
        check(
            &Refusal::new(Code::Unauthenticated, "a token is required"),
            Exit::Failed,
            "a token is required (unauthenticated)\n  give the token with --token-file or in CORELET_TOKEN",
        );
    }
}
