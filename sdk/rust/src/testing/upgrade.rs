//! A context in memory that goes on as one of another application.

use std::marker::PhantomData;

use super::{Context, Failed, parsed, said};
use crate::application::Application;
use crate::arguments::no_migration;
use crate::memory_host::{self, Call};

impl<A: Application> Context<A> {
    /// Upgrades the context to the application `B`, as a server does: `#[before_upgrade]` of this
    /// one runs, then `#[migrate]` of the other if the two keep their state in different forms, and
    /// its `#[after_upgrade]`. None of them does if there is no way from the one form to the other. On an
    /// error nothing has happened; else what is given has all that this one had, which is left empty.
    pub fn upgrade<B: Application>(&mut self) -> Result<Context<B>, Failed> {
        let (from, to) = (A::SCHEMA_VERSION, B::SCHEMA_VERSION);
        let is_migrated = from < to && B::MIGRATES;
        if from != to && !is_migrated {
            return Err(Failed::Error(parsed(&no_migration(from, to))));
        }
        let next_hook = || memory_host::with(Call::begin_hook);
        self.turn(true, || {
            memory_host::with(|call| call.is_upgrade = true);
            let upgraded = A::before_upgrade()
                .and_then(|()| {
                    next_hook();
                    match is_migrated {
                        true => B::migrate(from),
                        false => Ok(()),
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
