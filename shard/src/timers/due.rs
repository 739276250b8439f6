//! Which contexts have a timer that is due, and which of them may begin: a state machine without
//! clock or store. What it knows are hints. That nothing is armed before a hint is all that they
//! say; what is armed is read in the agenda when their time has come.
//!
//! Starts are paced, so that thousands that are due at once, as after a restart, leave room for
//! calls. All times are in microseconds since 1970.

use std::collections::{BTreeSet, HashMap};

use corelet_store::ContextId;

use crate::bounds::TimerBounds;

/// Hints that are kept. What is due behind the last of them is looked for in the agendas when its
/// time has come.
const HINTS_MAX: usize = 100_000;

const SECOND: u64 = 1_000_000;

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A context may have a timer that is due. None of its timers runs before `from`.
    Start { context: ContextId, from: u64 },
    /// Nothing before this time, if nothing is noted meanwhile.
    At(u64),
    /// Nothing until something is noted, or what was started has ended.
    Nothing,
    /// Hints were forgotten that are due now: all agendas are to be looked at.
    Look,
}

/// What is known of a context with timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// None of them runs before.
    pub(crate) from: u64,
    /// When the agenda is looked at: later, if many are due or something was in the way.
    pub(crate) start: u64,
}

impl Hint {
    pub(crate) fn at(at: u64) -> Hint {
        Hint {
            from: at,
            start: at,
        }
    }

    fn and(self, other: Hint) -> Hint {
        Hint {
            from: self.from.min(other.from),
            start: self.start.min(other.start),
        }
    }
}

/// The contexts of a shard with timers.
pub(crate) struct Due {
    by_start: BTreeSet<(u64, ContextId)>,
    hints: HashMap<ContextId, Hint>,
    /// Those that have begun, with what was noted of them since.
    begun: HashMap<ContextId, Option<Hint>>,
    /// From when on hints may have been forgotten.
    forgotten_from: Option<u64>,
    hints_max: usize,
    /// When the next may begin.
    next_start: u64,
    bounds: TimerBounds,
}

impl Due {
    pub(crate) fn new(bounds: &TimerBounds) -> Due {
        Due {
            by_start: BTreeSet::new(),
            hints: HashMap::new(),
            begun: HashMap::new(),
            forgotten_from: None,
            hints_max: HINTS_MAX,
            next_start: 0,
            bounds: bounds.clone(),
        }
    }

    /// Contexts that wait.
    pub(crate) fn len(&self) -> usize {
        self.hints.len()
    }

    /// A timer of the context may run at `at`.
    pub(crate) fn note(&mut self, context: ContextId, at: u64) {
        self.note_later(context, Hint::at(at));
    }

    /// The same, where it is not looked for at once.
    pub(crate) fn note_later(&mut self, context: ContextId, hint: Hint) {
        if let Some(noted) = self.begun.get_mut(&context) {
            *noted = Some(noted.map_or(hint, |noted| noted.and(hint)));
            return;
        }
        let mut hint = hint;
        if let Some(old) = self.hints.get(&context) {
            hint = hint.and(*old);
            self.by_start.remove(&(old.start, context));
        }
        self.hints.insert(context, hint);
        self.by_start.insert((hint.start, context));
        while self.hints.len() > self.hints_max {
            let Some((_, last)) = self.by_start.pop_last() else {
                return;
            };
            if let Some(hint) = self.hints.remove(&last) {
                let from = self
                    .forgotten_from
                    .map_or(hint.from, |it| it.min(hint.from));
                self.forgotten_from = Some(from);
            }
        }
    }

    /// What is to be done at `now`. Whatever it starts has to [end](Self::end).
    pub(crate) fn next(&mut self, now: u64) -> Next {
        if let Some(from) = self.forgotten_from
            && from <= now
        {
            self.forgotten_from = None;
            return Next::Look;
        }
        let Some(&(start, context)) = self.by_start.first() else {
            return self.forgotten_from.map_or(Next::Nothing, Next::At);
        };
        let start = self.forgotten_from.map_or(start, |from| start.min(from));
        if start > now {
            return Next::At(start);
        }
        if self.begun.len() >= self.bounds.running_max {
            return Next::Nothing;
        }
        if self.next_start > now {
            return Next::At(self.next_start);
        }
        let pause = SECOND / self.bounds.starts_per_second.max(1);
        // After a rest a few may begin at once.
        let rested = now.saturating_sub(pause * self.bounds.running_max as u64);
        self.next_start = self.next_start.max(rested) + pause;
        self.by_start.pop_first();
        let from = self.hints.remove(&context).map_or(now, |hint| hint.from);
        self.begun.insert(context, None);
        Next::Start { context, from }
    }

    /// What was started has ended, and this is known of the context since.
    pub(crate) fn end(&mut self, context: ContextId, next: Option<Hint>) {
        let noted = self.begun.remove(&context).flatten();
        for hint in [noted, next].into_iter().flatten() {
            self.note_later(context, hint);
        }
    }

    /// How long so many that are due at once are spread over.
    pub(crate) fn spread(&self, due: u64) -> u64 {
        let pause = SECOND / self.bounds.starts_per_second.max(1);
        due.saturating_mul(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ContextId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        ContextId::from_bytes(id)
    }

    fn due(starts_per_second: u64, running_max: usize) -> Due {
        Due::new(&TimerBounds {
            starts_per_second,
            running_max,
            ..TimerBounds::default()
        })
    }

    #[track_caller]
    fn starts(due: &mut Due, now: u64, n: u64, from: u64) {
        let context = id(n);
        assert_eq!(due.next(now), Next::Start { context, from });
    }

    #[test]
    fn whoever_is_due_first_begins_first_and_nobody_before_its_time() {
        let mut due = due(1_000_000, 10);
        assert_eq!(due.next(0), Next::Nothing);
        due.note(id(1), 500);
        due.note(id(2), 300);
        due.note(id(1), 400);
        due.note(id(1), 600);
        assert_eq!(due.next(299), Next::At(300));
        starts(&mut due, 300, 2, 300);
        assert_eq!(due.next(300), Next::At(400));
        // What is noted of one that has begun is not lost.
        due.note(id(2), 350);
        due.note(id(2), 360);
        assert_eq!(due.next(380), Next::At(400));
        due.end(id(2), Some(Hint::at(390)));
        starts(&mut due, 380, 2, 350);
        due.end(id(2), None);
        starts(&mut due, 400, 1, 400);
        due.end(id(1), None);
        assert_eq!(due.next(u64::MAX), Next::Nothing);
    }

    #[test]
    fn of_thousands_that_are_due_so_many_begin_in_a_second_and_at_once() {
        let mut due = due(100, 4);
        (0..1000).for_each(|n| due.note(id(n), 5));
        let mut begun = Vec::new();
        let mut now = 10 * SECOND;
        while now < 13 * SECOND {
            match due.next(now) {
                Next::Start { context, .. } => {
                    begun.push(now);
                    if begun.len() > 4 {
                        due.end(context, None);
                    }
                }
                Next::At(at) => now = at,
                Next::Nothing => {
                    assert_eq!(begun.len(), 4, "as many as may run");
                    (0..4).for_each(|n| due.end(id(n), None));
                }
                Next::Look => unreachable!("nothing was forgotten"),
            }
        }
        assert!((300..=305).contains(&begun.len()), "{}", begun.len());
        assert_eq!(due.len(), 1000 - begun.len());
    }

    #[test]
    fn what_is_forgotten_is_looked_for_when_it_is_due() {
        let mut due = due(1_000_000, 10);
        due.hints_max = 2;
        for (n, at) in [(1, 100), (2, 400), (3, 200), (4, 300)] {
            due.note(id(n), at);
        }
        assert_eq!(due.len(), 2);
        starts(&mut due, 200, 1, 100);
        starts(&mut due, 200, 3, 200);
        assert_eq!(due.next(200), Next::At(300));
        assert_eq!(due.next(300), Next::Look);
        due.note(id(4), 300);
        starts(&mut due, 300, 4, 300);
        assert_eq!(due.next(300), Next::Nothing);
    }

    #[test]
    fn one_that_is_to_begin_later_is_still_read_from_its_time() {
        let mut due = due(1_000_000, 10);
        let later = Hint {
            from: 100,
            start: 900,
        };
        due.note_later(id(1), later);
        assert_eq!(due.next(500), Next::At(900));
        starts(&mut due, 900, 1, 100);
    }
}
