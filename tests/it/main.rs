//! The integration suite: everything that is tested through a socket, through the binary, or across
//! modules. Modules in reading order.

// Clippy knows test functions, but not the functions that they share.
#![allow(clippy::unwrap_used)]

mod echo; // the engine alone, and a client on a raw socket
mod harness; // a server per backend and a signing client
mod journal_entries; // a journal of records, read by its drawing
mod stand_in; // remote stores, played

mod access; // lists, policies, ownership, who pays
mod actions; // every action of the API, built or not
// What tiny_http cannot do stands at the top of src/http/tiny.rs; most of these rows are among it.
#[cfg(not(feature = "tiny-http"))]
mod bad_input; // the table of bad input, and what happened to other servers
mod bucket; // create, list, head, delete
mod certificates; // what HTTPS is served with
mod check; // s3pail check, and what it says of damage
mod config; // what starts, what does not, and what it says
mod copy; // copies, conditional deletions, attributes
mod cors; // what a page of another origin may see
mod data_daemon; // bodies in another process, and its failures
mod disk_failures; // errors of the disk at every step of a write, and a full one
mod durability; // full devices, bit rot, failed syncs
mod encryption; // SSE-S3, SSE-KMS, SSE-C, and what lies on disk
mod fixture; // what a test suite asks of the server
mod fuzz; // hostile input for every parser
mod health; // whether the server and its stores live, and who may ask
#[cfg(not(feature = "tiny-http"))]
mod http_limits; // each limit of the engine, at the limit and one past it; stalled clients
mod lifecycle; // rules, and what they do when their day comes
mod limits; // sizes, at the limit and one past
mod list; // pages, prefixes, delimiters, markers
mod location_files; // what may stand in locationConfig.json, and credentials from profiles
mod locations; // where bytes go
mod log_lines; // what the log says, and what it never says
mod logging; // access logs and their delivery
mod metadata_daemon; // records for other processes
mod metrics; // what is counted, and for whom
mod multipart; // uploads in parts
mod notification; // events for webhooks and for polls
mod object; // put, get, head, copy, delete, conditions, checksums
mod object_lock; // retention, legal hold, and what they forbid
mod operations; // every row of the operations table: done, denied, refused, and its answer
mod policy_model; // the policy evaluator against a second one
mod post_object; // uploads from HTML forms
mod power_cut; // what is left when the power goes, at every step of every write
mod process; // file modes, signals, process 1
mod protocol; // raw sockets: HTTP itself
mod races; // writes at the same moment
mod random_model; // random histories against a model
mod readme; // what the README claims
mod s3_drafts; // uploads in parts that another S3 store puts together
mod s3_upstream; // another S3 store as a location
mod scrub; // damage that is found before somebody needs the body
mod signature; // who is let in
mod smuggling; // requests that two servers could read differently
mod sproxyd; // a RING as a location, and its failures
mod start; // how a process starts and ends for a test suite
mod statistics; // requests and failures, counted in Redis
mod storage; // the conformance suite of the backends
mod storage_class; // where the bytes of a class go
mod stored_settings; // settings that are only kept
mod suite; // where S3 and a public test suite disagree
mod tagging; // tags of buckets and objects
mod tls; // HTTPS on raw sockets
mod two_front_ends; // what they share, and what not
mod versioning; // versions, delete markers, the null version
mod website; // pages for people
