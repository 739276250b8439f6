//! `corelet dev`: a server in this process, applications installed, one demo
//! context each, and the commands to try. Directories are built, and again when
//! they change. Starting it again finds everything as it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use serde_json::Value;

use crate::api;
use crate::auth::{TOKEN_FILE, Token};
use crate::cli::{Failure, Out, build_component, install};
use crate::client::Client;
use crate::config::{Config, Effective};
use crate::run_file::RunFile;
use crate::serve::{Server, StopSignals};

/// Editors write in bursts; a build begins when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);

/// Runs until Ctrl-C.
pub(crate) fn run(
    config: Config,
    effective: &Effective,
    data_dir: &Path,
    paths: &[PathBuf],
    out: &Out,
) -> Result<(), Failure> {
    let signals = StopSignals::new()?;
    let server = Server::start(config, effective, data_dir)?;
    let keys = data_dir.join("keys").join(TOKEN_FILE);
    let url = RunFile::of_this_process(server.facts.address).url;
    let outcome = (|| {
        let client = Client::new(url.clone(), Token::load(&keys)?);
        let mut demos = Vec::new();
        for path in paths {
            demos.push(demo(&client, path, out)?);
        }
        out.say(&welcome(&url, data_dir, &demos));
        let sources: Vec<PathBuf> = paths.iter().filter(|path| path.is_dir()).cloned().collect();
        let watching = watch(client, sources, *out);
        signals.wait();
        drop(watching);
        Ok(())
    })();
    out.say("stopping");
    server.stop()?;
    outcome
}

/// An application with a context to try it in.
struct Demo {
    application: api::Application,
    context: String,
}

/// Installs what is at `path` and finds or makes its context.
fn demo(client: &Client, path: &Path, out: &Out) -> Result<Demo, Failure> {
    let component = if path.is_dir() {
        build_component(path, None, false)?
    } else {
        path.to_owned()
    };
    let application = install(client, &component, out)?;
    let context = demo_context(client, &application)?;
    Ok(Demo {
        application,
        context,
    })
}

/// The context named after the application. If that one runs an older build,
/// it is kept, and the new build gets a name with the beginning of its id.
fn demo_context(client: &Client, application: &api::Application) -> Result<String, Failure> {
    let short: String = application.id.chars().take(6).collect();
    for name in [
        application.name.clone(),
        format!("{}-{short}", application.name),
    ] {
        match client.get::<api::Context>(&format!("/v1/contexts/{name}")) {
            Ok(context) if context.application == application.id => return Ok(name),
            Ok(_) => continue,
            Err(crate::client::ClientError::Refused { name: reason, .. })
                if reason == "unknown_context" =>
            {
                let wanted = api::CreateContext {
                    application: application.id.clone(),
                    name: Some(name.clone()),
                    args: None,
                };
                client.post::<api::Context>("/v1/contexts", &wanted)?;
                return Ok(name);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::new(
        crate::cli::Exit::Failed,
        format!(
            "two other contexts have the names that the demo of {} would take",
            application.name
        ),
    ))
}

fn welcome(url: &str, data_dir: &Path, demos: &[Demo]) -> String {
    let data = data_dir.display();
    let flag = if data_dir == Path::new("corelet-data") {
        String::new()
    } else {
        format!(" --data-dir {data}")
    };
    let mut text = format!(
        "\nCorelet runs at {url}\n  data   {data}\n  token  {data}/keys/{TOKEN_FILE} (`corelet{flag} token` prints it)\n"
    );
    if demos.is_empty() {
        text.push_str(&format!(
            "\nNo application yet. Try:\n  corelet{flag} app install FILE.wasm\n  corelet app new hello && corelet{flag} dev hello\n"
        ));
    } else {
        text.push_str("\nTry, in another terminal:\n");
    }
    for demo in demos {
        for line in tries(demo) {
            text.push_str(&format!("  corelet{flag} {line}\n"));
        }
    }
    if let Some(demo) = demos.first() {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{{"context_id":"{}","method":"{}","args":{{}}}}}}"#,
            demo.context,
            query_without_parameters(&demo.application).unwrap_or("METHOD".to_owned())
        );
        text.push_str(&format!(
            "\nor with curl:\n  curl -s {url}/rpc -H \"Authorization: Bearer $(cat {data}/keys/{TOKEN_FILE})\" -d '{body}'\n"
        ));
    }
    text.push_str("\nCtrl-C stops it.");
    text
}

/// One update and one query, with arguments made up from the parameters' types.
fn tries(demo: &Demo) -> Vec<String> {
    let methods = methods(&demo.application);
    let mut lines = Vec::new();
    for kind in ["update", "query"] {
        let Some(method) = methods.iter().find(|method| method["kind"] == kind) else {
            continue;
        };
        let name = method["name"].as_str().unwrap_or("METHOD");
        let args = example_args(method);
        let args = if args == "{}" {
            String::new()
        } else {
            format!(" '{args}'")
        };
        lines.push(format!("call {} {name}{args}", demo.context));
    }
    lines
}

fn methods(application: &api::Application) -> &[Value] {
    let methods = application
        .description
        .as_ref()
        .and_then(|all| all.get("methods"));
    methods.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn query_without_parameters(application: &api::Application) -> Option<String> {
    let fits = |method: &&Value| {
        method["kind"] == "query" && method["parameters"].as_array().is_some_and(Vec::is_empty)
    };
    methods(application).iter().find(fits)?["name"]
        .as_str()
        .map(str::to_owned)
}

/// A JSON object that the method is likely to take.
fn example_args(method: &Value) -> String {
    let parameters = method["parameters"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let members: Vec<String> = parameters
        .iter()
        .filter_map(|parameter| {
            let name = parameter["name"].as_str()?;
            let value = match parameter["type_name"].as_str()? {
                "bool" => "true",
                number
                    if number.starts_with(['u', 'i', 'f'])
                        && number[1..].bytes().all(|b| b.is_ascii_digit()) =>
                {
                    "1"
                }
                optional if optional.starts_with("Option") => "null",
                list if list.starts_with("Vec") => "[]",
                _ => "\"hello\"",
            };
            Some(format!("\"{name}\":{value}"))
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Builds directories again when they change, until it is dropped.
fn watch(client: Client, sources: Vec<PathBuf>, out: Out) -> Option<notify::RecommendedWatcher> {
    if sources.is_empty() {
        return None;
    }
    let (changed_to, changed) = channel();
    let roots = absolute(&sources);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if !matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)
        ) {
            return;
        }
        for path in event.paths.iter().filter(|path| is_source(path)) {
            if let Some(root) = roots.iter().find(|root| path.starts_with(root)) {
                // The receiver ends with the command.
                let _ = changed_to.send(root.clone());
            }
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            out.say(&format!("changes will not be noticed: {error}"));
            return None;
        }
    };
    for source in absolute(&sources) {
        if let Err(error) = watcher.watch(&source, RecursiveMode::Recursive) {
            out.say(&format!(
                "changes in {} will not be noticed: {error}",
                source.display()
            ));
        }
    }
    let rebuilding = thread::Builder::new()
        .name("rebuild".to_owned())
        .spawn(move || rebuild(&client, &changed, &out));
    rebuilding.ok().map(|_| watcher)
}

fn rebuild(client: &Client, changed: &Receiver<PathBuf>, out: &Out) {
    while let Ok(first) = changed.recv() {
        let mut roots = BTreeSet::from([first]);
        loop {
            match changed.recv_timeout(QUIET) {
                Ok(root) => drop(roots.insert(root)),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        for root in roots {
            out.say(&format!("{} has changed: building", root.display()));
            match demo(client, &root, out) {
                Ok(demo) => {
                    out.say(&format!(
                        "installed {}; its context is {}",
                        demo.application.id, demo.context
                    ));
                }
                Err(failure) => out.failure(&failure),
            }
        }
    }
}

fn absolute(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect()
}

/// What cargo writes is no source, and neither are editors' own files.
fn is_source(path: &Path) -> bool {
    let in_target = path.components().any(|part| part.as_os_str() == "target");
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    !in_target && (name.ends_with(".rs") || name == "Cargo.toml")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn examples_follow_the_parameters_types() {
        let method = json!({ "parameters": [
            { "name": "key", "type_name": "String" },
            { "name": "count", "type_name": "u64" },
            { "name": "after", "type_name": "Option<String>" },
        ]});
        assert_eq!(
            example_args(&method),
            r#"{"key":"hello","count":1,"after":null}"#
        );
        assert_eq!(example_args(&json!({})), "{}");
    }

    #[test]
    fn only_sources_start_a_build() {
        assert!(is_source(Path::new("/a/src/lib.rs")));
        assert!(is_source(Path::new("/a/Cargo.toml")));
        assert!(!is_source(Path::new("/a/target/release/build/x.rs")));
        assert!(!is_source(Path::new("/a/src/.lib.rs.swp")));
        assert!(!is_source(Path::new("/a/Cargo.lock")));
    }
}
