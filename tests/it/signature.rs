//! Who is let in: signatures through HTTP. What the verifiers do in detail is tested beside them.

use crate::harness::{Client, TestServer, now};
use s3pail::auth::Head;
use s3pail::auth::chunked::encode;
use s3pail::auth::sigv4::Signer;
use s3pail::http::{Headers, Method};

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
