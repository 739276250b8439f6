//! How a command failed, and the exit code that says so.

use std::process::ExitCode;

use serde_json::{Value, json};

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
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Failure {
        let text = text.into();
        Failure {
            exit,
            document: json!({ "message": text }),
            text,
        }
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
        Failure::usage(&error)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        Failure::failed(&error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        Failure::failed(&error)
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
            ClientError::NoToken { .. } | ClientError::BadToken | ClientError::BadUrl { .. } => {
                Failure::new(Exit::Usage, text)
            }
            ClientError::RunFile { .. } | ClientError::Token(_) | ClientError::Strange { .. } => {
                Failure::new(Exit::Failed, text)
            }
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
                Failure {
                    exit,
                    text: format!("{text} ({name})"),
                    document,
                }
            }
        }
    }
}
