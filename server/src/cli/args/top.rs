//! What `corelet top` understands, at its start and from the keyboard.

use clap::{Args, ValueEnum};

/// How to watch contexts.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Which come first.
    #[arg(long, value_enum, default_value_t = TopBy::Fuel)]
    pub by: TopBy,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub limit: u16,
    /// Seconds from one look to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
    /// Print one table and end.
    #[arg(long)]
    pub once: bool,
}

/// By what contexts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopBy {
    /// Fuel that they spend.
    Fuel,
    /// Calls.
    Calls,
    /// Calls that fail.
    Failures,
    /// Time that their calls take, waiting included.
    Time,
}

impl TopBy {
    /// As the server knows it.
    pub fn name(self) -> &'static str {
        match self {
            TopBy::Fuel => "fuel",
            TopBy::Calls => "calls",
            TopBy::Failures => "failures",
            TopBy::Time => "time",
        }
    }

    /// The one that a key stands for.
    pub fn of_key(key: char) -> Option<TopBy> {
        match key {
            'f' => Some(TopBy::Fuel),
            'c' => Some(TopBy::Calls),
            'e' => Some(TopBy::Failures),
            't' => Some(TopBy::Time),
            _ => None,
        }
    }
}
