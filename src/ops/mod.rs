//! The S3 operations.

pub mod checksum;
