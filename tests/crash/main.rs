//! Crash runs: the real binary is ended at random moments under load, started again, and asked for
//! everything that it had acknowledged.
//!
//! It is ended by `kill -9`, by SIGTERM, or with its disk: on an image of ext4 and of XFS the file system is
//! shut down without flushing anything, as the power would, then the process is killed and the image mounted
//! anew. That takes root, loop devices and `xfs_io`; where one is missing the run says SKIPPED and why.
//!
//! `S3PAIL_CRASH_KILLS` is how often (20 without it), `S3PAIL_CRASH_CUTS` how often a file system is shut down
//! (2 without it), `S3PAIL_CRASH_SEED` repeats the choices of a run (not its timing). After every end: `s3pail
//! check` may find orphans and nothing else (nothing at all after SIGTERM); the server starts; every
//! acknowledged write is there with its content, metadata and place in the listing; an unanswered one is
//! there whole or not at all. At the end the sweep has removed the orphans and the check is clean.

// Clippy knows test functions, but not the functions that they share.
#![allow(clippy::unwrap_used)]

mod image;
mod interposed;
mod quota;
mod wire;
mod writer;

use image::Image;
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
const CUTS: u64 = 2;
/// The longest time of a start that is killed.
const START_MS_MAX: u64 = 200;
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

/// A server that says where it listens, and whose log is in the folder.
fn serving(folder: &Path, sync: &str) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = command(folder, None, sync);
    command.stdout(Stdio::piped()).stderr(log);
    command
}

fn spawn(folder: &Path, sync: &str) -> Child {
    serving(folder, sync).spawn().unwrap()
}

impl Server {
    fn start(folder: &Path, sync: &str) -> Server {
        Server::of(spawn(folder, sync))
    }

    fn of(mut child: Child) -> Server {
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

/// How a server ends.
enum End<'e> {
    /// `kill -9`.
    Killed,
    /// SIGTERM.
    Asked,
    /// Its file system is shut down, then it is killed.
    CutOff(&'e Image),
}

impl End<'_> {
    /// What the server may do while it ends.
    fn connection(&self, address: SocketAddr) -> Connection {
        match self {
            End::Killed => Connection::new(address),
            End::Asked | End::CutOff(_) => Connection::that_may_fail(address),
        }
    }

    fn end(&self, child: &mut Child, random: &mut Random) {
        match self {
            End::Killed => child.kill().unwrap(),
            End::Asked => {
                let process = child.id().to_string();
                assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
            }
            End::CutOff(image) => {
                image.shut_down(random.below(4) == 0);
                child.kill().unwrap();
            }
        }
    }

    /// After the process has gone.
    fn settle(&self) {
        if let End::CutOff(image) = self {
            image.mount_again();
        }
    }
}

/// Kills `share` of twenty parts of all kills in one durability mode.
fn crash_run(sync: &str, share: u64, how: &str) {
    let kills = number("S3PAIL_CRASH_KILLS").unwrap_or(KILLS) * share / 20;
    let folder = format!("crash-{sync}-{how}-{}", std::process::id());
    let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
    fs::create_dir_all(&folder.0).unwrap();
    end_often(&folder.0, sync, kills, &if how == "asked" { End::Asked } else { End::Killed });
}

fn end_often(folder: &Path, sync: &str, kills: u64, how: &End<'_>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("S3PAIL_CRASH_SEED").unwrap_or(now);
    eprintln!("{sync}: {kills} kills, S3PAIL_CRASH_SEED={seed}");
    let mut random = Random(seed);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
    make_buckets(&Server::start(folder, sync));
    for kill in 0..kills {
        one_kill(folder, sync, how, &mut random, &mut writers);
        let (code, found) = check(folder, sync);
        let allowed = |kind: &String| kind == "orphan-body" && !matches!(how, End::Asked);
        assert!(code != Some(2) && found.iter().all(allowed), "after kill {kill}: {code:?} {found:?}");
        // Recovery must survive its own end as well.
        if random.below(4) == 0 && !matches!(how, End::Asked) {
            let mut child = spawn(folder, sync);
            std::thread::sleep(Duration::from_millis(random.below(START_MS_MAX)));
            how.end(&mut child, &mut random);
            child.wait().unwrap();
            how.settle();
        }
    }
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    eprintln!("{sync}: {acknowledged} acknowledged writes, none lost");
    assert!(acknowledged > kills, "hardly any load");
    end_in_order(folder, sync, &mut writers, matches!(how, End::Asked));
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

/// Starts, verifies, loads, ends.
fn one_kill(folder: &Path, sync: &str, how: &End<'_>, random: &mut Random, writers: &mut [Writer]) {
    let mut server = Server::start(folder, sync);
    let address = server.address;
    verify(address, writers);
    // The moment of the kill is what this test is about, so it is chosen, not waited for.
    let load = Duration::from_millis(random.below(LOAD_MS_MAX));
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(move || writer.run(&mut how.connection(address)));
        }
        std::thread::sleep(load);
        how.end(&mut server.child, random);
    });
    let status = server.child.wait().unwrap();
    assert!(!matches!(how, End::Asked) || status.success(), "asked to stop, it ended with {status}");
    how.settle();
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
fn end_in_order(folder: &Path, sync: &str, writers: &mut [Writer], ended_in_order: bool) {
    fs::remove_file(folder.join("log")).unwrap();
    let mut server = Server::start(folder, sync);
    verify(server.address, writers);
    let started = Instant::now();
    while !ended_in_order
        && !fs::read_to_string(folder.join("log")).unwrap().contains("swept after an unclean stop")
    {
        assert!(started.elapsed() < DEADLINE, "no sweep");
        std::thread::sleep(Duration::from_millis(10));
    }
    let process = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    assert!(server.child.wait().unwrap().success());
    assert_eq!(check(folder, sync), (Some(0), Vec::new()));
}

/// CR-01, CR-18
#[test]
fn strict_loses_nothing_acknowledged_when_killed() {
    crash_run("strict", 10, "killed");
}

/// CR-01, CR-18
#[test]
fn relaxed_loses_nothing_acknowledged_when_killed() {
    crash_run("relaxed", 5, "killed");
}

/// CR-01, CR-18
#[test]
fn none_loses_nothing_acknowledged_when_killed() {
    crash_run("none", 5, "killed");
}

/// CR-02
#[test]
fn asked_to_stop_under_load_it_ends_in_order_and_loses_nothing() {
    crash_run("strict", 5, "asked");
    crash_run("relaxed", 5, "asked");
}

/// DL-08: a stop in the middle of a large upload lets it end, and its key is like any other afterwards.
#[test]
fn an_upload_that_a_stop_meets_is_whole_or_not_there() {
    let folder = format!("crash-upload-{}", std::process::id());
    let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
    fs::create_dir_all(&folder.0).unwrap();
    make_buckets(&Server::start(&folder.0, "strict"));
    let (key, body) = (format!("/{PLAIN}/large"), vec![7; 8 << 20]);
    for _ in 0..3 {
        let mut server = Server::start(&folder.0, "strict");
        let upload = Connection::new(server.address).half_a_put(&key, &body);
        let process = server.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
        let status = upload.finish(&body);
        assert!(server.child.wait().unwrap().success());
        let server = Server::start(&folder.0, "strict");
        let mut connection = Connection::new(server.address);
        let found = connection.send("GET", &key, &[], b"").unwrap();
        assert!(if status == Some(200) { found.body == body } else { found.status == 404 });
        assert_eq!(connection.send("PUT", &key, &[], b"new").unwrap().status, 200);
        assert_eq!(connection.send("GET", &key, &[], b"").unwrap().body, b"new");
        assert_eq!(connection.send("DELETE", &key, &[], b"").unwrap().status, 204);
    }
}

/// CR-02: who asks twice does not wait for an upload that never ends.
#[test]
fn asked_twice_it_ends_at_once() {
    let folder = format!("crash-twice-{}", std::process::id());
    let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
    fs::create_dir_all(&folder.0).unwrap();
    make_buckets(&Server::start(&folder.0, "strict"));
    let key = format!("/{PLAIN}/large");
    let mut server = Server::start(&folder.0, "strict");
    let upload = Connection::new(server.address).half_a_put(&key, &vec![7; 1 << 20]);
    let process = server.child.id().to_string();
    let (started, mut asked) = (Instant::now(), 0);
    // Two signals that are sent too close to each other are one.
    let status = loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it waits for the upload");
        Command::new("kill").args(["-TERM", &process]).stderr(Stdio::null()).status().unwrap();
        asked += 1;
    };
    assert!(asked > 1 && status.code() == Some(128 + 15), "{status} after {asked} signals");
    drop(upload);
    let (code, found) = check(&folder.0, "strict");
    assert!(code != Some(2) && found.iter().all(|kind| kind == "orphan-body"), "{code:?} {found:?}");
    let server = Server::start(&folder.0, "strict");
    assert_eq!(Connection::new(server.address).send("GET", &key, &[], b"").unwrap().status, 404);
}

/// CR-03, DL-01, DL-07, DL-15, DL-16: what was acknowledged in `strict` is there after the file system has lost
/// everything that was not synced, and after a second loss while the server was starting.
#[test]
fn strict_loses_nothing_acknowledged_with_the_page_cache_of_a_real_file_system() {
    let cuts = number("S3PAIL_CRASH_CUTS").unwrap_or(CUTS);
    for kind in ["ext4", "xfs"] {
        match Image::make(kind) {
            Ok(image) => {
                eprintln!("{kind}:");
                end_often(image.folder(), "strict", cuts, &End::CutOff(&image));
            }
            Err(reason) => eprintln!("SKIPPED: a file system of kind {kind} that is shut down: {reason}"),
        }
    }
}

/// CR-07: a file system that has bytes and no inodes left refuses bodies that need files, keeps what it has over a
/// kill and a start, still takes small ones, which need none, and takes large ones again when some were deleted.
#[test]
fn a_disk_without_inodes_refuses_files_and_loses_nothing() {
    let image = match Image::of_few_files() {
        Ok(image) => image,
        Err(reason) => return eprintln!("SKIPPED: a file system with few inodes: {reason}"),
    };
    let folder = image.folder();
    let mut server = Server::start(folder, "strict");
    make_buckets(&server);
    let large = |number: usize| (format!("/{PLAIN}/large-{number}"), vec![number as u8; 40_000]);
    let mut connection = Connection::new(server.address);
    let mut kept = 0;
    loop {
        let (key, body) = large(kept);
        let reply = connection.send("PUT", &key, &[], &body).unwrap();
        if reply.status != 200 {
            assert_eq!((reply.status, reply.elements("Code")), (507, vec!["InsufficientStorage".to_owned()]));
            break;
        }
        kept += 1;
        assert!(kept < 2_000, "it never runs out of inodes");
    }
    for restarted in [false, true] {
        if restarted {
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            server = Server::start(folder, "strict");
            connection = Connection::new(server.address);
        }
        for number in 0..kept {
            let (key, body) = large(number);
            let found = connection.send("GET", &key, &[], b"").unwrap();
            assert!(found.status == 200 && found.body == body, "{number}, restarted {restarted}");
        }
        let small = format!("/{PLAIN}/small-{restarted}");
        assert_eq!(connection.send("PUT", &small, &[], b"small").unwrap().status, 200);
        assert_eq!(connection.send("GET", &small, &[], b"").unwrap().body, b"small");
        let (key, body) = large(kept);
        assert_eq!(connection.send("PUT", &key, &[], &body).unwrap().status, 507);
    }
    // A body may need a folder beside its file.
    for number in 0..kept / 2 {
        assert_eq!(connection.send("DELETE", &large(number).0, &[], b"").unwrap().status, 204);
    }
    let begun = Instant::now();
    let (key, body) = large(0);
    while connection.send("PUT", &key, &[], &body).unwrap().status != 200 {
        assert!(begun.elapsed() < DEADLINE, "deletes give no inodes back");
    }
    assert!(connection.send("GET", &key, &[], b"").unwrap().body == body);
    let process = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    assert!(server.child.wait().unwrap().success());
    assert_eq!(check(folder, "strict"), (Some(0), Vec::new()));
}
