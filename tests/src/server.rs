//! The real `corelet` binary as a child process, and a plain client of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::small_disk::SmallDisk;

/// Longer than a start takes on a busy machine; only a broken server needs it.
const START_MAX: Duration = Duration::from_secs(60);
/// Longer than an end takes on a busy machine, with the whole of a drain in it;
/// only a broken server needs it.
const END_MAX: Duration = Duration::from_secs(120);

/// A server that is ended with the value.
pub struct Server {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
    // The same as this process sees it.
    data_seen: PathBuf,
}

/// The binary under test.
///
/// # Panics
/// If it has not been built.
pub fn binary() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own file");
    let path = this
        .ancestors()
        .nth(2)
        .expect("tests lie in target/release/deps")
        .join("corelet");
    assert!(
        path.exists(),
        "{} is missing; build it first with `make build`",
        path.display()
    );
    path
}

/// A port that the server chooses, and leaves word of in its data directory.
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An address on which nobody listens now.
///
/// # Panics
/// If the machine has no port left.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound listener has an address")
}

impl Server {
    /// Starts a server with `wrapper` (such as strace and its arguments) in
    /// front, in a process group of its own. It need not be ready yet.
    ///
    /// # Panics
    /// If the process cannot be started.
    pub fn spawn(data: &Path, address: SocketAddr, wrapper: &[String], more: &[&str]) -> Server {
        let mut command = match wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data.with_extension("log"))
            .expect("a log beside the data");
        let child = command
            .args(["serve", "--data-dir"])
            .arg(data)
            .args(["--listen", &address.to_string()])
            .args(more)
            // Slow machines with many tests at once are no reason to abort.
            .env("CORELET__PROCESS__WATCHDOG_ABORT", "30 s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the server's process starts");
        Server {
            child,
            address,
            data: data.to_owned(),
            data_seen: data.to_owned(),
        }
    }

    /// Starts a server with its data on a small disk. It need not be ready yet.
    ///
    /// # Panics
    /// If its process cannot be started.
    pub fn spawn_on(disk: &SmallDisk, address: SocketAddr, more: &[&str]) -> Server {
        let data = disk.path().join("data");
        let mut server = Server::spawn(&data, address, &disk.inside(), more);
        server.data_seen = disk.seen(&data);
        server
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(data: &Path, more: &[&str]) -> Server {
        let mut server = Server::spawn(data, ANY_PORT, &[], more);
        assert!(
            server.wait_ready(),
            "the server ended instead of getting ready: {}",
            server.log()
        );
        server
    }

    /// Waits until the server answers; false if it ends before.
    ///
    /// # Panics
    /// If it does neither.
    pub fn wait_ready(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < START_MAX {
            if self.has_ended() {
                return false;
            }
            if self.is_ready() {
                return true;
            }
            thread::park_timeout(Duration::from_millis(2));
        }
        panic!("the server neither answers nor ends: {}", self.log());
    }

    fn is_ready(&mut self) -> bool {
        if self.address.port() != 0 {
            let answers = TcpStream::connect(self.address).is_ok();
            return answers && self.data_seen.join("keys/token").exists();
        }
        // Written whole when it is ready. One that was killed has left one, too.
        let Ok(text) = std::fs::read(self.data_seen.join("server.json")) else {
            return false;
        };
        let word: Value = serde_json::from_slice(&text).expect("the server's word is JSON");
        if word["pid"] != self.child.id() {
            return false;
        }
        let url = word["url"]
            .as_str()
            .and_then(|url| url.strip_prefix("http://"));
        let address = url.expect("a plain URL").parse();
        self.address = address.expect("an address and nothing else");
        true
    }

    /// Whether the process is gone.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Ends it the hard way, with everything that it started.
    pub fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }

    /// Asks it to stop and waits for that; its exit code.
    ///
    /// # Panics
    /// If it does not end by itself.
    pub fn stop(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.wait().code()
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        while began.elapsed() < END_MAX {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            thread::park_timeout(Duration::from_millis(2));
        }
        panic!("the server has not ended within {END_MAX:?}");
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(group) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// Its process.
    ///
    /// # Panics
    /// If the system's ids are larger than its own type for them.
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).expect("an id fits")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its token.
    ///
    /// # Panics
    /// If it has made none yet.
    pub fn token(&self) -> String {
        let token = std::fs::read_to_string(self.data_seen.join("keys/token")).expect("a token");
        token.trim_end().to_owned()
    }

    /// A client with the server's token.
    pub fn client(&self) -> Client {
        Client::new(self.address, &self.token())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("the server said:\n{}", self.log());
        }
    }
}

/// One connection's worth of client.
pub struct Client {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

/// What came back: status and body.
pub type Answer = Result<(u16, Value), ureq::Error>;

impl Client {
    /// A client for a server that may end at any time.
    pub fn new(address: SocketAddr, token: &str) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Client {
            agent: config.into(),
            base: format!("http://{address}"),
            authorization: format!("Bearer {token}"),
        }
    }

    /// A POST with any body.
    ///
    /// # Errors
    /// If no answer came.
    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        let (status, text) = self.post_text(path, body)?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// The same, with the answer's body as it came.
    ///
    /// # Errors
    /// If no answer came.
    pub fn post_text(&self, path: &str, body: &[u8]) -> Result<(u16, String), ureq::Error> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let mut answer = request
            .header("authorization", &self.authorization)
            .send(body)?;
        let text = answer.body_mut().read_to_string()?;
        Ok((answer.status().as_u16(), text))
    }

    /// A request with headers of its own, however long its answer takes; with what the answer
    /// says of an offset.
    ///
    /// # Errors
    /// If no answer came.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, Option<u64>, Value), ureq::Error> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", &self.authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = self.agent.configure_request(request.body(body)?);
        let request = request.timeout_global(Some(Duration::from_secs(300)));
        let mut answer = self.agent.run(request.build())?;
        let offset = answer.headers().get("upload-offset");
        let offset = offset.and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.body_mut().read_to_string()?;
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok((answer.status().as_u16(), offset, value))
    }

    /// A GET.
    ///
    /// # Errors
    /// If no answer came.
    pub fn get(&self, path: &str) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.base));
        let mut answer = request
            .header("authorization", &self.authorization)
            .call()?;
        let text = answer.body_mut().read_to_string()?;
        Ok((
            answer.status().as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        ))
    }

    /// A DELETE.
    ///
    /// # Errors
    /// If no answer came.
    pub fn delete(&self, path: &str) -> Answer {
        let request = self.agent.delete(format!("{}{path}", self.base));
        let mut answer = request
            .header("authorization", &self.authorization)
            .call()?;
        let text = answer.body_mut().read_to_string()?;
        Ok((
            answer.status().as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::Null),
        ))
    }

    /// The figure of `/metrics` whose line begins so.
    ///
    /// # Panics
    /// If there is none.
    pub fn metric(&self, series: &str) -> u64 {
        let (_, page) = self.get("/metrics").expect("an answer");
        let page = page.as_str().expect("text").to_owned();
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        let value = line.and_then(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {series} in {page}")) as u64
    }

    /// Calls a method; the whole JSON-RPC answer.
    ///
    /// # Errors
    /// If no answer came.
    pub fn call(&self, context: &str, method: &str, args: Value) -> Result<Value, ureq::Error> {
        let params = json!({"context_id": context, "method": method, "args": args});
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "execute", "params": params});
        Ok(self.post("/rpc", request.to_string().as_bytes())?.1)
    }

    /// Installs an example application and gives its id.
    ///
    /// # Panics
    /// If that fails.
    pub fn install(&self, app: &str) -> String {
        self.install_component(&crate::component(app))
    }

    /// Installs a component and gives its id.
    ///
    /// # Panics
    /// If that fails.
    pub fn install_component(&self, component: &[u8]) -> String {
        let (status, answer) = self.post("/v1/applications", component).expect("an answer");
        assert!(status == 200 || status == 201, "{answer}");
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// Creates a context and gives its id.
    ///
    /// # Panics
    /// If that fails.
    pub fn create(&self, application: &str, name: Option<&str>) -> String {
        let body = json!({"application": application, "name": name}).to_string();
        let (status, answer) = self
            .post("/v1/contexts", body.as_bytes())
            .expect("an answer");
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().expect("an id").to_owned()
    }
}
