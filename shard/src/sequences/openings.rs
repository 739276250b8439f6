//! The lists and texts that are being made, of all turns of a shard: what they take together
//! is bounded, and queries that want the same one make it together.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use corelet_store::StoreError;

use super::{Live, Made, Name, Opening};
use crate::stats::ShardStats;

/// Those that are in the making, the oldest first. Two gauges count them, which nobody else
/// writes.
pub(crate) struct Openings {
    list: RefCell<BTreeMap<u64, Entry>>,
    next: Cell<u64>,
    bytes_max: u64,
    stats: Arc<ShardStats>,
}

struct Entry {
    bytes: u64,
    /// It is whole, and nobody waits for it to go on.
    is_whole: bool,
    /// What queries make together.
    shared: Option<(Name, Made, Weak<SharedOpening>)>,
}

/// They take too much together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OpeningsFull {
    pub(crate) used: u64,
    pub(crate) max: u64,
}

/// A place among those that are being made, until it is dropped.
pub(crate) struct Ticket {
    number: u64,
    openings: Rc<Openings>,
}

/// One that queries make together: whoever has its slice does the next step.
pub(crate) struct SharedOpening {
    state: RefCell<Shared>,
    ticket: Ticket,
}

enum Shared {
    Opening(Box<Opening>),
    /// It is whole, and is kept by those who look at it.
    Whole(Box<Live>),
    /// It has gone into the cache, or could not be made.
    Gone,
}

/// What a step of a shared one comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SharedStep {
    /// It takes so many bytes so far.
    More(u64),
    Whole,
    /// Nothing is here any more.
    Gone,
}

/// Why there was no step.
#[derive(Debug)]
pub(crate) enum SharedError {
    Store(StoreError),
    Full(OpeningsFull),
}

impl Openings {
    pub(crate) fn new(bytes_max: u64, stats: &Arc<ShardStats>) -> Rc<Openings> {
        Rc::new(Openings {
            list: RefCell::default(),
            next: Cell::new(0),
            bytes_max,
            stats: Arc::clone(stats),
        })
    }

    /// A place for one more.
    pub(crate) fn enter(self: &Rc<Self>) -> Ticket {
        let number = self.next.get();
        self.next.set(number + 1);
        let entry = Entry {
            bytes: 0,
            is_whole: false,
            shared: None,
        };
        self.list.borrow_mut().insert(number, entry);
        self.count(0, 0);
        Ticket {
            number,
            openings: Rc::clone(self),
        }
    }

    /// That of others who want the same one, or a new one.
    pub(crate) fn share(
        self: &Rc<Self>,
        name: &Name,
        made: &Made,
        opening: impl FnOnce() -> Opening,
    ) -> Rc<SharedOpening> {
        let find = |entry: &Entry| {
            let (of, of_made, shared) = entry.shared.as_ref()?;
            (of == name && of_made == made).then(|| shared.upgrade())?
        };
        let found = self.list.borrow().values().find_map(find);
        if let Some(shared) = found.filter(|shared| !shared.is_gone()) {
            return shared;
        }
        let shared = Rc::new(SharedOpening {
            state: RefCell::new(Shared::Opening(Box::new(opening()))),
            ticket: self.enter(),
        });
        if let Some(entry) = self.list.borrow_mut().get_mut(&shared.ticket.number) {
            let weak = Rc::downgrade(&shared);
            entry.shared = Some((name.clone(), made.clone(), weak));
        }
        shared
    }

    fn count(&self, before: u64, now: u64) -> u64 {
        let sum = self.stats.sequence_opening_bytes.get() - before + now;
        self.stats.sequence_opening_bytes.set(sum);
        let count = self.list.borrow().len() as u64;
        self.stats.sequences_opening.set(count);
        sum
    }
}

impl Ticket {
    /// It is whole, and takes so much for as long as somebody looks at it: the next one is the
    /// oldest.
    fn is_whole(&self, bytes: u64) -> Result<(), OpeningsFull> {
        let taken = self.takes(bytes);
        if let Some(entry) = self.openings.list.borrow_mut().get_mut(&self.number) {
            entry.is_whole = true;
        }
        taken
    }

    /// Notes what it takes now. If all together take too much, only the oldest may go on that is
    /// not whole: so one always comes to its end.
    pub(crate) fn takes(&self, bytes: u64) -> Result<(), OpeningsFull> {
        let mut list = self.openings.list.borrow_mut();
        let mut unfinished = list.iter().filter(|(_, entry)| !entry.is_whole);
        let is_oldest = unfinished.next().map(|(number, _)| *number) == Some(self.number);
        let Some(entry) = list.get_mut(&self.number) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        drop(list);
        let used = self.openings.count(before, bytes);
        let max = self.openings.bytes_max;
        match used > max && !is_oldest {
            true => Err(OpeningsFull { used, max }),
            false => Ok(()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let entry = self.openings.list.borrow_mut().remove(&self.number);
        self.openings.count(entry.map_or(0, |entry| entry.bytes), 0);
    }
}

impl SharedOpening {
    fn is_gone(&self) -> bool {
        matches!(*self.state.borrow(), Shared::Gone)
    }

    /// Does some more of it, unless it is whole.
    pub(crate) fn step(&self) -> Result<SharedStep, SharedError> {
        let mut state = self.state.borrow_mut();
        let opening = match std::mem::replace(&mut *state, Shared::Gone) {
            Shared::Opening(opening) => opening,
            Shared::Gone => return Ok(SharedStep::Gone),
            Shared::Whole(live) => {
                *state = Shared::Whole(live);
                return Ok(SharedStep::Whole);
            }
        };
        match opening.step().map_err(SharedError::Store)? {
            ControlFlow::Continue(opening) => {
                let bytes = opening.bytes();
                *state = Shared::Opening(Box::new(opening));
                self.ticket.takes(bytes).map_err(SharedError::Full)?;
                Ok(SharedStep::More(bytes))
            }
            ControlFlow::Break(live) => {
                let bytes = live.bytes;
                *state = Shared::Whole(Box::new(live));
                self.ticket.is_whole(bytes).map_err(SharedError::Full)?;
                Ok(SharedStep::Whole)
            }
        }
    }

    /// Gives it away, once it is whole, to whoever keeps it for all. It comes back if it is not
    /// taken.
    pub(crate) fn give(&self, take: impl FnOnce(Live) -> Option<Live>) {
        let mut state = self.state.borrow_mut();
        *state = match std::mem::replace(&mut *state, Shared::Gone) {
            Shared::Whole(live) => match take(*live) {
                Some(back) => Shared::Whole(Box::new(back)),
                None => Shared::Gone,
            },
            other => other,
        };
        if matches!(*state, Shared::Gone) {
            // It takes nothing any more, so there is nothing to refuse.
            let _ = self.ticket.takes(0);
        }
    }

    /// Looks at it where it is, if it is whole.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Live) -> T) -> Option<T> {
        match &*self.state.borrow() {
            Shared::Whole(live) => Some(look(live)),
            Shared::Opening(_) | Shared::Gone => None,
        }
    }
}
