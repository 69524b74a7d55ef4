//! Signature Version 2, in the `Authorization` header and in presigned URLs, for old clients.
//!
//! Rules follow "Signing and authenticating REST requests" in the S3 user guide. Two additions, both of
//! which only sign more or accept a stronger hash: `x-amz-*` query parameters are signed like fields,
//! and a signature of 32 bytes is taken as HMAC-SHA256, as Scality S3 Server does.

use super::canonical::Pair;
use super::keys::hmac_sha256;
use super::mac::Mac;
use super::{Door, Head, Proof, SignatureVersion, check_skew, identity, iso_seconds, mismatch, missing_date};
use super::{refuse_token, unknown_key, unsigned_payload};
use crate::codec::clock::Millis;
use crate::codec::{base64, time, unbase64};
use crate::error::{Code, Error, Result};
use std::collections::BTreeMap;

/// Query parameters that are part of the resource, besides `response-*` (sorted). It must have every
/// parameter that chooses an operation: one that is missing could be added to another's URL (BI-185).
const SUBRESOURCES: &[&str] = &[
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "select-type",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// What a request claims, whichever way it does.
struct Claim<'r> {
    access_key: &'r str,
    /// The signature, in base64.
    signature: &'r str,
    /// The date line of the string to sign.
    date: &'r str,
}

/// Verifies an `Authorization: AWS access_key:signature` header; `credentials` is what follows the
/// scheme.
pub(crate) fn header(
    door: &Door<'_>,
    head: &Head<'_>,
    pairs: &[Pair<'_>],
    credentials: &str,
) -> Result<Proof> {
    check_allowed(door)?;
    let (access_key, signature) = credentials
        .rsplit_once(':')
        .filter(|(key, signature)| !key.is_empty() && !signature.is_empty())
        .ok_or_else(|| {
            let text = "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature";
            Error::invalid_argument("Authorization", &format!("AWS {credentials}"), text)
        })?;
    let amz_date = head.headers.get("x-amz-date");
    let sent = amz_date.or_else(|| head.headers.get("date")).ok_or_else(missing_date)?;
    check_skew(door.settings, door.now, parse_date(sent).ok_or_else(missing_date)?, sent)?;
    // With x-amz-date among the signed fields the date line is empty.
    let date = if amz_date.is_some() { "" } else { sent };
    verify(door, head, pairs, &Claim { access_key, signature, date })
}

/// Verifies a presigned URL.
pub(crate) fn presigned(door: &Door<'_>, head: &Head<'_>, pairs: &[Pair<'_>]) -> Result<Proof> {
    check_allowed(door)?;
    let access_key = parameter(pairs, "AWSAccessKeyId")?;
    let signature = parameter(pairs, "Signature")?;
    let date = parameter(pairs, "Expires")?;
    let expires = parse_expires(date).ok_or_else(|| {
        let text = format!("Invalid date (should be seconds since epoch): {date}");
        Error::with_message(Code::AccessDenied, text)
    })?;
    if door.now > expires {
        return Err(Error::with_message(Code::AccessDenied, "Request has expired")
            .field("Expires", iso_seconds(expires))
            .field("ServerTime", iso_seconds(door.now)));
    }
    let proof = verify(door, head, pairs, &Claim { access_key, signature, date })?;
    Ok(Proof { signed_query: true, ..proof })
}

pub(super) fn check_allowed(door: &Door<'_>) -> Result<()> {
    if door.settings.allow_sigv2 {
        return Ok(());
    }
    let text = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    Err(Error::with_message(Code::InvalidRequest, text))
}

/// A parameter of a presigned URL, which must be there exactly once.
fn parameter<'q>(pairs: &'q [Pair<'_>], name: &str) -> Result<&'q str> {
    let mut named = pairs.iter().filter(|pair| pair.name.as_ref() == name.as_bytes());
    let text = named.next().and_then(Pair::text).filter(|text| !text.is_empty());
    text.filter(|_| named.next().is_none()).ok_or_else(|| {
        let text =
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters";
        Error::with_message(Code::AccessDenied, text)
    })
}

fn parse_expires(text: &str) -> Option<Millis> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u64>().ok().filter(|_| digits)?.checked_mul(1000)
}

fn parse_date(text: &str) -> Option<Millis> {
    time::parse_mail_date(text).or_else(|| time::parse_http_date(text)).or_else(|| time::parse_basic(text))
}

fn verify(door: &Door<'_>, head: &Head<'_>, pairs: &[Pair<'_>], claim: &Claim<'_>) -> Result<Proof> {
    let payload = unsigned_payload(head)?;
    let credential = door.accounts.key(claim.access_key);
    let secret = credential.map_or("", |credential| &credential.secret);
    let texts = strings_to_sign(door, head, pairs, claim.date);
    // All of them, so that the time does not tell which one it was.
    let matches = texts.iter().fold(false, |found, text| found | matches(secret, text, claim.signature));
    let credential = credential.ok_or_else(|| unknown_key(claim.access_key))?;
    refuse_token(head, pairs)?;
    if !matches {
        return Err(mismatch(claim.access_key, &texts[0], claim.signature, None));
    }
    let identity = identity(claim.access_key, credential);
    let version = Some(SignatureVersion::V2);
    Ok(Proof { identity, signed_query: false, version, payload, chain: None })
}

/// How a client may write the resource that it signs.
#[derive(Clone, Copy)]
struct Form<'f> {
    path: &'f str,
    /// Whether a sub-resource with an empty value (`?location=`) stands there by its name alone.
    bare: bool,
}

/// What may have been signed, at least one text. Botocore signs `/bucket/` where it sends `/bucket`, and S3 takes
/// both: they are the same resource. Of a sub-resource "its value if it has one" is signed, which minio-go takes to
/// leave out the sign of equality before an empty value, and others do not.
fn strings_to_sign(door: &Door<'_>, head: &Head<'_>, pairs: &[Pair<'_>], date: &str) -> Vec<String> {
    let name = head.path.strip_prefix('/').unwrap_or_default();
    let only_bucket = door.host_bucket.is_none() && !name.is_empty() && !name.contains('/');
    let with_slash = format!("{}/", head.path);
    let paths = if only_bucket { &[head.path, &with_slash][..] } else { &[head.path] };
    let forms = paths.iter().flat_map(|path| [true, false].map(|bare| Form { path, bare }));
    let mut texts: Vec<String> = forms.map(|form| string_to_sign(door, head, pairs, date, form)).collect();
    // Without an empty value, both forms of a path are one.
    texts.dedup();
    texts
}

/// Compares in constant time.
pub(super) fn matches(secret: &str, text: &str, provided: &str) -> bool {
    // What does not decode has the wrong length, and is compared like the rest.
    let provided = unbase64(provided).unwrap_or_default();
    if provided.len() == 32 {
        return hmac_sha256(secret.as_bytes()).chain_update(text).verifies(&provided);
    }
    hmac_sha1(secret).chain_update(text).verifies(&provided)
}

fn hmac_sha1(secret: &str) -> Mac {
    Mac::sha1(secret.as_bytes())
}

fn string_to_sign(
    door: &Door<'_>,
    head: &Head<'_>,
    pairs: &[Pair<'_>],
    date: &str,
    form: Form<'_>,
) -> String {
    let field = |name| head.headers.get(name).unwrap_or_default();
    let mut text = String::with_capacity(256);
    for line in [head.method.as_str(), field("content-md5"), field("content-type"), date] {
        text.push_str(line);
        text.push('\n');
    }
    push_amz_fields(head, pairs, &mut text);
    push_resource(door, form, pairs, &mut text);
    text
}

fn push_amz_fields(head: &Head<'_>, pairs: &[Pair<'_>], text: &mut String) {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |name: String, value: &str| {
        let joined = fields.entry(name).or_default();
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(value.trim());
    };
    for (name, value) in head.headers.iter().filter(|(name, _)| name.starts_with("x-amz-")) {
        add(name.to_owned(), value);
    }
    for pair in pairs {
        let name = String::from_utf8_lossy(&pair.name).to_ascii_lowercase();
        if name.starts_with("x-amz-") {
            add(name, pair.text().unwrap_or_default());
        }
    }
    for (name, value) in fields {
        text.push_str(&format!("{name}:{value}\n"));
    }
}

/// The bucket of the host, the path as sent, and the parameters that are part of the resource.
fn push_resource(door: &Door<'_>, form: Form<'_>, pairs: &[Pair<'_>], text: &mut String) {
    if let Some(bucket) = door.host_bucket {
        text.push('/');
        text.push_str(bucket);
    }
    text.push_str(form.path);
    let mut signed: Vec<(&str, Option<&str>)> = pairs
        .iter()
        .filter_map(|pair| {
            let name = std::str::from_utf8(&pair.name).ok()?;
            let value = pair.value.as_ref().map(|_| pair.text().unwrap_or_default());
            (SUBRESOURCES.contains(&name) || name.starts_with("response-")).then_some((name, value))
        })
        .collect();
    signed.sort_by_key(|(name, _)| *name);
    for (index, (name, value)) in signed.into_iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        if let Some(value) = value.filter(|value| !form.bare || !value.is_empty()) {
            text.push('=');
            text.push_str(value);
        }
    }
}

/// Signs with HMAC-SHA1: the last part of an `Authorization: AWS access_key:signature` header.
pub fn signature(secret: &str, string_to_sign: &str) -> String {
    base64(hmac_sha1(secret).chain_update(string_to_sign).finalize().as_ref())
}

#[cfg(test)]
mod tests;
