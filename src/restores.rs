//! Telling when a restore of an archived object is done, and when its copy is gone.
//!
//! Whether a restored object can be read follows from its record and the clock alone. Only the events of it
//! need somebody to look at the clock: every restore has an entry in the record store under the moment when
//! something is to be told of it, and the lifecycle thread works off the entries that are due.
//!
//! Source: S3 user guide, "Event notification types and destinations" (restore events).

use crate::codec::clock::Millis;
use crate::error::{Code, Result};
use crate::http::{Headers, Method};
use crate::model::object::{ObjectHead, ObjectRecord, Restore};
use crate::model::{BucketName, ObjectKey, SortedId, keys};
use crate::notifications::{self, Noted, Stage};
use crate::ops::internal::Internal;
use crate::ops::service::{Bucket, COMMIT_TRIES_MAX, Service, store_error};
use crate::ops::{Context, Operation, Scope, restore};
use crate::storage::{Batch, Outcome, Visit};
use std::sync::Arc;

/// Entries that are worked off in one go.
const PAGE_ENTRIES_MAX: usize = 256;

const fn operation(name: &'static str) -> Operation {
    Operation {
        name,
        method: Method::Post,
        scope: Scope::Object,
        sub: "restore",
        header: None,
        action: "s3:RestoreObject",
        run: restore::restore,
    }
}

/// What the clock does to restores. Neither is a request's.
static COMPLETED: Operation = operation("S3.RESTORE.COMPLETED");
static EXPIRED: Operation = operation("S3.RESTORE.EXPIRED");

/// The moment at which the next thing is to be told of a restore, as seen at `now`.
pub fn due(restore: Restore, now: Millis) -> Millis {
    if restore.ready_ms > now { restore.ready_ms } else { restore.expires_ms }
}

/// Adds the event of a restore that is done to the batch that makes it so.
pub fn note_completed(
    ctx: &Context<'_>,
    key: &ObjectKey,
    head: &ObjectHead,
    restore: Restore,
    batch: &mut Batch,
) -> Noted {
    let stage = Stage::Restored(restore.expires_ms);
    note(ctx.service, &COMPLETED, (&ctx.bucket, key), head, stage, batch)
}

fn note(
    service: &Service,
    operation: &'static Operation,
    (bucket, key): (&Option<Arc<Bucket>>, &ObjectKey),
    head: &ObjectHead,
    stage: Stage,
    batch: &mut Batch,
) -> Noted {
    let Some(bucket) = bucket else { return Noted::default() };
    let request = Internal::new(service, operation, bucket.clone(), Some(key.clone()), Headers::new());
    notifications::note(&request.context(service), bucket, key, head, stage, batch)
}

/// Tells everything that is due by now. Returns how many copies are gone, and when something is due next.
///
/// # Errors
/// What the store says.
pub fn settle(service: &Service) -> Result<(u64, Option<Millis>)> {
    let mut expired = 0;
    loop {
        let now = service.clock.now();
        let (page, next) = entries(service, now)?;
        if page.is_empty() {
            return Ok((expired, next));
        }
        for entry in page {
            expired += u64::from(settle_one(service, &entry, now)?);
        }
    }
}

/// Entries that are due by `now`, and when the first one is due that is not.
fn entries(service: &Service, now: Millis) -> Result<(Vec<Vec<u8>>, Option<Millis>)> {
    let (mut page, mut next) = (Vec::new(), None);
    let range = keys::all_restores();
    let mut visit = |key: &[u8], _: &[u8]| match keys::restore_of(key) {
        Some((due, ..)) if due > now => {
            next = Some(due);
            Visit::Stop
        }
        _ => {
            page.push(key.to_vec());
            if page.len() < PAGE_ENTRIES_MAX { Visit::Next } else { Visit::Stop }
        }
    };
    service.meta.scan(&range.start..&range.end, &mut visit).map_err(store_error)?;
    Ok((page, next))
}

/// Works one entry off; whether the copy is gone.
fn settle_one(service: &Service, entry: &[u8], now: Millis) -> Result<bool> {
    for _ in 0..COMMIT_TRIES_MAX {
        let mut batch = Batch::new();
        let Some(value) = service.meta.get(entry).map_err(store_error)? else { return Ok(false) };
        batch.expect(entry.to_vec(), Some(value));
        batch.remove(entry.to_vec());
        let (noted, gone) = tell(service, entry, now, &mut batch)?;
        if service.commit(batch)? == Outcome::Committed {
            service.notifications.committed(noted);
            return Ok(gone);
        }
    }
    Err(Code::OperationAborted.into())
}

/// Adds to a batch what is to be told at an entry, unless the version or its restore is another by now.
fn tell(service: &Service, entry: &[u8], now: Millis, batch: &mut Batch) -> Result<(Noted, bool)> {
    let nothing = Ok((Noted::default(), false));
    let Some((due, bucket, key, id)) = keys::restore_of(entry) else { return nothing };
    let bucket = service.find_bucket(&bucket)?;
    let Some(name) = bucket.as_ref().map(|bucket| bucket.name.clone()) else { return nothing };
    let Some((place, mut record, stored)) = find(service, &name, key, id)? else { return nothing };
    let Some(restore) = record.detail.restore else { return nothing };
    if due != restore.ready_ms && due != restore.expires_ms {
        return nothing;
    }
    let about = (&bucket, &ObjectKey::parse(key)?);
    batch.expect(place.clone(), Some(stored));
    if restore.expires_ms <= now {
        record.detail.restore = None;
        batch.put(place, record.encode());
        return Ok((note(service, &EXPIRED, about, &record.head, Stage::Written, batch), true));
    }
    batch.put(keys::restore(restore.expires_ms, &name, key, id), Vec::new());
    let stage = Stage::Restored(restore.expires_ms);
    Ok((note(service, &COMPLETED, about, &record.head, stage, batch), false))
}

/// A version and where it lies.
type Found = (Vec<u8>, ObjectRecord, Vec<u8>);

fn find(service: &Service, bucket: &BucketName, key: &str, id: SortedId) -> Result<Option<Found>> {
    for place in [keys::object(bucket, key), keys::version(bucket, key, id)] {
        let Some(stored) = service.meta.get(&place).map_err(store_error)? else { continue };
        let record = ObjectRecord::decode(&stored).map_err(store_error)?;
        if record.head.id == id {
            return Ok(Some((place, record, stored)));
        }
    }
    Ok(None)
}
