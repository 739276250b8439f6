//! The saver: works out long lists and texts as wholes, so that a start, or whoever finds
//! one not in memory, need not go through all its edits. It has a thread of its own beside each
//! commit thread, because that takes as long as the list is; what it has made goes
//! back there, where everything is written. All of it can be left out: a list
//! that is not saved takes longer to open.

use std::io;
use std::thread::JoinHandle;

use corelet_store::{Ledger, SavedSequence, SequenceName, StoreError};
use crossbeam_channel::{Receiver, Sender};

/// Lists and texts that wait to be saved. One more is saved when it has grown again.
const DUE_MAX: usize = 64;

/// Saved ones that wait to be written: each may be large.
const SAVED_MAX: usize = 1;

/// The commit thread's side.
pub(crate) struct Saver {
    due: Option<Sender<SequenceName>>,
    /// What is to be written.
    pub(crate) saved: Receiver<(SequenceName, SavedSequence)>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    pub(crate) fn start(ledger: &Ledger) -> io::Result<Saver> {
        let (due, names) = crossbeam_channel::bounded(DUE_MAX);
        let (results, saved) = crossbeam_channel::bounded(SAVED_MAX);
        let ledger = ledger.clone();
        let thread = std::thread::Builder::new()
            .name("saver".to_owned())
            .spawn(move || run(&ledger, &names, &results))?;
        Ok(Saver {
            due: Some(due),
            saved,
            thread: Some(thread),
        })
    }

    /// Has one saved, when there is time.
    pub(crate) fn save(&self, name: SequenceName) {
        if let Some(due) = &self.due {
            let _ = due.try_send(name);
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.due = None;
        // Whoever waits to hand one over must not wait any longer.
        self.saved = crossbeam_channel::never();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the saver panicked; lists and texts were saved no longer");
        }
    }
}

fn run(
    ledger: &Ledger,
    names: &Receiver<SequenceName>,
    results: &Sender<(SequenceName, SavedSequence)>,
) {
    for name in names {
        match save(ledger, &name) {
            Ok(Some(saved)) => {
                if results.send((name, saved)).is_err() {
                    return;
                }
            }
            // It was removed meanwhile.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a list or text could not be saved as a whole; opening it takes longer");
            }
        }
    }
}

fn save(ledger: &Ledger, name: &SequenceName) -> Result<Option<SavedSequence>, StoreError> {
    ledger.snapshot()?.save_sequence(name)
}
