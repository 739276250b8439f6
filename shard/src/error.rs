//! Why a call or a request to a shard was not carried out. One variant per
//! decision the caller can take; `server` maps each to its code.

use std::sync::Arc;
use std::time::Duration;

use corelet_store::{
    ApplicationId, ContextId, Packing, PastError, Refused, StoreError, UploadError,
};
use corelet_wasm_host::{Failure, GuestLog, LogLevel};

use crate::blobs::BlobRequestError;
use crate::places::NoPlace;

/// Why a shard did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    // The caller's mistakes.
    /// No context has this id or name.
    #[error("there is no context {context:?}")]
    ContextNotFound {
        /// The id or name asked for.
        context: String,
    },
    /// The application has no such method.
    #[error("the application has no method {method:?}")]
    MethodNotFound {
        /// The method asked for.
        method: String,
        /// The application asked.
        application: ApplicationId,
    },
    /// A call that only reads was given a key.
    #[error("method {method:?} is a query, which may be sent again as it is; leave its key out")]
    KeyOnQuery {
        /// The method asked for.
        method: String,
    },
    /// Another call was made with the same key.
    #[error(
        "the key was used for a call of another method or with other arguments; give each call a key of its own, and send it again as it was"
    )]
    KeyReused,
    /// A reader has got events that the context has not told.
    #[error("the context's newest event is {last}, so nothing can have been read up to {after}")]
    NoSuchEvent {
        /// Behind which event it wants to go on.
        after: u64,
        /// The newest there is.
        last: u64,
    },
    /// The state that a delta has led to is not there, or not any more.
    #[error("{0}")]
    Past(Arc<PastError>),
    /// No application has this id.
    #[error("application {application} is not installed")]
    ApplicationNotFound {
        /// The id asked for.
        application: String,
    },
    /// Contexts run this application.
    #[error("application {application} is used by context {context}; delete its contexts first")]
    ApplicationInUse {
        /// The application.
        application: ApplicationId,
        /// One of the contexts.
        context: ContextId,
    },
    /// Somebody is about to remove the application.
    #[error("application {application} is about to be removed; if it still exists, retry")]
    ApplicationClosed {
        /// The application.
        application: ApplicationId,
    },
    /// The context cannot be upgraded to the application, as its state cannot be brought into the
    /// application's form.
    #[error("{}", not_upgradable(*from, *to))]
    NotUpgradable {
        /// The form that its state is in.
        from: u64,
        /// The application's.
        to: u64,
    },
    /// A hook failed that runs when a context is upgraded. Nothing has changed.
    #[error("hook {hook:?} has failed, so that the context goes on as it was: {failure}")]
    Hook {
        /// Its name.
        hook: &'static str,
        /// How.
        failure: Arc<Failure>,
        /// What the guest last logged as an error.
        said: Option<Arc<str>>,
    },
    /// The node has as many applications as it may have.
    #[error("{used} of at most {max} applications are installed; remove one first")]
    ApplicationsFull {
        /// How many there are, those about to be installed included.
        used: u64,
        /// The bound, `applications_max`.
        max: u64,
    },
    /// Another context has the name.
    #[error("name {name:?} already belongs to context {holder}")]
    NameTaken {
        /// The name asked for.
        name: String,
        /// Who has it.
        holder: ContextId,
    },
    /// A name must be 1 to 64 of a-z, A-Z, 0-9, `-`, `_` and `.`, and no id.
    #[error("{name:?} cannot be a context's name: {why}")]
    BadName {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The upload was not carried on, or could not be used.
    #[error("{0}")]
    Upload(Arc<UploadError>),
    /// What has come is not packed as it was said to be.
    #[error("what was uploaded is not {}, or is cut off ({why}); send it as the Content-Encoding says", packing.name())]
    BadPacking {
        /// As it was said to be.
        packing: Packing,
        /// In the words of what unpacks it.
        why: String,
    },
    /// What has come is not the component that was announced.
    #[error(
        "the component that was uploaded has the id {found}, but {expected} was to come; begin a new upload"
    )]
    UploadMismatch {
        /// The id that was announced.
        expected: ApplicationId,
        /// The id of what came.
        found: ApplicationId,
    },
    /// The component cannot run here.
    #[error("the component was refused: {0}")]
    Refused(Arc<corelet_wasm_host::Refused>),

    // The guest's doing.
    /// The turn failed; it left no trace.
    #[error("{failure}")]
    Guest {
        /// How.
        failure: Arc<Failure>,
        /// What the guest last logged as an error, which is where a panic says why.
        said: Option<Arc<str>>,
    },

    /// The application has looked at the update before it was queued, and refused it or failed.
    #[error("the update was refused at its inspection: {failure}")]
    Inspection {
        /// How: [`Failure::Application`] if it has refused it.
        failure: Arc<Failure>,
        /// What the guest last logged as an error.
        said: Option<Arc<str>>,
    },

    // Limits reached: retry later.
    /// The file system has less space left than has to stay free.
    #[error(
        "only {free} bytes would be left on the disk, and {min} have to stay free; free disk space and retry"
    )]
    DiskNearlyFull {
        /// Bytes that are free, without those that were announced.
        free: u64,
        /// The bound, `disk_free_bytes_min`.
        min: u64,
    },
    /// A queue is full.
    #[error("{limit} is reached ({used} of {max}); retry with backoff")]
    Busy {
        /// The bound's name.
        limit: &'static str,
        /// How much is in use.
        used: u64,
        /// The bound.
        max: u64,
    },
    /// More was handed over at once than is ever taken.
    #[error("{used} exceeds the bound of {max} on {limit}; hand over fewer at once")]
    TooMuch {
        /// The bound's name.
        limit: &'static str,
        /// How much was handed over.
        used: u64,
        /// The bound.
        max: u64,
    },
    /// A copy was not made in time, or not taken by who has asked for it.
    #[error(
        "the copy was not made and taken within {max:?}; retry over a faster link, or raise the bound"
    )]
    CopyTooOld {
        /// The bound, `copy_age_max`.
        max: Duration,
    },
    /// The server is shutting down.
    #[error("the server is shutting down; retry elsewhere or later")]
    Draining,

    // The machine's state.
    /// The call had seen writes that could not be committed.
    #[error("writes that this call had seen could not be committed; retry")]
    LostEffects,
    /// The store failed, and with it every call that saw its effects.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// A record of the context is damaged on disk.
    #[error("context {context} is out of service, as a record of it is damaged: {why}")]
    OutOfService {
        /// The context.
        context: ContextId,
        /// What is damaged.
        why: Arc<str>,
    },
    /// A batch met damage that is of no context in particular, and with it failed every
    /// call that saw its effects.
    #[error("{0}")]
    BatchDamaged(Arc<StoreError>),
    /// One change could not be written though its batch was.
    #[error("{0}")]
    Uncommitted(Arc<corelet_store::Refused>),
    /// A file of the data directory could not be read or written.
    #[error("cannot {doing}")]
    File {
        /// What was attempted.
        doing: String,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Ours to repair.
    #[error("internal error: {what}")]
    OurBug {
        /// For the log; not for callers.
        what: String,
    },
}

fn not_upgradable(from: u64, to: u64) -> String {
    match from > to {
        true => format!(
            "the context's state has schema version {from}, and the application keeps it in version {to}: state is never brought back into an earlier form"
        ),
        false => format!(
            "the context's state has schema version {from}, and the application keeps it in version {to}, but does not export `migrate`"
        ),
    }
}

fn corrupt(error: &StoreError) -> Option<(&'static str, &str, &'static str)> {
    match error {
        StoreError::Corrupt { what, key, why } => Some((what, key, why)),
        _ => None,
    }
}

impl From<NoPlace> for CallError {
    fn from(NoPlace { limit, max }: NoPlace) -> Self {
        CallError::Busy {
            limit,
            used: max,
            max,
        }
    }
}

impl From<UploadError> for CallError {
    fn from(error: UploadError) -> Self {
        CallError::Upload(Arc::new(error))
    }
}

/// Of what the threads do that work on blobs' files, as far as it concerns others, too.
impl From<BlobRequestError> for CallError {
    fn from(error: BlobRequestError) -> Self {
        match error {
            BlobRequestError::DiskNearlyFull { free, min } => {
                CallError::DiskNearlyFull { free, min }
            }
            BlobRequestError::Stopping => CallError::Draining,
            other => CallError::bug(other.to_string()),
        }
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        CallError::Store(Arc::new(error))
    }
}

impl CallError {
    /// The damage that a call has met, if that is why it has failed.
    pub(crate) fn damage(&self) -> Option<StoreError> {
        let (what, key, why) = match self {
            CallError::Store(error) => corrupt(error)?,
            CallError::Uncommitted(refused) => match &**refused {
                Refused::Damaged { source } => corrupt(source)?,
                _ => return None,
            },
            CallError::Guest { failure, .. } | CallError::Inspection { failure, .. } => {
                match &**failure {
                    Failure::State(error) => corrupt(error.downcast_ref()?)?,
                    _ => return None,
                }
            }
            _ => return None,
        };
        let key = key.to_owned();
        Some(StoreError::Corrupt { what, key, why })
    }

    /// Whether what was uploaded can never become an application.
    pub(crate) fn is_for_good(&self) -> bool {
        match self {
            CallError::BadPacking { .. } | CallError::UploadMismatch { .. } => true,
            CallError::Refused(refused) => refused.is_for_good(),
            CallError::File { source, .. } => source.kind() == std::io::ErrorKind::InvalidData,
            _ => false,
        }
    }

    pub(crate) fn guest(failure: Failure, logs: &[GuestLog]) -> CallError {
        match failure {
            Failure::MemoryFull { used, max } => return CallError::memory_full(used, max),
            Failure::Busy { limit, used, max } => return CallError::Busy { limit, used, max },
            _ => {}
        }
        let last_error = logs.iter().rev().find(|line| line.level == LogLevel::Error);
        CallError::Guest {
            failure: Arc::new(failure),
            said: last_error.map(|line| Arc::from(&*line.message)),
        }
    }

    /// The same of a look at an update.
    pub(crate) fn inspection(failure: Failure, logs: &[GuestLog]) -> CallError {
        match CallError::guest(failure, logs) {
            CallError::Guest { failure, said } => CallError::Inspection { failure, said },
            error => error,
        }
    }

    pub(crate) fn memory_full(used: u64, max: u64) -> CallError {
        CallError::Busy {
            limit: "instances_bytes_max",
            used,
            max,
        }
    }

    pub(crate) fn bug(what: impl Into<String>) -> CallError {
        CallError::OurBug { what: what.into() }
    }
}
