//! The S3 operations: one table of them, one family per file.
//!
//! A row of [`table::OPERATIONS`] is the one place that says what an operation is called, which request it
//! answers, what permission it needs and which function runs it. Routing, access checks, metrics and
//! the documentation all read that row.
//!
//! Operations know nothing of files and sockets: they reach the world through [`Context`].

use crate::auth::{Identity, SignatureVersion, Trailers};
use crate::codec::clock::Millis;
use crate::codec::digest_reader::DigestReader;
use crate::codec::uri::Query;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Encryption, Headers, Method, Response, ResponseBody};
use crate::model::{BucketName, ObjectKey};
use checksum::BodyChecksums;
use service::{Bucket, Service};
use std::cell::Cell;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use target::Target;

pub mod access;
pub mod acl;
pub mod admin;
pub mod attributes;
pub mod bucket;
pub mod bucket_encryption;
pub mod bucket_policy;
pub mod checksum;
pub mod condition_keys;
pub mod conditions;
pub mod cors;
pub mod draft;
pub mod encryption;
pub mod internal;
pub mod lifecycle;
pub mod list;
pub mod list_uploads;
pub mod location;
pub mod logged;
pub mod logging;
pub mod metadata;
pub mod multipart;
pub mod notification;
pub mod object_copy;
pub mod object_delete;
pub mod object_get;
pub mod object_lock;
pub mod object_put;
pub mod object_update;
pub mod ownership;
pub mod post_object;
pub mod public_access;
pub mod range;
pub mod request_payment;
pub mod restore;
pub mod schema;
pub mod service;
pub mod sse_headers;
pub mod stored_settings;
pub mod table;
pub mod tagging;
pub mod target;
pub mod unbuilt;
pub mod versioning;
pub mod website;
pub mod website_serving;

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The account: `/`.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

/// One row of the operations table.
pub struct Operation {
    /// S3's name for it.
    pub name: &'static str,
    /// The method that asks for it.
    pub method: Method,
    /// What it is about.
    pub scope: Scope,
    /// The sub-resource in the query, or the empty string.
    pub sub: &'static str,
    /// A header whose presence tells it from the row without one.
    pub header: Option<&'static str>,
    /// The permission it needs, as bucket policies name it.
    pub action: &'static str,
    /// What runs it. Gets a bucket that exists, except for CreateBucket.
    pub run: fn(&Context<'_>, Body<'_>) -> Result<Response>,
}

/// How a request proved who it is from, as far as policies can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The version of the signature; `None` without one.
    pub version: Option<SignatureVersion>,
    /// Where the signature stood.
    pub place: ProofPlace,
}

/// Where a request carries its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofPlace {
    /// In the `Authorization` header, or nowhere.
    Header,
    /// In the query: a presigned URL.
    Query,
    /// In the fields of a browser form.
    Form,
}

/// Everything an operation may know about its request.
pub struct Context<'a> {
    /// The server.
    pub service: &'a Service,
    /// The row that is running.
    pub operation: &'static Operation,
    /// Bucket, key, endpoint.
    pub target: &'a Target,
    /// Decoded query parameters.
    pub query: &'a Query,
    /// Header fields; for presigned requests also the `x-amz-*` parameters.
    pub headers: &'a Headers,
    /// Who asks.
    pub identity: &'a Identity,
    /// How they proved it.
    pub proof: Proof,
    /// Trailing fields of the body, there once it has been read.
    pub trailers: &'a Trailers,
    /// The request's id.
    pub request_id: &'a str,
    /// When the request was received.
    pub now: Millis,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// Whether the request came over an encrypted connection, or from within.
    pub secure: bool,
    /// How the connection is encrypted; `None` for plain HTTP and for requests from within.
    pub encryption: Option<Encryption>,
    /// The bucket, when the operation is about one that exists.
    pub bucket: Option<Arc<Bucket>>,
    /// Whether a grant of an access control list was needed, for the access log.
    pub acl_required: Cell<bool>,
}

impl Context<'_> {
    /// The bucket that the request is about.
    pub fn bucket(&self) -> &Bucket {
        self.bucket.as_ref().expect("dispatch loads the bucket of every bucket and object operation")
    }

    /// The name of the bucket that the request is about.
    pub fn bucket_name(&self) -> &BucketName {
        self.target.bucket.as_ref().expect("routing demands a bucket for bucket and object operations")
    }

    /// The key that the request is about.
    pub fn key(&self) -> &ObjectKey {
        self.target.key.as_ref().expect("routing demands a key for object operations")
    }

    /// A header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// A query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }
}

/// Finds the row for a request.
///
/// # Errors
/// `InvalidArgument` for two sub-resources at once, `NotImplemented` for what is not built, and for an
/// unknown sub-resource on a write, `MethodNotAllowed` for a combination that S3 does not have.
pub fn route(
    method: Method,
    target: &Target,
    query: &Query,
    headers: &Headers,
) -> Result<&'static Operation> {
    let scope = match (&target.bucket, &target.key) {
        (None, _) => Scope::Service,
        (Some(_), None) => Scope::Bucket,
        (Some(_), Some(_)) => Scope::Object,
    };
    let mut subs = query.iter().map(|(name, _)| name).filter(|name| table::is_sub_resource(name));
    let sub = subs.next().unwrap_or("");
    if let Some(second) = subs.find(|second| *second != sub) {
        return Err(Error::invalid_argument(
            "ResourceType",
            sub,
            format!("Conflicting query string parameters: {sub}, {second}"),
        ));
    }
    if let Some(refusal) = unbuilt::refusal(method, scope, query) {
        return Err(refusal);
    }
    if !matches!(method, Method::Get | Method::Head | Method::Options) {
        refuse_unknown_sub_resource(query)?;
    }
    if method == Method::Put && scope == Scope::Object && sub.is_empty() && query.has("partNumber") {
        // Taken for a PutObject, a part that lost its upload would replace the whole object.
        return Err(Error::invalid_argument(
            "partNumber",
            query.get("partNumber").unwrap_or_default(),
            "This operation does not accept partNumber without uploadId",
        ));
    }
    table::OPERATIONS
        .iter()
        .find(|row| {
            row.method == method
                && row.scope == scope
                && row.sub == sub
                && row.header.is_none_or(|header| headers.has(header))
        })
        .ok_or_else(|| no_such_operation(method, scope, sub))
}

/// What a request is told that no row answers. Two sub-resources of buckets have texts of their own
/// where a key is asked for them.
fn no_such_operation(method: Method, scope: Scope, sub: &str) -> Error {
    let message = match (method, scope, sub) {
        (Method::Get, Scope::Object, "uploads") => {
            "Key is not expected for the GET method ?uploads subresource"
        }
        (Method::Get, Scope::Object, "versions") => {
            "There is no such thing as the ?versions sub-resource for a key"
        }
        _ => {
            let resource = match scope {
                Scope::Service => "SERVICE",
                Scope::Bucket => "BUCKET",
                Scope::Object => "OBJECT",
            };
            return Error::new(Code::MethodNotAllowed)
                .field("Method", method.as_str())
                .field("ResourceType", resource);
        }
    };
    Error::with_message(Code::InvalidRequest, message)
}

/// A write with a parameter that looks like a sub-resource (`?name`) but is none must not be taken
/// for a plain write of the object or bucket.
fn refuse_unknown_sub_resource(query: &Query) -> Result<()> {
    let unknown = query.iter().find(|(name, value)| {
        value.unwrap_or("").is_empty()
            && !table::is_sub_resource(name)
            && !table::EMPTY_PARAMETERS.contains(name)
    });
    match unknown {
        Some((name, _)) => Err(Error::with_message(
            Code::NotImplemented,
            format!("A parameter you provided implies functionality that is not implemented: {name}"),
        )),
        None => Ok(()),
    }
}

/// Reads a small body whole.
///
/// # Errors
/// `MaxMessageLengthExceeded` past `bytes_max`, and whatever reading the body means.
pub fn read_small_body(mut body: Body<'_>, bytes_max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = bytes_max as u64 + 1;
    (&mut body).take(limit).read_to_end(&mut bytes).map_err(Error::from_body)?;
    if bytes.len() > bytes_max {
        return Err(Error::new(Code::MaxMessageLengthExceeded)
            .field("MaxMessageLengthBytes", bytes_max.to_string())
            .close());
    }
    Ok(bytes)
}

/// Reads a small body whole and verifies the digest that its operation insists on.
///
/// # Errors
/// As [`read_small_body`]; `InvalidRequest` without a digest, `BadDigest` for a wrong one.
pub fn read_checked_body(ctx: &Context<'_>, body: Body<'_>, bytes_max: usize) -> Result<Vec<u8>> {
    read_body_with(ctx, body, BodyChecksums::required_from_headers(ctx.headers)?, bytes_max)
}

/// Reads a small body whole and verifies the digest that came with it, if one did.
///
/// # Errors
/// As [`read_small_body`], `BadDigest` for a wrong digest.
pub fn read_verified_body(ctx: &Context<'_>, body: Body<'_>, bytes_max: usize) -> Result<Vec<u8>> {
    read_body_with(ctx, body, BodyChecksums::from_headers(ctx.headers)?, bytes_max)
}

fn read_body_with(
    ctx: &Context<'_>,
    mut body: Body<'_>,
    checks: BodyChecksums,
    bytes_max: usize,
) -> Result<Vec<u8>> {
    let algorithm = checks.algorithm();
    let expectation = checks.expectation(None, u64::MAX, |name| ctx.trailers.get(name));
    let mut reader = DigestReader::new(&mut body, algorithm, expectation);
    read_small_body(Body::new(None, Box::new(&mut reader)), bytes_max)
}

/// An answer with an XML body.
pub fn xml_response(status: u16, xml: Vec<u8>) -> Response {
    Response::new(status).header("Content-Type", "application/xml").body(ResponseBody::Bytes(xml))
}
