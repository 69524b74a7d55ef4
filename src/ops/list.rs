//! ListObjects (both versions) and ListObjectVersions.
//!
//! Source: S3 API reference, ListObjects, ListObjectsV2, ListObjectVersions.

use super::object_get::parse_version_id;
use super::service::store_error;
use super::{Context, xml_response};
use crate::codec::time::iso8601_second;
use crate::codec::xml_writer::XmlWriter;
use crate::codec::{base64, unbase64, uri};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::listing::{self, After, Entry, Page, Select};
use crate::model::object::{Availability, ObjectHead};
use crate::model::{ObjectKey, SortedId};

/// The most entries on a page.
pub const PAGE_MAX: usize = 1_000;

/// About what an entry takes in an answer, beside an owner and the rest of a long key.
const ENTRY_BYTES: usize = 320;

/// The longest prefix, delimiter or marker that is looked at: no key is longer.
const TEXT_BYTES_MAX: usize = 1_024;

/// ListObjects, in the version that `list-type` asks for.
pub fn objects(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    match ctx.param("list-type") {
        None => objects_v1(ctx),
        Some("2") => objects_v2(ctx),
        Some(other) => {
            Err(Error::invalid_argument("list-type", other, "Invalid List Type specified in Query String"))
        }
    }
}

fn objects_v1(ctx: &Context<'_>) -> Result<Response> {
    let encoding = Encoding::read(ctx)?;
    let asked = parse_max(ctx, "max-keys")?;
    let marker = ctx.param("marker").unwrap_or("");
    let select = select(ctx, key_marker(marker), asked)?;
    let page = page(&select, || listing::objects(ctx.service.meta.as_ref(), ctx.bucket_name(), &select))?;
    let mut xml = XmlWriter::document("ListBucketResult");
    xml.element("Name", ctx.bucket_name().as_str());
    xml.element("Prefix", &encoding.apply(&select.prefix));
    xml.element("Marker", &encoding.apply(marker));
    if let (true, false, Some(last)) = (page.truncated, select.delimiter.is_empty(), page.entries.last()) {
        xml.element("NextMarker", &encoding.apply(last.name()));
    }
    write_common(&mut xml, &select, asked, page.truncated, &encoding);
    write_objects(ctx, &mut xml, &page, &encoding, true)?;
    Ok(xml_response(200, xml.end("ListBucketResult")))
}

fn objects_v2(ctx: &Context<'_>) -> Result<Response> {
    let encoding = Encoding::read(ctx)?;
    let asked = parse_max(ctx, "max-keys")?;
    let token = ctx.param("continuation-token");
    let start_after = ctx.param("start-after").unwrap_or("");
    let marker = match token.filter(|token| !token.is_empty()) {
        Some(token) => Token::read(ctx, token)?,
        None => start_after.to_owned(),
    };
    let fetch_owner = ctx.param("fetch-owner").is_some_and(|fetch| fetch.eq_ignore_ascii_case("true"));
    let select = select(ctx, key_marker(&marker), asked)?;
    let page = page(&select, || listing::objects(ctx.service.meta.as_ref(), ctx.bucket_name(), &select))?;
    let mut xml = XmlWriter::document("ListBucketResult");
    xml.element("Name", ctx.bucket_name().as_str());
    xml.element("Prefix", &encoding.apply(&select.prefix));
    if !start_after.is_empty() {
        xml.element("StartAfter", &encoding.apply(start_after));
    }
    xml.optional("ContinuationToken", token);
    if let (true, Some(last)) = (page.truncated, page.entries.last()) {
        xml.element("NextContinuationToken", &Token::write(ctx, last.name()));
    }
    xml.number("KeyCount", page.entries.len() as u64);
    write_common(&mut xml, &select, asked, page.truncated, &encoding);
    write_objects(ctx, &mut xml, &page, &encoding, fetch_owner)?;
    Ok(xml_response(200, xml.end("ListBucketResult")))
}

/// ListObjectVersions.
pub fn versions(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let encoding = Encoding::read(ctx)?;
    let asked = parse_max(ctx, "max-keys")?;
    let marker = ctx.param("key-marker").unwrap_or("");
    let version_marker = ctx.param("version-id-marker").filter(|marker| !marker.is_empty());
    let after = versions_after(ctx, marker, version_marker)?;
    let select = select(ctx, after, asked)?;
    let page = page(&select, || listing::versions(ctx.service.meta.as_ref(), ctx.bucket_name(), &select))?;
    let mut xml = XmlWriter::document("ListVersionsResult");
    xml.element("Name", ctx.bucket_name().as_str());
    xml.element("Prefix", &encoding.apply(&select.prefix));
    xml.element("KeyMarker", &encoding.apply(marker));
    xml.element("VersionIdMarker", version_marker.unwrap_or(""));
    if let (true, Some(last)) = (page.truncated, page.entries.last()) {
        xml.element("NextKeyMarker", &encoding.apply(last.name()));
        if let Entry::Item(_, version) = last {
            xml.element("NextVersionIdMarker", &version.head.version_id());
        }
    }
    write_common(&mut xml, &select, asked, page.truncated, &encoding);
    for entry in &page.entries {
        if let Entry::Item(key, version) = entry {
            let element = if version.head.delete_marker { "DeleteMarker" } else { "Version" };
            xml.open(element);
            xml.element("Key", &encoding.apply(key));
            xml.element("VersionId", &version.head.version_id());
            xml.boolean("IsLatest", version.latest);
            write_head(ctx, &mut xml, &version.head, true);
            write_restore_status(ctx, &mut xml, key, &version.head)?;
            xml.close(element);
        }
    }
    write_groups(&mut xml, &page, &encoding);
    Ok(xml_response(200, xml.end("ListVersionsResult")))
}

fn versions_after(ctx: &Context<'_>, marker: &str, version_marker: Option<&str>) -> Result<After> {
    let Some(version) = version_marker else { return Ok(whole_key_marker(marker)) };
    if marker.is_empty() {
        let message = "A version-id marker cannot be specified without a key marker.";
        return Err(Error::invalid_argument("version-id-marker", version, message));
    }
    if version != "null" {
        return Ok(After::Version(marker.to_owned(), parse_version_id(version)?));
    }
    let key = ObjectKey::parse(marker)?;
    let null = super::object_get::find_version(ctx.service, ctx.bucket(), &key, Some("null"))?;
    Ok(null.map_or(whole_key_marker(marker), |record| After::Version(marker.to_owned(), record.head.id)))
}

/// Where a listing starts that continues after a key.
fn key_marker(marker: &str) -> After {
    if marker.is_empty() { After::Start } else { After::Key(marker.to_owned()) }
}

fn whole_key_marker(marker: &str) -> After {
    if marker.is_empty() { After::Start } else { After::WholeKey(marker.to_owned()) }
}

/// The selection that a request's `prefix`, `delimiter` and maximum make.
///
/// # Errors
/// `InvalidArgument` for one longer than any key.
pub fn select(ctx: &Context<'_>, after: After, asked: usize) -> Result<Select> {
    let text = |name: &str| -> Result<String> {
        let value = ctx.param(name).unwrap_or("");
        if value.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid_argument(
                name,
                "",
                format!("{name} must be at most {TEXT_BYTES_MAX} bytes long"),
            ));
        }
        Ok(value.to_owned())
    };
    Ok(Select { prefix: text("prefix")?, delimiter: text("delimiter")?, after, max: asked.min(PAGE_MAX) })
}

/// Reads a page, unless none was asked for.
///
/// # Errors
/// `InternalError` when the store fails.
pub fn page<T>(
    select: &Select,
    read: impl FnOnce() -> std::result::Result<Page<T>, crate::storage::StorageError>,
) -> Result<Page<T>> {
    if select.max == 0 {
        return Ok(Page { entries: Vec::new(), truncated: false });
    }
    read().map_err(store_error)
}

/// Reads `max-keys` and its siblings: 1000 when absent.
///
/// # Errors
/// `InvalidArgument` unless it is an integer from 0 to 2147483647.
pub fn parse_max(ctx: &Context<'_>, name: &'static str) -> Result<usize> {
    let Some(text) = ctx.param(name).filter(|text| !text.is_empty()) else { return Ok(PAGE_MAX) };
    let negative = text.starts_with('-') && text[1..].parse::<u64>().is_ok();
    if negative {
        let message = format!("Argument {name} must be an integer between 0 and {}", i32::MAX);
        return Err(Error::invalid_argument(name, text, message));
    }
    match text.parse::<u32>() {
        Ok(number) if number <= i32::MAX as u32 && !text.starts_with('+') => Ok(number as usize),
        _ => {
            let message = format!("Provided {name} not an integer or within integer range");
            Err(Error::invalid_argument(name, text, message))
        }
    }
}

/// How keys are written into a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As they are, with XML escapes.
    Plain,
    /// Percent-encoded.
    Url,
}

impl Encoding {
    /// Reads `encoding-type`.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn read(ctx: &Context<'_>) -> Result<Encoding> {
        match ctx.param("encoding-type") {
            None => Ok(Encoding::Plain),
            Some(kind) if kind.eq_ignore_ascii_case("url") => Ok(Encoding::Url),
            Some(other) => Err(Error::invalid_argument(
                "encoding-type",
                other,
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    /// Writes a key, prefix or delimiter.
    pub fn apply(self, text: &str) -> std::borrow::Cow<'_, str> {
        match self {
            Encoding::Plain => text.into(),
            Encoding::Url => uri::encode_path(text).into(),
        }
    }
}

/// An opaque continuation token: the last name of the page, bound to the bucket.
struct Token;

impl Token {
    fn write(ctx: &Context<'_>, last: &str) -> String {
        base64(format!("{}\0{last}", ctx.bucket_name()).as_bytes())
    }

    fn read(ctx: &Context<'_>, token: &str) -> Result<String> {
        let incorrect = || {
            Error::invalid_argument(
                "continuation-token",
                token,
                "The continuation token provided is incorrect",
            )
        };
        let text = unbase64(token).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(incorrect)?;
        match text.split_once('\0') {
            Some((bucket, last)) if bucket == ctx.bucket_name().as_str() => Ok(last.to_owned()),
            _ => Err(incorrect()),
        }
    }
}

fn write_common(xml: &mut XmlWriter, select: &Select, asked: usize, truncated: bool, encoding: &Encoding) {
    xml.number("MaxKeys", asked.min(PAGE_MAX) as u64);
    if !select.delimiter.is_empty() {
        xml.element("Delimiter", &encoding.apply(&select.delimiter));
    }
    if *encoding == Encoding::Url {
        xml.element("EncodingType", "url");
    }
    xml.boolean("IsTruncated", truncated);
}

fn write_objects(
    ctx: &Context<'_>,
    xml: &mut XmlWriter,
    page: &Page<ObjectHead>,
    encoding: &Encoding,
    owner: bool,
) -> Result<()> {
    xml.expect_bytes(page.entries.len() * ENTRY_BYTES);
    for entry in &page.entries {
        if let Entry::Item(key, head) = entry {
            xml.open("Contents");
            xml.element("Key", &encoding.apply(key));
            write_head(ctx, xml, head, owner);
            write_restore_status(ctx, xml, key, head)?;
            xml.close("Contents");
        }
    }
    write_groups(xml, page, encoding);
    Ok(())
}

/// Where asked for, how an archived object can be read. That stands behind what a listing decodes, so each
/// is looked up.
fn write_restore_status(ctx: &Context<'_>, xml: &mut XmlWriter, key: &str, head: &ObjectHead) -> Result<()> {
    let mut asked = ctx.headers.get_all("x-amz-optional-object-attributes").flat_map(|it| it.split(','));
    if !head.is_archived() || !asked.any(|name| name.trim() == "RestoreStatus") {
        return Ok(());
    }
    let (key, version) = (ObjectKey::parse(key)?, head.version_id());
    let record = super::object_get::find_version(ctx.service, ctx.bucket(), &key, Some(&version))?;
    let until = match record.and_then(|record| record.availability(ctx.now)) {
        Some(Availability::Restoring) => None,
        Some(Availability::Restored(until)) => Some(until),
        _ => return Ok(()),
    };
    xml.open("RestoreStatus");
    xml.boolean("IsRestoreInProgress", until.is_none());
    xml.optional("RestoreExpiryDate", until.map(iso8601_second).as_deref());
    xml.close("RestoreStatus");
    Ok(())
}

fn write_head(ctx: &Context<'_>, xml: &mut XmlWriter, head: &ObjectHead, owner: bool) {
    xml.element("LastModified", &iso8601_second(head.modified_ms));
    if !head.delete_marker {
        xml.open("ETag");
        xml.raw("&quot;");
        xml.text(&head.etag);
        xml.raw("&quot;");
        xml.close("ETag");
        if let Some((algorithm, kind)) = head.checksum {
            xml.element("ChecksumAlgorithm", algorithm.name());
            xml.element("ChecksumType", kind.as_str());
        }
        xml.number("Size", head.size);
    }
    if owner {
        write_owner(ctx, xml, "Owner", ctx.bucket().record.owner_of(&head.owner));
    }
    if !head.delete_marker {
        xml.element("StorageClass", head.storage_class());
    }
}

/// An `Owner` element.
pub fn write_owner(ctx: &Context<'_>, xml: &mut XmlWriter, element: &str, canonical_id: &str) {
    xml.open(element);
    xml.element("ID", canonical_id);
    xml.optional("DisplayName", ctx.service.display_name(canonical_id));
    xml.close(element);
}

/// The `CommonPrefixes` elements of a page.
pub fn write_groups<T>(xml: &mut XmlWriter, page: &Page<T>, encoding: &Encoding) {
    for entry in &page.entries {
        if let Entry::Group(prefix) = entry {
            xml.open("CommonPrefixes");
            xml.element("Prefix", &encoding.apply(prefix));
            xml.close("CommonPrefixes");
        }
    }
}

/// Reads an upload id. What cannot be one names no upload.
///
/// # Errors
/// `NoSuchUpload`.
pub fn parse_upload_id(text: &str) -> Result<SortedId> {
    SortedId::parse(text).ok_or_else(|| Error::new(Code::NoSuchUpload).field("UploadId", text))
}
