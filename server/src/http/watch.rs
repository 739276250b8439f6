//! What a connection is doing and since when, so that one sweep per shard can
//! find those that take too long. A request sets no timer of its own: it moves
//! its connection from phase to phase, and the sweep compares.
//!
//! Owned by the shard thread; shared between a connection, its socket and the
//! sweep of that thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

/// Milliseconds of the shard's coarse clock: read often, moved by the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tick(pub(super) u64);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing: it may send a request.
    Idle,
    /// It has begun to send a request's headers.
    Head,
    /// It sends a body.
    Body,
    /// It sends an upload.
    Upload,
    /// It sends the next piece of a blob.
    Blob,
    /// We work on its request: the bounds on calls apply, not ours.
    Work,
    /// It is to take its answer.
    Send,
}

/// How long each phase may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    pub(super) head: Duration,
    pub(super) body: Duration,
    pub(super) upload: Duration,
    pub(super) blob: Duration,
}

impl Patience {
    fn with(&self, phase: Phase) -> Option<Duration> {
        match phase {
            // A client that does not take its answer is as good as idle.
            Phase::Idle | Phase::Send => Some(self.idle),
            Phase::Head => Some(self.head),
            Phase::Body => Some(self.body),
            Phase::Upload => Some(self.upload),
            Phase::Blob => Some(self.blob),
            Phase::Work => None,
        }
    }
}

/// What the sweep wants of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    None,
    /// Finish the request at hand, then close.
    Finish,
    /// The body is late: answer so, then close.
    RefuseBody,
    /// Close now.
    Close,
}

/// One connection, as the sweep sees it.
pub(super) struct Watch {
    phase: Cell<Phase>,
    since: Cell<Tick>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    clock: Rc<Cell<Tick>>,
}

impl Watch {
    pub(super) fn new(clock: Rc<Cell<Tick>>) -> Watch {
        let since = Cell::new(clock.get());
        Watch {
            phase: Cell::new(Phase::Idle),
            since,
            order: Cell::new(Order::None),
            waker: RefCell::new(None),
            clock,
        }
    }

    /// Enters a phase, from now on.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.clock.get());
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn order(&self) -> Order {
        self.order.get()
    }

    /// Bytes have come in.
    pub(super) fn heard(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// All that was written is on its way.
    pub(super) fn flushed(&self) {
        if self.phase.get() == Phase::Send {
            self.enter(Phase::Idle);
        }
    }

    /// Remembers whom to wake with an order.
    pub(super) fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    /// Gives an order, unless the same or a stronger one stands. Whether it is new.
    pub(super) fn command(&self, order: Order) -> bool {
        let strength = |order| match order {
            Order::None => 0,
            Order::Finish => 1,
            Order::RefuseBody => 2,
            Order::Close => 3,
        };
        if strength(order) <= strength(self.order.get()) {
            return false;
        }
        self.order.set(order);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
        true
    }

    /// Looks at the connection once; the order that this has brought it, if it is
    /// new. One that is told to close may take a moment, and stays late until then.
    pub(super) fn sweep(&self, patience: &Patience) -> Order {
        let late = patience
            .with(self.phase.get())
            .is_some_and(|allowed| self.elapsed() > allowed);
        if late {
            let order = match self.phase.get() {
                Phase::Body | Phase::Upload | Phase::Blob
                    if self.order.get() != Order::RefuseBody =>
                {
                    Order::RefuseBody
                }
                _ => Order::Close,
            };
            if order == Order::RefuseBody {
                // The refusal gets the time of an answer to leave.
                self.since.set(self.clock.get());
            }
            if self.command(order) {
                return order;
            }
        }
        Order::None
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.clock.get().0.saturating_sub(self.since.get().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_millis(75),
        head: Duration::from_millis(10),
        body: Duration::from_millis(30),
        upload: Duration::from_millis(300),
        blob: Duration::from_millis(50),
    };

    fn after(watch: &Watch, clock: &Cell<Tick>, millis: u64) -> Order {
        clock.set(Tick(clock.get().0 + millis));
        watch.sweep(&PATIENCE)
    }

    fn watch() -> (Watch, Rc<Cell<Tick>>) {
        let clock = Rc::new(Cell::new(Tick(1000)));
        (Watch::new(Rc::clone(&clock)), clock)
    }

    #[test]
    fn each_phase_has_its_own_patience() {
        for (phase, millis, order) in [
            (Phase::Idle, 75, Order::Close),
            (Phase::Head, 10, Order::Close),
            (Phase::Body, 30, Order::RefuseBody),
            (Phase::Upload, 300, Order::RefuseBody),
            (Phase::Blob, 50, Order::RefuseBody),
            (Phase::Send, 75, Order::Close),
        ] {
            let (watch, clock) = watch();
            watch.enter(phase);
            assert_eq!(after(&watch, &clock, millis), Order::None, "{phase:?}");
            assert_eq!(after(&watch, &clock, 1), order, "{phase:?}");
            assert_eq!(watch.order(), order);
            assert_eq!(after(&watch, &clock, 1), Order::None, "it is told once");
        }
        let (watch, clock) = watch();
        watch.enter(Phase::Work);
        assert_eq!(after(&watch, &clock, 1_000_000), Order::None);
    }

    #[test]
    fn bytes_and_flushes_move_a_connection_on() {
        let (watch, clock) = watch();
        watch.heard();
        assert_eq!(watch.phase(), Phase::Head);
        clock.set(Tick(1009));
        // Drop by drop is still one request's headers.
        watch.heard();
        assert_eq!(after(&watch, &clock, 2), Order::Close);
        watch.enter(Phase::Work);
        watch.flushed();
        assert_eq!(watch.phase(), Phase::Work);
        watch.enter(Phase::Send);
        watch.flushed();
        assert_eq!(watch.phase(), Phase::Idle);
    }

    #[test]
    fn a_refusal_that_nobody_takes_ends_the_connection() {
        let (watch, clock) = watch();
        watch.enter(Phase::Body);
        assert_eq!(after(&watch, &clock, 31), Order::RefuseBody);
        assert_eq!(after(&watch, &clock, 30), Order::None);
        assert_eq!(after(&watch, &clock, 1), Order::Close);
        watch.command(Order::Finish);
        assert_eq!(
            watch.order(),
            Order::Close,
            "a weaker order does not replace a stronger one"
        );
    }
}
