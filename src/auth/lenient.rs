//! `--auth any`: everybody is let in, for test suites to which signatures do not matter.
//!
//! A request acts for the account of the access key that it names, and for the first account when it names
//! none or an unknown one. Nothing is verified but what the body says of itself. The configuration allows
//! this only together with the fixture profile.

use super::account::Accounts;
use super::payload::{self, PayloadKind};
use super::{Authenticated, Head, Identity, SignatureVersion, Trailers, claimed_access_key, identity};
use crate::error::{Code, Error, Result};
use crate::http::Body;

/// Who a request acts for when nobody asks for proof.
///
/// # Errors
/// `AccessDenied` when there is no account at all.
pub fn identity_of(accounts: &Accounts, claimed: Option<&str>) -> Result<Identity> {
    let known = claimed.and_then(|claimed| Some(identity(claimed, accounts.key(claimed)?)));
    let first = || accounts.first_key().map(|(key, credential)| identity(claimed.unwrap_or(key), credential));
    known.or_else(first).ok_or_else(|| Error::new(Code::AccessDenied))
}

/// Lets a request in. Frames of the body are taken off; their signatures are not looked at.
///
/// # Errors
/// What [`payload::wrap`] says of a body that is not what it claims to be.
pub fn authenticate<'a>(accounts: &Accounts, head: &Head<'_>, body: Body<'a>) -> Result<Authenticated<'a>> {
    let claimed = claimed_access_key(head.headers, head.query);
    let payload =
        head.headers.get("x-amz-content-sha256").map_or(Ok(PayloadKind::Unsigned), PayloadKind::parse)?;
    let trailers = Trailers::default();
    let body = payload::wrap_unverified(head, payload, body, &trailers)?;
    let signed_query = head.query.contains("X-Amz-Signature=") || head.query.contains("Signature=");
    Ok(Authenticated {
        identity: identity_of(accounts, claimed.as_deref())?,
        body,
        trailers,
        signed_query,
        signature_version: Some(SignatureVersion::V4),
        payload,
    })
}
