//! Who is asking: signatures, and the accounts they belong to.
//!
//! [`authenticate`] is the only door: every request goes through it exactly once, before anything is
//! looked up for it. It yields the [`Identity`] and the body wrapped so that reading it to its end
//! verifies what the signature promised about it (payload hash, chunk signatures, trailers).
//! Browser uploads alone carry their credentials in the body: they pass it as strangers, and
//! [`post::authenticate_form`] verifies the form when its fields have been read.

use crate::codec::clock::{Clock, Millis};
use crate::codec::{hex, time};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Headers, Method};
use std::sync::{Arc, Mutex};

pub mod account;
pub mod canonical;
pub mod chunked;
pub mod keys;
mod lenient;
pub mod mac;
pub mod payload;
pub mod policy;
pub mod post;
pub mod post_policy;
pub mod sigv2;
pub mod sigv4;

use account::{Account, Accounts, Credential, User};
use canonical::Pair;
use chunked::ChunkChain;
use keys::{HmacSha256, SigningKeyCache};
use payload::PayloadKind;

/// Who a request acts for.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Nobody in particular: no signature was sent.
    Anonymous,
    /// The holder of an access key.
    Key {
        /// The account, whose canonical id owns what is written.
        account: Arc<Account>,
        /// The user within the account, when the key is a user's.
        user: Option<Arc<User>>,
        /// The access key id, for the log.
        access_key: String,
    },
}

impl Identity {
    /// The account, unless anonymous.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Identity::Anonymous => None,
            Identity::Key { account, .. } => Some(account),
        }
    }

    /// The canonical id that owns what this identity writes. Anonymous writers own as the
    /// `anonymous` user of S3's access logs does: the group that has everybody in it.
    pub fn canonical_id(&self) -> &str {
        self.account().map_or(ANONYMOUS_ID, |account| &account.canonical_id)
    }

    /// The access key id, unless anonymous.
    pub fn access_key(&self) -> Option<&str> {
        match self {
            Identity::Anonymous => None,
            Identity::Key { access_key, .. } => Some(access_key),
        }
    }
}

/// The canonical id of requests without a signature.
pub const ANONYMOUS_ID: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

/// How far a request's time may lie from ours, either way, in milliseconds ("Signing and authenticating
/// REST requests" in the S3 API reference).
pub const SKEW_MS_MAX: u64 = 15 * 60 * 1000;

/// What an operator can choose about signatures.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The only region that credentials may be scoped to; any when `None`.
    pub region: Option<String>,
    /// Whether Signature Version 2 is accepted. AWS refuses it in all newer regions.
    pub allow_sigv2: bool,
    /// Let everybody in, whatever the signature and without one: for test fixtures only.
    pub accept_any: bool,
    /// Authorities (`host` or `host:port`) that presigned URLs may have been made for, besides the one
    /// that they are used under.
    pub host_aliases: Vec<String>,
    /// Signatures may also be as old as the system's clock says: where the server's clock is moved by
    /// tests, clients go on signing with the time of the system.
    pub system_time_too: bool,
}

impl Settings {
    /// The system's time, where it counts besides the server's.
    pub(crate) fn system_time(&self) -> Option<Millis> {
        self.system_time_too.then(|| Clock::system().now())
    }
}

/// A request without its body, as it was sent.
#[derive(Clone, Copy)]
pub struct Head<'r> {
    /// The method.
    pub method: Method,
    /// The path, percent-encoding untouched.
    pub path: &'r str,
    /// The query without the `?`, percent-encoding untouched.
    pub query: &'r str,
    /// The header fields.
    pub headers: &'r Headers,
}

/// The version of the signature that a request carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureVersion {
    /// HMAC-SHA1 over a short list of headers.
    V2,
    /// `AWS4-HMAC-SHA256`.
    V4,
}

/// What [`authenticate`] found out.
pub struct Authenticated<'a> {
    /// Who asks.
    pub identity: Identity,
    /// The body, decoded when it was framed; its length is that of the decoded bytes. Nothing that was
    /// read from it may be committed before it has returned `Ok(0)`: that is what says that payload
    /// hash, chunk signatures, framing and length were as promised. Read errors go through
    /// [`Error::from_body`].
    pub body: Body<'a>,
    /// The trailing fields, complete once `body` has returned `Ok(0)`. That a checksum among them is
    /// right is for the operation to find out.
    pub trailers: Trailers,
    /// Whether the signature stood in the query (a presigned URL).
    pub signed_query: bool,
    /// The version of the signature; `None` without one.
    pub signature_version: Option<SignatureVersion>,
    /// How the body was bound to the signature.
    pub payload: PayloadKind,
}

/// What every check needs to know.
pub(crate) struct Door<'e> {
    pub(crate) accounts: &'e Accounts,
    pub(crate) settings: &'e Settings,
    pub(crate) keys: &'e SigningKeyCache,
    pub(crate) now: Millis,
    /// The bucket named by the host, which Signature Version 2 signs as part of the path.
    pub(crate) host_bucket: Option<&'e str>,
    /// The length of the body in bytes.
    pub(crate) length: Option<u64>,
}

/// A signature that was right.
pub(crate) struct Proof {
    pub(crate) identity: Identity,
    pub(crate) signed_query: bool,
    pub(crate) version: Option<SignatureVersion>,
    pub(crate) payload: PayloadKind,
    pub(crate) chain: Option<ChunkChain>,
}

/// Finds out who sent a request and wraps its body so that reading it verifies it.
///
/// `host_bucket` is the bucket that the host names, for virtual-hosted requests. A request that
/// carries any part of a signature is either proven or refused; only one without is anonymous.
///
/// Errors are those of S3: 400 `AuthorizationHeaderMalformed`, `AuthorizationQueryParametersError`,
/// `InvalidArgument`, `InvalidRequest`, `InvalidToken`; 403 `AccessDenied`, `InvalidAccessKeyId`,
/// `RequestTimeTooSkewed`, `SignatureDoesNotMatch`; 411 `MissingContentLength`; 501 `NotImplemented`.
pub fn authenticate<'a>(
    accounts: &Accounts,
    settings: &Settings,
    keys: &SigningKeyCache,
    now: Millis,
    head: &Head<'_>,
    host_bucket: Option<&str>,
    body: Body<'a>,
) -> Result<Authenticated<'a>> {
    if settings.accept_any {
        return lenient::authenticate(accounts, head, body);
    }
    let door = Door { accounts, settings, keys, now, host_bucket, length: body.length() };
    let pairs = canonical::pairs(head.query);
    let proof = match mechanism(head, &pairs)? {
        Mechanism::None => anonymous(head)?,
        Mechanism::HeaderV2(credentials) => sigv2::header(&door, head, &pairs, credentials)?,
        Mechanism::HeaderV4(components) => sigv4::header(&door, head, &pairs, components)?,
        Mechanism::QueryV2 => sigv2::presigned(&door, head, &pairs)?,
        Mechanism::QueryV4 => sigv4::presigned(&door, head, &pairs)?,
    };
    let trailers = Trailers::default();
    let body = payload::wrap(head, proof.payload, proof.chain, body, &trailers)?;
    Ok(Authenticated {
        identity: proof.identity,
        body,
        trailers,
        signed_query: proof.signed_query,
        signature_version: proof.version,
        payload: proof.payload,
    })
}

/// The access key that a request claims to be signed with, whether or not it is.
pub fn claimed_access_key(headers: &Headers, query: &str) -> Option<String> {
    let authorization = headers.get("authorization").unwrap_or_default();
    if let Some(credentials) = authorization.strip_prefix("AWS ") {
        return Some(credentials.split(':').next().unwrap_or_default().trim().to_owned());
    }
    if let Some((_, credential)) = authorization.split_once("Credential=") {
        return key_of_credential(credential.split([',', ' ']).next()?);
    }
    let pairs = canonical::pairs(query);
    let value = |name: &str| {
        let found = pairs.iter().find(|pair| pair.name.eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(Pair::text).map(str::to_owned)
    };
    value("X-Amz-Credential").and_then(|text| key_of_credential(&text)).or_else(|| value("AWSAccessKeyId"))
}

/// Access keys may have slashes: the other four parts are counted from the end.
fn key_of_credential(credential: &str) -> Option<String> {
    credential.rsplitn(5, '/').nth(4).map(str::to_owned)
}

/// What a request of the server's own comes with: nobody signed it, and `identity` answers for it.
pub fn vouched(identity: Identity, body: Body<'_>) -> Authenticated<'_> {
    Authenticated {
        identity,
        body,
        trailers: Trailers::default(),
        signed_query: false,
        signature_version: Some(SignatureVersion::V4),
        payload: PayloadKind::Unsigned,
    }
}

/// Where a request keeps its credentials.
#[derive(Debug, PartialEq, Eq)]
enum Mechanism<'r> {
    None,
    /// What follows the scheme `AWS`.
    HeaderV2(&'r str),
    /// What follows the scheme `AWS4-HMAC-SHA256`.
    HeaderV4(&'r str),
    QueryV2,
    QueryV4,
}

fn mechanism<'r>(head: &Head<'r>, pairs: &[Pair<'_>]) -> Result<Mechanism<'r>> {
    const ONE_ONLY: &str = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
        Signature query string parameter or the Authorization header should be specified";
    // Any part of a signature counts, in any case: what is not whole is refused, never ignored (SE-03).
    let named = |pair: &Pair<'_>, names: &[&str]| {
        names.iter().any(|name| pair.name.eq_ignore_ascii_case(name.as_bytes()))
    };
    let v4 =
        pairs.iter().any(|pair| named(pair, &["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"]));
    let v2 = pairs.iter().any(|pair| named(pair, &["AWSAccessKeyId", "Signature"]));
    let mut header = head.headers.get_all("authorization");
    let authorization = header.next();
    let repeated = header.next().is_some();
    match (authorization, v4, v2) {
        (None, false, false) => Ok(Mechanism::None),
        (None, true, false) => Ok(Mechanism::QueryV4),
        (None, false, true) => Ok(Mechanism::QueryV2),
        (Some(value), false, false) if !repeated => scheme(value),
        (value, ..) => Err(Error::invalid_argument("Authorization", value.unwrap_or_default(), ONE_ONLY)),
    }
}

fn scheme(authorization: &str) -> Result<Mechanism<'_>> {
    let (scheme, rest) = authorization.split_once([' ', '\t']).unwrap_or((authorization, ""));
    match scheme {
        // What a client sends that has no credentials: S3 answers as to a stranger.
        "" => Err(Error::new(Code::AccessDenied)),
        "AWS" => Ok(Mechanism::HeaderV2(rest.trim())),
        "AWS4-HMAC-SHA256" => Ok(Mechanism::HeaderV4(rest.trim())),
        "AWS4-ECDSA-P256-SHA256" => Err(Error::new(Code::NotImplemented).field("Header", "Authorization")),
        _ => Err(Error::invalid_argument(
            "Authorization",
            authorization,
            if rest.is_empty() {
                "Authorization header is invalid -- one and only one ' ' (space) required"
            } else {
                "Unsupported Authorization Type"
            },
        )),
    }
}

fn anonymous(head: &Head<'_>) -> Result<Proof> {
    let payload = unsigned_payload(head)?;
    Ok(Proof { identity: Identity::Anonymous, signed_query: false, version: None, payload, chain: None })
}

/// What the header says of the body where no Version 4 signature is over it. It is held to that all
/// the same: a client that sends a hash wants it compared.
pub(crate) fn unsigned_payload(head: &Head<'_>) -> Result<PayloadKind> {
    head.headers.get("x-amz-content-sha256").map_or(Ok(PayloadKind::Unsigned), PayloadKind::parse)
}

/// The identity of a key's holder.
pub(crate) fn identity(access_key: &str, credential: &Credential) -> Identity {
    Identity::Key {
        account: credential.account.clone(),
        user: credential.user.clone(),
        access_key: access_key.to_owned(),
    }
}

/// Refuses a security token: there are no temporary credentials yet, so a token that comes with a
/// permanent key is as wrong as a token that nobody issued (BI-189).
pub(crate) fn refuse_token(head: &Head<'_>, pairs: &[Pair<'_>]) -> Result<()> {
    let header = head.headers.get("x-amz-security-token");
    let query = pairs.iter().find(|pair| pair.name.eq_ignore_ascii_case(b"x-amz-security-token"));
    match header.or(query.map(|pair| pair.text().unwrap_or_default())).filter(|token| !token.is_empty()) {
        None => Ok(()),
        Some(token) => Err(Error::new(Code::InvalidToken).field("Token-0", token)),
    }
}

/// Checks the time of a header-signed request; `sent` as the client wrote it.
pub(crate) fn check_skew(settings: &Settings, now: Millis, at: Millis, sent: &str) -> Result<()> {
    if now.abs_diff(at) <= SKEW_MS_MAX
        || settings.system_time().is_some_and(|now| now.abs_diff(at) <= SKEW_MS_MAX)
    {
        return Ok(());
    }
    Err(Error::new(Code::RequestTimeTooSkewed)
        .field("RequestTime", sent)
        .field("ServerTime", iso_seconds(now))
        .field("MaxAllowedSkewMilliseconds", SKEW_MS_MAX.to_string()))
}

pub(crate) fn missing_date() -> Error {
    Error::with_message(Code::AccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
}

pub(crate) fn unknown_key(access_key: &str) -> Error {
    Error::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", access_key)
}

/// `SignatureDoesNotMatch` with what a developer needs to find the difference.
pub(crate) fn mismatch(
    access_key: &str,
    string_to_sign: &str,
    provided: &str,
    canonical: Option<&str>,
) -> Error {
    let error = Error::new(Code::SignatureDoesNotMatch)
        .field("AWSAccessKeyId", access_key)
        .field("StringToSign", string_to_sign)
        .field("SignatureProvided", provided)
        .field("StringToSignBytes", spaced_hex(string_to_sign));
    match canonical {
        Some(text) => error.field("CanonicalRequest", text).field("CanonicalRequestBytes", spaced_hex(text)),
        None => error,
    }
}

fn spaced_hex(text: &str) -> String {
    let digits = hex(text.as_bytes());
    let mut spaced = String::with_capacity(digits.len() / 2 * 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && index % 2 == 0 {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}

/// `2013-05-24T00:00:00Z`, the form of times in S3's errors.
pub(crate) fn iso_seconds(millis: Millis) -> String {
    let mut text = time::iso8601(millis);
    text.truncate("2013-05-24T00:00:00".len());
    text.push('Z');
    text
}

/// Finishes an HMAC and writes it in lower-case hexadecimal.
pub(crate) fn hex_mac(mac: HmacSha256) -> String {
    hex(mac.finalize().as_ref())
}

/// Reads exactly `N` bytes of hexadecimal of either case.
pub(crate) fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Reads exactly `N` bytes of lower-case hexadecimal, the only form of a Version 4 signature.
pub(crate) fn hex_array_lower<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { None } else { hex_array(text) }
}

/// Trailing header fields of an aws-chunked body, filled in when the body has been read to its end.
#[derive(Clone, Debug, Default)]
pub struct Trailers(Arc<Mutex<Vec<(String, String)>>>);

impl Trailers {
    /// Adds a field; the name in lower case.
    pub fn push(&self, name: String, value: String) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((name, value));
    }

    /// The value of a trailing field.
    pub fn get(&self, name: &str) -> Option<String> {
        let fields = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests;
