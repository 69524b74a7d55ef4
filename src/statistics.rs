//! How many requests there were and how many of them failed, in the last half minute, kept in Redis.
//!
//! Scality S3 Server counts requests in a Redis (`localCache`) that all servers behind one name may share,
//! and shows the sums in `/_/healthcheck`. Scripts read the same keys: `s3:requests:<ms>` and `s3:500s:<ms>`,
//! one pair for each interval of [`INTERVAL_MS`] by its first millisecond, gone [`SAMPLE_SECONDS`] after the
//! last change.
//!
//! A request adds to two numbers under a lock and is done: there is no queue that could fill, only the counts
//! of the few intervals that Redis would still keep. One thread talks to Redis. A Redis that is down, slow,
//! full or no Redis at all costs counts and never a request; how many is known ([`Statistics::dropped`]).
//! An exchange that failed in the middle is not repeated, so that nothing is counted twice.

use crate::codec::clock::Millis;
use crate::config::LocalCache;
use crate::log::{Field, Level, Log};
use crate::ops::service::Service;
use crate::redis::{Client, Command, Reply};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the counts of one key are of, in milliseconds (Scality S3 Server: 5 s).
pub const INTERVAL_MS: Millis = 5_000;
/// How far back a sample reaches and how long Redis keeps a key, in seconds (Scality S3 Server: 30 s).
pub const SAMPLE_SECONDS: u64 = 30;
/// The intervals of a sample.
const INTERVALS: u64 = SAMPLE_SECONDS * 1_000 / INTERVAL_MS;
/// The most intervals that are remembered: those of a sample, and the one that has just begun.
const INTERVALS_MAX: usize = INTERVALS as usize + 1;
/// How long counts are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(100);
/// How long Redis has to accept a connection, and to answer everything that was sent to it at once.
const REDIS_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that a health answer waits for the sum from Redis.
const SAMPLE_WAIT: Duration = Duration::from_millis(250);
/// The most health answers that wait at the same time.
const ASKED_MAX: usize = 64;
/// How long the end of the process waits for the thread: long enough to send what is left. A name that does
/// not resolve may hold the thread up for longer; nothing is lost by leaving it.
const STOP_WAIT: Duration = Duration::from_secs(3);
/// How long a Redis that failed is left alone: doubled with each failure, up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Requests among them that the server failed at.
    pub faults: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.requests = self.requests.saturating_add(other.requests);
        self.faults = self.faults.saturating_add(other.faults);
    }
}

/// The counts of an interval: all, and those that Redis was not sent yet.
#[derive(Clone, Copy, Default)]
struct Interval {
    all: Counts,
    unsent: Counts,
}

/// A health answer that waits for the sum of a sample that ends now.
struct Asked {
    now: Millis,
    answer: Sender<Counts>,
}

#[derive(Default)]
struct State {
    intervals: BTreeMap<Millis, Interval>,
    asked: Vec<Asked>,
    /// Whether the thread waits for something to do.
    idle: bool,
    stopped: bool,
}

impl State {
    fn has_unsent(&self) -> bool {
        self.intervals.values().any(|interval| interval.unsent != Counts::default())
    }
}

/// The counts of this process, and what Redis is to be told.
#[derive(Default)]
pub struct Statistics {
    state: Mutex<State>,
    wake: Condvar,
    dropped: AtomicU64,
    away: AtomicBool,
}

impl Statistics {
    /// Counts a request that was answered with this status. Faults are what S3 calls errors of the server;
    /// that something is not implemented is none.
    pub fn count(&self, now: Millis, status: u16) {
        let one = Counts { requests: 1, faults: u64::from(status >= 500 && status != 501) };
        let mut state = self.lock();
        let interval = state.intervals.entry(interval_of(now)).or_default();
        interval.all.add(one);
        interval.unsent.add(one);
        if state.intervals.len() > INTERVALS_MAX {
            let oldest = state.intervals.pop_first();
            self.drop_counts(oldest.map_or(Counts::default(), |(_, interval)| interval.unsent));
        }
        if std::mem::take(&mut state.idle) {
            self.wake.notify_one();
        }
    }

    /// The counts of the last half minute: the sum of all servers that share the Redis, or of this process
    /// alone when Redis does not answer at once.
    pub fn sample(&self, now: Millis) -> Counts {
        let (answer, answered) = bounded(1);
        let mut state = self.lock();
        let own = sum_of(&state.intervals, now);
        if state.asked.len() >= ASKED_MAX || state.stopped {
            return own;
        }
        state.asked.push(Asked { now, answer });
        state.idle = false;
        drop(state);
        self.wake.notify_one();
        answered.recv_timeout(SAMPLE_WAIT).unwrap_or(own)
    }

    /// The counts of the last half minute of this process alone.
    pub fn own(&self, now: Millis) -> Counts {
        sum_of(&self.lock().intervals, now)
    }

    /// How many requests Redis was never told of, or perhaps not.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether Redis failed when it was last spoken to.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn drop_counts(&self, counts: Counts) {
        self.dropped.fetch_add(counts.requests, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is of single numbers, so that a poisoned state is a usable one.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for counts to send, not before a moment, or for questions. `None` at the end.
    fn wait(&self, not_before: Instant) -> Option<Vec<Asked>> {
        let gathered = Instant::now() + GATHER;
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let now = Instant::now();
            let left = gathered.max(not_before).saturating_duration_since(now);
            let unsent = state.has_unsent();
            if !state.asked.is_empty() || (unsent && left.is_zero()) {
                return Some(std::mem::take(&mut state.asked));
            }
            state.idle = !unsent;
            state = match unsent {
                true => self.wake.wait_timeout(state, left).map_or_else(|p| p.into_inner().0, |(s, _)| s),
                false => self.wake.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
            };
        }
    }

    /// What Redis was not told yet, which is hereby taken as told. What Redis would have forgotten by now
    /// is dropped.
    fn take_unsent(&self, now: Millis) -> Vec<(Millis, Counts)> {
        let mut taken = Vec::new();
        for (start, interval) in &mut self.lock().intervals {
            let unsent = std::mem::take(&mut interval.unsent);
            match start + SAMPLE_SECONDS * 1_000 >= now {
                _ if unsent == Counts::default() => {}
                true => taken.push((*start, unsent)),
                false => self.drop_counts(unsent),
            }
        }
        taken
    }
}

/// The first millisecond of the interval of a moment.
fn interval_of(now: Millis) -> Millis {
    now - now % INTERVAL_MS
}

/// The intervals of a sample, youngest first.
fn sampled(now: Millis) -> impl Iterator<Item = Millis> {
    (0..INTERVALS).filter_map(move |back| interval_of(now).checked_sub(back * INTERVAL_MS))
}

fn sum_of(intervals: &BTreeMap<Millis, Interval>, now: Millis) -> Counts {
    let mut sum = Counts::default();
    for start in sampled(now) {
        sum.add(intervals.get(&start).map_or(Counts::default(), |interval| interval.all));
    }
    sum
}

fn key(name: &str, start: Millis) -> String {
    format!("s3:{name}:{start}")
}

/// The commands that add counts, two for each number that is not 0, and the requests behind each pair.
fn additions(unsent: &[(Millis, Counts)]) -> (Vec<Command>, Vec<u64>) {
    let (mut commands, mut behind) = (Vec::new(), Vec::new());
    for (start, counts) in unsent {
        // The faults are among the requests and lost with them.
        for (name, count, requests) in
            [("requests", counts.requests, counts.requests), ("500s", counts.faults, 0)]
        {
            if count > 0 {
                let key = key(name, *start);
                commands.push(vec!["INCRBY".to_owned(), key.clone(), count.to_string()]);
                commands.push(vec!["EXPIRE".to_owned(), key, SAMPLE_SECONDS.to_string()]);
                behind.push(requests);
            }
        }
    }
    (commands, behind)
}

/// The thread that talks to Redis. Dropping it sends what is left, if Redis is there, and ends it.
pub struct Runner {
    service: Arc<Service>,
    /// The thread, and what is closed when it ends.
    thread: Option<(JoinHandle<()>, Receiver<()>)>,
}

impl Runner {
    /// Starts the thread, if a Redis is configured.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(service: Arc<Service>, log: Arc<Log>) -> io::Result<Runner> {
        let Some(cache) = service.config.local_cache.clone() else {
            return Ok(Runner { service, thread: None });
        };
        let telling = Telling {
            service: service.clone(),
            log,
            cache,
            client: None,
            pause: Duration::ZERO,
            retry: Instant::now(),
        };
        let (alive, ended) = bounded(0);
        let run = move || {
            let _alive: Sender<()> = alive;
            telling.run();
        };
        let thread = std::thread::Builder::new().name("statistics".into()).spawn(run)?;
        Ok(Runner { service, thread: Some((thread, ended)) })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let Some((thread, ended)) = self.thread.take() else { return };
        if let Some(statistics) = &self.service.statistics {
            statistics.lock().stopped = true;
            statistics.wake.notify_one();
        }
        if ended.recv_timeout(STOP_WAIT) == Err(RecvTimeoutError::Disconnected) {
            let _ = thread.join();
        }
    }
}

struct Telling {
    service: Arc<Service>,
    log: Arc<Log>,
    cache: LocalCache,
    client: Option<Client>,
    /// How long Redis is left alone after the latest failure; zero while there is none.
    pause: Duration,
    retry: Instant,
}

impl Telling {
    fn run(mut self) {
        let service = self.service.clone();
        let Some(statistics) = &service.statistics else { return };
        while let Some(asked) = statistics.wait(self.retry) {
            if Instant::now() < self.retry {
                // Whoever asked is answered from this process's own counts.
                continue;
            }
            let outcome = self.tell(statistics).and_then(|()| self.answer(asked));
            self.note(statistics, outcome);
        }
        if self.client.is_some() {
            let _ = self.tell(statistics);
        }
    }

    fn client(&mut self) -> io::Result<&mut Client> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let LocalCache { remote, password } = &self.cache;
                Client::connect(&remote.host, remote.port, password.as_deref(), REDIS_TIMEOUT)?
            }
        };
        Ok(self.client.insert(client))
    }

    /// Sends what was counted.
    fn tell(&mut self, statistics: &Statistics) -> io::Result<()> {
        let now = self.service.clock.now();
        let client = self.client()?;
        let unsent = statistics.take_unsent(now);
        let (commands, behind) = additions(&unsent);
        let lost = |requests| statistics.drop_counts(Counts { requests, faults: 0 });
        let replies = client.exchange(&commands, REDIS_TIMEOUT).inspect_err(|_| lost(behind.iter().sum()))?;
        let mut refused = None;
        for (pair, requests) in replies.chunks(2).zip(behind) {
            match pair.first() {
                Some(Reply::Number(_)) => {}
                other => {
                    lost(requests);
                    refused = Some(format!("INCRBY was answered with {other:?}"));
                }
            }
        }
        refused.map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    /// Sums up the sample for everybody who asked.
    fn answer(&mut self, asked: Vec<Asked>) -> io::Result<()> {
        for Asked { now, answer } in asked {
            let get = |name| move |start| vec!["GET".to_owned(), key(name, start)];
            let commands: Vec<Command> =
                sampled(now).map(get("requests")).chain(sampled(now).map(get("500s"))).collect();
            let replies = self.client()?.exchange(&commands, REDIS_TIMEOUT)?;
            let (requests, faults) = replies.split_at(replies.len() / 2);
            let counts = Counts { requests: sum(requests)?, faults: sum(faults)? };
            // Who asked may have stopped waiting.
            let _ = answer.try_send(counts);
        }
        Ok(())
    }

    /// Notes how an exchange ended, and says so when that has changed.
    fn note(&mut self, statistics: &Statistics, outcome: io::Result<()>) {
        let was_away = statistics.away.swap(outcome.is_err(), Ordering::Relaxed);
        let redis = format!("{}:{}", self.cache.remote.host, self.cache.remote.port);
        let mut fields = vec![("redis", Field::from(&redis)), ("dropped", statistics.dropped().into())];
        let Err(error) = outcome else {
            self.pause = Duration::ZERO;
            if was_away {
                self.log.write(Level::Info, "the Redis of localCache is back", &fields);
            }
            return;
        };
        self.client = None;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.retry = Instant::now() + self.pause;
        if !was_away {
            let cause = error.to_string();
            fields.push(("cause", Field::from(&cause)));
            self.log.write(Level::Warn, "the Redis of localCache does not take statistics", &fields);
        }
    }
}

fn sum(replies: &[Reply]) -> io::Result<u64> {
    let mut sum: u64 = 0;
    for reply in replies {
        let count = match reply {
            Reply::Bulk(None) => Some(0),
            Reply::Bulk(Some(digits)) => std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        let count = count.ok_or_else(|| io::Error::other(format!("GET was answered with {reply:?}")))?;
        sum = sum.saturating_add(count);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_the_first_millisecond_of_five_seconds() {
        let (commands, behind) =
            additions(&[(interval_of(1_500_000_004_999), Counts { requests: 3, faults: 1 })]);
        let words: Vec<String> = commands.iter().map(|command| command.join(" ")).collect();
        assert_eq!(
            words,
            [
                "INCRBY s3:requests:1500000000000 3",
                "EXPIRE s3:requests:1500000000000 30",
                "INCRBY s3:500s:1500000000000 1",
                "EXPIRE s3:500s:1500000000000 30",
            ]
        );
        assert_eq!(behind, [3, 0]);
    }

    #[test]
    fn faults_are_the_servers_and_not_the_clients() {
        let statistics = Statistics::default();
        for status in [200, 206, 304, 403, 404, 500, 501, 503, 507] {
            statistics.count(7, status);
        }
        assert_eq!(sum_of(&statistics.lock().intervals, 7), Counts { requests: 9, faults: 3 });
    }

    #[test]
    fn a_sample_is_of_six_intervals_and_no_more_are_kept() {
        let statistics = Statistics::default();
        for second in 0..100 {
            statistics.count(second * 1_000, 200);
        }
        assert_eq!(statistics.lock().intervals.len(), INTERVALS_MAX);
        assert_eq!(sum_of(&statistics.lock().intervals, 99_999).requests, 30);
        assert_eq!(statistics.dropped(), 65);
        let unsent = statistics.take_unsent(99_999);
        assert_eq!(unsent.iter().map(|(_, counts)| counts.requests).sum::<u64>() + statistics.dropped(), 100);
        assert!(statistics.take_unsent(99_999).is_empty(), "counts are sent once");
    }

    #[test]
    fn only_numbers_are_summed() {
        let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
        assert_eq!(sum(&[bulk("2"), Reply::Bulk(None), bulk("40")]).unwrap(), 42);
        assert_eq!(sum(&[bulk("18446744073709551615"), bulk("1")]).unwrap(), u64::MAX);
        for reply in [bulk("x"), bulk("-1"), Reply::Number(1), Reply::Error("ERR".to_owned())] {
            assert!(sum(&[reply]).is_err());
        }
    }
}
