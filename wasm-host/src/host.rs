//! The host: from bytes to a [`Module`], once per content.
//!
//! One per process, shared by all threads. The steps of [`Host::load`] in
//! order: what is loaded already, what was refused already, shape, disk cache,
//! compiler, world, description. Loading blocks, for seconds in the worst
//! case: it belongs on a compile thread, never on a shard.

#![expect(
    clippy::disallowed_types,
    reason = "shared by compile threads; no shard loads"
)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use crate::compile::{CompileIn, Compiler, NotCompiled};
use crate::compile_cache::{CompileCache, Found};
use crate::description::Description;
use crate::engine;
use crate::failure::{Failure, capped};
use crate::functions;
use crate::host_context::HostContext;
use crate::instance::{DescribeError, InstantiateError, describe};
use crate::limits::Limits;
use crate::module::{Exports, HookExports, Linked, Module, ModuleId};
use crate::refused::{Refused, Remembered};
use crate::shape;
use crate::slot::Leaving;
use crate::stats::{CompileOutcome, HostStats, Stats, count};
use crate::world;

/// How a host is set up.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// All bounds on guests.
    pub limits: Limits,
    /// Where components are compiled. Strangers' belong into a process of its own.
    pub compile_in: CompileIn,
    /// Where compiled modules are kept between runs; none keeps nothing.
    pub cache_dir: Option<PathBuf>,
    /// Authenticates the files in `cache_dir`. A secret of this node.
    pub cache_key: [u8; 32],
    /// Instances, warm and running, of the whole process.
    pub instances_max: u32,
    /// Their linear memory together, as far as it has grown.
    pub instances_bytes_max: u64,
    /// Free slots whose memory image is kept for the module that used them
    /// last, so that its next instance needs no new mapping.
    pub warm_slots_max: u32,
    /// Bytes of a freed memory that are cleared instead of returned to the
    /// system: reuse then needs no page faults.
    pub memory_keep_resident_bytes: usize,
    /// The same for tables.
    pub table_keep_resident_bytes: usize,
}

impl HostConfig {
    /// Defaults for everything but the number of instances; no disk cache, and
    /// no process for compiling.
    pub fn new(instances_max: u32) -> HostConfig {
        HostConfig {
            limits: Limits::default(),
            compile_in: CompileIn::ThisProcess,
            cache_dir: None,
            cache_key: [0; 32],
            instances_max,
            instances_bytes_max: u64::MAX,
            warm_slots_max: 100,
            memory_keep_resident_bytes: 1 << 20,
            table_keep_resident_bytes: 64 << 10,
        }
    }
}

/// Why there is no host: the operator's to repair.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Two limits contradict each other, or one is out of range.
    #[error("the limits cannot be used: {0}")]
    Limits(String),
    /// The engine refuses the configuration, or the address space is too small.
    #[error("the WebAssembly engine cannot be set up: {0}")]
    Engine(String),
    /// The system gives nothing to wait with.
    #[error("compiling cannot be set up")]
    Compiler(#[source] std::io::Error),
    /// The directory for compiled modules cannot be used.
    #[error("the directory for compiled modules {dir} cannot be used: {source}", dir = dir.display())]
    CacheDir {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where a module came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadSource {
    /// It was loaded already.
    Memory,
    /// A verified file in the cache.
    Disk,
    /// The compiler.
    Compiler,
}

/// A loaded module, and what it took.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// The module.
    pub module: Arc<Module>,
    /// Where it came from.
    pub source: LoadSource,
    /// All of the time that loading took.
    pub took: Duration,
}

/// One per process: engine, linker, compiler, compile cache.
pub struct Host {
    shared: Arc<Shared>,
    linker: Linker<HostContext>,
    compiler: Compiler,
    cache: Option<CompileCache>,
    loads: Mutex<Loads>,
    load_ended: Condvar,
}

/// What modules and instances keep of their host.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) limits: Arc<Limits>,
    pub(crate) instances_max: u32,
    pub(crate) instances_bytes_max: u64,
    pub(crate) stats: Stats,
    pub(crate) describing: Mutex<()>,
    pub(crate) leaving: Leaving,
}

#[derive(Default)]
struct Loads {
    /// Modules that someone still holds.
    loaded: HashMap<ModuleId, Weak<Module>>,
    /// Being loaded by some thread right now.
    busy: HashSet<ModuleId>,
    /// With the moment from which it is worth another look, if there is one.
    refused: HashMap<ModuleId, (Refused, Option<Instant>)>,
    /// Keys of `refused`, the oldest first.
    refused_order: VecDeque<ModuleId>,
}

impl Host {
    /// Sets up the engine and the pool of instances.
    pub fn new(config: HostConfig) -> Result<Host, HostError> {
        config.limits.check().map_err(HostError::Limits)?;
        let engine = engine::new_engine(&config).map_err(HostError::Engine)?;
        let mut linker = Linker::new(&engine);
        functions::add_to(&mut linker).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let compiler = Compiler::new(config.compile_in, &config.limits, &engine)
            .map_err(HostError::Compiler)?;
        let cache = match &config.cache_dir {
            None => None,
            Some(dir) => {
                let opened = CompileCache::open(dir, config.cache_key, &engine, &config.limits);
                let failed = |source| HostError::CacheDir {
                    dir: dir.clone(),
                    source,
                };
                Some(opened.map_err(failed)?)
            }
        };
        Ok(Host {
            shared: Arc::new(Shared {
                engine,
                limits: Arc::new(config.limits),
                instances_max: config.instances_max,
                instances_bytes_max: config.instances_bytes_max,
                stats: Stats::default(),
                describing: Mutex::new(()),
                leaving: Leaving::start(),
            }),
            linker,
            compiler,
            cache,
            loads: Mutex::default(),
            load_ended: Condvar::new(),
        })
    }

    /// The bounds that it was set up with.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// What it has done so far.
    pub fn stats(&self) -> HostStats {
        self.shared.stats.read()
    }

    /// From now on nothing is compiled: whoever waits for it, or comes later,
    /// gets [`NotCompiled::Stopped`]. Has no effect on a compilation in this
    /// process.
    pub fn stop_compiling(&self) {
        self.compiler.stop();
    }

    /// Turns a component into a module. Blocks, for seconds if it has to be
    /// compiled. The same content is compiled once, however many ask for it,
    /// and refused from memory after it was refused once, unless the moment was
    /// at fault.
    pub fn load(&self, wasm: &[u8]) -> Result<Arc<Module>, Refused> {
        self.load_with_report(wasm).map(|report| report.module)
    }

    /// The same, and tells what it took.
    pub fn load_with_report(&self, wasm: &[u8]) -> Result<LoadReport, Refused> {
        let began = Instant::now();
        let id = self.id_of(wasm)?;
        loop {
            if let Some((module, source)) = self.load_unless_busy(id, wasm)? {
                let took = began.elapsed();
                return Ok(LoadReport {
                    module,
                    source,
                    took,
                });
            }
            self.wait_while_busy(id);
        }
    }

    /// As [`Host::load`], for who must not wait for another thread that loads the
    /// same content: nothing, if there is one.
    pub fn try_load(&self, wasm: &[u8]) -> Result<Option<Arc<Module>>, Refused> {
        let loaded = self.load_unless_busy(self.id_of(wasm)?, wasm)?;
        Ok(loaded.map(|(module, _)| module))
    }

    /// Whether some thread loads this content right now.
    pub fn is_loading(&self, id: ModuleId) -> bool {
        self.lock_loads().busy.contains(&id)
    }

    fn id_of(&self, wasm: &[u8]) -> Result<ModuleId, Refused> {
        // Before anything is done to them: it may be far too many.
        let (used, max) = (wasm.len() as u64, self.shared.limits.module_bytes_max);
        if used > max {
            return Err(Refused::Limit {
                limit: "module_bytes_max",
                used,
                max,
            });
        }
        Ok(ModuleId::of(wasm))
    }

    /// The module, unless another thread is about to know more.
    fn load_unless_busy(
        &self,
        id: ModuleId,
        wasm: &[u8],
    ) -> Result<Option<(Arc<Module>, LoadSource)>, Refused> {
        let _busy = match self.begin_load(id)? {
            Begun::Loaded(module) => return Ok(Some((module, LoadSource::Memory))),
            Begun::Elsewhere => return Ok(None),
            Begun::Mine(busy) => busy,
        };
        let loaded = self.load_new(id, wasm);
        let mut loads = self.lock_loads();
        match loaded {
            Ok((module, source)) => {
                loads.loaded.retain(|_, module| module.strong_count() > 0);
                loads.loaded.insert(id, Arc::downgrade(&module));
                Ok(Some((module, source)))
            }
            Err(refused) => {
                count(&self.shared.stats.refusals);
                let kept_max = self.shared.limits.refusals_kept_max;
                match refused.remembered() {
                    Remembered::Always => loads.remember(id, refused.clone(), None, kept_max),
                    Remembered::For(time) => {
                        let until = Instant::now() + time;
                        loads.remember(id, refused.clone(), Some(until), kept_max);
                    }
                    Remembered::Not => {}
                }
                Err(refused)
            }
        }
    }

    /// What is known of this content; what nobody knows or loads is ours to load.
    fn begin_load(&self, id: ModuleId) -> Result<Begun<'_>, Refused> {
        let mut loads = self.lock_loads();
        if let Some(module) = loads.loaded.get(&id).and_then(Weak::upgrade) {
            return Ok(Begun::Loaded(module));
        }
        if let Some((refused, until)) = loads.refused.get(&id)
            && until.is_none_or(|until| Instant::now() < until)
        {
            count(&self.shared.stats.refusals_remembered);
            return Err(refused.clone());
        }
        if loads.busy.insert(id) {
            Ok(Begun::Mine(Busy { host: self, id }))
        } else {
            Ok(Begun::Elsewhere)
        }
    }

    fn wait_while_busy(&self, id: ModuleId) {
        let loads = self.lock_loads();
        let waited = self
            .load_ended
            .wait_while(loads, |loads| loads.busy.contains(&id));
        drop(waited.unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    fn lock_loads(&self) -> MutexGuard<'_, Loads> {
        // A panic while it is locked leaves maps that are still maps.
        self.loads
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn load_new(&self, id: ModuleId, wasm: &[u8]) -> Result<(Arc<Module>, LoadSource), Refused> {
        let (component, source) = match self.look_on_disk(id) {
            Some(component) => (component, LoadSource::Disk),
            None => {
                let code_bytes = shape::check(wasm, &self.shared.limits)?;
                (self.compile(id, wasm, code_bytes)?, LoadSource::Compiler)
            }
        };
        let linked = self.link(component)?;
        let description = self.describe(&linked)?;
        Ok((
            Arc::new(Module {
                id,
                wasm_bytes: wasm.len() as u64,
                description,
                linked,
            }),
            source,
        ))
    }

    fn look_on_disk(&self, id: ModuleId) -> Option<Component> {
        let stats = &self.shared.stats;
        let code = match self.cache.as_ref()?.find(id) {
            Found::Verified(code) => code,
            Found::Missing => {
                count(&stats.cache_misses);
                return None;
            }
            Found::Rejected(why) => {
                count(&stats.cache_rejects);
                tracing::warn!(module = %id, why, "a compiled module on disk was not used");
                return None;
            }
        };
        // SAFETY: the bytes were made by `compile` below with the same engine
        // (its settings are part of what was verified), and a digest keyed
        // with a secret of this node says that nobody has changed them since.
        // They were read into our own memory before they were verified.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(&self.shared.engine, code.bytes()) };
        match component {
            Ok(component) => {
                count(&stats.cache_hits);
                Some(component)
            }
            Err(error) => {
                count(&stats.cache_rejects);
                tracing::warn!(module = %id, "a compiled module on disk was not used: {error:#}");
                None
            }
        }
    }

    fn compile(&self, id: ModuleId, wasm: &[u8], code_bytes: u64) -> Result<Component, Refused> {
        let stats = &self.shared.stats;
        let began = Instant::now();
        let compiled = self.compiler.compile(&self.shared.engine, wasm, code_bytes);
        let took = began.elapsed();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        stats.count_compilation(CompileOutcome::of(compiled.as_ref().err()), micros);
        let code = match compiled {
            Ok(code) => code,
            // The validator's words come under the name that they always had.
            Err(NotCompiled::Invalid { message }) => return Err(Refused::Invalid { message }),
            Err(why) => {
                tracing::warn!(module = %id, bytes = wasm.len(), micros, "not compiled: {why}");
                return Err(why.into());
            }
        };
        tracing::info!(module = %id, bytes = wasm.len(), micros, "compiled a module");

        if let Some(cache) = &self.cache {
            match cache.store(id, &code) {
                Ok(evicted) => {
                    stats
                        .cache_evictions
                        .fetch_add(evicted, std::sync::atomic::Ordering::Relaxed);
                }
                // Costs time at the next start, and nothing else.
                Err(error) => {
                    count(&stats.cache_write_failures);
                    tracing::warn!(module = %id, "a compiled module was not kept on disk: {error}");
                }
            }
        }
        // SAFETY: the bytes are what the engine's own compiler made a moment
        // ago. Either in this process; or in one that we started from the file
        // that we run ourselves, with the settings of our engine, and that
        // alone held the other end of the pipe, which has no name and no
        // second writer. Its answer was taken only because it names our
        // protocol's version and the digest of our engine (version, settings
        // and features of the processor), is as long as it says, and came from
        // a worker that ended well. What is left is that the compiler was made
        // to lie by what it compiled; then its code could not be trusted in
        // this process either. The engine checks version and settings once
        // more in what it is given here.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(&self.shared.engine, &code) };
        component.map_err(|error| Refused::OurBug {
            what: format!("what was compiled a moment ago cannot be loaded: {error:#}"),
        })
    }

    /// Connects imports with our functions, and checks the exports' types.
    fn link(&self, component: Component) -> Result<Linked, Refused> {
        let pre = self.linker.instantiate_pre(&component).map_err(|error| {
            let why = capped(format!("{error:#}"));
            let name = world::interface_named_in(&why);
            Refused::Import {
                name: name.unwrap_or_else(|| "of another world".to_owned()),
                why,
            }
        })?;
        let engine = &self.shared.engine;
        let ty = component.component_type();
        let instance_type = pre.instance_type();
        let index = |name: &str, check: &dyn Fn(&_) -> wasmtime::Result<()>| {
            let refuse = |why: String| Refused::Export {
                name: name.to_owned(),
                why,
            };
            match ty.get_export(engine, name).map(|export| export.ty) {
                Some(ComponentItem::ComponentFunc(function)) => {
                    check(&function).map_err(|error| refuse(capped(format!("{error:#}"))))?;
                }
                Some(_) => return Err(refuse("it is not a function".to_owned())),
                None => return Err(refuse("it is missing".to_owned())),
            }
            component
                .get_export_index(None, name)
                .ok_or_else(|| refuse("it is missing".to_owned()))
        };
        use wasmtime::component::types::ComponentFunc;
        let optional = |name: &str, check: &dyn Fn(&_) -> wasmtime::Result<()>| match ty
            .get_export(engine, name)
        {
            None => Ok(None),
            Some(_) => index(name, check).map(Some),
        };
        let told = |function: &ComponentFunc| {
            function.typecheck::<(), (world::HookResult,)>(&instance_type)
        };
        let exports = Exports {
            describe: index(world::DESCRIBE, &|function: &ComponentFunc| {
                function.typecheck::<(), (world::RawDescription,)>(&instance_type)
            })?,
            init: index(world::INIT, &|function: &ComponentFunc| {
                function.typecheck::<(&[u8],), (Result<(), Vec<u8>>,)>(&instance_type)
            })?,
            call: index(world::CALL, &|function: &ComponentFunc| {
                function.typecheck::<(&str, &[u8]), (world::CallResult,)>(&instance_type)
            })?,
            handle: optional(world::HANDLE, &|function: &ComponentFunc| {
                function.typecheck::<(&str, &[u8]), (world::CallResult,)>(&instance_type)
            })?,
            inspect: optional(world::INSPECT, &|function: &ComponentFunc| {
                function.typecheck::<(&str, &[u8]), (world::HookResult,)>(&instance_type)
            })?,
            hooks: HookExports {
                schema_version: optional(world::SCHEMA_VERSION, &|function: &ComponentFunc| {
                    function.typecheck::<(), (u64,)>(&instance_type)
                })?,
                migrate: optional(world::MIGRATE, &|function: &ComponentFunc| {
                    function.typecheck::<(u64,), (world::HookResult,)>(&instance_type)
                })?,
                before_upgrade: optional(world::BEFORE_UPGRADE, &told)?,
                after_upgrade: optional(world::AFTER_UPGRADE, &told)?,
                stop: optional(world::STOP, &told)?,
                low_memory: optional(world::LOW_MEMORY, &told)?,
            },
        };
        if exports.hooks.migrate.is_some() && exports.hooks.schema_version.is_none() {
            // It would never run, and state of the form before would be taken for its own.
            let why = "it is of no use without `schema-version`".to_owned();
            let name = world::MIGRATE.to_owned();
            return Err(Refused::Export { name, why });
        }
        Ok(Linked {
            shared: Arc::clone(&self.shared),
            pre,
            exports,
        })
    }

    fn describe(&self, linked: &Linked) -> Result<Description, Refused> {
        describe(linked).map_err(|error| match error {
            DescribeError::Bad(bad) => Refused::Description(bad),
            DescribeError::Start(InstantiateError::PoolExhausted { max }) => Refused::Busy { max },
            DescribeError::Start(InstantiateError::Start(Failure::OurBug { what }))
            | DescribeError::Failed(Failure::OurBug { what }) => Refused::OurBug { what },
            failed => Refused::Describe {
                why: failed.to_string(),
                limit: match &failed {
                    DescribeError::Start(InstantiateError::Start(failure))
                    | DescribeError::Failed(failure) => failure.limit(),
                    _ => None,
                },
            },
        })
    }
}

/// What [`Host::begin_load`] found.
enum Begun<'a> {
    Loaded(Arc<Module>),
    /// Another thread loads it.
    Elsewhere,
    Mine(Busy<'a>),
}

/// Someone loads this content. Let go on any way out, panics included.
struct Busy<'a> {
    host: &'a Host,
    id: ModuleId,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.host.lock_loads().busy.remove(&self.id);
        self.host.load_ended.notify_all();
    }
}

impl Loads {
    /// Remembers a refusal; the oldest is forgotten when there are too many.
    fn remember(&mut self, id: ModuleId, refused: Refused, until: Option<Instant>, kept_max: u64) {
        if self.refused.insert(id, (refused, until)).is_none() {
            self.refused_order.push_back(id);
        }
        while self.refused_order.len() as u64 > kept_max {
            if let Some(oldest) = self.refused_order.pop_front() {
                self.refused.remove(&oldest);
            }
        }
    }
}
