//! The data daemon by its protocol, and front ends that keep their bodies with one: what they store, and
//! what they say when it fails.

use super::harness::{DEADLINE, Folder, Reply, TestServer, file_config, wait_until};
use s3pail::config::{Config, Listen, Remote};
use s3pail::daemon::{self, Daemon};
use s3pail::log::Log;
use s3pail::storage::data_client::{DataClient, Settings};
use s3pail::storage::fault::{Fault, Faulty, Step};
use s3pail::storage::remote::Deadlines;
use s3pail::storage::shared_folder::SharedFolder;
use s3pail::storage::{BlobHint, BlobId, BlobStore, StorageError, SyncMode, WriteError};
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const HINT: BlobHint<'_> =
    BlobHint { bucket: "bucket", key: "key", owner: "owner", length: None, sync: None };

/// A data daemon over a folder of its own.
pub struct Rig {
    daemon: Option<Daemon>,
    pub store: Arc<Faulty<SharedFolder>>,
    address: SocketAddr,
    folder: Folder,
}

impl Rig {
    pub fn new() -> Rig {
        let folder = Folder::new();
        let store = SharedFolder::open(&folder.0, SyncMode::None, true).unwrap();
        let store = Arc::new(Faulty::new(store));
        let listen = Listen { addresses: vec!["127.0.0.1:0".parse().unwrap()], origin: "test".to_owned() };
        let served = daemon::data_of(store.clone(), &Arc::new(Log::off()));
        let daemon = Daemon::start(daemon::bind(&listen).unwrap(), 4, served).unwrap();
        let address = daemon.addresses()[0];
        Rig { daemon: Some(daemon), store, address, folder }
    }

    /// A client with short deadlines.
    pub fn client(&self) -> DataClient {
        client(self.address)
    }

    /// A front end that keeps its bodies here and its records in a folder.
    pub fn front_end(&self, folder: &Folder) -> Config {
        let client = Remote { host: self.address.ip().to_string(), port: self.address.port() };
        Config { data_client: Some(client), ..file_config(folder) }
    }

    /// How many files of bodies there are.
    pub fn bodies(&self) -> usize {
        let mut count = 0;
        for digits in 0..=u8::MAX {
            let folder = self.folder.0.join("daemon/blobs").join(format!("{digits:02x}"));
            count += std::fs::read_dir(folder).map_or(0, Iterator::count);
        }
        count
    }

    fn lose(&mut self) {
        self.daemon.take().unwrap().stop(DEADLINE).unwrap();
    }

    /// Sends a raw request on a connection of its own.
    fn raw(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(&mut BufReader::new(stream), request.starts_with("HEAD"))
    }

    /// Sends a request without a body.
    fn ask(&self, request: &str, fields: &str) -> Reply {
        self.raw(&format!("{request} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
    }

    fn put(&self, body: &str) -> String {
        let length = body.len();
        let put = format!("PUT /DataFile/ HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
        let reply = self.raw(&put).expect(201);
        assert!(reply.body.is_empty());
        reply.header("location").unwrap().to_owned()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.stop(DEADLINE);
        }
    }
}

fn client(address: SocketAddr) -> DataClient {
    let deadlines = Deadlines {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(500),
        idle: Duration::from_millis(500),
        attempts: Duration::from_secs(3),
    };
    DataClient::new(&Settings { authority: address.to_string(), deadlines })
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// The daemon says no, in its own words.
fn no(reply: Reply, status: u16, kind: &str) {
    let reply = reply.expect(status);
    let text = reply.text();
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    let error: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(error["errorType"], kind, "{text}");
    assert!(error["errorMessage"].is_string(), "{text}");
}

#[test]
fn a_put_is_given_a_key_of_forty_digits() {
    let rig = Rig::new();
    for text in ["", "body"] {
        let location = rig.put(text);
        let key = location.strip_prefix("/DataFile/").unwrap();
        assert!(key.len() == 40 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{key}");
        let reply = rig.ask(&format!("GET {location}"), "").expect(200);
        assert_eq!(reply.text(), text);
        assert_eq!(reply.header("accept-ranges"), Some("bytes"));
        assert_eq!(reply.header("content-length"), Some(text.len().to_string().as_str()));
    }
}

#[test]
fn a_put_without_a_sound_length_or_with_a_key_stores_nothing() {
    let rig = Rig::new();
    no(rig.ask("PUT /DataFile/", ""), 411, "MissingContentLength");
    no(rig.ask("PUT /DataFile/", "Transfer-Encoding: chunked\r\n"), 411, "MissingContentLength");
    no(rig.ask("PUT /DataFile/", "Content-Length: many\r\n"), 400, "BadRequest");
    let key = "0".repeat(40);
    no(rig.ask(&format!("PUT /DataFile/{key}"), "Content-Length: 0\r\n"), 400, "InvalidURI");
    assert_eq!(rig.bodies(), 0);
}

#[test]
fn a_get_honours_one_sound_range() {
    let rig = Rig::new();
    let location = rig.put("0123456789");
    let get = |range: &str| rig.ask(&format!("GET {location}"), &format!("Range: {range}\r\n"));
    for (range, bytes, text) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=0-99", "bytes 0-9/10", "0123456789"),
    ] {
        let reply = get(range).expect(206);
        assert_eq!((reply.header("content-range"), reply.text().as_str()), (Some(bytes), text));
    }
    let reply = get("bytes=10-");
    assert_eq!(reply.header("content-range"), Some("bytes */10"));
    no(reply, 416, "InvalidRange");
    for range in ["bytes=4-2", "bytes", "lines=1-2", "bytes=a-b"] {
        assert_eq!(get(range).expect(200).text(), "0123456789", "{range}");
    }
}

#[test]
fn a_delete_removes_once_and_absent_keys_are_not_found() {
    let rig = Rig::new();
    let location = rig.put("body");
    let reply = rig.ask(&format!("DELETE {location}"), "").expect(204);
    assert!(reply.body.is_empty());
    no(rig.ask(&format!("DELETE {location}"), ""), 404, "ObjNotFound");
    no(rig.ask(&format!("GET {location}"), ""), 404, "ObjNotFound");
    for key in ["", "0", &"0".repeat(39), &"A".repeat(40), "..%2f..%2fetc%2fpasswd", "../../format"] {
        no(rig.ask(&format!("GET /DataFile/{key}"), ""), 400, "InvalidURI");
        no(rig.ask(&format!("DELETE /DataFile/{key}"), ""), 400, "InvalidURI");
    }
}

#[test]
fn disk_usage_is_three_numbers() {
    let reply = Rig::new().ask("GET /DataFile?diskUsage", "").expect(200);
    let usage: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let [available, free, total] = ["available", "free", "total"].map(|name| usage[name].as_u64().unwrap());
    assert!(available <= free && free <= total && total > 0, "{usage}");
}

#[test]
fn other_services_and_methods_are_refused_and_the_request_id_comes_back() {
    let rig = Rig::new();
    for path in ["/", "/MDFile/x", "/DataFiles/", "/datafile/", "/PassthroughFile/a"] {
        no(rig.ask(&format!("GET {path}"), ""), 400, "InvalidAction");
    }
    for method in ["POST", "OPTIONS", "PATCH"] {
        let reply = rig.ask(&format!("{method} /DataFile/"), "Content-Length: 0\r\n");
        assert!(reply.header("allow").is_some());
        no(reply, 405, "MethodNotAllowed");
    }
    rig.ask("HEAD /DataFile/", "").expect(405);
    let reply = rig.ask("GET /", "X-Scal-Request-Uids: abc:def\r\n");
    assert_eq!(reply.header("x-scal-request-uids"), Some("abc:def"));
}

#[test]
fn a_body_that_is_cut_off_is_not_kept() {
    let rig = Rig::new();
    for sent in [0, 10, 300_000] {
        let mut stream = TcpStream::connect(rig.address).unwrap();
        stream.write_all(b"PUT /DataFile/ HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n").unwrap();
        stream.write_all(&body(sent)).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&rest));
    }
    wait_until("nothing is kept", || rig.bodies() == 0);
}

#[test]
fn a_failing_store_is_an_error_of_the_daemon() {
    let rig = Rig::new();
    let location = rig.put("body");
    let put = "PUT /DataFile/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    for (fault, status, kind) in [
        (Fault::Full, 507, "InsufficientStorage"),
        (Fault::ReadOnly, 503, "ServiceUnavailable"),
        (Fault::Io, 500, "InternalError"),
    ] {
        rig.store.plan(Step::BlobWrite, fault);
        no(rig.raw(put), status, kind);
    }
    rig.store.plan(Step::BlobRead, Fault::Corrupt);
    no(rig.ask(&format!("GET {location}"), ""), 500, "InternalError");
    rig.store.plan(Step::BlobDelete, Fault::Io);
    no(rig.ask(&format!("DELETE {location}"), ""), 500, "InternalError");
    assert_eq!(rig.ask(&format!("GET {location}"), "").expect(200).text(), "body");
    assert_eq!(rig.bodies(), 1);
}

fn read(blobs: &DataClient, id: &BlobId, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = blobs.read(id, range).map_err(io::Error::other)?;
    reader.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(blobs: &DataClient, body: &[u8]) -> Result<BlobId, WriteError> {
    let hint = BlobHint { length: Some(body.len() as u64), ..HINT };
    blobs.write(&mut &*body, &hint).map(|written| written.id)
}

#[test]
fn a_body_that_breaks_off_at_the_daemon_is_read_on_from_there() {
    let rig = Rig::new();
    let blobs = rig.client();
    let id = write(&blobs, &body(600_000)).unwrap();
    for cut in [0, 100_000] {
        rig.store.plan(Step::BlobReadAt(cut), Fault::Io);
        assert_eq!(read(&blobs, &id, 5..599_995).unwrap(), body(600_000)[5..599_995]);
    }
    (0..8).for_each(|_| rig.store.plan(Step::BlobReadAt(0), Fault::Io));
    assert!(read(&blobs, &id, 0..600_000).is_err());
}

#[test]
fn a_shorter_body_or_another_server_is_never_taken_for_the_body() {
    let rig = Rig::new();
    let blobs = rig.client();
    let id = write(&blobs, b"0123456789").unwrap();
    assert!(matches!(blobs.read(&id, 5..11), Err(StorageError::Corrupt(_))));
    assert!(matches!(blobs.read(&id, 10..11), Err(StorageError::Corrupt(_))));
    // An S3 server knows no data files; what it says of absence counts for nothing.
    let other = TestServer::memory();
    let blobs = client(other.address());
    assert!(matches!(blobs.read(&id, 0..1), Err(StorageError::Unavailable(_))));
    assert!(matches!(blobs.delete(&id), Err(StorageError::Unavailable(_))));
    assert!(matches!(write(&blobs, b"x"), Err(WriteError::Store(StorageError::Unavailable(_)))));
    assert_ne!(blobs.health().code, 200);
}

#[test]
fn a_daemon_that_is_away_or_silent_is_an_error_within_the_deadlines() {
    let mut rig = Rig::new();
    let id = write(&rig.client(), b"x").unwrap();
    let lost = rig.client();
    rig.lose();
    // Accepts by its backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for blobs in [lost, client(silent.local_addr().unwrap())] {
        let started = Instant::now();
        assert!(matches!(blobs.read(&id, 0..1), Err(StorageError::Unavailable(_))));
        for length in [1, 300_000] {
            let error = write(&blobs, &body(length)).unwrap_err();
            assert!(matches!(error, WriteError::Store(StorageError::Unavailable(_))), "{error:?}");
        }
        assert!(matches!(blobs.delete(&id), Err(StorageError::Unavailable(_))));
        assert_ne!(blobs.health().code, 200);
        assert!(started.elapsed() < DEADLINE);
    }
}

#[test]
fn a_body_that_proves_wrong_never_reaches_the_daemon_whole() {
    struct Failing(u64);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.0 as usize);
            self.0 -= count as u64;
            if count == 0 { Err(io::Error::other("wrong digest")) } else { Ok(count) }
        }
    }
    let rig = Rig::new();
    let blobs = rig.client();
    for sent in [10, 300_000] {
        for length in [Some(sent), None] {
            let hint = BlobHint { length, ..HINT };
            let error = blobs.write(&mut Failing(sent), &hint).unwrap_err();
            assert!(matches!(error, WriteError::Body(_)), "{error:?}");
        }
    }
    wait_until("nothing is kept", || rig.bodies() == 0);
}

/// A front end over a daemon.
fn over(rig: &Rig) -> TestServer {
    let folder = Folder::new();
    TestServer::start("data_daemon", rig.front_end(&folder), Some(folder))
}

#[test]
fn objects_live_with_the_daemon_and_leave_it() {
    let rig = Rig::new();
    let server = over(&rig);
    server.bucket("bucket");
    for (length, bodies) in [(0, 0), (1, 1), (300_000, 1)] {
        server.put("/bucket/key", &body(length)).expect(200);
        wait_until("the old body is gone", || rig.bodies() == bodies);
        assert_eq!(server.get("/bucket/key").expect(200).body, body(length));
    }
    let range = [("range", "bytes=299990-")];
    assert_eq!(server.send("GET", "/bucket/key", &range, b"").expect(206).body, body(300_000)[299_990..]);
    server.delete("/bucket/key").expect(204);
    wait_until("nothing is left", || rig.bodies() == 0);
}

#[test]
fn a_write_that_fails_leaves_neither_an_object_nor_a_body() {
    let rig = Rig::new();
    let server = over(&rig);
    server.bucket("bucket");
    server.put("/bucket/kept", b"kept").expect(200);
    for length in [1_000, 300_000] {
        rig.store.plan(Step::BlobWrite, Fault::Full);
        server.put("/bucket/key", &body(length)).expect_error(507, "InsufficientStorage");
        rig.store.plan(Step::BlobWriteAt(500), Fault::Full);
        server.put("/bucket/key", &body(length)).expect_error(507, "InsufficientStorage");
        // Refused at the commit, when the body is with the daemon already.
        let absent = [("if-none-match", "*")];
        server.send("PUT", "/bucket/kept", &absent, &body(length)).expect_error(412, "PreconditionFailed");
        // Last: the daemon may notice the cut of the large one late, and would take a fault meant for others.
        let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
        server.send("PUT", "/bucket/key", &wrong, &body(length)).expect_error(400, "BadDigest");
    }
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
    wait_until("one body is left", || rig.bodies() == 1);
    assert_eq!(server.get("/bucket/kept").expect(200).body, b"kept");
}

#[test]
fn a_front_end_whose_daemon_is_away_says_so_and_goes_on_when_it_is_back() {
    let mut rig = Rig::new();
    let server = over(&rig);
    server.bucket("bucket");
    server.put("/bucket/key", b"body").expect(200);
    rig.lose();
    server.get("/bucket/key").expect_error(503, "ServiceUnavailable");
    server.put("/bucket/key", b"new").expect_error(503, "ServiceUnavailable");
    server.put("/bucket/new", &body(300_000)).expect_error(503, "ServiceUnavailable");
    server.get("/bucket/new").expect_error(404, "NoSuchKey");
    server.head("/bucket/key").expect(200);
    server.anonymous().get("/ready").expect(503);
    let listen = Listen { addresses: vec![rig.address], origin: "test".to_owned() };
    let served = daemon::data_of(rig.store.clone(), &Arc::new(Log::off()));
    rig.daemon = Some(Daemon::start(daemon::bind(&listen).unwrap(), 4, served).unwrap());
    assert_eq!(server.get("/bucket/key").expect(200).body, b"body");
    server.put("/bucket/new", b"new").expect(200);
    server.anonymous().get("/ready").expect(200);
}

/// A front end with files of its own and a daemon beside it.
fn with_daemon(folder: &Folder, address: SocketAddr) -> Config {
    let listen = Listen { addresses: vec![address], origin: "config.json: dataDaemon".to_owned() };
    Config { data_daemon: Some(listen), ..file_config(folder) }
}

fn start(config: Config) -> Result<s3pail::server::Server, String> {
    s3pail::server::Server::start(config, Arc::new(Log::off()))
}

#[test]
fn a_daemon_beside_a_front_end_keeps_what_others_wrote_through_every_sweep() {
    let any = "127.0.0.1:0".parse().unwrap();
    let folder = Folder::new();
    let server = start(with_daemon(&folder, any)).unwrap();
    let address = server.daemons()[0].addresses()[0];
    let blobs = client(address);
    let id = write(&blobs, &body(100_000)).unwrap();
    server.stop(DEADLINE).unwrap();
    assert!(read(&blobs, &id, 0..1).is_err(), "the daemon ends with its server");
    // As after a crash: the mark of an orderly end is taken away, so that the next start sweeps.
    let records = || {
        let options = s3pail::storage::file_meta::FileMetaOptions::new(SyncMode::None);
        s3pail::storage::file_meta::FileMeta::open(&folder.0.join("metadata"), options).unwrap()
    };
    s3pail::housekeeping::take_clean_mark(&records()).unwrap();
    let own = s3pail::storage::file_blobs::FileBlobs::open(&folder.0.join("data"), SyncMode::None).unwrap();
    let orphan = own.write(&mut b"orphan".as_slice(), &HINT).unwrap().id;
    drop(own);
    let server = start(with_daemon(&folder, any)).unwrap();
    wait_until("the sweep is over", || matches!(server.service().blobs.read(&orphan, 0..0), Ok(None)));
    let blobs = client(server.daemons()[0].addresses()[0]);
    assert_eq!(read(&blobs, &id, 0..100_000).unwrap(), body(100_000));
    // Whoever shares the records finds it without the daemon, and the daemon finds the front end's.
    assert!(server.service().blobs.read(&id, 0..100_000).unwrap().is_some());
    let own = server.service().blobs.write(&mut b"own".as_slice(), &HINT).unwrap().id;
    assert_eq!(read(&blobs, &own, 0..3).unwrap(), b"own");
    server.stop(DEADLINE).unwrap();
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = Folder::new();
    let error = start(with_daemon(&folder, address)).err().unwrap();
    assert!(error.starts_with(&format!("config.json: dataDaemon: cannot listen on {address}: ")), "{error}");
}
