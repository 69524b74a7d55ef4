//! Access control lists in requests: canned lists and grant headers.

use super::Context;
use crate::auth::account::Accounts;
use crate::error::{Code, Error, Result};
use crate::http::Headers;
use crate::model::acl::{Acl, CannedAcl, Grant, Grantee, Group, Permission};

/// The most grants of a list.
pub const GRANTS_MAX: usize = 100;

/// The list of an object that this request creates; empty (private) when it names none.
///
/// # Errors
/// As [`from_headers`].
pub fn of_new_object(ctx: &Context<'_>) -> Result<Acl> {
    let owner = ctx.identity.canonical_id();
    let list = from_headers(ctx.headers, ctx.service.accounts(), owner, &ctx.bucket().record.owner)?;
    Ok(list.unwrap_or_default())
}

/// The list that `x-amz-acl` or `x-amz-grant-*` headers give, if any is there.
///
/// # Errors
/// `InvalidArgument` for an unknown canned list, grantee or group, or for both forms at once;
/// `UnresolvableGrantByEmailAddress`.
pub fn from_headers(
    headers: &Headers,
    accounts: &Accounts,
    owner: &str,
    bucket_owner: &str,
) -> Result<Option<Acl>> {
    let mut grants = Vec::new();
    for permission in Permission::ALL {
        for value in headers.get_all(permission.grant_header()) {
            parse_grants(value, permission, accounts, &mut grants)?;
        }
    }
    let canned = headers.get("x-amz-acl");
    match canned {
        Some(_) if !grants.is_empty() => Err(Error::with_message(
            Code::InvalidRequest,
            "Specifying both Canned ACLs and Header Grants is not allowed",
        )),
        Some(name) => {
            let canned =
                CannedAcl::parse(name).ok_or_else(|| Error::invalid_argument("x-amz-acl", name, ""))?;
            Ok(Some(canned.grants(owner, bucket_owner)))
        }
        None if grants.is_empty() => Ok(None),
        None => Ok(Some(Acl { grants })),
    }
}

fn parse_grants(
    value: &str,
    permission: Permission,
    accounts: &Accounts,
    grants: &mut Vec<Grant>,
) -> Result<()> {
    let malformed =
        || Error::invalid_argument(permission.grant_header(), value, "Argument format not recognized");
    for item in value.split(',') {
        let (kind, id) = item.trim().split_once('=').ok_or_else(malformed)?;
        let id = id.trim().trim_matches('"');
        let grantee = match kind.trim().to_ascii_lowercase().as_str() {
            "id" => account_grantee(id, accounts)?,
            "uri" => Grantee::Group(
                Group::parse(id).ok_or_else(|| Error::invalid_argument("uri", id, "Invalid group uri"))?,
            ),
            "emailaddress" => email_grantee(id, accounts)?,
            _ => return Err(malformed()),
        };
        if grants.len() >= GRANTS_MAX {
            return Err(Code::MalformedACLError.into());
        }
        grants.push(Grant { grantee, permission });
    }
    Ok(())
}

/// A grantee by canonical id, which must be an account's.
///
/// # Errors
/// `InvalidArgument` ("Invalid id").
pub fn account_grantee(id: &str, accounts: &Accounts) -> Result<Grantee> {
    if accounts.by_canonical_id(id).is_none() {
        return Err(Error::invalid_argument("CanonicalUser/ID", id, "Invalid id"));
    }
    Ok(Grantee::Account(id.to_owned()))
}

/// A grantee by e-mail address.
///
/// # Errors
/// `UnresolvableGrantByEmailAddress`.
pub fn email_grantee(email: &str, accounts: &Accounts) -> Result<Grantee> {
    let account =
        accounts.by_email(email).ok_or_else(|| Error::new(Code::UnresolvableGrantByEmailAddress))?;
    Ok(Grantee::Account(account.canonical_id.clone()))
}
