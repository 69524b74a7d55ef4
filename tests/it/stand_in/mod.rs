//! Stores that s3pail is a client of, played by the tests: strict about the protocol, and able to fail.

pub mod line; // what lies between a client and a server, and loses answers
pub mod metadata; // a metadata daemon
pub mod redis; // what counts requests
pub mod sproxyd; // a Scality RING
