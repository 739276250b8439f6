//! Contexts as such: creating, listing, changing, upgrading and deleting them, stopping their calls,
//! and what was counted of those. What a context holds is read in `contents.rs`.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use corelet_shard::{ContextInfo, NewCode, NewContext, Weight};

use super::applications::find_application;
use super::{Door, Named, at_home, no_content, unix_millis};
use crate::api;
use crate::auth::Claims;
use crate::http::parameters::{bad_parameter, page};
use crate::http::reply::document;
use crate::http::statistics;
use crate::refusal::{Code, Refusal};
use crate::rpc;

pub(super) async fn list_contexts(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
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

pub(super) async fn create_context(
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

pub(super) async fn show_context(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let info = front.shard.show_context(id).await?;
        Ok(document(StatusCode::OK, &context(&info)))
    })
    .await
}

/// Has a context run another application, with its state as it is.
pub(super) async fn upgrade_context(
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

pub(super) async fn change_context(
    State(door): State<Door>,
    Named(wanted): Named,
    change: Bytes,
) -> Response {
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

pub(super) async fn delete_context(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        front.shard.delete_context(id).await?;
        tracing::info!(context = %id, "deleted");
        Ok(no_content())
    })
    .await
}

pub(super) async fn release_context(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        front.shard.release_context(id).await?;
        tracing::info!(context = %id, "back in service");
        Ok(no_content())
    })
    .await
}

/// Stops what runs.
pub(super) async fn cancel_calls(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        let id = front.shard.resolve(&wanted)?;
        let cancelled = front.shard.cancel_calls(id).await?;
        tracing::info!(context = %id, calls = cancelled, "cancelled calls");
        Ok(document(StatusCode::OK, &api::Cancelled { cancelled }))
    })
    .await
}

/// What was counted of a context's calls.
pub(super) async fn show_statistics(State(door): State<Door>, Named(wanted): Named) -> Response {
    at_home(door, async move |front| {
        statistics::of_context(&front, &wanted).await
    })
    .await
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
