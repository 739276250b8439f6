//! Why a request that is not a good one is refused: the first rule of JSON-RPC 2.0
//! or of `execute` that it breaks, and the id to say so under. Only requests that
//! the short way in `envelope.rs` has given up come here, so this may take its time.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::envelope::{Bounds, Id, NAME_BYTES_MAX, Params, Request, check, is_id, present};
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
        Some(_) => {
            return invalid(
                Id::NULL,
                "id must be a string, a number or null, of at most 256 bytes",
            );
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
        Err(error) => {
            let reason = without_position(&error);
            let message = format!("params must be {{context_id, method, args}}: {reason}");
            Err(Refusal::new(Code::InvalidParams, message))
        }
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

/// serde_json ends its messages with a position inside the parameters, which
/// would mislead: the client counts in the whole body.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    // It quotes the client's own unknown member: kept, but not at any length.
    text[..end].chars().take(300).collect()
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .map(|text| text.0)
}
