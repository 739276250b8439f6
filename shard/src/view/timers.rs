//! The timers of a context, as one turn sees them: entries of its agenda, which read and write like
//! all others. How they lie there is in `crate::timers`.

use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_wasm_host::{
    Arming, GuestState, GuestTimer, GuestTimers, NewTimer, Row, Space, StateError, StateWalk,
    TimersPage,
};

use super::View;
use crate::timers::{self, NANOS_PER_MICRO, TimerRow};

/// A timer that is due, taken from the agenda or armed for its next time.
pub(crate) struct TakenTimer {
    pub(crate) handler: String,
    pub(crate) args: Bytes,
}

/// What becomes of a timer whose run has failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PutOff {
    /// It has been cancelled meanwhile, or armed anew.
    Gone,
    /// It runs again.
    Again {
        handler: String,
        attempts: u32,
        at: u64,
    },
    /// The run is given up, after so many attempts.
    GivenUp { handler: String, attempts: u32 },
}

impl View {
    /// The time on the wall, in microseconds since 1970.
    pub(crate) fn with_now(mut self, now: u64) -> View {
        self.now = now;
        self
    }

    /// Takes the timer that is to run at `at`, if it still is: it goes, or is armed for its next
    /// time.
    pub(crate) fn take_due(
        &mut self,
        name: &str,
        at: u64,
    ) -> Result<Option<TakenTimer>, StateError> {
        let Some(row) = self.timer(name)?.filter(|row| row.at == at) else {
            return Ok(None);
        };
        let taken = TakenTimer {
            handler: row.handler.clone(),
            args: Bytes::copy_from_slice(&row.args),
        };
        self.end_run(name, row)?;
        Ok(Some(taken))
    }

    /// After a run of it has failed: has it run again, `retry_at` gives when by the attempts so far, or not.
    pub(crate) fn put_off(
        &mut self,
        name: &str,
        at: u64,
        attempts_max: u32,
        retry_at: impl FnOnce(u32) -> u64,
    ) -> Result<PutOff, StateError> {
        let Some(mut row) = self.timer(name)?.filter(|row| row.at == at) else {
            return Ok(PutOff::Gone);
        };
        let (handler, attempts) = (row.handler.clone(), row.attempts.saturating_add(1));
        if attempts >= attempts_max {
            self.end_run(name, row)?;
            return Ok(PutOff::GivenUp { handler, attempts });
        }
        self.remove_due(row.at, name)?;
        row.attempts = attempts;
        row.at = retry_at(attempts);
        let at = row.at;
        self.write_timer(name, &row)?;
        Ok(PutOff::Again {
            handler,
            attempts,
            at,
        })
    }

    /// The timer that runs first, and when; none runs before `from`.
    pub(crate) fn first_timer(&self, from: u64) -> Result<Option<(u64, String)>, StateError> {
        let mut first = None;
        let after = timers::due_key(from, "");
        let walk = StateWalk {
            space: Space::Agenda,
            prefix: timers::DUE,
            // No name is empty, so the key itself is no timer's.
            after: Some(&after),
            limit: 1,
            reverse: false,
        };
        self.walk(walk, &mut |key, row| match row {
            Row::Shown(_) | Row::WrittenOnce(_) => {
                first = Some(timers::split_due(key));
                ControlFlow::Break(())
            }
            Row::Removed | Row::Hidden | Row::Unseen(_) => ControlFlow::Continue(()),
        })?;
        first.map(|it| it.ok_or_else(malformed)).transpose()
    }

    /// Up to `limit` timers behind the one with the name `after`, and none behind those that take
    /// `bytes_max` together; and whether that has left any out.
    pub(crate) fn timers_within(
        &self,
        after: Option<&str>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<(TimersPage, bool), StateError> {
        let mut page = TimersPage::default();
        let mut is_sound = true;
        let (mut bytes, mut is_cut) = (0, false);
        let after = after.map(timers::name_key);
        let walk = StateWalk {
            space: Space::Agenda,
            prefix: timers::NAMED,
            after: after.as_deref(),
            limit,
            reverse: false,
        };
        self.walk(walk, &mut |key, row| {
            let Some(value) = row.value() else {
                page.walked += 1;
                return ControlFlow::Continue(());
            };
            if bytes >= bytes_max {
                is_cut = true;
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.len();
            let name = timers::split_name(key);
            match (name, TimerRow::read(value)) {
                (Some(name), Some(row)) => page.timers.push(shown(name, row)),
                _ => is_sound = false,
            }
            ControlFlow::Continue(())
        })?;
        match is_sound {
            true => Ok((page, is_cut)),
            false => Err(malformed()),
        }
    }

    /// After a run, be it done or given up.
    fn end_run(&mut self, name: &str, mut row: TimerRow) -> Result<(), StateError> {
        self.remove_due(row.at, name)?;
        match row.next(self.now) {
            Some(next) => {
                (row.at, row.base, row.attempts) = (next, next, 0);
                self.write_timer(name, &row)
            }
            None => {
                GuestState::remove(self, Space::Agenda, &timers::name_key(name))?;
                let count = self.count_timers()?;
                self.write_count(count.saturating_sub(1))
            }
        }
    }

    fn timer(&mut self, name: &str) -> Result<Option<TimerRow>, StateError> {
        let value = GuestState::get(self, Space::Agenda, &timers::name_key(name))?;
        let row = value.map(|value| TimerRow::read(&value).ok_or_else(malformed));
        row.transpose()
    }

    fn write_timer(&mut self, name: &str, row: &TimerRow) -> Result<(), StateError> {
        GuestState::set(self, Space::Agenda, &timers::name_key(name), &row.write())?;
        GuestState::set(self, Space::Agenda, &timers::due_key(row.at, name), b"")
    }

    fn remove_due(&mut self, at: u64, name: &str) -> Result<(), StateError> {
        let key = timers::due_key(at, name);
        GuestState::remove(self, Space::Agenda, &key).map(drop)
    }

    fn count_timers(&mut self) -> Result<u64, StateError> {
        let value = GuestState::get(self, Space::Agenda, timers::COUNT)?;
        let count = value.as_deref().and_then(|value| value.first_chunk());
        Ok(count.map_or(0, |count| u64::from_le_bytes(*count)))
    }

    fn write_count(&mut self, count: u64) -> Result<(), StateError> {
        match count {
            0 => GuestState::remove(self, Space::Agenda, timers::COUNT).map(drop),
            count => GuestState::set(self, Space::Agenda, timers::COUNT, &count.to_le_bytes()),
        }
    }
}

impl GuestTimers for View {
    fn arm(&mut self, timer: NewTimer<'_>, timers_max: u64) -> Result<Arming, StateError> {
        match self.timer(timer.name)? {
            Some(there) => self.remove_due(there.at, timer.name)?,
            None => {
                let used = self.count_timers()? + 1;
                if used > timers_max {
                    return Ok(Arming::TooMany { used });
                }
                self.write_count(used)?;
            }
        }
        let at = self
            .now
            .max(self.call_time)
            .saturating_add(timer.delay_nanos.div_ceil(NANOS_PER_MICRO));
        let every = timer.every_nanos.map(|every| every / NANOS_PER_MICRO);
        let row = TimerRow {
            at,
            base: at,
            every: every.unwrap_or(0),
            attempts: 0,
            handler: timer.handler.to_owned(),
            args: timer.args.to_vec(),
        };
        self.write_timer(timer.name, &row)?;
        Ok(Arming::Armed)
    }

    fn cancel(&mut self, name: &str) -> Result<bool, StateError> {
        let Some(row) = self.timer(name)? else {
            return Ok(false);
        };
        // As if its only run had been.
        self.end_run(name, TimerRow { every: 0, ..row })?;
        Ok(true)
    }

    fn timers(&mut self, after: Option<&str>, limit: usize) -> Result<TimersPage, StateError> {
        let page = self.timers_within(after, limit, usize::MAX);
        page.map(|(page, _)| page)
    }
}

fn shown(name: String, row: TimerRow) -> GuestTimer {
    GuestTimer {
        name,
        at_nanos: row.at.saturating_mul(NANOS_PER_MICRO),
        every_nanos: (row.every > 0).then(|| row.every.saturating_mul(NANOS_PER_MICRO)),
        attempts: row.attempts,
        handler: row.handler,
        args: row.args,
    }
}

/// Its record has a checksum, so we have written it.
fn malformed() -> StateError {
    StateError::new("a timer is not as it was written")
}

#[cfg(test)]
mod tests {
    use corelet_store::{Hlc, NodeId, Space as StoreSpace};

    use super::*;
    use crate::view::SequenceAccess;

    const MILLI: u64 = 1_000_000;

    fn view(now: u64) -> View {
        let access = SequenceAccess::without_cache(NodeId::from_bytes([2; 32]));
        View::of_init(access).with_now(now)
    }

    fn timer(name: &str, millis: u64, every: Option<u64>) -> NewTimer<'_> {
        NewTimer {
            name,
            handler: "handler",
            args: b"{}",
            delay_nanos: millis * MILLI,
            every_nanos: every.map(|every| every * MILLI),
        }
    }

    fn armed(view: &mut View) -> Vec<(String, u64, u32)> {
        let timers = view.timers(None, 100).unwrap().timers.into_iter();
        let short = |it: GuestTimer| (it.name, it.at_nanos / MILLI, it.attempts);
        timers.map(short).collect()
    }

    /// What the agenda holds, keys and values.
    fn bytes(view: &View) -> usize {
        let agenda = view.changeset.of(StoreSpace::Agenda);
        let entries = agenda.iter().filter_map(|(key, own)| {
            let shown = own.shown.as_ref()?;
            Some(key.len() + shown.bytes.len())
        });
        entries.sum()
    }

    #[test]
    fn so_many_are_armed_and_one_of_the_same_name_counts_once() {
        let mut view = view(1_000);
        for (name, millis) in [("a", 5), ("b", 3), ("a", 7)] {
            let arming = view.arm(timer(name, millis, None), 2).unwrap();
            assert_eq!(arming, Arming::Armed);
        }
        let used = Arming::TooMany { used: 3 };
        assert_eq!(view.arm(timer("c", 1, None), 2).unwrap(), used);
        let expected = [("a".to_owned(), 8, 0), ("b".to_owned(), 4, 0)];
        assert_eq!(armed(&mut view), expected);
        assert_eq!(view.first_timer(0).unwrap(), Some((4_000, "b".to_owned())));
        assert!(view.cancel("b").unwrap() && !view.cancel("b").unwrap());
        assert_eq!(view.first_timer(0).unwrap(), Some((8_000, "a".to_owned())));
        assert_eq!(view.first_timer(8_001).unwrap(), None);
        assert_eq!(view.arm(timer("c", 1, None), 2).unwrap(), Arming::Armed);
        assert!(view.cancel("a").unwrap() && view.cancel("c").unwrap());
        assert_eq!(bytes(&view), 0, "nothing is left of them");
    }

    /// Stamps may be ahead of the wall, never behind what the guest takes for now.
    #[test]
    fn a_delay_is_counted_from_the_time_that_the_guest_is_told() {
        for (time, at) in [(0, 6), (1_000, 6), (9_000, 14)] {
            let mut view = view(1_000).with_origin(Hlc::from_micros(time), 0);
            assert_eq!(view.arm(timer("a", 5, None), 9).unwrap(), Arming::Armed);
            assert_eq!(armed(&mut view), [("a".to_owned(), at, 0)]);
        }
    }

    #[test]
    fn a_page_of_them_ends_with_the_one_that_fills_it() {
        let mut view = view(1_000);
        for name in ["a", "b", "c"] {
            assert_eq!(view.arm(timer(name, 5, None), 9).unwrap(), Arming::Armed);
        }
        let names = |after, limit, bytes_max| {
            let (page, is_cut) = view.timers_within(after, limit, bytes_max).unwrap();
            let names = page.timers.into_iter().map(|timer| timer.name);
            (names.collect::<String>(), is_cut)
        };
        let is = |names: &str, is_cut| (names.to_owned(), is_cut);
        assert_eq!(names(None, 9, 1_000), is("abc", false));
        assert_eq!(names(None, 2, 1_000), is("ab", false));
        assert_eq!(names(None, 9, 1), is("a", true), "one there is always");
        assert_eq!(names(None, 9, 60), is("ab", true));
        assert_eq!(names(Some("b"), 9, 1), is("c", false));
    }

    #[test]
    fn one_that_is_due_is_taken_once_and_a_periodic_one_stays() {
        let mut view = view(1_000);
        view.arm(timer("once", 4, None), 9).unwrap();
        view.arm(timer("tick", 4, Some(10)), 9).unwrap();
        let before = bytes(&view);
        view.now = 26_000;
        for (name, at) in [("once", 4_999), ("gone", 5_000)] {
            assert!(view.take_due(name, at).unwrap().is_none(), "{name}");
        }
        for name in ["once", "tick"] {
            let taken = view.take_due(name, 5_000).unwrap().expect("it is due");
            assert_eq!(
                (&taken.handler[..], &taken.args[..]),
                ("handler", &b"{}"[..])
            );
            assert!(view.take_due(name, 5_000).unwrap().is_none());
        }
        assert_eq!(armed(&mut view), [("tick".to_owned(), 35, 0)]);
        assert!(bytes(&view) < before);
    }

    #[test]
    fn what_has_failed_runs_later_and_not_for_ever_and_takes_no_more_room() {
        // A periodic one goes on with its next time, as if it had run at this one.
        for (every, left) in [(None, None), (Some(10), Some(15))] {
            let mut view = view(1_000);
            view.arm(timer("name", 4, every), 9).unwrap();
            let before = bytes(&view);
            view.now = 6_000;
            let mut at = 5_000;
            for attempts in 1..3 {
                let put_off = view.put_off("name", at, 3, |n| 6_000 + u64::from(n) * 1_000);
                at = 6_000 + u64::from(attempts) * 1_000;
                let expected = PutOff::Again {
                    handler: "handler".to_owned(),
                    attempts,
                    at,
                };
                assert_eq!(put_off.unwrap(), expected);
                assert_eq!(bytes(&view), before, "a full context would refuse more");
                let stale = view.put_off("name", 5_000, 3, |_| 0).unwrap();
                assert_eq!(stale, PutOff::Gone);
            }
            let expected = PutOff::GivenUp {
                handler: "handler".to_owned(),
                attempts: 3,
            };
            assert_eq!(view.put_off("name", at, 3, |_| 0).unwrap(), expected);
            let left = left.map(|at| ("name".to_owned(), at, 0));
            assert_eq!(armed(&mut view), left.into_iter().collect::<Vec<_>>());
        }
    }
}
