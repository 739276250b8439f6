//! Accepting connections on one shard, looking after them, and closing in
//! order: stop accepting, let each finish its request, cut what is left at the
//! deadline. What happens on a connection is in `connection.rs`.

use std::cell::{Cell, RefCell};
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_shard::{ShardHandle, rt};
use futures_util::future::{Either, select};
use send_wrapper::SendWrapper;
use slab::Slab;

use super::watch::{Order, Patience, Tick, Watch};
use super::{connection, routes};
use crate::auth::Unauthenticated;
use crate::facts::{DoorStats, Facts};
use crate::rpc::envelope::Bounds;

/// How often connections are looked at. A bound on time is kept give or take this.
const SWEEP: Duration = Duration::from_millis(100);

/// Connections taken in before other tasks have their turn.
const ACCEPTS_AT_ONCE: u64 = 32;

/// After a failed accept (no descriptors left, most often) it is no use to try at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections over the limit that are being told so at the same time.
const TURNING_AWAY_MAX: usize = 64;

/// One shard's front door.
pub(crate) struct Front {
    pub(crate) facts: Arc<Facts>,
    pub(crate) shard: ShardHandle,
    pub(super) bounds: Bounds,
    pub(super) router: axum::Router,
    pub(super) uploads: Cell<u64>,
    clock: Rc<Cell<Tick>>,
    connections: RefCell<Slab<Rc<Watch>>>,
    turning_away: Cell<usize>,
    requests: Cell<u64>,
    started: Instant,
}

/// Serves `listener` until the node drains and the last connection is closed.
pub(crate) async fn serve(shard: ShardHandle, facts: Arc<Facts>, listener: StdListener) {
    let number = shard.id().number();
    if facts.boards[usize::from(number)]
        .shard
        .set(Arc::clone(shard.stats()))
        .is_err()
    {
        tracing::error!(shard = number, "a shard was served twice");
        return;
    }
    let listener = match rt::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(shard = number, %error, "cannot take over the listener");
            return;
        }
    };
    let front = Front::new(shard, facts);
    let sweeping = Rc::clone(&front);
    rt::spawn(async move { sweeping.sweep_for_ever().await });
    accept(&front, &listener).await;
    drop(listener);
    front.close().await;
}

async fn accept(front: &Rc<Front>, listener: &rt::TcpListener) {
    let mut draining = std::pin::pin!(front.shard.draining());
    let mut accepted = 0u64;
    loop {
        let next = std::pin::pin!(listener.accept());
        match select(draining.as_mut(), next).await {
            Either::Left(_) => return,
            Either::Right((Ok(stream), _)) => {
                front.take_in(stream);
                accepted += 1;
                if accepted.is_multiple_of(ACCEPTS_AT_ONCE) {
                    rt::yield_now().await;
                }
            }
            Either::Right((Err(error), _)) => {
                tracing::warn!(%error, "cannot accept a connection");
                rt::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Front {
    fn new(shard: ShardHandle, facts: Arc<Facts>) -> Rc<Front> {
        let bounds = Bounds {
            batch_max: facts.config.http.batch_max as usize,
            depth_max: facts.config.http.depth_max as usize,
            args_bytes_max: facts.config.limits.args_bytes_max as usize,
            output_bytes_max: facts.config.limits.output_bytes_max as usize,
            batch_answers_bytes_max: facts.config.http.batch_answers_bytes_max.as_usize(),
        };
        Rc::new_cyclic(|front| Front {
            facts,
            shard,
            bounds,
            router: routes::router(SendWrapper::new(front.clone())),
            uploads: Cell::new(0),
            clock: Rc::default(),
            connections: RefCell::default(),
            turning_away: Cell::new(0),
            requests: Cell::new(0),
            started: Instant::now(),
        })
    }

    /// What this door counts.
    pub(crate) fn stats(&self) -> &DoorStats {
        &self.facts.boards[usize::from(self.shard.id().number())].door
    }

    /// A name for the next request: shard and count.
    pub(super) fn next_request(&self) -> String {
        let number = self.requests.get() + 1;
        self.requests.set(number);
        format!("{}-{number}", self.shard.id())
    }

    /// The claims of whoever sent these headers.
    pub(super) fn admit(
        &self,
        headers: &hyper::HeaderMap,
    ) -> Result<&crate::auth::Claims, Unauthenticated> {
        let headers = headers.get_all(hyper::header::AUTHORIZATION);
        self.facts
            .guard
            .admit(headers.iter().map(|header| header.as_bytes()))
    }

    fn take_in(self: &Rc<Front>, stream: rt::TcpStream) {
        let front = Rc::clone(self);
        let open = self.connections.borrow().len() as u64;
        if open >= self.facts.config.http.connections_max {
            self.stats().turned_away.one();
            if self.turning_away.get() < TURNING_AWAY_MAX {
                self.turning_away.set(self.turning_away.get() + 1);
                rt::spawn(async move {
                    let http = &front.facts.config.http;
                    connection::turn_away(stream, Rc::clone(&front.clock), http).await;
                    front.turning_away.set(front.turning_away.get() - 1);
                });
            }
            return;
        }
        self.stats().accepted.one();
        let watch = Rc::new(Watch::new(Rc::clone(&self.clock)));
        let place = self.connections.borrow_mut().insert(Rc::clone(&watch));
        self.count_connections();
        rt::spawn(async move {
            connection::run(stream, watch, &front).await;
            front.connections.borrow_mut().remove(place);
            front.count_connections();
        });
    }

    fn count_connections(&self) {
        self.shard
            .stats()
            .connections
            .set(self.connections.borrow().len() as u64);
    }

    /// Moves the coarse clock and looks at every connection, a few times a second.
    async fn sweep_for_ever(&self) {
        let http = &self.facts.config.http;
        let patience = Patience {
            idle: http.idle_timeout,
            head: http.header_timeout,
            body: http.body_timeout,
            upload: http.upload_timeout,
            blob: self.facts.config.blobs.upload_timeout,
        };
        loop {
            rt::sleep(SWEEP).await;
            let now = self.started.elapsed().as_millis() as u64;
            self.clock.set(Tick(now));
            for (_, watch) in self.connections.borrow().iter() {
                // One that was told that its body is late is counted already.
                let is_counted = watch.order() == Order::RefuseBody;
                if watch.sweep(&patience) != Order::None && !is_counted {
                    self.stats().cut.one();
                }
            }
        }
    }

    fn command_all(&self, order: Order) {
        for (_, watch) in self.connections.borrow().iter() {
            watch.command(order);
        }
    }

    /// Lets every connection finish its request; cuts what is left at the deadline.
    async fn close(&self) {
        let deadline = Instant::now() + self.facts.config.process.drain_timeout;
        // A connection may be in the middle of being taken in: the order is
        // repeated until all are gone.
        while !self.connections.borrow().is_empty() {
            if Instant::now() >= deadline {
                let open = self.connections.borrow().len();
                tracing::warn!(open, "the drain deadline cuts connections");
                self.command_all(Order::Close);
                break;
            }
            self.command_all(Order::Finish);
            rt::sleep(Duration::from_millis(5)).await;
        }
        // Cut connections end at their next poll.
        for _ in 0..100 {
            if self.connections.borrow().is_empty() {
                return;
            }
            rt::sleep(Duration::from_millis(1)).await;
        }
    }
}
