//! The integration suite: everything that is tested through a socket or across modules.

// Clippy knows test functions, but not the functions that they share.
#![allow(clippy::unwrap_used)]

mod protocol;
