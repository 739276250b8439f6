//! From results to a body: the JSON-RPC 2.0 answer, written by hand around the
//! guest's own JSON, which is neither parsed nor copied twice. The order of a
//! batch's answers is the order of its requests.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};
use std::io::Write as _;

use bytes::Bytes;

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
    begin_success(out, id);
    // A method that returns nothing still has a JSON answer.
    out.extend_from_slice(if success.output.is_empty() {
        b"null"
    } else {
        success.output
    });
    end_success(out, success);
}

fn begin_success(out: &mut Vec<u8>, id: &str) {
    open(out, id);
    out.extend_from_slice(b",\"result\":{\"output\":");
}

fn end_success<D: Display, R: Display>(out: &mut Vec<u8>, success: &Success<'_, D, R>) {
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

/// Outputs up to this length are put together with what stands around them, so that
/// many short answers leave in one piece.
const PIECE_BYTES: usize = 16 << 10;

/// One of a batch's answers. Empty if it is to a notification.
#[derive(Default)]
pub(crate) struct Answer {
    text: Vec<u8>,
    /// A long output and its place in the text: it leaves in the memory in which it came.
    apart: Option<(usize, Bytes)>,
}

impl Answer {
    /// To a call that worked; `output` is that of `success`.
    pub(crate) fn success<D: Display, R: Display>(
        id: Id<'_>,
        output: &Bytes,
        success: &Success<'_, D, R>,
    ) -> Answer {
        let mut answer = Answer::default();
        match id {
            Id::Given(id) if output.len() > PIECE_BYTES => {
                begin_success(&mut answer.text, id);
                answer.apart = Some((answer.text.len(), output.clone()));
                end_success(&mut answer.text, success);
            }
            _ => write_success(&mut answer.text, id, success),
        }
        answer
    }

    /// To a call that was refused.
    pub(crate) fn refusal(id: Id<'_>, refusal: &Refusal) -> Answer {
        let mut answer = Answer::default();
        write_refusal(&mut answer.text, id, refusal);
        answer
    }

    /// All its bytes.
    pub(crate) fn len(&self) -> usize {
        let apart = self.apart.as_ref();
        self.text.len() + apart.map_or(0, |(_, output)| output.len())
    }
}

/// The answers to a batch, in pieces, so that it takes no more memory than they do.
#[derive(Default)]
pub(crate) struct Joined {
    pieces: VecDeque<Bytes>,
    last: Vec<u8>,
}

impl Joined {
    /// Adds the next one. Gives the number of bytes that had to be copied.
    pub(crate) fn add(&mut self, answer: Answer) -> usize {
        let Answer { mut text, apart } = answer;
        if text.is_empty() {
            return 0;
        }
        let first = self.pieces.is_empty() && self.last.is_empty();
        self.last.push(if first { b'[' } else { b',' });
        if let Some((place, output)) = apart {
            self.last.extend_from_slice(&text[..place]);
            let before = std::mem::replace(&mut self.last, text.split_off(place));
            self.pieces.push_back(before.into());
            self.pieces.push_back(output);
            return 0;
        }
        self.last.extend_from_slice(&text);
        let copied = text.len();
        if self.last.len() > PIECE_BYTES {
            let full = std::mem::take(&mut self.last);
            self.pieces.push_back(full.into());
        }
        copied
    }

    /// The whole; none if there was nothing to say.
    pub(crate) fn pieces(mut self) -> Option<VecDeque<Bytes>> {
        if self.pieces.is_empty() && self.last.is_empty() {
            return None;
        }
        self.last.push(b']');
        self.pieces.push_back(self.last.into());
        Some(self.pieces)
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

    /// The answers to a batch whose calls gave these outputs, or were notifications.
    fn answers(outputs: &[Option<&str>]) -> String {
        let mut joined = Joined::default();
        for output in outputs {
            let id = output.map_or(Id::Notification, |_| Id::Given("1"));
            let output = Bytes::copy_from_slice(output.unwrap_or("0").as_bytes());
            let success = Success {
                output: &output,
                delta_id: None::<&str>,
                root: "Rt",
                fuel_used: 42,
            };
            let answer = Answer::success(id, &output, &success);
            let bytes = answer.len();
            assert_eq!(bytes == 0, id == Id::Notification);
            joined.add(answer);
        }
        let pieces = joined.pieces().unwrap_or_default();
        String::from_utf8(pieces.into_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn notifications_leave_no_gap_in_a_batch() {
        let one = |output: &str| success(Id::Given("1"), output, None);
        assert_eq!(
            answers(&[Some("1"), None, Some("2")]),
            format!("[{},{}]", one("1"), one("2"))
        );
        assert_eq!(answers(&[None, Some("1")]), format!("[{}]", one("1")));
        assert_eq!(answers(&[None, None]), "");
    }

    #[test]
    fn long_outputs_stand_in_their_places() {
        let long = "7".repeat(PIECE_BYTES + 1);
        let middle = "8".repeat(PIECE_BYTES / 2);
        for outputs in [
            [&long, "1", "2"],
            ["1", &long, &long],
            ["1", &long, "2"],
            [&middle, &middle, &middle],
        ] {
            let alone = outputs.map(|output| success(Id::Given("1"), output, None));
            let together = answers(&outputs.map(Some));
            assert!(together == format!("[{}]", alone.join(",")));
        }
    }
}
