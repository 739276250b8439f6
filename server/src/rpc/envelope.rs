//! From a body to calls: the JSON-RPC 2.0 envelope, single or batch. Nothing is
//! copied: names and arguments stay slices of the body, arguments stay raw
//! JSON. What a call does is decided elsewhere.
//!
//! Parsing takes two ways. Good requests take the short one, which is here: one
//! pass of serde over borrowed types. When that fails, the long one (`diagnosis.rs`)
//! finds out which of the standard codes applies and under which id. We parse by
//! ourselves and not with a JSON-RPC library's request types because those keep
//! parameters as one raw value that would have to be scanned a second time.

use std::borrow::Cow;

use corelet_store::AnswerKey;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::diagnosis::{diagnose, malformed};
use super::raw::{is_array, is_deeper, is_object};
use crate::refusal::{Code, Refusal};

/// Ids longer than this are refused: they are echoed, and nobody needs them.
pub(crate) const ID_BYTES_MAX: usize = 256;
/// Context ids, names of contexts and of methods.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// Idempotency keys: a UUID with something in front of it has room.
pub(crate) const KEY_BYTES_MAX: usize = 128;

/// Bounds that no setting changes, as `limit` of a refusal names them.
pub(crate) const ID_LIMIT: &str = "id_bytes_max";
pub(crate) const CONTEXT_ID_LIMIT: &str = "context_id_bytes_max";
pub(crate) const METHOD_LIMIT: &str = "method_bytes_max";
pub(crate) const KEY_LIMIT: &str = "idempotency_key_bytes_max";

/// The bounds of an envelope, from the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Calls in a batch.
    pub batch_max: usize,
    /// Nesting of arrays and objects.
    pub depth_max: usize,
    /// Bytes of one call's arguments.
    pub args_bytes_max: usize,
    /// Bytes of one call's output.
    pub output_bytes_max: usize,
    /// Bytes of the answers to a batch, together.
    pub batch_answers_bytes_max: usize,
}

/// A body that is JSON-RPC.
#[derive(Debug)]
pub(crate) enum Envelope<'a> {
    /// One request object.
    Single(Request<'a>),
    /// An array of them, not empty.
    Batch(Vec<Request<'a>>),
}

/// One request, which may still be a refusal of its own.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// How to answer.
    pub id: Id<'a>,
    /// What to do, or why not.
    pub call: Result<Execute<'a>, Refusal>,
}

/// The id of a request as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    /// A string, a number or null, in the client's own spelling.
    Given(&'a str),
    /// No id: nobody waits for an answer.
    Notification,
}

impl Id<'_> {
    /// For answers to something that has no usable id.
    pub(crate) const NULL: Id<'static> = Id::Given("null");
}

/// The parameters of `execute`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Execute<'a> {
    /// A context's id in base58, or its name.
    pub context: Cow<'a, str>,
    /// The application's method.
    pub method: Cow<'a, str>,
    /// A JSON object, a slice of the body; `{}` if none was given.
    pub args: &'a str,
    /// Under which key the answer is kept, if one was given.
    pub key: Option<AnswerKey>,
}

/// Reads a body. `Err` is a refusal of the whole body, to be answered with a null id.
pub(crate) fn parse<'a>(body: &'a [u8], bounds: &Bounds) -> Result<Envelope<'a>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Refusal::new(
            Code::ParseError,
            format!("the body is not UTF-8 at byte {}", error.valid_up_to()),
        )
        .with("at", error.valid_up_to())
    })?;
    check_depth(body, bounds.depth_max)?;
    if is_array(text) {
        parse_batch(text, bounds)
    } else {
        parse_one(text, bounds).map(Envelope::Single)
    }
}

/// Refuses JSON that nests too deep; other requests than calls have it, too.
pub(crate) fn check_depth(body: &[u8], depth_max: usize) -> Result<(), Refusal> {
    if is_deeper(body, depth_max) {
        let max = depth_max as u64;
        return Err(Refusal::limit(Code::TooDeep, "http.depth_max", None, max));
    }
    Ok(())
}

fn parse_batch<'a>(text: &'a str, bounds: &Bounds) -> Result<Envelope<'a>, Refusal> {
    let too_long = || {
        Refusal::limit(
            Code::BatchTooLong,
            "http.batch_max",
            None,
            bounds.batch_max as u64,
        )
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let entries = deserializer
        .deserialize_seq(Entries {
            max: bounds.batch_max,
        })
        .and_then(|entries| deserializer.end().map(|()| entries))
        .map_err(|error| malformed(&error))?;
    match entries {
        None => Err(too_long()),
        Some(entries) if entries.is_empty() => {
            Err(Refusal::new(Code::InvalidRequest, "the batch is empty"))
        }
        Some(entries) => entries
            .into_iter()
            .map(|entry| parse_one(entry.get(), bounds))
            .collect::<Result<_, _>>()
            .map(Envelope::Batch),
    }
}

/// Reads one request. `Err` means that this is not JSON at all.
fn parse_one<'a>(text: &'a str, bounds: &Bounds) -> Result<Request<'a>, Refusal> {
    let good = if is_object(text) {
        serde_json::from_str::<Good<'a>>(text).ok()
    } else {
        None
    };
    match good {
        Some(Good {
            jsonrpc,
            id,
            method,
            params,
        }) if jsonrpc == "2.0" && method == "execute" && id.is_none_or(is_id) => {
            let id = id.map_or(Id::Notification, |id| Id::Given(id.get()));
            Ok(Request {
                id,
                call: check(params, bounds),
            })
        }
        _ => diagnose(text, bounds),
    }
}

/// What holds for good parameters beyond their types.
pub(super) fn check<'a>(params: Params<'a>, bounds: &Bounds) -> Result<Execute<'a>, Refusal> {
    let args = params.args.map_or("{}", RawValue::get);
    let names = [
        ("context_id", &*params.context_id, CONTEXT_ID_LIMIT),
        ("method", &*params.method, METHOD_LIMIT),
    ];
    for (name, value, limit) in names {
        check_length(name, value, limit, NAME_BYTES_MAX)?;
    }
    let key = match &params.idempotency_key {
        None => None,
        Some(key) => {
            check_length("idempotency_key", key, KEY_LIMIT, KEY_BYTES_MAX)?;
            Some(AnswerKey::of(key.as_bytes()))
        }
    };
    if !is_object(args) {
        let message = "params.args must be an object with one member per parameter of the method";
        return Err(Refusal::new(Code::InvalidParams, message).with("parameter", "args"));
    }
    if args.len() > bounds.args_bytes_max {
        let max = bounds.args_bytes_max as u64;
        return Err(Refusal::limit(
            Code::TooLarge,
            "limits.args_bytes_max",
            args.len() as u64,
            max,
        ));
    }
    Ok(Execute {
        context: params.context_id,
        method: params.method,
        args,
        key,
    })
}

fn check_length(
    name: &'static str,
    value: &str,
    limit: &'static str,
    max: usize,
) -> Result<(), Refusal> {
    if (1..=max).contains(&value.len()) {
        return Ok(());
    }
    let message = format!("params.{name} must have from 1 to {max} bytes");
    let refusal = Refusal::new(Code::InvalidParams, message).with("parameter", name);
    Err(match value.is_empty() {
        true => refusal,
        false => refusal.with_limit(limit, value.len(), max),
    })
}

/// What the short way reads. Members that JSON-RPC does not know are ignored;
/// the four that it knows must not be doubled.
#[derive(serde::Deserialize)]
struct Good<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Params<'a>,
}

/// By name, or by position in this order.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params<'a> {
    #[serde(borrow)]
    context_id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "text")]
    idempotency_key: Option<String>,
}

/// A text. `null` is none: whoever sends it has lost a key and must hear of it.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// Keeps `null` apart from absence.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The elements of an array as raw values; `None` if there are more than `max`.
/// A short hostile body must not make a long list.
struct Entries {
    max: usize,
}

impl<'de> Visitor<'de> for Entries {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < self.max {
            match seq.next_element::<&RawValue>()? {
                Some(entry) => entries.push(entry),
                None => return Ok(Some(entries)),
            }
        }
        let mut over = false;
        while seq.next_element::<de::IgnoredAny>()?.is_some() {
            over = true;
        }
        Ok(if over { None } else { Some(entries) })
    }
}

/// Whether this may be an id: a string, a number or null, and not long.
pub(super) fn is_id(raw: &RawValue) -> bool {
    is_scalar(raw) && raw.get().len() <= ID_BYTES_MAX
}

/// Whether this is of a kind that ids are of.
pub(super) fn is_scalar(raw: &RawValue) -> bool {
    matches!(raw.get().as_bytes()[0], b'"' | b'-' | b'0'..=b'9' | b'n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        batch_max: 3,
        depth_max: 16,
        args_bytes_max: 200,
        output_bytes_max: 200,
        batch_answers_bytes_max: 1000,
    };

    /// One line per request: id, then what is called or why it is refused.
    fn show(body: &[u8]) -> Vec<String> {
        let one = |request: Request<'_>| {
            let id = match request.id {
                Id::Given(id) => id.to_owned(),
                Id::Notification => "-".to_owned(),
            };
            match request.call {
                Ok(Execute {
                    context,
                    method,
                    args,
                    key: None,
                }) => format!("{id}: {context} {method} {args}"),
                Ok(Execute {
                    method,
                    key: Some(key),
                    ..
                }) => format!("{id}: {method} under {key:?}"),
                Err(refusal) => {
                    format!("{id}: {} {}", refusal.code.entry().number, refusal.message)
                }
            }
        };
        match parse(body, &BOUNDS) {
            Ok(Envelope::Single(request)) => vec![one(request)],
            Ok(Envelope::Batch(requests)) => std::iter::once("batch".to_owned())
                .chain(requests.into_iter().map(one))
                .collect(),
            Err(refusal) => vec![format!(
                "all: {} {}",
                refusal.code.entry().number,
                refusal.message
            )],
        }
    }

    fn check(body: &str, expected: &str) {
        assert_eq!(show(body.as_bytes()).join("\n"), expected, "{body}");
    }

    const PARAMS: &str = r#"{"context_id":"kv","method":"get","args":{"key":"a"}}"#;

    #[test]
    fn a_good_request_is_borrowed_from_the_body() {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{PARAMS}}}"#);
        let Ok(Envelope::Single(Request { id, call: Ok(call) })) = parse(body.as_bytes(), &BOUNDS)
        else {
            panic!("refused");
        };
        assert_eq!(id, Id::Given("1"));
        assert!(matches!(call.context, Cow::Borrowed("kv")));
        assert!(matches!(call.method, Cow::Borrowed("get")));
        assert!(body.as_bytes().as_ptr_range().contains(&call.args.as_ptr()));
    }

    #[test]
    fn bounds_that_cannot_be_set_have_a_name_and_numbers_too() {
        let check = |id: usize, context: usize, method: usize, limit: &str, used: usize| {
            let [id, context, method] = [id, context, method].map(|count| "x".repeat(count));
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":"{id}","method":"execute","params":{{"context_id":"{context}","method":"{method}"}}}}"#
            );
            let Ok(Envelope::Single(Request {
                call: Err(refusal), ..
            })) = parse(body.as_bytes(), &BOUNDS)
            else {
                panic!("{limit}: not refused");
            };
            assert_eq!(refusal.data["limit"], limit);
            assert_eq!(refusal.data["used"], used, "{limit}");
            assert_eq!(refusal.data["max"], 256, "{limit}");
        };
        // An id is measured as it is written, with its quotes.
        check(255, 1, 1, ID_LIMIT, 257);
        check(1, 257, 1, CONTEXT_ID_LIMIT, 257);
        check(1, 256, 300, METHOD_LIMIT, 300);
        check(254, 257, 300, CONTEXT_ID_LIMIT, 257);
    }

    #[test]
    fn ids_are_echoed_as_they_were_written() {
        for id in [
            "1",
            "-1",
            "1.50",
            "1e3",
            "0",
            "null",
            "\"\"",
            "\"a\\u0062\\n\"",
            "18446744073709551616",
        ] {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"execute","params":{PARAMS}}}"#);
            check(&body, &format!(r#"{id}: kv get {{"key":"a"}}"#));
        }
        let body = format!(r#"{{"jsonrpc":"2.0","method":"execute","params":{PARAMS}}}"#);
        check(&body, r#"-: kv get {"key":"a"}"#);
        let message = "null: -32600 id must be a string, a number or null, of at most 256 bytes";
        for id in [
            "true",
            "false",
            "[1]",
            "{}",
            &format!("\"{}\"", "x".repeat(300)),
        ] {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"execute","params":{PARAMS}}}"#);
            check(&body, message);
        }
    }

    #[test]
    fn parameters_go_by_name_or_by_position() {
        let request = |params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{params}}}"#)
        };
        check(&request(r#"["kv","len"]"#), "1: kv len {}");
        check(
            &request(r#"["kv","get",{"key":1}]"#),
            r#"1: kv get {"key":1}"#,
        );
        check(
            &request(r#"{"method":"len","context_id":"kv"}"#),
            "1: kv len {}",
        );
        check(
            &request(r#"{"method":"len","context_id":"kv","args":null}"#),
            "1: kv len {}",
        );
        check(
            &request(r#"{"method":"l\u0065n","context_id":"kv","args": { } }"#),
            "1: kv len { }",
        );
        let refused =
            |params: &str, reason: &str| check(&request(params), &format!("1: -32602 {reason}"));
        refused(
            "{}",
            "params.context_id is missing; params are {context_id, method, args?, idempotency_key?}",
        );
        refused(
            r#"{"context":"kv","method":"get"}"#,
            "params.context is not known; params are {context_id, method, args?, idempotency_key?}",
        );
        refused(
            r#"{"context_id":1,"method":"get"}"#,
            "params.context_id must be a string; params are {context_id, method, args?, idempotency_key?}",
        );
        refused(
            r#"{"context_id":"a","context_id":"b","method":"get"}"#,
            "params.context_id is there twice; params are {context_id, method, args?, idempotency_key?}",
        );
        refused(
            r#"["kv"]"#,
            "params.method is missing; params are {context_id, method, args?, idempotency_key?}",
        );
        refused(
            r#"["kv",7]"#,
            "params.method must be a string; params are {context_id, method, args?, idempotency_key?}",
        );
        refused(
            r#"["kv","get",{},"k",1]"#,
            "params has more than four elements; they are context_id, method, args, idempotency_key",
        );
        refused(
            r#"{"context_id":"","method":"get"}"#,
            "params.context_id must have from 1 to 256 bytes",
        );
        for key in ["null", "7", "{}"] {
            refused(
                &format!(r#"{{"context_id":"a","method":"get","idempotency_key":{key}}}"#),
                "params.idempotency_key must be a string; params are {context_id, method, args?, idempotency_key?}",
            );
        }
        for length in [0, KEY_BYTES_MAX + 1] {
            let key = "k".repeat(length);
            refused(
                &format!(r#"["a","get",{{}},"{key}"]"#),
                "params.idempotency_key must have from 1 to 128 bytes",
            );
        }
        for args in ["1", "[1]", "\"x\"", "true"] {
            refused(
                &format!(r#"{{"context_id":"a","method":"get","args":{args}}}"#),
                "params.args must be an object with one member per parameter of the method",
            );
        }
    }

    #[test]
    fn a_key_is_known_by_what_it_says_however_it_is_written() {
        let key = format!("{:?}", AnswerKey::of("order 7\u{e9}".as_bytes()));
        for params in [
            r#"["kv","set",{},"order 7\u00e9"]"#,
            r#"{"context_id":"kv","method":"set","idempotency_key":"order\u00207é"}"#,
        ] {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{params}}}"#);
            check(&body, &format!("1: set under {key}"));
        }
    }

    #[test]
    fn each_broken_rule_has_its_code() {
        check(
            "",
            "all: -32700 the body is not JSON: EOF while parsing a value at line 1 column 0",
        );
        check(
            "{",
            "all: -32700 the body is not JSON: EOF while parsing an object at line 1 column 1",
        );
        check(
            "nonsense",
            "all: -32700 the body is not JSON: expected ident at line 1 column 2",
        );
        check(
            "{} {}",
            "all: -32700 the body is not JSON: trailing characters at line 1 column 4",
        );
        check(
            "[{}] x",
            "all: -32700 the body is not JSON: trailing characters at line 1 column 6",
        );
        check("1", "null: -32600 a request must be an object");
        check("null", "null: -32600 a request must be an object");
        check("{}", "null: -32600 jsonrpc must be \"2.0\"");
        check(
            r#"{"jsonrpc":"1.0","id":7}"#,
            "7: -32600 jsonrpc must be \"2.0\"",
        );
        check(
            r#"{"jsonrpc":2.0,"id":7}"#,
            "7: -32600 jsonrpc must be \"2.0\"",
        );
        check(
            r#"{"jsonrpc":"2.0","id":7}"#,
            "7: -32600 method must be a string",
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":1}"#,
            "7: -32600 method must be a string",
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":"get"}"#,
            "7: -32601 there is one JSON-RPC method: execute",
        );
        check(
            r#"{"jsonrpc":"2.0","method":"get"}"#,
            "-: -32601 there is one JSON-RPC method: execute",
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":"execute","params":"x"}"#,
            "7: -32600 params must be an object or an array",
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":"execute"}"#,
            "7: -32602 params.context_id is missing; params are {context_id, method, args?, idempotency_key?}",
        );
        check(
            r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"execute"}"#,
            "null: -32600 jsonrpc, id, method or params appears twice",
        );
        assert_eq!(
            show(b"{\"a\":\"\xff\"}"),
            ["all: -32700 the body is not UTF-8 at byte 6"]
        );
        check(
            "{\"a\":\"\u{0}\"}",
            "all: -32700 the body is not JSON: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 6",
        );
    }

    #[test]
    fn a_batch_is_bounded_and_each_entry_stands_alone() {
        let good = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{PARAMS}}}"#);
        check("[]", "all: -32600 the batch is empty");
        check(
            &format!("[1, {good}, [{good}]]"),
            "batch\nnull: -32600 a request must be an object\n1: kv get {\"key\":\"a\"}\nnull: -32600 a request must be an object",
        );
        check(
            &format!("[{good},{good},{good}]"),
            &format!("batch{}", "\n1: kv get {\"key\":\"a\"}".repeat(3)),
        );
        check("[1,1,1,1]", "all: -32009 http.batch_max = 3 is exceeded");
        check(
            "[1,1,1,1",
            "all: -32700 the body is not JSON: EOF while parsing a list at line 1 column 8",
        );
        check(
            "[1,]",
            "all: -32700 the body is not JSON: trailing comma at line 1 column 4",
        );
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(17), "all: -32010 http.depth_max = 16 is exceeded");
        check(
            &nested(100_000),
            "all: -32010 http.depth_max = 16 is exceeded",
        );
        check(
            &"[".repeat(17),
            "all: -32010 http.depth_max = 16 is exceeded",
        );
        check(
            &nested(16),
            "batch\nnull: -32600 a request must be an object",
        );
        let quoted = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{{"context_id":"kv","method":"get","args":{{"key":"\"{}"}}}}}}"#,
            "[".repeat(40)
        );
        assert!(show(quoted.as_bytes())[0].starts_with("1: kv get"));
    }

    #[test]
    fn long_arguments_are_refused_by_their_own_limit() {
        let args = format!(r#"{{"key":"{}"}}"#, "x".repeat(200));
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":["kv","get",{args}]}}"#
        );
        check(&body, "1: -32003 210 exceeds limits.args_bytes_max = 200");
    }
}
