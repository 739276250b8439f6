//! Our WIT world (`sdk/wit/corelet.wit`) as Rust types: names of imports and
//! exports, and the types of the exported functions.
//!
//! Written by hand instead of generated, so that lists can be borrowed and
//! calls go through the shortest path. A test compares it with the WIT file.

use wasmtime::component::{ComponentType, Lift, Lower, TypedFunc, WasmList, WasmStr};

/// The interfaces that a component may import. It may have been built against any version that
/// begins with [`VERSION`]: the linker takes those for the same, and what an earlier one had is
/// in all later ones.
pub(crate) const INTERFACES: [&str; 9] = [
    CONTEXT,
    STORAGE,
    STABLE,
    BLOBS,
    TIMERS,
    CALLS,
    SUBSCRIPTIONS,
    EVENTS,
    LOG,
];
pub(crate) const CONTEXT: &str = "corelet:app/context@0.2.1";
pub(crate) const STORAGE: &str = "corelet:app/storage@0.2.1";
pub(crate) const STABLE: &str = "corelet:app/stable@0.2.1";
pub(crate) const BLOBS: &str = "corelet:app/blobs@0.2.1";
pub(crate) const TIMERS: &str = "corelet:app/timers@0.2.1";
pub(crate) const CALLS: &str = "corelet:app/calls@0.2.1";
pub(crate) const SUBSCRIPTIONS: &str = "corelet:app/subscriptions@0.2.1";
pub(crate) const EVENTS: &str = "corelet:app/events@0.2.1";
pub(crate) const LOG: &str = "corelet:app/log@0.2.1";

/// What the versions have in common that a component may be built against.
const VERSION: &str = "@0.2.";

/// Whether an import of this name is one of our interfaces, in a version that ours fits to.
pub(crate) fn is_interface(import: &str) -> bool {
    let Some((name, patch)) = import.split_once(VERSION) else {
        return false;
    };
    let is_number = !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit());
    is_number && INTERFACES.iter().any(|ours| without_version(ours) == name)
}

/// The interface in a sentence of the engine's, whose name may have any version there.
pub(crate) fn interface_named_in(sentence: &str) -> Option<String> {
    let at = INTERFACES.iter().find_map(|ours| {
        let name = without_version(ours);
        Some((sentence.find(&format!("{name}{VERSION}"))?, name))
    });
    let (at, name) = at?;
    let behind = &sentence[at + name.len() + VERSION.len()..];
    let patch = behind.bytes().take_while(u8::is_ascii_digit).count();
    Some(format!("{name}{VERSION}{}", &behind[..patch]))
}

fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// The functions that a component must export.
pub(crate) const EXPORTS: [&str; 3] = [DESCRIBE, INIT, CALL];
pub(crate) const DESCRIBE: &str = "describe";
pub(crate) const INIT: &str = "init";
pub(crate) const CALL: &str = "call";
/// What a component may export as well.
pub(crate) const HANDLE: &str = "handle";
pub(crate) const SCHEMA_VERSION: &str = "schema-version";
pub(crate) const MIGRATE: &str = "migrate";
pub(crate) const BEFORE_UPGRADE: &str = "before-upgrade";
pub(crate) const AFTER_UPGRADE: &str = "after-upgrade";
pub(crate) const INSPECT: &str = "inspect";
pub(crate) const STOP: &str = "stop";
pub(crate) const LOW_MEMORY: &str = "low-memory";

/// `describe: func() -> description`
pub(crate) type DescribeFunc = TypedFunc<(), (RawDescription,)>;
/// `init: func(args: list<u8>) -> result<_, list<u8>>`
pub(crate) type InitFunc = TypedFunc<(&'static [u8],), (Result<(), Vec<u8>>,)>;
/// `call: func(method: string, args: list<u8>) -> result<list<u8>, list<u8>>`
pub(crate) type CallFunc = TypedFunc<(&'static str, &'static [u8]), (CallResult,)>;
/// `handle: func(handler: string, args: list<u8>) -> result<list<u8>, list<u8>>`
pub(crate) type HandleFunc = CallFunc;
/// `schema-version: func() -> u64`
pub(crate) type SchemaVersionFunc = TypedFunc<(), (u64,)>;
/// `migrate: func(from: u64) -> result<_, list<u8>>`
pub(crate) type MigrateFunc = TypedFunc<(u64,), (HookResult,)>;
/// `inspect: func(method: string, args: list<u8>) -> result<_, list<u8>>`
pub(crate) type InspectFunc = TypedFunc<(&'static str, &'static [u8]), (HookResult,)>;
/// All other hooks: `func() -> result<_, list<u8>>`
pub(crate) type HookFunc = TypedFunc<(), (HookResult,)>;
/// What hooks return.
pub(crate) type HookResult = Result<(), Vec<u8>>;
/// What `call` and `handle` return.
pub(crate) type CallResult = Result<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawDescription {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) methods: Vec<RawMethod>,
    #[component(name = "init-parameters")]
    pub(crate) init_parameters: Vec<RawParameter>,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawMethod {
    pub(crate) name: String,
    pub(crate) kind: RawMethodKind,
    pub(crate) parameters: Vec<RawParameter>,
    pub(crate) returns: String,
    pub(crate) doc: String,
}

#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawParameter {
    pub(crate) name: String,
    #[component(name = "type-name")]
    pub(crate) type_name: String,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(
    dead_code,
    reason = "only ever made by lifting, from the guest's number"
)]
pub(crate) enum RawMethodKind {
    #[component(name = "query")]
    Query,
    #[component(name = "update")]
    Update,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(
    dead_code,
    reason = "only ever made by lifting, from the guest's number"
)]
pub(crate) enum RawLevel {
    #[component(name = "error")]
    Error,
    #[component(name = "warn")]
    Warn,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(
    dead_code,
    reason = "only ever made by lifting, from the guest's number"
)]
pub(crate) enum RawSpace {
    #[component(name = "shared")]
    Shared,
    #[component(name = "owned")]
    Owned,
    #[component(name = "private")]
    Private,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct RawEntry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct RawAttachment {
    pub(crate) blob: String,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct RawTimer {
    pub(crate) name: String,
    pub(crate) handler: String,
    pub(crate) args: Vec<u8>,
    pub(crate) at: u64,
    pub(crate) every: Option<u64>,
    pub(crate) attempts: u32,
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct RawOutOfRange {
    pub(crate) index: u64,
    pub(crate) length: u64,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(variant)]
pub(crate) enum RawQueryError {
    #[component(name = "unknown-context")]
    UnknownContext,
    #[component(name = "unknown-method")]
    UnknownMethod,
    #[component(name = "not-a-query")]
    NotAQuery,
    #[component(name = "application")]
    Application(Vec<u8>),
    #[component(name = "failed")]
    Failed(&'static str),
    #[component(name = "busy")]
    Busy(&'static str),
    #[component(name = "cycle")]
    Cycle,
    #[component(name = "too-deep")]
    TooDeep,
}

/// What is called when a call that was sent has ended, in the guest's memory.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawCallback {
    pub(crate) handler: WasmStr,
    pub(crate) data: WasmList<u8>,
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum RawSendError {
    #[component(name = "unknown-context")]
    UnknownContext,
    #[component(name = "too-many")]
    TooMany,
    #[component(name = "too-deep")]
    TooDeep,
}

#[derive(Debug, Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct RawSubscription {
    pub(crate) context: Vec<u8>,
    pub(crate) handler: String,
    pub(crate) kind: Option<String>,
    pub(crate) after: Option<u64>,
    pub(crate) attempts: u32,
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum RawSubscribeError {
    #[component(name = "unknown-context")]
    UnknownContext,
    #[component(name = "too-many")]
    TooMany,
}

impl RawDescription {
    /// All text together.
    pub(crate) fn text_bytes(&self) -> usize {
        let parameters = |list: &[RawParameter]| -> usize {
            list.iter()
                .map(|parameter| parameter.name.len() + parameter.type_name.len())
                .sum()
        };
        let methods: usize = self
            .methods
            .iter()
            .map(|method| {
                let own = method.name.len() + method.returns.len() + method.doc.len();
                own + parameters(&method.parameters)
            })
            .sum();
        self.name.len() + self.version.len() + methods + parameters(&self.init_parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_may_be_of_any_version_that_ours_fits_to() {
        for (import, expected) in [
            ("corelet:app/context@0.2.0", true),
            (CONTEXT, true),
            (TIMERS, true),
            (CALLS, true),
            (SUBSCRIPTIONS, true),
            ("corelet:app/log@0.2.17", true),
            ("corelet:app/context@0.3.0", false),
            ("corelet:app/context@0.2.", false),
            ("corelet:app/context@0.2.1-rc", false),
            ("corelet:app/context", false),
            ("wasi:cli/context@0.2.0", false),
        ] {
            assert_eq!(is_interface(import), expected, "{import}");
        }
        let sentence = "component imports instance `corelet:app/log@0.2.0`, but";
        let named = interface_named_in(sentence);
        assert_eq!(named.as_deref(), Some("corelet:app/log@0.2.0"));
        assert_eq!(interface_named_in("wasi:cli/log@0.2.0"), None);
    }
}
