//! `/metrics`: what the server has counted since its start, in Prometheus' text format (version 0.0.4).
//!
//! [`METRICS`] is the one table of metrics: the page is written from it, and a test holds `docs/metrics.md`
//! against it. Counting costs a request a few additions to numbers that all workers share, no lock and no
//! allocation. The number of series is bounded by the program, never by clients: labels are names of the
//! operations table, of the error catalogue and of [`STATUS_CLASSES`], and never buckets, keys or accounts.

use crate::error::Code;
use crate::http::Traffic;
use crate::lifecycle::Report;
use crate::ops::service::Service;
use crate::ops::table::OPERATIONS;
use crate::scrub::{self, Finding};
use crate::storage::Usage;
use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The `Content-Type` of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Operation labels beside those of the operations table: requests for a website, CORS preflights, the
/// server's own paths, and requests that were refused before it was known what they ask for.
pub const OTHER_OPERATIONS: [&str; 4] = ["WebsiteRequest", "PreflightRequest", OWN_PATHS, UNROUTED];
/// The operation label of `/live`, `/ready`, `/metrics` and `/_/`.
pub const OWN_PATHS: &str = "Internal";
/// The operation label of requests that were refused before routing.
pub const UNROUTED: &str = "None";
/// The classes of status codes, in order.
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The upper bounds of the histogram's buckets: in microseconds, and as they are written, in seconds.
pub const DURATION_BOUNDS: [(u64, &str); 14] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Counts by upper bound, with their sum and number.
    Histogram,
}

impl Kind {
    /// The name in a `TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One row: a metric, and what writes its samples.
pub struct Metric {
    /// Its name, with the unit last.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The labels of each sample (`le` of a histogram is not among them).
    pub labels: &'static [&'static str],
    /// What it is, one sentence.
    pub help: &'static str,
    write: fn(&Reading<'_>, &mut Samples<'_>),
}

const fn row(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&Reading<'_>, &mut Samples<'_>),
) -> Metric {
    Metric { name, kind, labels, help, write }
}

/// Every metric, in the order of the page.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    row("s3pail_build_info", Kind::Gauge, &["version"], "Always 1; the label says which version runs.",
        |_, to| to.add(&[env!("CARGO_PKG_VERSION")], 1)),
    row("s3pail_start_time_seconds", Kind::Gauge, &[], "When the process started, in seconds since 1970.",
        |of, to| to.add(&[], of.metrics.started_at)),
    row("s3pail_requests_total", Kind::Counter, &["operation", "status"], "Answered requests by operation and class of status.",
        write_requests),
    row("s3pail_request_duration_seconds", Kind::Histogram, &["operation"], "From the complete head of a request to the last byte of its answer.",
        write_durations),
    row("s3pail_errors_total", Kind::Counter, &["code"], "Error answers by S3 error code.",
        write_errors),
    row("s3pail_received_bytes_total", Kind::Counter, &[], "Bytes of request bodies that were read, transfer coding removed.",
        |of, to| to.add(&[], load(&of.metrics.received_bytes))),
    row("s3pail_sent_bytes_total", Kind::Counter, &[], "Bytes of response bodies that were handed to the system.",
        |of, to| to.add(&[], load(&of.metrics.sent_bytes))),
    row("s3pail_connections_open", Kind::Gauge, &[], "Connections that are open.",
        |of, to| to.add(&[], of.traffic.open)),
    row("s3pail_connections_accepted_total", Kind::Counter, &[], "Connections that were accepted, those that were refused included.",
        |of, to| to.add(&[], of.traffic.accepted)),
    row("s3pail_connections_refused_total", Kind::Counter, &[], "Connections that were turned away because a limit was reached.",
        |of, to| to.add(&[], of.traffic.refused)),
    row("s3pail_workers", Kind::Gauge, &[], "Worker threads.",
        |of, to| to.add(&[], of.traffic.workers)),
    row("s3pail_workers_busy", Kind::Gauge, &[], "Worker threads that serve a request.",
        |of, to| to.add(&[], of.traffic.busy)),
    row("s3pail_queue_length", Kind::Gauge, &[], "Connections with something to do that wait for a worker.",
        |of, to| to.add(&[], of.traffic.queued)),
    row("s3pail_store_used_bytes", Kind::Gauge, &["store"], "Bytes that a store takes, where it is cheap to know: files of records, and everything in memory.",
        |of, to| of.each_store(|name, usage| if let Some(bytes) = usage.used_bytes { to.add(&[name], bytes) })),
    row("s3pail_store_free_bytes", Kind::Gauge, &["store"], "Bytes that are free for this process where a store lies, if that is a folder.",
        |of, to| of.each_store(|name, usage| if let Some(bytes) = usage.free_bytes { to.add(&[name], bytes) })),
    row("s3pail_corrupt_reads_total", Kind::Counter, &[], "Reads of bodies that found other bytes on the disk than were written.",
        |of, to| to.add(&[], of.bodies.corrupt_reads)),
    row("s3pail_scrub_walks_total", Kind::Counter, &[], "Walks of the scrub that came to their end.",
        |of, to| to.add(&[], of.metrics.scrub.walks())),
    row("s3pail_scrub_bodies_total", Kind::Counter, &[], "Bodies that the scrub has read.",
        |of, to| to.add(&[], of.metrics.scrub.bodies())),
    row("s3pail_scrub_bytes_total", Kind::Counter, &[], "Bytes that the scrub has read.",
        |of, to| to.add(&[], of.metrics.scrub.bytes())),
    row("s3pail_scrub_findings_total", Kind::Counter, &["finding"], "What the scrub found: damaged or missing bodies, damaged records, and reads that failed.",
        |of, to| for finding in Finding::ALL { to.add(&[finding.as_str()], of.metrics.scrub.findings(finding)) }),
    row("s3pail_quarantined_bodies", Kind::Gauge, &[], "Damaged bodies that were moved out of the way and wait for somebody.",
        |of, to| to.add(&[], of.bodies.quarantined)),
    row("s3pail_deletes_waiting", Kind::Gauge, &[], "Bodies that no object has any more and that wait to be removed.",
        |of, to| to.add(&[], of.deletes.waiting)),
    row("s3pail_deletes_failed_total", Kind::Counter, &[], "Removals of bodies that were given up until the next start.",
        |of, to| to.add(&[], of.deletes.failed)),
    row("s3pail_lifecycle_walks_total", Kind::Counter, &[], "Walks over the buckets with lifecycle rules.",
        |of, to| to.add(&[], load(&of.metrics.lifecycle_walks))),
    row("s3pail_lifecycle_actions_total", Kind::Counter, &["action"], "What lifecycle rules did, and what they could not do.",
        |of, to| for (action, count) in LIFECYCLE_ACTIONS.iter().zip(&of.metrics.lifecycle_actions) { to.add(&[action], load(count)) }),
    row("s3pail_events_waiting", Kind::Gauge, &[], "Notifications that wait for their webhook.",
        |of, to| to.add(&[], of.service.notifications.waiting() as u64)),
    row("s3pail_events_sent_total", Kind::Counter, &[], "Notifications that a webhook has taken.",
        |of, to| to.add(&[], load(&of.metrics.events_sent))),
    row("s3pail_events_failed_total", Kind::Counter, &[], "Tries to send a notification that failed.",
        |of, to| to.add(&[], load(&of.metrics.events_failed))),
    row("s3pail_access_log_dropped_total", Kind::Counter, &[], "Lines of access logs of buckets that were dropped.",
        |of, to| to.add(&[], of.service.access_log.dropped())),
    row("process_resident_memory_bytes", Kind::Gauge, &[], "Memory of the process that is in use, where the system tells (Linux).",
        |_, to| if let Some(bytes) = resident_bytes() { to.add(&[], bytes) }),
    row("process_open_fds", Kind::Gauge, &[], "File descriptors of the process, where the system tells (Linux).",
        |_, to| if let Some(count) = open_descriptors() { to.add(&[], count) }),
];

/// The values of the label `action`, in the order of [`Report`].
const LIFECYCLE_ACTIONS: [&str; 9] = [
    "expire",
    "create_delete_marker",
    "remove_delete_marker",
    "expire_noncurrent",
    "transition",
    "expire_restore",
    "abort_upload",
    "locked",
    "failed",
];

/// What one operation has counted.
#[derive(Default)]
struct OperationCounts {
    by_class: [AtomicU64; STATUS_CLASSES.len()],
    /// The last one has no bound.
    by_duration: [AtomicU64; DURATION_BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// The waiting and failed removals of bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deletes {
    /// Removals that wait.
    pub waiting: u64,
    /// Removals that were given up.
    pub failed: u64,
}

/// Something that is looked at when the page is asked for.
type Look<T> = OnceLock<Box<dyn Fn() -> T + Send + Sync>>;

/// The counts of a server.
pub struct Metrics {
    started_at: u64,
    /// Place of each operation label in `operations`, and of each error code in `errors`.
    operation_places: HashMap<&'static str, usize>,
    error_places: HashMap<&'static str, usize>,
    operations: Vec<OperationCounts>,
    errors: Vec<AtomicU64>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    lifecycle_walks: AtomicU64,
    lifecycle_actions: [AtomicU64; LIFECYCLE_ACTIONS.len()],
    events_sent: AtomicU64,
    events_failed: AtomicU64,
    /// What the scrub has read and found.
    pub scrub: scrub::Counts,
    traffic: Look<Traffic>,
    deletes: Look<Deletes>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let operation_places = places(operation_labels());
        let error_places = places(Code::ALL.iter().map(|code| code.name));
        Metrics {
            // The system's time, not the server's clock, which users may freeze.
            started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            operations: operation_places.iter().map(|_| OperationCounts::default()).collect(),
            errors: error_places.iter().map(|_| AtomicU64::new(0)).collect(),
            operation_places,
            error_places,
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            lifecycle_walks: AtomicU64::new(0),
            lifecycle_actions: Default::default(),
            events_sent: AtomicU64::new(0),
            events_failed: AtomicU64::new(0),
            scrub: scrub::Counts::default(),
            traffic: OnceLock::new(),
            deletes: OnceLock::new(),
        }
    }
}

/// Every value of the label `operation`.
pub fn operation_labels() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|row| row.name).chain(OTHER_OPERATIONS)
}

/// Numbers names in the order in which they come first.
fn places(names: impl Iterator<Item = &'static str>) -> HashMap<&'static str, usize> {
    let mut places = HashMap::new();
    for name in names {
        let next = places.len();
        places.entry(name).or_insert(next);
    }
    places
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl Metrics {
    /// Says where the figures of the HTTP engine come from. Only the first call counts.
    pub fn watch_traffic(&self, look: impl Fn() -> Traffic + Send + Sync + 'static) {
        let _ = self.traffic.set(Box::new(look));
    }

    /// Says where the figures of the delete queues come from. Only the first call counts.
    pub fn watch_deletes(&self, look: impl Fn() -> Deletes + Send + Sync + 'static) {
        let _ = self.deletes.set(Box::new(look));
    }

    /// Counts an answered request. An operation that has no label counts as [`UNROUTED`].
    pub fn answered(&self, operation: &str, status: u16, sent_bytes: u64, took: Duration) {
        let Some(counts) = self.counts(operation) else { return };
        count_status(counts, status);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS.iter().position(|(bound, _)| micros <= *bound);
        add(&counts.by_duration[bucket.unwrap_or(DURATION_BOUNDS.len())], 1);
        add(&counts.micros, micros);
        add(&self.sent_bytes, sent_bytes);
    }

    /// Counts a request that the HTTP engine refused; it has no duration.
    pub fn refused(&self, status: u16) {
        if let Some(counts) = self.counts(UNROUTED) {
            count_status(counts, status);
        }
    }

    /// Counts an error answer.
    pub fn failed(&self, code: &str) {
        if let Some(place) = self.error_places.get(code) {
            add(&self.errors[*place], 1);
        }
    }

    /// Counts what a lifecycle walk did.
    pub fn walked(&self, report: &Report) {
        add(&self.lifecycle_walks, 1);
        let done = [
            report.expired,
            report.delete_markers_created,
            report.delete_markers_removed,
            report.noncurrent_expired,
            report.transitioned,
            report.restores_expired,
            report.uploads_aborted,
            report.locked,
            report.failed,
        ];
        self.lifecycle_actions.iter().zip(done).for_each(|(count, more)| add(count, more));
    }

    /// Counts a try to send a notification.
    pub fn event(&self, taken: bool) {
        add(if taken { &self.events_sent } else { &self.events_failed }, 1);
    }

    /// A reader that counts the bytes of a request body on their way.
    pub fn counting<'a>(&'a self, reader: Box<dyn Read + 'a>) -> Box<dyn Read + 'a> {
        Box::new(Counting { reader, count: &self.received_bytes })
    }

    fn counts(&self, operation: &str) -> Option<&OperationCounts> {
        let place = self.operation_places.get(operation).or_else(|| self.operation_places.get(UNROUTED));
        place.and_then(|place| self.operations.get(*place))
    }
}

fn count_status(counts: &OperationCounts, status: u16) {
    let class = usize::from(status / 100).clamp(1, STATUS_CLASSES.len()) - 1;
    add(&counts.by_class[class], 1);
}

struct Counting<'a> {
    reader: Box<dyn Read + 'a>,
    count: &'a AtomicU64,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        add(self.count, count as u64);
        Ok(count)
    }
}

/// Everything that a page is written from, looked at once.
struct Reading<'a> {
    service: &'a Service,
    metrics: &'a Metrics,
    traffic: Traffic,
    deletes: Deletes,
    bodies: Usage,
    records: Usage,
}

impl Reading<'_> {
    fn each_store(&self, mut visit: impl FnMut(&str, &Usage)) {
        visit("bodies", &self.bodies);
        visit("records", &self.records);
    }
}

/// The samples of one metric.
struct Samples<'a> {
    metric: &'static Metric,
    text: &'a mut String,
}

impl Samples<'_> {
    fn add(&mut self, labels: &[&str], value: impl Display) {
        self.add_as("", None, labels, value);
    }

    /// Adds a sample of a histogram: `suffix` is what follows the name, `bound` the label `le`.
    fn add_as(&mut self, suffix: &str, bound: Option<&str>, labels: &[&str], value: impl Display) {
        let named = self.metric.labels.iter().copied().zip(labels.iter().copied());
        let pairs: Vec<String> = named
            .chain(bound.map(|bound| ("le", bound)))
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{}{suffix}{labels} {value}", self.metric.name);
    }
}

/// The page.
pub fn page(service: &Service) -> String {
    let metrics = &service.metrics;
    let reading = Reading {
        service,
        metrics,
        traffic: metrics.traffic.get().map_or(Traffic::default(), |look| look()),
        deletes: metrics.deletes.get().map_or(Deletes::default(), |look| look()),
        bodies: bodies(service),
        records: service.meta.usage(),
    };
    let mut text = String::new();
    for metric in METRICS {
        let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.as_str());
        (metric.write)(&reading, &mut Samples { metric, text: &mut text });
    }
    text
}

/// The stores of bodies together. Those that several locations share are asked once.
fn bodies(service: &Service) -> Usage {
    let mut stores = vec![&service.blobs];
    for blobs in service.locations.values() {
        if !stores.iter().any(|known| Arc::ptr_eq(known, blobs)) {
            stores.push(blobs);
        }
    }
    let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (None, None) => None,
        _ => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
    };
    stores.into_iter().map(|blobs| blobs.usage()).fold(Usage::default(), |all, one| Usage {
        used_bytes: sum(all.used_bytes, one.used_bytes),
        free_bytes: sum(all.free_bytes, one.free_bytes),
        corrupt_reads: all.corrupt_reads.saturating_add(one.corrupt_reads),
        quarantined: all.quarantined.saturating_add(one.quarantined),
    })
}

/// Calls `visit` for each operation that was asked for, so that a page shows no thousands of zeros.
fn each_operation(of: &Reading<'_>, mut visit: impl FnMut(&'static str, &OperationCounts)) {
    let mut seen = vec![false; of.metrics.operations.len()];
    for name in operation_labels() {
        let place = of.metrics.operation_places[name];
        let counts = &of.metrics.operations[place];
        let asked = counts.by_class.iter().any(|count| load(count) > 0);
        if asked && !std::mem::replace(&mut seen[place], true) {
            visit(name, counts);
        }
    }
}

fn write_requests(of: &Reading<'_>, to: &mut Samples<'_>) {
    each_operation(of, |name, counts| {
        for (class, count) in STATUS_CLASSES.iter().zip(&counts.by_class) {
            if load(count) > 0 {
                to.add(&[name, class], load(count));
            }
        }
    });
}

fn write_durations(of: &Reading<'_>, to: &mut Samples<'_>) {
    each_operation(of, |name, counts| {
        let mut total = 0;
        let bounds = DURATION_BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bound, count) in bounds.zip(&counts.by_duration) {
            total += load(count);
            to.add_as("_bucket", Some(bound), &[name], total);
        }
        let micros = load(&counts.micros);
        to.add_as("_sum", None, &[name], format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        to.add_as("_count", None, &[name], total);
    });
}

fn write_errors(of: &Reading<'_>, to: &mut Samples<'_>) {
    for code in Code::ALL {
        let count = load(&of.metrics.errors[of.metrics.error_places[code.name]]);
        if count > 0 {
            to.add(&[code.name], count);
        }
    }
}

/// The most bytes of a line of `/proc` that are looked at; they have some dozens.
const PROC_BYTES_MAX: u64 = 4096;

fn resident_bytes() -> Option<u64> {
    let mut status = String::new();
    std::fs::File::open("/proc/self/status").ok()?.take(PROC_BYTES_MAX).read_to_string(&mut status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Counting them opens one, which is not counted.
fn open_descriptors() -> Option<u64> {
    Some((std::fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_prometheus_names_and_counters_end_in_total() {
        for (index, metric) in METRICS.iter().enumerate() {
            let valid = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(valid(&metric.name.replace("s3pail", "")), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(METRICS[..index].iter().all(|other| other.name != metric.name), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
        }
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let metrics = Metrics::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001] {
            metrics.answered("GetObject", 200, 1, Duration::from_micros(micros));
        }
        let counts = metrics.counts("GetObject").unwrap();
        let buckets: Vec<u64> = counts.by_duration.iter().map(load).collect();
        assert_eq!(buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((load(&counts.micros), load(&metrics.sent_bytes)), (20_001_002, 5));
    }

    #[test]
    fn what_has_no_label_makes_no_series() {
        let metrics = Metrics::default();
        metrics.answered("no such operation", 999, 0, Duration::ZERO);
        metrics.answered("GetObject", 0, 0, Duration::ZERO);
        metrics.failed("NoSuchCode");
        assert_eq!(load(&metrics.counts(UNROUTED).unwrap().by_class[4]), 1);
        assert_eq!(load(&metrics.counts("GetObject").unwrap().by_class[0]), 1);
        assert!(metrics.errors.iter().all(|count| load(count) == 0));
        assert!(metrics.operations.len() <= 110, "{} operations", metrics.operations.len());
    }
}
