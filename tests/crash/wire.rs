//! A client that expects its server to die: what was not answered is not an error but unknown.

use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::codec::hex;
use s3pail::http::{Headers, Method};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an answer may take before it counts as unknown.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// An answer.
pub struct Reply {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A header field, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The texts of all elements of a name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        text.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
    }
}

/// A connection that is kept open.
pub struct Connection {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    /// Whether a server may say that it failed: its disk is about to go.
    may_fail: bool,
}

impl Connection {
    /// Nothing is connected yet.
    pub fn new(address: SocketAddr) -> Connection {
        Connection { address, stream: None, may_fail: false }
    }

    /// The same with a server whose disk may be gone, or that is about to end: an answer that says so is as good
    /// as none.
    pub fn that_may_fail(address: SocketAddr) -> Connection {
        Connection { may_fail: true, ..Connection::new(address) }
    }

    /// Sends a request. `None` if no whole answer came.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> Option<Reply> {
        let sent = self.try_send(method, target, fields, body);
        if sent.is_err() {
            self.stream = None;
        }
        sent.ok().filter(|reply| !self.may_fail || reply.status < 500)
    }

    fn try_send(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(&[&self.head(method, target, fields, body)[..], body].concat())?;
        let reply = read_reply(&mut stream, method == "HEAD")?;
        if reply.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    /// Sends the head of a PUT and half of its body.
    pub fn half_a_put(&self, target: &str, body: &[u8]) -> HalfSent {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).unwrap();
        stream.write_all(&self.head("PUT", target, &[], body)).unwrap();
        stream.write_all(&body[..body.len() / 2]).unwrap();
        HalfSent(stream)
    }

    fn head(&self, method: &str, target: &str, fields: &[(&str, String)], body: &[u8]) -> Vec<u8> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Headers::new();
        headers.push("host", &self.address.to_string());
        fields.iter().for_each(|(name, value)| headers.push(name, value));
        let signer = Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };
        let head = Head { method: Method::parse(method), path, query, headers: &headers };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let signed = signer.sign(now, &head, &hex(&s3pail::auth::keys::sha256(body)));
        signed.fields.iter().for_each(|(name, value)| headers.push(name, value));
        let mut text = format!("{method} {target} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        (text + "\r\n").into_bytes()
    }
}

/// A request of which half of the body has been sent.
pub struct HalfSent(TcpStream);

impl HalfSent {
    /// Sends the other half. The status, if an answer came.
    pub fn finish(mut self, body: &[u8]) -> Option<u16> {
        // Refused early, the server may have closed the connection.
        let _ = self.0.write_all(&body[body.len() / 2..]);
        read_reply(&mut BufReader::new(self.0), false).ok().map(|reply| reply.status)
    }
}

fn read_reply(stream: &mut BufReader<TcpStream>, is_head: bool) -> io::Result<Reply> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(cut)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(cut());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
    if !is_head {
        stream.take(length).read_to_end(&mut reply.body)?;
        if reply.body.len() as u64 != length {
            return Err(cut());
        }
    }
    Ok(reply)
}
