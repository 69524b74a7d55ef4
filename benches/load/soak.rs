//! Mixed operations on many connections for a long time, for what shows only then: answers that are wrong
//! once in a million, threads, descriptors and memory that do not come back.
//!
//! Each connection has keys of its own and knows what is under each, so that every answer has one right
//! form. No time is judged: latencies are printed, and only errors, threads, descriptors and memory fail.

use crate::arguments::Arguments;
use crate::compare::{next_random, quantile_ms, random_bytes, round};
use crate::connection::{Answer, Connection};
use crate::process;
use crate::signer::{Signer, UNSIGNED_PAYLOAD, sha256_hex};
use crate::target::{BUCKET, Target};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Bodies have 4 KiB to 8 MiB, half of them less than 40 KiB.
const SIZE_MIN: usize = 4 << 10;
const SIZE_MAX: usize = 8 << 20;
/// Bodies up to this size are signed, and sent in one piece with their head.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// All parts but the last of an upload have at least this size in S3.
const PART_BYTES_MIN: usize = 5 << 20;
/// A connection does nothing for up to this time between two requests, so that some always are idle.
const PAUSE_MAX_MS: u64 = 500;
/// How often the server's process is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often progress is shown.
const TELL: Duration = Duration::from_secs(15);
/// Memory is judged after this time (LD-30), and if there is as much more to judge it by.
const MEMORY_SETTLES: Duration = Duration::from_secs(120);
const MEMORY_SLOPE_KIB_PER_MIN_MAX: f64 = 1024.0;
/// How many threads and descriptors more or fewer than at the start are none left over (LD-30).
const LEFT_OVER_MAX: u64 = 2;
/// How long the end may take: stand-ins end when they find nothing to do, files are removed behind deletes.
const END_WITHIN: Duration = Duration::from_secs(60);
/// Errors of one connection after which it stops.
const FAILURES_MAX: u64 = 20;

/// What is counted apart, with its share of a thousand requests.
const MIX: [(&str, u64); 9] = [
    ("put", 270),
    ("get", 330),
    ("range", 80),
    ("head", 100),
    ("list", 60),
    ("delete", 60),
    ("put-if", 40),
    ("get-if", 40),
    ("multipart", 20),
];

type Latencies = BTreeMap<&'static str, Vec<u32>>;

/// What one connection, or all of them, counted.
#[derive(Default)]
struct Tally {
    latencies: Latencies,
    /// By code of S3 or kind of the system's error, with the operation.
    errors: BTreeMap<String, u64>,
    first_error: Option<String>,
    opened: u64,
    bytes: u64,
}

struct Look {
    at: Duration,
    threads: u64,
    descriptors: u64,
    kib: u64,
}

struct Shared<'a> {
    target: &'a Target,
    bytes: &'a [u8],
    until: Instant,
    done: AtomicU64,
    failed: AtomicU64,
    over: AtomicBool,
}

/// Runs the load, prints a line of JSON for each operation and one for the whole.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let [target] = &arguments.targets[..] else { return Err("soak needs one --target".to_owned()) };
    let pid = target.pid.ok_or("soak needs the process of its target")?;
    let seed = if arguments.seed == 0 { clock_seed() } else { arguments.seed };
    let bytes = random_bytes(2 * SIZE_MAX);
    make_bucket(target).map_err(|e| format!("bucket: {e}"))?;
    let before = look(pid, Duration::ZERO);
    let begin = Instant::now();
    let shared = Shared {
        target,
        bytes: &bytes,
        until: begin + arguments.duration,
        done: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let (tally, looks) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(pid, begin, &shared));
        let users: Vec<_> = (0..arguments.connections)
            .map(|number| {
                let shared = &shared;
                let objects = arguments.objects;
                let user = move || User::new(shared, seed, number, objects).work();
                thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, user)
            })
            .collect();
        let mut tally = Tally::default();
        for user in users {
            match user {
                Ok(user) => tally.add(user.join().expect("no thread panics")),
                Err(error) => tally.fail("start", &error),
            }
        }
        shared.over.store(true, Ordering::Relaxed);
        (tally, watch.join().expect("no thread panics"))
    });
    let elapsed = begin.elapsed();
    let after = end(pid, &before);
    report(&tally, &looks, (&before, &after), (seed, elapsed, arguments));
    judge(&tally, &looks, &before, &after)
}

fn clock_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(1, |since| u64::from(since.subsec_nanos()) + since.as_secs() % 1000 * 1_000_000_000).max(1)
}

fn make_bucket(target: &Target) -> io::Result<()> {
    let path = format!("/{BUCKET}");
    let headers = Signer::for_target(target).headers("PUT", &path, "", &sha256_hex(b""));
    Connection::new(target.address).call(("PUT", &path), &headers, b"", &mut |_| {})?.check()?;
    Ok(())
}

// One connection.

/// What is under a key: a window into the random bytes, and its entity tag.
#[derive(Clone, Default)]
struct Object {
    start: usize,
    size: usize,
    etag: String,
}

struct User<'a> {
    shared: &'a Shared<'a>,
    connection: Connection,
    signer: Signer,
    random: u64,
    number: usize,
    objects: Vec<Option<Object>>,
    empty_hash: String,
    tally: Tally,
}

/// What an answer was instead of what it had to be.
fn wrong(what: &str, answer: &Answer) -> io::Error {
    let excerpt = String::from_utf8_lossy(&answer.excerpt);
    let code = excerpt.split("<Code>").nth(1).and_then(|rest| rest.split('<').next());
    io::Error::other(format!("{what}: {} {}", answer.status, code.unwrap_or("without a code")))
}

impl<'a> User<'a> {
    fn new(shared: &'a Shared<'a>, seed: u64, number: usize, objects: usize) -> Self {
        let mut random = seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        random = random.max(1);
        // The first numbers of seeds that differ little are alike.
        (0..8).for_each(|_| _ = next_random(&mut random));
        User {
            shared,
            connection: Connection::new(shared.target.address),
            signer: Signer::for_target(shared.target),
            random,
            number,
            objects: vec![None; objects],
            empty_hash: sha256_hex(b""),
            tally: Tally::default(),
        }
    }

    fn work(mut self) -> Tally {
        let mut failures = 0;
        while Instant::now() < self.shared.until && failures < FAILURES_MAX {
            thread::sleep(Duration::from_millis(self.below(PAUSE_MAX_MS)));
            let mut at = self.below(1000);
            let chosen = MIX.iter().find(|(_, share)| {
                let here = at < *share;
                at = at.saturating_sub(*share);
                here
            });
            let name = chosen.map_or("get", |(name, _)| name);
            let key = self.below(self.objects.len() as u64) as usize;
            if let Err(error) = self.act(name, key) {
                failures += 1;
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                self.tally.fail(name, &error);
                // Whether it was done is not known.
                self.settle(key);
            }
        }
        self.tally.opened = self.connection.opened;
        self.tally
    }

    fn act(&mut self, name: &'static str, key: usize) -> io::Result<()> {
        match (name, self.objects[key].clone()) {
            ("put", _) | ("put-if" | "get" | "range" | "head" | "get-if", None) => self.put(key),
            ("put-if", Some(object)) => self.put_if(key, &object),
            ("get", Some(object)) => self.get(key, &object, None),
            ("range", Some(object)) => {
                let first = self.below(object.size as u64) as usize;
                let last = first + self.below((object.size - first) as u64) as usize;
                self.get(key, &object, Some((first, last)))
            }
            ("head", Some(object)) => self.head(key, &object),
            ("get-if", Some(object)) => self.get_if(key, &object),
            ("list", _) => self.list(),
            ("multipart", _) => self.multipart(key),
            _ => self.delete(key),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        next_random(&mut self.random) % bound.max(1)
    }

    /// A window of a size whose logarithm is spread evenly over the smaller half, seldom over the larger.
    fn window(&mut self) -> Object {
        let doublings = if self.below(4) == 0 { 11 } else { 5 };
        let power = self.below(doublings);
        let floor = SIZE_MIN << power;
        let size = (floor + self.below(floor as u64) as usize).min(SIZE_MAX);
        self.window_of(size)
    }

    fn window_of(&mut self, size: usize) -> Object {
        let start = self.below((self.shared.bytes.len() - size) as u64) as usize;
        Object { start, size, etag: String::new() }
    }

    fn content(&self, object: &Object) -> &'a [u8] {
        &self.shared.bytes[object.start..object.start + object.size]
    }

    fn path(&self, key: usize) -> String {
        format!("/{BUCKET}/{:04}/{key}", self.number)
    }

    /// One request, counted and timed under a name. The answer's body goes to `on_body`.
    fn send(
        &mut self,
        name: &'static str,
        (method, path, query): (&str, &str, &str),
        fields: &str,
        body: &[u8],
        on_body: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Answer> {
        let small = body.len() <= SMALL_BYTES_MAX;
        let hash = match body.len() {
            0 => self.empty_hash.clone(),
            _ if small => sha256_hex(body),
            _ => UNSIGNED_PAYLOAD.to_owned(),
        };
        let headers = self.signer.headers(method, path, query, &hash) + fields;
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let begin = Instant::now();
        let answer = if small {
            self.connection.call((method, &target), &headers, body, on_body)?
        } else {
            self.connection.put_repeated(&target, &headers, body, body.len() as u64)?
        };
        let took = u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.tally.latencies.entry(name).or_default().push(took);
        self.tally.bytes += body.len() as u64 + answer.body_bytes;
        self.shared.done.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }

    fn put(&mut self, key: usize) -> io::Result<()> {
        let object = self.window();
        self.store("put", key, object, "")
    }

    fn store(&mut self, name: &'static str, key: usize, mut object: Object, fields: &str) -> io::Result<()> {
        let (path, body) = (self.path(key), self.content(&object));
        let answer = self.send(name, ("PUT", &path, ""), fields, body, &mut |_| {})?;
        if answer.status != 200 {
            return Err(wrong(name, &answer));
        }
        object.etag = answer.etag.ok_or_else(|| io::Error::other("PUT without an ETag"))?;
        self.objects[key] = Some(object);
        Ok(())
    }

    /// Half of the conditions are met.
    fn put_if(&mut self, key: usize, now: &Object) -> io::Result<()> {
        let size = SIZE_MIN + self.below((SMALL_BYTES_MAX - SIZE_MIN) as u64) as usize;
        let object = self.window_of(size);
        if self.below(2) == 0 {
            return self.store("put-if", key, object, &format!("If-Match: {}\r\n", now.etag));
        }
        let (path, body) = (self.path(key), self.content(&object));
        let answer = self.send("put-if", ("PUT", &path, ""), "If-None-Match: *\r\n", body, &mut |_| {})?;
        if answer.status == 412 { Ok(()) } else { Err(wrong("put-if", &answer)) }
    }

    fn get(&mut self, key: usize, object: &Object, range: Option<(usize, usize)>) -> io::Result<()> {
        let (path, content) = (self.path(key), self.content(object));
        let (name, status, want, fields) = match range {
            None => ("get", 200, content, String::new()),
            Some((first, last)) => {
                ("range", 206, &content[first..=last], format!("Range: bytes={first}-{last}\r\n"))
            }
        };
        let (mut same, mut read) = (true, 0);
        let answer = self.send(name, ("GET", &path, ""), &fields, b"", &mut |piece| {
            same &= want.get(read..read + piece.len()) == Some(piece);
            read += piece.len();
        })?;
        if answer.status != status {
            return Err(wrong(name, &answer));
        }
        if !same || read != want.len() {
            return Err(io::Error::other(format!("{name}: other bytes than were put")));
        }
        Ok(())
    }

    fn head(&mut self, key: usize, object: &Object) -> io::Result<()> {
        let answer = self.send("head", ("HEAD", &self.path(key), ""), "", b"", &mut |_| {})?;
        if (answer.status, answer.length) != (200, Some(object.size as u64)) {
            return Err(wrong("head", &answer));
        }
        if answer.etag.as_deref() != Some(&object.etag) {
            return Err(io::Error::other("head: another ETag than the PUT's"));
        }
        Ok(())
    }

    fn get_if(&mut self, key: usize, object: &Object) -> io::Result<()> {
        let path = self.path(key);
        let (field, status) =
            if self.below(2) == 0 { ("If-None-Match", 304) } else { ("If-Unmodified-Since", 412) };
        let value = if status == 304 { &object.etag } else { "Mon, 01 Jan 2001 00:00:00 GMT" };
        let fields = format!("{field}: {value}\r\n");
        let answer = self.send("get-if", ("GET", &path, ""), &fields, b"", &mut |_| {})?;
        if answer.status == status { Ok(()) } else { Err(wrong("get-if", &answer)) }
    }

    fn list(&mut self) -> io::Result<()> {
        let query = format!("list-type=2&prefix={:04}%2F", self.number);
        let mut text = Vec::new();
        let answer = self
            .send("list", ("GET", &format!("/{BUCKET}"), &query), "", b"", &mut |piece| text.extend(piece))?;
        let count = self.objects.iter().flatten().count();
        let right = String::from_utf8_lossy(&text).contains(&format!("<KeyCount>{count}</KeyCount>"));
        if answer.status == 200 && right { Ok(()) } else { Err(wrong("list: not these keys", &answer)) }
    }

    fn delete(&mut self, key: usize) -> io::Result<()> {
        let answer = self.send("delete", ("DELETE", &self.path(key), ""), "", b"", &mut |_| {})?;
        if answer.status != 204 {
            return Err(wrong("delete", &answer));
        }
        self.objects[key] = None;
        Ok(())
    }

    /// An upload of two parts; every fourth is given up instead of completed.
    fn multipart(&mut self, key: usize) -> io::Result<()> {
        let path = self.path(key);
        let mut text = Vec::new();
        let answer =
            self.send("mpu-create", ("POST", &path, "uploads="), "", b"", &mut |piece| text.extend(piece))?;
        let text = String::from_utf8_lossy(&text);
        let id = text.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next());
        let id = id.ok_or_else(|| wrong("mpu-create", &answer))?;
        let last = SIZE_MIN + self.below((SIZE_MAX - PART_BYTES_MIN - SIZE_MIN) as u64) as usize;
        let mut object = self.window_of(PART_BYTES_MIN + last);
        let (first, second) = self.content(&object).split_at(PART_BYTES_MIN);
        let mut parts = String::new();
        for (number, body) in [(1, first), (2, second)] {
            let query = format!("partNumber={number}&uploadId={id}");
            let answer = self.send("mpu-part", ("PUT", &path, &query), "", body, &mut |_| {})?;
            let etag = answer.etag.clone().filter(|_| answer.status == 200);
            let etag = etag.ok_or_else(|| wrong("mpu-part", &answer))?;
            parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let query = format!("uploadId={id}");
        if self.below(4) == 0 {
            let answer = self.send("mpu-abort", ("DELETE", &path, &query), "", b"", &mut |_| {})?;
            return if answer.status == 204 { Ok(()) } else { Err(wrong("mpu-abort", &answer)) };
        }
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let mut text = Vec::new();
        let answer =
            self.send("mpu-complete", ("POST", &path, &query), "", body.as_bytes(), &mut |piece| {
                text.extend(piece);
            })?;
        // A completion that fails late has status 200, too.
        let text = String::from_utf8_lossy(&text);
        let etag = text.split("<ETag>").nth(1).and_then(|rest| rest.split('<').next());
        let etag = etag.filter(|_| answer.status == 200).ok_or_else(|| wrong("mpu-complete", &answer))?;
        object.etag = etag.replace("&quot;", "\"");
        self.objects[key] = Some(object);
        Ok(())
    }

    /// Makes known again what is under a key: nothing.
    fn settle(&mut self, key: usize) {
        if self.delete(key).is_err() {
            self.objects[key] = None;
        }
    }
}

impl Tally {
    fn fail(&mut self, name: &str, error: &io::Error) {
        let text = error.to_string();
        let kind =
            if error.kind() == io::ErrorKind::Other { text.clone() } else { format!("{name}: {text}") };
        *self.errors.entry(kind).or_default() += 1;
        self.first_error.get_or_insert(text);
    }

    fn add(&mut self, other: Tally) {
        for (name, mut found) in other.latencies {
            self.latencies.entry(name).or_default().append(&mut found);
        }
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.first_error = self.first_error.take().or(other.first_error);
        self.opened += other.opened;
        self.bytes += other.bytes;
    }
}

// The server's process.

fn look(pid: u32, at: Duration) -> Look {
    let (threads, descriptors, kib) = process::footprint(pid);
    Look { at, threads, descriptors, kib }
}

/// Looks until all is over, and tells on standard error how it goes.
fn watch(pid: u32, begin: Instant, shared: &Shared<'_>) -> Vec<Look> {
    let (mut looks, mut told) = (Vec::new(), Duration::ZERO);
    while !shared.over.load(Ordering::Relaxed) {
        let now = look(pid, begin.elapsed());
        if now.at >= told {
            told = now.at + TELL;
            eprintln!(
                "soak: {:4} s, {} requests, {} errors; {} threads, {} descriptors, {} MiB",
                now.at.as_secs(),
                shared.done.load(Ordering::Relaxed),
                shared.failed.load(Ordering::Relaxed),
                now.threads,
                now.descriptors,
                now.kib >> 10,
            );
        }
        looks.push(now);
        thread::sleep(LOOK);
    }
    looks
}

fn is_left_over(now: u64, before: u64) -> bool {
    // Fewer are none: who was there before may have been ended meanwhile.
    now > before + LEFT_OVER_MAX
}

/// Waits until threads and descriptors are what they were, but not for ever.
fn end(pid: u32, before: &Look) -> Look {
    let begin = Instant::now();
    loop {
        let now = look(pid, begin.elapsed());
        let left =
            is_left_over(now.threads, before.threads) || is_left_over(now.descriptors, before.descriptors);
        if !left || begin.elapsed() >= END_WITHIN {
            return now;
        }
        thread::sleep(LOOK);
    }
}

/// KiB a minute, by least squares over the looks after memory has settled; `None` where they are too few.
fn slope(looks: &[Look]) -> Option<f64> {
    let last = looks.last()?.at;
    let late: Vec<_> = looks.iter().filter(|look| look.at >= MEMORY_SETTLES).collect();
    if last < 2 * MEMORY_SETTLES || late.len() < 2 {
        return None;
    }
    let count = late.len() as f64;
    let mean_x = late.iter().map(|look| look.at.as_secs_f64() / 60.0).sum::<f64>() / count;
    let mean_y = late.iter().map(|look| look.kib as f64).sum::<f64>() / count;
    let (mut over, mut under) = (0.0, 0.0);
    for look in late {
        let x = look.at.as_secs_f64() / 60.0 - mean_x;
        over += x * (look.kib as f64 - mean_y);
        under += x * x;
    }
    Some(over / under)
}

fn report(
    tally: &Tally,
    looks: &[Look],
    (before, after): (&Look, &Look),
    (seed, elapsed, arguments): (u64, Duration, &Arguments),
) {
    let mut requests = 0;
    for (name, latencies) in &tally.latencies {
        let mut sorted = latencies.clone();
        sorted.sort_unstable();
        requests += sorted.len();
        let line = serde_json::json!({
            "operation": name,
            "requests": sorted.len(),
            "p50_ms": quantile_ms(&sorted, 0.50),
            "p99_ms": quantile_ms(&sorted, 0.99),
            "max_ms": quantile_ms(&sorted, 1.0),
        });
        println!("{line}");
    }
    let peak = |of: fn(&Look) -> u64| looks.iter().map(of).max().unwrap_or(0);
    let line = serde_json::json!({
        "seed": seed,
        "seconds": round(elapsed.as_secs_f64(), 1),
        "connections": arguments.connections,
        "opened": tally.opened,
        "requests": requests,
        "requests_per_s": round(requests as f64 / elapsed.as_secs_f64(), 1),
        "mb_per_s": round(tally.bytes as f64 / 1e6 / elapsed.as_secs_f64(), 1),
        "errors": tally.errors,
        "first_error": tally.first_error,
        "injected_faults": 0,
        "threads": { "start": before.threads, "peak": peak(|look| look.threads), "end": after.threads },
        "descriptors": {
            "start": before.descriptors, "peak": peak(|look| look.descriptors), "end": after.descriptors
        },
        "resident_kib": { "start": before.kib, "peak": peak(|look| look.kib), "end": after.kib },
        "resident_kib_per_min": slope(looks).map(|slope| round(slope, 1)),
        "back_to_start_after_s": round(after.at.as_secs_f64(), 1),
    });
    println!("{line}");
}

fn judge(tally: &Tally, looks: &[Look], before: &Look, after: &Look) -> Result<(), String> {
    let mut wrong = Vec::new();
    if !tally.errors.is_empty() {
        wrong.push(format!("errors: {:?}", tally.errors));
    }
    if is_left_over(after.threads, before.threads) {
        wrong.push(format!("{} threads, {} before", after.threads, before.threads));
    }
    if is_left_over(after.descriptors, before.descriptors) {
        wrong.push(format!("{} descriptors, {} before", after.descriptors, before.descriptors));
    }
    if let Some(slope) = slope(looks).filter(|slope| *slope > MEMORY_SLOPE_KIB_PER_MIN_MAX) {
        wrong.push(format!("memory grows by {slope:.0} KiB a minute"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("soak: {}", wrong.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(kib: impl Fn(u64) -> u64) -> Vec<Look> {
        let look =
            |second| Look { at: Duration::from_secs(second), threads: 1, descriptors: 1, kib: kib(second) };
        (0..600).map(look).collect()
    }

    #[test]
    fn memory_is_judged_by_what_it_does_after_it_has_settled() {
        let steady = looks(|second| if second < 120 { second * 1000 } else { 120_000 });
        assert!(slope(&steady).unwrap().abs() < 1.0);
        let growing = looks(|second| 1000 + second * 20);
        assert!((slope(&growing).unwrap() - 1200.0).abs() < 1.0);
        assert!(slope(&growing[..200]).is_none());
    }

    #[test]
    fn the_shares_of_operations_are_a_thousand() {
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<u64>(), 1000);
    }

    #[test]
    fn what_is_left_over_fails() {
        let before = || Look { at: Duration::ZERO, threads: 20, descriptors: 20, kib: 1 };
        let tally = Tally::default();
        assert!(judge(&tally, &[], &before(), &Look { threads: 22, ..before() }).is_ok());
        assert!(judge(&tally, &[], &before(), &Look { threads: 23, ..before() }).is_err());
        assert!(judge(&tally, &[], &before(), &Look { descriptors: 23, ..before() }).is_err());
        // What was there before and has ended since is not left over.
        assert!(judge(&tally, &[], &before(), &Look { threads: 17, descriptors: 17, ..before() }).is_ok());
        let mut tally = Tally::default();
        tally.fail("get", &io::ErrorKind::TimedOut.into());
        assert!(judge(&tally, &[], &before(), &before()).is_err());
    }
}
