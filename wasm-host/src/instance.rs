//! One instance of an application: its memory, and the place in the pool that
//! it takes.
//!
//! An instance serves one context on one thread, one turn after another, and
//! is discarded after any failure but the application's own in a turn that had
//! not written. Turns are in `running.rs`.

use std::fmt;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use wasmtime::component::ComponentExportIndex;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::description::{BadDescription, Description};
use crate::failure::{Failure, capped, engine_bug, is_the_guests};
use crate::host::Shared;
use crate::host_context::{HostContext, Phase};
use crate::module::{Linked, Module};
use crate::running::Running;
use crate::slot::Slot;
use crate::stats::count;
use crate::turn::{Hook, Turn};
use crate::world;

/// A running application's memory, between two turns.
pub struct Instance {
    // The order of fields is the order of dropping: the store gives its slots
    // back to the engine before the permit lets the next one in, or is one of the few that
    // the pool has room for beside those with a permit.
    pub(crate) store: Slot,
    pub(crate) init: world::InitFunc,
    pub(crate) call: world::CallFunc,
    /// None if the application has no handlers.
    pub(crate) handle: Option<world::HandleFunc>,
    /// None if the application does not look at updates before they are queued.
    pub(crate) inspect: Option<world::InspectFunc>,
    /// Where hooks are looked up when one runs: that is seldom, and instances are made often.
    exported: wasmtime::component::Instance,
    _permit: Permit,
    pub(crate) module: Arc<Module>,
    /// Not `Send`: the state of a turn never leaves its thread.
    _stays_here: PhantomData<*const ()>,
}

/// Why there is no new instance.
#[derive(Debug, thiserror::Error)]
pub enum InstantiateError {
    /// All instances are in use. Drop a warm one, or refuse the call.
    #[error("all {max} instances are in use (instances_max)")]
    PoolExhausted {
        /// The size of the pool.
        max: u32,
    },
    /// The component's start function failed.
    #[error("the application could not start: {0}")]
    Start(#[source] Failure),
}

impl Instance {
    pub(crate) fn new(module: &Arc<Module>) -> Result<Instance, InstantiateError> {
        let shared = &module.linked.shared;
        let permit = Permit::take(shared, shared.instances_max)?;
        let (mut store, instance) = start(&module.linked, shared.instances_bytes_max)?;

        let exports = &module.linked.exports;
        let init = instance.get_func(&mut store, exports.init);
        let call = instance.get_func(&mut store, exports.call);
        let mut optional = |export: Option<ComponentExportIndex>| match export {
            None => Some(None),
            Some(export) => instance.get_func(&mut store, export).map(Some),
        };
        let (handle, inspect) = (optional(exports.handle), optional(exports.inspect));
        let (Some(init), Some(call), Some(handle), Some(inspect)) = (init, call, handle, inspect)
        else {
            let what = "an export that was found at load is gone".to_owned();
            return Err(InstantiateError::Start(Failure::OurBug { what }));
        };
        // SAFETY: `Host::load` has checked the types of these exports of
        // this component with the same Rust types, and they do not depend on
        // the instance. Checking again would cost about 1 µs per instance.
        #[allow(unsafe_code)]
        let (init, call, handle, inspect) = unsafe {
            (
                world::InitFunc::new_unchecked(init),
                world::CallFunc::new_unchecked(call),
                handle.map(|handle| world::HandleFunc::new_unchecked(handle)),
                inspect.map(|inspect| world::InspectFunc::new_unchecked(inspect)),
            )
        };
        Ok(Instance {
            store: Slot::new(store),
            init,
            call,
            handle,
            inspect,
            exported: instance,
            _permit: permit,
            module: Arc::clone(module),
            _stays_here: PhantomData,
        })
    }

    /// The application that it is an instance of.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Bytes of its linear memory, as far as it has grown: what it may take of the
    /// machine's. Pages that it has not touched yet cost nothing.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().memory_bytes()
    }

    /// Whether its memory has grown beyond [`low_memory_share`](crate::Limits::low_memory_share), and the
    /// guest wants to be told so and has not been since it grew.
    pub fn is_low_on_memory(&self) -> bool {
        self.module.has_hook(Hook::LowMemory) && self.store.data().is_low_on_memory()
    }

    /// Tells the guest; none if it does not want to be told.
    pub(crate) async fn tell(&mut self, hook: Hook) -> Option<wasmtime::Result<world::HookResult>> {
        let Instance {
            store, exported, ..
        } = self;
        let store: &mut Store<HostContext> = store;
        let export = self.module.linked.exports.hooks.of(hook)?;
        let told = match hook {
            Hook::Migrate { from } => {
                match exported.get_typed_func::<(u64,), (world::HookResult,)>(&mut *store, export) {
                    Ok(migrate) => {
                        let migrate: world::MigrateFunc = migrate;
                        migrate.call_async(store, (from,)).await
                    }
                    Err(error) => Err(error),
                }
            }
            Hook::BeforeUpgrade | Hook::AfterUpgrade | Hook::Stop | Hook::LowMemory => {
                match exported.get_typed_func::<(), (world::HookResult,)>(&mut *store, export) {
                    Ok(hook) => {
                        let hook: world::HookFunc = hook;
                        hook.call_async(store, ()).await
                    }
                    Err(error) => Err(error),
                }
            }
        };
        Some(told.map(|(answer,)| answer))
    }

    /// Runs one turn. Nothing happens before the first poll.
    pub fn run(self, turn: Turn) -> Running {
        Running::new(self, turn)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

/// Runs `describe` in an instance of its own.
pub(crate) fn describe(linked: &Linked) -> Result<Description, DescribeError> {
    let shared = &linked.shared;
    // One at a time, in the instance that `instances_max` leaves free for it.
    let _turn = shared
        .describing
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    // And in as much memory as it takes: a full server can still tell.
    let (mut store, instance) = start(linked, u64::MAX)?;
    let max = shared.limits.describe_fuel_max;
    let context = store.data_mut();
    context.phase = Phase::Describing;
    context.facts.fuel_max = max;
    context.facts.fuel_limit = "describe_fuel_max";
    store.set_fuel(max).map_err(engine_bug)?;

    let describe: world::DescribeFunc = instance
        .get_typed_func(&mut store, linked.exports.describe)
        .map_err(engine_bug)?;
    let answer = at_once(describe.call_async(&mut store, ()));
    let (raw,) = answer.map_err(|error| failure_of(&mut store, error))?;
    // In the same instance and of the same fuel: it is asked with every description, and costs
    // next to nothing.
    let schema_version = match linked.exports.hooks.schema_version {
        None => 0,
        Some(export) => {
            let function: world::SchemaVersionFunc = instance
                .get_typed_func(&mut store, export)
                .map_err(engine_bug)?;
            let answer = at_once(function.call_async(&mut store, ()));
            let (version,) = answer.map_err(|error| failure_of(&mut store, error))?;
            version
        }
    };
    Ok(Description::check(raw, schema_version, &shared.limits)?)
}

/// Runs a guest to its end, where nobody waits whose turn it could be.
fn at_once<T>(running: impl Future<Output = T>) -> T {
    let mut running = pin!(running);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = running.as_mut().poll(&mut cx) {
            break result;
        }
    }
}

/// Why there is no description.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeError {
    #[error(transparent)]
    Start(#[from] InstantiateError),
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error(transparent)]
    Bad(#[from] BadDescription),
}

/// A store with the component in it, its start functions run, limits set. Its
/// memory grows while that of all instances is at most `all_bytes_max`.
fn start(
    linked: &Linked,
    all_bytes_max: u64,
) -> Result<(Store<HostContext>, wasmtime::component::Instance), InstantiateError> {
    let shared = &linked.shared;
    let limits = &shared.limits;
    let context = HostContext::new(shared, Phase::Starting, all_bytes_max);
    let mut store = Store::new(&shared.engine, context);
    store.limiter_async(|context| context);
    store.set_hostcall_fuel(limits.transfer_bytes_max as usize);
    let fuel = limits.start_fuel_max;
    store.data_mut().facts.fuel_max = fuel;
    let bug = |error| InstantiateError::Start(engine_bug(error));
    store.set_fuel(fuel).map_err(bug)?;

    let result = {
        // No slices yet: a start function has little fuel, and is stopped
        // instead of parked. So one poll is all it takes.
        let mut starting = pin!(linked.pre.instantiate_async(&mut store));
        match starting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(result) => result,
            Poll::Pending => {
                let what = "a start function was parked".to_owned();
                return Err(InstantiateError::Start(Failure::OurBug { what }));
            }
        }
    };
    let instance = match result {
        Ok(instance) => instance,
        Err(error) if error.is::<PoolConcurrencyLimitError>() => {
            count(&shared.stats.pool_exhausted);
            return Err(InstantiateError::PoolExhausted {
                max: shared.instances_max,
            });
        }
        Err(error) => return Err(InstantiateError::Start(failure_of(&mut store, error))),
    };
    store.data_mut().phase = Phase::Idle;
    store
        .fuel_async_yield_interval(Some(limits.slice_fuel))
        .map_err(bug)?;
    count(&shared.stats.instantiations);
    Ok((store, instance))
}

/// What the engine's error means.
pub(crate) fn failure_of(store: &mut Store<HostContext>, error: wasmtime::Error) -> Failure {
    let context = store.data_mut();
    if let Some(failure) = context.take_failure() {
        return failure;
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        let message = format!("{error:#}");
        if message.contains("fuel allocated for hostcalls has been exhausted") {
            // The engine has a type for this, and keeps it to itself.
            let max = context.limits.transfer_bytes_max;
            return Failure::LimitExceeded {
                limit: "transfer_bytes_max",
                used: max + 1,
                max,
            };
        }
        return match is_the_guests(&error) {
            true => Failure::InvalidOutput {
                message: capped(message),
            },
            // Such as a memory that the system does not map, or a full pool.
            false => engine_bug(error),
        };
    };
    context.has_lost_count = !matches!(trap, Trap::OutOfFuel | Trap::UnreachableCodeReached);
    match trap {
        Trap::OutOfFuel => context.facts.out_of_fuel(),
        Trap::StackOverflow => Failure::StackOverflow {
            max: context.limits.stack_bytes_max,
        },
        Trap::UnreachableCodeReached if context.memory_refused_at().is_some() => {
            Failure::OutOfMemory {
                max: context.memory_refused_at().unwrap_or_default(),
            }
        }
        trap => Failure::Trapped {
            message: capped(trap.to_string()),
        },
    }
}

/// A place among `instances_max`. The gauge that tests and metrics read.
struct Permit(Arc<Shared>);

impl Permit {
    fn take(shared: &Arc<Shared>, max: u32) -> Result<Permit, InstantiateError> {
        let live = &shared.stats.instances_live;
        let one_more = |live: u64| (live < u64::from(max)).then_some(live + 1);
        match live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Permit(Arc::clone(shared))),
            Err(_) => {
                count(&shared.stats.pool_exhausted);
                Err(InstantiateError::PoolExhausted { max })
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.stats.instances_live.fetch_sub(1, Ordering::Relaxed);
    }
}
