//! The scrub: reads every body that is kept in files now and then, so that bit rot is found before somebody
//! needs the body.
//!
//! One thread goes over the records of objects, versions and parts, in the order of their keys, and reads what
//! they name through the readers that compare checksums: files, and small bodies among the records. It reads
//! no more than a few megabytes a second ([`pause`]), writes down how far it has come, and goes on there after
//! a restart. What does not match its checksum is counted, logged, and its file is moved into quarantine (see
//! [`FileBlobs::quarantine`](crate::storage::file_blobs::FileBlobs::quarantine)); its record stays.
//!
//! Before a walk it has the store compare what finding a record rests on with its checksums
//! ([`MetaStore::check_index`](crate::storage::MetaStore::check_index)), at the same rate.
//!
//! It is driven by records and not by files, because a file that no record names may be one that is being
//! written. Hence a data daemon, which has no records, and a front end whose records are in another process,
//! have no scrub.

use crate::codec::clock::Millis;
use crate::codec::{hex, unhex};
use crate::config::{Backend, Config};
use crate::log::{Level, Log};
use crate::model::multipart::PartRecord;
use crate::model::object::{ObjectRecord, Piece};
use crate::model::{inline_body, keys};
use crate::ops::service::Service;
use crate::storage::shared_folder::SharedFolder;
use crate::storage::{Batch, BlobStore, Pace, Result, StorageError, Visit};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// From the start of the process to the first walk, or to going on with one.
const FIRST_WALK: Duration = Duration::from_secs(60);
/// How often is looked whether a walk is due. Less than the period, because the server's clock may be moved.
const LOOK_PAUSE: Duration = Duration::from_secs(60);
/// How often is written down how far a walk has come: what a killed process reads once more.
const SAVE_PAUSE: Duration = Duration::from_secs(60);
/// Records that are read together.
const PAGE_RECORDS_MAX: usize = 64;
/// A page ends with the record that brings it past this; one with thousands of parts has a megabyte.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a body that are read together.
const READ_BYTES: usize = 256 * 1024;
/// The longest wait in one piece, where a page has more bytes than the rate allows for in a second.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How far a walk has come, as it stands in the record [`keys::SCRUB`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// When the walk began, in milliseconds.
    pub begun_ms: Millis,
    /// The key of the record that is next, in hexadecimal; `None` when the walk is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The id of the body of that record that was read last. Should the record name others by the next start,
    /// all of them are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Bodies that were read.
    pub bodies: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// Bodies and records that did not match their checksums.
    pub damaged: u64,
    /// Bodies that are not there.
    pub missing: u64,
    /// Bodies that could not be read for another reason.
    pub failed: u64,
}

impl Progress {
    /// What the last walk of a store wrote down.
    ///
    /// # Errors
    /// What the store says; `Corrupt` for what cannot be understood.
    pub fn stored(service: &Service) -> Result<Option<Progress>> {
        let Some(value) = service.meta.get(keys::SCRUB)? else { return Ok(None) };
        let read = serde_json::from_slice(&value).map(Some);
        read.map_err(|error| StorageError::Corrupt(format!("how far the scrub has come: {error}")))
    }

    fn store(&self, service: &Service) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(keys::SCRUB, serde_json::to_vec(self).unwrap_or_default());
        service.meta.commit(batch).map(drop)
    }
}

/// How long to wait after reading `bytes` in a time of `took`, so that no more than `rate` bytes are read in
/// a second. Time that a slow disk took longer is not made up for later.
pub fn pause(bytes: u64, took: Duration, rate: u64) -> Duration {
    let due = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
    due.saturating_sub(took)
}

/// When the next walk is due: `None` when none has been made, so that it is due now.
fn is_due(last: Option<&Progress>, now: Millis, period_ms: u64) -> bool {
    match last {
        None => true,
        Some(Progress { next: Some(_), .. }) => true,
        // A clock that has been set back does not put the scrub off by more than a period.
        Some(Progress { begun_ms, .. }) => now.abs_diff(*begun_ms) >= period_ms,
    }
}

/// Wakes the thread for a walk that is not due.
#[derive(Debug)]
pub struct Turn {
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Default for Turn {
    fn default() -> Turn {
        let (wake, woken) = bounded(1);
        Turn { wake, woken }
    }
}

impl Turn {
    /// Has the thread begin a walk, or another one behind the one that is under way.
    pub fn wake(&self) {
        // Full: it is to wake up already.
        let _ = self.wake.try_send(());
    }
}

/// The thread that scrubs.
pub struct Scrub {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrub {
    /// Starts the thread; `None` where there is nothing for it: no records in files, or a period of 0.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        service: Arc<Service>,
        folder: Option<Arc<SharedFolder>>,
        log: Arc<Log>,
    ) -> std::io::Result<Option<Scrub>> {
        if !is_wanted(&service.config) {
            return Ok(None);
        }
        let (stop, stopped) = bounded(0);
        let run = move || run(&service, folder.as_deref(), &log, &stopped);
        let thread = std::thread::Builder::new().name("scrub".into()).spawn(run)?;
        Ok(Some(Scrub { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Scrub {
    /// Ends the walk that is under way, between two blocks, and writes down where.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether a server of this configuration has a scrub.
pub fn is_wanted(config: &Config) -> bool {
    config.scrub_period_ms > 0 && config.metadata != Backend::Memory && config.metadata_client.is_none()
}

fn run(service: &Service, folder: Option<&SharedFolder>, log: &Log, stopped: &Receiver<()>) {
    let mut wait = FIRST_WALK;
    let mut is_sound = true;
    loop {
        let asked = select! {
            recv(stopped) -> _ => return,
            recv(service.scrub.woken) -> _ => true,
            default(wait) => false,
        };
        wait = LOOK_PAUSE;
        if !is_sound {
            // It has been told, and nothing but another start changes it.
            continue;
        }
        let last = match Progress::stored(service) {
            Ok(last) => last,
            Err(error) => {
                failed(log, &error);
                None
            }
        };
        if !asked && !is_due(last.as_ref(), service.clock.now(), service.config.scrub_period_ms) {
            continue;
        }
        let unfinished = last.filter(|last| last.next.is_some());
        is_sound = unfinished.is_some() || check_index(service, log, stopped);
        if !is_sound {
            // A walk over it would read nothing.
            continue;
        }
        let new = Progress { begun_ms: service.clock.now(), next: Some(hex(b"o/")), ..Progress::default() };
        let mut walk = Walk::new(service, folder, log, stopped, unfinished.unwrap_or(new));
        let outcome = walk.run();
        let progress = walk.progress;
        // Should it not be possible to write it down, this walk is made once more.
        let outcome = outcome.and(progress.store(service));
        if let Err(error) = outcome {
            failed(log, &error);
        } else if progress.next.is_none() {
            service.metrics.scrub.walks.fetch_add(1, Ordering::Relaxed);
            let fields = [
                ("bodies", progress.bodies.into()),
                ("bytes", progress.bytes.into()),
                ("damaged", progress.damaged.into()),
                ("missing", progress.missing.into()),
                ("failed", progress.failed.into()),
            ];
            log.write(Level::Info, "scrubbed", &fields);
        }
    }
}

/// Waits until the bytes that were read `since` then fit the rate. `false` when it is time to stop.
fn rest(stopped: &Receiver<()>, bytes: u64, since: Instant, rate: u64) -> bool {
    let wait = pause(bytes, since.elapsed(), rate).min(PAUSE_MAX);
    stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
}

/// Whether the records can be walked over: their index is sound, or could not be looked at.
fn check_index(service: &Service, log: &Log, stopped: &Receiver<()>) -> bool {
    let (until, rate) = (stopped.clone(), service.config.scrub_rate);
    let read = Mutex::new((0, Instant::now()));
    let pace = Pace::new(move |bytes| {
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        read.0 += bytes;
        let (bytes, since) = *read;
        let is_enough = bytes >= READ_BYTES;
        if !rest(&until, if is_enough { bytes as u64 } else { 0 }, since, rate) {
            return Err(std::io::Error::other("the server stops"));
        }
        if is_enough {
            *read = (0, Instant::now());
        }
        Ok(())
    });
    let error = match service.meta.check_index(pace) {
        Ok(true) => return true,
        Ok(false) => StorageError::Corrupt("its index does not match its checksums".to_owned()),
        Err(_) if stopped.try_recv() == Err(TryRecvError::Disconnected) => return false,
        Err(error) => error,
    };
    let is_damaged = matches!(error, StorageError::Corrupt(_));
    let (finding, level) = match is_damaged {
        true => (Finding::Damaged, Level::Error),
        false => (Finding::Failed, Level::Warn),
    };
    service.metrics.scrub.count_finding(finding);
    let cause = service.damage.note(error).to_string();
    let fields = [("finding", finding.as_str().into()), ("cause", (&cause).into())];
    log.write(level, "the scrub could not trust the records", &fields);
    !is_damaged
}

fn failed(log: &Log, error: &StorageError) {
    let cause = error.to_string();
    log.write(Level::Warn, "the scrub ended early", &[("cause", (&cause).into())]);
}

/// What a walk can find wrong, as the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A body or a record does not match its checksum.
    Damaged,
    /// A body is not there.
    Missing,
    /// A body could not be read for another reason.
    Failed,
}

impl Finding {
    /// All of them.
    pub const ALL: [Finding; 3] = [Finding::Damaged, Finding::Missing, Finding::Failed];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Damaged => "damaged",
            Finding::Missing => "missing",
            Finding::Failed => "failed",
        }
    }
}

/// What all walks since the start have counted, for `/metrics`.
#[derive(Debug, Default)]
pub struct Counts {
    walks: AtomicU64,
    bodies: AtomicU64,
    bytes: AtomicU64,
    findings: [AtomicU64; Finding::ALL.len()],
}

impl Counts {
    /// Walks that came to their end.
    pub fn walks(&self) -> u64 {
        self.walks.load(Ordering::Relaxed)
    }

    /// Bodies that were read.
    pub fn bodies(&self) -> u64 {
        self.bodies.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What was found of a kind.
    pub fn findings(&self, finding: Finding) -> u64 {
        self.findings[finding as usize].load(Ordering::Relaxed)
    }

    fn count_finding(&self, finding: Finding) {
        self.findings[finding as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// A record that names bodies.
struct Named {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What reading a body showed.
enum Found {
    Sound,
    Damaged(StorageError),
    Missing,
    Failed(StorageError),
    /// It is time to stop.
    Unread,
}

struct Walk<'w> {
    service: &'w Service,
    folder: Option<&'w SharedFolder>,
    /// The locations whose bodies are in the folder.
    locations: HashSet<&'w str>,
    log: &'w Log,
    stopped: &'w Receiver<()>,
    progress: Progress,
    saved: Instant,
    /// When what was read last began to be read.
    since: Instant,
}

impl<'w> Walk<'w> {
    fn new(
        service: &'w Service,
        folder: Option<&'w SharedFolder>,
        log: &'w Log,
        stopped: &'w Receiver<()>,
        progress: Progress,
    ) -> Walk<'w> {
        let files = service.config.locations.iter().filter(|(_, location)| location.kind == "file");
        let locations = files.map(|(name, _)| name.as_str()).collect();
        let now = Instant::now();
        Walk { service, folder, locations, log, stopped, progress, saved: now, since: now }
    }

    /// Walks until the end, or until it is time to stop: then `progress.next` says where.
    fn run(&mut self) -> Result<()> {
        while let Some(from) = self.progress.next.as_deref().and_then(unhex) {
            let page = self.page(&from)?;
            let bytes = page.iter().map(|record| record.key.len() + record.value.len()).sum::<usize>();
            if !self.rest(bytes as u64) {
                return Ok(());
            }
            for record in &page {
                if self.progress.next.as_deref() != Some(hex(&record.key).as_str()) {
                    self.progress.next = Some(hex(&record.key));
                    self.progress.body = None;
                }
                if !self.record(record)? {
                    return Ok(());
                }
            }
            self.progress.body = None;
            self.progress.next = page.last().map(|last| hex(&[&last.key, b"\0".as_slice()].concat()));
        }
        self.progress.next = None;
        Ok(())
    }

    /// The next records that name bodies: of objects, versions and parts (see `model::keys`).
    fn page(&self, from: &[u8]) -> Result<Vec<Named>> {
        let mut page = Vec::new();
        let mut bytes = 0;
        self.service.meta.scan(from..b"w".as_slice(), &mut |key, value| {
            match key.first() {
                Some(b'o' | b'p' | b'v') => {
                    bytes += value.len();
                    page.push(Named { key: key.to_vec(), value: value.to_vec() });
                }
                Some(b'q'..b'v') => return Visit::Seek(b"v/".to_vec()),
                _ => {}
            }
            let goes_on = page.len() < PAGE_RECORDS_MAX && bytes < PAGE_BYTES_MAX;
            if goes_on { Visit::Next } else { Visit::Stop }
        })?;
        Ok(page)
    }

    /// Reads the bodies of a record. `false` when it is time to stop.
    fn record(&mut self, record: &Named) -> Result<bool> {
        let pieces = match record.key.first() {
            Some(b'p') => PartRecord::decode(&record.value).map(|part| part.pieces),
            _ => ObjectRecord::decode(&record.value).map(|object| object.detail.pieces),
        };
        let pieces = match pieces {
            Ok(pieces) => pieces,
            Err(error) => {
                self.found(record, "", Found::Damaged(error), false);
                return Ok(true);
            }
        };
        let read = pieces.iter().rposition(|piece| Some(&piece.id.0) == self.progress.body.as_ref());
        for piece in pieces.iter().skip(read.map_or(0, |last| last + 1)) {
            if piece.inline || self.is_in_folder(piece) {
                let found = self.piece(piece);
                if !self.judge(record, piece, found)? {
                    return Ok(false);
                }
            }
            self.progress.body = Some(piece.id.0.clone());
            if self.saved.elapsed() >= SAVE_PAUSE {
                self.progress.store(self.service)?;
                self.saved = Instant::now();
            }
        }
        Ok(true)
    }

    fn is_in_folder(&self, piece: &Piece) -> bool {
        let here = piece.location.is_empty() || self.locations.contains(piece.location.as_str());
        self.folder.is_some() && here
    }

    /// Reads a body.
    fn piece(&mut self, piece: &Piece) -> Found {
        if piece.inline {
            return self.inline(piece);
        }
        let Some(folder) = self.folder else { return Found::Sound };
        let mut reader = match folder.read(&piece.id, 0..piece.stored_size()) {
            Ok(Some(reader)) => reader,
            Ok(None) => return Found::Missing,
            Err(error @ StorageError::Corrupt(_)) => return Found::Damaged(error),
            Err(error) => return Found::Failed(error),
        };
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Found::Damaged(StorageError::Corrupt(error.to_string()));
                }
                Err(error) => return Found::Failed(error.into()),
            };
            if read == 0 {
                return Found::Sound;
            }
            self.service.metrics.scrub.bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.progress.bytes += read as u64;
            if !self.rest(read as u64) {
                return Found::Unread;
            }
        }
    }

    fn inline(&mut self, piece: &Piece) -> Found {
        let value = match self.service.meta.get(&keys::inline_body(&piece.id)) {
            Ok(Some(value)) => value,
            Ok(None) => return Found::Missing,
            Err(error @ StorageError::Corrupt(_)) => return Found::Damaged(error),
            Err(error) => return Found::Failed(error),
        };
        let bytes = value.len() as u64;
        self.service.metrics.scrub.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.bytes += bytes;
        if !self.rest(bytes) {
            return Found::Unread;
        }
        match inline_body::open(&piece.id, value, piece.stored_size()) {
            Ok(_) => Found::Sound,
            Err(error) => Found::Damaged(error),
        }
    }

    /// Decides what a finding means. A record that has changed meanwhile may have left its body to the
    /// deleting thread, and says nothing. `false` when it is time to stop.
    fn judge(&mut self, record: &Named, piece: &Piece, mut found: Found) -> Result<bool> {
        if !matches!(found, Found::Sound | Found::Unread) && self.has_changed(record)? {
            return Ok(true);
        }
        let mut quarantined = false;
        if let (Found::Damaged(_), false, Some(folder)) = (&found, piece.inline, self.folder) {
            // Once more: what is moved away must be damaged on the disk, not on the way from it.
            found = match self.piece(piece) {
                Found::Sound => Found::Failed(StorageError::Corrupt("only at the first reading".to_owned())),
                again => again,
            };
            // That may have taken long.
            if self.has_changed(record)? {
                return Ok(true);
            }
            if matches!(found, Found::Damaged(_)) {
                quarantined = self.quarantine(folder, piece);
            }
        }
        if matches!(found, Found::Unread) {
            return Ok(false);
        }
        self.service.metrics.scrub.bodies.fetch_add(1, Ordering::Relaxed);
        self.progress.bodies += 1;
        self.found(record, &piece.id.0, found, quarantined);
        Ok(true)
    }

    /// Whether the record no longer is what names the body that was read.
    fn has_changed(&self, record: &Named) -> Result<bool> {
        Ok(self.service.meta.get(&record.key)?.as_deref() != Some(&record.value))
    }

    fn quarantine(&self, folder: &SharedFolder, piece: &Piece) -> bool {
        folder.quarantine(&piece.id, piece.stored_size()).unwrap_or_else(|error| {
            let cause = error.to_string();
            let text = "a damaged body could not be moved into quarantine";
            self.log.write(Level::Warn, text, &[("cause", (&cause).into())]);
            false
        })
    }

    /// Counts and logs what is not as it should be.
    fn found(&mut self, record: &Named, body: &str, found: Found, quarantined: bool) {
        let (finding, count, level, cause) = match found {
            Found::Sound | Found::Unread => return,
            Found::Damaged(error) => {
                let error = self.service.damage.note(error);
                (Finding::Damaged, &mut self.progress.damaged, Level::Error, error.to_string())
            }
            Found::Missing => {
                self.service.damage.note_missing();
                (Finding::Missing, &mut self.progress.missing, Level::Error, "there is no body".to_owned())
            }
            Found::Failed(error) => {
                (Finding::Failed, &mut self.progress.failed, Level::Warn, error.to_string())
            }
        };
        *count += 1;
        self.service.metrics.scrub.count_finding(finding);
        let record = record.key.escape_ascii().to_string();
        let fields = [
            ("finding", finding.as_str().into()),
            ("record", (&record).into()),
            ("body", body.into()),
            ("cause", (&cause).into()),
            ("quarantined", quarantined.into()),
        ];
        self.log.write(level, "the scrub found what is not as it should be", &fields);
    }

    /// Waits until what was read fits the rate. `false` when it is time to stop.
    fn rest(&mut self, bytes: u64) -> bool {
        let goes_on = rest(self.stopped, bytes, self.since, self.service.config.scrub_rate);
        self.since = Instant::now();
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_a_bound_whatever_the_disk_does() {
        let megabyte = 1_000_000;
        for rate in [1, 999, megabyte, 4 * megabyte, u64::MAX] {
            for bytes in [0, 1, 4_096, READ_BYTES as u64] {
                for took in [0, 1, 50, 10_000].map(Duration::from_millis) {
                    let wait = pause(bytes, took, rate);
                    let seconds = (took + wait).as_secs_f64();
                    // To the nanosecond that a duration is exact to.
                    assert!(bytes as f64 <= rate as f64 * (seconds + 1e-9), "{bytes} {took:?} {rate}");
                    // And no longer than that: a disk that is slower by itself is not slowed down.
                    let due = bytes as f64 / rate as f64;
                    assert!(wait.as_secs_f64() <= (due - took.as_secs_f64()).max(0.0) + 1e-9);
                }
            }
        }
    }

    #[test]
    fn a_walk_is_due_at_first_when_unfinished_and_a_period_after_it_began() {
        let day = 86_400_000;
        let over = Progress { begun_ms: 10 * day, ..Progress::default() };
        let unfinished = Progress { next: Some(hex(b"o/")), ..over.clone() };
        assert!(is_due(None, 0, 30 * day));
        assert!(is_due(Some(&unfinished), 10 * day + 1, 30 * day));
        assert!(!is_due(Some(&over), 40 * day - 1, 30 * day));
        assert!(is_due(Some(&over), 40 * day, 30 * day));
        assert!(!is_due(Some(&over), 9 * day, 30 * day));
        assert!(is_due(Some(&Progress { begun_ms: 50 * day, ..over }), 10 * day, 30 * day));
    }
}
