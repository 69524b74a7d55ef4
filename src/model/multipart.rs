//! The records of an open multipart upload and of its parts.

use super::codec::{Decoder, Encoder, Result};
use super::object::{ObjectDetail, Piece};
use crate::codec::digest::{ChecksumAlgorithm, ChecksumType};
use crate::storage::BlobId;
use serde::{Deserialize, Serialize};

/// The body that a store makes of the parts of an upload by itself ([`crate::storage::drafts`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Its name while it is written in pieces.
    pub id: BlobId,
    /// Numbers and tags of the parts that the store is asked to make the body of, written before it is asked.
    /// From then on the body can become nothing else, unless the store refuses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen: Vec<(u16, String)>,
}

/// A part that is a piece of a [`Draft`], under its own number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftPart {
    /// What the store calls its content.
    pub tag: String,
    /// The salt of its key in hexadecimal, if the stored form is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// An open upload: everything the object will have, said at its creation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// When it was created, in milliseconds.
    pub created_ms: u64,
    /// Canonical id of the account that will own the object.
    pub owner: String,
    /// Canonical id, or user ARN, of who created it.
    pub initiator: String,
    /// Display name of who created it.
    pub initiator_name: String,
    /// The storage class; empty means `STANDARD`.
    #[serde(default)]
    pub storage_class: String,
    /// Checksum algorithm and type, if one was asked for.
    #[serde(default)]
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// Metadata, tags and grants of the object to be.
    #[serde(default)]
    pub detail: ObjectDetail,
    /// The location its parts go to; empty for the only one.
    #[serde(default)]
    pub location: String,
    /// Condition keys of S3 without their `s3:` that came with its creation, and their values: policies
    /// look at them again for every part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<(String, String)>,
    /// Whether there was an object under the key when it was created.
    #[serde(default)]
    pub replaces: bool,
    /// The body that the parts are pieces of. Without one each part is a body of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<Draft>,
}

impl UploadRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new().finish(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`crate::storage::StorageError::Corrupt`].
    pub fn decode(bytes: &[u8]) -> Result<UploadRecord> {
        Decoder::new(bytes)?.tail()
    }
}

/// A part of an open upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// When it was uploaded, in milliseconds.
    pub modified_ms: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its ETag, without quotes: the MD5 of its bytes in hexadecimal.
    pub etag: String,
    /// Its checksum in base64, by the algorithm of the upload, or CRC64NVME where that chose none.
    #[serde(default)]
    pub checksum: Option<(ChecksumAlgorithm, String)>,
    /// Where its bytes are, unless they are a piece of the upload's draft.
    pub pieces: Vec<Piece>,
    /// What is known of it as a piece of the upload's draft, unless it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drafted: Option<DraftPart>,
}

impl PartRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new().finish(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`crate::storage::StorageError::Corrupt`].
    pub fn decode(bytes: &[u8]) -> Result<PartRecord> {
        Decoder::new(bytes)?.tail()
    }
}
