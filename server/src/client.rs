//! A client of the HTTP interface: what the commands and `corelet dev` ask a
//! server with. It blocks, so no shard thread calls it. Which server, with
//! which token, is decided in `cli/connect.rs`; what a person reads when a
//! request fails is in `cli/failure.rs`.

use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder, SendBody};

use crate::api;
use crate::auth::Token;

/// A server that is there answers a connection within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a request takes whose work is bounded by fuel.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Compiling a large application takes a while, and it may wait for others.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(900);
/// The most bytes of an answer that are read. Far above any limit of the server.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// How much of a foreign answer is shown.
const FOREIGN_CHARS_MAX: usize = 200;

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none that we can ask.
    #[error("{url:?} is not the address of a server: {why}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers.
    #[error("no server answers at {url}: {reason}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The answer did not come, or not whole. What was asked for may have happened.
    #[error("the server at {url} did not answer: {reason}")]
    Unanswered {
        /// Who was asked.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The server refused.
    #[error("{}", .0.message)]
    Refused(Box<Refused>),
    /// Somebody else answers there.
    #[error(
        "what answers at {url} does not speak like a Corelet server (status {status}): {start:?}"
    )]
    Foreign {
        /// Who was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How the answer begins.
        start: String,
    },
    /// What was to be sent could not be read.
    #[error("reading what was to be sent")]
    Sending(#[source] io::Error),
}

/// A refusal, from a problem document or a JSON-RPC error object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// The stable name in the catalogue (`server/ERRORS.md`).
    pub name: String,
    /// The number in the catalogue.
    pub code: i64,
    /// What the server says.
    pub message: String,
    /// What belongs to it: which limit, which number.
    pub data: Map<String, Value>,
    /// When to try again, for refusals that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// The request's name in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The answer to a call.
#[derive(Debug, Clone, Deserialize)]
pub struct CallResult {
    /// What the method returned, as it wrote it.
    pub output: Box<RawValue>,
    /// The delta that the call became, if it changed or told anything.
    pub delta_id: Option<String>,
    /// The context's root after the call.
    pub root: String,
    /// What the call has used.
    pub fuel_used: u64,
}

/// What an application says about itself.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Description {
    /// Its methods.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// What `init` takes.
    #[serde(default)]
    pub init_parameters: Vec<Parameter>,
}

/// A method of an application.
#[derive(Debug, Clone, Deserialize)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// `query` or `update`.
    pub kind: String,
    /// What it takes.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// The returned type as the author wrote it.
    #[serde(default)]
    pub returns: String,
    /// The author's words.
    #[serde(default)]
    pub doc: String,
}

/// A parameter of a method.
#[derive(Debug, Clone, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type as the author wrote it.
    pub type_name: String,
}

impl Description {
    /// The description inside an application's document.
    pub fn of(application: &api::Application) -> Description {
        let value = application.description.clone();
        value
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default()
    }
}

/// A connection to one server with one token.
pub struct Client {
    agent: Agent,
    url: String,
    token: Token,
}

impl Client {
    /// A client of the server at `url`. Nothing is sent yet.
    pub fn new(url: &str, token: Token) -> Result<Client, ClientError> {
        check_address(url)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            // The token goes to the server that was named and to nobody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("corelet/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Client {
            agent,
            url: url.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// The address that is asked.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Installs a component. `sent` hears how many of its bytes have gone out.
    pub fn install(
        &self,
        component: &[u8],
        sent: impl FnMut(u64),
    ) -> Result<api::Application, ClientError> {
        let mut reader = Counting {
            rest: component,
            sent_bytes: 0,
            sent,
        };
        let request = self
            .agent
            .post(self.at("/v1/applications"))
            .header("content-type", "application/wasm")
            .header("content-length", component.len().to_string());
        let request = self.dressed(request, INSTALL_TIMEOUT);
        self.document(request.send(SendBody::from_reader(&mut reader)))
    }

    /// All installed applications.
    pub fn applications(&self) -> Result<api::Applications, ClientError> {
        self.get("/v1/applications")
    }

    /// One application and what it says about itself.
    pub fn application(&self, id_or_name: &str) -> Result<api::Application, ClientError> {
        self.get(&format!("/v1/applications/{}", segment(id_or_name)))
    }

    /// Removes an application that has no contexts.
    pub fn remove_application(&self, id_or_name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/applications/{}", segment(id_or_name)))
    }

    /// Makes a context.
    pub fn create_context(&self, wanted: &api::CreateContext) -> Result<api::Context, ClientError> {
        let request = self.dressed(self.agent.post(self.at("/v1/contexts")), INSTALL_TIMEOUT);
        self.document(request.send_json(wanted))
    }

    /// A page of contexts.
    pub fn contexts(&self, after: Option<&str>, limit: u32) -> Result<api::Contexts, ClientError> {
        let after = after
            .map(|id| format!("&after={}", segment(id)))
            .unwrap_or_default();
        self.get(&format!("/v1/contexts?limit={limit}{after}"))
    }

    /// One context.
    pub fn context(&self, id_or_name: &str) -> Result<api::Context, ClientError> {
        self.get(&format!("/v1/contexts/{}", segment(id_or_name)))
    }

    /// Deletes a context and its state.
    pub fn delete_context(&self, id_or_name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/v1/contexts/{}", segment(id_or_name)))
    }

    /// How the server is doing.
    pub fn status(&self) -> Result<api::Status, ClientError> {
        self.get("/v1/status")
    }

    /// Calls a method of a context; the result as the server wrote it.
    pub fn call(
        &self,
        context: &str,
        method: &str,
        args: &RawValue,
    ) -> Result<Box<RawValue>, ClientError> {
        #[derive(Serialize)]
        struct Request<'a> {
            jsonrpc: &'a str,
            id: u32,
            method: &'a str,
            params: Params<'a>,
        }
        #[derive(Serialize)]
        struct Params<'a> {
            context_id: &'a str,
            method: &'a str,
            args: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Answer {
            result: Box<RawValue>,
        }
        let params = Params {
            context_id: context,
            method,
            args,
        };
        let body = Request {
            jsonrpc: "2.0",
            id: 1,
            method: "execute",
            params,
        };
        let request = self.dressed(self.agent.post(self.at("/rpc")), REQUEST_TIMEOUT);
        let answer: Answer = self.document(request.send_json(&body))?;
        Ok(answer.result)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.document(
            self.dressed(self.agent.get(self.at(path)), REQUEST_TIMEOUT)
                .call(),
        )
    }

    fn delete(&self, path: &str) -> Result<(), ClientError> {
        let answer = self
            .dressed(self.agent.delete(self.at(path)), REQUEST_TIMEOUT)
            .call();
        self.body(answer).map(|_| ())
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn dressed<B>(&self, request: RequestBuilder<B>, timeout: Duration) -> RequestBuilder<B> {
        request
            .header("authorization", format!("Bearer {}", self.token.reveal()))
            .config()
            .timeout_global(Some(timeout))
            .build()
    }

    /// The document of a good answer.
    fn document<T: DeserializeOwned>(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let (status, text) = self.body(answer)?;
        serde_json::from_str(&text).map_err(|_| self.foreign(status, &text))
    }

    /// The body of an answer that is no refusal.
    fn body(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<(u16, String), ClientError> {
        let mut answer = answer.map_err(|error| self.failed(error))?;
        let status = answer.status().as_u16();
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let retry_after_seconds = header("retry-after").and_then(|seconds| seconds.parse().ok());
        let request_id = header("x-request-id");
        let read = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec();
        let bytes = read.map_err(|error| self.failed(error))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(mut refused) = refused_in(&text) {
            refused.retry_after_seconds = retry_after_seconds;
            refused.request_id = request_id;
            return Err(ClientError::Refused(Box::new(refused)));
        }
        if (200..300).contains(&status) {
            Ok((status, text))
        } else {
            Err(self.foreign(status, &text))
        }
    }

    fn failed(&self, error: ureq::Error) -> ClientError {
        let url = self.url.clone();
        match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                ClientError::Unreachable {
                    url,
                    reason: "connection refused".to_owned(),
                }
            }
            ureq::Error::HostNotFound => ClientError::Unreachable {
                url,
                reason: "there is no such host".to_owned(),
            },
            ureq::Error::ConnectionFailed => ClientError::Unreachable {
                url,
                reason: "no connection".to_owned(),
            },
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                let reason = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
                ClientError::Unreachable { url, reason }
            }
            ureq::Error::Timeout(_) => ClientError::Unanswered {
                url,
                reason: "it took too long".to_owned(),
            },
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                    ClientError::Unreachable {
                        url,
                        reason: error.to_string(),
                    }
                }
                _ => ClientError::Unanswered {
                    url,
                    reason: error.to_string(),
                },
            },
            other => ClientError::Unanswered {
                url,
                reason: other.to_string(),
            },
        }
    }

    fn foreign(&self, status: u16, text: &str) -> ClientError {
        let start = text.chars().take(FOREIGN_CHARS_MAX).collect();
        ClientError::Foreign {
            url: self.url.clone(),
            status,
            start,
        }
    }
}

/// The bytes still to be sent; says how many have gone.
struct Counting<'a, F> {
    rest: &'a [u8],
    sent_bytes: u64,
    sent: F,
}

impl<F: FnMut(u64)> Read for Counting<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(buffer)?;
        self.sent_bytes += count as u64;
        (self.sent)(self.sent_bytes);
        Ok(count)
    }
}

fn check_address(url: &str) -> Result<(), ClientError> {
    let refuse = |why| {
        Err(ClientError::Address {
            url: url.to_owned(),
            why,
        })
    };
    if url.starts_with("https://") {
        return refuse(
            "this client speaks plain HTTP only; give an http:// address, through a tunnel if it is far away",
        );
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return refuse("it must begin with http://, as in http://127.0.0.1:7700");
    };
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', '@']) {
        return refuse(
            "it must be a host with a port and nothing behind, as in http://127.0.0.1:7700",
        );
    }
    match url.parse::<ureq::http::Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        _ => refuse("it must be a host with a port, as in http://127.0.0.1:7700"),
    }
}

/// A piece of a path or query (RFC 3986 section 2.3: all but the unreserved is escaped).
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The refusal in an answer: a JSON-RPC error object, or a problem document
/// of ours (RFC 9457). Anything else is none.
fn refused_in(text: &str) -> Option<Refused> {
    const TYPE: &str = "urn:corelet:error:";
    #[derive(Deserialize)]
    struct Either {
        error: Option<ErrorObject>,
        #[serde(rename = "type")]
        kind: Option<String>,
        detail: Option<String>,
        code: Option<i64>,
        #[serde(flatten)]
        rest: Map<String, Value>,
    }
    #[derive(Deserialize)]
    struct ErrorObject {
        code: i64,
        message: String,
        #[serde(default)]
        data: Map<String, Value>,
    }
    // Good answers can be large: they are told apart before they are parsed.
    if !text.contains("\"error\"") && !text.contains(TYPE) {
        return None;
    }
    let either: Either = serde_json::from_str(text).ok()?;
    if let Some(ErrorObject {
        code,
        message,
        mut data,
    }) = either.error
        && either.rest.contains_key("jsonrpc")
    {
        let name = match data.remove("name") {
            Some(Value::String(name)) => name,
            _ => "unknown".to_owned(),
        };
        return Some(Refused {
            name,
            code,
            message,
            data,
            retry_after_seconds: None,
            request_id: None,
        });
    }
    let name = either.kind?.strip_prefix(TYPE)?.to_owned();
    let mut data = either.rest;
    // They only repeat the name and the status line.
    data.remove("title");
    data.remove("status");
    data.remove("name");
    Some(Refused {
        name,
        code: either.code?,
        message: either.detail.unwrap_or_default(),
        data,
        retry_after_seconds: None,
        request_id: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::{Code, Refusal};

    #[test]
    fn both_shapes_of_a_refusal_read_the_same() {
        let refusal = Refusal::limit(Code::TooLarge, "limits.args_bytes_max", 70_000, 65_536);
        let problem = refused_in(std::str::from_utf8(&refusal.problem()).unwrap()).unwrap();
        let mut object = Vec::new();
        refusal.write_error_object(&mut object);
        let object = String::from_utf8(object).unwrap();
        let rpc = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{object}}}"#);
        assert_eq!(refused_in(&rpc).unwrap(), problem);
        assert_eq!(problem.name, "too_large");
        assert_eq!(problem.data["got"], 70_000);
        assert_eq!(problem.data.len(), 3);
    }

    #[test]
    fn good_answers_are_no_refusals_whatever_they_hold() {
        for good in [
            "",
            "[]",
            r#"{"jsonrpc":"2.0","id":1,"result":{"output":{"error":1}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"output":"urn:corelet:error:busy"}}"#,
            r#"{"name":"error","id":"\"error\""}"#,
        ] {
            assert_eq!(refused_in(good), None, "{good}");
        }
    }

    #[test]
    fn addresses_are_a_host_and_a_port() {
        let check = |url: &str, good: bool| assert_eq!(check_address(url).is_ok(), good, "{url}");
        check("http://127.0.0.1:7700", true);
        check("http://localhost", true);
        check("http://[::1]:7700/", true);
        check("https://example.org", false);
        check("127.0.0.1:7700", false);
        check("http://", false);
        check("http://:80", false);
        check("http://a b", false);
        check("http://host/path", false);
        check("http://user:secret@host", false);
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert_eq!(segment("shop-1.2_x"), "shop-1.2_x");
        assert_eq!(segment("../v1?a=b#c d"), "..%2Fv1%3Fa%3Db%23c%20d");
        assert_eq!(segment("ä"), "%C3%A4");
    }

    #[test]
    fn nobody_there_is_told_apart_from_a_refusal() {
        // A port that was free a moment ago and that nobody listens on.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let token = Token::parse("corelet_0123456789abcdef").unwrap();
        let error = Client::new(&url, token).unwrap().status().unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
}
