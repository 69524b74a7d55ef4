//! Object ownership: the setting of a bucket, and who owns what is written into it.
//!
//! Source: S3 user guide, "Controlling ownership of objects and disabling ACLs for your bucket"; S3 API
//! reference, PutBucketOwnershipControls.

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::{Context, read_small_body, xml_response};
use crate::codec::xml_reader;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::access::ObjectOwnership;
use crate::model::acl::{Acl, Grantee};

/// The root of the document.
const ROOT: &str = "OwnershipControls";

/// The header by which CreateBucket chooses.
const HEADER: &str = "x-amz-object-ownership";

/// GetBucketOwnershipControls.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let Some(ownership) = ctx.bucket().record.ownership else {
        return Err(
            Error::new(Code::OwnershipControlsNotFoundError).field("BucketName", ctx.bucket_name().as_str())
        );
    };
    let mut xml = XmlWriter::document(ROOT);
    xml.open("Rule");
    xml.element("ObjectOwnership", ownership.as_str());
    xml.close("Rule");
    Ok(xml_response(200, xml.end(ROOT)))
}

/// PutBucketOwnershipControls.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    let ownership = parse(&body)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        check_acl(ownership, &record.acl, &record.owner)?;
        record.ownership = Some(ownership);
        Ok(())
    })?;
    Ok(Response::new(200))
}

fn parse(body: &[u8]) -> Result<ObjectOwnership> {
    let document = xml_reader::parse(body)?;
    let rule = document.root(ROOT)?.only(&["Rule"])?.required("Rule")?;
    let ownership = rule.read("ObjectOwnership", "an ownership setting", ObjectOwnership::parse)?;
    xml_reader::required(ownership, "ObjectOwnership")
}

/// DeleteBucketOwnershipControls.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.ownership = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// The setting that CreateBucket chooses, and which the list it gives must fit.
///
/// # Errors
/// `InvalidArgument`, `InvalidBucketAclWithObjectOwnership`.
pub fn of_new_bucket(ctx: &Context<'_>, acl: &Acl, owner: &str) -> Result<Option<ObjectOwnership>> {
    let Some(text) = ctx.header(HEADER) else { return Ok(None) };
    let ownership = ObjectOwnership::parse(text)
        .ok_or_else(|| Error::invalid_argument(HEADER, text, format!("Invalid {HEADER} header: {text}")))?;
    check_acl(ownership, acl, owner)?;
    Ok(Some(ownership))
}

/// Lists cannot be disabled while the bucket's grants anything to others.
fn check_acl(ownership: ObjectOwnership, acl: &Acl, owner: &str) -> Result<()> {
    let to_others = acl.grants.iter().any(|grant| grant.grantee != Grantee::Account(owner.to_owned()));
    if ownership == ObjectOwnership::BucketOwnerEnforced && to_others {
        return Err(Code::InvalidBucketAclWithObjectOwnership.into());
    }
    Ok(())
}

/// The canonical id of the account that will own what this request writes.
pub fn owner_of_new<'c>(ctx: &'c Context<'_>) -> &'c str {
    let bucket = &ctx.bucket().record;
    let given_up = match bucket.ownership {
        Some(ObjectOwnership::BucketOwnerEnforced) => true,
        Some(ObjectOwnership::BucketOwnerPreferred) => {
            ctx.header("x-amz-acl") == Some("bucket-owner-full-control")
        }
        Some(ObjectOwnership::ObjectWriter) | None => false,
    };
    if given_up { &bucket.owner } else { ctx.identity.canonical_id() }
}
