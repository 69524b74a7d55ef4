//! May this identity do this here?

use super::service::Bucket;
use super::{Context, Operation, Scope};
use crate::auth::Identity;
use crate::error::{Code, Result};
use crate::model::acl::{Acl, Permission};
use crate::model::object::ObjectRecord;

/// Decides before the operation runs, from what is known without the object: everything but reads of
/// an object, which [`may_read`] decides when its record is there.
///
/// # Errors
/// `AccessDenied`.
pub fn authorize(operation: &Operation, identity: &Identity, bucket: Option<&Bucket>) -> Result<()> {
    let Some(bucket) = bucket else {
        return if identity.account().is_some() { Ok(()) } else { Err(Code::AccessDenied.into()) };
    };
    if is_owner(identity, &bucket.record.owner) {
        return Ok(());
    }
    let wanted = match (operation.scope, operation.action) {
        (_, "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads") => Permission::Read,
        (_, "s3:GetObject" | "s3:GetObjectAttributes") => return Ok(()),
        (Scope::Object, _) | (_, "s3:DeleteObject") => Permission::Write,
        _ => return Err(Code::AccessDenied.into()),
    };
    granted(&bucket.record.acl, identity, wanted)
}

/// Decides on a read of an object's bytes or attributes.
///
/// # Errors
/// `AccessDenied`.
pub fn may_read(ctx: &Context<'_>, record: &ObjectRecord) -> Result<()> {
    if is_owner(ctx.identity, &record.head.owner) {
        return Ok(());
    }
    granted(&record.detail.acl, ctx.identity, Permission::Read)
}

/// Whether a missing object may be told from a forbidden one: only to who may list the bucket.
pub fn may_list(bucket: &Bucket, identity: &Identity) -> bool {
    is_owner(identity, &bucket.record.owner)
        || granted(&bucket.record.acl, identity, Permission::Read).is_ok()
}

fn is_owner(identity: &Identity, owner: &str) -> bool {
    identity.account().is_some_and(|account| account.canonical_id == owner)
}

fn granted(acl: &Acl, identity: &Identity, wanted: Permission) -> Result<()> {
    let account = identity.account().map(|account| account.canonical_id.as_str());
    if acl.allows(account, wanted) { Ok(()) } else { Err(Code::AccessDenied.into()) }
}
