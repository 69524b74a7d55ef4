//! Settings of a bucket that this server keeps and returns, and that change nothing else: transfer
//! acceleration, replication, and the four kinds of configurations with ids.
//!
//! Source: S3 API reference, the Put, Get, List and Delete pages of each; the tables below are their
//! request syntax.

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::checksum::BodyChecksums;
use super::schema::Content::{AtMostOne, Boolean, Elements, Number, OneOf, Prefixed, Short, Text};
use super::schema::{Content, Field, maybe, one, rewrite, several};
use super::{Context, read_checked_body, read_small_body, xml_response};
use crate::codec::digest_reader::DigestReader;
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::codec::{base64, unbase64};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::bucket::{BucketRecord, Versioning};
use crate::model::replication::{ReplicationConfiguration, ReplicationRule};

/// The most configurations of one kind.
const CONFIGURATIONS_MAX: usize = 1_000;

/// Bytes of all configurations of a bucket together. They are part of its record, which every write
/// compares, so they must stay small.
const CONFIGURATIONS_BYTES_MAX: usize = 256 * 1024;

/// Configurations on a page of a list.
const PAGE_MAX: usize = 100;

/// The most rules of a replication configuration.
const REPLICATION_RULES_MAX: usize = 1_000;

/// The most tags of a filter.
const FILTER_TAGS_MAX: usize = 10;

const TAG: Content = Elements(&[one("Key", Short(128)), one("Value", Text)]);
const STATUS: Content = OneOf(&["Enabled", "Disabled"]);
const BUCKET_ARN: Content = Prefixed("arn:aws:s3:::");
const ID: Content = Short(64);

/// A kind of configurations with ids.
struct Kind {
    /// The sub-resource.
    sub: &'static str,
    /// The root of a document.
    root: &'static str,
    /// The root of a list.
    list: &'static str,
    /// What a document contains.
    fields: &'static [Field],
}

#[rustfmt::skip]
static KINDS: [Kind; 4] = [
    Kind {
        sub: "analytics",
        root: "AnalyticsConfiguration",
        list: "ListBucketAnalyticsConfigurationsResult",
        fields: &[
            one("Id", ID),
            maybe("Filter", AtMostOne(&[
                maybe("Prefix", Text),
                maybe("Tag", TAG),
                maybe("And", Elements(&[maybe("Prefix", Text), several("Tag", 0, FILTER_TAGS_MAX, TAG)])),
            ])),
            one("StorageClassAnalysis", Elements(&[
                maybe("DataExport", Elements(&[
                    one("OutputSchemaVersion", OneOf(&["V_1"])),
                    one("Destination", Elements(&[
                        one("S3BucketDestination", Elements(&[
                            one("Format", OneOf(&["CSV"])),
                            maybe("BucketAccountId", Text),
                            one("Bucket", BUCKET_ARN),
                            maybe("Prefix", Text),
                        ])),
                    ])),
                ])),
            ])),
        ],
    },
    Kind {
        sub: "intelligent-tiering",
        root: "IntelligentTieringConfiguration",
        list: "ListBucketIntelligentTieringConfigurationsOutput",
        fields: &[
            one("Id", ID),
            maybe("Filter", AtMostOne(&[
                maybe("Prefix", Text),
                maybe("Tag", TAG),
                maybe("And", Elements(&[maybe("Prefix", Text), several("Tag", 0, FILTER_TAGS_MAX, TAG)])),
            ])),
            one("Status", STATUS),
            several("Tiering", 1, 2, Elements(&[
                one("AccessTier", OneOf(&["ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"])),
                one("Days", Number(90, 730)),
            ])),
        ],
    },
    Kind {
        sub: "inventory",
        root: "InventoryConfiguration",
        list: "ListInventoryConfigurationsResult",
        fields: &[
            one("Destination", Elements(&[
                one("S3BucketDestination", Elements(&[
                    maybe("AccountId", Text),
                    one("Bucket", BUCKET_ARN),
                    one("Format", OneOf(&["CSV", "ORC", "Parquet"])),
                    maybe("Prefix", Text),
                    maybe("Encryption", AtMostOne(&[
                        maybe("SSE-S3", Elements(&[])),
                        maybe("SSE-KMS", Elements(&[one("KeyId", Text)])),
                    ])),
                ])),
            ])),
            one("IsEnabled", Boolean),
            maybe("Filter", Elements(&[one("Prefix", Text)])),
            one("Id", ID),
            one("IncludedObjectVersions", OneOf(&["All", "Current"])),
            maybe("OptionalFields", Elements(&[several("Field", 0, 32, OneOf(&[
                "Size", "LastModifiedDate", "StorageClass", "ETag", "IsMultipartUploaded",
                "ReplicationStatus", "EncryptionStatus", "ObjectLockRetainUntilDate", "ObjectLockMode",
                "ObjectLockLegalHoldStatus", "IntelligentTieringAccessTier", "BucketKeyStatus",
                "ChecksumAlgorithm", "ObjectAccessControlList", "ObjectOwner", "LifecycleExpirationDate",
            ]))])),
            one("Schedule", Elements(&[one("Frequency", OneOf(&["Daily", "Weekly"]))])),
        ],
    },
    Kind {
        sub: "metrics",
        root: "MetricsConfiguration",
        list: "ListMetricsConfigurationsResult",
        fields: &[
            one("Id", ID),
            maybe("Filter", AtMostOne(&[
                maybe("Prefix", Text),
                maybe("Tag", TAG),
                maybe("AccessPointArn", Text),
                maybe("And", Elements(&[
                    maybe("Prefix", Text),
                    several("Tag", 0, FILTER_TAGS_MAX, TAG),
                    maybe("AccessPointArn", Text),
                ])),
            ])),
        ],
    },
];

#[rustfmt::skip]
static REPLICATION: [Field; 2] = [
    one("Role", Short(2048)),
    several("Rule", 1, REPLICATION_RULES_MAX, Elements(&[
        maybe("ID", Short(255)),
        maybe("Priority", Number(0, i32::MAX as u64)),
        maybe("Prefix", Text),
        maybe("Filter", AtMostOne(&[
            maybe("Prefix", Text),
            maybe("Tag", TAG),
            maybe("And", Elements(&[maybe("Prefix", Text), several("Tag", 0, FILTER_TAGS_MAX, TAG)])),
        ])),
        one("Status", STATUS),
        maybe("SourceSelectionCriteria", Elements(&[
            maybe("SseKmsEncryptedObjects", Elements(&[one("Status", STATUS)])),
            maybe("ReplicaModifications", Elements(&[one("Status", STATUS)])),
        ])),
        maybe("ExistingObjectReplication", Elements(&[one("Status", STATUS)])),
        one("Destination", Elements(&[
            one("Bucket", BUCKET_ARN),
            maybe("Account", Text),
            maybe("StorageClass", OneOf(&[
                "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING",
                "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR",
            ])),
            maybe("AccessControlTranslation", Elements(&[one("Owner", OneOf(&["Destination"]))])),
            maybe("EncryptionConfiguration", Elements(&[maybe("ReplicaKmsKeyID", Text)])),
            maybe("ReplicationTime", Elements(&[
                one("Status", STATUS), one("Time", Elements(&[one("Minutes", Number(15, 15))])),
            ])),
            maybe("Metrics", Elements(&[
                one("Status", STATUS), maybe("EventThreshold", Elements(&[one("Minutes", Number(15, 15))])),
            ])),
        ])),
        maybe("DeleteMarkerReplication", Elements(&[maybe("Status", STATUS)])),
    ])),
];

/// Reads a small body whole and verifies the digests that came with it, if any.
///
/// # Errors
/// As [`read_small_body`], and `BadDigest`.
pub fn read_verified_body(ctx: &Context<'_>, mut body: Body<'_>, bytes_max: usize) -> Result<Vec<u8>> {
    let checks = BodyChecksums::from_headers(ctx.headers)?;
    let algorithm = checks.algorithm();
    let expectation = checks.expectation(None, u64::MAX, |name| ctx.trailers.get(name));
    let mut reader = DigestReader::new(&mut body, algorithm, expectation);
    read_small_body(Body::new(None, Box::new(&mut reader)), bytes_max)
}

fn kind(ctx: &Context<'_>) -> &'static Kind {
    let kind = KINDS.iter().find(|kind| kind.sub == ctx.operation.sub);
    kind.expect("only rows of these sub-resources run this")
}

fn id<'c>(ctx: &'c Context<'_>) -> Result<&'c str> {
    let id = ctx.param("id").filter(|id| !id.is_empty());
    id.ok_or_else(|| Error::invalid_argument("id", "", "Missing required parameter: id"))
}

/// Stores a configuration under its id. S3 answers 204 here, unlike to other settings.
pub fn put_configuration(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let (kind, id) = (kind(ctx), id(ctx)?);
    let body = read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?;
    let document = xml_reader::parse(&body)?;
    let root = document.root(kind.root)?;
    let xml = fragment(root, kind.fields)?;
    if root.text("Id")?.as_deref() != Some(id) {
        return Err(if kind.sub == "inventory" {
            Code::IdMismatch.into()
        } else {
            xml_reader::malformed("the id in the document is not that of the request")
        });
    }
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        let stored = record.configurations.entry(kind.sub.to_owned()).or_default();
        stored.insert(id.to_owned(), xml.clone());
        let full = stored.len() > CONFIGURATIONS_MAX;
        if full || configuration_bytes(record) > CONFIGURATIONS_BYTES_MAX {
            return Err(Code::TooManyConfigurations.into());
        }
        Ok(())
    })?;
    Ok(Response::new(204))
}

fn configuration_bytes(record: &BucketRecord) -> usize {
    record.configurations.values().flatten().map(|(id, xml)| id.len() + xml.len()).sum()
}

/// Returns one configuration, or the list of all when no id is named.
pub fn get_configuration(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let kind = kind(ctx);
    let Some(id) = ctx.param("id") else { return list_configurations(ctx, kind) };
    let stored = ctx.bucket().record.configurations.get(kind.sub).and_then(|stored| stored.get(id));
    let content = stored.ok_or_else(|| Error::new(Code::NoSuchConfiguration))?;
    let mut xml = XmlWriter::document(kind.root);
    xml.raw(content);
    Ok(xml_response(200, xml.end(kind.root)))
}

fn list_configurations(ctx: &Context<'_>, kind: &Kind) -> Result<Response> {
    let token = ctx.param("continuation-token").filter(|token| !token.is_empty());
    let after = token.map(decode_token).transpose()?;
    let none = std::collections::BTreeMap::new();
    let stored = ctx.bucket().record.configurations.get(kind.sub).unwrap_or(&none);
    let mut rest = stored.iter().filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
    let mut xml = XmlWriter::document(kind.list);
    let mut last = None;
    for (id, content) in rest.by_ref().take(PAGE_MAX) {
        xml.open(kind.root);
        xml.raw(content);
        xml.close(kind.root);
        last = Some(id);
    }
    let truncated = rest.next().is_some();
    xml.boolean("IsTruncated", truncated);
    xml.optional("ContinuationToken", token);
    if let (true, Some(last)) = (truncated, last) {
        xml.element("NextContinuationToken", &base64(last.as_bytes()));
    }
    Ok(xml_response(200, xml.end(kind.list)))
}

fn decode_token(token: &str) -> Result<String> {
    unbase64(token).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Error::invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    })
}

/// Removes a configuration.
pub fn delete_configuration(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let (kind, id) = (kind(ctx), id(ctx)?);
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        let stored = record.configurations.get_mut(kind.sub);
        match stored.and_then(|stored| stored.remove(id)) {
            Some(_) => Ok(()),
            None => Err(Code::NoSuchConfiguration.into()),
        }
    })?;
    Ok(Response::new(204))
}

/// PutBucketAccelerateConfiguration.
pub fn put_accelerate(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?;
    let document = xml_reader::parse(&body)?;
    let root = document.root("AccelerateConfiguration")?;
    let status = root.one_of("Status", &[("Enabled", "Enabled"), ("Suspended", "Suspended")])?;
    let status = status.ok_or_else(|| malformed("Status is missing"))?;
    if ctx.bucket_name().as_str().contains('.') {
        let message = "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names";
        return Err(Error::with_message(Code::InvalidRequest, message));
    }
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.accelerate = Some(status.to_owned());
        Ok(())
    })?;
    Ok(Response::new(200))
}

/// GetBucketAccelerateConfiguration.
pub fn get_accelerate(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let mut xml = XmlWriter::document("AccelerateConfiguration");
    xml.optional("Status", ctx.bucket().record.accelerate.as_deref());
    Ok(xml_response(200, xml.end("AccelerateConfiguration")))
}

/// PutBucketReplication.
pub fn put_replication(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_checked_body(ctx, body, REPLICATION_BYTES_MAX)?;
    let replication = parse_replication(&body)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        if record.versioning != Versioning::Enabled {
            let message = "Versioning must be 'Enabled' on the bucket to apply a replication configuration";
            return Err(Error::with_message(Code::InvalidRequest, message));
        }
        record.replication = Some(replication.clone());
        Ok(())
    })?;
    Ok(Response::new(200))
}

/// The largest replication configuration, in bytes.
const REPLICATION_BYTES_MAX: usize = 128 * 1024;

/// GetBucketReplication.
pub fn get_replication(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let Some(replication) = &ctx.bucket().record.replication else {
        return Err(Error::new(Code::ReplicationConfigurationNotFoundError)
            .field("BucketName", ctx.bucket_name().as_str()));
    };
    let mut xml = XmlWriter::document("ReplicationConfiguration");
    xml.raw(&replication.xml);
    Ok(xml_response(200, xml.end("ReplicationConfiguration")))
}

/// DeleteBucketReplication.
pub fn delete_replication(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.replication = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

fn parse_replication(body: &[u8]) -> Result<ReplicationConfiguration> {
    let document = xml_reader::parse(body)?;
    let root = document.root("ReplicationConfiguration")?;
    let xml = fragment(root, &REPLICATION)?;
    check_roles(&root.required_text("Role")?)?;
    let mut rules = Vec::new();
    let mut ids = std::collections::HashSet::new();
    let mut priorities = std::collections::HashSet::new();
    for rule in root.children("Rule") {
        if let Some(id) = rule.text("ID")?
            && !ids.insert(id)
        {
            return Err(invalid("Rule Id must be unique"));
        }
        if rule.child("Filter")?.is_some() {
            check_filtered(rule)?;
            if !priorities.insert(rule.number("Priority")?) {
                return Err(invalid("Priority must be unique"));
            }
        } else if rule.child("Prefix")?.is_none() {
            return Err(malformed("a rule has neither a prefix nor a filter"));
        }
        if rule.required_text("Status")? == "Enabled" {
            rules.push(enabled_rule(rule)?);
        }
    }
    Ok(ReplicationConfiguration { xml, rules })
}

/// S3 takes one role; Scality S3 Server two with a comma between them, of the source and of the destination.
fn check_roles(roles: &str) -> Result<()> {
    let is_role = |arn: &str| {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        matches!(parts[..], ["arn", _, "iam", "", _, resource]
            if resource.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
    };
    if roles.split(',').count() <= 2 && roles.split(',').all(is_role) {
        return Ok(());
    }
    let message = "Invalid Role specified in replication configuration: one ARN of a role is allowed, or two with a comma between them";
    Err(Error::invalid_argument("Role", roles, message))
}

/// A rule with a filter is of the newer form, which says more.
fn check_filtered(rule: Element<'_>) -> Result<()> {
    if rule.child("Prefix")?.is_some() {
        return Err(malformed("a rule has a prefix beside its filter"));
    }
    if rule.child("Priority")?.is_none() {
        return Err(invalid(
            "Priority must be specified for this version of Cross Region Replication configuration schema. Please refer to S3 Developer Guide for more information.",
        ));
    }
    let Some(markers) = rule.child("DeleteMarkerReplication")? else {
        return Err(invalid(
            "DeleteMarkerReplication must be specified for this version of Cross Region Replication configuration schema. Please refer to S3 Developer Guide for more information.",
        ));
    };
    if markers.text("Status")?.as_deref() == Some("Enabled") && !enabled_rule(rule)?.tags.is_empty() {
        return Err(invalid(
            "Delete marker replication is not supported if any Tag filter is specified. Please refer to S3 Developer Guide for more information.",
        ));
    }
    Ok(())
}

fn enabled_rule(rule: Element<'_>) -> Result<ReplicationRule> {
    let Some(filter) = rule.child("Filter")? else {
        let prefix = rule.text("Prefix")?.unwrap_or_default().into_owned();
        return Ok(ReplicationRule { prefix, tags: Vec::new() });
    };
    let scope = filter.child("And")?.unwrap_or(filter);
    let prefix = scope.text("Prefix")?.unwrap_or_default().into_owned();
    let tags = scope
        .children("Tag")
        .map(|tag| Ok((tag.required_text("Key")?.into_owned(), tag.required_text("Value")?.into_owned())))
        .collect::<Result<_>>()?;
    Ok(ReplicationRule { prefix, tags })
}

/// Checks a document and writes what stands inside its root.
fn fragment(root: Element<'_>, fields: &[Field]) -> Result<String> {
    let mut xml = XmlWriter::empty();
    rewrite(root, fields, &mut xml)?;
    String::from_utf8(xml.finish()).map_err(Error::internal)
}

fn invalid(message: &'static str) -> Error {
    Error::with_message(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_by_its_sub_resource() {
        for kind in &KINDS {
            assert!(crate::ops::table::is_sub_resource(kind.sub), "{}", kind.sub);
        }
    }

    #[test]
    fn replication_rules_are_checked() {
        let role = "<Role>arn:aws:iam::1:role/r</Role>";
        let to = "<Destination><Bucket>arn:aws:s3:::b</Bucket></Destination>";
        let old =
            |id: &str| format!("<Rule><ID>{id}</ID><Prefix>a</Prefix><Status>Enabled</Status>{to}</Rule>");
        let new = |priority: &str, filter: &str, more: &str| {
            format!("<Rule>{priority}<Filter>{filter}</Filter><Status>Enabled</Status>{to}{more}</Rule>")
        };
        let markers = "<DeleteMarkerReplication><Status>Disabled</Status></DeleteMarkerReplication>";
        let first = "<Priority>1</Priority>";
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        let (xml, request) = (Some(Code::MalformedXML), Some(Code::InvalidRequest));
        let argument = Some(Code::InvalidArgument);
        let with_markers = "<DeleteMarkerReplication><Status>Enabled</Status></DeleteMarkerReplication>";
        let roles = |roles: &str| format!("<Role>{roles}</Role>{}", old("1"));
        let arn = "arn:aws:iam::1:role/r";
        let cases = [
            (format!("{role}{}", old("1")), None),
            (old("1"), xml),
            (role.to_owned(), xml),
            (format!("{role}{}{}", old("1"), old("2")), None),
            (format!("{role}{}{}", old("1"), old("1")), request),
            (format!("{role}<Rule><Status>Enabled</Status>{to}</Rule>"), xml),
            (format!("{role}<Rule><Prefix/><Status>On</Status>{to}</Rule>"), xml),
            (format!("{role}<Rule><Prefix/><Status>Enabled</Status></Rule>"), xml),
            (format!("{role}{}", new(first, "<Prefix>a</Prefix>", markers)), None),
            (format!("{role}{}", new(first, &format!("<And>{tag}{tag}</And>"), markers)), None),
            (format!("{role}{}", new("", "", markers)), request),
            (format!("{role}{}", new(first, "<Prefix>a</Prefix>", with_markers)), None),
            (format!("{role}{}", new(first, tag, with_markers)), request),
            (format!("{role}{}", new(first, &format!("<And>{tag}{tag}</And>"), with_markers)), request),
            (roles(&format!("{arn},{arn}")), None),
            (roles(&format!("{arn},{arn},{arn}")), argument),
            (roles(""), xml),
            (roles("r"), argument),
            (roles("arn:aws:iam::1:role/"), argument),
            (roles("arn:aws:s3::1:role/r"), argument),
            (format!("{role}{}", new(first, "", "")), request),
            (format!("{role}{}", new(first, "", markers).repeat(2)), request),
        ];
        for (content, expected) in cases {
            let body = format!("<ReplicationConfiguration>{content}</ReplicationConfiguration>");
            let outcome = parse_replication(body.as_bytes());
            assert_eq!(outcome.err().map(|error| error.code()), expected, "{body}");
        }
        let body = new(first, &format!("<And><Prefix>p</Prefix>{tag}</And>"), markers);
        let body = format!("<ReplicationConfiguration>{role}{body}</ReplicationConfiguration>");
        let rules = parse_replication(body.as_bytes()).expect("valid").rules;
        let tags = vec![("k".to_owned(), "v".to_owned())];
        assert_eq!(rules, [ReplicationRule { prefix: "p".to_owned(), tags }]);
    }
}
