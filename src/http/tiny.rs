//! The second HTTP engine: the `tiny_http` crate behind the same boundary, with the feature `tiny-http`.
//!
//! It is an independent implementation that keeps the boundary honest, not one to put on a network.
//! Requests pass the same head checks as in [`engine`], so what it hands up is equally strict, but
//! the crate parses and frames first, and gives no way to close a connection. What it cannot do, by row
//! of the bad-input table and by test of `tests/it/protocol.rs`:
//!
//! - An unread body of a large declared length aborts the process, because the crate allocates the rest
//!   of it: BI-088, BI-089, `a_large_unread_body_ends_the_connection_after_the_answer`.
//! - Connections opened in one burst starve: BI-018,
//!   `forty_connections_in_one_burst_are_all_answered`.
//! - No deadlines: BI-001 to BI-006, BI-012, BI-068, `silent_connections_are_closed_without_an_answer`,
//!   `a_slow_head_is_cut_off_at_its_deadline`, `a_head_that_stops_is_answered_with_408`,
//!   `a_body_that_stalls_is_an_error`, `a_client_that_does_not_read_is_cut_off`.
//! - No limits on heads, pipelining or connections: BI-015, BI-016, BI-021, BI-022, BI-032, BI-043,
//!   BI-059, BI-060, `connections_over_the_limit_are_told_and_later_ones_served`,
//!   `requests_behind_a_stalled_answer_wait`, `a_shortage_of_descriptors_passes`.
//! - HTTP/2.0 in a request line is never answered and leaks a thread: BI-024, BI-035,
//!   `an_http_2_preface_is_refused_at_once`.
//! - Heads that the crate refuses or mends itself, some without an answer: BI-031, BI-033, BI-048,
//!   BI-049, BI-053, BI-057, BI-058, `malformed_request_lines_are_answered_and_closed`,
//!   `malformed_headers_are_answered_and_closed`, `unusual_request_lines_are_served`,
//!   `unusual_headers_are_served`.
//! - A refused request does not close its connection, and its body may be taken for the next request:
//!   BI-082 to BI-087, BI-095 to BI-107, `smuggling_shapes_are_refused_and_nothing_behind_them_is_run`,
//!   `malformed_chunks_end_the_connection`, `a_body_that_ends_early_is_an_error`.
//! - A request that asked for `100 Continue` and is refused swallows the next request: BI-069,
//!   `a_client_that_is_refused_before_its_body_is_not_invited`.
//! - A worker waits for the rest of an unread body: BI-108,
//!   `refused_bodies_that_never_come_hold_no_worker`.
//! - A response body that fails is not followed by the end of the connection:
//!   `a_body_that_fails_is_never_taken_for_a_whole_one`.
//! - 204 and 304 carry a Content-Length: `statuses_without_a_body_have_no_length`.
//! - A stop leaves connections open: `an_idle_engine_stops_at_once`.
//!
//! [`engine`]: super::engine

use std::fmt::Write as _;
use std::io::{self, Cursor, Read};
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::engine::Options;
use super::head::{Head, parse};
use super::limits::Limits;
use super::{Body, Handler, Refusal, Request, Response, ResponseBody, Sent, Traffic};

/// Requests that wait for a worker.
const QUEUE_MAX: usize = 64;

/// How often a receiving thread looks whether it must end, and how long it rests after an error.
const LOOK: Duration = Duration::from_millis(50);

/// A running engine.
pub struct Running {
    shared: Arc<Shared>,
    workers: usize,
    addresses: Vec<SocketAddr>,
    /// Disconnected when every thread has ended.
    threads: Receiver<()>,
}

struct Shared {
    handler: Arc<dyn Handler>,
    limits: Limits,
    stopping: AtomicBool,
    busy: AtomicUsize,
}

/// Serves the listeners until [`Running::stop`]. Of the limits only those of heads are held.
///
/// # Errors
///
/// When the system gives no threads or a listener cannot be used.
pub fn serve(
    listeners: Vec<TcpListener>,
    options: Options,
    handler: Arc<dyn Handler>,
) -> io::Result<Running> {
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let stopping = AtomicBool::new(false);
    let shared = Arc::new(Shared { handler, limits: options.limits, stopping, busy: AtomicUsize::new(0) });
    let (queue, requests) = bounded(QUEUE_MAX);
    let (alive, threads) = bounded(0);
    let workers = options.workers.max(1);
    let running = Running { shared: shared.clone(), workers, addresses, threads };
    for listener in listeners {
        let (shared, queue, alive) = (shared.clone(), queue.clone(), alive.clone());
        start("http-receive", alive, move || receive(&listener, &shared, &queue))?;
    }
    for _ in 0..workers {
        let (shared, requests, alive) = (shared.clone(), requests.clone(), alive.clone());
        start("http-work", alive, move || requests.iter().for_each(|request| shared.answer(request)))?;
    }
    Ok(running)
}

fn start(name: &str, alive: Sender<()>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = move || {
        run();
        drop(alive);
    };
    thread::Builder::new().name(name.to_owned()).spawn(thread).map(drop)
}

impl Running {
    /// The addresses that are listened on, in the order of the listeners.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Requests in progress: the crate does not tell its connections.
    pub fn connections(&self) -> usize {
        self.shared.busy.load(Ordering::Relaxed)
    }

    /// A look at the workers that can be kept; of connections only those with a request in progress are known.
    pub fn traffic(&self) -> impl Fn() -> Traffic + Send + Sync + 'static {
        // The handler may keep this, and must not keep itself by it.
        let shared = Arc::downgrade(&self.shared);
        let workers = self.workers as u64;
        move || {
            let busy = shared.upgrade().map_or(0, |shared| shared.busy.load(Ordering::Relaxed)) as u64;
            Traffic { open: busy, busy, workers, ..Traffic::default() }
        }
    }

    /// Stops receiving and waits up to `grace` for requests in progress. Returns whether all of them were
    /// finished. Open connections stay open until their clients close them.
    pub fn stop(self, grace: Duration) -> bool {
        self.shared.stopping.store(true, Ordering::Release);
        let deadline = Instant::now() + grace;
        self.threads.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
    }
}

/// Feeds the queue. The crate ends its accept loop at the first error, so this starts it again.
fn receive(listener: &TcpListener, shared: &Shared, queue: &Sender<tiny_http::Request>) {
    while !shared.stopping.load(Ordering::Acquire) {
        let server =
            listener.try_clone().ok().and_then(|own| tiny_http::Server::from_listener(own, None).ok());
        let Some(server) = server else {
            thread::sleep(LOOK);
            continue;
        };
        while !shared.stopping.load(Ordering::Acquire) {
            match server.recv_timeout(LOOK) {
                Ok(Some(request)) => {
                    if queue.send(request).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(_) => {
                    thread::sleep(LOOK);
                    break;
                }
            }
        }
    }
}

impl Shared {
    fn answer(&self, mut request: tiny_http::Request) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        // What the crate panics on ends this request, not the worker.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let response = self.response(&mut request);
            send(request, response);
        }));
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    fn response(&self, request: &mut tiny_http::Request) -> Response {
        let peer = request.remote_addr().copied();
        let answer = || match read_head(request, &self.limits) {
            Ok(head) => self.handler.handle(hand_up(head, peer, request)),
            Err(refusal) => self.handler.refuse(refusal, peer),
        };
        catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| Response::new(500))
    }
}

/// Writes the head as it would have arrived and reads it with our own checks.
fn read_head(request: &tiny_http::Request, limits: &Limits) -> Result<Head, Refusal> {
    let mut text = String::with_capacity(1024);
    // Writing to a string cannot fail.
    let _ = write!(text, "{} {} HTTP/{}\r\n", request.method(), request.url(), request.http_version());
    for header in request.headers() {
        let _ = write!(text, "{}: {}\r\n", header.field, header.value);
    }
    text.push_str("\r\n");
    parse(text.as_bytes(), limits)
}

fn hand_up<'a>(head: Head, peer: Option<SocketAddr>, request: &'a mut tiny_http::Request) -> Request<'a> {
    let left = head.framing.remaining();
    let body = match left {
        Some(0) => Body::empty(),
        _ => Body::new(left, Box::new(Content { request, left })),
    };
    Request {
        method: head.method,
        path: head.path,
        query: head.query,
        headers: head.headers,
        peer,
        encryption: None,
        body,
    }
}

/// The body: asks for the crate's reader at each read, because the first asking sends `100 Continue`.
struct Content<'a> {
    request: &'a mut tiny_http::Request,
    left: Option<u64>,
}

impl Read for Content<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.request.as_reader().read(target)?;
        if let Some(left) = &mut self.left {
            if count == 0 && *left > 0 && !target.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *left = left.saturating_sub(count as u64);
        }
        Ok(count)
    }
}

/// Counts what is taken from a response body.
struct Counted {
    reader: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(target)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn send(request: tiny_http::Request, response: Response) {
    if matches!(response.body, ResponseBody::Dropped) {
        // The crate closes the connection when a writer of its own goes without a word.
        drop(request.into_writer());
        if let Some(done) = response.done {
            done(&Sent { body_bytes: 0, complete: false });
        }
        return;
    }
    let length = response.body.length();
    let body_expected = *request.method() != tiny_http::Method::Head;
    let reader: Box<dyn Read + Send> = match response.body {
        ResponseBody::Empty | ResponseBody::Dropped | ResponseBody::Head(_) => Box::new(io::empty()),
        ResponseBody::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        ResponseBody::Stream { reader, length } => Box::new(reader.take(length)),
    };
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Counted { reader, bytes: bytes.clone() };
    // The crate knows only ASCII, and would let a line end in a value split the response.
    let clean = |value: &str| !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
    // A name with a tab is none to the crate.
    let fields = response.headers.iter().filter(|(name, value)| clean(name) && clean(value));
    let header =
        |name: &str, value: &str| tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).ok();
    let headers = fields.filter_map(|(name, value)| header(name, value));
    let length_field = usize::try_from(length).ok();
    let reply =
        tiny_http::Response::new(response.status.into(), headers.collect(), counted, length_field, None)
            .with_chunked_threshold(usize::MAX);
    let written = request.respond(reply).is_ok();
    let body_bytes = bytes.load(Ordering::Relaxed);
    if let Some(done) = response.done {
        done(&Sent { body_bytes, complete: written && (!body_expected || body_bytes == length) });
    }
}
