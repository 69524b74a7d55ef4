//! A sproxyd: several nodes that share one RING. It takes only what the protocol allows, notes every
//! violation, and can be told to fail in ways that real nodes do.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Where keys live.
const PATH: &str = "/proxy/chord/";

/// What a node does to one request instead of serving it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Closes the connection without an answer, after the request has been read.
    Close,
    /// Closes the connection after reading this many bytes of the request's body.
    CloseAfterReading(usize),
    /// Never answers.
    Stall,
    /// Sends the head and this many bytes of the body, then closes the connection.
    Cut(usize),
    /// Sends the head and this many bytes of the body, then nothing more.
    StallAt(usize),
    /// Answers with another range than was asked for.
    OtherRange,
    /// Answers with fewer bytes than were asked for, and says so.
    Short,
}

/// The stored keys, what nodes are told to do, and what clients did wrong.
#[derive(Default)]
pub struct Ring {
    pub keys: Mutex<HashMap<String, Vec<u8>>>,
    faults: Mutex<VecDeque<Fault>>,
    violations: Mutex<Vec<String>>,
    pub requests: AtomicUsize,
    /// Connections that were made to any node.
    pub connections: AtomicUsize,
}

impl Ring {
    /// Makes the next requests, on whichever node, fail in these ways.
    pub fn plan(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Forgets faults that were not reached.
    pub fn unplan(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Fails if a client broke the protocol.
    #[track_caller]
    pub fn check(&self) {
        let violations = self.violations.lock().unwrap();
        assert!(violations.is_empty(), "{violations:?}");
    }

    /// How many keys are stored.
    pub fn len(&self) -> usize {
        self.keys.lock().unwrap().len()
    }
}

/// A listening node. It is lost when it is dropped.
pub struct Node {
    pub address: SocketAddr,
    lost: Arc<AtomicBool>,
}

impl Node {
    pub fn start(ring: &Arc<Ring>) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lost = Arc::new(AtomicBool::new(false));
        let (ring, gone) = (ring.clone(), lost.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                ring.connections.fetch_add(1, Ordering::SeqCst);
                let (ring, gone) = (ring.clone(), gone.clone());
                std::thread::spawn(move || serve(&ring, &gone, stream.unwrap()));
            }
        });
        Node { address, lost }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.lost.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

struct Asked {
    method: String,
    name: String,
    headers: HashMap<String, String>,
}

/// Serves a connection until it fails, is told to, or the node is lost.
fn serve(ring: &Ring, lost: &AtomicBool, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(asked) = read_head(&mut reader) {
        if lost.load(Ordering::SeqCst) {
            return;
        }
        ring.requests.fetch_add(1, Ordering::SeqCst);
        let asked = match asked.and_then(|asked| strict(&asked).map(|()| asked)) {
            Ok(asked) => asked,
            Err(violation) => {
                ring.violations.lock().unwrap().push(violation);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                return;
            }
        };
        let fault = ring.faults.lock().unwrap().pop_front();
        if answer(ring, &asked, fault, &mut reader, &mut stream).is_none() {
            return;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<Result<Asked, String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.strip_suffix("\r\n") {
            Some("") => break,
            Some(line) => lines.push(line.to_owned()),
            None => return Some(Err(format!("a line without CR LF: {line:?}"))),
        }
    }
    let words: Vec<&str> = lines.first()?.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Some(Err(format!("not a request line: {words:?}")));
    };
    let Some(name) = target.strip_prefix(PATH) else {
        return Some(Err(format!("not below {PATH}: {target}")));
    };
    let mut headers = HashMap::new();
    for line in &lines[1..] {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if headers.insert(field.to_ascii_lowercase(), value.trim().to_owned()).is_some() {
            return Some(Err(format!("{field} is there twice")));
        }
    }
    Some(Ok(Asked { method: method.to_owned(), name: name.to_owned(), headers }))
}

/// What every request must have, and each method.
fn strict(asked: &Asked) -> Result<(), String> {
    let field = |name: &str| asked.headers.get(name).map(String::as_str);
    let wrong = |what: &str| Err(format!("{} {}: {what}: {:?}", asked.method, asked.name, asked.headers));
    if field("content-type") != Some("application/octet-stream") {
        return wrong("content-type");
    }
    if field("x-scal-replica-policy") != Some("immutable") || field("x-scal-request-uids").is_none() {
        return wrong("X-Scal headers");
    }
    if field("transfer-encoding").is_some() || field("host").is_none() {
        return wrong("framing");
    }
    if asked.name == ".conf" {
        return if asked.method == "GET" { Ok(()) } else { wrong("method") };
    }
    let digits = asked.name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    if asked.name.len() != 40 || !digits || &asked.name[30..32] != "59" || !asked.name.ends_with("30") {
        return wrong("the key");
    }
    let length = field("content-length");
    match asked.method.as_str() {
        "PUT" if length.is_some_and(|length| length.parse::<u64>().is_ok()) => Ok(()),
        "DELETE" if length == Some("0") => Ok(()),
        "GET" if length.is_none() => match field("range") {
            Some(range) if range_of(range).is_none() => wrong("the range"),
            _ => Ok(()),
        },
        _ => wrong("method or length"),
    }
}

/// `bytes=a-b`, both ends given.
fn range_of(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Answers a request; `None` ends the connection.
fn answer(
    ring: &Ring,
    asked: &Asked,
    fault: Option<Fault>,
    reader: &mut impl Read,
    stream: &mut TcpStream,
) -> Option<()> {
    let length: usize = asked.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    if let Some(Fault::CloseAfterReading(count)) = fault {
        reader.take(count as u64).read_to_end(&mut Vec::new()).ok()?;
        return None;
    }
    let mut body = Vec::new();
    reader.take(length as u64).read_to_end(&mut body).ok()?;
    if body.len() < length {
        return None;
    }
    match fault {
        Some(Fault::Status(status)) => return reply(stream, status, "", b"no"),
        Some(Fault::Close) => return None,
        Some(Fault::Stall) => return stall(stream),
        _ => {}
    }
    let mut keys = ring.keys.lock().unwrap();
    match asked.method.as_str() {
        "PUT" => {
            keys.insert(asked.name.clone(), body);
            drop(keys);
            reply(stream, 200, "", b"")
        }
        "DELETE" => {
            let status = if keys.remove(&asked.name).is_some() { 200 } else { 404 };
            drop(keys);
            reply(stream, status, "", b"")
        }
        _ if asked.name == ".conf" => reply(stream, 200, "", b"ring_driver: chord"),
        _ => {
            let stored = keys.get(&asked.name).cloned();
            drop(keys);
            get(asked, stored, fault, stream)
        }
    }
}

fn get(asked: &Asked, stored: Option<Vec<u8>>, fault: Option<Fault>, stream: &mut TcpStream) -> Option<()> {
    let Some(stored) = stored else { return reply(stream, 404, "", b"no such key") };
    let Some((first, last)) = asked.headers.get("range").and_then(|range| range_of(range)) else {
        return reply(stream, 200, "", &stored);
    };
    if last >= stored.len() {
        return reply(stream, 416, "", b"");
    }
    let (mut first, mut last) = (first, last);
    match fault {
        Some(Fault::OtherRange) => (first, last) = (first.saturating_sub(1), last.saturating_sub(1)),
        Some(Fault::Short) => last = (first + last) / 2,
        _ => {}
    }
    let field = format!("Content-Range: bytes {first}-{last}/{}\r\n", stored.len());
    let part = &stored[first..=last];
    let Some(Fault::Cut(count) | Fault::StallAt(count)) = fault else {
        return reply(stream, 206, &field, part);
    };
    let head = format!("HTTP/1.1 206 Partial Content\r\n{field}Content-Length: {}\r\n\r\n", part.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&part[..count.min(part.len())]).ok()?;
    match fault {
        Some(Fault::StallAt(_)) => stall(stream),
        _ => None,
    }
}

/// Waits until the client gives up.
fn stall(stream: &mut TcpStream) -> Option<()> {
    let _ = stream.read(&mut [0]);
    None
}

fn reply(stream: &mut TcpStream, status: u16, fields: &str, body: &[u8]) -> Option<()> {
    let head = format!("HTTP/1.1 {status} Said\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).ok()
}
