//! Lines in access logs besides that of the request itself: one for every key of a DeleteObjects, and one
//! for the object that a copy reads, in the log of that object's bucket.
//!
//! Source: S3 user guide, "Amazon S3 server access log format" with its section on copy operations, and
//! "Logging requests with server access logging".

use super::object_delete::Deleted;
use super::service::Bucket;
use super::{Context, Proof, ProofPlace};
use crate::access_log::Record;
use crate::auth::{Identity, SignatureVersion};
use crate::error::Result;
use crate::model::object::ObjectRecord;
use std::sync::Arc;

/// What became of one key of a DeleteObjects.
pub fn batch_delete(ctx: &Context<'_>, key: &str, version: Option<&str>, outcome: &Result<Deleted>) {
    let Some(bucket) = ctx.bucket.as_ref().filter(|bucket| bucket.record.logging.is_some()) else { return };
    let (status, error_code, made, object_size) = match outcome {
        Ok(deleted) => (204, "", deleted.version_id.as_deref(), deleted.size),
        Err(error) => (error.code().status, error.code().name, None, None),
    };
    let record = Record {
        key: key.to_owned(),
        status: Some(status),
        error_code,
        object_size,
        version_id: version.or(made).unwrap_or("").to_owned(),
        ..of_request(ctx, bucket, "BATCH.DELETE.OBJECT")
    };
    ctx.service.access_log.write(bucket.clone(), &record);
}

/// The read of the source of a copy, or of a copied part.
pub fn copy_source(
    ctx: &Context<'_>,
    bucket: &Arc<Bucket>,
    (key, version): (&str, Option<&str>),
    outcome: &Result<ObjectRecord>,
) {
    if bucket.record.logging.is_none() {
        return;
    }
    let (status, error_code, object_size) = match outcome {
        Ok(record) => (200, "", Some(record.head.size)),
        Err(error) => (error.code().status, error.code().name, None),
    };
    let operation = if ctx.operation.sub.is_empty() { "REST.COPY.OBJECT_GET" } else { "REST.COPY.PART_GET" };
    let record = Record {
        key: key.to_owned(),
        status: Some(status),
        error_code,
        object_size,
        version_id: version.unwrap_or("").to_owned(),
        referer: ctx.header("referer").unwrap_or("").to_owned(),
        user_agent: ctx.header("user-agent").unwrap_or("").to_owned(),
        ..of_request(ctx, bucket, operation)
    };
    ctx.service.access_log.write(bucket.clone(), &record);
}

/// Who a request is from, as access logs name them: the user's ARN, or the canonical id of the account.
/// Nothing for the anonymous.
pub fn requester(identity: &Identity) -> Option<String> {
    match identity {
        Identity::Anonymous => None,
        Identity::Key { user: Some(user), .. } => Some(user.arn.clone()),
        Identity::Key { account, .. } => Some(account.canonical_id.clone()),
    }
}

/// The fields that such a line shares with that of its request.
fn of_request(ctx: &Context<'_>, bucket: &Bucket, operation: &str) -> Record {
    let Proof { version, place } = ctx.proof;
    Record {
        bucket_owner: bucket.record.owner.clone(),
        bucket: bucket.name.to_string(),
        time: ctx.now,
        remote_ip: ctx.peer.map(|peer| peer.ip().to_canonical()),
        requester: requester(ctx.identity).unwrap_or_default(),
        request_id: ctx.request_id.to_owned(),
        operation: operation.to_owned(),
        signature_version: match version {
            Some(SignatureVersion::V4) => "SigV4",
            Some(SignatureVersion::V2) => "SigV2",
            None => "",
        },
        authentication: match (version, place) {
            (None, _) | (_, ProofPlace::Form) => "",
            (_, ProofPlace::Header) => "AuthHeader",
            (_, ProofPlace::Query) => "QueryString",
        },
        host: ctx.header("host").unwrap_or("").to_owned(),
        ..Record::default()
    }
}
