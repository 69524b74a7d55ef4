//! The protocol between a front end and a metadata daemon: what stands in the bodies of its calls.
//!
//! Every call is an HTTP request whose body and answer are JSON objects; ARCHITECTURE.md draws them.
//! Keys and values are any bytes and stand in JSON as base64: most values are binary, of which
//! percent-coding would make three bytes for one where base64 makes four for three. Every request says
//! the version of the protocol, and a daemon that speaks another one says which.
//!
//! Both ends use these types: [`super::remote_meta`] asks, [`crate::daemon::metadata`] answers.

use super::{Batch, Expect, Outcome, StorageError, SyncMode};
use crate::codec::{base64, unbase64};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::io;

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// What stands before the name of a call in the path of its request.
pub const PATH_PREFIX: &str = "/metadata/";

/// The header that carries the ids of a request, for the logs of both ends. The name is Scality's.
pub const REQUEST_UIDS: &str = "x-scal-request-uids";

/// The header with the highest sequence number that a side has seen; see [`crate::codec::sequence`].
pub const SEQUENCE: &str = "x-s3pail-sequence";

/// The largest body of a request in bytes.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most bytes of keys and values, expected and written, that one commit may have: what fits into
/// [`REQUEST_BYTES_MAX`] as base64, with room for the JSON around it.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest body of an answer in bytes: a page, or one record of the largest size.
pub const ANSWER_BYTES_MAX: usize = 96 * 1024 * 1024;

/// The most records of a page.
pub const PAGE_RECORDS_MAX: usize = 1_000;

/// A page ends with the record that brings its keys and values to so many bytes.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that stand in JSON as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes in standard base64 with padding")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                unbase64(text).map(Bytes).ok_or_else(|| E::custom("not standard base64 with padding"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The version in a request. Any other than [`PROTOCOL`] fails to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protocol;

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(PROTOCOL)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
        match u32::deserialize(deserializer)? {
            PROTOCOL => Ok(Protocol),
            other => {
                Err(D::Error::custom(format!("protocol {other} is not spoken here; allowed: {PROTOCOL}")))
            }
        }
    }
}

/// What `status` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The version that the daemon speaks.
    pub protocol: u32,
    /// The id of this run of the daemon; another after each start.
    pub run: String,
    /// How many commits this run has taken on.
    pub commits: u64,
    /// 200 when writes would succeed.
    pub code: u16,
    /// One phrase for a person.
    pub message: String,
}

/// `get`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Get {
    /// The version.
    pub protocol: Protocol,
    /// The key.
    pub key: Bytes,
}

/// What `get` answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Got {
    /// The record, unless there is none.
    pub value: Option<Bytes>,
}

/// `scan`: one page of a range.
#[derive(Debug, Serialize, Deserialize)]
pub struct Scan {
    /// The version.
    pub protocol: Protocol,
    /// The first key.
    pub start: Bytes,
    /// The first key behind the range.
    pub end: Bytes,
    /// How many records are wanted; at most [`PAGE_RECORDS_MAX`] are given.
    pub records_max: usize,
}

/// What `scan` answers: records that were there at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    /// Keys and values in order.
    pub records: Vec<(Bytes, Bytes)>,
    /// The range has further records.
    pub more: bool,
}

/// `commit`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The version.
    pub protocol: Protocol,
    /// The run of the daemon that this was first sent to. No other takes it.
    pub run: String,
    /// The id of this commit: 32 hexadecimal digits that no other commit has.
    pub token: String,
    /// This was sent before, and no answer came.
    pub repeated: bool,
    /// The number of commits that the run was known to have taken on when this was first sent.
    pub seen: u64,
    /// What must hold.
    pub expects: Vec<Expected>,
    /// Keys and new values; `null` removes the record.
    pub writes: Vec<(Bytes, Option<Bytes>)>,
    /// What it is to promise, if not what is usual at the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncMode>,
}

/// An [`Expect`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Expected {
    /// The record under a key is exactly this, or absent where it is `null`.
    Record {
        /// The key.
        key: Bytes,
        /// The value.
        value: Option<Bytes>,
    },
    /// There is no record in a range.
    Empty {
        /// First key.
        start: Bytes,
        /// First key behind it.
        end: Bytes,
    },
}

/// What `commit` answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Committed {
    /// Whether it was applied or an expectation did not hold.
    pub outcome: Outcome,
    /// How many commits this run has taken on.
    pub commits: u64,
}

/// What an answer that says no has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// One of the names of [`ErrorType`].
    pub error_type: String,
    /// A sentence for a person.
    pub error_message: String,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The request is not a call, or not a well-formed one.
    BadRequest,
    /// There is no call of this name.
    UnknownCall,
    /// The call wants another method.
    MethodNotAllowed,
    /// The body is larger than [`REQUEST_BYTES_MAX`].
    RequestTooLarge,
    /// A commit was meant for another run of the daemon. It was not applied by this one.
    OtherRun,
    /// A commit was sent again after the daemon had forgotten whether it came before, or while it still
    /// is being made. What became of it is not known.
    InDoubt,
    /// [`StorageError::Full`].
    Full,
    /// [`StorageError::Corrupt`].
    Corrupt,
    /// [`StorageError::ReadOnly`].
    ReadOnly,
    /// [`StorageError::Unavailable`], and too many connections.
    Unavailable,
    /// [`StorageError::Io`].
    Io,
}

impl ErrorType {
    /// All, each with its name and the status of its answer.
    pub const ALL: [(ErrorType, &'static str, u16); 11] = [
        (ErrorType::BadRequest, "BadRequest", 400),
        (ErrorType::UnknownCall, "UnknownCall", 404),
        (ErrorType::MethodNotAllowed, "MethodNotAllowed", 405),
        (ErrorType::RequestTooLarge, "RequestTooLarge", 413),
        (ErrorType::OtherRun, "OtherRun", 409),
        (ErrorType::InDoubt, "InDoubt", 409),
        (ErrorType::Full, "Full", 507),
        (ErrorType::Corrupt, "Corrupt", 500),
        (ErrorType::ReadOnly, "ReadOnly", 503),
        (ErrorType::Unavailable, "Unavailable", 503),
        (ErrorType::Io, "Io", 500),
    ];

    /// The name and the status.
    pub fn row(self) -> (&'static str, u16) {
        let row = ErrorType::ALL.iter().find(|(kind, ..)| *kind == self);
        row.map_or(("Io", 500), |(_, name, status)| (name, *status))
    }

    /// The type of a name.
    pub fn parse(name: &str) -> Option<ErrorType> {
        ErrorType::ALL.iter().find(|(_, known, _)| *known == name).map(|(kind, ..)| *kind)
    }

    /// What a store's error is called, and its text.
    pub fn of(error: &StorageError) -> (ErrorType, String) {
        match error {
            StorageError::Full(text) => (ErrorType::Full, text.clone()),
            StorageError::Corrupt(text) => (ErrorType::Corrupt, text.clone()),
            StorageError::ReadOnly(text) => (ErrorType::ReadOnly, text.clone()),
            StorageError::Unavailable(text) => (ErrorType::Unavailable, text.clone()),
            StorageError::InDoubt(text) => (ErrorType::InDoubt, text.clone()),
            StorageError::Io(error) if error.kind() == io::ErrorKind::InvalidInput => {
                (ErrorType::BadRequest, error.to_string())
            }
            StorageError::Io(error) => (ErrorType::Io, error.to_string()),
        }
    }

    /// The store's error that a refusal stands for.
    pub fn into_storage(self, text: String) -> StorageError {
        match self {
            ErrorType::Full => StorageError::Full(text),
            ErrorType::Corrupt => StorageError::Corrupt(text),
            ErrorType::ReadOnly => StorageError::ReadOnly(text),
            ErrorType::Unavailable => StorageError::Unavailable(text),
            ErrorType::InDoubt => StorageError::InDoubt(text),
            ErrorType::BadRequest => StorageError::Io(io::Error::new(io::ErrorKind::InvalidInput, text)),
            _ => StorageError::Io(io::Error::other(text)),
        }
    }
}

impl From<Expect> for Expected {
    fn from(expect: Expect) -> Expected {
        match expect {
            Expect::Record { key, value } => Expected::Record { key: Bytes(key), value: value.map(Bytes) },
            Expect::Empty { start, end } => Expected::Empty { start: Bytes(start), end: Bytes(end) },
        }
    }
}

impl From<Expected> for Expect {
    fn from(expected: Expected) -> Expect {
        match expected {
            Expected::Record { key, value } => {
                Expect::Record { key: key.0, value: value.map(|value| value.0) }
            }
            Expected::Empty { start, end } => Expect::Empty { start: start.0, end: end.0 },
        }
    }
}

impl Commit {
    /// A commit that has not been sent.
    pub fn new(batch: Batch, token: String) -> Commit {
        Commit {
            protocol: Protocol,
            run: String::new(),
            token,
            repeated: false,
            seen: 0,
            expects: batch.expects.into_iter().map(Expected::from).collect(),
            writes: batch.writes.into_iter().map(|(key, value)| (Bytes(key), value.map(Bytes))).collect(),
            sync: batch.sync,
        }
    }

    /// What it does.
    pub fn into_batch(self) -> Batch {
        Batch {
            expects: self.expects.into_iter().map(Expect::from).collect(),
            writes: self.writes.into_iter().map(|(key, value)| (key.0, value.map(|value| value.0))).collect(),
            sync: self.sync,
        }
    }
}

/// How many bytes a batch has, with what it expects.
pub fn batch_bytes(batch: &Batch) -> usize {
    let value_bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    let expected = batch.expects.iter().map(|expect| match expect {
        Expect::Record { key, value } => key.len() + value_bytes(value),
        Expect::Empty { start, end } => start.len() + end.len(),
    });
    expected.fold(batch.written_bytes(), usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_the_same_at_both_ends() {
        let mut batch = Batch::new();
        batch.expect("a\0\u{ff}", Some(vec![0, 255]));
        batch.expect("b", None);
        batch.expect_empty(b"c".to_vec()..b"d".to_vec());
        batch.put("e", vec![1, 2, 3]);
        batch.remove("f");
        batch.sync = Some(SyncMode::Strict);
        let (expects, writes) = (batch.expects.clone(), batch.writes.clone());
        let text = serde_json::to_string(&Commit::new(batch, "t".to_owned())).expect("it is JSON");
        assert!(text.starts_with("{\"protocol\":1,\"run\":\"\",\"token\":\"t\""), "{text}");
        let read: Commit = serde_json::from_str(&text).expect("it was written here");
        let batch = read.into_batch();
        assert_eq!((batch.expects, batch.writes, batch.sync), (expects, writes, Some(SyncMode::Strict)));
    }

    #[test]
    fn another_version_of_the_protocol_is_named() {
        let error = serde_json::from_str::<Get>("{\"protocol\":2,\"key\":\"\"}").expect_err("it is another");
        assert!(error.to_string().contains("protocol 2 is not spoken here; allowed: 1"), "{error}");
        assert!(serde_json::from_str::<Get>("{\"key\":\"\"}").is_err());
    }

    #[test]
    fn every_error_type_has_a_name_of_its_own() {
        for (kind, name, status) in ErrorType::ALL {
            assert_eq!(ErrorType::parse(name), Some(kind));
            assert_eq!(kind.row(), (name, status));
        }
    }
}
