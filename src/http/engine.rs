//! The HTTP engine: listeners, one shared poller, and a fixed crew of workers.
//!
//! Every connection that waits for its client lies in the poller with a deadline and costs no thread.
//! The workers lead in turns: one waits on the poller, and when something has happened it takes one
//! event for itself, queues the others, and leaves the lead to the next free worker. So a request is
//! read, answered and written by the thread that the kernel woke for it, without a hop to another.
//!
//! Bodies are read and responses written by the worker that handles the request. One that has to wait for
//! its client meanwhile is replaced by another until it goes on (`relief.rs`).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use polling::{Event, Poller};

use super::connection::{Connection, Desk, Next, Site};
use super::incoming::Wire;
use super::limits::Limits;
use super::relief::Relief;
use super::{Handler, Refusal, Traffic};

/// Connections over the limit that may wait for their clients to take the refusal at the same time; more are
/// told and closed at once.
const REFUSED_MAX: usize = 64;

/// Connections that are accepted in a row before the worker looks at other work.
const ACCEPT_BATCH: usize = 64;

/// How long a listener rests after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long the leader rests when the poller itself fails.
const POLL_PAUSE: Duration = Duration::from_millis(10);

/// No alarm is set.
const NEVER: u64 = u64::MAX;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads, at least 2: a request that is being handled must not stop connections from being
    /// accepted. Less is raised to that.
    pub workers: usize,
    /// The limits.
    pub limits: Limits,
    /// Serves HTTPS with this; `None` serves plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A running engine. Dropping it without [`Running::stop`] leaves it running until the process ends.
pub struct Running {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// Serves the listeners until [`Running::stop`].
///
/// # Errors
///
/// When the system gives no poller or no threads, or a listener cannot be watched.
pub fn serve(
    listeners: Vec<TcpListener>,
    options: Options,
    handler: Arc<dyn Handler>,
) -> io::Result<Running> {
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let workers = options.workers.max(2);
    let shared = Arc::new(Shared::new(listeners, workers, options, handler)?);
    let mut running = Running { shared, addresses, threads: Vec::with_capacity(workers) };
    for index in 0..workers {
        let shared = running.shared.clone();
        let builder = thread::Builder::new().name(format!("http-{index}"));
        running.shared.site.relief.enter();
        match builder.spawn(move || work(shared)) {
            Ok(thread) => running.threads.push(thread),
            Err(error) => {
                running.shared.site.relief.leave();
                running.stop(Duration::ZERO);
                return Err(error);
            }
        }
    }
    let shared = Arc::downgrade(&running.shared);
    running.shared.site.relief.set_recruit(Box::new(move || shared.upgrade().is_some_and(stand_in)));
    Ok(running)
}

/// Starts a worker beyond those that were asked for. It ends when there are enough without it.
fn stand_in(shared: Arc<Shared>) -> bool {
    thread::Builder::new().name("http-more".to_owned()).spawn(move || work(shared)).is_ok()
}

/// A worker's life. Who waits for its end may count on it that the worker has let go of everything: a folder
/// of files is free for the next server then.
fn work(shared: Arc<Shared>) {
    let relief = shared.site.relief.clone();
    shared.work();
    drop(shared);
    relief.leave();
}

impl Running {
    /// The addresses that are listened on, in the order of the listeners.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Open connections, without those that are being refused.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// A look at the connections and workers that can be kept; it does not keep the engine. After the end
    /// of the engine it sees nothing.
    pub fn traffic(&self) -> impl Fn() -> Traffic + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || shared.upgrade().map_or(Traffic::default(), |shared| shared.traffic())
    }

    /// Stops: closes the listeners and every connection without a request in progress, and waits up to
    /// `grace` for the others. Returns whether all of them were finished.
    pub fn stop(self, grace: Duration) -> bool {
        self.shared.stop(grace) && self.threads.into_iter().all(|thread| thread.join().is_ok())
    }
}

struct Listening {
    socket: TcpListener,
    /// A descriptor that is given up to accept and refuse one connection when there is no other left.
    reserve: Option<TcpListener>,
    /// When to go on after an error.
    resume_at: Option<Instant>,
}

enum Job {
    Accept(usize),
    Attend(Box<Connection>),
    Resume(Box<Connection>),
    Expire(Box<Connection>),
}

/// What the workers agree on. `crew` is the one lock of the hand-off; it is never held while anything
/// is waited for but work.
#[derive(Default)]
struct Crew {
    ready: VecDeque<Job>,
    /// Whether a worker waits on the poller.
    leading: bool,
    /// Workers that wait for the lead.
    following: usize,
}

struct Shared {
    site: Site,
    poller: Poller,
    /// The waiting connections, by key. A key is a place here; the listeners' keys come after.
    slots: Vec<Mutex<Option<Box<Connection>>>>,
    /// Keys without a connection.
    keys: Mutex<Vec<usize>>,
    listeners: Vec<Mutex<Option<Listening>>>,
    crew: Mutex<Crew>,
    /// Woken when there is work or the lead is free.
    work: Condvar,
    epoch: Instant,
    /// No deadline passes before this time, in milliseconds after `epoch`.
    alarm: AtomicU64,
    /// Admitted connections.
    open: AtomicUsize,
    /// Connections since the start, and those of them that were turned away.
    accepted: AtomicU64,
    refused: AtomicU64,
    /// The same by address, without the loopback.
    peers: Mutex<HashMap<IpAddr, usize>>,
}

/// Locks; what these locks guard is valid between any two statements, so a panic elsewhere is no reason
/// to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn new(
        listeners: Vec<TcpListener>,
        workers: usize,
        options: Options,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Shared> {
        let Options { limits, tls, .. } = options;
        let places = limits.connections_max + REFUSED_MAX;
        let poller = Poller::new()?;
        let mut listening = Vec::with_capacity(listeners.len());
        for (index, socket) in listeners.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            poller.add(&socket, Event::readable(places + index))?;
            let reserve = socket.try_clone().ok();
            listening.push(Mutex::new(Some(Listening { socket, reserve, resume_at: None })));
        }
        let relief = Arc::new(Relief::new(workers, limits.stalled_max));
        let site = Site {
            handler,
            limits,
            tls,
            workers,
            relief,
            free: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        };
        Ok(Shared {
            site,
            poller,
            slots: (0..places).map(|_| Mutex::new(None)).collect(),
            keys: Mutex::new((0..places).rev().collect()),
            listeners: listening,
            crew: Mutex::new(Crew::default()),
            work: Condvar::new(),
            epoch: Instant::now(),
            alarm: AtomicU64::new(NEVER),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            peers: Mutex::new(HashMap::new()),
        })
    }

    fn traffic(&self) -> Traffic {
        let workers = self.site.workers as u64;
        Traffic {
            open: self.open.load(Ordering::Relaxed) as u64,
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            workers,
            // The one that waits on the poller counts as free.
            busy: workers.saturating_sub(self.site.free.load(Ordering::Relaxed) as u64),
            queued: self.site.queued.load(Ordering::Relaxed) as u64,
        }
    }

    // The crew.

    fn work(&self) {
        let mut desk = Desk::default();
        let mut events = Vec::new();
        while let Some(job) = self.next_job(&mut events) {
            // The fence of last resort: whatever a job does, the worker and its place in the crew remain.
            let _ = catch_unwind(AssertUnwindSafe(|| self.run(job, &mut desk)));
        }
    }

    /// Waits for work, as the leader or behind one. `None` when the engine stops, or when as many wait as
    /// workers were asked for, because stalled transfers have ended.
    fn next_job(&self, events: &mut Vec<Event>) -> Option<Job> {
        self.site.free.fetch_add(1, Ordering::Relaxed);
        let mut crew = lock(&self.crew);
        let job = loop {
            if let Some(job) = crew.ready.pop_front() {
                self.site.queued.store(crew.ready.len(), Ordering::Relaxed);
                break Some(job);
            }
            if self.site.stopping.load(Ordering::Acquire) {
                break None;
            }
            if crew.leading && crew.following >= self.site.workers {
                break None;
            }
            if crew.leading {
                crew.following += 1;
                crew = self.work.wait(crew).unwrap_or_else(PoisonError::into_inner);
                crew.following -= 1;
                continue;
            }
            crew.leading = true;
            drop(crew);
            let jobs = self.lead(events);
            crew = lock(&self.crew);
            crew.leading = false;
            crew.ready.extend(jobs);
        };
        let wanted = !crew.leading || !crew.ready.is_empty();
        if wanted && crew.following > 0 {
            self.work.notify_one();
        }
        self.site.free.fetch_sub(1, Ordering::Relaxed);
        job
    }

    /// Waits on the poller and turns what happened into work.
    fn lead(&self, events: &mut Vec<Event>) -> VecDeque<Job> {
        let alarm = self.alarm.load(Ordering::Acquire);
        let due = (alarm != NEVER).then(|| self.epoch + Duration::from_millis(alarm));
        let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
        events.clear();
        match self.poller.wait(events, timeout) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => thread::sleep(POLL_PAUSE),
        }
        let mut jobs: VecDeque<Job> = events.iter().filter_map(|event| self.job_of(event.key)).collect();
        if due.is_some_and(|due| Instant::now() >= due) {
            self.expire(&mut jobs);
        }
        jobs
    }

    fn job_of(&self, key: usize) -> Option<Job> {
        match self.slots.get(key) {
            Some(slot) => lock(slot).take().map(Job::Attend),
            None => Some(Job::Accept(key - self.slots.len())),
        }
    }

    fn run(&self, job: Job, desk: &mut Desk) {
        let (mut connection, attend): (_, fn(&mut Connection, &Site, &mut Desk) -> Next) = match job {
            Job::Accept(index) => return self.accept(index, desk),
            Job::Attend(connection) => (connection, Connection::attend),
            Job::Resume(connection) => (connection, Connection::resume),
            Job::Expire(connection) => {
                (connection, |connection, site, desk| connection.refuse(Refusal::HeadTimeout, site, desk))
            }
        };
        let next = catch_unwind(AssertUnwindSafe(|| attend(&mut connection, &self.site, desk)));
        match next {
            Ok(Next::Wait) => self.park(connection),
            Ok(Next::Again) => self.queue(connection),
            Ok(Next::Close) | Err(_) => self.close(connection),
        }
    }

    fn queue(&self, connection: Box<Connection>) {
        let mut crew = lock(&self.crew);
        crew.ready.push_back(Job::Resume(connection));
        self.site.queued.store(crew.ready.len(), Ordering::Relaxed);
    }

    // Waiting connections.

    /// Watches a connection that was watched before.
    fn park(&self, connection: Box<Connection>) {
        self.watch(connection, |poller, stream, event| poller.modify(stream, event));
    }

    /// The slot is locked until the connection is in it, because its event can come at once.
    fn watch(
        &self,
        connection: Box<Connection>,
        arm: impl FnOnce(&Poller, &TcpStream, Event) -> io::Result<()>,
    ) {
        let (key, deadline) = (connection.key, connection.deadline);
        let mut slot = lock(&self.slots[key]);
        // A stop empties the slots after it has set this, so either it or this sees the connection.
        let stopping = self.site.stopping.load(Ordering::Acquire);
        let event = Event { key, readable: true, writable: connection.waits_to_send() };
        if stopping || arm(&self.poller, connection.transport.socket(), event).is_err() {
            drop(slot);
            return self.close(connection);
        }
        *slot = Some(connection);
        drop(slot);
        self.wake_at(deadline);
    }

    fn close(&self, connection: Box<Connection>) {
        // An error means that it was not watched.
        let _ = self.poller.delete(connection.transport.socket());
        connection.transport.part();
        let (key, peer, admitted) = (connection.key, connection.peer.ip(), connection.admitted);
        drop(connection);
        if admitted {
            self.leave(peer);
        }
        lock(&self.keys).push(key);
    }

    /// Makes the leader look at deadlines at that time.
    fn wake_at(&self, deadline: Instant) {
        let alarm = deadline.saturating_duration_since(self.epoch).as_millis() as u64 + 1;
        if self.alarm.fetch_min(alarm, Ordering::AcqRel) > alarm {
            // Failure delays a deadline until the next event.
            let _ = self.poller.notify();
        }
    }

    /// Closes what has waited enough, wakes resting listeners, and finds the next deadline.
    fn expire(&self, jobs: &mut VecDeque<Job>) {
        self.alarm.store(NEVER, Ordering::Release);
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut note = |deadline: Instant| next = Some(next.map_or(deadline, |next| next.min(deadline)));
        for slot in &self.slots {
            let mut slot = lock(slot);
            if let Some(connection) = slot.take_if(|connection| connection.deadline <= now) {
                drop(slot);
                self.expire_one(connection, jobs);
            } else if let Some(connection) = slot.as_ref() {
                note(connection.deadline);
            }
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            // A listener that is in use is not resting; its worker sees to it.
            let Ok(mut listening) = listener.try_lock() else { continue };
            let Some(listening) = listening.as_mut() else { continue };
            match listening.resume_at {
                Some(at) if at <= now => self.listen(listening, index),
                Some(at) => note(at),
                None => {}
            }
        }
        if let Some(next) = next {
            self.wake_at(next);
        }
    }

    fn expire_one(&self, connection: Box<Connection>, jobs: &mut VecDeque<Job>) {
        if !connection.expires_with_answer() {
            return self.close(connection);
        }
        // Not watched while a worker writes the answer.
        let _ = self.poller.modify(connection.transport.socket(), Event::none(connection.key));
        jobs.push_back(Job::Expire(connection));
    }

    // New connections.

    fn listen(&self, listening: &mut Listening, index: usize) {
        listening.resume_at = None;
        let event = Event::readable(self.slots.len() + index);
        if self.poller.modify(&listening.socket, event).is_err() {
            listening.resume_at = Some(Instant::now() + ACCEPT_PAUSE);
        }
    }

    /// Accepts what is there. No error ends a listener: it rests and goes on.
    fn accept(&self, index: usize, desk: &mut Desk) {
        let mut guard = lock(&self.listeners[index]);
        let Some(listening) = guard.as_mut() else {
            return;
        };
        for _ in 0..ACCEPT_BATCH {
            match listening.socket.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, desk),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if is_exhaustion(&error) && self.turn_away(listening, desk) => {}
                Err(_) => {
                    listening.resume_at = Some(Instant::now() + ACCEPT_PAUSE);
                    break;
                }
            }
        }
        if listening.resume_at.is_none() {
            self.listen(listening, index);
        }
        let resume_at = listening.resume_at;
        drop(guard);
        if let Some(at) = resume_at {
            self.wake_at(at);
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, desk: &mut Desk) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if Wire::prepare(&stream, &self.site.limits).is_err() {
            return;
        }
        let Some(key) = lock(&self.keys).pop() else {
            return self.refuse_at_once(stream, peer, desk);
        };
        let admitted = self.enter(peer.ip());
        if !admitted {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let connection = Connection::new(key, stream, peer, admitted, &self.site);
        let Ok(mut connection) = connection.map(Box::new) else {
            if admitted {
                self.leave(peer.ip());
            }
            return lock(&self.keys).push(key);
        };
        if !admitted && connection.refuse(Refusal::TooManyConnections, &self.site, desk) == Next::Close {
            return self.close(connection);
        }
        self.watch(connection, |poller, stream, event| poller.add(stream, event));
    }

    /// Accepts one connection with the reserved descriptor and refuses it, so that clients learn of the
    /// shortage instead of waiting for its end. Returns whether the reserve is there again.
    fn turn_away(&self, listening: &mut Listening, desk: &mut Desk) -> bool {
        if listening.reserve.take().is_none() {
            listening.reserve = listening.socket.try_clone().ok();
            return false;
        }
        if let Ok((stream, peer)) = listening.socket.accept()
            && Wire::prepare(&stream, &self.site.limits).is_ok()
        {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            self.refuse_at_once(stream, peer, desk);
        }
        listening.reserve = listening.socket.try_clone().ok();
        listening.reserve.is_some()
    }

    /// Refuses a connection without giving it a place to linger in.
    fn refuse_at_once(&self, stream: TcpStream, peer: SocketAddr, desk: &mut Desk) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut connection) = Connection::new(0, stream, peer, false, &self.site) {
            connection.turn_away(&self.site, desk);
        }
    }

    /// Counts a connection, unless that would exceed a limit.
    fn enter(&self, peer: IpAddr) -> bool {
        let limits = &self.site.limits;
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.connections_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if peer.is_loopback() {
            return true;
        }
        let mut peers = lock(&self.peers);
        let count = peers.entry(peer).or_default();
        if *count >= limits.connections_per_peer_max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        *count += 1;
        true
    }

    fn leave(&self, peer: IpAddr) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        if peer.is_loopback() {
            return;
        }
        let mut peers = lock(&self.peers);
        if let Some(count) = peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&peer);
            }
        }
    }

    // The end.

    fn stop(&self, grace: Duration) -> bool {
        self.site.stopping.store(true, Ordering::Release);
        for listener in &self.listeners {
            if let Some(listening) = lock(listener).take() {
                // The socket is closed next, which ends the watch as well.
                let _ = self.poller.delete(&listening.socket);
            }
        }
        for slot in &self.slots {
            let connection = lock(slot).take();
            if let Some(connection) = connection {
                self.close(connection);
            }
        }
        let crew = lock(&self.crew);
        self.work.notify_all();
        drop(crew);
        // A leader that cannot be woken ends at its next event, or is left behind.
        let _ = self.poller.notify();
        let finished = self.site.relief.wait_until_gone(grace);
        self.site.abandoned.store(!finished, Ordering::Release);
        finished
    }
}

/// Whether the error concerns only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Whether the process or the system has no descriptor left (ENFILE, EMFILE).
fn is_exhaustion(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}
