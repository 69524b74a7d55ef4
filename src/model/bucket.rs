//! The record of a bucket: its owner and its settings.

use super::access::{ObjectOwnership, PublicAccessBlock};
use super::acl::Acl;
use super::cors::CorsConfiguration;
use super::encryption::BucketEncryption;
use super::lifecycle::LifecycleConfiguration;
use super::lock::DefaultRetention;
use super::logging::LoggingConfiguration;
use super::notification::NotificationConfiguration;
use super::replication::ReplicationConfiguration;
use super::website::WebsiteConfiguration;
use crate::storage::StorageError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Its access control list. Creation writes the list of the owner alone; an empty one was emptied by
    /// the owner, who has access all the same.
    #[serde(default)]
    pub acl: Acl,
    /// Its policy, byte for byte as it was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Who owns its objects; `None` was never said, and means [`ObjectOwnership::ObjectWriter`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<ObjectOwnership>,
    /// What public access it refuses; `None` was never said, and means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_access_block: Option<PublicAccessBlock>,
    /// Whether requesters pay, which they must say in every request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requester_pays: bool,
    /// Whether object lock was enabled.
    #[serde(default)]
    pub object_lock: bool,
    /// Its default encryption; `None` stores objects as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<BucketEncryption>,
    /// Which foreign pages may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsConfiguration>,
    /// What it does as a website.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<WebsiteConfiguration>,
    /// Where its objects would be replicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<ReplicationConfiguration>,
    /// The status of transfer acceleration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerate: Option<String>,
    /// Configurations that are only kept: by sub-resource, by id, the XML inside the root.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<String, BTreeMap<String, String>>,
    /// Its lifecycle rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<LifecycleConfiguration>,
    /// Where its access log goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<LoggingConfiguration>,
    /// Which events are told to whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<NotificationConfiguration>,
    /// The retention of new versions that bring none; only with object lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_retention: Option<DefaultRetention>,
    /// Its tags in the order given, if a set was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<(String, String)>>,
}

impl BucketRecord {
    /// Whether access control lists neither count nor can be set.
    pub fn acls_disabled(&self) -> bool {
        self.ownership == Some(ObjectOwnership::BucketOwnerEnforced)
    }

    /// What public access the bucket refuses.
    pub fn public_access_block(&self) -> PublicAccessBlock {
        self.public_access_block.unwrap_or_default()
    }

    /// The owner of an object in this bucket that was written as `owner`'s: with lists disabled, always
    /// the bucket's.
    pub fn owner_of<'a>(&'a self, owner: &'a str) -> &'a str {
        if self.acls_disabled() { &self.owner } else { owner }
    }

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
