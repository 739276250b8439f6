//! Whether an application's instances are kept between two calls: a setting of the installed
//! application, which the node's owner may change. A plain value; what is done about it is the
//! shard's.

/// Which instance a call of a context may get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Reuse {
    /// One that has served the same context before, if it is still warm: the guest's memory is
    /// as it left it.
    #[default]
    Context = 0,
    /// A fresh one, always: no call sees anything that another has left in memory.
    Never = 1,
}

impl Reuse {
    const ALL: [Reuse; 2] = [Reuse::Context, Reuse::Never];

    /// The one with this number on disk.
    pub(crate) fn of(number: u8) -> Option<Reuse> {
        Reuse::ALL.into_iter().find(|reuse| *reuse as u8 == number)
    }

    /// Its name in requests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Reuse::Context => "context",
            Reuse::Never => "never",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Reuse> {
        Reuse::ALL.into_iter().find(|reuse| reuse.name() == name)
    }
}
