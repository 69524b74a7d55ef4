//! The HTTP boundary: what a request and a response are to everything above.
//!
//! Only this folder knows sockets. Everything above sees a [`Request`] with a streaming [`Body`] and
//! answers with a [`Response`], so it can be tested without a network, and so that two engines can
//! stand below: our own HTTP/1.1 connection on `std::net` ([`engine`]) and, behind the feature
//! `tiny-http`, the crate of that name.
//!
//! This folder knows nothing of S3: errors before routing are reported to the [`Handler`] as a
//! [`Refusal`], and the handler words the answer.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;

use socket2::SockRef;

pub mod engine;
pub mod limits;
#[cfg(feature = "tiny-http")]
pub mod tiny;

// The feature decides at compile time which engine serves; both have the same items.
#[cfg(not(feature = "tiny-http"))]
pub use engine as serving;
#[cfg(feature = "tiny-http")]
pub use tiny as serving;

mod connection;
pub mod framing;
pub mod head;
mod incoming;
mod input;
mod outgoing;
mod rate;
mod relief;
mod reply;
mod transport;

/// The request methods that S3 has, and everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// PUT
    Put,
    /// POST
    Post,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// A well-formed method that S3 does not have; answered with 405.
    Other,
}

impl Method {
    /// Reads a method name; names are case-sensitive (RFC 9110 section 9.1).
    pub fn parse(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "PUT" => Method::Put,
            "POST" => Method::Post,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            _ => Method::Other,
        }
    }

    /// The name as it stands in a request line and in a canonical request.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Other => "OTHER",
        }
    }
}

/// Header fields in order of arrival, names in lower case, values without surrounding white space.
///
/// All text lives in one buffer, so a request head costs two allocations whatever its field count.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    text: String,
    fields: Vec<(Range<usize>, Range<usize>)>,
}

impl Headers {
    /// An empty list.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// An empty list with room for that many fields and bytes of text.
    pub fn with_capacity(fields: usize, text_bytes: usize) -> Headers {
        Headers { text: String::with_capacity(text_bytes), fields: Vec::with_capacity(fields) }
    }

    /// Appends a field; the name is put into lower case.
    pub fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        self.text[start..].make_ascii_lowercase();
        let middle = self.text.len();
        self.text.push_str(value);
        self.fields.push((start..middle, middle..self.text.len()));
    }

    /// The first value of `name`, which must be given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Whether a field of this (lower-case) name is present.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every value of `name`, in order of arrival.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(n, _)| *n == name).map(|(_, value)| value)
    }

    /// All fields, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (&self.text[name.clone()], &self.text[value.clone()]))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The version of TLS: `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite, by the name that OpenSSL and S3's access logs give it.
    pub cipher_suite: &'static str,
}

/// A request whose head is complete and whose body has not been read.
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path exactly as sent, percent-encoding untouched, starting with `/` (or `*`).
    pub path: String,
    /// The query exactly as sent, without the `?`; empty when there is none.
    pub query: String,
    /// The header fields.
    pub headers: Headers,
    /// The client's address, where the connection still has one.
    pub peer: Option<SocketAddr>,
    /// How the connection is encrypted; `None` for plain HTTP.
    pub encryption: Option<Encryption>,
    /// The body.
    pub body: Body<'a>,
}

/// A request body that is read at most once, in order, and never held whole by this layer.
///
/// Reading the first byte is what sends `100 Continue` to a client that asked for it, so a request
/// that is refused before its body is looked at never invites the upload.
///
/// Read errors: `UnexpectedEof` when the client stopped early, `TimedOut` when it stalled, `ResourceBusy`
/// when it stalled while workers are short, `InvalidData` when the transfer coding is malformed. Layers above may wrap the reader and pass
/// their own error type through [`io::Error::other`].
pub struct Body<'a> {
    length: Option<u64>,
    reader: Box<dyn Read + 'a>,
}

impl<'a> Body<'a> {
    /// A body of `length` bytes, or of unknown length (`None`, chunked transfer coding).
    pub fn new(length: Option<u64>, reader: Box<dyn Read + 'a>) -> Body<'a> {
        Body { length, reader }
    }

    /// A request without a body.
    pub fn empty() -> Body<'a> {
        Body { length: Some(0), reader: Box::new(io::empty()) }
    }

    /// The declared length in bytes. A claim of the client's: never allocate by it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Replaces the reader by one that decodes it, with the length that the decoded bytes will have.
    pub fn wrap(
        self,
        length: Option<u64>,
        wrap: impl FnOnce(Box<dyn Read + 'a>) -> Box<dyn Read + 'a>,
    ) -> Body<'a> {
        Body { length, reader: wrap(self.reader) }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// Listens on an address. Connections that nobody has accepted wait in a queue of the system, which the standard
/// library makes 128 long: what comes beyond is dropped, tried again after a second or more, and sometimes reset.
///
/// # Errors
/// What the system says.
pub fn listen(address: &SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    SockRef::from(&listener).listen(limits::ACCEPT_QUEUE_MAX)?;
    Ok(listener)
}

/// The body of a response. Its length is always known before the head leaves.
pub enum ResponseBody {
    /// No body. `Content-Length: 0` is sent except where the status forbids it (1xx, 204, 304).
    Empty,
    /// A body in memory.
    Bytes(Vec<u8>),
    /// `length` bytes from a reader, sent in the pieces that it has in its buffer, which are not copied. If
    /// the reader fails or ends early the connection is cut, so that a client never takes a partial body
    /// for a whole one.
    Stream {
        /// Exact number of bytes to send.
        length: u64,
        /// Where they come from.
        reader: Box<dyn BufRead + Send>,
    },
    /// No answer: the connection is dropped without a head, as by a server that has died.
    Dropped,
    /// The answer to HEAD: a `Content-Length` without the bytes.
    Head(u64),
}

impl ResponseBody {
    /// The number of bytes that `Content-Length` announces.
    pub fn length(&self) -> u64 {
        match self {
            ResponseBody::Empty | ResponseBody::Dropped => 0,
            ResponseBody::Bytes(bytes) => bytes.len() as u64,
            ResponseBody::Stream { length, .. } | ResponseBody::Head(length) => *length,
        }
    }
}

/// What became of a response, for the log line.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Body bytes that were handed to the socket.
    pub body_bytes: u64,
    /// Whether head and body left completely.
    pub complete: bool,
}

/// Called once after the response has been written or the connection was lost.
pub type Done = Box<dyn FnOnce(&Sent) + Send>;

/// An answer. `Content-Length`, `Connection` and the framing are the engine's business.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields, in the order they are sent. Values must not contain control characters; the
    /// engine drops a field that does rather than let it split the response.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The body.
    pub body: ResponseBody,
    /// Close the connection after this response.
    pub close: bool,
    /// Called when the response has left.
    pub done: Option<Done>,
}

impl Response {
    /// A response without a body.
    pub fn new(status: u16) -> Response {
        Response {
            status,
            headers: Vec::with_capacity(8),
            body: ResponseBody::Empty,
            close: false,
            done: None,
        }
    }

    /// Appends a header field.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.push_header(name, value);
        self
    }

    /// Appends a header field.
    pub fn push_header(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        self.headers.push((name.into(), value.into()));
    }

    /// Sets the body.
    pub fn body(mut self, body: ResponseBody) -> Response {
        self.body = body;
        self
    }

    /// The first header value of this name, compared without case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }
}

/// The reason phrase of a status; empty for one that S3 does not use.
pub fn reason(status: u16) -> &'static str {
    reply::reason(status)
}

/// Why the engine will not hand a request up. The connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head is not HTTP, or its framing is in doubt (400).
    BadRequest(&'static str),
    /// The head did not arrive in time (408).
    HeadTimeout,
    /// The request line is too long (414).
    RequestLineTooLong,
    /// A header line, all headers, or their count is over the limit (400 here, as S3 does).
    HeadersTooLarge,
    /// A transfer coding other than chunked (501).
    UnknownTransferCoding,
    /// A well-formed version other than HTTP/1.0 and HTTP/1.1 (505).
    VersionNotSupported,
    /// Too many connections (503).
    TooManyConnections,
}

/// What an engine can tell of its connections and workers, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Open connections, without those that are being refused.
    pub open: u64,
    /// Connections that were accepted since the start, refused ones included.
    pub accepted: u64,
    /// Connections that were turned away since the start.
    pub refused: u64,
    /// Worker threads.
    pub workers: u64,
    /// Workers that serve.
    pub busy: u64,
    /// Connections with something to do that wait for a worker.
    pub queued: u64,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Runs on a worker thread; must not panic (the server fences panics).
    fn handle(&self, request: Request<'_>) -> Response;

    /// Words the answer to a request that the engine refuses.
    fn refuse(&self, refusal: Refusal, peer: Option<SocketAddr>) -> Response;
}
