//! What the macros' expansions name. Not for people, and free to change.

pub use crate::application::{Application, Description, Method, MethodKind, Parameter, State};
pub use crate::arguments::{parse, unknown_handler, unknown_method};
pub use crate::collections::Collection;
pub use crate::returned::{
    InitReturned, Reply, ResultReply, Returned, ValueReply, assert_serialize,
};
pub use serde;
