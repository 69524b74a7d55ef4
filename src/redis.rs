//! A client for the handful of Redis commands that statistics need.
//!
//! Commands are sent as RESP arrays of bulk strings and answered in order (Redis documentation, "Redis
//! serialization protocol specification", version 2). Only the replies of those commands are read; everything
//! else is an error of the connection, which is then of no more use. Nothing is allocated by a length that
//! the other side declares, and one deadline holds for a whole exchange.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The longest line of a reply, in bytes: numbers, and the text of an error.
const LINE_BYTES_MAX: usize = 1_024;
/// The longest bulk string of a reply, in bytes: a 64-bit number has 20 digits.
const BULK_BYTES_MAX: usize = 64;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 1_024;

/// One command with its arguments.
pub type Command = Vec<String>;

/// What a command is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status, such as `OK`.
    Status(String),
    /// A refusal, such as `OOM command not allowed`.
    Error(String),
    /// A number.
    Number(i64),
    /// A value, or that there is none.
    Bulk(Option<Vec<u8>>),
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    /// What was read and not yet understood; never more than a line and one read.
    pending: Vec<u8>,
}

impl Client {
    /// Connects, and authenticates where there is a password.
    ///
    /// # Errors
    /// What the system says, or `PermissionDenied` with what Redis says about the password.
    pub fn connect(host: &str, port: u16, password: Option<&str>, within: Duration) -> io::Result<Client> {
        let stream = connect(host, port, within)?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, pending: Vec::new() };
        let Some(password) = password else { return Ok(client) };
        let auth = vec!["AUTH".to_owned(), password.to_owned()];
        match client.exchange(&[auth], within)?.pop() {
            Some(Reply::Status(_)) => Ok(client),
            Some(Reply::Error(text)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, text)),
            _ => Err(nonsense("AUTH was answered with a value")),
        }
    }

    /// Sends commands in one go and reads as many replies.
    ///
    /// # Errors
    /// When the connection fails, the time is up, or an answer is none. The connection is of no more use
    /// then, and which of the commands took effect is not known.
    pub fn exchange(&mut self, commands: &[Command], within: Duration) -> io::Result<Vec<Reply>> {
        let deadline = Instant::now() + within;
        self.stream.set_write_timeout(Some(remaining(deadline)?))?;
        self.stream.write_all(&encode(commands))?;
        commands.iter().map(|_| self.reply(deadline)).collect()
    }

    fn reply(&mut self, deadline: Instant) -> io::Result<Reply> {
        let line = self.line(deadline)?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| nonsense("an empty line"))?;
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => rest.parse().map(Reply::Number).map_err(|_| nonsense("not a number")),
            "$" if rest == "-1" => Ok(Reply::Bulk(None)),
            "$" => self.bulk(rest, deadline).map(|value| Reply::Bulk(Some(value))),
            _ => Err(nonsense("not a reply")),
        }
    }

    fn line(&mut self, deadline: Instant) -> io::Result<String> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.pending.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| nonsense("not a text"));
            }
            if self.pending.len() > LINE_BYTES_MAX {
                return Err(nonsense("a line without an end"));
            }
            self.fill(deadline)?;
        }
    }

    fn bulk(&mut self, length: &str, deadline: Instant) -> io::Result<Vec<u8>> {
        let length: Option<usize> = length.parse().ok().filter(|length| *length <= BULK_BYTES_MAX);
        let length = length.ok_or_else(|| nonsense("a value of another length than a number has"))?;
        while self.pending.len() < length + 2 {
            self.fill(deadline)?;
        }
        let value = self.pending.drain(..length).collect();
        match self.pending.drain(..2).as_slice() {
            b"\r\n" => Ok(value),
            _ => Err(nonsense("a value of another length than was said")),
        }
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        self.stream.set_read_timeout(Some(remaining(deadline)?))?;
        let mut buffer = [0; READ_BYTES];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.pending.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// Tries every address of a name; the last error counts.
fn connect(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + within;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match remaining(deadline).and_then(|left| TcpStream::connect_timeout(&address, left)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The time that is left, never zero.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this does not speak RESP: {what}"))
}

fn encode(commands: &[Command]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
        for word in command {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const WITHIN: Duration = Duration::from_secs(20);

    /// What `count` commands are answered with, when the other side says these bytes and hangs up.
    fn answers(said: &'static [u8], count: usize) -> io::Result<Vec<Reply>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The client may have hung up on nonsense before all of it was said.
            let _ = stream.write_all(said);
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let mut client = Client::connect("127.0.0.1", port, None, WITHIN).unwrap();
        let replies = client.exchange(&vec![vec!["PING".to_owned()]; count], WITHIN);
        drop(client);
        peer.join().unwrap();
        replies
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let command = vec!["INCRBY".to_owned(), "é".to_owned(), "1".to_owned()];
        assert_eq!(encode(&[command]), "*3\r\n$6\r\nINCRBY\r\n$2\r\né\r\n$1\r\n1\r\n".as_bytes());
    }

    #[test]
    fn every_kind_of_reply_is_read_in_order() {
        let said = b"+OK\r\n:-7\r\n$2\r\n12\r\n$0\r\n\r\n$-1\r\n-ERR no\r\n";
        let expected = [
            Reply::Status("OK".to_owned()),
            Reply::Number(-7),
            Reply::Bulk(Some(b"12".to_vec())),
            Reply::Bulk(Some(Vec::new())),
            Reply::Bulk(None),
            Reply::Error("ERR no".to_owned()),
        ];
        assert_eq!(answers(said, expected.len()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_reply_ends_the_connection() {
        static LONG: [u8; 4_096] = [b'+'; 4_096];
        for said in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"\r\n",
            b":many\r\n",
            b"$99999999999999999999\r\n",
            b"$1000000\r\n",
            b"$1\r\n12\r\n",
            b"*1\r\n:1\r\n",
            b"+\xff\xfe\r\n",
            "é\r\n".as_bytes(),
            &LONG,
        ] {
            let error = answers(said, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{said:?}: {error}");
        }
    }
}
