//! Why a file is not an application. All of these are remembered per content.

use crate::description::BadDescription;

/// Why [`crate::Host::load`] said no. The text is meant for the person who
/// tried to install the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a WebAssembly binary at all.
    #[error("this is not WebAssembly: {what}")]
    NotWasm {
        /// What the bytes look like instead.
        what: String,
    },
    /// A core module where a component is wanted.
    #[error(
        "this is a core WebAssembly module, not a component: build it with `corelet-build`, \
         or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Larger or more of something than allowed.
    #[error("{limit} exceeded: {used} of at most {max}")]
    Limit {
        /// The limit's name in [`crate::Limits::TABLE`].
        limit: &'static str,
        /// The number found; at least `max + 1`.
        used: u64,
        /// The limit.
        max: u64,
    },
    /// Not valid WebAssembly, or a feature that is off here.
    #[error("invalid component: {message}")]
    Invalid {
        /// The validator's words, with the offset.
        message: String,
    },
    /// A feature of components that we do not offer.
    #[error("unsupported: {what}")]
    Unsupported {
        /// What was found.
        what: String,
    },
    /// Asks for something that is not in our world.
    #[error("import `{name}` does not fit the world corelet:app/application: {why}")]
    Import {
        /// The import's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Lacks what our world demands, or has it with another type.
    #[error("export `{name}` does not fit the world corelet:app/application: {why}")]
    Export {
        /// The export's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Its start function or `describe` failed.
    #[error("the application could not describe itself: {why}")]
    Describe {
        /// How it failed.
        why: String,
    },
    /// It describes itself in a way that cannot be used.
    #[error("the application describes itself wrongly: {0}")]
    Description(#[from] BadDescription),
    /// No free instance to ask it in. Not remembered; try again later.
    #[error("all {max} instances are in use: try again later, or raise instances_max")]
    Busy {
        /// The size of the pool.
        max: u32,
    },
    /// Ours to repair. Not remembered.
    #[error("internal error while loading a module: {what}")]
    OurBug {
        /// For the log.
        what: String,
    },
}

impl Refused {
    /// Whether the same bytes will be refused the same way again.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Refused::Busy { .. } | Refused::OurBug { .. })
    }
}
