//! How often a shard looks at many events for nothing. That is work which nobody's fuel pays for, and which
//! runs beside the shares of its contexts: so all who listen to these may cause so many looks together in a
//! second. A look counts before it is made, and is taken back if it was not for nothing.
//!
//! Who comes when there is no room waits in a line, and room is kept for those who stand first in it. As
//! a listener stands in it once, however many handlers it has, those who come take turns. Owned by the
//! shard whose contexts' events they are.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use corelet_store::ContextId;

use crate::error::CallError;
use crate::rate::Rate;

/// A look that passes over so many events is one of those that are counted.
pub(super) const MANY: u64 = 100;

/// Listeners that stand in the line. For others there is room when nobody is left in it.
const LINE_MAX: usize = 1_000;

/// Who has not come for so long has lost his place in the line. Those who were refused come again within about a
/// second.
const LEFT_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Passes {
    rate: Rate,
    per_second_max: u64,
    line: RefCell<Line>,
}

/// Those who came when there was no room, in the order in which they first did.
#[derive(Default)]
struct Line {
    by_place: BTreeMap<u64, ContextId>,
    /// When each has last come.
    came: HashMap<ContextId, Instant>,
    next_place: u64,
}

impl Passes {
    pub(super) fn new(per_second_max: u64) -> Passes {
        Passes {
            rate: Rate::default(),
            per_second_max,
            line: RefCell::default(),
        }
    }

    /// Counts a look for a listener that may be for nothing, or refuses it.
    pub(super) fn admit(&self, listener: ContextId, now: Instant) -> Result<(), CallError> {
        let mut line = self.line.borrow_mut();
        let room = self.rate.room(now, self.per_second_max);
        if line.lets_in(listener, room, now) {
            return self.rate.admit(now, self.per_second_max);
        }
        line.wait(listener, now);
        Err(CallError::Busy {
            limit: "subscriptions.passes_per_second",
            used: self.per_second_max + 1,
            max: self.per_second_max,
        })
    }

    /// It was not for nothing.
    pub(super) fn take_back(&self) {
        self.rate.take_back(self.per_second_max);
    }
}

impl Line {
    /// Whether there is room for a listener behind those who stand before it, which leaves the line then.
    fn lets_in(&mut self, listener: ContextId, room: u64, now: Instant) -> bool {
        let (mut before, mut from) = (0, 0);
        while before < room {
            let Some((&place, &id)) = self.by_place.range(from..).next() else {
                return true;
            };
            from = place + 1;
            if id == listener || self.has_left(id, now) {
                self.by_place.remove(&place);
                self.came.remove(&id);
            } else {
                before += 1;
            }
            if id == listener {
                return true;
            }
        }
        false
    }

    fn has_left(&self, id: ContextId, now: Instant) -> bool {
        let came = self.came.get(&id);
        came.is_none_or(|came| now.saturating_duration_since(*came) >= LEFT_AFTER)
    }

    fn wait(&mut self, listener: ContextId, now: Instant) {
        if let Some(came) = self.came.get_mut(&listener) {
            *came = now;
            return;
        }
        if self.came.len() >= LINE_MAX {
            return;
        }
        self.by_place.insert(self.next_place, listener);
        self.next_place += 1;
        self.came.insert(listener, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::id;

    /// Ten in a second, all of which were used up at the moment that is given.
    fn used_up() -> (Passes, Instant) {
        let (passes, start) = (Passes::new(10), Instant::now());
        for n in 0..10 {
            assert!(passes.admit(id(n), start).is_ok());
        }
        (passes, start)
    }

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn all_listeners_together_have_so_many_looks_and_what_is_taken_back_is_none() {
        let (passes, start) = used_up();
        let refused = passes.admit(id(10), start).unwrap_err();
        assert!(
            matches!(
                refused,
                CallError::Busy {
                    limit: "subscriptions.passes_per_second",
                    used: 11,
                    max: 10
                }
            ),
            "{refused:?}"
        );
        passes.take_back();
        assert!(passes.admit(id(10), start).is_ok());
        assert!(passes.admit(id(11), after(start, 99)).is_err());
        assert!(passes.admit(id(11), after(start, 100)).is_ok());
        assert!(passes.admit(id(12), after(start, 100)).is_err());
    }

    /// Or one that asks all the time would take each look before the others come for it.
    #[test]
    fn listeners_take_turns_however_often_one_asks() {
        let (passes, start) = used_up();
        let [greedy, patient, seldom] = [1, 2, 3].map(id);
        let mut looks = Vec::new();
        for millis in (0..=3_000).step_by(5) {
            let now = after(start, millis);
            let mut ask = |listener, every: u64| {
                if millis % every == 0 && passes.admit(listener, now).is_ok() {
                    looks.push(listener);
                }
            };
            // Many times, as it has many handlers.
            (0..20).for_each(|_| ask(greedy, 5));
            ask(patient, 5);
            ask(seldom, 500);
        }
        let of = |listener| looks.iter().filter(|it| **it == listener).count();
        // Who comes seldom is let in each second time: it takes its place in the line with the first.
        assert_eq!([greedy, patient, seldom].map(of), [14, 13, 3]);
    }

    #[test]
    fn nobody_waits_for_those_who_do_not_come_any_more() {
        let (passes, start) = used_up();
        let [left, other] = [1, 2].map(id);
        assert!(passes.admit(left, start).is_err());
        let just = after(start, 100);
        assert!(passes.admit(other, just).is_err(), "that is kept");
        assert!(
            passes.admit(other, after(start, 200)).is_ok(),
            "this is not"
        );
        // Nor is it remembered for ever.
        let (passes, start) = used_up();
        assert!(passes.admit(left, start).is_err());
        let later = after(start, 5_000);
        for n in 0..10 {
            assert!(passes.admit(id(10 + n), later).is_ok());
        }
        assert!(passes.admit(other, later).is_err());
        let line = passes.line.borrow();
        assert_eq!((line.by_place.len(), line.came.len()), (1, 1));
    }

    #[test]
    fn the_line_has_an_end() {
        let (passes, start) = used_up();
        let many = (0..=u8::MAX).flat_map(|n| (0..8).map(move |m| [[n; 16], [m; 16]].concat()));
        for listener in many {
            let listener = ContextId::from_bytes(listener.try_into().unwrap());
            assert!(passes.admit(listener, start).is_err());
        }
        assert_eq!(passes.line.borrow().came.len(), LINE_MAX);
    }
}
