//! Sequences of requests on one kept-alive connection: every answer belongs to its request.

use super::outcome;
use s3pail::http::engine::{Options, Running, serve};
use s3pail::http::limits::Limits;
use s3pail::http::{Handler, Refusal, Request, Response, ResponseBody};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const REQUESTS_MAX: usize = 24;
/// More than enough for answers over loopback.
const WITHIN: Duration = Duration::from_secs(20);
/// What bodies are made of: whoever takes them for requests is seen.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Answers with the request's path, and the length of its body where the path begins with `/read`.
struct Mirror;

impl Handler for Mirror {
    fn handle(&self, mut request: Request<'_>) -> Response {
        let mut length = 0;
        if request.path.starts_with("/read") {
            length = std::io::copy(&mut request.body, &mut std::io::sink()).unwrap_or(u64::MAX);
        }
        let text = format!("{} {} {length}", request.method.as_str(), request.path);
        Response::new(200).header("x-mirror", text.clone()).body(ResponseBody::Bytes(text.into_bytes()))
    }

    fn refuse(&self, refusal: Refusal, _: Option<SocketAddr>) -> Response {
        Response::new(400).body(ResponseBody::Bytes(format!("{refusal:?}").into_bytes()))
    }
}

fn address() -> SocketAddr {
    static ENGINE: OnceLock<Running> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let options = Options { workers: 2, limits: Limits::default(), tls: None };
        serve(vec![listener], options, Arc::new(Mirror)).expect("an engine")
    });
    engine.local_addrs()[0]
}

pub fn sequences() -> Vec<Vec<u8>> {
    vec![(0..8).collect(), vec![1; 24], vec![2, 0, 2, 4, 7, 3], vec![0xfb, 0x85, 0x2c, 0x91, 0x3e, 0xd7]]
}

/// A request of the kind that a byte says, and what its answer mirrors.
fn request(number: usize, byte: u8) -> (String, String) {
    let body = SMUGGLED.repeat(usize::from(byte >> 3) % 4);
    let length = body.len();
    let counted = format!("Content-Length: {length}\r\n\r\n{body}");
    let chunk = if length == 0 { String::new() } else { format!("{length:x};x=\"0\"\r\n{body}\r\n") };
    let (before, method, path, rest, read) = match byte % 8 {
        0 => ("", "GET", "read", "\r\n".to_owned(), 0),
        1 => ("", "PUT", "read", counted, length),
        2 => ("", "PUT", "skip", counted, 0),
        3 => (
            "",
            "POST",
            "read",
            format!("Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\nx: y\r\n\r\n"),
            length,
        ),
        4 => ("", "HEAD", "skip", "\r\n".to_owned(), 0),
        5 => ("", "PUT", "read", format!("Expect: 100-continue\r\n{counted}"), length),
        6 => ("\r\n", "GET", "skip", "\r\n".to_owned(), 0),
        // Not chunked: a body of unknown length that nobody reads may end the connection.
        _ => ("", "DELETE", "skip", counted, 0),
    };
    let text = format!("{before}{method} /{path}/{number} HTTP/1.1\r\nHost: h\r\n{rest}");
    (text, format!("{method} /{path}/{number} {read}"))
}

/// FZ-19: as many answers as requests, in their order, and nothing of a body is run.
pub fn sequence(input: &[u8]) -> u64 {
    let (mut sent, mut wanted) = (String::new(), Vec::new());
    for (number, byte) in input.iter().take(REQUESTS_MAX).enumerate() {
        let (text, mirrored) = request(number, *byte);
        sent.push_str(&text);
        wanted.push(mirrored);
    }
    sent.push_str("GET /read/last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    wanted.push("GET /read/last 0".to_owned());
    let mut stream = TcpStream::connect(address()).expect("it listens");
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(WITHIN));
    let mut rest = sent.as_bytes();
    let mut turn = 0;
    while !rest.is_empty() {
        let step = input.get(turn % input.len().max(1)).map_or(1, |byte| 1 + 7 * usize::from(*byte));
        let (now, later) = rest.split_at(step.min(rest.len()));
        stream.write_all(now).expect("it reads");
        (rest, turn) = (later, turn + 1);
    }
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).expect("it answers and closes");
    let text = String::from_utf8(answers).expect("the answers are text");
    let (mut rest, mut seen, mut invited) = (text.as_str(), Vec::new(), 0);
    while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
        if head.starts_with("HTTP/1.1 100") {
            (rest, invited) = (behind, invited + 1);
            continue;
        }
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let mirrored = field("x-mirror: ").unwrap_or_else(|| panic!("no answer to a request: {head}"));
        let length: usize = field("Content-Length: ").and_then(|text| text.parse().ok()).expect("a length");
        let length = if mirrored.starts_with("HEAD") { 0 } else { length };
        assert!(length == 0 || behind.get(..length) == Some(mirrored), "{mirrored}: {behind}");
        seen.push(mirrored.to_owned());
        rest = &behind[length..];
    }
    assert!(rest.is_empty(), "behind the last answer: {rest}");
    assert_eq!(seen, wanted);
    outcome((seen.len(), invited))
}
