//! The other contexts of an application that runs without a server: what they answer is what a
//! test says, and calls that are sent to them wait until the test takes them. Part of
//! `memory_host.rs`.

use std::fmt;
use std::panic::resume_unwind;
use std::rc::Rc;

use serde_json::Value;

use crate::calls::{ContextId, QueryError, SendError};
use crate::memory_host::{
    ARGS_BYTES, AROUND_SENT_BYTES, SEND_BYTES, SENDS, SENT_CALLS, aside, bound, with, with_writing,
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
}

pub(crate) fn send(
    context: &ContextId,
    method: &str,
    args: &[u8],
    callback: Option<(&str, &[u8])>,
) -> Result<String, SendError> {
    let value: Value = serde_json::from_slice(args).expect("the SDK writes JSON");
    assert!(value.is_object(), "the arguments of a call are an object");
    let of_callback = callback.map_or(0, |(handler, data)| handler.len() + data.len());
    let bytes = (method.len() + args.len() + of_callback) as u64;
    bound(SEND_BYTES, bytes);
    with_writing(|call| {
        bound(SENDS, call.sent.len() as u64 + 1);
        call.count_write(bytes + AROUND_SENT_BYTES);
        if (call.sent_before + call.sent.len()) as u64 >= SENT_CALLS.max {
            return Ok(Err(SendError::TooMany));
        }
        let name = format!("{:016x}.{:04x}", call.number, call.sent.len());
        call.sent.push(Sent {
            name: name.clone(),
            to: *context,
            method: method.to_owned(),
            args: args.to_vec(),
            callback: callback.map(|(handler, data)| (handler.to_owned(), data.to_vec())),
        });
        Ok(Ok(name))
    })
}

pub(crate) fn query(context: &ContextId, method: &str, args: &[u8]) -> Result<Vec<u8>, QueryError> {
    bound(ARGS_BYTES, (method.len() + args.len()) as u64);
    let (may_ask, own_id, others) = with(|call| {
        if !call.may_write {
            call.count_query();
        }
        (!call.may_write, call.context_id, call.others.clone())
    });
    if !may_ask {
        // Not a panic of the application: no hook runs, nothing is printed.
        resume_unwind(Box::new(AskedInUpdate));
    }
    let args: Value = serde_json::from_slice(args).expect("the SDK writes JSON");
    assert!(args.is_object(), "the arguments of a query are an object");
    if *context.as_bytes() == own_id {
        return Err(QueryError::Cycle);
    }
    let Others(answer) = others.ok_or(QueryError::UnknownContext)?;
    let answer = aside(|| answer(context, method, args))?;
    Ok(answer.to_string().into_bytes())
}
