//! A context in memory that goes on as one of another application.

use std::marker::PhantomData;

use super::{Context, Failed, said};
use crate::application::Application;
use crate::memory_host::{self, Call};

impl<A: Application> Context<A> {
    /// Upgrades the context to the application `B`, as a server does: `#[before_upgrade]` of this
    /// one runs, then `#[migrate]` of the other if the two keep their state in different forms, and
    /// its `#[after_upgrade]`. On an error nothing has happened; else what is given has all that this
    /// one had, which is left empty.
    pub fn upgrade<B: Application>(&mut self) -> Result<Context<B>, Failed> {
        let (from, to) = (A::SCHEMA_VERSION, B::SCHEMA_VERSION);
        let next_hook = || memory_host::with(Call::begin_hook);
        self.turn(true, || {
            memory_host::with(|call| call.is_upgrade = true);
            let upgraded = A::before_upgrade()
                .and_then(|()| {
                    next_hook();
                    match from == to {
                        true => Ok(()),
                        false if from > to => Err(crate::arguments::no_migration(from, to)),
                        false => B::migrate(from),
                    }
                })
                .and_then(|()| {
                    next_hook();
                    B::after_upgrade()
                });
            said(upgraded)
        })?;
        Ok(Context {
            state: std::mem::take(&mut self.state),
            events: std::mem::take(&mut self.events),
            logs: std::mem::take(&mut self.logs),
            caller: self.caller.clone(),
            author: self.author,
            now: self.now,
            calls: self.calls,
            state_version: self.state_version + 1,
            others: self.others.take(),
            id: self.id,
            sent: std::mem::take(&mut self.sent),
            seed: self.seed,
            seen_until: self.seen_until,
            keeper: self.keeper.take(),
            application: PhantomData,
        })
    }
}
