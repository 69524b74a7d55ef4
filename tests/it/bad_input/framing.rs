//! Request lines, headers and bodies as the whole server answers them (rows of sections 7.2 to 7.5 that
//! `protocol.rs` and `smuggling.rs` do not settle with the engine alone).

use super::Scene;
use crate::harness::{Client, Reply};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

/// A request for the bucket that is open to anybody, so that nothing but what is tested is wrong with it.
fn open(method: &str, fields: &str, body: &str) -> String {
    format!("{method} /open/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n{body}")
}

/// BI-034, BI-035, BI-043, BI-053, BI-060, BI-082, BI-096, SE-87: what is refused before it is routed is told
/// in S3's words.
#[test]
fn refusals_before_routing_are_errors_of_s3() {
    let scene = Scene::new();
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(17 * 1024));
    let many = open("GET", &"a: b\r\n".repeat(101), "");
    let large = open("GET", &format!("a: {}\r\n", "b".repeat(17 * 1024)), "");
    for (id, request, status, code) in [
        ("BI-033", "\u{1}\u{2}\u{3}garbage\r\n\r\n", 400, "BadRequest"),
        ("BI-034", "GET /\r\n\r\n", 400, "BadRequest"),
        ("BI-035", "GET / HTTP/2.0\r\n\r\n", 505, "UnsupportedHttpVersion"),
        ("BI-042", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "BadRequest"),
        ("BI-043", &long, 414, "UriTooLong"),
        ("BI-047", "GET /open/k#f HTTP/1.1\r\nHost: h\r\n\r\n", 400, "BadRequest"),
        ("BI-053", &open("PUT", "a: b\r\n c: d\r\n", ""), 400, "BadRequest"),
        ("BI-059", &large, 400, "RequestHeaderSectionTooLarge"),
        ("BI-060", &many, 400, "RequestHeaderSectionTooLarge"),
        ("BI-061", "GET /open/k HTTP/1.1\r\n\r\n", 400, "BadRequest"),
        ("BI-063", "GET /k HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "BadRequest"),
        ("BI-063", "GET /k HTTP/1.1\r\nHost: ..\r\n\r\n", 400, "BadRequest"),
        ("BI-082", &open("PUT", "Content-Length: abc\r\n", "x"), 400, "BadRequest"),
        ("BI-096", &open("PUT", "Transfer-Encoding: gzip\r\n", "x"), 501, "NotImplemented"),
        ("BI-097", &open("PUT", "Transfer-Encoding: xchunked\r\n", "x"), 400, "BadRequest"),
    ] {
        let reply = scene.raw(id, request, status, code);
        assert_eq!(reply.header("connection"), Some("close"), "{id}");
        scene.is_unharmed(id);
    }
}

/// BI-037 to BI-041.
#[test]
fn methods_that_s3_does_not_have_are_not_allowed() {
    let scene = Scene::new();
    for method in ["get", "FOO", "PATCH", "PROPFIND", "put", "Delete"] {
        scene.raw("BI-037", open(method, "", ""), 405, "MethodNotAllowed");
        scene.is_unharmed("BI-037");
    }
    let traced = scene.raw("BI-039", open("TRACE", "Authorization: secret\r\n", ""), 405, "MethodNotAllowed");
    assert!(!format!("{traced:?}").contains("secret"), "BI-039");
    scene.raw("BI-040", "CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n", 400, "BadRequest");
    let reply = scene.server.raw(b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false);
    assert!([200, 400, 403].contains(&reply.status), "BI-041: {}", reply.text());
    scene.is_unharmed("methods");
}

/// BI-045, BI-046, BI-050, BI-064, BI-066, BI-070, BI-074, BI-075, SE-50, OP-16.
#[test]
fn odd_heads_are_served_as_if_they_were_plain() {
    let scene = Scene::new();
    for (id, request) in [
        ("BI-045", "GET http://h/open/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned()),
        ("BI-050", "GET /open/k HTTP/1.0\r\n\r\n".to_owned()),
        ("BI-064", "GET /open/k HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n".to_owned()),
        ("BI-064", "GET /open/k HTTP/1.1\r\nHost: ::1\r\nConnection: close\r\n\r\n".to_owned()),
        ("BI-065", open("GET", "Connection: Host, Authorization\r\n", "")),
        ("BI-066", open("GET", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAA\r\n", "")),
        ("BI-066", open("GET", "Upgrade: websocket\r\n", "")),
        ("BI-070", open("GET", "Expect: something-else\r\n", "")),
        ("BI-074", open("GET", "TE: chunked\r\nAccept-Encoding: br;q=1, gzip\r\n", "")),
        ("BI-075", open("GET", "X-Forwarded-Host: other\r\nX-HTTP-Method-Override: DELETE\r\n", "")),
        ("BI-075", open("GET", "X-Original-URL: /shut/k\r\nX-Rewrite-URL: /shut/k\r\n", "")),
        ("BI-075", open("GET", "Forwarded: for=10.0.0.1;host=other\r\nX-Real-IP: 10.0.0.1\r\n", "")),
    ] {
        let reply = scene.raw(id, request, 200, "");
        assert_eq!(reply.body, super::KEPT, "{id}");
        assert_eq!(reply.header("content-length"), Some("4"), "{id}");
        assert!(reply.header("transfer-encoding").is_none(), "{id}");
        scene.is_unharmed(id);
    }
    scene.raw(
        "BI-046",
        "GET http://open.localhost/k HTTP/1.1\r\nHost: shut.localhost\r\n\r\n",
        400,
        "BadRequest",
    );
    // BI-075: an address that a header claims opens nothing.
    let policy = OFFICE.as_bytes();
    scene.server.put("/shut?policy", policy).expect(204);
    for field in ["X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP"] {
        let fields = format!("{field}: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nConnection: close\r\n");
        let request = format!("GET /shut/k HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        scene.raw("SE-50", request, 403, "AccessDenied");
    }
}

/// Anybody may read from an address that nobody here has.
const OFFICE: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::shut/*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}]}"#;

/// BI-067, BI-069: refused before the body, on the final status alone.
#[test]
fn a_refused_upload_is_not_invited() {
    let scene = Scene::new();
    let mut stream = TcpStream::connect(scene.server.address()).unwrap();
    stream.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    let request = "PUT /shut/k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 403", "BI-067");
    let _ = stream.write_all(b"DELETE /open/k HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(!rest.contains("HTTP/1.1"), "BI-069: {rest}");
    scene.is_unharmed("BI-067");
}

/// BI-071 to BI-073, BI-076 to BI-081.
#[test]
fn doubtful_header_fields_are_refused_or_harmless() {
    let scene = Scene::new();
    let spaces = "x".repeat(2049 - 1);
    let etags = vec!["\"0\""; 1500].join(",");
    let early = "x".repeat(1024);
    let bad = "InvalidArgument";
    scene.refuse(&[
        ("BI-071", "GET /shut/k", &[("authorization", "AWS accessKey1:x")], "", 400, bad),
        (
            "BI-073",
            "PUT /shut?tagging",
            &[("content-encoding", "gzip")],
            "\u{1f}\u{8b}\u{8}",
            400,
            "MalformedXML",
        ),
        ("BI-078", "PUT /shut/k", &[("x-amz-meta-a", &spaces)], "x", 400, "MetadataTooLarge"),
        ("BI-080", "GET /shut/k", &[("if-modified-since", "garbage")], "", 200, ""),
        ("BI-080", "GET /shut/k", &[("if-modified-since", "Sun, 06 Nov 9999 08:49:37 GMT")], "", 200, ""),
        ("BI-080", "GET /shut/k", &[("if-modified-since", "Sun, 06 Nov -1 08:49:37 GMT")], "", 200, ""),
        ("BI-080", "GET /shut/k", &[("if-unmodified-since", &early)], "", 200, ""),
        ("BI-081", "GET /shut/k", &[("if-match", &etags)], "", 412, "PreconditionFailed"),
        ("BI-081", "GET /shut/k", &[("if-match", "\"0")], "", 412, "PreconditionFailed"),
    ]);
    // BI-072: whatever is taken of two, nothing that was there is harmed by the other.
    for name in ["x-amz-date", "x-amz-content-sha256", "x-amz-copy-source", "x-amz-acl", "content-md5"] {
        let reply = scene.server.send("PUT", "/shut/k", &[(name, "a"), (name, "b")], b"x");
        assert!((400..500).contains(&reply.status), "BI-072 {name}: {} {}", reply.status, reply.text());
        scene.is_unharmed("BI-072");
    }
}

/// BI-058, BI-076, BI-077, BI-079, BI-128, BI-129, SE-09, SE-10, SE-48: what is kept is what was sent.
#[test]
fn header_values_round_trip_and_internal_names_mean_nothing() {
    let scene = Scene::new();
    let server = &scene.server;
    let long = "t".repeat(8000);
    let meta = "x".repeat(2048 - 1);
    for (id, name, value) in [
        ("BI-058", "content-disposition", "\u{fc}\u{1f600}"),
        ("BI-076", "x-amz-meta-x-amz-server-side-encryption", "AES256"),
        ("BI-078", "x-amz-meta-a", meta.as_str()),
        ("BI-079", "content-type", long.as_str()),
        ("BI-079", "content-type", "text/a%0d%0aSet-Cookie:b"),
        ("BI-128", "content-encoding", "gzip"),
    ] {
        server.send("PUT", "/shut/new", &[(name, value)], b"new").expect(200);
        let reply = server.get("/shut/new").expect(200);
        assert_eq!((reply.header(name), reply.body.as_slice()), (Some(value), &b"new"[..]), "{id} {name}");
    }
    let framed = [("content-encoding", "aws-chunked")];
    server.send("PUT", "/shut/new", &framed, b"3\r\nabc\r\n0\r\n\r\n").expect(200);
    assert_eq!(server.get("/shut/new").text(), "3\r\nabc\r\n0\r\n\r\n", "BI-128");
    server.send("PUT", "/shut/new", &[("content-encoding", "gzip,aws-chunked")], b"new").expect(200);
    assert_eq!(server.get("/shut/new").header("content-encoding"), Some("gzip"), "BI-129");
    for name in [
        "x-minio-replication-server-side-encryption-sealed-key",
        "x-minio-source-mtime",
        "x-amz-replication-status",
        "x-scal-target-bucket",
        "x-s3pail-owner",
        "x-amz-principal",
        "userid",
        "groups",
        "aws:sourceip",
        "x-scal-replication-content",
    ] {
        if name.contains(':') {
            continue;
        }
        server.send("PUT", "/shut/new", &[(name, "root")], b"new").expect(200);
        let reply = server.get("/shut/new").expect(200);
        assert_eq!((reply.text().as_str(), reply.header(name)), ("new", None), "SE-10 {name}");
        let lisa = server.as_lisa().send("GET", "/shut/k", &[(name, "root")], b"");
        lisa.expect_error(403, "AccessDenied");
    }
    scene.lives("headers");
}

/// BI-083, BI-087, BI-088, BI-090, BI-091, BI-093, BI-094, BI-107.
#[test]
fn lengths_that_cannot_be_are_refused_before_anything_is_read() {
    let scene = Scene::new();
    let declared = |bytes: &str| open("PUT", &format!("Content-Length: {bytes}\r\n"), "abc");
    for (id, length, status, code) in [
        ("BI-083", "-1", 400, "BadRequest"),
        ("BI-087", "9223372036854775807", 400, "EntityTooLarge"),
        ("BI-087", "9223372036854775808", 400, "BadRequest"),
        ("BI-087", "18446744073709551615", 400, "BadRequest"),
        ("BI-088", "1099511627776", 400, "EntityTooLarge"),
        ("BI-090", "5368709121", 400, "EntityTooLarge"),
    ] {
        let reply = scene.raw(id, declared(length), status, code);
        assert_eq!(reply.header("connection"), Some("close"), "{id}");
        scene.is_unharmed(id);
    }
    scene.raw("BI-093", open("PUT", "", ""), 411, "MissingContentLength");
    for (id, bytes) in [
        ("BI-091", open("PUT", "Content-Length: 10\r\n", "abc")),
        ("BI-103", open("PUT", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n")),
    ] {
        let reply = half_closed(&scene, bytes.as_bytes());
        scene.judge(id, &reply, 400, "IncompleteBody", false);
        scene.is_unharmed(id);
    }
    let refused = "PUT /shut/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        ff\r\nDELETE /open/k HTTP/1.1\r\nHost: h\r\n\r\n";
    scene.raw("BI-107", refused, 403, "AccessDenied");
    let body = "x".repeat(1 << 20);
    for method in ["GET", "HEAD"] {
        scene.raw("BI-094", open(method, "Content-Length: 1048576\r\n", &body), 200, "");
    }
    scene.is_unharmed("lengths");
}

fn half_closed(scene: &Scene, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(scene.server.address()).unwrap();
    stream.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    Reply::read(&mut BufReader::new(stream), false)
}

/// BI-099, BI-100, BI-102, BI-105: what is stored under that key stays.
#[test]
fn broken_chunks_store_nothing() {
    let scene = Scene::new();
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(5000));
    for (id, chunks) in [
        ("BI-099", "zz\r\nabc\r\n0\r\n\r\n"),
        ("BI-099", "+3\r\nabc\r\n0\r\n\r\n"),
        ("BI-100", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("BI-102", "3\nabc\r\n0\r\n\r\n"),
        ("BI-102", "3\r\nabc0\r\n\r\n"),
        ("BI-105", &trailers),
    ] {
        let reply = scene.server.raw(open("PUT", "Transfer-Encoding: chunked\r\n", chunks).as_bytes(), false);
        // S3 wants a length, and may say so first.
        assert!([400, 411].contains(&reply.status), "{id}: {}", reply.text());
        scene.is_unharmed(id);
    }
}

/// BI-109, BI-112, BI-113, BI-126, BI-127, SE-04, SE-05, SE-85.
#[test]
fn frames_that_nobody_signed_are_refused() {
    let scene = Scene::new();
    let streaming = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let frame = "3\r\nabc\r\n0\r\n\r\n";
    for (id, target, payload, decoded, status, code) in [
        ("BI-126", "/shut/k", streaming, "3", 403, "AccessDenied"),
        ("SE-05", "/shut/k", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "3", 403, "AccessDenied"),
        ("BI-127", "/open/k", "STREAMING-FOO", "3", 400, "InvalidArgument"),
        ("BI-112", "/open/k", streaming, "-1", 400, "InvalidArgument"),
        ("BI-112", "/open/k", streaming, "abc", 400, "InvalidArgument"),
        ("BI-112", "/open/k", streaming, "18446744073709551616", 400, "InvalidArgument"),
    ] {
        let fields = format!(
            "x-amz-content-sha256: {payload}\r\nx-amz-decoded-content-length: {decoded}\r\nContent-Length: {}\r\n",
            frame.len()
        );
        let request = open("PUT", &fields, frame).replace("/open/k", target);
        let reply = scene.server.raw(request.as_bytes(), false);
        assert_eq!(
            (reply.status, reply.element("Code").as_deref()),
            (status, Some(code)),
            "{id} {payload} {decoded}: {}",
            reply.text()
        );
        scene.is_unharmed(id);
    }
    // BI-109, and the shapes of SE-85: no length, a header line without end, both codings.
    for fields in [
        "Content-Length: 13\r\n",
        "Content-Length: 13\r\nx-amz-decoded-content-length:\r\n",
        "Transfer-Encoding: chunked\r\nx-amz-decoded-content-length: 3\r\n",
    ] {
        let fields = format!("x-amz-content-sha256: {streaming}\r\n{fields}");
        let reply = scene.server.raw(open("PUT", &fields, "zzzzzzzzzzz\r\n").as_bytes(), false);
        assert!((400..500).contains(&reply.status), "SE-85 {fields}: {}", reply.text());
        scene.is_unharmed("SE-85");
    }
}

/// SE-01 to SE-03, SE-12, BI-124, BI-125: a made-up signature on every operation that carries a body.
#[test]
fn a_made_up_signature_opens_no_operation() {
    let scene = Scene::new();
    let liar = Client::new(scene.server.address(), Some(("accessKey1", "wrong")));
    for (method, target) in [
        ("PUT", "/shut/k"),
        ("PUT", "/shut/up?partNumber=1&uploadId={upload}"),
        ("POST", "/shut/up?uploadId={upload}"),
        ("POST", "/shut?delete"),
        ("PUT", "/shut?policy"),
        ("PUT", "/shut?acl"),
        ("PUT", "/shut?cors"),
        ("PUT", "/shut?lifecycle"),
        ("PUT", "/shut/k?tagging"),
        ("PUT", "/new"),
    ] {
        let target = target.replace("{upload}", &scene.upload);
        liar.send(method, &target, &[], b"x").expect_error(403, "SignatureDoesNotMatch");
        for payload in ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "UNSIGNED-PAYLOAD"] {
            let fields = [("x-amz-decoded-content-length", "1")];
            let reply = made_up(&scene, method, &target, payload, &fields);
            assert_eq!(reply.status, 403, "SE-02 {method} {target}: {}", reply.text());
        }
        scene.is_unharmed("SE-02");
    }
}

/// A request whose key exists, whose date is now, and whose signature is 64 zeros.
fn made_up(scene: &Scene, method: &str, target: &str, payload: &str, fields: &[(&str, &str)]) -> Reply {
    let date = s3pail::codec::time::basic(crate::harness::now());
    let day = &date[..8];
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 13\r\n\
         x-amz-date: {date}\r\nx-amz-content-sha256: {payload}\r\nauthorization: AWS4-HMAC-SHA256 \
         Credential=accessKey1/{day}/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;\
         x-amz-date;x-amz-decoded-content-length, Signature={}\r\n",
        "0".repeat(64)
    );
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    scene.server.raw(format!("{request}\r\n1\r\nx\r\n0\r\n\r\n").as_bytes(), false)
}
