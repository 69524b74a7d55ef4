//! The table of operations.

use super::{
    Operation, Scope, acl, attributes, bucket, bucket_encryption, bucket_policy, cors, lifecycle, list,
    list_uploads, logging, multipart, notification, object_copy, object_delete, object_get, object_lock,
    object_put, ownership, post_object, public_access, request_payment, restore, stored_settings, tagging,
    versioning, website,
};
use crate::http::Method;
use Method::{Delete, Get, Head, Post, Put};
use Scope::Bucket as OnBucket;
use Scope::Object as OnObject;
use Scope::Service as OnService;

type Run = fn(&super::Context<'_>, crate::http::Body<'_>) -> crate::error::Result<crate::http::Response>;

const fn row(
    name: &'static str,
    method: Method,
    scope: Scope,
    sub: &'static str,
    action: &'static str,
    run: Run,
) -> Operation {
    Operation { name, method, scope, sub, header: None, action, run }
}

const fn row_with_header(
    name: &'static str,
    scope: Scope,
    sub: &'static str,
    header: &'static str,
    action: &'static str,
    run: Run,
) -> Operation {
    Operation { name, method: Put, scope, sub, header: Some(header), action, run }
}

/// Every operation. Where two rows differ only by a header, the one with the header stands first.
#[rustfmt::skip]
pub static OPERATIONS: &[Operation] = &[
    row("ListBuckets", Get, OnService, "", "s3:ListAllMyBuckets", bucket::list),

    row("CreateBucket", Put, OnBucket, "", "s3:CreateBucket", bucket::create),
    row("HeadBucket", Head, OnBucket, "", "s3:ListBucket", bucket::head),
    row("DeleteBucket", Delete, OnBucket, "", "s3:DeleteBucket", bucket::delete),
    row("GetBucketLocation", Get, OnBucket, "location", "s3:GetBucketLocation", bucket::location),
    row("ListObjects", Get, OnBucket, "", "s3:ListBucket", list::objects),
    row("ListObjectVersions", Get, OnBucket, "versions", "s3:ListBucketVersions", list::versions),
    row("ListMultipartUploads", Get, OnBucket, "uploads", "s3:ListBucketMultipartUploads", list_uploads::list),
    row("PostObject", Post, OnBucket, "", "s3:PutObject", post_object::post),
    row("DeleteObjects", Post, OnBucket, "delete", "s3:DeleteObject", object_delete::delete_many),

    row("GetBucketAcl", Get, OnBucket, "acl", "s3:GetBucketAcl", acl::get_bucket),
    row("PutBucketAcl", Put, OnBucket, "acl", "s3:PutBucketAcl", acl::put_bucket),
    row("GetBucketVersioning", Get, OnBucket, "versioning", "s3:GetBucketVersioning", versioning::get_versioning),
    row("PutBucketVersioning", Put, OnBucket, "versioning", "s3:PutBucketVersioning", versioning::put_versioning),
    row("GetBucketAccelerateConfiguration", Get, OnBucket, "accelerate", "s3:GetAccelerateConfiguration", stored_settings::get_accelerate),
    row("PutBucketAccelerateConfiguration", Put, OnBucket, "accelerate", "s3:PutAccelerateConfiguration", stored_settings::put_accelerate),
    row("GetBucketAnalyticsConfiguration", Get, OnBucket, "analytics", "s3:GetAnalyticsConfiguration", stored_settings::get_configuration),
    row("PutBucketAnalyticsConfiguration", Put, OnBucket, "analytics", "s3:PutAnalyticsConfiguration", stored_settings::put_configuration),
    row("DeleteBucketAnalyticsConfiguration", Delete, OnBucket, "analytics", "s3:PutAnalyticsConfiguration", stored_settings::delete_configuration),
    row("GetBucketCors", Get, OnBucket, "cors", "s3:GetBucketCORS", cors::get),
    row("PutBucketCors", Put, OnBucket, "cors", "s3:PutBucketCORS", cors::put),
    row("DeleteBucketCors", Delete, OnBucket, "cors", "s3:PutBucketCORS", cors::delete),
    row("GetBucketEncryption", Get, OnBucket, "encryption", "s3:GetEncryptionConfiguration", bucket_encryption::get),
    row("PutBucketEncryption", Put, OnBucket, "encryption", "s3:PutEncryptionConfiguration", bucket_encryption::put),
    row("DeleteBucketEncryption", Delete, OnBucket, "encryption", "s3:PutEncryptionConfiguration", bucket_encryption::delete),
    row("GetBucketIntelligentTieringConfiguration", Get, OnBucket, "intelligent-tiering", "s3:GetIntelligentTieringConfiguration", stored_settings::get_configuration),
    row("PutBucketIntelligentTieringConfiguration", Put, OnBucket, "intelligent-tiering", "s3:PutIntelligentTieringConfiguration", stored_settings::put_configuration),
    row("DeleteBucketIntelligentTieringConfiguration", Delete, OnBucket, "intelligent-tiering", "s3:PutIntelligentTieringConfiguration", stored_settings::delete_configuration),
    row("GetBucketInventoryConfiguration", Get, OnBucket, "inventory", "s3:GetInventoryConfiguration", stored_settings::get_configuration),
    row("PutBucketInventoryConfiguration", Put, OnBucket, "inventory", "s3:PutInventoryConfiguration", stored_settings::put_configuration),
    row("DeleteBucketInventoryConfiguration", Delete, OnBucket, "inventory", "s3:PutInventoryConfiguration", stored_settings::delete_configuration),
    row("GetBucketLifecycleConfiguration", Get, OnBucket, "lifecycle", "s3:GetLifecycleConfiguration", lifecycle::get),
    row("PutBucketLifecycleConfiguration", Put, OnBucket, "lifecycle", "s3:PutLifecycleConfiguration", lifecycle::put),
    row("DeleteBucketLifecycle", Delete, OnBucket, "lifecycle", "s3:PutLifecycleConfiguration", lifecycle::delete),
    row("GetBucketLogging", Get, OnBucket, "logging", "s3:GetBucketLogging", logging::get),
    row("PutBucketLogging", Put, OnBucket, "logging", "s3:PutBucketLogging", logging::put),
    row("GetBucketMetricsConfiguration", Get, OnBucket, "metrics", "s3:GetMetricsConfiguration", stored_settings::get_configuration),
    row("PutBucketMetricsConfiguration", Put, OnBucket, "metrics", "s3:PutMetricsConfiguration", stored_settings::put_configuration),
    row("DeleteBucketMetricsConfiguration", Delete, OnBucket, "metrics", "s3:PutMetricsConfiguration", stored_settings::delete_configuration),
    row("GetBucketNotificationConfiguration", Get, OnBucket, "notification", "s3:GetBucketNotification", notification::get),
    row("PutBucketNotificationConfiguration", Put, OnBucket, "notification", "s3:PutBucketNotification", notification::put),
    row("GetObjectLockConfiguration", Get, OnBucket, "object-lock", "s3:GetBucketObjectLockConfiguration", object_lock::get_configuration),
    row("PutObjectLockConfiguration", Put, OnBucket, "object-lock", "s3:PutBucketObjectLockConfiguration", object_lock::put_configuration),
    row("GetBucketOwnershipControls", Get, OnBucket, "ownershipControls", "s3:GetBucketOwnershipControls", ownership::get),
    row("PutBucketOwnershipControls", Put, OnBucket, "ownershipControls", "s3:PutBucketOwnershipControls", ownership::put),
    row("DeleteBucketOwnershipControls", Delete, OnBucket, "ownershipControls", "s3:PutBucketOwnershipControls", ownership::delete),
    row("GetBucketPolicy", Get, OnBucket, "policy", "s3:GetBucketPolicy", bucket_policy::get),
    row("PutBucketPolicy", Put, OnBucket, "policy", "s3:PutBucketPolicy", bucket_policy::put),
    row("DeleteBucketPolicy", Delete, OnBucket, "policy", "s3:DeleteBucketPolicy", bucket_policy::delete),
    row("GetBucketPolicyStatus", Get, OnBucket, "policyStatus", "s3:GetBucketPolicyStatus", bucket_policy::status),
    row("GetPublicAccessBlock", Get, OnBucket, "publicAccessBlock", "s3:GetBucketPublicAccessBlock", public_access::get),
    row("PutPublicAccessBlock", Put, OnBucket, "publicAccessBlock", "s3:PutBucketPublicAccessBlock", public_access::put),
    row("DeletePublicAccessBlock", Delete, OnBucket, "publicAccessBlock", "s3:PutBucketPublicAccessBlock", public_access::delete),
    row("GetBucketReplication", Get, OnBucket, "replication", "s3:GetReplicationConfiguration", stored_settings::get_replication),
    row("PutBucketReplication", Put, OnBucket, "replication", "s3:PutReplicationConfiguration", stored_settings::put_replication),
    row("DeleteBucketReplication", Delete, OnBucket, "replication", "s3:PutReplicationConfiguration", stored_settings::delete_replication),
    row("GetBucketRequestPayment", Get, OnBucket, "requestPayment", "s3:GetBucketRequestPayment", request_payment::get),
    row("PutBucketRequestPayment", Put, OnBucket, "requestPayment", "s3:PutBucketRequestPayment", request_payment::put),
    row("GetBucketTagging", Get, OnBucket, "tagging", "s3:GetBucketTagging", tagging::get_bucket),
    row("PutBucketTagging", Put, OnBucket, "tagging", "s3:PutBucketTagging", tagging::put_bucket),
    row("DeleteBucketTagging", Delete, OnBucket, "tagging", "s3:PutBucketTagging", tagging::delete_bucket),
    row("GetBucketWebsite", Get, OnBucket, "website", "s3:GetBucketWebsite", website::get),
    row("PutBucketWebsite", Put, OnBucket, "website", "s3:PutBucketWebsite", website::put),
    row("DeleteBucketWebsite", Delete, OnBucket, "website", "s3:DeleteBucketWebsite", website::delete),

    row_with_header("CopyObject", OnObject, "", "x-amz-copy-source", "s3:PutObject", object_copy::copy),
    row("PutObject", Put, OnObject, "", "s3:PutObject", object_put::put),
    row("GetObject", Get, OnObject, "", "s3:GetObject", object_get::get),
    row("HeadObject", Head, OnObject, "", "s3:GetObject", object_get::head),
    row("DeleteObject", Delete, OnObject, "", "s3:DeleteObject", object_delete::delete),
    row("GetObjectAcl", Get, OnObject, "acl", "s3:GetObjectAcl", acl::get_object),
    row("PutObjectAcl", Put, OnObject, "acl", "s3:PutObjectAcl", acl::put_object),
    row("GetObjectAttributes", Get, OnObject, "attributes", "s3:GetObjectAttributes", attributes::get),
    row("GetObjectTorrent", Get, OnObject, "torrent", "s3:GetObjectTorrent", object_get::torrent),
    row("GetObjectTagging", Get, OnObject, "tagging", "s3:GetObjectTagging", tagging::get_object),
    row("PutObjectTagging", Put, OnObject, "tagging", "s3:PutObjectTagging", tagging::put_object),
    row("DeleteObjectTagging", Delete, OnObject, "tagging", "s3:DeleteObjectTagging", tagging::delete_object),
    row("GetObjectRetention", Get, OnObject, "retention", "s3:GetObjectRetention", object_lock::get_retention),
    row("PutObjectRetention", Put, OnObject, "retention", "s3:PutObjectRetention", object_lock::put_retention),
    row("GetObjectLegalHold", Get, OnObject, "legal-hold", "s3:GetObjectLegalHold", object_lock::get_legal_hold),
    row("PutObjectLegalHold", Put, OnObject, "legal-hold", "s3:PutObjectLegalHold", object_lock::put_legal_hold),

    row("RestoreObject", Post, OnObject, "restore", "s3:RestoreObject", restore::restore),

    row("CreateMultipartUpload", Post, OnObject, "uploads", "s3:PutObject", multipart::create),
    row_with_header("UploadPartCopy", OnObject, "uploadId", "x-amz-copy-source", "s3:PutObject", object_copy::copy_part),
    row("UploadPart", Put, OnObject, "uploadId", "s3:PutObject", multipart::upload_part),
    row("CompleteMultipartUpload", Post, OnObject, "uploadId", "s3:PutObject", multipart::complete),
    row("AbortMultipartUpload", Delete, OnObject, "uploadId", "s3:AbortMultipartUpload", multipart::abort),
    row("ListParts", Get, OnObject, "uploadId", "s3:ListMultipartUploadParts", list_uploads::parts),
];

/// Every sub-resource that S3 has, whether or not a row answers it: a request that names one is never
/// taken for the plain operation.
static SUB_RESOURCES: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// Parameters that a write may carry with an empty value without naming a sub-resource.
pub static EMPTY_PARAMETERS: &[&str] = &["versionId", "x-id", "X-Amz-Security-Token", "partNumber", "prefix"];

/// Whether a query parameter names a sub-resource.
pub fn is_sub_resource(name: &str) -> bool {
    SUB_RESOURCES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        assert!(SUB_RESOURCES.is_sorted());
        for (index, row) in OPERATIONS.iter().enumerate() {
            assert!(row.sub.is_empty() || is_sub_resource(row.sub), "{}", row.name);
            assert!(row.action.starts_with("s3:"), "{}", row.name);
            for earlier in &OPERATIONS[..index] {
                assert_ne!(earlier.name, row.name);
                let same = (earlier.method, earlier.scope, earlier.sub) == (row.method, row.scope, row.sub);
                assert!(!same || earlier.header.is_some(), "{} hides {}", earlier.name, row.name);
            }
        }
    }
}
