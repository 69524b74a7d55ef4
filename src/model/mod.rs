//! Names and records: what the byte keys and values of a [`crate::storage::MetaStore`] mean.
//!
//! Names are parsed once and valid for ever after: a [`BucketName`] cannot be wrong. How records are
//! laid out in the key space stands in [`keys`], how they are written in [`codec`].

use crate::codec::{hex, ids, sequence, unhex};
use crate::error::{Code, Error, Result};
use std::fmt;

pub mod access;
pub mod acl;
pub mod bucket;
pub mod codec;
pub mod cors;
pub mod encryption;
pub mod inline_body;
pub mod keys;
pub mod lifecycle;
pub mod listing;
pub mod lock;
pub mod logging;
pub mod multipart;
pub mod notification;
pub mod object;
pub mod replication;
pub mod website;

/// A valid bucket name (S3 user guide, "General purpose bucket naming rules").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(String);

impl BucketName {
    /// Checks a name.
    ///
    /// # Errors
    /// `InvalidBucketName` with the name in the `BucketName` element.
    pub fn parse(name: &str) -> Result<BucketName> {
        if valid_bucket_name(name) {
            return Ok(BucketName(name.to_owned()));
        }
        Err(Error::new(Code::InvalidBucketName).field("BucketName", name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn valid_bucket_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || *b == b'.')
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && !["..", ".-", "-."].iter().any(|pair| name.contains(pair))
        && !["xn--", "sthree-"].iter().any(|prefix| name.starts_with(prefix))
        && !["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// The longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;

/// A valid object key: 1 to 1024 bytes of UTF-8 without U+0000 (which no XML answer could carry).
/// Otherwise opaque: `..`, `a//b` and `/` mean nothing to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks a key.
    ///
    /// # Errors
    /// `KeyTooLongError`, or `InvalidURI` for an empty key or one with U+0000.
    pub fn parse(key: &str) -> Result<ObjectKey> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::new(Code::KeyTooLongError)
                .field("Size", key.len().to_string())
                .field("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
        }
        if key.is_empty() || key.contains('\0') {
            return Err(Code::InvalidURI.into());
        }
        Ok(ObjectKey(key.to_owned()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An id whose bytes sort newest first: the complement of a sequence number, then random bytes.
/// Used for versions and for uploads; clients see 32 hexadecimal digits and must not look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortedId(pub [u8; 16]);

impl SortedId {
    /// A new id that sorts before `previous`, before every id of this process and before those of other
    /// processes that it has heard of (see [`sequence`]), whatever the clock says.
    pub fn new(now_ms: u64, previous: Option<SortedId>) -> SortedId {
        let at_least = previous.map_or(0, |id| id.sequence().saturating_add(1));
        let wanted = at_least.max(now_ms.saturating_mul(1_000));
        let sequence = ids::seeded_sequence(wanted).unwrap_or_else(|| sequence::next(wanted));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(u64::MAX - sequence).to_be_bytes());
        bytes[8..].copy_from_slice(&ids::id_bytes());
        SortedId(bytes)
    }

    /// Reads the client's form.
    pub fn parse(text: &str) -> Option<SortedId> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        Some(SortedId(unhex(text)?.try_into().ok()?))
    }

    /// The sequence number; larger is newer.
    pub fn sequence(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::MAX - u64::from_be_bytes(bytes)
    }
}

impl fmt::Display for SortedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules() {
        let long = "a".repeat(63);
        for name in ["abc", "a-b", "a.b", "0ab", "a--b", "my.bucket-1", long.as_str()] {
            assert!(BucketName::parse(name).is_ok(), "{name}");
        }
        let longer = "a".repeat(64);
        for name in [
            "",
            "ab",
            "..",
            ".",
            "a..b",
            "-ab",
            "ab-",
            "Abc",
            "a_b",
            "192.168.0.1",
            "xn--abc",
            "a.-b",
            "a-.b",
            "a/b",
            "abc-s3alias",
            "é-é",
            longer.as_str(),
        ] {
            assert!(BucketName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn keys_are_opaque_up_to_their_length() {
        for key in ["a", "../../etc/passwd", "/", "a//b", "\u{1}", "CON"] {
            assert_eq!(ObjectKey::parse(key).expect("valid").as_str(), key);
        }
        assert!(ObjectKey::parse(&"k".repeat(1024)).is_ok());
        assert_eq!(ObjectKey::parse(&"k".repeat(1025)).expect_err("too long").code(), Code::KeyTooLongError);
        assert!(ObjectKey::parse("a\0b").is_err());
        assert!(ObjectKey::parse("").is_err());
    }

    /// OP-26.
    #[test]
    fn ids_sort_newest_first_even_when_the_clock_steps_back() {
        let first = SortedId::new(1_000_000, None);
        let second = SortedId::new(500, None);
        let third = SortedId::new(0, Some(second));
        assert!(third < second && second < first);
        assert_eq!(SortedId::parse(&first.to_string()), Some(first));
        for text in ["", "null", "0", "../../x", &first.to_string().to_uppercase().replace('0', "A")] {
            assert_eq!(SortedId::parse(text), None, "{text}");
        }
    }
}
