//! The integration suite: everything that is tested through a socket or across modules.

mod config;
mod readme;
