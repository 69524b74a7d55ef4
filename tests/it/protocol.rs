//! HTTP on raw sockets: what well-behaved, slow, broken and hostile clients get from the engine.
//!
//! `BI-...` are the rows of the project's bad-input table.

use super::echo::*;
use s3pail::http::limits::Limits;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

// Connections.

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start();
    let mut client = server.connect();
    for number in 0..500 {
        let reply = client.get(&format!("/a/{number}?q"));
        assert_eq!(reply.text(), format!("GET /a/{number}?q -"));
        assert!(reply.header("date").is_some() && reply.header("connection").is_none());
    }
    assert_eq!(server.connections(), 1);
}

/// BI-020, BI-021 in small.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.connect();
    let requests = |count: usize| -> String {
        (0..count).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")).collect()
    };
    for count in [3, 1000] {
        client.send(requests(count));
        for number in 0..count {
            assert_eq!(client.reply().text(), format!("GET /{number}? -"));
        }
    }
}

/// BI-018: an SDK opens its whole pool at once.
#[test]
fn forty_connections_in_one_burst_are_all_answered() {
    let server = Server::start();
    let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.reply().status, 200);
        }
    }
}

#[test]
fn clients_in_parallel_get_their_own_answers() {
    let server = Server::start();
    thread::scope(|scope| {
        for id in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                for number in 0..300 {
                    let body = vec![id as u8; number];
                    client.send(counted("/echo", &body));
                    assert_eq!(client.reply().text(), echo_of(&body));
                }
            });
        }
    });
}

/// BI-007.
#[test]
fn a_half_closed_client_gets_its_answer_and_the_end() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("GET /stream/200000 HTTP/1.1\r\nHost: h\r\n\r\n");
    client.shutdown_write();
    assert_eq!(client.reply().body.len(), 200_000);
    assert!(client.is_closed());
}

/// BI-001, BI-014: with deadlines made short.
#[test]
fn silent_connections_are_closed_without_an_answer() {
    let limits = Limits {
        first_byte: Duration::from_millis(50),
        keep_alive: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = Server::with(limits);
    assert!(server.connect().is_closed());
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    assert!(client.is_closed());
    eventually("all connections are gone", || server.connections() == 0);
}

/// BI-002, BI-003, BI-004 in small: the deadline is absolute, whatever arrives in between.
#[test]
fn a_slow_head_is_cut_off_at_its_deadline() {
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(limits);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'a')) {
        if clients[0].has_input() {
            break;
        }
        for client in &mut clients {
            client.send_lossy(&[*byte]);
        }
        // Others are served meanwhile, although there are more slow heads than workers.
        assert_eq!(server.connect().get("/").status, 200);
    }
    for client in &mut clients {
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (408, "HeadTimeout"));
        assert!(client.is_closed());
    }
}

#[test]
fn a_head_that_stops_is_answered_with_408() {
    let limits = Limits { head: Duration::from_millis(100), ..Limits::default() };
    Server::with(limits).check_refused(b"GET / HTTP/1.1\r\nHost", 408);
}

/// BI-015.
#[test]
fn connections_over_the_limit_are_told_and_later_ones_served() {
    let limits = Limits { connections_max: 5, ..Limits::default() };
    let server = Server::with(limits);
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    for _ in 0..100 {
        server.check_refused(b"", 503);
    }
    drop(clients);
    eventually("the places are free again", || server.connections() == 0);
    assert_eq!(server.connect().get("/").status, 200);
}

/// BI-019 in small.
#[test]
fn short_connections_leave_nothing_behind() {
    let server = Server::start();
    for _ in 0..1000 {
        let mut client = server.connect();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_eq!(client.reply().header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    eventually("all connections are gone", || server.connections() == 0);
}

/// BI-009, BI-011, BI-030: clients that go away at any point harm nobody.
#[test]
fn clients_that_vanish_harm_nobody() {
    let server = Server::start();
    let texts: [&[u8]; 5] = [
        b"",
        b"GET / HT",
        b"GET /stream/10000000 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc",
        b"PUT /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nff",
    ];
    for _ in 0..20 {
        for text in texts {
            server.connect().send(text);
        }
    }
    assert_eq!(server.connect().get("/").status, 200);
    eventually("all connections are gone", || server.connections() == 0);
}

/// BI-024.
#[test]
fn an_http_2_preface_is_refused_at_once() {
    Server::start().check_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 505);
}

/// BI-012: a client that does not read is let go, and holds one worker at most.
#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let limits = Limits { write_inactivity: Duration::from_millis(100), ..Limits::default() };
    let server = Server::with(limits);
    let mut client = server.connect();
    client.send("GET /stream/1000000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the response is given up", || {
        server.echo.sent.lock().unwrap().first().is_some_and(|(bytes, complete)| *bytes > 0 && !complete)
    });
    eventually("the connection is gone", || server.connections() == 0);
}

/// BI-013: with the rate and its window made short. What the system's buffers take at once is the grace.
#[test]
fn a_client_that_reads_too_slowly_is_cut_off_and_one_that_is_only_slow_is_not() {
    const BODY: usize = 40_000_000;
    let limits = Limits {
        write_rate_min: 256 << 10,
        write_rate_window: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::with(limits);
    // 128 KiB/s, 20 MB/s, and 5 MB/s with pauses that are longer than the window; the last also of a body that
    // comes in small pieces.
    for (name, pieces, pause, cut) in [
        ("stream", 1, 500, true),
        ("stream", 16, 50, false),
        ("stream", 40, 500, false),
        ("crumbs", 1, 500, true),
        ("crumbs", 40, 500, false),
    ] {
        server.echo.sent.lock().unwrap().clear();
        let has_ended = || !server.echo.sent.lock().unwrap().is_empty();
        let mut client = server.connect();
        client.send(format!("GET /{name}/{BODY} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.head_of_reply();
        let (mut left, mut piece) = (BODY, vec![0; 64 << 10]);
        'reading: while left > 0 && !has_ended() {
            for _ in 0..pieces {
                let most = piece.len().min(left);
                match client.0.read(&mut piece[..most]) {
                    Ok(0) | Err(_) => break 'reading,
                    Ok(count) => left -= count,
                }
            }
            thread::sleep(Duration::from_millis(pause));
        }
        eventually("the answer has ended", has_ended);
        let (bytes, complete) = server.echo.sent.lock().unwrap()[0];
        assert_eq!(complete, !cut, "{name}, {pieces} pieces: {bytes} bytes sent, {left} left");
    }
}

/// LD-18: while every worker is busy, connections wait to be accepted; none is turned away, and each is served.
#[test]
fn a_burst_of_connections_waits_until_somebody_is_free() {
    const BURST: usize = 300;
    let listener = s3pail::http::listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts yet. A connection that finds the queue full is tried again after a second, and after two.
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
    let mut waiting: Vec<TcpStream> = (0..BURST).map(connect).collect();
    let _server = Server::on(listener, Limits::default());
    for stream in &mut waiting {
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    }
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

/// BI-010: nothing more is read of a body whose client has gone.
#[test]
fn an_answer_is_read_no_further_when_its_client_has_reset_the_connection() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("GET /stream/1000000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    client.0.read_exact(&mut [0; 1000]).unwrap();
    // What is unread makes this a reset.
    drop(client);
    eventually("the answer has ended", || !server.echo.sent.lock().unwrap().is_empty());
    let (bytes, complete) = server.echo.sent.lock().unwrap()[0];
    let read = server.echo.streamed.load(Ordering::Relaxed);
    assert!(!complete && read < 100_000_000, "{bytes} sent");
    // What was read ahead of the client is one buffer.
    assert!(read - bytes <= STREAM_BYTES as u64, "{read} bytes read, {bytes} sent");
    eventually("the connection is gone", || server.connections() == 0);
    assert_eq!(server.echo.streamed.load(Ordering::Relaxed), read);
}

/// BI-022: only the first of the pipelined requests is in progress.
#[test]
fn requests_behind_a_stalled_answer_wait() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("GET /stream/50000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n".repeat(5));
    for _ in 0..10 {
        assert_eq!(server.connect().get("/").status, 200);
    }
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 11);
    assert_eq!(client.reply().body.len(), 50_000_000);
    for _ in 0..5 {
        assert_eq!(client.reply().text(), "GET /x? -");
    }
}

// Request lines and headers.

/// BI-025, BI-032 to BI-049.
#[test]
fn malformed_request_lines_are_answered_and_closed() {
    let server = Server::start();
    for line in [
        "GET /",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/1.1 x",
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET\x0b/ HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /#f HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET http://other/b/k HTTP/1.1",
        "CONNECT h:443 HTTP/1.1",
        "G{T / HTTP/1.1",
    ] {
        server.check_refused(format!("{line}\r\nHost: h\r\n\r\n").as_bytes(), 400);
    }
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"] {
        server.check_refused(format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes(), 505);
    }
    server.check_refused(&b"\r\n".repeat(500_000), 400);
    server.check_refused(b"GET / HTTP/1.1\nHost: h\n\n", 400);
    server.check_refused(b"\x16\x03\x01\x02\x00\x01\x00", 400);
    server.check_refused(format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(10_240)).as_bytes(), 400);
    server.check_refused(format!("GET /{} HTTP/1.1\r\n", "a".repeat(17 * 1024)).as_bytes(), 414);
    server.check_refused(format!("GET /{}", "a".repeat(3 << 20)).as_bytes(), 414);
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 0);
}

/// BI-031, BI-037, BI-041, BI-045.
#[test]
fn unusual_request_lines_are_served() {
    let server = Server::start();
    let mut client = server.connect();
    for (line, text) in [
        ("\r\n\r\nGET /a HTTP/1.1", "GET /a? -"),
        ("GET http://H/b/k?x HTTP/1.1", "GET /b/k?x -"),
        ("OPTIONS * HTTP/1.1", "OPTIONS *? -"),
        ("PROPFIND /a HTTP/1.1", "OTHER /a? -"),
        ("get /a%00%2f HTTP/1.1", "OTHER /a%00%2f? -"),
    ] {
        client.send(format!("{line}\r\nHost: h\r\n\r\n"));
        assert_eq!(client.reply().text(), text);
    }
}

/// BI-051 to BI-063, BI-070.
#[test]
fn malformed_headers_are_answered_and_closed() {
    let server = Server::start();
    for field in [
        "no colon",
        "a : b",
        "a\t: b",
        "a: b\r\n c: d",
        ": b",
        "a(: b",
        "a: b\0",
        "a: b\rc",
        "a: b\nc: d",
        "Host: h",
        "Host: i",
    ] {
        server.check_refused(format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n").as_bytes(), 400);
    }
    for host in ["", "h/p", "u@h", "a b", "a%00b", "a..b", "h:99999"] {
        server.check_refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), 400);
    }
    server.check_refused(b"GET / HTTP/1.1\r\n\r\n", 400);
    server.check_refused(b"GET / HTTP/1.1\r\nHost: h\r\nx-amz-meta-a: \xff\r\n\r\n", 400);
    let many = "a: b\r\n".repeat(100);
    server.check_refused(format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n").as_bytes(), 400);
    let long = "b".repeat(3 << 20);
    server.check_refused(format!("GET / HTTP/1.1\r\nHost: h\r\na: {long}\r\n\r\n").as_bytes(), 400);
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 0);
}

/// BI-058, BI-060 at the limit, BI-064 to BI-066, BI-074.
#[test]
fn unusual_headers_are_served() {
    let server = Server::start();
    let mut client = server.connect();
    for host in ["127.0.0.1", "[::1]:8000", "::1", "h."] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nx-amz-meta-a: \u{fc}\u{1f600}\r\n\r\n"));
        assert_eq!(client.reply().text(), "GET /? \u{fc}\u{1f600}", "{host}");
    }
    let many = "a: b\r\n".repeat(99);
    for fields in ["Upgrade: h2c\r\n", "TE: chunked\r\n", "Connection: Authorization\r\n", &many] {
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(client.reply().header("content-length"), Some("8"), "{fields}");
    }
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close, keep-alive\r\n\r\n");
    assert_eq!(client.reply().header("connection"), Some("close"));
    assert!(client.is_closed());
}

/// BI-050.
#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.reply().header("connection"), Some("keep-alive"));
    client.send("GET /stream/100000 HTTP/1.0\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.header("connection"), reply.body.len()), (Some("close"), 100_000));
    assert!(client.is_closed());
}

// Request bodies.

/// BI-023, BI-092.
#[test]
fn a_body_ends_where_its_length_says() {
    let server = Server::start();
    let mut client = server.connect();
    for length in [0, 1, 999, 16 * 1024, 70_000, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|index| index as u8).collect();
        let mut bytes = counted("/echo", &body);
        bytes.extend_from_slice(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
        thread::scope(|scope| {
            let mut writer = client.0.get_ref().try_clone().unwrap();
            scope.spawn(move || writer.write_all(&bytes).unwrap());
            assert_eq!(client.reply().text(), echo_of(&body));
            assert_eq!(client.reply().text(), "GET /next? -");
        });
    }
}

/// BI-099 to BI-106.
#[test]
fn chunked_bodies_are_decoded() {
    let server = Server::start();
    let mut client = server.connect();
    let ones: String = (0..20_000).map(|_| "1\r\na\r\n").collect();
    for (chunks, body) in [
        ("0\r\n\r\n".to_owned(), Vec::new()),
        ("3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n".to_owned(), b"abc0123456789".to_vec()),
        ("1\r\na\r\n0\r\nContent-Length: 7\r\nHost: evil\r\n\r\n".to_owned(), b"a".to_vec()),
        (format!("{ones}0\r\n\r\n"), vec![b'a'; 20_000]),
        (format!("186a0\r\n{}\r\n0\r\n\r\n", "x".repeat(100_000)), vec![b'x'; 100_000]),
    ] {
        client.send(chunked("/echo", &chunks));
        assert_eq!(client.reply().text(), echo_of(&body));
    }
    // Arriving byte by byte.
    for byte in chunked("/echo", "3;e\r\nabc\r\n0\r\nt: u\r\n\r\n") {
        client.send([byte]);
    }
    assert_eq!(client.reply().text(), echo_of(b"abc"));
}

#[test]
fn malformed_chunks_end_the_connection() {
    let server = Server::start();
    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1 << 20));
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(200_000));
    for chunks in [
        "zz\r\n",
        "\r\n",
        "-3\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "00000000000000003\r\nabc\r\n",
        "ffffffffffffffff\r\nabc\r\n",
        &extension,
        &trailers,
    ] {
        let mut client = server.connect();
        client.send_lossy(&chunked("/echo", chunks));
        client.send_lossy(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        let reply = client.reply();
        assert_eq!(
            (reply.status, reply.text()),
            (400, "InvalidData"),
            "{:?}",
            &chunks[..chunks.len().min(40)]
        );
        assert!(client.is_closed());
    }
}

/// BI-008, BI-091, BI-103.
#[test]
fn a_body_that_ends_early_is_an_error() {
    let server = Server::start();
    for bytes in [
        put("/echo", "Content-Length: 10\r\n", b"abc"),
        chunked("/echo", "3\r\nabc\r\n"),
        chunked("/echo", "3\r\na"),
    ] {
        let mut client = server.connect();
        client.send(bytes);
        client.shutdown_write();
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (400, "UnexpectedEof"));
        assert!(client.is_closed());
    }
}

/// BI-005, BI-006: with deadlines made short.
#[test]
fn a_body_that_stalls_is_an_error() {
    let limits = Limits { body_inactivity: Duration::from_millis(100), ..Limits::default() };
    let server = Server::with(limits);
    for bytes in [put("/echo", "Content-Length: 1000\r\n", b""), chunked("/echo", "3\r\nab")] {
        let mut client = server.connect();
        client.send(bytes);
        assert_eq!(client.reply().text(), "TimedOut");
        assert!(client.is_closed());
    }

    let limits = Limits {
        body_rate_min: u64::MAX / 1_000_000,
        body_rate_window: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::with(limits);
    let mut client = server.connect();
    client.send(put("/echo", "Content-Length: 1000000000\r\n", b""));
    let mut writer = client.0.get_ref().try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || while writer.write_all(b"a").is_ok() {});
        assert_eq!(client.reply().text(), "TimedOut");
        drop(client);
    });
}

/// BI-082 to BI-087, BI-095 to BI-098: whatever two parsers could read differently.
#[test]
fn smuggling_shapes_are_refused_and_nothing_behind_them_is_run() {
    let server = Server::start();
    for (fields, status) in [
        ("Content-Length: -1", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: abc", 400),
        ("Content-Length:", 400),
        ("Content-Length: 0x10", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: \u{663}", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 3\r\nContent-Length: 40", 400),
        ("Content-Length: 9223372036854775808", 400),
        ("Content-Length: 18446744073709551616", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: gzip", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding: \"chunked\"", 400),
        ("Transfer-Encoding: chunked\x0b", 400),
        ("Transfer-Encoding: chunked;q=1", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding\r\n : chunked", 400),
    ] {
        let rest = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        server.check_refused(&put("/echo", &format!("{fields}\r\n"), rest), status);
    }
    server.check_refused(b"PUT /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 0);
}

/// BI-067, BI-068.
#[test]
fn a_client_that_asks_is_invited_when_its_body_is_read() {
    let server = Server::start();
    let mut client = server.connect();
    for _ in 0..2 {
        client.send(put("/echo", "Expect: 100-continue\r\nContent-Length: 3\r\n", b""));
        assert_eq!(client.head_of_reply().status, 100);
        client.send("abc");
        assert_eq!(client.reply().text(), echo_of(b"abc"));
    }
}

/// Clients in use lose the answer to their next request when the invitation is missing.
#[test]
fn a_client_that_asks_is_invited_to_send_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    for (path, status) in [("/echo", 200), ("/ignore", 403), ("/echo", 200)] {
        client.send(put(path, "Expect: 100-continue\r\nContent-Length: 0\r\n", b""));
        assert_eq!(client.head_of_reply().status, 100);
        assert_eq!(client.reply().status, status);
    }
}

/// BI-067, BI-069.
#[test]
fn a_client_that_is_refused_before_its_body_is_not_invited() {
    let server = Server::start();
    let mut client = server.connect();
    client.send(put("/ignore", "Expect: 100-continue\r\nContent-Length: 3\r\n", b""));
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("connection")), (403, Some("close")));
    client.send_lossy(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.is_closed());
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 1);
}

/// BI-094: at the limit of what is dropped, and one past it.
#[test]
fn a_small_unread_body_is_dropped_and_the_connection_kept() {
    let server = Server::start();
    let max = Limits::default().drain_bytes_max as usize;
    let mut client = server.connect();
    for length in [1, 20_000, max] {
        client.send(counted("/ignore", &vec![b'x'; length]));
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("connection")), (403, None), "{length}");
    }
    client.send(chunked("/ignore", "3\r\nabc\r\n0\r\n\r\n"));
    assert_eq!(client.reply().header("connection"), None);
    assert_eq!(client.get("/next").text(), "GET /next? -");
}

/// BI-094, BI-107: the answer survives, and nothing of the body is taken for a request.
#[test]
fn a_large_unread_body_ends_the_connection_after_the_answer() {
    let server = Server::start();
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n".repeat(60_000);
    let length = format!("Content-Length: {}\r\n", 1u64 << 40);
    for (fields, body) in [
        (length.as_str(), hidden.clone()),
        ("Transfer-Encoding: chunked\r\n", format!("fffffff\r\n{hidden}")),
    ] {
        let mut client = server.connect();
        client.send_lossy(&put("/ignore", fields, body.as_bytes()));
        let reply = client.reply();
        assert_eq!((reply.text(), reply.header("connection")), ("refused", Some("close")));
        assert!(client.is_closed());
    }
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 2);
}

/// BI-108: there are many more such clients than workers.
#[test]
fn refused_bodies_that_never_come_hold_no_worker() {
    let limits = Limits { linger: Duration::from_millis(300), ..Limits::default() };
    let server = Server::with(limits);
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(put("/ignore", "Content-Length: 100000\r\n", b"abc"));
    }
    for client in &mut clients {
        assert_eq!(client.reply().status, 403);
    }
    assert_eq!(server.connect().get("/").status, 200);
    for client in &mut clients {
        assert!(client.is_closed());
    }
}

// Responses.

#[test]
fn bodies_of_every_size_arrive_whole() {
    let server = Server::start();
    let mut client = server.connect();
    for length in [0, 1, 1024, 64 * 1024, 64 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 5_000_000] {
        for (kind, byte) in [("bytes", b'b'), ("stream", b's')] {
            let reply = client.get(&format!("/{kind}/{length}"));
            assert_eq!(reply.body.len(), length);
            assert!(reply.body.iter().all(|got| *got == byte));
        }
    }
    assert!(server.echo.sent.lock().unwrap().contains(&(5_000_000, true)));
}

#[test]
fn head_announces_a_length_and_sends_nothing() {
    let server = Server::start();
    let mut client = server.connect();
    for (path, length) in
        [("/bytes/9", "9"), ("/stream/99999", "99999"), ("/promise/7", "7"), ("/status/200", "0")]
    {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(client.head_of_reply().header("content-length"), Some(length), "{path}");
    }
    assert_eq!(client.get("/").status, 200);
    client.send("HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!(client.head_of_reply().status, 400);
    assert!(client.is_closed());
}

#[test]
fn statuses_without_a_body_have_no_length() {
    let server = Server::start();
    let mut client = server.connect();
    for status in [204, 304] {
        let reply = client.get(&format!("/status/{status}"));
        assert_eq!((reply.status, reply.header("content-length")), (status, None));
    }
    assert_eq!(client.get("/status/200").header("content-length"), Some("0"));
}

#[test]
fn a_body_that_fails_is_never_taken_for_a_whole_one() {
    let server = Server::start();
    for path in ["/short/1000", "/short/1000000", "/promise/5"] {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n"));
        let mut all = Vec::new();
        let _ = client.0.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            length.is_some_and(|length| body.len() >= length.parse().unwrap())
        });
        assert!(!whole, "{path}: {} bytes", all.len());
        eventually("it is reported", || server.echo.sent.lock().unwrap().iter().any(|(_, whole)| !whole));
    }
}

/// CC-10: three times as many as there are workers, and all of them go on.
#[test]
fn a_handler_that_panics_ends_one_connection_only() {
    let server = Server::start();
    for _ in 0..3 * WORKERS {
        let mut client = server.connect();
        let reply = client.get("/panic");
        assert_eq!((reply.status, reply.header("connection")), (500, Some("close")));
        assert!(client.is_closed());
    }
    assert_eq!(server.connect().get("/").status, 200);
}

// Stopping.

#[test]
fn an_idle_engine_stops_at_once() {
    let mut server = Server::start();
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut half = server.connect();
    half.send("GET / HT");
    assert!(server.stop(PATIENCE));
    assert!(idle.is_closed() && half.is_closed());
    assert!(TcpStream::connect(server.address).is_err());
}

/// BI-029.
#[test]
fn requests_in_progress_are_finished_before_a_stop() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the request is in progress", || server.echo.handled.load(Ordering::Relaxed) == 1);
    let (echo, address) = (server.echo.clone(), server.address);
    let opener = thread::spawn(move || {
        eventually("new connections are refused", || TcpStream::connect(address).is_err());
        echo.open();
    });
    assert!(server.stop(PATIENCE));
    opener.join().unwrap();
    let reply = client.reply();
    assert_eq!((reply.text(), reply.header("connection")), ("open true", Some("close")));
    assert!(client.is_closed());
}

#[test]
fn a_stop_does_not_wait_beyond_its_grace() {
    let mut server = Server::start();
    let mut client = server.connect();
    client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the request is in progress", || server.echo.handled.load(Ordering::Relaxed) == 1);
    assert!(!server.stop(Duration::from_millis(20)));
    server.echo.open();
}

// Shortage of descriptors.

/// The other half of the next test, which runs this in a process with few descriptors.
#[cfg(unix)]
#[test]
fn a_server_for_the_test_of_shortage() {
    if std::env::var_os("S3PAIL_TEST_SHORTAGE").is_none() {
        return;
    }
    let server = Server::start();
    println!("\nlistening {}", server.address);
    // Lives until the other side closes its end.
    let _ = io::stdin().read(&mut [0]);
}

/// BI-016: accepted ones are served, the rest wait or are told, and it ends with the shortage.
#[cfg(unix)]
#[test]
fn a_shortage_of_descriptors_passes() {
    use std::process::{Command, Stdio};
    let script = "ulimit -n 40; exec \"$0\" --exact protocol::a_server_for_the_test_of_shortage --nocapture";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("S3PAIL_TEST_SHORTAGE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| line.unwrap().strip_prefix("listening ")?.parse().ok());
    let address = address.expect("the server says where it listens");

    let mut clients: Vec<Client> = (0..80).map(|_| Client::connect(address)).collect();
    let (mut served, mut told) = (0, 0);
    for client in &mut clients {
        client.send_lossy(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut first = [0; 12];
        match client.0.read_exact(&mut first) {
            Ok(()) if first.ends_with(b"200") => served += 1,
            Ok(()) if first.ends_with(b"503") => told += 1,
            // The reset of a connection that was told while it was writing.
            _ => told += 1,
        }
    }
    assert!(served >= 10 && told >= 10, "served {served}, told {told}");
    drop(clients);
    eventually("it serves again", || {
        let mut client = Client::connect(address);
        client.send_lossy(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut first = [0; 12];
        client.0.read_exact(&mut first).is_ok() && first.ends_with(b"200")
    });
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

// The second engine.

/// What the other engine can do too; what it cannot stands at the top of its file.
#[cfg(feature = "tiny-http")]
#[test]
fn the_second_engine_answers_ordinary_requests() {
    use s3pail::http::engine::Options;
    use std::net::TcpListener;
    use std::sync::Arc;
    let echo = Arc::new(Echo::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { workers: WORKERS, limits: Limits::default(), tls: None };
    let running = s3pail::http::tiny::serve(vec![listener], options, Arc::new(Shared(echo.clone()))).unwrap();
    let mut client = Client::connect(running.local_addrs()[0]);
    assert_eq!(client.get("/a%20/b?q").text(), "GET /a%20/b?q -");
    for length in [0, 1, 100_000] {
        let body = vec![b'x'; length];
        client.send(counted("/echo", &body));
        assert_eq!(client.reply().text(), echo_of(&body));
        for kind in ["bytes", "stream"] {
            assert_eq!(client.get(&format!("/{kind}/{length}")).body.len(), length);
        }
    }
    client.send(chunked("/echo", "3\r\nabc\r\n0\r\n\r\n"));
    assert_eq!(client.reply().text(), echo_of(b"abc"));
    client.send(put("/echo", "Expect: 100-continue\r\nContent-Length: 3\r\n", b""));
    assert_eq!(client.head_of_reply().status, 100);
    client.send("abc");
    assert_eq!(client.reply().text(), echo_of(b"abc"));
    client.send("HEAD /stream/99999 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head_of_reply().header("content-length"), Some("99999"));
    client.send("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n");
    assert_eq!(client.reply().status, 400);
    assert_eq!(client.get("/panic").status, 500);
    assert!(running.stop(PATIENCE));
}
