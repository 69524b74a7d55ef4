//! Names and records.
