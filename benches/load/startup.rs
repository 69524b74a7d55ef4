//! How long a server takes from its start to its first answer: ListBuckets, signed, with status 200.
//! That answer needs the stores to be open, so nothing can be put off until later.

use crate::arguments::Arguments;
use crate::compare::median;
use crate::connection::Connection;
use crate::process;
use crate::signer::{Signer, sha256_hex};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What the first line of the server's standard output says before its address.
const ANNOUNCEMENT: &str = "listening on http://";

/// Starts the server `--rounds` times on empty folders; prints a line of JSON.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let (mut times_ms, mut resident_kib) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        let folder = Folder::new(round).map_err(|e| format!("empty folder: {e}"))?;
        let (ms, kib) = start_once(&arguments.command, &folder).map_err(|e| format!("start {round}: {e}"))?;
        times_ms.push(ms);
        resident_kib.push(kib as f64);
    }
    let line = serde_json::json!({
        "starts": arguments.rounds,
        "first_answer_ms": median(times_ms.clone()),
        "fastest_ms": times_ms.iter().copied().fold(f64::INFINITY, f64::min),
        "slowest_ms": times_ms.iter().copied().fold(0.0, f64::max),
        "idle_resident_kib": median(resident_kib),
    });
    println!("{line}");
    Ok(())
}

/// A new folder, removed with everything in it when this goes.
struct Folder(PathBuf);

impl Folder {
    fn new(round: usize) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("s3pail-startup-{}-{round}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A started server, ended when this goes.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Milliseconds to the first answer, and KiB resident after it.
fn start_once(command: &[String], folder: &Folder) -> io::Result<(f64, u64)> {
    let folder = folder.0.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut words = command.iter().map(|word| word.replace("{dir}", folder));
    let program = words.next().ok_or_else(|| io::Error::other("startup needs a command after --"))?;
    let mut command = Command::new(program);
    // Nothing of the user's own settings reaches the server.
    command.args(words).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let begin = Instant::now();
    let mut server = Server(command.spawn()?);
    let output = server.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut output = BufReader::new(output);
    let address = announced(&mut output)?;
    let headers = Signer::new(&address.to_string()).headers("GET", "/", "", &sha256_hex(b""));
    Connection::new(address).call(("GET", "/"), &headers, b"", &mut |_| {})?.check()?;
    let ms = begin.elapsed().as_secs_f64() * 1000.0;
    Ok(((ms * 100.0).round() / 100.0, process::usage(server.0.id()).resident_kib))
}

fn announced(output: &mut impl BufRead) -> io::Result<SocketAddr> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    let address = line.split_once(ANNOUNCEMENT).and_then(|(_, rest)| rest.split_whitespace().next());
    let address: Option<SocketAddr> = address.and_then(|address| address.parse().ok());
    let address = address.filter(|address| address.ip().is_loopback());
    address.ok_or_else(|| io::Error::other(format!("no loopback address in the first line: {line:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_in_the_first_line() {
        for (line, want) in [
            ("s3pail 0.1.0 listening on http://127.0.0.1:80 (mem)\n", Some("127.0.0.1:80")),
            ("s3pail 0.1.0 listening on http://192.0.2.1:80 (mem)\n", None),
            ("no address\n", None),
        ] {
            let got = announced(&mut line.as_bytes()).ok();
            assert_eq!(got, want.map(|address| address.parse().unwrap()), "{line}");
        }
    }
}
