//! The attribute macros of `corelet-sdk`, to be used through it.
//!
//! What lives here: reading the author's source ([`methods`](macro@methods)
//! through `method.rs`, [`application`](macro@application) through
//! `application.rs`) and writing the code that the SDK runs. What that code
//! calls lives in `corelet_sdk::private`.

mod application;
mod attributes;
mod method;
mod methods;
mod type_name;

use proc_macro::TokenStream;

/// Makes a struct an application: each field a collection at a place of its
/// own in the context's state.
///
/// `#[corelet::application(name = "…")]` names it; otherwise the package's name
/// does. `schema_version = N` says in which form it keeps its state: greater for a later one, 0 if
/// nothing is said. On a field, `#[prefix("…")]` says under which name its entries lie, so
/// that the field can be renamed or the keys kept short.
#[proc_macro_attribute]
pub fn application(attribute: TokenStream, item: TokenStream) -> TokenStream {
    application::expand(attribute.into(), item.into()).into()
}

/// Makes the methods of an application callable.
///
/// In the impl block, `#[query]` marks a method that reads (`&self`),
/// `#[update]` one that may write (`&mut self`), and `#[init]` the one that
/// makes a new context's first state. `#[handler]` marks what the server calls by itself
/// (`&mut self`), when a timer is due; clients cannot call it. Three marks are for what runs when a
/// context is upgraded to another application, most often a later version of this one (`&mut self`
/// each, and an error keeps everything as it was): `#[before_upgrade]` in the application that the
/// context has had, then in the new one `#[migrate]`, which takes the schema version that the state is in
/// (`from: u64`) and brings it into this application's if the two differ, and `#[after_upgrade]`.
/// `#[inspect]` marks what looks at each update before it is queued (`&self`, and `method: &str, args: &[u8]`, of
/// which the latter is the JSON that came): an error refuses it, and costs the context next to nothing. `#[stop]` marks
/// what a context with an instance in memory is told when the server stops (`&mut self`), and `#[low_memory]`
/// what an instance is told whose memory has grown beyond a part of what it may have (`&self`). Methods without a mark stay private to
/// the application. Parameters are plain names; their types implement
/// `Deserialize`, or are `&str`. Results implement `Serialize`.
#[proc_macro_attribute]
pub fn methods(attribute: TokenStream, item: TokenStream) -> TokenStream {
    methods::expand(attribute.into(), item.into()).into()
}
