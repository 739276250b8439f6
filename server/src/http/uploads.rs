//! Uploads that come in pieces, over HTTP: begun, added to at an offset, asked for that offset
//! after whatever has happened, ended. Headers are called what the IETF's draft on resumable
//! uploads and tus call them. The files are worked on by threads of their own
//! (`corelet_shard::UploadService`); an application is made of one in
//! `routes/applications.rs`.

use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use corelet_shard::Coming;
use corelet_store::{NewUpload, Packing, Upload, UploadId};
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, HeaderName, HeaderValue, LOCATION};
use hyper::{HeaderMap, StatusCode};

use super::door::Front;
use super::parameters::bad_parameter;
use super::reply::{document, problem};
use crate::api;
use crate::refusal::{Code, Refusal};

/// Where uploads are begun.
pub(super) const PATH: &str = "/v1/uploads";
/// Where each of them is.
pub(super) const BELOW: &str = "/v1/uploads/";

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// A component on its way in: in the body of this request, or in an upload.
pub(super) async fn coming(
    front: &Front,
    upload: Option<&str>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Coming, Refusal> {
    let Some(upload) = upload else {
        let packing = packing(headers)?;
        return Ok(Coming::Whole {
            bytes: body,
            packing,
        });
    };
    if !body.is_empty() {
        let message = "the upload is the component, so the request must have no body";
        return Err(bad_parameter("upload", message));
    }
    check_plain(headers)?;
    let held = front.shard.uploads().hold(id(upload)?).await?;
    Ok(Coming::Uploaded(held))
}

/// Begins one.
pub(super) async fn begin(
    front: &Front,
    application: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let must = |_| {
        bad_parameter(
            "application",
            "application must be the id of what is to come",
        )
    };
    let new = NewUpload {
        application: application.map(|id| id.parse().map_err(must)).transpose()?,
        bytes: number(headers, &UPLOAD_LENGTH)?,
        packing: packing(headers)?,
    };
    let upload = front.shard.uploads().create(new).await?;
    tracing::debug!(upload = %upload.id, "begun");
    let mut response = document(StatusCode::CREATED, &shown(front, &upload));
    let place = HeaderValue::try_from(format!("{BELOW}{}", upload.id));
    let place = place.expect("a path and base58");
    response.headers_mut().insert(LOCATION, place);
    Ok(told(response, &upload))
}

/// Adds a piece.
pub(super) async fn append(
    front: &Front,
    wanted: &str,
    headers: &HeaderMap,
    piece: Bytes,
) -> Result<Response, Refusal> {
    let id = id(wanted)?;
    check_plain(headers)?;
    let offset = number(headers, &UPLOAD_OFFSET)?.ok_or_else(|| {
        let message = "the header Upload-Offset must say where the piece belongs";
        bad_parameter("Upload-Offset", message)
    })?;
    match front.shard.uploads().append(id, offset, piece).await {
        Ok(upload) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(told(response, &upload))
        }
        Err(error) => {
            let refusal = Refusal::from(error);
            let mut response: Response = problem(&refusal);
            let right = refusal
                .data
                .get("offset")
                .and_then(|offset| offset.as_u64());
            if let Some(right) = right {
                let headers = response.headers_mut();
                headers.insert(UPLOAD_OFFSET, HeaderValue::from(right));
            }
            Ok(response)
        }
    }
}

/// Tells of one.
pub(super) async fn show(front: &Front, wanted: &str) -> Result<Response, Refusal> {
    let upload = front.shard.uploads().show(id(wanted)?).await?;
    let response = document(StatusCode::OK, &shown(front, &upload));
    Ok(told(response, &upload))
}

/// Tells of all.
pub(super) async fn list(front: &Front) -> Result<Response, Refusal> {
    let uploads = front.shard.uploads().list().await?;
    let uploads = uploads.iter().map(|upload| shown(front, upload)).collect();
    Ok(document(StatusCode::OK, &api::Uploads { uploads }))
}

/// An id out of a path or a parameter.
pub(super) fn id(text: &str) -> Result<UploadId, Refusal> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(128).collect();
        let message = format!("there is no upload {shown:?}");
        Refusal::new(Code::UnknownUpload, message).with("upload", shown)
    })
}

fn shown(front: &Front, upload: &Upload) -> api::Upload {
    let announced = &upload.announced;
    let used = upload.touched.duration_since(UNIX_EPOCH);
    api::Upload {
        id: upload.id.to_string(),
        application: announced.application.map(|id| id.to_string()),
        encoding: announced.packing.name().to_owned(),
        offset: upload.offset,
        size: announced.bytes,
        used_unix_ms: used.map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        }),
        unreadable: upload.unreadable.clone(),
        piece_bytes_max: front.facts.config.uploads.piece_bytes_max.0,
    }
}

/// What every answer about an upload says in its head.
fn told(mut response: Response, upload: &Upload) -> Response {
    let headers = response.headers_mut();
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(upload.offset));
    if let Some(bytes) = upload.announced.bytes {
        headers.insert(UPLOAD_LENGTH, HeaderValue::from(bytes));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        let shown = if *name == UPLOAD_OFFSET {
            "Upload-Offset"
        } else {
            "Upload-Length"
        };
        bad_parameter(
            shown,
            format!("the header {shown} must be a number of bytes"),
        )
    })
}

/// How an upload is packed is said when it begins: a piece is no more packed than that.
fn check_plain(headers: &HeaderMap) -> Result<(), Refusal> {
    match packing(headers)? {
        Packing::Plain => Ok(()),
        Packing::Gzip | Packing::Zstd => {
            let message = "Content-Encoding belongs to the request that begins the upload";
            Err(bad_parameter("Content-Encoding", message))
        }
    }
}

/// What `Content-Encoding` says: one of ours, once.
fn packing(headers: &HeaderMap) -> Result<Packing, Refusal> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let (Some(first), rest) = (all.next(), all.next()) else {
        return Ok(Packing::Plain);
    };
    let text = String::from_utf8_lossy(first.as_bytes());
    let packing = Packing::named(text.trim()).filter(|_| rest.is_none());
    packing.ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let message = format!(
            "Content-Encoding {shown:?} is not one of gzip, zstd and identity; pack it as one of these"
        );
        Refusal::new(Code::UnsupportedEncoding, message).with("encoding", shown)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_encoding_of_ours_is_understood_and_no_other() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            packing(&headers)
        };
        assert_eq!(headers(&[]).unwrap(), Packing::Plain);
        assert_eq!(headers(&["identity"]).unwrap(), Packing::Plain);
        assert_eq!(headers(&["GZip"]).unwrap(), Packing::Gzip);
        assert_eq!(headers(&[" zstd "]).unwrap(), Packing::Zstd);
        for bad in [&["br"][..], &["gzip, zstd"], &["gzip", "gzip"], &[""]] {
            let refused = headers(bad).unwrap_err();
            assert_eq!(refused.code, Code::UnsupportedEncoding, "{bad:?}");
        }
    }

    #[test]
    fn an_offset_is_digits_and_nothing_else() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(UPLOAD_OFFSET, HeaderValue::from_static(value));
            number(&headers, &UPLOAD_OFFSET)
        };
        assert_eq!(of("12").unwrap(), Some(12));
        assert_eq!(number(&HeaderMap::new(), &UPLOAD_OFFSET).unwrap(), None);
        for bad in ["", "-1", "+1", "1.0", "0x1", "18446744073709551616"] {
            assert_eq!(of(bad).unwrap_err().code, Code::InvalidParams, "{bad}");
        }
    }
}
