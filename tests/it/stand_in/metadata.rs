//! A metadata daemon on a port of its own, and a line to it that loses answers.

use super::line::{self, Fate};
use crate::harness::DEADLINE;
use s3pail::config::{Remote, Role};
use s3pail::daemon::metadata::MetadataDaemon;
use s3pail::daemon::{Daemon, Served};
use s3pail::log::Log;
use s3pail::storage::MetaStore;
use s3pail::storage::memory::{Budget, MemoryMeta};
use s3pail::storage::remote::Deadlines;
use s3pail::storage::remote_meta::RemoteMeta;
use std::net::{SocketAddr, TcpListener};
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
        let line = line::Line::to(daemon);
        let lose = Arc::new(AtomicUsize::new(0));
        let lost: Arc<Mutex<Box<dyn FnMut() + Send>>> = Arc::new(Mutex::new(Box::new(|| {})));
        let (address, losing, after) = (line.address, lose.clone(), lost.clone());
        line.decide(move |request| {
            let is_commit = request.starts_with("POST /metadata/commit ");
            let fewer = |left: usize| left.checked_sub(1);
            if !is_commit || losing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_err() {
                return Fate::Pass;
            }
            let after = after.clone();
            Fate::Lose(Box::new(move || (after.lock().unwrap())()))
        });
        Line { address, lose, lost }
    }

    pub fn client(&self) -> RemoteMeta {
        let deadlines = Deadlines { answer: Duration::from_secs(5), ..Deadlines::default() };
        RemoteMeta::new(&self.address.to_string(), deadlines)
    }
}
