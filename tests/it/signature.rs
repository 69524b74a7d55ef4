//! Who is let in: signatures through HTTP. What the verifiers do in detail is tested beside them.

use crate::harness::{Client, TestServer, now};
use s3pail::auth::Head;
use s3pail::auth::chunked::encode;
use s3pail::auth::sigv4::Signer;
use s3pail::http::{Headers, Method};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const BART: Signer<'_> = Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };

/// SE-01 to SE-05, BI-173.
#[test]
fn wrong_keys_and_wrong_signatures_are_refused() {
    let server = TestServer::memory();
    server.bucket("abc");
    let wrong = Client::new(server.address(), Some(("accessKey1", "wrong")));
    let unknown = Client::new(server.address(), Some(("nobody", "wrong")));
    for (method, target) in [("GET", "/"), ("PUT", "/abc/k"), ("POST", "/abc/k?uploads"), ("DELETE", "/abc")]
    {
        wrong.send(method, target, &[], b"").expect_error(403, "SignatureDoesNotMatch");
        unknown.send(method, target, &[], b"").expect_error(403, "InvalidAccessKeyId");
        server.anonymous().send(method, target, &[], b"").expect_error(403, "AccessDenied");
    }
    // OP-13: what the client sent is explained, and never what would have been right.
    let reply = wrong.get("/abc");
    let sent = reply.element("SignatureProvided").unwrap();
    let is_signature = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let text = reply.text();
    let shown: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_signature(word)).collect();
    let explained = [reply.element("StringToSign"), reply.element("CanonicalRequest")].map(Option::unwrap);
    let is_explained = |word: &str| word == sent || explained.iter().any(|part| part.contains(word));
    assert!(shown.iter().all(|word| is_explained(word)), "OP-13: {text}");
    for element in ["StringToSign", "CanonicalRequest", "SignatureProvided", "AWSAccessKeyId"] {
        assert!(reply.element(element).is_some(), "{element}");
    }
}

/// BI-187.
#[test]
fn a_body_that_is_not_the_signed_one_is_refused() {
    let server = TestServer::memory();
    server.bucket("abc");
    let request = |sent: &str| {
        let mut headers = Headers::new();
        headers.push("host", &server.address().to_string());
        let head = Head { method: Method::Put, path: "/abc/k", query: "", headers: &headers };
        let payload = s3pail::codec::hex(&s3pail::auth::keys::sha256(b"right"));
        let signed = BART.sign(now(), &head, &payload);
        let mut text = format!("PUT /abc/k HTTP/1.1\r\nhost: {}\r\ncontent-length: 5\r\n", server.address());
        for (name, value) in &signed.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        server.raw(format!("{text}\r\n{sent}").as_bytes(), false)
    };
    request("right").expect(200);
    request("wrong").expect_error(400, "XAmzContentSHA256Mismatch");
    assert_eq!(server.get("/abc/k").text(), "right");
}

/// BI-181, BI-182.
#[test]
fn a_presigned_url_is_good_for_what_it_was_made_for() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/k", b"x").expect(200);
    let mut headers = Headers::new();
    headers.push("host", &server.address().to_string());
    let presign = |at: u64, expires: u64| {
        let head = Head { method: Method::Get, path: "/abc/k", query: "", headers: &headers };
        BART.presign(at, expires, &head)
    };
    let anonymous = server.anonymous();
    let url = format!("/abc/k?{}", presign(now(), 60));
    assert_eq!(anonymous.get(&url).expect(200).text(), "x");
    anonymous.head(&url).expect(403);
    anonymous.put(&url, b"y").expect_error(403, "SignatureDoesNotMatch");
    anonymous.get(&url.replace("/k?", "/other?")).expect_error(403, "SignatureDoesNotMatch");
    anonymous.get(&format!("{url}&versionId=null")).expect_error(403, "SignatureDoesNotMatch");
    anonymous.get(&format!("/abc/k?{}", presign(now() - 120_000, 60))).expect_error(403, "AccessDenied");
    let too_long = presign(now(), 604_801);
    anonymous.get(&format!("/abc/k?{too_long}")).expect_error(400, "AuthorizationQueryParametersError");
}

/// The AWS SDK for JavaScript v3 presigns uploads with the checksum of an empty body.
#[test]
fn a_presigned_checksum_binds_nobody() {
    let server = TestServer::memory();
    server.bucket("abc");
    let mut headers = Headers::new();
    headers.push("host", &server.address().to_string());
    let query = "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32&x-amz-meta-a=b";
    let head = Head { method: Method::Put, path: "/abc/k", query, headers: &headers };
    let url = format!("/abc/k?{}", BART.presign(now(), 60, &head));
    server.anonymous().put(&url, b"not empty").expect(200);
    let reply = server.get("/abc/k").expect(200);
    assert_eq!((reply.text().as_str(), reply.header("x-amz-meta-a")), ("not empty", Some("b")));
}

/// As recorded of AWS S3: what a form on a page cannot send as a field may be signed as a parameter.
#[test]
fn presigned_parameters_are_fields_and_conditions_of_the_request() {
    let server = TestServer::memory();
    server.bucket("abc");
    let put = |query: &str, signed: &[(&str, &str)]| {
        let mut headers = Headers::new();
        headers.push("host", &server.address().to_string());
        signed.iter().for_each(|(name, value)| headers.push(name, value));
        let head = Head { method: Method::Put, path: "/abc/k", query, headers: &headers };
        server.anonymous().put(&format!("/abc/k?{}", BART.presign(now(), 60, &head)), b"x")
    };
    // Named among the signed fields, as the AWS SDK for JavaScript v2 does.
    put("x-amz-acl=public-read&Content-Type=a", &[("x-amz-acl", "public-read")]).expect(200);
    assert_eq!(server.anonymous().get("/abc/k").expect(200).text(), "x");
    put("x-amz-acl=private", &[("x-amz-acl", "public-read")]).expect_error(403, "SignatureDoesNotMatch");
    put("If-None-Match=%2A", &[]).expect_error(412, "PreconditionFailed");
    put("If-Match=abc", &[]).expect_error(412, "PreconditionFailed");
}

/// BI-114 to BI-130 in outline: framing never reaches the object, and a wrong frame stores nothing.
#[test]
fn framed_bodies_are_unframed_and_verified() {
    let server = TestServer::memory();
    server.bucket("abc");
    let send = |payload: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut headers = Headers::new();
        headers.push("host", &server.address().to_string());
        headers.push("x-amz-decoded-content-length", "70000");
        headers.push("content-encoding", "aws-chunked");
        let trailer = payload.ends_with("TRAILER");
        if trailer {
            headers.push("x-amz-trailer", "x-amz-checksum-crc32");
        }
        let head = Head { method: Method::Put, path: "/abc/k", query: "", headers: &headers };
        let mut signed = BART.sign(now(), &head, payload);
        let body = vec![b'a'; 70_000];
        let crc = s3pail::codec::digest::Checksum::of(s3pail::codec::digest::ChecksumAlgorithm::Crc32, &body);
        let crc = crc.to_base64();
        let trailers = [("x-amz-checksum-crc32", crc.as_str())];
        let chain = payload.starts_with("STREAMING-AWS4").then_some(&mut signed.chain);
        let mut framed = encode(&[&body[..65_536], &body[65_536..]], chain, trailer.then_some(&trailers[..]));
        change(&mut framed);
        let mut text =
            format!("PUT /abc/k HTTP/1.1\r\ncontent-length: {}\r\nconnection: close\r\n", framed.len());
        for (name, value) in headers.iter() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        for (name, value) in &signed.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        server.raw(&[text.as_bytes(), b"\r\n", &framed].concat(), false)
    };
    for payload in [
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    ] {
        send(payload, &|_| {}).expect(200);
        let got = server.get("/abc/k").expect(200);
        assert_eq!(got.body, vec![b'a'; 70_000], "{payload}");
        assert_eq!(got.header("content-encoding"), None, "{payload}");
        server.delete("/abc/k").expect(204);
        let reply = send(payload, &|framed| framed[70_000] = b'b');
        assert!([400, 403].contains(&reply.status), "{payload}: {}", reply.text());
        server.get("/abc/k").expect_error(404, "NoSuchKey");
    }
}

/// A PUT of `/abc/k` in chunks, each signed: the head, and the framed body.
fn chunked_put(server: &TestServer, chunks: &[&[u8]]) -> (String, Vec<u8>) {
    let length: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    let mut headers = Headers::new();
    headers.push("host", &server.address().to_string());
    headers.push("x-amz-decoded-content-length", &length.to_string());
    headers.push("content-encoding", "aws-chunked");
    let head = Head { method: Method::Put, path: "/abc/k", query: "", headers: &headers };
    let mut signed = BART.sign(now(), &head, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let framed = encode(chunks, Some(&mut signed.chain), None);
    let mut text =
        format!("PUT /abc/k HTTP/1.1\r\ncontent-length: {}\r\nconnection: close\r\n", framed.len());
    let fields = headers.iter().chain(signed.fields.iter().map(|(name, value)| (&**name, &**value)));
    fields.for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    (text + "\r\n", framed)
}

/// DL-10: what is stored has the length of the body, and not that of its frame, whatever the length is.
#[test]
fn a_framed_body_is_stored_in_its_own_length() {
    let server = TestServer::file();
    server.bucket("abc");
    for length in [0, 1, 2, 99, 8_191, 8_192, 16_384, 16_385, 65_535, 65_536, 65_537, 262_144, 262_145] {
        let body: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8 + 1).collect();
        let chunks: Vec<&[u8]> = body.chunks(65_536).collect();
        let (head, framed) = chunked_put(&server, &chunks);
        server.raw(&[head.as_bytes(), &framed].concat(), false).expect(200);
        assert!(server.get("/abc/k").expect(200).body == body, "{length}");
        let listed = server.get("/abc").expect(200).element("Size");
        assert_eq!(listed, Some(length.to_string()));
    }
}

/// DL-13: a framed body that ends anywhere but at its end is not stored.
#[test]
fn a_framed_body_that_is_cut_anywhere_is_not_stored() {
    let server = TestServer::memory();
    server.bucket("abc");
    let (first, next) = ([1; 8_192], [2; 8_193]);
    let chunks: [&[u8]; 3] = [&first, &next, b"end"];
    let (_, framed) = chunked_put(&server, &chunks);
    // Everywhere but in the middle of a chunk's data, where all places are alike.
    let data = |length: &usize| (200..8_000).contains(length) || (8_600..16_300).contains(length);
    for length in (0..framed.len()).filter(|length| !data(length) || length % 1_000 == 0) {
        let (head, framed) = chunked_put(&server, &chunks);
        // Once as if that were all, once with the connection cut off.
        let short = head.replace(
            &format!("content-length: {}\r\n", framed.len()),
            &format!("content-length: {length}\r\n"),
        );
        let reply = server.raw(&[short.as_bytes(), &framed[..length]].concat(), false);
        assert_eq!(reply.status, 400, "{length} bytes: {}", reply.text());
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&[head.as_bytes(), &framed[..length]].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{length} bytes, then the end");
        server.get("/abc/k").expect_error(404, "NoSuchKey");
    }
    let (head, framed) = chunked_put(&server, &chunks);
    server.raw(&[head.as_bytes(), &framed].concat(), false).expect(200);
    assert_eq!(server.get("/abc/k").expect(200).body, chunks.concat());
}

/// PT-09: no byte of what is signed can be another one, and what is not signed, and the order of parameters, may.
#[test]
fn no_byte_of_a_signed_request_can_be_changed() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/key", b"before").expect(200);
    let fields = [("x-amz-meta-name", "value"), ("content-type", "text/plain")];
    let request = server.request("PUT", "/abc/key?a=1&b=2", &fields, b"the body");
    let text = String::from_utf8(request.clone()).unwrap();
    let mut tried = 0;
    let mut at = 0;
    for line in text.split_inclusive("\r\n") {
        let signed = ["connection:", "content-length:"].iter().all(|name| !line.starts_with(name));
        let end = line.trim_end().strip_suffix(" HTTP/1.1").unwrap_or(line.trim_end()).len();
        for place in (at..at + end).filter(|_| signed) {
            let mut changed = request.clone();
            // A letter becomes another one, and not the same in the other case.
            changed[place] ^= if changed[place] == b' ' { b' ' ^ b'x' } else { 1 };
            let reply = server.raw(&changed, false);
            assert!(reply.status >= 300, "byte {place}, in {line:?}: {}", reply.status);
            tried += 1;
        }
        at += line.len();
    }
    assert!(tried > 300, "{tried}");
    assert_eq!(server.get("/abc/key").expect(200).body, b"before");
    assert_eq!(server.get("/abc").expect(200).elements("Key"), ["key"]);
    assert_eq!(server.get("/").expect(200).elements("Name"), ["abc"]);
    let again = text.replacen("?a=1&b=2", "?b=2&a=1", 1).replacen("connection: close\r\n", "x: y\r\n", 1);
    server.raw(again.as_bytes(), false).expect(200);
    assert_eq!(server.get("/abc/key").expect(200).body, b"the body");
}
