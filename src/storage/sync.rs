//! The locks of `group`, under a name that `schedules/` gives to loom's.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard};
