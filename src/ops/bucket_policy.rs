//! The policy of a bucket: put, get, delete, and whether it is public. What it says of a request is
//! decided in [`super::access`].
//!
//! Source: S3 API reference, PutBucketPolicy, GetBucketPolicyStatus.

use super::{Context, read_small_body, xml_response};
use crate::auth::policy::{POLICY_BYTES_MAX, Policy};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response, ResponseBody};

/// How much of a body is read: enough to tell a policy that is too long from one that is cut off.
const BODY_BYTES_MAX: usize = 2 * POLICY_BYTES_MAX;

/// GetBucketPolicy.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let Some(policy) = &ctx.bucket().record.policy else {
        return Err(Error::new(Code::NoSuchBucketPolicy).field("BucketName", ctx.bucket_name().as_str()));
    };
    let body = ResponseBody::Bytes(policy.clone().into_bytes());
    Ok(Response::new(200).header("Content-Type", "application/json").body(body))
}

/// PutBucketPolicy.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_small_body(body, BODY_BYTES_MAX)?;
    let policy = Policy::parse(&body, ctx.bucket_name().as_str())?;
    let document = String::from_utf8(body).map_err(|_| Error::new(Code::MalformedPolicy))?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        if record.public_access_block().block_public_policy && policy.is_public() {
            return Err(Code::AccessDenied.into());
        }
        record.policy = Some(document.clone());
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// DeleteBucketPolicy. One that is not there is fine.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.policy = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// GetBucketPolicyStatus. Counts the bucket's list too, and a bucket without a policy has a status,
/// where AWS knows only that of a policy.
pub fn status(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let bucket = ctx.bucket();
    let by_policy = bucket.policy()?.is_some_and(Policy::is_public);
    let record = &bucket.record;
    let lists_count = !record.acls_disabled() && !record.public_access_block().ignore_public_acls;
    let mut xml = XmlWriter::document("PolicyStatus");
    xml.boolean("IsPublic", by_policy || (lists_count && record.acl.is_public()));
    Ok(xml_response(200, xml.end("PolicyStatus")))
}
