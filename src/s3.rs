//! What a request goes through, from its complete head to the last byte of its answer.
//!
//! One function to read (`S3::answer`): resolve the target, find the row of the operations table,
//! authenticate, load the bucket, decide access, run the operation. Around it a request id, a panic
//! fence, the headers of every answer, and one log line.

use crate::access_log::{self, Record};
use crate::auth::keys::SigningKeyCache;
use crate::auth::{self, Authenticated, Identity};
use crate::codec::clock::Millis;
use crate::codec::read_buffered;
use crate::codec::uri::Query;
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, RETRY_AFTER_SECONDS, Result};
use crate::http::{
    Body, Encryption, Handler, Headers, Method, Refusal, Request, Response, ResponseBody, Sent,
};
use crate::log::{Field, Level, Log};
use crate::metrics;
use crate::model::BucketName;
use crate::ops::service::{Bucket, Service, request_id};
use crate::ops::target::{Hosts, Target};
use crate::ops::website_serving::Visit;
use crate::ops::{
    Context, Operation, Proof, ProofPlace, access, admin, checksum, cors, logged, request_payment, route,
    unbuilt, website_serving,
};
use crate::redact;
use std::cell::Cell;
use std::io::{BufRead, Read};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The name in the `Server` header. Without a version, which would only help an attacker.
const SERVER: &str = "s3pail";

/// The S3 service as an HTTP handler.
pub struct S3 {
    service: Arc<Service>,
    settings: auth::Settings,
    keys: SigningKeyCache,
    log: Arc<Log>,
}

/// What the log line of a request says.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) operation: Option<&'static str>,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) access_key: Option<String>,
    code: Option<&'static str>,
    cause: Option<String>,
    pub(crate) health: bool,
    /// The bucket that the request was let to see, for its access log.
    source: Option<Arc<Bucket>>,
    /// The operation's name in access logs.
    logged_as: Option<&'static Operation>,
    /// Canonical id of the account, or the user's ARN.
    pub(crate) requester: Option<String>,
    /// When the request was received.
    pub(crate) received: Millis,
    /// Whether a grant of an access control list was needed.
    acl_required: bool,
    /// Whether it was asked of a website, which access logs tell apart.
    website: bool,
}

/// The parts of a request that outlive its body.
struct Head {
    method: Method,
    path: String,
    query: String,
    headers: Headers,
    peer: Option<SocketAddr>,
    encryption: Option<Encryption>,
    /// Who the request acts for, when it is the server's own and nobody signed it.
    acting: Option<Identity>,
}

impl S3 {
    /// A handler over a service.
    pub fn new(service: Arc<Service>, log: Arc<Log>) -> S3 {
        let settings = service.config.auth_settings();
        S3 { service, settings, keys: SigningKeyCache::new(), log }
    }

    /// The shared state.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    fn answer(&self, head: &mut Head, body: Body<'_>, id: &str, facts: &mut Facts) -> Result<Response> {
        if let Some(response) = self.internal(head, facts) {
            return response;
        }
        let hosts = Hosts { known: &self.service.hosts, strict: self.service.config.strict_hosts };
        if let Some(refusal) = unbuilt::refusal_of_path(&head.path) {
            return Err(refusal);
        }
        let target = Target::resolve(head.headers.get("host"), &head.path, &hosts)?;
        facts.bucket = target.bucket.as_ref().map(ToString::to_string);
        facts.key = target.key.as_ref().map(ToString::to_string);
        if head.method == Method::Options {
            facts.operation = Some("PreflightRequest");
            return cors::preflight(&self.service, &target, &head.headers);
        }
        if website_serving::is_website(&self.service, &target) {
            return Ok(self.serve_website(head, &target, id, facts));
        }
        let query = Query::parse(&head.query).ok_or_else(|| Error::new(Code::InvalidURI))?;
        let operation = route(head.method, &target, &query, &head.headers)?;
        facts.operation = Some(operation.name);
        facts.logged_as = Some(operation);
        let now = self.service.clock.now();
        let authenticated = self.authenticate(head, &target, now, body)?;
        facts.access_key = authenticated.identity.access_key().map(str::to_owned);
        facts.requester = logged::requester(&authenticated.identity);
        if authenticated.signed_query {
            take_over_parameters(&query, &mut head.headers);
        }
        let bucket = match &target.bucket {
            Some(name) if operation.name != "CreateBucket" => Some(self.service.bucket(name)?),
            _ => None,
        };
        facts.source.clone_from(&bucket);
        let place = if authenticated.signed_query { ProofPlace::Query } else { ProofPlace::Header };
        let proof = Proof { version: authenticated.signature_version, place };
        let Authenticated { identity, body, trailers, .. } = authenticated;
        let ctx = Context {
            service: &self.service,
            operation,
            target: &target,
            query: &query,
            headers: &head.headers,
            identity: &identity,
            proof,
            trailers: &trailers,
            request_id: id,
            now,
            peer: head.peer,
            secure: head.encryption.is_some(),
            encryption: head.encryption,
            bucket,
            acl_required: Cell::default(),
        };
        let outcome = access::authorize(&ctx).and_then(|()| (operation.run)(&ctx, body));
        let outcome = outcome.map_err(|error| name_missing_key(&ctx, error));
        facts.acl_required = ctx.acl_required.get();
        let mut response = outcome?;
        request_payment::acknowledge(&ctx, &mut response);
        Ok(response)
    }

    fn serve_website(&self, head: &Head, target: &Target, id: &str, facts: &mut Facts) -> Response {
        facts.operation = Some("WebsiteRequest");
        facts.logged_as = Some(website_serving::read_operation(head.method));
        facts.website = true;
        let (response, error) = website_serving::serve(&Visit {
            service: &self.service,
            target,
            method: head.method,
            headers: &head.headers,
            request_id: id,
            now: self.service.clock.now(),
            peer: head.peer,
            encryption: head.encryption,
        });
        facts.code = error.as_ref().map(|error| error.code().name);
        facts.cause = error.as_ref().and_then(|error| error.log_cause().map(str::to_owned));
        response
    }

    fn authenticate<'a>(
        &self,
        head: &Head,
        target: &Target,
        now: u64,
        body: Body<'a>,
    ) -> Result<Authenticated<'a>> {
        if let Some(identity) = &head.acting {
            return Ok(auth::vouched(identity.clone(), body));
        }
        let signed =
            auth::Head { method: head.method, path: &head.path, query: &head.query, headers: &head.headers };
        let host_bucket = match &target.bucket {
            Some(bucket) if target.virtual_host => Some(bucket.as_str()),
            _ => None,
        };
        auth::authenticate(
            self.service.accounts(),
            &self.settings,
            &self.keys,
            now,
            &signed,
            host_bucket,
            body,
        )
    }

    /// Answers the paths that are not S3's. A bucket may be called `live`, so a path that could be a
    /// bucket is only taken from requests without a signature.
    fn internal(&self, head: &Head, facts: &mut Facts) -> Option<Result<Response>> {
        let answer = match head.path.as_str() {
            "/live" | "/ready" | "/metrics" if !self.is_probe(head) => return None,
            // To whom the figures are not shown, the path is a bucket like any other.
            "/metrics" if head.method != Method::Post => Ok(admin::metrics(&self.service, head.peer)?),
            "/metrics" => return None,
            "/live" => Ok(admin::live(&self.service, head.peer)),
            "/ready" => Ok(admin::ready(&self.service)),
            path if path.starts_with("/_/") => {
                admin::internal(&self.service, head.method, path, &head.query, head.peer)
            }
            _ => return None,
        };
        facts.health = answer.is_ok();
        Some(answer)
    }

    /// Whether a request for `/live`, `/ready` or `/metrics` is about the server, and not about the bucket or
    /// the key of that name: it has no signature, is not an upload from an HTML form (which is signed in its
    /// body), and its host names no bucket.
    fn is_probe(&self, head: &Head) -> bool {
        let signed = head.headers.has("authorization") || !head.query.is_empty();
        let kind = head.headers.get("content-type");
        let form = kind.is_some_and(|kind| kind.starts_with("multipart/form-data"));
        let asks = matches!(head.method, Method::Get | Method::Head | Method::Post);
        let hosts = Hosts { known: &self.service.hosts, strict: false };
        let of_bucket = || {
            Target::resolve(head.headers.get("host"), "/", &hosts).is_ok_and(|target| target.bucket.is_some())
        };
        asks && !signed && !form && !of_bucket()
    }

    /// Adds a request to the statistics. Those of the server's own paths are none of its clients'.
    fn count(&self, facts: &Facts, status: u16) {
        if let Some(statistics) = self.service.statistics.as_ref().filter(|_| !facts.health) {
            statistics.count(self.service.clock.now(), status);
        }
    }

    /// Adds what every answer carries.
    fn finish(&self, mut response: Response, id: &str) -> Response {
        response.push_header("Server", SERVER);
        response.push_header("x-amz-request-id", id.to_owned());
        response.push_header("x-amz-id-2", id.to_owned());
        response
    }

    /// The line in the access log of the bucket, if its owner asked for one.
    fn access_record(
        &self,
        response: &Response,
        head: &Head,
        id: &str,
        facts: &Facts,
        started: Instant,
    ) -> Option<(Arc<Bucket>, Record)> {
        let operation = facts.logged_as?;
        // Who was refused before the bucket was looked at is in its log all the same.
        let bucket = match &facts.source {
            Some(bucket) => bucket.clone(),
            None => self.service.find_bucket(&BucketName::parse(facts.bucket.as_deref()?).ok()?).ok()??,
        };
        bucket.record.logging.as_ref()?;
        let header = |name: &str| head.headers.get(name).unwrap_or("").to_owned();
        let (signature_version, authentication) = access_log::credentials(&head.headers, &head.query);
        let record = Record {
            bucket_owner: bucket.record.owner.clone(),
            bucket: bucket.name.to_string(),
            time: facts.received,
            remote_ip: head.peer.map(|peer| peer.ip().to_canonical()),
            requester: facts.requester.clone().unwrap_or_default(),
            request_id: id.to_owned(),
            operation: access_log::operation_name(operation, facts.website),
            key: facts.key.clone().unwrap_or_default(),
            request_uri: access_log::request_line(head.method, &head.path, &head.query),
            status: Some(response.status),
            error_code: facts.code.unwrap_or(""),
            object_size: access_log::object_size(operation, response, &head.headers),
            turn_around_ms: Some(millis(started)),
            referer: redact::url(head.headers.get("referer").unwrap_or("")).into_owned(),
            user_agent: header("user-agent"),
            version_id: response.header_value("x-amz-version-id").unwrap_or("").to_owned(),
            signature_version,
            authentication,
            cipher_suite: head.encryption.map_or("", |encryption| encryption.cipher_suite),
            tls_version: head.encryption.map_or("", |encryption| encryption.version),
            host: header("host"),
            acl_required: facts.acl_required,
            ..Record::default()
        };
        Some((bucket, record))
    }

    /// Arranges for the log line of a request, once its answer has left.
    fn log_when_sent(&self, response: &mut Response, head: Head, id: String, facts: Facts, started: Instant) {
        let level = match (facts.health, response.status) {
            (true, _) => Level::Trace,
            (false, 500..) => Level::Error,
            (false, _) => Level::Info,
        };
        let access = self.access_record(response, &head, &id, &facts, started);
        let broken = note_break(response);
        let (log, service) = (self.log.clone(), self.service.clone());
        let status = response.status;
        let version = response.header_value("x-amz-version-id").map(str::to_owned);
        let object_size =
            facts.logged_as.and_then(|row| access_log::object_size(row, response, &head.headers));
        let turn_around = micros(started);
        response.done = Some(Box::new(move |sent: &Sent| {
            let operation = match facts.operation {
                _ if facts.health => metrics::OWN_PATHS,
                operation => operation.unwrap_or(metrics::UNROUTED),
            };
            service.metrics.answered(operation, status, sent.body_bytes, started.elapsed());
            if let Some(code) = facts.code {
                service.metrics.failed(code);
            }
            if let Some((bucket, mut record)) = access {
                record.bytes_sent = sent.body_bytes;
                record.total_ms = Some(millis(started));
                service.access_log.write(bucket, &record);
            }
            // A body that could not be read to its end is the server's failure, whatever the head said.
            let broken = broken.as_ref().and_then(|broken| broken.get());
            let level = if broken.is_some() { Level::Error } else { level };
            if !log.enabled(level) {
                return;
            }
            let cause = broken.or(facts.cause.as_ref());
            let client = head.peer.map(|peer| peer.ip().to_string());
            let header = |name| head.headers.get(name);
            let (query, referer) = (redact::query(&head.query), header("referer").map(redact::url));
            let (signature_version, authentication) = access_log::credentials(&head.headers, &head.query);
            let headers = service.config.log_headers.then(|| redact::headers(&head.headers));
            let present = |text: &'static str| Some(text).filter(|text| !text.is_empty());
            let elapsed = micros(started);
            log.write(
                level,
                "request",
                &[
                    ("req_id", Field::from(&id)),
                    ("clientIP", client.as_ref().into()),
                    ("clientPort", head.peer.map(|peer| peer.port()).into()),
                    ("httpMethod", head.method.as_str().into()),
                    ("httpURL", Field::from(&head.path)),
                    ("httpQuery", Some(&*query).filter(|query| !query.is_empty()).into()),
                    ("host", header("host").into()),
                    ("userAgent", header("user-agent").into()),
                    ("referer", referer.as_deref().into()),
                    ("action", facts.operation.into()),
                    ("bucketName", facts.bucket.as_ref().into()),
                    ("objectKey", facts.key.as_ref().into()),
                    ("versionId", version.as_ref().into()),
                    ("accessKey", facts.access_key.as_ref().into()),
                    ("requester", facts.requester.as_ref().into()),
                    ("signatureVersion", present(signature_version).into()),
                    ("authenticationType", present(authentication).into()),
                    ("httpCode", status.into()),
                    ("code", facts.code.into()),
                    ("bytesSent", sent.body_bytes.into()),
                    ("complete", sent.complete.into()),
                    ("objectSize", object_size.into()),
                    ("turnAround_us", turn_around.into()),
                    ("elapsed_us", elapsed.into()),
                    ("headers", headers.as_ref().into()),
                    ("cause", cause.into()),
                ],
            );
        }));
    }
}

impl Handler for S3 {
    fn handle(&self, request: Request<'_>) -> Response {
        self.respond(request, None, &mut |_, _| {})
    }

    fn refuse(&self, refusal: Refusal, peer: Option<SocketAddr>) -> Response {
        let id = request_id();
        let (status, error) = refused(refusal);
        let mut response = error_response(&error, Method::Get, "", &id);
        response.status = status;
        response.close = true;
        if refusal == Refusal::TooManyConnections {
            response.push_header("Retry-After", RETRY_AFTER_SECONDS);
        }
        let client = peer.map(|peer| peer.ip().to_string());
        let fields = [
            ("req_id", Field::from(&id)),
            ("clientIP", client.as_ref().into()),
            ("httpCode", status.into()),
            ("code", error.code().name.into()),
            ("cause", error.message().into()),
        ];
        self.log.write(Level::Info, "refused", &fields);
        self.service.metrics.refused(status);
        self.service.metrics.failed(error.code().name);
        self.finish(response, &id)
    }
}

impl S3 {
    /// Answers a request, by itself or for `acting`, and shows what it found out about it to `seen`.
    pub(crate) fn respond(
        &self,
        request: Request<'_>,
        acting: Option<Identity>,
        seen: &mut dyn FnMut(&Facts, Option<&Error>),
    ) -> Response {
        let started = Instant::now();
        let Request { method, path, query, headers, peer, encryption, body } = request;
        let mut head = Head { method, path, query, headers, peer, encryption, acting };
        let id = request_id();
        let body = match body.length() {
            Some(0) => body,
            length => body.wrap(length, |reader| self.service.metrics.counting(reader)),
        };
        let mut facts = Facts { received: self.service.clock.now(), ..Facts::default() };
        // One request that panics must not end the worker, let alone the process. Nothing that is
        // shared is left half-changed: stores change in one commit, caches in one insert.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.answer(&mut head, body, &id, &mut facts)))
            .unwrap_or_else(|panic| Err(Error::internal(panic_text(&panic)).close()));
        if let Err(error) = &outcome {
            facts.code = Some(error.code().name);
            facts.cause = error.log_cause().map(str::to_owned);
        }
        seen(&facts, outcome.as_ref().err());
        let response = outcome.unwrap_or_else(|error| error_response(&error, head.method, &head.path, &id));
        let mut response = self.finish(response, &id);
        let found = (facts.bucket.as_deref(), facts.source.as_deref());
        cors::decorate(&self.service, found, head.method, &head.headers, &mut response);
        self.count(&facts, response.status);
        self.log_when_sent(&mut response, head, id, facts, started);
        response
    }
}

/// Makes the reader of a streamed body write down why it failed, if it does.
fn note_break(response: &mut Response) -> Option<Arc<OnceLock<String>>> {
    let ResponseBody::Stream { reader, .. } = &mut response.body else { return None };
    let broken = Arc::new(OnceLock::new());
    let inner = std::mem::replace(reader, Box::new(std::io::empty()));
    *reader = Box::new(Noting { inner, broken: broken.clone() });
    Some(broken)
}

/// Writes down the first failure of a reader.
struct Noting {
    inner: Box<dyn BufRead + Send>,
    broken: Arc<OnceLock<String>>,
}

impl Read for Noting {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        read_buffered(self, out)
    }
}

impl BufRead for Noting {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf().inspect_err(|error| {
            self.broken.get_or_init(|| error.to_string());
        })
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
    }
}

/// The status and the error of a request that the HTTP engine refuses.
fn refused(refusal: Refusal) -> (u16, Error) {
    match refusal {
        Refusal::BadRequest(why) => (400, Error::with_message(Code::BadRequest, why)),
        Refusal::HeadTimeout => (408, Error::new(Code::RequestTimeout)),
        Refusal::RequestLineTooLong => (414, Code::UriTooLong.into()),
        Refusal::HeadersTooLarge => (400, Code::RequestHeaderSectionTooLarge.into()),
        Refusal::UnknownTransferCoding => (501, Code::NotImplemented.into()),
        Refusal::VersionNotSupported => (505, Code::UnsupportedHttpVersion.into()),
        Refusal::TooManyConnections => (503, Code::SlowDown.into()),
    }
}

/// `NoSuchKey` names the key of the request, unless it names another already.
fn name_missing_key(ctx: &Context<'_>, error: Error) -> Error {
    match &ctx.target.key {
        Some(key)
            if error.code() == Code::NoSuchKey && error.fields().iter().all(|(name, _)| *name != "Key") =>
        {
            error.field("Key", key.as_str())
        }
        _ => error,
    }
}

/// Presigned requests may carry what would be `x-amz-*` headers, or conditions on the object, as parameters,
/// where they are signed.
/// Not so checksums of the body: the AWS SDK for JavaScript v3 puts that of an empty body into each URL
/// for an upload, and S3 ignores it.
fn take_over_parameters(query: &Query, headers: &mut Headers) {
    for (name, value) in query.iter() {
        let lower = name.to_ascii_lowercase();
        if (lower.starts_with("x-amz-") || matches!(lower.as_str(), "if-match" | "if-none-match"))
            && !headers.has(&lower)
            && !PRESIGN_PARAMETERS.contains(&lower.as_str())
            && !checksum::is_of_body(&lower)
        {
            headers.push(&lower, value.unwrap_or(""));
        }
    }
}

/// Parameters of the signature itself.
const PRESIGN_PARAMETERS: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}

/// A text of a client's without what XML has no form for (XML 1.0 section 2.2), so that every client can read
/// the error.
fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    match text.chars().all(is_char) {
        true => text.into(),
        false => text.chars().map(|c| if is_char(c) { c } else { char::REPLACEMENT_CHARACTER }).collect(),
    }
}

/// The error body of S3 ("REST error responses" in the API reference). HEAD and 304 have none.
pub fn error_response(error: &Error, method: Method, path: &str, id: &str) -> Response {
    let code = error.code();
    let mut response = Response::new(code.status);
    response.close = error.closes();
    for (name, value) in error.headers() {
        response.push_header(*name, value.clone());
    }
    if method == Method::Head || code.status == 304 {
        return response;
    }
    let mut xml = XmlWriter::bare();
    xml.open("Error");
    xml.element("Code", code.name);
    xml.sentence("Message", &printable(error.message()));
    for (name, value) in error.fields() {
        xml.element(name, &printable(value));
    }
    xml.element("Resource", &printable(path));
    xml.element("RequestId", id);
    xml.element("HostId", id);
    response.push_header("Content-Type", "application/xml");
    // What a client wrote stands in here: no browser is to guess that it is a page.
    response.push_header("X-Content-Type-Options", "nosniff");
    response.body(ResponseBody::Bytes(xml.end("Error")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::xml_reader;

    /// Found by the fuzz target `request`: a bucket called `bucket%00`.
    #[test]
    fn an_error_about_a_name_that_xml_cannot_hold_is_well_formed() {
        for value in ["bucket\0", "\u{1}\u{b}\u{1f}", "\u{ffff}\u{fffe}", "é\u{10ffff}<&"] {
            let error = Error::invalid_argument("x", value, format!("no {value}"));
            let ResponseBody::Bytes(body) = error_response(&error, Method::Get, value, "id").body else {
                panic!("an error has a body");
            };
            assert!(xml_reader::parse(&body).is_ok(), "{}", String::from_utf8_lossy(&body));
        }
    }
}
