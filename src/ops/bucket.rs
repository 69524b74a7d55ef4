//! ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.
//!
//! Source: S3 API reference, the pages of those names; which location a bucket gets is Scality S3
//! Server's rule.

use super::service::COMMIT_TRIES_MAX;
use super::tagging::{self, BUCKET_TAGS_MAX, Tags};
use super::{Context, acl, bucket_encryption, metadata, multipart, ownership, read_small_body, xml_response};
use crate::codec::time::iso8601_second;
use crate::codec::xml_reader;
use crate::codec::xml_writer::XmlWriter;
use crate::codec::{base64, unbase64};
use crate::config::Backend;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::acl::Acl;
use crate::model::bucket::{BucketRecord, Versioning};
use crate::model::keys;
use crate::storage::{Batch, Outcome, Visit};

/// The most buckets on a page of ListBuckets.
const BUCKETS_PAGE_MAX: usize = 10_000;

/// The largest body of CreateBucket and of other small configurations: 64 KiB.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;

/// The location that S3 does not name.
const UNNAMED_LOCATION: &str = "us-east-1";

/// Where CreateBucket and HeadBucket tell the bucket's ARN.
const ARN_HEADER: &str = "x-amz-bucket-arn";

fn parse_region<'r>(ctx: &Context<'_>, region: &'r str) -> Result<&'r str> {
    if ctx.service.config.locations.contains_key(region) {
        return Ok(region);
    }
    let message = format!("Argument value {region} is not a valid AWS Region");
    Err(Error::with_message(Code::InvalidArgument, message).field("ArgumentName", "bucket-region"))
}

/// ListBuckets.
pub fn list(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let account = ctx.identity.account().ok_or_else(|| Error::new(Code::AccessDenied))?;
    let prefix = ctx.param("prefix").unwrap_or("");
    let region = ctx.param("bucket-region").map(|region| parse_region(ctx, region)).transpose()?;
    let max = ctx.param("max-buckets").map_or(Ok(BUCKETS_PAGE_MAX), parse_max_buckets)?;
    let after = ctx.param("continuation-token").map(parse_token).transpose()?.unwrap_or_default();
    let mut found: Vec<(String, BucketRecord)> = Vec::new();
    let mut truncated = false;
    let range = keys::buckets();
    let start = [range.start.as_slice(), after.as_str().max(prefix).as_bytes()].concat();
    ctx.service
        .meta
        .scan(&start..&range.end, &mut |key, value| {
            let name = String::from_utf8_lossy(&key[range.start.len()..]).into_owned();
            if !name.starts_with(prefix) {
                return Visit::Stop;
            }
            let Ok(record) = BucketRecord::decode(value) else { return Visit::Next };
            let elsewhere = region.is_some_and(|region| region != record.location);
            if record.owner != account.canonical_id || name == after || elsewhere {
                return Visit::Next;
            }
            if found.len() >= max {
                truncated = true;
                return Visit::Stop;
            }
            found.push((name, record));
            Visit::Next
        })
        .map_err(super::service::store_error)?;
    let mut xml = XmlWriter::document("ListAllMyBucketsResult");
    xml.open("Owner");
    xml.element("ID", &account.canonical_id);
    xml.element("DisplayName", &account.name);
    xml.close("Owner");
    xml.open("Buckets");
    // Who asks with any parameter of today's API is told the regions.
    let with_region = ["prefix", "bucket-region", "max-buckets", "continuation-token"];
    let with_region = with_region.iter().any(|name| ctx.query.has(name));
    for (name, record) in &found {
        xml.open("Bucket");
        xml.element("Name", name);
        xml.element("CreationDate", &iso8601_second(record.created_ms));
        if with_region {
            xml.element("BucketRegion", &record.location);
        }
        xml.element("BucketArn", &arn(name));
        xml.close("Bucket");
    }
    xml.close("Buckets");
    if let (true, Some((last, _))) = (truncated, found.last()) {
        xml.element("ContinuationToken", &base64(last.as_bytes()));
    }
    if !prefix.is_empty() {
        xml.element("Prefix", prefix);
    }
    Ok(xml_response(200, xml.end("ListAllMyBucketsResult")))
}

/// The name of a bucket as AWS's other services know it.
fn arn(name: &str) -> String {
    format!("arn:aws:s3:::{name}")
}

fn parse_max_buckets(text: &str) -> Result<usize> {
    match text.parse::<usize>() {
        Ok(number) if (1..=BUCKETS_PAGE_MAX).contains(&number) => Ok(number),
        _ => Err(Error::invalid_argument(
            "max-buckets",
            text,
            "Argument max-buckets must be an integer between 1 and 10000",
        )),
    }
}

fn parse_token(text: &str) -> Result<String> {
    unbase64(text).and_then(|bytes| String::from_utf8(bytes).ok()).filter(|name| name.len() <= 63).ok_or_else(
        || {
            Error::invalid_argument(
                "continuation-token",
                text,
                "The continuation token provided is incorrect",
            )
        },
    )
}

/// CreateBucket.
pub fn create(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let account = ctx.identity.account().ok_or_else(|| Error::new(Code::AccessDenied))?;
    let body = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    let Wanted { location, tags } = if body.is_empty() { Wanted::default() } else { parse(&body)? };
    let location = location_of_new(ctx, location)?;
    let object_lock =
        ctx.header("x-amz-bucket-object-lock-enabled").is_some_and(|on| on.eq_ignore_ascii_case("true"));
    let owner = account.canonical_id.clone();
    let acl = acl::from_headers(ctx.headers, ctx.service.accounts(), &owner, &owner)?;
    let acl = acl.unwrap_or_else(|| Acl::private(&owner));
    let record = BucketRecord {
        ownership: ownership::of_new_bucket(ctx, &acl, &owner)?,
        acl,
        owner,
        created_ms: ctx.now,
        location,
        versioning: if object_lock { Versioning::Enabled } else { Versioning::Unversioned },
        object_lock,
        tags: Some(tags).filter(|tags| !tags.is_empty()),
        encryption: bucket_encryption::of_new_bucket(ctx.headers),
        ..BucketRecord::default()
    };
    let name = ctx.bucket_name();
    for _ in 0..COMMIT_TRIES_MAX {
        if let Some(existing) = ctx.service.find_bucket(name)? {
            existing_bucket(ctx, &existing.record, &record)?;
            break;
        }
        let mut batch = Batch::new();
        batch.expect(keys::bucket(name), None);
        batch.put(keys::bucket(name), record.encode());
        if ctx.service.commit_settings(batch)? == Outcome::Committed {
            break;
        }
    }
    Ok(Response::new(200).header("Location", format!("/{name}")).header(ARN_HEADER, arn(name.as_str())))
}

/// Creating a bucket that is there already succeeds only for its owner, and only between locations
/// that behave as us-east-1 always has.
fn existing_bucket(ctx: &Context<'_>, existing: &BucketRecord, wanted: &BucketRecord) -> Result<()> {
    if existing.owner != wanted.owner {
        return Err(Error::new(Code::BucketAlreadyExists).field("BucketName", ctx.bucket_name().as_str()));
    }
    let legacy = |location: &str| {
        ctx.service.config.locations.get(location).is_some_and(|location| location.legacy_aws_behavior)
    };
    if legacy(&existing.location) && legacy(&wanted.location) {
        return Ok(());
    }
    Err(Error::new(Code::BucketAlreadyOwnedByYou).field("BucketName", ctx.bucket_name().as_str()))
}

/// The location that the body names, or else the one that the endpoint stands for.
fn location_of_new(ctx: &Context<'_>, named: Option<String>) -> Result<String> {
    let location = match named {
        Some(location) => location,
        None => {
            let endpoint = ctx.service.config.rest_endpoints.get(&ctx.target.endpoint);
            return Ok(endpoint.cloned().unwrap_or_else(|| UNNAMED_LOCATION.to_owned()));
        }
    };
    let known = ctx.service.config.locations.contains_key(&location);
    // With one store for everything a region is only a name, so every AWS region will do.
    let region = ctx.service.config.data != Backend::Multiple && is_region(&location);
    if known || region {
        return Ok(location);
    }
    let message = format!(
        "value of the location you are attempting to set - {location} - is not listed in the locationConstraint config"
    );
    Err(Error::with_message(Code::InvalidLocationConstraint, message).field("LocationConstraint", location))
}

/// What the body of CreateBucket asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    location: Option<String>,
    tags: Tags,
}

fn parse(body: &[u8]) -> Result<Wanted> {
    let document = xml_reader::parse(body)?;
    let root = document.root("CreateBucketConfiguration")?;
    if root.child("Location")?.is_some() || root.child("Bucket")?.is_some() {
        let message =
            "CreateBucket with Location or Bucket is not implemented: there are no directory buckets here";
        return Err(Error::with_message(Code::NotImplemented, message));
    }
    let location = match root.text("LocationConstraint")? {
        Some(location) if location.is_empty() => {
            return Err(xml_reader::malformed("LocationConstraint is empty"));
        }
        location => location.map(|location| location.into_owned()),
    };
    let tags = root.child("Tags")?.map_or(Ok(Vec::new()), tagging::parse_tag_set)?;
    metadata::check_tags(&tags, BUCKET_TAGS_MAX)?;
    Ok(Wanted { location, tags })
}

/// Whether a name has the form of an AWS region: `eu-west-1`, `us-gov-east-1`, or the old `EU`.
pub fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    match parts.split_last() {
        Some((number, words)) if words.len() >= 2 => {
            words.iter().all(letters) && number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit())
        }
        _ => name == "EU",
    }
}

/// HeadBucket.
pub fn head(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    Ok(Response::new(200)
        .header("x-amz-bucket-region", ctx.bucket().record.location.clone())
        .header("x-amz-access-point-alias", "false")
        .header(ARN_HEADER, arn(ctx.bucket_name().as_str()))
        .header("Content-Type", "application/xml"))
}

/// GetBucketLocation.
pub fn location(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let location = &ctx.bucket().record.location;
    let mut xml = XmlWriter::document("LocationConstraint");
    if location != UNNAMED_LOCATION {
        xml.text(location);
    }
    Ok(xml_response(200, xml.end("LocationConstraint")))
}

/// DeleteBucket. Open uploads go with the bucket; versions and delete markers keep it.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let name = ctx.bucket_name();
    for _ in 0..COMMIT_TRIES_MAX {
        let bucket = ctx.service.bucket(name)?;
        if has_records(ctx, keys::objects(name))? || has_records(ctx, keys::bucket_versions(name))? {
            let message = match bucket.record.versioning {
                Versioning::Unversioned => Code::BucketNotEmpty.message,
                _ => {
                    "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
                }
            };
            return Err(Error::with_message(Code::BucketNotEmpty, message).field("BucketName", name.as_str()));
        }
        multipart::abort_all(ctx, name)?;
        let mut batch = Batch::new();
        batch.expect(keys::bucket(name), Some(bucket.stored.clone()));
        batch.expect_empty(keys::objects(name));
        batch.expect_empty(keys::bucket_versions(name));
        batch.expect_empty(keys::uploads(name));
        batch.remove(keys::bucket(name));
        if ctx.service.commit_settings(batch)? == Outcome::Committed {
            return Ok(Response::new(204));
        }
    }
    Err(Code::OperationAborted.into())
}

fn has_records(ctx: &Context<'_>, range: std::ops::Range<Vec<u8>>) -> Result<bool> {
    let mut found = false;
    ctx.service
        .meta
        .scan_few(&range.start..&range.end, 1, &mut |_, _| {
            found = true;
            Visit::Stop
        })
        .map_err(super::service::store_error)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_told_from_other_names() {
        for name in ["eu-west-1", "us-gov-east-1", "ap-southeast-2", "EU"] {
            assert!(is_region(name), "{name}");
        }
        for name in ["", "mars", "eu-west", "eu-west-one", "eu--1", "eu-west-1x", "1-2-3"] {
            assert!(!is_region(name), "{name}");
        }
    }
}
