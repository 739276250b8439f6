//! The other contexts of an application that runs without a server: what they answer is what a
//! test says, and calls that are sent to them wait until the test takes them. Part of
//! `memory_host.rs`.

use std::fmt;
use std::panic::resume_unwind;
use std::rc::Rc;

use serde_json::Value;

use crate::calls::{ContextId, QueryError, SendError};
use crate::memory_host::{
    ARGS_BYTES, AROUND_SENT_BYTES, QUERY_DEPTH, SEND_BYTES, SENT_BYTES, SENT_CALLS, SENT_DEPTH,
    aside, bound, check_json, check_shallow, count_waiting, is_waiting, refuse, with, with_writing,
};

/// What a panic carries that stops an update because it asked another context.
pub(crate) struct AskedInUpdate;

/// What a context answers to a method and its arguments.
type Answer = dyn Fn(&ContextId, &str, Value) -> Result<Value, QueryError>;

/// All other contexts.
#[derive(Clone)]
pub(crate) struct Others(pub(crate) Rc<Answer>);

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others").finish_non_exhaustive()
    }
}

/// A call that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) name: String,
    pub(crate) to: ContextId,
    pub(crate) method: String,
    pub(crate) args: Vec<u8>,
    /// The handler and its data.
    pub(crate) callback: Option<(String, Vec<u8>)>,
    /// How many calls in a row have led to it, each sent by the one before it; itself the last.
    pub(crate) depth: u32,
}

impl Sent {
    /// What the server keeps it in.
    fn bytes(&self) -> u64 {
        let callback = self.callback.as_ref();
        let callback = callback.map_or(0, |(handler, data)| handler.len() + data.len());
        KEPT_BYTES + (self.method.len() + self.args.len() + callback) as u64
    }
}

/// What the server keeps of a call beside its texts: its key, and their lengths.
const KEPT_BYTES: u64 = 65;

/// How much was sent and has not ended.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Open {
    calls: u64,
    bytes: u64,
}

impl Open {
    pub(crate) fn of<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> Open {
        sent.into_iter().fold(Open::default(), Open::with)
    }

    fn with(self, sent: &Sent) -> Open {
        Open {
            calls: self.calls + 1,
            bytes: self.bytes + sent.bytes(),
        }
    }
}

pub(crate) fn send(
    context: &ContextId,
    method: &str,
    args: &[u8],
    callback: Option<(&str, &[u8])>,
) -> Result<String, SendError> {
    let of_callback = callback.map_or(0, |(handler, data)| handler.len() + data.len());
    let bytes = (method.len() + args.len() + of_callback) as u64;
    bound(SEND_BYTES, bytes);
    with_writing(|call| {
        call.count_send();
        call.count_write(bytes + AROUND_SENT_BYTES);
        check_parts(method, args, callback);
        let sent = Sent {
            name: format!("{:016x}.{:04x}", call.number, call.sent.len()),
            to: *context,
            method: method.to_owned(),
            args: args.to_vec(),
            callback: callback.map(|(handler, data)| (handler.to_owned(), data.to_vec())),
            depth: call.depth.saturating_add(1),
        };
        if u64::from(sent.depth) > SENT_DEPTH.max {
            return Ok(Err(SendError::TooDeep));
        }
        let open = call.open.with(&sent);
        if open.calls > SENT_CALLS.max || open.bytes > SENT_BYTES.max {
            return Ok(Err(SendError::TooMany));
        }
        call.open = open;
        let name = sent.name.clone();
        call.sent.push(sent);
        Ok(Ok(name))
    })
}

/// What a call that is sent is made of.
fn check_parts(method: &str, args: &[u8], callback: Option<(&str, &[u8])>) {
    if method.is_empty() {
        refuse("a call without a method was sent".to_owned());
    }
    check_object("the arguments of a call that was sent are", args);
    let Some((handler, data)) = callback else {
        return;
    };
    if handler.is_empty() {
        refuse("a callback without a handler".to_owned());
    }
    let data = check_json("the data of a callback are", data);
    if let Err(why) = check_shallow(&data) {
        refuse(format!("the data of a callback are {why}"));
    }
}

fn check_object(what: &str, json: &[u8]) -> Value {
    let value = check_json(what, json);
    if !value.is_object() {
        refuse(format!("{what} not a JSON object"));
    }
    value
}

pub(crate) fn query(context: &ContextId, method: &str, args: &[u8]) -> Result<Vec<u8>, QueryError> {
    bound(ARGS_BYTES, (method.len() + args.len()) as u64);
    let (may_ask, asks_nobody, own_id, others) = with(|call| {
        if !call.may_write {
            call.count_query();
        }
        let others = call.others.clone();
        (!call.may_write, call.asks_nobody, call.context_id, others)
    });
    if !may_ask {
        // Not a panic of the application: no hook runs, nothing is printed.
        resume_unwind(Box::new(AskedInUpdate));
    }
    let args = check_object("the arguments of a query are", args);
    if asks_nobody {
        return Err(QueryError::TooDeep);
    }
    if *context.as_bytes() == own_id || is_waiting(context.as_bytes()) {
        return Err(QueryError::Cycle);
    }
    if count_waiting() as u64 >= QUERY_DEPTH.max {
        return Err(QueryError::TooDeep);
    }
    let Others(answer) = others.ok_or(QueryError::UnknownContext)?;
    let answer = aside(|| answer(context, method, args))?;
    Ok(answer.to_string().into_bytes())
}
