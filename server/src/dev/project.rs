//! One application that `corelet dev` brings: a component, or a crate that is
//! built to one. It is installed, and finds or gets a context named after it.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::example;
use super::example::Description;
use crate::api::{Application, Context, CreateContext};
use crate::cli::{Exit, Failure, Out, build_component, install};
use crate::client::{Client, ClientError};

/// How many versions of one application get a context before it is time to tidy up.
const CONTEXTS_MAX: usize = 1000;
/// A context's name has at most 64 characters; the rest is for `-1000`.
const NAME_CHARS_MAX: usize = 56;

/// Where an application comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Project {
    /// A finished component.
    Component(PathBuf),
    /// The directory of a crate.
    Crate(PathBuf),
}

/// An application that is installed, and a context to try it in.
#[derive(Debug)]
pub(super) struct Demo {
    pub(super) application: Application,
    pub(super) description: Description,
    pub(super) context: Context,
    pub(super) how: How,
}

/// How a demo came by its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// It was made now.
    New,
    /// It was there, with this very version.
    Found,
    /// It was made now, because the one before runs another version.
    Beside {
        /// The name of the one before.
        older: String,
    },
}

impl Project {
    /// What is at `path`, if it can be brought.
    pub(crate) fn at(path: &Path) -> Result<Project, Failure> {
        if path.is_file() {
            Ok(Project::Component(path.to_owned()))
        } else if path.join("Cargo.toml").is_file() {
            Ok(Project::Crate(path.to_owned()))
        } else if path.is_dir() {
            let message = format!(
                "{} is not the directory of a crate: it has no Cargo.toml",
                path.display()
            );
            Err(Failure::new(Exit::Usage, message).advise("`corelet app new NAME` makes one"))
        } else {
            let message = format!("there is no {}", path.display());
            Err(Failure::new(Exit::Usage, message)
                .advise("PATH is a component (a .wasm file) or a crate's directory"))
        }
    }

    pub(super) fn is_crate(&self) -> bool {
        matches!(self, Project::Crate(_))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Project::Component(path) | Project::Crate(path) => path,
        }
    }

    /// Builds, installs, and finds or makes the context.
    pub(super) fn bring(&self, client: &Client, out: &Out) -> Result<Demo, Failure> {
        let component = match self {
            Project::Component(path) => path.clone(),
            Project::Crate(dir) => build_component(dir, None, !out.is_watched())?,
        };
        let application = install(client, &component, None, out)?;
        let description = Description::of(&application);
        let (context, how) = context_of(client, &application, &description)?;
        Ok(Demo {
            application,
            description,
            context,
            how,
        })
    }
}

impl Demo {
    /// The name to call the context by.
    pub(super) fn context_name(&self) -> &str {
        self.context.name.as_deref().unwrap_or(&self.context.id)
    }

    /// For scripts.
    pub(super) fn document(&self) -> Value {
        json!({
            "application": self.application.id,
            "name": self.application.name,
            "version": self.application.version,
            "context": self.context.id,
            "context_name": self.context.name,
            "made": self.how != How::Found,
        })
    }
}

/// The context named after the application, or, if that one runs another
/// version, the first of `NAME-2`, `NAME-3` … that is free or runs this one.
fn context_of(
    client: &Client,
    application: &Application,
    description: &Description,
) -> Result<(Context, How), Failure> {
    let base = context_name(&application.name);
    let args = example::arguments(&description.init_parameters)
        .and_then(|args| RawValue::from_string(args).ok());
    let mut older = None;
    for number in 1..=CONTEXTS_MAX {
        let name = if number == 1 {
            base.clone()
        } else {
            format!("{base}-{number}")
        };
        let wanted = CreateContext {
            application: application.id.clone(),
            name: Some(name.clone()),
            args: args.clone(),
        };
        match client.post::<Context>("/v1/contexts", &wanted) {
            Ok(context) => {
                let how = older.map_or(How::New, |older| How::Beside { older });
                return Ok((context, how));
            }
            Err(ClientError::Refused { name: reason, .. }) if reason == "conflict" => {
                let there = client.get::<Context>(&format!("/v1/contexts/{name}"))?;
                if there.application == application.id {
                    return Ok((there, How::Found));
                }
                older = Some(name);
            }
            Err(error) => return Err(without_context(error, &name, application)),
        }
    }
    let message = format!("{CONTEXTS_MAX} contexts of other versions of {base} are there already");
    Err(Failure::new(Exit::Failed, message)
        .advise("`corelet context delete` removes those that are not needed"))
}

fn without_context(error: ClientError, name: &str, application: &Application) -> Failure {
    let wants_arguments = matches!(
        &error,
        ClientError::Refused { name, .. } if ["application_error", "invalid_params", "trapped"].contains(&&**name)
    );
    let failure = Failure::from(error);
    if !wants_arguments {
        return failure;
    }
    failure.advise(format!(
        "its init wants other arguments: corelet context create {} --name {name} --args JSON",
        application.name
    ))
}

/// The application's name in the letters that a context's name may have.
fn context_name(application: &str) -> String {
    let fits = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    application
        .chars()
        .take(NAME_CHARS_MAX)
        .map(|char| if fits(char) { char } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_component_or_a_crate() {
        let dir = tempfile::tempdir().unwrap();
        let component = dir.path().join("kv.wasm");
        std::fs::write(&component, "").unwrap();
        assert_eq!(
            Project::at(&component).unwrap(),
            Project::Component(component)
        );
        assert_eq!(Project::at(dir.path()).unwrap_err().exit, Exit::Usage);
        std::fs::write(dir.path().join("Cargo.toml"), "").unwrap();
        assert!(Project::at(dir.path()).unwrap().is_crate());
        let missing = Project::at(&dir.path().join("x")).unwrap_err();
        assert!(missing.text.starts_with("there is no "), "{}", missing.text);
    }

    #[test]
    fn contexts_are_named_in_their_own_letters() {
        assert_eq!(context_name("order-book_2.x"), "order-book_2.x");
        assert_eq!(context_name("größe:a b"), "gr--e-a-b");
        assert_eq!(context_name(&"x".repeat(100)).len(), NAME_CHARS_MAX);
    }
}
