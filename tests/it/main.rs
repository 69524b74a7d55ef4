//! The integration suite: everything that is tested through a socket, through the binary, or across
//! modules. Modules in reading order.

// Clippy knows test functions, but not the functions that they share.
#![allow(clippy::unwrap_used)]

mod harness; // a server per backend and a signing client
mod stand_in; // remote stores, played

mod access; // lists, policies, ownership, who pays
mod actions; // every action of the API, built or not
mod bucket; // create, list, head, delete
mod config; // what starts, what does not, and what it says
mod copy; // copies, conditional deletions, attributes
mod cors; // what a page of another origin may see
mod data_daemon; // bodies in another process, and its failures
mod encryption; // SSE-S3, SSE-KMS, SSE-C, and what lies on disk
mod fixture; // what a test suite asks of the server
mod health; // whether the server and its stores live, and who may ask
mod lifecycle; // rules, and what they do when their day comes
mod limits; // sizes, at the limit and one past
mod list; // pages, prefixes, delimiters, markers
mod location_files; // what may stand in locationConfig.json, and credentials from profiles
mod locations; // where bytes go
mod logging; // access logs and their delivery
mod multipart; // uploads in parts
mod notification; // events for webhooks and for polls
mod object; // put, get, head, copy, delete, conditions, checksums
mod object_lock; // retention, legal hold, and what they forbid
mod operations; // every row of the operations table: done, denied, refused, and its answer
mod policy_model; // the policy evaluator against a second one
mod post_object; // uploads from HTML forms
mod protocol; // raw sockets: HTTP itself
mod readme; // what the README claims
mod s3_upstream; // another S3 store as a location
mod signature; // who is let in
mod sproxyd; // a RING as a location, and its failures
mod start; // how a process starts and ends for a test suite
mod statistics; // requests and failures, counted in Redis
mod storage; // the conformance suite of the backends
mod storage_class; // where the bytes of a class go
mod stored_settings; // settings that are only kept
mod suite; // where S3 and a public test suite disagree
mod tagging; // tags of buckets and objects
mod versioning; // versions, delete markers, the null version
mod website; // pages for people
