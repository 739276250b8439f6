//! From results to a body: the JSON-RPC 2.0 answer, written by hand around the
//! guest's own JSON, which is neither parsed nor copied twice. The order of a
//! batch's answers is the order of its requests.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

use super::envelope::Id;
use crate::refusal::Refusal;

/// What a call that worked has to say. `D` and `R` are ids that print as base58.
pub(crate) struct Success<'a, D, R> {
    /// The guest's answer, in JSON.
    pub output: &'a [u8],
    /// The committed change, if there was one.
    pub delta_id: Option<D>,
    /// The state's digest after the call.
    pub root: R,
    /// What the call cost.
    pub fuel_used: u64,
}

/// Room for everything around an answer's output: ids, digests, names.
const AROUND_BYTES: usize = 256;

/// Appends the answer to a call that worked.
pub(crate) fn write_success<D: Display, R: Display>(
    out: &mut Vec<u8>,
    id: Id<'_>,
    success: &Success<'_, D, R>,
) {
    let Id::Given(id) = id else { return };
    out.reserve(success.output.len() + id.len() + AROUND_BYTES);
    open(out, id);
    out.extend_from_slice(b",\"result\":{\"output\":");
    // A method that returns nothing still has a JSON answer.
    out.extend_from_slice(if success.output.is_empty() {
        b"null"
    } else {
        success.output
    });
    out.extend_from_slice(b",\"delta_id\":");
    match &success.delta_id {
        Some(delta_id) => quote(out, delta_id),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"root\":");
    quote(out, &success.root);
    // Writing into a Vec does not fail.
    let _ = write!(out, ",\"fuel_used\":{}}}}}", success.fuel_used);
}

/// Appends the answer to a call that was refused.
pub(crate) fn write_refusal(out: &mut Vec<u8>, id: Id<'_>, refusal: &Refusal) {
    let Id::Given(id) = id else { return };
    out.reserve(id.len() + AROUND_BYTES);
    open(out, id);
    out.extend_from_slice(b",\"error\":");
    refusal.write_error_object(out);
    out.push(b'}');
}

/// The answers to a batch, put together one by one.
pub(crate) struct Joined {
    body: Vec<u8>,
}

impl Joined {
    /// Room for so many bytes in so many answers.
    pub(crate) fn of_bytes(bytes: usize, answers: usize) -> Joined {
        Joined {
            body: Vec::with_capacity(bytes + answers + 1),
        }
    }

    /// Adds one; that to a notification is empty.
    pub(crate) fn add(&mut self, answer: &[u8]) {
        if !answer.is_empty() {
            self.body
                .push(if self.body.is_empty() { b'[' } else { b',' });
            self.body.extend_from_slice(answer);
        }
    }

    /// The whole; none if there was nothing to say.
    pub(crate) fn body(mut self) -> Option<Vec<u8>> {
        if self.body.is_empty() {
            return None;
        }
        self.body.push(b']');
        Some(self.body)
    }
}

fn open(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
}

/// Ids are base58 and need no escaping.
fn quote(out: &mut Vec<u8>, id: &impl Display) {
    struct Sink<'a>(&'a mut Vec<u8>);
    impl std::fmt::Write for Sink<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    out.push(b'"');
    let _ = write!(Sink(out), "{id}");
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    fn success(id: Id<'_>, output: &str, delta_id: Option<&str>) -> String {
        let mut out = Vec::new();
        let success = Success {
            output: output.as_bytes(),
            delta_id,
            root: "Rt",
            fuel_used: 42,
        };
        write_success(&mut out, id, &success);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_output_stands_in_the_answer_as_the_guest_wrote_it() {
        assert_eq!(
            success(Id::Given("\"x\""), r#"{ "a" : 1.0 }"#, Some("De")),
            r#"{"jsonrpc":"2.0","id":"x","result":{"output":{ "a" : 1.0 },"delta_id":"De","root":"Rt","fuel_used":42}}"#
        );
        assert_eq!(
            success(Id::Given("1"), "", None),
            r#"{"jsonrpc":"2.0","id":1,"result":{"output":null,"delta_id":null,"root":"Rt","fuel_used":42}}"#
        );
        assert_eq!(success(Id::Notification, "1", None), "");
    }

    #[test]
    fn a_refusal_is_an_error_object_under_the_same_id() {
        let mut out = Vec::new();
        let refusal = Refusal::new(Code::UnknownMethod, "no \"x\"").with("method", "x");
        write_refusal(&mut out, Id::NULL, &refusal);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32021,"data":{"method":"x","name":"unknown_method"},"message":"no \"x\""}}"#
        );
    }

    #[test]
    fn notifications_leave_no_gap_in_a_batch() {
        let answers = |list: &[&str]| {
            let mut joined = Joined::of_bytes(0, 0);
            list.iter().for_each(|text| joined.add(text.as_bytes()));
            let body = joined.body().unwrap_or_default();
            String::from_utf8(body).unwrap()
        };
        assert_eq!(answers(&["1", "", "2"]), "[1,2]");
        assert_eq!(answers(&["", "1"]), "[1]");
        assert_eq!(answers(&["", ""]), "");
    }
}
