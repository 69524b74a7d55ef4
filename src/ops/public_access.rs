//! The public access block of a bucket: put, get, delete. Its effects stand where they bite: in
//! [`super::access`], [`super::acl`] and [`super::bucket_policy`].
//!
//! Source: S3 API reference, PutPublicAccessBlock; S3 user guide, "Blocking public access to your
//! Amazon S3 storage".

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::{Context, read_small_body, xml_response};
use crate::codec::xml_reader;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::access::PublicAccessBlock;

/// The root of the document.
const ROOT: &str = "PublicAccessBlockConfiguration";

/// GetPublicAccessBlock.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let Some(block) = ctx.bucket().record.public_access_block else {
        return Err(Error::new(Code::NoSuchPublicAccessBlockConfiguration)
            .field("BucketName", ctx.bucket_name().as_str()));
    };
    let mut xml = XmlWriter::document(ROOT);
    xml.boolean("BlockPublicAcls", block.block_public_acls);
    xml.boolean("IgnorePublicAcls", block.ignore_public_acls);
    xml.boolean("BlockPublicPolicy", block.block_public_policy);
    xml.boolean("RestrictPublicBuckets", block.restrict_public_buckets);
    Ok(xml_response(200, xml.end(ROOT)))
}

/// PutPublicAccessBlock. What the document leaves out is off.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    let block = parse(&body)?;
    set(ctx, Some(block))?;
    Ok(Response::new(200))
}

fn parse(body: &[u8]) -> Result<PublicAccessBlock> {
    let document = xml_reader::parse(body)?;
    let root = document.root(ROOT)?.only(&[
        "BlockPublicAcls",
        "IgnorePublicAcls",
        "BlockPublicPolicy",
        "RestrictPublicBuckets",
    ])?;
    let read = |name: &str| Ok::<_, Error>(root.boolean(name)?.unwrap_or(false));
    Ok(PublicAccessBlock {
        block_public_acls: read("BlockPublicAcls")?,
        ignore_public_acls: read("IgnorePublicAcls")?,
        block_public_policy: read("BlockPublicPolicy")?,
        restrict_public_buckets: read("RestrictPublicBuckets")?,
    })
}

/// DeletePublicAccessBlock.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    set(ctx, None)?;
    Ok(Response::new(204))
}

fn set(ctx: &Context<'_>, block: Option<PublicAccessBlock>) -> Result<()> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.public_access_block = block;
        Ok(())
    })
}
