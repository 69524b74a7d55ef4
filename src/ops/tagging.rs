//! Tags of buckets and of objects.
//!
//! Source: S3 API reference, Put-, Get- and DeleteBucketTagging, Put-, Get- and DeleteObjectTagging; S3
//! user guide, "Categorizing your storage using tags".

use super::access::{self, InBody};
use super::bucket::SMALL_BODY_BYTES_MAX;
use super::metadata::{OBJECT_TAGS_MAX, check_tags};
use super::object_get::{delete_marker_refused, find_version, missing};
use super::object_put::push_found_version_id;
use super::object_update::{update_version, updated};
use super::{Context, read_verified_body, xml_response};
use crate::codec::xml_reader::{self, Element};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};

/// The most tags of a bucket.
pub const BUCKET_TAGS_MAX: usize = 50;

/// Names and values, in the order given.
pub type Tags = Vec<(String, String)>;

/// PutBucketTagging.
pub fn put_bucket(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let tags = read_tags(ctx, body, BUCKET_TAGS_MAX)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        // S3 knows no empty set: what was put empty reads as never put.
        record.tags = (!tags.is_empty()).then(|| tags.clone());
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// GetBucketTagging.
pub fn get_bucket(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    match &ctx.bucket().record.tags {
        Some(tags) => Ok(xml_response(200, write_tags(tags))),
        None => Err(Error::new(Code::NoSuchTagSet).field("BucketName", ctx.bucket_name().as_str())),
    }
}

/// DeleteBucketTagging.
pub fn delete_bucket(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.tags = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// PutObjectTagging.
pub fn put_object(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let tags = read_tags(ctx, body, OBJECT_TAGS_MAX)?;
    access::may_change(ctx, InBody { tags: Some(&tags), ..InBody::default() })?;
    let record = update_version(ctx, ctx.key(), ctx.param("versionId"), &mut |record| {
        record.detail.tags = tags.clone();
        Ok(())
    })?;
    Ok(updated(ctx, 200, &record))
}

/// GetObjectTagging.
pub fn get_object(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let version = ctx.param("versionId");
    let found = find_version(ctx.service, ctx.bucket(), ctx.key(), version)?;
    let record = found.ok_or_else(|| missing(ctx.key(), version))?;
    if record.head.delete_marker {
        return Err(delete_marker_refused(ctx, &record));
    }
    let mut response = xml_response(200, write_tags(&record.detail.tags));
    push_found_version_id(&mut response, ctx.bucket(), &record.head);
    Ok(response)
}

/// DeleteObjectTagging.
pub fn delete_object(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let record = update_version(ctx, ctx.key(), ctx.param("versionId"), &mut |record| {
        record.detail.tags.clear();
        Ok(())
    })?;
    Ok(updated(ctx, 204, &record))
}

fn read_tags(ctx: &Context<'_>, body: Body<'_>, most: usize) -> Result<Tags> {
    let tags = parse_tags(&read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?)?;
    check_tags(&tags, most)?;
    Ok(tags)
}

/// Reads a `Tagging` document; one without a set means none. Its tags still need [`check_tags`].
///
/// # Errors
/// `MalformedXML`.
pub fn parse_tags(bytes: &[u8]) -> Result<Tags> {
    let document = xml_reader::parse(bytes)?;
    let set = document.root("Tagging")?.only(&["TagSet"])?.child("TagSet")?;
    set.map_or(Ok(Tags::new()), parse_tag_set)
}

/// Reads the `Tag` elements of a set, wherever it stands. They still need [`check_tags`].
///
/// # Errors
/// `MalformedXML`.
pub fn parse_tag_set(set: Element<'_>) -> Result<Tags> {
    set.only(&["Tag"])?
        .children("Tag")
        .map(|tag| {
            let tag = tag.only(&["Key", "Value"])?;
            Ok((tag.required_text("Key")?.into_owned(), tag.required_text("Value")?.into_owned()))
        })
        .collect()
}

fn write_tags(tags: &[(String, String)]) -> Vec<u8> {
    let mut xml = XmlWriter::document("Tagging");
    xml.open("TagSet");
    for (name, value) in tags {
        xml.open("Tag");
        xml.element("Key", name);
        xml.element("Value", value);
        xml.close("Tag");
    }
    xml.close("TagSet");
    xml.end("Tagging")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_sets_go_both_ways() {
        let tags = vec![("a".to_owned(), "1 < 2".to_owned()), ("b".to_owned(), String::new())];
        assert_eq!(parse_tags(&write_tags(&tags)).expect("valid"), tags);
        assert!(parse_tags(b"<Tagging><TagSet/></Tagging>").expect("valid").is_empty());
        assert!(parse_tags(b"<Tagging/>").expect("as S3 takes it").is_empty());
    }

    #[test]
    fn a_document_of_another_shape_is_malformed() {
        for text in [
            " ",
            "<Tags><TagSet/></Tags>",
            "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value/></Tag></TagSet></Tagging>",
            "<Tagging><Tag><Key>a</Key><Value/></Tag></Tagging>",
        ] {
            assert_eq!(parse_tags(text.as_bytes()).expect_err(text).code(), Code::MalformedXML, "{text}");
        }
    }
}
