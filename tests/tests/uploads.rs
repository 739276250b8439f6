//! Applications that come in pieces, over kills and broken connections, and packed ones:
//! through the real server, and by the command that does all this by itself.

#![expect(clippy::disallowed_methods, reason = "clients of a test need no names")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use corelet_store::ApplicationId;
use corelet_tests::worker;
use corelet_tests::{Client, Server, binary, component, counting_of, wait_for};
use serde_json::{Value, json};

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A server with this configuration.
fn start(home: &Path, settings: &str) -> Server {
    let config = home.join("corelet.toml");
    fs::write(&config, settings).expect("a configuration");
    let config = config.to_str().expect("a path that is text");
    Server::start(&home.join("data"), &["--shards", "1", "--config", config])
}

fn id_of(wasm: &[u8]) -> String {
    ApplicationId::from_bytes(*blake3::hash(wasm).as_bytes()).to_string()
}

fn begin(client: &Client, query: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let path = format!("/v1/uploads{query}");
    let begun = client.send("POST", &path, headers, b"");
    let (status, _, answer) = begun.expect("an answer");
    (status, answer)
}

fn begun(client: &Client, query: &str, headers: &[(&str, &str)]) -> String {
    let (status, answer) = begin(client, query, headers);
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

/// Adds a piece; the status, and the offset that was told.
fn add(client: &Client, id: &str, offset: u64, piece: &[u8]) -> (u16, Option<u64>, Value) {
    let path = format!("/v1/uploads/{id}");
    let headers = [("upload-offset", &*offset.to_string())];
    let added = client.send("PATCH", &path, &headers, piece);
    added.expect("an answer")
}

/// Where an upload has got to.
fn offset(client: &Client, id: &str) -> u64 {
    let (status, upload) = client.get(&format!("/v1/uploads/{id}")).expect("an answer");
    assert_eq!(status, 200, "{upload}");
    upload["offset"].as_u64().expect("a number")
}

fn install(client: &Client, id: &str) -> (u16, Value) {
    let path = format!("/v1/applications?upload={id}");
    let (status, _, answer) = client.send("POST", &path, &[], b"").expect("an answer");
    (status, answer)
}

/// Calls of a context, one after the other, until the value is dropped; those that were
/// answered are counted.
struct Neighbour {
    answered: Arc<AtomicU64>,
    enough: Arc<AtomicU64>,
    calling: Option<thread::JoinHandle<()>>,
}

impl Neighbour {
    fn of(server: &Server, context: &str) -> Neighbour {
        let client = Client::new(server.address(), &server.token());
        let (answered, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let context = context.to_owned();
        let calling = thread::spawn({
            let (answered, enough) = (Arc::clone(&answered), Arc::clone(&enough));
            move || {
                while enough.load(Ordering::Relaxed) == 0 {
                    let number = answered.load(Ordering::Relaxed);
                    let value = json!({"key": "k", "value": number.to_string()});
                    let set = client.call(&context, "set", value).expect("an answer");
                    assert!(set["result"].is_object(), "{set}");
                    let get = client.call(&context, "get", json!({"key": "k"}));
                    let get = get.expect("an answer");
                    assert_eq!(get["result"]["output"], number.to_string(), "{get}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Neighbour {
            answered,
            enough,
            calling: Some(calling),
        }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it; a call of it that was not answered ends the test.
    fn end(mut self) -> u64 {
        self.enough.store(1, Ordering::Relaxed);
        let calling = self.calling.take().expect("it is only taken here");
        calling.join().expect("every call was answered");
        self.answered()
    }
}

const PIECE: usize = 4 << 20;

/// A connection that says that it brings a piece, brings half of it, and ends.
fn break_off(server: &Server, id: &str, offset: u64, piece: &[u8]) {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    let (token, bytes) = (server.token(), piece.len());
    let head = format!(
        "PATCH /v1/uploads/{id} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\nupload-offset: {offset}\r\ncontent-length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    stream.write_all(&piece[..bytes / 2]).expect("it reads");
}

/// 64 MiB in pieces: a connection breaks, the server is killed, and it goes on where it was.
/// While it is compiled, the calls of another context are answered.
#[test]
fn a_component_of_64_mib_comes_in_pieces_over_a_kill_while_calls_go_on() {
    let home = home();
    let wasm = counting_of(64 << 20, 1);
    assert_eq!(wasm.len(), 64 << 20);
    let mut server = start(home.path(), "");
    let client = server.client();
    let kv = client.create(&client.install("kv"), Some("kv"));
    let neighbour = Neighbour::of(&server, &kv);
    let application = id_of(&wasm);
    let length = wasm.len().to_string();
    let id = begun(
        &client,
        &format!("?application={application}"),
        &[("upload-length", &length)],
    );
    for (number, piece) in wasm.chunks(PIECE).take(5).enumerate() {
        let (status, told, answer) = add(&client, &id, (number * PIECE) as u64, piece);
        let there = Some(((number + 1) * PIECE) as u64);
        assert_eq!((status, told), (204, there), "{answer}");
    }
    let there = 5 * PIECE as u64;
    break_off(&server, &id, there, &wasm[5 * PIECE..6 * PIECE]);
    assert_eq!(offset(&client, &id), there);
    assert!(neighbour.end() > 0);
    server.kill();

    let mut server = start(home.path(), "");
    let client = server.client();
    let neighbour = Neighbour::of(&server, &kv);
    assert_eq!(offset(&client, &id), there);
    let wrong = add(&client, &id, there + 1, b"x");
    assert_eq!((wrong.0, wrong.1), (409, Some(there)), "{}", wrong.2);
    for at in (5 * PIECE..wasm.len()).step_by(PIECE) {
        let (status, _, answer) = add(&client, &id, at as u64, &wasm[at..at + PIECE]);
        assert_eq!(status, 204, "{answer}");
    }
    let installing = {
        let (client, id) = (Client::new(server.address(), &server.token()), id.clone());
        thread::spawn(move || install(&client, &id))
    };
    let compiler = worker::at_work(&server);
    let before = neighbour.answered();
    let (status, installed) = installing.join().expect("an answer");
    let meanwhile = neighbour.answered() - before;
    assert!(meanwhile > 0, "nobody was answered beside {compiler}");
    assert_eq!(status, 201, "{installed}");
    assert_eq!(installed["id"], application);
    assert_eq!(installed["size_bytes"], 64 << 20);
    let context = client.create(&application, None);
    let counted = client
        .call(&context, "count", json!({}))
        .expect("an answer");
    assert_eq!(counted["result"]["output"], 1, "{counted}");
    assert!(neighbour.end() > before);

    // It is used up.
    assert_eq!(add(&client, &id, 0, b"x").0, 404);
    assert_eq!(client.metric("corelet_uploads "), 0);
    assert_eq!(client.metric("corelet_uploads_installed_total"), 1);
    let files = fs::read_dir(home.path().join("data/uploads")).expect("its directory");
    assert_eq!(files.count(), 0);
    assert_eq!(server.stop(), Some(0), "{}", server.log());
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(content, 3).expect("memory takes it")
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

type Pack = fn(&[u8]) -> Vec<u8>;

const PACKS: [(&str, Pack); 2] = [("zstd", zstd), ("gzip", gzip)];

/// Whole and in pieces, each way to pack is undone; a bomb ends at the limit on components.
#[test]
fn packed_components_are_unpacked_and_bombs_are_not() {
    let home = home();
    let server = start(home.path(), "[limits]\nmodule_bytes_max = \"2 MiB\"\n");
    let client = server.client();
    let whole = |encoding: &str, body: &[u8]| {
        let headers = [("content-encoding", encoding)];
        let sent = client.send("POST", "/v1/applications", &headers, body);
        let (status, _, answer) = sent.expect("an answer");
        (status, answer)
    };
    let in_pieces = |encoding: &str, body: &[u8]| {
        let id = begun(&client, "", &[("content-encoding", encoding)]);
        let mut at = 0;
        for piece in body.chunks(50_000) {
            assert_eq!(add(&client, &id, at, piece).0, 204);
            at += piece.len() as u64;
        }
        install(&client, &id)
    };
    for (app, (encoding, pack)) in ["kv", "counter"].into_iter().zip(PACKS) {
        let wasm = component(app);
        let packed = pack(&wasm);
        assert!(packed.len() < wasm.len());
        for (status, installed) in [whole(encoding, &packed), in_pieces(encoding, &packed)] {
            assert_eq!(status, 201, "{installed}");
            assert_eq!(installed["id"], id_of(&wasm));
            assert_eq!(installed["size_bytes"], wasm.len());
        }
        let context = client.create(&id_of(&wasm), None);
        assert!(!context.is_empty());
    }
    for (encoding, pack) in PACKS {
        let bomb = pack(&vec![0; 256 << 20]);
        assert!(bomb.len() < 2 << 20, "{} bytes are no bomb", bomb.len());
        for (status, refusal) in [whole(encoding, &bomb), in_pieces(encoding, &bomb)] {
            assert_eq!(status, 422, "{refusal}");
            assert_eq!(refusal["limit"], "limits.module_bytes_max", "{refusal}");
            assert_eq!(refusal["used"], (2 << 20) + 1, "{refusal}");
        }
        let kv = pack(&component("kv"));
        for (status, refusal) in [
            whole(encoding, &kv[..kv.len() / 2]),
            in_pieces(encoding, b"not packed at all"),
        ] {
            assert_eq!(status, 422, "{refusal}");
            assert_eq!(refusal["type"], "urn:corelet:error:bad_encoding");
        }
    }
    // Nothing of any of them is left.
    assert_eq!(client.metric("corelet_uploads "), 0);
}

#[test]
fn of_two_who_send_the_same_piece_one_is_told_where_it_goes_on() {
    let home = home();
    let server = start(home.path(), "");
    let client = server.client();
    let id = begun(&client, "", &[]);
    let content = vec![7; 1 << 20];
    let rounds = 8;
    for round in 0..rounds {
        let at = round * content.len() as u64;
        let send = || {
            let client = Client::new(server.address(), &server.token());
            let (id, content) = (id.clone(), content.clone());
            thread::spawn(move || add(&client, &id, at, &content))
        };
        let both = [send(), send()].map(|sending| sending.join().expect("an answer"));
        let taken = both.iter().filter(|answer| answer.0 == 204).count();
        assert_eq!(taken, 1, "{both:?}");
        let (_, told, refusal) = both
            .iter()
            .find(|answer| answer.0 == 409)
            .expect("the other");
        match refusal["type"].as_str() {
            Some("urn:corelet:error:conflict") => {}
            Some("urn:corelet:error:upload_offset") => {
                assert_eq!(*told, Some(at + content.len() as u64));
            }
            _ => panic!("{refusal}"),
        }
    }
    assert_eq!(offset(&client, &id), rounds * content.len() as u64);
}

#[test]
fn uploads_are_bounded_in_number_and_bytes() {
    let home = home();
    let settings = "[limits]\nmodule_bytes_max = \"1 MiB\"\n\
        [uploads]\ncount_max = 2\nbytes_max = \"1536 KiB\"\npiece_bytes_max = \"64 KiB\"\n";
    let server = start(home.path(), settings);
    let client = server.client();
    let limit_of = |(status, refusal): (u16, Value)| {
        (
            status,
            refusal["limit"].as_str().expect("a limit").to_owned(),
        )
    };
    let with_length = |bytes: u64| {
        let length = bytes.to_string();
        begin(&client, "", &[("upload-length", &length)])
    };
    let too_long = limit_of(with_length((1 << 20) + 1));
    assert_eq!(too_long, (413, "limits.module_bytes_max".to_owned()));
    let (status, first) = with_length(1 << 20);
    assert_eq!(status, 201, "{first}");
    assert_eq!(first["piece_bytes_max"], 64 << 10);
    let full = limit_of(with_length(600 << 10));
    assert_eq!(full, (429, "uploads.bytes_max".to_owned()));
    let second = begun(&client, "", &[]);
    let full = limit_of(with_length(1));
    assert_eq!(full, (429, "uploads.count_max".to_owned()));

    let piece = vec![1; (64 << 10) + 1];
    let (status, _, refusal) = add(&client, &second, 0, &piece);
    let too_long = limit_of((status, refusal));
    assert_eq!(too_long, (413, "uploads.piece_bytes_max".to_owned()));
    let mut at = 0;
    let full = loop {
        match add(&client, &second, at, &piece[1..]) {
            (204, told, _) => at = told.expect("an offset"),
            (status, _, refusal) => break limit_of((status, refusal)),
        }
    };
    assert_eq!(full, (429, "uploads.bytes_max".to_owned()));
    assert_eq!(
        at,
        7 * (64 << 10),
        "what is left beside the first one and two heads"
    );
    assert_eq!(offset(&client, &second), at);

    // What is ended makes room.
    let first = first["id"].as_str().expect("an id");
    let ended = client.delete(&format!("/v1/uploads/{first}"));
    assert_eq!(ended.expect("an answer").0, 204);
    assert_eq!(add(&client, first, 0, b"x").0, 404);
    assert_eq!(add(&client, &second, at, &piece[1..]).0, 204);
    assert_eq!(client.metric("corelet_uploads "), 1);
}

#[test]
fn an_upload_to_which_nothing_comes_goes_after_its_time() {
    let home = home();
    let settings = "[uploads]\nage_max = \"1 s\"\n[collector]\nevery = \"100 ms\"\n";
    let server = start(home.path(), settings);
    let client = server.client();
    let id = begun(&client, "", &[]);
    let files = || fs::read_dir(home.path().join("data/uploads")).map(Iterator::count);
    wait_for("it to be too old", || {
        (files().expect("its directory") == 0).then_some(())
    });
    assert_eq!(add(&client, &id, 0, b"x").0, 404);
    wait_for("it to be counted", || {
        (client.metric("corelet_uploads_expired_total") == 1).then_some(())
    });
    assert_eq!(client.metric("corelet_upload_bytes "), 0);
}

/// Lets so many bytes through to the server on each connection, then breaks it, or holds it.
fn proxy(server: SocketAddr, bytes_max: u64, is_holding: bool) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let broken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&broken);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            thread::spawn(move || {
                let mut upstream = TcpStream::connect(server).expect("it listens");
                let mut back = (
                    upstream.try_clone().expect("a socket"),
                    client.try_clone().expect("a socket"),
                );
                thread::spawn(move || {
                    let _ = std::io::copy(&mut back.0, &mut back.1);
                    let _ = back.1.shutdown(std::net::Shutdown::Both);
                });
                let mut some = (&client).take(bytes_max);
                let passed = std::io::copy(&mut some, &mut upstream);
                if passed.is_ok_and(|passed| passed == bytes_max) {
                    count.fetch_add(1, Ordering::Relaxed);
                    if is_holding {
                        // It ends with the test's process.
                        loop {
                            thread::park();
                        }
                    }
                }
                let _ = upstream.shutdown(std::net::Shutdown::Both);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (address, broken)
}

/// `corelet app install` through a proxy.
fn installing(home: &Path, address: SocketAddr) -> Child {
    Command::new(binary())
        .args(["--url", &format!("http://{address}"), "--token-file"])
        .arg(home.join("data/keys/token"))
        .args(["-o", "json", "app", "install"])
        .arg(home.join("large.wasm"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// The command goes on by itself where its connection broke, and where it was killed when it is
/// run again: no piece that is on the server's disk is sent twice.
#[test]
fn the_command_goes_on_where_it_was_cut_short() {
    let home = home();
    let settings = "[uploads]\npiece_bytes_max = \"128 KiB\"\n";
    let server = start(home.path(), settings);
    let client = server.client();
    let wasm = counting_of(6 << 20, 2);
    fs::write(home.path().join("large.wasm"), &wasm).expect("a file");

    // Held after some pieces, and killed.
    let (address, held) = proxy(server.address(), 1 << 20, true);
    let mut first = installing(home.path(), address);
    wait_for("it to be held up", || {
        (held.load(Ordering::Relaxed) > 0).then_some(())
    });
    let received = "corelet_upload_bytes_received_total";
    let there = wait_for("pieces to be there", || {
        Some(client.metric(received)).filter(|bytes| *bytes >= 512 << 10)
    });
    first.kill().expect("our own child");
    first.wait().expect("our own child");
    let size = client.get("/v1/uploads").expect("an answer").1["uploads"][0]["size"]
        .as_u64()
        .expect("a number");
    assert!(there < size, "{there} of {size}");

    // Again, over connections that break after 300,000 bytes each.
    let (address, broken) = proxy(server.address(), 300_000, false);
    let done = installing(home.path(), address)
        .wait_with_output()
        .expect("our own child");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert_eq!(said, "", "nobody watches");
    let installed: Value = serde_json::from_slice(&done.stdout).expect("one document");
    assert_eq!(installed["id"], id_of(&wasm));
    assert!(broken.load(Ordering::Relaxed) > 2);
    assert_eq!(client.metric("corelet_uploads_begun_total"), 1);
    assert_eq!(client.metric(received), size);
    let context = client.create(&id_of(&wasm), None);
    let counted = client
        .call(&context, "count", json!({}))
        .expect("an answer");
    assert_eq!(counted["result"]["output"], 1, "{counted}");
}

/// Of whom a command asks: the uploads are listed and ended, and the refusal of one more says
/// how; one that is idle makes room by itself.
#[test]
fn uploads_that_nobody_wants_are_listed_and_ended_and_make_room() {
    let home = home();
    let settings = "[uploads]\ncount_max = 2\nidle_max = \"1 h\"\n";
    let mut server = start(home.path(), settings);
    let client = server.client();
    let [first, second] = [(); 2].map(|()| begun(&client, "", &[]));
    let (status, full) = begin(&client, "", &[]);
    assert_eq!(status, 429, "{full}");
    let said = full["detail"].as_str().expect("words");
    assert!(said.contains("corelet app uploads --end"), "{said}");
    let corelet = |arguments: &[&str]| {
        let done = Command::new(binary())
            .arg("--data-dir")
            .arg(home.path().join("data"))
            .args(["-o", "json", "app", "uploads"])
            .args(arguments)
            .output()
            .expect("the binary starts");
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice::<Value>(&done.stdout).expect("one document")
    };
    let listed = corelet(&[]);
    assert_eq!(listed["uploads"].as_array().map(Vec::len), Some(2));
    assert_eq!(corelet(&["--end", &first])["ended"], *first);
    let third = begun(&client, "", &[]);

    // Whose file is gone has ended, and is in nobody's way.
    let file = home.path().join(format!("data/uploads/{third}.upload"));
    server.kill();
    let server = start(home.path(), &settings.replace("1 h", "100 ms"));
    fs::remove_file(file).expect("it is there");
    let client = server.client();
    let listed = corelet(&[]);
    assert_eq!(listed["uploads"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["uploads"][0]["id"], *second);

    let [_, _] = [(); 2].map(|()| {
        wait_for("the idle one to make room", || {
            let (status, answer) = begin(&client, "", &[]);
            (status == 201).then_some(answer)
        })
    });
    assert_eq!(
        client
            .get(&format!("/v1/uploads/{second}"))
            .expect("an answer")
            .0,
        404
    );
}

#[test]
fn a_piece_says_nothing_of_how_it_is_packed() {
    let home = home();
    let server = start(home.path(), "");
    let client = server.client();
    let id = begun(&client, "", &[]);
    let headers = [("upload-offset", "0"), ("content-encoding", "gzip")];
    let path = format!("/v1/uploads/{id}");
    let (status, _, refused) = client
        .send("PATCH", &path, &headers, b"x")
        .expect("an answer");
    assert_eq!(
        (status, &refused["parameter"]),
        (400, &json!("Content-Encoding"))
    );
    assert_eq!(offset(&client, &id), 0);
    let path = format!("/v1/applications?upload={id}");
    let (status, _, refused) = client
        .send("POST", &path, &headers[1..], b"")
        .expect("an answer");
    assert_eq!(
        (status, &refused["parameter"]),
        (400, &json!("Content-Encoding"))
    );
}
