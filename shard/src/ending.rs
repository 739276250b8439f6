//! How the process ends itself when going on would be wrong: a shard hangs, or
//! nobody can tell what is on disk. A restart of seconds finds what is certain.

use std::error::Error;

/// What has to be done before the process is gone.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Brings what has been logged to its readers, lest the reason be lost. Must
    /// come back within a second or so, even if nobody reads.
    pub flush_log: fn(),
}

impl Default for Ending {
    /// Of a log that is written at once.
    fn default() -> Self {
        Ending { flush_log: || {} }
    }
}

impl Ending {
    /// Ends the process because durable state is in doubt: nothing that was
    /// acknowledged is lost, and opening the ledger again finds what is certain.
    pub(crate) fn in_doubt(self, why: &str, error: &dyn Error) -> ! {
        let mut causes = String::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            causes.push_str(": ");
            causes.push_str(&inner.to_string());
            cause = inner.source();
        }
        tracing::error!(error = %format!("{error}{causes}"), "{why}; stopping");
        (self.flush_log)();
        std::process::abort()
    }
}
