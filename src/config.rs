//! Configuration: what the user wrote, checked once, becomes a [`Config`] in which nothing is optional
//! or unchecked any more.

use crate::auth::account::Accounts;
use crate::storage::SyncMode;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where bodies or records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In this process's memory.
    Memory,
    /// In local files.
    File,
    /// Bodies only: where each object's location says.
    Multiple,
}

/// A named place for bodies (an entry of `locationConfig.json`).
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// `mem`, `file`, `scality`, `aws_s3`, ...
    pub kind: String,
    /// `legacyAwsBehavior`.
    pub legacy_aws_behavior: bool,
    /// `details`, as written.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on, `address:port`; port 0 lets the system choose.
    pub listen: Vec<std::net::SocketAddr>,
    /// Where bodies go.
    pub data: Backend,
    /// Where records go: `Memory` or `File`.
    pub metadata: Backend,
    /// The folder of bodies.
    pub data_path: PathBuf,
    /// The folder of records.
    pub metadata_path: PathBuf,
    /// What an acknowledged write promises.
    pub sync: SyncMode,
    /// Worker threads.
    pub workers: usize,
    /// Accounts and keys.
    pub accounts: Accounts,
    /// Host name to location name.
    pub rest_endpoints: BTreeMap<String, String>,
    /// Host names that serve websites.
    pub website_endpoints: Vec<String>,
    /// Refuse hosts that are in neither list.
    pub strict_hosts: bool,
    /// Locations by name.
    pub locations: BTreeMap<String, Location>,
    /// The smallest part that is not the last, in bytes (5 MiB; 0 with `MPU_TESTING=yes`).
    pub part_bytes_min: u64,
    /// The least severe level that is logged.
    pub log_level: crate::log::Level,
}
