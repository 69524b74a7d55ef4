//! Pages of a listing: how many a second, and how long one takes.

use crate::arguments::Arguments;
use crate::compare::{median, quantile_ms, round};
use crate::connection::Connection;
use crate::process;
use crate::signer::{Signer, sha256_hex};
use crate::target::Target;
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Asks for one page again and again, on every connection; prints a line of JSON for each target.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    for target in &arguments.targets {
        let (mut rates, mut latencies, mut cpu_us) = (Vec::new(), Vec::new(), 0);
        for _ in 0..arguments.rounds {
            let usage = || target.pid.map(process::usage).unwrap_or_default().cpu_us;
            let before = usage();
            let mut round = visit(target, arguments).map_err(|e| format!("{}: {e}", target.name))?;
            cpu_us += usage().saturating_sub(before);
            rates.push(round.len() as f64 / arguments.duration.as_secs_f64());
            latencies.append(&mut round);
        }
        latencies.sort_unstable();
        let line = serde_json::json!({
            "target": target.name,
            "pages_per_s": round(median(rates), 1),
            "p50_ms": quantile_ms(&latencies, 0.50),
            "p99_ms": quantile_ms(&latencies, 0.99),
            "server_cpu_us": round(cpu_us as f64 / latencies.len().max(1) as f64, 1),
        });
        println!("{line}");
    }
    Ok(())
}

fn visit(target: &Target, arguments: &Arguments) -> io::Result<Vec<u32>> {
    let barrier = Barrier::new(arguments.connections);
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..arguments.connections).map(|_| scope.spawn(|| ask(target, arguments, &barrier))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("no thread panics")?);
        }
        Ok(all)
    })
}

/// The latencies of one connection, in microseconds.
fn ask(target: &Target, arguments: &Arguments, barrier: &Barrier) -> io::Result<Vec<u32>> {
    let mut connection = Connection::new(target.address);
    let mut signer = Signer::for_target(target);
    let (path, query) = (format!("/{}", arguments.bucket), query(arguments));
    let (uri, empty) = (format!("{path}?{query}"), sha256_hex(b""));
    let mut latencies = Vec::new();
    // The first answer is looked at and not counted.
    let whole = page(&mut connection, ("GET", &uri), &signer.headers("GET", &path, &query, &empty));
    barrier.wait();
    let whole = whole?;
    let count = format!("<KeyCount>{}</KeyCount>", arguments.objects);
    if !String::from_utf8_lossy(&whole).contains(&count) {
        return Err(io::Error::other(format!("{uri}: not a page of {} entries", arguments.objects)));
    }
    let begin = Instant::now();
    let mut last = Duration::ZERO;
    while last < arguments.duration {
        let headers = signer.headers("GET", &path, &query, &empty);
        connection.call(("GET", &uri), &headers, b"", &mut |_| {})?.check()?;
        let now = begin.elapsed();
        latencies.push(u32::try_from((now - last).as_micros()).unwrap_or(u32::MAX));
        last = now;
    }
    Ok(latencies)
}

fn page(connection: &mut Connection, request: (&str, &str), headers: &str) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    connection.call(request, headers, b"", &mut |piece| whole.extend_from_slice(piece))?.check()?;
    Ok(whole)
}

/// In the order that signatures want.
fn query(arguments: &Arguments) -> String {
    let delimiter = if arguments.groups > 0 { "delimiter=%2F&" } else { "" };
    format!("{delimiter}list-type=2&max-keys=1000&start-after={}", arguments.start_after)
}
