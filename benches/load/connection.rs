//! The client's side of HTTP/1.1: one kept-alive connection, one request at a time, no more parsing
//! than the answers of the servers under test need.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any server under test takes, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(120);
const BUFFER_BYTES: usize = 64 * 1024;
/// What is kept of a body that nobody looks at, for error messages.
const EXCERPT_BYTES: usize = 300;

/// A connection, opened again whenever the server closed it.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    filled: usize,
    head: Vec<u8>,
    /// How often it was opened.
    pub opened: u64,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Bytes of body that were read.
    pub body_bytes: u64,
    /// The announced length, where there was one: the body's, but for HEAD.
    pub length: Option<u64>,
    /// The entity tag with its quotes, where there was one.
    pub etag: Option<String>,
    /// The beginning of the body.
    pub excerpt: Vec<u8>,
}

impl Answer {
    /// An error with status and excerpt unless the status is 2xx.
    pub fn check(self) -> io::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let excerpt = String::from_utf8_lossy(&self.excerpt).into_owned();
        Err(io::Error::other(format!("status {}: {excerpt}", self.status)))
    }
}

impl Connection {
    /// Nothing is opened before the first request.
    pub fn new(address: SocketAddr) -> Self {
        Connection {
            address,
            stream: None,
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            head: Vec::new(),
            opened: 0,
        }
    }

    /// Sends one request whose body is at hand and hands the answer's body to `on_body` in pieces.
    /// `headers` are complete lines; Content-Length is added for PUT and POST.
    pub fn call(
        &mut self,
        (method, path_and_query): (&str, &str),
        headers: &str,
        body: &[u8],
        on_body: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Answer> {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        write!(head, "{method} {path_and_query} HTTP/1.1\r\n{headers}")?;
        if matches!(method, "PUT" | "POST") {
            write!(head, "Content-Length: {}\r\n", body.len())?;
        }
        head.extend_from_slice(b"\r\n");
        // One write for head and body: two would wait for each other's acknowledgement.
        head.extend_from_slice(body);
        let answer = self.stream().and_then(|mut stream| stream.write_all(&head));
        self.head = head;
        let answer = answer.and_then(|()| self.answer(method, on_body));
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    /// Sends a PUT whose body is the same block again and again, cut off at `length`.
    pub fn put_repeated(
        &mut self,
        path: &str,
        headers: &str,
        block: &[u8],
        length: u64,
    ) -> io::Result<Answer> {
        let answer =
            self.send_repeated(path, headers, block, length).and_then(|()| self.answer("PUT", &mut |_| {}));
        if answer.is_err() {
            // What still comes would be taken for the answer to the next request.
            self.stream = None;
        }
        answer
    }

    fn send_repeated(&mut self, path: &str, headers: &str, block: &[u8], length: u64) -> io::Result<()> {
        let head = format!("PUT {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n");
        let mut stream = self.stream()?;
        stream.write_all(head.as_bytes())?;
        let mut rest = length;
        while rest > 0 {
            let piece = block.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            stream.write_all(&block[..piece])?;
            rest -= piece as u64;
        }
        Ok(())
    }

    fn stream(&mut self) -> io::Result<&TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            (self.filled, self.opened) = (0, self.opened + 1);
            self.stream = Some(stream);
        }
        Ok(self.stream.as_ref().expect("opened above"))
    }

    fn answer(&mut self, method: &str, on_body: &mut dyn FnMut(&[u8])) -> io::Result<Answer> {
        let mut stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let head_bytes = loop {
            if let Some(end) = find(&self.buffer[..self.filled], b"\r\n\r\n") {
                break end + 4;
            }
            let read = stream.read(&mut self.buffer[self.filled..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.filled += read;
        };
        let head = Head::parse(&self.buffer[..head_bytes])?;
        let length = if method == "HEAD" || matches!(head.status, 204 | 304) { 0 } else { head.length()? };
        let (mut at, mut rest, mut excerpt) = (head_bytes, length, Vec::new());
        while rest > 0 {
            if at == self.filled {
                (at, self.filled) = (0, stream.read(&mut self.buffer)?);
                if self.filled == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let piece = (self.filled - at).min(usize::try_from(rest).unwrap_or(usize::MAX));
            let body = &self.buffer[at..at + piece];
            on_body(body);
            excerpt.extend_from_slice(&body[..piece.min(EXCERPT_BYTES - excerpt.len())]);
            (at, rest) = (at + piece, rest - piece as u64);
        }
        if at != self.filled {
            return Err(io::Error::other("bytes after the answer"));
        }
        self.filled = 0;
        if head.closes {
            self.stream = None;
        }
        Ok(Answer {
            status: head.status,
            body_bytes: length,
            length: head.content_length,
            etag: head.etag,
            excerpt,
        })
    }
}

struct Head {
    status: u16,
    content_length: Option<u64>,
    closes: bool,
    etag: Option<String>,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let mut lines = text.split("\r\n");
        let status =
            lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
        let status =
            status.and_then(|status| status.parse().ok()).ok_or_else(|| io::Error::other("no status"))?;
        let mut head = Head { status, content_length: None, closes: false, etag: None };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                head.content_length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                head.closes = value.trim().eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("etag") {
                head.etag = Some(value.trim().to_owned());
            }
        }
        Ok(head)
    }

    fn length(&self) -> io::Result<u64> {
        self.content_length.ok_or_else(|| io::Error::other(format!("status {} without length", self.status)))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_give_status_length_and_persistence() {
        for (text, status, length, closes) in [
            ("HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\n\r\n", 200, Some(12), false),
            ("HTTP/1.1 503 Slow Down\r\nConnection: close\r\n\r\n", 503, None, true),
        ] {
            let head = Head::parse(text.as_bytes()).unwrap();
            assert_eq!((head.status, head.content_length, head.closes), (status, length, closes));
        }
        assert!(Head::parse(b"nonsense\r\n\r\n").is_err());
    }
}
