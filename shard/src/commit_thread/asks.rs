//! What other threads ask of a commit thread, and get: snapshots that show all that was reported,
//! and contexts put out of service.

use corelet_store::{Damage, Snapshot, StoreError};

use super::Worker;
use crate::asks::Ask;
use crate::collector::is_known;

impl Worker<'_> {
    /// Does what another thread has asked for.
    pub(super) fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Nothing => {}
            Ask::Snapshot(answer) => self.asked.push(answer),
            Ask::PutOutOfService {
                context,
                error,
                is_out,
            } => {
                let damage = Damage {
                    slot: None,
                    context: Some(context),
                    error,
                };
                let mut is_it = false;
                self.have_collector(|collector, ledger, writer| {
                    let damaged = [damage].into_iter();
                    let outcome = collector.put_out_of_service(ledger, writer, damaged)?;
                    is_it = outcome.quarantined.iter().any(|(id, _)| *id == context)
                        || is_known(&ledger.snapshot()?, context)?;
                    Ok(outcome)
                });
                // Who asked may be gone.
                let _ = is_out.try_send(is_it);
            }
        }
    }

    /// Gives snapshots that show everything that was reported as durable so far to all who wait
    /// for one, unless that takes a checkpoint and the last one was just made: else whoever asks
    /// without end would have calls wait for one checkpoint after the other.
    pub(super) fn give_asked(&mut self) {
        if self.writer.has_unshown() && self.room.is_resting() {
            return;
        }
        for answer in std::mem::take(&mut self.asked) {
            // Without anything unshown there is no report either, so that there is a place
            // for every report, however often somebody asks.
            let shown = self.show_all();
            let snapshot = shown.and_then(|()| self.snapshot_for_others());
            // Who asked may be gone.
            let _ = answer.try_send(snapshot);
        }
    }

    /// A snapshot for who may keep it for long. Half of the places are left to calls: without one
    /// for what the next checkpoint shows, all that is written would stay in memory.
    fn snapshot_for_others(&self) -> Result<Snapshot, StoreError> {
        let used = self.ledger.in_use();
        match used.readers < used.readers_max / 2 {
            true => self.ledger.snapshot(),
            false => Err(StoreError::ReadersFull {
                readers_max: used.readers_max,
            }),
        }
    }
}
