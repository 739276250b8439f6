//! What an error of another crate becomes for a client: one total match per
//! error type, without a wildcard arm, so that a new variant is a decision and
//! not an accident. What a client must not see goes to the log here, once.

use std::io::ErrorKind;
use std::time::Duration;

use corelet_shard::CallError;
use corelet_store::{PastError, Refused as Unstored, StoreError};
use corelet_wasm_host::{BadDescription, Failure, NotCompiled, Refused};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::blobs::disk_nearly_full;
use super::uploads::failed_upload;
use super::{Code, Refusal};
use crate::config::path_of;

/// Characters of a guest's last words that its caller gets.
const SAID_CHARS_MAX: usize = 512;

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Refusal {
        let message = error.to_string();
        match error {
            CallError::ContextNotFound { context } => {
                Refusal::new(Code::UnknownContext, message).with("context", context)
            }
            CallError::MethodNotFound {
                method,
                application: _,
            } => Refusal::new(Code::UnknownMethod, message).with("method", method),
            CallError::KeyOnQuery { method: _ } => {
                Refusal::new(Code::InvalidParams, message).with("parameter", "idempotency_key")
            }
            CallError::KeyReused => Refusal::new(Code::IdempotencyKeyReused, message),
            CallError::NoSuchEvent { .. } => {
                Refusal::new(Code::InvalidParams, message).with("parameter", "after")
            }
            CallError::Past(error) => match &*error {
                PastError::Unknown { delta } => {
                    Refusal::new(Code::UnknownDelta, message).with("delta", delta.to_string())
                }
                PastError::NotRetained { delta }
                | PastError::EditsNotRetained { delta, .. }
                | PastError::OtherRoot { delta, author: _ } => {
                    Refusal::new(Code::PastNotRetained, message).with("delta", delta.to_string())
                }
                PastError::TooLong { limit, max } | PastError::EditsTooFar { limit, max, .. } => {
                    Refusal::limit(Code::PastNotRetained, limit, None, *max)
                }
                // Where the time ends is told as `CallError::CopyTooOld`.
                PastError::Stopped => Refusal::new(Code::Unavailable, message),
                PastError::Store(_) => Refusal::new(Code::StorageDamaged, message),
            },
            CallError::ApplicationNotFound { application } => {
                Refusal::new(Code::UnknownApplication, message).with("application", application)
            }
            CallError::ApplicationInUse {
                application: _,
                context,
            } => Refusal::new(Code::Conflict, message).with("what", context.to_string()),
            CallError::ApplicationClosed { application: _ } => {
                Refusal::new(Code::Unavailable, message)
            }
            CallError::NotUpgradable { from, to } => Refusal::new(Code::NotUpgradable, message)
                .with("from", from)
                .with("to", to),
            CallError::Hook {
                hook,
                failure,
                said,
            } => failed_hook(hook, &failure, said.as_deref()),
            CallError::ApplicationsFull { used, max } => {
                let limit = setting("applications_max");
                let message =
                    format!("{limit} is reached ({used} of {max}); remove an application first");
                Refusal::new(Code::ApplicationsFull, message)
                    .with("limit", limit)
                    .with("used", used)
                    .with("max", max)
            }
            CallError::NameTaken { name: _, holder } => {
                Refusal::new(Code::Conflict, message).with("what", holder.to_string())
            }
            CallError::BadName { name: _, why: _ } => {
                Refusal::new(Code::InvalidParams, message).with("parameter", "name")
            }
            CallError::Upload(error) => failed_upload(&error),
            CallError::BadPacking { packing, why: _ } => {
                Refusal::new(Code::BadEncoding, message).with("encoding", packing.name())
            }
            CallError::UploadMismatch { expected, found } => {
                Refusal::new(Code::UploadMismatch, message)
                    .with("expected", expected.to_string())
                    .with("found", found.to_string())
            }
            CallError::DiskNearlyFull { free, min } => disk_nearly_full(free, min),
            CallError::Refused(refused) => refused_component(&refused),
            CallError::Guest { failure, said } => failed_turn(&failure, said.as_deref()),
            CallError::Inspection { failure, said } => failed_inspection(&failure, said.as_deref()),
            CallError::LostEffects => Refusal::new(Code::Unavailable, message),
            CallError::Busy { limit, used, max } => {
                let limit = setting(limit);
                let message = busy(&limit, used, max);
                Refusal::new(Code::Busy, message)
                    .with("limit", limit)
                    .with("used", used)
                    .with("max", max)
            }
            CallError::TooMuch { limit, used, max } => {
                Refusal::limit_of(Code::LimitExceeded, limit.to_owned(), used, max)
            }
            CallError::CopyTooOld { max } => Refusal::new(Code::Unavailable, message)
                .with("limit", setting("copy_age_max"))
                .with("max", millis(&max)),
            CallError::Draining => Refusal::new(Code::Unavailable, message),
            CallError::Store(error) | CallError::BatchDamaged(error) => unstored_batch(&error),
            CallError::OutOfService { context, why } => Refusal::new(Code::ContextDamaged, message)
                .with("context", context.to_string())
                .with("why", &*why),
            CallError::Uncommitted(refused) => unstored_change(&refused),
            CallError::File { doing, source } => {
                tracing::error!(%source, "cannot {doing}");
                match source.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                        disk_full()
                    }
                    ErrorKind::InvalidData | ErrorKind::NotFound => Refusal::new(
                        Code::StorageDamaged,
                        "a file on the server's disk is damaged or missing; the server's log says which one",
                    ),
                    _ => internal(),
                }
            }
            CallError::OurBug { what } => {
                tracing::error!(what, "internal error of a shard");
                internal()
            }
        }
    }
}

fn refused_component(refused: &Refused) -> Refusal {
    let refusal = Refusal::new(Code::NotAnApplication, refused.to_string());
    match refused {
        Refused::Limit { limit, used, max }
        | Refused::Description(BadDescription::Limit { limit, used, max }) => refusal
            .with("limit", setting(limit))
            .with("used", *used)
            .with("max", *max),
        Refused::Busy { .. } => {
            Refusal::new(Code::Unavailable, "all instances are in use; try again")
        }
        Refused::OurBug { what } => {
            tracing::error!(what, "internal error while loading an application");
            internal()
        }
        Refused::NotCompiled(why) => not_compiled(why, refusal),
        Refused::NotWasm { .. }
        | Refused::CoreModule
        | Refused::Invalid { .. }
        | Refused::Unsupported { .. }
        | Refused::Import { .. }
        | Refused::Export { .. }
        | Refused::Describe { limit: None, .. }
        | Refused::Description(BadDescription::Name { .. } | BadDescription::Twice { .. }) => {
            refusal
        }
        Refused::Describe {
            limit: Some((limit, max)),
            ..
        } => refusal.with("limit", setting(limit)).with("max", *max),
    }
}

/// `refusal` has the text; what it is and which limit it names depends on who
/// is at fault.
fn not_compiled(why: &NotCompiled, refusal: Refusal) -> Refusal {
    let message = refusal.message.clone();
    let broken = |how: &str| Refusal::new(Code::CompilerFailed, message.clone()).with("how", how);
    match why {
        NotCompiled::Invalid { .. } => refusal,
        NotCompiled::TooLarge { used, max } => refusal
            .with("limit", setting("compiled_bytes_max"))
            .with("used", *used)
            .with("max", *max),
        NotCompiled::Cpu { max } => refusal
            .with("limit", setting("compile_cpu_max"))
            .with("max", millis(max)),
        NotCompiled::Memory { max } => refusal
            .with("limit", setting("compile_memory_bytes_max"))
            .with("max", *max),
        NotCompiled::Time { max } => Refusal::new(Code::Unavailable, message)
            .with("limit", setting("compile_time_max"))
            .with("max", millis(max)),
        NotCompiled::Crashed { .. } => broken("crashed"),
        NotCompiled::Killed { .. } => broken("killed"),
        NotCompiled::Unusable { what } => {
            tracing::error!(what, "the compiler's process could not be used");
            Refusal::new(
                Code::CompilerFailed,
                "the compiler's process could not be used; the server's log has more",
            )
            .with("how", "unusable")
        }
        NotCompiled::Stopped => Refusal::new(Code::Unavailable, message),
    }
}

/// As the hook's turn has failed, by a name that says that it is none of a call.
fn failed_hook(hook: &'static str, failure: &Failure, said: Option<&str>) -> Refusal {
    let why = failed_turn(failure, said);
    let message = format!(
        "hook {hook:?} has failed, so that the context goes on as it was: {}",
        why.message
    );
    let refusal = Refusal {
        code: Code::HookFailed,
        message: message.into(),
        ..why
    };
    refusal
        .with("hook", hook)
        .with("cause", why.code.entry().name)
}

/// As its turn has failed, with words that say which one that was. What the application itself has
/// refused has a name of its own, as no update of it has run.
fn failed_inspection(failure: &Failure, said: Option<&str>) -> Refusal {
    let why = failed_turn(failure, said);
    let is_refused = why.code == Code::ApplicationError;
    let message = format!("at the inspection of the update: {}", why.message);
    Refusal {
        code: if is_refused {
            Code::InspectionRefused
        } else {
            why.code
        },
        message: message.into(),
        ..why
    }
}

fn failed_turn(failure: &Failure, said: Option<&str>) -> Refusal {
    let message = failure.to_string();
    match failure {
        Failure::Application { error } => refused_by_application(error),
        Failure::Trapped { message: trap } => {
            let refusal = Refusal::new(Code::Trapped, message).with("trap", trap.as_str());
            // Where a guest panics, its last words say why.
            match said {
                Some(said) => refusal.with(
                    "said",
                    said.chars().take(SAID_CHARS_MAX).collect::<String>(),
                ),
                None => refusal,
            }
        }
        Failure::OutOfFuel { limit, max } => Refusal::new(Code::OutOfFuel, message)
            .with("limit", setting(limit))
            .with("max", *max),
        Failure::OutOfMemory { max } => Refusal::new(Code::OutOfMemory, message)
            .with("limit", "limits.memory_bytes_max")
            .with("max", *max),
        Failure::MemoryFull { used, max } => {
            Refusal::limit_of(Code::Busy, setting("instances_bytes_max"), *used, *max)
        }
        Failure::Busy { limit, used, max } => {
            Refusal::limit_of(Code::Busy, setting(limit), *used, *max)
        }
        Failure::TimedOut { max } => Refusal::new(Code::TimedOut, message)
            .with("limit", "limits.call_time_max")
            .with("max", *max),
        Failure::Cancelled => Refusal::new(Code::Cancelled, message),
        Failure::StackOverflow { max } => Refusal::new(Code::StackOverflow, message)
            .with("limit", "limits.stack_bytes_max")
            .with("max", *max),
        Failure::LimitExceeded { limit, used, max } => {
            Refusal::limit_of(Code::LimitExceeded, setting(limit), *used, *max)
        }
        Failure::WroteInQuery => Refusal::new(Code::WroteInQuery, message),
        Failure::AskedInUpdate => Refusal::new(Code::AskedInUpdate, message),
        Failure::OutsideTurn { .. } => {
            Refusal::new(Code::Trapped, message.clone()).with("trap", message)
        }
        Failure::InvalidOutput { message: reason } => {
            Refusal::new(Code::InvalidOutput, message).with("reason", reason.as_str())
        }
        Failure::Misused { .. } => Refusal::new(Code::EntryMisused, message),
        Failure::State(error) => {
            tracing::error!(error = %chain(&**error), "the state of a context could not be read");
            Refusal::new(
                Code::StorageDamaged,
                "the context's state could not be read",
            )
        }
        Failure::OurBug { what } => {
            tracing::error!(what, "internal error while running a guest");
            internal()
        }
    }
}

pub(super) fn unstored_batch(error: &StoreError) -> Refusal {
    match error {
        StoreError::MapFull { bytes_max } => Refusal::new(
            Code::StorageFull,
            "the shard's ledger has grown to storage.map_bytes_max; raise it or delete contexts, as no entry can be removed meanwhile",
        )
        .with("limit", "storage.map_bytes_max")
        .with("max", *bytes_max),
        StoreError::DiskFull { source } => {
            tracing::error!(%source, "no space left for the ledger");
            disk_full()
        }
        StoreError::ReadersFull { readers_max } => {
            let max = u64::from(*readers_max);
            let message = format!(
                "no place for a snapshot is left (storage.readers_max = {max}, half of them for calls alone); try again with backoff"
            );
            Refusal::new(Code::Busy, message)
                .with("limit", "storage.readers_max")
                .with("used", max)
                .with("max", max)
        }
        StoreError::BatchTooLarge { bytes, bytes_max } => Refusal::limit_of(
            Code::LimitExceeded,
            "the bytes of one transaction".to_owned(),
            *bytes,
            *bytes_max,
        ),
        StoreError::Corrupt { .. } => {
            tracing::error!(error = %chain(error), "a record is damaged and was not served");
            Refusal::new(
                Code::StorageDamaged,
                "a record on disk is damaged; it was not served",
            )
        }
        StoreError::Io { .. } | StoreError::Stopped => {
            tracing::error!(error = %chain(error), "the ledger has stopped");
            Refusal::new(Code::Unavailable, "the server's storage has stopped")
        }
        StoreError::Locked { .. }
        | StoreError::WrongFormat { .. }
        | StoreError::ManifestMissing { .. }
        | StoreError::NoData { .. }
        | StoreError::Lost { .. }
        | StoreError::Foreign { .. }
        | StoreError::Stale { .. }
        | StoreError::File { .. }
        | StoreError::AlreadyOpen { .. }
        | StoreError::DamagedPages { .. }
        | StoreError::Engine { .. } => {
            tracing::error!(error = %chain(error), "the ledger could not be used");
            internal()
        }
    }
}

fn unstored_change(refused: &Unstored) -> Refusal {
    let message = refused.to_string();
    match refused {
        Unstored::UnknownContext { context } => {
            Refusal::new(Code::UnknownContext, message).with("context", context.to_string())
        }
        Unstored::NameTaken { name: _, holder } => {
            Refusal::new(Code::Conflict, message).with("what", holder.to_string())
        }
        Unstored::OutOfBounds {
            limit,
            got,
            min: _,
            max,
        } => Refusal::limit_of(Code::LimitExceeded, setting(limit), *got, *max),
        Unstored::BehindRefused { .. }
        | Unstored::Overtaken { .. }
        | Unstored::AnsweredBefore { .. }
        | Unstored::BatchFull => Refusal::new(Code::Unavailable, message),
        Unstored::DiskFull => disk_full(),
        Unstored::Damaged { source } => unstored_batch(source),
        Unstored::Quarantined { context, why } => Refusal::new(Code::ContextDamaged, message)
            .with("context", context.to_string())
            .with("why", why.as_str()),
        Unstored::KindMismatch { .. }
        | Unstored::RemovedWriteOnce
        | Unstored::NotInSpace { .. } => Refusal::new(Code::EntryMisused, message),
        Unstored::ContextExists { .. }
        | Unstored::Malformed { .. }
        | Unstored::AppliedBefore { .. }
        | Unstored::NotNewer { .. }
        | Unstored::Pruned { .. }
        | Unstored::ParentsMissing { .. }
        | Unstored::Forked { .. }
        | Unstored::RedundantParent { .. }
        | Unstored::SealOfUnknown { .. }
        | Unstored::NotItsAuthor { .. }
        | Unstored::NoFork { .. }
        | Unstored::TooManyHeads { .. }
        | Unstored::EntryFull { .. }
        | Unstored::TooManyAuthors { .. }
        | Unstored::NoMember { .. }
        | Unstored::AheadOfHere { .. }
        | Unstored::SnapshotNeeded { .. }
        | Unstored::NoSequence { .. }
        | Unstored::Unsorted { .. }
        | Unstored::WrongSlot { .. }
        | Unstored::StaleHlc { .. } => {
            tracing::error!(error = %message, "a change was not stored");
            internal()
        }
    }
}

/// That a limit is reached, which others may leave again.
pub(super) fn busy(limit: &str, used: u64, max: u64) -> String {
    let bound = match limit.contains(' ') {
        true => "the bound on ",
        false => "",
    };
    format!("{bound}{limit} is reached ({used} of {max}); try again with backoff")
}

/// What the application said goes to the caller as it is. It may be as long as an
/// answer, and this is a shard's thread: nothing is built from its parts.
fn refused_by_application(error: &[u8]) -> Refusal {
    let error: Box<RawValue> = match serde_json::from_slice(error) {
        Ok(error) => error,
        Err(error) => {
            // The host lets nothing else pass.
            tracing::error!(%error, "an application's error is not JSON");
            return internal();
        }
    };
    let mut message = "the application refused the call".to_owned();
    if let Some(text) = message_in(&error) {
        message.push_str(": ");
        message.extend(text.chars().take(SAID_CHARS_MAX));
    }
    let mut refusal = Refusal::new(Code::ApplicationError, message);
    refusal.error = Some(error);
    refusal
}

/// The application's message if it is a plain text or has one.
fn message_in(error: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct WithMessage<'a> {
        #[serde(borrow)]
        message: &'a RawValue,
    }
    let text = match error.get().as_bytes().first()? {
        b'"' => error.get(),
        b'{' => {
            let members: WithMessage<'_> = serde_json::from_str(error.get()).ok()?;
            members.message.get()
        }
        _ => return None,
    };
    serde_json::from_str(text).ok()
}

fn millis(time: &Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A limit by the name that it has in the configuration. One that is not in there, and cannot be
/// changed, is told in words.
fn setting(limit: &str) -> String {
    path_of(limit).unwrap_or(limit).to_owned()
}

pub(super) fn disk_full() -> Refusal {
    Refusal::new(
        Code::StorageFull,
        "no space is left on the server's disk; reads go on, and no entry can be removed, but contexts, blobs and applications can be deleted as long as the little that is kept for that lasts: delete those that nobody needs, or free some space elsewhere on that disk",
    )
}

pub(super) fn internal() -> Refusal {
    Refusal::new(
        Code::InternalError,
        "internal error; the server's log has more",
    )
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What a caller gets of an application's error, in both shapes: the error as it
    /// was written, and the message.
    fn told(error: &str) -> (String, String) {
        let failure = Failure::Application {
            error: error.as_bytes().to_vec(),
        };
        let refusal = Refusal::from(CallError::Guest {
            failure: failure.into(),
            said: None,
        });
        let mut object = Vec::new();
        refusal.write_error_object(&mut object);
        let object = String::from_utf8(object).unwrap();
        let message = serde_json::from_str::<Value>(&object).unwrap()["message"].take();
        let message = message.as_str().unwrap().to_owned();
        let around = [
            "{\"code\":-32030,\"data\":{\"error\":",
            ",\"name\":\"application_error\"},\"message\":",
        ];
        let rest = object.strip_prefix(around[0]).unwrap();
        let (said, _) = rest.rsplit_once(around[1]).unwrap();

        let problem = String::from_utf8(refusal.problem()).unwrap();
        assert!(problem.contains(&format!("\"error\":{said},\"status\":422,")));
        (said.to_owned(), message)
    }

    /// A guest that has asked another context is told them as clients are.
    #[test]
    fn failures_have_the_names_of_the_catalogue() {
        let limit = "query_calls_max";
        let text = || "text".to_owned();
        let (used, max) = (2, 1);
        for failure in [
            Failure::Application {
                error: b"1".to_vec(),
            },
            Failure::Trapped { message: text() },
            Failure::OutOfFuel {
                limit: "query_fuel_max",
                max,
            },
            Failure::OutOfMemory { max },
            Failure::MemoryFull { used, max },
            Failure::Busy {
                limit: "waiting_max",
                used,
                max,
            },
            Failure::TimedOut { max },
            Failure::Cancelled,
            Failure::StackOverflow { max },
            Failure::LimitExceeded { limit, used, max },
            Failure::WroteInQuery,
            Failure::AskedInUpdate,
            Failure::OutsideTurn {
                function: "log.write",
                phase: "idle",
            },
            Failure::InvalidOutput { message: text() },
            Failure::Misused { message: text() },
            Failure::State("the disk is gone".into()),
            Failure::OurBug { what: text() },
        ] {
            let named = failed_turn(&failure, None).code.entry().name;
            assert_eq!(failure.name(), named, "{failure}");
        }
    }

    #[test]
    fn an_application_s_error_is_passed_on_as_it_was_written() {
        let brackets = format!("[{}[]]", "[],".repeat(350_000));
        let numbers = format!("[{}1e14]", "1e14,".repeat(200_000));
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for error in [
            "null",
            r#"{ "code" : 7.0, "code": "\u00e9" }"#,
            &brackets,
            &numbers,
        ] {
            let (said, message) = told(error);
            assert!(said == error, "{} bytes", said.len());
            assert_eq!(message, "the application refused the call");
        }
        // Deeper than serde_json takes apart.
        let refusal = refused_by_application(deep.as_bytes());
        assert_eq!(refusal.error.unwrap().get(), deep);
    }

    #[test]
    fn only_a_setting_is_told_as_one() {
        for (limit, told) in [
            ("args_bytes_max", "limits.args_bytes_max"),
            // The collector has one of that name, too.
            ("events_max", "limits.events_max"),
            ("mesh_inflight_max", "shards.mesh_inflight_max"),
            ("instances_bytes_max", "shards.instances_bytes_max"),
            ("answers_bytes_max", "storage.answers_bytes_max"),
            ("a name's length in bytes", "a name's length in bytes"),
        ] {
            assert_eq!(setting(limit), told);
        }
        let refusal = Refusal::from(CallError::Busy {
            limit: "deliveries of one context",
            used: 1,
            max: 1,
        });
        assert_eq!(
            refusal.message,
            "the bound on deliveries of one context is reached (1 of 1); try again with backoff"
        );
    }

    #[test]
    fn a_message_is_found_where_there_is_one() {
        let refused = |text: &str| format!("the application refused the call{text}");
        for (error, text) in [
            (r#""no \"more\"""#, ": no \"more\""),
            (
                r#"{"a":[1,{"message":"not this"}],"message":"th\u0069s"}"#,
                ": this",
            ),
            (r#"{"message":{"message":"deeper"}}"#, ""),
            (r#"["message"]"#, ""),
            ("17", ""),
        ] {
            assert_eq!(told(error), (error.to_owned(), refused(text)));
        }
        let long = format!("\"{}\"", "é".repeat(5000));
        let (said, message) = told(&long);
        assert_eq!(said, long);
        assert_eq!(
            message,
            refused(&format!(": {}", "é".repeat(SAID_CHARS_MAX)))
        );
    }
}
