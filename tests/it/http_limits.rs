//! Each limit of the engine, at the limit and one past it; and what happens to everybody else when clients
//! take what they can get.
//!
//! Limits of time are shortened here and in `protocol.rs`; those of chunk lines and trailers are tested
//! where they are held, in `src/http/framing.rs`.

use super::echo::*;
use super::harness::{DEADLINE, TestServer, wait_until};
use s3pail::config::Config;
use s3pail::http::limits::{
    HOST_BYTES_MAX, LEADING_EMPTY_LINES_MAX, Limits, METHOD_BYTES_MAX, open_files_max,
};
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A request head of these lines.
fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// A header line of that many bytes.
fn line(bytes: usize) -> String {
    format!("a: {}", "x".repeat(bytes - 3))
}

// Heads.

#[test]
fn each_limit_of_a_head_is_where_it_says() {
    let server = Server::start();
    let limits = Limits::default();
    let target = |bytes: usize| format!("GET /{} HTTP/1.1", "a".repeat(bytes - 14));
    let all = |bytes: usize| {
        // Two bytes of line end for each line, Host among them.
        let rest = bytes - (7 + 2) - 2 * (15_000 + 2) - 2;
        ["Host: h".to_owned(), line(15_000), line(15_000), line(rest)].join("\r\n")
    };
    let count = |lines: usize| format!("Host: h\r\n{}", vec!["a: b"; lines - 1].join("\r\n"));
    let method = |bytes: usize| format!("{} / HTTP/1.1", "M".repeat(bytes));
    let host = |bytes: usize| format!("Host: {}", "h.".repeat(bytes)[..bytes].to_owned());
    let empty = |lines: usize| format!("{}GET / HTTP/1.1", "\r\n".repeat(lines));
    let get = "GET / HTTP/1.1".to_owned();
    let plain = "Host: h".to_owned();
    type Make<'a> = &'a dyn Fn(usize) -> Vec<u8>;
    let cases: [(&str, usize, u16, Make<'_>); 7] = [
        ("request line", limits.request_line_bytes_max, 414, &|n| head(&[&target(n), &plain])),
        ("header line", limits.header_line_bytes_max, 400, &|n| head(&[&get, &plain, &line(n)])),
        ("all headers", limits.headers_bytes_max, 400, &|n| head(&[&get, &all(n)])),
        ("header count", limits.headers_max, 400, &|n| head(&[&get, &count(n)])),
        ("method", METHOD_BYTES_MAX, 400, &|n| head(&[&method(n), &plain])),
        ("host", HOST_BYTES_MAX, 400, &|n| head(&[&get, &host(n)])),
        ("empty lines before", LEADING_EMPTY_LINES_MAX, 400, &|n| head(&[&empty(n), &plain])),
    ];
    for (what, limit, refused, make) in cases {
        let mut client = server.connect();
        client.send(make(limit));
        assert_eq!(client.reply().status, 200, "{what} at {limit}");
        server.check_refused(&make(limit + 1), refused);
    }
}

#[test]
fn an_unread_body_one_past_what_is_dropped_ends_the_connection() {
    let server = Server::start();
    let max = Limits::default().drain_bytes_max;
    for (length, ends) in [(max, None), (max + 1, Some("close"))] {
        let mut client = server.connect();
        client.send(put("/ignore", &format!("Content-Length: {length}\r\n"), b""));
        assert_eq!(client.reply().header("connection"), ends, "{length}");
    }
}

// Connections.

#[test]
fn one_connection_past_the_limit_is_told_and_the_others_go_on() {
    let server = Server::with(Limits { connections_max: 7, ..Limits::default() });
    let mut clients: Vec<Client> = (0..7).map(|_| server.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
    server.check_refused(b"", 503);
    assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
}

/// LD-18 in small: far more at once than can wait for their answers to be taken.
#[test]
fn a_burst_past_the_limit_is_told_too() {
    let server = Server::with(Limits { connections_max: 4, ..Limits::default() });
    let kept: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    eventually("the places are taken", || server.connections() == 4);
    let mut surplus: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    let told = surplus.iter_mut().filter_map(|client| {
        let mut first = [0; 12];
        client.0.read_exact(&mut first).ok().filter(|()| first.ends_with(b"503"))
    });
    assert_eq!(told.count(), 300);
    drop(kept);
    eventually("the places are free again", || server.connections() == 0);
    assert_eq!(server.connect().get("/").status, 200);
}

/// An address of this machine that is not the loopback's. Nothing is sent to find it.
fn own_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().filter(|address| !address.ip().is_loopback())
}

#[test]
fn one_address_gets_its_share_of_the_connections_only() {
    let Some(own) = own_address() else {
        return eprintln!("skipped: this machine has no address but the loopback's");
    };
    let limits = Limits { connections_per_peer_max: 3, ..Limits::default() };
    let listener = TcpListener::bind((own.ip(), 0)).unwrap();
    let server = Server::on(listener, limits);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/").status == 200));
    server.check_refused(b"", 503);
    drop(clients);
    eventually("the places are free again", || server.connections() == 0);
    assert_eq!(server.connect().get("/").status, 200);
}

/// BI-015: the whole server tells its clients to slow down, and recovers.
#[test]
fn an_overloaded_server_says_slow_down_and_when_to_come_again() {
    let config = Config { connections: Some(4), ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    let held: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    for _ in 0..50 {
        let reply = server.raw(b"", false).expect_error(503, "SlowDown");
        assert_eq!((reply.header("retry-after"), reply.header("connection")), (Some("1"), Some("close")));
        assert!(reply.header("x-amz-request-id").is_some());
    }
    drop(held);
    wait_until("it serves again", || server.raw(b"GET /live HTTP/1.0\r\n\r\n", false).status == 200);
}

// A server of its own process, for what would count this process's threads and files.

/// The other half of tests that look at a server from outside: it runs in a process of its own.
#[test]
fn a_server_for_tests_that_count() {
    let Some(connections) = std::env::var("S3PAIL_TEST_CONNECTIONS").ok() else {
        return;
    };
    let connections_max = connections.parse().unwrap();
    let keep_alive = Duration::from_secs(600);
    let limits = Limits { connections_max, keep_alive, first_byte: keep_alive, ..Limits::default() };
    let server = Server::with(limits);
    println!("\nlistening {}", server.address);
    // Lives until the other side closes its end.
    let _ = std::io::stdin().read(&mut [0]);
}

struct Process {
    child: Child,
    address: SocketAddr,
    /// Kept because the other side still writes to it.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(connections_max: usize) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "http_limits::a_server_for_tests_that_count", "--nocapture"])
            .env("S3PAIL_TEST_CONNECTIONS", connections_max.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("listening ")?.parse().ok());
        let address = address.expect("the server says where it listens");
        Process { child, address, _output: lines }
    }

    /// A number of `/proc/PID/status`; kB where it is memory.
    fn number(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// LD-03, BI-014, BI-019, SE-91, SE-92: as many as the machine's limit on open files lets there be.
#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_idle_connections_cost_no_thread() {
    let count = 10_000.min(open_files_max().saturating_sub(1_000));
    if count < 10_000 {
        eprintln!("{count} connections instead of 10000: the limit is {} open files", open_files_max());
    }
    let process = Process::start(count + 10);
    assert_eq!(Client::connect(process.address).get("/").status, 200);
    let (threads, memory, files) = (process.number("Threads"), process.number("VmRSS"), process.files());
    let mut clients: Vec<Client> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::connect(process.address);
        assert_eq!(client.get("/").status, 200);
        clients.push(client);
    }
    let grown = process.number("VmRSS").saturating_sub(memory);
    eprintln!("{count} idle connections: {threads} threads, {grown} kB more");
    assert_eq!(process.number("Threads"), threads);
    // LD-03 allows 8 kB for each.
    assert!(grown <= count as u64 * 8, "{grown} kB for {count} connections");
    for client in clients.iter_mut().step_by(97) {
        assert_eq!(client.get("/").status, 200);
    }
    drop(clients);
    eventually("the files are closed", || process.files() <= files);
    assert_eq!(Client::connect(process.address).get("/").status, 200);
}

// Transfers that stand still.

fn stalled_uploads(server: &Server, count: usize) -> Vec<Client> {
    let start = |_| {
        let mut client = server.connect();
        client.send(put("/echo", "Content-Length: 4\r\n", b"ab"));
        client
    };
    (0..count).map(start).collect()
}

/// LD-16: there are many more of them than workers, and they are not hurried.
#[test]
fn stalled_uploads_hold_up_nobody() {
    let server = Server::start();
    let mut clients = stalled_uploads(&server, 20 * WORKERS);
    for _ in 0..100 {
        assert_eq!(server.connect().get("/").status, 200);
    }
    assert!(clients.iter().all(|client| !client.has_input()));
    for client in &mut clients {
        client.send("cd");
        assert_eq!(client.reply().text(), echo_of(b"abcd"));
        assert_eq!(client.get("/").status, 200);
    }
}

/// LD-17.
#[test]
fn stalled_downloads_hold_up_nobody() {
    let server = Server::start();
    let mut clients: Vec<Client> = (0..5 * WORKERS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET /stream/20000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for _ in 0..100 {
        assert_eq!(server.connect().get("/").status, 200);
    }
    for client in &mut clients {
        assert_eq!(client.reply().body.len(), 20_000_000);
    }
}

#[test]
fn stalled_transfers_give_way_when_no_more_can_stand_in_for_them() {
    let limits = Limits { stalled_max: 3, stall_pressed: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(limits);
    let mut clients = stalled_uploads(&server, 40);
    for _ in 0..20 {
        assert_eq!(server.connect().get("/").status, 200);
    }
    // Only as many as there are places for stay.
    eventually("37 have given way", || clients.iter().filter(|client| client.has_input()).count() >= 37);
    let (told, mut stayed): (Vec<_>, Vec<_>) = clients.drain(..).partition(Client::has_input);
    assert_eq!((told.len(), stayed.len()), (37, 3));
    for mut client in told {
        assert_eq!(client.reply().text(), "ResourceBusy");
        assert!(client.is_closed());
    }
    for client in &mut stayed {
        client.send("cd");
        assert_eq!(client.reply().text(), echo_of(b"abcd"));
    }
    // The places are free again: nobody is told who stands still for a moment.
    for mut client in stalled_uploads(&server, 3) {
        client.send("cd");
        assert_eq!(client.reply().status, 200);
    }
}

/// A byte now and then does not keep a place when there are too few.
#[test]
fn trickling_transfers_give_way_too() {
    let limits = Limits { stalled_max: 2, stall_pressed: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(limits);
    let mut clients: Vec<Client> = (0..4 * WORKERS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(put("/echo", "Content-Length: 1000000\r\n", b"a"));
    }
    eventually("all but the places have given way", || {
        thread::sleep(Duration::from_millis(20));
        for client in clients.iter_mut().filter(|client| !client.has_input()) {
            client.send_lossy(b"a");
        }
        clients.iter().filter(|client| client.has_input()).count() >= 4 * WORKERS - 2
    });
    assert_eq!(server.connect().get("/").status, 200);
}

/// Such as move all the time, only little at a time, do not hold up anybody either.
#[test]
fn steady_trickles_hold_up_nobody() {
    let server = Server::start();
    let mut uploads = Vec::new();
    for _ in 0..2 * WORKERS {
        let mut client = server.connect();
        client.send(put("/echo", "Content-Length: 1000000000\r\n", b"a"));
        uploads.push(client);
    }
    let mut downloads: Vec<Client> = (0..2 * WORKERS).map(|_| server.connect()).collect();
    for client in &mut downloads {
        client.send("GET /stream/1000000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // One byte each, faster than a wait would be noticed.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                uploads.iter_mut().for_each(|client| client.send_lossy(b"a"));
                thread::sleep(Duration::from_millis(1));
            }
        });
        // 3 MB/s each.
        scope.spawn(|| {
            let mut piece = vec![0; 64 * 1024];
            while !over.load(Ordering::Relaxed) {
                for client in &mut downloads {
                    client.0.read_exact(&mut piece).unwrap();
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let served = (0..200).all(|_| {
            thread::sleep(Duration::from_millis(1));
            let mut client = server.connect();
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            // Waits as long as any client here.
            client.0.fill_buf().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
        });
        over.store(true, Ordering::Relaxed);
        assert!(served, "a request was not answered");
    });
}

/// The threads that stood in do not stay for ever.
#[cfg(target_os = "linux")]
#[test]
fn stand_ins_end_with_the_transfers_that_they_stood_in_for() {
    let process = Process::start(1000);
    let address = process.address;
    assert_eq!(Client::connect(address).get("/").status, 200);
    let threads = process.number("Threads");
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send(put("/echo", "Content-Length: 4\r\n", b"ab"));
    }
    eventually("others stand in", || process.number("Threads") >= threads + 50);
    for client in &mut clients {
        client.send("cd");
        assert_eq!(client.reply().status, 200);
    }
    // One more than before may stay; it costs nothing.
    eventually("they have ended", || process.number("Threads") <= threads + 1);
}

/// A control group in which a process may start no further thread.
#[cfg(target_os = "linux")]
struct NoMoreThreads {
    group: PathBuf,
    process: u32,
}

#[cfg(target_os = "linux")]
impl NoMoreThreads {
    /// `None` where no such group can be made.
    fn around(process: &Process) -> Option<NoMoreThreads> {
        let id = process.child.id();
        let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        roots.iter().find_map(|root| {
            let group = Path::new(root).join(format!("s3pail-test-{id}"));
            fs::create_dir(&group).ok()?;
            let limits = NoMoreThreads { group, process: id };
            let threads = process.number("Threads").to_string();
            // Dropping it on the way undoes what has been done.
            fs::write(limits.group.join("cgroup.procs"), id.to_string()).ok()?;
            limits.set(&threads).then_some(limits)
        })
    }

    fn set(&self, threads: &str) -> bool {
        let limit = self.group.join("pids.max");
        limit.exists() && fs::write(limit, threads).is_ok()
    }
}

#[cfg(target_os = "linux")]
impl Drop for NoMoreThreads {
    fn drop(&mut self) {
        let root = self.group.parent().unwrap().join("cgroup.procs");
        let _ = fs::write(root, self.process.to_string());
        let _ = fs::remove_dir(&self.group);
    }
}

/// BI-017: connections are accepted and served without a thread more; stalled transfers give way.
#[cfg(target_os = "linux")]
#[test]
fn a_shortage_of_threads_passes() {
    let process = Process::start(1000);
    let address = process.address;
    assert_eq!(Client::connect(address).get("/").status, 200);
    let Some(limit) = NoMoreThreads::around(&process) else {
        return eprintln!(
            "skipped: no control group can be made here; src/http/relief.rs tests what follows"
        );
    };
    let threads = process.number("Threads");
    let stall = |count: usize| -> Vec<Client> {
        let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(address)).collect();
        let upload = put("/echo", "Content-Length: 4\r\n", b"ab");
        clients.iter_mut().for_each(|client| client.send(&upload));
        clients
    };
    for mut client in stall(3 * WORKERS) {
        assert_eq!(Client::connect(address).get("/").status, 200);
        assert_eq!(client.reply().text(), "ResourceBusy");
    }
    assert_eq!(process.number("Threads"), threads);
    assert!(limit.set("max"));
    let mut clients = stall(3 * WORKERS);
    eventually("others stand in", || process.number("Threads") > threads);
    assert_eq!(Client::connect(address).get("/").status, 200);
    for client in &mut clients {
        client.send("cd");
        assert_eq!(client.reply().text(), echo_of(b"abcd"));
    }
}

/// The whole server: uploads that stand still are told to slow down when others cannot be served otherwise,
/// and leave nothing behind.
#[test]
fn a_server_full_of_stalled_uploads_serves_others_and_says_slow_down() {
    let config = Config { connections: Some(40), workers: 2, ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    server.bucket("bbb");
    server.put("/bbb/k", b"kept").expect(200);
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bbb/*"}]}"#;
    server.put("/bbb?policy", policy.as_bytes()).expect(204);
    let stall = |_| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"PUT /bbb/k HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nover").unwrap();
        stream
    };
    // Two workers, twenty that stand in for them: five of these are too many.
    let stalled: Vec<TcpStream> = (0..25).map(stall).collect();
    for _ in 0..3 {
        assert_eq!(server.get("/bbb/k").expect(200).body, b"kept");
    }
    let told = |stream: &&TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let told = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        told
    };
    wait_until("five are told", || stalled.iter().filter(told).count() == 5);
    for stream in stalled.iter().filter(told) {
        let reply = super::harness::Reply::read(&mut BufReader::new(stream), false);
        let reply = reply.expect_error(503, "SlowDown");
        assert_eq!((reply.header("retry-after"), reply.header("connection")), (Some("1"), Some("close")));
    }
    drop(stalled);
    assert_eq!(server.get("/bbb/k").expect(200).body, b"kept");
    assert_eq!(server.get("/bbb").expect(200).elements("Key"), ["k"]);
}

/// BI-021: nothing is read ahead of the answer that the client does not take.
#[cfg(target_os = "linux")]
#[test]
fn pipelined_requests_without_end_cost_no_memory() {
    let process = Process::start(100);
    assert_eq!(Client::connect(process.address).get("/").status, 200);
    let memory = process.number("VmRSS");
    let client = Client::connect(process.address);
    let stream = client.0.get_ref();
    stream.set_nonblocking(true).unwrap();
    let requests = "GET /bytes/1000 HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10_000);
    let (mut sent, mut idle) = (0, 0);
    // Up to 300,000 requests, or until both sides' buffers are full.
    while sent < 30 * requests.len() && idle < 100 {
        match (&*stream).write(requests.as_bytes()) {
            Ok(count) => (sent, idle) = (sent + count, 0),
            Err(_) => {
                idle += 1;
                assert_eq!(Client::connect(process.address).get("/").status, 200);
            }
        }
    }
    let grown = process.number("VmRSS").saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} kB for {sent} bytes");
    assert!(server_lives(&process));
}

fn server_lives(process: &Process) -> bool {
    Client::connect(process.address).get("/").status == 200
}

/// BI-089, BI-108, SE-91, SE-92: uploads that are cancelled, and refused ones that never come, a thousand times.
#[cfg(target_os = "linux")]
#[test]
fn vanished_clients_leave_no_file_and_no_thread() {
    let process = Process::start(1000);
    assert_eq!(Client::connect(process.address).get("/").status, 200);
    let (files, threads) = (process.files(), process.number("Threads"));
    for round in 0..1000 {
        let mut client = Client::connect(process.address);
        client.send(match round % 4 {
            0 => put("/echo", "Content-Length: 5368709120\r\n", &[b'x'; 20_000]),
            1 => put("/ignore", "Content-Length: 100000\r\n", b"abc"),
            2 => b"GET /stream/1000000000 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
            _ => chunked("/echo", "ffffff\r\nabc"),
        });
    }
    eventually("the files are closed", || process.files() <= files);
    eventually("the threads have ended", || process.number("Threads") <= threads + 1);
    assert!(server_lives(&process));
}
