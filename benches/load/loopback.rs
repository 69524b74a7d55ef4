//! What a bare exchange on loopback costs here: a request's worth of bytes there, an answer's worth back, with
//! nothing done to them. A second server that is asked for a body cannot cost less.

use crate::compare::quantile_ms;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

const EXCHANGES: usize = 20_000;
/// What a front end sends to a data daemon for a small body.
const REQUEST_BYTES: usize = 183;
/// The answer with a body of 1 KiB.
const ANSWER_BYTES: usize = 1_250;

/// Prints the median time of an exchange.
pub fn run() -> Result<(), String> {
    let mut latencies = exchange().map_err(|error| format!("loopback: {error}"))?;
    latencies.sort_unstable();
    let line = serde_json::json!({ "exchanges": EXCHANGES, "p50_ms": quantile_ms(&latencies, 0.5) });
    println!("{line}");
    Ok(())
}

fn exchange() -> io::Result<Vec<u32>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    stream.set_nodelay(true)?;
    let (mut other, _) = listener.accept()?;
    other.set_nodelay(true)?;
    let answering = std::thread::spawn(move || -> io::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        for _ in 0..EXCHANGES {
            other.read_exact(&mut request)?;
            other.write_all(&[1; ANSWER_BYTES])?;
        }
        Ok(())
    });
    let mut latencies = Vec::with_capacity(EXCHANGES);
    let mut answer = [0; ANSWER_BYTES];
    for _ in 0..EXCHANGES {
        let begin = Instant::now();
        stream.write_all(&[1; REQUEST_BYTES])?;
        stream.read_exact(&mut answer)?;
        latencies.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    answering.join().expect("no thread panics")?;
    Ok(latencies)
}
