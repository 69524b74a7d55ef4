//! The bytes of a connection, in the clear or through TLS.
//!
//! rustls does TLS without sockets: it is shown what has arrived and says what is to be sent. That lets a
//! handshake wait in the engine's poller, step by step, like everything else that waits for a client.
//!
//! The poller sees only the socket, and rustls may hold decrypted bytes that nobody has read. Hence one
//! invariant: whenever a connection goes back to the poller, everything decrypted lies in its [`Input`].
//! [`Transport::fill`] keeps it between requests, [`Transport::drain_into`] restores it after a body.

use std::cell::{RefCell, RefMut};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::{CipherSuite, ProtocolVersion, ServerConfig, ServerConnection};

use super::Encryption;
use super::input::Input;

/// A socket, and what encrypts it.
pub struct Transport {
    socket: TcpStream,
    channel: Option<RefCell<Box<Channel>>>,
}

struct Channel {
    tls: ServerConnection,
    /// Whether a byte of the client's has been seen.
    begun: bool,
    /// Whether nothing more will come.
    ended: bool,
    /// Whether nothing more may be sent, not even the closing alert.
    closed: bool,
}

/// Why there is no encrypted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client has gone.
    Gone,
    /// What it sent is not acceptable; the alert that says so has been sent.
    Refused,
    /// It speaks HTTP without TLS; the transport now does as well.
    PlainHttp,
}

/// How far the sending of some bytes has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes that were taken over.
    taken: usize,
    /// Bytes that were handed to the system.
    pub sent: usize,
    /// Bytes that the system took, encrypted ones as they are: they move before the last byte of a record
    /// counts as sent.
    pub carried: usize,
}

impl Transport {
    /// The bytes as they are.
    pub fn plain(socket: TcpStream) -> Transport {
        Transport { socket, channel: None }
    }

    /// Encrypted bytes, once [`Transport::advance`] has done the handshake. Until then the socket does
    /// not block.
    ///
    /// # Errors
    /// When the socket or the configuration cannot be used.
    pub fn encrypted(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Transport> {
        socket.set_nonblocking(true)?;
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let channel = Box::new(Channel { tls, begun: false, ended: false, closed: false });
        Ok(Transport { socket, channel: Some(RefCell::new(channel)) })
    }

    /// The socket, for the poller and its options.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// No borrow lives across a call to anything else, so there is never a second one.
    fn channel(&self) -> Option<RefMut<'_, Box<Channel>>> {
        self.channel.as_ref().map(RefCell::borrow_mut)
    }

    // The handshake.

    /// Does what can be done of the handshake without waiting. `Ok(true)`: it is done, the socket blocks
    /// from now on, and the first request may have been decrypted already.
    pub fn advance(&mut self) -> Result<bool, Fault> {
        let Some(channel) = self.channel.as_mut().map(RefCell::get_mut) else { return Ok(true) };
        let step = channel.shake_hands(&self.socket);
        if matches!(step, Ok(true) | Err(Fault::PlainHttp | Fault::Refused)) {
            self.socket.set_nonblocking(false).map_err(|_| Fault::Gone)?;
        }
        if step == Err(Fault::PlainHttp) {
            self.channel = None;
        }
        step
    }

    /// Whether a handshake waits until more can be sent.
    pub fn waits_to_send(&self) -> bool {
        self.channel().is_some_and(|channel| channel.tls.is_handshaking() && channel.tls.wants_write())
    }

    /// How the connection is encrypted; `None` for plain ones and before the end of the handshake.
    pub fn encryption(&self) -> Option<Encryption> {
        let channel = self.channel()?;
        let version = match channel.tls.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "1.2",
            _ => "1.3",
        };
        let cipher_suite = cipher_suite_name(channel.tls.negotiated_cipher_suite()?.suite());
        Some(Encryption { version, cipher_suite })
    }

    // Reading.

    /// Reads from the socket once, and adds what that brings to `input`. `Ok(0)`: nothing more will come.
    /// `WouldBlock` also when what has arrived is not yet enough to decrypt.
    pub fn fill(&self, input: &mut Input) -> io::Result<usize> {
        let Some(mut channel) = self.channel() else { return input.fill(&mut &self.socket) };
        let before = input.bytes().len();
        if !channel.ended {
            channel.receive(&self.socket)?;
            channel.drain_into(input)?;
        }
        match input.bytes().len() - before {
            0 if channel.ended => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Moves what has been decrypted to `input`, without reading from the socket.
    ///
    /// # Errors
    /// None that a later read does not meet as well.
    pub fn drain_into(&self, input: &mut Input) -> io::Result<()> {
        self.channel().map_or(Ok(()), |mut channel| channel.drain_into(input))
    }

    /// Whether the client has said that nothing more will come. The poller does not know.
    pub fn has_ended(&self) -> bool {
        self.channel().is_some_and(|channel| channel.ended)
    }

    /// Reads once from the socket at most. `Interrupted`: what has arrived is not yet enough to decrypt.
    pub fn read(&self, target: &mut [u8]) -> io::Result<usize> {
        let Some(mut channel) = self.channel() else { return (&self.socket).read(target) };
        match channel.take(target) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        channel.receive(&self.socket)?;
        match channel.take(target) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::Interrupted.into()),
            result => result,
        }
    }

    // Writing.

    /// Hands some of the bytes of both parts, in order, to the system. `Ok(true)` when all of them have been.
    pub fn write(&self, [first, second]: [&[u8]; 2], progress: &mut Progress) -> io::Result<bool> {
        let first_left = first.get(progress.taken..).unwrap_or_default();
        let second_left = &second[progress.taken.saturating_sub(first.len())..];
        match self.channel() {
            Some(mut channel) => channel.write([first_left, second_left], &self.socket, progress)?,
            None if first_left.is_empty() && second_left.is_empty() => {}
            None => {
                let count = match (first_left, second_left) {
                    ([], only) | (only, []) => (&self.socket).write(only)?,
                    (first, second) => {
                        (&self.socket).write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?
                    }
                };
                progress.taken += some(count)?;
                (progress.sent, progress.carried) = (progress.taken, progress.taken);
            }
        }
        Ok(progress.sent == first.len() + second.len())
    }

    /// Says that nothing more will be sent, and closes this direction.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn shut_down_writing(&self) -> io::Result<()> {
        self.part();
        self.socket.shutdown(Shutdown::Write)
    }

    /// Cuts the connection. The client of an encrypted one can tell that from an end that was meant.
    pub fn cut(&self) {
        if let Some(mut channel) = self.channel() {
            channel.closed = true;
        }
        // Failure means that the client has gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Sends the closing alert once (RFC 8446 section 6.1), if that takes no time.
    pub fn part(&self) {
        let Some(mut channel) = self.channel() else { return };
        if channel.closed || channel.tls.is_handshaking() {
            return;
        }
        channel.closed = true;
        channel.tls.send_close_notify();
        // The socket is not written to any more, and reads are announced by the poller.
        if self.socket.set_nonblocking(true).is_ok() {
            let _ = channel.tls.write_tls(&mut &self.socket);
        }
    }
}

impl Channel {
    fn shake_hands(&mut self, mut socket: &TcpStream) -> Result<bool, Fault> {
        if !self.begun {
            self.begun = look_at_first_byte(socket)?;
        }
        if self.tls.wants_read() && self.tls.is_handshaking() {
            match self.receive(socket) {
                // A client may say everything it has to say in one go, its goodbye included.
                Ok(()) if self.ended && self.tls.is_handshaking() => return Err(Fault::Gone),
                Ok(()) => {}
                Err(error) if is_not_ready(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Fault::Refused),
                Err(_) => return Err(Fault::Gone),
            }
        }
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut socket) {
                Ok(0) => return Err(Fault::Gone),
                Ok(_) => {}
                Err(error) if is_not_ready(&error) => break,
                Err(_) => return Err(Fault::Gone),
            }
        }
        // What is left of session tickets leaves with the first answer.
        Ok(!self.tls.is_handshaking())
    }

    /// Reads once and decrypts. Everything decrypted before must have been taken.
    fn receive(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        if self.tls.read_tls(&mut socket)? == 0 {
            self.ended = true;
        }
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.ended |= state.peer_has_closed();
                Ok(())
            }
            Err(error) => {
                self.ended = true;
                self.closed = true;
                // The alert, which the client may not be there to read.
                let _ = self.tls.write_tls(&mut socket);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Takes decrypted bytes. `WouldBlock` when there are none, `Ok(0)` when there will be none.
    fn take(&mut self, target: &mut [u8]) -> io::Result<usize> {
        match self.tls.reader().read(target) {
            // An end without the closing alert. HTTP/1.1 tells a cut message from a whole one itself.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.ended => Ok(0),
            result => result,
        }
    }

    /// What rustls holds is bounded by what it decrypts of one read: a record, and the rest of another.
    fn drain_into(&mut self, input: &mut Input) -> io::Result<()> {
        loop {
            match input.fill(&mut Taking(self)) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes to the socket once, whatever was not sent before first.
    fn write(
        &mut self,
        parts: [&[u8]; 2],
        mut socket: &TcpStream,
        progress: &mut Progress,
    ) -> io::Result<()> {
        if !self.tls.wants_write() && parts.iter().any(|part| !part.is_empty()) {
            // Together, so that a head and a small body are one record.
            progress.taken += some(self.tls.writer().write_vectored(&parts.map(IoSlice::new))?)?;
        }
        if self.tls.wants_write() {
            progress.carried += some(self.tls.write_tls(&mut socket)?)?;
        }
        if !self.tls.wants_write() {
            progress.sent = progress.taken;
        }
        Ok(())
    }
}

/// Decrypted bytes as a source.
struct Taking<'a>(&'a mut Channel);

impl Read for Taking<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.0.take(target)
    }
}

/// A client that speaks HTTP without TLS begins with a method, and no record begins with a letter.
/// Whether there is a byte to look at.
fn look_at_first_byte(socket: &TcpStream) -> Result<bool, Fault> {
    let mut first = [0];
    match socket.peek(&mut first) {
        Ok(1) if first[0].is_ascii_alphabetic() => Err(Fault::PlainHttp),
        Ok(1) => Ok(true),
        Err(error) if is_not_ready(&error) => Ok(false),
        Ok(_) | Err(_) => Err(Fault::Gone),
    }
}

fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A write that takes nothing will take nothing.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

/// The name of a cipher suite as S3's access logs have it, which is OpenSSL's.
fn cipher_suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        _ => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_suite_that_is_offered_has_its_name_in_the_log() {
        for suite in rustls::crypto::ring::ALL_CIPHER_SUITES {
            assert_ne!(cipher_suite_name(suite.suite()), "-", "{suite:?}");
        }
    }
}
