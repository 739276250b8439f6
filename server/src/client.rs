//! A blocking client of a Corelet server, as the command line uses it: finds
//! the server and its token, sends one request at a time, and tells refusals from
//! silence.

mod pieces;
mod upload;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ureq::{Agent, Body, SendBody};

use crate::api;
use crate::auth::{TOKEN_FILE, Token, TokenError};
use crate::private_dir::{NotPrivate, PrivateDir};
use crate::run_file::{Found, RunFile, RunFileError};

/// Answers larger than this are not read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that a server may take for an answer: compiling a large
/// application, or a call that waits behind many.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// The same where it has nothing to do but to answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Where to look for a server and its token.
#[derive(Debug, Clone)]
pub struct Whereabouts {
    /// The data directory of a server on this machine.
    pub data_dir: PathBuf,
    /// A server elsewhere.
    pub url: Option<String>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// The token from the environment.
    pub token: Option<String>,
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server has left its address.
    #[error("no server runs on {path}: start one with `corelet serve` or `corelet dev`, or name one with --url", path = data_dir.display())]
    NoServer {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// A server has left its address and is gone.
    #[error("the server on {path} (process {pid}) is gone without having stopped in order: start it again with `corelet serve`", path = data_dir.display())]
    ServerGone {
        /// The data directory.
        data_dir: PathBuf,
        /// Its process.
        pid: u32,
    },
    /// The file with the server's address cannot be read.
    #[error("reading the server's address in {path}", path = data_dir.display())]
    RunFile {
        /// The data directory.
        data_dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others could have written what is in the data directory.
    #[error("not believing what is in {path}", path = data_dir.display())]
    NotPrivate {
        /// The data directory.
        data_dir: PathBuf,
        /// What is open to them.
        source: NotPrivate,
    },
    /// A token would go to a server that another user has named.
    #[error("the server on {path} is another user's, and is only sent the token that is there: name it with --url to send it another one", path = data_dir.display())]
    ForeignServer {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// There is no token to send.
    #[error("no token for {url}: give --token-file, or set CORELET_TOKEN")]
    NoToken {
        /// The server's address.
        url: String,
    },
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Text that is not a token.
    #[error("CORELET_TOKEN does not hold a token")]
    BadToken,
    /// An address that cannot be used.
    #[error(
        "{url:?} is not an address such as http://10.0.0.5:7700 (https needs a proxy in front)"
    )]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// Nobody answers.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// The number in ERRORS.md.
        code: i64,
        /// The name in ERRORS.md.
        name: String,
        /// What the server said.
        message: String,
        /// The whole of it.
        document: Value,
        /// Whether the same request may work later.
        passing: bool,
    },
    /// What was to be sent cannot be read any more.
    #[error("what is to be sent cannot be read: {reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
    /// The answer is not one of a Corelet server.
    #[error("{url} answered {status} with something that is not ours: is it a Corelet server?")]
    Strange {
        /// The server's address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
}

/// A server and the right to talk to it.
pub struct Client {
    agent: Agent,
    url: String,
    token: Token,
}

impl Client {
    /// Finds the server and the token.
    pub fn find(whereabouts: &Whereabouts) -> Result<Client, ClientError> {
        let (url, local) = match &whereabouts.url {
            Some(url) => (checked_url(url)?, None),
            None => {
                let (url, data) = local_server(&whereabouts.data_dir)?;
                (url, Some(data))
            }
        };
        let own = whereabouts.token_file.is_some() || whereabouts.token.is_some();
        if let Some(data) = &local
            && own
            && !data.is_ours()
        {
            let data_dir = data.path().to_owned();
            return Err(ClientError::ForeignServer { data_dir });
        }
        let token = match (&whereabouts.token_file, &whereabouts.token) {
            (Some(file), _) => Token::load(file)?,
            (None, Some(text)) => Token::parse(text.trim()).ok_or(ClientError::BadToken)?,
            // A local server's token is not sent anywhere else by itself.
            (None, None) => match &local {
                Some(data) => local_token(data)?,
                None => return Err(ClientError::NoToken { url }),
            },
        };
        Ok(Client::new(url, token))
    }

    /// A client for a known address.
    pub fn new(url: String, token: Token) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            // The token goes to the server that was named and to nobody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("corelet/", env!("CARGO_PKG_VERSION")));
        Client {
            agent: config.build().new_agent(),
            url,
            token,
        }
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method; the result object as the server wrote it. An update with a key can be
    /// sent again without running again.
    pub fn call(
        &self,
        context: &str,
        method: &str,
        args: &RawValue,
        idempotency_key: Option<&str>,
    ) -> Result<Box<RawValue>, ClientError> {
        #[derive(Serialize)]
        struct Params<'a> {
            context_id: &'a str,
            method: &'a str,
            args: &'a RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            idempotency_key: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Request<'a> {
            jsonrpc: &'a str,
            id: u8,
            method: &'a str,
            params: Params<'a>,
        }
        #[derive(serde::Deserialize)]
        struct Answer {
            result: Option<Box<RawValue>>,
            error: Option<Box<RawValue>>,
        }
        let params = Params {
            context_id: context,
            method,
            args,
            idempotency_key,
        };
        let body = serde_json::to_vec(&Request {
            jsonrpc: "2.0",
            id: 1,
            method: "execute",
            params,
        })
        .unwrap_or_default();
        let request = self
            .agent
            .post(self.path("/rpc"))
            .header("content-type", "application/json");
        let (status, text) = self.exchange(self.signed(request).send(&body[..]))?;
        let strange = || ClientError::Strange {
            url: self.url.clone(),
            status,
        };
        let answer: Answer = serde_json::from_slice(&text).map_err(|_| strange())?;
        match (answer.result, answer.error) {
            (Some(result), None) => Ok(result),
            (None, Some(error)) => {
                let error = understood(error.get().as_bytes()).ok_or_else(strange)?;
                Err(refused(error, status))
            }
            _ => Err(strange()),
        }
    }

    /// Uploads a component.
    pub fn install(
        &self,
        component: impl Read + 'static,
        reuse: Option<&str>,
    ) -> Result<api::Application, ClientError> {
        let path = match reuse {
            Some(reuse) => format!("/v1/applications?reuse={reuse}"),
            None => "/v1/applications".to_owned(),
        };
        let request = self
            .agent
            .post(self.path(&path))
            .header("content-type", "application/wasm");
        let sent = self
            .signed(request)
            .send(SendBody::from_owned_reader(component));
        self.document(sent)
    }

    /// Uploads a blob, however long it is: of so many bytes, if that is known. A server that
    /// cannot take it says so before anything is sent, or else whenever it finds out.
    pub fn upload(
        &self,
        path: &str,
        content: impl Read + 'static,
        bytes: Option<u64>,
    ) -> Result<api::BlobRef, ClientError> {
        let is_deaf = upload::IsDeaf::default();
        let agent = upload::agent(self.agent.config().clone(), is_deaf.clone());
        let mut request = agent
            .post(self.path(path))
            .header("content-type", "application/octet-stream")
            .header("expect", "100-continue");
        if let Some(bytes) = bytes {
            request = request.header("content-length", bytes);
        }
        let content = upload::Content {
            reader: content,
            left: bytes,
            is_deaf,
        };
        let sent = self
            .signed(request)
            .send(SendBody::from_owned_reader(content));
        self.document(sent)
    }

    /// Asks for a document.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.document(self.signed(self.agent.get(self.path(path))).call())
    }

    /// Asks how the server is doing.
    pub fn status(&self) -> Result<api::Status, ClientError> {
        self.soon("/v1/status")
    }

    /// Asks for a document for which the server has nothing to wait.
    pub fn soon<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.agent.get(self.path(path));
        let request = request.config().timeout_recv_response(Some(STATUS_TIMEOUT));
        self.document(self.signed(request.build()).call())
    }

    /// Asks for a file, and gives what reads it as it comes, however long that is.
    pub fn download(&self, path: &str) -> Result<impl Read + use<>, ClientError> {
        let sent = self.signed(self.agent.get(self.path(path))).call();
        let response = sent.map_err(|error| ClientError::Unreachable {
            url: self.url.clone(),
            reason: error.to_string(),
        })?;
        match response.status().as_u16() {
            200..300 => Ok(response.into_body().into_reader()),
            _ => {
                let (status, text) = self.exchange(Ok(response))?;
                Err(self.problem(status, &text))
            }
        }
    }

    /// Sends a document and reads another.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self
            .agent
            .post(self.path(path))
            .header("content-type", "application/json");
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.document(self.signed(request).send(&body[..]))
    }

    /// Changes settings of something, and reads what it is then.
    pub fn change<T: DeserializeOwned>(
        &self,
        path: &str,
        change: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self
            .agent
            .patch(self.path(path))
            .header("content-type", "application/json");
        let body = serde_json::to_vec(change).unwrap_or_default();
        self.document(self.signed(request).send(&body[..]))
    }

    /// Deletes something.
    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        let (status, text) =
            self.exchange(self.signed(self.agent.delete(self.path(path))).call())?;
        if status == 204 {
            Ok(())
        } else {
            Err(self.problem(status, &text))
        }
    }

    /// Ends something, and reads what that came to.
    pub fn end<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.document(self.signed(self.agent.delete(self.path(path))).call())
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        request.header("authorization", format!("Bearer {}", self.token.reveal()))
    }

    fn document<T: DeserializeOwned>(
        &self,
        sent: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let (status, text) = self.exchange(sent)?;
        if !(200..300).contains(&status) {
            return Err(self.problem(status, &text));
        }
        serde_json::from_slice(&text).map_err(|_| ClientError::Strange {
            url: self.url.clone(),
            status,
        })
    }

    fn exchange(
        &self,
        sent: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<(u16, Vec<u8>), ClientError> {
        let unreachable = |error: ureq::Error| ClientError::Unreachable {
            url: self.url.clone(),
            reason: error.to_string(),
        };
        let response = sent.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .into_with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec();
        Ok((status, body.map_err(unreachable)?))
    }

    fn problem(&self, status: u16, text: &[u8]) -> ClientError {
        let Some(problem) = understood(text) else {
            // Somebody between here and the server has answered, or its word was cut off.
            return match status {
                408 | 429 | 503 => refused(
                    json!({ "name": "unavailable", "message": "the server cannot take the request now" }),
                    status,
                ),
                _ => ClientError::Strange {
                    url: self.url.clone(),
                    status,
                },
            };
        };
        refused(problem, status)
    }
}

/// A refusal's document. An application's own words in it may nest deeper than
/// serde_json takes apart; such parts are left out, and the message says so.
fn understood(text: &[u8]) -> Option<Value> {
    if let Ok(document) = serde_json::from_slice(text) {
        return Some(document);
    }
    let mut document = shallow(text, LEVELS_LOOKED_INTO)?;
    for member in ["message", "detail"] {
        if let Some(Value::String(said)) = document.get_mut(member) {
            said.push_str("; parts of its answer nest too deep to be shown here");
        }
    }
    Some(document)
}

/// From a refusal by its `data` to an application's error in there.
const LEVELS_LOOKED_INTO: u8 = 2;

/// An object with those of its members, and of theirs, that can be taken apart.
fn shallow(text: &[u8], levels: u8) -> Option<Value> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(text).ok()?;
    let members = members.into_iter().filter_map(|(name, member)| {
        let member = member.get().as_bytes();
        let value = serde_json::from_slice(member).ok();
        let value = value.or_else(|| shallow(member, levels.checked_sub(1)?))?;
        Some((name, value))
    });
    Some(Value::Object(members.collect()))
}

/// A refusal from an error object of JSON-RPC or a problem document.
fn refused(document: Value, status: u16) -> ClientError {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let kind = text("/type").and_then(|kind| kind.rsplit(':').next());
    let name = text("/data/name")
        .or(text("/name"))
        .or(kind)
        .unwrap_or("unknown")
        .to_owned();
    let message = text("/message")
        .or(text("/detail"))
        .unwrap_or("the server refused")
        .to_owned();
    let code = document.get("code").and_then(Value::as_i64).unwrap_or(0);
    let passing = matches!(status, 429 | 503) || name == "busy" || name == "unavailable";
    ClientError::Refused {
        code,
        name,
        message,
        document,
        passing,
    }
}

fn checked_url(url: &str) -> Result<String, ClientError> {
    let bad = || ClientError::BadUrl {
        url: url.to_owned(),
    };
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let authority = rest.trim_end_matches('/');
    let plain = authority
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_%".contains(&byte));
    if authority.is_empty() || !plain {
        Err(bad())
    } else {
        Ok(format!("http://{authority}"))
    }
}

/// The address that a server has left in its data directory, and the directory
/// as it was when it was believed.
fn local_server(path: &Path) -> Result<(String, PrivateDir), ClientError> {
    let data_dir = path.to_owned();
    let data = match PrivateDir::open(path) {
        Ok(data) => data,
        Err(error) if error.is_absence() => return Err(ClientError::NoServer { data_dir }),
        Err(source) => return Err(ClientError::NotPrivate { data_dir, source }),
    };
    match RunFile::find(&data) {
        Ok(Found::Running(server)) => Ok((server.url, data)),
        Ok(Found::Stale(server)) => Err(ClientError::ServerGone {
            data_dir,
            pid: server.pid,
        }),
        Ok(Found::Nothing) => Err(ClientError::NoServer { data_dir }),
        Err(RunFileError::NotPrivate(source)) => Err(ClientError::NotPrivate { data_dir, source }),
        Err(RunFileError::Unreadable(source)) => Err(ClientError::RunFile { data_dir, source }),
    }
}

/// The token of the server that was found in `data`, from the same place.
fn local_token(data: &PrivateDir) -> Result<Token, ClientError> {
    let refuse = |source| ClientError::NotPrivate {
        data_dir: data.path().to_owned(),
        source,
    };
    let keys = data.dir("keys").map_err(refuse)?;
    let file = keys.file(TOKEN_FILE).map_err(refuse)?;
    Ok(Token::read(file, &keys.path().join(TOKEN_FILE))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn addresses_are_plain_http_without_a_path() {
        assert_eq!(
            checked_url("http://10.0.0.5:7700/").unwrap(),
            "http://10.0.0.5:7700"
        );
        assert_eq!(
            checked_url("http://[::1]:7700").unwrap(),
            "http://[::1]:7700"
        );
        for bad in [
            "",
            "http://",
            "https://x",
            "10.0.0.5:7700",
            "http://user@host",
            "http://a/b",
            "http://a b",
        ] {
            assert!(checked_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_shapes_of_refusal_are_understood() {
        let check = |document: Value, status: u16, expected: (&str, bool)| match refused(
            document, status,
        ) {
            ClientError::Refused { name, passing, .. } => {
                assert_eq!((name.as_str(), passing), expected)
            }
            other => panic!("{other}"),
        };
        let object =
            json!({ "code": -32020, "message": "no", "data": { "name": "unknown_context" } });
        check(object, 200, ("unknown_context", false));
        check(
            json!({ "type": "urn:corelet:error:busy", "detail": "full" }),
            429,
            ("busy", true),
        );
    }

    #[test]
    fn what_nests_too_deep_is_left_out_of_a_refusal_and_the_rest_is_kept() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let error = format!(r#"{{"code":"broken","trace":{deep}}}"#);
        let note = "; parts of its answer nest too deep to be shown here";
        let object = format!(
            r#"{{"code":-32030,"message":"no","data":{{"name":"application_error","error":{error}}}}}"#
        );
        let kept = json!({ "name": "application_error", "error": { "code": "broken" } });
        assert_eq!(
            understood(object.as_bytes()),
            Some(json!({ "code": -32030, "message": format!("no{note}"), "data": kept }))
        );
        let problem = format!(r#"{{"detail":"no","error":{deep}}}"#);
        assert_eq!(
            understood(problem.as_bytes()),
            Some(json!({ "detail": format!("no{note}") }))
        );
        for strange in [&deep[..], &object[1..], &object[..object.len() - 1], ""] {
            assert_eq!(understood(strange.as_bytes()), None);
        }
    }

    #[test]
    fn a_remote_server_never_gets_the_local_token_unasked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        Token::load_or_create(&dir.path().join("keys")).unwrap();
        let whereabouts = Whereabouts {
            data_dir: dir.path().to_owned(),
            url: Some("http://10.0.0.5:7700".to_owned()),
            token_file: None,
            token: None,
        };
        assert!(matches!(
            Client::find(&whereabouts),
            Err(ClientError::NoToken { .. })
        ));
        let local = Whereabouts {
            url: None,
            ..whereabouts
        };
        assert!(matches!(
            Client::find(&local),
            Err(ClientError::NoServer { .. })
        ));
    }
    #[test]
    fn no_token_goes_where_others_could_have_sent_it() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        Token::load_or_create(&keys).unwrap();
        let server = RunFile::of_this_process("127.0.0.1:9".parse().unwrap());
        let run_file = dir.path().join("server.json");
        std::fs::write(&run_file, serde_json::to_vec(&server).unwrap()).unwrap();
        let mode = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(dir.path(), 0o700);
        mode(&run_file, 0o600);
        mode(&keys, 0o700);
        let of_the_environment = Some("corelet_0123456789abcdef".to_owned());
        let find = |token: &Option<String>| {
            Client::find(&Whereabouts {
                data_dir: dir.path().to_owned(),
                url: None,
                token_file: None,
                token: token.clone(),
            })
        };
        assert!(find(&None).is_ok() && find(&of_the_environment).is_ok());
        for (path, open, closed) in [
            (dir.path(), 0o777, 0o700),
            (dir.path(), 0o720, 0o700),
            (&run_file, 0o606, 0o600),
        ] {
            mode(path, open);
            for token in [&None, &of_the_environment] {
                let refused = find(token).err();
                assert!(
                    matches!(refused, Some(ClientError::NotPrivate { .. })),
                    "{open:o} {}: {refused:?}",
                    path.display()
                );
            }
            mode(path, closed);
        }
        mode(&keys, 0o770);
        assert!(matches!(
            find(&None).err(),
            Some(ClientError::NotPrivate { .. })
        ));
        mode(&keys, 0o700);
        // Another user's server may have its own token, from root, and no other.
        if rustix::process::geteuid().as_raw() == 0 {
            for path in [dir.path(), &run_file, &keys, &keys.join(TOKEN_FILE)] {
                std::os::unix::fs::chown(path, Some(1), None).unwrap();
            }
            assert!(find(&None).is_ok());
            assert!(matches!(
                find(&of_the_environment).err(),
                Some(ClientError::ForeignServer { .. })
            ));
            // What belongs to root is not its own, however it has come there.
            for path in [&keys, &keys.join(TOKEN_FILE)] {
                std::os::unix::fs::chown(path, Some(0), None).unwrap();
                assert!(matches!(
                    find(&None).err(),
                    Some(ClientError::NotPrivate { .. })
                ));
                std::os::unix::fs::chown(path, Some(1), None).unwrap();
            }
            let elsewhere = tempfile::tempdir().unwrap();
            std::fs::rename(&keys, elsewhere.path().join("keys")).unwrap();
            std::os::unix::fs::symlink(elsewhere.path().join("keys"), &keys).unwrap();
            assert!(matches!(
                find(&None).err(),
                Some(ClientError::NotPrivate { .. })
            ));
        }
    }
}
