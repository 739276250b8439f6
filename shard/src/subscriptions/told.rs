//! Events on their way to a handler: what the shard of whose events they are gives to the listener's,
//! and what the handler gets of it, in JSON.

use bytes::Bytes;
use corelet_store::ContextId;

use super::row::{Place, Point};

/// What is asked of the shard that owns the context whose events a handler is told.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) source: ContextId,
    /// Whose handler is told.
    pub(crate) listener: ContextId,
    pub(crate) place: Place,
    /// Events of this kind alone.
    pub(crate) kind: Option<String>,
    /// So many events at most.
    pub(crate) events_max: usize,
    /// What they may take as JSON, beyond the first.
    pub(crate) bytes_max: usize,
    /// What one may take, the first as well. One that takes more is not told, nor is one that nests
    /// deeper than a handler can read.
    pub(crate) event_bytes_max: usize,
}

/// What there is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// In their order.
    pub(crate) events: Vec<ToldEvent>,
    /// The first and the last event before those that are not kept any more, or cannot be told.
    pub(crate) gap: Option<(u64, u64)>,
    /// Behind which event was looked.
    pub(crate) after: u64,
    /// Up to which, be it told or not.
    pub(crate) until: Point,
    /// Whether there are events behind that.
    pub(crate) more: bool,
    /// Whether the shard that has asked is told when there are new ones.
    pub(crate) is_heard: bool,
}

/// An event as a handler is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldEvent {
    pub(crate) sequence: u64,
    /// When it was told, in microseconds since 1970.
    pub(crate) micros: u64,
    pub(crate) kind: String,
    /// JSON.
    pub(crate) payload: Bytes,
}

/// What the arguments have around the events.
pub(crate) const AROUND_BYTES: usize = 256;

impl ToldEvent {
    /// What an event takes in the arguments at most: a character of its kind may be written as six.
    pub(crate) fn bytes(kind: &str, payload: &[u8]) -> usize {
        const AROUND: usize = 64;
        AROUND + 6 * kind.len() + payload.len()
    }
}

impl Told {
    /// What the handler is called with.
    pub(crate) fn arguments(&self, source: ContextId, has_ended: bool) -> Bytes {
        let own = |event: &ToldEvent| ToldEvent::bytes(&event.kind, &event.payload);
        let bytes = self.events.iter().map(own).sum::<usize>() + AROUND_BYTES;
        let mut out = Vec::with_capacity(bytes);
        put(
            &mut out,
            format_args!("{{\"heard\":{{\"context\":\"{source}\",\"events\":["),
        );
        for (n, event) in self.events.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            put(
                &mut out,
                format_args!("{{\"sequence\":{},\"kind\":", event.sequence),
            );
            put_text(&mut out, &event.kind);
            out.extend_from_slice(b",\"payload\":");
            out.extend_from_slice(&event.payload);
            out.push(b'}');
        }
        match self.gap {
            Some((from, to)) => {
                put(
                    &mut out,
                    format_args!("],\"gap\":{{\"from\":{from},\"to\":{to}}}"),
                );
            }
            None => out.extend_from_slice(b"],\"gap\":null"),
        }
        put(&mut out, format_args!(",\"ended\":{has_ended}}}}}"));
        Bytes::from(out)
    }
}

fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.extend_from_slice(std::fmt::format(what).as_bytes());
}

/// A text of an application's, which may hold anything, as JSON.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => put(out, format_args!("\\u{byte:04x}")),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, kind: &str, payload: &'static str) -> ToldEvent {
        ToldEvent {
            sequence,
            micros: 7,
            kind: kind.to_owned(),
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }

    #[test]
    fn a_handler_is_told_events_and_what_is_missing_as_json() {
        let source = ContextId::from_bytes([0; 32]);
        let id = "1".repeat(32);
        let text = |told: &Told, has_ended| {
            let arguments = told.arguments(source, has_ended);
            assert!(
                arguments.len()
                    <= told
                        .events
                        .iter()
                        .map(|event| { ToldEvent::bytes(&event.kind, &event.payload) })
                        .sum::<usize>()
                        + AROUND_BYTES
            );
            String::from_utf8(arguments.to_vec()).unwrap()
        };
        let mut told = Told::default();
        assert_eq!(
            text(&told, true),
            format!(r#"{{"heard":{{"context":"{id}","events":[],"gap":null,"ended":true}}}}"#)
        );
        told.gap = Some((u64::MAX - 1, u64::MAX));
        told.events = vec![
            event(u64::MAX, "said", "{\"a\":1}"),
            event(8, "\"\\\n\u{1}ä", "2"),
        ];
        let expected = format!(
            r#"{{"heard":{{"context":"{id}","events":[{{"sequence":18446744073709551615,"kind":"said","payload":{{"a":1}}}},{{"sequence":8,"kind":"\"\\\u000a\u0001ä","payload":2}}],"gap":{{"from":18446744073709551614,"to":18446744073709551615}},"ended":false}}}}"#
        );
        assert_eq!(text(&told, false), expected);
    }
}
