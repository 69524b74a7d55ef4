//! The record of one version of a key: an object or a delete marker.

use super::SortedId;
use super::acl::Acl;
use super::codec::{Decoder, Encoder, Result};
use super::encryption::ObjectEncryption;
use super::lock::ObjectLock;
use crate::codec::digest::{ChecksumAlgorithm, ChecksumType};
use crate::crypto::sealed::sealed_size;
use crate::storage::{BlobId, StorageError};
use serde::{Deserialize, Serialize};

/// The storage class of objects for which none is named.
pub const STANDARD: &str = "STANDARD";

/// Storage classes that a client may ask for (S3 API, PutObject).
pub const STORAGE_CLASSES: [&str; 8] = [
    STANDARD,
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

/// Storage classes whose objects must be restored before they can be read.
pub const ARCHIVE_CLASSES: [&str; 2] = ["GLACIER", DEEP_ARCHIVE];

/// The coldest of them.
pub const DEEP_ARCHIVE: &str = "DEEP_ARCHIVE";

/// A temporary copy of an archived object, asked for with RestoreObject. Its state follows from the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// From when on the object can be read, in milliseconds.
    pub ready_ms: u64,
    /// From when on it cannot be read any more, in milliseconds.
    pub expires_ms: u64,
}

/// How an object of an archive class can be read at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Not at all: it has to be restored first.
    Archived,
    /// Not yet: a restore is under way.
    Restoring,
    /// Until then, in milliseconds.
    Restored(u64),
}

/// What a listing shows of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// A delete marker has neither body nor detail.
    pub delete_marker: bool,
    /// Written while the bucket was not versioned (or suspended): clients call it `null`.
    pub null_version: bool,
    /// The id; also of null versions, where it only orders.
    pub id: SortedId,
    /// Last-Modified in milliseconds.
    pub modified_ms: u64,
    /// Size in bytes.
    pub size: u64,
    /// The ETag without quotes; empty for a delete marker.
    pub etag: String,
    /// Canonical id of the owner.
    pub owner: String,
    /// The storage class; empty means `STANDARD`.
    pub storage_class: String,
    /// Checksum algorithm and type, if there is a checksum.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

impl ObjectHead {
    /// The version id as clients see it.
    pub fn version_id(&self) -> String {
        if self.null_version { "null".to_owned() } else { self.id.to_string() }
    }

    /// The storage class as clients see it.
    pub fn storage_class(&self) -> &str {
        if self.storage_class.is_empty() { STANDARD } else { &self.storage_class }
    }

    /// Whether the storage class is one whose objects must be restored before they can be read.
    pub fn is_archived(&self) -> bool {
        ARCHIVE_CLASSES.contains(&self.storage_class.as_str())
    }
}

/// Where a run of an object's bytes is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The name of the body.
    pub id: BlobId,
    /// The length of the run in bytes, not encrypted.
    pub size: u64,
    /// Where its stored form begins in the body, in bytes. Other than 0 only where a store put encrypted parts
    /// together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// Kept as a record rather than in a blob store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inline: bool,
    /// The location whose store has it; empty for the only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// The salt of its key in hexadecimal, if the stored form is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

impl Piece {
    /// A whole body in a blob store, as it came.
    pub fn whole(id: BlobId, size: u64, location: &str) -> Piece {
        Piece { id, size, offset: 0, inline: false, location: location.to_owned(), salt: None }
    }

    /// The length of the stored form in bytes.
    pub fn stored_size(&self) -> u64 {
        if self.salt.is_some() { sealed_size(self.size) } else { self.size }
    }
}

/// Where zero goes without saying.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Each body of these pieces once: pieces of one body stand next to each other.
pub fn bodies(pieces: &[Piece]) -> impl Iterator<Item = &Piece> {
    let is_first = |at: usize| at == 0 || pieces[at - 1].id != pieces[at].id;
    pieces.iter().enumerate().filter(move |(at, _)| is_first(*at)).map(|(_, piece)| piece)
}

/// A part of an object that was uploaded in parts, for `partNumber` reads and GetObjectAttributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPart {
    /// Its number, 1 to 10000.
    pub number: u16,
    /// Its size in bytes.
    pub size: u64,
    /// Its checksum in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// What only a read of the object itself needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDetail {
    /// System metadata by lower-case header name: `content-type`, `cache-control`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// User metadata: what follows `x-amz-meta-`, in lower case, and the text that the value stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<(String, String)>,
    /// Tags in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
    /// The grants; `None` means private: the owner alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,
    /// Retention and legal hold.
    #[serde(default, skip_serializing_if = "ObjectLock::is_empty")]
    pub lock: ObjectLock,
    /// Where the bytes are, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Piece>,
    /// The parts it was uploaded in; empty for a single PUT or a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ObjectPart>,
    /// The upload that it was completed from, so that completing it again is answered alike; or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub upload_id: String,
    /// The checksum in base64, with `-N` when composite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// How the bytes are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<ObjectEncryption>,
    /// `PENDING` when the bucket's replication configuration was for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_status: Option<String>,
    /// The temporary copy, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// What listings show.
    pub head: ObjectHead,
    /// The rest.
    pub detail: ObjectDetail,
}

const DELETE_MARKER: u8 = 1;
const NULL_VERSION: u8 = 2;
const COMPOSITE: u8 = 4;

impl ObjectRecord {
    /// A delete marker.
    pub fn delete_marker(id: SortedId, null_version: bool, modified_ms: u64, owner: String) -> ObjectRecord {
        let head = ObjectHead {
            delete_marker: true,
            null_version,
            id,
            modified_ms,
            size: 0,
            etag: String::new(),
            owner,
            storage_class: String::new(),
            checksum: None,
        };
        ObjectRecord { head, detail: ObjectDetail::default() }
    }

    /// How an archived object can be read at `now`; `None` for one that is not archived.
    pub fn availability(&self, now: u64) -> Option<Availability> {
        if !self.head.is_archived() {
            return None;
        }
        Some(match self.detail.restore {
            Some(restore) if now < restore.ready_ms => Availability::Restoring,
            Some(restore) if now < restore.expires_ms => Availability::Restored(restore.expires_ms),
            _ => Availability::Archived,
        })
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let head = &self.head;
        let composite = matches!(head.checksum, Some((_, ChecksumType::Composite)));
        let mut encoder = Encoder::new();
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        encoder.u8(flag(head.delete_marker, DELETE_MARKER)
            | flag(head.null_version, NULL_VERSION)
            | flag(composite, COMPOSITE));
        encoder.u8(head.checksum.map_or(0, |(algorithm, _)| algorithm.stored_number()));
        encoder.raw(&head.id.0);
        encoder.u64(head.modified_ms);
        encoder.u64(head.size);
        encoder.text(&head.etag);
        encoder.text(&head.owner);
        encoder.text(&head.storage_class);
        encoder.finish(&self.detail)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`].
    pub fn decode(bytes: &[u8]) -> Result<ObjectRecord> {
        let (head, decoder) = decode_head(bytes)?;
        Ok(ObjectRecord { head, detail: decoder.tail()? })
    }

    /// Reads only what a listing needs.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`].
    pub fn decode_head(bytes: &[u8]) -> Result<ObjectHead> {
        decode_head(bytes).map(|(head, _)| head)
    }
}

fn decode_head(bytes: &[u8]) -> Result<(ObjectHead, Decoder<'_>)> {
    let mut decoder = Decoder::new(bytes)?;
    let flags = decoder.u8()?;
    let kind = if flags & COMPOSITE != 0 { ChecksumType::Composite } else { ChecksumType::FullObject };
    let checksum = match decoder.u8()? {
        0 => None,
        number => Some((
            ChecksumAlgorithm::from_stored_number(number)
                .ok_or_else(|| StorageError::Corrupt(format!("record: checksum algorithm {number}")))?,
            kind,
        )),
    };
    let head = ObjectHead {
        delete_marker: flags & DELETE_MARKER != 0,
        null_version: flags & NULL_VERSION != 0,
        checksum,
        id: SortedId(decoder.raw()?),
        modified_ms: decoder.u64()?,
        size: decoder.u64()?,
        etag: decoder.text()?.to_owned(),
        owner: decoder.text()?.to_owned(),
        storage_class: decoder.text()?.to_owned(),
    };
    Ok((head, decoder))
}

impl ChecksumAlgorithm {
    /// The number in stored records. Never reused, never renumbered.
    fn stored_number(self) -> u8 {
        match self {
            ChecksumAlgorithm::Crc32 => 1,
            ChecksumAlgorithm::Crc32c => 2,
            ChecksumAlgorithm::Crc64Nvme => 3,
            ChecksumAlgorithm::Sha1 => 4,
            ChecksumAlgorithm::Sha256 => 5,
            ChecksumAlgorithm::Md5 => 6,
            ChecksumAlgorithm::Sha512 => 7,
            ChecksumAlgorithm::XxHash64 => 8,
            ChecksumAlgorithm::XxHash3 => 9,
            ChecksumAlgorithm::XxHash128 => 10,
        }
    }

    fn from_stored_number(number: u8) -> Option<ChecksumAlgorithm> {
        use ChecksumAlgorithm::{
            Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256, Sha512, XxHash3, XxHash64, XxHash128,
        };
        [Crc32, Crc32c, Crc64Nvme, Sha1, Sha256, Md5, Sha512, XxHash64, XxHash3, XxHash128]
            .into_iter()
            .find(|algorithm| algorithm.stored_number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let record = ObjectRecord {
            head: ObjectHead {
                delete_marker: false,
                null_version: true,
                id: SortedId::new(1, None),
                modified_ms: 1_795_375_800_123,
                size: 42,
                etag: "d41d8cd98f00b204e9800998ecf8427e-2".to_owned(),
                owner: "o".repeat(64),
                storage_class: String::new(),
                checksum: Some((ChecksumAlgorithm::Crc32c, ChecksumType::Composite)),
            },
            detail: ObjectDetail {
                headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
                metadata: vec![("naïve".to_owned(), "é\t\"<".to_owned())],
                pieces: vec![Piece { inline: true, ..Piece::whole(BlobId("00".to_owned()), 42, "") }],
                ..ObjectDetail::default()
            },
        };
        assert_eq!(ObjectRecord::decode(&record.encode()).expect("whole"), record);
    }
    #[test]
    fn a_piece_says_where_it_begins_only_where_it_is_not_the_beginning() {
        let old = r#"{"id":"00","size":42}"#;
        let piece = Piece::whole(BlobId("00".to_owned()), 42, "");
        assert_eq!(serde_json::to_string(&piece).expect("a piece"), old);
        assert_eq!(serde_json::from_str::<Piece>(old).expect("a piece"), piece);
        let behind = Piece { offset: 58, ..piece };
        let text = serde_json::to_string(&behind).expect("a piece");
        assert_eq!(serde_json::from_str::<Piece>(&text).expect("a piece"), behind);
    }

    #[test]
    fn a_body_of_several_pieces_is_named_once() {
        let piece = |id: &str, offset| Piece { offset, ..Piece::whole(BlobId(id.to_owned()), 1, "") };
        let pieces = [piece("a", 0), piece("a", 1), piece("b", 0), piece("b", 1), piece("c", 0)];
        let ids: Vec<&str> = bodies(&pieces).map(|piece| piece.id.0.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(bodies(&[]).count(), 0);
    }
}
