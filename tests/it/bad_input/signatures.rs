//! Who asks (rows BI-171 to BI-190) through the whole server; the verifiers are tested beside them.

use super::Scene;
use crate::harness::{Client, now};
use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::http::{Headers, Method};

const BART: Signer<'_> = Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };

/// A request with the fields of a signature, of which each may be changed before it is sent.
fn signed(
    scene: &Scene,
    signer: &Signer<'_>,
    at: u64,
    path: &str,
    query: &str,
) -> (Headers, Vec<(String, String)>) {
    let mut headers = Headers::new();
    headers.push("host", &scene.server.address().to_string());
    let head = Head { method: Method::Get, path, query, headers: &headers };
    let payload = s3pail::codec::hex(&s3pail::auth::keys::sha256(b""));
    let fields = signer.sign(at, &head, &payload).fields;
    (headers, fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn get(scene: &Scene, target: &str, headers: &Headers, fields: &[(String, String)]) -> crate::harness::Reply {
    let mut request = format!("GET {target} HTTP/1.1\r\nconnection: close\r\n");
    let own = headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in own.chain(fields.iter().cloned()) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    scene.server.raw(format!("{request}\r\n").as_bytes(), false)
}

/// BI-171, BI-172: a header that says nothing usable is never taken for none.
#[test]
fn a_broken_authorization_never_makes_an_anonymous_request() {
    let scene = Scene::new();
    let scope = "Credential=accessKey1/20200101/us-east-1/s3/aws4_request";
    let long = "x".repeat(8192);
    for value in [
        "",
        "x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        &format!("AWS4-HMAC-SHA256 {scope}"),
        &format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host"),
        &format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature="),
        &format!("AWS4-HMAC-SHA256 {scope}, {scope}, SignedHeaders=host, Signature={}", "0".repeat(64)),
        &format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature={}", "z".repeat(64)),
        "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=y",
        &format!("AWS4-HMAC-SHA256 {long}"),
        "AWS",
        "AWS x",
        "AWS accessKey1",
        "AWS accessKey1:",
        "AWS :x",
        "Bearer x",
        "Basic dXNlcjpwYXNz",
        "AWS5-HMAC-SHA256 x",
        "AWS4-ECDSA-P256-SHA256 x",
    ] {
        // Anybody may read this object, so an anonymous request would succeed.
        let request =
            format!("GET /open/k HTTP/1.1\r\nHost: h\r\nAuthorization: {value}\r\nConnection: close\r\n\r\n");
        let reply = scene.server.raw(request.as_bytes(), false);
        assert!(
            [400, 403, 501].contains(&reply.status),
            "BI-171 {:?}: {}",
            &value[..value.len().min(80)],
            reply.text()
        );
    }
    scene.is_unharmed("BI-171");
}

/// BI-173 to BI-175, SE-13, SE-14, SE-25, SE-35, SE-52.
#[test]
fn keys_dates_and_scopes_must_fit() {
    let scene = Scene::new();
    let minutes = 60_000;
    let current = now();
    let nobody = Signer { access_key: "nobody", secret: "x", region: "us-east-1" };
    let other = Signer { access_key: "accessKey1", secret: "verySecretKey2", region: "us-east-1" };
    for (id, signer, at, status, code) in [
        ("BI-173", &nobody, current, 403, "InvalidAccessKeyId"),
        ("SE-52", &other, current, 403, "SignatureDoesNotMatch"),
        ("BI-174", &BART, current - 16 * minutes, 403, "RequestTimeTooSkewed"),
        ("BI-174", &BART, current + 16 * minutes, 403, "RequestTimeTooSkewed"),
        ("BI-174", &BART, 0, 403, "RequestTimeTooSkewed"),
    ] {
        let (headers, fields) = signed(&scene, signer, at, "/shut/k", "");
        get(&scene, "/shut/k", &headers, &fields).expect_error(status, code);
        scene.is_unharmed(id);
    }
    for (id, from, to) in [
        ("SE-35", "/s3/aws4_request", "/s3tables/aws4_request"),
        ("SE-35", "/s3/aws4_request", "/iam/aws4_request"),
        ("SE-35", "/s3/aws4_request", "/sts/aws4_request"),
        ("BI-175", "/s3/aws4_request", "/s3/aws4"),
        ("BI-175", "/us-east-1/", "/eu-west-9/"),
        ("BI-175", "accessKey1/2", "accessKey1/1"),
        ("BI-176", "host;", ""),
        ("BI-178", "host;", "host;x-absent;"),
        ("BI-178", "host;", "x-z;host;"),
        ("BI-187", "Signature=", "Signature=0"),
    ] {
        let (headers, mut fields) = signed(&scene, &BART, current, "/shut/k", "");
        let (_, value) =
            fields.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("authorization")).unwrap();
        let changed = value.replace(from, to);
        assert_ne!(*value, changed, "{id}: the test changes something");
        *value = changed;
        let reply = get(&scene, "/shut/k", &headers, &fields);
        assert!([400, 403].contains(&reply.status), "{id} {from} {to}: {}", reply.text());
    }
    scene.is_unharmed("scopes");
}

/// BI-177, BI-187, BI-188, SE-26.
#[test]
fn what_is_signed_is_what_is_sent() {
    let scene = Scene::new();
    let (headers, fields) = signed(&scene, &BART, now(), "/shut/k", "");
    assert_eq!(get(&scene, "/shut/k", &headers, &fields).expect(200).body, super::KEPT);
    for target in ["/shut/./k", "/shut//k", "/shut/K", "/open/k", "/shut/k?acl", "/shut/k?versionId=null"] {
        get(&scene, target, &headers, &fields).expect_error(403, "SignatureDoesNotMatch");
    }
    // Spelled differently, but the same once decoded, which is what is signed and what is read.
    assert_eq!(get(&scene, "/shut/%6B", &headers, &fields).expect(200).body, super::KEPT);
    let mut other = fields.clone();
    other.push(("x-amz-acl".to_owned(), "public-read".to_owned()));
    get(&scene, "/shut/k", &headers, &other).expect_error(403, "AccessDenied");
    scene.is_unharmed("BI-187");
}

/// BI-177, BI-183, SE-08: an unsigned header on a signed upload does nothing but refuse it.
#[test]
fn unsigned_headers_spoil_a_presigned_upload() {
    let scene = Scene::new();
    let mut headers = Headers::new();
    headers.push("host", &scene.server.address().to_string());
    let head = Head { method: Method::Put, path: "/shut/k", query: "", headers: &headers };
    let url = format!("/shut/k?{}", BART.presign(now(), 60, &head));
    for (name, value) in [
        ("x-amz-copy-source", "open/k"),
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-meta-a", "b"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-security-token", "x"),
        ("x-amz-grant-read", "id=x"),
    ] {
        let reply = scene.server.anonymous().send("PUT", &url, &[(name, value)], b"x");
        assert!([400, 403].contains(&reply.status), "SE-08 {name}: {} {}", reply.status, reply.text());
        scene.is_unharmed("SE-08");
    }
}

/// BI-181, BI-182, BI-184, SE-17.
#[test]
fn presigned_urls_are_good_for_one_thing() {
    let scene = Scene::new();
    let mut headers = Headers::new();
    headers.push("host", &scene.server.address().to_string());
    let presign = |at: u64, expires: u64| {
        let head = Head { method: Method::Get, path: "/shut/k", query: "", headers: &headers };
        BART.presign(at, expires, &head)
    };
    let anonymous = scene.server.anonymous();
    let good = presign(now(), 60);
    assert_eq!(anonymous.get(&format!("/shut/k?{good}")).expect(200).body, super::KEPT);
    let parts: Vec<&str> = good.split('&').collect();
    for (index, part) in parts.iter().enumerate() {
        let rest: Vec<&str> =
            parts.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, p)| *p).collect();
        let twice = format!("{good}&{part}");
        let lower = good.replacen(part, &part.to_ascii_lowercase(), 1);
        let mut cases = vec![("missing", rest.join("&")), ("twice", twice)];
        if lower != good {
            cases.push(("lower case", lower));
        }
        for (what, query) in cases {
            let reply = anonymous.get(&format!("/shut/k?{query}"));
            assert!(
                [400, 403].contains(&reply.status),
                "BI-184 {what} {part}: {} {}",
                reply.status,
                reply.text()
            );
        }
    }
    for expires in ["0", "-1", "604801", "abc", "9223372036854775808", ""] {
        let changed = good.replace("X-Amz-Expires=60", &format!("X-Amz-Expires={expires}"));
        assert_ne!(changed, good);
        let reply = anonymous.get(&format!("/shut/k?{changed}"));
        assert!([400, 403].contains(&reply.status), "BI-181 {expires}: {} {}", reply.status, reply.text());
    }
    anonymous.get(&format!("/shut/k?{}", presign(now() - 62_000, 60))).expect_error(403, "AccessDenied");
    for query in ["acl", "versionId=null", "uploadId=x", "tagging"] {
        anonymous.get(&format!("/shut/k?{good}&{query}")).expect_error(403, "SignatureDoesNotMatch");
    }
    // An object has no POST without a sub-resource.
    for (method, status) in [("HEAD", 403), ("PUT", 403), ("DELETE", 403), ("POST", 405)] {
        let reply = anonymous.send(method, &format!("/shut/k?{good}"), &[], b"");
        assert_eq!(reply.status, status, "BI-182 {method}");
    }
    scene.is_unharmed("presigned");
}

/// BI-189, BI-190 in small, SE-20, SE-21.
#[test]
fn tokens_and_floods_of_bad_signatures_open_nothing() {
    let scene = Scene::new();
    let fields = [("x-amz-security-token", "garbage")];
    let reply = scene.server.send("GET", "/shut/k", &fields, b"");
    assert!([400, 403].contains(&reply.status), "BI-189: {}", reply.text());
    let liar = Client::new(scene.server.address(), Some(("accessKey1", "wrong")));
    for _ in 0..500 {
        liar.get("/shut/k").expect_error(403, "SignatureDoesNotMatch");
    }
    scene.is_unharmed("BI-190");
}

/// BI-180: a body that is not signed is taken over plain HTTP too, as S3 takes it.
#[test]
fn an_unsigned_payload_is_accepted() {
    let scene = Scene::new();
    let mut headers = Headers::new();
    headers.push("host", &scene.server.address().to_string());
    let head = Head { method: Method::Put, path: "/shut/new", query: "", headers: &headers };
    let fields = BART.sign(now(), &head, "UNSIGNED-PAYLOAD").fields;
    let mut request = format!(
        "PUT /shut/new HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 3\r\n",
        scene.server.address()
    );
    for (name, value) in &fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    scene.server.raw(format!("{request}\r\nabc").as_bytes(), false).expect(200);
    assert_eq!(scene.server.get("/shut/new").text(), "abc", "BI-180");
    scene.lives("BI-180");
}
