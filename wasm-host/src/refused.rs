//! Why a file is not an application, and for how long that is remembered.

use std::time::Duration;

use crate::compile::NotCompiled;
use crate::description::BadDescription;

/// How long a component is refused unseen because compiling it took too much
/// or crashed. CPU time depends on who else uses the machine, memory on how the
/// compiler's threads fall together, and a crash on either; so none of them is
/// for good, and trying again costs at most what the limits allow.
const COMPILE_REFUSED_FOR: Duration = Duration::from_secs(600);

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
    /// The compiler made nothing of it.
    #[error(transparent)]
    NotCompiled(#[from] NotCompiled),
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
        /// The limit that it exceeded, if that was why, and its value.
        limit: Option<(&'static str, u64)>,
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

/// For how long the same bytes are refused without another look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// The bytes themselves are at fault.
    Always,
    /// They probably are.
    For(Duration),
    /// The moment was.
    Not,
}

impl Refused {
    /// Whether the same bytes will be refused whenever they come.
    pub fn is_for_good(&self) -> bool {
        self.remembered() == Remembered::Always
    }

    pub(crate) fn remembered(&self) -> Remembered {
        match self {
            Refused::Busy { .. } | Refused::OurBug { .. } => Remembered::Not,
            Refused::NotCompiled(why) => match why {
                NotCompiled::Invalid { .. } | NotCompiled::TooLarge { .. } => Remembered::Always,
                NotCompiled::Cpu { .. }
                | NotCompiled::Memory { .. }
                | NotCompiled::Crashed { .. } => Remembered::For(COMPILE_REFUSED_FOR),
                NotCompiled::Time { .. }
                | NotCompiled::Killed { .. }
                | NotCompiled::Unusable { .. }
                | NotCompiled::Stopped => Remembered::Not,
            },
            Refused::NotWasm { .. }
            | Refused::CoreModule
            | Refused::Limit { .. }
            | Refused::Invalid { .. }
            | Refused::Unsupported { .. }
            | Refused::Import { .. }
            | Refused::Export { .. }
            | Refused::Describe { .. }
            | Refused::Description(_) => Remembered::Always,
        }
    }
}
