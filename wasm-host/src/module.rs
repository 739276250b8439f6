//! A loaded application: compiled, linked, and described. How it gets here is
//! `host.rs`; what runs in it is `instance.rs`. Shared by all threads.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use crate::description::Description;
use crate::host::Shared;
use crate::host_context::HostContext;
use crate::instance::{Instance, InstantiateError};
use crate::turn::Hook;

/// The blake3 digest of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId([u8; 32]);

impl ModuleId {
    /// The id of the component in `wasm`.
    pub fn of(wasm: &[u8]) -> ModuleId {
        ModuleId(*blake3::hash(wasm).as_bytes())
    }

    /// An id that was stored as bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> ModuleId {
        ModuleId(bytes)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Hexadecimal, as `b3sum` prints it.
impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModuleId({self})")
    }
}

/// A compiled application, ready to make instances.
pub struct Module {
    pub(crate) id: ModuleId,
    pub(crate) wasm_bytes: u64,
    pub(crate) description: Description,
    pub(crate) linked: Linked,
}

/// The part of a module that exists before it has described itself.
pub(crate) struct Linked {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pre: InstancePre<HostContext>,
    pub(crate) exports: Exports,
}

/// Where the world's exports are, looked up once. Their types are checked
/// then, so that instances need not.
pub(crate) struct Exports {
    pub(crate) describe: ComponentExportIndex,
    pub(crate) init: ComponentExportIndex,
    pub(crate) call: ComponentExportIndex,
    /// None if the application has no handlers.
    pub(crate) handle: Option<ComponentExportIndex>,
    /// None if it does not look at updates before they are queued.
    pub(crate) inspect: Option<ComponentExportIndex>,
    pub(crate) hooks: HookExports,
}

/// Where its hooks are, as far as it has any.
#[derive(Default)]
pub(crate) struct HookExports {
    pub(crate) schema_version: Option<ComponentExportIndex>,
    pub(crate) migrate: Option<ComponentExportIndex>,
    pub(crate) before_upgrade: Option<ComponentExportIndex>,
    pub(crate) after_upgrade: Option<ComponentExportIndex>,
    pub(crate) stop: Option<ComponentExportIndex>,
    pub(crate) low_memory: Option<ComponentExportIndex>,
}

impl HookExports {
    pub(crate) fn of(&self, hook: Hook) -> Option<ComponentExportIndex> {
        match hook {
            Hook::Migrate { .. } => self.migrate,
            Hook::BeforeUpgrade => self.before_upgrade,
            Hook::AfterUpgrade => self.after_upgrade,
            Hook::Stop => self.stop,
            Hook::LowMemory => self.low_memory,
        }
    }
}

impl Module {
    /// The component's id.
    pub fn id(&self) -> ModuleId {
        self.id
    }

    /// Bytes of the component.
    pub fn wasm_bytes(&self) -> u64 {
        self.wasm_bytes
    }

    /// What the application says it is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether it has handlers, which [`Entry::Handle`](crate::Entry::Handle) runs.
    pub fn has_handlers(&self) -> bool {
        self.linked.exports.handle.is_some()
    }

    /// Whether it looks at updates before they are queued, which
    /// [`Entry::Inspect`](crate::Entry::Inspect) has it do.
    pub fn inspects(&self) -> bool {
        self.linked.exports.inspect.is_some()
    }

    /// Whether it wants to be told so, which [`Entry::Hook`](crate::Entry::Hook) does.
    pub fn has_hook(&self, hook: Hook) -> bool {
        self.linked.exports.hooks.of(hook).is_some()
    }

    /// Bytes of machine code and data that the module holds in memory.
    pub fn compiled_bytes(&self) -> u64 {
        let range = self.component().image_range();
        range.end.addr().saturating_sub(range.start.addr()) as u64
    }

    /// Makes an instance with a memory of its own. It belongs to the thread
    /// that made it, and to the one context that it will serve.
    pub fn instantiate(self: &Arc<Module>) -> Result<Instance, InstantiateError> {
        Instance::new(self)
    }

    fn component(&self) -> &Component {
        self.linked.pre.component()
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("id", &self.id)
            .field("name", &self.description.name())
            .finish_non_exhaustive()
    }
}
