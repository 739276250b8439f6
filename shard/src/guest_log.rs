//! Shows what guests log, once it is true: an update's lines when it is
//! committed. A failed turn's last error goes to its caller instead (see
//! `error.rs`). The text is foreign, so it is only ever a field's value, which
//! the log's formatters escape.

use corelet_store::{ContextId, LogLine};
use corelet_wasm_host::{GuestLog, LogLevel};

macro_rules! show {
    ($level:expr, $enum:ident, $context:expr, $message:expr) => {
        match $level {
            $enum::Error => tracing::error!(target: "guest", context = %$context, said = ?$message),
            $enum::Warn => tracing::warn!(target: "guest", context = %$context, said = ?$message),
            $enum::Info => tracing::info!(target: "guest", context = %$context, said = ?$message),
            $enum::Debug => tracing::debug!(target: "guest", context = %$context, said = ?$message),
        }
    };
}

/// Lines of a query.
pub(crate) fn of_query(context: ContextId, lines: &[GuestLog]) {
    for line in lines {
        show!(line.level, LogLevel, context, line.message);
    }
}

/// Lines of an update that is committed or had nothing to commit.
pub(crate) fn of_update(context: ContextId, lines: &[LogLine]) {
    use corelet_store::LogLevel;
    for line in lines {
        show!(line.level, LogLevel, context, line.message);
    }
}
