//! s3pail: a small, synchronous, S3-compatible object storage server.
//!
//! The binary of the same name is one user of this library. Modules in suggested reading order:
//! [`server`] (the life of a server), [`s3`] (what a request goes through), [`ops`] (the table of S3
//! operations and the operations themselves), [`check`] (whether a store is sound), [`lifecycle`] (what happens to objects by age), [`access_log`],
//! [`notifications`], [`metrics`], [`statistics`] (and [`redis`], where they go), [`auth`] (signatures and accounts), [`model`] (names
//! and records), [`storage`] (the two traits that every backend implements), [`http`] (the only
//! folder that knows sockets), [`crypto`] (server-side encryption), [`damage`] (bit rot, counted), [`scrub`] (bit rot, looked for), [`daemon`] (a store served to
//! other processes), [`config`], [`content`] (what is there at the start), [`fixture`] (what tests may ask
//! for), [`error`], [`codec`].
//!
//! To test against S3 inside a test process, see [`TestServer`].

pub mod access_log;
pub mod auth;
pub mod check;
pub mod codec;
pub mod config;
pub mod content;
pub mod crypto;
pub mod daemon;
pub mod damage;
pub mod error;
pub mod fixture;
pub mod healthcheck;
pub mod housekeeping;
pub mod http;
pub mod leftovers;
pub mod lifecycle;
pub mod log;
pub mod metrics;
pub mod model;
pub mod notifications;
pub mod ops;
pub mod ready;
pub mod realm;
pub mod redact;
pub mod redis;
pub mod restores;
pub mod s3;
pub mod scrub;
pub mod server;
pub mod sharing;
pub mod signals;
pub mod statistics;
pub mod storage;
pub mod stores;
pub mod testing;
pub mod tls;
pub mod transition;
pub mod wanted;

pub use testing::TestServer;
