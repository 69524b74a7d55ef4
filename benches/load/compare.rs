//! The comparison: GET, HEAD and PUT of small objects, closed loop, over kept-alive connections.
//! Every request is signed, also those to a server that does not look: the client's share of the time
//! is then the same for all.

use crate::arguments::Arguments;
use crate::connection::Connection;
use crate::process;
use crate::signer::{Signer, sha256_hex};
use crate::target::{BUCKET, Target};
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Unmeasured time before each run.
const WARM_UP: Duration = Duration::from_millis(300);
/// After so many failures a connection gives up.
const FAILURES_MAX: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Get,
    Head,
    Put,
}

impl Operation {
    fn method(self) -> &'static str {
        match self {
            Operation::Get => "GET",
            Operation::Head => "HEAD",
            Operation::Put => "PUT",
        }
    }
}

/// What one run, or one connection of it, counted.
#[derive(Default)]
struct Tally {
    latencies_us: Vec<u32>,
    rate: f64,
    failures: u64,
    first_failure: Option<String>,
    opened: u64,
    server_cpu_us: u64,
}

/// Visits all targets with all operations and prints a line of JSON for each.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    if arguments.targets.is_empty() {
        return Err("compare needs a --target".to_owned());
    }
    let bodies = Bodies::new(arguments);
    for target in &arguments.targets {
        if arguments.filled {
            continue;
        }
        fill(target, &bodies).map_err(|e| format!("{}: {e}", target.name))?;
    }
    for operation in [Operation::Get, Operation::Head, Operation::Put] {
        if !arguments.operations.iter().any(|wanted| wanted.eq_ignore_ascii_case(operation.method())) {
            continue;
        }
        let mut tallies: Vec<Vec<Tally>> = arguments.targets.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            let mut order: Vec<usize> = (0..arguments.targets.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                tallies[at].push(measure(&arguments.targets[at], operation, arguments, &bodies));
            }
        }
        report(operation, arguments, &tallies);
    }
    Ok(())
}

/// The objects: each has its own content, a window into random bytes.
struct Bodies {
    bytes: Vec<u8>,
    hashes: Vec<String>,
    size: usize,
}

impl Bodies {
    fn new(arguments: &Arguments) -> Self {
        let size = usize::try_from(arguments.size_bytes).expect("bounded by the command line");
        let bytes = random_bytes(size + arguments.objects);
        let hashes = (0..arguments.objects).map(|at| sha256_hex(&bytes[at..at + size])).collect();
        Bodies { bytes, hashes, size }
    }

    fn count(&self) -> usize {
        self.hashes.len()
    }

    fn content(&self, at: usize) -> &[u8] {
        &self.bytes[at..at + self.size]
    }
}

/// Bytes of a xorshift generator with a fixed seed: they need only be incompressible.
pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next_random(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The next number of a xorshift generator, whose state is never 0.
pub fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// One connection with what it needs to send requests to one target.
struct Client<'a> {
    connection: Connection,
    signer: Signer,
    bodies: &'a Bodies,
    empty_hash: String,
    random: u64,
    checked: bool,
}

impl<'a> Client<'a> {
    fn new(target: &Target, bodies: &'a Bodies, number: usize) -> Self {
        Client {
            connection: Connection::new(target.address),
            signer: Signer::for_target(target),
            bodies,
            empty_hash: sha256_hex(b""),
            random: 0x2545_f491_4f6c_dd1d ^ ((number as u64 + 1) << 32),
            checked: false,
        }
    }

    /// One request for one object. A GET's length is always compared, the first one's content too.
    fn send(&mut self, operation: Operation, at: usize) -> io::Result<()> {
        let (method, path) = (operation.method(), format!("/{BUCKET}/{}", key(at)));
        let put = operation == Operation::Put;
        let (body, hash) = if put {
            (self.bodies.content(at), &self.bodies.hashes[at])
        } else {
            (&[][..], &self.empty_hash)
        };
        let headers = self.signer.headers(method, &path, "", hash);
        let (want, check, mut same, mut read) = (self.bodies.content(at), !self.checked, true, 0);
        let answer = self.connection.call((method, &path), &headers, body, &mut |piece| {
            same &= !check || want.get(read..read + piece.len()) == Some(piece);
            read += piece.len();
        })?;
        let answer = answer.check()?;
        if operation == Operation::Get {
            if answer.body_bytes != want.len() as u64 || !same {
                return Err(io::Error::other(format!("wrong content of {path}")));
            }
            self.checked = true;
        }
        Ok(())
    }

    fn any(&mut self) -> usize {
        usize::try_from(next_random(&mut self.random) % self.bodies.count() as u64)
            .expect("less than a usize")
    }
}

/// The key of an object.
pub fn key(at: usize) -> String {
    format!("object-{at:06}")
}

/// Makes the bucket and puts every object once.
fn fill(target: &Target, bodies: &Bodies) -> io::Result<()> {
    let mut client = Client::new(target, bodies, 0);
    if !target.dav && !target.prepared {
        let path = format!("/{BUCKET}");
        let headers = client.signer.headers("PUT", &path, "", &client.empty_hash);
        client.connection.call(("PUT", &path), &headers, b"", &mut |_| {})?.check()?;
    }
    (0..bodies.count()).try_for_each(|at| client.send(Operation::Put, at))
}

/// One run: all connections warm up, wait for each other, and then count until the time is over.
fn measure(target: &Target, operation: Operation, arguments: &Arguments, bodies: &Bodies) -> Tally {
    let barrier = Barrier::new(arguments.connections + 1);
    let usage = || target.pid.map(process::usage).unwrap_or_default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.connections)
            .map(|number| {
                let client = Client::new(target, bodies, number);
                let barrier = &barrier;
                scope.spawn(move || drive(client, operation, arguments.duration, barrier))
            })
            .collect();
        barrier.wait();
        let before = usage();
        barrier.wait();
        let tallies = threads.into_iter().map(|thread| thread.join().expect("no thread panics"));
        let mut sum = tallies.fold(Tally::default(), Tally::add);
        sum.server_cpu_us = usage().cpu_us.saturating_sub(before.cpu_us);
        sum
    })
}

fn drive(mut client: Client, operation: Operation, duration: Duration, barrier: &Barrier) -> Tally {
    let mut tally = Tally::default();
    repeat(&mut client, operation, WARM_UP, &mut tally);
    tally.latencies_us.clear();
    barrier.wait();
    barrier.wait(); // In between the other side reads the clocks.
    let elapsed = repeat(&mut client, operation, duration, &mut tally);
    tally.rate = tally.latencies_us.len() as f64 / elapsed.as_secs_f64();
    tally.opened = client.connection.opened;
    tally
}

/// Sends requests until the time is over or too many failed. Returns the time it took.
fn repeat(client: &mut Client, operation: Operation, duration: Duration, tally: &mut Tally) -> Duration {
    let begin = Instant::now();
    let mut last = begin;
    while last - begin < duration && tally.failures < FAILURES_MAX {
        let at = client.any();
        let outcome = client.send(operation, at);
        let now = Instant::now();
        match outcome {
            Ok(()) => tally.latencies_us.push(u32::try_from((now - last).as_micros()).unwrap_or(u32::MAX)),
            Err(error) => tally.fail(error),
        }
        last = now;
    }
    last - begin
}

impl Tally {
    fn fail(&mut self, error: io::Error) {
        self.failures += 1;
        self.first_failure.get_or_insert_with(|| error.to_string());
    }

    fn add(mut self, other: Tally) -> Tally {
        self.latencies_us.extend(other.latencies_us);
        self.rate += other.rate;
        self.failures += other.failures;
        self.opened += other.opened;
        self.first_failure = self.first_failure.or(other.first_failure);
        self
    }
}

fn report(operation: Operation, arguments: &Arguments, tallies: &[Vec<Tally>]) {
    let rates: Vec<f64> =
        tallies.iter().map(|runs| median(runs.iter().map(|run| run.rate).collect())).collect();
    for ((target, runs), rate) in arguments.targets.iter().zip(tallies).zip(&rates) {
        let mut latencies: Vec<u32> = runs.iter().flat_map(|run| &run.latencies_us).copied().collect();
        latencies.sort_unstable();
        let cpu: u64 = runs.iter().map(|run| run.server_cpu_us).sum();
        let failures: u64 = runs.iter().map(|run| run.failures).sum();
        let bytes = if operation == Operation::Head { 0 } else { arguments.size_bytes };
        let line = serde_json::json!({
            "operation": operation.method(),
            "target": target.name,
            "operations_per_s": rate.round(),
            "ratio": round(rate / rates[0], 3),
            "mb_per_s": round(rate * bytes as f64 / 1e6, 2),
            "rounds": runs.iter().map(|run| run.rate.round()).collect::<Vec<_>>(),
            "p50_ms": quantile_ms(&latencies, 0.50),
            "p99_ms": quantile_ms(&latencies, 0.99),
            "server_cpu_us": round(cpu as f64 / latencies.len().max(1) as f64, 1),
            "resident_kib": target.pid.map(|pid| process::usage(pid).resident_kib),
            "opened": runs.iter().map(|run| run.opened).sum::<u64>(),
            "failures": failures,
            "first_failure": runs.iter().find_map(|run| run.first_failure.as_ref()),
        });
        println!("{line}");
    }
}

/// The middle value; the mean of the middle two of an even number; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The value that this part of them does not exceed; 0 of none.
pub fn quantile_ms(sorted: &[u32], quantile: f64) -> f64 {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    let value = sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0);
    f64::from(value) / 1000.0
}

/// To so many digits behind the point.
pub fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_are_ranks() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
        let values: Vec<u32> = (1..=100).map(|n| n * 1000).collect();
        assert_eq!((quantile_ms(&values, 0.5), quantile_ms(&values, 0.99)), (50.0, 99.0));
        assert_eq!(quantile_ms(&[], 0.5), 0.0);
    }

    #[test]
    fn objects_differ_and_come_out_the_same_each_time() {
        let bytes = random_bytes(1000);
        assert_eq!(bytes, random_bytes(1000));
        assert_ne!(bytes[..100], bytes[1..101]);
    }
}
