//! Commands that need no server: `config`, `doctor`, `completions`, and what the others say where
//! none runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::binary::{document, fails, ok, run};

/// Commands that need no server.
#[test]
fn what_needs_no_server_works_without_one() {
    let dir = TempDir::new().unwrap();
    let data = dir.path();
    let page =
        |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    assert_eq!(ok(data, &["config", "reference"]), page("CONFIG.md"));
    assert_eq!(ok(data, &["config", "errors"]), page("ERRORS.md"));
    let settings = document(data, &["config", "show", "--listen", "127.0.0.1:1"]);
    assert_eq!(
        settings["http.listen"],
        json!({ "value": "127.0.0.1:1", "origin": "flag --listen" })
    );
    ok(data, &["config", "check"]);
    assert_eq!(
        document(data, &["config", "check"]),
        json!({ "good": true })
    );
    // What the parts would refuse at the start is refused here.
    for (limit, value) in [
        ("memory_bytes_max", "900 GiB"),
        ("slice_fuel", "0"),
        ("key_bytes_max", "10 KiB"),
    ] {
        let file = data.join("limits.toml");
        fs::write(&file, format!("[limits]\n{limit} = \"{value}\"\n")).unwrap();
        fails(
            data,
            &["config", "check", "--config", file.to_str().unwrap()],
            2,
            limit,
        );
    }
    // More shards than a data directory can have are not silently fewer.
    ok(data, &["config", "check", "--shards", "256"]);
    fails(data, &["serve", "--shards", "257"], 2, "from 0 to 256");
    let file = data.join("bad.toml");
    fs::write(&file, "[http]\nlistne = \"127.0.0.1:1\"\n").unwrap();
    fails(
        data,
        &["config", "check", "--config", file.to_str().unwrap()],
        2,
        "did you mean http.listen?",
    );
    fails(
        data,
        &["serve", "--config", file.to_str().unwrap()],
        2,
        "http.listne",
    );
    // Where the command line is good, its help is of no use.
    let hints = |args: &[&str]| {
        let talk = run(data, args).stderr;
        String::from_utf8_lossy(&talk).contains("see --help")
    };
    assert!(!hints(&["serve", "--config", file.to_str().unwrap()]));
    assert!(hints(&["call", "kv", "get", "no JSON"]));
    let findings = document(data, &["doctor"]);
    assert!(findings.to_string().contains("kernel"), "{findings}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            ok(data, &["completions", shell]).contains("corelet"),
            "{shell}"
        );
    }
    fails(data, &["token"], 1, "token");
    fails(data, &["status"], 3, "corelet dev");
    fails(
        data,
        &["dev", "/nonexistent.wasm"],
        2,
        "there is no /nonexistent.wasm",
    );
    assert!(!data.join("manifest").exists(), "nothing was started");
    // Asked at an address where nobody is.
    fs::write(data.join("token"), "corelet_0123456789abcdef").unwrap();
    fs::set_permissions(data.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let token = data.join("token");
    fails(
        data,
        &[
            "status",
            "--url",
            &url,
            "--token-file",
            token.to_str().unwrap(),
        ],
        3,
        "refused",
    );
}
