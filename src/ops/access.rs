//! May this identity do this here? The one decision that every operation goes through.
//!
//! The order is S3's: an explicit deny by the bucket's policy, then an allow by it, then ownership and
//! access control lists; what nothing allows is denied. [`decide`] answers one [`Question`];
//! [`authorize`] asks the questions of an operation before it runs. Where the answer hangs on what is
//! only known later (the record of the object that is read, the keys of a DeleteObjects, the fields of
//! a form) the operation asks itself, with [`may_read`], [`may_delete`] or [`may_write`].
//!
//! Sources: S3 user guide, "How Amazon S3 authorizes a request", "Access control list (ACL) overview"
//! (the table that maps grants to actions), "Required permissions for Amazon S3 API operations".

use super::object_get::find_version;
use super::service::Bucket;
use super::{Context, Operation, Scope, condition_keys, multipart, request_payment};
use crate::auth::Identity;
use crate::auth::policy::{self, Decision, Policy};
use crate::error::{Code, Error, Result};
use crate::model::ObjectKey;
use crate::model::acl::{Acl, Permission};
use crate::model::multipart::UploadRecord;
use crate::model::object::ObjectRecord;

/// Operations that ask for themselves when they know what about.
const ASKED_LATER: [&str; 5] =
    ["GetObject", "HeadObject", "GetObjectAttributes", "DeleteObjects", "PostObject"];

/// Operations whose body says what a policy may ask about: they ask once they have read it.
const ASKED_WITH_BODY: [&str; 3] = ["PutObjectLegalHold", "PutObjectRetention", "PutObjectTagging"];

/// Actions and their forms for a request that names a version.
const VERSION_ACTIONS: [(&str, &str); 9] = [
    ("s3:DeleteObject", "s3:DeleteObjectVersion"),
    ("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"),
    ("s3:GetObject", "s3:GetObjectVersion"),
    ("s3:GetObjectAcl", "s3:GetObjectVersionAcl"),
    ("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"),
    ("s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
    ("s3:GetObjectTorrent", "s3:GetObjectVersionTorrent"),
    ("s3:PutObjectAcl", "s3:PutObjectVersionAcl"),
    ("s3:PutObjectTagging", "s3:PutObjectVersionTagging"),
];

/// Headers of a write that ask for more than to write, and what they ask for.
const RIDERS: [(&str, &str); 10] = [
    ("x-amz-acl", "s3:PutObjectAcl"),
    ("x-amz-grant-full-control", "s3:PutObjectAcl"),
    ("x-amz-grant-read", "s3:PutObjectAcl"),
    ("x-amz-grant-read-acp", "s3:PutObjectAcl"),
    ("x-amz-grant-write", "s3:PutObjectAcl"),
    ("x-amz-grant-write-acp", "s3:PutObjectAcl"),
    ("x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold"),
    ("x-amz-object-lock-mode", "s3:PutObjectRetention"),
    ("x-amz-object-lock-retain-until-date", "s3:PutObjectRetention"),
    ("x-amz-tagging", "s3:PutObjectTagging"),
];

/// The header that names the account which must own the bucket.
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";

/// The same for the bucket of a copy source.
const SOURCE_EXPECTED_OWNER: &str = "x-amz-source-expected-bucket-owner";

/// The length of an account id.
const ACCOUNT_ID_DIGITS: usize = 12;

/// What is asked: one action on one thing.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The action as policies name it: `s3:GetObject`.
    pub action: &'a str,
    /// The bucket, which need not be that of the request: it may be that of a copy source.
    pub bucket: &'a Bucket,
    /// The key, for actions on objects.
    pub key: Option<&'a str>,
    /// The version that is named, if one is.
    pub version: Option<&'a str>,
    /// The object, where its owner, grants and tags matter and it is there.
    pub object: Option<&'a ObjectRecord>,
    /// What the request's body says; its headers need not be given.
    pub in_body: InBody<'a>,
    /// The prefix that is listed, where the request's parameters do not say it.
    pub prefix: Option<&'a str>,
}

/// What the body of a request says that policies can ask about.
#[derive(Clone, Copy, Default)]
pub struct InBody<'a> {
    /// The tags.
    pub tags: Option<&'a [(String, String)]>,
    /// Condition keys of S3 without their `s3:`, in lower case, and their values.
    pub keys: &'a [(&'a str, String)],
    /// The same, as an upload was created with.
    pub asked: &'a [(String, String)],
}

impl<'a> Question<'a> {
    /// About a bucket as a whole.
    pub fn of_bucket(action: &'a str, bucket: &'a Bucket) -> Question<'a> {
        Question {
            action,
            bucket,
            key: None,
            version: None,
            object: None,
            in_body: InBody::default(),
            prefix: None,
        }
    }

    /// About a key, in the action's form for the version if one is named.
    pub fn of_key(
        action: &'a str,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        version: Option<&'a str>,
    ) -> Question<'a> {
        let action = if version.is_some() { version_action(action) } else { action };
        Question { key: Some(key.as_str()), version, ..Question::of_bucket(action, bucket) }
    }

    /// The same about an object that is there.
    pub fn with_object(self, object: Option<&'a ObjectRecord>) -> Question<'a> {
        Question { object, ..self }
    }

    /// The same about another action.
    fn with_action(self, action: &'a str) -> Question<'a> {
        let action = if self.version.is_some() { version_action(action) } else { action };
        Question { action, ..self }
    }

    /// The account that has the last word: over an object's content and grants its owner, over everything
    /// else the bucket's.
    fn authority(&self) -> &'a str {
        let record = &self.bucket.record;
        match (mapping(self.action), self.object) {
            (Mapping::Object(_), Some(object)) => record.owner_of(&object.head.owner),
            _ => &record.owner,
        }
    }
}

/// What access control lists have to say about an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapping {
    /// This grant on the bucket allows it.
    Bucket(Permission),
    /// This grant on the object allows it.
    Object(Permission),
    /// No grant allows it, but who owns the object may.
    ObjectOwner,
    /// Nothing.
    None,
}

fn mapping(action: &str) -> Mapping {
    match action {
        "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => {
            Mapping::Bucket(Permission::Read)
        }
        "s3:PutObject" | "s3:DeleteObject" => Mapping::Bucket(Permission::Write),
        "s3:GetBucketAcl" => Mapping::Bucket(Permission::ReadAcp),
        "s3:PutBucketAcl" => Mapping::Bucket(Permission::WriteAcp),
        "s3:GetObject"
        | "s3:GetObjectVersion"
        | "s3:GetObjectAttributes"
        | "s3:GetObjectVersionAttributes"
        | "s3:GetObjectTorrent"
        | "s3:GetObjectVersionTorrent" => Mapping::Object(Permission::Read),
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => Mapping::Object(Permission::ReadAcp),
        "s3:PutObjectAcl" | "s3:PutObjectVersionAcl" => Mapping::Object(Permission::WriteAcp),
        "s3:GetObjectTagging"
        | "s3:GetObjectVersionTagging"
        | "s3:PutObjectTagging"
        | "s3:PutObjectVersionTagging"
        | "s3:DeleteObjectTagging"
        | "s3:DeleteObjectVersionTagging" => Mapping::ObjectOwner,
        _ => Mapping::None,
    }
}

fn version_action(action: &str) -> &str {
    VERSION_ACTIONS.iter().find(|(plain, _)| *plain == action).map_or(action, |(_, version)| version)
}

/// Decides before an operation runs, on everything that it does not ask for itself.
///
/// # Errors
/// `AccessDenied`, `MethodNotAllowed` for the policy of somebody else's bucket, `InternalError`.
pub fn authorize(ctx: &Context<'_>) -> Result<()> {
    let Some(bucket) = ctx.bucket.as_deref() else {
        return if ctx.identity.account().is_some() { Ok(()) } else { denied() };
    };
    check_expected_owner(ctx, EXPECTED_OWNER, bucket)?;
    let Operation { name, scope, action, .. } = *ctx.operation;
    let with_body = ASKED_WITH_BODY.contains(&name) && bucket.record.policy.is_some();
    if ASKED_LATER.contains(&name) || with_body {
        return Ok(());
    }
    if scope != Scope::Object {
        return decide(ctx, &Question::of_bucket(action, bucket));
    }
    match action {
        "s3:PutObject" => may_put(ctx, name),
        "s3:DeleteObject" => may_delete(ctx, ctx.key(), ctx.param("versionId"), ctx.header("if-match")),
        "s3:AbortMultipartUpload" | "s3:ListMultipartUploadParts" => may_see_upload(ctx),
        _ => may_touch(ctx, InBody::default()),
    }
}

/// Decides on the operations that put an object or a part of one.
fn may_put(ctx: &Context<'_>, name: &str) -> Result<()> {
    match name {
        "UploadPart" | "UploadPartCopy" | "CompleteMultipartUpload" => may_put_part(ctx),
        "CreateMultipartUpload" if ctx.identity.account().is_none() => {
            let message = "Anonymous users cannot initiate multipart uploads.  Please authenticate.";
            Err(Error::with_message(Code::AccessDenied, message))
        }
        _ => may_write(ctx, ctx.key()),
    }
}

/// Decides on a part of an upload, or on its completion. A policy that wants a header of the upload (its
/// encryption, its grants) means the request that created it: no other of the upload can have it.
fn may_put_part(ctx: &Context<'_>) -> Result<()> {
    let question = Question::of_key("s3:PutObject", ctx.bucket(), ctx.key(), None);
    let upload = match ctx.bucket().record.policy {
        None => None,
        Some(_) => multipart::find_upload(ctx).ok().map(|(_, upload, _)| upload),
    };
    let Some(upload) = upload else {
        decide(ctx, &question)?;
        return may_match(ctx, ctx.key(), None, ctx.header("if-match"));
    };
    let tags = Some(upload.detail.tags.as_slice());
    let in_body = InBody { tags, asked: &upload.asked, ..InBody::default() };
    decide(ctx, &Question { in_body, ..question })?;
    may_match(ctx, ctx.key(), None, ctx.header("if-match"))
}

/// A write or removal that compares an ETag tells what it is, so it needs the permission to read it.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
fn may_match(ctx: &Context<'_>, key: &ObjectKey, version: Option<&str>, etag: Option<&str>) -> Result<()> {
    let bucket = ctx.bucket();
    if etag.is_none_or(|etag| etag.trim() == "*") || (is_owner(ctx, bucket) && bucket.record.policy.is_none())
    {
        return Ok(());
    }
    let question = Question::of_key("s3:GetObject", bucket, key, version);
    match find_version(ctx.service, bucket, key, version)? {
        Some(record) if !record.head.delete_marker => decide(ctx, &question.with_object(Some(&record))),
        _ if may_list(ctx, bucket, key)? => Ok(()),
        _ => denied(),
    }
}

/// Decides on a write of a whole object, with what its headers ask for besides: grants, tags, retention,
/// legal hold. For a form the context must have its fields as headers and its signer as identity.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
pub fn may_write(ctx: &Context<'_>, key: &ObjectKey) -> Result<()> {
    let bucket = ctx.bucket();
    let question = Question::of_key("s3:PutObject", bucket, key, None);
    decide(ctx, &question)?;
    may_match(ctx, key, None, ctx.header("if-match"))?;
    if is_owner(ctx, bucket) && bucket.record.policy.is_none() {
        return Ok(());
    }
    for (_, action) in RIDERS.iter().filter(|(header, _)| ctx.headers.has(header)) {
        may_ride(ctx, &question, action)?;
    }
    Ok(())
}

/// Decides on something that a write brings with it.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
fn may_ride(ctx: &Context<'_>, write: &Question<'_>, action: &str) -> Result<()> {
    let allowed = match said_by_policy(ctx, &write.with_action(action))? {
        Decision::Deny => false,
        Decision::Allow => true,
        Decision::None if is_owner(ctx, write.bucket) => true,
        // Who writes an object will own it, and owners set grants.
        Decision::None if action == "s3:PutObjectAcl" => true,
        Decision::None if action == "s3:PutObjectTagging" => {
            granted(ctx, write.bucket, Some(&write.bucket.record.acl), Permission::Write)
        }
        Decision::None => false,
    };
    if allowed { Ok(()) } else { denied() }
}

/// Decides whether tags may be put that a copy brings from its source.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
pub fn may_write_tags(ctx: &Context<'_>, tags: &[(String, String)]) -> Result<()> {
    let write = Question::of_key("s3:PutObject", ctx.bucket(), ctx.key(), None);
    let in_body = InBody { tags: Some(tags), ..InBody::default() };
    may_ride(ctx, &Question { in_body, ..write }, "s3:PutObjectTagging")
}

/// Decides on the removal of a key or of one version of it, if its ETag matches.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
pub fn may_delete(
    ctx: &Context<'_>,
    key: &ObjectKey,
    version: Option<&str>,
    etag: Option<&str>,
) -> Result<()> {
    let keys: Vec<(&str, String)> = etag.iter().map(|etag| ("if-match", (*etag).to_owned())).collect();
    let in_body = InBody { keys: &keys, ..InBody::default() };
    let question = Question { in_body, ..Question::of_key("s3:DeleteObject", ctx.bucket(), key, version) };
    decide(ctx, &question)?;
    may_match(ctx, key, version, etag)?;
    may_bypass(ctx, &question)
}

/// A request that asks to be let past a retention must be allowed to, retention or not.
fn may_bypass(ctx: &Context<'_>, question: &Question<'_>) -> Result<()> {
    let asks =
        ctx.header("x-amz-bypass-governance-retention").is_some_and(|on| on.eq_ignore_ascii_case("true"));
    if !asks {
        return Ok(());
    }
    decide(ctx, &question.with_action("s3:BypassGovernanceRetention"))
}

/// Decides on a change of an object's tags or locks, when the body that says which has been read.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
pub fn may_change(ctx: &Context<'_>, in_body: InBody<'_>) -> Result<()> {
    // Without a policy nothing hangs on the body, and the answer was given before it was read.
    if ctx.bucket().record.policy.is_none() { Ok(()) } else { may_touch(ctx, in_body) }
}

/// Decides on an operation on an object that may be there: its tags, grants, retention. When it is not
/// there, only who may list is let through to be told so.
fn may_touch(ctx: &Context<'_>, in_body: InBody<'_>) -> Result<()> {
    let bucket = ctx.bucket();
    let version = ctx.param("versionId");
    let question = Question::of_key(ctx.operation.action, bucket, ctx.key(), version);
    let question = Question { in_body, ..question };
    may_bypass(ctx, &question)?;
    let needs_object = matches!(mapping(question.action), Mapping::Object(_));
    if is_owner(ctx, bucket) && bucket.record.policy.is_none() && !needs_object {
        return Ok(());
    }
    match find_version(ctx.service, bucket, ctx.key(), version)? {
        Some(record) if !record.head.delete_marker => decide(ctx, &question.with_object(Some(&record))),
        _ if said_by_policy(ctx, &question)? == Decision::Deny => denied(),
        _ if may_list(ctx, bucket, ctx.key())? => Ok(()),
        _ => denied(),
    }
}

/// Decides on a look at an open upload, or its end: also who began it may.
fn may_see_upload(ctx: &Context<'_>) -> Result<()> {
    let question = Question::of_key(ctx.operation.action, ctx.bucket(), ctx.key(), None);
    let Err(refusal) = decide(ctx, &question) else { return Ok(()) };
    if said_by_policy(ctx, &question)? == Decision::Deny {
        return Err(refusal);
    }
    request_payment::check(ctx, ctx.bucket())?;
    match multipart::find_upload(ctx) {
        Ok((_, upload, _)) if initiated_by(ctx.identity, &upload) => Ok(()),
        _ => Err(refusal),
    }
}

/// Decides whether a request may add to an upload, or complete it: only who began it may.
///
/// # Errors
/// `AccessDenied`.
pub fn may_continue(ctx: &Context<'_>, upload: &UploadRecord) -> Result<()> {
    if initiated_by(ctx.identity, upload) { Ok(()) } else { denied() }
}

/// Whether an identity, or another of its account, began an upload.
fn initiated_by(identity: &Identity, upload: &UploadRecord) -> bool {
    let Some(account) = identity.account() else { return false };
    let of_account = |arn: &str| arn.split(':').nth(4) == Some(account.short_id.as_str());
    upload.initiator == account.canonical_id || of_account(&upload.initiator)
}

/// Decides on an operation that reads an object, when its record is there.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
pub fn may_read(ctx: &Context<'_>, record: &ObjectRecord) -> Result<()> {
    let version = ctx.param("versionId");
    let question =
        Question::of_key(ctx.operation.action, ctx.bucket(), ctx.key(), version).with_object(Some(record));
    decide(ctx, &question)?;
    if ctx.operation.action == "s3:GetObjectAttributes" {
        decide(ctx, &question.with_action("s3:GetObject"))?;
    }
    Ok(())
}

/// Whether who reads an object may also see something else of it: its retention, its legal hold, how many
/// tags it has.
///
/// # Errors
/// `InternalError`.
pub fn may_also(ctx: &Context<'_>, record: &ObjectRecord, action: &str) -> Result<bool> {
    let question = Question::of_key(action, ctx.bucket(), ctx.key(), ctx.param("versionId"));
    allows(decide(ctx, &question.with_object(Some(record))))
}

/// Decides on the source of a copy. `with_tags`: the copy takes its tags along.
///
/// # Errors
/// `AccessDenied`, `InternalError`.
pub fn may_copy_from(
    ctx: &Context<'_>,
    bucket: &Bucket,
    (key, version): (&ObjectKey, Option<&str>),
    record: &ObjectRecord,
    with_tags: bool,
) -> Result<()> {
    let question = Question::of_key("s3:GetObject", bucket, key, version).with_object(Some(record));
    decide(ctx, &question)?;
    if with_tags && !record.detail.tags.is_empty() {
        decide(ctx, &question.with_action("s3:GetObjectTagging"))?;
    }
    Ok(())
}

/// The owner that a request expects of the bucket of its copy source.
///
/// # Errors
/// `AccessDenied` when it is another; `InvalidBucketOwnerAWSAccountID` when it cannot be an account.
pub fn check_expected_source_owner(ctx: &Context<'_>, bucket: &Bucket) -> Result<()> {
    check_expected_owner(ctx, SOURCE_EXPECTED_OWNER, bucket)
}

fn check_expected_owner(ctx: &Context<'_>, header: &str, bucket: &Bucket) -> Result<()> {
    let Some(expected) = ctx.header(header) else { return Ok(()) };
    let owner = ctx.service.accounts().by_canonical_id(&bucket.record.owner);
    if owner.is_some_and(|owner| owner.short_id == expected) {
        return Ok(());
    }
    if expected.len() != ACCOUNT_ID_DIGITS || !expected.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!(
            "The value of the expected bucket owner parameter must be an AWS Account ID... [{expected}]"
        );
        return Err(Error::with_message(Code::InvalidBucketOwnerAWSAccountID, message));
    }
    denied()
}

/// Whether a missing key may be told from a forbidden one: only to who may list it.
///
/// # Errors
/// `InternalError`.
pub fn may_list(ctx: &Context<'_>, bucket: &Bucket, key: &ObjectKey) -> Result<bool> {
    let question = Question { prefix: Some(key.as_str()), ..Question::of_bucket("s3:ListBucket", bucket) };
    allows(decide(ctx, &question))
}

fn allows(decision: Result<()>) -> Result<bool> {
    match decision {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Code::AccessDenied => Ok(false),
        Err(error) => Err(error),
    }
}

/// Answers a question.
///
/// # Errors
/// `AccessDenied` for no; `MethodNotAllowed` for the policy of somebody else's bucket, which not even
/// that policy can open; `InternalError` when the policy cannot be read.
pub fn decide(ctx: &Context<'_>, question: &Question<'_>) -> Result<()> {
    let bucket = question.bucket;
    let of_owner = is_owner(ctx, bucket);
    let of_authority = is_account(ctx.identity, question.authority());
    if of_owner && of_authority && bucket.record.policy.is_none() {
        return Ok(());
    }
    if manages_policy(question.action) && of_owner && is_root(ctx.identity) {
        // A policy may shut out everybody, but never the owner from the policy.
        return Ok(());
    }
    request_payment::check(ctx, bucket)?;
    let said = said_by_policy(ctx, question)?;
    if said == Decision::Deny || is_restricted(ctx, bucket)? {
        return denied();
    }
    // The bucket's policy speaks for the bucket's owner, not for those of other objects in it.
    if said == Decision::Allow && question.authority() == bucket.record.owner {
        let foreign = manages_policy(question.action) && !of_owner;
        return if foreign { Err(Code::MethodNotAllowed.into()) } else { Ok(()) };
    }
    if of_authority {
        return Ok(());
    }
    if !is_granted(ctx, question) {
        return denied();
    }
    ctx.acl_required.set(true);
    Ok(())
}

fn is_granted(ctx: &Context<'_>, question: &Question<'_>) -> bool {
    let bucket = question.bucket;
    let owns = |object: &ObjectRecord| owns(ctx, bucket, object);
    match mapping(question.action) {
        Mapping::Bucket(permission) => granted(ctx, bucket, Some(&bucket.record.acl), permission),
        Mapping::Object(permission) => question.object.is_some_and(|object| {
            owns(object) || granted(ctx, bucket, object.detail.acl.as_ref(), permission)
        }),
        Mapping::ObjectOwner => question.object.is_some_and(owns),
        Mapping::None => false,
    }
}

/// What strangers wrote belongs to strangers, unless the bucket takes no notice of the public.
fn owns(ctx: &Context<'_>, bucket: &Bucket, object: &ObjectRecord) -> bool {
    bucket.record.owner_of(&object.head.owner) == ctx.identity.canonical_id()
        && (ctx.identity.account().is_some() || !bucket.record.public_access_block().ignore_public_acls)
}

fn granted(ctx: &Context<'_>, bucket: &Bucket, acl: Option<&Acl>, permission: Permission) -> bool {
    let account = ctx.identity.account().map(|account| account.canonical_id.as_str());
    match acl {
        _ if bucket.record.acls_disabled() => false,
        None => false,
        Some(acl) if bucket.record.public_access_block().ignore_public_acls => {
            acl.allows_by_id(account, permission)
        }
        Some(acl) => acl.allows(account, permission),
    }
}

/// Whether RestrictPublicBuckets keeps this identity out.
fn is_restricted(ctx: &Context<'_>, bucket: &Bucket) -> Result<bool> {
    if !bucket.record.public_access_block().restrict_public_buckets || is_owner(ctx, bucket) {
        return Ok(false);
    }
    Ok(bucket.policy()?.is_some_and(Policy::is_public))
}

fn said_by_policy(ctx: &Context<'_>, question: &Question<'_>) -> Result<Decision> {
    let Some(policy) = question.bucket.policy()? else { return Ok(Decision::None) };
    let resource = match question.key {
        Some(key) => format!("arn:aws:s3:::{}/{key}", question.bucket.name),
        None => format!("arn:aws:s3:::{}", question.bucket.name),
    };
    Ok(policy.evaluate(&policy::Request {
        principal: ctx.identity.into(),
        action: question.action,
        resource: &resource,
        context: &|key| condition_keys::values(ctx, question, key),
    }))
}

fn manages_policy(action: &str) -> bool {
    matches!(action, "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy")
}

fn is_root(identity: &Identity) -> bool {
    matches!(identity, Identity::Key { user: None, .. })
}

/// Whether the request comes from the account that owns the bucket.
pub fn is_owner(ctx: &Context<'_>, bucket: &Bucket) -> bool {
    is_account(ctx.identity, &bucket.record.owner)
}

fn is_account(identity: &Identity, canonical_id: &str) -> bool {
    identity.account().is_some_and(|account| account.canonical_id == canonical_id)
}

fn denied() -> Result<()> {
    Err(Code::AccessDenied.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::policy::action;
    use crate::ops::table::OPERATIONS;

    #[test]
    fn every_action_of_the_table_is_one_that_policies_can_name() {
        let known = |name: &str| action::ALL.iter().any(|action| name == format!("s3:{}", action.name));
        for row in OPERATIONS {
            assert!(known(row.action), "{}: {}", row.name, row.action);
        }
        for (plain, version) in VERSION_ACTIONS {
            assert!(known(plain) && known(version), "{plain} {version}");
        }
        for (header, action) in RIDERS {
            assert!(known(action), "{header}: {action}");
        }
    }

    #[test]
    fn grants_on_a_bucket_do_not_reach_older_versions() {
        assert_eq!(mapping("s3:DeleteObject"), Mapping::Bucket(Permission::Write));
        assert_eq!(mapping(version_action("s3:DeleteObject")), Mapping::None);
        assert_eq!(mapping(version_action("s3:GetObject")), Mapping::Object(Permission::Read));
    }
}
