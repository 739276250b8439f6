//! The page of all errors as the server prints it, and which of them have been met.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use corelet_tests::binary;
use serde_json::{Map, Value};

/// The page, and which of its entries have been met.
pub(super) struct Catalogue {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) met: RefCell<BTreeSet<String>>,
}

impl Catalogue {
    pub(super) fn of_the_server() -> Catalogue {
        let shown = Command::new(binary())
            .args(["config", "errors"])
            .output()
            .expect("the binary starts");
        let page = String::from_utf8(shown.stdout).expect("text");
        let entries = page.lines().filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, code, name, status, members, _meaning, _] = cells[..] else {
                return None;
            };
            let (status, is_transport) = match status.strip_suffix(" transport") {
                Some(status) => (status, true),
                None => (status, false),
            };
            let members = members.split(", ").filter(|member| !member.is_empty());
            let (optional, required): (Vec<&str>, Vec<&str>) =
                members.partition(|member| member.ends_with('?'));
            let entry = Entry {
                // The heads of the table are no numbers.
                code: code.parse().ok()?,
                status: status.parse().expect("a status"),
                is_transport,
                required: required.into_iter().map(str::to_owned).collect(),
                optional: optional
                    .into_iter()
                    .map(|member| member.trim_end_matches('?').to_owned())
                    .collect(),
            };
            Some((name.trim_matches('`').to_owned(), entry))
        });
        let entries: BTreeMap<_, _> = entries.collect();
        assert!(entries.len() > 30, "the page was not understood");
        let met = RefCell::default();
        Catalogue { entries, met }
    }

    /// An answer to a JSON-RPC call: refused as `name`, and as the page has it.
    /// Gives the data.
    pub(super) fn rpc(&self, name: &str, (status, answer): &(u16, Value)) -> Map<String, Value> {
        let error = &answer["error"];
        assert_eq!(error["data"]["name"], name, "{status}: {answer}");
        let entry = self.meet(name);
        let expected = if entry.is_transport {
            entry.status
        } else {
            200
        };
        assert_eq!(*status, expected, "{answer}");
        assert_eq!(error["code"], entry.code, "{answer}");
        assert!(error["message"].is_string(), "{answer}");
        let mut data = error["data"].as_object().expect("data").clone();
        data.remove("name");
        entry.check(name, &data);
        data
    }

    /// The same for an answer of the REST side.
    pub(super) fn rest(&self, name: &str, (status, answer): &(u16, Value)) -> Map<String, Value> {
        let kind = format!("urn:corelet:error:{name}");
        assert_eq!(answer["type"], kind, "{status}: {answer}");
        let entry = self.meet(name);
        assert_eq!(*status, entry.status, "{answer}");
        assert_eq!(answer["status"], entry.status, "{answer}");
        assert_eq!(answer["code"], entry.code, "{answer}");
        let mut data = answer.as_object().expect("members").clone();
        for member in ["type", "title", "status", "detail", "code"] {
            assert!(data.remove(member).is_some(), "no {member}: {answer}");
        }
        entry.check(name, &data);
        data
    }

    fn meet(&self, name: &str) -> &Entry {
        self.met.borrow_mut().insert(name.to_owned());
        let entry = self.entries.get(name);
        entry.unwrap_or_else(|| panic!("{name} is not on the page"))
    }
}

/// One line of the page.
pub(super) struct Entry {
    code: i64,
    status: u16,
    is_transport: bool,
    required: BTreeSet<String>,
    optional: BTreeSet<String>,
}

impl Entry {
    fn check(&self, name: &str, data: &Map<String, Value>) {
        for member in &self.required {
            assert!(data.contains_key(member), "{name} lacks {member}: {data:?}");
        }
        for member in data.keys() {
            let is_known = self.required.contains(member) || self.optional.contains(member);
            assert!(is_known, "{name} has {member}, which is not on the page");
        }
    }
}

/// Which limit a refusal names, and what it is.
pub(super) fn limit_of(data: &Map<String, Value>) -> (&str, u64) {
    let limit = data["limit"].as_str().expect("a name");
    (limit, data["max"].as_u64().expect("a number"))
}
