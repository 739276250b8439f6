//! Example application: chat.
