//! DeleteObject and DeleteObjects.
//!
//! Source: S3 API reference, DeleteObject and DeleteObjects; S3 user guide, "Deleting object versions".

use super::conditions::{Current, DeleteConditions};
use super::object_get::parse_version_id;
use super::object_put::{NewVersion, commit_version, find_older_null, read_current};
use super::service::{Bucket, COMMIT_TRIES_MAX, store_error};
use super::{Context, access, logged, object_lock, read_checked_body, xml_response};
use crate::codec::xml_reader;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::bucket::Versioning;
use crate::model::object::{ObjectDetail, ObjectHead, ObjectRecord};
use crate::model::{ObjectKey, keys};
use crate::notifications::{self, Stage};
use crate::storage::{Batch, Outcome, Visit};
use std::borrow::Cow;

/// The most keys of one DeleteObjects.
pub const DELETE_KEYS_MAX: usize = 1_000;

/// The largest body of DeleteObjects: 2 MiB.
pub const DELETE_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a deletion did.
#[derive(Debug, Default)]
pub struct Deleted {
    /// The version that was made (a delete marker) or removed.
    pub version_id: Option<String>,
    /// Whether that version is a delete marker.
    pub delete_marker: bool,
    /// The size of the object that was removed.
    pub size: Option<u64>,
}

/// DeleteObject.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let condition = DeleteConditions::from_headers(ctx.headers)?;
    let deleted = delete_key(ctx, ctx.key(), ctx.param("versionId"), &condition)?;
    let mut response = Response::new(204);
    if deleted.delete_marker {
        response.push_header("x-amz-delete-marker", "true");
    }
    if let Some(version_id) = deleted.version_id {
        response.push_header("x-amz-version-id", version_id);
    }
    Ok(response)
}

/// Deletes a key, or one version of it.
///
/// # Errors
/// `InvalidArgument` for an id that cannot be one, what the condition says, `AccessDenied`.
pub fn delete_key(
    ctx: &Context<'_>,
    key: &ObjectKey,
    version: Option<&str>,
    condition: &DeleteConditions,
) -> Result<Deleted> {
    if let Some(version) = version.filter(|version| *version != "null") {
        parse_version_id(version)?;
    }
    for attempt in 0..COMMIT_TRIES_MAX {
        let bucket = match (&ctx.bucket, attempt) {
            (Some(bucket), 0) => bucket.clone(),
            _ => ctx.service.bucket(ctx.bucket_name())?,
        };
        let deleted = match version {
            Some(version) => try_delete_version(ctx, &bucket, key, version, condition)?,
            // Decided anew with the bucket: a deletion must not remove for good what is versioned by now.
            None if bucket.record.versioning == Versioning::Unversioned => {
                try_delete_version(ctx, &bucket, key, "null", condition)?
                    .map(|deleted| Deleted { size: deleted.size, ..Deleted::default() })
            }
            None => return put_delete_marker(ctx, key, condition),
        };
        if let Some(deleted) = deleted {
            return Ok(deleted);
        }
    }
    Err(Code::OperationAborted.into())
}

fn put_delete_marker(ctx: &Context<'_>, key: &ObjectKey, condition: &DeleteConditions) -> Result<Deleted> {
    let marker = NewVersion {
        size: 0,
        etag: String::new(),
        owner: ctx.identity.canonical_id().to_owned(),
        storage_class: String::new(),
        checksum: None,
        detail: ObjectDetail::default(),
        inline: Vec::new(),
        delete_marker: true,
    };
    let marker = commit_version(ctx, key, marker, &mut |current| condition.check(&Current::of(current)))?;
    Ok(Deleted { version_id: Some(marker.head.version_id()), delete_marker: true, size: None })
}

/// Removes one version for good, unless it is locked. Removing the newest makes the next older one the
/// newest. `Ok(None)` when another write came between.
fn try_delete_version(
    ctx: &Context<'_>,
    bucket: &Bucket,
    key: &ObjectKey,
    version: &str,
    condition: &DeleteConditions,
) -> Result<Option<Deleted>> {
    let deleted = |delete_marker, size| Deleted { version_id: Some(version.to_owned()), delete_marker, size };
    let mut batch = ctx.service.batch_in(&bucket.record);
    batch.expect(keys::bucket(&bucket.name), Some(bucket.stored.clone()));
    let removed = remove_version(ctx, bucket, key, version, &mut batch)?;
    condition.check(&Current::of(removed.as_ref()))?;
    let Some(removed) = removed else {
        // It may have become the newest between two looks. Then what was seen does not hold any more.
        let holds = ctx.service.commit(batch)? == Outcome::Committed;
        return Ok(holds.then(|| deleted(false, None)));
    };
    object_lock::check_deletable(&removed, ctx.now, object_lock::governance(ctx))?;
    ctx.service.discard_in(&mut batch, &removed.detail.pieces);
    let noted = notifications::note(ctx, bucket, key, &removed.head, Stage::Removed, &mut batch);
    if ctx.service.commit(batch)? == Outcome::Conflict {
        return Ok(None);
    }
    ctx.service.notifications.committed(noted);
    ctx.service.discarded(removed.detail.pieces);
    let ObjectHead { delete_marker, size, .. } = removed.head;
    Ok(Some(deleted(delete_marker, (!delete_marker).then_some(size))))
}

/// Puts the removal of a version into a batch. `None` when there is no such version.
fn remove_version(
    ctx: &Context<'_>,
    bucket: &Bucket,
    key: &ObjectKey,
    version: &str,
    batch: &mut Batch,
) -> Result<Option<ObjectRecord>> {
    let Some((current, stored)) = read_current(ctx.service, bucket, key)? else { return Ok(None) };
    let object = keys::object(&bucket.name, key.as_str());
    batch.expect(object.clone(), Some(stored));
    if current.head.version_id() == version {
        match newest_older(ctx, bucket, key)? {
            Some((head, next)) => {
                let older = keys::version(&bucket.name, key.as_str(), head.id);
                batch.expect(older.clone(), Some(next.clone()));
                batch.remove(older);
                batch.put(object, next);
            }
            None => batch.remove(object),
        }
        return Ok(Some(current));
    }
    let found = if version == "null" {
        find_older_null(ctx.service, bucket, key)?
    } else {
        let older = keys::version(&bucket.name, key.as_str(), parse_version_id(version)?);
        let stored = ctx.service.meta.get(&older).map_err(store_error)?;
        stored
            .map(|stored| Ok::<_, Error>((ObjectRecord::decode(&stored).map_err(store_error)?, stored)))
            .transpose()?
            .filter(|(record, _)| !record.head.null_version)
    };
    let Some((record, stored)) = found else { return Ok(None) };
    let older = keys::version(&bucket.name, key.as_str(), record.head.id);
    batch.expect(older.clone(), Some(stored));
    batch.remove(older);
    Ok(Some(record))
}

/// The newest of the older versions of a key.
fn newest_older(
    ctx: &Context<'_>,
    bucket: &Bucket,
    key: &ObjectKey,
) -> Result<Option<(ObjectHead, Vec<u8>)>> {
    let range = keys::versions(&bucket.name, key.as_str());
    let mut found = None;
    ctx.service
        .meta
        .scan_few(&range.start..&range.end, 1, &mut |_, value| {
            found = Some(value.to_vec());
            Visit::Stop
        })
        .map_err(store_error)?;
    found.map(|stored| Ok((ObjectRecord::decode_head(&stored).map_err(store_error)?, stored))).transpose()
}

/// One entry of a DeleteObjects request.
struct Entry {
    key: String,
    version: Option<String>,
    /// The ETag that it must have, as it came.
    etag: Option<String>,
    condition: DeleteConditions,
}

/// DeleteObjects.
pub fn delete_many(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let bytes = read_checked_body(ctx, body, DELETE_BODY_BYTES_MAX)?;
    let (entries, quiet) = parse(&bytes)?;
    let mut xml = XmlWriter::document("DeleteResult");
    for entry in &entries {
        let outcome = delete_entry(ctx, entry);
        logged::batch_delete(ctx, &entry.key, entry.version.as_deref(), &outcome);
        match outcome {
            Ok(_) if quiet => {}
            Ok(deleted) => write_deleted(&mut xml, entry, &deleted),
            Err(error) => write_error(&mut xml, entry, &error),
        }
    }
    Ok(xml_response(200, xml.end("DeleteResult")))
}

fn delete_entry(ctx: &Context<'_>, entry: &Entry) -> Result<Deleted> {
    let key = ObjectKey::parse(&entry.key)?;
    let refusal = ctx.service.refuse_key.as_ref().and_then(|refuse| refuse(ctx, key.as_str()));
    refusal.map_or(Ok(()), Err)?;
    if let Some(version) = entry.version.as_deref().filter(|version| *version != "null") {
        // Unlike DeleteObject: here an id that cannot be one names no version.
        parse_version_id(version).map_err(|_| Error::new(Code::NoSuchVersion))?;
    }
    access::may_delete(ctx, &key, entry.version.as_deref(), entry.etag.as_deref())?;
    delete_key(ctx, &key, entry.version.as_deref(), &entry.condition)
}

fn write_deleted(xml: &mut XmlWriter, entry: &Entry, deleted: &Deleted) {
    xml.open("Deleted");
    xml.element("Key", &entry.key);
    xml.optional("VersionId", entry.version.as_deref());
    if deleted.delete_marker {
        xml.boolean("DeleteMarker", true);
        xml.optional("DeleteMarkerVersionId", deleted.version_id.as_deref());
    }
    xml.close("Deleted");
}

fn write_error(xml: &mut XmlWriter, entry: &Entry, error: &Error) {
    xml.open("Error");
    xml.element("Key", &entry.key);
    xml.optional("VersionId", entry.version.as_deref());
    xml.element("Code", error.code().name);
    xml.sentence("Message", error.message());
    xml.close("Error");
}

fn parse(bytes: &[u8]) -> Result<(Vec<Entry>, bool)> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("Delete")?;
    let quiet = root.boolean("Quiet")?.unwrap_or(false);
    let mut entries = Vec::new();
    for object in root.children("Object") {
        if entries.len() >= DELETE_KEYS_MAX {
            return Err(Code::MalformedXML.into());
        }
        entries.push(Entry {
            key: object.required_text("Key")?.into_owned(),
            version: object.text("VersionId")?.filter(|version| !version.is_empty()).map(Cow::into_owned),
            etag: object.text("ETag")?.map(Cow::into_owned),
            condition: DeleteConditions::of_entry(
                object.text("ETag")?.as_deref(),
                object.text("LastModifiedTime")?.as_deref(),
                object.text("Size")?.as_deref(),
            )?,
        });
    }
    if entries.is_empty() {
        return Err(Code::MalformedXML.into());
    }
    Ok((entries, quiet))
}
