//! The guests in `tests/hostile/`: what each says of itself, and the component that it
//! makes. What they are for, and how one is written, is in the README beside them; who runs
//! them is `tests/hostile_corpus.rs`.

use std::path::{Path, PathBuf};

use crate::made;

/// The directory of the guests.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile")
}

/// One guest.
pub struct Hostile {
    /// Its file's name, without the ending.
    pub name: String,
    /// What it tries, for people.
    pub tries: String,
    /// Settings of the server that it runs on, in the order of their names: `limits.x = 5`.
    pub settings: Vec<String>,
    /// What is done with it, and what must come of that.
    pub steps: Vec<Step>,
    /// What the last refusal has to say.
    pub says: Option<String>,
    /// How many of its lines its contexts keep.
    pub logs: usize,
    /// The arguments of its calls.
    pub args: String,
    /// The method that is called.
    pub method: String,
    /// Whether each `init` and update of it begins with two entries and an event of its own.
    pub is_marked: bool,
    /// What is uploaded.
    pub component: Vec<u8>,
}

/// One use of a guest.
pub struct Step {
    /// How it is used.
    pub way: Way,
    /// Not in the context of the steps before, but in one of its own.
    pub elsewhere: bool,
    /// What must happen.
    pub must: Outcome,
}

/// How a guest is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is uploaded; that is when it describes itself.
    Install,
    /// A context of it is created.
    Init,
    /// Its method is called as an update.
    Update,
    /// Its method is called as a query.
    Query,
}

/// What must happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is taken.
    Succeeds,
    /// It answers with this text, byte for byte.
    Answers(String),
    /// It is refused, or stopped.
    Refused {
        /// The name of the error.
        error: String,
        /// The limit that was exceeded, as the server names it.
        limit: Option<String>,
    },
}

impl Hostile {
    /// The names of the limits that stop it, without what the server puts before them.
    pub fn limits(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.must {
            Outcome::Refused { limit, .. } => limit.as_deref()?.strip_prefix("limits."),
            _ => None,
        })
    }
}

/// All guests, in the order of their names.
///
/// # Panics
/// If one says of itself what nobody understands.
pub fn all() -> Vec<Hostile> {
    let files = std::fs::read_dir(dir()).expect("the directory of the guests");
    let paths = files.map(|file| file.expect("a file").path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "wat"))
        .collect();
    paths.sort();
    let (mut guests, mut wrong) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.file_stem().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("a guest is text");
        match parse(&name, &repeated(&text)) {
            Ok(guest) => guests.push(guest),
            Err(what) => wrong.push(format!("{}: {what}", path.display())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    guests
}

/// The head is the comment at the beginning: a word, a colon and what it has to say; what
/// does not fit on its line goes on behind three blanks.
fn parse(name: &str, text: &str) -> Result<Hostile, String> {
    let mut head: Vec<(&str, String)> = Vec::new();
    let lines = text.lines().map_while(|line| line.strip_prefix(";;"));
    for line in lines {
        if let (Some(more), Some((_, said))) = (line.strip_prefix("   "), head.last_mut()) {
            said.push(' ');
            said.push_str(more.trim());
            continue;
        }
        let (word, said) = line
            .split_once(':')
            .ok_or_else(|| format!("what is {line:?}?"))?;
        if word.trim() == "part" {
            break;
        }
        head.push((word.trim(), said.trim().to_owned()));
    }
    let mut hostile = Hostile {
        name: name.to_owned(),
        tries: String::new(),
        settings: Vec::new(),
        steps: Vec::new(),
        says: None,
        logs: 0,
        args: "{}".to_owned(),
        method: "run".to_owned(),
        is_marked: true,
        component: Vec::new(),
    };
    let (mut memory, mut form, mut damage) = ("1".to_owned(), "guest".to_owned(), None);
    for (word, said) in head {
        match word {
            "tries" => hostile.tries = said,
            "with" => hostile.settings.push(said),
            "says" => hostile.says = Some(said),
            "logs" => hostile.logs = said.parse().map_err(|error| format!("logs: {error}"))?,
            "args" => hostile.args = said,
            "method" => hostile.method = said,
            "memory" => memory = said,
            "form" => form = said,
            "damage" => damage = Some(said),
            // Why, is for people.
            "unmarked" => hostile.is_marked = false,
            _ => hostile.steps.push(step(word, &said)?),
        }
    }
    hostile.settings.sort();
    if !hostile.tries.ends_with('.') {
        return Err("it does not say in a sentence what it tries".to_owned());
    }
    if hostile.steps.is_empty() {
        return Err("nothing is done with it".to_owned());
    }
    let component = match form.as_str() {
        "guest" => {
            let mut begins = Vec::new();
            if hostile.is_marked {
                begins = hostile.steps.iter().map(|step| step.way).collect();
                begins.retain(|way| matches!(way, Way::Init | Way::Update));
            }
            framed(text, &memory, &begins)
        }
        "component" | "text" => text.to_owned(),
        _ => return Err(format!("there is no form {form:?}")),
    };
    hostile.component = match form.as_str() {
        "text" => component.into_bytes(),
        _ => wat::parse_str(component).map_err(|error| error.to_string())?,
    };
    if hostile.steps.iter().any(|step| step.way == Way::Query) {
        hostile.component = made::with_query(&hostile.component);
    }
    if let Some(damage) = damage {
        damaged(&mut hostile.component, &damage)?;
    }
    Ok(hostile)
}

fn step(word: &str, said: &str) -> Result<Step, String> {
    let (way, elsewhere) = match word.strip_suffix(" elsewhere") {
        Some(way) => (way, true),
        None => (word, false),
    };
    let way = match way {
        "install" => Way::Install,
        "init" => Way::Init,
        "update" => Way::Update,
        "query" => Way::Query,
        _ => return Err(format!("there is no {word:?}")),
    };
    let must = match said.split_once(' ') {
        Some(("answers", text)) => Outcome::Answers(text.to_owned()),
        Some((error, limit)) => Outcome::Refused {
            error: error.to_owned(),
            limit: Some(limit.to_owned()),
        },
        None if said == "succeeds" => Outcome::Succeeds,
        None => Outcome::Refused {
            error: said.to_owned(),
            limit: None,
        },
    };
    Ok(Step {
        way,
        elsewhere,
        must,
    })
}

/// Whatever it is used for begins with an entry in two spaces and an event, of which nothing
/// may be left if it is stopped.
const BEGIN: &str = r#"
    (func $begin
      (call $set (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4))
      (call $set-in (i32.const 2) (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4))
      (call $emit (i32.const 256) (i32.const 5) (i32.const 272) (i32.const 4)))
"#;
const INIT: &str = "(func $init (param i32 i32) (result i32) (call $ok-null))";
const BEGUN_INIT: &str = r#"
    (func (export "init") (param i32 i32) (result i32)
      (call $begin) (call $init (local.get 0) (local.get 1)))
"#;
const CALL: &str = "(func $call (param i32 i32 i32 i32) (result i32) (call $ok-null))";
const BEGUN_CALL: &str = r#"
    (func (export "call") (param i32 i32 i32 i32) (result i32)
      (call $begin)
      (call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
"#;

/// The component of a guest's text, with such a beginning for each way in which it is used.
fn framed(text: &str, memory: &str, begins: &[Way]) -> String {
    let mut text = format!("{text}\n;; part: guest\n");
    for (function, default) in [("(func $init ", INIT), ("(func $call ", CALL)] {
        if !text.contains(function) {
            text.push_str(default);
        }
    }
    if !begins.is_empty() {
        text.push_str(BEGIN);
    }
    let mut component = made::in_frame(&text, memory);
    for (way, plain, begun) in [
        (Way::Init, "(export \"init\" (func $init))", BEGUN_INIT),
        (Way::Update, "(export \"call\" (func $call))", BEGUN_CALL),
    ] {
        assert!(component.contains(plain), "the frame is another");
        if begins.contains(&way) {
            component = component.replace(plain, begun);
        }
    }
    component
}

/// `<<3 * (func)>>` becomes `(func)(func)(func)`, from the inside out, and `{n}` in it the
/// number of each, from 0.
fn repeated(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(end) = text.find(">>") {
        let start = text[..end].rfind("<<").expect("they come in pairs");
        let inside = &text[start + 2..end];
        let (count, what) = inside
            .split_once(" * ")
            .expect("a number and what to repeat");
        let count: usize = count.trim().parse().expect("a number");
        let many: String = match what.contains("{n}") {
            true => (0..count)
                .map(|n| what.replace("{n}", &n.to_string()))
                .collect(),
            false => what.repeat(count),
        };
        text.replace_range(start..end + 2, &many);
    }
    text
}

/// `cut 60%` leaves so much of it, `flip 60%` turns over a bit there.
fn damaged(component: &mut Vec<u8>, how: &str) -> Result<(), String> {
    let (verb, place) = how.split_once(' ').ok_or("where?")?;
    let place: usize = place.trim_end_matches('%').parse().map_err(|_| "where?")?;
    let at = component.len() * place / 100;
    match verb {
        "cut" => component.truncate(at),
        "flip" => component[at] ^= 1,
        _ => return Err(format!("there is no damage {verb:?}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_so_from_the_inside_out() {
        assert_eq!(repeated("a<<3 * b>>c"), "abbbc");
        assert_eq!(
            repeated("<<2 * f{n}(<<2 * x{n} >>) >>"),
            "f0(x0 x1 ) f1(x0 x1 ) "
        );
    }

    #[test]
    fn a_head_says_what_is_done_and_what_must_happen() {
        let text = ";; tries: to wait\n;;   in vain.\n;; update elsewhere: out_of_fuel limits.a\n;; update: answers [1, 2]\n;; install: trapped\n;; logs: 3\n";
        let hostile = parse("name", text).unwrap();
        assert_eq!(hostile.tries, "to wait in vain.");
        assert_eq!(hostile.logs, 3);
        let [first, second, third] = &hostile.steps[..] else {
            panic!("{} steps", hostile.steps.len());
        };
        assert!(first.elsewhere && !second.elsewhere);
        assert_eq!(second.must, Outcome::Answers("[1, 2]".to_owned()));
        let refused = |limit: Option<&str>| Outcome::Refused {
            error: if limit.is_some() {
                "out_of_fuel"
            } else {
                "trapped"
            }
            .to_owned(),
            limit: limit.map(str::to_owned),
        };
        assert_eq!(first.must, refused(Some("limits.a")));
        assert_eq!(third.must, refused(None));
        assert_eq!(hostile.limits().collect::<Vec<_>>(), ["a"]);
        for (bad, why) in [
            (";; tries: to wait.\n", "nothing is done"),
            (";; tries: to wait\n;; update: trapped\n", "sentence"),
            (";; tries: to wait.\n;; upgrade: trapped\n", "upgrade"),
        ] {
            let error = parse("name", bad).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
    }
}
