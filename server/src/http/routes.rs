//! Everything but JSON-RPC: health, metrics, and the administration of
//! applications and contexts under `/v1`. Requests come in admitted and with
//! their body read (`request.rs`); refusals leave as problem documents.
//!
//! axum wants `Send` state and `Send` futures; what is used here never leaves its
//! core, so both are wrapped and the wrapper checks that promise.

use std::borrow::Cow;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::str::FromStr;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, RawQuery, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, body};
use bytes::Bytes;
use corelet_shard::{
    ContextInfo, ContextReader, EventRecord, GuestLine, NewCode, NewContext, SentCallInfo,
    SentNumber, ShardHandle, Weight, WhichSubscriptions,
};
use corelet_store::{ApplicationId, ApplicationRecord, ContextId, ExportScope, Hlc, Reuse};
use corelet_wasm_host::{GuestSubscription, GuestTimer, LogLevel};
use percent_encoding::percent_decode_str;
use send_wrapper::SendWrapper;

use super::blobs;
use super::copy::{self, Pace};
use super::door::Front;
use super::reply::{document, problem};
use super::statistics;
use super::uploads;
use crate::api;
use crate::auth::Claims;
use crate::facts::Board;
use crate::lines;
use crate::metrics::{self, classic};
use crate::refusal::{Code, Refusal};
use crate::rpc;

/// Contexts in one page.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

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
            blobs::PATH,
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

async fn health() -> &'static str {
    "ok\n"
}

async fn ready(State(door): State<Door>) -> Response {
    let answer = front(&door).and_then(|front| {
        if front.facts.is_ready() && !front.shard.is_draining() {
            Ok(Response::new(body::Body::from("ready\n")))
        } else {
            Err(Refusal::new(
                Code::Unavailable,
                "the server is starting or stopping",
            ))
        }
    });
    answer.unwrap_or_else(refused)
}

async fn figures(State(door): State<Door>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter();
    let classic = classic::is_wanted(accept.filter_map(|value| value.to_str().ok()));
    let answer = front(&door).map(|front| {
        let page = metrics::page(&front.facts, &front.shard);
        let (page, content_type) = if classic {
            (classic::page(&page), classic::CONTENT_TYPE)
        } else {
            (page, metrics::CONTENT_TYPE)
        };
        let mut response = Response::new(body::Body::from(page));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(VARY, HeaderValue::from_static("accept"));
        response
    });
    answer.unwrap_or_else(refused)
}

async fn version() -> Response {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    document(
        StatusCode::OK,
        &api::Version {
            name: "corelet".to_owned(),
            version,
        },
    )
}

async fn status(State(door): State<Door>) -> Response {
    let answer = front(&door).map(|front| {
        let facts = &front.facts;
        let shards = facts
            .boards
            .iter()
            .zip(0..)
            .map(|(board, number)| shard_status(board, number));
        let status = api::Status {
            ready: facts.is_ready(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: facts.node_id.to_string(),
            uptime_seconds: facts.uptime_seconds(),
            applications: front.shard.list_applications().len() as u64,
            shards: shards.collect(),
        };
        document(StatusCode::OK, &status)
    });
    answer.unwrap_or_else(refused)
}

async fn list_applications(State(door): State<Door>) -> Response {
    let answer = front(&door).map(|front| {
        let records = front.shard.list_applications();
        let applications = records
            .iter()
            .map(|record| application(record, false))
            .collect();
        document(StatusCode::OK, &api::Applications { applications })
    });
    answer.unwrap_or_else(refused)
}

/// Of what comes with the request, or of an upload that has come as a whole.
async fn install_application(
    State(door): State<Door>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    at_home(door, async move |front| {
        let [upload, reuse] = parameters(query.as_deref(), ["upload", "reuse"])?;
        let reuse = reuse.map(reuse_named).transpose()?;
        let component = uploads::coming(&front, upload, &headers, body).await?;
        let record = front.shard.install_application(component, reuse).await?;
        tracing::info!(application = %record.id, name = record.name, "installed");
        Ok(document(StatusCode::CREATED, &application(&record, true)))
    })
    .await
}

async fn show_application(State(door): State<Door>, Named(wanted): Named) -> Response {
    let answer = front(&door).and_then(|front| {
        let id = find_application(&front.shard, &wanted)?;
        let record = front.shard.show_application(id)?;
        Ok(document(StatusCode::OK, &application(&record, true)))
    });
    answer.unwrap_or_else(refused)
}

async fn change_application(
    State(door): State<Door>,
    Named(wanted): Named,
    change: Bytes,
) -> Response {
    at_home(door, async move |front| {
        rpc::envelope::check_depth(&change, front.bounds.depth_max)?;
        let change: api::ChangeApplication = serde_json::from_slice(&change).map_err(|error| {
            let code = if error.is_data() {
                Code::InvalidParams
            } else {
                Code::ParseError
            };
            Refusal::new(code, format!("the body must be {{reuse}}: {error}"))
        })?;
        let reuse = reuse_named(&change.reuse)?;
        let id = find_application(&front.shard, &wanted)?;
        let record = front.shard.set_reuse(id, reuse).await?;
        tracing::info!(application = %id, reuse = reuse.name(), "changed");
        Ok(document(StatusCode::OK, &application(&record, true)))
    })
    .await
}

fn reuse_named(name: &str) -> Result<Reuse, Refusal> {
    let must = || bad_parameter("reuse", "reuse must be context or never");
    Reuse::named(name).ok_or_else(must)
}

async fn list_uploads(State(door): State<Door>) -> Response {
    at_home(door, async move |front| uploads::list(&front).await).await
}

async fn begin_upload(
    State(door): State<Door>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    at_home(door, async move |front| {
        let [application] = parameters(query.as_deref(), ["application"])?;
        uploads::begin(&front, application, &headers).await
    })
    .await
}

async fn show_upload(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        uploads::show(&front, &wanted).await
    })
    .await
}

async fn add_to_upload(
    State(door): State<Door>,
    Named(wanted): Named,
    headers: HeaderMap,
    piece: Bytes,
) -> Response {
    at_home(door, async move |front| {
        uploads::append(&front, &wanted, &headers, piece).await
    })
    .await
}

async fn end_upload(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        front.shard.uploads().remove(uploads::id(&wanted)?).await?;
        Ok(no_content())
    })
    .await
}

async fn remove_application(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = find_application(&front.shard, &wanted)?;
        front.shard.remove_application(id).await?;
        tracing::info!(application = %id, "removed");
        Ok(no_content())
    })
    .await
}

async fn list_contexts(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
    at_home(door, async move |front| {
        let (after, limit) = page(query.as_deref(), "a context")?;
        // One more than asked for tells whether there is a next page.
        let mut infos = front.shard.list_contexts(after, limit + 1).await?;
        let more = infos.len() > limit;
        infos.truncate(limit);
        let next = infos
            .last()
            .filter(|_| more)
            .map(|info| info.id.to_string());
        let contexts = infos.iter().map(context).collect();
        Ok(document(StatusCode::OK, &api::Contexts { contexts, next }))
    })
    .await
}

async fn create_context(
    State(door): State<Door>,
    Extension(claims): Extension<Claims>,
    wanted: Bytes,
) -> Response {
    at_home(door, async move |front| {
        rpc::envelope::check_depth(&wanted, front.bounds.depth_max)?;
        let wanted: api::CreateContext = serde_json::from_slice(&wanted).map_err(|error| {
            let code = if error.is_data() { Code::InvalidParams } else { Code::ParseError };
            Refusal::new(code, format!("the body must be {{application, name?, args?}}: {error}"))
        })?;
        let args = match &wanted.args {
            None => Bytes::from_static(b"{}"),
            Some(args) if args.get().starts_with('{') => Bytes::copy_from_slice(args.get().as_bytes()),
            Some(_) => {
                let refusal = Refusal::new(Code::InvalidParams, "args must be an object");
                return Err(refusal.with("parameter", "args"));
            }
        };
        let max = front.facts.config.limits.args_bytes_max;
        if args.len() as u64 > max {
            return Err(Refusal::limit(Code::TooLarge, "limits.args_bytes_max", args.len() as u64, max));
        }
        let application = find_application(&front.shard, &wanted.application)?;
        let new = NewContext { application, name: wanted.name, args, caller: claims.subject };
        let info = front.shard.create_context(new).await?;
        tracing::info!(context = %info.id, name = info.name, application = %info.application, "created");
        Ok(document(StatusCode::CREATED, &context(&info)))
    })
    .await
}

async fn show_context(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let info = front.shard.show_context(id).await?;
        Ok(document(StatusCode::OK, &context(&info)))
    })
    .await
}

/// Has a context run another application, with its state as it is.
async fn upgrade_context(
    State(door): State<Door>,
    Extension(claims): Extension<Claims>,
    Named(wanted): Named,
    upgrade: Bytes,
) -> Response {
    at_home(door, async move |front| {
        rpc::envelope::check_depth(&upgrade, front.bounds.depth_max)?;
        let upgrade: api::UpgradeContext = serde_json::from_slice(&upgrade).map_err(|error| {
            let code = if error.is_data() { Code::InvalidParams } else { Code::ParseError };
            Refusal::new(code, format!("the body must be {{application, skip_before_upgrade?}}: {error}"))
        })?;
        let id = front.shard.resolve(&wanted)?;
        let application = find_application(&front.shard, &upgrade.application)?;
        let skips_before_upgrade = upgrade.skip_before_upgrade;
        let upgrade = NewCode {
            application,
            skips_before_upgrade,
            caller: claims.subject,
        };
        let done = front.shard.upgrade_context(id, upgrade).await?;
        let (schema_version_before, schema_version) = done.schema_versions;
        tracing::info!(context = %id, before = %done.before, %application, schema_version, skips_before_upgrade, "upgraded");
        let upgraded = api::Upgraded {
            context: context(&done.context),
            before: done.before.to_string(),
            schema_version_before,
            schema_version,
        };
        Ok(document(StatusCode::OK, &upgraded))
    })
    .await
}

async fn change_context(State(door): State<Door>, Named(wanted): Named, change: Bytes) -> Response {
    at_home(door, async move |front| {
        rpc::envelope::check_depth(&change, front.bounds.depth_max)?;
        let change: api::ChangeContext = serde_json::from_slice(&change).map_err(|error| {
            let code = if error.is_data() {
                Code::InvalidParams
            } else {
                Code::ParseError
            };
            Refusal::new(code, format!("the body must be {{weight}}: {error}"))
        })?;
        let must = || {
            let (min, max) = (Weight::MIN, Weight::MAX);
            bad_parameter(
                "weight",
                format!("weight must be a number from {min} to {max}"),
            )
        };
        let weight = Weight::new(change.weight).ok_or_else(must)?;
        let id = front.shard.resolve(&wanted)?;
        let info = front.shard.set_weight(id, weight).await?;
        tracing::info!(context = %id, weight = weight.get(), "changed");
        Ok(document(StatusCode::OK, &context(&info)))
    })
    .await
}

async fn delete_context(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        front.shard.delete_context(id).await?;
        tracing::info!(context = %id, "deleted");
        Ok(no_content())
    })
    .await
}

/// What was counted of a context's calls.
async fn show_statistics(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        statistics::of_context(&front, &wanted).await
    })
    .await
}

/// The contexts in memory that have the most to do.
async fn list_busiest(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
    at_home(door, async move |front| {
        statistics::busiest(&front, query.as_deref()).await
    })
    .await
}

async fn list_events(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after, limit] = parameters(query.as_deref(), ["after", "limit"])?;
        let (after, limit) = (number_of(after)?, limit_of(limit)?);
        let id = front.shard.resolve(&wanted)?;
        let page = front.shard.events(id, after, limit).await?;
        let events = api::Events {
            events: page.events.iter().map(event).collect(),
            gap: page.gap.map(|(from, to)| api::Gap { from, to }),
            next: page.next,
            last: page.last,
        };
        Ok(document(StatusCode::OK, &events))
    })
    .await
}

/// One context as a file. Its private entries and its agenda belong to this node and stay here.
async fn export_context(
    State(door): State<Door>,
    Extension(pace): Extension<Pace>,
    Named(wanted): Named,
) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let scope = ExportScope {
            private: false,
            log: true,
        };
        let stream = front.shard.export_context(id, scope)?;
        tracing::info!(context = %id, "exporting");
        Ok(copy::response(stream, pace).await?)
    })
    .await
}

/// What is kept in a context, now or as it was after a delta, a line for each entry.
async fn list_entries(
    State(door): State<Door>,
    Extension(pace): Extension<Pace>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let entries = entries_wanted(query.as_deref())?;
        let read: ContextReader = Box::new(move |snapshot, context, is_over, out| {
            lines::entries(snapshot, context, &entries, is_over, out)
        });
        lines_of(&front, &wanted, read, pace).await
    })
    .await
}

/// The deltas of a context, the newest first, a line for each.
async fn list_deltas(
    State(door): State<Door>,
    Extension(pace): Extension<Pace>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [limit] = parameters(query.as_deref(), ["limit"])?;
        let limit = limit_of(limit)?;
        let read: ContextReader = Box::new(move |snapshot, context, _, out| {
            lines::deltas(snapshot, context.slot, limit, out)
        });
        lines_of(&front, &wanted, read, pace).await
    })
    .await
}

/// The lines that `read` makes of a context, while it is read.
async fn lines_of(front: &Front, wanted: &str, read: ContextReader, pace: Pace) -> Answer {
    let id = front.shard.resolve(wanted)?;
    let stream = front.shard.read_context(id, read)?;
    Ok(copy::lines(stream, pace).await?)
}

async fn list_logs(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after] = parameters(query.as_deref(), ["after"])?;
        let after = number_of(after)?;
        let id = front.shard.resolve(&wanted)?;
        let found = front.shard.guest_logs(id, after).await?;
        let lines = api::LogLines {
            lines: found.lines.iter().map(log_line).collect(),
            next: found.next,
            cut: found.is_cut,
        };
        Ok(document(StatusCode::OK, &lines))
    })
    .await
}

/// Everything as a file.
async fn back_up(State(door): State<Door>, Extension(pace): Extension<Pace>) -> Response {
    at_home(door, async move |front| {
        let stream = front.shard.back_up()?;
        tracing::info!("backing up");
        Ok(copy::response(stream, pace).await?)
    })
    .await
}

async fn release_context(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        front.shard.release_context(id).await?;
        tracing::info!(context = %id, "back in service");
        Ok(no_content())
    })
    .await
}

/// Stops what runs.
async fn cancel_calls(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let cancelled = front.shard.cancel_calls(id).await?;
        tracing::info!(context = %id, calls = cancelled, "cancelled calls");
        Ok(document(StatusCode::OK, &api::Cancelled { cancelled }))
    })
    .await
}

async fn list_blobs(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
    at_home(door, async move |front| {
        let (after, limit) = page(query.as_deref(), "a blob")?;
        // One more than asked for tells whether there is a next page.
        let mut entries = front.shard.blobs().page(after, limit + 1).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries
            .last()
            .filter(|_| more)
            .map(|entry| entry.id.to_string());
        let blobs = entries.iter().map(blobs::entry).collect();
        Ok(document(StatusCode::OK, &api::Blobs { blobs, next }))
    })
    .await
}

/// The blobs that a context has attached, whether or not this node has them.
async fn list_attached(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let (after, limit) = page(query.as_deref(), "a blob")?;
        let id = front.shard.resolve(&wanted)?;
        let mut attached = front.shard.attached(id, after, limit + 1).await?;
        let more = attached.len() > limit;
        attached.truncate(limit);
        let next = attached.last().filter(|_| more).map(|blob| blob.id.clone());
        let blobs = attached.into_iter().map(|blob| api::BlobRef {
            id: blob.id,
            size: blob.bytes,
        });
        let blobs = blobs.collect();
        Ok(document(
            StatusCode::OK,
            &api::AttachedBlobs { blobs, next },
        ))
    })
    .await
}

/// The timers that a context has armed. A page has fewer than `limit` if these are long.
async fn list_timers(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after, limit] = parameters(query.as_deref(), ["after", "limit"])?;
        let limit = limit_of(limit)?;
        let name = |after| percent_decode_str(after).decode_utf8();
        let must = |_| bad_parameter("after", "after must be the name of a timer");
        let after = after.map(|after| name(after).map_err(must)).transpose()?;
        let after = after.map(Cow::into_owned);
        let id = front.shard.resolve(&wanted)?;
        let (found, more) = front.shard.timers(id, after, limit).await?;
        let next = found.last().filter(|_| more).map(|it| it.name.clone());
        let timers = found.into_iter().map(timer).collect();
        Ok(document(StatusCode::OK, &api::Timers { timers, next }))
    })
    .await
}

fn timer(timer: GuestTimer) -> api::Timer {
    const NANOS_PER_MILLI: u64 = 1_000_000;
    let args = String::from_utf8(timer.args).ok();
    let args = args.and_then(|args| serde_json::value::RawValue::from_string(args).ok());
    api::Timer {
        name: timer.name,
        handler: timer.handler,
        // It was JSON when it was armed.
        args: args.unwrap_or_default(),
        at_unix_ms: timer.at_nanos / NANOS_PER_MILLI,
        every_ms: timer.every_nanos.map(|every| every / NANOS_PER_MILLI),
        attempts: timer.attempts,
    }
}

/// The calls that a context has sent to others and that have not ended. A page has fewer than
/// `limit` if these are long.
async fn list_sent(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [after, limit] = parameters(query.as_deref(), ["after", "limit"])?;
        let limit = limit_of(limit)?;
        let must = || bad_parameter("after", "after must be what a page gave as next");
        let after = after.map(|after| behind_sent(after).ok_or_else(must));
        let after = after.transpose()?;
        let id = front.shard.resolve(&wanted)?;
        let (found, more) = front.shard.sent_calls(id, after, limit).await?;
        let next = found.last().filter(|_| more);
        let next = next.map(|it| format!("{}/{}", it.to, it.number));
        let calls = found.into_iter().map(sent_call).collect();
        Ok(document(StatusCode::OK, &api::SentCalls { calls, next }))
    })
    .await
}

/// The receiver and the number of the last call of a page.
fn behind_sent(after: &str) -> Option<(ContextId, SentNumber)> {
    let after = percent_decode_str(after).decode_utf8().ok()?;
    let (to, number) = after.split_once('/')?;
    Some((to.parse().ok()?, SentNumber::parse(number)?))
}

fn sent_call(call: SentCallInfo) -> api::SentCall {
    const MICROS_PER_MILLI: u64 = 1_000;
    let args = String::from_utf8(call.args.into()).ok();
    let args = args.and_then(|args| serde_json::value::RawValue::from_string(args).ok());
    api::SentCall {
        name: call.number.to_string(),
        to: call.to.to_string(),
        method: call.method,
        // It was JSON when it was sent.
        args: args.unwrap_or_default(),
        callback: call.callback,
        sent_unix_ms: call.sent_micros / MICROS_PER_MILLI,
        depth: call.depth,
        attempts: call.attempts,
    }
}

/// What handlers of a context have subscribed to. There are few of them, so there are no pages.
async fn list_subscriptions(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let found = front.shard.subscriptions(id).await?;
        let subscriptions = found.into_iter().map(subscription).collect();
        Ok(document(
            StatusCode::OK,
            &api::Subscriptions { subscriptions },
        ))
    })
    .await
}

/// Ends those of them that are to a context's events, or a handler's, or both; all without that.
async fn end_subscriptions(
    State(door): State<Door>,
    Named(wanted): Named,
    RawQuery(query): RawQuery,
) -> Response {
    at_home(door, async move |front| {
        let [from, handler] = parameters(query.as_deref(), ["from", "handler"])?;
        let source = from.map(|from| {
            let from = text_of(from, "from", "from must be the id or the name of a context")?;
            Ok::<_, Refusal>(front.shard.resolve(&from)?)
        });
        let must = "handler must be the name of a handler";
        let handler = handler.map(|handler| text_of(handler, "handler", must));
        let which = WhichSubscriptions {
            source: source.transpose()?,
            handler: handler.transpose()?,
        };
        let id = front.shard.resolve(&wanted)?;
        let ended = front.shard.end_subscriptions(id, which).await?;
        tracing::info!(context = %id, subscriptions = ended, "ended subscriptions");
        Ok(document(StatusCode::OK, &api::EndedSubscriptions { ended }))
    })
    .await
}

/// The value of a parameter that is a text.
fn text_of(value: &str, parameter: &str, must: &str) -> Result<String, Refusal> {
    let text = percent_decode_str(value).decode_utf8();
    let text = text.map_err(|_| bad_parameter(parameter, must))?;
    Ok(text.into_owned())
}

fn subscription(subscription: GuestSubscription) -> api::Subscription {
    api::Subscription {
        context: ContextId::from_bytes(subscription.context).to_string(),
        handler: subscription.handler,
        kind: subscription.kind,
        after: subscription.after,
        attempts: subscription.attempts,
    }
}

async fn read_blob(
    State(door): State<Door>,
    method: Method,
    Extension(pace): Extension<Pace>,
    Named(wanted): Named,
    headers: HeaderMap,
) -> Response {
    at_home(door, async move |front| {
        let id = blobs::id(&wanted)?;
        let is_head = method == Method::HEAD;
        blobs::send(front.shard.blobs(), id, &headers, is_head, pace).await
    })
    .await
}

async fn show_blob(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let info = front.shard.blobs().info(blobs::id(&wanted)?).await?;
        Ok(document(StatusCode::OK, &blobs::info(&info)))
    })
    .await
}

async fn remove_blob(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = blobs::id(&wanted)?;
        front.shard.blobs().remove(id).await?;
        tracing::info!(blob = %id, "removed");
        Ok(no_content())
    })
    .await
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

/// An application by its id, or by its name: then the one installed last.
fn find_application(shard: &ShardHandle, wanted: &str) -> Result<ApplicationId, Refusal> {
    if let Ok(id) = wanted.parse::<ApplicationId>() {
        return Ok(id);
    }
    let named = |record: &&std::sync::Arc<ApplicationRecord>| record.name == wanted;
    let records = shard.list_applications();
    let newest = records
        .iter()
        .filter(named)
        .max_by_key(|record| record.installed);
    newest.map(|record| record.id).ok_or_else(|| {
        let shown: String = wanted.chars().take(128).collect();
        Refusal::new(
            Code::UnknownApplication,
            format!("there is no application {shown:?}"),
        )
        .with("application", shown)
    })
}

/// The values of these parameters in a query string; an empty one for a name alone. Others
/// are refused, and so is one that is given twice: which of its values counts is not for us
/// to guess.
pub(super) fn parameters<'q, const N: usize>(
    query: Option<&'q str>,
    names: [&str; N],
) -> Result<[Option<&'q str>; N], Refusal> {
    let mut values = [None; N];
    let pairs = query.unwrap_or("").split('&');
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(place) = names.iter().position(|known| *known == name) else {
            let message = match N {
                0 => "there are no parameters here".to_owned(),
                _ => format!("the parameters here are: {}", names.join(", ")),
            };
            return Err(bad_parameter(name, message));
        };
        if values[place].replace(value).is_some() {
            return Err(bad_parameter(name, format!("{name} is given twice")));
        }
    }
    Ok(values)
}

/// Refuses all parameters of a route that has none.
async fn without_parameters(request: Request, next: Next) -> Response {
    match parameters(request.uri().query(), []) {
        Ok([]) => next.run(request).await,
        Err(refusal) => refused(refusal),
    }
}

/// Of a route under `/v1` that has no parameters. Those beside are for whoever watches the
/// server, with tools that may send what they like.
fn plain(route: MethodRouter<Door>) -> MethodRouter<Door> {
    route.route_layer(middleware::from_fn(without_parameters))
}

/// The refusal of a parameter, of whose name no more is shown than any of ours has.
pub(super) fn bad_parameter(parameter: &str, message: impl Into<String>) -> Refusal {
    let shown: String = parameter.chars().take(64).collect();
    Refusal::new(Code::InvalidParams, message.into()).with("parameter", shown)
}

/// How many are wanted, by the value of `limit`.
fn limit_of(value: Option<&str>) -> Result<usize, Refusal> {
    let Some(value) = value else {
        return Ok(PAGE_DEFAULT);
    };
    let count = value.parse().ok();
    count
        .filter(|count| (1..=PAGE_MAX).contains(count))
        .ok_or_else(|| {
            bad_parameter(
                "limit",
                format!("limit must be a number from 1 to {PAGE_MAX}"),
            )
        })
}

/// Where to go on in something numbered, by the value of `after`.
fn number_of(value: Option<&str>) -> Result<u64, Refusal> {
    let number = value.map_or(Ok(0), str::parse);
    number.map_err(|_| bad_parameter("after", "after must be a number from 0"))
}

/// `after` and `limit` of a query string, `after` being the id of `what`. Neither needs
/// escapes.
fn page<T: FromStr>(query: Option<&str>, what: &str) -> Result<(Option<T>, usize), Refusal> {
    let [after, limit] = parameters(query, ["after", "limit"])?;
    let must = |_| bad_parameter("after", format!("after must be the id of {what}"));
    let after = after.map(|id| id.parse().map_err(must)).transpose()?;
    Ok((after, limit_of(limit)?))
}

/// Which entries a query string asks for.
fn entries_wanted(query: Option<&str>) -> Result<lines::Wanted, Refusal> {
    let [at, space, prefix] = parameters(query, ["at", "space", "prefix"])?;
    let must = |_| bad_parameter("at", "at must be a delta's id");
    let at = at.map(|delta| delta.parse().map_err(must)).transpose()?;
    let names = "space must be shared, owned, private, attached, agenda or stable";
    let must = || bad_parameter("space", names);
    let space = space.map(|space| lines::space(space).ok_or_else(must));
    Ok(lines::Wanted {
        at,
        space: space.transpose()?,
        prefix: percent_decode_str(prefix.unwrap_or("")).collect(),
    })
}

fn event(event: &EventRecord) -> api::Event {
    let payload = serde_json::from_slice(&event.payload).unwrap_or_else(|_| {
        // Another node's word may be no JSON.
        let text = String::from_utf8_lossy(&event.payload);
        let quoted = serde_json::value::to_raw_value(&text);
        quoted.expect("a text can be written as JSON")
    });
    api::Event {
        sequence: event.sequence,
        delta_id: event.delta_id.to_string(),
        time_unix_ms: unix_millis(event.hlc),
        kind: event.kind.clone(),
        payload,
    }
}

fn log_line(line: &GuestLine) -> api::LogLine {
    let level = match line.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let outcome = if line.succeeded { "ok" } else { "failed" };
    api::LogLine {
        number: line.number,
        time_unix_ms: line.unix_micros / 1000,
        level: level.to_owned(),
        method: line.method.to_string(),
        outcome: outcome.to_owned(),
        message: line.message.to_string(),
    }
}

fn application(record: &ApplicationRecord, whole: bool) -> api::Application {
    let description = if whole {
        serde_json::from_str(&record.description).ok()
    } else {
        None
    };
    api::Application {
        id: record.id.to_string(),
        name: record.name.clone(),
        version: record.version.clone(),
        size_bytes: record.size_bytes,
        installed_unix_ms: unix_millis(record.installed),
        reuse: record.reuse.name().to_owned(),
        description,
    }
}

fn context(info: &ContextInfo) -> api::Context {
    api::Context {
        id: info.id.to_string(),
        name: info.name.clone(),
        application: info.application.to_string(),
        created_unix_ms: unix_millis(info.created),
        version: info.version,
        root: info.root.to_string(),
        entries: info.entries,
        bytes: info.bytes,
        weight: info.weight.get(),
        out_of_service: info.out_of_service.as_deref().map(str::to_owned),
        shard: info.shard.number(),
    }
}

fn shard_status(board: &Board, shard: u16) -> api::ShardStatus {
    let unknown = Default::default();
    let stats = board.shard.get().unwrap_or(&unknown);
    api::ShardStatus::of(shard, stats)
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

#[cfg(test)]
mod tests {
    use corelet_store::ContextId;

    use super::*;

    #[test]
    fn a_reader_goes_on_behind_a_number() {
        assert_eq!(number_of(None).unwrap(), 0);
        let last = number_of(Some("18446744073709551615"));
        assert_eq!(last.unwrap(), u64::MAX);
        assert_eq!(limit_of(None).unwrap(), PAGE_DEFAULT);
        assert_eq!(limit_of(Some("1000")).unwrap(), PAGE_MAX);
        for bad in ["", "-1", "x", "18446744073709551616"] {
            let refused = number_of(Some(bad)).unwrap_err();
            assert_eq!(refused.code, Code::InvalidParams, "{bad}");
        }
        for bad in ["", "0", "1001"] {
            let refused = limit_of(Some(bad)).unwrap_err();
            assert_eq!(refused.code, Code::InvalidParams, "{bad}");
        }
    }

    #[test]
    fn a_parameter_is_known_and_given_once() {
        let of = |query| parameters(Some(query), ["after", "limit"]);
        assert_eq!(of("").unwrap(), [None, None]);
        assert_eq!(of("&limit=7&").unwrap(), [None, Some("7")]);
        assert_eq!(of("limit&after=a=b").unwrap(), [Some("a=b"), Some("")]);
        for (bad, name) in [
            ("after=1&after=2", "after"),
            ("after=1&limit=1&after=1", "after"),
            ("limit&limit", "limit"),
            ("offset=3", "offset"),
            ("After=3", "After"),
            ("=3", ""),
        ] {
            let refused = of(bad).unwrap_err();
            assert_eq!(refused.code, Code::InvalidParams, "{bad}");
            assert_eq!(refused.data["parameter"], name, "{bad}");
        }
        assert!(parameters(Some("x=1"), []).is_err());
        assert_eq!(parameters(None, []).unwrap(), [None::<&str>; 0]);
    }

    #[test]
    fn a_page_is_bounded_and_unknown_parameters_are_refused() {
        let page = |query: &str| page::<ContextId>(Some(query), "a context");
        assert_eq!(page("").unwrap(), (None, PAGE_DEFAULT));
        assert_eq!(page("limit=7&").unwrap(), (None, 7));
        let id = ContextId::from_bytes([7; 32]);
        assert_eq!(
            page(&format!("after={id}&limit=1000")).unwrap(),
            (Some(id), 1000)
        );
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=",
            "limit=-1",
            "after=x",
            "after",
            "offset=3",
        ] {
            assert_eq!(page(bad).unwrap_err().code, Code::InvalidParams, "{bad}");
        }
    }
}
