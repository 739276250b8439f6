//! Who is next among contexts that wait: start-time fair queueing (Goyal, Vin and Cheng 1996).
//!
//! Each context has a start, a virtual time, which moves on by what it spends, divided by its
//! weight. The line serves the one whose start is the earliest, and that start is the virtual time
//! now. Who has waited for nothing begins now: no idle time is made up for. What was spent
//! without waiting in the line counts as well, and so does a slice that took more than was
//! thought; but only up to a bound, so that nobody pays for a long time gone by. Who spends while
//! nobody waits is the one who is served: that takes nothing from others.
//!
//! Owned by the shard. What of one context can run is in `ready.rs`, what is done in a visit in
//! `schedule.rs`.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use crate::context::Context;
use crate::weight::Weight;

/// One context's part of its shard. Virtual times are in units of fuel that a context of the
/// default weight has spent.
#[derive(Default)]
pub(crate) struct Share {
    pub(crate) weight: Cell<Weight>,
    /// When it is to be served next. What is in the past stands for now.
    start: Cell<u64>,
}

impl Share {
    /// How far `fuel` moves its start.
    fn stretch_of(&self, fuel: u64) -> u64 {
        let stretched = fuel.saturating_mul(Weight::DEFAULT.get().into());
        stretched / u64::from(self.weight.get().get())
    }
}

/// The line of contexts that have something to run.
pub(crate) struct Line {
    waiting: RefCell<BinaryHeap<Place>>,
    now: Cell<u64>,
    came: Cell<u64>,
    /// Fuel beyond which it is forgotten what a context has spent.
    debt_fuel_max: u64,
}

struct Place {
    start: u64,
    came: u64,
    context: Rc<Context>,
}

impl Line {
    pub(crate) fn new(debt_fuel_max: u64) -> Line {
        Line {
            waiting: RefCell::default(),
            now: Cell::new(0),
            came: Cell::new(0),
            debt_fuel_max,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Books what a context has spent, whether it has waited for that or not.
    pub(crate) fn spend(&self, share: &Share, fuel: u64) {
        if self.is_empty() {
            self.now.set(self.now.get().max(share.start.get()));
        }
        let now = self.now.get();
        let start = share.start.get().max(now);
        let start = start.saturating_add(share.stretch_of(fuel));
        let debt_max = share.stretch_of(self.debt_fuel_max);
        share.start.set(start.min(now.saturating_add(debt_max)));
    }

    /// Gives a context another weight. What it is ahead of others is fuel, which weighs otherwise
    /// from now on.
    pub(crate) fn set_weight(&self, context: &Rc<Context>, weight: Weight) {
        let share = &context.share;
        let now = self.now.get();
        let ahead = share.start.get().saturating_sub(now);
        let before = share.weight.replace(weight);
        let ahead = ahead.saturating_mul(before.get().into()) / u64::from(weight.get());
        let start = now.saturating_add(ahead);
        share.start.set(start);
        let mut waiting = self.waiting.borrow_mut();
        let mut places = std::mem::take(&mut *waiting).into_vec();
        let its = |place: &&mut Place| Rc::ptr_eq(&place.context, context);
        places
            .iter_mut()
            .filter(its)
            .for_each(|place| place.start = start);
        *waiting = places.into();
    }

    /// Puts a context into the line, which is not there.
    pub(crate) fn join(&self, context: Rc<Context>) {
        let share = &context.share;
        let start = share.start.get().max(self.now.get());
        share.start.set(start);
        let came = self.came.get();
        self.came.set(came + 1);
        self.waiting.borrow_mut().push(Place {
            start,
            came,
            context,
        });
    }

    /// Takes the next one out of the line.
    pub(crate) fn next(&self) -> Option<Rc<Context>> {
        let place = self.waiting.borrow_mut().pop()?;
        self.now.set(place.start.max(self.now.get()));
        Some(place.context)
    }

    /// What a context would have to wait for if it came now, as virtual time.
    #[cfg(test)]
    pub(crate) fn debt(&self, context: &Context) -> u64 {
        context.share.start.get().saturating_sub(self.now.get())
    }
}

/// The greatest is served first: the earliest, and of those that are equal the one that came first.
impl Ord for Place {
    fn cmp(&self, other: &Place) -> Ordering {
        let key = |place: &Place| (place.start, place.came);
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Place) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Place {}

impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
