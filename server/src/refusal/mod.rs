//! Every way to say no, in one table: JSON-RPC code, name, HTTP status,
//! meaning and the members of `data`. The page `server/ERRORS.md` is made from
//! it. Numbers and names never change their meaning; new ones are added.
//!
//! What a crate's error becomes here is decided in `from.rs`.

mod blobs;
mod from;
mod uploads;

pub(crate) use from::chain;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::rpc::envelope::{
    CONTEXT_ID_LIMIT, ID_BYTES_MAX, ID_LIMIT, KEY_BYTES_MAX, KEY_LIMIT, METHOD_LIMIT,
    NAME_BYTES_MAX,
};

/// One line of the catalogue.
#[derive(Debug)]
pub struct Entry {
    /// The code in a JSON-RPC error object.
    pub number: i32,
    /// The stable name, `data.name` of an error object and the end of a problem's `type`.
    pub name: &'static str,
    /// The HTTP status under /v1, and of any request that never became a call.
    pub status: u16,
    /// Whether a single JSON-RPC call is answered with that status, too. All
    /// else is a good HTTP exchange with an error inside, status 200.
    pub transport: bool,
    /// What it means and what to do.
    pub meaning: &'static str,
    /// The members of `data` beside `name`.
    pub data: &'static str,
}

/// Declares the catalogue: the enum and its table cannot drift apart.
macro_rules! catalogue {
    ($($Code:ident = $number:literal $name:literal, $status:literal $transport:ident, $data:literal, $meaning:literal;)+) => {
        /// A reason to refuse, as clients know it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $meaning] $Code,)+
        }

        impl Code {
            /// All codes in the order of the catalogue.
            pub const ALL: &[Code] = &[$(Code::$Code),+];

            /// The code's line in the catalogue.
            pub fn entry(self) -> &'static Entry {
                match self {
                    $(Code::$Code => &Entry {
                        number: $number,
                        name: $name,
                        status: $status,
                        transport: catalogue!(@ $transport),
                        meaning: $meaning,
                        data: $data,
                    },)+
                }
            }
        }
    };
    (@ call) => { false };
    (@ transport) => { true };
}

catalogue! {
    ParseError = -32700 "parse_error", 400 call, "at?",
        "The body is not JSON or not UTF-8.";
    InvalidRequest = -32600 "invalid_request", 400 call, "limit?, used?, max?",
        "JSON, but not a JSON-RPC 2.0 request: a member is missing, doubled or of the wrong type, or a batch is empty.";
    MethodNotFound = -32601 "method_not_found", 404 call, "method",
        "The server has no such JSON-RPC method. There is one: execute.";
    InvalidParams = -32602 "invalid_params", 400 call, "parameter?, limit?, used?, max?",
        "The parameters of the request are missing, unknown or of the wrong type.";
    InternalError = -32603 "internal_error", 500 call, "",
        "A fault of the server. Nothing that the call did has happened. The server's log has more.";
    Unauthenticated = -32001 "unauthenticated", 401 transport, "",
        "No token, or one that is not known.";
    Denied = -32002 "denied", 403 transport, "",
        "The token does not give the right to do this.";
    TooLarge = -32003 "too_large", 413 transport, "limit, max, got?",
        "The body, or one part of it, is larger than the limit.";
    TooSlow = -32004 "too_slow", 408 transport, "limit, max",
        "The headers or the body did not arrive in time. The connection is closed.";
    Busy = -32005 "busy", 429 transport, "limit, used, max",
        "A queue is full. Nothing has happened; try again after the time in Retry-After.";
    Unavailable = -32006 "unavailable", 503 transport, "limit?, max?",
        "The server is starting, stopping, or cannot take the call now. Nothing has happened; try again, perhaps elsewhere.";
    BatchTooLong = -32009 "batch_too_long", 400 call, "limit, max",
        "The batch has more calls than the limit. None has run.";
    TooDeep = -32010 "too_deep", 400 call, "limit, max",
        "Arrays and objects are nested deeper than the limit.";
    NotFound = -32011 "not_found", 404 call, "",
        "There is nothing under this path. Not used by JSON-RPC.";
    MethodNotAllowed = -32012 "method_not_allowed", 405 call, "",
        "The path exists, but not for this HTTP method. Not used by JSON-RPC.";
    BatchAnswersTooLarge = -32013 "batch_answers_too_large", 413 call, "limit, max",
        "The answers to the calls before it in its batch leave no room for one more. This call and those behind it have not run; those before it have, and say what came of them.";
    BrokenBody = -32014 "broken_body", 400 transport, "",
        "The chunks in which the body came are not as HTTP/1.1 has them. The connection is closed.";
    RangeNotSatisfiable = -32015 "range_not_satisfiable", 416 call, "size",
        "The range that was asked for begins behind the end of the blob, which has `size` bytes. Not used by JSON-RPC.";
    BrokenHead = -32018 "broken_head", 400 transport, "",
        "What came is no HTTP/1.1 request, by its line or its headers, or says of its body's length what can be read in two ways. The connection is closed.";
    HeadTooLarge = -32019 "head_too_large", 431 transport, "",
        "The request's line and headers have more bytes than `http.header_bytes_max`, or are more than `http.headers_max`. The connection is closed.";
    UnknownContext = -32020 "unknown_context", 404 call, "context",
        "There is no context with this id or name.";
    UnknownMethod = -32021 "unknown_method", 404 call, "method",
        "The context's application has no such method.";
    UnknownApplication = -32022 "unknown_application", 404 call, "application",
        "There is no application with this id or name.";
    Conflict = -32023 "conflict", 409 call, "what?",
        "The name is taken, or the application still has contexts.";
    NotAnApplication = -32024 "not_an_application", 422 call, "limit?, used?, max?",
        "The upload is not a component of Corelet's world, or larger or more complex than the limits, those on the time and memory of compiling it included (`max` is then milliseconds or bytes, for a component of its size).";
    CompilerFailed = -32025 "compiler_failed", 500 call, "how",
        "The compiler crashed, was killed, or could not be started; `how` says which. The server goes on, and nothing has been installed. The server's log has more.";
    ApplicationsFull = -32026 "applications_full", 409 call, "limit, used, max",
        "As many applications are installed as the limit allows. Nothing has been installed; remove one first. What is installed already may be uploaded again.";
    IdempotencyKeyReused = -32027 "idempotency_key_reused", 422 call, "",
        "A call with this idempotency key was made on the context before, of another method or with other arguments, byte for byte. Nothing has happened; a call that is not the same needs a key of its own.";
    UnknownDelta = -32028 "unknown_delta", 404 call, "delta",
        "The context has no such delta.";
    PastNotRetained = -32029 "past_not_retained", 410 call, "delta?, limit?, max?",
        "The state after this delta, or a list or text in it that was removed since, cannot be shown: the delta, or what was replaced since, is not kept any more (`collector.history_max` and the settings beside it say how long it is) or did not come with a copy; or more than `max` has changed since; or the deltas give another root than the peer has said who has made it. Later states can be.";
    NotUpgradable = -32055 "not_upgradable", 409 call, "from, to",
        "The context's state has schema version `from`, and the application that it is to run keeps it in version `to`, into which that one cannot bring it: `to` is less, or the application does not export `migrate`. Nothing has happened. Not used by JSON-RPC.";
    HookFailed = -32056 "hook_failed", 422 call, "hook, cause, error?, trap?, said?, reason?, limit?, used?, max?",
        "A hook has failed that runs when a context is upgraded; `cause` is the name of the error as which it has, whose other members are here too. Nothing that any hook did has happened, and the context goes on in the application that it has had. Not used by JSON-RPC.";
    UnknownBlob = -32016 "unknown_blob", 404 call, "blob",
        "There is no blob with this id on this node.";
    BlobMismatch = -32017 "blob_mismatch", 422 call, "expected, found",
        "What was uploaded is not the blob that was announced. Nothing of it is kept.";
    UnknownUpload = -32050 "unknown_upload", 404 call, "upload",
        "There is no upload with this id: an application was made of it, it was ended, or nothing has come to it for `uploads.age_max`. Begin a new one. Not used by JSON-RPC.";
    UploadOffset = -32051 "upload_offset", 409 call, "offset, size?",
        "The piece does not begin where the upload goes on, or the upload is not whole (of `size` bytes): the first `offset` bytes are on disk, and the next piece begins there. Not used by JSON-RPC.";
    UploadMismatch = -32052 "upload_mismatch", 422 call, "expected, found",
        "What was uploaded is not the application that was announced. Nothing of it is kept. Not used by JSON-RPC.";
    BadEncoding = -32053 "bad_encoding", 422 call, "encoding",
        "What was uploaded is not as its `Content-Encoding` says, or is cut off. Nothing of it is kept. Not used by JSON-RPC.";
    UnsupportedEncoding = -32054 "unsupported_encoding", 415 call, "encoding",
        "The server does not know this `Content-Encoding`. It knows gzip, zstd and identity, one at a time. Not used by JSON-RPC.";
    ApplicationError = -32030 "application_error", 422 call, "error",
        "The application refused the call; `error` is what it said, in JSON. Nothing that the call did has happened.";
    InspectionRefused = -32057 "inspection_refused", 422 call, "error",
        "The application has looked at the update before it was queued, and refused it; `error` is what it said, in JSON. The update has not run.";
    Trapped = -32031 "trapped", 422 call, "trap, said?",
        "The application crashed; `said` is what it last logged as an error. Nothing that the call did has happened.";
    OutOfFuel = -32032 "out_of_fuel", 422 call, "limit, max",
        "The call ran longer than its fuel allows; `limit` is that of queries, of updates, of inspections, of `init` or of upgrades. Nothing that it did has happened.";
    OutOfMemory = -32033 "out_of_memory", 422 call, "limit, max",
        "The call needed more memory than allowed. Nothing that it did has happened.";
    StackOverflow = -32034 "stack_overflow", 422 call, "limit, max",
        "The call nested deeper than its stack. Nothing that it did has happened.";
    LimitExceeded = -32035 "limit_exceeded", 422 call, "limit, used, max",
        "The call exceeded another of its limits. Nothing that it did has happened.";
    WroteInQuery = -32036 "wrote_in_query", 422 call, "",
        "A method declared as a query tried to write. Nothing has happened.";
    AskedInUpdate = -32046 "asked_in_update", 422 call, "",
        "An update or `init` asked another context's query, which only queries may. Nothing that the call did has happened.";
    InvalidOutput = -32037 "invalid_output", 422 call, "reason",
        "The application returned something that is not JSON, or asked another context's query with what is no JSON object. Nothing that the call did has happened.";
    EntryMisused = -32038 "entry_misused", 422 call, "",
        "The application wrote an entry as another kind than it is, removed one that is written once, wrote what another owns, added more to a counter in one call than 64 bits can hold, went on with attached blobs from what is no blob's id, or read or wrote beyond the end of its stable memory. Nothing that the call did has happened.";
    TimedOut = -32039 "timed_out", 504 call, "limit, max",
        "The call did not end in time by the clock, most often because the server has much else to do. Nothing that it did has happened.";
    Cancelled = -32045 "cancelled", 409 call, "",
        "The call was stopped on an operator's word. Nothing that it did has happened.";
    StorageFull = -32040 "storage_full", 507 call, "limit?, used?, max?",
        "There is no room for the write, which removing entries is, too. Reads go on, and contexts, blobs and applications can still be deleted, for which a little space is kept; the call has left no trace.";
    ContextDamaged = -32042 "context_damaged", 500 call, "context, why",
        "A record of the context does not match its checksum, so that the context is out of service: nothing of it is served, and calls to it do nothing. `why` says which record. Other contexts go on. Restore it from a backup, or delete it; if its disk has only misread, put it back into service.";
    StorageDamaged = -32041 "storage_damaged", 500 call, "",
        "A record on disk does not match its checksum, or an application's file its hash. It is not served. The server's log says which one.";
    BlobInUse = -32043 "blob_in_use", 409 call, "blob, contexts, held",
        "The blob is not removed: `contexts` (the first 100) have attached it, or are being deleted, or, with `held`, somebody uploads it or is about to attach it.";
    BlobDamaged = -32044 "blob_damaged", 500 call, "blob",
        "What lies on disk is not the blob's content. Nothing of it that is damaged is served. Uploading the content again heals it.";
}

/// What is counted of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which line of the catalogue.
    pub(crate) code: Code,
    /// The limit that was reached, if it names one.
    pub(crate) limit: Option<Box<str>>,
}

/// A refusal on its way out. Holds only what the caller may see.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Which line of the catalogue.
    pub code: Code,
    /// What was attempted, on what, and what to do.
    pub message: Cow<'static, str>,
    /// The members that the catalogue names.
    pub data: Map<String, Value>,
    /// One more of them, `error`: an application's own words, as it wrote them.
    /// They may be long, so they are neither taken apart nor printed anew.
    pub error: Option<Box<RawValue>>,
    /// When to try again, for refusals that pass.
    pub retry_after_seconds: Option<u32>,
}

impl Refusal {
    /// A refusal with a message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Refusal {
        let retry_after_seconds = match code {
            Code::Busy | Code::Unavailable => Some(1),
            _ => None,
        };
        Refusal {
            code,
            message: message.into(),
            data: Map::new(),
            error: None,
            retry_after_seconds,
        }
    }

    /// Adds a member of `data`.
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Refusal {
        self.data.insert(member.to_owned(), value.into());
        self
    }

    /// A limit that was reached, with its name in the configuration.
    pub fn limit(
        code: Code,
        limit: &'static str,
        used: impl Into<Option<u64>>,
        max: u64,
    ) -> Refusal {
        let used = used.into();
        let message = match used {
            Some(used) => format!("{used} exceeds {limit} = {max}"),
            None => format!("{limit} = {max} is exceeded"),
        };
        let mut refusal = Refusal::new(code, message)
            .with("limit", limit)
            .with("max", max);
        if let Some(used) = used {
            let member = if code == Code::TooLarge {
                "got"
            } else {
                "used"
            };
            refusal = refusal.with(member, used);
        }
        refusal
    }

    /// A limit that was reached, with its name made up at run time.
    pub(crate) fn limit_of(code: Code, limit: String, used: u64, max: u64) -> Refusal {
        let message = format!("{used} exceeds {limit} = {max}");
        Refusal::new(code, message)
            .with("limit", limit)
            .with("used", used)
            .with("max", max)
    }

    /// Adds the limit that was reached to a message that says so in other words.
    pub(crate) fn with_limit(self, limit: &'static str, used: usize, max: usize) -> Refusal {
        self.with("limit", limit)
            .with("used", used)
            .with("max", max)
    }

    /// What is counted of it.
    pub(crate) fn refused(&self) -> Refused {
        let limit = self.data.get("limit").and_then(Value::as_str);
        Refused {
            code: self.code,
            limit: limit.map(Box::from),
        }
    }

    /// The error object of JSON-RPC.
    pub fn write_error_object(&self, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct ErrorObject<'a> {
            code: i32,
            data: BTreeMap<&'a str, Member<'a>>,
            message: &'a str,
        }
        let Entry { number, name, .. } = self.code.entry();
        let object = ErrorObject {
            code: *number,
            data: self.members([("name", Member::Text(name))]),
            message: &self.message,
        };
        // Writing into a Vec does not fail.
        let _ = serde_json::to_writer(out, &object);
    }

    /// The problem document of RFC 9457.
    pub fn problem(&self) -> Vec<u8> {
        let entry = self.code.entry();
        let kind = format!("urn:corelet:error:{}", entry.name);
        let title = entry.name.replace('_', " ");
        let object = self.members([
            ("type", Member::Text(&kind)),
            ("title", Member::Text(&title)),
            ("status", Member::Number(entry.status.into())),
            ("detail", Member::Text(&self.message)),
            ("code", Member::Number(entry.number)),
        ]);
        let mut out = Vec::new();
        // Writing into a Vec does not fail.
        let _ = serde_json::to_writer(&mut out, &object);
        out
    }

    /// What the catalogue names, beside what stands in every refusal.
    fn members<'a, const N: usize>(
        &'a self,
        always: [(&'a str, Member<'a>); N],
    ) -> BTreeMap<&'a str, Member<'a>> {
        let data = self.data.iter();
        let mut members = BTreeMap::from(always);
        members.extend(data.map(|(name, value)| (name.as_str(), Member::Value(value))));
        members.extend(
            self.error
                .as_deref()
                .map(|error| ("error", Member::Raw(error))),
        );
        members
    }
}

/// A member of either shape, on its way out.
#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Text(&'a str),
    Number(i32),
    Value(&'a Value),
    Raw(&'a RawValue),
}

/// The catalogue as a page of Markdown.
pub fn reference() -> String {
    let mut page = format!(
        "# Errors\n\n\
         Made from the table in `server/src/refusal/mod.rs` (`corelet config errors`); numbers and names keep\n\
         their meaning for good.\n\n\
         A JSON-RPC call that is refused is answered with an error object\n\
         `{{\"code\": CODE, \"message\": TEXT, \"data\": {{\"name\": NAME, …}}}}`. The HTTP status is 200, except for a\n\
         single call refused with a code marked *transport*: such a request never became a call, and its status\n\
         is the one given here, with `Retry-After` where it is 429 or 503. Requests under `/v1`, and whoever is\n\
         refused before there is a request (`broken_head`, `head_too_large`, headers that are `too_slow`, a\n\
         connection for which there is no room), are answered with a problem document (RFC 9457) of that status,\n\
         whose `type` is `urn:corelet:error:NAME` and which has the same members.\n\n\
         `limit` is the setting's name in CONFIG.md, `used` or `got` what was asked for, `max` what is allowed.\n\
         No setting changes these: `{ID_LIMIT}` = {ID_BYTES_MAX} (a request's id, as it is written),\n\
         `{CONTEXT_ID_LIMIT}` = {NAME_BYTES_MAX}, `{METHOD_LIMIT}` = {NAME_BYTES_MAX} and `{KEY_LIMIT}` = {KEY_BYTES_MAX}\n\
         (parameters of `execute`).\n\
         Messages are for people and may change.\n\n\
         | code | name | status | members of data | meaning |\n|---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let entry = code.entry();
        let transport = if entry.transport { " transport" } else { "" };
        let _ = writeln!(
            page,
            "| {} | `{}` | {}{transport} | {} | {} |",
            entry.number, entry.name, entry.status, entry.data, entry.meaning
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To bring the page up to date: `corelet config errors > server/ERRORS.md`.
    #[test]
    fn the_page_in_the_repository_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ERRORS.md");
        if std::env::var_os("CORELET_WRITE_PAGES").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference());
    }

    #[test]
    fn numbers_and_names_are_unique() {
        for (index, code) in Code::ALL.iter().enumerate() {
            for other in &Code::ALL[index + 1..] {
                assert_ne!(code.entry().number, other.entry().number);
                assert_ne!(code.entry().name, other.entry().name);
            }
        }
    }

    #[test]
    fn a_refusal_has_two_shapes_with_the_same_members() {
        let refusal = Refusal::limit(Code::Busy, "shards.mailbox_max", 1024, 1024);
        let mut object = Vec::new();
        refusal.write_error_object(&mut object);
        assert_eq!(
            String::from_utf8(object).unwrap(),
            r#"{"code":-32005,"data":{"limit":"shards.mailbox_max","max":1024,"name":"busy","used":1024},"message":"1024 exceeds shards.mailbox_max = 1024"}"#
        );
        let problem: Value = serde_json::from_slice(&refusal.problem()).unwrap();
        assert_eq!(problem["type"], "urn:corelet:error:busy");
        assert_eq!(problem["status"], 429);
        assert_eq!(problem["max"], 1024);
        assert_eq!(refusal.retry_after_seconds, Some(1));
    }
}
