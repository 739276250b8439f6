//! Lines for the people who run and write the application. What programs
//! should hear goes to `events.rs`.

use std::fmt::Arguments;

use crate::host;

/// Who must act on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is wrong and somebody has to look.
    Error,
    /// Something is odd and may become wrong.
    Warn,
    /// Something worth knowing happened.
    Info,
    /// Only for the people who write the application.
    Debug,
}

/// Writes one line; the macros [`error!`](crate::error!), [`warn!`](crate::warn!),
/// [`info!`](crate::info!) and [`debug!`](crate::debug!) are shorter.
pub fn write(level: Level, message: Arguments<'_>) {
    match message.as_str() {
        Some(message) => host::log(level, message),
        None => host::log(level, &message.to_string()),
    }
}

/// Logs an error: `error!("order {id} has no owner")`.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($message)+)) };
}

/// Logs a warning: `warn!("order {id} is empty")`.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($message)+)) };
}

/// Logs something worth knowing: `info!("order {id} is paid")`.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($message)+)) };
}

/// Logs a detail: `debug!("{count} orders looked at")`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($message)+)) };
}
