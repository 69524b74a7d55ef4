//! What the clients of remote stores share: connections with deadlines, a list of endpoints that is gone
//! through until one answers, bodies on their way out and on their way in.
//!
//! The rules are few. An answer with a status, good or bad, is an answer; only when none comes is another
//! endpoint tried. A request whose body has begun to flow is never repeated, unless the body is at hand
//! to be sent again from its start. What comes back is checked against what was asked for, and a body that
//! breaks off is asked for again from where it broke off: a reader gets the right bytes or an error.
//!
//! Proxy variables of the environment are not heeded: where bodies go is said by the configuration alone.

use super::drafts::Drafts;
use super::kept::Connections;
use super::names::Names;
use super::{BlobHint, BlobId, BlobStore, Health, Result, StorageError, WriteError, WrittenBlob};
use crate::codec::digest::Md5Hasher;
use crate::codec::{hex, random};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::{Request, Response};
use ureq::{Agent, Body, SendBody};

/// Bodies up to this size are held in memory while they are sent, so that they can be sent again.
pub const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// The most of a body that is read, and handed on, at a time.
const READ_BYTES_MAX: usize = 128 * 1024;
/// The most that is read of an answer that only matters for its text.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Connections that are kept for later, for each endpoint.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// How long an unused connection is kept. Servers commonly close theirs after a minute.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);
/// How often the whole list of endpoints is gone through.
const ROUNDS_MAX: usize = 3;
/// The pause before the second round; doubled before each further one.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How often a body that breaks off is asked for again without a byte of progress.
const RESUMES_MAX: u32 = 3;

/// How long the parts of a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the end of the request to the head of the answer.
    pub answer: Duration,
    /// Between two steps of progress while a body flows.
    pub idle: Duration,
    /// No further attempt begins after this.
    pub attempts: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(15),
            idle: Duration::from_secs(15),
            attempts: Duration::from_secs(20),
        }
    }
}

/// Why an attempt gave no usable answer.
#[derive(Debug)]
pub enum Failure {
    /// Nothing came back: another endpoint may do better.
    NoAnswer(String),
    /// The body that was to be sent failed at its source.
    Source(io::Error),
    /// An answer that says no, or one that cannot be trusted.
    Final(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        Failure::Final(error)
    }
}

/// Connections to the endpoints of one store.
pub struct Endpoints {
    /// The order of trying; one that fails goes to the end.
    list: Mutex<VecDeque<Arc<str>>>,
    pooled: Agent,
    /// For bodies that can be sent only once: a kept connection may turn out to be closed.
    fresh: Agent,
    deadlines: Deadlines,
}

impl Endpoints {
    /// Endpoints as `scheme://host:port`, in random order, so that several processes do not all begin
    /// with the same one.
    pub fn new(mut names: Vec<String>, deadlines: Deadlines) -> Endpoints {
        for last in (1..names.len()).rev() {
            let chosen = u64::from_be_bytes(random()) % (last as u64 + 1);
            names.swap(last, chosen as usize);
        }
        Endpoints {
            list: Mutex::new(names.into_iter().map(Arc::from).collect()),
            pooled: agent(&deadlines, IDLE_CONNECTIONS_MAX),
            fresh: agent(&deadlines, 0),
            deadlines,
        }
    }

    fn first(&self) -> (Arc<str>, usize) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        (list.front().cloned().unwrap_or_else(|| Arc::from("")), list.len())
    }

    /// Moves an endpoint to the end, unless somebody else has done so already.
    fn pass_over(&self, name: &Arc<str>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.front() == Some(name) {
            list.rotate_left(1);
        }
    }

    /// Tries the endpoints until one answers. `attempt` gets the endpoint; `may_repeat` is asked after an
    /// attempt without an answer.
    ///
    /// # Errors
    /// What the last attempt failed with.
    pub fn attempt<T>(
        &self,
        attempt: &mut dyn FnMut(&str) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let started = Instant::now();
        let (_, count) = self.first();
        let mut pause = BACK_OFF;
        let mut failure = Failure::NoAnswer("there is no endpoint".to_owned());
        for number in 0..count * ROUNDS_MAX {
            if started.elapsed() > self.deadlines.attempts {
                break;
            }
            if number > 0 && number % count == 0 {
                std::thread::sleep(pause);
                pause *= 2;
            }
            let (endpoint, _) = self.first();
            match attempt(&endpoint) {
                Err(Failure::NoAnswer(text)) => {
                    self.pass_over(&endpoint);
                    failure = Failure::NoAnswer(format!("{endpoint}: {text}"));
                }
                other => return other,
            }
        }
        Err(failure)
    }

    /// Sends a request without a body, or with an empty one where the method is one that has bodies.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`].
    pub fn send(&self, request: Request<()>) -> std::result::Result<Response<Body>, Failure> {
        let answer = match request.method().as_str() {
            "GET" | "HEAD" => self.pooled.run(request),
            // An empty body, said to be empty, which is stricter than none.
            _ => self.pooled.run(request.map(|()| b"".as_slice())),
        };
        answer.map_err(|error| Failure::NoAnswer(error.to_string()))
    }

    /// Sends a request with a body; the request says its length.
    ///
    /// # Errors
    /// All of [`Failure`]: [`Failure::NoAnswer`] only where the body can be sent again.
    pub fn send_body(
        &self,
        request: Request<()>,
        outgoing: &mut Outgoing<'_>,
    ) -> std::result::Result<Response<Body>, Failure> {
        let repeatable = outgoing.is_repeatable();
        let agent = if repeatable { &self.pooled } else { &self.fresh };
        let mut source = outgoing.start().map_err(Failure::Source)?;
        let answer = agent.run(request.map(|()| SendBody::from_reader(&mut source)));
        if let Some(error) = source.error.take() {
            return Err(Failure::Source(error));
        }
        let begun = source.begun;
        drop(source);
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) if repeatable || !begun => Err(Failure::NoAnswer(error.to_string())),
            Err(error) => Err(Failure::Final(StorageError::Unavailable(error.to_string()))),
        }
    }
}

impl Failure {
    /// The store error that this is for a request without a body.
    pub fn into_storage(self) -> StorageError {
        match self {
            Failure::NoAnswer(text) => StorageError::Unavailable(text),
            Failure::Source(error) => StorageError::Io(error),
            Failure::Final(error) => error,
        }
    }

    /// The write error that this is for a request with a body.
    pub fn into_write(self) -> WriteError {
        match self {
            Failure::Source(error) => WriteError::Body(error),
            other => WriteError::Store(other.into_storage()),
        }
    }
}

/// An HTTP client that keeps so many connections to each host for later.
pub fn agent(deadlines: &Deadlines, idle_connections_max: usize) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("s3pail")
        .max_response_header_size(64 * 1024)
        .max_idle_connections(idle_connections_max * 4)
        .max_idle_connections_per_host(idle_connections_max)
        .max_idle_age(IDLE_AGE_MAX)
        .timeout_resolve(Some(deadlines.connect))
        .timeout_connect(Some(deadlines.connect))
        .timeout_send_request(Some(deadlines.answer))
        .timeout_recv_response(Some(deadlines.answer))
        .timeout_per_read(Some(deadlines.idle))
        .timeout_per_write(Some(deadlines.idle));
    Agent::with_parts(config.build(), Connections::default(), Names::default())
}

/// Ids of requests, by which the log lines of both ends are found together. They only have to differ, so the
/// system is asked for randomness once.
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// Begins anywhere.
    pub fn new() -> RequestIds {
        RequestIds(AtomicU64::new(u64::from_be_bytes(random())))
    }

    /// The next id: 16 hexadecimal digits.
    pub fn next(&self) -> String {
        // An odd step passes through all numbers and makes neighbours look different.
        hex(&self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).to_be_bytes())
    }
}

impl Default for RequestIds {
    fn default() -> RequestIds {
        RequestIds::new()
    }
}

/// A body on its way out. At most [`SMALL_BODY_BYTES_MAX`] of it are held in memory, unless it was made there.
pub struct Outgoing<'b> {
    /// Its length in bytes.
    pub length: u64,
    head: Vec<u8>,
    rest: Rest<'b>,
    hasher: Option<Md5Hasher>,
}

enum Rest<'b> {
    /// The head is all.
    Nothing,
    /// From the client, once.
    Stream(&'b mut dyn Read),
    /// From a temporary file, because the length was not known before.
    Spool(File),
}

impl<'b> Outgoing<'b> {
    /// Takes a body. Without a declared length, one that is not small goes through a temporary file, for
    /// remote stores must be told.
    ///
    /// # Errors
    /// [`WriteError::Body`], or a failure of the temporary file.
    pub fn new(
        body: &'b mut dyn Read,
        declared: Option<u64>,
    ) -> std::result::Result<Outgoing<'b>, WriteError> {
        let mut head = Vec::new();
        (&mut *body)
            .take(SMALL_BODY_BYTES_MAX as u64 + 1)
            .read_to_end(&mut head)
            .map_err(WriteError::Body)?;
        if head.len() <= SMALL_BODY_BYTES_MAX {
            let length = head.len() as u64;
            return Ok(Outgoing { length, head, rest: Rest::Nothing, hasher: None });
        }
        match declared {
            Some(length) => Ok(Outgoing { length, head, rest: Rest::Stream(body), hasher: None }),
            None => {
                let (file, length) = spool(&head, body)?;
                Ok(Outgoing { length, head: Vec::new(), rest: Rest::Spool(file), hasher: None })
            }
        }
    }

    /// A body that was made here.
    pub fn whole(bytes: Vec<u8>) -> Outgoing<'b> {
        Outgoing { length: bytes.len() as u64, head: bytes, rest: Rest::Nothing, hasher: None }
    }

    /// The whole body, where it is in memory.
    pub fn small(&self) -> Option<&[u8]> {
        matches!(self.rest, Rest::Nothing).then_some(&self.head)
    }

    /// Whether the body can be sent again.
    pub fn is_repeatable(&self) -> bool {
        !matches!(self.rest, Rest::Stream(_))
    }

    fn start<'s>(&'s mut self) -> io::Result<Source<'s>> {
        self.hasher = Some(Md5Hasher::new());
        let rest: Box<dyn Read + 's> = match &mut self.rest {
            Rest::Nothing => Box::new(io::empty()),
            Rest::Stream(body) => Box::new(body),
            Rest::Spool(file) => {
                file.rewind()?;
                Box::new(file)
            }
        };
        Ok(Source {
            reader: Box::new(self.head.as_slice().chain(rest)),
            left: self.length,
            begun: false,
            error: None,
            hasher: self.hasher.as_mut(),
        })
    }

    /// The MD5 of what was sent, in hexadecimal; once.
    pub fn take_md5(&mut self) -> String {
        hex(&self.hasher.take().unwrap_or_default().finish())
    }
}

fn spool(head: &[u8], body: &mut dyn Read) -> std::result::Result<(File, u64), WriteError> {
    let path = std::env::temp_dir().join(format!("s3pail-{}", hex(&random::<16>())));
    let store = |error: io::Error| WriteError::Store(error.into());
    let mut options = File::options();
    let mut file = options.read(true).write(true).create_new(true).open(&path).map_err(store)?;
    // Where an open file can be unlinked it vanishes with the process; elsewhere this fails and the file
    // stays for the system to clear up.
    let _ = std::fs::remove_file(&path);
    file.write_all(head).map_err(store)?;
    let mut length = head.len() as u64;
    let mut buffer = vec![0; SMALL_BODY_BYTES_MAX];
    loop {
        match read_some(body, &mut buffer).map_err(WriteError::Body)? {
            0 => return Ok((file, length)),
            count => {
                file.write_all(&buffer[..count]).map_err(store)?;
                length += count as u64;
            }
        }
    }
}

/// One read that an interruption does not end.
fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// What the HTTP client reads a body from.
struct Source<'s> {
    reader: Box<dyn Read + 's>,
    left: u64,
    begun: bool,
    error: Option<io::Error>,
    hasher: Option<&'s mut Md5Hasher>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.begun = true;
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        match self.read_on(&mut buffer[..room]) {
            Ok(count) => {
                self.left -= count as u64;
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&buffer[..count]);
                }
                Ok(count)
            }
            Err(error) => {
                // The client of this reader must fail; the reason is kept for who knows what it means.
                self.error = Some(error);
                Err(io::Error::other("the body failed"))
            }
        }
    }
}

impl Source<'_> {
    /// Reads some of the body. Its last byte is given out only when the body has really ended, which also
    /// makes its source verify it: the remote never gets the whole of a body that is not good.
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = read_some(&mut self.reader, buffer)?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the body is shorter than was declared",
            ));
        }
        if count as u64 == self.left && read_some(&mut self.reader, &mut [0])? != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the body is longer than was declared"));
        }
        Ok(count)
    }
}

/// The text of an answer, cut off at [`ANSWER_BYTES_MAX`]. Reading it lets its connection be used again.
pub fn text_of(answer: Response<Body>) -> String {
    let mut text = Vec::new();
    // What has arrived of a text that breaks off is still the best there is to show.
    let _ = answer.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The body of an answer to a request for `range`, if it is that range.
///
/// # Errors
/// [`StorageError::Corrupt`] for any other.
pub fn body_of(answer: Response<Body>, range: &Range<u64>) -> Result<Box<dyn Read + Send>> {
    let length = range.end - range.start;
    let corrupt = |what: String| Err(StorageError::Corrupt(what));
    let field = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let announced = field("content-length").and_then(|length| length.parse::<u64>().ok());
    let mut skipped = 0;
    match (answer.status().as_u16(), announced) {
        (206, announced) => {
            let wanted = format!("bytes {}-{}/", range.start, range.end - 1);
            let sent = field("content-range").unwrap_or("");
            if !sent.starts_with(&wanted) || announced.is_some_and(|announced| announced != length) {
                return corrupt(format!("asked for {wanted:?}, got {sent:?} of {announced:?} bytes"));
            }
        }
        // Some stores answer 200 to a range, with the range; a whole body could not be as short.
        (_, Some(announced)) if announced == length => {}
        (_, Some(announced)) if announced >= range.end => skipped = range.start,
        (status, announced) => {
            return corrupt(format!("asked for {range:?}, got status {status} and {announced:?} bytes"));
        }
    }
    let mut reader = answer.into_body().into_with_config().limit(u64::MAX).reader();
    let gone = io::copy(&mut (&mut reader).take(skipped), &mut io::sink())
        .map_err(|error| StorageError::Unavailable(error.to_string()))?;
    match gone == skipped {
        true => Ok(Box::new(Ranged { reader, left: length, is_all: announced == Some(skipped + length) })),
        false => corrupt(format!("the body ended before byte {skipped}")),
    }
}

/// The wanted bytes of an answer.
struct Ranged<R> {
    reader: R,
    left: u64,
    /// Whether nothing follows them.
    is_all: bool,
}

impl<R: Read> Read for Ranged<R> {
    /// The HTTP client keeps a connection for the next request once a reader has been told that the body is
    /// over. Who takes the bytes knows their number and does not ask for more, so this asks.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..room])?;
        self.left -= count as u64;
        if self.left == 0 && self.is_all {
            // All bytes are here: whether the connection can be used again changes nothing about them.
            let _ = self.reader.read(&mut [0]);
        }
        Ok(count)
    }
}

/// What opens a range of a stored body.
pub trait Fetch: Send + Sync + 'static {
    /// Opens `range`; `None` if the body is absent.
    ///
    /// # Errors
    /// What the store says.
    fn fetch(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn Read + Send>>>;
}

/// Reads a stored body and, when it breaks off, goes on where it broke off.
pub struct Resuming<F> {
    store: Arc<F>,
    id: BlobId,
    left: Range<u64>,
    reader: Box<dyn Read + Send>,
    resumes: u32,
}

impl<F: Fetch> Resuming<F> {
    /// Opens a range.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(store: &Arc<F>, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn Read + Send>>> {
        if range.is_empty() {
            return Ok(Some(Box::new(io::empty())));
        }
        let reader = store.fetch(id, range.clone())?;
        Ok(reader.map(|reader| {
            let resuming = Resuming { store: store.clone(), id: id.clone(), left: range, reader, resumes: 0 };
            Box::new(resuming) as Box<dyn Read + Send>
        }))
    }

    fn resume(&mut self, error: io::Error) -> io::Result<()> {
        if self.resumes >= RESUMES_MAX {
            return Err(error);
        }
        self.resumes += 1;
        self.reader = match self.store.fetch(&self.id, self.left.clone()).map_err(io::Error::other)? {
            Some(reader) => reader,
            None => return Err(error),
        };
        Ok(())
    }
}

impl<F: Fetch> Read for Resuming<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let error = match self.reader.read(buffer) {
                Ok(0) => io::Error::new(io::ErrorKind::UnexpectedEof, "a stored body ended early"),
                Ok(count) => {
                    self.left.start += count as u64;
                    self.resumes = 0;
                    return Ok(count);
                }
                Err(error) => error,
            };
            self.resume(error)?;
        }
    }
}

/// A kind of remote store: its protocol, one request at a time. [`RemoteBlobs`] makes a store of it.
pub trait Client: Fetch {
    /// Whether the remote makes the names of bodies, rather than this client.
    const REMOTE_NAMES: bool;

    /// A new name. Where the remote makes them it stands only for an empty body, which is never sent.
    fn new_name(&self, hint: &BlobHint<'_>) -> BlobId;

    /// Whether a name is one of this store's. Nothing else becomes part of a URL.
    fn is_name(&self, id: &BlobId) -> bool;

    /// Stores a body that is not empty, and returns its name: the given one, unless the remote makes
    /// names.
    ///
    /// # Errors
    /// What [`Endpoints::send_body`] says, and answers other than success.
    fn put(&self, name: &BlobId, outgoing: &mut Outgoing<'_>) -> std::result::Result<BlobId, Failure>;

    /// Removes a body. One that is absent is removed.
    ///
    /// # Errors
    /// No answer, or one that says no.
    fn remove(&self, id: &BlobId) -> std::result::Result<(), Failure>;

    /// Asks whether the remote is well.
    ///
    /// # Errors
    /// What is wrong.
    fn ask_health(&self) -> std::result::Result<(), Failure>;

    /// See [`BlobStore::drafts`].
    fn drafts(&self) -> Option<&dyn Drafts> {
        None
    }
}

/// Bodies in a remote store.
pub struct RemoteBlobs<C> {
    pub(super) client: Arc<C>,
}

impl<C: Client> RemoteBlobs<C> {
    /// The store of a client.
    pub(super) fn of(client: C) -> RemoteBlobs<C> {
        RemoteBlobs { client: Arc::new(client) }
    }
}

impl<C: Client> BlobStore for RemoteBlobs<C> {
    fn write(
        &self,
        body: &mut dyn Read,
        hint: &BlobHint<'_>,
    ) -> std::result::Result<WrittenBlob, WriteError> {
        let id = self.client.new_name(hint);
        let written = self.write_reserved(&id, body, hint);
        if written.is_err() && !C::REMOTE_NAMES {
            // Whoever does not reserve has nobody else to clear up.
            let _ = self.client.remove(&id);
        }
        written
    }

    fn lists(&self) -> bool {
        false
    }

    fn reserves(&self) -> bool {
        !C::REMOTE_NAMES
    }

    fn reserve(&self, hint: &BlobHint<'_>) -> Option<BlobId> {
        (!C::REMOTE_NAMES).then(|| self.client.new_name(hint))
    }

    fn write_reserved(
        &self,
        id: &BlobId,
        body: &mut dyn Read,
        hint: &BlobHint<'_>,
    ) -> std::result::Result<WrittenBlob, WriteError> {
        let mut outgoing = Outgoing::new(body, hint.length)?;
        let size = outgoing.length;
        if size == 0 {
            return Ok(WrittenBlob { id: id.clone(), size });
        }
        let id = self.client.put(id, &mut outgoing).map_err(Failure::into_write)?;
        Ok(WrittenBlob { id, size })
    }

    fn read(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn BufRead + Send>>> {
        if !self.client.is_name(id) {
            return Ok(None);
        }
        let capacity = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(READ_BYTES_MAX);
        let reader = Resuming::open(&self.client, id, range)?;
        let buffered = |reader| BufReader::with_capacity(capacity.min(READ_BYTES_MAX), reader);
        Ok(reader.map(|reader| Box::new(buffered(reader)) as Box<dyn BufRead + Send>))
    }

    fn delete(&self, id: &BlobId) -> Result<()> {
        if !self.client.is_name(id) {
            return Ok(());
        }
        self.client.remove(id).map_err(Failure::into_storage)
    }

    fn list(&self, _: &mut dyn FnMut(BlobId)) -> Result<()> {
        Ok(())
    }

    fn drafts(&self) -> Option<&dyn Drafts> {
        self.client.drafts()
    }

    fn health(&self) -> Health {
        match self.client.ask_health() {
            Ok(()) => Health { code: 200, message: "OK".to_owned() },
            Err(failure) => Health { code: 503, message: failure.into_storage().to_string() },
        }
    }
}
