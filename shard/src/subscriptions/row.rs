//! How subscriptions lie in the agenda of the context whose handlers are told. Other features' keys
//! begin with other bytes (`timers/row.rs`, `sends/row.rs`).
//!
//! | key | value |
//! |---|---|
//! | `E` | the digests of all that there are, in the order in which they were made; none if there are none |
//! | `e`, a digest of whose events and of the handler (32) | a subscription ([`SubscriptionRow`]) |
//!
//! So all of them are found without a walk over those that were removed, of which there may be any
//! number until a checkpoint.
//!
//! What the server changes by itself never makes them larger: numbers have fixed lengths.

use corelet_store::ContextId;

/// Which there are.
pub(crate) const SUBSCRIBED_ALL: &[u8] = b"E";
/// Subscriptions.
pub(crate) const SUBSCRIBED: &[u8] = b"e";

/// Which of a context's subscriptions: there is one for each context whose events they are and each
/// handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriptionKey([u8; 32]);

impl SubscriptionKey {
    /// Before all others, and behind them.
    pub(crate) const FIRST: SubscriptionKey = SubscriptionKey([0; 32]);
    pub(crate) const LAST: SubscriptionKey = SubscriptionKey([u8::MAX; 32]);

    pub(crate) fn of(source: ContextId, handler: &str) -> SubscriptionKey {
        let mut digest = blake3::Hasher::new();
        digest.update(source.as_bytes()).update(handler.as_bytes());
        SubscriptionKey(*digest.finalize().as_bytes())
    }

    /// Those that `E` names.
    pub(crate) fn all_of(value: &[u8]) -> Option<Vec<SubscriptionKey>> {
        let (keys, rest) = value.as_chunks();
        let keys = keys.iter().copied().map(SubscriptionKey);
        rest.is_empty().then(|| keys.collect())
    }

    /// The value of `E` that names these.
    pub(crate) fn write_all(keys: &[SubscriptionKey]) -> Vec<u8> {
        keys.iter().flat_map(|key| key.0).collect()
    }

    /// The key in the agenda.
    pub(crate) fn in_agenda(self) -> Vec<u8> {
        [SUBSCRIBED, &self.0].concat()
    }

    /// What such a key says.
    pub(crate) fn split(key: &[u8]) -> Option<SubscriptionKey> {
        let digest = key.strip_prefix(SUBSCRIBED)?;
        Some(SubscriptionKey(digest.try_into().ok()?))
    }
}

/// A point in the log of a context, behind one of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// The number of that event.
    pub(crate) number: u64,
    /// The bits of its stamp, or of an earlier one if that is not known. It finds the event again when a
    /// copy was brought in, as all numbers are others then.
    pub(crate) stamp: u64,
}

/// Up to where a handler was told of the events of a context, or need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Up to this one.
    Behind(Point),
    /// Up to the last event of which the stamp is not greater than the one with these bits. Which
    /// that is, is looked for as soon as the subscription is durable.
    Since(u64),
}

/// What a subscription asks for. Whoever subscribes its handler anew may ask for another kind, and from the
/// same place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) place: Place,
    /// A digest of the kind, if it is for one alone.
    kind: Option<blake3::Hash>,
}

impl Asked {
    pub(crate) fn of(place: Place, kind: Option<&str>) -> Asked {
        Asked {
            place,
            kind: kind.map(|kind| blake3::hash(kind.as_bytes())),
        }
    }
}

/// What a handler was told when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The event of this number.
    Event(u64),
    /// That events are missing, and no other.
    Gap,
    /// That there will be none any more.
    End,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionRow {
    /// Whether nobody has worked on it since it was made.
    pub(crate) is_new: bool,
    /// Whose events.
    pub(crate) source: ContextId,
    pub(crate) place: Place,
    /// Up to this number events are told one by one, as those before have failed together.
    pub(crate) single_until: u64,
    /// How often something was tried, and failed.
    pub(crate) attempts: u32,
    /// What that was, if there are attempts. It is not the next one any more if that is not kept.
    pub(crate) tried: Tried,
    pub(crate) handler: String,
    /// Events of this kind alone.
    pub(crate) kind: Option<String>,
}

/// The form of a row's value, which is its first byte.
const FORM: u8 = 1;

const BEHIND: u8 = 0;
const SINCE: u8 = 1;

/// What was tried is written as how far it lies before the number up to which events are told one by one. These
/// two say that it is no event.
const TRIED_GAP: u16 = u16::MAX - 1;
const TRIED_END: u16 = u16::MAX;

impl SubscriptionRow {
    /// All numbers little-endian: form (1), whether it is new (1), source (32), kind of its place (1),
    /// the number of its event (8) and the stamp (8), up to where events are told one by one (8),
    /// attempts (2), how far before that number the event lies that was tried, or which else that was (2),
    /// whether it is for one kind (1), length of the handler's name (2), name, the kind.
    pub(crate) fn write(&self) -> Vec<u8> {
        let (place, Point { number, stamp }) = match self.place {
            Place::Behind(point) => (BEHIND, point),
            Place::Since(stamp) => (SINCE, Point { number: 0, stamp }),
        };
        let mut out = vec![FORM, u8::from(self.is_new)];
        out.extend_from_slice(self.source.as_bytes());
        out.push(place);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&stamp.to_le_bytes());
        out.extend_from_slice(&self.single_until.to_le_bytes());
        let (attempts, tried) = self.written_attempts();
        out.extend_from_slice(&attempts.to_le_bytes());
        out.extend_from_slice(&tried.to_le_bytes());
        out.push(u8::from(self.kind.is_some()));
        let length = u16::try_from(self.handler.len()).expect("a limit on names is far below");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.handler.as_bytes());
        out.extend_from_slice(self.kind.as_deref().unwrap_or_default().as_bytes());
        out
    }

    pub(crate) fn read(value: &[u8]) -> Option<SubscriptionRow> {
        let (&[FORM, is_new], rest) = value.split_first_chunk()? else {
            return None;
        };
        let (source, rest) = rest.split_first_chunk::<32>()?;
        let (&[place], rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (stamp, rest) = rest.split_first_chunk()?;
        let (single_until, rest) = rest.split_first_chunk()?;
        let (attempts, rest) = rest.split_first_chunk()?;
        let (tried, rest) = rest.split_first_chunk()?;
        let (&[has_kind], rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (handler, kind) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let [number, stamp] = [number, stamp].map(|it| u64::from_le_bytes(*it));
        let single_until = u64::from_le_bytes(*single_until);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(SubscriptionRow {
            is_new: is_new != 0,
            source: ContextId::from_bytes(*source),
            place: match place {
                BEHIND => Place::Behind(Point { number, stamp }),
                SINCE => Place::Since(stamp),
                _ => return None,
            },
            single_until,
            attempts: u16::from_le_bytes(*attempts).into(),
            tried: match u16::from_le_bytes(*tried) {
                TRIED_END => Tried::End,
                TRIED_GAP => Tried::Gap,
                before => Tried::Event(single_until.saturating_sub(before.into())),
            },
            handler: text(handler)?,
            kind: match has_kind {
                0 => None,
                _ => Some(text(kind)?),
            },
        })
    }

    /// No attempts where it cannot be written what they are of: then they are counted anew.
    fn written_attempts(&self) -> (u16, u16) {
        let before = match self.tried {
            Tried::End => Some(TRIED_END),
            Tried::Gap => Some(TRIED_GAP),
            Tried::Event(number) => self.before_single_until(number),
        };
        // A bound on them is far below.
        let attempts = u16::try_from(self.attempts).unwrap_or(u16::MAX);
        match before {
            Some(before) if attempts > 0 => (attempts, before),
            _ => (0, 0),
        }
    }

    fn before_single_until(&self, number: u64) -> Option<u16> {
        let before = self.single_until.checked_sub(number)?;
        u16::try_from(before).ok().filter(|it| *it < TRIED_GAP)
    }

    /// How often this was tried, and failed.
    pub(crate) fn attempts_at(&self, what: Tried) -> u32 {
        match self.tried == what {
            true => self.attempts,
            false => 0,
        }
    }

    /// This was tried so often. An event that was is told alone from now on.
    pub(crate) fn note_attempts(&mut self, what: Tried, attempts: u32) {
        self.attempts = attempts;
        self.tried = what;
        if let Tried::Event(number) = what
            && self.before_single_until(number).is_none()
        {
            self.single_until = number;
        }
    }

    /// Whether a value is that of a subscription that nobody has worked on.
    pub(crate) fn is_of_new(value: &[u8]) -> bool {
        value.get(1).is_some_and(|is_new| *is_new != 0)
    }

    /// What it asks for now.
    pub(crate) fn asked(&self) -> Asked {
        Asked::of(self.place, self.kind.as_deref())
    }

    /// Whether events are told one by one now.
    pub(crate) fn is_careful(&self) -> bool {
        match self.place {
            Place::Behind(point) => point.number < self.single_until,
            Place::Since(_) => self.single_until > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> SubscriptionRow {
        SubscriptionRow {
            is_new: true,
            source: ContextId::from_bytes([7; 32]),
            place: Place::Behind(Point {
                number: 5,
                stamp: 6,
            }),
            single_until: 9,
            attempts: 2,
            tried: Tried::Event(7),
            handler: "höre".to_owned(),
            kind: Some("said".to_owned()),
        }
    }

    #[test]
    fn a_subscription_reads_back_and_its_form_is_kept() {
        let hex = |row: &SubscriptionRow| -> String {
            let written = row.write();
            written.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let source = "07".repeat(32);
        let expected = format!(
            "0101{source}00050000000000000006000000000000000900000000000000020002000105\
             0068c3b6726573616964"
        );
        assert_eq!(hex(&row()), expected);
        let others = [
            SubscriptionRow {
                kind: None,
                is_new: false,
                ..row()
            },
            SubscriptionRow {
                kind: Some(String::new()),
                place: Place::Since(u64::MAX),
                tried: Tried::Gap,
                ..row()
            },
            SubscriptionRow {
                tried: Tried::End,
                ..row()
            },
        ];
        for row in others.into_iter().chain([row()]) {
            let written = row.write();
            assert_eq!(SubscriptionRow::is_of_new(&written), row.is_new);
            assert_eq!(SubscriptionRow::read(&written), Some(row));
            assert_eq!(SubscriptionRow::read(&written[..70]), None);
            assert_eq!(SubscriptionRow::read(&[&[2], &written[1..]].concat()), None);
        }
        assert_eq!(SubscriptionRow::read(&[]), None);
    }

    #[test]
    fn what_the_server_changes_makes_it_no_longer() {
        let changed = SubscriptionRow {
            is_new: false,
            place: Place::Since(u64::MAX),
            single_until: u64::MAX,
            attempts: u32::MAX,
            tried: Tried::End,
            ..row()
        };
        assert_eq!(changed.write().len(), row().write().len());
    }

    #[test]
    fn attempts_are_of_what_was_tried_and_read_back_as_that() {
        let read = |row: &SubscriptionRow| SubscriptionRow::read(&row.write()).unwrap();
        let far = 100_000;
        // The event, up to where others are told one by one before and then.
        for (number, before, then) in [(7, 9, 9), (9, 9, 9), (10, 9, 10), (7, 0, 7), (7, far, 7)] {
            let mut row = SubscriptionRow {
                single_until: before,
                ..row()
            };
            row.note_attempts(Tried::Event(number), 3);
            let row = read(&row);
            assert_eq!((row.single_until, row.attempts), (then, 3));
            assert_eq!(row.attempts_at(Tried::Event(number)), 3);
            let others = [Tried::Event(number + 1), Tried::Gap, Tried::End];
            assert_eq!(others.map(|other| row.attempts_at(other)), [0; 3]);
        }
        for what in [Tried::Gap, Tried::End] {
            let mut row = row();
            row.note_attempts(what, 4);
            let row = read(&row);
            assert_eq!((row.attempts_at(what), row.single_until), (4, 9));
            assert_eq!(row.attempts_at(Tried::Event(9)), 0);
        }
        // Where others have failed together since that lie far behind it.
        let mut row = row();
        row.single_until = far;
        assert_eq!(read(&row).attempts, 0);
    }

    #[test]
    fn each_context_and_handler_has_a_key_of_its_own() {
        let [first, second] = [1, 2].map(|n| ContextId::from_bytes([n; 32]));
        let keys = [(first, "a"), (first, "b"), (second, "a")]
            .map(|(source, handler)| SubscriptionKey::of(source, handler));
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        for key in keys {
            assert_eq!(SubscriptionKey::split(&key.in_agenda()), Some(key));
            assert!((SubscriptionKey::FIRST..=SubscriptionKey::LAST).contains(&key));
        }
        assert_eq!(SubscriptionKey::split(b"e1"), None);
        let written = SubscriptionKey::write_all(&keys);
        assert_eq!(written.len(), 96);
        assert_eq!(SubscriptionKey::all_of(&written), Some(keys.to_vec()));
        assert_eq!(SubscriptionKey::all_of(&written[1..]), None);
    }
}
