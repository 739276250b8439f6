//! Blobs over HTTP. An upload is taken in as it comes and never whole; a download goes out
//! at the pace of its client. The files are worked on by threads of their own
//! (`corelet_shard::BlobService`); here, on a shard's thread, are only pieces in memory.
//!
//! Start at [`receive`] (uploads, which do not go through the router) and [`send`].

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

use axum::body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use corelet_shard::{BlobDownload, BlobInfo, BlobRequestError, BlobService};
use corelet_store::{BLOB_GROUP_BYTES, BlobEntry, BlobId};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, StatusCode};

use super::body::{BodyBound, NoBody, data};
use super::copy::Pace;
use super::door::Front;
use super::parameters::{bad_parameter, parameters};
use super::range::Wanted;
use super::reply::{document, problem};
use super::watch::{Phase, Watch};
use crate::api;
use crate::refusal::{Code, Refusal};

/// Where uploads go.
pub(super) const PATH: &str = "/v1/blobs";

/// Nobody reads what a stranger has uploaded as anything else than bytes.
const TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");
/// What an id stands for never changes.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Takes in a blob.
pub(super) async fn receive(
    front: &Front,
    watch: &Rc<Watch>,
    query: Option<&str>,
    mut incoming: Incoming,
) -> Result<Response, NoBody> {
    let refuse = |error: BlobRequestError| NoBody::Refused(error.into());
    let expected = expected(query).map_err(NoBody::Refused)?;
    let bound = bound(front);
    let announced = incoming.size_hint().exact();
    if let Some(announced) = announced.filter(|announced| *announced > bound.bytes_max as u64) {
        let max = bound.bytes_max as u64;
        let refusal = Refusal::limit(Code::TooLarge, bound.bytes_name, announced, max);
        return Err(NoBody::Refused(refusal));
    }
    let begun = front.shard.blobs().upload(expected, announced).await;
    let mut upload = begun.map_err(refuse)?;
    let mut piece = BytesMut::new();
    loop {
        // The patience begins anew with each piece, not with each byte.
        watch.enter(Phase::Blob);
        let is_over = fill(&mut piece, &mut incoming, &bound, watch).await?;
        watch.enter(Phase::Work);
        if !piece.is_empty() {
            let written = upload.write(piece.split().freeze()).await;
            written.map_err(refuse)?;
        }
        if is_over {
            break;
        }
    }
    let uploaded = upload.finish().await.map_err(refuse)?;
    let answer = api::BlobRef {
        id: uploaded.hold.id().to_string(),
        size: uploaded.bytes,
    };
    tracing::debug!(blob = answer.id, bytes = answer.size, "uploaded");
    Ok(document(StatusCode::CREATED, &answer))
}

/// Takes in as much as is verified together; tells whether that was the end.
async fn fill(
    piece: &mut BytesMut,
    incoming: &mut Incoming,
    bound: &BodyBound,
    watch: &Watch,
) -> Result<bool, NoBody> {
    while piece.len() < BLOB_GROUP_BYTES {
        match data(incoming, bound, watch).await? {
            Some(more) => piece.extend_from_slice(&more),
            None => return Ok(true),
        }
    }
    Ok(false)
}

fn bound(front: &Front) -> BodyBound {
    let config = &front.facts.config;
    BodyBound {
        bytes_name: "limits.blob_bytes_max",
        bytes_max: config.limits.blob_bytes_max as usize,
        time_name: "blobs.upload_timeout",
        time_max_millis: config.blobs.upload_timeout.as_millis() as u64,
        phase: Phase::Blob,
    }
}

/// The id that an upload announces.
fn expected(query: Option<&str>) -> Result<Option<BlobId>, Refusal> {
    let [id] = parameters(query, ["id"])?;
    let must = |_| bad_parameter("id", "id must be that of the blob that is to come");
    id.map(|id| id.parse().map_err(must)).transpose()
}

/// An id out of a path.
pub(super) fn id(text: &str) -> Result<BlobId, Refusal> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(128).collect();
        let message = format!("there is no blob {shown:?}");
        Refusal::new(Code::UnknownBlob, message).with("blob", shown)
    })
}

/// Answers with a blob, or the part of it that the headers want.
pub(super) async fn send(
    service: &BlobService,
    id: BlobId,
    headers: &HeaderMap,
    is_head: bool,
    pace: Pace,
) -> Result<Response, Refusal> {
    let mut download = service.download(id).await?;
    let tag = format!("\"{id}\"");
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let mut response = Response::new(body::Body::empty());
    let set = |response: &mut Response, name: HeaderName, value: String| {
        let value = HeaderValue::try_from(value).expect("digits, base58 and quotes");
        response.headers_mut().insert(name, value);
    };
    set(&mut response, ETAG, tag.clone());
    response.headers_mut().insert(CACHE_CONTROL, FOR_GOOD);
    let matches = |tags: &str| {
        let mut tags = tags.split(',').map(str::trim);
        tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    };
    if text(IF_NONE_MATCH).is_some_and(matches) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let bytes = download.bytes();
    let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|only| only == tag));
    let wanted = match Wanted::of(range, bytes) {
        Wanted::Whole => 0..bytes,
        Wanted::Part(range) => {
            let (first, last) = (range.start, range.end - 1);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let told = format!("bytes {first}-{last}/{bytes}");
            set(&mut response, CONTENT_RANGE, told);
            range
        }
        Wanted::Nothing => {
            let message =
                format!("the range begins behind the end of the blob, which has {bytes} bytes");
            let refusal = Refusal::new(Code::RangeNotSatisfiable, message).with("size", bytes);
            let mut refused: Response = problem(&refusal);
            set(&mut refused, CONTENT_RANGE, format!("bytes */{bytes}"));
            return Ok(refused);
        }
    };
    let head = response.headers_mut();
    head.insert(CONTENT_TYPE, TYPE);
    head.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
    head.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(CONTENT_LENGTH, HeaderValue::from(wanted.end - wanted.start));
    if !is_head {
        download.narrow(wanted.clone());
        *response.body_mut() = body::Body::new(Content::begin(download, wanted, pace).await?);
    }
    Ok(response)
}

/// A blob on its way to a client.
struct Content {
    first: Option<Bytes>,
    download: BlobDownload,
    left: u64,
    pace: Pace,
}

impl Content {
    /// Waits for the first part, so that one that is damaged is refused in words.
    async fn begin(
        mut download: BlobDownload,
        wanted: Range<u64>,
        pace: Pace,
    ) -> Result<Content, BlobRequestError> {
        let first = poll_fn(|cx| download.poll_next(cx)).await.transpose()?;
        Ok(Content {
            first,
            download,
            left: wanted.end - wanted.start,
            pace,
        })
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BlobRequestError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BlobRequestError>>> {
        let part = match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.download.poll_next(cx),
        };
        // The client's patience is bounded where it has something to take.
        self.pace.enter(match part {
            Poll::Ready(_) => Phase::Send,
            Poll::Pending => Phase::Work,
        });
        part.map(|part| {
            part.map(|part| {
                // The connection is broken off: nobody takes a half of it for the whole.
                let part = part.inspect_err(|error| {
                    tracing::warn!(%error, blob = %self.download.id(), "a download was broken off");
                })?;
                self.left = self.left.saturating_sub(part.len() as u64);
                Ok(Frame::data(part))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// One blob in a list.
pub(super) fn entry(entry: &BlobEntry) -> api::Blob {
    let touched = entry.touched.duration_since(UNIX_EPOCH);
    api::Blob {
        id: entry.id.to_string(),
        size: entry.bytes,
        used_unix_ms: touched.map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        }),
    }
}

/// All that is known of one.
pub(super) fn info(info: &BlobInfo) -> api::BlobInfo {
    api::BlobInfo {
        blob: entry(&info.entry),
        held: info.is_held,
        contexts: info.contexts.iter().map(ToString::to_string).collect(),
    }
}
