//! What `corelet dev` says when everything is there: where, and what to type.
//! Every command in it works as it stands, in another terminal in the same
//! directory.

use std::fmt::Write;
use std::path::Path;

use super::example::{self, ExampleCall};
use super::project::{Demo, How};
use crate::auth::TOKEN_FILE;
use crate::cli::{plain, shell};

/// What there is to say it about.
pub(super) struct Scene<'a> {
    /// How this program is called.
    pub(super) program: &'a str,
    pub(super) url: &'a str,
    pub(super) data_dir: &'a Path,
    pub(super) demos: &'a [Demo],
}

impl Scene<'_> {
    /// The beginning of a command for this server.
    fn command(&self) -> String {
        let program = shell(self.program);
        if self.data_dir == Path::new("corelet-data") {
            program
        } else {
            format!(
                "{program} --data-dir {}",
                shell(&self.data_dir.display().to_string())
            )
        }
    }
}

/// The whole text, without a newline at the end.
pub(super) fn text(scene: &Scene<'_>) -> String {
    let command = scene.command();
    let token = scene.data_dir.join("keys").join(TOKEN_FILE);
    let mut text = format!(
        "\nCorelet {} runs at {}\n  data   {}\n  token  {} (`{command} token` prints it)\n",
        env!("CARGO_PKG_VERSION"),
        scene.url,
        plain(&scene.data_dir.display().to_string()),
        plain(&token.display().to_string()),
    );
    for demo in scene.demos {
        let _ = write!(text, "\n{}\n", head(demo));
        for call in example::calls(&demo.description) {
            let _ = writeln!(text, "  {command} {}", call_line(demo, &call));
        }
    }
    match scene
        .demos
        .iter()
        .find_map(|demo| Some((demo, curl_call(demo)?)))
    {
        Some((demo, call)) => {
            let _ = write!(
                text,
                "\nThe same over HTTP:\n{}",
                curl(scene.url, &command, demo, &call)
            );
        }
        None if scene.demos.is_empty() => {
            let _ = write!(
                text,
                "\nNo application yet. A first one:\n  {program} app new hello && {command} app install $({program} app build hello)\n  {command} context create hello --name hello\n",
                program = shell(scene.program)
            );
        }
        None => {}
    }
    text.push_str("\nCtrl-C stops it; the data stays.");
    text
}

fn head(demo: &Demo) -> String {
    let name = plain(&format!(
        "{} {}",
        demo.application.name, demo.application.version
    ));
    let context = plain(demo.context_name());
    match &demo.how {
        How::New => format!("{name}: context {context}, made now"),
        How::Found => format!("{name}: context {context}, as it was"),
        How::Beside { older } => format!(
            "{name}: context {context}, made now; the context {} stays with the version before",
            plain(older)
        ),
    }
}

fn call_line(demo: &Demo, call: &ExampleCall<'_>) -> String {
    let args = if call.args == "{}" {
        String::new()
    } else {
        format!(" {}", shell(&call.args))
    };
    format!(
        "call {} {}{args}",
        shell(demo.context_name()),
        shell(call.method)
    )
}

/// Something to read, so that pasting it twice does no harm.
fn curl_call(demo: &Demo) -> Option<ExampleCall<'_>> {
    let mut calls = example::calls(&demo.description);
    let at = calls.iter().position(|call| call.is_query).unwrap_or(0);
    (!calls.is_empty()).then(|| calls.swap_remove(at))
}

fn curl(url: &str, command: &str, demo: &Demo, call: &ExampleCall<'_>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{{"context_id":{},"method":{},"args":{}}}}}"#,
        quoted(demo.context_name()),
        quoted(call.method),
        call.args
    );
    format!(
        // By standard input: a secret among curl's arguments is in the process list.
        "  {command} token --header | curl -sS {url}/rpc -H @- \\\n    -H 'Content-Type: application/json' -d {}\n",
        shell(&body)
    )
}

#[cfg(test)]
mod tests {
    use super::super::example::Description;
    use super::*;
    use crate::api::{Application, Context};
    use serde_json::json;

    fn demo(how: How) -> Demo {
        let description = json!({
            "methods": [
                { "name": "set", "kind": "update", "parameters": [
                    { "name": "key", "type_name": "&str" }, { "name": "value", "type_name": "&str" } ] },
                { "name": "get", "kind": "query", "parameters": [ { "name": "key", "type_name": "&str" } ] },
                { "name": "len", "kind": "query" },
            ],
        });
        let application = Application {
            id: "A".to_owned(),
            name: "kv".to_owned(),
            version: "0.1.0".to_owned(),
            size_bytes: 1,
            installed_unix_ms: 0,
            reuse: "context".to_owned(),
            description: Some(description),
        };
        let context = Context {
            id: "C".to_owned(),
            name: Some("kv".to_owned()),
            application: "A".to_owned(),
            created_unix_ms: 0,
            version: 0,
            root: "R".to_owned(),
            entries: 0,
            bytes: 0,
            weight: 100,
            out_of_service: None,
            shard: 0,
        };
        Demo {
            description: Description::of(&application),
            application,
            context,
            how,
        }
    }

    fn banner(program: &str, data_dir: &str, demos: &[Demo]) -> String {
        text(&Scene {
            program,
            url: "http://127.0.0.1:7700",
            data_dir: Path::new(data_dir),
            demos,
        })
    }

    #[test]
    fn the_banner_has_commands_to_paste() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            banner("target/release/corelet", "corelet-data", &[demo(How::New)]),
            format!(
                r#"
Corelet {version} runs at http://127.0.0.1:7700
  data   corelet-data
  token  corelet-data/keys/token (`target/release/corelet token` prints it)

kv 0.1.0: context kv, made now
  target/release/corelet call kv set '{{"key":"greeting","value":"hello"}}'
  target/release/corelet call kv get '{{"key":"greeting"}}'
  target/release/corelet call kv len

The same over HTTP:
  target/release/corelet token --header | curl -sS http://127.0.0.1:7700/rpc -H @- \
    -H 'Content-Type: application/json' -d '{{"jsonrpc":"2.0","id":1,"method":"execute","params":{{"context_id":"kv","method":"get","args":{{"key":"greeting"}}}}}}'

Ctrl-C stops it; the data stays."#
            )
        );
    }

    #[test]
    fn another_data_directory_is_named_and_quoted() {
        let text = banner("corelet", "/tmp/it's here", &[demo(How::Found)]);
        assert!(
            text.contains(r"corelet --data-dir '/tmp/it'\''s here' call kv len"),
            "{text}"
        );
        assert!(text.contains("kv 0.1.0: context kv, as it was"), "{text}");
    }

    #[test]
    fn a_new_version_says_where_the_old_one_is() {
        let older = "kv-1".to_owned();
        let text = banner("corelet", "d", &[demo(How::Beside { older })]);
        assert!(
            text.contains("the context kv-1 stays with the version before"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_server_says_what_to_do_first() {
        let text = banner("corelet", "corelet-data", &[]);
        assert!(text.contains("corelet app new hello"), "{text}");
        assert!(!text.contains("curl"), "{text}");
    }
}
