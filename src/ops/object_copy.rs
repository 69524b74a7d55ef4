//! CopyObject and UploadPartCopy.
//!
//! Source: S3 API reference, the operations of those names. Bytes are streamed from the source's
//! pieces through the same receiving step as an upload; nothing is held whole.

use super::checksum::{part_algorithm, requested_algorithm};
use super::conditions::{Current, Target, WriteConditions, check_copy_source};
use super::encryption::{self, Sealing};
use super::multipart::{OpenPart, checksum_of, commit_part};
use super::object_get::{PieceReader, find_version};
use super::object_put::{
    Destination, PUT_BYTES_MAX, commit_version, push_found_version_id, receive_copy, refuse_version_id,
};
use super::service::{Bucket, no_such_bucket};
use super::{
    Context, access, acl, lifecycle, location, logged, metadata, object_lock, range, restore, xml_response,
};
use crate::codec::time::iso8601_second;
use crate::codec::uri;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::bucket::Versioning;
use crate::model::encryption::Method;
use crate::model::object::{ObjectDetail, ObjectRecord};
use crate::model::{BucketName, ObjectKey};
use std::ops::Range;
use std::sync::Arc;

/// How often a copy starts over because its source was replaced before it could be opened.
const COPY_TRIES_MAX: u32 = 10;

/// What `x-amz-copy-source` names.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    bucket: BucketName,
    key: ObjectKey,
    version: Option<String>,
}

impl Source {
    /// Reads the header: a path, percent-encoded once, and after a literal `?versionId=` the version.
    /// An encoded question mark belongs to the key.
    fn parse(header: &str) -> Result<Source> {
        let refused = |message| Error::invalid_argument("x-amz-copy-source", header, message);
        // S3 names the header twice here, and not what stands in it.
        let malformed = |part: &str| {
            let message = format!("Invalid copy source {part}");
            Error::invalid_argument("x-amz-copy-source", "x-amz-copy-source", message)
        };
        let (path, version) = match header.split_once("?versionId=") {
            Some((path, version)) => (path, Some(version)),
            None => (header, None),
        };
        let path = uri::decode(path).ok_or_else(|| refused("Invalid copy source encoding"))?;
        let (bucket, key) = path.strip_prefix('/').unwrap_or(&path).split_once('/').unwrap_or((&path, ""));
        if key.is_empty() {
            return Err(malformed("object key"));
        }
        Ok(Source {
            bucket: BucketName::parse(bucket).map_err(|_| malformed("bucket name"))?,
            key: ObjectKey::parse(key)?,
            version: version.filter(|version| !version.is_empty()).map(str::to_owned),
        })
    }
}

/// A source that was found and may be read.
struct Found {
    source: Source,
    bucket: Arc<Bucket>,
    record: ObjectRecord,
}

/// Finds the source of a copy, with the same checks as a read of it.
fn find_source(ctx: &Context<'_>, with_tags: bool) -> Result<Found> {
    let source = Source::parse(ctx.header("x-amz-copy-source").unwrap_or(""))?;
    let bucket = ctx.service.find_bucket(&source.bucket)?.ok_or_else(|| no_such_bucket(&source.bucket))?;
    let read = read_source(ctx, &source, &bucket, with_tags);
    logged::copy_source(ctx, &bucket, (source.key.as_str(), source.version.as_deref()), &read);
    Ok(Found { record: read?, source, bucket })
}

fn read_source(ctx: &Context<'_>, source: &Source, bucket: &Bucket, with_tags: bool) -> Result<ObjectRecord> {
    access::check_expected_source_owner(ctx, bucket)?;
    let found = find_version(ctx.service, bucket, &source.key, source.version.as_deref())?;
    let record = match found {
        Some(record) if !record.head.delete_marker => record,
        Some(_) if source.version.is_some() => {
            let message =
                "The source of a copy request may not specifically refer to a delete marker by version id.";
            return Err(Error::with_message(Code::InvalidRequest, message));
        }
        _ if !access::may_list(ctx, bucket, &source.key)? => return Err(Code::AccessDenied.into()),
        _ if source.version.is_some() => {
            return Err(Error::new(Code::NoSuchVersion).field("Key", source.key.as_str()));
        }
        _ => return Err(Error::new(Code::NoSuchKey).field("Key", source.key.as_str())),
    };
    access::may_copy_from(ctx, bucket, (&source.key, source.version.as_deref()), &record, with_tags)?;
    check_copy_source(ctx.headers, &Target::of(&record.head), ctx.now)?;
    restore::require_readable_source(&record, ctx.now)?;
    Ok(record)
}

/// Opens the bytes of a source; looks for it again if it was replaced meanwhile.
fn open_source(
    ctx: &Context<'_>,
    with_tags: bool,
    range_of: &dyn Fn(&Found) -> Result<Range<u64>>,
) -> Result<(Found, PieceReader, u64)> {
    for _ in 0..COPY_TRIES_MAX {
        let found = find_source(ctx, with_tags)?;
        let range = range_of(&found)?;
        let length = range.end - range.start;
        let sealing = Sealing::of_copy_source(ctx, &found.bucket, &found.source.key, &found.record)?;
        let key = sealing.as_ref().map(|sealing| &sealing.key);
        if let Some(reader) = PieceReader::open(ctx.service, &found.record.detail.pieces, range, key)? {
            return Ok((found, reader, length));
        }
    }
    ctx.service.damage.note_missing();
    Err(Error::internal("the body of a copy source is missing"))
}

/// CopyObject.
pub fn copy(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    refuse_version_id(ctx)?;
    let replace_metadata = directive(ctx, "x-amz-metadata-directive", "Unknown metadata directive.")?;
    let replace_tags = directive(ctx, "x-amz-tagging-directive", "Unknown tagging directive.")?;
    let storage_class = metadata::storage_class(ctx)?;
    let algorithm = requested_algorithm(ctx.headers)?;
    let condition = WriteConditions::from_headers(ctx.headers)?;
    let sealing = Sealing::of_new_object(ctx)?;
    let (found, mut reader, length) = open_source(ctx, !replace_tags, &|found| {
        refuse_unchanged(ctx, found, replace_metadata || encryption::is_chosen(ctx))?;
        if found.record.head.size > PUT_BYTES_MAX {
            let message = "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120";
            return Err(Error::with_message(Code::InvalidRequest, message));
        }
        Ok(0..found.record.head.size)
    })?;
    let source = &found.record;
    let detail = new_detail(ctx, &source.detail, replace_metadata, replace_tags)?;
    let location = location::of_new_object(ctx, &detail.metadata, &storage_class)?;
    if !replace_tags && !detail.tags.is_empty() {
        access::may_write_tags(ctx, &detail.tags)?;
    }
    let algorithm = algorithm.or(source.head.checksum.map(|(algorithm, _)| algorithm));
    let destination = Destination::of(&location, sealing.as_ref());
    let received = receive_copy(ctx, &mut reader, length, algorithm, &destination)?;
    let version = received.into_version(ctx, detail, storage_class);
    let record =
        commit_version(ctx, ctx.key(), version, &mut |current| condition.check(&Current::of(current)))
            .map_err(|error| condition.contended(error))?;
    let mut response = copied(&record);
    push_found_version_id(&mut response, ctx.bucket(), &record.head);
    push_source_version(&mut response, &found);
    if let Some(sealing) = &sealing {
        sealing.push_written(&mut response);
    }
    lifecycle::push_expiration(ctx, &mut response, ctx.key(), &record);
    Ok(response)
}

/// The metadata, tags, grants and locks of the copy. Grants and locks are never copied.
fn new_detail(
    ctx: &Context<'_>,
    source: &ObjectDetail,
    replace_metadata: bool,
    replace_tags: bool,
) -> Result<ObjectDetail> {
    let mut detail = ObjectDetail {
        acl: acl::of_new_object(ctx)?,
        lock: object_lock::of_new_object(ctx)?,
        ..ObjectDetail::default()
    };
    if replace_metadata {
        detail.headers = metadata::read_system(ctx.headers)?;
        detail.metadata = metadata::read_user(ctx.headers)?;
    } else {
        detail.headers = source.headers.clone();
        detail.metadata = source.metadata.clone();
        take_over_location(&mut detail.metadata, metadata::read_user(ctx.headers)?);
        // A redirect belongs to the place, not to the content: it is set anew or not at all.
        detail.headers.retain(|(name, _)| name != metadata::REDIRECT_HEADER);
        let own = metadata::read_system(ctx.headers)?;
        detail.headers.extend(own.into_iter().filter(|(name, _)| name == metadata::REDIRECT_HEADER));
    }
    detail.tags = match ctx.header("x-amz-tagging") {
        Some(tags) if replace_tags => metadata::parse_tagging_header(tags)?,
        _ if replace_tags => Vec::new(),
        _ => source.tags.clone(),
    };
    Ok(detail)
}

/// The one user metadata of the request that counts even where the source's is copied: where to put the
/// copy.
fn take_over_location(copied: &mut Vec<(String, String)>, own: Vec<(String, String)>) {
    if let Some(wanted) = own.into_iter().find(|(name, _)| name == location::METADATA_NAME) {
        copied.retain(|(name, _)| name != location::METADATA_NAME);
        copied.push(wanted);
    }
}

/// Reads a directive: whether it says `REPLACE`.
fn directive(ctx: &Context<'_>, name: &'static str, unknown: &'static str) -> Result<bool> {
    match ctx.header(name) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(Error::invalid_argument(name, other, unknown)),
    }
}

/// Copying an object onto itself is only allowed when it changes something. A request that names a storage
/// class or an encryption, or a bucket that was given a default one, counts as a change whatever the object had;
/// a class that only the absence of its field stands for does not, nor does the encryption of all buckets. A client's
/// key that is not named again is given up, which is a change, too.
fn refuse_unchanged(ctx: &Context<'_>, found: &Found, is_changed: bool) -> Result<()> {
    let itself = found.source.bucket == *ctx.bucket_name()
        && found.source.key == *ctx.key()
        && found.source.version.is_none();
    let encryption = found.record.detail.encryption.as_ref();
    let changes = is_changed
        || ctx.headers.has("x-amz-storage-class")
        || ctx.headers.has(metadata::REDIRECT_HEADER)
        || encryption.is_some_and(|encryption| encryption.method == Method::Customer);
    if itself && !changes {
        let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(Error::with_message(Code::InvalidRequest, message));
    }
    Ok(())
}

fn copied(record: &ObjectRecord) -> Response {
    let mut xml = XmlWriter::document("CopyObjectResult");
    xml.element("LastModified", &iso8601_second(record.head.modified_ms));
    xml.element("ETag", &format!("\"{}\"", record.head.etag));
    if let (Some((algorithm, kind)), Some(value)) = (record.head.checksum, &record.detail.checksum) {
        xml.element(algorithm.element(), value);
        xml.element("ChecksumType", kind.as_str());
    }
    xml_response(200, xml.end("CopyObjectResult"))
}

fn push_source_version(response: &mut Response, found: &Found) {
    if found.bucket.record.versioning != Versioning::Unversioned {
        response.push_header("x-amz-copy-source-version-id", found.record.head.version_id());
    }
}

/// UploadPartCopy.
pub fn copy_part(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let open = OpenPart::find(ctx)?;
    let sealing = Sealing::of_part(ctx, &open.upload)?;
    let upload_checksum = checksum_of(&open.upload);
    // A copied part brings no value of its own: S3 computes the one the upload needs.
    let algorithm = part_algorithm(upload_checksum, upload_checksum.map(|checksum| checksum.algorithm))?;
    let (found, mut reader, length) = open_source(ctx, false, &|found| {
        let range = range::copy_source(ctx.headers, found.record.head.size)?;
        if range.end - range.start > PUT_BYTES_MAX {
            return Err(Code::EntityTooLarge.into());
        }
        Ok(range)
    })?;
    let destination = open.destination(sealing.as_ref());
    let received = receive_copy(ctx, &mut reader, length, algorithm, &destination);
    let part = commit_part(ctx, &open, received)?;
    let mut xml = XmlWriter::document("CopyPartResult");
    xml.element("LastModified", &iso8601_second(part.modified_ms));
    xml.element("ETag", &format!("\"{}\"", part.etag));
    if let (Some(_), Some((algorithm, value))) = (upload_checksum, &part.checksum) {
        xml.element(algorithm.element(), value);
    }
    let mut response = xml_response(200, xml.end("CopyPartResult"));
    push_source_version(&mut response, &found);
    if let Some(sealing) = &sealing {
        sealing.push(&mut response);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_decoded_once_and_its_version_is_told_from_its_key() {
        let source = |header: &str| Source::parse(header).expect("valid");
        assert_eq!(source("/abc/k%2Fl").key.as_str(), "k/l");
        assert_eq!(source("abc/k?versionId=null").version.as_deref(), Some("null"));
        assert_eq!(source("abc/k%3FversionId%3Dx").key.as_str(), "k?versionId=x");
        assert_eq!(source("abc/%252e").key.as_str(), "%2e");
        assert_eq!(source("abc/../other/key").key.as_str(), "../other/key");
        for header in ["", "/", "abc", "abc/", "/abc/", "//k", "abc/%zz", "A_B/k"] {
            assert!(Source::parse(header).is_err(), "{header}");
        }
        let Err(refused) = Source::parse("abc/%zz") else { panic!("broken escapes were taken") };
        assert_eq!(refused.message(), "Invalid copy source encoding");
    }
}
