//! A server with a context to speak to, and a client that can misbehave.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use corelet_tests::ANY_PORT;
use serde_json::{Value, json};

/// Nothing here takes nearly as long; past it a test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A running server with a context called `kv` that holds `a` = `1`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    process: corelet_tests::Server,
    settings: Vec<String>,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts one with these settings, by their names in the configuration.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings.iter().map(|(key, value)| {
            let name = format!("CORELET__{}", key.to_uppercase().replace('.', "__"));
            format!("{name}={value}")
        });
        let settings: Vec<String> = ["env".to_owned()].into_iter().chain(settings).collect();
        let process = spawn(dir.path(), &settings);
        let server = Server {
            address: process.address(),
            token: process.token(),
            process,
            settings,
            dir,
        };
        let installed = server.post("/v1/applications", &corelet_tests::component("kv"));
        assert_eq!(installed.status, 201, "{installed:?}");
        let created = server.post("/v1/contexts", br#"{"application":"kv","name":"kv"}"#);
        assert_eq!(created.status, 201, "{created:?}");
        let set = server.call("kv", "set", json!({ "key": "a", "value": "1" }));
        assert!(set["result"]["delta_id"].is_string(), "{set}");
        server
    }

    /// Shows that everything works as before, stops in order, and that nothing
    /// went wrong unnoticed. Gives the whole log: before the end, lines may be on
    /// their way to it.
    pub(crate) fn check_and_stop(mut self) -> String {
        let answer = self.call("kv", "get", json!({ "key": "a" }));
        assert_eq!(answer["result"]["output"], "1", "{answer}");
        let status = self.terminate();
        assert!(status.success(), "{status}: {}", self.log());
        let log = self.log();
        let bad = log
            .lines()
            .find(|line| line.contains("\"level\":\"ERROR\""));
        assert_eq!(bad, None);
        assert!(!self.data_dir().join("server.json").exists());
        log
    }

    /// Stops it and starts it on the same data.
    pub(crate) fn restart(&mut self) {
        assert!(self.terminate().success());
        self.start_again();
    }

    /// Starts it on the same data after it has ended.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.dir.path(), &self.settings);
        self.address = self.process.address();
    }

    /// SIGTERM, and what became of it.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal();
        self.wait()
    }

    pub(crate) fn signal(&self) {
        self.process.ask_to_stop();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the server to end", || self.process.has_ended());
        self.process.wait()
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    /// One exchange on a connection of its own.
    pub(crate) fn exchange(&self, request: &[u8]) -> Response {
        let mut client = self.connect();
        client.send(request);
        client.receive()
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.exchange(self.request("GET", path, b"").as_slice())
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Response {
        self.exchange(self.request("POST", path, body).as_slice())
    }

    pub(crate) fn delete(&self, path: &str) -> Response {
        self.exchange(self.request("DELETE", path, b"").as_slice())
    }

    /// A good request with the token.
    pub(crate) fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let token = &self.token;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// The beginning of a request with the token, up to the headers that follow.
    pub(crate) fn head(&self, method: &str, path: &str, headers: &str) -> Vec<u8> {
        let token = &self.token;
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n{headers}\r\n")
            .into_bytes()
    }

    pub(crate) fn rpc(&self, body: &str) -> Response {
        self.post("/rpc", body.as_bytes())
    }

    pub(crate) fn call(&self, context: &str, method: &str, args: Value) -> Value {
        let params = json!({ "context_id": context, "method": method, "args": args });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "execute", "params": params });
        self.rpc(&body.to_string()).json()
    }

    /// Makes the context `hostile`, and sends it an update that first writes and
    /// then never ends. The connection on which nobody will be answered.
    pub(crate) fn start_endless_update(&self) -> Client {
        let installed = self.post("/v1/applications", &corelet_tests::hostile());
        assert_eq!(installed.status, 201, "{installed:?}");
        let wanted = br#"{"application":"hostile","name":"hostile"}"#;
        let created = self.post("/v1/contexts", wanted);
        assert_eq!(created.status, 201, "{created:?}");
        let fine = self.call("hostile", "fine", json!({}));
        assert!(fine["result"].is_object(), "{fine}");
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"execute","params":["hostile","loop",{}]}"#;
        let mut client = self.connect();
        client.send(&self.request("POST", "/rpc", call.as_bytes()));
        client
    }

    /// A figure of /metrics, summed over its labels.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let page = self.get("/metrics");
        let text = String::from_utf8(page.body).unwrap();
        let of_it = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let lines = text.lines().filter(of_it);
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// A process that is ready.
fn spawn(dir: &Path, settings: &[String]) -> corelet_tests::Server {
    let data = dir.join("data");
    let mut process = corelet_tests::Server::spawn(&data, ANY_PORT, settings, &["--shards", "2"]);
    assert!(process.wait_ready(), "{}", process.log());
    process
}

/// Waits for a state, not for a time.
pub(crate) fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        #[allow(clippy::disallowed_methods, reason = "this thread is no shard")]
        thread::sleep(POLL);
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Has the system keep no more of what comes than this, whatever it keeps by itself: with that, a whole
    /// answer may be on its way to a client that takes nothing.
    pub(crate) fn keep_at_most(&self, bytes: usize) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, bytes).unwrap();
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends what the server may refuse in the middle.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next response.
    pub(crate) fn receive(&mut self) -> Response {
        self.try_receive()
            .unwrap_or_else(|| panic!("closed without an answer"))
    }

    /// The next response, or nothing if the server closes instead.
    pub(crate) fn try_receive(&mut self) -> Option<Response> {
        loop {
            if let Some((response, used)) = Response::parse(&self.buffer) {
                self.buffer.drain(..used);
                return Some(response);
            }
            let mut space = [0; 16 << 10];
            match self.stream.read(&mut space) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&space[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("waiting for an answer: {error}"),
            }
        }
    }

    /// Whether the server has neither answered nor closed by now.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let read = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the server closes without another word.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.try_receive().is_none() && self.buffer.is_empty()
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    fn parse(bytes: &[u8]) -> Option<(Response, usize)> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
        };
        let length: usize = response
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let body = bytes.get(end..end + length)?;
        response.body = body.to_vec();
        Some((response, end + length))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The name of the refusal, in either shape.
    pub(crate) fn refusal(&self) -> String {
        let json = self.json();
        let name = json.pointer("/error/data/name").or(json.get("type"));
        let name = name
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no refusal: {json}"));
        name.trim_start_matches("urn:corelet:error:").to_owned()
    }
}
