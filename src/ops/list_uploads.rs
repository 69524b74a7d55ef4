//! ListMultipartUploads and ListParts.
//!
//! Source: S3 API reference, the pages of those names.

use super::list::{Encoding, PAGE_MAX, page, parse_max, select, write_groups, write_owner};
use super::multipart::find_upload;
use super::service::store_error;
use super::{Context, lifecycle, xml_response};
use crate::codec::time::iso8601_second;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Error, Result};
use crate::http::{Body, Response};
use crate::model::listing::{self, After, Entry};
use crate::model::multipart::{PartRecord, UploadRecord};
use crate::model::{SortedId, keys};
use crate::storage::Visit;

/// ListMultipartUploads.
pub fn list(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let encoding = Encoding::read(ctx)?;
    let asked = parse_max(ctx, "max-uploads")?;
    let key_marker = ctx.param("key-marker").unwrap_or("");
    let id_marker =
        ctx.param("upload-id-marker").filter(|marker| !marker.is_empty() && !key_marker.is_empty());
    let after = match (key_marker, id_marker) {
        ("", _) => After::Start,
        (key, None) => After::Key(key.to_owned()),
        (key, Some(id)) => {
            let id = SortedId::parse(id)
                .ok_or_else(|| Error::invalid_argument("upload-id-marker", id, "Invalid uploadId marker"))?;
            After::Version(key.to_owned(), id)
        }
    };
    let select = select(ctx, after, asked)?;
    let page = page(&select, || listing::uploads(ctx.service.meta.as_ref(), ctx.bucket_name(), &select))?;
    let mut xml = XmlWriter::document("ListMultipartUploadsResult");
    xml.element("Bucket", ctx.bucket_name().as_str());
    xml.element("KeyMarker", &encoding.apply(key_marker));
    xml.element("UploadIdMarker", id_marker.unwrap_or(""));
    if asked > 0 {
        write_next(&mut xml, page.entries.last(), encoding);
    }
    if !select.prefix.is_empty() {
        xml.element("Prefix", &encoding.apply(&select.prefix));
    }
    if !select.delimiter.is_empty() {
        xml.element("Delimiter", &encoding.apply(&select.delimiter));
    }
    if encoding == Encoding::Url {
        xml.element("EncodingType", "url");
    }
    xml.number("MaxUploads", asked.min(PAGE_MAX) as u64);
    xml.boolean("IsTruncated", page.truncated);
    for entry in &page.entries {
        if let Entry::Item(key, (id, stored)) = entry {
            let upload = UploadRecord::decode(stored).map_err(store_error)?;
            xml.open("Upload");
            xml.element("Key", &encoding.apply(key));
            xml.element("UploadId", &id.to_string());
            write_people(ctx, &mut xml, &upload);
            xml.element("Initiated", &iso8601_second(upload.created_ms));
            write_checksum(&mut xml, &upload);
            xml.close("Upload");
        }
    }
    write_groups(&mut xml, &page, &encoding);
    Ok(xml_response(200, xml.end("ListMultipartUploadsResult")))
}

/// S3 names the last entry whether or not more follows it.
fn write_next(xml: &mut XmlWriter, last: Option<&Entry<(SortedId, Vec<u8>)>>, encoding: Encoding) {
    let id = match last {
        Some(Entry::Item(_, (id, _))) => id.to_string(),
        _ => String::new(),
    };
    xml.element("NextKeyMarker", &encoding.apply(last.map_or("", Entry::name)));
    xml.element("NextUploadIdMarker", &id);
}

/// ListParts.
pub fn parts(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let (id, upload, _) = find_upload(ctx)?;
    let encoding = Encoding::read(ctx)?;
    let asked = parse_max(ctx, "max-parts")?;
    let marker =
        ctx.param("part-number-marker").filter(|marker| !marker.is_empty()).map_or(Ok(0), parse_marker)?;
    let max = asked.min(PAGE_MAX);
    let mut found: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut truncated = false;
    let range = keys::parts(id);
    let start = keys::part(id, marker.saturating_add(1));
    ctx.service
        .meta
        .scan(&start..&range.end, &mut |key, value| {
            if found.len() >= max {
                truncated = max > 0;
                return Visit::Stop;
            }
            if let Some(number) = keys::part_number_of(key) {
                found.push((number, value.to_vec()));
            }
            Visit::Next
        })
        .map_err(store_error)?;
    let mut xml = XmlWriter::document("ListPartsResult");
    xml.element("Bucket", ctx.bucket_name().as_str());
    xml.element("Key", &encoding.apply(ctx.key().as_str()));
    xml.element("UploadId", &id.to_string());
    write_people(ctx, &mut xml, &upload);
    xml.number("PartNumberMarker", u64::from(marker));
    xml.number("NextPartNumberMarker", found.last().map_or(0, |(last, _)| u64::from(*last)));
    xml.number("MaxParts", max as u64);
    xml.boolean("IsTruncated", truncated);
    write_checksum(&mut xml, &upload);
    for (number, stored) in &found {
        let part = PartRecord::decode(stored).map_err(store_error)?;
        xml.open("Part");
        xml.number("PartNumber", u64::from(*number));
        xml.element("LastModified", &iso8601_second(part.modified_ms));
        xml.element("ETag", &format!("\"{}\"", part.etag));
        if let (Some(_), Some((algorithm, value))) = (upload.checksum, &part.checksum) {
            xml.element(algorithm.element(), value);
        }
        xml.number("Size", part.size);
        xml.close("Part");
    }
    let mut response = xml_response(200, xml.end("ListPartsResult"));
    lifecycle::push_abort(ctx, &mut response, upload.created_ms);
    Ok(response)
}

fn parse_marker(text: &str) -> Result<u16> {
    match text.parse::<u32>() {
        Ok(number) if !text.starts_with('+') && number <= i32::MAX as u32 => {
            Ok(u16::try_from(number).unwrap_or(u16::MAX))
        }
        _ => {
            let message = "Provided part-number-marker not an integer or within integer range";
            Err(Error::invalid_argument("part-number-marker", text, message))
        }
    }
}

fn write_people(ctx: &Context<'_>, xml: &mut XmlWriter, upload: &UploadRecord) {
    xml.open("Initiator");
    xml.element("ID", &upload.initiator);
    xml.element("DisplayName", &upload.initiator_name);
    xml.close("Initiator");
    write_owner(ctx, xml, "Owner", &upload.owner);
    let class = if upload.storage_class.is_empty() { "STANDARD" } else { &upload.storage_class };
    xml.element("StorageClass", class);
}

fn write_checksum(xml: &mut XmlWriter, upload: &UploadRecord) {
    if let Some((algorithm, kind)) = upload.checksum {
        xml.element("ChecksumAlgorithm", algorithm.name());
        xml.element("ChecksumType", kind.as_str());
    }
}
