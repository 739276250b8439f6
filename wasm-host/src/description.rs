//! What an application says about itself, checked at the door.
//!
//! A guest's words are as foreign as a packet: [`Description::check`] is the
//! only way to make one, and after it names are unique, non-empty and short.

use std::sync::Arc;

use crate::limits::Limits;
use crate::world;

/// What an application is: its name and its methods.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    name: String,
    version: String,
    schema_version: u64,
    methods: Vec<Method>,
    init_parameters: Vec<Parameter>,
}

/// One method of an application.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Method {
    /// Its name, unique in the application. Shared, because each turn holds it.
    #[serde(serialize_with = "as_text")]
    pub name: Arc<str>,
    /// Whether it may write.
    pub kind: MethodKind,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// The returned type as the author wrote it.
    pub returns: String,
    /// The author's words about it.
    pub doc: String,
}

/// Whether a method may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodKind {
    /// Reads a committed snapshot; may run beside other calls.
    Query,
    /// May write; one at a time per context.
    Update,
}

/// One parameter of a method.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Parameter {
    /// Its name, unique in the method.
    pub name: String,
    /// Its type as the author wrote it.
    pub type_name: String,
}

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDescription {
    /// A name is empty, too long, or holds something else than letters, digits
    /// and `_ - . :`.
    #[error("{what} has the name {name:?}; names are 1 to 100 letters, digits or _ - . :")]
    Name {
        /// Whose name it is.
        what: &'static str,
        /// The name, cut.
        name: String,
    },
    /// Two methods, or two parameters of one method, have the same name.
    #[error("there are two {what} called {name:?}")]
    Twice {
        /// Of what.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// One of [`Limits`] is exceeded.
    #[error("{limit} exceeded: {used} of at most {max}")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// The number found.
        used: u64,
        /// The limit.
        max: u64,
    },
}

impl Description {
    /// The application's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The application's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The number of the form in which it keeps its state: 0 if it does not say.
    pub fn schema_version(&self) -> u64 {
        self.schema_version
    }

    /// All methods, ordered by name.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The method called `name`.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.place_of(name).map(|place| &self.methods[place])
    }

    /// At which place among the methods it is.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        let found = self
            .methods
            .binary_search_by(|method| method.name.as_ref().cmp(name));
        found.ok()
    }

    /// What `init` takes.
    pub fn init_parameters(&self) -> &[Parameter] {
        &self.init_parameters
    }

    /// The whole description as a JSON object, for whoever shows it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and lists always serialise")
    }

    /// Turns a guest's words into a description, or says what is wrong.
    pub(crate) fn check(
        raw: world::RawDescription,
        schema_version: u64,
        limits: &Limits,
    ) -> Result<Description, BadDescription> {
        let bound = |limit, used: usize, max: u64| {
            let used = used as u64;
            if used > max {
                Err(BadDescription::Limit { limit, used, max })
            } else {
                Ok(())
            }
        };
        bound("methods_max", raw.methods.len(), limits.methods_max)?;
        bound(
            "description_bytes_max",
            raw.text_bytes(),
            limits.description_bytes_max,
        )?;
        check_name("the application", &raw.name)?;

        let mut methods = Vec::with_capacity(raw.methods.len());
        for method in raw.methods {
            check_name("a method", &method.name)?;
            methods.push(Method {
                kind: match method.kind {
                    world::RawMethodKind::Query => MethodKind::Query,
                    world::RawMethodKind::Update => MethodKind::Update,
                },
                parameters: check_parameters(method.parameters)?,
                name: method.name.into(),
                returns: method.returns,
                doc: method.doc,
            });
        }
        methods.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = methods.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(BadDescription::Twice {
                what: "methods",
                name: pair[0].name.to_string(),
            });
        }
        Ok(Description {
            name: raw.name,
            version: raw.version,
            schema_version,
            methods,
            init_parameters: check_parameters(raw.init_parameters)?,
        })
    }
}

fn check_parameters(raw: Vec<world::RawParameter>) -> Result<Vec<Parameter>, BadDescription> {
    let mut parameters: Vec<Parameter> = Vec::with_capacity(raw.len());
    let mut seen = std::collections::HashSet::with_capacity(raw.len());
    for parameter in raw {
        check_name("a parameter", &parameter.name)?;
        if !seen.insert(parameter.name.clone()) {
            return Err(BadDescription::Twice {
                what: "parameters",
                name: parameter.name,
            });
        }
        parameters.push(Parameter {
            name: parameter.name,
            type_name: parameter.type_name,
        });
    }
    Ok(parameters)
}

/// (Deriving it for a shared text would switch on a feature of serde for the
/// whole workspace.)
fn as_text<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

fn check_name(what: &'static str, name: &str) -> Result<(), BadDescription> {
    let good = (1..=100).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "_-.:".contains(c));
    if good {
        return Ok(());
    }
    Err(BadDescription::Name {
        what,
        name: name.chars().take(40).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str) -> world::RawMethod {
        world::RawMethod {
            name: name.into(),
            kind: world::RawMethodKind::Query,
            parameters: vec![],
            returns: "u64".into(),
            doc: String::new(),
        }
    }

    fn check(methods: Vec<world::RawMethod>) -> Result<Description, BadDescription> {
        let raw = world::RawDescription {
            name: "kv".into(),
            version: "1.0.0".into(),
            methods,
            init_parameters: vec![],
        };
        Description::check(
            raw,
            0,
            &Limits {
                methods_max: 3,
                ..Limits::default()
            },
        )
    }

    #[test]
    fn methods_are_found_by_name_whatever_their_order() {
        let description = check(vec![method("set"), method("get"), method("len")]).unwrap();
        for name in ["set", "get", "len"] {
            assert_eq!(&*description.method(name).unwrap().name, name);
        }
        assert_eq!(description.method("put"), None);
    }

    #[test]
    fn unusable_descriptions_are_refused_with_the_reason() {
        let two = check(vec![method("get"), method("get")]).unwrap_err();
        assert_eq!(two.to_string(), r#"there are two methods called "get""#);
        let empty = check(vec![method("")]).unwrap_err();
        assert!(
            empty.to_string().starts_with(r#"a method has the name """#),
            "{empty}"
        );
        let line_break = check(vec![method("a\nb")]).unwrap_err();
        assert!(matches!(line_break, BadDescription::Name { .. }));
        let many = check((0..4).map(|i| method(&format!("m{i}"))).collect()).unwrap_err();
        assert_eq!(many.to_string(), "methods_max exceeded: 4 of at most 3");
    }
}
