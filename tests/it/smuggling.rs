//! Requests that a proxy in front and this server could read differently (RFC 9112 section 11.2): each is
//! refused, the connection is closed, and nothing behind it is run.
//!
//! `protocol.rs` has the shapes of the bad-input table; here are they with their variants, each followed by
//! a second request that must never be seen.

use super::echo::*;
use std::sync::atomic::Ordering;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Whole requests, up to where the smuggled one begins; the status that they get.
fn shapes() -> Vec<(String, u16)> {
    let mut shapes = Vec::new();
    let mut field = |text: &str, status: u16| {
        let end = "0\r\n\r\n";
        shapes.push((format!("POST /echo HTTP/1.1\r\nHost: h\r\n{text}\r\n\r\n{end}"), status));
    };
    for length in [
        "-0",
        "-1",
        "+0",
        "+5",
        "0x5",
        "5x",
        "5;",
        "5,",
        ",5",
        "5,5",
        "5, 6",
        "5 5",
        "5\t5",
        "1e1",
        "5.0",
        "0b1",
        "\"5\"",
        "'5'",
        "\u{ff15}",
        "\u{663}",
        "5\u{a0}",
        "5\x0b",
        "5\x0c",
        "\x0b5",
        "5\0",
        "\x005",
        "5\x7f",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551621",
        "5000000000000000000000000000000000000000",
        "",
    ] {
        field(&format!("Content-Length: {length}"), 400);
    }
    for coding in [
        "xchunked",
        "chunkedx",
        "chunked ;",
        "chunked;q=1",
        "\"chunked\"",
        "'chunked'",
        "chun ked",
        "chunked\0",
        "\0chunked",
        "\x0bchunked",
        "chunked\x0b",
        "chunked\x0c",
        "chunked\x7f",
        "chunked,",
        ",chunked",
        "chunked, x",
        "\u{ff43}hunked",
        "ch\u{fc}nked",
        "",
    ] {
        field(&format!("Transfer-Encoding: {coding}"), 400);
    }
    for coding in
        ["gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "identity", "chunked, identity"]
    {
        field(&format!("Transfer-Encoding: {coding}"), 501);
    }
    for fields in [
        // Twice, or both.
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nx: y\r\nCONTENT-LENGTH: 0",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\ntransfer-encoding: chunked",
        "Transfer-Encoding: x\r\nContent-Length: 5",
        // Names that another parser may take for these.
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\x0b: chunked",
        " Transfer-Encoding: chunked",
        "\tContent-Length: 5",
        "Content\0-Length: 5",
        "Transfer-Encoding\0: chunked",
        "Transfer-Enc\u{f6}ding: chunked",
        "Content-Length",
        ": chunked",
        // Folded lines.
        "Content-Length: 5\r\n 6",
        "Content-Length:\r\n 5",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding\r\n : chunked",
        "x: y\r\n Transfer-Encoding: chunked",
        "x: y\r\n\tContent-Length: 5",
        // Line ends of one character, in and after values.
        "x: y\nTransfer-Encoding: chunked",
        "x: y\rTransfer-Encoding: chunked",
        "x: y\nContent-Length: 5",
        "x: y\rContent-Length: 5",
        "x: y\r\r\nContent-Length: 5",
        "x: y\n",
        "x: y\0",
    ] {
        field(fields, 400);
    }
    for start in [
        // Lines ended by LF only, and ends of heads that are none.
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\rHost: h\r\r",
        // Who is asked.
        "GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h@other/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h:1/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET h/x HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nhost: other\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h, other\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        // Where the request line ends.
        "GET /\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: h\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.10\r\nHost: h\r\n\r\n",
        "GET / HTTP/01.1\r\nHost: h\r\n\r\n",
        // An HTTP/1.0 client has no transfer codings.
        "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        shapes.push((start.to_owned(), 400));
    }
    shapes
}

/// BI-045 to BI-049, BI-053, BI-057, BI-062, BI-082 to BI-087, BI-095 to BI-098, SE-16, SE-98.
#[test]
fn ambiguous_requests_are_refused_and_nothing_behind_them_is_run() {
    let server = Server::start();
    for (shape, status) in shapes() {
        server.check_refused(format!("{shape}{SMUGGLED}").as_bytes(), status);
    }
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 0);
}

/// BI-099 to BI-102, BI-104, BI-105: the coding breaks after the handler has begun to read.
#[test]
fn ambiguous_chunks_end_the_connection_and_nothing_behind_them_is_run() {
    let server = Server::start();
    let shapes = [
        "\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\t\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3h\r\nabc\r\n0\r\n\r\n",
        "3_0\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\n",
        "3\r\nabc\r\n0\r\nx: y\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "\0\r\n\r\n",
        "00000000000000000\r\n\r\n",
        "10000000000000000\r\n\r\n",
        "8000000000000000\r\n\r\n",
        "ffffffffffffffff\r\n\r\n",
        "fffffffffffffffff\r\n\r\n",
    ];
    for (done, chunks) in shapes.iter().enumerate() {
        let mut client = server.connect();
        client.send_lossy(&chunked("/echo", &format!("{chunks}{SMUGGLED}")));
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (400, "InvalidData"), "{chunks:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{chunks:?}");
        assert!(client.is_closed(), "{chunks:?}");
        assert_eq!(server.echo.handled.load(Ordering::Relaxed), done + 1, "{chunks:?}");
    }
}

/// The same when the handler does not read the body.
#[test]
fn ambiguous_chunks_that_nobody_reads_end_the_connection_too() {
    let server = Server::start();
    for chunks in [
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send_lossy(&chunked("/ignore", &format!("{chunks}{SMUGGLED}")));
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("connection")), (403, Some("close")), "{chunks:?}");
        assert!(client.is_closed(), "{chunks:?}");
    }
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 4);
}

/// What RFC 9112 lets everybody read in one way only is served.
#[test]
fn unusual_framing_that_has_one_meaning_is_served() {
    let server = Server::start();
    for (fields, body) in [
        ("Content-Length:5", "abcde"),
        ("content-length: \t 5 \t", "abcde"),
        ("Content-Length: 05", "abcde"),
        ("Transfer-Encoding: ChUnKeD", "5\r\nabcde\r\n0\r\n\r\n"),
        ("transfer-encoding:chunked", "05;x=y\r\nabcde\r\n000\r\nContent-Length: 3\r\nHost: x\r\n\r\n"),
        // Not these headers, whatever a gateway may make of an underscore.
        ("Content-Length: 5\r\nTransfer_Encoding: chunked", "abcde"),
        ("Content-Length: 5\r\nContent_Length: 0", "abcde"),
    ] {
        let mut client = server.connect();
        client.send(put("/echo", &format!("{fields}\r\n"), body.as_bytes()));
        assert_eq!(client.reply().text(), echo_of(b"abcde"), "{fields}");
        assert_eq!(client.get("/next").text(), "GET /next? -", "{fields}");
    }
}
