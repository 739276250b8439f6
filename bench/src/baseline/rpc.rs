//! The baseline's handlers: JSON in, JSON out. No storage layout here (see
//! `ledger.rs`).
//!
//! All of it runs on the runtime's only thread.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use subtle::ConstantTimeEq as _;

use super::App;
use super::ledger::{Root, Write, Written};

/// The receipt of a checked bearer token.
pub(super) struct Authorized;

impl FromRequestParts<Arc<App>> for Authorized {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        let given = parts
            .headers
            .get(AUTHORIZATION)
            .ok_or(StatusCode::UNAUTHORIZED)?;
        let equal: bool = given.as_bytes().ct_eq(app.authorization.as_bytes()).into();
        if equal {
            Ok(Self)
        } else {
            Err(StatusCode::UNAUTHORIZED)
        }
    }
}

/// One JSON-RPC request; everything that is only passed on stays as it was
/// sent.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    context_id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    args: &'a RawValue,
}

#[derive(Deserialize)]
struct GetArgs<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SetArgs<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Serialize)]
struct Reply<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    result: Outcome<'a>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    output: Option<&'a RawValue>,
    delta_id: Option<Root>,
    root: Root,
    fuel_used: u64,
}

#[derive(Serialize)]
struct ErrorReply<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    error: RpcError<'a>,
}

#[derive(Serialize)]
struct RpcError<'a> {
    code: i32,
    message: &'a str,
}

/// `POST /rpc`.
pub(super) async fn execute(_: Authorized, State(app): State<Arc<App>>, body: Bytes) -> Response {
    let request: Request<'_> = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(None, -32700, &error.to_string()),
    };
    if request.jsonrpc != "2.0" || request.method != "execute" {
        return refuse(Some(request.id), -32601, "the only method is execute");
    }
    match &*request.params.method {
        "get" => read(&app, &request),
        "set" => write(&app, &request).await,
        _ => refuse(Some(request.id), -32601, "the only methods are get and set"),
    }
}

fn read(app: &App, request: &Request<'_>) -> Response {
    let args: GetArgs<'_> = match serde_json::from_str(request.params.args.get()) {
        Ok(args) => args,
        Err(error) => return refuse(Some(request.id), -32602, &error.to_string()),
    };
    let answer = app
        .ledger
        .read(&request.params.context_id, &args.key, |root, value| {
            let output = value.map(serde_json::from_slice).transpose()?;
            Ok(reply(
                request.id,
                Outcome {
                    output,
                    delta_id: None,
                    root,
                    fuel_used: 0,
                },
            ))
        });
    answer.unwrap_or_else(|error| refuse(Some(request.id), -32000, &error.to_string()))
}

async fn write(app: &App, request: &Request<'_>) -> Response {
    let args: SetArgs<'_> = match serde_json::from_str(request.params.args.get()) {
        Ok(args) => args,
        Err(error) => return refuse(Some(request.id), -32602, &error.to_string()),
    };
    let write = Write::new(&request.params.context_id, &args.key, args.value.get());
    match app.writer.commit(write).await {
        Ok(Written {
            previous,
            delta_id,
            root,
        }) => {
            let output = match previous.as_deref().map(serde_json::from_slice).transpose() {
                Ok(output) => output,
                Err(error) => return refuse(Some(request.id), -32000, &error.to_string()),
            };
            reply(
                request.id,
                Outcome {
                    output,
                    delta_id: Some(delta_id),
                    root,
                    fuel_used: 0,
                },
            )
        }
        Err(error) => refuse(Some(request.id), -32000, &error.to_string()),
    }
}

fn reply(id: &RawValue, result: Outcome<'_>) -> Response {
    Json(Reply {
        jsonrpc: "2.0",
        id,
        result,
    })
    .into_response()
}

/// Not with status 200, as the server under test does: the load tool counts the
/// status of each answer and reads none.
fn refuse(id: Option<&RawValue>, code: i32, message: &str) -> Response {
    let reply = ErrorReply {
        jsonrpc: "2.0",
        id,
        error: RpcError { code, message },
    };
    (StatusCode::UNPROCESSABLE_ENTITY, Json(reply)).into_response()
}

#[derive(Serialize)]
struct Created {
    id: String,
}

/// `POST /v1/applications`: accepted and forgotten, so that one harness can
/// drive both servers.
pub(super) async fn install(_: Authorized, wasm: Bytes) -> Response {
    (
        StatusCode::CREATED,
        Json(Created {
            id: bs58::encode(blake3::hash(&wasm).as_bytes()).into_string(),
        }),
    )
        .into_response()
}

/// `POST /v1/contexts`: an empty context with a random id.
pub(super) async fn create_context(_: Authorized, State(app): State<Arc<App>>) -> Response {
    let mut id = [0; 32];
    if let Err(error) = getrandom::fill(&mut id) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let id = bs58::encode(id).into_string();
    match app.writer.commit(Write::create(&id)).await {
        Ok(_) => (StatusCode::CREATED, Json(Created { id })).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
