//! Why a request that is not a good one is refused: the first rule of JSON-RPC 2.0
//! or of `execute` that it breaks, and the id to say so under. Only requests that
//! the short way in `envelope.rs` has given up come here, so this may take its time.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::envelope::{
    Bounds, ID_BYTES_MAX, ID_LIMIT, Id, NAME_BYTES_MAX, Params, Request, check, is_id, is_scalar,
    present,
};
use super::raw::{is_array, is_object};
use crate::refusal::{Code, Refusal};

/// Finds the first rule that the request breaks. `Err` means that this is not JSON.
pub(super) fn diagnose<'a>(text: &'a str, bounds: &Bounds) -> Result<Request<'a>, Refusal> {
    let invalid = |id, message: &'static str| {
        Ok(Request {
            id,
            call: Err(Refusal::new(Code::InvalidRequest, message)),
        })
    };
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(malformed(&error));
    }
    if !is_object(text) {
        return invalid(Id::NULL, "a request must be an object");
    }
    let Ok(members) = serde_json::from_str::<Members<'a>>(text) else {
        return invalid(Id::NULL, "jsonrpc, id, method or params appears twice");
    };
    let id = match members.id {
        None => Id::Notification,
        Some(id) if is_id(id) => Id::Given(id.get()),
        Some(id) => {
            let message =
                format!("id must be a string, a number or null, of at most {ID_BYTES_MAX} bytes");
            let refusal = Refusal::new(Code::InvalidRequest, message);
            let call = Err(if is_scalar(id) {
                refusal.with_limit(ID_LIMIT, id.get().len(), ID_BYTES_MAX)
            } else {
                refusal
            });
            return Ok(Request { id: Id::NULL, call });
        }
    };
    // Without a valid envelope there is no telling whether an answer is
    // awaited; the standard then answers with null.
    let answer_id = if id == Id::Notification { Id::NULL } else { id };
    if members.jsonrpc.and_then(string).as_deref() != Some("2.0") {
        return invalid(answer_id, "jsonrpc must be \"2.0\"");
    }
    let Some(method) = members.method.and_then(string) else {
        return invalid(answer_id, "method must be a string");
    };
    let params = members.params.map_or("null", RawValue::get);
    if !(is_object(params) || is_array(params) || members.params.is_none()) {
        return invalid(answer_id, "params must be an object or an array");
    }
    if method != "execute" {
        let refusal = Refusal::new(
            Code::MethodNotFound,
            "there is one JSON-RPC method: execute",
        );
        let shown: String = method.chars().take(NAME_BYTES_MAX).collect();
        return Ok(Request {
            id,
            call: Err(refusal.with("method", shown)),
        });
    }
    let call = match serde_json::from_str::<Params<'a>>(params) {
        Ok(params) => check(params, bounds),
        Err(_) => Err(bad_params(params)),
    };
    Ok(Request { id, call })
}

/// The members, whatever they are.
#[derive(serde::Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// The refusal of what is not JSON.
pub(super) fn malformed(error: &serde_json::Error) -> Refusal {
    let (line, column) = (error.line(), error.column());
    Refusal::new(Code::ParseError, format!("the body is not JSON: {error}"))
        .with("at", format!("line {line} column {column}"))
}

/// The parameters of `execute` in their order. The last two may be left out.
const PARAMETERS: [&str; 4] = ["context_id", "method", "args", "idempotency_key"];

/// What is wrong with parameters that are JSON and not those of `execute`. In our own
/// words: a parser's are about types of this program.
fn bad_params(params: &str) -> Refusal {
    let refuse = |name: &str, reason: &str| {
        let shown: String = name.chars().take(64).collect();
        let message = format!(
            "params.{shown} {reason}; params are {{context_id, method, args?, idempotency_key?}}"
        );
        Refusal::new(Code::InvalidParams, message).with("parameter", shown)
    };
    let given: Vec<(Cow<'_, str>, &RawValue)> = if is_array(params) {
        let list: Vec<&RawValue> = serde_json::from_str(params).unwrap_or_default();
        if list.len() > PARAMETERS.len() {
            let message = format!(
                "params has more than four elements; they are {}",
                PARAMETERS.join(", ")
            );
            return Refusal::new(Code::InvalidParams, message);
        }
        PARAMETERS
            .map(Cow::Borrowed)
            .into_iter()
            .zip(list)
            .collect()
    } else {
        // Where there are none at all, all are missing.
        let pairs = serde_json::from_str(params).map(|Pairs(pairs)| pairs);
        pairs.unwrap_or_default()
    };
    for (place, (name, _)) in given.iter().enumerate() {
        if !PARAMETERS.contains(&&**name) {
            return refuse(name, "is not known");
        }
        if given[..place].iter().any(|(before, _)| before == name) {
            return refuse(name, "is there twice");
        }
    }
    for name in &PARAMETERS[..2] {
        match given.iter().find(|(given, _)| given == name) {
            None => return refuse(name, "is missing"),
            Some((_, value)) if string(value).is_none() => return refuse(name, "must be a string"),
            Some(_) => {}
        }
    }
    let key = given.iter().find(|(name, _)| name == PARAMETERS[3]);
    if key.is_some_and(|(_, key)| string(key).is_none()) {
        return refuse(PARAMETERS[3], "must be a string");
    }
    Refusal::new(
        Code::InvalidParams,
        "params must be {context_id, method, args?, idempotency_key?}",
    )
}

/// The members of an object as they stand there, doubled ones, too.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}
