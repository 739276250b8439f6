//! The WIT world as Rust: generated, and used by `host.rs` and `guest.rs` only.
#![allow(missing_docs, unsafe_code)] // generated code

wit_bindgen::generate!({
    path: "../wit",
    world: "application",
    pub_export_macro: true,
    export_macro_name: "export_application",
    default_bindings_module: "corelet_sdk::bindings",
});
