//! The world of applications with handlers as Rust: generated, and used by `guest.rs` only. It is
//! apart from `bindings.rs`, so that an application without handlers exports nothing of it.
#![allow(missing_docs, unsafe_code)] // generated code

wit_bindgen::generate!({
    path: "../wit",
    world: "handlers",
    pub_export_macro: true,
    export_macro_name: "export_handlers",
    default_bindings_module: "corelet_sdk::handler_bindings",
});
