//! Access control lists: of buckets and of objects, read and set as canned lists, as grant headers or
//! as documents.
//!
//! Source: S3 user guide, "Access control list (ACL) overview"; S3 API reference, PutBucketAcl,
//! PutObjectAcl.

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::list::write_owner;
use super::object_get::find;
use super::object_put::push_found_version_id;
use super::object_update::{update_version, updated};
use super::{Context, ownership, read_small_body, xml_response};
use crate::auth::account::Accounts;
use crate::codec::xml_reader::{self, Element};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Headers, Response};
use crate::model::acl::{Acl, CannedAcl, Grant, Grantee, Group, Permission};

/// The most grants of a list.
pub const GRANTS_MAX: usize = 100;

/// What `Grantee` elements declare so that `xsi:type` means something.
const XSI: &str = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

/// GetBucketAcl.
pub fn get_bucket(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let record = &ctx.bucket().record;
    let enforced = record.acls_disabled().then(|| Acl::private(&record.owner));
    Ok(xml_response(200, document(ctx, &record.owner, enforced.as_ref().unwrap_or(&record.acl))))
}

/// GetObjectAcl.
pub fn get_object(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let bucket = ctx.bucket();
    let record = find(ctx)?;
    let owner = bucket.record.owner_of(&record.head.owner);
    let listed = record.detail.acl.filter(|_| !bucket.record.acls_disabled());
    let body = document(ctx, owner, &listed.unwrap_or_else(|| Acl::private(owner)));
    let mut response = xml_response(200, body);
    push_found_version_id(&mut response, bucket, &record.head);
    Ok(response)
}

fn document(ctx: &Context<'_>, owner: &str, acl: &Acl) -> Vec<u8> {
    let mut xml = XmlWriter::document("AccessControlPolicy");
    write_owner(ctx, &mut xml, "Owner", owner);
    xml.open("AccessControlList");
    // Groups first: clients that look for the owner's own grant expect it last.
    let is_group = |grant: &&Grant| matches!(grant.grantee, Grantee::Group(_));
    let (groups, others): (Vec<&Grant>, Vec<&Grant>) = acl.grants.iter().partition(is_group);
    for Grant { grantee, permission } in groups.into_iter().chain(others) {
        xml.open("Grant");
        match grantee {
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
        xml.element("Permission", permission.as_str());
        xml.close("Grant");
    }
    xml.close("AccessControlList");
    xml.end("AccessControlPolicy")
}

/// PutBucketAcl.
pub fn put_bucket(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    refuse_disabled(ctx)?;
    let owner = ctx.bucket().record.owner.clone();
    let acl = requested(ctx, body, &owner)?;
    refuse_public(ctx, &acl)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.acl = acl.clone();
        Ok(())
    })?;
    Ok(Response::new(200))
}

/// PutObjectAcl.
pub fn put_object(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    refuse_disabled(ctx)?;
    let owner = find(ctx)?.head.owner;
    let acl = requested(ctx, body, &owner)?;
    refuse_public(ctx, &acl)?;
    let record = update_version(ctx, ctx.key(), ctx.param("versionId"), &mut |record| {
        // What was read of the owner must hold for the version that is changed.
        if record.head.owner != owner {
            return Err(Code::OperationAborted.into());
        }
        record.detail.acl = stored(acl.clone(), &owner);
        Ok(())
    })?;
    Ok(updated(ctx, 200, &record))
}

/// The stored form of an object's list: nothing for the list that every object has.
fn stored(acl: Acl, owner: &str) -> Option<Acl> {
    (acl != Acl::private(owner)).then_some(acl)
}

fn refuse_disabled(ctx: &Context<'_>) -> Result<()> {
    match ctx.bucket().record.acls_disabled() {
        true => Err(Code::AccessControlListNotSupported.into()),
        false => Ok(()),
    }
}

/// BlockPublicAcls.
fn refuse_public(ctx: &Context<'_>, acl: &Acl) -> Result<()> {
    let blocked = ctx.bucket().record.public_access_block().block_public_acls;
    if blocked && acl.is_public() { Err(Code::AccessDenied.into()) } else { Ok(()) }
}

/// The list that a request to set one brings, in its headers or in its body.
fn requested(ctx: &Context<'_>, body: Body<'_>, owner: &str) -> Result<Acl> {
    let bucket_owner = &ctx.bucket().record.owner;
    let listed = from_headers(ctx.headers, ctx.service.accounts(), owner, bucket_owner)?;
    let bytes = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    match listed {
        Some(_) if !bytes.is_empty() => Err(Code::UnexpectedContent.into()),
        Some(listed) => Ok(listed),
        None if bytes.is_empty() => {
            Err(Error::new(Code::MissingSecurityHeader).field("MissingHeaderName", "x-amz-acl"))
        }
        None => parse(&bytes, ctx.service.accounts(), owner),
    }
}

/// Reads an `AccessControlPolicy`.
///
/// # Errors
/// `MalformedXML` for what is not XML, `MalformedACLError` for another shape, `AccessDenied` when it
/// names another owner: owners do not change. Otherwise as [`from_headers`].
fn parse(bytes: &[u8], accounts: &Accounts, owner: &str) -> Result<Acl> {
    let document = xml_reader::parse(bytes)?;
    parse_shape(document.any_root(), accounts, owner).map_err(|error| {
        if error.code() == Code::MalformedXML { Code::MalformedACLError.into() } else { error }
    })
}

fn parse_shape(root: Element<'_>, accounts: &Accounts, owner: &str) -> Result<Acl> {
    if root.name() != "AccessControlPolicy" {
        return Err(xml_reader::malformed("not an AccessControlPolicy"));
    }
    let named = root.required("Owner")?.required_text("ID")?;
    let mut grants = Vec::new();
    for grant in root.required("AccessControlList")?.children("Grant") {
        if grants.len() >= GRANTS_MAX {
            return Err(Code::MalformedACLError.into());
        }
        let permission = grant.read("Permission", "a permission", Permission::parse)?;
        let permission = xml_reader::required(permission, "Permission")?;
        grants.push(Grant { grantee: parse_grantee(grant.required("Grantee")?, accounts)?, permission });
    }
    if named.trim() != owner {
        return Err(Code::AccessDenied.into());
    }
    Ok(Acl { grants })
}

fn parse_grantee(element: Element<'_>, accounts: &Accounts) -> Result<Grantee> {
    match element.attribute("type") {
        Some("CanonicalUser") => account_grantee(element.required_text("ID")?.trim(), accounts),
        Some("Group") => group_grantee(element.required_text("URI")?.trim()),
        Some("AmazonCustomerByEmail") => {
            email_grantee(element.required_text("EmailAddress")?.trim(), accounts)
        }
        _ => Err(xml_reader::malformed("an unknown type of grantee")),
    }
}

/// The list of an object that this request creates; `None` (private) when it names none.
///
/// # Errors
/// As [`from_headers`]; `AccessControlListNotSupported` where lists are disabled, but for the one that
/// says what holds anyway; `AccessDenied` for a public list where those are blocked.
pub fn of_new_object(ctx: &Context<'_>) -> Result<Option<Acl>> {
    let owner = ownership::owner_of_new(ctx);
    let bucket = &ctx.bucket().record;
    let Some(listed) = from_headers(ctx.headers, ctx.service.accounts(), owner, &bucket.owner)? else {
        return Ok(None);
    };
    if bucket.acls_disabled() {
        let canned = ctx.header("x-amz-acl").and_then(CannedAcl::parse);
        let holds_anyway = canned.map_or(listed == Acl::private(&bucket.owner), |canned| {
            canned == CannedAcl::BucketOwnerFullControl
        });
        return if holds_anyway { Ok(None) } else { Err(Code::AccessControlListNotSupported.into()) };
    }
    refuse_public(ctx, &listed)?;
    Ok(stored(listed, owner))
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
            "uri" => group_grantee(id)?,
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

/// A grantee by the URI of a group.
///
/// # Errors
/// `InvalidArgument`.
fn group_grantee(uri: &str) -> Result<Grantee> {
    let group =
        Group::parse(uri).ok_or_else(|| Error::invalid_argument("Group/URI", uri, "Invalid group uri"))?;
    Ok(Grantee::Group(group))
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
