//! Acting on lifecycle rules: one thread that walks the buckets that have any.
//!
//! A walk goes over the index in bounded pages and only notes what may be due; then it looks at each of
//! those again and decides inside the commit that acts, so that an object that was replaced, tagged or
//! locked meanwhile is left alone. Between pages the thread rests as long as the page took, so that it
//! never takes more than half of a disk or of a core from the clients.
//!
//! Source: S3 user guide, "Expiring objects" and "Lifecycle configuration elements".

use crate::access_log::Record;
use crate::codec::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::http::{Headers, Method};
use crate::log::{Level, Log};
use crate::model::bucket::Versioning;
use crate::model::lifecycle::{Calendar, LifecycleConfiguration, Older, Rule, StorageClass, Subject};
use crate::model::lock::{self, Governance};
use crate::model::multipart::UploadRecord;
use crate::model::object::{ObjectDetail, ObjectHead, ObjectRecord};
use crate::model::{BucketName, ObjectKey, SortedId, keys};
use crate::notifications::{self, Noted, Stage};
use crate::ops::internal::Internal;
use crate::ops::object_put::{NewVersion, commit_version_with, read_current};
use crate::ops::service::{Bucket, COMMIT_TRIES_MAX, Service, request_id, store_error};
use crate::ops::{Operation, Scope, multipart, object_delete, object_put};
use crate::restores;
use crate::sharing::Lease;
use crate::storage::{Batch, Outcome, Visit};
use crate::transition::Moved;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select};
use serde::Serialize;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most records that one page looks at.
const PAGE_RECORDS_MAX: usize = 4_096;

/// The most records of a page that are looked at a second time.
const PAGE_FOUND_MAX: usize = 256;

/// Walks in a day of the rules: with real days, one an hour.
const WALKS_PER_DAY: u64 = 24;

/// The shortest time between walks, however short a day is made.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest time from the start to the first walk.
const FIRST_WALK_MAX: Duration = Duration::from_secs(60);

/// The longest rest between two pages.
const REST_MAX: Duration = Duration::from_secs(1);

const fn operation(name: &'static str, action: &'static str, run: RunOperation) -> Operation {
    Operation { name, method: Method::Delete, scope: Scope::Object, sub: "", header: None, action, run }
}

type RunOperation = fn(&crate::ops::Context<'_>, crate::http::Body<'_>) -> Result<crate::http::Response>;

/// What the rules do, under the names that S3's access logs give it. None of them is a request's.
static EXPIRE: Operation = operation("S3.EXPIRE.OBJECT", "s3:DeleteObject", object_delete::delete);
static TRANSITION: Operation = operation("S3.TRANSITION.OBJECT", "s3:PutObject", object_put::put);
static MARK: Operation = operation("S3.CREATE.DELETEMARKER", "s3:DeleteObject", object_delete::delete);
static ABORT: Operation = operation("S3.DELETE.UPLOAD", "s3:AbortMultipartUpload", multipart::abort);

/// What a walk did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Buckets with rules.
    pub buckets: u64,
    /// Objects that were removed from buckets without versions.
    pub expired: u64,
    /// Delete markers that were put before objects in buckets with versions.
    pub delete_markers_created: u64,
    /// Delete markers that were removed because nothing was left behind them.
    pub delete_markers_removed: u64,
    /// Older versions that were removed.
    pub noncurrent_expired: u64,
    /// Versions that changed their storage class.
    pub transitioned: u64,
    /// Temporary copies of archived objects whose days were over.
    pub restores_expired: u64,
    /// Uploads that were ended.
    pub uploads_aborted: u64,
    /// Versions that are due but locked.
    pub locked: u64,
    /// What could not be done; the next walk tries again.
    pub failed: u64,
    /// Why the last of those could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Lets one walk run at a time, and wakes the thread for what is due before the next walk.
#[derive(Debug)]
pub struct Turn {
    walking: Mutex<()>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Default for Turn {
    fn default() -> Turn {
        let (wake, woken) = bounded(1);
        Turn { walking: Mutex::default(), wake, woken }
    }
}

impl Turn {
    /// Has the thread look again what is due first.
    pub fn wake(&self) {
        // Full: it is to wake up already.
        let _ = self.wake.try_send(());
    }
}

/// Walks all buckets now, without resting, after the walk that may be under way.
pub fn run_now(service: &Service) -> Report {
    walk(service, &Pace::Now)
}

fn walk(service: &Service, pace: &Pace<'_>) -> Report {
    // The lock guards nothing but the turn, so a panic in another walk leaves nothing behind.
    let _turn = service.lifecycle.walking.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let calendar = Calendar { day_ms: service.config.lifecycle_day_ms };
    let mut walk = Walk { service, calendar, now: service.clock.now(), pace, report: Report::default() };
    if let Err(error) = walk.buckets() {
        walk.failed(&error);
    }
    match restores::settle(service) {
        Ok((expired, _)) => walk.report.restores_expired = expired,
        Err(error) => walk.failed(&error),
    }
    service.metrics.walked(&walk.report);
    walk.report
}

/// The thread that walks.
pub struct Runner {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(service: Arc<Service>, log: Arc<Log>) -> std::io::Result<Runner> {
        let (stop, stopped) = bounded(0);
        let run = move || walk_until_stopped(&service, &log, &stopped);
        let thread = std::thread::Builder::new().name("lifecycle".into()).spawn(run)?;
        Ok(Runner { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Runner {
    /// Ends the walk that is under way after its page.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn walk_until_stopped(service: &Service, log: &Log, stopped: &Receiver<()>) {
    let pause = Duration::from_millis(service.config.lifecycle_day_ms / WALKS_PER_DAY).max(PAUSE_MIN);
    // Where records are shared, one front end walks for all. Should two do so, because a walk took longer
    // than a lease, each action is still done once: it is decided inside its commit.
    let mut lease = Lease::new(service.meta.clone(), "lifecycle", service.config.shares_records());
    let mut next_walk = Instant::now() + pause.min(FIRST_WALK_MAX);
    loop {
        let wait = next_walk.saturating_duration_since(Instant::now()).min(until_restore(service, log));
        select! {
            recv(stopped) -> _ => return,
            recv(service.lifecycle.woken) -> _ => {}
            default(wait) => {}
        }
        if Instant::now() < next_walk {
            continue;
        }
        next_walk = Instant::now() + pause;
        if !lease.hold().unwrap_or(false) {
            continue;
        }
        let report = walk(service, &Pace::Background(stopped));
        if let Some(failure) = &report.failure {
            let fields = [("failed", report.failed.into()), ("cause", failure.into())];
            log.write(Level::Warn, "lifecycle rules could not be carried out", &fields);
        }
        next_walk = Instant::now() + pause;
    }
}

/// Settles the restores that are due; how long until the next one is.
fn until_restore(service: &Service, log: &Log) -> Duration {
    match restores::settle(service) {
        Ok((_, None)) => Duration::MAX,
        Ok((_, Some(due))) => Duration::from_millis(due.saturating_sub(service.clock.now())).max(PAUSE_MIN),
        Err(error) => {
            let cause = error.log_cause().unwrap_or(error.message()).to_owned();
            log.write(Level::Warn, "restores could not be settled", &[("cause", (&cause).into())]);
            FIRST_WALK_MAX
        }
    }
}

/// Waits; `false` when it is time to stop.
fn sleep(stopped: &Receiver<()>, time: Duration) -> bool {
    matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

/// How a walk goes on after a page.
enum Pace<'s> {
    /// At once.
    Now,
    /// After a rest, unless it is time to stop.
    Background(&'s Receiver<()>),
}

impl Pace<'_> {
    /// Whether it is time to stop.
    fn is_over(&self) -> bool {
        match self {
            Pace::Now => false,
            Pace::Background(stopped) => !matches!(stopped.try_recv(), Err(TryRecvError::Empty)),
        }
    }

    /// Rests after a page; `false` when it is time to stop.
    fn rest(&self, since: Instant) -> bool {
        match self {
            Pace::Now => true,
            Pace::Background(stopped) => sleep(stopped, since.elapsed().min(REST_MAX)),
        }
    }
}

/// Whether a lock forbids to remove this version now, asked of the very record that the commit would
/// remove. Rules override no retention, whatever its mode.
fn is_locked(record: &ObjectRecord, now: Millis) -> bool {
    lock::is_locked(&record.detail.lock, now, Governance::Respected)
}

/// What is due for the newest version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// An object expires.
    Expire,
    /// A delete marker goes, if it is alone.
    RemoveMarker,
    /// An object moves.
    Move(StorageClass),
}

/// A page of what may be due, and where the next one starts.
struct Page<T> {
    found: Vec<T>,
    next: Option<Vec<u8>>,
}

/// An older version as the walk passes it.
struct Passed {
    key: String,
    id: SortedId,
    head: ObjectHead,
}

struct Walk<'w> {
    service: &'w Service,
    calendar: Calendar,
    now: Millis,
    pace: &'w Pace<'w>,
    report: Report,
}

/// Picks what may be due from a record, by its key and value.
type Note<'n, T> = dyn FnMut(&[u8], &[u8]) -> Option<T> + 'n;

/// `Ok(false)`: stop walking.
type Walked = Result<bool>;

impl Walk<'_> {
    fn failed(&mut self, error: &Error) {
        self.report.failed += 1;
        self.report.failure = Some(error.log_cause().unwrap_or(error.message()).to_owned());
    }

    fn buckets(&mut self) -> Result<()> {
        let range = keys::buckets();
        let prefix = range.start.len();
        self.pages(
            range,
            &mut |key, value| {
                // Looking for the word spares the decoding of every bucket without rules.
                let has_rules = value.windows(LIFECYCLE_FIELD.len()).any(|window| window == LIFECYCLE_FIELD);
                let name = std::str::from_utf8(key.get(prefix..)?).ok()?;
                if has_rules { BucketName::parse(name).ok() } else { None }
            },
            &mut |walk, name| {
                let Some(bucket) = walk.service.find_bucket(&name)? else { return Ok(true) };
                walk.bucket(&bucket)
            },
        )?;
        Ok(())
    }

    fn bucket(&mut self, bucket: &Arc<Bucket>) -> Walked {
        let Some(rules) = &bucket.record.lifecycle else { return Ok(true) };
        self.report.buckets += 1;
        let name = &bucket.name;
        let current = |rule: &Rule| rule.expiration.is_some() || !rule.transitions.is_empty();
        for prefix in prefixes(rules, &current) {
            if !self.current_versions(bucket, rules, within(keys::objects(name), &prefix))? {
                return Ok(false);
            }
        }
        let noncurrent =
            |rule: &Rule| rule.noncurrent_expiration.is_some() || !rule.noncurrent_transitions.is_empty();
        for prefix in prefixes(rules, &noncurrent) {
            if !self.older_versions(bucket, rules, within(keys::bucket_versions(name), &prefix))? {
                return Ok(false);
            }
        }
        for prefix in prefixes(rules, &|rule| rule.abort_upload_days.is_some()) {
            if !self.uploads(bucket, rules, within(keys::uploads(name), &prefix))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Walks a range page by page: `note` picks records, without touching the store, and `act` handles
    /// each that was picked.
    fn pages<T>(
        &mut self,
        range: Range<Vec<u8>>,
        note: &mut Note<'_, T>,
        act: &mut dyn FnMut(&mut Self, T) -> Walked,
    ) -> Walked {
        let mut start = Some(range.start);
        while let Some(from) = start.take() {
            let began = Instant::now();
            let page = self.page(&from..&range.end, note)?;
            for found in page.found {
                if !act(self, found)? {
                    return Ok(false);
                }
            }
            start = page.next;
            if start.is_some() && !self.pace.rest(began) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn page<T>(&self, range: Range<&Vec<u8>>, note: &mut Note<'_, T>) -> Result<Page<T>> {
        let mut page = Page { found: Vec::new(), next: None };
        let mut records = 0;
        self.service
            .meta
            .scan(range.start.as_slice()..range.end.as_slice(), &mut |key, value| {
                records += 1;
                page.found.extend(note(key, value));
                if records < PAGE_RECORDS_MAX && page.found.len() < PAGE_FOUND_MAX {
                    return Visit::Next;
                }
                page.next = Some([key, b"\0"].concat());
                Visit::Stop
            })
            .map_err(store_error)?;
        Ok(page)
    }

    /// Runs one action; a failure of one is no reason not to try the others.
    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = act(self) {
            self.failed(&error);
        }
    }

    fn current_versions(
        &mut self,
        bucket: &Arc<Bucket>,
        rules: &LifecycleConfiguration,
        range: Range<Vec<u8>>,
    ) -> Walked {
        let (calendar, now) = (self.calendar, self.now);
        let mut note = |record_key: &[u8], value: &[u8]| {
            let key = keys::object_key_of(&bucket.name, record_key)?;
            let head = ObjectRecord::decode_head(value).ok()?;
            due(rules, key, &head, None, now, calendar).map(|_| key.to_owned())
        };
        self.pages(range, &mut note, &mut |walk, key| {
            walk.attempt(|walk| walk.current_version(bucket, rules, &ObjectKey::parse(&key)?));
            Ok(true)
        })
    }

    /// Does what is due for the newest version of a key, decided again for every try.
    fn current_version(
        &mut self,
        bucket: &Arc<Bucket>,
        rules: &LifecycleConfiguration,
        key: &ObjectKey,
    ) -> Result<()> {
        for _ in 0..COMMIT_TRIES_MAX {
            let Some(bucket) = self.unchanged(&bucket.name, rules)? else { return Ok(()) };
            let Some((record, stored)) = read_current(self.service, &bucket, key)? else { return Ok(()) };
            let Some(due) = self.due(rules, key, &record) else { return Ok(()) };
            if due == Due::Expire && bucket.record.versioning != Versioning::Unversioned {
                return self.put_delete_marker(bucket, rules, key);
            }
            let mut batch = self.service.batch_in(&bucket.record);
            batch.expect(keys::bucket(&bucket.name), Some(bucket.stored.clone()));
            let object = keys::object(&bucket.name, key.as_str());
            if let Due::Move(class) = due {
                match self.transition(&bucket, key, &record, (object, stored), class, batch)? {
                    Outcome::Committed => return Ok(()),
                    Outcome::Conflict => continue,
                }
            }
            if due == Due::RemoveMarker && self.has_older(&bucket.name, key)? {
                return Ok(());
            }
            if is_locked(&record, self.now) {
                self.report.locked += 1;
                return Ok(());
            }
            // Whatever would come behind this version would change the record that is expected.
            batch.expect(object.clone(), Some(stored));
            batch.remove(object);
            self.service.discard_in(&mut batch, &record.detail.pieces);
            let noted = self.note(&EXPIRE, &bucket, key, &record.head, &mut batch);
            if self.service.commit(batch)? == Outcome::Committed {
                if due == Due::RemoveMarker {
                    self.report.delete_markers_removed += 1;
                } else {
                    self.report.expired += 1;
                }
                self.removed(&bucket, key, record, noted);
                return Ok(());
            }
        }
        Err(Code::OperationAborted.into())
    }

    /// Moves a version to another class, and its bytes to where the class has them. `Conflict` when
    /// somebody else was faster; the bytes stay where they were then. The batch has what else must hold.
    fn transition(
        &mut self,
        bucket: &Arc<Bucket>,
        key: &ObjectKey,
        record: &ObjectRecord,
        (place, stored): (Vec<u8>, Vec<u8>),
        class: StorageClass,
        mut batch: Batch,
    ) -> Result<Outcome> {
        let request =
            Internal::new(self.service, &TRANSITION, bucket.clone(), Some(key.clone()), Headers::new());
        let ctx = request.context(self.service);
        let Some(moved) = Moved::to_class(&ctx, record, class, &|| self.pace.is_over())? else {
            return Ok(Outcome::Conflict);
        };
        batch.expect(place.clone(), Some(stored));
        batch.put(place, moved.record.encode());
        let noted = self.note(&TRANSITION, bucket, key, &moved.record.head, &mut batch);
        let published = moved.publish_in(self.service, &mut batch);
        match published.and_then(|()| self.service.commit(batch)) {
            Ok(Outcome::Committed) => {}
            other => {
                moved.drop_fresh(self.service);
                return other;
            }
        }
        self.service.notifications.committed(noted);
        moved.published(self.service);
        self.report.transitioned += 1;
        self.log(name_of_move(class), bucket, key.as_str(), &record.head);
        Ok(Outcome::Committed)
    }

    /// Adds the event of an action to the batch that makes it true.
    fn note(
        &self,
        operation: &'static Operation,
        bucket: &Arc<Bucket>,
        key: &ObjectKey,
        head: &ObjectHead,
        batch: &mut Batch,
    ) -> Noted {
        let stage = if operation.name == EXPIRE.name { Stage::Removed } else { Stage::Written };
        let request =
            Internal::new(self.service, operation, bucket.clone(), Some(key.clone()), Headers::new());
        notifications::note(&request.context(self.service), bucket, key, head, stage, batch)
    }

    /// Tells of a version whose removal has been committed, and frees its bytes.
    fn removed(&self, bucket: &Arc<Bucket>, key: &ObjectKey, record: ObjectRecord, noted: Noted) {
        self.service.notifications.committed(noted);
        self.log(EXPIRE.name, bucket, key.as_str(), &record.head);
        self.service.discarded(record.detail.pieces);
    }

    /// Writes what a rule did into the access log of the bucket, if it has one.
    fn log(&self, operation: &str, bucket: &Arc<Bucket>, key: &str, head: &ObjectHead) {
        if bucket.record.logging.is_none() {
            return;
        }
        let record = Record {
            bucket_owner: bucket.record.owner.clone(),
            bucket: bucket.name.to_string(),
            time: self.service.clock.now(),
            requester: "AmazonS3".to_owned(),
            request_id: request_id(),
            operation: operation.to_owned(),
            key: key.to_owned(),
            object_size: (!head.delete_marker).then_some(head.size),
            version_id: if head.null_version { String::new() } else { head.version_id() },
            ..Record::default()
        };
        self.service.access_log.write(bucket.clone(), &record);
    }

    fn due(&self, rules: &LifecycleConfiguration, key: &ObjectKey, record: &ObjectRecord) -> Option<Due> {
        let tags = Some(record.detail.tags.as_slice());
        due(rules, key.as_str(), &record.head, tags, self.now, self.calendar)
    }

    /// The bucket, if it still has these rules.
    fn unchanged(&self, name: &BucketName, rules: &LifecycleConfiguration) -> Result<Option<Arc<Bucket>>> {
        let bucket = self.service.find_bucket(name)?;
        Ok(bucket.filter(|bucket| bucket.record.lifecycle.as_ref() == Some(rules)))
    }

    fn has_older(&self, bucket: &BucketName, key: &ObjectKey) -> Result<bool> {
        let range = keys::versions(bucket, key.as_str());
        let mut found = false;
        self.service
            .meta
            .scan(&range.start..&range.end, &mut |_, _| {
                found = true;
                Visit::Stop
            })
            .map_err(store_error)?;
        Ok(found)
    }

    /// Expires an object in a bucket with versions: a delete marker comes before it.
    fn put_delete_marker(
        &mut self,
        bucket: Arc<Bucket>,
        rules: &LifecycleConfiguration,
        key: &ObjectKey,
    ) -> Result<()> {
        let name = bucket.name.clone();
        let marker = NewVersion {
            size: 0,
            etag: String::new(),
            owner: bucket.record.owner.clone(),
            storage_class: String::new(),
            checksum: None,
            detail: ObjectDetail::default(),
            inline: Vec::new(),
            delete_marker: true,
        };
        let request = Internal::new(self.service, &MARK, bucket.clone(), Some(key.clone()), Headers::new());
        let still = |current: Option<&ObjectRecord>| -> Result<()> {
            let due = current.and_then(|record| self.due(rules, key, record));
            let is_due = due == Some(Due::Expire) && self.unchanged(&name, rules)?.is_some();
            if is_due { Ok(()) } else { Err(Code::PreconditionFailed.into()) }
        };
        let outcome = commit_version_with(&request.context(self.service), key, marker, &mut |current, _| {
            still(current)
        });
        match outcome {
            Ok(marker) => {
                self.report.delete_markers_created += 1;
                self.log(MARK.name, &bucket, key.as_str(), &marker.head);
            }
            // Somebody was faster; there is nothing left to do here.
            Err(error) if error.code() == Code::PreconditionFailed => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn older_versions(
        &mut self,
        bucket: &Arc<Bucket>,
        rules: &LifecycleConfiguration,
        range: Range<Vec<u8>>,
    ) -> Walked {
        let mut note = |record_key: &[u8], value: &[u8]| {
            let (key, id) = keys::version_of(&bucket.name, record_key)?;
            Some(Passed { key: key.to_owned(), id, head: ObjectRecord::decode_head(value).ok()? })
        };
        // Versions of a key come newest first, so each was replaced by the one before it.
        let mut replaced: Option<(String, Older)> = None;
        self.pages(range, &mut note, &mut |walk, passed| {
            let older = match replaced.take() {
                Some((key, older)) if key == passed.key => older,
                _ => {
                    let stored = walk.service.meta.get(&keys::object(&bucket.name, &passed.key));
                    let Some(stored) = stored.map_err(store_error)? else { return Ok(true) };
                    let newest = ObjectRecord::decode_head(&stored).map_err(store_error)?;
                    Older { since: newest.modified_ms, newer: 0 }
                }
            };
            let subject = subject(&passed.key, &passed.head, None);
            if walk.older_due(rules, &subject, &passed.head, older).is_some() {
                walk.attempt(|walk| walk.older_version(bucket, rules, &passed, older));
            }
            let next = Older { since: passed.head.modified_ms, newer: older.newer.saturating_add(1) };
            replaced = Some((passed.key, next));
            Ok(true)
        })
    }

    /// What is due for an older version (`None` inside: to be removed), and how many newer ones the rule
    /// keeps.
    fn older_due(
        &self,
        rules: &LifecycleConfiguration,
        subject: &Subject<'_>,
        head: &ObjectHead,
        older: Older,
    ) -> Option<(Option<StorageClass>, u32)> {
        if let Some(keep) = rules.noncurrent_expiration(subject, older, self.now, self.calendar) {
            return Some((None, keep));
        }
        let from = head.storage_class();
        let class = rules.noncurrent_transition(subject, from, older, self.now, self.calendar)?;
        Some((Some(class), 0))
    }

    fn older_version(
        &mut self,
        bucket: &Arc<Bucket>,
        rules: &LifecycleConfiguration,
        passed: &Passed,
        older: Older,
    ) -> Result<()> {
        let version = keys::version(&bucket.name, &passed.key, passed.id);
        for _ in 0..COMMIT_TRIES_MAX {
            let Some(bucket) = self.unchanged(&bucket.name, rules)? else { return Ok(()) };
            let Some(stored) = self.service.meta.get(&version).map_err(store_error)? else { return Ok(()) };
            let record = ObjectRecord::decode(&stored).map_err(store_error)?;
            let subject = subject(&passed.key, &record.head, Some(&record.detail.tags));
            let Some((class, keep)) = self.older_due(rules, &subject, &record.head, older) else {
                return Ok(());
            };
            let mut batch = self.service.batch_in(&bucket.record);
            batch.expect(keys::bucket(&bucket.name), Some(bucket.stored.clone()));
            batch.expect(version.clone(), Some(stored.clone()));
            if !self.expect_newer(&mut batch, &bucket.name, passed, keep)? {
                return Ok(());
            }
            let key = ObjectKey::parse(&passed.key)?;
            let noted = match class {
                Some(class) => {
                    let place = (version.clone(), stored);
                    match self.transition(&bucket, &key, &record, place, class, batch)? {
                        Outcome::Committed => return Ok(()),
                        Outcome::Conflict => continue,
                    }
                }
                None if is_locked(&record, self.now) => {
                    self.report.locked += 1;
                    return Ok(());
                }
                None => {
                    batch.remove(version.clone());
                    self.service.discard_in(&mut batch, &record.detail.pieces);
                    self.note(&EXPIRE, &bucket, &key, &record.head, &mut batch)
                }
            };
            if self.service.commit(batch)? == Outcome::Committed {
                self.report.noncurrent_expired += 1;
                self.removed(&bucket, &key, record, noted);
                return Ok(());
            }
        }
        Err(Code::OperationAborted.into())
    }

    /// Demands that as many newer ones as the rule keeps are there when the version goes; `false` when
    /// there are not enough.
    fn expect_newer(
        &self,
        batch: &mut Batch,
        bucket: &BucketName,
        passed: &Passed,
        keep: u32,
    ) -> Result<bool> {
        let mut left = keep;
        if left == 0 {
            return Ok(true);
        }
        let range = keys::versions(bucket, &passed.key);
        let end = keys::version(bucket, &passed.key, passed.id);
        self.service
            .meta
            .scan(&range.start..&end, &mut |key, value| {
                batch.expect(key, Some(value.to_vec()));
                left -= 1;
                if left == 0 { Visit::Stop } else { Visit::Next }
            })
            .map_err(store_error)?;
        Ok(left == 0)
    }

    fn uploads(
        &mut self,
        bucket: &Arc<Bucket>,
        rules: &LifecycleConfiguration,
        range: Range<Vec<u8>>,
    ) -> Walked {
        let (calendar, now) = (self.calendar, self.now);
        let mut note = |record_key: &[u8], value: &[u8]| {
            let (key, id) = keys::upload_of(&bucket.name, record_key)?;
            let upload = UploadRecord::decode(value).ok()?;
            let (due, _) = rules.abort(key, upload.created_ms, calendar)?;
            (due <= now).then(|| (key.to_owned(), id))
        };
        self.pages(range, &mut note, &mut |walk, (key, id)| {
            walk.attempt(|walk| {
                let Some(bucket) = walk.unchanged(&bucket.name, rules)? else { return Ok(()) };
                let parsed = Some(ObjectKey::parse(&key)?);
                let request = Internal::new(walk.service, &ABORT, bucket.clone(), parsed, Headers::new());
                let context = request.context(walk.service);
                if multipart::abort_upload(&context, &bucket.name, &key, id)? {
                    walk.report.uploads_aborted += 1;
                }
                Ok(())
            });
            Ok(true)
        })
    }
}

/// What stands in the record of a bucket that has rules.
const LIFECYCLE_FIELD: &[u8] = b"\"lifecycle\":";

/// What is known of a version. `tags` are `None` while they have not been read.
fn subject<'s>(key: &'s str, head: &ObjectHead, tags: Option<&'s [(String, String)]>) -> Subject<'s> {
    Subject { key, size: (!head.delete_marker).then_some(head.size), tags }
}

/// What is due for the newest version of a key.
fn due(
    rules: &LifecycleConfiguration,
    key: &str,
    head: &ObjectHead,
    tags: Option<&[(String, String)]>,
    now: Millis,
    calendar: Calendar,
) -> Option<Due> {
    if head.delete_marker {
        let due = rules.marker_expiration(key, head.modified_ms, calendar)?;
        return (due <= now).then_some(Due::RemoveMarker);
    }
    let subject = subject(key, head, tags);
    match rules.expiration(&subject, head.modified_ms, calendar) {
        Some((due, _)) if due <= now => Some(Due::Expire),
        _ => rules.transition(&subject, head.storage_class(), head.modified_ms, now, calendar).map(Due::Move),
    }
}

/// What access logs call a move to a class.
fn name_of_move(class: StorageClass) -> &'static str {
    match class {
        StorageClass::StandardIa => "S3.TRANSITION_SIA.OBJECT",
        StorageClass::IntelligentTiering => "S3.TRANSITION_INT.OBJECT",
        StorageClass::OnezoneIa => "S3.TRANSITION_ZIA.OBJECT",
        StorageClass::GlacierIr => "S3.TRANSITION_GIR.OBJECT",
        StorageClass::Glacier => "S3.TRANSITION.OBJECT",
        StorageClass::DeepArchive => "S3.TRANSITION_GDA.OBJECT",
    }
}

/// The prefixes that the chosen rules in force look at, without those that lie inside others.
fn prefixes(rules: &LifecycleConfiguration, chosen: &dyn Fn(&Rule) -> bool) -> Vec<String> {
    let mut prefixes: Vec<&str> = rules
        .rules
        .iter()
        .filter(|rule| rule.enabled && chosen(rule))
        .map(|rule| rule.scope.prefix())
        .collect();
    prefixes.sort_unstable();
    let mut outer: Vec<String> = Vec::new();
    for prefix in prefixes {
        // In order, a prefix comes before everything that starts with it.
        if outer.last().is_none_or(|last| !prefix.starts_with(last.as_str())) {
            outer.push(prefix.to_owned());
        }
    }
    outer
}

/// The part of a range of a bucket whose keys start with `prefix`.
fn within(range: Range<Vec<u8>>, prefix: &str) -> Range<Vec<u8>> {
    if prefix.is_empty() {
        return range;
    }
    let start = [range.start.as_slice(), prefix.as_bytes()].concat();
    let mut end = start.clone();
    // The bytes of UTF-8 are all below 0xff.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lifecycle;

    #[test]
    fn a_prefix_inside_another_is_walked_once() {
        let rule = |prefix: &str, enabled| Rule {
            enabled,
            scope: lifecycle::Scope { prefix: Some(prefix.to_owned()), ..lifecycle::Scope::default() },
            abort_upload_days: Some(1),
            ..Rule::default()
        };
        let rules = LifecycleConfiguration {
            rules: vec![
                rule("b", true),
                rule("ab", true),
                rule("a", true),
                rule("", false),
                rule("bc", true),
            ],
            ..LifecycleConfiguration::default()
        };
        assert_eq!(prefixes(&rules, &|rule| rule.abort_upload_days.is_some()), ["a", "b"]);
        assert!(prefixes(&rules, &|rule| rule.expiration.is_some()).is_empty());
    }

    #[test]
    fn the_range_of_a_prefix_holds_no_other_keys() {
        let bucket = BucketName::parse("abc").expect("valid");
        let range = within(keys::objects(&bucket), "a/é");
        assert!(
            range.contains(&keys::object(&bucket, "a/é"))
                && range.contains(&keys::object(&bucket, "a/é\u{10ffff}"))
        );
        for other in ["a/", "a0", "a/f", "b"] {
            assert!(!range.contains(&keys::object(&bucket, other)), "{other}");
        }
    }
}
