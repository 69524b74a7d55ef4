//! Signature Version 4, in the `Authorization` header and in presigned URLs: the verifier, and the
//! signer that our tests, benchmarks and the client of other S3 stores use.
//!
//! Rules and texts follow "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference
//! and the answers that S3 gives.

use super::canonical::{self, Canonical, Pair, PathForm};
use super::chunked::ChunkChain;
use super::keys::{HmacSha256, derive, sha256, signature};
use super::payload::PayloadKind;
use super::{Door, Head, Proof, SKEW_MS_MAX, SignatureVersion, check_skew, hex_array_lower, identity};
use super::{iso_seconds, mismatch, missing_date, refuse_token, unknown_key};
use crate::codec::clock::Millis;
use crate::codec::{hex, time, uri};
use crate::error::{Code, Error, Result};
use crate::http::Headers;
use std::borrow::Cow;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The longest validity of a presigned URL: seven days, in seconds.
pub const EXPIRES_S_MAX: u64 = 604_800;
/// Names in `SignedHeaders`: more than any request has fields.
const SIGNED_HEADERS_MAX: usize = 256;
/// The key of strangers in the cache; no access key is empty.
const NOBODY: &str = "";

/// The parts of a credential: `access_key/date/region/service/terminal`.
pub(super) struct Scope<'r> {
    pub(super) access_key: &'r str,
    pub(super) date: &'r str,
    pub(super) region: &'r str,
}

/// What a request claims, whichever way it does.
struct Claim<'r> {
    scope: Scope<'r>,
    signed_headers: &'r str,
    signature: &'r str,
    /// The time of signing.
    at: Millis,
    /// The last line of the canonical request.
    payload: &'r str,
    /// Parameters that may stand for signed fields.
    hoisted: &'r [Pair<'r>],
}

/// How the two ways word what is wrong with a credential.
#[derive(Clone, Copy)]
pub(super) enum Wording {
    Header,
    Query,
}

impl Wording {
    fn error(self, what: &str) -> Error {
        match self {
            Wording::Header => Error::with_message(
                Code::AuthorizationHeaderMalformed,
                format!("The authorization header is malformed; {what}"),
            ),
            Wording::Query => Error::with_message(
                Code::AuthorizationQueryParametersError,
                format!("Error parsing the X-Amz-Credential parameter; {what}"),
            ),
        }
    }
}

/// Verifies an `Authorization: AWS4-HMAC-SHA256` header; `components` is what follows the scheme.
pub(crate) fn header(
    door: &Door<'_>,
    head: &Head<'_>,
    pairs: &[Pair<'_>],
    components: &str,
) -> Result<Proof> {
    let [credential, signed_headers, signature] = split_components(components)?;
    let scope = parse_scope(door, credential, Wording::Header)?;
    let payload = head.headers.get("x-amz-content-sha256").ok_or_else(|| {
        let text = "Missing required header for this request: x-amz-content-sha256";
        Error::with_message(Code::InvalidRequest, text)
    })?;
    let kind = PayloadKind::parse(payload)?;
    let (sent, at) = header_time(head)?;
    check_skew(door.settings, door.now, at, sent)?;
    check_day(scope.date, at, Wording::Header)?;
    check_signed_headers(head, signed_headers)?;
    let claim = Claim { scope, signed_headers, signature, at, payload, hoisted: &[] };
    verify(door, head, pairs, &claim, kind).map(|proof| Proof { signed_query: false, ..proof })
}

/// Verifies a presigned URL.
pub(crate) fn presigned(door: &Door<'_>, head: &Head<'_>, pairs: &[Pair<'_>]) -> Result<Proof> {
    let [algorithm, credential, date, expires, signed_headers, signature] = query_parameters(pairs)?;
    check_algorithm(algorithm)?;
    let scope = parse_scope(door, credential, Wording::Query)?;
    let at = time::parse_basic(date).ok_or_else(|| {
        query_error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    check_day(scope.date, at, Wording::Query)?;
    let expires_s = parse_expires(expires)?;
    check_validity(door, at, expires_s)?;
    check_signed_headers(head, signed_headers)?;
    let payload = presigned_payload(head, pairs);
    let kind = PayloadKind::parse(payload)?;
    let claim = Claim { scope, signed_headers, signature, at, payload, hoisted: pairs };
    let proof = match verify(door, head, pairs, &claim, kind) {
        Err(error) if error.code() == Code::SignatureDoesNotMatch => {
            verify_aliases(door, head, pairs, &claim, kind).ok_or(error)?
        }
        proof => proof?,
    };
    Ok(Proof { signed_query: true, ..proof })
}

/// Looks whether a presigned URL was made for one of the aliases of this server: the same request, but
/// for the host. A bucket in front of the host stands in front of the alias, too.
fn verify_aliases(
    door: &Door<'_>,
    head: &Head<'_>,
    pairs: &[Pair<'_>],
    claim: &Claim<'_>,
    kind: PayloadKind,
) -> Option<Proof> {
    door.settings.host_aliases.iter().find_map(|alias| {
        let host = match door.host_bucket {
            Some(bucket) => format!("{bucket}.{alias}"),
            None => alias.clone(),
        };
        let mut headers = Headers::new();
        headers.push("host", &host);
        head.headers
            .iter()
            .filter(|(name, _)| *name != "host")
            .for_each(|(name, value)| headers.push(name, value));
        verify(door, &Head { headers: &headers, ..*head }, pairs, claim, kind).ok()
    })
}

/// Splits `Credential=..., SignedHeaders=..., Signature=...`, in any order, with or without spaces.
fn split_components(components: &str) -> Result<[&str; 3]> {
    const NAMES: [&str; 3] = ["Credential", "SignedHeaders", "Signature"];
    let mut values = [None; 3];
    for component in components.split(',').map(str::trim).filter(|component| !component.is_empty()) {
        let known = component.split_once('=').and_then(|(name, value)| {
            let index = NAMES.iter().position(|known| *known == name.trim())?;
            values[index].replace(value.trim()).is_none().then_some(())
        });
        if known.is_none() {
            let shown: String = component.chars().take(64).collect();
            let what = format!("the authorization component \"{shown}\" is malformed.");
            return Err(Wording::Header.error(&what));
        }
    }
    match values {
        [Some(credential), Some(signed_headers), Some(signature)] => {
            Ok([credential, signed_headers, signature])
        }
        _ => Err(Wording::Header.error(
            "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
        )),
    }
}

/// Takes a credential apart. From its end, because access keys may have slashes.
pub(super) fn parse_scope<'r>(door: &Door<'_>, credential: &'r str, wording: Wording) -> Result<Scope<'r>> {
    let mut parts = credential.rsplitn(5, '/');
    let mut next = || {
        parts.next().ok_or_else(|| {
            wording.error(
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            )
        })
    };
    let (terminal, service, region, date, access_key) = (next()?, next()?, next()?, next()?, next()?);
    if access_key.is_empty() {
        return Err(wording.error("a non-empty Access Key (AKID) must be provided in the credential."));
    }
    if terminal != "aws4_request" {
        let what = format!("incorrect terminal \"{terminal}\". This endpoint uses \"aws4_request\".");
        return Err(wording.error(&what));
    }
    if service != "s3" {
        let what = format!("incorrect service \"{service}\". This endpoint belongs to \"s3\".");
        return Err(wording.error(&what));
    }
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wording.error(&format!(
            "incorrect date format \"{date}\". This date in the credential must be in the format \"yyyyMMdd\"."
        )));
    }
    match &door.settings.region {
        Some(expected) if expected != region => Err(wording
            .error(&format!("the region '{region}' is wrong; expecting '{expected}'"))
            .field("Region", expected)),
        _ => Ok(Scope { access_key, date, region }),
    }
}

/// The time of a header-signed request, and as it was sent: `x-amz-date`, else `date`.
fn header_time<'r>(head: &Head<'r>) -> Result<(&'r str, Millis)> {
    let sent =
        head.headers.get("x-amz-date").or_else(|| head.headers.get("date")).ok_or_else(missing_date)?;
    let at = time::parse_basic(sent)
        .or_else(|| time::parse_mail_date(sent))
        .or_else(|| time::parse_http_date(sent))
        .ok_or_else(missing_date)?;
    Ok((sent, at))
}

/// The day of the credential must be the day of signing: without that, a derived key of one day signs
/// for another (SE-14).
pub(super) fn check_day(date: &str, at: Millis, wording: Wording) -> Result<()> {
    let day = time::basic(at);
    if day.get(..8) == Some(date) {
        return Ok(());
    }
    let day = &day[..8];
    let what =
        format!("Invalid credential date \"{date}\". This date is not the same as X-Amz-Date: \"{day}\".");
    Err(match wording {
        Wording::Header => wording.error(&what),
        Wording::Query => query_error(what),
    })
}

fn query_error(message: impl Into<Cow<'static, str>>) -> Error {
    Error::with_message(Code::AuthorizationQueryParametersError, message)
}

/// The six parameters of a presigned URL, each exactly once (BI-184).
fn query_parameters<'q>(pairs: &'q [Pair<'_>]) -> Result<[&'q str; 6]> {
    const NAMES: [&str; 6] = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    ];
    let mut values = [""; 6];
    for (value, name) in values.iter_mut().zip(NAMES) {
        let mut named = pairs.iter().filter(|pair| pair.name.as_ref() == name.as_bytes());
        let text = named.next().and_then(Pair::text).filter(|text| !text.is_empty());
        *value = text.filter(|_| named.next().is_none()).ok_or_else(|| {
            query_error(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        })?;
    }
    Ok(values)
}

pub(super) fn check_algorithm(algorithm: &str) -> Result<()> {
    match algorithm {
        ALGORITHM => Ok(()),
        "AWS4-ECDSA-P256-SHA256" => Err(Error::new(Code::NotImplemented)),
        _ => {
            Err(query_error("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\""))
        }
    }
}

fn parse_expires(text: &str) -> Result<u64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(query_error("X-Amz-Expires should be a number"));
    }
    // What ends before it begins is well-formed, and over: the check of the time refuses it.
    if text.starts_with('-') {
        return Ok(0);
    }
    match text.parse() {
        Ok(expires_s) if expires_s <= EXPIRES_S_MAX => Ok(expires_s),
        _ => Err(query_error(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be \
             less than 604800 seconds",
        )),
    }
}

fn check_validity(door: &Door<'_>, at: Millis, expires_s: u64) -> Result<()> {
    let now = door.now;
    if at > now.max(door.settings.system_time().unwrap_or(0)).saturating_add(SKEW_MS_MAX) {
        return Err(Error::with_message(Code::AccessDenied, "Request is not yet valid")
            .field("NotBefore", iso_seconds(at))
            .field("ServerTime", iso_seconds(now)));
    }
    let expires = at.saturating_add(expires_s * 1000);
    if expires_s > 0 && now <= expires {
        return Ok(());
    }
    Err(Error::with_message(Code::AccessDenied, "Request has expired")
        .field("X-Amz-Expires", expires_s.to_string())
        .field("Expires", iso_seconds(expires))
        .field("ServerTime", iso_seconds(now)))
}

/// What a presigned URL says of the body: the header, which must be signed, or a parameter, which is.
fn presigned_payload<'r>(head: &Head<'r>, pairs: &'r [Pair<'_>]) -> &'r str {
    let parameter = || pairs.iter().find(|pair| pair.name.eq_ignore_ascii_case(b"x-amz-content-sha256"));
    head.headers
        .get("x-amz-content-sha256")
        .or_else(|| parameter().map(|pair| pair.text().unwrap_or_default()))
        .unwrap_or("UNSIGNED-PAYLOAD")
}

/// `host` and every `x-amz-*` field must be signed, or whoever holds the URL or sits in between could
/// add a copy source, an ACL, tags (BI-176, BI-177, BI-183, SE-08). Not the hash of the body: its value is the last
/// line of what is signed, and S3 does not ask for the field beside that (ds_proxy leaves it out).
fn check_signed_headers(head: &Head<'_>, signed_headers: &str) -> Result<()> {
    if signed_headers.split(';').count() > SIGNED_HEADERS_MAX {
        return Err(Error::new(Code::AuthorizationHeaderMalformed));
    }
    let signed = |name: &str| signed_headers.split(';').any(|listed| listed.eq_ignore_ascii_case(name));
    let mut unsigned: Vec<&str> = Vec::new();
    for (name, _) in head.headers.iter() {
        let must_be = name.starts_with("x-amz-") && name != "x-amz-content-sha256";
        if must_be && !unsigned.contains(&name) && !signed(name) {
            unsigned.push(name);
        }
    }
    if !signed("host") {
        unsigned.insert(0, "host");
    }
    if unsigned.is_empty() {
        return Ok(());
    }
    let text = "There were headers present in the request which were not signed";
    Err(Error::with_message(Code::AccessDenied, text).field("HeadersNotSigned", unsigned.join(", ")))
}

/// The signature itself. A stranger's key costs the same work as a known one with a wrong signature
/// (BI-173, SE-25).
fn verify(
    door: &Door<'_>,
    head: &Head<'_>,
    pairs: &[Pair<'_>],
    claim: &Claim<'_>,
    payload: PayloadKind,
) -> Result<Proof> {
    let Scope { access_key, date, region } = claim.scope;
    let credential = door.accounts.key(access_key);
    let secret = credential.map_or(NOBODY, |credential| &credential.secret);
    let cache_name = if credential.is_some() { access_key } else { NOBODY };
    let cached = door.keys.get(cache_name, date, region);
    let first_use = cached.is_none();
    let key = cached.unwrap_or_else(|| derive(secret, date, region));

    let texts = check_signature(door, head, pairs, claim, &key);
    let credential = credential.ok_or_else(|| unknown_key(access_key))?;
    refuse_token(head, pairs)?;
    let Texts { scope, timestamp } = texts?;
    if first_use {
        door.keys.insert(access_key, date, region, key.clone());
        door.keys.insert(NOBODY, date, region, derive(NOBODY, date, region));
    }
    let chain = payload
        .has_chunk_signatures()
        .then(|| ChunkChain::new(access_key, key, &timestamp, &scope, claim.signature));
    let version = Some(SignatureVersion::V4);
    Ok(Proof { identity: identity(access_key, credential), signed_query: false, version, payload, chain })
}

/// Texts of a string to sign that chunk signatures need again.
struct Texts {
    scope: String,
    timestamp: String,
}

/// Compares with the signature over the path in its normal form, and where the client wrote the path in
/// another way, over that too.
fn check_signature(
    door: &Door<'_>,
    head: &Head<'_>,
    pairs: &[Pair<'_>],
    claim: &Claim<'_>,
    key: &HmacSha256,
) -> Result<Texts> {
    let query = canonical::query(pairs);
    let Claim { signed_headers, payload, hoisted, .. } = *claim;
    let canonical = Canonical { head, query: &query, signed_headers, payload, length: door.length, hoisted };
    let scope = scope_text(claim.scope.date, claim.scope.region);
    let timestamp = time::basic(claim.at);
    let provided = hex_array_lower::<32>(claim.signature);
    let mut request = String::with_capacity(1024);
    let mut matches = |form| {
        let sound = canonical.write(form, &mut request);
        let text = string_to_sign(&timestamp, &scope, &request);
        let mac = key.clone().chain_update(text.as_bytes());
        // Constant time: the comparison is the crate's.
        let equal = provided.is_some_and(|bytes| mac.verifies(&bytes));
        if equal && sound { Ok(()) } else { Err(text) }
    };
    let Err(text) = matches(PathForm::Normal) else {
        return Ok(Texts { scope, timestamp });
    };
    let mut normal = String::with_capacity(head.path.len());
    canonical::push_path(head.path, PathForm::Normal, &mut normal);
    if normal != head.path && matches(PathForm::AsSent).is_ok() {
        return Ok(Texts { scope, timestamp });
    }
    canonical.write(PathForm::Normal, &mut request);
    Err(mismatch(claim.scope.access_key, &text, claim.signature, Some(&request)))
}

fn scope_text(date: &str, region: &str) -> String {
    format!("{date}/{region}/s3/aws4_request")
}

fn string_to_sign(timestamp: &str, scope: &str, canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{timestamp}\n{scope}\n{}", hex(&sha256(canonical_request.as_bytes())))
}

/// Signs requests, as a client does.
///
/// ```
/// use s3pail::auth::{Head, sigv4::Signer};
/// use s3pail::http::{Headers, Method};
///
/// let mut headers = Headers::new();
/// headers.push("host", "127.0.0.1:8000");
/// let signer = Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };
/// let head = Head { method: Method::Get, path: "/bucket/key", query: "", headers: &headers };
/// let signed = signer.sign(1_795_375_800_000, &head, "UNSIGNED-PAYLOAD");
/// for (name, value) in &signed.fields {
///     headers.push(name, value);
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Signer<'k> {
    /// The access key id.
    pub access_key: &'k str,
    /// The secret key.
    pub secret: &'k str,
    /// The region to scope the credential to.
    pub region: &'k str,
}

/// A signed request.
pub struct Signed {
    /// The header fields to add: `x-amz-date`, `x-amz-content-sha256`, `authorization`.
    pub fields: [(&'static str, String); 3],
    /// The start of the chain of chunk signatures, for a body that is sent in signed chunks.
    pub chain: ChunkChain,
}

impl Signer<'_> {
    /// Signs a request at a time. Every field of `head` is signed, so `host` must be among them and what
    /// proxies change should not. `payload` is the value of `x-amz-content-sha256`: a hash in
    /// hexadecimal, or a word such as `UNSIGNED-PAYLOAD`.
    pub fn sign(&self, now: Millis, head: &Head<'_>, payload: &str) -> Signed {
        let timestamp = time::basic(now);
        let mut headers = head.headers.clone();
        headers.push("x-amz-date", &timestamp);
        headers.push("x-amz-content-sha256", payload);
        let head = Head { headers: &headers, ..*head };
        let names = signed_names(&headers);
        let query = canonical::query(&canonical::pairs(head.query));
        let (scope, signature, key) = self.signature(&timestamp, &head, &query, &names, payload);
        let credential = format!("{}/{scope}", self.access_key);
        let authorization =
            format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}");
        Signed {
            fields: [
                ("x-amz-date", timestamp.clone()),
                ("x-amz-content-sha256", payload.to_owned()),
                ("authorization", authorization),
            ],
            chain: ChunkChain::new(self.access_key, key, &timestamp, &scope, &signature),
        }
    }

    /// The query of a presigned URL that is valid for `expires_s` seconds; every field of `head` is
    /// signed and must be sent with it. `x-amz-content-sha256`, as a field or a parameter, binds the
    /// URL to a body; without it any body will do.
    pub fn presign(&self, now: Millis, expires_s: u64, head: &Head<'_>) -> String {
        let timestamp = time::basic(now);
        let names = signed_names(head.headers);
        let credential = format!("{}/{}", self.access_key, scope_text(&timestamp[..8], self.region));
        let mut query = head.query.to_owned();
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={timestamp}\
             &X-Amz-Expires={expires_s}&X-Amz-SignedHeaders={}",
            uri::encode(&credential),
            uri::encode(&names),
        ));
        let pairs = canonical::pairs(&query);
        let payload = presigned_payload(head, &pairs);
        let (_, signature, _) = self.signature(&timestamp, head, &canonical::query(&pairs), &names, payload);
        query.push_str("&X-Amz-Signature=");
        query.push_str(&signature);
        query
    }

    fn signature(
        &self,
        timestamp: &str,
        head: &Head<'_>,
        query: &str,
        names: &str,
        payload: &str,
    ) -> (String, String, HmacSha256) {
        let canonical = Canonical { head, query, signed_headers: names, payload, length: None, hoisted: &[] };
        let mut request = String::new();
        canonical.write(PathForm::Normal, &mut request);
        let date = &timestamp[..8];
        let scope = scope_text(date, self.region);
        let key = derive(self.secret, date, self.region);
        let signature = signature(&key, &string_to_sign(timestamp, &scope, &request));
        (scope, signature, key)
    }
}

fn signed_names(headers: &Headers) -> String {
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    names.join(";")
}

#[cfg(test)]
mod tests;
