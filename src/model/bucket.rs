//! The record of a bucket: its owner and its settings.

use super::acl::Acl;
use super::encryption::BucketEncryption;
use super::lock::DefaultRetention;
use crate::storage::StorageError;
use serde::{Deserialize, Serialize};

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never was asked to.
    #[default]
    Unversioned,
    /// Every write makes a version.
    Enabled,
    /// Writes replace the null version; older versions stay.
    Suspended,
}

/// A bucket. Written as JSON: it is read far more often than written, is cached decoded, and grows a
/// setting at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// Canonical id of the owner.
    pub owner: String,
    /// Creation time in milliseconds.
    pub created_ms: u64,
    /// The location it was created in.
    pub location: String,
    /// Whether it keeps versions.
    #[serde(default)]
    pub versioning: Versioning,
    /// Its access control list.
    #[serde(default)]
    pub acl: Acl,
    /// Whether object lock was enabled.
    #[serde(default)]
    pub object_lock: bool,
    /// Its default encryption; `None` stores objects as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<BucketEncryption>,
    /// The retention of new versions that bring none; only with object lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_retention: Option<DefaultRetention>,
    /// Its tags in the order given, if a set was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<(String, String)>>,
}

impl BucketRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a bucket record has string keys only")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`].
    pub fn decode(bytes: &[u8]) -> Result<BucketRecord, StorageError> {
        serde_json::from_slice(bytes)
            .map_err(|error| StorageError::Corrupt(format!("bucket record: {error}")))
    }
}
