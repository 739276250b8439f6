//! The calls that a context has sent to others, and what it knows of those that others have sent it,
//! as one turn sees them: entries of its agenda, which read and write like all others. How they
//! lie there is in `crate::sends`.

use std::ops::ControlFlow;

use corelet_store::{ContextId, Hlc};
use corelet_wasm_host::{
    GuestSends, GuestState, NewSend, Sending, SentBounds, Space, StateError, StateWalk,
};

use super::View;
use crate::sends::{
    CallbackRow, SENT, SENT_SUM, SentNumber, SentRow, TAKEN, TAKEN_COUNT, TakenRow, sent_key,
    sent_prefix, split_sent, split_taken, taken_key,
};

/// What the calls of a turn are numbered by, and what they follow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    /// The bits of the turn's stamp.
    stamp: u64,
    /// How many calls in a row were sent each by the one before it, the last of which this is.
    depth: u32,
    /// Calls that it has sent so far.
    sent: u16,
    /// Whether its answer is kept for a callback.
    keeps_outcome: bool,
}

impl Origin {
    /// The bits of the turn's stamp.
    pub(super) fn stamp(self) -> u64 {
        self.stamp
    }
}

/// How much was sent and has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SentSum {
    calls: u64,
    /// Of keys and values.
    bytes: u64,
}

/// Whether a call that another context has sent is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// It is.
    New,
    /// It was taken before, or one behind it.
    Before,
    /// Of so many contexts something is remembered already.
    Full { used: u64 },
}

/// What becomes of a call whose callback has failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PutOffCallback {
    /// It has ended meanwhile.
    Gone,
    /// The callback is called again; so often it was tried.
    Again { attempts: u32 },
    /// It was tried often enough: the call has ended without it.
    GivenUp { attempts: u32 },
}

/// Some of the calls that were sent and have not ended.
#[derive(Debug, Default)]
pub(crate) struct SentPage {
    pub(crate) calls: Vec<(ContextId, SentNumber, SentRow)>,
    /// Whether there may be more.
    pub(crate) more: bool,
}

impl View {
    /// The turn's stamp, and how many calls in a row have led to it.
    pub(crate) fn with_origin(mut self, hlc: Hlc, depth: u32) -> View {
        self.call_time = hlc.micros();
        self.origin = Origin {
            stamp: hlc.bits(),
            depth,
            ..self.origin
        };
        self
    }

    /// The turn's answer is kept for a callback.
    pub(crate) fn keeping_outcome(mut self, keeps: bool) -> View {
        self.origin.keeps_outcome = keeps;
        self
    }

    /// The oldest call to a context that has not ended.
    pub(crate) fn oldest_sent(
        &self,
        to: ContextId,
    ) -> Result<Option<(SentNumber, SentRow)>, StateError> {
        let prefix = sent_prefix(to);
        let first = self.first_behind(&prefix, None, |key, value| {
            let (_, number) = split_sent(key)?;
            Some((number, SentRow::read(value)?))
        })?;
        Ok(first)
    }

    /// Up to `limit` contexts behind `after` to which there are calls that have not ended, and the
    /// oldest of each.
    pub(crate) fn sent_to(
        &self,
        after: Option<ContextId>,
        limit: usize,
    ) -> Result<Vec<(ContextId, SentNumber)>, StateError> {
        let (mut found, mut last) = (Vec::new(), after);
        while found.len() < limit {
            // Behind all calls to the last one.
            let after = last.map(|to| sent_key(to, SentNumber::MAX));
            let first = self.first_behind(SENT, after.as_deref(), |key, _| split_sent(key))?;
            let Some((to, number)) = first else { break };
            last = Some(to);
            found.push((to, number));
        }
        Ok(found)
    }

    /// Up to `limit` calls that have not ended, by receiver and number, behind `after`, and none
    /// behind those that take `bytes_max` together.
    pub(crate) fn sent_within(
        &self,
        after: Option<(ContextId, SentNumber)>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<SentPage, StateError> {
        let mut page = SentPage::default();
        let (mut is_sound, mut bytes) = (true, 0);
        let after = after.map(|(to, number)| sent_key(to, number));
        let walk = StateWalk {
            space: Space::Agenda,
            prefix: SENT,
            after: after.as_deref(),
            limit: limit.saturating_add(1),
            reverse: false,
        };
        self.walk(walk, &mut |key, row| {
            let Some(value) = row.value() else {
                return ControlFlow::Continue(());
            };
            if bytes >= bytes_max || page.calls.len() >= limit {
                page.more = true;
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.len();
            match (split_sent(key), SentRow::read(value)) {
                (Some((to, number)), Some(row)) => page.calls.push((to, number, row)),
                _ => is_sound = false,
            }
            ControlFlow::Continue(())
        })?;
        match is_sound {
            true => Ok(page),
            false => Err(malformed()),
        }
    }

    /// Takes a call that was sent from the agenda, if it is there: it has ended.
    pub(crate) fn end_sent(
        &mut self,
        to: ContextId,
        number: SentNumber,
    ) -> Result<Option<SentRow>, StateError> {
        let key = sent_key(to, number);
        let Some(value) = GuestState::get(self, Space::Agenda, &key)? else {
            return Ok(None);
        };
        let row = SentRow::read(&value).ok_or_else(malformed)?;
        GuestState::remove(self, Space::Agenda, &key)?;
        let sum = self.sent_sum()?;
        self.write_sent_sum(SentSum {
            calls: sum.calls.saturating_sub(1),
            bytes: sum.bytes.saturating_sub((key.len() + value.len()) as u64),
        })?;
        Ok(Some(row))
    }

    /// After the callback of a call has failed: has it called again, or not.
    pub(crate) fn put_off_callback(
        &mut self,
        to: ContextId,
        number: SentNumber,
        attempts_max: u32,
    ) -> Result<PutOffCallback, StateError> {
        let key = sent_key(to, number);
        let Some(value) = GuestState::get(self, Space::Agenda, &key)? else {
            return Ok(PutOffCallback::Gone);
        };
        let mut row = SentRow::read(&value).ok_or_else(malformed)?;
        let attempts = row.attempts.saturating_add(1);
        if attempts >= attempts_max {
            self.end_sent(to, number)?;
            return Ok(PutOffCallback::GivenUp { attempts });
        }
        row.attempts = attempts;
        // It is as long as before.
        GuestState::set(self, Space::Agenda, &key, &row.write())?;
        Ok(PutOffCallback::Again { attempts })
    }

    /// What was last taken of a context.
    pub(crate) fn taken(&mut self, from: ContextId) -> Result<Option<TakenRow>, StateError> {
        let value = GuestState::get(self, Space::Agenda, &taken_key(from))?;
        let row = value.map(|value| TakenRow::read(&value).ok_or_else(malformed));
        row.transpose()
    }

    /// Whether a call of a context is to be run, where something may be remembered of so many.
    pub(crate) fn check_taking(
        &mut self,
        from: ContextId,
        number: SentNumber,
        senders_max: u64,
    ) -> Result<Taking, StateError> {
        if let Some(row) = self.taken(from)? {
            return Ok(match row.number < number {
                true => Taking::New,
                false => Taking::Before,
            });
        }
        let used = self.count_taken()?;
        Ok(match used < senders_max {
            true => Taking::New,
            false => Taking::Full { used },
        })
    }

    /// Notes that a call of a context was taken, and what it has come to.
    pub(crate) fn write_taken(
        &mut self,
        from: ContextId,
        row: &TakenRow,
    ) -> Result<(), StateError> {
        let key = taken_key(from);
        if GuestState::get(self, Space::Agenda, &key)?.is_none() {
            let count = self.count_taken()?;
            self.write_taken_count(count + 1)?;
        }
        GuestState::set(self, Space::Agenda, &key, &row.write())
    }

    /// Up to `limit` contexts behind `after` of which calls were taken, and the last one of each.
    pub(crate) fn all_taken(
        &self,
        after: Option<ContextId>,
        limit: usize,
    ) -> Result<Vec<(ContextId, SentNumber)>, StateError> {
        let (mut found, mut is_sound) = (Vec::new(), true);
        let after = after.map(taken_key);
        let walk = StateWalk {
            space: Space::Agenda,
            prefix: TAKEN,
            after: after.as_deref(),
            limit,
            reverse: false,
        };
        self.walk(walk, &mut |key, row| {
            if let Some(value) = row.value() {
                match (split_taken(key), TakenRow::read(value)) {
                    (Some(from), Some(row)) => found.push((from, row.number)),
                    _ => is_sound = false,
                }
            }
            ControlFlow::Continue(())
        })?;
        match is_sound {
            true => Ok(found),
            false => Err(malformed()),
        }
    }

    /// Forgets what was taken of these contexts, where that is the last of it.
    pub(crate) fn forget_taken(
        &mut self,
        ended: &[(ContextId, SentNumber)],
    ) -> Result<u64, StateError> {
        let mut forgotten = 0;
        for (from, number) in ended {
            if self.taken(*from)?.is_some_and(|row| row.number == *number) {
                GuestState::remove(self, Space::Agenda, &taken_key(*from))?;
                forgotten += 1;
            }
        }
        let count = self.count_taken()?;
        self.write_taken_count(count.saturating_sub(forgotten))?;
        Ok(forgotten)
    }

    /// What `read` makes of the first entry of the agenda below `prefix` and behind `after`.
    fn first_behind<T>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        read: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Option<T>, StateError> {
        let mut first = None;
        let walk = StateWalk {
            space: Space::Agenda,
            prefix,
            after,
            limit: 1,
            reverse: false,
        };
        self.walk(walk, &mut |key, row| match row.value() {
            Some(value) => {
                first = Some(read(key, value));
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        })?;
        first.map(|it| it.ok_or_else(malformed)).transpose()
    }

    fn sent_sum(&mut self) -> Result<SentSum, StateError> {
        let value = GuestState::get(self, Space::Agenda, SENT_SUM)?;
        let Some(value) = value else {
            return Ok(SentSum::default());
        };
        let read = || {
            let (calls, rest) = value.split_first_chunk()?;
            let (bytes, _) = rest.split_first_chunk()?;
            Some(SentSum {
                calls: u64::from_le_bytes(*calls),
                bytes: u64::from_le_bytes(*bytes),
            })
        };
        read().ok_or_else(malformed)
    }

    fn write_sent_sum(&mut self, sum: SentSum) -> Result<(), StateError> {
        if sum.calls == 0 {
            return GuestState::remove(self, Space::Agenda, SENT_SUM).map(drop);
        }
        let value = [sum.calls.to_le_bytes(), sum.bytes.to_le_bytes()].concat();
        GuestState::set(self, Space::Agenda, SENT_SUM, &value)
    }

    /// Of how many contexts calls were taken and something is remembered.
    pub(crate) fn count_taken(&mut self) -> Result<u64, StateError> {
        let value = GuestState::get(self, Space::Agenda, TAKEN_COUNT)?;
        let count = value.as_deref().and_then(|value| value.first_chunk());
        Ok(count.map_or(0, |count| u64::from_le_bytes(*count)))
    }

    fn write_taken_count(&mut self, count: u64) -> Result<(), StateError> {
        match count {
            0 => GuestState::remove(self, Space::Agenda, TAKEN_COUNT).map(drop),
            count => GuestState::set(self, Space::Agenda, TAKEN_COUNT, &count.to_le_bytes()),
        }
    }
}

impl GuestSends for View {
    fn send(&mut self, call: NewSend<'_>, bounds: SentBounds) -> Result<Sending, StateError> {
        let depth = self.origin.depth.saturating_add(1);
        if u64::from(depth) > bounds.depth_max {
            return Ok(Sending::TooDeep);
        }
        let to = ContextId::from_bytes(call.context);
        let number = SentNumber {
            stamp: self.origin.stamp,
            place: self.origin.sent,
        };
        let row = SentRow {
            depth,
            attempts: 0,
            method: call.method.to_owned(),
            args: bytes::Bytes::copy_from_slice(call.args),
            callback: call.callback.map(|callback| CallbackRow {
                handler: callback.handler.to_owned(),
                data: bytes::Bytes::copy_from_slice(callback.data),
            }),
        };
        let (key, value) = (sent_key(to, number), row.write());
        let sum = self.sent_sum()?;
        let sum = SentSum {
            calls: sum.calls.saturating_add(1),
            bytes: sum.bytes.saturating_add((key.len() + value.len()) as u64),
        };
        let next = self.origin.sent.checked_add(1);
        let Some(next) = next.filter(|_| sum.calls <= bounds.calls_max) else {
            let limit = "sent_calls_max";
            return Ok(Sending::TooMany { limit });
        };
        if sum.bytes > bounds.bytes_max {
            let limit = "sent_bytes_max";
            return Ok(Sending::TooMany { limit });
        }
        GuestState::set(self, Space::Agenda, &key, &value)?;
        self.write_sent_sum(sum)?;
        self.origin.sent = next;
        Ok(Sending::Sent(number.to_string()))
    }

    fn keeps_outcome(&self) -> bool {
        self.origin.keeps_outcome
    }
}

/// Its record has a checksum, so we have written it.
fn malformed() -> StateError {
    StateError::new("a call between contexts is not as it was written")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use corelet_store::{NodeId, Space as StoreSpace};
    use corelet_wasm_host::NewCallback;

    use super::*;
    use crate::fixture::id;
    use crate::sends::Outcome;
    use crate::view::SequenceAccess;

    const BOUNDS: SentBounds = SentBounds {
        calls_max: 4,
        bytes_max: 1_000,
        depth_max: 2,
    };

    fn view(micros: u64, depth: u32) -> View {
        let access = SequenceAccess::without_cache(NodeId::from_bytes([2; 32]));
        View::of_init(access).with_origin(Hlc::from_micros(micros), depth)
    }

    fn call(n: u8, args: &'static [u8]) -> NewSend<'static> {
        NewSend {
            context: *id(n).as_bytes(),
            method: "add",
            args,
            callback: Some(NewCallback {
                handler: "told",
                data: b"1",
            }),
        }
    }

    fn entries(view: &View) -> usize {
        let agenda = view.changeset.of(StoreSpace::Agenda);
        agenda.iter().filter(|(_, own)| own.shown.is_some()).count()
    }

    #[test]
    fn calls_of_a_pair_end_in_the_order_in_which_they_were_sent() {
        let mut view = view(5, 0);
        let mut names = Vec::new();
        for n in [2, 1, 2, 2] {
            let Sending::Sent(name) = view.send(call(n, b"{}"), BOUNDS).unwrap() else {
                panic!("there is room");
            };
            names.push(name);
        }
        // This lies on disks as it is. A key has 43 bytes, a value 22, two names and two JSON texts.
        let sum = GuestState::get(&mut view, Space::Agenda, SENT_SUM).unwrap();
        let bytes = 4 * (43 + 22 + "add{}told1".len() as u64);
        let expected = [4_u64.to_le_bytes(), bytes.to_le_bytes()].concat();
        assert_eq!(sum, Some(expected));
        view = view.with_origin(Hlc::from_micros(6), 0);
        let limit = "sent_calls_max";
        let refused = view.send(call(1, b"{}"), BOUNDS).unwrap();
        assert_eq!(refused, Sending::TooMany { limit });
        let sent_to = |after, limit| {
            let found = view.sent_to(after, limit).unwrap().into_iter();
            found
                .map(|(to, number)| (to, number.to_string()))
                .collect::<Vec<_>>()
        };
        let [to_first, to_second] = [(id(1), names[1].clone()), (id(2), names[0].clone())];
        assert_eq!(sent_to(None, 9), [to_first.clone(), to_second.clone()]);
        assert_eq!(sent_to(None, 1), [to_first]);
        assert_eq!(sent_to(Some(id(1)), 9), [to_second]);
        let page = view.sent_within(None, 3, usize::MAX).unwrap();
        let shown: Vec<_> = page
            .calls
            .iter()
            .map(|it| (it.0, it.1.to_string()))
            .collect();
        let expected = [(1, 1), (2, 0), (2, 2)];
        assert_eq!(
            shown,
            expected.map(|(n, at): (u8, usize)| (id(n), names[at].clone()))
        );
        assert!(page.more);
        let (to, number, _) = page.calls[2];
        let rest = view.sent_within(Some((to, number)), 3, usize::MAX).unwrap();
        assert_eq!((rest.calls.len(), rest.more), (1, false));
        assert!(view.sent_within(None, 9, 1).unwrap().more, "they are long");
        for at in [0, 2, 3] {
            let (number, row) = view.oldest_sent(id(2)).unwrap().expect("there is one");
            assert_eq!(number.to_string(), names[at]);
            assert_eq!(
                (row.depth, &row.method[..], &row.args[..]),
                (1, "add", &b"{}"[..])
            );
            assert_eq!(view.end_sent(id(2), number).unwrap(), Some(row));
            assert_eq!(view.end_sent(id(2), number).unwrap(), None);
        }
        let (number, _) = view.oldest_sent(id(1)).unwrap().expect("there is one");
        for attempts in 1..3 {
            let put_off = view.put_off_callback(id(1), number, 3).unwrap();
            assert_eq!(put_off, PutOffCallback::Again { attempts });
        }
        let put_off = view.put_off_callback(id(1), number, 3).unwrap();
        assert_eq!(put_off, PutOffCallback::GivenUp { attempts: 3 });
        let put_off = view.put_off_callback(id(1), number, 3).unwrap();
        assert_eq!(put_off, PutOffCallback::Gone);
        assert_eq!(entries(&view), 0, "nothing is left of them");
    }

    #[test]
    fn what_is_sent_is_bounded_in_bytes_and_in_depth() {
        let mut view = view(5, 0);
        const LONG: &[u8] = &[b' '; 400];
        let mut send = |args| view.send(call(1, args), BOUNDS).unwrap();
        assert!(matches!(send(LONG), Sending::Sent(_)));
        assert!(matches!(send(LONG), Sending::Sent(_)));
        let limit = "sent_bytes_max";
        assert_eq!(send(LONG), Sending::TooMany { limit });
        for (depth, is_sent) in [(0, true), (1, true), (2, false), (u32::MAX, false)] {
            let mut view = self::view(5, depth);
            let sending = view.send(call(1, b"{}"), BOUNDS).unwrap();
            assert_eq!(matches!(sending, Sending::Sent(_)), is_sent, "{depth}");
            assert_eq!(sending == Sending::TooDeep, !is_sent);
        }
    }

    #[test]
    fn a_call_is_taken_once_and_of_so_many_contexts_it_is_known() {
        let mut view = view(5, 0);
        let number = |stamp| SentNumber { stamp, place: 0 };
        let row = |stamp| TakenRow {
            number: number(stamp),
            outcome: Outcome::Done(Bytes::from_static(b"7")),
        };
        let check = |view: &mut View, n, stamp| {
            let taking = view.check_taking(id(n), number(stamp), 2);
            taking.unwrap()
        };
        assert_eq!(check(&mut view, 1, 9), Taking::New);
        view.write_taken(id(1), &row(9)).unwrap();
        for (stamp, taking) in [(8, Taking::Before), (9, Taking::Before), (10, Taking::New)] {
            assert_eq!(check(&mut view, 1, stamp), taking);
        }
        view.write_taken(id(1), &row(10)).unwrap();
        assert_eq!(view.taken(id(1)).unwrap(), Some(row(10)));
        view.write_taken(id(2), &row(3)).unwrap();
        assert_eq!(check(&mut view, 3, 1), Taking::Full { used: 2 });
        assert_eq!(check(&mut view, 2, 4), Taking::New, "it is known");
        assert_eq!(
            view.all_taken(None, 9).unwrap(),
            [(id(1), number(10)), (id(2), number(3))]
        );
        // What has come meanwhile stays.
        let ended = [(id(1), number(9)), (id(2), number(3))];
        assert_eq!(view.forget_taken(&ended).unwrap(), 1);
        assert_eq!(check(&mut view, 3, 1), Taking::New);
        view.forget_taken(&[(id(1), number(10))]).unwrap();
        assert_eq!(entries(&view), 0);
    }
}
