//! The actions that a bucket policy can name, and what each acts on.
//!
//! From "Actions, resources, and condition keys for Amazon S3" (Service Authorization Reference).

use std::sync::LazyLock;

/// What an action acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A bucket.
    Bucket,
    /// An object.
    Object,
    /// Neither; known so that the error can say so.
    Service,
}

/// An action.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    /// The name without `s3:`.
    pub name: &'static str,
    /// What it acts on.
    pub resource: Resource,
}

/// Keys that only a listing has.
const LISTING_KEYS: [&str; 3] = ["s3:delimiter", "s3:max-keys", "s3:prefix"];

/// Keys that only actions on objects have. What follows a `/` is left out.
const OBJECT_KEYS: [&str; 12] = [
    "s3:existingobjecttag",
    "s3:if-match",
    "s3:if-none-match",
    "s3:requestobjecttag",
    "s3:requestobjecttagkeys",
    "s3:versionid",
    "s3:x-amz-copy-source",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
];

impl Action {
    /// Whether a request for the action can have a condition key. Of the keys of S3 only those are told
    /// apart that belong to listings or to objects.
    pub fn takes(&self, key: &str) -> bool {
        let name = key.split_once('/').map_or(key, |(name, _)| name);
        match self.resource {
            Resource::Object => !LISTING_KEYS.contains(&name),
            Resource::Bucket if self.name.starts_with("List") => !OBJECT_KEYS.contains(&name),
            Resource::Bucket | Resource::Service => {
                !LISTING_KEYS.contains(&name) && !OBJECT_KEYS.contains(&name)
            }
        }
    }
}

const fn bucket(name: &'static str) -> Action {
    Action { name, resource: Resource::Bucket }
}

const fn object(name: &'static str) -> Action {
    Action { name, resource: Resource::Object }
}

/// Every action.
pub static ALL: &[Action] = &[
    Action { name: "ListAllMyBuckets", resource: Resource::Service },
    bucket("CreateBucket"),
    bucket("CreateBucketMetadataTableConfiguration"),
    bucket("DeleteBucket"),
    bucket("DeleteBucketMetadataTableConfiguration"),
    bucket("DeleteBucketPolicy"),
    bucket("DeleteBucketWebsite"),
    bucket("GetAccelerateConfiguration"),
    bucket("GetAnalyticsConfiguration"),
    bucket("GetBucketAbac"),
    bucket("GetBucketAcl"),
    bucket("GetBucketCORS"),
    bucket("GetBucketLocation"),
    bucket("GetBucketLogging"),
    bucket("GetBucketMetadataTableConfiguration"),
    bucket("GetBucketNotification"),
    bucket("GetBucketObjectLockConfiguration"),
    bucket("GetBucketOwnershipControls"),
    bucket("GetBucketPolicy"),
    bucket("GetBucketPolicyStatus"),
    bucket("GetBucketPublicAccessBlock"),
    bucket("GetBucketRequestPayment"),
    bucket("GetBucketTagging"),
    bucket("GetBucketVersioning"),
    bucket("GetBucketWebsite"),
    bucket("GetEncryptionConfiguration"),
    bucket("GetIntelligentTieringConfiguration"),
    bucket("GetInventoryConfiguration"),
    bucket("GetLifecycleConfiguration"),
    bucket("GetMetricsConfiguration"),
    bucket("GetReplicationConfiguration"),
    bucket("ListBucket"),
    bucket("ListBucketMultipartUploads"),
    bucket("ListBucketVersions"),
    bucket("ListTagsForResource"),
    bucket("PauseReplication"),
    bucket("PutAccelerateConfiguration"),
    bucket("PutAnalyticsConfiguration"),
    bucket("PutBucketAbac"),
    bucket("PutBucketAcl"),
    bucket("PutBucketCORS"),
    bucket("PutBucketLogging"),
    bucket("PutBucketNotification"),
    bucket("PutBucketObjectLockConfiguration"),
    bucket("PutBucketOwnershipControls"),
    bucket("PutBucketPolicy"),
    bucket("PutBucketPublicAccessBlock"),
    bucket("PutBucketRequestPayment"),
    bucket("PutBucketTagging"),
    bucket("PutBucketVersioning"),
    bucket("PutBucketWebsite"),
    bucket("PutEncryptionConfiguration"),
    bucket("PutIntelligentTieringConfiguration"),
    bucket("PutInventoryConfiguration"),
    bucket("PutLifecycleConfiguration"),
    bucket("PutMetricsConfiguration"),
    bucket("PutReplicationConfiguration"),
    bucket("TagResource"),
    bucket("UntagResource"),
    bucket("UpdateBucketMetadataInventoryTableConfiguration"),
    bucket("UpdateBucketMetadataJournalTableConfiguration"),
    object("AbortMultipartUpload"),
    object("BypassGovernanceRetention"),
    object("DeleteObject"),
    object("DeleteObjectTagging"),
    object("DeleteObjectVersion"),
    object("DeleteObjectVersionTagging"),
    object("GetObject"),
    object("GetObjectAcl"),
    object("GetObjectAttributes"),
    object("GetObjectLegalHold"),
    object("GetObjectRetention"),
    object("GetObjectTagging"),
    object("GetObjectTorrent"),
    object("GetObjectVersion"),
    object("GetObjectVersionAcl"),
    object("GetObjectVersionAttributes"),
    object("GetObjectVersionForReplication"),
    object("GetObjectVersionTagging"),
    object("GetObjectVersionTorrent"),
    object("InitiateReplication"),
    object("ListMultipartUploadParts"),
    object("ObjectOwnerOverrideToBucketOwner"),
    object("PutObject"),
    object("PutObjectAcl"),
    object("PutObjectLegalHold"),
    object("PutObjectRetention"),
    object("PutObjectTagging"),
    object("PutObjectVersionAcl"),
    object("PutObjectVersionTagging"),
    object("ReplicateDelete"),
    object("ReplicateObject"),
    object("ReplicateTags"),
    object("RestoreObject"),
    object("UpdateObjectEncryption"),
];

/// The full names (`s3:getobject`) in lower case, as they are compared, in the order of [`ALL`].
pub(super) static LOWER: LazyLock<Vec<String>> =
    LazyLock::new(|| ALL.iter().map(|action| format!("s3:{}", action.name.to_ascii_lowercase())).collect());
