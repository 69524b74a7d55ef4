//! What a test suite waits for: a server in its own process, the binary's ready line, a reset, and what many
//! servers in one process cost.

use crate::arguments::Arguments;
use crate::compare::median;
use crate::connection::Connection;
use crate::process;
use crate::signer::{Signer, sha256_hex};
use s3pail::TestServer;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Objects in memory when a reset is measured.
const OBJECTS: usize = 10_000;
/// Servers in one process when their memory is measured.
const SERVERS: usize = 100;

/// Measures everything `--rounds` times; prints a line of JSON.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let failed = |error: io::Error| error.to_string();
    // First, while nothing else has been allocated.
    let many_kib = many_servers().map_err(failed)?;
    let (mut first_ms, mut stop_ms, mut ready_ms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reset_ms, mut restore_ms) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let (first, stop) = in_process().map_err(failed)?;
        first_ms.push(first);
        stop_ms.push(stop);
        if !arguments.command.is_empty() {
            ready_ms.push(ready(&arguments.command).map_err(failed)?);
        }
    }
    let server = TestServer::start().with_buckets(["bench"]);
    for _ in 0..arguments.rounds.min(9) {
        fill(&server);
        server.snapshot("full").map_err(|refused| refused.message)?;
        reset_ms.push(call(&server, "/_/test/reset").map_err(failed)?);
        restore_ms.push(call(&server, "/_/test/snapshots/full").map_err(failed)?);
        // So that the next round fills anew.
        server.reset();
    }
    let line = serde_json::json!({
        "rounds": arguments.rounds,
        "start_to_first_answer_ms": rounded(median(first_ms)),
        "stop_ms": rounded(median(stop_ms)),
        "binary_to_ready_line_ms": rounded(median(ready_ms)),
        "objects": OBJECTS,
        "reset_ms": rounded(median(reset_ms)),
        "restore_ms": rounded(median(restore_ms)),
        "servers": SERVERS,
        "servers_resident_kib": many_kib,
    });
    println!("{line}");
    Ok(())
}

fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

fn ms_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1_000.0
}

fn first_answer(address: SocketAddr) -> io::Result<()> {
    let headers = Signer::new(&address.to_string()).headers("GET", "/", "", &sha256_hex(b""));
    Connection::new(address).call(("GET", "/"), &headers, b"", &mut |_| {})?.check()?;
    Ok(())
}

/// Milliseconds from the start to the first answer, and for the stop.
fn in_process() -> io::Result<(f64, f64)> {
    let begin = Instant::now();
    let server = TestServer::start();
    first_answer(server.address())?;
    let first = ms_since(begin);
    let begin = Instant::now();
    drop(server);
    Ok((first, ms_since(begin)))
}

/// Milliseconds from starting the binary to its ready line.
fn ready(command: &[String]) -> io::Result<f64> {
    let begin = Instant::now();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    let read = BufReader::new(output).read_line(&mut line);
    let ms = ms_since(begin);
    // Fails only where it has ended already.
    let _ = child.kill();
    child.wait()?;
    read?;
    if line.contains("\"ready\":true") {
        Ok(ms)
    } else {
        Err(io::Error::other(format!("not ready: {line:?}")))
    }
}

fn fill(server: &TestServer) {
    for number in 0..OBJECTS {
        server.put(&format!("/bench/{number}"), b"one of many");
    }
}

/// Milliseconds for a call over HTTP.
fn call(server: &TestServer, path: &str) -> io::Result<f64> {
    let mut connection = Connection::new(server.address());
    let headers = format!("Host: {}\r\n", server.address());
    let begin = Instant::now();
    connection.call(("POST", path), &headers, b"", &mut |_| {})?.check()?;
    Ok(ms_since(begin))
}

/// KiB resident for all servers together, each of which has answered.
fn many_servers() -> io::Result<u64> {
    let before = process::usage(std::process::id()).resident_kib;
    let servers: Vec<TestServer> =
        (0..SERVERS).map(|_| TestServer::start().with_buckets(["bench"])).collect();
    for server in &servers {
        first_answer(server.address())?;
    }
    Ok(process::usage(std::process::id()).resident_kib.saturating_sub(before))
}
