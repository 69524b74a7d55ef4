//! Records that a metadata daemon keeps: the client of [`crate::daemon::metadata`].
//!
//! Reads are simply asked again when no answer comes. A commit is asked again too, but it must not be
//! made twice, nor reported as a conflict because it had already been made: it carries a token that the
//! daemon remembers, the id of the daemon's run, and how many commits that run was known to have taken
//! on. A daemon that was started anew, or that has since forgotten as many, does not decide a repeated
//! commit; then it is [`StorageError::InDoubt`], and the caller must conclude nothing.

use super::meta_wire::{
    ANSWER_BYTES_MAX, Bytes, COMMIT_BYTES_MAX, Commit, Committed, ErrorType, Get, Got, PAGE_RECORDS_MAX,
    PATH_PREFIX, PROTOCOL, Page, Protocol, REQUEST_UIDS, Refusal, SEQUENCE, Scan, Status, batch_bytes,
};
use super::remote::{Deadlines, agent};
use super::{
    Batch, Health, MetaStore, Outcome, Result, StorageError, SyncMode, Visit, check_batch, seek_target,
};
use crate::codec::{hex, random, sequence};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

/// Connections that are kept for later: about as many as there are workers.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How often a call is sent.
const TRIES_MAX: u32 = 4;
/// The pause before the second try; doubled before each further one.
const BACK_OFF: Duration = Duration::from_millis(50);
/// The records that are asked for after a seek, which commonly is followed by another; eight times as
/// many each time that they were not enough.
const RECORDS_AFTER_SEEK: usize = 8;

/// How long a metadata daemon may take. Shorter than what front ends' clients wait.
pub const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(3),
    answer: Duration::from_secs(15),
    idle: Duration::from_secs(10),
    attempts: Duration::from_secs(20),
};

/// Records in a metadata daemon.
pub struct RemoteMeta {
    base: String,
    agent: Agent,
    deadlines: Deadlines,
    /// What is known of the daemon's run. Held only to be read or replaced.
    session: Mutex<Option<Session>>,
}

/// A run of the daemon, and how many commits it was last known to have taken on.
#[derive(Clone)]
struct Session {
    run: String,
    seen: u64,
}

/// Why a call brought nothing.
enum Failed {
    /// It cannot have reached the daemon.
    NotSent(String),
    /// It may have reached the daemon.
    NoAnswer(String),
    /// The daemon says no.
    Refused(ErrorType, String),
}

type Called<T> = std::result::Result<T, Failed>;

impl RemoteMeta {
    /// A client of the daemon at `host:port`. Nothing is asked yet.
    pub fn new(address: &str, deadlines: Deadlines) -> RemoteMeta {
        RemoteMeta {
            base: format!("http://{address}{PATH_PREFIX}"),
            agent: agent(&deadlines, IDLE_CONNECTIONS_MAX),
            deadlines,
            session: Mutex::new(None),
        }
    }

    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        // A session is replaced as a whole, so a panic elsewhere leaves it valid.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes notice of how many commits a run has taken on.
    fn note(&self, run: &str, commits: u64) {
        let mut session = self.session();
        match session.as_mut().filter(|session| session.run == run) {
            Some(session) => session.seen = session.seen.max(commits),
            None => *session = Some(Session { run: run.to_owned(), seen: commits }),
        }
    }

    /// Asks which run of the daemon there is.
    fn status(&self) -> Called<Status> {
        let status: Status = self.call::<(), _>("status", None)?;
        if status.protocol != PROTOCOL {
            let text = format!(
                "{} speaks protocol {} and this front end {PROTOCOL}; both must be of one version",
                self.base, status.protocol
            );
            return Err(Failed::Refused(ErrorType::Unavailable, text));
        }
        self.note(&status.run, status.commits);
        Ok(status)
    }

    /// Sends one request and reads its answer.
    fn call<Q: Serialize, A: DeserializeOwned>(&self, name: &str, question: Option<&Q>) -> Called<A> {
        let uid = hex(&random::<10>());
        let request = Request::builder()
            .method(if question.is_some() { "POST" } else { "GET" })
            .uri(format!("{}{name}", self.base))
            .header("content-type", "application/json")
            .header(REQUEST_UIDS, &uid)
            .header(SEQUENCE, sequence::last().to_string());
        let described =
            |error: &dyn std::fmt::Display| format!("{}{name} (request {uid}): {error}", self.base);
        let request = request.body(()).map_err(|error| Failed::NotSent(described(&error)))?;
        let answer = match question {
            None => self.agent.run(request),
            Some(question) => {
                let body =
                    serde_json::to_vec(question).map_err(|error| Failed::NotSent(described(&error)))?;
                self.agent.run(request.map(|()| body))
            }
        };
        let answer = answer.map_err(|error| match is_unsent(&error) {
            true => Failed::NotSent(described(&error)),
            false => Failed::NoAnswer(described(&error)),
        })?;
        let status = answer.status().as_u16();
        observe(answer.headers());
        let body = read_answer(answer).map_err(|error| Failed::NoAnswer(described(&error)))?;
        if status != 200 {
            let (kind, text) = refusal(status, &body);
            return Err(Failed::Refused(kind, described(&text)));
        }
        let refused = |error: serde_json::Error| Failed::Refused(ErrorType::Io, described(&error));
        serde_json::from_slice(&body).map_err(refused)
    }

    /// Waits before a try that is not the first, longer each time. False when there is no time for another.
    fn wait_before(&self, tried: u32, begun: Instant) -> bool {
        let Some(waited) = tried.checked_sub(1) else { return true };
        if begun.elapsed() > self.deadlines.attempts {
            return false;
        }
        std::thread::sleep(BACK_OFF * 2_u32.pow(waited));
        true
    }

    /// A call that changes nothing, repeated while no answer comes.
    fn ask<Q: Serialize, A: DeserializeOwned>(&self, name: &str, question: Option<&Q>) -> Result<A> {
        let begun = Instant::now();
        let mut failure = String::new();
        for tried in 0..TRIES_MAX {
            if !self.wait_before(tried, begun) {
                break;
            }
            match self.call(name, question) {
                Ok(answer) => return Ok(answer),
                Err(Failed::Refused(kind, text)) => return Err(kind.into_storage(text)),
                Err(Failed::NotSent(text) | Failed::NoAnswer(text)) => failure = text,
            }
        }
        Err(StorageError::Unavailable(failure))
    }

    fn page(&self, start: &[u8], end: &[u8], records_max: usize) -> Result<Page> {
        let (start, end) = (Bytes(start.to_vec()), Bytes(end.to_vec()));
        self.ask("scan", Some(&Scan { protocol: Protocol, start, end, records_max }))
    }

    /// Sends a commit until its outcome is known, or known not to be found out.
    fn send_commit(&self, mut commit: Commit) -> Result<Outcome> {
        let begun = Instant::now();
        let mut failure = String::new();
        for tried in 0..TRIES_MAX {
            if !self.wait_before(tried, begun) {
                break;
            }
            match self.try_commit(&mut commit) {
                Ok(committed) => {
                    self.note(&commit.run, committed.commits);
                    return Ok(committed.outcome);
                }
                Err(Failed::NotSent(text)) => failure = text,
                Err(Failed::NoAnswer(text)) => {
                    commit.repeated = true;
                    failure = text;
                }
                Err(Failed::Refused(ErrorType::OtherRun, text)) if !commit.repeated => {
                    *self.session() = None;
                    failure = text;
                }
                Err(Failed::Refused(ErrorType::OtherRun, text)) => {
                    *self.session() = None;
                    return Err(StorageError::InDoubt(text));
                }
                // One that came before may still be under way, whatever this one met with.
                Err(Failed::Refused(_, text)) if commit.repeated => return Err(StorageError::InDoubt(text)),
                Err(Failed::Refused(kind, text)) => return Err(kind.into_storage(text)),
            }
        }
        match commit.repeated {
            true => Err(StorageError::InDoubt(failure)),
            false => Err(StorageError::Unavailable(failure)),
        }
    }

    /// Sends a commit once. Until it may have been received, it is for whichever run there is.
    fn try_commit(&self, commit: &mut Commit) -> Called<Committed> {
        if !commit.repeated {
            let known = self.session().clone();
            let session = match known {
                Some(session) => session,
                None => match self.status() {
                    Ok(Status { run, commits, .. }) => Session { run, seen: commits },
                    // Only the question was lost.
                    Err(Failed::NoAnswer(text)) => return Err(Failed::NotSent(text)),
                    Err(other) => return Err(other),
                },
            };
            (commit.run, commit.seen) = (session.run, session.seen);
        }
        self.call("commit", Some(commit))
    }

    /// Walks a range a page at a time; `wanted` is how many records the first page is asked for.
    fn walk(
        &self,
        range: Range<&[u8]>,
        wanted: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<()> {
        let mut start = range.start.to_vec();
        let mut wanted = wanted.clamp(1, PAGE_RECORDS_MAX);
        while start.as_slice() < range.end {
            let page = self.page(&start, range.end, wanted)?;
            check_page(&page, &start..&range.end.to_vec())?;
            match show(page, visit) {
                Shown::Stopped | Shown::Ended => return Ok(()),
                Shown::Behind(next) => {
                    start = next;
                    wanted = (wanted * 8).min(PAGE_RECORDS_MAX);
                }
                Shown::Sought(target) => {
                    start = target;
                    wanted = RECORDS_AFTER_SEEK;
                }
            }
        }
        Ok(())
    }
}

/// How the visit of a page ended.
enum Shown {
    /// The visitor has seen enough.
    Stopped,
    /// The range has no more.
    Ended,
    /// The page is through; the next one starts here.
    Behind(Vec<u8>),
    /// The visitor wants to go on here, which is not in the page.
    Sought(Vec<u8>),
}

fn show(page: Page, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Shown {
    let Some((Bytes(last), _)) = page.records.last().cloned() else { return Shown::Ended };
    let mut from: Option<Vec<u8>> = None;
    for (Bytes(key), Bytes(value)) in page.records {
        if from.as_ref().is_some_and(|from| key < *from) {
            continue;
        }
        match visit(&key, &value) {
            Visit::Next => {}
            Visit::Stop => return Shown::Stopped,
            Visit::Seek(target) => from = Some(seek_target(&key, target)),
        }
    }
    match from {
        _ if !page.more => Shown::Ended,
        Some(from) if from > last => Shown::Sought(from),
        _ => Shown::Behind([last.as_slice(), b"\0"].concat()),
    }
}

/// Refuses a page that would make a walk go back or on for ever.
fn check_page(page: &Page, range: Range<&Vec<u8>>) -> Result<()> {
    let ordered = page.records.windows(2).all(|pair| pair[0].0.0 < pair[1].0.0);
    let first = page.records.first().is_none_or(|(key, _)| key.0 >= *range.start);
    let last = page.records.last().is_none_or(|(key, _)| key.0 < *range.end);
    match ordered && first && last && (!page.more || !page.records.is_empty()) {
        true => Ok(()),
        false => Err(StorageError::Io(io::Error::other(
            "the metadata daemon answered with another range of records",
        ))),
    }
}

/// Whether a request cannot have reached the other end.
fn is_unsent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        ),
        _ => false,
    }
}

fn observe(headers: &HeaderMap) {
    let seen = headers.get(SEQUENCE).and_then(|value| value.to_str().ok()?.parse().ok());
    seen.into_iter().for_each(sequence::observe);
}

fn read_answer(answer: ureq::http::Response<ureq::Body>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    answer.into_body().into_reader().take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut body)?;
    match body.len() > ANSWER_BYTES_MAX {
        true => Err(io::Error::other(format!("an answer of more than {ANSWER_BYTES_MAX} bytes"))),
        false => Ok(body),
    }
}

/// What an answer that says no means. Anything may stand between the two ends, so it need not be JSON.
fn refusal(status: u16, body: &[u8]) -> (ErrorType, String) {
    if let Ok(Refusal { error_type, error_message }) = serde_json::from_slice(body)
        && let Some(kind) = ErrorType::parse(&error_type)
    {
        return (kind, error_message);
    }
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    (ErrorType::Unavailable, format!("status {status}, which no metadata daemon gives like this: {text}"))
}

impl MetaStore for RemoteMeta {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let got: Got = self.ask("get", Some(&Get { protocol: Protocol, key: Bytes(key.to_vec()) }))?;
        Ok(got.value.map(|value| value.0))
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        self.walk(range, PAGE_RECORDS_MAX, visit)
    }

    fn scan_few(
        &self,
        range: Range<&[u8]>,
        records: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<()> {
        self.walk(range, records, visit)
    }

    fn commit(&self, batch: Batch) -> Result<Outcome> {
        check_batch(&batch)?;
        let bytes = batch_bytes(&batch);
        if bytes > COMMIT_BYTES_MAX {
            let text = format!("a commit of {bytes} bytes; a metadata daemon takes {COMMIT_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
        }
        self.send_commit(Commit::new(batch, hex(&random::<16>())))
    }

    fn health(&self) -> Health {
        match self.status() {
            Ok(Status { code, message, .. }) => Health { code, message },
            Err(Failed::NotSent(text) | Failed::NoAnswer(text) | Failed::Refused(_, text)) => {
                Health { code: 503, message: text }
            }
        }
    }

    fn settle(&self) -> Result<()> {
        // A strict commit makes durable what is in front of it.
        self.commit(Batch { sync: Some(SyncMode::Strict), ..Batch::new() }).map(drop)
    }

    fn sync(&self) -> Result<()> {
        #[derive(Serialize)]
        struct Sync {
            protocol: Protocol,
        }
        let _: serde_json::Value = self.ask("sync", Some(&Sync { protocol: Protocol }))?;
        Ok(())
    }
}
