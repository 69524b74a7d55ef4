//! The S3 operations.

pub mod checksum;
pub mod conditions;
pub mod range;
