//! An application as a component: the exports of our world on top of
//! [`Application`]. The imports are in `host.rs`.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::application::{Application, MethodKind, Parameter, State};
use crate::bindings;
use crate::handler_bindings;
use crate::hook_bindings;
use crate::host;
use crate::log::Level;
use crate::stable_blocks;

/// The component that runs `A`.
pub struct Guest<A>(PhantomData<A>);

impl<A: Application> bindings::Guest for Guest<A> {
    fn describe() -> bindings::Description {
        begin();
        let description = A::DESCRIPTION;
        bindings::Description {
            name: <A as State>::NAME.into(),
            version: <A as State>::VERSION.into(),
            methods: description
                .methods
                .iter()
                .map(|method| bindings::Method {
                    name: method.name.into(),
                    kind: match method.kind {
                        MethodKind::Query => bindings::MethodKind::Query,
                        MethodKind::Update => bindings::MethodKind::Update,
                    },
                    parameters: parameters(method.parameters),
                    returns: method.returns.into(),
                    doc: method.doc.into(),
                })
                .collect(),
            init_parameters: parameters(description.init_parameters),
        }
    }

    fn init(args: Vec<u8>) -> Result<(), Vec<u8>> {
        begin();
        A::init(&args)
    }

    fn call(method: String, args: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        begin();
        A::call(&method, &args)
    }
}

impl<A: Application> handler_bindings::Guest for Guest<A> {
    fn handle(handler: String, args: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        begin();
        A::handle(&handler, &args)
    }
}

impl<A: Application> hook_bindings::schema_version::Guest for Guest<A> {
    fn schema_version() -> u64 {
        A::SCHEMA_VERSION
    }
}

impl<A: Application> hook_bindings::migrate::Guest for Guest<A> {
    fn migrate(from: u64) -> Result<(), Vec<u8>> {
        begin();
        A::migrate(from)
    }
}

impl<A: Application> hook_bindings::before_upgrade::Guest for Guest<A> {
    fn before_upgrade() -> Result<(), Vec<u8>> {
        begin();
        A::before_upgrade()
    }
}

impl<A: Application> hook_bindings::after_upgrade::Guest for Guest<A> {
    fn after_upgrade() -> Result<(), Vec<u8>> {
        begin();
        A::after_upgrade()
    }
}

impl<A: Application> hook_bindings::inspect::Guest for Guest<A> {
    fn inspect(method: String, args: Vec<u8>) -> Result<(), Vec<u8>> {
        begin();
        A::inspect(&method, &args)
    }
}

impl<A: Application> hook_bindings::stop::Guest for Guest<A> {
    fn stop() -> Result<(), Vec<u8>> {
        begin();
        A::stop()
    }
}

impl<A: Application> hook_bindings::low_memory::Guest for Guest<A> {
    fn low_memory() -> Result<(), Vec<u8>> {
        begin();
        A::low_memory()
    }
}

fn parameters(parameters: &[Parameter]) -> Vec<bindings::Parameter> {
    parameters
        .iter()
        .map(|parameter| bindings::Parameter {
            name: parameter.name.into(),
            type_name: parameter.type_name.into(),
        })
        .collect()
}

/// What everything that the server calls begins with.
fn begin() {
    report_panics();
    stable_blocks::forget();
}

/// Has panics logged before they trap, once per instance: a trap by itself
/// tells nobody which line of the application it was.
fn report_panics() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        std::panic::set_hook(Box::new(|panic| {
            host::log(Level::Error, &panic.to_string());
        }));
    }
}
