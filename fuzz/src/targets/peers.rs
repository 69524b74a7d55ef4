//! Hostile servers: a Redis, a data daemon, a RING and an S3 store that answer anything.

use super::{outcome, texts};
use s3pail::config::Remote;
use s3pail::redis::Client;
use s3pail::storage::data_client::{self, DataClient};
use s3pail::storage::remote::Deadlines;
use s3pail::storage::s3_upstream::{self, S3Blobs};
use s3pail::storage::sproxyd::{self, SproxydBlobs};
use s3pail::storage::{BlobId, BlobStore};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// More than enough for an answer that is there already.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a client tries again.
const ATTEMPTS: Duration = Duration::from_millis(20);
/// What fits into the system's buffers, so that nobody waits for a reader.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The bytes of a body that a client asks for.
const ASKED_BYTES: u64 = 100;
/// A name such as RINGs and data daemons give.
const RING_NAME: &str = "0123456789012345678901234567890123456789";

pub fn replies() -> Vec<Vec<u8>> {
    texts(&[
        "+OK\r\n:1\r\n$2\r\n12\r\n",
        "$-1\r\n-ERR x\r\n:99\r\n",
        "*1\r\n$3\r\nabc\r\n",
        "$99999999999\r\n",
    ])
}

/// The client of Redis takes any answer, in bounded memory.
pub fn redis(input: &[u8]) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let port = listener.local_addr().expect("its address").port();
    let mut client = Client::connect("127.0.0.1", port, None, WITHIN).expect("it listens");
    let (mut stream, _) = listener.accept().expect("it connected");
    let _ = stream.write_all(&input[..input.len().min(ANSWER_BYTES_MAX)]);
    let _ = stream.shutdown(Shutdown::Write);
    let replies = client.exchange(&vec![vec!["PING".to_owned()]; 3], WITHIN);
    outcome(replies.map(|replies| replies.len()).map_err(|error| error.kind()))
}

pub fn answers() -> Vec<Vec<u8>> {
    let head = "HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\nContent-Range: bytes 0-99/100\r\n\r\n";
    texts(&[
        &format!("{head}{}", "x".repeat(100)),
        &format!("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{}", "x".repeat(200)),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nxxx",
        "HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    ])
}

/// FZ-18: a data daemon may answer anything.
pub fn upstream(input: &[u8]) -> u64 {
    ask(input, RING_NAME, |address| {
        let remote = Remote { host: "127.0.0.1".to_owned(), port: address.port() };
        Box::new(DataClient::new(&data_client::Settings {
            deadlines: deadlines(),
            ..data_client::Settings::of(&remote)
        }))
    })
}

/// FZ-18: so may a node of a RING.
pub fn upstream_ring(input: &[u8]) -> u64 {
    ask(input, RING_NAME, |address| {
        let bootstrap = vec![address.to_string()];
        let settings =
            sproxyd::Settings { bootstrap, class_of_service: None, path: None, deadlines: deadlines() };
        Box::new(SproxydBlobs::new(&settings))
    })
}

/// FZ-18: and another S3 store.
pub fn upstream_s3(input: &[u8]) -> u64 {
    ask(input, "bucket/key/0123456789abcdef0123456789abcdef", |address| {
        Box::new(S3Blobs::new(s3_upstream::Settings {
            endpoint: address.to_string(),
            https: false,
            bucket: "bucket".to_owned(),
            path_style: true,
            bucket_match: false,
            encrypt: false,
            region: "us-east-1".to_owned(),
            access_key: "accessKey1".to_owned(),
            secret_key: "verySecretKey1".to_owned(),
            deadlines: deadlines(),
        }))
    })
}

fn deadlines() -> Deadlines {
    Deadlines { attempts: ATTEMPTS, ..Deadlines::default() }
}

/// Reads a body from a store that gives this answer to everything: it is the bytes that were asked for, or an
/// error.
fn ask(input: &[u8], name: &str, client: impl Fn(SocketAddr) -> Box<dyn BlobStore>) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let address = listener.local_addr().expect("its address");
    let answer = &input[..input.len().min(ANSWER_BYTES_MAX)];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok((mut stream, _)) = listener.accept() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let _ = stream.set_read_timeout(Some(WITHIN));
                let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer));
            }
        });
        let client = client(address);
        let mut body = Vec::new();
        let read = client.read(&BlobId(name.to_owned()), 0..ASKED_BYTES);
        let read = read.map(|found| found.map(|mut reader| reader.read_to_end(&mut body).is_ok()));
        assert!(body.len() as u64 <= ASKED_BYTES, "{} bytes", body.len());
        if matches!(read, Ok(Some(true))) {
            assert_eq!(body.len() as u64, ASKED_BYTES, "a part was taken for the whole");
        }
        over.store(true, Ordering::Release);
        drop(std::net::TcpStream::connect(address));
        outcome((read.map_err(|error| error.to_string().len()), body.len()))
    })
}
