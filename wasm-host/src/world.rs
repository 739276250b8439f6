//! Our WIT world (`sdk/wit/corelet.wit`) as Rust types: names of imports and
//! exports, and the types of the exported functions.
//!
//! Written by hand instead of generated, so that lists can be borrowed and
//! calls go through the shortest path. A test compares it with the WIT file.

use wasmtime::component::{ComponentType, Lift, Lower, TypedFunc};

/// The interfaces that a component may import.
pub(crate) const INTERFACES: [&str; 5] = [CONTEXT, STORAGE, BLOBS, EVENTS, LOG];
pub(crate) const CONTEXT: &str = "corelet:app/context@0.2.0";
pub(crate) const STORAGE: &str = "corelet:app/storage@0.2.0";
pub(crate) const BLOBS: &str = "corelet:app/blobs@0.2.0";
pub(crate) const EVENTS: &str = "corelet:app/events@0.2.0";
pub(crate) const LOG: &str = "corelet:app/log@0.2.0";

/// The functions that a component must export.
pub(crate) const EXPORTS: [&str; 3] = [DESCRIBE, INIT, CALL];
pub(crate) const DESCRIBE: &str = "describe";
pub(crate) const INIT: &str = "init";
pub(crate) const CALL: &str = "call";

/// `describe: func() -> description`
pub(crate) type DescribeFunc = TypedFunc<(), (RawDescription,)>;
/// `init: func(args: list<u8>) -> result<_, list<u8>>`
pub(crate) type InitFunc = TypedFunc<(&'static [u8],), (Result<(), Vec<u8>>,)>;
/// `call: func(method: string, args: list<u8>) -> result<list<u8>, list<u8>>`
pub(crate) type CallFunc = TypedFunc<(&'static str, &'static [u8]), (CallResult,)>;
/// What `call` returns.
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

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct RawOutOfRange {
    pub(crate) index: u64,
    pub(crate) length: u64,
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
