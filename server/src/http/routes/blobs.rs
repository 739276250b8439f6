//! Blobs: listing, reading, showing and removing them, and which of them a context has attached.
//! Their contents come in and go out in `../blobs.rs`.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;

use super::{Door, Named, at_home, no_content};
use crate::api;
use crate::http::blobs;
use crate::http::copy::Pace;
use crate::http::parameters::page;
use crate::http::reply::document;

pub(super) async fn list_blobs(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
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
pub(super) async fn list_attached(
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

pub(super) async fn read_blob(
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

pub(super) async fn show_blob(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let info = front.shard.blobs().info(blobs::id(&wanted)?).await?;
        Ok(document(StatusCode::OK, &blobs::info(&info)))
    })
    .await
}

pub(super) async fn remove_blob(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = blobs::id(&wanted)?;
        front.shard.blobs().remove(id).await?;
        tracing::info!(blob = %id, "removed");
        Ok(no_content())
    })
    .await
}
