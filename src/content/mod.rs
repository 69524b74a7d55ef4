//! What is there before the first request: the buckets of `--buckets`, the files of `--seed`, the document
//! of `--init`.
//!
//! Everything goes through the same operations as requests of clients, sent without a socket on behalf of
//! an account, so that what a client could not do cannot be done here either. All of it may be done again:
//! what is there already stays as it is, or is made the same once more.

use crate::config::fixture::{Access, NamedBucket, Start};
use crate::http::Method;
use crate::s3::S3;
use actor::{Actor, Call};
use serde_json::json;

pub mod actor;
mod bucket_settings;
pub mod init;
mod media_type;
mod seed;
mod xml;

/// Makes what `start` asks for.
///
/// # Errors
/// A sentence that names the place, the value and what is allowed.
pub fn prepare(s3: &S3, start: &Start) -> Result<(), String> {
    if let Some(file) = &start.init {
        init::apply(s3, &file.document, file.path.parent())?;
    }
    named_buckets(s3, &start.buckets)?;
    match &start.seed {
        Some(folder) => seed::load(&Actor::first(s3)?, folder),
        None => Ok(()),
    }
}

/// Refuses what only the fixture profile has.
///
/// # Errors
/// A sentence that names the section.
pub fn refuse_fixture_sections(start: &Start) -> Result<(), String> {
    let Some(file) = &start.init else { return Ok(()) };
    match ["clock", "faults", "ids"].into_iter().find_map(|section| file.document.get(section)) {
        Some(given) => {
            Err(format!("{}: this key is not allowed; allowed: with --fixture only", given.origin))
        }
        None => Ok(()),
    }
}

/// Makes the buckets of `--buckets`. The access of one that exists is set all the same.
///
/// # Errors
/// A sentence that names the bucket and says what S3 would answer.
pub fn named_buckets(s3: &S3, buckets: &[NamedBucket]) -> Result<(), String> {
    if buckets.is_empty() {
        return Ok(());
    }
    let actor = Actor::first(s3)?;
    for NamedBucket { name, access } in buckets {
        let name = name.as_str();
        actor.make_bucket(name, &[]).map_err(|error| format!("--buckets: {name}: {error}"))?;
        open_bucket(&actor, name, *access).map_err(|error| format!("--buckets: {name}: {error}"))?;
    }
    Ok(())
}

/// Lets everybody in with a bucket policy: an access control list would not reach the objects.
fn open_bucket(actor: &Actor<'_>, name: &str, access: Access) -> Result<(), String> {
    let on_objects: &[&str] = match access {
        Access::Private => return Ok(()),
        Access::PublicRead => &["s3:GetObject", "s3:GetObjectVersion"],
        Access::PublicReadWrite => &[
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ],
    };
    let allow = |action: &[&str], resource: String| json!({ "Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource });
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        allow(&["s3:ListBucket", "s3:GetBucketLocation"], format!("arn:aws:s3:::{name}")),
        allow(on_objects, format!("arn:aws:s3:::{name}/*")),
    ] });
    let path = format!("/{name}");
    let body = policy.to_string().into_bytes();
    actor.expect(Call { query: "policy", ..Call::new(Method::Put, &path) }.with_body(body)).map(|_| ())
}
