//! PutBucketLogging and GetBucketLogging, and who may be sent a log.
//!
//! Source: S3 API reference, PutBucketLogging; S3 user guide, "Enabling Amazon S3 server access logging"
//! (what the target bucket must be and allow).

use super::acl::{GRANTS_MAX, account_grantee, email_grantee};
use super::bucket::SMALL_BODY_BYTES_MAX;
use super::service::{Bucket, Service};
use super::{Context, read_small_body, xml_response};
use crate::auth::account::Accounts;
use crate::auth::policy::{self, Decision, Principal};
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::BucketName;
use crate::model::acl::{Grant, Grantee, Group, Permission};
use crate::model::logging::{DateSource, KeyFormat, LOGGING_SERVICE, LoggingConfiguration};
use std::sync::Arc;

/// The longest prefix of log files, in bytes. It leaves room for what keys end in.
pub const PREFIX_BYTES_MAX: usize = 800;

/// What `Grantee` elements declare so that `xsi:type` means something.
const XSI: &str = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

/// GetBucketLogging.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let mut xml = XmlWriter::document("BucketLoggingStatus");
    if let Some(logging) = &ctx.bucket().record.logging {
        xml.open("LoggingEnabled");
        xml.element("TargetBucket", &logging.target_bucket);
        xml.element("TargetPrefix", &logging.target_prefix);
        write_grants(ctx, &mut xml, &logging.target_grants);
        write_key_format(&mut xml, logging.key_format);
        xml.close("LoggingEnabled");
    }
    Ok(xml_response(200, xml.end("BucketLoggingStatus")))
}

/// PutBucketLogging. A status without `LoggingEnabled` ends logging.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let bytes = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    let logging = parse(&bytes, ctx.service.accounts())?;
    if let Some(logging) = &logging {
        // Whether it lets logs in is not asked now: AWS takes the configuration before the policy too.
        let target = find_target(ctx.service, ctx.bucket(), logging)?;
        if target.record.acls_disabled() && !logging.target_grants.is_empty() {
            let message = "Target grants not allowed for bucket owner enforced buckets";
            return Err(Error::with_message(Code::AccessControlListNotSupported, message));
        }
    }
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.logging = logging.clone();
        Ok(())
    })?;
    Ok(Response::new(200))
}

fn refused(logging: &LoggingConfiguration, message: &'static str) -> Error {
    Error::with_message(Code::InvalidTargetBucketForLogging, message)
        .field("TargetBucket", logging.target_bucket.clone())
}

/// Finds the bucket that a log goes to, if it lets the log in under a key.
///
/// # Errors
/// `InvalidTargetBucketForLogging`, `CrossLocationLoggingProhibitted`, `InternalError`.
pub fn open_target(
    service: &Service,
    source: &Bucket,
    logging: &LoggingConfiguration,
    key: &str,
) -> Result<Arc<Bucket>> {
    let target = find_target(service, source, logging)?;
    if is_granted(&target) || is_allowed(service, source, &target, key)? {
        return Ok(target);
    }
    let message = "You must give the log-delivery group WRITE and READ_ACP permissions to the target bucket";
    Err(refused(logging, message))
}

/// Finds the bucket that a log is to go to, if it is one that may take logs.
fn find_target(service: &Service, source: &Bucket, logging: &LoggingConfiguration) -> Result<Arc<Bucket>> {
    let refused = |message| refused(logging, message);
    let found = match BucketName::parse(&logging.target_bucket) {
        Ok(name) => service.find_bucket(&name)?,
        Err(_) => None,
    };
    let target = found.ok_or_else(|| refused("The target bucket for logging does not exist"))?;
    if target.record.owner != source.record.owner {
        return Err(refused("The owner for the bucket to be logged and the target bucket must be the same."));
    }
    if target.record.location != source.record.location {
        return Err(Error::new(Code::CrossLocationLoggingProhibitted)
            .field("TargetBucketLocation", target.record.location.clone()));
    }
    if target.record.default_retention.is_some() {
        return Err(refused("The target bucket must not have a default retention period."));
    }
    if target.record.requester_pays {
        return Err(refused("The target bucket must not have Requester Pays enabled."));
    }
    Ok(target)
}

/// Whether the grants of a bucket let logs in.
fn is_granted(target: &Bucket) -> bool {
    let granted = |permission: Permission| {
        target.record.acl.grants.iter().any(|grant| {
            grant.grantee == Grantee::Group(Group::LogDelivery) && grant.permission.covers(permission)
        })
    };
    !target.record.acls_disabled() && granted(Permission::Write) && granted(Permission::ReadAcp)
}

/// Whether the policy of a bucket lets the logging service put a key for this source.
fn is_allowed(service: &Service, source: &Bucket, target: &Bucket, key: &str) -> Result<bool> {
    let Some(policy) = target.policy()? else { return Ok(false) };
    let owner = service.accounts().by_canonical_id(&source.record.owner);
    // Accounts are named by number; policies from elsewhere name them by canonical id.
    let names = [owner.map_or("", |owner| owner.short_id.as_str()), source.record.owner.as_str()];
    let arn = format!("arn:aws:s3:::{}", source.name);
    let resource = format!("arn:aws:s3:::{}/{key}", target.name);
    let allows = |account: &str| {
        let values = |name: &str| match name {
            "aws:sourcearn" => vec![arn.clone()],
            "aws:sourceaccount" => vec![account.to_owned()],
            "aws:principalservicename" | "aws:principalservicenameslist" => vec![LOGGING_SERVICE.to_owned()],
            "aws:principalisawsservice" | "aws:securetransport" => vec!["true".to_owned()],
            _ => Vec::new(),
        };
        policy.evaluate(&policy::Request {
            principal: Principal::Service(LOGGING_SERVICE),
            action: "s3:PutObject",
            resource: &resource,
            context: &values,
        }) == Decision::Allow
    };
    Ok(names.into_iter().any(allows))
}

fn parse(bytes: &[u8], accounts: &Accounts) -> Result<Option<LoggingConfiguration>> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("BucketLoggingStatus")?.only(&["LoggingEnabled"])?;
    let Some(enabled) = root.child("LoggingEnabled")? else { return Ok(None) };
    let enabled = enabled.only(&["TargetBucket", "TargetPrefix", "TargetGrants", "TargetObjectKeyFormat"])?;
    let prefix = enabled.required_text("TargetPrefix")?.into_owned();
    if prefix.len() > PREFIX_BYTES_MAX {
        let message = format!("The target prefix must not be longer than {PREFIX_BYTES_MAX} bytes.");
        return Err(Error::invalid_argument("TargetPrefix", &prefix, message));
    }
    Ok(Some(LoggingConfiguration {
        target_bucket: enabled.required_text("TargetBucket")?.trim().to_owned(),
        target_prefix: prefix,
        target_grants: match enabled.child("TargetGrants")? {
            Some(grants) => parse_grants(grants, accounts)?,
            None => Vec::new(),
        },
        key_format: enabled.child("TargetObjectKeyFormat")?.map(parse_key_format).transpose()?,
    }))
}

fn parse_grants(element: Element<'_>, accounts: &Accounts) -> Result<Vec<Grant>> {
    let mut grants = Vec::new();
    for grant in element.only(&["Grant"])?.children("Grant") {
        if grants.len() >= GRANTS_MAX {
            return Err(malformed("too many grants"));
        }
        // Documented are FULL_CONTROL, READ and WRITE; AWS takes the other two as well.
        let permission = grant.read("Permission", "a permission for logs", Permission::parse)?;
        let permission = xml_reader::required(permission, "Permission")?;
        grants.push(Grant { grantee: parse_grantee(grant.required("Grantee")?, accounts)?, permission });
    }
    Ok(grants)
}

fn parse_grantee(element: Element<'_>, accounts: &Accounts) -> Result<Grantee> {
    match element.attribute("type") {
        Some("CanonicalUser") => account_grantee(element.required_text("ID")?.trim(), accounts),
        Some("AmazonCustomerByEmail") => {
            email_grantee(element.required_text("EmailAddress")?.trim(), accounts)
        }
        Some("Group") => {
            let uri = element.required_text("URI")?;
            let group = Group::parse(uri.trim());
            group.map(Grantee::Group).ok_or_else(|| Error::invalid_argument("uri", &uri, "Invalid group uri"))
        }
        _ => Err(malformed("an unknown type of grantee")),
    }
}

fn parse_key_format(element: Element<'_>) -> Result<KeyFormat> {
    let element = element.only(&["SimplePrefix", "PartitionedPrefix"])?;
    match (element.child("SimplePrefix")?, element.child("PartitionedPrefix")?) {
        (Some(_), None) => Ok(KeyFormat::Simple),
        (None, Some(partitioned)) => {
            let sources =
                [DateSource::EventTime, DateSource::DeliveryTime].map(|source| (source.as_str(), source));
            let source = partitioned.one_of("PartitionDateSource", &sources)?;
            Ok(KeyFormat::Partitioned(xml_reader::required(source, "PartitionDateSource")?))
        }
        _ => Err(malformed("TargetObjectKeyFormat has not exactly one format")),
    }
}

fn write_grants(ctx: &Context<'_>, xml: &mut XmlWriter, grants: &[Grant]) {
    if grants.is_empty() {
        return;
    }
    xml.open("TargetGrants");
    for grant in grants {
        xml.open("Grant");
        match &grant.grantee {
            Grantee::Account(id) => {
                xml.open_with("Grantee", &format!("{XSI} xsi:type=\"CanonicalUser\""));
                xml.element("ID", id);
                xml.optional("DisplayName", ctx.service.display_name(id));
            }
            Grantee::Group(group) => {
                xml.open_with("Grantee", &format!("{XSI} xsi:type=\"Group\""));
                xml.element("URI", group.uri());
            }
        }
        xml.close("Grantee");
        xml.element("Permission", grant.permission.as_str());
        xml.close("Grant");
    }
    xml.close("TargetGrants");
}

fn write_key_format(xml: &mut XmlWriter, format: Option<KeyFormat>) {
    let Some(format) = format else { return };
    xml.open("TargetObjectKeyFormat");
    match format {
        KeyFormat::Simple => {
            xml.open("SimplePrefix");
            xml.close("SimplePrefix");
        }
        KeyFormat::Partitioned(source) => {
            xml.open("PartitionedPrefix");
            xml.element("PartitionDateSource", source.as_str());
            xml.close("PartitionedPrefix");
        }
    }
    xml.close("TargetObjectKeyFormat");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(content: &str) -> Result<Option<LoggingConfiguration>> {
        let text = format!("<BucketLoggingStatus>{content}</BucketLoggingStatus>");
        parse(text.as_bytes(), &Accounts::default())
    }

    #[test]
    fn a_status_is_read_with_its_key_format() {
        assert_eq!(status("").expect("valid"), None);
        let target = "<TargetBucket>logs</TargetBucket><TargetPrefix/>";
        let format = |content: &str| {
            let content = format!(
                "<LoggingEnabled>{target}<TargetObjectKeyFormat>{content}</TargetObjectKeyFormat></LoggingEnabled>"
            );
            status(&content).map(|logging| logging.expect("enabled").key_format)
        };
        assert_eq!(format("<SimplePrefix/>").expect("valid"), Some(KeyFormat::Simple));
        let partitioned = |source: &str| {
            format(&format!(
                "<PartitionedPrefix><PartitionDateSource>{source}</PartitionDateSource></PartitionedPrefix>"
            ))
        };
        assert_eq!(
            partitioned("EventTime").expect("valid"),
            Some(KeyFormat::Partitioned(DateSource::EventTime))
        );
        for bad in [partitioned("kaboom"), format(""), format("<SimplePrefix/><PartitionedPrefix/>")] {
            assert_eq!(bad.expect_err("malformed").code(), Code::MalformedXML);
        }
    }

    #[test]
    fn a_status_without_a_target_is_malformed_and_long_prefixes_are_refused() {
        for content in [
            "<LoggingEnabled/>",
            "<LoggingEnabled><TargetBucket>b</TargetBucket></LoggingEnabled>",
            "<LoggingEnabled><TargetPrefix/></LoggingEnabled>",
            "<Other/>",
        ] {
            assert_eq!(status(content).expect_err(content).code(), Code::MalformedXML);
        }
        let prefixed = |length: usize| {
            let prefix = "p".repeat(length);
            status(&format!(
                "<LoggingEnabled><TargetBucket>b</TargetBucket><TargetPrefix>{prefix}</TargetPrefix></LoggingEnabled>"
            ))
        };
        assert!(prefixed(PREFIX_BYTES_MAX).is_ok());
        assert_eq!(prefixed(PREFIX_BYTES_MAX + 1).expect_err("too long").code(), Code::InvalidArgument);
    }
}
