//! A request's body, whole, within its bounds: bytes at most, and the sweep's
//! patience. A body that arrives in one piece is taken as it is, without a copy.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, Incoming};

use super::watch::{Order, Phase, Watch};
use crate::refusal::{Code, Refusal};

/// A bound on a body, by the name it has in the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyBound {
    pub(super) bytes_name: &'static str,
    pub(super) bytes_max: usize,
    pub(super) time_name: &'static str,
    pub(super) time_max_millis: u64,
    /// The phase in which the connection is while the body comes.
    pub(super) phase: Phase,
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum NoBody {
    /// The client is to be told.
    Refused(Refusal),
    /// The client went away or broke the protocol: nobody is left to tell.
    Gone,
}

/// Reads all of a body. Afterwards the connection is in [`Phase::Work`].
pub(super) async fn read(
    mut body: Incoming,
    bound: &BodyBound,
    watch: &Rc<Watch>,
) -> Result<Bytes, NoBody> {
    let too_large = |got: Option<u64>| {
        NoBody::Refused(Refusal::limit(
            Code::TooLarge,
            bound.bytes_name,
            got,
            bound.bytes_max as u64,
        ))
    };
    // A body that announces too much is refused before it is sent: a client that asked
    // (Expect: 100-continue) never sends it.
    let announced = body.size_hint().exact();
    if let Some(announced) = announced.filter(|announced| *announced > bound.bytes_max as u64) {
        return Err(too_large(Some(announced)));
    }
    watch.enter(bound.phase);
    let Some(first) = data(&mut body, bound, watch).await? else {
        watch.enter(Phase::Work);
        return Ok(Bytes::new());
    };
    if first.len() > bound.bytes_max {
        return Err(too_large(None));
    }
    if body.is_end_stream() {
        watch.enter(Phase::Work);
        return Ok(first);
    }
    // Room for what was announced, but not on the client's word alone.
    let expected = announced.unwrap_or(0).min(1 << 20) as usize;
    let mut whole = BytesMut::with_capacity(expected.max(first.len()));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(more) = data(&mut body, bound, watch).await? {
        if whole.len() + more.len() > bound.bytes_max {
            return Err(too_large(None));
        }
        whole.extend_from_slice(&more);
    }
    watch.enter(Phase::Work);
    Ok(whole.freeze())
}

/// A client that has gone hears nothing; one whose chunks are no chunks does.
fn broken(error: &hyper::Error) -> NoBody {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    match cause.map(io::Error::kind) {
        Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) => {
            let message = "the body's chunks are not as HTTP/1.1 has them";
            NoBody::Refused(Refusal::new(Code::BrokenBody, message))
        }
        _ => NoBody::Gone,
    }
}

/// The next piece of data; trailers are skipped. Ends early by the sweep's order.
pub(super) async fn data(
    body: &mut Incoming,
    bound: &BodyBound,
    watch: &Watch,
) -> Result<Option<Bytes>, NoBody> {
    poll_fn(|cx| {
        loop {
            if watch.order() == Order::RefuseBody {
                let max = bound.time_max_millis;
                let refusal = Refusal::new(
                    Code::TooSlow,
                    format!(
                        "the body did not arrive within {} = {max} ms",
                        bound.time_name
                    ),
                );
                return Poll::Ready(Err(NoBody::Refused(
                    refusal.with("limit", bound.time_name).with("max", max),
                )));
            }
            return match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(Ok(None)),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(broken(&error))),
                Poll::Ready(Some(Ok(frame))) => match Frame::into_data(frame) {
                    Ok(data) => Poll::Ready(Ok(Some(data))),
                    Err(_) => continue,
                },
            };
        }
    })
    .await
}
