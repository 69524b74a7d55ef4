//! Responses on the wire. Head and small body leave in one write; a longer body goes through one fixed
//! buffer of the worker's.

use std::io::{Read, Write as _};
use std::time::SystemTime;

use super::incoming::Wire;
use super::limits::{SMALL_BODY_BYTES_MAX, STREAM_BYTES};
use super::outgoing::Outgoing;
use super::{Response, ResponseBody, Sent};

/// What the request and the connection demand of a response.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The request was HEAD: no body follows.
    pub head_only: bool,
    /// The connection is closed afterwards.
    pub close: bool,
    /// The client speaks HTTP/1.0 and must be told that the connection stays.
    pub http_1_0: bool,
}

/// The text of the Date field, made once per second.
#[derive(Default)]
pub struct DateCache {
    second: u64,
    text: String,
}

impl DateCache {
    fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(now);
        }
        &self.text
    }
}

/// Sends a response in `out`, a buffer to re-use, and calls its `done`.
pub fn send(
    wire: Wire<'_>,
    response: Response,
    terms: Terms,
    out: &mut Vec<u8>,
    date: &mut DateCache,
) -> Sent {
    out.clear();
    write_head(out, &response, terms, date);
    let mut outgoing = Outgoing::new(wire);
    let to = &mut outgoing;
    let sent = match response.body {
        ResponseBody::Dropped => Sent { body_bytes: 0, complete: false },
        _ if terms.head_only || !allows_body(response.status) => send_head(to, out),
        ResponseBody::Empty => send_head(to, out),
        // A body that was only announced leaves the client waiting, so the connection must go.
        ResponseBody::Head(bytes) => Sent { complete: bytes == 0, ..send_head(to, out) },
        ResponseBody::Bytes(bytes) => send_bytes(to, out, &bytes),
        ResponseBody::Stream { length, reader } => send_stream(to, out, length, reader),
    };
    // What follows is not waited for.
    drop(outgoing);
    if out.capacity() > STREAM_BYTES + SMALL_BODY_BYTES_MAX {
        *out = Vec::new();
    }
    if let Some(done) = response.done {
        done(&sent);
    }
    sent
}

/// Interim responses, 204 and 304 end at their head (RFC 9112 section 6.3).
fn allows_body(status: u16) -> bool {
    status >= 200 && status != 204 && status != 304
}

fn write_head(out: &mut Vec<u8>, response: &Response, terms: Terms, date: &mut DateCache) {
    // Writing to memory cannot fail.
    let _ = write!(out, "HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    let mut dated = false;
    for (name, value) in &response.headers {
        let owned = ["content-length", "transfer-encoding", "connection"];
        let clean =
            !name.is_empty() && !name.bytes().chain(value.bytes()).any(|byte| byte.is_ascii_control());
        if !clean || owned.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            continue;
        }
        dated |= name.eq_ignore_ascii_case("date");
        for part in [name.as_ref(), ": ", value.as_ref(), "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    if !dated {
        let _ = write!(out, "Date: {}\r\n", date.now());
    }
    if let Some(length) = announced_length(response) {
        let _ = write!(out, "Content-Length: {length}\r\n");
    }
    if terms.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if terms.http_1_0 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110 section 8.6: no length with 1xx and 204; with 304 only the one that 200 would have had.
fn announced_length(response: &Response) -> Option<u64> {
    match (response.status, &response.body) {
        (100..=199 | 204, _) | (304, ResponseBody::Empty) => None,
        (_, body) => Some(body.length()),
    }
}

fn send_head(to: &mut Outgoing<'_>, out: &[u8]) -> Sent {
    Sent { body_bytes: 0, complete: to.write_all(out).is_ok() }
}

/// Writes `out`, of which the first `head` bytes are not body, and returns the body bytes written.
fn write_counted(to: &mut Outgoing<'_>, out: &[u8], head: usize) -> Result<u64, u64> {
    match to.write_all(out) {
        Ok(()) => Ok((out.len() - head) as u64),
        Err(written) => Err(written.saturating_sub(head) as u64),
    }
}

fn send_bytes(to: &mut Outgoing<'_>, out: &mut Vec<u8>, bytes: &[u8]) -> Sent {
    let head = out.len();
    let (first, rest) = bytes.split_at(bytes.len().min(SMALL_BODY_BYTES_MAX));
    out.extend_from_slice(first);
    let mut body_bytes = 0;
    for (piece, head) in [(&out[..], head), (rest, 0)] {
        match write_counted(to, piece, head) {
            Ok(count) => body_bytes += count,
            Err(count) => return Sent { body_bytes: body_bytes + count, complete: false },
        }
    }
    Sent { body_bytes, complete: true }
}

fn send_stream(
    to: &mut Outgoing<'_>,
    out: &mut Vec<u8>,
    length: u64,
    mut reader: Box<dyn Read + Send>,
) -> Sent {
    let mut body_bytes = 0;
    let mut head = out.len();
    loop {
        let left = length - body_bytes;
        let room = left.min(STREAM_BYTES as u64) as usize;
        out.resize(head + room, 0);
        let (filled, cut) = read_full(&mut reader, &mut out[head..]);
        // What was read of a failing body is not sent: nobody can use it. A body that is cut on purpose is.
        if filled < room {
            out.truncate(head + if cut { filled } else { 0 });
            let sent = if cut { write_counted(to, out, head) } else { Ok(0) };
            let (Ok(count) | Err(count)) = sent;
            return Sent { body_bytes: body_bytes + count, complete: false };
        }
        match write_counted(to, out, head) {
            Ok(count) => body_bytes += count,
            Err(count) => return Sent { body_bytes: body_bytes + count, complete: false },
        }
        if body_bytes == length {
            return Sent { body_bytes, complete: true };
        }
        head = 0;
    }
}

/// Fills the target and returns how far that went before the end or an error, and whether the error says
/// that the body is cut on purpose (`ConnectionAborted`).
fn read_full(reader: &mut impl Read, target: &mut [u8]) -> (usize, bool) {
    let mut filled = 0;
    while filled < target.len() {
        match reader.read(&mut target[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, error.kind() == std::io::ErrorKind::ConnectionAborted),
        }
    }
    (filled, false)
}

/// The reason phrases of the statuses that S3 uses; a phrase may be empty (RFC 9112 section 4).
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(response: &Response, close: bool, http_1_0: bool) -> String {
        let mut out = Vec::new();
        let terms = Terms { head_only: false, close, http_1_0 };
        write_head(&mut out, response, terms, &mut DateCache::default());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_field_with_control_characters_is_dropped() {
        let response =
            Response::new(200).header("x-a", "b\r\nx-evil: 1").header("x-c", "d").header("Date", "then");
        assert_eq!(
            head(&response, false, false),
            "HTTP/1.1 200 OK\r\nx-c: d\r\nDate: then\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn framing_fields_are_the_engines_business() {
        let response = Response::new(200).header("Content-Length", "9").header("connection", "x");
        let text = head(&response.header("Transfer-Encoding", "chunked"), true, false);
        assert!(text.ends_with("Content-Length: 0\r\nConnection: close\r\n\r\n"), "{text}");
        assert!(!text.contains('9') || !text.contains("chunked"), "{text}");
        assert!(head(&Response::new(200), false, true).contains("Connection: keep-alive"));
    }

    #[test]
    fn lengths_are_announced_where_the_status_allows() {
        for (status, body, announced) in [
            (200, ResponseBody::Empty, Some(0)),
            (200, ResponseBody::Head(7), Some(7)),
            (204, ResponseBody::Empty, None),
            (204, ResponseBody::Bytes(vec![1]), None),
            (304, ResponseBody::Empty, None),
            (304, ResponseBody::Head(7), Some(7)),
            (100, ResponseBody::Empty, None),
        ] {
            assert_eq!(announced_length(&Response::new(status).body(body)), announced, "{status}");
        }
    }
}
