//! The worlds of hooks as Rust: generated, and used by `guest.rs` only. Each is apart, so that an
//! application exports the hooks that it has and no others.
#![allow(missing_docs, unsafe_code)] // generated code

pub mod schema_version {
    wit_bindgen::generate!({
        path: "../wit",
        world: "with-schema-version",
        pub_export_macro: true,
        export_macro_name: "export_schema_version",
        default_bindings_module: "corelet_sdk::hook_bindings::schema_version",
    });
}

pub mod migrate {
    wit_bindgen::generate!({
        path: "../wit",
        world: "with-migrate",
        pub_export_macro: true,
        export_macro_name: "export_migrate",
        default_bindings_module: "corelet_sdk::hook_bindings::migrate",
    });
}

pub mod before_upgrade {
    wit_bindgen::generate!({
        path: "../wit",
        world: "with-before-upgrade",
        pub_export_macro: true,
        export_macro_name: "export_before_upgrade",
        default_bindings_module: "corelet_sdk::hook_bindings::before_upgrade",
    });
}

pub mod after_upgrade {
    wit_bindgen::generate!({
        path: "../wit",
        world: "with-after-upgrade",
        pub_export_macro: true,
        export_macro_name: "export_after_upgrade",
        default_bindings_module: "corelet_sdk::hook_bindings::after_upgrade",
    });
}

pub mod inspect {
    wit_bindgen::generate!({
        path: "../wit",
        world: "with-inspect",
        pub_export_macro: true,
        export_macro_name: "export_inspect",
        default_bindings_module: "corelet_sdk::hook_bindings::inspect",
    });
}

pub mod stop {
    wit_bindgen::generate!({
        path: "../wit",
        world: "with-stop",
        pub_export_macro: true,
        export_macro_name: "export_stop",
        default_bindings_module: "corelet_sdk::hook_bindings::stop",
    });
}

pub mod low_memory {
    wit_bindgen::generate!({
        path: "../wit",
        world: "with-low-memory",
        pub_export_macro: true,
        export_macro_name: "export_low_memory",
        default_bindings_module: "corelet_sdk::hook_bindings::low_memory",
    });
}
