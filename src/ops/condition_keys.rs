//! The values of condition keys: what a policy can ask about a request.
//!
//! Each key has one documented source and is read from there when a condition asks for it; a key that
//! the request does not have has no values. Headers of a write are looked at for writes only, so that a
//! reader cannot make up what a policy takes for the writer's word.
//!
//! Sources: "Actions, resources, and condition keys for Amazon S3" (Service Authorization Reference),
//! "AWS global condition context keys" (IAM user guide), "Bucket policy examples using condition keys"
//! (S3 user guide).

use super::access::Question;
use super::{Context, ProofPlace};
use crate::auth::{Identity, SignatureVersion};
use crate::codec::clock::Millis;
use crate::codec::time;
use crate::codec::uri::{self, Query};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Keys whose value is a header of a write, under the same name.
const WRITE_HEADERS: [&str; 14] = [
    "x-amz-acl",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-object-lock-mode",
];

/// The values of a key, given as policies compare it: in lower case, but for a tag's key.
pub fn values(ctx: &Context<'_>, question: &Question<'_>, key: &str) -> Vec<String> {
    match key.split_once(':') {
        Some(("aws", name)) => of_aws(ctx, question, name).into_iter().collect(),
        Some(("s3", name)) => of_s3(ctx, question, name),
        _ => Vec::new(),
    }
}

/// Keys of the whole of AWS.
fn of_aws(ctx: &Context<'_>, question: &Question<'_>, name: &str) -> Option<String> {
    let header = |name: &str| ctx.header(name).map(str::to_owned);
    match name {
        "sourceip" => ctx.peer.map(|peer| peer.ip().to_canonical().to_string()),
        "securetransport" => Some(ctx.secure.to_string()),
        "useragent" => header("user-agent"),
        "referer" => header("referer"),
        "currenttime" => Some(time::iso8601(ctx.now)),
        "epochtime" => Some((ctx.now / 1_000).to_string()),
        "resourceaccount" => account_of_bucket(ctx, question),
        "requestedregion" => Some(question.bucket.record.location.clone()),
        "viaawsservice" | "principalisawsservice" => Some("false".to_owned()),
        _ => of_principal(ctx.identity, name),
    }
}

fn of_principal(identity: &Identity, name: &str) -> Option<String> {
    let (account, user) = match identity {
        Identity::Key { account, user, .. } => (account, user),
        Identity::Anonymous => {
            return match name {
                "principaltype" => Some("Anonymous".to_owned()),
                "userid" => Some("anonymous".to_owned()),
                _ => None,
            };
        }
    };
    match (name, user) {
        ("principalaccount", _) => Some(account.short_id.clone()),
        ("principalarn", Some(user)) => Some(user.arn.clone()),
        ("principalarn", None) => Some(account.arn.clone()),
        ("principaltype", Some(_)) => Some("User".to_owned()),
        ("principaltype", None) => Some("Account".to_owned()),
        ("username", Some(user)) => Some(user.name.clone()),
        // Users have no unique id here; that of an account's root is the account's number.
        ("userid", None) => Some(account.short_id.clone()),
        _ => None,
    }
}

fn account_of_bucket(ctx: &Context<'_>, question: &Question<'_>) -> Option<String> {
    let owner = ctx.service.accounts().by_canonical_id(&question.bucket.record.owner)?;
    Some(owner.short_id.clone())
}

/// Keys of S3.
fn of_s3(ctx: &Context<'_>, question: &Question<'_>, name: &str) -> Vec<String> {
    if let Some((family, tag)) = name.split_once('/') {
        return of_tags(ctx, question, family, tag).into_iter().collect();
    }
    if name == "requestobjecttagkeys" {
        return request_tags(ctx, question).into_iter().map(|(key, _)| key).collect();
    }
    let in_body = question.in_body.keys.iter().find(|(key, _)| *key == name);
    if let Some((_, value)) = in_body {
        return vec![value.clone()];
    }
    if let Some((_, value)) = question.in_body.asked.iter().find(|(key, _)| key == name) {
        return vec![value.clone()];
    }
    let value = match name {
        "prefix" | "delimiter" | "max-keys" => of_listing(ctx, question, name),
        "versionid" => question.version.map(str::to_owned),
        "resourceaccount" => account_of_bucket(ctx, question),
        "authtype" | "signatureversion" | "signatureage" => of_proof(ctx, name),
        "tlsversion" => ctx.encryption.map(|encryption| encryption.version.to_owned()),
        "x-amz-content-sha256" => ctx.header(name).map(str::to_owned),
        _ if writes(question.action) => of_write(ctx, name),
        // The entries of a DeleteObjects have conditions of their own.
        "if-match" if question.action.starts_with("s3:DeleteObject") && ctx.operation.sub != "delete" => {
            ctx.header(name).map(str::to_owned)
        }
        _ => None,
    };
    value.into_iter().collect()
}

fn of_listing(ctx: &Context<'_>, question: &Question<'_>, name: &str) -> Option<String> {
    if !matches!(question.action, "s3:ListBucket" | "s3:ListBucketVersions") {
        return None;
    }
    match (name, question.prefix) {
        ("prefix", Some(prefix)) => Some(prefix.to_owned()),
        (_, Some(_)) => None,
        _ => ctx.param(name).map(str::to_owned),
    }
}

fn of_proof(ctx: &Context<'_>, name: &str) -> Option<String> {
    let version = ctx.proof.version?;
    match name {
        "authtype" => Some(
            match ctx.proof.place {
                ProofPlace::Header => "REST-HEADER",
                ProofPlace::Query => "REST-QUERY-STRING",
                ProofPlace::Form => "POST",
            }
            .to_owned(),
        ),
        "signatureversion" => Some(
            match version {
                SignatureVersion::V2 => "AWS",
                SignatureVersion::V4 => "AWS4-HMAC-SHA256",
            }
            .to_owned(),
        ),
        _ if version == SignatureVersion::V4 => {
            let in_query = ctx.query.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-date"));
            let text = in_query.and_then(|(_, value)| value).or_else(|| ctx.header("x-amz-date"))?;
            Some(ctx.now.saturating_sub(time::parse_basic(text)?).to_string())
        }
        _ => None,
    }
}

/// Whether an action makes or changes something, so that the request's headers speak of it.
fn writes(action: &str) -> bool {
    action.starts_with("s3:Put") || action == "s3:BypassGovernanceRetention"
}

fn of_write(ctx: &Context<'_>, name: &str) -> Option<String> {
    let header = |name: &str| ctx.header(name).map(str::to_owned);
    match name {
        // All values at once, or a second header of the name would pass unseen.
        _ if WRITE_HEADERS.contains(&name) => {
            let values: Vec<&str> = ctx.headers.get_all(name).collect();
            (!values.is_empty()).then(|| values.join(","))
        }
        "if-match" | "if-none-match" => header(name),
        "x-amz-copy-source" => {
            let source = ctx.header(name)?;
            let source = source.strip_prefix('/').unwrap_or(source);
            let path = source.split_once("?versionId=").map_or(source, |(path, _)| path);
            uri::decode(path)
        }
        "object-lock-mode" | "object-lock-retain-until-date" | "object-lock-legal-hold" => {
            header(&format!("x-amz-{name}"))
        }
        "object-lock-remaining-retention-days" => {
            let until = time::parse_iso8601(ctx.header("x-amz-object-lock-retain-until-date")?)?;
            Some(remaining_days(ctx, until))
        }
        "objectcreationoperation" => {
            let creates = ["PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"]
                .contains(&ctx.operation.name);
            Some(creates.to_string())
        }
        _ => None,
    }
}

/// Keys of a write that are not the name of a header.
const WRITE_KEYS: [&str; 4] = [
    "object-lock-legal-hold",
    "object-lock-mode",
    "object-lock-remaining-retention-days",
    "object-lock-retain-until-date",
];

/// What the creation of an upload says that policies can ask about. Its parts and its completion cannot
/// say it again, and are taken to have said the same.
pub fn of_creation(ctx: &Context<'_>) -> Vec<(String, String)> {
    let names = WRITE_HEADERS.iter().chain(&WRITE_KEYS);
    names.filter_map(|name| Some(((*name).to_owned(), of_write(ctx, name)?))).collect()
}

/// The days that a retention still lasts, as the condition key counts them; `until` in milliseconds.
pub fn remaining_days(ctx: &Context<'_>, until: Millis) -> String {
    until.saturating_sub(ctx.now).div_ceil(DAY_MS).to_string()
}

fn of_tags(ctx: &Context<'_>, question: &Question<'_>, family: &str, tag: &str) -> Option<String> {
    let found =
        |tags: &[(String, String)]| tags.iter().find(|(key, _)| key == tag).map(|(_, value)| value.clone());
    match family {
        "existingobjecttag" => question.object.and_then(|object| found(&object.detail.tags)),
        "buckettag" => question.bucket.record.tags.as_deref().and_then(found),
        "requestobjecttag" => found(&request_tags(ctx, question)),
        _ => None,
    }
}

/// The tags that a request brings: in its body, or in the header of a write.
fn request_tags(ctx: &Context<'_>, question: &Question<'_>) -> Vec<(String, String)> {
    if let Some(tags) = question.in_body.tags {
        return tags.to_vec();
    }
    if !writes(question.action) {
        return Vec::new();
    }
    let tags = ctx.header("x-amz-tagging").and_then(Query::parse).unwrap_or_default();
    tags.iter().map(|(key, value)| (key.to_owned(), value.unwrap_or("").to_owned())).collect()
}
