//! HTTPS on raw sockets: handshakes that are good, slow, broken or never end, and everything about bodies
//! and connections that could be different under TLS. The client is rustls, driven by hand where it has
//! to be slow.
#![cfg(not(feature = "tiny-http"))]

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use s3pail::config::{Config, Tls, TlsFiles};
use s3pail::http::engine::{Options, Running, serve};
use s3pail::http::limits::Limits;
use s3pail::http::{Handler, Refusal, Request, Response, ResponseBody};
use s3pail::storage::s3_upstream::{S3Blobs, Settings};
use s3pail::storage::{BlobHint, BlobStore};
use s3pail::tls::Certificates;

use super::certificates::{files, fixture};
use super::harness::{DEADLINE, Reply, TestServer, wait_until};

const TLS_1_2: &SupportedProtocolVersion = &rustls::version::TLS12;
const TLS_1_3: &SupportedProtocolVersion = &rustls::version::TLS13;

/// A server in memory that serves HTTPS.
pub fn server(files: TlsFiles) -> TestServer {
    let config = Config { tls: Some(Tls::Files(files)), ..Config::in_memory() };
    TestServer::start("memory", config, None)
}

/// A client's side of a connection, handshake and all.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The client that trusts one CA and speaks these versions.
pub fn client(ca: &std::path::Path, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Connects and does the handshake.
pub fn try_connect(address: SocketAddr, client: &Arc<ClientConfig>) -> io::Result<Stream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let tls = ClientConnection::new(client.clone(), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(tls, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn connect(address: SocketAddr, versions: &[&'static SupportedProtocolVersion]) -> Stream {
    try_connect(address, &client(&fixture("root.crt"), versions)).unwrap()
}

/// Sends a request and reads its answer.
pub fn ask(stream: &mut Stream, request: &[u8]) -> Reply {
    stream.write_all(request).unwrap();
    Reply::read(&mut BufReader::new(stream), false)
}

const LIVE: &[u8] = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn rsa_server() -> TestServer {
    server(files("rsa.pkcs8.key", "rsa.crt"))
}

#[track_caller]
fn still_serves(address: SocketAddr) {
    assert_eq!(ask(&mut connect(address, &[TLS_1_2, TLS_1_3]), LIVE).status, 200);
}

#[test]
fn both_versions_carry_big_bodies_both_ways() {
    let server = rsa_server();
    let body: Vec<u8> = (0..9_000_001u32).map(|at| (at % 251) as u8).collect();
    server.raw_tls(&server.request("PUT", "/bucket", &[], b"")).expect(200);
    for version in [TLS_1_2, TLS_1_3] {
        let put = server.request("PUT", "/bucket/big", &[], &body);
        assert_eq!(ask(&mut connect(server.address(), &[version]), &put).status, 200);
        let get = server.request("GET", "/bucket/big", &[], b"");
        let mut stream = connect(server.address(), &[version]);
        let reply = ask(&mut stream, &get);
        assert_eq!((reply.status, reply.body.len()), (200, body.len()));
        assert!(reply.body == body, "{version:?}");
    }
}

impl TestServer {
    fn raw_tls(&self, request: &[u8]) -> Reply {
        ask(&mut connect(self.address(), &[TLS_1_3]), request)
    }
}

#[test]
fn policies_see_the_version_and_locations_have_the_scheme() {
    let server = rsa_server();
    server.raw_tls(&server.request("PUT", "/bucket", &[], b"")).expect(200);
    server.raw_tls(&server.request("PUT", "/bucket/key", &[], b"text")).expect(200);
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*", "Condition": {
        "NumericGreaterThanEquals": {"s3:TlsVersion": "1.3"}, "Bool": {"aws:SecureTransport": "true"}}}]}"#;
    server.raw_tls(&server.request("PUT", "/bucket?policy", &[], policy.as_bytes())).expect(204);
    let get = b"GET /bucket/key HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask(&mut connect(server.address(), &[TLS_1_3]), get).status, 200);
    assert_eq!(ask(&mut connect(server.address(), &[TLS_1_2]), get).status, 403);
    server.raw_tls(&server.request("POST", "/bucket/many?uploads", &[], b"")).expect(200);
    let website = b"<WebsiteConfiguration><RedirectAllRequestsTo><HostName>other</HostName>\
        </RedirectAllRequestsTo></WebsiteConfiguration>";
    server.raw_tls(&server.request("PUT", "/bucket?website", &[], website)).expect(200);
    let page = b"GET /page HTTP/1.1\r\nHost: bucket.s3-website.localhost\r\n\r\n";
    let reply = ask(&mut connect(server.address(), &[TLS_1_3]), page);
    assert_eq!((reply.status, reply.header("location")), (301, Some("https://other/page")));
}

/// A hello of a client that knows nothing above this version, with one cipher suite of its time.
fn old_hello(version: u8) -> Vec<u8> {
    let mut hello = vec![3, version];
    hello.extend([7; 32]); // random
    hello.push(0); // session id
    hello.extend([0, 4, 0xc0, 0x13, 0x00, 0x2f]); // ECDHE-RSA-AES128-SHA, AES128-SHA
    hello.extend([1, 0]); // no compression
    let mut handshake = vec![1, 0, 0, hello.len() as u8];
    handshake.extend(hello);
    let mut record = vec![22, 3, 1, 0, handshake.len() as u8];
    record.extend(handshake);
    record
}

/// Everything that comes until the end; an abrupt end is one as well.
fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("the server does not close: {error}"),
        }
    }
}

/// Rows BI-028, SE-99, OP-17; `certificates.rs` reads them again.
#[test]
fn versions_below_1_2_and_garbage_end_with_an_alert() {
    let server = rsa_server();
    let garbage = [&[22, 3, 1, 0xff, 0xff][..], &[0x5a; 600]].concat();
    for hello in [old_hello(1), old_hello(2), garbage, vec![0x80, 0x2e, 1, 0, 2, 0, 0], vec![0; 64]] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&hello).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let answer = read_all(&stream);
        // An alert record with a fatal alert, or nothing where the record never became complete.
        assert!(answer.is_empty() || (answer[0], answer[5]) == (21, 2), "{answer:?} to {hello:?}");
    }
    for version in [1, 2] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&old_hello(version)).unwrap();
        let answer = read_all(&stream);
        // protocol_version (70) or handshake_failure (40)
        assert!(answer.len() == 7 && [40, 70].contains(&answer[6]), "{answer:?}");
    }
    still_serves(server.address());
}

/// Row BI-026.
#[test]
fn plain_http_is_told_to_use_https() {
    let server = rsa_server();
    let reply = server.get("/live");
    assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
    assert!(reply.text().contains("HTTPS"), "{}", reply.text());
    still_serves(server.address());
}

/// Row BI-027: many more than there are workers, silent or in the middle of their hello.
#[test]
fn stalled_handshakes_delay_nobody() {
    let server = rsa_server();
    let stalled: Vec<TcpStream> = (0..40)
        .map(|number| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(&old_hello(3)[..number]).unwrap();
            stream
        })
        .collect();
    still_serves(server.address());
    // None was given up meanwhile, so it was not their end that let the other one through.
    for stream in stalled {
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        assert_eq!(peeked.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_handshake_has_one_deadline_whatever_arrives() {
    let limits = Limits { handshake: Duration::from_millis(300), ..Limits::default() };
    let engine = engine(limits);
    let address = engine.local_addrs()[0];
    let silent = TcpStream::connect(address).unwrap();
    assert_eq!(read_all(&silent), b"");
    // A hello that never ends is cut off, however steadily it comes.
    let mut dripping = TcpStream::connect(address).unwrap();
    dripping.write_all(&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]).unwrap();
    dripping.set_nonblocking(true).unwrap();
    wait_until("the slow hello is cut off", || {
        std::thread::sleep(Duration::from_millis(1));
        dripping.write_all(&[3]).is_err()
    });
    wait_until("all have gone", || engine.connections() == 0);
    engine.stop(DEADLINE);
}

struct Lengths;

/// What `/stream` answers with, in bytes.
const STREAMED: u64 = 40_000_000;

impl Handler for Lengths {
    /// Answers with the length of the body, or to `/refuse` without reading it.
    fn handle(&self, mut request: Request<'_>) -> Response {
        if request.path == "/refuse" {
            return Response::new(403).body(ResponseBody::Bytes(b"refused".to_vec()));
        }
        if request.path == "/stream" {
            let reader = Box::new(io::BufReader::new(io::repeat(b's').take(STREAMED)));
            return Response::new(200).body(ResponseBody::Stream { length: STREAMED, reader });
        }
        let length = io::copy(&mut request.body, &mut io::sink()).map_or(0, |length| length);
        let text = format!("{} {length}", request.encryption.map_or("-", |encryption| encryption.version));
        Response::new(200).body(ResponseBody::Bytes(text.into_bytes()))
    }

    fn refuse(&self, _: Refusal, _: Option<SocketAddr>) -> Response {
        let mut response = Response::new(400);
        response.close = true;
        response
    }
}

fn engine(limits: Limits) -> Running {
    let certificates = Certificates::load(Tls::Files(files("rsa.pkcs8.key", "rsa.crt"))).unwrap();
    let options = Options { workers: 2, limits, tls: Some(certificates.server_config().unwrap()) };
    serve(vec![TcpListener::bind("127.0.0.1:0").unwrap()], options, Arc::new(Lengths)).unwrap()
}

fn post(path: &str, length: usize) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; length]].concat()
}

/// The second request lies decrypted in the server when the first is answered, and no readiness will tell
/// of it. Bodies of every length around a record, read and unread.
#[test]
fn what_was_decrypted_with_one_request_is_not_forgotten() {
    let engine = engine(Limits::default());
    for version in [TLS_1_2, TLS_1_3] {
        let mut stream = connect(engine.local_addrs()[0], &[version]);
        for path in ["/read", "/refuse"] {
            for length in [0, 1, 4_000, 4_096, 8_000, 16_300, 16_384, 16_400, 70_000] {
                let both = [post(path, length), post("/next", 3)].concat();
                stream.write_all(&both).unwrap();
                let mut reader = BufReader::new(&mut stream);
                let first = Reply::read(&mut reader, false);
                assert_eq!(first.status, if path == "/read" { 200 } else { 403 });
                let next = Reply::read(&mut reader, false).text();
                assert!(next.ends_with(" 3"), "{path} {length}: {next}");
                assert!(reader.buffer().is_empty());
            }
        }
    }
    engine.stop(DEADLINE);
}

#[test]
fn many_requests_in_one_record_are_all_answered() {
    let engine = engine(Limits::default());
    let mut stream = connect(engine.local_addrs()[0], &[TLS_1_3]);
    let requests: Vec<u8> = (0..200).flat_map(|length| post("/", length)).collect();
    stream.write_all(&requests).unwrap();
    let mut reader = BufReader::new(&mut stream);
    for length in 0..200 {
        assert_eq!(Reply::read(&mut reader, false).text(), format!("1.3 {length}"));
    }
    engine.stop(DEADLINE);
}

#[test]
fn idle_connections_wait_without_a_worker() {
    let engine = engine(Limits::default());
    let address = engine.local_addrs()[0];
    let mut idle: Vec<Stream> = (0..30).map(|_| connect(address, &[TLS_1_3])).collect();
    // Two rounds: fresh from the handshake, and between requests. There are two workers.
    for _ in 0..2 {
        for stream in idle.iter_mut().rev() {
            assert_eq!(ask(stream, &post("/", 5)).text(), "1.3 5");
        }
    }
    engine.stop(DEADLINE);
}

#[test]
fn a_body_is_invited_under_tls_as_well() {
    let engine = engine(Limits::default());
    let mut stream = connect(engine.local_addrs()[0], &[TLS_1_3]);
    let head = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(ask(&mut stream, b"body").text(), "1.3 4");
    engine.stop(DEADLINE);
}

#[test]
fn a_client_that_says_its_last_gets_its_answer_and_a_last_word() {
    let engine = engine(Limits::default());
    for (version, shut) in [(TLS_1_2, false), (TLS_1_3, false), (TLS_1_2, true), (TLS_1_3, true)] {
        let mut stream = connect(engine.local_addrs()[0], &[version]);
        stream.conn.writer().write_all(&post("/", 9)).unwrap();
        stream.conn.send_close_notify();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock).unwrap();
        }
        if shut {
            stream.sock.shutdown(Shutdown::Write).unwrap();
        }
        // An end without the closing alert would be an error here.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(" 9"), "{answer}");
    }
    wait_until("all have gone", || engine.connections() == 0);
    engine.stop(DEADLINE);
}

#[test]
fn an_idle_connection_ends_with_the_closing_alert() {
    let engine = engine(Limits { keep_alive: Duration::from_millis(50), ..Limits::default() });
    let mut stream = connect(engine.local_addrs()[0], &[TLS_1_3]);
    assert_eq!(ask(&mut stream, &post("/", 1)).status, 200);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    engine.stop(DEADLINE);
}

/// Handshake, head and body one byte at a time, in both versions.
#[test]
fn a_slow_but_steady_client_is_served() {
    let engine = engine(Limits::default());
    for version in [TLS_1_2, TLS_1_3] {
        let socket = TcpStream::connect(engine.local_addrs()[0]).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let config = client(&fixture("root.crt"), &[version]);
        let tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(tls, Dripping(socket));
        stream.write_all(&post("/", 700)).unwrap();
        let reply = Reply::read(&mut BufReader::new(&mut stream), false);
        assert!(reply.text().ends_with(" 700"), "{}", reply.text());
    }
    engine.stop(DEADLINE);
}

/// BI-013 under TLS: with the window made short.
#[test]
fn a_client_that_reads_too_slowly_is_cut_off_under_tls_as_well() {
    let limits = Limits {
        write_rate_min: 1 << 20,
        write_rate_window: Duration::from_millis(300),
        ..Limits::default()
    };
    let engine = engine(limits);
    // 128 KiB/s and 20 MB/s.
    for (records, pause, whole) in [(4, 500, false), (64, 50, true)] {
        let mut stream = connect(engine.local_addrs()[0], &[TLS_1_3]);
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut piece = vec![0; 64 << 10];
        let mut read = 0;
        while engine.connections() > 0 && read < STREAMED {
            for _ in 0..records {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => read += count as u64,
                    _ => break,
                }
                if read >= STREAMED {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(pause));
        }
        assert_eq!(read >= STREAMED, whole, "{records} records: {read}");
        drop(stream);
        wait_until("the connection is gone", || engine.connections() == 0);
    }
    engine.stop(DEADLINE);
}

/// A socket that sends one byte at a time.
struct Dripping(TcpStream);

impl Read for Dripping {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.0.read(target)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A record that was changed on its way ends the connection, and only that.
#[test]
fn a_forged_record_ends_its_connection() {
    let server = rsa_server();
    let mut stream = connect(server.address(), &[TLS_1_3]);
    assert_eq!(ask(&mut stream, LIVE).status, 200);
    stream.sock.write_all(&[&[23, 3, 3, 0, 40][..], &[9; 40]].concat()).unwrap();
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).unwrap_err();
    assert!(rest.is_empty(), "{error}");
    still_serves(server.address());
}

/// Row SE-115. Whoever answers for the remote store must prove its name, also where it looks like one.
#[test]
fn a_remote_store_whose_ca_is_unknown_is_not_believed() {
    let server = rsa_server();
    server.raw_tls(&server.request("PUT", "/remote", &[], b"")).expect(200);
    let mut details = super::s3_upstream::details(server.address());
    details["https"] = true.into();
    let settings = Settings::from_details(details.as_object().unwrap()).unwrap();
    let blobs = S3Blobs::new(settings);
    let hint = BlobHint { bucket: "bucket", key: "key", owner: "owner", length: Some(4), sync: None };
    let error = format!("{:?}", blobs.write(&mut &b"body"[..], &hint).err().unwrap());
    assert!(error.contains("UnknownIssuer") || error.contains("certificate"), "{error}");
    let listed = server.raw_tls(&server.request("GET", "/remote", &[], b"")).expect(200);
    assert!(listed.elements("Key").is_empty());
}
