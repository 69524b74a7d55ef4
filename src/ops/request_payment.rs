//! Requester Pays: nobody is sent a bill here, but clients are held to say that they would pay.
//!
//! Source: S3 user guide, "Using Requester Pays general purpose buckets for storage transfers and
//! usage"; S3 API reference, PutBucketRequestPayment.

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::service::Bucket;
use super::{Context, access, read_small_body, xml_response};
use crate::codec::xml_reader;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Result};
use crate::http::{Body, Response};

/// The header, or parameter of a presigned URL, by which a requester agrees to pay.
const AGREEMENT: &str = "x-amz-request-payer";

/// The root of the document.
const ROOT: &str = "RequestPaymentConfiguration";

/// GetBucketRequestPayment.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let mut xml = XmlWriter::document(ROOT);
    xml.element("Payer", if ctx.bucket().record.requester_pays { "Requester" } else { "BucketOwner" });
    Ok(xml_response(200, xml.end(ROOT)))
}

/// PutBucketRequestPayment.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    let document = xml_reader::parse(&body)?;
    let payer = document.root(ROOT)?.one_of("Payer", &[("Requester", true), ("BucketOwner", false)])?;
    let requester_pays = xml_reader::required(payer, "Payer")?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.requester_pays = requester_pays;
        Ok(())
    })?;
    Ok(Response::new(200))
}

/// Refuses who would have to pay for a request to this bucket and does not agree to.
///
/// # Errors
/// `AccessDenied`.
pub fn check(ctx: &Context<'_>, bucket: &Bucket) -> Result<()> {
    let pays = bucket.record.requester_pays && !access::is_owner(ctx, bucket);
    // Nobody in particular cannot be sent a bill.
    if pays && (!agrees(ctx) || ctx.identity.account().is_none()) {
        return Err(Code::AccessDenied.into());
    }
    Ok(())
}

/// Tells a requester who pays that the request was charged.
pub fn acknowledge(ctx: &Context<'_>, response: &mut Response) {
    if let Some(bucket) = ctx.bucket.as_deref()
        && bucket.record.requester_pays
        && agrees(ctx)
        && !access::is_owner(ctx, bucket)
    {
        response.push_header("x-amz-request-charged", "requester");
    }
}

fn agrees(ctx: &Context<'_>) -> bool {
    ctx.header(AGREEMENT).is_some_and(|payer| payer.eq_ignore_ascii_case("requester"))
}
