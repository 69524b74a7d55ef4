//! A metadata daemon on a port of its own, and a line to it that loses answers.

use crate::harness::DEADLINE;
use s3pail::config::{Remote, Role};
use s3pail::daemon::metadata::MetadataDaemon;
use s3pail::daemon::{Daemon, Served};
use s3pail::log::Log;
use s3pail::storage::MetaStore;
use s3pail::storage::memory::{Budget, MemoryMeta};
use s3pail::storage::remote::Deadlines;
use s3pail::storage::remote_meta::RemoteMeta;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A record store and the daemon that serves it, which can be stopped and started again.
pub struct Metadata {
    pub store: Arc<dyn MetaStore>,
    pub address: SocketAddr,
    daemon: Mutex<Option<Daemon>>,
}

impl Metadata {
    pub fn start() -> Metadata {
        Metadata::over(Arc::new(MemoryMeta::new(Budget::new(u64::MAX))))
    }

    pub fn over(store: Arc<dyn MetaStore>) -> Metadata {
        let daemon = serve(store.clone(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = daemon.addresses()[0];
        Metadata { store, address, daemon: Mutex::new(Some(daemon)) }
    }

    pub fn remote(&self) -> Remote {
        Remote { host: self.address.ip().to_string(), port: self.address.port() }
    }

    pub fn client(&self) -> RemoteMeta {
        RemoteMeta::new(&self.address.to_string(), Deadlines::default())
    }

    pub fn stop(&self) {
        if let Some(daemon) = self.daemon.lock().unwrap().take() {
            daemon.stop(DEADLINE).unwrap();
        }
    }

    /// A new run on the same port.
    pub fn start_again(&self) {
        self.stop();
        *self.daemon.lock().unwrap() = Some(serve(self.store.clone(), self.address));
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(store: Arc<dyn MetaStore>, address: SocketAddr) -> Daemon {
    let handler = Arc::new(MetadataDaemon::new(store.clone(), Arc::new(Log::off())));
    let served = Served { role: Role::Metadata, handler, sync: Box::new(move || store.sync()) };
    Daemon::start(vec![TcpListener::bind(address).unwrap()], 8, served).unwrap()
}

/// A line between a front end and a daemon that loses the answers of so many of the next commits. The
/// daemon has made a commit when its answer is lost.
pub struct Line {
    pub address: SocketAddr,
    pub lose: Arc<AtomicUsize>,
    /// Called after each loss.
    pub lost: Arc<Mutex<Box<dyn FnMut() + Send>>>,
}

impl Line {
    pub fn to(daemon: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lose = Arc::new(AtomicUsize::new(0));
        let lost: Arc<Mutex<Box<dyn FnMut() + Send>>> = Arc::new(Mutex::new(Box::new(|| {})));
        let line = Line { address, lose: lose.clone(), lost: lost.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (lose, lost) = (lose.clone(), lost.clone());
                std::thread::spawn(move || carry(stream, daemon, &lose, &lost));
            }
        });
        line
    }

    pub fn client(&self) -> RemoteMeta {
        let deadlines = Deadlines { answer: Duration::from_secs(5), ..Deadlines::default() };
        RemoteMeta::new(&self.address.to_string(), deadlines)
    }
}

/// Carries the requests of one connection, each on a connection of its own, until an answer is lost.
fn carry(
    stream: TcpStream,
    daemon: SocketAddr,
    lose: &AtomicUsize,
    lost: &Mutex<Box<dyn FnMut() + Send>>,
) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = message(&mut reader)?;
        let mut upstream = TcpStream::connect(daemon).ok()?;
        upstream.write_all(&request).ok()?;
        let answer = message(&mut BufReader::new(upstream))?;
        let is_commit = request.starts_with(b"POST /metadata/commit ");
        let fewer = |left: usize| left.checked_sub(1);
        if is_commit && lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            (lost.lock().unwrap())();
            return None;
        }
        writer.write_all(&answer).ok()?;
    }
}

/// One request or answer, head and body.
fn message(reader: &mut impl BufRead) -> Option<Vec<u8>> {
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
    reader.take(length).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
