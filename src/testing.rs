//! A server inside the process of a test: [`TestServer`].

use crate::codec::clock::Millis;
use crate::config::Config;
use crate::config::fixture::{NamedBucket, Start};
use crate::config::given::{Given, Origin};
use crate::content::actor::{Actor, Answer, Call};
use crate::content::{init, named_buckets};
use crate::fixture::faults::{Counted, Rule};
use crate::fixture::journal::{Counts, Entry, Filter};
use crate::fixture::namespace::{Keep, Namespace, State};
use crate::fixture::{Fixture, Refused, routes};
use crate::http::Method;
use crate::lifecycle::Report;
use crate::log::Log;
use crate::server::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a server that is dropped waits for requests under way.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A key pair that opens a [`TestServer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
}

/// An S3 server for one test: everything in memory, on a loopback port that the system chooses, gone when
/// it is dropped. There may be many of them in a process. No async runtime is needed, and none is in the
/// way.
///
/// ```
/// let server = s3pail::TestServer::start().with_buckets(["photos", "public:public-read"]);
/// assert!(server.endpoint().starts_with("http://127.0.0.1:"));
/// assert_eq!(server.credentials().access_key, "accessKey1");
///
/// // Any S3 client can be pointed at the endpoint. For set-up and assertions none is needed:
/// server.put("/photos/cat.jpg", b"meow");
/// assert_eq!(server.get("/photos/cat.jpg").body, b"meow");
///
/// // Back to what was there before the test.
/// server.reset();
/// assert_eq!(server.get("/photos/cat.jpg").status, 404);
/// assert_eq!(server.get("/photos").status, 200);
/// ```
///
/// Requests can be made to fail, and are noted:
///
/// ```
/// use s3pail::fixture::faults::Rule;
/// use s3pail::fixture::journal::Filter;
/// use std::io::{Read, Write};
///
/// let server = s3pail::TestServer::start().with_buckets(["box:public-read"]);
/// server.put("/box/k", b"value");
/// let rule = Rule { operation: Some("GetObject".into()), nth: Some(1), status: Some(503), ..Rule::default() };
/// server.add_fault(rule).unwrap();
///
/// let get = || {
///     let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
///     stream.write_all(b"GET /box/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer).unwrap();
///     answer
/// };
/// assert!(get().starts_with("HTTP/1.1 503 "));
/// assert!(get().ends_with("value"));
///
/// let gets = server.journal(&Filter { operation: Some("GetObject".into()), ..Filter::default() });
/// assert_eq!(gets.iter().map(|entry| entry.status).collect::<Vec<_>>(), [503, 200]);
/// ```
///
/// Time is the test's:
///
/// ```
/// let server = s3pail::TestServer::start().with_buckets(["box"]);
/// server.freeze();
/// server.set_time(1_893_456_000_000); // 2030-01-01T00:00:00Z
/// server.put("/box/k", b"");
/// let modified = server.get("/box/k").header("last-modified").map(str::to_owned);
/// assert_eq!(modified.as_deref(), Some("Tue, 01 Jan 2030 00:00:00 GMT"));
/// ```
pub struct TestServer {
    /// Taken when the server is dropped.
    server: Option<Server>,
    fixture: Arc<Fixture>,
    address: SocketAddr,
}

impl TestServer {
    /// A server with the built-in accounts and nothing in it.
    ///
    /// # Panics
    /// When the system has no port or no threads to give.
    pub fn start() -> TestServer {
        match TestServer::with_config(Config::in_memory()) {
            Ok(server) => server,
            Err(error) => panic!("the test server does not start: {error}"),
        }
    }

    /// A server of this configuration, with the fixture profile on.
    ///
    /// # Errors
    /// A sentence that says what cannot be opened or bound, and why.
    pub fn with_config(config: Config) -> Result<TestServer, String> {
        let start = Start { fixture: true, ..config.start };
        let server = Server::start(Config { start, ..config }, Arc::new(Log::off()))?;
        let fixture = server.fixture().ok_or("the fixture profile is off")?.clone();
        let address = *server.addresses().first().ok_or("no address to listen on")?;
        Ok(TestServer { server: Some(server), fixture, address })
    }

    /// Adds buckets to what is there at the start, each as `name` or `name:public-read` (or
    /// `name:public-read-write`). Whatever else was written before is gone.
    ///
    /// # Panics
    /// For a name that no bucket can have.
    pub fn with_buckets<'b>(self, buckets: impl IntoIterator<Item = &'b str>) -> TestServer {
        let parse = |text| NamedBucket::parse(text).unwrap_or_else(|| panic!("{text:?} is not a bucket"));
        let buckets: Vec<NamedBucket> = buckets.into_iter().map(parse).collect();
        if let Err(error) = self.fixture.change_start(|s3| named_buckets(s3, &buckets)) {
            panic!("{error}");
        }
        self
    }

    /// Adds the buckets and objects of a document as of `--init` to what is there at the start. Whatever
    /// else was written before is gone.
    ///
    /// ```
    /// let server = s3pail::TestServer::start()
    ///     .with_init(r#"{ "buckets": [{ "name": "box", "versioning": "Enabled",
    ///         "objects": [{ "key": "hello", "text": "world" }] }] }"#)
    ///     .unwrap();
    /// assert!(server.get("/box/hello").header("x-amz-version-id").is_some());
    /// ```
    ///
    /// # Errors
    /// A sentence with the path in the document, the value and what is allowed.
    pub fn with_init(self, document: &str) -> Result<TestServer, String> {
        let value = serde_json::from_str(document).map_err(|error| format!("not JSON: {error}"))?;
        let origin = Origin::File { file: "document".to_owned(), key: String::new() };
        let given = Given { value, origin };
        self.fixture.change_start(|s3| init::apply(s3, &given, None))?;
        Ok(self)
    }

    /// Where it listens, as S3 clients take it: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A key pair of the first account, which owns what [`TestServer::with_buckets`] and the requests
    /// without a client make. Any region will do.
    pub fn credentials(&self) -> Credentials {
        let service = self.fixture.service();
        let pair = service.accounts().first_key();
        let (access_key, secret_key) =
            pair.map_or(("", ""), |(key, credential)| (key, credential.secret.as_str()));
        Credentials { access_key: access_key.to_owned(), secret_key: secret_key.to_owned() }
    }

    /// Buckets, objects, clock, fault rules and journal as they were at the start.
    ///
    /// # Panics
    /// When there are no threads to give, or the configuration keeps anything outside of memory.
    pub fn reset(&self) {
        self.must(self.namespace().reset(&State::Start, Keep::default()));
    }

    /// Keeps the buckets and objects of now under a name.
    ///
    /// # Errors
    /// For a name that cannot be one, and when there are too many.
    pub fn snapshot(&self, name: &str) -> Result<(), Refused> {
        self.namespace().snapshot(name)
    }

    /// Puts buckets and objects back to a snapshot and leaves everything else as it is.
    ///
    /// # Errors
    /// When there is no snapshot of that name.
    pub fn restore(&self, name: &str) -> Result<(), Refused> {
        self.namespace().restore(&State::Snapshot(name.to_owned()))
    }

    /// What requests without the header `x-s3pail-namespace` see.
    pub fn namespace(&self) -> &Arc<Namespace> {
        self.fixture.default_namespace()
    }

    /// What requests with this value of `x-s3pail-namespace` see, made as a copy of the start on first use.
    ///
    /// # Errors
    /// For a name that cannot be one, and when there are too many.
    pub fn namespace_of(&self, name: &str) -> Result<Arc<Namespace>, Refused> {
        self.fixture.namespace(name)
    }

    /// Ends a namespace with everything in it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn drop_namespace(&self, name: &str) -> Result<(), Refused> {
        self.fixture.drop_namespace(name)
    }

    /// The requests that fit, oldest first. Those of [`TestServer::request`] are not among them.
    pub fn journal(&self, filter: &Filter) -> Vec<Entry> {
        self.namespace().journal().entries(filter, routes::ENTRIES_ANSWERED_MAX)
    }

    /// How many requests there were.
    pub fn counts(&self) -> Counts {
        self.namespace().journal().counts()
    }

    /// Adds a fault rule and returns its name.
    ///
    /// # Errors
    /// For a rule that does nothing or cannot be, with what is allowed.
    pub fn add_fault(&self, rule: Rule) -> Result<String, Refused> {
        self.namespace().add_fault(rule)
    }

    /// The fault rules with their counts.
    pub fn faults(&self) -> Vec<Counted> {
        self.namespace().faults().list()
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.namespace().faults().clear();
    }

    /// The time of the server, in milliseconds since 1970.
    pub fn now(&self) -> Millis {
        self.namespace().service().clock.now()
    }

    /// Stops the clock.
    pub fn freeze(&self) {
        self.namespace().service().clock.freeze();
    }

    /// Lets a frozen clock go on.
    pub fn resume(&self) {
        self.namespace().service().clock.resume();
    }

    /// Sets the clock, in milliseconds since 1970. A frozen one stays frozen.
    pub fn set_time(&self, now: Millis) {
        self.namespace().service().clock.set(now);
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.namespace().service().clock.advance(by_ms);
    }

    /// Carries out lifecycle rules now, by the server's clock.
    pub fn run_lifecycle(&self) -> Report {
        self.namespace().run_lifecycle()
    }

    /// Makes request, version and upload ids the same on each run; `None` makes them random again.
    pub fn seed_ids(&self, seed: Option<u64>) {
        self.namespace().seed_ids(seed);
    }

    /// Sends a request without a connection and without a signature, on behalf of the first account.
    /// `target` is path and query, percent-encoded. Fault rules and the journal do not see it.
    ///
    /// # Panics
    /// When no account has a key.
    pub fn request(&self, method: Method, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let realm = self.namespace().realm();
        let actor = self.must(Actor::first(realm.s3()));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut call = Call { query, ..Call::new(method, path) };
        if !body.is_empty() {
            call = call.with_body(body.to_vec());
        }
        call.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        actor.call(call)
    }

    /// GET, as [`TestServer::request`].
    pub fn get(&self, target: &str) -> Answer {
        self.request(Method::Get, target, &[], b"")
    }

    /// PUT, as [`TestServer::request`].
    pub fn put(&self, target: &str, body: &[u8]) -> Answer {
        self.request(Method::Put, target, &[], body)
    }

    fn must<T>(&self, done: Result<T, impl std::fmt::Display>) -> T {
        done.unwrap_or_else(|error| panic!("{}: {error}", self.endpoint()))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // Nothing outlives it, so there is nothing to lose.
            let _ = server.stop(STOP_GRACE);
        }
    }
}
