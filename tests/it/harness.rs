//! A server on a port of its own for each test and backend, and a client that signs.
//!
//! `for_each_backend(|server| ...)` runs a test on memory and on files, and on request on remote stores. `server.put("/b/k", body)` and
//! its siblings sign as Bart (`accessKey1`); `server.as_lisa()` gives the other account,
//! `server.anonymous()` nobody. A [`Reply`] knows its status, headers, body and S3 error code.

use super::data_daemon::Rig;
use super::stand_in::sproxyd::{Node, Ring};
use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::codec::hex;
use s3pail::config::{Backend, Config};
use s3pail::http::{Headers, Method};
use s3pail::log::Log;
use s3pail::ops::service::Service;
use s3pail::server::Server;
use s3pail::storage::fault::DiskFaults;
use s3pail::stores::Stores;
use serde_json::{Value, json};
use std::any::Any;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The cases of this suite that the tiny_http engine cannot pass, each with its reason. What it cannot
/// do beyond them stands at the top of `src/http/tiny.rs`.
const TINY_HTTP_CANNOT: [(&str, &str); 4] = [
    ("an upload that is cut off is answered", "TH-13: it ends the connection without an answer"),
    ("a head that is not HTTP is answered by the handler", "BI-049: the crate refuses it itself"),
    ("a stopped server ends its connections", "they stay open until their clients close them"),
    ("metadata outside of ASCII", "TH-17: a byte from 0x80 in a head ends the connection"),
];

/// Whether the engine that this build serves with cannot pass a case; says so when it cannot.
pub fn engine_cannot(case: &str) -> bool {
    let (_, reason) = TINY_HTTP_CANNOT.iter().find(|(name, _)| *name == case).expect("a listed case");
    if cfg!(feature = "tiny-http") {
        eprintln!("skipped on tiny_http: {case}: {reason}");
    }
    cfg!(feature = "tiny-http")
}

/// A folder that goes away with its owner.
pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty folder.
    pub fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("s3pail-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server.
pub struct TestServer {
    server: Option<Server>,
    client: Client,
    folder: Option<Folder>,
    /// What the server's locations live in.
    companions: Vec<Box<dyn Any + Send + Sync>>,
    /// What the backend is called in failures.
    pub backend: &'static str,
}

type Start = fn() -> TestServer;

/// What starts a server on each backend. The first two are run always, the others where
/// `S3PAIL_TEST_BACKENDS` asks for them.
const BACKENDS: [(&str, Start); 6] = [
    ("memory", TestServer::memory),
    ("file", TestServer::file),
    ("multiple", TestServer::multiple),
    ("scality", TestServer::scality),
    ("aws_s3", TestServer::aws_s3),
    ("data_daemon", TestServer::data_daemon),
];

/// Runs a test on every backend, with the backend's name in a failure. `S3PAIL_TEST_BACKENDS` chooses
/// others than memory and files: `all`, or names with commas between them.
#[track_caller]
pub fn for_each_backend(test: impl Fn(&TestServer)) {
    let wanted = std::env::var("S3PAIL_TEST_BACKENDS").unwrap_or_else(|_| "memory,file".to_owned());
    let wanted: Vec<&str> = wanted.split(',').collect();
    for name in &wanted {
        let known = *name == "all" || BACKENDS.iter().any(|(known, _)| known == name);
        assert!(known, "S3PAIL_TEST_BACKENDS: no backend {name:?}");
    }
    for (name, start) in BACKENDS {
        if wanted.contains(&"all") || wanted.contains(&name) {
            eprintln!("backend: {name}");
            test(&start());
        }
    }
}

impl TestServer {
    /// Everything in memory.
    pub fn memory() -> TestServer {
        TestServer::start("memory", Config::in_memory(), None)
    }

    /// Everything in files, unsynced.
    pub fn file() -> TestServer {
        let folder = Folder::new();
        TestServer::start("file", file_config(&folder), Some(folder))
    }

    /// Locations in memory and in files; buckets are in files unless they say otherwise.
    pub fn multiple() -> TestServer {
        TestServer::with_location("multiple", "file", json!({}), Vec::new())
    }

    /// Everything on a RING of two nodes.
    pub fn scality() -> TestServer {
        let ring = Arc::new(Ring::default());
        let nodes = [Node::start(&ring), Node::start(&ring)];
        let bootstrap: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
        let details = json!({ "connector": { "sproxyd": { "bootstrap": bootstrap, "chordCos": 3 } } });
        TestServer::with_location(
            "scality",
            "scality",
            details,
            vec![Box::new(Checked(ring)), Box::new(nodes)],
        )
    }

    /// Everything in a bucket of a second server.
    pub fn aws_s3() -> TestServer {
        let remote = TestServer::memory();
        remote.bucket("remote");
        let details = json!({
            "awsEndpoint": remote.address().to_string(), "https": false, "bucketName": "remote",
            "credentials": { "accessKey": "accessKey1", "secretKey": "verySecretKey1" },
        });
        TestServer::with_location("aws_s3", "aws_s3", details, vec![Box::new(remote)])
    }

    /// Bodies with a data daemon.
    pub fn data_daemon() -> TestServer {
        let (rig, folder) = (Rig::new(), Folder::new());
        let mut server = TestServer::start("data_daemon", rig.front_end(&folder), Some(folder));
        server.companions.push(Box::new(rig));
        server
    }

    /// A server whose data backend is `multiple` and whose `us-east-1` is of this type.
    fn with_location(
        backend: &'static str,
        kind: &str,
        details: Value,
        companions: Vec<Box<dyn Any + Send + Sync>>,
    ) -> TestServer {
        let folder = Folder::new();
        let mut config =
            Config { data: Backend::Multiple, metadata: Backend::Memory, ..file_config(&folder) };
        let location = config.locations.get_mut("us-east-1").unwrap();
        location.kind = kind.to_owned();
        location.details = details.as_object().unwrap().clone();
        let mut server = TestServer::start(backend, config, Some(folder));
        server.companions = companions;
        server
    }

    /// A server of a given configuration.
    pub fn start(backend: &'static str, config: Config, folder: Option<Folder>) -> TestServer {
        let server = Server::start(config, Arc::new(Log::off())).unwrap();
        let client = Client::new(server.addresses()[0], Some(("accessKey1", "verySecretKey1")));
        TestServer { server: Some(server), client, folder, companions: Vec::new(), backend }
    }

    /// A server on files whose every step `faults` sees.
    pub fn watched(config: Config, folder: Folder, faults: &Arc<DiskFaults>) -> TestServer {
        let stores = Stores::open_watched(&config, Some(faults.clone())).unwrap();
        TestServer::on_stores(config, folder, stores)
    }

    /// A server on stores of files that are open.
    pub fn on_stores(config: Config, folder: Folder, stores: Stores) -> TestServer {
        let listeners = vec![TcpListener::bind(config.listen[0]).unwrap()];
        let server = Server::start_on(config, stores, listeners, Arc::new(Log::off())).unwrap();
        let client = Client::new(server.addresses()[0], Some(("accessKey1", "verySecretKey1")));
        TestServer { server: Some(server), client, folder: Some(folder), companions: vec![], backend: "file" }
    }

    /// Stops the server and starts it again on the same files.
    pub fn restart(mut self) -> TestServer {
        self.server.take().unwrap().stop(DEADLINE).unwrap();
        let folder = self.folder.take().expect("only files outlive a server");
        TestServer::start("file", file_config(&folder), Some(folder))
    }

    /// Stops the server and returns the folder that its files are in.
    pub fn stop(mut self) -> Folder {
        self.server.take().unwrap().stop(DEADLINE).unwrap();
        self.folder.take().expect("only files outlive a server")
    }

    /// Stops a server whose stores may not be able to end in order.
    pub fn stop_anyhow(mut self) -> Folder {
        let _ = self.server.take().unwrap().stop(DEADLINE);
        self.folder.take().expect("only files outlive a server")
    }

    /// Stops a server whose stores cannot end in order, which it must say.
    pub fn stop_in_vain(mut self) -> Folder {
        self.server.take().unwrap().stop(DEADLINE).unwrap_err();
        self.folder.take().expect("only files outlive a server")
    }

    /// Where its files are.
    pub fn folder(&self) -> PathBuf {
        self.folder.as_ref().expect("a server of files").0.clone()
    }

    /// The shared state, for the clock and for looking behind the scenes.
    pub fn service(&self) -> &Arc<Service> {
        self.server.as_ref().unwrap().service()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.client.address
    }

    /// The second account.
    pub fn as_lisa(&self) -> Client {
        Client::new(self.address(), Some(("accessKey2", "verySecretKey2")))
    }

    /// Nobody.
    pub fn anonymous(&self) -> Client {
        Client::new(self.address(), None)
    }

    /// Creates a bucket and returns its path, `/name`.
    pub fn bucket(&self, name: &str) -> String {
        let path = format!("/{name}");
        self.put(&path, b"").expect(200);
        path
    }
}

impl std::ops::Deref for TestServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.stop(DEADLINE);
        }
        self.companions.clear();
    }
}

/// A RING that is asked at the end whether the protocol was kept.
struct Checked(Arc<Ring>);

impl Drop for Checked {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.check();
        }
    }
}

/// Everything in files, unsynced.
pub fn file_config(folder: &Folder) -> Config {
    Config {
        data: Backend::File,
        metadata: Backend::File,
        data_path: folder.0.join("data"),
        metadata_path: folder.0.join("metadata"),
        sync: s3pail::storage::SyncMode::None,
        ..Config::in_memory()
    }
}

/// Sends requests, each on a connection of its own, signed unless anonymous.
pub struct Client {
    /// The server.
    pub address: SocketAddr,
    keys: Option<(&'static str, &'static str)>,
}

impl Client {
    /// A client with a key pair, or without.
    pub fn new(address: SocketAddr, keys: Option<(&'static str, &'static str)>) -> Client {
        Client { address, keys }
    }

    /// GET
    pub fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], b"")
    }

    /// HEAD
    pub fn head(&self, target: &str) -> Reply {
        self.send("HEAD", target, &[], b"")
    }

    /// PUT
    pub fn put(&self, target: &str, body: &[u8]) -> Reply {
        self.send("PUT", target, &[], body)
    }

    /// POST
    pub fn post(&self, target: &str, body: &[u8]) -> Reply {
        self.send("POST", target, &[], body)
    }

    /// DELETE
    pub fn delete(&self, target: &str) -> Reply {
        self.send("DELETE", target, &[], b"")
    }

    /// Any request. `target` is the path and query as they go on the wire.
    pub fn send(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.raw(&self.request(method, target, fields, body), method == "HEAD")
    }

    /// The bytes of a request that asks for the connection to be closed.
    pub fn request(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = Headers::new();
        headers.push("host", &self.address.to_string());
        for (name, value) in fields {
            headers.push(name, value);
        }
        if let Some((access_key, secret)) = self.keys {
            let signer = Signer { access_key, secret, region: "us-east-1" };
            let head = Head { method: Method::parse(method), path, query, headers: &headers };
            let payload = hex(&s3pail::auth::keys::sha256(body));
            let signed = signer.sign(now(), &head, &payload);
            signed.fields.iter().for_each(|(name, value)| headers.push(name, value));
        }
        let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
        if !body.is_empty() || ["PUT", "POST"].contains(&method) {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers.iter() {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        [request.as_bytes(), body].concat()
    }

    /// Sends bytes as they are and reads one answer.
    pub fn raw(&self, request: &[u8], is_head: bool) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(request);
        Reply::read(&mut BufReader::new(stream), is_head)
    }
}

/// The system's time in milliseconds.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Waits until something holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads one answer.
    pub fn read(stream: &mut impl BufRead, is_head: bool) -> Reply {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status: u16 = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| {
            panic!("not a status line: {line:?}");
        });
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status == 100 {
            return Reply::read(stream, is_head);
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if !is_head && status != 304 {
            stream.take(length).read_to_end(&mut reply.body).unwrap();
        }
        reply
    }

    /// A header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The version that a write made or a read found.
    #[track_caller]
    pub fn version(&self) -> String {
        self.header("x-amz-version-id").expect("a version id").to_owned()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element of this name.
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// The texts of all elements of this name, entities untouched.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        text.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Fails unless it is this S3 error.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Reply {
        assert_eq!((self.status, self.element("Code").as_deref()), (status, Some(code)), "{}", self.text());
        self
    }
}
