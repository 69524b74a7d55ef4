//! The log: one JSON object a line.

/// Severity, most talkative first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything, health polls included.
    Trace,
    /// What a developer needs.
    Debug,
    /// One line per request.
    Info,
    /// An operator may have to act.
    Warn,
    /// An operator must act.
    Error,
    /// The process ends.
    Fatal,
}
