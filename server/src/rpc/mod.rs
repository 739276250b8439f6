//! JSON-RPC 2.0 over one body: read the envelope, run its calls, write the
//! answers. Start reading at [`serve`]; what arrives is in `envelope.rs` (and, if
//! it is not as it should be, in `diagnosis.rs`), what goes back in `answer.rs`.
//! HTTP is not known here.

pub(crate) mod answer;
mod diagnosis;
pub(crate) mod envelope;
mod raw;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use corelet_shard::{Call, Reply, ShardHandle, rt};
use corelet_store::{DeltaId, Root};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::refusal::{Code, Refusal, Refused};
use answer::{Answer, Joined, Success};
use envelope::{Bounds, Envelope, Execute, Id, Request};

/// What became of a body.
pub(crate) enum Served {
    /// The answer to a single call that worked.
    Done(Vec<u8>),
    /// The answer to a single call that was refused, and why.
    Refused(Vec<u8>, Refusal),
    /// The answers to a batch, and how its calls ended.
    Batch(VecDeque<Bytes>, Vec<Result<(), Refused>>),
    /// Only notifications: nothing is to be said.
    Silent(Vec<Result<(), Refused>>),
}

/// Answers one body on behalf of `caller`.
pub(crate) async fn serve(
    shard: &ShardHandle,
    caller: &Arc<str>,
    body: Bytes,
    bounds: &Bounds,
) -> Served {
    match envelope::parse(&body, bounds) {
        Ok(Envelope::Single(request)) => {
            let Request { id, call } = request;
            let outcome = run(shard, caller, &body, call).await;
            if id == Id::Notification {
                return Served::Silent(vec![ended(&outcome)]);
            }
            let mut out = Vec::new();
            match outcome {
                Ok(reply) => {
                    answer::write_success(&mut out, id, &success(&reply));
                    Served::Done(out)
                }
                Err(refusal) => {
                    answer::write_refusal(&mut out, id, &refusal);
                    Served::Refused(out, refusal)
                }
            }
        }
        // Boxed, so that single calls need no room for it.
        Ok(Envelope::Batch(requests)) => {
            Box::pin(batch(shard, caller, &body, requests, bounds)).await
        }
        Err(refusal) => {
            let mut out = Vec::new();
            answer::write_refusal(&mut out, Id::NULL, &refusal);
            Served::Refused(out, refusal)
        }
    }
}

/// Bytes of a batch's answers that are put together in one go: less than a slice.
const COPIED_AT_ONCE: usize = 1 << 20;

/// Runs a batch: as much of it at once as there is room for the answers, should
/// each be as long as it may. Calls of one context run in their order. What there
/// is no room for is not run: no call is run whose answer would not be given.
async fn batch(
    shard: &ShardHandle,
    caller: &Arc<str>,
    body: &Bytes,
    requests: Vec<Request<'_>>,
    bounds: &Bounds,
) -> Served {
    let mut answers = Vec::new();
    answers.resize_with(requests.len(), Answer::default);
    let mut outcomes = vec![Ok(()); requests.len()];
    let mut answers_bytes = 0;
    let mut requests = requests.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    loop {
        while answers_bytes + (running.len() + 1) * bounds.output_bytes_max
            <= bounds.batch_answers_bytes_max
        {
            // They are first polled, and so take their place in the queue of their
            // context, in the order in which they come here.
            let Some((place, Request { id, call })) = requests.next() else {
                break;
            };
            running.push(async move {
                let outcome = run(shard, caller, body, call).await;
                let answer = match &outcome {
                    Ok(reply) => Answer::success(id, &reply.output, &success(reply)),
                    Err(refusal) => Answer::refusal(id, refusal),
                };
                (place, answer, ended(&outcome))
            });
        }
        let Some((place, answer, outcome)) = running.next().await else {
            break;
        };
        answers_bytes += answer.len();
        answers[place] = answer;
        outcomes[place] = outcome;
    }
    for (place, request) in requests {
        let max = bounds.batch_answers_bytes_max as u64;
        let refusal = Refusal::new(
            Code::BatchAnswersTooLarge,
            format!(
                "not run: the answers before it reach http.batch_answers_bytes_max = {max}; send it in another batch"
            ),
        );
        let refusal = refusal
            .with("limit", "http.batch_answers_bytes_max")
            .with("max", max);
        answers[place] = Answer::refusal(request.id, &refusal);
        outcomes[place] = Err(refusal.refused());
    }
    match join(answers).await {
        Some(body) => Served::Batch(body, outcomes),
        None => Served::Silent(outcomes),
    }
}

/// The answers to a batch as one body; none if it had notifications only.
async fn join(answers: Vec<Answer>) -> Option<VecDeque<Bytes>> {
    let mut joined = Joined::default();
    let mut copied = 0;
    for answer in answers {
        copied += joined.add(answer);
        if copied >= COPIED_AT_ONCE {
            copied = 0;
            rt::breathe().await;
        }
    }
    joined.pieces()
}

/// Runs one request, unless it is refused by its looks.
async fn run(
    shard: &ShardHandle,
    caller: &Arc<str>,
    body: &Bytes,
    call: Result<Execute<'_>, Refusal>,
) -> Result<Reply, Refusal> {
    match call {
        Ok(call) => execute(shard, caller, body, call).await,
        Err(refusal) => Err(refusal),
    }
}

fn success(reply: &Reply) -> Success<'_, DeltaId, Root> {
    Success {
        output: &reply.output,
        delta_id: reply.delta_id,
        root: reply.root,
        fuel_used: reply.fuel_used,
    }
}

/// How a call ended, for those who count.
fn ended(outcome: &Result<Reply, Refusal>) -> Result<(), Refused> {
    match outcome {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.refused()),
    }
}

async fn execute(
    shard: &ShardHandle,
    caller: &Arc<str>,
    body: &Bytes,
    execute: Execute<'_>,
) -> Result<Reply, Refusal> {
    let context = shard.resolve(&execute.context)?;
    let method = match execute.method {
        Cow::Borrowed(method) => part(body, method),
        Cow::Owned(method) => Bytes::from(method),
    };
    let call = Call {
        method,
        args: part(body, execute.args),
        caller: Arc::clone(caller),
        key: execute.key,
    };
    Ok(shard.call(context, call).await?)
}

/// A part of the body that keeps the body alive instead of being copied.
fn part(body: &Bytes, text: &str) -> Bytes {
    let inside = body.as_ptr_range();
    let wanted = text.as_bytes().as_ptr_range();
    if inside.start <= wanted.start && wanted.end <= inside.end {
        body.slice_ref(text.as_bytes())
    } else {
        // A default that stands in the program and not in the body.
        Bytes::copy_from_slice(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_the_body_s_memory() {
        let body = Bytes::from_static(b"one two");
        let text = std::str::from_utf8(&body[4..]).unwrap();
        assert_eq!(part(&body, text).as_ptr(), body[4..].as_ptr());
        assert_eq!(&part(&body, "{}")[..], b"{}");
    }
}
