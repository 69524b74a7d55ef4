//! One client connection: what it waits for, and what a worker does with it when something has arrived.
//!
//! A connection is attended by one worker at a time, from "there is something to read" to "nothing more
//! to do", and otherwise lies in the engine's poller with one absolute deadline. Nothing here blocks on
//! a client without a deadline, and heads, drains and lingering closes never block at all.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::framing::Framing;
use super::head::{Head, HeadScan, parse};
use super::incoming::{Incoming, READ_SLICE, Rest, Wire, discard, is_timeout};
use super::input::Input;
use super::limits::Limits;
use super::relief::Relief;
use super::reply::{DateCache, Terms, send};
use super::transport::{Fault, Transport};
use super::{Body, Encryption, Handler, Method, Refusal, Request, Response};

/// A client that sent its next request within this time after a response is likely to do so again.
const HOT: Duration = Duration::from_millis(2);

/// Requests of one connection in a row while other connections wait for a worker.
const TURN_REQUESTS_MAX: usize = 16;

/// What all connections share.
pub struct Site {
    /// What answers requests.
    pub handler: Arc<dyn Handler>,
    /// The limits.
    pub limits: Limits,
    /// What connections are encrypted with; `None` for plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Worker threads that do not wait for a client.
    pub workers: usize,
    /// What makes it so.
    pub relief: Arc<Relief>,
    /// Workers that attend no connection.
    pub free: AtomicUsize,
    /// Connections that wait for a worker.
    pub queued: AtomicUsize,
    /// Set when no further request is taken.
    pub stopping: AtomicBool,
    /// Set when the grace period of a stop is over.
    pub abandoned: AtomicBool,
}

impl Site {
    /// Whether a worker may wait some milliseconds for the next request on its connection. That spares
    /// the way through the poller, and is worth it only while enough others are there to take work.
    fn may_stay(&self) -> bool {
        let free = self.free.load(Ordering::Relaxed);
        free >= 2 && free * 4 >= self.workers && !self.is_pressed()
    }

    fn is_pressed(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// What a worker lends to the connection that it attends.
#[derive(Default)]
pub struct Desk {
    loan: Vec<u8>,
    out: Vec<u8>,
    date: DateCache,
}

/// What is to be done with a connection that a worker has attended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for more input until its deadline.
    Wait,
    /// Attend it again after those that wait already.
    Again,
    /// Close it.
    Close,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// In the middle of the TLS handshake.
    Handshake,
    /// New, without a byte.
    Fresh,
    /// Between requests.
    Idle,
    /// In the middle of a head.
    Head,
    /// Dropping the body of an answered request.
    Draining(Framing),
    /// Answered and half closed; that many more bytes are dropped before the rest is cut off. A plain
    /// close with unread input would reset the connection and destroy the answer on its way
    /// (RFC 9112 section 9.6).
    Lingering(u64),
}

/// One client connection.
pub struct Connection {
    /// Its place in the engine.
    pub key: usize,
    /// The socket and its encryption.
    pub transport: Transport,
    /// The client's address.
    pub peer: SocketAddr,
    /// Whether it counts towards the limits; otherwise it only carries a refusal.
    pub admitted: bool,
    /// When it has waited enough.
    pub deadline: Instant,
    phase: Phase,
    encryption: Option<Encryption>,
    input: Input,
    scan: HeadScan,
    waiting_since: Instant,
    hot: bool,
}

enum Received {
    Something,
    Nothing,
    End,
}

impl Connection {
    /// A new connection.
    ///
    /// # Errors
    /// When its socket cannot be used.
    pub fn new(
        key: usize,
        stream: TcpStream,
        peer: SocketAddr,
        admitted: bool,
        site: &Site,
    ) -> io::Result<Connection> {
        let now = Instant::now();
        let (transport, phase, patience) = match &site.tls {
            Some(tls) => {
                (Transport::encrypted(stream, tls.clone())?, Phase::Handshake, site.limits.handshake)
            }
            None => (Transport::plain(stream), Phase::Fresh, site.limits.first_byte),
        };
        Ok(Connection {
            key,
            transport,
            peer,
            admitted,
            deadline: now + patience,
            phase,
            encryption: None,
            input: Input::default(),
            scan: HeadScan::default(),
            waiting_since: now,
            hot: false,
        })
    }

    /// Reads what has arrived and does what follows from it.
    pub fn attend(&mut self, site: &Site, desk: &mut Desk) -> Next {
        self.hot = matches!(self.phase, Phase::Idle) && self.waiting_since.elapsed() < HOT;
        self.input.borrow_from(&mut desk.loan);
        let next = match self.phase {
            Phase::Handshake => self.shake_hands(site, desk),
            _ => match self.receive() {
                Received::Something => self.proceed(site, desk),
                Received::Nothing => Next::Wait,
                Received::End => Next::Close,
            },
        };
        self.input.return_to(&mut desk.loan);
        next
    }

    /// Goes on after [`Next::Again`].
    pub fn resume(&mut self, site: &Site, desk: &mut Desk) -> Next {
        self.input.borrow_from(&mut desk.loan);
        let next = self.serve(site, desk);
        self.input.return_to(&mut desk.loan);
        next
    }

    /// Whether the client is owed an answer when the deadline passes; otherwise it is closed silently.
    pub fn expires_with_answer(&self) -> bool {
        matches!(self.phase, Phase::Head)
    }

    /// Whether it waits until more can be sent, besides for input.
    pub fn waits_to_send(&self) -> bool {
        matches!(self.phase, Phase::Handshake) && self.transport.waits_to_send()
    }

    /// Goes on with the handshake, as far as that goes without waiting.
    fn shake_hands(&mut self, site: &Site, desk: &mut Desk) -> Next {
        match self.transport.advance() {
            Ok(false) => Next::Wait,
            Ok(true) => {
                self.phase = Phase::Fresh;
                self.encryption = self.transport.encryption();
                self.deadline = Instant::now() + site.limits.first_byte;
                // The first request may have come with the end of the handshake.
                match self.transport.drain_into(&mut self.input) {
                    Ok(()) => self.serve(site, desk),
                    Err(_) => Next::Close,
                }
            }
            Err(Fault::Gone) => Next::Close,
            Err(Fault::Refused) => self.linger(&site.limits),
            Err(Fault::PlainHttp) => {
                self.phase = Phase::Fresh;
                self.refuse(Refusal::BadRequest("This port speaks HTTPS only."), site, desk)
            }
        }
    }

    /// Sends a refusal and prepares to close.
    pub fn refuse(&mut self, refusal: Refusal, site: &Site, desk: &mut Desk) -> Next {
        if matches!(self.phase, Phase::Handshake) {
            // There is no way yet in which the client could be told.
            return Next::Close;
        }
        let response = fenced(|| site.handler.refuse(refusal, Some(self.peer)));
        let terms =
            Terms { head_only: self.input.bytes().starts_with(b"HEAD "), close: true, http_1_0: false };
        let wire = wire(&self.transport, site);
        if send(wire, response, terms, &mut desk.out, &mut desk.date).complete {
            self.linger(&site.limits)
        } else {
            Next::Close
        }
    }

    /// Tells a client that there is no place for it, and is done with it. What has arrived is taken first, so
    /// that the end is no reset, which would destroy the answer; nothing is waited for.
    pub fn turn_away(&mut self, site: &Site, desk: &mut Desk) {
        let socket = self.transport.socket();
        if socket.set_nonblocking(true).is_err() {
            return;
        }
        // Nothing may be there yet.
        let _ = self.input.fill(&mut &*socket);
        if socket.set_nonblocking(false).is_ok() {
            self.refuse(Refusal::TooManyConnections, site, desk);
        }
    }

    /// Reads once. Called when the poller said that there is something, or to stay for a moment.
    fn receive(&mut self) -> Received {
        loop {
            let filled = match self.phase {
                // Nobody looks at it, so nobody decrypts it.
                Phase::Lingering(_) => self.input.fill(&mut self.transport.socket()),
                _ => self.transport.fill(&mut self.input),
            };
            return match filled {
                Ok(0) => Received::End,
                Ok(_) => Received::Something,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => Received::Nothing,
                Err(_) => Received::End,
            };
        }
    }

    fn proceed(&mut self, site: &Site, desk: &mut Desk) -> Next {
        match &mut self.phase {
            Phase::Lingering(budget) => {
                let arrived = self.input.bytes().len();
                self.input.consume(arrived);
                *budget = budget.saturating_sub(arrived as u64);
                if *budget == 0 { Next::Close } else { Next::Wait }
            }
            Phase::Draining(framing) => match discard(framing, &mut self.input) {
                Ok(_) if framing.is_complete() => {
                    self.phase = Phase::Idle;
                    self.serve(site, desk)
                }
                Ok(_) => Next::Wait,
                Err(_) => Next::Close,
            },
            // A handshake does not come here: its bytes are rustls's.
            Phase::Handshake | Phase::Fresh | Phase::Idle | Phase::Head => self.serve(site, desk),
        }
    }

    /// Answers the requests that have arrived, one after the other.
    fn serve(&mut self, site: &Site, desk: &mut Desk) -> Next {
        let mut served = 0;
        loop {
            let end = match self.scan.advance(self.input.bytes(), &site.limits) {
                Ok(Some(end)) => end,
                Ok(None) => match self.await_head(site) {
                    Some(next) => return next,
                    None => continue,
                },
                Err(refusal) => return self.refuse(refusal, site, desk),
            };
            if served >= TURN_REQUESTS_MAX && site.is_pressed() {
                self.scan.rewind();
                return Next::Again;
            }
            let head = match parse(&self.input.bytes()[..end], &site.limits) {
                Ok(head) => head,
                Err(refusal) => return self.refuse(refusal, site, desk),
            };
            self.input.consume(end);
            self.scan = HeadScan::default();
            self.phase = Phase::Idle;
            if let Some(next) = self.exchange(head, site, desk) {
                return next;
            }
            served += 1;
        }
    }

    /// The head is not complete: either more has arrived by now (`None`), or it is waited for.
    fn await_head(&mut self, site: &Site) -> Option<Next> {
        if self.scan.only_leading() {
            let empty_lines = self.input.bytes().len();
            self.input.consume(empty_lines);
            self.scan.rewind();
        }
        if !self.input.is_empty() {
            if !matches!(self.phase, Phase::Head) {
                self.phase = Phase::Head;
                self.deadline = Instant::now() + site.limits.head;
            }
            return Some(Next::Wait);
        }
        if site.is_stopping() || self.transport.has_ended() {
            return Some(Next::Close);
        }
        if self.hot && site.may_stay() {
            match self.receive() {
                Received::Something => return None,
                Received::End => return Some(Next::Close),
                Received::Nothing => self.hot = false,
            }
        }
        // Empty lines before a first request are no reason to wait longer for it.
        if matches!(self.phase, Phase::Idle) {
            self.waiting_since = Instant::now();
            self.deadline = self.waiting_since + site.limits.keep_alive;
        }
        Some(Next::Wait)
    }

    /// Answers one request. `None`: the next one may follow at once.
    fn exchange(&mut self, head: Head, site: &Site, desk: &mut Desk) -> Option<Next> {
        let (method, framing, http_1_0) = (head.method, head.framing, head.http_1_0);
        let (keep_alive, expects_continue) = (head.keep_alive, head.expects_continue);
        let wire = wire(&self.transport, site);
        let mut incoming = Incoming::new(wire, &mut self.input, framing, expects_continue);
        incoming.invite_nothing(expects_continue);
        let request = request(head, self.peer, self.encryption, &mut incoming);
        let response = fenced(|| site.handler.handle(request));
        let rest = incoming.finish();

        let close = response.close || !keep_alive || rest == Rest::Unbounded || site.is_stopping();
        let terms = Terms { head_only: method == Method::Head, close, http_1_0 };
        let sent = send(wire, response, terms, &mut desk.out, &mut desk.date);
        if !sent.complete {
            // The client must not take a part for the whole.
            self.transport.cut();
            return Some(Next::Close);
        }
        match rest {
            Rest::Nothing if close && self.input.is_empty() => Some(Next::Close),
            _ if close => Some(self.linger(&site.limits)),
            Rest::Bounded(framing) => {
                self.phase = Phase::Draining(framing);
                self.deadline = Instant::now() + site.limits.linger;
                Some(Next::Wait)
            }
            Rest::Nothing | Rest::Unbounded => None,
        }
    }

    /// Half closes, so that the client sees the end of the answer, and waits for it to go.
    fn linger(&mut self, limits: &Limits) -> Next {
        if self.transport.shut_down_writing().is_err() {
            return Next::Close;
        }
        let arrived = self.input.bytes().len();
        self.input.consume(arrived);
        self.phase = Phase::Lingering(limits.linger_bytes_max);
        self.deadline = Instant::now() + limits.linger;
        Next::Wait
    }
}

fn wire<'a>(transport: &'a Transport, site: &'a Site) -> Wire<'a> {
    Wire { transport, limits: &site.limits, abandoned: &site.abandoned, relief: &site.relief }
}

fn request<'a>(
    head: Head,
    peer: SocketAddr,
    encryption: Option<Encryption>,
    incoming: &'a mut Incoming<'_>,
) -> Request<'a> {
    let length = head.framing.remaining();
    let body = if length == Some(0) { Body::empty() } else { Body::new(length, Box::new(incoming)) };
    Request {
        method: head.method,
        path: head.path,
        query: head.query,
        headers: head.headers,
        peer: Some(peer),
        encryption,
        body,
    }
}

/// The last fence around the handler, which has its own: one request that panics ends its connection and
/// nothing else.
fn fenced(answer: impl FnOnce() -> Response) -> Response {
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
        let mut response = Response::new(500);
        response.close = true;
        response
    })
}

const _: () = assert!(READ_SLICE.as_millis() > HOT.as_millis(), "a hot client is waited for long enough");
