//! Crash runs: the real binary is killed at random moments under load, started again, and asked for
//! everything that it had acknowledged.
//!
//! `S3PAIL_CRASH_KILLS` is how often (20 without it), `S3PAIL_CRASH_SEED` repeats the choices of a run (not
//! its timing). After every kill: `s3pail check` may find orphans and nothing else; the server starts; every
//! acknowledged write is there with its content, metadata and place in the listing; an unanswered one is
//! there whole or not at all. At the end the sweep has removed the orphans and the check is clean.

// Clippy knows test functions, but not the functions that they share.
#![allow(clippy::unwrap_used)]

mod wire;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::Connection;
use writer::{PLAIN, Random, VERSIONED, Writer};

const WRITERS: u64 = 4;
const KILLS: u64 = 20;
/// The longest time under load before a kill.
const LOAD_MS_MAX: u64 = 500;
/// How long a start, a sweep or a stop may take.
const DEADLINE: Duration = Duration::from_secs(30);
const PAGE: usize = 7;

/// A folder that goes away with its owner, unless the test has failed.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the store is left in {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A running server; killed when it is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, verb: Option<&str>, sync: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3pail"));
    command.current_dir(folder).env_clear().env("MPU_TESTING", "yes").args(verb);
    command.args(["--data-path", "data", "--metadata-path", "metadata", "--sync", sync]);
    command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null());
    command
}

fn spawn(folder: &Path, sync: &str) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    command(folder, None, sync).stdout(Stdio::piped()).stderr(log).spawn().unwrap()
}

impl Server {
    fn start(folder: &Path, sync: &str) -> Server {
        let mut child = spawn(folder, sync);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("no start line: {line:?}")).parse().unwrap();
        Server { child, address }
    }
}

/// What `s3pail check` says: its exit code and the kinds of what it found.
fn check(folder: &Path, sync: &str) -> (Option<i32>, Vec<String>) {
    let output = command(folder, Some("check"), sync).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let kind = |line: &str| Some(line.split_once(": ")?.0.to_owned());
    let kinds = text.lines().filter_map(kind).filter(|kind| !kind.contains(' ')).collect();
    (output.status.code(), kinds)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Kills `share` of twenty parts of all kills in one durability mode.
fn crash_run(sync: &str, share: u64) {
    let kills = number("S3PAIL_CRASH_KILLS").unwrap_or(KILLS) * share / 20;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("S3PAIL_CRASH_SEED").unwrap_or(now);
    eprintln!("{sync}: {kills} kills, S3PAIL_CRASH_SEED={seed}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{sync}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    let folder = Folder(path);
    let mut random = Random(seed);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
    make_buckets(&Server::start(&folder.0, sync));
    for kill in 0..kills {
        one_kill(&folder.0, sync, &mut random, &mut writers);
        let (code, found) = check(&folder.0, sync);
        let only_orphans = found.iter().all(|kind| kind == "orphan-body");
        assert!(code != Some(2) && only_orphans, "after kill {kill}: {code:?} {found:?}");
        // Recovery must survive its own end as well.
        if random.below(4) == 0 {
            let mut child = spawn(&folder.0, sync);
            std::thread::sleep(Duration::from_millis(random.below(100)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    eprintln!("{sync}: {acknowledged} acknowledged writes, none lost");
    assert!(acknowledged > kills, "hardly any load");
    end_in_order(&folder.0, sync, &mut writers);
}

fn make_buckets(server: &Server) {
    let mut connection = Connection::new(server.address);
    for bucket in [PLAIN, VERSIONED] {
        assert_eq!(connection.send("PUT", &format!("/{bucket}"), &[], b"").unwrap().status, 200);
    }
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let target = format!("/{VERSIONED}?versioning");
    assert_eq!(connection.send("PUT", &target, &[], enabled).unwrap().status, 200);
}

/// Starts, verifies, loads, kills.
fn one_kill(folder: &Path, sync: &str, random: &mut Random, writers: &mut [Writer]) {
    let mut server = Server::start(folder, sync);
    let address = server.address;
    verify(address, writers);
    // The moment of the kill is what this test is about, so it is chosen, not waited for.
    let load = Duration::from_millis(random.below(LOAD_MS_MAX));
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(move || writer.run(&mut Connection::new(address)));
        }
        std::thread::sleep(load);
        server.child.kill().unwrap();
    });
    server.child.wait().unwrap();
}

fn verify(address: SocketAddr, writers: &mut [Writer]) {
    let mut connection = Connection::new(address);
    writers.iter_mut().for_each(|writer| writer.verify(&mut connection));
    let expected: BTreeMap<String, usize> = writers.iter().flat_map(|writer| writer.listed()).collect();
    let mut listed = BTreeMap::new();
    let mut target = format!("/{PLAIN}?list-type=2&max-keys={PAGE}");
    loop {
        let page = connection.send("GET", &target, &[], b"").unwrap();
        let sizes = page.elements("Size").into_iter().map(|size| size.parse().unwrap());
        listed.extend(page.elements("Key").into_iter().zip(sizes));
        let Some(token) = page.elements("NextContinuationToken").pop() else { break };
        let token = s3pail::codec::uri::encode(&token);
        target = format!("/{PLAIN}?continuation-token={token}&list-type=2&max-keys={PAGE}");
    }
    assert_eq!(listed, expected, "the listing differs from the objects");
}

/// After the last kill: the sweep comes to its end, the server stops when asked to, the check is clean.
fn end_in_order(folder: &Path, sync: &str, writers: &mut [Writer]) {
    fs::remove_file(folder.join("log")).unwrap();
    let mut server = Server::start(folder, sync);
    verify(server.address, writers);
    let started = Instant::now();
    while !fs::read_to_string(folder.join("log")).unwrap().contains("swept after an unclean stop") {
        assert!(started.elapsed() < DEADLINE, "no sweep");
        std::thread::sleep(Duration::from_millis(10));
    }
    let process = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    assert!(server.child.wait().unwrap().success());
    assert_eq!(check(folder, sync), (Some(0), Vec::new()));
}

#[test]
fn strict_loses_nothing_acknowledged_when_killed() {
    crash_run("strict", 10);
}

#[test]
fn relaxed_loses_nothing_acknowledged_when_killed() {
    crash_run("relaxed", 5);
}

#[test]
fn none_loses_nothing_acknowledged_when_killed() {
    crash_run("none", 5);
}
