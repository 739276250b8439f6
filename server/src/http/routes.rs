//! Everything but JSON-RPC: health, metrics, and the administration of
//! applications and contexts under `/v1`. Requests come in admitted and with
//! their body read (`request.rs`); refusals leave as problem documents.
//!
//! Here is the table of the routes, and what all handlers need; the handlers are in `routes/`, by
//! what they are about.
//!
//! axum wants `Send` state and `Send` futures; what is used here never leaves its
//! core, so both are wrapped and the wrapper checks that promise.

mod agenda;
mod applications;
mod blobs;
mod contents;
mod contexts;
mod server;

use std::future::Future;
use std::rc::{Rc, Weak};

use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Router, body};
use corelet_store::Hlc;
use send_wrapper::SendWrapper;

use super::door::Front;
use super::parameters::{bad_parameter, parameters};
use super::reply::problem;
use super::uploads;
use crate::refusal::{Code, Refusal};
use agenda::{end_subscriptions, list_sent, list_subscriptions, list_timers};
use applications::{
    add_to_upload, begin_upload, change_application, end_upload, install_application,
    list_applications, list_uploads, remove_application, show_application, show_upload,
};
use blobs::{list_attached, list_blobs, read_blob, remove_blob, show_blob};
use contents::{back_up, export_context, list_deltas, list_entries, list_events, list_logs};
use contexts::{
    cancel_calls, change_context, create_context, delete_context, list_contexts, release_context,
    show_context, show_statistics, upgrade_context,
};
use server::{figures, health, list_busiest, ready, status, version};

/// The front door of the shard that this router serves on. Weak, because the
/// door owns the router.
type Door = SendWrapper<Weak<Front>>;

pub(super) type Answer = Result<Response, Refusal>;

/// All routes of one shard.
pub(super) fn router(door: Door) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
        .route("/version", get(version))
        .route("/v1/status", plain(get(status)))
        .route(
            "/v1/applications",
            plain(get(list_applications)).merge(post(install_application)),
        )
        .route(
            "/v1/applications/{application}",
            plain(
                get(show_application)
                    .patch(change_application)
                    .delete(remove_application),
            ),
        )
        .route(
            uploads::PATH,
            plain(get(list_uploads)).merge(post(begin_upload)),
        )
        .route(
            "/v1/uploads/{upload}",
            plain(get(show_upload).patch(add_to_upload).delete(end_upload)),
        )
        .route(
            "/v1/contexts",
            get(list_contexts).merge(plain(post(create_context))),
        )
        .route(
            "/v1/contexts/{context}",
            plain(
                get(show_context)
                    .patch(change_context)
                    .delete(delete_context),
            ),
        )
        .route(
            "/v1/contexts/{context}/upgrade",
            plain(post(upgrade_context)),
        )
        .route(
            "/v1/contexts/{context}/statistics",
            plain(get(show_statistics)),
        )
        .route("/v1/statistics", get(list_busiest))
        .route("/v1/contexts/{context}/events", get(list_events))
        .route("/v1/contexts/{context}/logs", get(list_logs))
        .route("/v1/contexts/{context}/blobs", get(list_attached))
        .route("/v1/contexts/{context}/timers", get(list_timers))
        .route("/v1/contexts/{context}/sent", get(list_sent))
        .route(
            "/v1/contexts/{context}/subscriptions",
            get(list_subscriptions).delete(end_subscriptions),
        )
        .route("/v1/contexts/{context}/export", plain(get(export_context)))
        .route("/v1/contexts/{context}/entries", get(list_entries))
        .route("/v1/contexts/{context}/deltas", get(list_deltas))
        .route("/v1/backup", plain(get(back_up)))
        // Uploads never come here: `request.rs` sees them first.
        .route(
            super::blobs::PATH,
            get(list_blobs).post(async || refused(not_found())),
        )
        .route(
            "/v1/blobs/{blob}",
            plain(get(read_blob).delete(remove_blob)),
        )
        .route("/v1/blobs/{blob}/info", plain(get(show_blob)))
        .route(
            "/v1/contexts/{context}/quarantine",
            plain(delete(release_context)),
        )
        .route("/v1/contexts/{context}/calls", plain(delete(cancel_calls)))
        // The good case never comes here: `request.rs` sees it first.
        .route("/rpc", post(async || refused(not_found())))
        .fallback(async || refused(not_found()))
        .method_not_allowed_fallback(async || {
            let message = "this path does not answer to this method; see the Allow header";
            refused(Refusal::new(Code::MethodNotAllowed, message))
        })
        // Bodies have been bounded where they were read.
        .layer(DefaultBodyLimit::disable())
        .with_state(door)
}

/// Of a route under `/v1` that has no parameters. Those beside are for whoever watches the
/// server, with tools that may send what they like.
fn plain(route: MethodRouter<Door>) -> MethodRouter<Door> {
    route.route_layer(middleware::from_fn(without_parameters))
}

/// Refuses all parameters of a route that has none.
async fn without_parameters(request: Request, next: Next) -> Response {
    match parameters(request.uri().query(), []) {
        Ok([]) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

/// What a path names behind its last slash.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Response> {
        let Path(name) = Path::from_request_parts(parts, state).await.map_err(|_| {
            let message = "the path is not UTF-8 behind its percent signs";
            refused(bad_parameter("path", message))
        })?;
        Ok(Named(name))
    }
}

/// Runs a handler that waits for shards.
fn at_home<F>(
    door: Door,
    handler: impl FnOnce(Rc<Front>) -> F,
) -> impl Future<Output = Response> + Send
where
    F: Future<Output = Answer>,
{
    let running = front(&door).map(handler);
    SendWrapper::new(async move {
        let answer = match running {
            Ok(running) => running.await,
            Err(refusal) => Err(refusal),
        };
        answer.unwrap_or_else(refused)
    })
}

fn front(door: &Door) -> Result<Rc<Front>, Refusal> {
    door.upgrade()
        .ok_or_else(|| Refusal::new(Code::Unavailable, "the server is stopping"))
}

fn unix_millis(stamp: Hlc) -> u64 {
    stamp.micros() / 1000
}

fn no_content() -> Response {
    let mut response = Response::new(body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn refused(refusal: Refusal) -> Response {
    problem(&refusal)
}

fn not_found() -> Refusal {
    Refusal::new(
        Code::NotFound,
        "there is nothing here; the paths are /rpc, /v1/status, /v1/statistics, /v1/applications, /v1/contexts, /v1/blobs, /v1/backup, /healthz, /readyz, /metrics and /version",
    )
}
