//! The metadata daemon: a record store behind HTTP, for front ends in other processes.
//!
//! Calls mirror [`MetaStore`], in the JSON of [`crate::storage::meta_wire`]: `get`, `scan` (one page of
//! at most [`PAGE_RECORDS_MAX`] records), `commit`, `sync` with POST, and `status` with GET. What a commit
//! expects is decided inside the store's commit, as in one process.
//!
//! A commit whose answer is lost is sent again with the same token. The daemon remembers the outcomes of
//! the last [`TOKENS_MAX`] commits of its run and answers such a one with the outcome that it had; when it
//! cannot know whether the first one was made (a later run, too long ago, still under way), it says so and
//! does nothing. Nothing of this is kept on disk: a commit that was sent to an earlier run is in doubt for
//! whoever sent it, which costs its client a 503, and never a wrong answer.

use crate::codec::{hex, random, sequence};
use crate::http::{Body, Handler, Headers, Method, Refusal, Request, Response, ResponseBody};
use crate::log::{Field, Level, Log};
use crate::storage::meta_wire::{
    self, Bytes, COMMIT_BYTES_MAX, Commit, Committed, ErrorType, Get, Got, PAGE_BYTES_MAX, PAGE_RECORDS_MAX,
    PATH_PREFIX, PROTOCOL, Page, Protocol, REQUEST_BYTES_MAX, REQUEST_UIDS, SEQUENCE, Scan, Status,
    batch_bytes,
};
use crate::storage::{MetaStore, Outcome, StorageError, Visit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The commits whose outcomes are remembered; about 150 bytes each. A front end gives up on a commit after
/// [`crate::storage::remote_meta::DEADLINES`], in which few daemons take on so many.
pub const TOKENS_MAX: usize = 65_536;

/// The length of a token: 16 random bytes in hexadecimal.
const TOKEN_DIGITS: usize = 32;

/// How long a repeated commit waits for the first one to be decided.
const TWIN_WAIT_MAX: Duration = Duration::from_secs(10);

/// The most bytes of request ids that are taken over.
const UIDS_BYTES_MAX: usize = 256;

/// What container tools poll, as at a front end: 200 while writes would succeed.
const LIVE: &str = "/live";

/// Serves a record store.
pub struct MetadataDaemon {
    store: Arc<dyn MetaStore>,
    log: Arc<Log>,
    run: String,
    book: Book,
}

/// Why a call is refused.
struct Refused(ErrorType, String);

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Refused {
        let (kind, text) = ErrorType::of(&error);
        Refused(kind, text)
    }
}

type Answer = std::result::Result<Vec<u8>, Refused>;

impl MetadataDaemon {
    /// A new run of a daemon over a store.
    pub fn new(store: Arc<dyn MetaStore>, log: Arc<Log>) -> MetadataDaemon {
        MetadataDaemon::remembering(store, log, TOKENS_MAX)
    }

    /// The same, with room for so many outcomes.
    pub fn remembering(store: Arc<dyn MetaStore>, log: Arc<Log>, tokens_max: usize) -> MetadataDaemon {
        MetadataDaemon { store, log, run: hex(&random::<8>()), book: Book::new(tokens_max) }
    }

    fn answer(&self, method: Method, path: &str, body: Body<'_>) -> Answer {
        if path == LIVE {
            require(method, Method::Get)?;
            let health = self.store.health();
            return if health.code == 200 {
                Ok(b"{}".to_vec())
            } else {
                Err(Refused(ErrorType::Unavailable, health.message))
            };
        }
        let name = path.strip_prefix(PATH_PREFIX).unwrap_or("");
        let call: fn(&MetadataDaemon, &[u8]) -> Answer = match name {
            "status" => {
                require(method, Method::Get)?;
                return self.status();
            }
            "get" => MetadataDaemon::get,
            "scan" => MetadataDaemon::scan,
            "commit" => MetadataDaemon::commit,
            "sync" => MetadataDaemon::sync,
            _ => {
                let text =
                    format!("there is no {path}; allowed: {PATH_PREFIX}status, get, scan, commit, sync");
                return Err(Refused(ErrorType::UnknownCall, text));
            }
        };
        require(method, Method::Post)?;
        call(self, &read_body(body)?)
    }

    fn status(&self) -> Answer {
        let health = self.store.health();
        write(&Status {
            protocol: PROTOCOL,
            run: self.run.clone(),
            commits: self.book.taken_on(),
            code: health.code,
            message: health.message,
        })
    }

    fn get(&self, body: &[u8]) -> Answer {
        let Get { key, .. } = read(body)?;
        write(&Got { value: self.store.get(&key.0)?.map(Bytes) })
    }

    fn scan(&self, body: &[u8]) -> Answer {
        let Scan { start, end, records_max, .. } = read(body)?;
        let records_max = records_max.clamp(1, PAGE_RECORDS_MAX);
        let mut page = Page { records: Vec::new(), more: false };
        let mut bytes = 0;
        self.store.scan_few(start.0.as_slice()..end.0.as_slice(), records_max, &mut |key, value| {
            if page.records.len() >= records_max || bytes >= PAGE_BYTES_MAX {
                page.more = true;
                return Visit::Stop;
            }
            bytes += key.len() + value.len();
            page.records.push((Bytes(key.to_vec()), Bytes(value.to_vec())));
            Visit::Next
        })?;
        write(&page)
    }

    fn commit(&self, body: &[u8]) -> Answer {
        let commit: Commit = read(body)?;
        if commit.token.len() != TOKEN_DIGITS || !commit.token.bytes().all(|digit| digit.is_ascii_hexdigit())
        {
            return Err(bad_request("token: allowed: 32 hexadecimal digits"));
        }
        if commit.run != self.run {
            let text = format!("this is run {} of the daemon, and the commit is for another", self.run);
            return Err(Refused(ErrorType::OtherRun, text));
        }
        let before = commit.repeated.then_some(commit.seen);
        let outcome = match self.book.enter(&commit.token, before)? {
            Entry::Decided(outcome) => outcome,
            Entry::New(mut turn) => {
                let batch = commit.into_batch();
                let bytes = batch_bytes(&batch);
                if bytes > COMMIT_BYTES_MAX {
                    return Err(bad_request(format!(
                        "a commit of {bytes} bytes; allowed: {COMMIT_BYTES_MAX}"
                    )));
                }
                let outcome = self.store.commit(batch)?;
                turn.outcome = Some(outcome);
                outcome
            }
        };
        write(&Committed { outcome, commits: self.book.taken_on() })
    }

    fn sync(&self, body: &[u8]) -> Answer {
        #[derive(serde::Deserialize)]
        struct Sync {
            #[serde(rename = "protocol")]
            _protocol: Protocol,
        }
        let _: Sync = read(body)?;
        self.store.sync()?;
        Ok(b"{}".to_vec())
    }

    fn write_log(&self, what: &Logged<'_>, response: &Response, cause: Option<&String>) {
        let level = if response.status >= 500 { Level::Error } else { Level::Debug };
        let client = what.peer.map(|peer| peer.ip().to_string());
        let elapsed = u64::try_from(what.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let fields = [
            ("req_id", Field::from(what.uids)),
            ("clientIP", client.as_ref().into()),
            ("httpMethod", what.method.as_str().into()),
            ("httpURL", Field::from(what.path)),
            ("httpCode", response.status.into()),
            ("elapsed_us", elapsed.into()),
            ("cause", cause.into()),
        ];
        self.log.write(level, "metadata call", &fields);
    }
}

/// What the log says of a call.
struct Logged<'l> {
    uids: &'l str,
    peer: Option<SocketAddr>,
    method: Method,
    path: &'l str,
    started: Instant,
}

impl Handler for MetadataDaemon {
    fn handle(&self, request: Request<'_>) -> Response {
        let started = Instant::now();
        let Request { method, path, headers, peer, body, .. } = request;
        observe(&headers);
        let uids = uids_of(&headers);
        // The answer of a call that panics is an error; its token is given back by the guard it held.
        let answer = catch_unwind(AssertUnwindSafe(|| self.answer(method, &path, body)))
            .unwrap_or_else(|_| Err(Refused(ErrorType::InDoubt, "the call ended in a panic".to_owned())));
        let (mut response, cause) = match answer {
            Ok(body) => (json(200, body), None),
            Err(Refused(kind, text)) => (refuse(kind, &text), Some(text)),
        };
        response.push_header(SEQUENCE, sequence::last().to_string());
        response.push_header(REQUEST_UIDS, uids.clone());
        let what = Logged { uids: &uids, peer, method, path: &path, started };
        self.write_log(&what, &response, cause.as_ref());
        response
    }

    fn refuse(&self, refusal: Refusal, _: Option<SocketAddr>) -> Response {
        let (kind, text) = match refusal {
            Refusal::BadRequest(why) => (ErrorType::BadRequest, why),
            Refusal::TooManyConnections => (ErrorType::Unavailable, "too many connections"),
            Refusal::HeadTimeout => (ErrorType::BadRequest, "the request did not arrive in time"),
            Refusal::RequestLineTooLong => (ErrorType::BadRequest, "the request line is too long"),
            Refusal::HeadersTooLarge => (ErrorType::BadRequest, "the headers are too large"),
            Refusal::UnknownTransferCoding => (ErrorType::BadRequest, "the transfer coding is not known"),
            Refusal::VersionNotSupported => (ErrorType::BadRequest, "the HTTP version is not known"),
        };
        let mut response = refuse(kind, text);
        response.close = true;
        response
    }
}

fn observe(headers: &Headers) {
    let seen = headers.get(SEQUENCE).and_then(|value| value.parse().ok());
    seen.into_iter().for_each(sequence::observe);
}

/// The ids that the caller gave its request, or one of our own.
fn uids_of(headers: &Headers) -> String {
    let printable = |uids: &&str| !uids.is_empty() && uids.len() <= UIDS_BYTES_MAX && is_printable(uids);
    let given = headers.get(REQUEST_UIDS).filter(printable).map(str::to_owned);
    given.unwrap_or_else(|| hex(&random::<10>()))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn require(method: Method, allowed: Method) -> std::result::Result<(), Refused> {
    if method == allowed {
        return Ok(());
    }
    let text = format!("method {}; allowed: {}", method.as_str(), allowed.as_str());
    Err(Refused(ErrorType::MethodNotAllowed, text))
}

fn bad_request(text: impl Into<String>) -> Refused {
    Refused(ErrorType::BadRequest, text.into())
}

fn read_body(mut body: Body<'_>) -> std::result::Result<Vec<u8>, Refused> {
    let too_large = || {
        let text = format!("the body is too large; allowed: {REQUEST_BYTES_MAX} bytes");
        Refused(ErrorType::RequestTooLarge, text)
    };
    // Said before anything is read, so that an honest client does not send in vain.
    if body.length().is_some_and(|length| length > REQUEST_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let read = (&mut body).take(REQUEST_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| bad_request(format!("the body cannot be read: {error}")))?;
    if bytes.len() > REQUEST_BYTES_MAX { Err(too_large()) } else { Ok(bytes) }
}

fn read<Q: DeserializeOwned>(body: &[u8]) -> std::result::Result<Q, Refused> {
    serde_json::from_slice(body).map_err(|error| bad_request(format!("the body is not this call's: {error}")))
}

fn write(answer: &impl Serialize) -> Answer {
    serde_json::to_vec(answer).map_err(|error| Refused(ErrorType::Io, error.to_string()))
}

fn refuse(kind: ErrorType, text: &str) -> Response {
    let (name, status) = kind.row();
    let refusal = meta_wire::Refusal { error_type: name.to_owned(), error_message: text.to_owned() };
    json(status, serde_json::to_vec(&refusal).expect("two texts are JSON"))
}

fn json(status: u16, body: Vec<u8>) -> Response {
    Response::new(status).header("Content-Type", "application/json").body(ResponseBody::Bytes(body))
}

/// The outcomes of the last commits of this run, by their tokens.
struct Book {
    pages: Mutex<Pages>,
    decided: Condvar,
    tokens_max: usize,
}

#[derive(Default)]
struct Pages {
    /// How many commits have been taken on.
    taken_on: u64,
    /// Up to which of them the outcomes are forgotten.
    forgotten: u64,
    /// Their tokens, in the order in which they were taken on.
    order: VecDeque<(u64, String)>,
    /// `None` while one is being made.
    outcomes: HashMap<String, Option<Outcome>>,
}

/// What the book says of a commit.
enum Entry<'b> {
    /// It is new, and to be made now.
    New(Turn<'b>),
    /// It was made before.
    Decided(Outcome),
}

/// The right to make a commit. When it ends, the outcome is entered; without one the token is free again,
/// as the store answered with an error, which is not repeated.
struct Turn<'b> {
    book: &'b Book,
    token: String,
    outcome: Option<Outcome>,
}

impl Book {
    fn new(tokens_max: usize) -> Book {
        Book { pages: Mutex::default(), decided: Condvar::new(), tokens_max }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // Every change is one insertion or removal, so a panic leaves the pages valid.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken_on(&self) -> u64 {
        self.lock().taken_on
    }

    /// Enters a commit. `before` is given for a repeated one: the commits that its sender knew of.
    fn enter(&self, token: &str, before: Option<u64>) -> std::result::Result<Entry<'_>, Refused> {
        let in_doubt = |text: &str| Refused(ErrorType::InDoubt, text.to_owned());
        let pages = self.lock();
        let under_way = |pages: &mut Pages| pages.outcomes.get(token) == Some(&None);
        let waited = self.decided.wait_timeout_while(pages, TWIN_WAIT_MAX, under_way);
        let (mut pages, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(in_doubt("the commit is still being made"));
        }
        if let Some(Some(outcome)) = pages.outcomes.get(token) {
            return Ok(Entry::Decided(*outcome));
        }
        if before.is_some_and(|seen| seen < pages.forgotten) {
            return Err(in_doubt("the commit was first sent too long ago to know whether it was made"));
        }
        pages.take_on(token, self.tokens_max);
        Ok(Entry::New(Turn { book: self, token: token.to_owned(), outcome: None }))
    }
}

impl Pages {
    fn take_on(&mut self, token: &str, tokens_max: usize) {
        self.taken_on += 1;
        self.outcomes.insert(token.to_owned(), None);
        self.order.push_back((self.taken_on, token.to_owned()));
        while self.order.len() > tokens_max {
            let Some((number, oldest)) = self.order.pop_front() else { return };
            self.outcomes.remove(&oldest);
            self.forgotten = number;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut pages = self.book.lock();
        match self.outcome {
            Some(outcome) => {
                if let Some(entry) = pages.outcomes.get_mut(&self.token) {
                    *entry = Some(outcome);
                }
            }
            None => _ = pages.outcomes.remove(&self.token),
        }
        drop(pages);
        self.book.decided.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(book: &Book, token: &str, outcome: Outcome) {
        match book.enter(token, None) {
            Ok(Entry::New(mut turn)) => turn.outcome = Some(outcome),
            _ => panic!("{token} was known"),
        }
    }

    #[test]
    fn a_repeated_commit_has_the_outcome_that_it_had() {
        let book = Book::new(2);
        decide(&book, "a", Outcome::Committed);
        decide(&book, "b", Outcome::Conflict);
        assert!(matches!(book.enter("a", Some(0)), Ok(Entry::Decided(Outcome::Committed))));
        assert!(matches!(book.enter("b", Some(1)), Ok(Entry::Decided(Outcome::Conflict))));
        decide(&book, "c", Outcome::Committed);
        // "a" is forgotten: whoever knew of no commit before it may mean it.
        assert!(matches!(book.enter("a", Some(0)), Err(Refused(ErrorType::InDoubt, _))));
        // Whoever knew of it when sending a later one cannot mean a forgotten one.
        assert!(matches!(book.enter("d", Some(1)), Ok(Entry::New(_))));
    }

    #[test]
    fn a_commit_that_fails_may_be_sent_again() {
        let book = Book::new(2);
        drop(book.enter("a", None));
        assert!(matches!(book.enter("a", Some(0)), Ok(Entry::New(_))));
    }
}
