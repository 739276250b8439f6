//! How the server as a whole is doing: for load balancers, for who scrapes its figures, and for
//! `corelet status`. What was counted of contexts' calls is in `../statistics.rs`.

use axum::body;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use super::{Door, at_home, front, refused};
use crate::api;
use crate::facts::Board;
use crate::http::reply::document;
use crate::http::statistics;
use crate::metrics::{self, classic};
use crate::refusal::{Code, Refusal};

pub(super) async fn health() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(door): State<Door>) -> Response {
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

pub(super) async fn figures(State(door): State<Door>, headers: HeaderMap) -> Response {
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

pub(super) async fn version() -> Response {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    document(
        StatusCode::OK,
        &api::Version {
            name: "corelet".to_owned(),
            version,
        },
    )
}

pub(super) async fn status(State(door): State<Door>) -> Response {
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

/// The contexts in memory that have the most to do.
pub(super) async fn list_busiest(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
    at_home(door, async move |front| {
        statistics::busiest(&front, query.as_deref()).await
    })
    .await
}

fn shard_status(board: &Board, shard: u16) -> api::ShardStatus {
    let unknown = Default::default();
    let stats = board.shard.get().unwrap_or(&unknown);
    api::ShardStatus::of(shard, stats)
}
