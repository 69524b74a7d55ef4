//! Server-side encryption, below S3: keys, the form of encrypted bodies, and where master keys live.
//!
//! Three kinds of keys, each derived from or wrapped by the one above it:
//!
//! ```text
//! master key      named in keys.json (SSE-S3, SSE-KMS), or sent by the client with each request (SSE-C)
//!   data key      random, one for each object version or multipart upload; its record keeps it wrapped
//!     piece key   derived from the data key and a random salt, one for each stored body
//! ```
//!
//! * A data key is wrapped with what it is for as associated data: bucket, key, kind of encryption,
//!   master key, encryption context. A record that is moved under another key does not open.
//! * A body is a run of sealed chunks (see [`sealed`]) that only its own piece key opens, so a body
//!   that is put in the place of another, even of the same object, does not open.
//! * Every version has a data key of its own, so a body of one version does not open as that of
//!   another. The version id itself is not bound: it is only known when the version is committed,
//!   long after a multipart upload has begun, and a client's key is gone by then.
//!
//! Everything is AES-256-GCM and HMAC-SHA256. Whatever does not open is an error, never other bytes.

pub mod key;
pub mod keyring;
pub mod sealed;
