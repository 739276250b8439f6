//! Arguments made up from the types and names of parameters: plausible enough
//! to be typed in as they are. Types are known by what their author wrote.

use serde::Deserialize;

use crate::api::Application;

/// What an application says about itself, as far as examples need it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Description {
    #[serde(default)]
    pub(super) methods: Vec<Method>,
    /// What `init` takes.
    #[serde(default)]
    pub(super) init_parameters: Vec<Parameter>,
}

/// A method of an application.
#[derive(Debug, Deserialize)]
pub(super) struct Method {
    pub(super) name: String,
    /// `query` or `update`.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) parameters: Vec<Parameter>,
}

/// A parameter of a method.
#[derive(Debug, Deserialize)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// Its type as the author wrote it.
    pub(super) type_name: String,
}

impl Description {
    /// The description inside an application's document.
    pub(super) fn of(application: &Application) -> Description {
        let value = application.description.clone();
        value
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default()
    }
}

/// How many calls are shown of one application.
const CALLS_MAX: usize = 3;

/// A call that can be typed in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExampleCall<'a> {
    pub(super) method: &'a str,
    /// A JSON object.
    pub(super) args: String,
    /// Whether it leaves everything as it is.
    pub(super) is_query: bool,
}

/// An update, the one that says most, and what can be read after it.
pub(super) fn calls(description: &Description) -> Vec<ExampleCall<'_>> {
    let of_kind = |kind: &'static str| {
        let methods = description.methods.iter();
        let mut calls: Vec<_> = methods
            .filter(|method| method.kind == kind)
            .filter_map(|method| {
                let args = arguments(&method.parameters)?;
                let (method, is_query) = (&*method.name, kind == "query");
                Some(ExampleCall {
                    method,
                    args,
                    is_query,
                })
            })
            .collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.args.matches("\":").count()));
        calls
    };
    let (updates, queries) = (of_kind("update"), of_kind("query"));
    let updates_max = if queries.is_empty() { CALLS_MAX } else { 1 };
    let updates = updates.into_iter().take(updates_max);
    updates.chain(queries).take(CALLS_MAX).collect()
}

/// An object with a member for each parameter that must be there; none if one
/// of them is of a type that we do not know.
pub(super) fn arguments(parameters: &[Parameter]) -> Option<String> {
    let mut members = Vec::new();
    for parameter in parameters {
        match value(&parameter.type_name, &parameter.name) {
            Example::Left => {}
            Example::Value(value) => members.push(format!(
                "{}:{value}",
                serde_json::Value::from(&*parameter.name)
            )),
            Example::Unknown => return None,
        }
    }
    Some(format!("{{{}}}", members.join(",")))
}

#[derive(Debug, PartialEq, Eq)]
enum Example {
    /// It may be left out.
    Left,
    /// JSON.
    Value(String),
    Unknown,
}

fn value(type_name: &str, name: &str) -> Example {
    let written = |text: &str| Example::Value(text.to_owned());
    let bare = bare(type_name);
    let (outer, inner) = match bare.split_once('<') {
        Some((outer, rest)) => (outer, rest.strip_suffix('>').unwrap_or(rest)),
        None => (bare, ""),
    };
    match outer.rsplit("::").next().unwrap_or(outer).trim() {
        "Option" => Example::Left,
        "String" | "str" | "char" => text(name),
        "bool" => written("true"),
        "f32" | "f64" => written("1.5"),
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128"
        | "isize" => written(if name.contains("limit") { "10" } else { "1" }),
        "Vec" | "VecDeque" | "BTreeSet" | "HashSet" => match value(inner, name) {
            Example::Value(one) => Example::Value(format!("[{one}]")),
            Example::Left | Example::Unknown => written("[]"),
        },
        "HashMap" | "BTreeMap" => written("{}"),
        "Box" | "Cow" | "Rc" | "Arc" => value(inner.rsplit(',').next().unwrap_or(inner), name),
        "Value" => written("{}"),
        "()" => written("null"),
        slice if slice.starts_with('[') && !slice.contains(';') => written("[]"),
        _ => Example::Unknown,
    }
}

/// The type behind references and their lifetimes.
fn bare(type_name: &str) -> &str {
    let mut rest = type_name.trim();
    while let Some(behind) = rest.strip_prefix('&') {
        rest = behind.trim_start();
        if rest.starts_with('\'') {
            rest = rest
                .split_once(' ')
                .map_or("", |(_, behind)| behind.trim_start());
        }
        rest = rest.strip_prefix("mut ").unwrap_or(rest);
    }
    rest
}

/// A text that fits the parameter's name.
fn text(name: &str) -> Example {
    let text = match name {
        "key" | "id" => "greeting",
        "name" | "author" | "user" => "Ada",
        "title" => "Hello",
        _ => "hello",
    };
    Example::Value(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(list: &[(&str, &str)]) -> Vec<Parameter> {
        list.iter()
            .map(|(name, type_name)| Parameter {
                name: (*name).to_owned(),
                type_name: (*type_name).to_owned(),
            })
            .collect()
    }

    #[track_caller]
    fn check(list: &[(&str, &str)], expected: Option<&str>) {
        assert_eq!(arguments(&parameters(list)).as_deref(), expected);
    }

    #[test]
    fn arguments_fit_the_types_and_keep_the_order() {
        check(&[], Some("{}"));
        check(
            &[("key", "&str"), ("value", "String")],
            Some(r#"{"key":"greeting","value":"hello"}"#),
        );
        check(
            &[("message", "&'static str"), ("limit", "u32")],
            Some(r#"{"message":"hello","limit":10}"#),
        );
        check(
            &[
                ("after", "Option<MessageId>"),
                ("by", "std::option::Option<i64>"),
            ],
            Some("{}"),
        );
        check(
            &[("a", "Vec<u8>"), ("b", "Vec<Order>"), ("c", "[u8]")],
            Some(r#"{"a":[1],"b":[],"c":[]}"#),
        );
        check(
            &[("a", "BTreeMap<String, (u8, i64)>"), ("b", "Cow<'a, str>")],
            Some(r#"{"a":{},"b":"hello"}"#),
        );
        check(
            &[("x", "f64"), ("y", "bool")],
            Some(r#"{"x":1.5,"y":true}"#),
        );
    }

    #[test]
    fn nothing_is_made_up_for_unknown_types() {
        check(&[("order", "Order")], None);
        check(&[("hash", "[u8; 32]")], None);
        check(&[("pair", "(u8, u8)")], None);
        check(&[("x", "")], None);
        check(&[("x", "&'a")], None);
    }

    #[test]
    fn an_update_comes_first_and_then_what_can_be_read() {
        let method = |name: &str, kind: &str, list: &[(&str, &str)]| Method {
            name: name.to_owned(),
            kind: kind.to_owned(),
            parameters: parameters(list),
        };
        let description = Description {
            methods: vec![
                method("place", "update", &[("order", "Order")]),
                method("set", "update", &[("key", "&str"), ("value", "&str")]),
                method("get", "query", &[("key", "&str")]),
                method("remove", "update", &[("key", "&str")]),
                method("entries", "query", &[("limit", "Option<u32>")]),
                method("len", "query", &[]),
            ],
            init_parameters: Vec::new(),
        };
        let names: Vec<&str> = calls(&description).iter().map(|call| call.method).collect();
        assert_eq!(names, ["set", "get", "entries"]);
        assert!(calls(&Description::default()).is_empty());
    }
}
