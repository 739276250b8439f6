//! One request: admitted, its body read within bounds, then answered by
//! JSON-RPC or by the routes. JSON-RPC goes past the router: it is the hot path, and
//! all that it needs from HTTP is a method, a path, a token and a body.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response};
use tower::ServiceExt;

use super::blobs;
use super::body::{self, BodyBound, NoBody};
use super::copy::Pace;
use super::door::Front;
use super::reply::{self, Body, REQUEST_ID};
use super::uploads;
use super::watch::{Phase, Watch};
use crate::auth::{Claims, Unauthenticated};
use crate::refusal::{Code, Refusal, Refused};
use crate::rpc::{self, Served};

/// Where JSON-RPC lives.
pub(super) const RPC: &str = "/rpc";

/// The client broke off in the middle of its request: there is nobody to answer.
#[derive(Debug, thiserror::Error)]
#[error("the client broke off")]
pub(super) struct BrokenOff;

/// Answers one request.
pub(super) async fn answer(
    front: &Rc<Front>,
    watch: &Rc<Watch>,
    request: Request<Incoming>,
) -> Result<Response<Body>, BrokenOff> {
    watch.enter(Phase::Work);
    let response = if request.method() == Method::POST && request.uri().path() == RPC {
        call(front, watch, request).await?
    } else {
        // Boxed, because it is large and rare: the future of every request has room
        // for both ways, and is moved once.
        Box::pin(route(front, watch, request)).await?
    };
    watch.enter(Phase::Send);
    Ok(response)
}

async fn call(
    front: &Front,
    watch: &Rc<Watch>,
    request: Request<Incoming>,
) -> Result<Response<Body>, BrokenOff> {
    let refuse = |refusal: Refusal| {
        front.stats().count_call(Some(&refusal.refused()));
        reply::closing(reply::rpc_refusal(&refusal))
    };
    let claims = match front.admit(request.headers()) {
        Ok(claims) if claims.rights.call => claims,
        Ok(_) => return Ok(refuse(denied())),
        Err(missing) => return Ok(refuse(unauthenticated(missing))),
    };
    let (head, body) = request.into_parts();
    let mut headers = head.headers;
    headers.clear();
    let body = match body::read(body, &body_bound(front), watch).await {
        Ok(body) => body,
        Err(NoBody::Refused(refusal)) => return Ok(refuse(refusal)),
        Err(NoBody::Gone) => return Err(BrokenOff),
    };
    let stats = front.stats();
    let count = |outcomes: &[Result<(), Refused>]| {
        for outcome in outcomes {
            stats.count_call(outcome.as_ref().err());
        }
    };
    Ok(
        match rpc::serve(&front.shard, &claims.subject, body, &front.bounds).await {
            Served::Done(body) => {
                stats.count_call(None);
                reply::json_in(headers, body)
            }
            Served::Refused(body, refusal) => {
                stats.count_call(Some(&refusal.refused()));
                reply::with_status_of(reply::json(body), &refusal, refusal.code.entry().transport)
            }
            Served::Batch(body, outcomes) => {
                count(&outcomes);
                reply::json_in_pieces(body)
            }
            Served::Silent(outcomes) => {
                count(&outcomes);
                reply::empty()
            }
        },
    )
}

async fn route(
    front: &Front,
    watch: &Rc<Watch>,
    request: Request<Incoming>,
) -> Result<Response<Body>, BrokenOff> {
    let id = front.next_request();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answered = match method == Method::POST && path == blobs::PATH {
        true => upload_blob(front, watch, request).await,
        false => match prepare(front, watch, request).await {
            Ok(request) => match front.router.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            Err(no_body) => Err(no_body),
        },
    };
    let mut response = match answered {
        Ok(response) => response.map(Either::Right),
        Err(NoBody::Refused(refusal)) => reply::closing(problem(&refusal)),
        Err(NoBody::Gone) => return Err(BrokenOff),
    };
    let status = response.status().as_u16();
    front.stats().count_request(status);
    let refused: Option<&Refused> = response.extensions().get();
    let limit = refused.and_then(|refused| refused.limit.as_deref());
    front.stats().count_limit(limit);
    tracing::debug!(%method, path, status, request = id, "answered");
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// Admits whoever uploads a blob, which is read as it comes and by nobody else.
async fn upload_blob(
    front: &Front,
    watch: &Rc<Watch>,
    request: Request<Incoming>,
) -> Result<Response<axum::body::Body>, NoBody> {
    admit_admin(front, request.headers())?;
    let (parts, incoming) = request.into_parts();
    blobs::receive(front, watch, parts.uri.query(), incoming).await
}

fn admit_admin<'f>(front: &'f Front, headers: &hyper::HeaderMap) -> Result<&'f Claims, NoBody> {
    match front.admit(headers) {
        Ok(claims) if claims.rights.admin => Ok(claims),
        Ok(_) => Err(NoBody::Refused(denied())),
        Err(missing) => Err(NoBody::Refused(unauthenticated(missing))),
    }
}

/// Admits a request and reads its body: the routes see neither tokens nor
/// slow clients.
async fn prepare(
    front: &Front,
    watch: &Rc<Watch>,
    request: Request<Incoming>,
) -> Result<Request<axum::body::Body>, NoBody> {
    let path = request.uri().path();
    let open = matches!(path, "/healthz" | "/readyz")
        || (path == "/metrics" && front.facts.config.metrics.public);
    let claims: Option<Claims> = match open {
        true => None,
        false => Some(admit_admin(front, request.headers())?.clone()),
    };
    let is_upload = request.method() == Method::POST && path == "/v1/applications";
    let is_piece = request.method() == Method::PATCH && path.starts_with(uploads::BELOW);
    let (mut parts, incoming) = request.into_parts();
    let body = if is_piece {
        let _place = UploadPlace::take(front)?;
        body::read(incoming, &piece_bound(front), watch).await?
    } else if is_upload {
        let _place = UploadPlace::take(front)?;
        body::read(incoming, &upload_bound(front), watch).await?
    } else if open {
        body::read(incoming, &open_bound(front), watch).await?
    } else {
        body::read(incoming, &body_bound(front), watch).await?
    };
    if let Some(claims) = claims {
        parts.extensions.insert(claims);
        parts.extensions.insert(Pace::of(watch));
    }
    Ok(Request::from_parts(parts, axum::body::Body::from(body)))
}

/// One of the uploads that may come in at the same time.
struct UploadPlace<'a>(&'a Front);

impl<'a> UploadPlace<'a> {
    fn take(front: &'a Front) -> Result<UploadPlace<'a>, NoBody> {
        let (used, max) = (front.uploads.get(), front.facts.config.http.uploads_max);
        if used >= max {
            return Err(NoBody::Refused(Refusal::limit(
                Code::Busy,
                "http.uploads_max",
                used,
                max,
            )));
        }
        front.uploads.set(used + 1);
        Ok(UploadPlace(front))
    }
}

impl Drop for UploadPlace<'_> {
    fn drop(&mut self) {
        self.0.uploads.set(self.0.uploads.get() - 1);
    }
}

fn body_bound(front: &Front) -> BodyBound {
    let http = &front.facts.config.http;
    BodyBound {
        bytes_name: "http.body_bytes_max",
        bytes_max: http.body_bytes_max.as_usize(),
        time_name: "http.body_timeout",
        time_max_millis: http.body_timeout.as_millis() as u64,
        phase: Phase::Body,
    }
}

/// Of a request that anybody may make, so that strangers hold next to nothing.
fn open_bound(front: &Front) -> BodyBound {
    let max = front.facts.config.http.open_body_bytes_max;
    BodyBound {
        bytes_name: "http.open_body_bytes_max",
        bytes_max: max.as_usize(),
        ..body_bound(front)
    }
}

fn upload_bound(front: &Front) -> BodyBound {
    let http = &front.facts.config.http;
    BodyBound {
        bytes_name: "http.upload_bytes_max",
        bytes_max: http.upload_bytes_max.as_usize(),
        time_name: "http.upload_timeout",
        time_max_millis: http.upload_timeout.as_millis() as u64,
        phase: Phase::Upload,
    }
}

fn piece_bound(front: &Front) -> BodyBound {
    let max = front.facts.config.uploads.piece_bytes_max;
    BodyBound {
        bytes_name: "uploads.piece_bytes_max",
        bytes_max: max.as_usize(),
        ..upload_bound(front)
    }
}

fn problem(refusal: &Refusal) -> Response<Body> {
    reply::problem::<Vec<u8>>(refusal).map(|body| Either::Left(Bytes::from(body).into()))
}

fn unauthenticated(missing: Unauthenticated) -> Refusal {
    Refusal::new(Code::Unauthenticated, missing.message())
}

fn denied() -> Refusal {
    Refusal::new(
        Code::Denied,
        "this token does not give the right to do this",
    )
}
