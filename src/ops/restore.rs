//! RestoreObject, and what reads of objects in archive classes are told.
//!
//! An object of class `GLACIER` or `DEEP_ARCHIVE` cannot be read until a temporary copy has been asked for
//! and is ready; after its days it cannot be read again. No bytes move for that here: the record says from
//! when until when the object can be read, and the clock says the rest.
//!
//! Source: S3 API reference, RestoreObject; S3 user guide, "Restoring an archived object".

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::object_get::{delete_marker_refused, missing};
use super::object_update::{locate, updated};
use super::service::COMMIT_TRIES_MAX;
use super::{Context, read_verified_body};
use crate::codec::clock::Millis;
use crate::codec::time::http_date;
use crate::codec::xml_reader::{self, Element, required};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::lifecycle::Calendar;
use crate::model::object::{Availability, ObjectRecord, Restore};
use crate::model::{keys, object};
use crate::notifications::{self, Stage};
use crate::restores;
use crate::storage::Outcome;

/// The most days of a temporary copy.
const DAYS_MAX: i64 = 30_000;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    days: u32,
    tier: Tier,
}

/// How fast a restore is to be. Every tier takes the same time here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Standard,
    Bulk,
    Expedited,
}

const TIERS: [(&str, Tier); 3] =
    [("Standard", Tier::Standard), ("Bulk", Tier::Bulk), ("Expedited", Tier::Expedited)];

/// RestoreObject. Answers 202 where a restore begins, 200 where the object is restored already and only
/// gets another last day.
pub fn restore(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let bytes = read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?;
    let wanted = parse(&bytes)?;
    let version = ctx.param("versionId");
    for _ in 0..COMMIT_TRIES_MAX {
        let located = locate(ctx.service, ctx.bucket(), ctx.key(), version)?;
        let located = located.ok_or_else(|| missing(ctx.key(), version))?;
        if located.record.head.delete_marker {
            return Err(delete_marker_refused(ctx, &located.record));
        }
        let before = located.record.detail.restore;
        let (status, restore) = decide(ctx, &located.record, &wanted)?;
        let mut record = located.record;
        record.detail.restore = Some(restore);
        let mut batch = ctx.service.batch_in(&ctx.bucket().record);
        batch.expect(located.record_key.clone(), Some(located.stored));
        batch.put(located.record_key, record.encode());
        let due = |restore: Restore| {
            keys::restore(
                restores::due(restore, ctx.now),
                ctx.bucket_name(),
                ctx.key().as_str(),
                record.head.id,
            )
        };
        before.into_iter().for_each(|before| batch.remove(due(before)));
        batch.put(due(restore), Vec::new());
        let noted =
            notifications::note(ctx, ctx.bucket(), ctx.key(), &record.head, Stage::Written, &mut batch);
        let mut told = vec![noted];
        if status == 202 && restore.ready_ms <= ctx.now {
            told.push(restores::note_completed(ctx, ctx.key(), &record.head, restore, &mut batch));
        }
        if ctx.service.commit(batch)? == Outcome::Committed {
            told.into_iter().for_each(|noted| ctx.service.notifications.committed(noted));
            ctx.service.lifecycle.wake();
            return Ok(updated(ctx, status, &record));
        }
    }
    Err(Code::OperationAborted.into())
}

/// The status of the answer, and from when until when the object can be read.
fn decide(ctx: &Context<'_>, record: &ObjectRecord, wanted: &Wanted) -> Result<(u16, Restore)> {
    let calendar = Calendar { day_ms: ctx.service.config.lifecycle_day_ms };
    let Some(availability) = record.availability(ctx.now) else {
        let message = "Restore is not allowed for the object's current storage class";
        return Err(Error::with_message(Code::InvalidObjectState, message)
            .field("StorageClass", record.head.storage_class()));
    };
    if wanted.tier == Tier::Expedited && record.head.storage_class == object::DEEP_ARCHIVE {
        let message = "Retrieval option is not supported by this storage class";
        return Err(Error::invalid_argument("Tier", "Expedited", message));
    }
    match (availability, record.detail.restore) {
        (Availability::Restoring, _) => Err(Code::RestoreAlreadyInProgress.into()),
        (Availability::Restored(_), Some(restore)) => {
            Ok((200, Restore { expires_ms: calendar.after(ctx.now, wanted.days), ..restore }))
        }
        _ => {
            let ready_ms = ctx.now.saturating_add(ctx.service.config.restore_ms);
            Ok((202, Restore { ready_ms, expires_ms: calendar.after(ready_ms, wanted.days) }))
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Wanted> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("RestoreRequest")?;
    for name in ["Type", "SelectParameters", "OutputLocation"] {
        if root.child(name)?.is_some() {
            let message = format!("RestoreObject with {name} (S3 Select) is not implemented");
            return Err(Error::with_message(Code::NotImplemented, message));
        }
    }
    let root = root.only(&["Days", "Tier", "GlacierJobParameters", "Description"])?;
    let days = required(root.integer("Days")?, "Days")?;
    let days = u32::try_from(days).ok().filter(|_| (1..=DAYS_MAX).contains(&days)).ok_or_else(|| {
        Error::invalid_argument("Days", &days.to_string(), "restoration days should be at least 1")
    })?;
    let of_job =
        root.child("GlacierJobParameters")?.map(|job| tier(job.only(&["Tier"])?)).transpose()?.flatten();
    Ok(Wanted { days, tier: of_job.or(tier(root)?).unwrap_or(Tier::Standard) })
}

fn tier(element: Element<'_>) -> Result<Option<Tier>> {
    element.one_of("Tier", &TIERS)
}

/// Demands that the bytes of an object can be read now.
///
/// # Errors
/// `InvalidObjectState`.
pub fn require_readable(record: &ObjectRecord, now: Millis) -> Result<()> {
    require(record, now, Code::InvalidObjectState.message)
}

/// The same of the source of a copy.
///
/// # Errors
/// `InvalidObjectState`.
pub fn require_readable_source(record: &ObjectRecord, now: Millis) -> Result<()> {
    require(record, now, "Operation is not valid for the source object's storage class")
}

fn require(record: &ObjectRecord, now: Millis, message: &'static str) -> Result<()> {
    match record.availability(now) {
        None | Some(Availability::Restored(_)) => Ok(()),
        Some(Availability::Archived | Availability::Restoring) => {
            Err(Error::with_message(Code::InvalidObjectState, message)
                .field("StorageClass", record.head.storage_class()))
        }
    }
}

/// Adds `x-amz-restore` where a restore is under way or has been made.
pub fn push(response: &mut Response, record: &ObjectRecord, now: Millis) {
    let value = match record.availability(now) {
        None | Some(Availability::Archived) => return,
        Some(Availability::Restoring) => "ongoing-request=\"true\"".to_owned(),
        Some(Availability::Restored(until)) => {
            format!("ongoing-request=\"false\", expiry-date=\"{}\"", http_date(until))
        }
    };
    response.push_header("x-amz-restore", value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_days_and_perhaps_a_tier() {
        let parse = |content: &str| parse(format!("<RestoreRequest>{content}</RestoreRequest>").as_bytes());
        let days = "<Days>3</Days>";
        let in_job =
            |tier: &str| format!("{days}<GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters>");
        for (content, tier) in [
            (days.to_owned(), Tier::Standard),
            (in_job("Bulk"), Tier::Bulk),
            (format!("{days}<Tier>Expedited</Tier>"), Tier::Expedited),
        ] {
            assert_eq!(parse(&content).expect("valid"), Wanted { days: 3, tier }, "{content}");
        }
        for (content, code) in [
            (String::new(), Code::MalformedXML),
            ("<Days>x</Days>".to_owned(), Code::MalformedXML),
            ("<Days>0</Days>".to_owned(), Code::InvalidArgument),
            ("<Days>-1</Days>".to_owned(), Code::InvalidArgument),
            ("<Days>30001</Days>".to_owned(), Code::InvalidArgument),
            (in_job("Fast"), Code::MalformedXML),
            (format!("{days}<Unknown/>"), Code::MalformedXML),
            ("<Type>SELECT</Type>".to_owned(), Code::NotImplemented),
        ] {
            assert_eq!(parse(&content).expect_err("invalid").code(), code, "{content}");
        }
    }
}
