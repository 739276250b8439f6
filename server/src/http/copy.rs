//! Copies as bodies: parts as they come from the thread that makes them, at the pace of
//! the client. A copy that fails in the middle breaks its connection off, so that
//! nobody takes a half of it for the whole; the file's own end says so as well.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use axum::body;
use axum::response::Response;
use bytes::Bytes;
use corelet_shard::{CallError, CopyStream};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use send_wrapper::SendWrapper;

use super::watch::{Phase, Watch};

const COPY: HeaderValue = HeaderValue::from_static("application/vnd.corelet.copy");
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// A copy that can be restored.
pub(super) async fn response(stream: CopyStream, pace: Pace) -> Result<Response, CallError> {
    of_type(COPY, stream, pace).await
}

/// Lines of JSON.
pub(super) async fn lines(stream: CopyStream, pace: Pace) -> Result<Response, CallError> {
    of_type(LINES, stream, pace).await
}

/// Waits for the first part, so that a copy that cannot be made is refused in words.
async fn of_type(
    content_type: HeaderValue,
    mut stream: CopyStream,
    pace: Pace,
) -> Result<Response, CallError> {
    let first = poll_fn(|cx| stream.poll_next(cx)).await.transpose()?;
    let copy = Copy {
        first,
        stream,
        pace,
    };
    let mut response = Response::new(body::Body::new(copy));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// The watch of the connection that asks.
#[derive(Clone)]
pub(super) struct Pace(SendWrapper<Rc<Watch>>);

impl Pace {
    pub(super) fn of(watch: &Rc<Watch>) -> Pace {
        Pace(SendWrapper::new(Rc::clone(watch)))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.0.enter(phase);
    }
}

struct Copy {
    first: Option<Bytes>,
    stream: CopyStream,
    pace: Pace,
}

impl Body for Copy {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let part = self.stream.poll_next(cx);
        // The client's patience is bounded where it has something to take.
        self.pace.enter(match part {
            Poll::Ready(_) => Phase::Send,
            Poll::Pending => Phase::Work,
        });
        part.map(|part| {
            part.map(|part| {
                part.map(Frame::data).inspect_err(|error| match error {
                    // Whoever has made it has told.
                    CallError::CopyTooOld { .. } => {}
                    error => tracing::error!(%error, "a copy was broken off"),
                })
            })
        })
    }
}
