//! Object lock: the default of a bucket, retention and legal hold of a version, and the rule that no
//! locked version is deleted.
//!
//! Sources: S3 user guide, "Locking objects with Object Lock"; S3 API reference, Put- and
//! GetObjectLockConfiguration, Put- and GetObjectRetention, Put- and GetObjectLegalHold. What a lock
//! forbids is decided in [`crate::model::lock`], inside the commit that would delete or change.

use super::access::{self, InBody};
use super::bucket::SMALL_BODY_BYTES_MAX;
use super::checksum::BodyChecksums;
use super::object_get::{delete_marker_refused, find_version, missing};
use super::object_update::{update_version, updated};
use super::{Context, condition_keys, read_verified_body, xml_response};
use crate::codec::clock::Millis;
use crate::codec::time::{iso8601, parse_iso8601};
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::bucket::Versioning;
use crate::model::lock::{
    DefaultRetention, Governance, LockMode, ObjectLock, Period, Retention, is_locked, may_replace,
};
use crate::model::object::{ObjectDetail, ObjectRecord};

/// The longest default retention: 100 years, in days and in years.
const DAYS_MAX: i64 = 36_500;
const YEARS_MAX: i64 = 100;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const LEGAL_HOLD: &str = "x-amz-object-lock-legal-hold";
const BYPASS: &str = "x-amz-bypass-governance-retention";

/// PutObjectLockConfiguration. A bucket that keeps versions may be given object lock at any time; it
/// cannot be taken away again, only the default retention can.
pub fn put_configuration(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let default = parse_configuration(&read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        if record.versioning != Versioning::Enabled {
            let message = "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration";
            return Err(Error::with_message(Code::InvalidBucketState, message));
        }
        record.object_lock = true;
        record.default_retention = default;
        Ok(())
    })?;
    Ok(Response::new(200))
}

fn parse_configuration(bytes: &[u8]) -> Result<Option<DefaultRetention>> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("ObjectLockConfiguration")?.only(&["ObjectLockEnabled", "Rule"])?;
    if root.required_text("ObjectLockEnabled")? != "Enabled" {
        return Err(malformed("ObjectLockEnabled is not Enabled"));
    }
    let Some(rule) = root.child("Rule")? else { return Ok(None) };
    let default = rule.only(&["DefaultRetention"])?.required("DefaultRetention")?;
    parse_default(default.only(&["Mode", "Days", "Years"])?).map(Some)
}

fn parse_default(default: Element<'_>) -> Result<DefaultRetention> {
    let mode = xml_reader::required(default.one_of("Mode", &LockMode::ALL)?, "Mode")?;
    let period = match (default.integer("Days")?, default.integer("Years")?) {
        (Some(days), None) => Period::Days(checked_period(days, DAYS_MAX)?),
        (None, Some(years)) => Period::Years(checked_period(years, YEARS_MAX)?),
        _ => return Err(malformed("a default retention has either Days or Years")),
    };
    Ok(DefaultRetention { mode, period })
}

fn checked_period(number: i64, most: i64) -> Result<u32> {
    let refused = |message| Error::with_message(Code::InvalidRetentionPeriod, message);
    match u32::try_from(number) {
        Ok(1..) if number <= most => Ok(number as u32),
        Ok(1..) => Err(refused("Default retention period too large")),
        _ if number > most => Err(refused("Default retention period too large")),
        _ => Err(refused("Default retention period must be a positive integer value.")),
    }
}

/// GetObjectLockConfiguration.
pub fn get_configuration(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let record = &ctx.bucket().record;
    if !record.object_lock {
        return Err(Error::new(Code::ObjectLockConfigurationNotFoundError)
            .field("BucketName", ctx.bucket_name().as_str()));
    }
    let mut xml = XmlWriter::document("ObjectLockConfiguration");
    xml.element("ObjectLockEnabled", "Enabled");
    if let Some(default) = record.default_retention {
        xml.open("Rule");
        xml.open("DefaultRetention");
        xml.element("Mode", default.mode.as_str());
        match default.period {
            Period::Days(days) => xml.number("Days", u64::from(days)),
            Period::Years(years) => xml.number("Years", u64::from(years)),
        }
        xml.close("DefaultRetention");
        xml.close("Rule");
    }
    Ok(xml_response(200, xml.end("ObjectLockConfiguration")))
}

/// PutObjectRetention.
pub fn put_retention(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    require_lock(ctx)?;
    let wanted = parse_retention(&read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?, ctx.now)?;
    may_retain(ctx, wanted)?;
    let governance = governance(ctx);
    let record = update_version(ctx, ctx.key(), ctx.param("versionId"), &mut |record| {
        if !may_replace(record.detail.lock.retention, wanted, ctx.now, governance) {
            return Err(protected());
        }
        record.detail.lock.retention = wanted;
        Ok(())
    })?;
    Ok(updated(ctx, 200, &record))
}

/// Asks for a retention with what policies can ask about it.
fn may_retain(ctx: &Context<'_>, wanted: Option<Retention>) -> Result<()> {
    let keys = wanted.map(|wanted| {
        [
            ("object-lock-mode", wanted.mode.as_str().to_owned()),
            ("object-lock-retain-until-date", iso8601(wanted.until_ms)),
            ("object-lock-remaining-retention-days", condition_keys::remaining_days(ctx, wanted.until_ms)),
        ]
    });
    let keys = keys.as_ref().map_or(&[][..], |keys| &keys[..]);
    access::may_change(ctx, InBody { keys, ..InBody::default() })
}

/// Reads a `Retention` document; an empty one takes the retention away.
fn parse_retention(bytes: &[u8], now: Millis) -> Result<Option<Retention>> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("Retention")?.only(&["Mode", "RetainUntilDate"])?;
    match (root.one_of("Mode", &LockMode::ALL)?, root.date("RetainUntilDate")?) {
        (Some(mode), Some(until_ms)) => {
            Ok(Some(Retention { mode, until_ms: in_future("RetainUntilDate", until_ms, now)? }))
        }
        (None, None) => Ok(None),
        _ => Err(malformed("a retention has Mode and RetainUntilDate")),
    }
}

fn in_future(argument: &str, until_ms: Millis, now: Millis) -> Result<Millis> {
    if until_ms > now {
        return Ok(until_ms);
    }
    let message = "The retain until date must be in the future!";
    Err(Error::invalid_argument(argument, &iso8601(until_ms), message))
}

/// GetObjectRetention.
pub fn get_retention(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let lock = find_lock(ctx)?;
    let retention = lock.retention.ok_or_else(|| Error::new(Code::NoSuchObjectLockConfiguration))?;
    let mut xml = XmlWriter::document("Retention");
    xml.element("Mode", retention.mode.as_str());
    xml.element("RetainUntilDate", &iso8601(retention.until_ms));
    Ok(xml_response(200, xml.end("Retention")))
}

/// PutObjectLegalHold.
pub fn put_legal_hold(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let hold = parse_legal_hold(&read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?)?;
    require_lock(ctx)?;
    let keys = [("object-lock-legal-hold", on_off(hold).to_owned())];
    access::may_change(ctx, InBody { keys: &keys, ..InBody::default() })?;
    let record = update_version(ctx, ctx.key(), ctx.param("versionId"), &mut |record| {
        record.detail.lock.legal_hold = Some(hold);
        Ok(())
    })?;
    Ok(updated(ctx, 200, &record))
}

fn parse_legal_hold(bytes: &[u8]) -> Result<bool> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("LegalHold")?.only(&["Status"])?;
    xml_reader::required(root.one_of("Status", &[("ON", true), ("OFF", false)])?, "Status")
}

/// GetObjectLegalHold.
pub fn get_legal_hold(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let lock = find_lock(ctx)?;
    let hold = lock.legal_hold.ok_or_else(|| Error::new(Code::NoSuchObjectLockConfiguration))?;
    let mut xml = XmlWriter::document("LegalHold");
    xml.element("Status", on_off(hold));
    Ok(xml_response(200, xml.end("LegalHold")))
}

fn find_lock(ctx: &Context<'_>) -> Result<ObjectLock> {
    require_lock(ctx)?;
    let version = ctx.param("versionId");
    let found = find_version(ctx.service, ctx.bucket(), ctx.key(), version)?;
    let record = found.ok_or_else(|| missing(ctx.key(), version))?;
    if record.head.delete_marker {
        return Err(delete_marker_refused(ctx, &record));
    }
    Ok(record.detail.lock)
}

fn on_off(hold: bool) -> &'static str {
    if hold { "ON" } else { "OFF" }
}

fn require_lock(ctx: &Context<'_>) -> Result<()> {
    if ctx.bucket().record.object_lock {
        return Ok(());
    }
    Err(Error::with_message(Code::InvalidRequest, "Bucket is missing Object Lock Configuration"))
}

/// The locks that the headers of this request put on the version that it creates. The default
/// retention of the bucket is added when that is committed.
///
/// # Errors
/// `InvalidArgument`; `InvalidRequest` for a bucket without object lock.
pub fn of_new_object(ctx: &Context<'_>) -> Result<ObjectLock> {
    let lock = read_headers(ctx)?;
    if !lock.is_empty() && !ctx.bucket().record.object_lock {
        return Err(Error::with_message(Code::InvalidRequest, "Bucket is missing ObjectLockConfiguration"));
    }
    Ok(lock)
}

fn read_headers(ctx: &Context<'_>) -> Result<ObjectLock> {
    let retention = match (ctx.header(MODE), ctx.header(UNTIL)) {
        (None, None) => None,
        (Some(mode), Some(until)) => Some(Retention {
            mode: LockMode::parse(mode)
                .ok_or_else(|| Error::invalid_argument(MODE, mode, "Unknown wormMode directive."))?,
            until_ms: in_future(UNTIL, parse_until(until)?, ctx.now)?,
        }),
        (mode, _) => {
            let absent = if mode.is_none() { MODE } else { UNTIL };
            let message = format!("{UNTIL} and {MODE} must both be supplied");
            return Err(Error::with_message(Code::InvalidArgument, message).field("ArgumentName", absent));
        }
    };
    let legal_hold = match ctx.header(LEGAL_HOLD) {
        None => None,
        Some("ON") => Some(true),
        Some("OFF") => Some(false),
        Some(other) => {
            let message = "Legal Hold must be either of 'ON' or 'OFF'";
            return Err(Error::invalid_argument(LEGAL_HOLD, other, message));
        }
    };
    Ok(ObjectLock { retention, legal_hold })
}

fn parse_until(text: &str) -> Result<Millis> {
    let message = "The retain until date must be provided in ISO 8601 format";
    parse_iso8601(text).ok_or_else(|| Error::invalid_argument(UNTIL, text, message))
}

/// What is stored for good must have arrived as it was sent: a PutObject under a lock needs a digest.
///
/// # Errors
/// `InvalidRequest`.
pub fn require_digest(ctx: &Context<'_>, detail: &ObjectDetail, checks: &BodyChecksums) -> Result<()> {
    let locked = !detail.lock.is_empty() || ctx.bucket().record.default_retention.is_some();
    if !locked || *checks != BodyChecksums::default() {
        return Ok(());
    }
    let message = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
    Err(Error::with_message(Code::InvalidRequest, message))
}

/// Adds the headers that tell of a version's locks.
pub fn push(response: &mut Response, lock: &ObjectLock) {
    if let Some(retention) = lock.retention {
        response.push_header(MODE, retention.mode.as_str());
        response.push_header(UNTIL, iso8601(retention.until_ms));
    }
    if let Some(hold) = lock.legal_hold {
        response.push_header(LEGAL_HOLD, on_off(hold));
    }
}

/// Whether this request overrides governance mode: it must say so, and its sender must be allowed to,
/// which is the owner of the bucket. S3 refuses the header where a bucket has no object lock; here it
/// means nothing then, because programs that empty buckets send it always.
pub fn governance(ctx: &Context<'_>) -> Governance {
    let said = ctx.header(BYPASS).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let account = ctx.identity.account().map(|account| account.canonical_id.as_str());
    if said && account == Some(ctx.bucket().record.owner.as_str()) {
        Governance::Bypassed
    } else {
        Governance::Respected
    }
}

/// Refuses to delete a version that is locked. Called on the very record that a commit would remove.
///
/// # Errors
/// `AccessDenied`.
pub fn check_deletable(record: &ObjectRecord, now: Millis, governance: Governance) -> Result<()> {
    if is_locked(&record.detail.lock, now, governance) { Err(protected()) } else { Ok(()) }
}

fn protected() -> Error {
    Error::with_message(Code::AccessDenied, "Access Denied because object protected by object lock.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(rule: &str) -> Result<Option<DefaultRetention>> {
        let text = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        );
        parse_configuration(text.as_bytes())
    }

    #[test]
    fn a_configuration_has_one_period_or_no_rule() {
        let rule = |inner: &str| format!("<Rule><DefaultRetention>{inner}</DefaultRetention></Rule>");
        let governance = |period| Some(DefaultRetention { mode: LockMode::Governance, period });
        assert_eq!(configuration("").expect("valid"), None);
        for (inner, period) in [
            ("<Mode>GOVERNANCE</Mode><Days>1</Days>", Period::Days(1)),
            ("<Mode>GOVERNANCE</Mode><Days>36500</Days>", Period::Days(36_500)),
            ("<Mode>GOVERNANCE</Mode><Years>100</Years>", Period::Years(100)),
        ] {
            assert_eq!(configuration(&rule(inner)).expect("valid"), governance(period), "{inner}");
        }
        for (inner, code) in [
            ("<Mode>GOVERNANCE</Mode>", Code::MalformedXML),
            ("<Days>1</Days>", Code::MalformedXML),
            ("<Mode>governance</Mode><Days>1</Days>", Code::MalformedXML),
            ("<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>", Code::MalformedXML),
            ("<Mode>GOVERNANCE</Mode><Days>one</Days>", Code::MalformedXML),
            ("<Mode>GOVERNANCE</Mode><Days>0</Days>", Code::InvalidRetentionPeriod),
            ("<Mode>GOVERNANCE</Mode><Years>-1</Years>", Code::InvalidRetentionPeriod),
            ("<Mode>GOVERNANCE</Mode><Days>36501</Days>", Code::InvalidRetentionPeriod),
            ("<Mode>GOVERNANCE</Mode><Years>101</Years>", Code::InvalidRetentionPeriod),
            ("<Mode>GOVERNANCE</Mode><Years>99999999999</Years>", Code::InvalidRetentionPeriod),
        ] {
            assert_eq!(configuration(&rule(inner)).expect_err(inner).code(), code, "{inner}");
        }
        assert!(configuration("<Rule/>").is_err());
        assert!(parse_configuration(b"<ObjectLockConfiguration/>").is_err());
    }

    #[test]
    fn a_retention_has_both_parts_or_none_and_ends_in_the_future() {
        let parse =
            |inner: &str| parse_retention(format!("<Retention>{inner}</Retention>").as_bytes(), 1_000);
        let date = "<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>";
        let valid = parse(&format!("<Mode>COMPLIANCE</Mode>{date}")).expect("valid").expect("there");
        assert_eq!((valid.mode, valid.until_ms), (LockMode::Compliance, 1_893_456_000_000));
        assert_eq!(parse("").expect("valid"), None);
        for inner in [date, "<Mode>COMPLIANCE</Mode>", &format!("<Mode>abc</Mode>{date}")] {
            assert_eq!(parse(inner).expect_err(inner).code(), Code::MalformedXML, "{inner}");
        }
        let past = "<Mode>GOVERNANCE</Mode><RetainUntilDate>1970-01-01T00:00:01Z</RetainUntilDate>";
        assert_eq!(parse(past).expect_err("past").code(), Code::InvalidArgument);
    }
}
