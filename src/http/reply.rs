//! Responses on the wire. Head and small body leave in one write; a longer body leaves from the buffer of
//! its reader, a piece at a time.

use std::io::{BufRead, ErrorKind, Write as _};
use std::time::SystemTime;

use super::incoming::Wire;
use super::limits::HEAD_KEPT_BYTES_MAX;
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
        ResponseBody::Stream { length: 0, .. } => send_head(to, out),
        ResponseBody::Stream { length, reader } => send_stream(to, out, length, reader),
    };
    // What follows is not waited for.
    drop(outgoing);
    if out.capacity() > HEAD_KEPT_BYTES_MAX {
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
        // A value may have tabs (RFC 9110 section 5.5).
        let is_clean = |byte: u8| !byte.is_ascii_control();
        let clean = !name.is_empty()
            && name.bytes().all(is_clean)
            && value.bytes().all(|byte| is_clean(byte) || byte == b'\t');
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

/// Writes a head, if it has not been written, and bytes of the body. Returns how many of these were.
fn write_counted(to: &mut Outgoing<'_>, head: &[u8], body: &[u8]) -> Result<u64, u64> {
    match to.write_both(head, body) {
        Ok(()) => Ok(body.len() as u64),
        Err(written) => Err(written.saturating_sub(head.len()) as u64),
    }
}

fn send_bytes(to: &mut Outgoing<'_>, head: &[u8], bytes: &[u8]) -> Sent {
    let written = write_counted(to, head, bytes);
    let (Ok(body_bytes) | Err(body_bytes)) = written;
    Sent { body_bytes, complete: written.is_ok() }
}

fn send_stream(
    to: &mut Outgoing<'_>,
    mut head: &[u8],
    length: u64,
    mut reader: Box<dyn BufRead + Send>,
) -> Sent {
    let mut body_bytes = 0;
    while body_bytes < length {
        let ready = match next_piece(reader.as_mut()) {
            Ok(ready) => ready,
            Err(cut) => {
                // Of a body that is cut on purpose the client gets to see the head.
                if cut {
                    send_head(to, head);
                }
                return Sent { body_bytes, complete: false };
            }
        };
        let left = usize::try_from(length - body_bytes).unwrap_or(usize::MAX);
        let piece = &ready[..ready.len().min(left)];
        match write_counted(to, head, piece) {
            Ok(count) => body_bytes += count,
            Err(count) => return Sent { body_bytes: body_bytes + count, complete: false },
        }
        let count = piece.len();
        reader.consume(count);
        head = &[];
    }
    Sent { body_bytes, complete: true }
}

/// What the reader has ready. Fails at the body's end, which comes too early here, and otherwise says whether
/// the body is cut on purpose (`ConnectionAborted`).
fn next_piece(reader: &mut dyn BufRead) -> Result<&[u8], bool> {
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.kind() == ErrorKind::ConnectionAborted),
        }
    }
    // Asked again, because a borrow that is returned from inside a loop would last as long as the loop.
    match reader.fill_buf() {
        Ok(ready) if !ready.is_empty() => Ok(ready),
        _ => Err(false),
    }
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
        let response = Response::new(200)
            .header("x-a", "b\r\nx-evil: 1")
            .header("x-\tb", "d")
            .header("x-c", "d\te")
            .header("Date", "then");
        assert_eq!(
            head(&response, false, false),
            "HTTP/1.1 200 OK\r\nx-c: d\te\r\nDate: then\r\nContent-Length: 0\r\n\r\n"
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
