//! Operations that S3 has and this server has not: their names, how they are asked for, and why not.
//!
//! A request for one of them must never be taken for another operation: `PUT /key?annotation` is no upload.
//! So each has a row here, and is answered `NotImplemented` with a sentence that says what was asked for.
//!
//! Source: the list of actions of the S3 API reference, as of 2026.

use super::Scope;
use crate::codec::uri::Query;
use crate::error::{Code, Error};
use crate::http::Method;
use Method::{Delete, Get, Post, Put};
use Scope::Bucket as OnBucket;
use Scope::Object as OnObject;
use Scope::Service as OnService;

/// A row of [`UNBUILT`].
pub struct Unbuilt {
    /// S3's name for it.
    pub name: &'static str,
    /// The method that asks for it.
    pub method: Method,
    /// What it is about.
    pub scope: Scope,
    /// The parameter in the query that tells it from others.
    pub sub: &'static str,
    /// Why there is none.
    pub reason: &'static str,
}

const DIRECTORY: &str = "there are no directory buckets here";
const TABLES: &str = "there are no metadata tables here";
const ANNOTATIONS: &str = "objects have no annotations here; tags and metadata they have";
const ABAC: &str = "bucket tags do not take part in access decisions here";
const SELECT: &str = "objects are not searched here";
const ENCRYPTION: &str = "copy the object onto itself with the encryption that it shall have";

const fn row(
    name: &'static str,
    method: Method,
    scope: Scope,
    sub: &'static str,
    reason: &'static str,
) -> Unbuilt {
    Unbuilt { name, method, scope, sub, reason }
}

/// Every operation of S3 that is not in [`super::table::OPERATIONS`], but for WriteGetObjectResponse
/// ([`refusal_of_path`]).
#[rustfmt::skip]
pub static UNBUILT: &[Unbuilt] = &[
    row("ListDirectoryBuckets", Get, OnService, "max-directory-buckets", DIRECTORY),
    row("CreateSession", Get, OnBucket, "session", DIRECTORY),
    row("RenameObject", Put, OnObject, "renameObject", DIRECTORY),

    row("GetBucketAbac", Get, OnBucket, "abac", ABAC),
    row("PutBucketAbac", Put, OnBucket, "abac", ABAC),

    row("CreateBucketMetadataConfiguration", Post, OnBucket, "metadataConfiguration", TABLES),
    row("GetBucketMetadataConfiguration", Get, OnBucket, "metadataConfiguration", TABLES),
    row("DeleteBucketMetadataConfiguration", Delete, OnBucket, "metadataConfiguration", TABLES),
    row("CreateBucketMetadataTableConfiguration", Post, OnBucket, "metadataTable", TABLES),
    row("GetBucketMetadataTableConfiguration", Get, OnBucket, "metadataTable", TABLES),
    row("DeleteBucketMetadataTableConfiguration", Delete, OnBucket, "metadataTable", TABLES),
    row("UpdateBucketMetadataAnnotationTableConfiguration", Put, OnBucket, "metadataAnnotationTable", TABLES),
    row("UpdateBucketMetadataInventoryTableConfiguration", Put, OnBucket, "metadataInventoryTable", TABLES),
    row("UpdateBucketMetadataJournalTableConfiguration", Put, OnBucket, "metadataJournalTable", TABLES),

    row("PutObjectAnnotation", Put, OnObject, "annotation", ANNOTATIONS),
    row("GetObjectAnnotation", Get, OnObject, "annotation", ANNOTATIONS),
    row("DeleteObjectAnnotation", Delete, OnObject, "annotation", ANNOTATIONS),

    row("SelectObjectContent", Post, OnObject, "select", SELECT),
    row("UpdateObjectEncryption", Put, OnObject, "encryption", ENCRYPTION),
];

/// What a request for an operation is told that S3 has and this server has not. ListObjectAnnotations is
/// GetObjectAnnotation without a name.
pub fn refusal(method: Method, scope: Scope, query: &Query) -> Option<Error> {
    let row = UNBUILT.iter().find(|row| row.method == method && row.scope == scope && query.has(row.sub))?;
    let listing = row.name == "GetObjectAnnotation" && !query.has("annotationName");
    let name = if listing { "ListObjectAnnotations" } else { row.name };
    Some(Error::with_message(Code::NotImplemented, format!("{name} is not implemented: {}", row.reason)))
}

/// The same for WriteGetObjectResponse, whose path has no bucket: no bucket can have that name.
pub fn refusal_of_path(path: &str) -> Option<Error> {
    let message = "WriteGetObjectResponse is not implemented: there are no access points with functions here";
    (path == "/WriteGetObjectResponse").then(|| Error::with_message(Code::NotImplemented, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::table::{OPERATIONS, is_sub_resource};

    /// Names that two rows of the API reference share with one request.
    const SAME_REQUEST: [(&str, &str); 9] = [
        ("GetBucketLifecycle", "GetBucketLifecycleConfiguration"),
        ("GetBucketNotification", "GetBucketNotificationConfiguration"),
        ("ListBucketAnalyticsConfigurations", "GetBucketAnalyticsConfiguration"),
        ("ListBucketIntelligentTieringConfigurations", "GetBucketIntelligentTieringConfiguration"),
        ("ListBucketInventoryConfigurations", "GetBucketInventoryConfiguration"),
        ("ListBucketMetricsConfigurations", "GetBucketMetricsConfiguration"),
        ("ListObjectAnnotations", "GetObjectAnnotation"),
        ("ListObjectsV2", "ListObjects"),
        ("PutBucketLifecycle", "PutBucketLifecycleConfiguration"),
    ];

    /// The actions of the S3 API of 2026 that are not rows of the table of operations under their name.
    const OTHERS: [&str; 3] = ["PutBucketNotification", "WriteGetObjectResponse", "HeadObject"];

    #[test]
    fn no_operation_stands_in_both_tables() {
        for row in UNBUILT {
            assert!(OPERATIONS.iter().all(|built| built.name != row.name), "{}", row.name);
            let hidden = |built: &&super::super::Operation| {
                built.method == row.method && built.scope == row.scope && built.sub == row.sub
            };
            assert!(!OPERATIONS.iter().any(|built| hidden(&built)), "{}", row.name);
            assert!(row.scope == OnService || is_sub_resource(row.sub), "{}", row.name);
        }
    }

    #[test]
    fn every_action_of_s3_is_in_one_table_or_the_other() {
        let actions = include_str!("../../tests/it/s3_actions.txt");
        assert!(actions.lines().count() > 100);
        for action in actions.lines() {
            let name = SAME_REQUEST.iter().find(|(old, _)| *old == action).map_or(action, |(_, row)| row);
            let known = OPERATIONS.iter().any(|row| row.name == name)
                || UNBUILT.iter().any(|row| row.name == name)
                || OTHERS.contains(&name);
            assert!(known, "{action}");
        }
    }
}
