//! GetObjectAttributes.
//!
//! Source: S3 API reference, GetObjectAttributes.

use super::encryption::Sealing;
use super::object_get::find;
use super::object_put::push_found_version_id;
use super::{Context, xml_response};
use crate::codec::time;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::object::ObjectRecord;

/// The most parts on a page.
const PARTS_PAGE_MAX: usize = 1_000;

/// What a client may ask for.
const ATTRIBUTES: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

/// GetObjectAttributes.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let wanted = wanted(ctx)?;
    let record = find(ctx)?;
    // What the client's key protects is not told without it.
    Sealing::of_read(ctx, &record)?;
    let has = |name: &str| wanted.contains(&name);
    let mut xml = XmlWriter::document("GetObjectAttributesResponse");
    if has("ETag") {
        xml.element("ETag", &record.head.etag);
    }
    if let (true, Some((algorithm, kind)), Some(value)) =
        (has("Checksum"), record.head.checksum, &record.detail.checksum)
    {
        // The number of parts belongs to the header form alone.
        let value = value.split_once('-').map_or(value.as_str(), |(digest, _)| digest);
        xml.open("Checksum");
        xml.element(algorithm.element(), value);
        xml.element("ChecksumType", kind.as_str());
        xml.close("Checksum");
    }
    if has("ObjectParts") && !record.detail.parts.is_empty() {
        write_parts(ctx, &mut xml, &record)?;
    }
    if has("StorageClass") {
        xml.element("StorageClass", record.head.storage_class());
    }
    if has("ObjectSize") {
        xml.number("ObjectSize", record.head.size);
    }
    let mut response = xml_response(200, xml.end("GetObjectAttributesResponse"));
    response.push_header("Last-Modified", time::http_date(record.head.modified_ms));
    push_found_version_id(&mut response, ctx.bucket(), &record.head);
    Ok(response)
}

fn wanted<'c>(ctx: &'c Context<'_>) -> Result<Vec<&'c str>> {
    let fields = ctx.headers.get_all("x-amz-object-attributes");
    let names: Vec<&str> =
        fields.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty";
        return Err(Error::with_message(Code::InvalidRequest, message));
    }
    match names.iter().find(|name| !ATTRIBUTES.contains(name)) {
        Some(name) => {
            Err(Error::invalid_argument("x-amz-object-attributes", name, "Invalid attribute name specified."))
        }
        None => Ok(names),
    }
}

fn write_parts(ctx: &Context<'_>, xml: &mut XmlWriter, record: &ObjectRecord) -> Result<()> {
    let max = number(ctx, "x-amz-max-parts")?.map_or(PARTS_PAGE_MAX, |max| max.min(PARTS_PAGE_MAX));
    let marker = number(ctx, "x-amz-part-number-marker")?.unwrap_or(0);
    let parts = &record.detail.parts;
    // S3 numbers the parts of a finished object from one, whatever their numbers in the upload were.
    let listed = parts.iter().enumerate().map(|(at, part)| (at + 1, part)).skip(marker).take(max);
    let last = marker.saturating_add(max).min(parts.len());
    xml.open("ObjectParts");
    xml.number("PartsCount", parts.len() as u64);
    xml.number("PartNumberMarker", marker as u64);
    xml.number("NextPartNumberMarker", if last > marker { last as u64 } else { 0 });
    xml.number("MaxParts", max as u64);
    xml.boolean("IsTruncated", last < parts.len());
    for (number, part) in listed {
        xml.open("Part");
        if let (Some((algorithm, _)), Some(value)) = (record.head.checksum, &part.checksum) {
            xml.element(algorithm.element(), value);
        }
        xml.number("PartNumber", number as u64);
        xml.number("Size", part.size);
        xml.close("Part");
    }
    xml.close("ObjectParts");
    Ok(())
}

fn number(ctx: &Context<'_>, name: &'static str) -> Result<Option<usize>> {
    let parse = |text: &str| match text.parse::<u32>() {
        Ok(number) if number <= i32::MAX as u32 => Ok(number as usize),
        _ => {
            Err(Error::with_message(Code::InvalidArgument, format!("{name} must be a non-negative integer")))
        }
    };
    ctx.header(name).map(parse).transpose()
}
