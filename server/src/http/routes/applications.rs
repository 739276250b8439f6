//! Applications, and the uploads of which they are made: installing, listing, changing, removing.
//! What an upload's headers say is read in `../uploads.rs`.

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use corelet_shard::ShardHandle;
use corelet_store::{ApplicationId, ApplicationRecord, Reuse};

use super::{Door, Named, at_home, front, no_content, refused, unix_millis};
use crate::api;
use crate::http::parameters::{bad_parameter, parameters};
use crate::http::reply::document;
use crate::http::uploads;
use crate::refusal::{Code, Refusal};
use crate::rpc;

pub(super) async fn list_applications(State(door): State<Door>) -> Response {
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
pub(super) async fn install_application(
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

pub(super) async fn show_application(State(door): State<Door>, Named(wanted): Named) -> Response {
    let answer = front(&door).and_then(|front| {
        let id = find_application(&front.shard, &wanted)?;
        let record = front.shard.show_application(id)?;
        Ok(document(StatusCode::OK, &application(&record, true)))
    });
    answer.unwrap_or_else(refused)
}

pub(super) async fn change_application(
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

pub(super) async fn remove_application(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = find_application(&front.shard, &wanted)?;
        front.shard.remove_application(id).await?;
        tracing::info!(application = %id, "removed");
        Ok(no_content())
    })
    .await
}

pub(super) async fn list_uploads(State(door): State<Door>) -> Response {
    at_home(door, async move |front| uploads::list(&front).await).await
}

pub(super) async fn begin_upload(
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

pub(super) async fn show_upload(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        uploads::show(&front, &wanted).await
    })
    .await
}

pub(super) async fn add_to_upload(
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

pub(super) async fn end_upload(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        front.shard.uploads().remove(uploads::id(&wanted)?).await?;
        Ok(no_content())
    })
    .await
}

/// An application by its id, or by its name: then the one installed last.
pub(super) fn find_application(
    shard: &ShardHandle,
    wanted: &str,
) -> Result<ApplicationId, Refusal> {
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

fn reuse_named(name: &str) -> Result<Reuse, Refusal> {
    let must = || bad_parameter("reuse", "reuse must be context or never");
    Reuse::named(name).ok_or_else(must)
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
