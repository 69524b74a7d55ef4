//! The integration tests: one binary, a module for each subject.

// Clippy recognises test functions, but not what they call.
#![allow(clippy::unwrap_used)]

mod storage;
