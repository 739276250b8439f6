//! Answers as HTTP: the few kinds of response that this server gives. Which one
//! is given when is decided by the callers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Frame, SizeHint};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use crate::refusal::{Code, Refusal};
use crate::rpc;

/// The body of an answer: mostly one piece of memory, else what axum made.
pub(super) type Body = Either<Full<Bytes>, axum::body::Body>;

/// Names one request in the log and, where something went wrong, to its client.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer with a body of JSON.
pub(super) fn json(body: Vec<u8>) -> Response<Body> {
    json_in(HeaderMap::new(), body)
}

/// The same in the emptied map of the request's headers. hyper gives its memory to
/// the connection's next request, so that none of them allocates for headers.
pub(super) fn json_in(mut headers: HeaderMap, body: Vec<u8>) -> Response<Body> {
    headers.insert(CONTENT_TYPE, JSON);
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.headers_mut() = headers;
    response
}

/// The same from several pieces, each of which is given up once it is sent.
pub(super) fn json_in_pieces(pieces: VecDeque<Bytes>) -> Response<Body> {
    let body = axum::body::Body::new(Pieces(pieces));
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A body of a known length.
struct Pieces(VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// 204: there is nothing to say.
pub(super) fn empty() -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A JSON-RPC body; its status tells only what the transport must know.
pub(super) fn rpc_refusal(refusal: &Refusal) -> Response<Body> {
    let mut body = Vec::new();
    rpc::answer::write_refusal(&mut body, rpc::envelope::Id::NULL, refusal);
    with_status_of(json(body), refusal, refusal.code.entry().transport)
}

/// Gives a JSON-RPC answer the status and headers of the refusal that it holds.
pub(super) fn with_status_of(
    mut response: Response<Body>,
    refusal: &Refusal,
    status_too: bool,
) -> Response<Body> {
    if status_too {
        *response.status_mut() = status(refusal.code);
        advise(response.headers_mut(), refusal);
    }
    response
}

/// A problem document (RFC 9457), with what is counted of it.
pub(super) fn problem<B: From<Vec<u8>>>(refusal: &Refusal) -> Response<B> {
    let mut response = Response::new(B::from(refusal.problem()));
    response.extensions_mut().insert(refusal.refused());
    *response.status_mut() = status(refusal.code);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    advise(headers, refusal);
    response
}

/// The same as the bytes of a whole answer, behind which the connection ends: for whoever is
/// refused before hyper has a request of his, or instead of that.
pub(super) fn last_word(refusal: &Refusal) -> Vec<u8> {
    let response = closing(problem::<Vec<u8>>(refusal));
    let (head, body) = response.into_parts();
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    let length = HeaderValue::from(body.len());
    for (name, value) in head.headers.iter().chain([(&CONTENT_LENGTH, &length)]) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

/// An axum response with a JSON body.
pub(super) fn document(status: StatusCode, value: &impl Serialize) -> axum::response::Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = axum::response::Response::new(axum::body::Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Asks hyper to close the connection behind this answer.
pub(super) fn closing<B>(mut response: Response<B>) -> Response<B> {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.entry().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn advise(headers: &mut HeaderMap, refusal: &Refusal) {
    if let Some(seconds) = refusal.retry_after_seconds {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.code == Code::Unauthenticated {
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"corelet\""),
        );
    }
}
