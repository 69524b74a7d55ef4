//! Telling others what happens to objects: events are recorded in the very commit that makes them true,
//! and one thread sends them, each target's in order, until the target takes them.
//!
//! An event lies in the record store under its target's ARN and a number that grows (`n/<arn> 00
//! <number> <random>`) and is removed when the target has answered with success. So events survive a
//! restart, come at least once, and of a key always in the order of its writes. A target that does not
//! answer is tried again after a growing pause, without holding up the others; what it has not taken
//! after a day is dropped. The latest events are also kept in memory for whoever polls.
//!
//! Source: S3 user guide, "Event message structure".

use crate::codec::clock::Millis;
use crate::codec::time::iso8601;
use crate::codec::{random, uri};
use crate::log::{Level, Log};
use crate::model::keys;
use crate::model::notification::NotificationConfiguration;
use crate::model::object::ObjectHead;
use crate::model::{ObjectKey, SortedId};
use crate::ops::Context;
use crate::ops::service::{Bucket, Service};
use crate::sharing::Lease;
use crate::storage::{Batch, StorageError, Visit};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Events that may wait for their targets; more are not recorded, and the log says so.
pub const EVENTS_WAITING_MAX: usize = 1_000_000;

/// Events that can be polled; the oldest make room.
pub const EVENTS_POLLED_MAX: usize = 1_000;

/// Events of a target that are read at once.
const PAGE_EVENTS_MAX: usize = 100;

/// An event is dropped when its target has not taken it after so many milliseconds: a day.
const EVENT_AGE_MS_MAX: u64 = 86_400_000;

/// How long a target may take to answer.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause after a failure; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long the thread sleeps when nothing wakes it.
const IDLE: Duration = Duration::from_secs(60);

/// The same where records are shared: events of other front ends wake nobody here.
const IDLE_SHARED: Duration = Duration::from_secs(1);

/// How often waiting events are counted anew where other front ends add and send them too.
const COUNT_PAUSE: Duration = Duration::from_secs(60);

/// What happened, by the operation that did it: the name of the event, without the leading `s3:`.
pub fn event_of(operation: &str, delete_marker: bool) -> Option<&'static str> {
    Some(match operation {
        "PutObject" => "ObjectCreated:Put",
        "PostObject" => "ObjectCreated:Post",
        "CopyObject" => "ObjectCreated:Copy",
        "CompleteMultipartUpload" => "ObjectCreated:CompleteMultipartUpload",
        "DeleteObject" | "DeleteObjects" if delete_marker => "ObjectRemoved:DeleteMarkerCreated",
        "DeleteObject" | "DeleteObjects" => "ObjectRemoved:Delete",
        "PutObjectTagging" => "ObjectTagging:Put",
        "DeleteObjectTagging" => "ObjectTagging:Delete",
        "PutObjectAcl" => "ObjectAcl:Put",
        "RestoreObject" => "ObjectRestore:Post",
        "S3.RESTORE.COMPLETED" => "ObjectRestore:Completed",
        "S3.RESTORE.EXPIRED" => "ObjectRestore:Delete",
        "S3.CREATE.DELETEMARKER" => "LifecycleExpiration:DeleteMarkerCreated",
        "S3.EXPIRE.OBJECT" => "LifecycleExpiration:Delete",
        "S3.TRANSITION.OBJECT" => "LifecycleTransition",
        _ => return None,
    })
}

/// Where an event is in the life of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The version was written, or what is said of it changed.
    Written,
    /// The version was removed for good.
    Removed,
    /// A temporary copy of it is ready, until this moment.
    Restored(Millis),
}

/// A stored event.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    at: Millis,
    body: String,
}

/// What a batch was given to tell, to be handed to [`Notifications::committed`] once it is true.
#[derive(Debug, Default)]
#[must_use = "events are only sent at once when the commit is announced"]
pub struct Noted {
    polled: Vec<(String, Value)>,
    queued: usize,
}

/// The state that requests and the thread share.
#[derive(Debug)]
pub struct Notifications {
    /// The latest events with their buckets.
    latest: Mutex<VecDeque<(String, Value)>>,
    /// How many events wait in the store.
    waiting: AtomicUsize,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Default for Notifications {
    fn default() -> Notifications {
        let (wake, woken) = bounded(1);
        Notifications { latest: Mutex::default(), waiting: AtomicUsize::new(0), wake, woken }
    }
}

impl Notifications {
    /// Announces that what was noted has been committed.
    pub fn committed(&self, noted: Noted) {
        if noted.queued > 0 {
            self.waiting.fetch_add(noted.queued, Ordering::Relaxed);
            // Full: the thread is to wake up already.
            let _ = self.wake.try_send(());
        }
        if noted.polled.is_empty() {
            return;
        }
        let mut latest = self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for event in noted.polled {
            if latest.len() >= EVENTS_POLLED_MAX {
                latest.pop_front();
            }
            latest.push_back(event);
        }
    }

    /// How many events wait for their webhook.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The latest events, oldest first: of one bucket or of all, at most `max`.
    pub fn poll(&self, bucket: Option<&str>, max: usize) -> Vec<Value> {
        let latest = self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let of_bucket = |(name, _): &&(String, Value)| bucket.is_none_or(|bucket| bucket == name);
        let all: Vec<&Value> = latest.iter().filter(of_bucket).map(|(_, event)| event).collect();
        all[all.len().saturating_sub(max)..].iter().map(|event| (*event).clone()).collect()
    }
}

/// Adds to a batch what its commit will make true of a version, for every target that wants to know.
pub fn note(
    ctx: &Context<'_>,
    bucket: &Bucket,
    key: &ObjectKey,
    head: &ObjectHead,
    stage: Stage,
    batch: &mut Batch,
) -> Noted {
    let Some(configuration) = &bucket.record.notification else { return Noted::default() };
    let marker = head.delete_marker && stage == Stage::Written;
    let Some(event) = event_of(ctx.operation.name, marker) else { return Noted::default() };
    // A version's own number orders its writing; its removal comes after all that came before.
    let id = if stage == Stage::Written && is_birth(event) { head.id } else { SortedId::new(ctx.now, None) };
    let mut noted = Noted::default();
    for rule in configuration.rules.iter().filter(|rule| rule.wants(event, key.as_str())) {
        let record = message(ctx, bucket, key, head, (event, &rule.id, id), stage);
        queue(
            ctx.service,
            &rule.arn,
            id,
            ctx.now,
            &json!({ "Records": [record.clone()] }),
            batch,
            &mut noted,
        );
        noted.polled.push((bucket.name.to_string(), record));
    }
    if configuration.event_bridge && noted.polled.is_empty() {
        noted.polled.push((bucket.name.to_string(), message(ctx, bucket, key, head, (event, "", id), stage)));
    }
    noted
}

/// Whether an event is the writing of a version, rather than something that happens to it later.
fn is_birth(event: &str) -> bool {
    event.starts_with("ObjectCreated:") || event.ends_with(":DeleteMarkerCreated")
}

/// Adds the test event that every target of a new configuration gets.
pub fn note_test(ctx: &Context<'_>, configuration: &NotificationConfiguration, batch: &mut Batch) -> Noted {
    let mut noted = Noted::default();
    let body = json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": iso8601(ctx.now),
        "Bucket": ctx.bucket_name().as_str(),
        "RequestId": ctx.request_id,
        "HostId": ctx.request_id,
    });
    let mut told: Vec<&str> = Vec::new();
    for rule in &configuration.rules {
        if !told.contains(&rule.arn.as_str()) {
            told.push(&rule.arn);
            queue(ctx.service, &rule.arn, SortedId::new(ctx.now, None), ctx.now, &body, batch, &mut noted);
        }
    }
    noted
}

fn queue(
    service: &Service,
    arn: &str,
    id: SortedId,
    now: Millis,
    body: &Value,
    batch: &mut Batch,
    noted: &mut Noted,
) {
    let room = service.notifications.waiting.load(Ordering::Relaxed) < EVENTS_WAITING_MAX;
    if !room || service.config.notification_url(arn).is_none() {
        return;
    }
    let stored = Stored { at: now, body: body.to_string() };
    let value = serde_json::to_vec(&stored).expect("a stored event is a number and a text");
    batch.put(keys::event(arn, id.sequence(), random()), value);
    noted.queued += 1;
}

/// One entry of `Records`.
fn message(
    ctx: &Context<'_>,
    bucket: &Bucket,
    key: &ObjectKey,
    head: &ObjectHead,
    (event, rule_id, id): (&str, &str, SortedId),
    stage: Stage,
) -> Value {
    let mut object = json!({
        "key": form_encoded(key.as_str()),
        "sequencer": format!("{:016X}", id.sequence()),
    });
    if !head.delete_marker {
        object["size"] = head.size.into();
        object["eTag"] = head.etag.as_str().into();
    }
    if !head.null_version {
        object["versionId"] = head.version_id().into();
    }
    let principal = ctx.identity.account().map_or("Anonymous", |account| account.canonical_id.as_str());
    let source = ctx.peer.map_or_else(|| "127.0.0.1".to_owned(), |peer| peer.ip().to_canonical().to_string());
    let mut record = json!({
        "eventVersion": version_of(event),
        "eventSource": "aws:s3",
        "awsRegion": bucket.record.location,
        "eventTime": iso8601(ctx.now),
        "eventName": event,
        "userIdentity": { "principalId": principal },
        "requestParameters": { "sourceIPAddress": source },
        "responseElements": { "x-amz-request-id": ctx.request_id, "x-amz-id-2": ctx.request_id },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule_id,
            "bucket": {
                "name": bucket.name.as_str(),
                "ownerIdentity": { "principalId": bucket.record.owner },
                "arn": format!("arn:aws:s3:::{}", bucket.name),
            },
            "object": object,
        },
    });
    if event == "LifecycleTransition" {
        record["lifecycleEventData"] =
            json!({ "transitionEventData": { "destinationStorageClass": head.storage_class() } });
    }
    if let Stage::Restored(until) = stage {
        record["glacierEventData"] = json!({ "restoreEventData": {
            "lifecycleRestorationExpiryTime": iso8601(until),
            "lifecycleRestoreStorageClass": head.storage_class(),
        } });
    }
    record
}

/// The version of a message's structure, which depends on the family of the event.
fn version_of(event: &str) -> &'static str {
    let newer = ["Lifecycle", "IntelligentTiering", "ObjectAcl", "ObjectTagging", "ObjectRestore:Delete"];
    if newer.iter().any(|family| event.starts_with(family)) { "2.3" } else { "2.1" }
}

/// A key as messages have it: encoded like the fields of a form.
fn form_encoded(key: &str) -> String {
    uri::encode(key).replace("%20", "+")
}

/// The thread that sends.
pub struct Runner {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the thread. What an earlier run left is sent first.
    ///
    /// # Errors
    /// When the store cannot be read, or the system has no thread to give.
    pub fn start(service: Arc<Service>, log: Arc<Log>) -> Result<Runner, String> {
        match count_waiting(&service) {
            // Records that cannot be trusted are served as far as they go; no event can be read.
            Ok(()) | Err(StorageError::Corrupt(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        let (stop, stopped) = bounded(0);
        let run = move || Sending::new(service, log).run(&stopped);
        let thread = std::thread::Builder::new().name("notifications".into()).spawn(run);
        let thread = thread.map_err(|error| error.to_string())?;
        Ok(Runner { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Runner {
    /// Ends after the message that is under way. What is left waits in the store.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn count_waiting(service: &Service) -> Result<(), StorageError> {
    let mut waiting = 0;
    let range = keys::all_events();
    service.meta.scan(&range.start..&range.end, &mut |_, _| {
        waiting += 1;
        Visit::Next
    })?;
    service.notifications.waiting.store(waiting, Ordering::Relaxed);
    Ok(())
}

/// A waiting event: the key of its record, and the record.
type Waiting = (Vec<u8>, Vec<u8>);

/// A target that failed, and when it is tried again.
struct Trouble {
    pause: Duration,
    until: Instant,
}

struct Sending {
    service: Arc<Service>,
    log: Arc<Log>,
    agent: ureq::Agent,
    trouble: HashMap<String, Trouble>,
    /// Where records are shared, one front end sends for all.
    lease: Lease,
    counted: Instant,
}

impl Sending {
    fn new(service: Arc<Service>, log: Arc<Log>) -> Sending {
        // No redirects: events go where the operator said and nowhere else.
        let settings = ureq::Agent::config_builder()
            .timeout_global(Some(SEND_TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .build();
        let lease = Lease::new(service.meta.clone(), "notifications", service.config.shares_records());
        let (trouble, counted) = (HashMap::new(), Instant::now());
        Sending { service, log, agent: settings.into(), trouble, lease, counted }
    }

    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            let again = self.round(stopped).unwrap_or_else(|error| {
                let fields = [("cause", error.to_string())];
                let fields = fields.each_ref().map(|(name, text)| (*name, text.into()));
                self.log.write(Level::Error, "notifications cannot be read", &fields);
                PAUSE_MAX
            });
            crossbeam_channel::select! {
                recv(self.service.notifications.woken) -> _ => {}
                recv(stopped) -> _ => return,
                default(again) => {}
            }
        }
    }

    /// Sends what can be sent; how long until something can be tried again.
    fn round(&mut self, stopped: &Receiver<()>) -> Result<Duration, StorageError> {
        let shared = self.service.config.shares_records();
        if shared && self.counted.elapsed() > COUNT_PAUSE {
            count_waiting(&self.service)?;
            self.counted = Instant::now();
        }
        let idle = if shared { IDLE_SHARED } else { IDLE };
        let targets = self.targets()?;
        if targets.is_empty() {
            self.lease.release();
            return Ok(idle);
        }
        for arn in targets {
            if self.trouble.get(&arn).is_some_and(|trouble| trouble.until > Instant::now()) {
                continue;
            }
            if !self.send_all(&arn, stopped)? {
                break;
            }
        }
        let now = Instant::now();
        let pauses = self.trouble.values().map(|it| it.until.saturating_duration_since(now));
        Ok(pauses.min().unwrap_or(idle).min(idle))
    }

    /// The targets for which something waits.
    fn targets(&self) -> Result<Vec<String>, StorageError> {
        let range = keys::all_events();
        let mut targets = Vec::new();
        self.service.meta.scan_few(
            &range.start..&range.end,
            1,
            &mut |key, _| match keys::event_target(key) {
                Some(arn) => {
                    let behind = keys::events(arn).end;
                    targets.push(arn.to_owned());
                    Visit::Seek(behind)
                }
                None => Visit::Next,
            },
        )?;
        Ok(targets)
    }

    /// Sends a target what waits for it, in order, up to the first failure. `false` when it is time to
    /// stop.
    fn send_all(&mut self, arn: &str, stopped: &Receiver<()>) -> Result<bool, StorageError> {
        loop {
            // Before they are read: what is read while another one sends may have been sent.
            if !self.lease.hold()? {
                return Ok(false);
            }
            let page = self.page(arn)?;
            if page.is_empty() {
                self.trouble.remove(arn);
                return Ok(true);
            }
            for (key, stored) in page {
                if !matches!(stopped.try_recv(), Err(crossbeam_channel::TryRecvError::Empty)) {
                    return Ok(false);
                }
                // Asked before each one: it may have become another's while this one waited for its target.
                if !self.lease.hold()? {
                    return Ok(false);
                }
                if let Err(cause) = self.send(arn, &stored) {
                    self.failed(arn, &cause);
                    return Ok(true);
                }
                self.forget(key)?;
            }
        }
    }

    fn page(&self, arn: &str) -> Result<Vec<Waiting>, StorageError> {
        let range = keys::events(arn);
        let mut page = Vec::new();
        self.service.meta.scan_few(&range.start..&range.end, PAGE_EVENTS_MAX, &mut |key, value| {
            page.push((key.to_vec(), value.to_vec()));
            if page.len() < PAGE_EVENTS_MAX { Visit::Next } else { Visit::Stop }
        })?;
        Ok(page)
    }

    fn forget(&self, key: Vec<u8>) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        batch.remove(key);
        self.service.meta.commit(batch)?;
        let lower = |waiting: usize| Some(waiting.saturating_sub(1));
        let _ = self.service.notifications.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
        Ok(())
    }

    /// Sends one message. What cannot be read, is too old or has no target any more counts as sent.
    fn send(&self, arn: &str, stored: &[u8]) -> Result<(), String> {
        let Ok(stored) = serde_json::from_slice::<Stored>(stored) else { return Ok(()) };
        let too_old = self.service.clock.now() > stored.at.saturating_add(EVENT_AGE_MS_MAX);
        let Some(url) = self.service.config.notification_url(arn).filter(|_| !too_old) else {
            self.log.write(Level::Warn, "an event was dropped", &[("target", arn.into())]);
            return Ok(());
        };
        let sent = self
            .agent
            .post(url)
            .header("content-type", "application/json")
            .header("x-s3pail-target", arn)
            .send(stored.body.as_bytes());
        let taken = match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("status {}", answer.status().as_u16())),
            Err(error) => Err(error.to_string()),
        };
        self.service.metrics.event(taken.is_ok());
        taken
    }

    fn failed(&mut self, arn: &str, cause: &str) {
        let before = self.trouble.get(arn).map(|trouble| trouble.pause);
        let pause = before.map_or(PAUSE_FIRST, |pause| (pause * 2).min(PAUSE_MAX));
        self.trouble.insert(arn.to_owned(), Trouble { pause, until: Instant::now() + pause });
        let fields = [("target", arn.into()), ("cause", cause.into())];
        self.log.write(Level::Warn, "a notification target does not take events", &fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::notification::EVENTS;

    #[test]
    fn every_event_that_is_sent_is_one_that_can_be_asked_for() {
        for operation in [
            "PutObject",
            "PostObject",
            "CopyObject",
            "CompleteMultipartUpload",
            "DeleteObject",
            "PutObjectTagging",
            "DeleteObjectTagging",
            "PutObjectAcl",
            "RestoreObject",
            "S3.RESTORE.COMPLETED",
            "S3.RESTORE.EXPIRED",
            "S3.CREATE.DELETEMARKER",
            "S3.EXPIRE.OBJECT",
            "S3.TRANSITION.OBJECT",
        ] {
            for marker in [false, true] {
                let event = event_of(operation, marker).expect(operation);
                assert!(EVENTS.contains(&event), "{event}");
            }
        }
        assert_eq!(event_of("GetObject", false), None);
    }

    #[test]
    fn keys_are_encoded_as_in_forms() {
        assert_eq!(form_encoded("a b/é+"), "a+b%2F%C3%A9%2B");
    }

    #[test]
    fn the_oldest_polled_event_makes_room() {
        let notifications = Notifications::default();
        for number in 0..EVENTS_POLLED_MAX + 5 {
            let polled = vec![(format!("b{}", number % 2), Value::from(number))];
            notifications.committed(Noted { polled, queued: 0 });
        }
        let all = notifications.poll(None, usize::MAX);
        assert_eq!((all.len(), all[0].as_u64()), (EVENTS_POLLED_MAX, Some(5)));
        assert_eq!(notifications.poll(Some("b0"), 1), [Value::from(EVENTS_POLLED_MAX + 4)]);
        assert!(notifications.poll(Some("other"), 9).is_empty());
    }
}
