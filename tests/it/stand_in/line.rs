//! A line to a server that lies between, and decides what becomes of each request and its answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Something that happens once.
pub type Act = Box<dyn FnOnce() + Send>;

/// What becomes of a request.
pub enum Fate {
    /// It arrives, and its answer too.
    Pass,
    /// It arrives, and its answer does not; then something happens.
    Lose(Act),
    /// It does not arrive; this is answered.
    Say(String),
    /// Something happens before it arrives.
    PassAfter(Act),
    /// Something happens between it and its answer.
    PassThen(Act),
}

impl Fate {
    /// Nothing but the loss of the answer.
    pub fn lose() -> Fate {
        Fate::Lose(Box::new(|| {}))
    }

    /// An S3 error with this status and code in its body.
    pub fn error(status: u16, code: &str) -> Fate {
        let body = format!("<Error><Code>{code}</Code></Error>");
        Fate::Say(format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

/// Decides by the first line of a request.
type Decide = Box<dyn FnMut(&str) -> Fate + Send>;

/// The line. It is there until the process ends.
pub struct Line {
    pub address: SocketAddr,
    decide: Arc<Mutex<Decide>>,
}

impl Line {
    /// A line to a server, on which everything passes.
    pub fn to(server: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let decide: Arc<Mutex<Decide>> = Arc::new(Mutex::new(Box::new(|_| Fate::Pass)));
        let line = Line { address, decide: decide.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let decide = decide.clone();
                std::thread::spawn(move || carry(stream, server, &decide));
            }
        });
        line
    }

    /// Lets something else decide from now on.
    pub fn decide(&self, decide: impl FnMut(&str) -> Fate + Send + 'static) {
        *self.decide.lock().unwrap() = Box::new(decide);
    }
}

/// Carries the requests of one connection, each on a connection of its own, until an answer is lost.
fn carry(stream: TcpStream, server: SocketAddr, decide: &Mutex<Decide>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = message(&mut reader, false)?;
        let end = request.iter().position(|byte| *byte == b'\r')?;
        let fate = (decide.lock().unwrap())(std::str::from_utf8(&request[..end]).ok()?);
        let pass = || {
            let mut upstream = TcpStream::connect(server).ok()?;
            upstream.write_all(&request).ok()?;
            message(&mut BufReader::new(upstream), request.starts_with(b"HEAD "))
        };
        let answer = match fate {
            Fate::Pass => pass()?,
            Fate::Say(answer) => answer.into_bytes(),
            Fate::PassAfter(act) => {
                act();
                pass()?
            }
            Fate::PassThen(act) => {
                let answer = pass()?;
                act();
                answer
            }
            Fate::Lose(act) => {
                pass()?;
                act();
                return None;
            }
        };
        writer.write_all(&answer).ok()?;
    }
}

/// One request or answer, head and body.
fn message(reader: &mut impl BufRead, answers_head: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        bytes.extend(line.as_bytes());
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    if !answers_head {
        reader.take(length).read_to_end(&mut bytes).ok()?;
    }
    Some(bytes)
}
