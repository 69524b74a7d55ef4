//! The HTTP engine under a handler of a few lines, and a client on a raw socket, so that a failure of the
//! tests that use them is the engine's.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use s3pail::http::engine::{Options, Running, serve};
use s3pail::http::limits::Limits;
use s3pail::http::{Handler, Refusal, Request, Response, ResponseBody};

/// The longest that any single wait in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const WORKERS: usize = 4;

/// Answers by path: `/echo` reads the body, `/ignore` refuses without reading it, `/stream/N`,
/// `/bytes/N` and `/short/N` send N bytes (or promise to), `/status/N` has no body, `/head` shows fields.
#[derive(Default)]
pub struct Echo {
    gate: Mutex<bool>,
    opened: Condvar,
    pub handled: AtomicUsize,
    pub sent: Mutex<Vec<(u64, bool)>>,
    /// Bytes that have been read of streamed answers.
    pub streamed: Arc<AtomicU64>,
}

/// What `/stream` has ready at a time.
pub const STREAM_BYTES: usize = 256 * 1024;
/// What `/crumbs` has ready at a time.
const CRUMB_BYTES: usize = 8 * 1024;

/// Counts what is read.
struct Counted<R>(R, Arc<AtomicU64>);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(target)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Echo {
    pub fn open(&self) {
        *self.gate.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn answer(&self, mut request: Request<'_>) -> Response {
        let path = request.path.clone();
        let (name, number) = path[1..].split_once('/').unwrap_or((&path[1..], "0"));
        let number: u64 = number.parse().unwrap_or(0);
        let bytes = |text: String| Response::new(200).body(ResponseBody::Bytes(text.into_bytes()));
        match name {
            "echo" => echo(&mut request),
            "ignore" => Response::new(403).body(ResponseBody::Bytes(b"refused".to_vec())),
            "panic" => panic!("a handler that panics"),
            "status" => Response::new(number as u16),
            "bytes" => Response::new(200).body(ResponseBody::Bytes(vec![b'b'; number as usize])),
            "stream" | "short" | "crumbs" => {
                let there = if name == "short" { number / 2 } else { number };
                let reader = io::repeat(b's').take(there);
                let reader = Box::new(io::BufReader::with_capacity(
                    if name == "crumbs" { CRUMB_BYTES } else { STREAM_BYTES },
                    Counted(reader, self.streamed.clone()),
                ));
                Response::new(200).body(ResponseBody::Stream { length: number, reader })
            }
            "promise" => Response::new(200).body(ResponseBody::Head(number)),
            "wait" => {
                let gate = self.gate.lock().unwrap();
                let (gate, _) = self.opened.wait_timeout_while(gate, PATIENCE, |open| !*open).unwrap();
                bytes(format!("open {}", *gate))
            }
            _ => bytes(format!(
                "{} {}?{} {}",
                request.method.as_str(),
                request.path,
                request.query,
                request.headers.get("x-amz-meta-a").unwrap_or("-")
            )),
        }
    }
}

/// Reads the body through a small buffer and answers with its length and sum.
pub fn echo(request: &mut Request<'_>) -> Response {
    let (mut length, mut sum, mut buffer) = (0usize, 0u64, [0; 1000]);
    loop {
        match request.body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                length += count;
                sum += buffer[..count].iter().map(|byte| u64::from(*byte)).sum::<u64>();
            }
            Err(error) => {
                let text = format!("{:?}", error.kind());
                let mut response = Response::new(400).body(ResponseBody::Bytes(text.into_bytes()));
                response.close = true;
                return response;
            }
        }
    }
    Response::new(200).body(ResponseBody::Bytes(format!("{length} {sum}").into_bytes()))
}

/// What `/echo` answers to a body.
pub fn echo_of(body: &[u8]) -> String {
    format!("{} {}", body.len(), body.iter().map(|byte| u64::from(*byte)).sum::<u64>())
}

pub struct Shared(pub Arc<Echo>);

impl Handler for Shared {
    fn handle(&self, request: Request<'_>) -> Response {
        self.0.handled.fetch_add(1, Ordering::Relaxed);
        let mut response = self.0.answer(request);
        let echo = self.0.clone();
        response.done = Some(Box::new(move |sent| {
            echo.sent.lock().unwrap().push((sent.body_bytes, sent.complete));
        }));
        response
    }

    fn refuse(&self, refusal: Refusal, _peer: Option<SocketAddr>) -> Response {
        let status = match refusal {
            Refusal::BadRequest(_) | Refusal::HeadersTooLarge => 400,
            Refusal::HeadTimeout => 408,
            Refusal::RequestLineTooLong => 414,
            Refusal::UnknownTransferCoding => 501,
            Refusal::VersionNotSupported => 505,
            Refusal::TooManyConnections => 503,
        };
        let text = format!("{refusal:?}");
        let mut response = Response::new(status);
        response.headers.push((Cow::Borrowed("x-refused"), Cow::Borrowed("1")));
        response.body(ResponseBody::Bytes(text.into_bytes()))
    }
}

pub struct Server {
    pub running: Option<Running>,
    pub address: SocketAddr,
    pub echo: Arc<Echo>,
}

impl Server {
    pub fn start() -> Server {
        Server::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Server {
        Server::on(s3pail::http::listen(&"127.0.0.1:0".parse().unwrap()).unwrap(), limits)
    }

    pub fn on(listener: TcpListener, limits: Limits) -> Server {
        let echo = Arc::new(Echo::default());
        let options = Options { workers: WORKERS, limits, tls: None };
        let running = serve(vec![listener], options, Arc::new(Shared(echo.clone()))).unwrap();
        Server { address: running.local_addrs()[0], running: Some(running), echo }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn connections(&self) -> usize {
        self.running.as_ref().unwrap().connections()
    }

    pub fn stop(&mut self, grace: Duration) -> bool {
        self.running.take().unwrap().stop(grace)
    }

    /// Sends bytes on a new connection and checks that they get one answer and then the end.
    pub fn check_refused(&self, bytes: &[u8], status: u16) {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let mut client = self.connect();
        client.send_lossy(bytes);
        let reply = client.reply();
        assert_eq!(reply.status, status, "{shown:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{shown:?}");
        assert!(client.is_closed(), "{shown:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.echo.open();
        if let Some(running) = self.running.take() {
            let stopped = running.stop(PATIENCE);
            assert!(stopped || thread::panicking(), "the engine stops");
        }
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(BufReader::new(stream))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what a server may stop reading at any point.
    pub fn send_lossy(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().write_all(bytes);
    }

    pub fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        self.reply()
    }

    pub fn head_of_reply(&mut self) -> Reply {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                assert_eq!(line, "\r\n");
                return Reply { status, headers, body: Vec::new() };
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
    }

    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head_of_reply();
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        reply.body = vec![0; length];
        self.0.read_exact(&mut reply.body).unwrap();
        reply
    }

    /// Whether the server ended the connection and sent nothing more before.
    pub fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Whether something has arrived, without waiting for it.
    pub fn has_input(&self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).unwrap();
        let arrived = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        arrived
    }

    pub fn shutdown_write(&self) {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}

/// Waits for a condition that another thread brings about.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::yield_now();
    }
}

pub fn put(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("PUT {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub fn counted(path: &str, body: &[u8]) -> Vec<u8> {
    put(path, &format!("Content-Length: {}\r\n", body.len()), body)
}

pub fn chunked(path: &str, chunks: &str) -> Vec<u8> {
    put(path, "Transfer-Encoding: chunked\r\n", chunks.as_bytes())
}
