//! Changing what is said of a version without writing it anew: tags, grants, retention, legal hold.
//!
//! The newest version of a key and the older ones lie in different places, and a version moves from the
//! one to the other whenever something is written or deleted beside it. So there is one way to find a
//! version together with where it lies ([`locate`]), and one way to change it where it lies
//! ([`update_version`]): the change is decided on the very record that the commit replaces.

use super::Context;
use super::object_get::{delete_marker_refused, missing, parse_version_id};
use super::object_put::{find_older_null, push_found_version_id, read_current};
use super::service::{Bucket, COMMIT_TRIES_MAX, Service, store_error};
use crate::error::{Code, Result};
use crate::http::Response;
use crate::model::object::ObjectRecord;
use crate::model::{ObjectKey, SortedId, keys};
use crate::notifications::{self, Stage};
use crate::storage::Outcome;

/// A version and where it lies.
#[derive(Clone, Debug)]
pub struct Located {
    /// The version, which may be a delete marker.
    pub record: ObjectRecord,
    /// The key of its record.
    pub record_key: Vec<u8>,
    /// Its stored form, for commits to expect unchanged.
    pub stored: Vec<u8>,
}

/// Finds a version of a key: the newest, or the one named. It may be a delete marker.
///
/// # Errors
/// `InvalidArgument` for an id that cannot be one, `InternalError` when the store fails.
pub fn locate(
    service: &Service,
    bucket: &Bucket,
    key: &ObjectKey,
    version: Option<&str>,
) -> Result<Option<Located>> {
    let wanted = match version {
        None | Some("null") => None,
        Some(version) => Some(parse_version_id(version)?),
    };
    for _ in 0..LOCATE_TRIES_MAX {
        let current = read_current(service, bucket, key)?;
        let seen = current.as_ref().map(|(_, stored)| stored.clone());
        if let Some((record, stored)) = current
            && version.is_none_or(|version| record.head.version_id() == version)
        {
            return Ok(Some(Located {
                record,
                record_key: keys::object(&bucket.name, key.as_str()),
                stored,
            }));
        }
        let older = locate_older(service, bucket, key, version, wanted)?;
        // Removing the newest version moves an older one into its place. One that was looked for while
        // that happened may have been missed in both places.
        let newest = keys::object(&bucket.name, key.as_str());
        if older.is_some() || service.meta.get(&newest).map_err(store_error)? == seen {
            return Ok(older);
        }
    }
    Err(Code::OperationAborted.into())
}

/// How often a version is looked for again because the newest changed meanwhile.
const LOCATE_TRIES_MAX: u32 = 100;

/// Finds a version among those that are not the newest.
fn locate_older(
    service: &Service,
    bucket: &Bucket,
    key: &ObjectKey,
    version: Option<&str>,
    wanted: Option<SortedId>,
) -> Result<Option<Located>> {
    let older = match (version, wanted) {
        (None, _) => None,
        (_, None) => find_older_null(service, bucket, key)?,
        (_, Some(id)) => {
            let stored =
                service.meta.get(&keys::version(&bucket.name, key.as_str(), id)).map_err(store_error)?;
            let found = stored.map(|stored| ObjectRecord::decode(&stored).map(|record| (record, stored)));
            // A null version has an id too, but clients must not reach it by that.
            found.transpose().map_err(store_error)?.filter(|(record, _)| !record.head.null_version)
        }
    };
    Ok(older.map(|(record, stored)| {
        let record_key = keys::version(&bucket.name, key.as_str(), record.head.id);
        Located { record, record_key, stored }
    }))
}

/// Changes the record of one version in place: the newest when `version` is `None`, else the one
/// named. `change` sees exactly the record that the commit replaces; if another write comes between,
/// it is called again with the new state, so it must not have effects of its own. It must not touch
/// the identity of the version (`head.id`, `head.null_version`) or its bodies.
///
/// Returns the record as it is now stored. Access to the object is the caller's business, inside
/// `change` where it depends on the record.
///
/// # Errors
/// `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed` for a delete marker, `InvalidArgument` for an id
/// that cannot be one, what `change` says, `OperationAborted`.
pub fn update_version(
    ctx: &Context<'_>,
    key: &ObjectKey,
    version: Option<&str>,
    change: &mut dyn FnMut(&mut ObjectRecord) -> Result<()>,
) -> Result<ObjectRecord> {
    for _ in 0..COMMIT_TRIES_MAX {
        let located = locate(ctx.service, ctx.bucket(), key, version)?;
        let Located { mut record, record_key, stored } = located.ok_or_else(|| missing(key, version))?;
        if record.head.delete_marker {
            return Err(delete_marker_refused(ctx, &record));
        }
        change(&mut record)?;
        let changed = record.encode();
        if changed == stored {
            return Ok(record);
        }
        // A version that has moved or gone meanwhile is not under this key any more, or is another.
        let mut batch = ctx.service.batch_in(&ctx.bucket().record);
        batch.expect(record_key.clone(), Some(stored));
        batch.put(record_key, changed);
        let noted = notifications::note(ctx, ctx.bucket(), key, &record.head, Stage::Written, &mut batch);
        if ctx.service.commit(batch)? == Outcome::Committed {
            ctx.service.notifications.committed(noted);
            return Ok(record);
        }
    }
    Err(Code::OperationAborted.into())
}

/// The answer to a change of a version: a status, and which version it was.
pub fn updated(ctx: &Context<'_>, status: u16, record: &ObjectRecord) -> Response {
    let mut response = Response::new(status);
    push_found_version_id(&mut response, ctx.bucket(), &record.head);
    response
}
