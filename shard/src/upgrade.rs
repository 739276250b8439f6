//! A context gets another application while it goes on being called.
//!
//! The new one is loaded first, by a compile thread. Then the upgrade waits in the context's queue
//! like an update, and holds the context: updates behind it keep their places and run in the new
//! application, queries go on meanwhile in the old one, and nobody waits for those. What the hooks
//! write comes together in one view, and becomes durable in one change with the context's new
//! application, or nothing does. The context runs the new one from the moment at which that is
//! known to be durable ([`Context::install`]), and what was looked up in the old one before is
//! looked up anew ([`Shard::admit_anew`]). Why so: `decisions/0010-upgrades.md`. Start at
//! [`Shard::upgrade_here`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::{ApplicationId, CallEffects, Change, ContextId, Event, Hlc, Upgrade};
use corelet_wasm_host::{Failure, GuestEvent, GuestState, Hook, MethodKind, Module};

use crate::agenda::Agenda;
use crate::answer::promise;
use crate::context::{Code, Context, InUse};
use crate::contexts::Creating;
use crate::delivery::Hold;
use crate::error::CallError;
use crate::guest_log::TurnLog;
use crate::message::{NewCode, Upgraded};
use crate::shard::{Shard, unknown_method};
use crate::statistics::Row;
use crate::turn::{Begin, Durable, Executed, Step, What, is_the_guest_s};
use crate::view::{View, Written};

/// A hook that is to run.
pub(crate) struct HookTurn {
    pub(crate) hook: Hook,
    /// What it runs in, if that is not what its context runs now.
    pub(crate) module: Option<Arc<Module>>,
    /// What hooks before it have written; none of the first.
    pub(crate) state: Option<Box<View>>,
    /// The stamp of all hooks of the upgrade.
    pub(crate) hlc: Hlc,
}

/// What a hook has done that was not refused.
pub(crate) struct MadeByHook {
    pub(crate) state: Box<dyn GuestState>,
    pub(crate) events: Vec<GuestEvent>,
    pub(crate) log: Option<TurnLog>,
}

/// What the hooks of an upgrade have done so far.
#[derive(Default)]
struct Made {
    view: Option<Box<View>>,
    events: Vec<GuestEvent>,
    /// Of hooks that have succeeded, though the upgrade may not.
    logs: Vec<TurnLog>,
}

/// What an upgrade changes.
struct Plan {
    /// What the context runs until then.
    before: ApplicationId,
    /// The hooks that are to run, in order, and in what if not in what the context runs now.
    hooks: Vec<(Hook, Option<Arc<Module>>)>,
    schema_versions: (u64, u64),
}

impl Shard {
    /// Has a context of this shard run another application. To be run to its end.
    pub(crate) async fn upgrade_here(
        self: &Rc<Self>,
        id: ContextId,
        upgrade: NewCode,
    ) -> Result<Upgraded, CallError> {
        self.check_service(id)?;
        let end = self.upgrade(id, upgrade).await;
        self.quarantine_if_damaged(id, &end);
        if let Err(CallError::Hook { .. }) = &end {
            self.stats.upgrades_failed.one();
        }
        end
    }

    async fn upgrade(
        self: &Rc<Self>,
        id: ContextId,
        upgrade: NewCode,
    ) -> Result<Upgraded, CallError> {
        let application = upgrade.application;
        let time = Duration::from_millis(self.host.limits().call_time_max);
        let context = self.reach(id).await?;
        // Whoever removes the application either sees this or has closed it before.
        self.directory.check_open(application)?;
        let _coming = Creating::begin(self, id, application);
        let module = self.module(application).await?;
        // What cannot be done, or is, does not wait.
        let planned = plan(&context, &module, &upgrade)?;
        if planned.before == application {
            return self.upgraded(id, &planned);
        }
        // From here on it waits as a call does.
        let deadline = Instant::now() + time;
        self.schedule.check_room(&context)?;
        let hold = Hold::of(self, InUse::new(Rc::clone(&context))).await?;
        if Instant::now() >= deadline {
            return Err(self.expired());
        }
        // What the hooks are to see is durable, so nothing of it can get lost from now on.
        let seen = self.commits.barrier(&context, None).await;
        seen.ok_or_else(|| CallError::bug("a barrier was forgotten"))??;
        self.check_there(&context)?;
        self.commits.check_room(0)?;
        // Another one may have been before this in the queue.
        let planned = plan(&context, &module, &upgrade)?;
        if planned.before == application {
            return self.upgraded(id, &planned);
        }
        let done = self
            .upgrade_held(&context, &planned, module, &upgrade, time)
            .await;
        if done.is_err() {
            // Calls that have waited for it are as late as if it had not failed.
            context.upgrades.set(context.upgrades.get().wrapping_add(1));
        }
        let number = done?;
        // The next one runs in the new application.
        drop(hold);
        self.stats.upgrades.one();
        // Before that, whoever brings the context into memory would find the old one.
        let shown = self.commits.until_shown(number).await;
        shown.ok_or_else(|| CallError::bug("a change was forgotten"))?;
        self.upgraded(id, &planned)
    }

    /// Runs the hooks of a context that is held, and makes durable what they have done together
    /// with what the context runs. Gives the number of the change that does.
    async fn upgrade_held(
        &self,
        context: &Rc<Context>,
        planned: &Plan,
        module: Arc<Module>,
        upgrade: &NewCode,
        time: Duration,
    ) -> Result<u64, CallError> {
        let hlc = self.clock.tick();
        let deadline = Instant::now() + time;
        let mut made = Made::default();
        for (hook, module) in &planned.hooks {
            let turn = HookTurn {
                hook: *hook,
                module: module.clone(),
                state: made.view.take(),
                hlc,
            };
            let ran = self.run_hook(context, turn, &upgrade.caller, deadline, &mut made);
            if let Err(error) = ran.await {
                self.keep_logs(context, made.logs, false);
                return Err(match error {
                    CallError::Guest { failure, said } if is_its_own(&failure) => CallError::Hook {
                        hook: hook.name(),
                        failure,
                        said,
                    },
                    error => error,
                });
            }
        }
        let code = Code {
            application: upgrade.application,
            reuse: self.directory.reuse(upgrade.application),
            module,
        };
        let logs = std::mem::take(&mut made.logs);
        let written = self.commit_upgrade(context, code, made, hlc).await;
        self.keep_logs(context, logs, written.is_ok());
        written
    }

    fn upgraded(&self, id: ContextId, planned: &Plan) -> Result<Upgraded, CallError> {
        Ok(Upgraded {
            context: self.show_here(id)?,
            before: planned.before,
            schema_versions: planned.schema_versions,
        })
    }

    /// That a context which was waited for is still there.
    fn check_there(&self, context: &Context) -> Result<(), CallError> {
        self.check_service(context.id)?;
        match context.deleted.get() {
            false => Ok(()),
            true => Err(CallError::ContextNotFound {
                context: context.id.to_string(),
            }),
        }
    }

    /// Runs a hook in slices, as any turn, on a context that is held.
    async fn run_hook(
        &self,
        context: &Rc<Context>,
        turn: HookTurn,
        caller: &Arc<str>,
        deadline: Instant,
        made: &mut Made,
    ) -> Result<(), CallError> {
        let (promise, answer) = promise();
        let begin = Begin {
            what: What::Hook(Box::new(turn)),
            row: Row::NONE,
            args: Bytes::new(),
            caller: Arc::clone(caller),
            deadline,
            upgrades: context.upgrades.get(),
            keyed: None,
            asked: None,
            promise: Some(promise),
        };
        self.schedule.enqueue_held(context, begin);
        let end = answer.await;
        let Executed { durable, .. } =
            end.ok_or_else(|| CallError::bug("a hook was forgotten"))??;
        let Durable::Hook(hook) = durable else {
            return Err(CallError::bug("a hook ended as a call"));
        };
        let MadeByHook { state, events, log } = *hook;
        let view = state.into_any().downcast::<View>();
        made.view = Some(view.map_err(|_| CallError::bug("a hook ended with a foreign state"))?);
        made.events.extend(events);
        made.logs.extend(log);
        Ok(())
    }

    /// Makes durable what the hooks have done and what the context runs, in one. Gives the
    /// change's number.
    async fn commit_upgrade(
        &self,
        context: &Rc<Context>,
        code: Code,
        made: Made,
        hlc: Hlc,
    ) -> Result<u64, CallError> {
        self.check_there(context)?;
        let written = made.view.map(|view| view.into_written(hlc)).transpose();
        let written = written.map_err(|error| CallError::bug(error.to_string()))?;
        let Written {
            ops,
            shown,
            edited,
            holds,
        } = written.unwrap_or_default();
        let events = made.events.into_iter().map(|event| Event {
            kind: event.kind,
            payload: Bytes::from(event.payload),
        });
        let call = CallEffects {
            ops,
            events: events.collect(),
            ..self.no_effects(context, hlc)
        };
        let agenda = Agenda::of(&call);
        let change = Change::Upgrade(Upgrade {
            application: code.application,
            call,
        });
        let bytes = change.bytes();
        let number = self.commits.next_number();
        let receipt = self
            .commits
            .submit(change, bytes, Some((context, shown, None)))?;
        self.commits.hold(holds);
        self.commits.install(code);
        context.changes.set(context.changes.get() + 1);
        self.note_agenda(context.id, agenda);
        edited.keep(&self.sequences);
        let receipt = receipt.await;
        receipt.ok_or_else(|| CallError::bug("a change was forgotten"))??;
        Ok(number)
    }

    fn keep_logs(&self, context: &Context, logs: Vec<TurnLog>, succeeded: bool) {
        for log in logs {
            let log = if succeeded { log } else { log.lost() };
            self.guest_logs.take(context, Some(log));
        }
    }

    /// Looks up anew what a call runs that has waited while its context got another application.
    /// It keeps its place, unless it is a query there and was none here, or the other way round:
    /// then it waits among those once more. Gives the step that it comes to if it does not begin
    /// now.
    pub(crate) fn admit_anew(
        &self,
        context: &Rc<Context>,
        mut begin: Begin,
    ) -> Result<Begin, Box<Step>> {
        begin.upgrades = context.upgrades.get();
        // It is no fault of its own that it has waited for so long.
        let time = Duration::from_millis(self.host.limits().call_time_max);
        begin.deadline = begin.deadline.max(Instant::now() + time);
        let (name, was) = match &begin.what {
            What::Query(name) => (name, MethodKind::Query),
            What::Update(name) => (name, MethodKind::Update),
            What::Sent(call) => (&call.method, MethodKind::Update),
            What::Init
            | What::Timer(_)
            | What::Stop
            | What::Callback(_)
            | What::Heard(_)
            | What::Hook(_) => {
                return Ok(begin);
            }
        };
        let (row, found) = self.method_of(context, name.as_bytes());
        begin.row = row;
        let found = found.ok_or_else(|| unknown_method(context, name.as_bytes()));
        let method = name.to_string();
        let found = found.and_then(|(name, is)| match (was, is) {
            // Nobody asks for an update, nor for what is none any more.
            (MethodKind::Query, MethodKind::Update) if begin.asked.is_some() => {
                Err(CallError::MethodNotFound {
                    method,
                    application: context.code().application,
                })
            }
            (MethodKind::Update, MethodKind::Query) if begin.keyed.is_some() => {
                Err(CallError::KeyOnQuery { method })
            }
            // Nor do contexts send calls to queries.
            (MethodKind::Update, MethodKind::Query) if matches!(begin.what, What::Sent(_)) => {
                Err(CallError::MethodNotFound {
                    method,
                    application: context.code().application,
                })
            }
            found => Ok((name, found)),
        });
        let (name, found) = match found {
            Ok(found) => found,
            Err(error) => {
                let promise = begin.promise.take();
                let is_exclusive = was == MethodKind::Update;
                let over = self.not_begun(context, is_exclusive, promise, Err(error));
                return Err(Box::new(over));
            }
        };
        match found {
            (MethodKind::Query, MethodKind::Query) => {
                begin.what = What::Query(name);
                return Ok(begin);
            }
            (MethodKind::Update, MethodKind::Update) => {
                match &mut begin.what {
                    What::Sent(call) => call.method = name,
                    what => *what = What::Update(name),
                }
                return Ok(begin);
            }
            (MethodKind::Query, MethodKind::Update) => {
                begin.what = What::Update(name);
                // It has not been among them. Those that have are not looked at anew.
                if begin.is_to_be_inspected(context) {
                    self.schedule.enqueue_uninspected(context, begin);
                    return Err(Box::new(Step::Delivered));
                }
            }
            (MethodKind::Update, MethodKind::Query) => {
                begin.what = What::Query(name);
                self.schedule.update_ended(context);
            }
        }
        self.schedule.enqueue(context, begin);
        Err(Box::new(Step::Delivered))
    }
}

/// What is to be done to have a context run this.
fn plan(context: &Context, module: &Arc<Module>, upgrade: &NewCode) -> Result<Plan, CallError> {
    let code = context.code();
    let before = code.application;
    let from = code.module.description().schema_version();
    let to = module.description().schema_version();
    let migrate = Hook::Migrate { from };
    let is_migrated = from < to && module.has_hook(migrate);
    if from != to && !is_migrated {
        return Err(CallError::NotUpgradable { from, to });
    }
    let new = || Some(Arc::clone(module));
    let mut hooks = Vec::new();
    if code.module.has_hook(Hook::BeforeUpgrade) && !upgrade.skips_before_upgrade {
        hooks.push((Hook::BeforeUpgrade, None));
    }
    if is_migrated {
        hooks.push((migrate, new()));
    }
    if module.has_hook(Hook::AfterUpgrade) {
        hooks.push((Hook::AfterUpgrade, new()));
    }
    Ok(Plan {
        before,
        hooks,
        schema_versions: (from, to),
    })
}

/// Whether a hook has failed by itself, by the clock or on somebody's word, and not for want of
/// something.
fn is_its_own(failure: &Failure) -> bool {
    is_the_guest_s(failure) || matches!(failure, Failure::TimedOut { .. } | Failure::Cancelled)
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::fixture::{self, Bench, Disk};
    use crate::message::{Call, DirectoryChange, Reply};
    use crate::sends::{SentCall, SentNumber};

    fn application(n: u8) -> ApplicationId {
        ApplicationId::from_bytes([n; 32])
    }

    /// With two applications, of which the context has the first.
    fn bench() -> Bench {
        let disk = Disk::new();
        disk.create(1);
        let bench = Bench::new(disk);
        let directory = &bench.shard.directory;
        let first = directory.application(&application(1)).unwrap();
        let mut second = first.as_ref().clone();
        second.id = application(2);
        directory.learn(DirectoryChange::PutApplication(Arc::new(second)));
        let module = directory.module(&application(1)).unwrap();
        directory.keep_module(application(2), module);
        bench
    }

    async fn upgrade(bench: &Bench) -> Result<Upgraded, CallError> {
        let upgrade = NewCode {
            application: application(2),
            skips_before_upgrade: false,
            caller: Arc::from("caller"),
        };
        bench.shard.upgrade_here(fixture::id(1), upgrade).await
    }

    async fn keep(bench: &Bench) -> Result<Reply, CallError> {
        let call = Call {
            method: Bytes::from_static(b"keep"),
            args: Bytes::from_static(b"{}"),
            caller: Arc::from("caller"),
            key: None,
        };
        bench.shard.call_here(fixture::id(1), call).await
    }

    fn runs(bench: &Bench) -> ApplicationId {
        bench.shard.show_here(fixture::id(1)).unwrap().application
    }

    /// Whoever looks sees the old one until it is durable, and keeps it if that fails; updates wait
    /// for it.
    #[test]
    fn a_context_runs_the_new_one_from_when_that_is_durable() {
        for is_lost in [true, false] {
            let bench = bench();
            let mut before = Box::pin(keep(&bench));
            assert!(block_on(poll_once(&mut before)).is_none());
            let mut upgrading = Box::pin(upgrade(&bench));
            assert!(block_on(poll_once(&mut upgrading)).is_none());
            assert_eq!(bench.queue.len(), 1, "it waits for what it would see");
            bench.commit();
            assert!(block_on(poll_once(&mut before)).is_some());
            assert!(block_on(poll_once(&mut upgrading)).is_none());
            assert_eq!(bench.queue.len(), 1);
            let mut behind = Box::pin(keep(&bench));
            assert!(block_on(poll_once(&mut behind)).is_none());
            assert_eq!((runs(&bench), bench.queue.len()), (application(1), 1));
            let found = |n| block_on(bench.shard.find_user_here(application(n))).unwrap();
            assert_eq!([found(1), found(2)], [Some(fixture::id(1)); 2]);
            if is_lost {
                bench.fail();
                let end = block_on(poll_once(&mut upgrading)).expect("it has failed");
                assert!(matches!(end, Err(CallError::Store(_))), "{end:?}");
                assert_eq!((runs(&bench), found(2)), (application(1), None));
            } else {
                bench.commit();
                // Before the snapshot shows it.
                assert!(block_on(poll_once(&mut upgrading)).is_none());
                assert_eq!(runs(&bench), application(2));
                assert!(!bench.shard.forget_one(), "the snapshot has the old one");
            }
            // It has waited in its place, and goes on.
            bench.shard.run_stretch();
            assert!(block_on(poll_once(&mut behind)).is_none());
            assert_eq!(bench.queue.len(), 1);
            bench.commit();
            let end = block_on(poll_once(&mut behind)).expect("it has ended");
            assert!(end.is_ok(), "{end:?}");
            drop(behind);
            bench.checkpoint();
            if !is_lost {
                let end = block_on(poll_once(&mut upgrading)).expect("it has ended");
                let upgraded = end.unwrap();
                assert_eq!(upgraded.before, application(1));
                assert_eq!(upgraded.context.version, 3, "two updates and itself");
                assert_eq!(found(1), None);
            }
            drop(upgrading);
            drop(before);
            let expected = if is_lost { 1 } else { 2 };
            assert!(bench.shard.forget_one());
            let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
            assert_eq!(context.code().application, application(expected));
        }
    }

    /// As calls of clients do.
    #[test]
    fn a_call_of_another_context_that_has_waited_runs_in_the_new_one() {
        let bench = bench();
        let mut upgrading = Box::pin(upgrade(&bench));
        assert!(block_on(poll_once(&mut upgrading)).is_none());
        let call = SentCall {
            from: fixture::id(9),
            number: SentNumber { stamp: 5, place: 0 },
            method: "keep".to_owned(),
            args: Bytes::from_static(b"{}"),
            depth: 1,
            has_callback: true,
        };
        let mut sent = Box::pin(bench.shard.take_here(fixture::id(1), call));
        assert!(block_on(poll_once(&mut sent)).is_none());
        while runs(&bench) == application(1) {
            bench.commit();
            assert!(block_on(poll_once(&mut upgrading)).is_none());
        }
        assert!(bench.queue.is_empty(), "it has waited");
        bench.shard.run_stretch();
        assert!(block_on(poll_once(&mut sent)).is_none());
        assert_eq!(bench.queue.len(), 1);
        bench.commit();
        let end = block_on(poll_once(&mut sent)).expect("it has ended");
        assert!(end.unwrap().is_done());
    }

    #[test]
    fn nothing_is_left_of_an_upgrade_to_what_is_there() {
        let bench = bench();
        let upgrade = NewCode {
            application: application(1),
            skips_before_upgrade: false,
            caller: Arc::from("caller"),
        };
        let end = block_on(bench.shard.upgrade_here(fixture::id(1), upgrade));
        assert_eq!(end.unwrap().before, application(1));
        assert!(bench.queue.is_empty());
        assert!(bench.shard.creating.borrow().is_empty());
        let context = bench.shard.live(fixture::id(1)).unwrap();
        assert!(!context.updating.get());
    }
}
