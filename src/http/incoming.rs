//! A request body as the handler reads it: the framing removed, the deadlines held, `100 Continue` sent
//! at the first read.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::framing::{Framing, Malformed, Step};
use super::input::Input;
use super::limits::Limits;
use super::outgoing::{Outgoing, WRITE_SLICE};
use super::rate::Rate;
use super::relief::{Relief, Stall};
use super::transport::Transport;

/// How long a read waits before deadlines are looked at. Short, because the same time-out bounds how long
/// a worker stays with a connection that may send its next request at once.
pub const READ_SLICE: Duration = Duration::from_millis(5);

/// The same for reads and writes once a transfer stands still, so that it costs four wake-ups a second.
pub const STALLED_SLICE_MAX: Duration = Duration::from_millis(250);

/// Reads for less go through the buffer, so that a handler that reads byte by byte costs no system calls.
const DIRECT_BYTES_MIN: usize = 4 * 1024;

/// Why a body is not waited for although it has time left: its worker is needed.
const BUSY: io::ErrorKind = io::ErrorKind::ResourceBusy;

/// The interim response that invites a body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection with what bounds its use.
#[derive(Clone, Copy)]
pub struct Wire<'a> {
    /// The connection, its socket blocking, with its time-outs set by [`Wire::prepare`].
    pub transport: &'a Transport,
    /// The limits.
    pub limits: &'a Limits,
    /// Set when the grace period of a stop is over.
    pub abandoned: &'a AtomicBool,
    /// Where waiting for the client is reported.
    pub relief: &'a Relief,
}

impl Wire<'_> {
    /// Sets the options of a new socket.
    pub fn prepare(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
        // Linux gives new sockets in blocking mode; elsewhere they inherit the listener's.
        #[cfg(not(target_os = "linux"))]
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_SLICE))?;
        stream.set_write_timeout(Some(limits.write_inactivity.min(WRITE_SLICE)))
    }
}

/// Whether a socket time-out struck; its kind differs between systems.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The body of the request that is being handled.
pub struct Incoming<'a> {
    wire: Wire<'a>,
    input: &'a mut Input,
    framing: Framing,
    /// Whether the client waits for `100 Continue`.
    continue_due: bool,
    failed: Option<io::ErrorKind>,
    /// Whether the socket's time-out is the longer one.
    patient: bool,
    rate: Rate,
    stall: Stall<'a>,
}

/// What is left of a body when its request has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the next request follows.
    Nothing,
    /// A bounded number of bytes, then the next request.
    Bounded(Framing),
    /// Too much, or nobody knows: the connection must be closed.
    Unbounded,
}

impl<'a> Incoming<'a> {
    /// A body that has not been read.
    pub fn new(wire: Wire<'a>, input: &'a mut Input, framing: Framing, continue_due: bool) -> Incoming<'a> {
        let continue_due = continue_due && !framing.is_complete();
        let rate = Rate::new(wire.limits.body_rate_min, wire.limits.body_rate_window);
        let stall = Stall::new(wire.relief, wire.limits.stall_pressed);
        Incoming { wire, input, framing, continue_due, failed: None, patient: false, rate, stall }
    }

    /// Sends `100 Continue` to a client that asked for it although it has no body to send. A server may
    /// leave that out (RFC 9110 section 10.1.1), but the AWS CLI v1 and botocore up to 2026 then take
    /// the status of the final answer for that of their next request on the connection as well, and
    /// wait for the rest of that until they time out.
    pub fn invite_nothing(&mut self, expects_continue: bool) {
        if expects_continue && self.framing.is_complete() {
            // Failure shows when the answer is sent.
            let _ = Outgoing::new(self.wire).write_all(CONTINUE);
        }
    }

    /// What the client still has to send. Looks only at what has arrived, so it takes no time.
    pub fn finish(mut self) -> Rest {
        self.set_patient(false);
        // What was decrypted with the last of the body: the poller would not tell of it.
        if self.wire.transport.drain_into(self.input).is_err() {
            return Rest::Unbounded;
        }
        // Whether a client that was not invited sends its body cannot be known (RFC 9110 section 10.1.1).
        if self.failed.is_some() || self.continue_due {
            return Rest::Unbounded;
        }
        match discard(&mut self.framing, self.input) {
            Ok(_) if self.framing.is_complete() => Rest::Nothing,
            Ok(_) => match self.framing.remaining() {
                Some(bytes) if bytes <= self.wire.limits.drain_bytes_max => Rest::Bounded(self.framing),
                _ => Rest::Unbounded,
            },
            Err(Malformed) => Rest::Unbounded,
        }
    }

    fn read_content(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.continue_due {
            self.invite()?;
        }
        let mut copied = 0;
        while copied < target.len() {
            let (passed, step) = self.framing.step(self.input.bytes()).map_err(|Malformed| {
                io::Error::new(io::ErrorKind::InvalidData, "the chunked coding is malformed")
            })?;
            self.input.consume(passed);
            let room = &mut target[copied..];
            let count = match step {
                Step::End => break,
                Step::Content(left) if !self.input.is_empty() => self.copy(room, left),
                _ if copied > 0 => break,
                Step::Content(left) if room.len() >= DIRECT_BYTES_MIN => self.receive_content(room, left)?,
                Step::Content(_) | Step::More => {
                    self.receive(|input, transport| input.fill(&mut Reading(transport)))?;
                    continue;
                }
            };
            self.framing.take(count as u64);
            copied += count;
        }
        if self.framing.is_complete() {
            // What the handler does from here on is no waiting.
            self.stall.end();
        }
        Ok(copied)
    }

    /// Sends `100 Continue`, unless the body is already arriving (RFC 9110 section 10.1.1 allows that).
    fn invite(&mut self) -> io::Result<()> {
        self.continue_due = false;
        if !self.input.is_empty() {
            return Ok(());
        }
        let written = Outgoing::new(self.wire).write_all(CONTINUE);
        written.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn copy(&mut self, target: &mut [u8], left: u64) -> usize {
        let bytes = self.input.bytes();
        let count = at_most(target.len().min(bytes.len()), left);
        target[..count].copy_from_slice(&bytes[..count]);
        self.input.consume(count);
        count
    }

    /// Content goes from the socket to its target without a copy.
    fn receive_content(&mut self, target: &mut [u8], left: u64) -> io::Result<usize> {
        let count = at_most(target.len(), left);
        let target = &mut target[..count];
        self.receive(|_, transport| transport.read(target))
    }

    /// Reads once, however many slices that takes within the deadlines.
    fn receive(
        &mut self,
        mut read: impl FnMut(&mut Input, &Transport) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            match read(self.input, self.wire.transport) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.set_patient(false);
                    let waited = begun.elapsed();
                    if !self.rate.note(count, waited) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let slow = self.rate.is_slow(self.wire.limits.stall_pressed);
                    let goes_on = self.stall.moved(count, waited, slow);
                    return if goes_on { Ok(count) } else { Err(BUSY.into()) };
                }
                Err(error) if error.kind() != io::ErrorKind::Interrupted && !is_timeout(&error) => {
                    return Err(error);
                }
                Err(error) => {
                    let late = begun.elapsed() >= self.wire.limits.body_inactivity;
                    if late || self.wire.abandoned.load(Ordering::Relaxed) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    // What has arrived may not yet be enough to decrypt, which is no waiting.
                    if is_timeout(&error) {
                        let slow = self.rate.is_slow(self.wire.limits.stall_pressed);
                        if !self.stall.hold(begun.elapsed(), slow) {
                            return Err(BUSY.into());
                        }
                        self.set_patient(true);
                    }
                }
            }
        }
    }

    /// Chooses the socket's time-out: the longer one only while the body stands still, because each new
    /// wait is to be noticed soon.
    fn set_patient(&mut self, patient: bool) {
        if self.patient != patient {
            self.patient = patient;
            let slice = if patient { STALLED_SLICE_MAX } else { READ_SLICE };
            let slice = slice.min(self.wire.limits.body_inactivity).max(READ_SLICE);
            // Failure only means wake-ups at other times.
            let _ = self.wire.transport.socket().set_read_timeout(Some(slice));
        }
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        let result = self.read_content(target);
        if let Err(error) = &result {
            self.failed = Some(error.kind());
            self.stall.end();
        }
        result
    }
}

/// A connection as a source of its bytes.
struct Reading<'a>(&'a Transport);

impl Read for Reading<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.0.read(target)
    }
}

fn at_most(count: usize, left: u64) -> usize {
    usize::try_from(left).map_or(count, |left| count.min(left))
}

/// Drops the part of a body that has arrived. Returns how many bytes that were.
pub fn discard(framing: &mut Framing, input: &mut Input) -> Result<u64, Malformed> {
    let mut dropped = 0;
    loop {
        let (passed, step) = framing.step(input.bytes())?;
        input.consume(passed);
        dropped += passed as u64;
        match step {
            Step::Content(left) if !input.is_empty() => {
                let count = at_most(input.bytes().len(), left);
                input.consume(count);
                framing.take(count as u64);
                dropped += count as u64;
            }
            Step::Content(_) | Step::More | Step::End => return Ok(dropped),
        }
    }
}
