//! Server access logs: a line for every request to a bucket whose owner asked for it, delivered as
//! objects into the bucket that the owner chose.
//!
//! Lines are made when answers have left and go through a bounded queue to one thread, which gathers
//! them by bucket and puts a file when a bucket has waited long enough or has enough lines, and at the
//! end of the server. As S3 says of its own, delivery is best effort: when the queue is full, lines are
//! dropped and counted, and requests never wait for the log.
//!
//! Source: S3 user guide, "Amazon S3 server access log format".

use crate::codec::clock::Millis;
use crate::codec::time::Civil;
use crate::codec::{hex, random, uri};
use crate::error::{Error, Result};
use crate::http::{Body, Headers, Method, Response};
use crate::log::{Level, Log};
use crate::model::acl::{Grant, Grantee};
use crate::model::lifecycle::DAY_MS;
use crate::model::logging::{LoggingConfiguration, Partition};
use crate::model::{BucketName, ObjectKey};
use crate::ops::internal::Internal;
use crate::ops::service::{Bucket, Service};
use crate::ops::{Operation, Scope, logging, object_put};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines that may wait for the thread.
const QUEUE_LINES_MAX: usize = 8_192;

/// The longest text in a quoted field, in bytes; the rest is cut.
const QUOTED_BYTES_MAX: usize = 2_048;

/// A file is put when it has this many bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// All files are put when they have this many bytes together.
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A file is put this long after its first line.
pub const DELIVERY_DELAY: Duration = Duration::from_secs(5);

/// How long a call that delivers now waits for the thread.
const DELIVER_NOW_MAX: Duration = Duration::from_secs(30);

/// What puts the files. The name is that of the request it stands for.
static DELIVER: Operation = Operation {
    name: "PutObject",
    method: Method::Put,
    scope: Scope::Object,
    sub: "",
    header: None,
    action: "s3:PutObject",
    run: object_put::put,
};

/// A request as the log shows it. What is unknown is empty and shown as `-`.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Canonical id of the bucket's owner.
    pub bucket_owner: String,
    /// The bucket.
    pub bucket: String,
    /// When the request was received.
    pub time: Millis,
    /// The client's address.
    pub remote_ip: Option<IpAddr>,
    /// Canonical id of the account, or the user's ARN.
    pub requester: String,
    /// The request's id.
    pub request_id: String,
    /// The operation: `REST.PUT.OBJECT`.
    pub operation: String,
    /// The key, not encoded.
    pub key: String,
    /// The request line.
    pub request_uri: String,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The error code, if the answer is an error.
    pub error_code: &'static str,
    /// Bytes of the answer's body that were sent.
    pub bytes_sent: u64,
    /// The size of the object.
    pub object_size: Option<u64>,
    /// Until the last byte of the answer was sent, in milliseconds.
    pub total_ms: Option<u64>,
    /// Until the answer was ready, in milliseconds.
    pub turn_around_ms: Option<u64>,
    /// The `Referer` header.
    pub referer: String,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The version that was named or made.
    pub version_id: String,
    /// `SigV2` or `SigV4`.
    pub signature_version: &'static str,
    /// `AuthHeader` or `QueryString`.
    pub authentication: &'static str,
    /// The cipher suite, by OpenSSL's name.
    pub cipher_suite: &'static str,
    /// The version of TLS: `1.2` or `1.3`.
    pub tls_version: &'static str,
    /// The `Host` header.
    pub host: String,
    /// Whether the request was let through by an access control list and nothing else.
    pub acl_required: bool,
}

impl Record {
    /// The line, with its end.
    pub fn line(&self) -> String {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let fields = [
            self.bucket_owner.clone(),
            self.bucket.clone(),
            bracketed(self.time),
            self.remote_ip.map_or("-".to_owned(), |address| address.to_string()),
            or_dash(&self.requester),
            self.request_id.clone(),
            self.operation.clone(),
            or_dash(&uri::encode_path(&self.key)),
            quoted(&self.request_uri),
            number(self.status.map(u64::from)),
            or_dash(self.error_code),
            number(Some(self.bytes_sent).filter(|bytes| *bytes > 0)),
            number(self.object_size),
            number(self.total_ms),
            number(self.turn_around_ms),
            quoted(&self.referer),
            quoted(&self.user_agent),
            or_dash(&self.version_id),
            self.request_id.clone(),
            or_dash(self.signature_version),
            or_dash(self.cipher_suite),
            or_dash(self.authentication),
            or_dash(&self.host),
            if self.tls_version.is_empty() { "-".to_owned() } else { format!("TLSv{}", self.tls_version) },
            "-".to_owned(), // access point
            if self.acl_required { "Yes".to_owned() } else { "-".to_owned() },
            "-".to_owned(), // the region that the request came from
        ];
        let mut line = fields.join(" ");
        line.push('\n');
        line
    }
}

/// `[06/Feb/2019:00:00:38 +0000]`.
fn bracketed(time: Millis) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_millis(time);
    let month = MONTHS[usize::try_from(month).map_or(0, |month| month.saturating_sub(1)) % MONTHS.len()];
    format!("[{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000]")
}

/// A field in quotation marks. What could end the field or the line is percent-encoded, so that no
/// client writes lines of its own.
fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "\"-\"".to_owned();
    }
    let mut quoted = String::from('"');
    for character in text.chars() {
        if quoted.len() >= QUOTED_BYTES_MAX {
            break;
        }
        if character == '"' || character.is_control() {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                let _ = write!(quoted, "%{byte:02X}");
            }
        } else {
            quoted.push(character);
        }
    }
    quoted.push('"');
    quoted
}

/// The name of an operation in the log: `REST.GET.OBJECT`, or `WEBSITE.GET.OBJECT`.
pub fn operation_name(operation: &Operation, website: bool) -> String {
    if website {
        return format!("WEBSITE.{}.OBJECT", operation.method.as_str());
    }
    let object = operation.scope == Scope::Object;
    let method = if operation.header.is_some() { "COPY" } else { operation.method.as_str() };
    let resource = match operation.sub {
        "" if operation.scope == Scope::Service => "SERVICE",
        "" if object => "OBJECT",
        "" => "BUCKET",
        "acl" => "ACL",
        "delete" => "MULTI_OBJECT_DELETE",
        "logging" => "LOGGING_STATUS",
        "policy" => "BUCKETPOLICY",
        "versions" => "BUCKETVERSIONS",
        "tagging" if object => "OBJECT_TAGGING",
        "attributes" => "OBJECT_ATTRIBUTES",
        "object-lock" => "OBJECT_LOCK_CONFIGURATION",
        "torrent" => "OBJECT_TORRENT",
        "restore" => "OBJECT_RESTORE",
        "policyStatus" => "BUCKET_POLICY_STATUS",
        "publicAccessBlock" => "PUBLIC_ACCESS_BLOCK",
        "requestPayment" => "REQUEST_PAYMENT",
        "ownershipControls" => "OWNERSHIP_CONTROLS",
        "uploadId" if operation.method == Method::Put => "PART",
        "uploadId" => "UPLOAD",
        other => return format!("REST.{method}.{}", other.to_ascii_uppercase().replace('-', "_")),
    };
    format!("REST.{method}.{resource}")
}

/// How a request was signed, as the log says it: the version of the signature and where it stood.
pub fn credentials(headers: &Headers, query: &str) -> (&'static str, &'static str) {
    match headers.get("authorization") {
        Some(value) if value.starts_with("AWS4-") => ("SigV4", "AuthHeader"),
        Some(value) if value.starts_with("AWS ") => ("SigV2", "AuthHeader"),
        _ if query.contains("X-Amz-Signature=") => ("SigV4", "QueryString"),
        _ if query.contains("Signature=") => ("SigV2", "QueryString"),
        _ => ("", ""),
    }
}

/// A request line. The signature of a presigned request, which may still open the door, is left out.
pub fn request_line(method: Method, path: &str, query: &str) -> String {
    let shown = |parameter: &str| match parameter.split_once('=') {
        Some((name @ ("X-Amz-Signature" | "Signature"), _)) => format!("{name}=..."),
        _ => parameter.to_owned(),
    };
    let query: Vec<String> = query.split('&').map(shown).collect();
    let mark = if query.iter().all(String::is_empty) { "" } else { "?" };
    format!("{} {path}{mark}{} HTTP/1.1", method.as_str(), query.join("&"))
}

/// The size of the object that a request read or wrote, as far as head and answer tell.
pub fn object_size(operation: &Operation, response: &Response, headers: &Headers) -> Option<u64> {
    if !(200..300).contains(&response.status) {
        return None;
    }
    match operation.name {
        "GetObject" | "HeadObject" => match response.header_value("content-range") {
            Some(range) => range.rsplit('/').next()?.parse().ok(),
            None => Some(response.body.length()),
        },
        "PutObject" | "UploadPart" => {
            let decoded = headers.get("x-amz-decoded-content-length");
            decoded.or_else(|| headers.get("content-length"))?.parse().ok()
        }
        _ => None,
    }
}

/// What the thread is told.
enum Message {
    /// A line of a bucket's log.
    Line(Arc<Bucket>, Millis, String),
    /// Deliver everything and say what was delivered.
    Deliver(Sender<Delivered>),
}

/// What a delivery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// Files that were put.
    pub files: u64,
    /// Lines in them.
    pub lines: u64,
    /// Lines that were dropped since the start: because the queue was full, or because their target
    /// would not take them.
    pub dropped: u64,
}

/// The way into the log. Requests hold it; without a thread at the other end lines go nowhere.
#[derive(Debug)]
pub struct AccessLog {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Default for AccessLog {
    fn default() -> AccessLog {
        let (sender, receiver) = bounded(QUEUE_LINES_MAX);
        AccessLog { sender, receiver, dropped: Arc::default() }
    }
}

impl AccessLog {
    /// Adds a line to the log of a bucket, which must have asked for one.
    pub fn write(&self, bucket: Arc<Bucket>, record: &Record) {
        if self.sender.try_send(Message::Line(bucket, record.time, record.line())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Delivers now all lines that were written before; `None` when the thread does not answer.
    pub fn deliver_now(&self) -> Option<Delivered> {
        let (answer, answered) = bounded(1);
        self.sender.send_timeout(Message::Deliver(answer), DELIVER_NOW_MAX).ok()?;
        answered.recv_timeout(DELIVER_NOW_MAX).ok()
    }
}

/// The thread that delivers.
pub struct Runner {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(service: Arc<Service>, log: Arc<Log>) -> std::io::Result<Runner> {
        let (stop, stopped) = bounded(0);
        let messages = service.access_log.receiver.clone();
        let dropped = service.access_log.dropped.clone();
        let run = move || Deliverer { service, log, dropped, files: HashMap::new() }.run(&messages, &stopped);
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(run)?;
        Ok(Runner { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Runner {
    /// Delivers what is in the queue, and ends.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The file that lines go to: of one bucket, as it was configured, and of one day where that matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FileName {
    source: BucketName,
    target: String,
    prefix: String,
    day: Option<u64>,
}

/// Lines that wait for delivery.
struct File {
    source: Arc<Bucket>,
    logging: LoggingConfiguration,
    event: Millis,
    since: Instant,
    lines: u64,
    text: String,
}

struct Deliverer {
    service: Arc<Service>,
    log: Arc<Log>,
    dropped: Arc<AtomicU64>,
    files: HashMap<FileName, File>,
}

impl Deliverer {
    fn run(mut self, messages: &Receiver<Message>, stopped: &Receiver<()>) {
        loop {
            let timeout = self.until_next();
            crossbeam_channel::select! {
                recv(messages) -> message => if let Ok(message) = message { self.take(message) },
                recv(stopped) -> _ => break,
                default(timeout) => {}
            }
            self.deliver(&|file| file.since.elapsed() >= DELIVERY_DELAY || file.text.len() >= FILE_BYTES_MAX);
            if self.files.values().map(|file| file.text.len()).sum::<usize>() >= PENDING_BYTES_MAX {
                self.deliver(&|_| true);
            }
        }
        while let Ok(message) = messages.try_recv() {
            self.take(message);
        }
        self.deliver(&|_| true);
    }

    /// How long until a file must be put.
    fn until_next(&self) -> Duration {
        let left = |file: &File| DELIVERY_DELAY.saturating_sub(file.since.elapsed());
        self.files.values().map(left).min().unwrap_or(DELIVERY_DELAY)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(source, time, line) => self.add(source, time, &line),
            Message::Deliver(answer) => {
                // Who asked may have gone; then nobody needs to know.
                let _ = answer.send(self.deliver(&|_| true));
            }
        }
    }

    fn add(&mut self, source: Arc<Bucket>, time: Millis, line: &str) {
        let Some(logging) = source.record.logging.clone() else { return };
        let name = FileName {
            source: source.name.clone(),
            target: logging.target_bucket.clone(),
            prefix: logging.target_prefix.clone(),
            day: logging.is_by_day().then_some(time / DAY_MS),
        };
        let file = self.files.entry(name).or_insert_with(|| File {
            source,
            logging,
            event: time,
            since: Instant::now(),
            lines: 0,
            text: String::new(),
        });
        file.lines += 1;
        file.text.push_str(line);
    }

    /// Puts the files that are chosen. What cannot be put is dropped.
    fn deliver(&mut self, chosen: &dyn Fn(&File) -> bool) -> Delivered {
        let mut delivered = Delivered::default();
        let names: Vec<FileName> =
            self.files.iter().filter(|(_, file)| chosen(file)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(file) = self.files.remove(&name) else { continue };
            match self.put(&file) {
                Ok(()) => {
                    delivered.files += 1;
                    delivered.lines += file.lines;
                }
                Err(error) => self.drop_file(&file, &error),
            }
        }
        delivered.dropped = self.dropped.load(Ordering::Relaxed);
        delivered
    }

    fn drop_file(&self, file: &File, error: &Error) {
        self.dropped.fetch_add(file.lines, Ordering::Relaxed);
        let fields = [
            ("bucketName", file.source.name.as_str().into()),
            ("targetBucket", file.logging.target_bucket.as_str().into()),
            ("code", error.code().name.into()),
            ("cause", error.log_cause().unwrap_or(error.message()).into()),
        ];
        self.log.write(Level::Warn, "an access log could not be delivered", &fields);
    }

    fn put(&self, file: &File) -> Result<()> {
        let account = self.service.accounts().by_canonical_id(&file.source.record.owner);
        let partition = Partition {
            account: account.map_or("", |account| &account.short_id),
            region: &file.source.record.location,
            bucket: file.source.name.as_str(),
        };
        let unique = hex(&random::<8>()).to_ascii_uppercase();
        let key = file.logging.key(partition, file.event, self.service.clock.now(), &unique);
        let target = logging::open_target(&self.service, &file.source, &file.logging, &key)?;
        let mut headers = Headers::new();
        headers.push("content-length", &file.text.len().to_string());
        headers.push("content-type", "text/plain");
        if !target.record.acls_disabled() {
            push_grants(&mut headers, &target.record.owner, &file.logging.target_grants);
        }
        let key = Some(ObjectKey::parse(&key)?);
        let request = Internal::new(&self.service, &DELIVER, target, key, headers);
        let body = Body::new(Some(file.text.len() as u64), Box::new(file.text.as_bytes()));
        object_put::put(&request.context(&self.service), body).map(|_| ())
    }
}

/// The grants of a log file as headers: everything for the owner, the rest as configured.
fn push_grants(headers: &mut Headers, owner: &str, grants: &[Grant]) {
    if grants.is_empty() {
        return;
    }
    headers.push("x-amz-grant-full-control", &format!("id=\"{owner}\""));
    for grant in grants {
        let grantee = match &grant.grantee {
            Grantee::Account(id) => format!("id=\"{id}\""),
            Grantee::Group(group) => format!("uri=\"{}\"", group.uri()),
        };
        headers.push(grant.permission.grant_header(), &grantee);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::table::OPERATIONS;

    #[test]
    fn a_line_has_the_fields_of_s3_in_order() {
        let record = Record {
            bucket_owner: "owner".to_owned(),
            bucket: "abc".to_owned(),
            time: 1_549_411_238_000,
            remote_ip: Some(IpAddr::from([192, 0, 2, 3])),
            request_id: "3E57".to_owned(),
            operation: "REST.GET.OBJECT".to_owned(),
            key: "a b/é".to_owned(),
            request_uri: "GET /abc/a%20b HTTP/1.1".to_owned(),
            status: Some(200),
            bytes_sent: 113,
            object_size: Some(113),
            total_ms: Some(7),
            turn_around_ms: Some(5),
            user_agent: "x\" y\r\nfake".to_owned(),
            signature_version: "SigV4",
            authentication: "AuthHeader",
            cipher_suite: "ECDHE-RSA-AES128-GCM-SHA256",
            tls_version: "1.2",
            host: "localhost".to_owned(),
            acl_required: true,
            ..Record::default()
        };
        assert_eq!(
            record.line(),
            "owner abc [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - 3E57 REST.GET.OBJECT a%20b/%C3%A9 \
             \"GET /abc/a%20b HTTP/1.1\" 200 - 113 113 7 5 \"-\" \"x%22 y%0D%0Afake\" - 3E57 SigV4 \
             ECDHE-RSA-AES128-GCM-SHA256 AuthHeader localhost TLSv1.2 - Yes -\n"
        );
        assert!(Record::default().line().ends_with(" - - - - - - -\n"), "nothing of TLS on plain HTTP");
        let long = Record { user_agent: "é".repeat(QUOTED_BYTES_MAX), ..Record::default() };
        assert!(long.line().len() < QUOTED_BYTES_MAX + 256);
    }

    #[test]
    fn signatures_do_not_get_into_the_log() {
        let line = |query| request_line(Method::Get, "/abc/k", query);
        assert_eq!(line(""), "GET /abc/k HTTP/1.1");
        assert_eq!(line("acl"), "GET /abc/k?acl HTTP/1.1");
        assert_eq!(line("X-Amz-Signature=f00&x=1"), "GET /abc/k?X-Amz-Signature=...&x=1 HTTP/1.1");
        let headers = Headers::new();
        assert_eq!(credentials(&headers, "a=b&X-Amz-Signature=f00"), ("SigV4", "QueryString"));
        assert_eq!(credentials(&headers, "Signature=f00"), ("SigV2", "QueryString"));
        assert_eq!(credentials(&headers, ""), ("", ""));
    }

    #[test]
    fn operations_have_the_names_of_s3() {
        let name = |operation: &str| {
            let row = OPERATIONS.iter().find(|row| row.name == operation).expect("in the table");
            operation_name(row, false)
        };
        for (operation, expected) in [
            ("ListBuckets", "REST.GET.SERVICE"),
            ("ListObjects", "REST.GET.BUCKET"),
            ("HeadObject", "REST.HEAD.OBJECT"),
            ("CopyObject", "REST.COPY.OBJECT"),
            ("UploadPart", "REST.PUT.PART"),
            ("UploadPartCopy", "REST.COPY.PART"),
            ("CreateMultipartUpload", "REST.POST.UPLOADS"),
            ("CompleteMultipartUpload", "REST.POST.UPLOAD"),
            ("DeleteObjects", "REST.POST.MULTI_OBJECT_DELETE"),
            ("GetBucketVersioning", "REST.GET.VERSIONING"),
            ("GetBucketLogging", "REST.GET.LOGGING_STATUS"),
        ] {
            assert_eq!(name(operation), expected, "{operation}");
        }
    }
}
