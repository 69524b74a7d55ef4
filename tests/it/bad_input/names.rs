//! Bucket names, keys, query parameters and ranges (rows BI-131 to BI-170).

use super::Scene;
use s3pail::codec::uri::encode;

/// Keys that a file system, a proxy or another server would take for something else, percent-encoded.
const KEYS: &[(&str, &str)] = &[
    ("BI-131", "../../etc/passwd"),
    ("BI-131", "..%2F..%2Fetc%2Fshadow"),
    ("BI-131", "%2e%2e%2fcanary"),
    ("BI-131", "%2e%2e/data/canary"),
    ("BI-131", "..%5ccanary"),
    ("BI-131", "%252e%252e%252fcanary"),
    ("BI-132", "."),
    ("BI-132", ".."),
    ("BI-132", "./a"),
    ("BI-132", "a/.."),
    ("BI-132", "a/../b"),
    ("BI-132", "a/./b"),
    ("BI-132", "a//b"),
    ("BI-132", "/a"),
    ("BI-132", "a/"),
    ("BI-132", "a"),
    ("BI-135", "%01%1f%7f%09%0a%0d"),
    ("BI-138", "a+b"),
    ("BI-138", "a%20b"),
    ("BI-141", "\u{e9}"),
    ("BI-141", "e\u{301}"),
    ("BI-141", "E"),
    ("BI-141", "e"),
    ("BI-142", ".lock"),
    ("BI-142", "tmp/x"),
    ("BI-142", "metadata/x"),
    ("BI-142", "mpuShadowBucket..|..x"),
    ("BI-142", "localData"),
    ("BI-143", "f"),
    ("BI-143", "f/g"),
    ("BI-143", "h/i"),
    ("BI-143", "h"),
    ("BI-148", "a%3Fb%23c%26d%3Be"),
    ("SE-66", "..%5C..%5Ccanary"),
    ("SE-81", "'%20OR%201=1;--%20%22%5c"),
];

/// Decodes percent-encoding; the keys here have no broken escapes.
fn decoded(key: &str) -> String {
    s3pail::codec::uri::decode(key).unwrap()
}

/// BI-131, BI-132, BI-135, BI-138, BI-140 to BI-144, BI-148, SE-62, SE-66, SE-68, SE-74, SE-81: each is a key
/// of its own, found again under it alone, listed under it, copied and deleted by it.
#[test]
fn strange_keys_are_opaque() {
    let scene = Scene::new();
    let server = &scene.server;
    let long = "k".repeat(1024);
    let deep = "a/".repeat(512);
    let mut keys: Vec<(&str, String)> = KEYS
        .iter()
        .map(|(id, key)| (*id, if key.is_ascii() { (*key).to_owned() } else { encode(key) }))
        .collect();
    keys.extend([("BI-140", long), ("BI-144", deep)]);
    for (id, key) in &keys {
        let body = format!("body of {key}");
        let reply = server.put(&format!("/shut/{key}"), body.as_bytes());
        assert_eq!(reply.status, 200, "{id} {key}: {}", reply.text());
    }
    for (id, key) in &keys {
        let reply = server.get(&format!("/shut/{key}"));
        assert_eq!((reply.status, reply.text()), (200, format!("body of {key}")), "{id} {key}");
        // BI-133: the same key from a copy source.
        let source = [("x-amz-copy-source", format!("shut/{key}"))];
        let fields: Vec<(&str, &str)> = source.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let copied = server.send("PUT", "/shut/copy", &fields, b"");
        assert_eq!(copied.status, 200, "{id} {key}: {}", copied.text());
        assert_eq!(server.get("/shut/copy").text(), format!("body of {key}"), "{id} {key}");
    }
    server.delete("/shut/copy").expect(204);
    let listed = server.get("/shut?list-type=2&encoding-type=url").expect(200).elements("Key");
    let mut listed: Vec<String> = listed.iter().map(|key| decoded(&key.replace('+', "%20"))).collect();
    let mut expected: Vec<String> = keys.iter().map(|(_, key)| decoded(key)).collect();
    expected.push("k".to_owned());
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    // Without encoding the page is XML all the same.
    let page = server.get("/shut").expect(200).text();
    assert!(!page.chars().any(|c| c.is_control() && !['\n', '\t', '\r'].contains(&c)), "BI-135: {page}");
    for (id, key) in &keys {
        assert_eq!(server.delete(&format!("/shut/{key}")).status, 204, "{id} {key}");
    }
    scene.is_unharmed("strange keys");
}

/// BI-134, BI-136, BI-137, BI-139, BI-145 to BI-147, BI-149, SE-63, SE-89, SE-101.
#[test]
fn impossible_names_are_refused() {
    let scene = Scene::new();
    let too_long = format!("PUT /shut/{}", "k".repeat(1025));
    let too_long_utf8 = format!("PUT /shut/{}", "%e2%82%ac".repeat(342));
    let name_too_long = format!("PUT /{}", "b".repeat(64));
    scene.refuse(&[
        ("BI-136", "PUT /shut/%ff", &[], "x", 400, "InvalidURI"),
        ("BI-136", "PUT /shut/%c0%ae%c0%ae/", &[], "x", 400, "InvalidURI"),
        ("BI-136", "PUT /shut/%ed%a0%80", &[], "x", 400, "InvalidURI"),
        ("BI-137", "PUT /shut/%", &[], "x", 400, "InvalidURI"),
        ("BI-137", "PUT /shut/%2", &[], "x", 400, "InvalidURI"),
        ("BI-137", "PUT /shut/%zz", &[], "x", 400, "InvalidURI"),
        ("BI-139", &too_long, &[], "x", 400, "KeyTooLongError"),
        ("BI-139", &too_long_utf8, &[], "x", 400, "KeyTooLongError"),
        ("BI-145", "PUT /..", &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /.", &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /a..b", &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /-aa", &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /AAA", &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /ab", &[], "", 400, "InvalidBucketName"),
        ("BI-145", &name_too_long, &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /192.168.0.1", &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /xn--a", &[], "", 400, "InvalidBucketName"),
        ("BI-145", "PUT /%2e%2e", &[], "", 400, "InvalidBucketName"),
        ("BI-146", "PUT /", &[], "", 405, "MethodNotAllowed"),
        ("BI-146", "DELETE /", &[], "", 405, "MethodNotAllowed"),
        ("BI-146", "POST /", &[], "", 405, "MethodNotAllowed"),
        ("BI-147", "GET //shut/k", &[], "", 400, "InvalidBucketName"),
        ("SE-63", "GET /open/../shut/k", &[], "", 404, "NoSuchKey"),
        ("SE-63", "GET /open/%2e%2e/shut/k", &[], "", 404, "NoSuchKey"),
        ("SE-63", "GET /open%2f..%2fshut/k", &[], "", 400, "InvalidBucketName"),
    ]);
    // BI-134: a NUL never ends a key.
    let reply = scene.server.put("/shut/k%00x", b"other");
    assert!([200, 400].contains(&reply.status), "BI-134: {}", reply.text());
    scene.lives("BI-134");
}

/// BI-149: the bucket of the host, and all of the path is the key.
#[test]
fn a_host_that_names_a_bucket_wins_over_the_path() {
    let scene = Scene::new();
    let request = "PUT /shut/k HTTP/1.1\r\nHost: open.localhost\r\nContent-Length: 1\r\n\r\nx";
    scene.raw("BI-149", request, 200, "");
    scene.lives("BI-149");
    assert_eq!(scene.server.anonymous().get("/open/shut/k").expect(200).text(), "x");
}

/// BI-150 to BI-163, BI-168, SE-37, SE-73, SE-90.
#[test]
fn bad_parameters_are_refused() {
    let scene = Scene::new();
    let token = format!("GET /shut?list-type=2&continuation-token={}", "a".repeat(15_000));
    let upload = format!("GET /shut/up?uploadId={}", "a".repeat(10_240));
    let invalid = "InvalidArgument";
    scene.refuse(&[
        ("BI-150", "GET /shut?max-keys=-1", &[], "", 400, invalid),
        ("BI-150", "GET /shut?max-keys=abc", &[], "", 400, invalid),
        ("BI-150", "GET /shut?max-keys=2147483648", &[], "", 400, invalid),
        ("BI-150", "GET /shut?max-keys=1.5", &[], "", 400, invalid),
        ("BI-150", "GET /shut?list-type=2&max-keys=-1", &[], "", 400, invalid),
        ("BI-150", "GET /shut?versions&max-keys=-1", &[], "", 400, invalid),
        ("BI-152", "GET /shut?uploads&max-uploads=-1", &[], "", 400, invalid),
        ("BI-152", "GET /shut?uploads&max-uploads=abc", &[], "", 400, invalid),
        ("BI-152", "GET /shut/up?uploadId={upload}&max-parts=-1", &[], "", 400, invalid),
        ("BI-152", "GET /shut/up?uploadId={upload}&max-parts=99999999999", &[], "", 400, invalid),
        ("BI-152", "GET /shut/up?uploadId={upload}&part-number-marker=abc", &[], "", 400, invalid),
        ("BI-152", "GET /?max-buckets=-1", &[], "", 400, invalid),
        ("BI-152", "GET /?max-buckets=99999999999", &[], "", 400, invalid),
        ("BI-153", "GET /shut?list-type=2&continuation-token=garbage", &[], "", 400, invalid),
        ("BI-153", &token, &[], "", 400, invalid),
        ("BI-154", "GET /shut?encoding-type=foo", &[], "", 400, invalid),
        ("BI-154", "GET /shut?list-type=3", &[], "", 400, invalid),
        ("BI-156", "GET /shut?acl&policy", &[], "", 400, invalid),
        ("BI-156", "POST /shut/up?uploads&uploadId={upload}", &[], "", 400, invalid),
        ("BI-159", "PUT /shut/k?foo-bar", &[], "x", 501, "NotImplemented"),
        ("BI-160", "GET /shut/k?versionId=", &[], "", 400, invalid),
        ("BI-160", "GET /shut/k?versionId=garbage", &[], "", 400, invalid),
        ("BI-160", "GET /shut/k?versionId=../../x", &[], "", 400, invalid),
        ("BI-161", "GET /shut/up?uploadId=../../x", &[], "", 404, "NoSuchUpload"),
        ("BI-161", "GET /shut/other?uploadId={upload}", &[], "", 404, "NoSuchUpload"),
        ("BI-161", "GET /open/up?uploadId={upload}", &[], "", 404, "NoSuchUpload"),
        ("BI-161", "PUT /shut/other?partNumber=1&uploadId={upload}", &[], "x", 404, "NoSuchUpload"),
        ("BI-161", "DELETE /open/up?uploadId={upload}", &[], "", 404, "NoSuchUpload"),
        ("BI-161", "GET /shut/up?uploadId=", &[], "", 404, "NoSuchUpload"),
        ("BI-161", &upload, &[], "", 404, "NoSuchUpload"),
        ("BI-162", "PUT /shut/up?partNumber=0&uploadId={upload}", &[], "x", 400, invalid),
        ("BI-162", "PUT /shut/up?partNumber=-1&uploadId={upload}", &[], "x", 400, invalid),
        ("BI-162", "PUT /shut/up?partNumber=10001&uploadId={upload}", &[], "x", 400, invalid),
        ("BI-162", "PUT /shut/up?partNumber=1.5&uploadId={upload}", &[], "x", 400, invalid),
        ("BI-162", "PUT /shut/up?partNumber=99999999999&uploadId={upload}", &[], "x", 400, invalid),
        ("BI-162", "PUT /shut/up?partNumber=abc&uploadId={upload}", &[], "x", 400, invalid),
        ("BI-163", "GET /shut/k?partNumber=2", &[], "", 416, "InvalidPartNumber"),
        ("BI-163", "GET /shut/k?partNumber=1", &[("range", "bytes=0-1")], "", 400, "InvalidRequest"),
    ]);
}

/// BI-151, BI-155, BI-157, BI-158: odd, and meant that way.
#[test]
fn odd_parameters_are_served() {
    let scene = Scene::new();
    let server = &scene.server;
    let page = server.get("/shut?max-keys=0").expect(200);
    assert_eq!(
        (page.elements("Key").len(), page.element("IsTruncated").as_deref()),
        (0, Some("false")),
        "BI-151"
    );
    let page = server.get("/shut?max-keys=100000").expect(200);
    assert_eq!(page.elements("Key"), ["k"], "BI-151");
    for (delimiter, found) in
        [("d".repeat(1024), 1), ("%00".to_owned(), 1), ("%c3%a9".to_owned(), 1), ("k".to_owned(), 0)]
    {
        let page = server.get(&format!("/shut?delimiter={delimiter}")).expect(200);
        assert_eq!(page.elements("Key").len(), found, "BI-155 {delimiter}");
    }
    let page = server.get(&format!("/shut?prefix={}", "p".repeat(1024))).expect(200);
    assert!(page.elements("Key").is_empty(), "BI-155");
    server.get(&format!("/shut?prefix={}", "p".repeat(1025))).expect_error(400, "InvalidArgument");
    // BI-157: whatever is taken of two values, it is the one that was looked for.
    let reply = server.get("/shut/k?versionId=null&versionId=garbage");
    assert!([200, 400].contains(&reply.status), "BI-157: {}", reply.text());
    let many: Vec<String> = (0..2000).map(|number| format!("p{number}")).collect();
    let reply = server.get(&format!("/shut/k?{}", many.join("&")));
    assert_eq!(reply.expect(200).body, super::KEPT, "BI-158");
    scene.is_unharmed("odd parameters");
}

/// BI-164 to BI-167.
#[test]
fn odd_ranges_do_not_confuse_lengths() {
    let scene = Scene::new();
    let server = &scene.server;
    server.put("/open/empty", b"").expect(200);
    let many = format!("bytes={}", vec!["0-1"; 1000].join(","));
    for (id, range, status, body) in [
        ("BI-164", "bytes=5-2", 200, "kept"),
        ("BI-164", "bytes=a-b", 200, "kept"),
        ("BI-164", "bytes=", 200, "kept"),
        ("BI-164", "items=0-1", 200, "kept"),
        ("BI-164", "bytes=--1", 200, "kept"),
        ("BI-166", "bytes=0-99999999999999999999", 206, "kept"),
        ("BI-166", "bytes=1-18446744073709551615", 206, "ept"),
        ("BI-166", "bytes=-99999999999999999999", 206, "kept"),
        ("BI-167", "bytes=0-1,2-3", 200, "kept"),
        ("BI-167", &many, 200, "kept"),
    ] {
        let reply = server.send("GET", "/shut/k", &[("range", range)], b"");
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (status, body),
            "{id} {}",
            &range[..range.len().min(60)]
        );
    }
    for (id, target, range) in [
        ("BI-165", "/shut/k", "bytes=-0"),
        ("BI-165", "/shut/k", "bytes=4-"),
        ("BI-165", "/shut/k", "bytes=4-5"),
        ("BI-165", "/open/empty", "bytes=0-"),
        ("BI-165", "/open/empty", "bytes=0-0"),
        ("BI-166", "/shut/k", "bytes=99999999999999999999-"),
    ] {
        let reply = server.send("GET", target, &[("range", range)], b"");
        assert_eq!(
            (reply.status, reply.element("Code").as_deref()),
            (416, Some("InvalidRange")),
            "{id} {range}"
        );
    }
    scene.lives("ranges");
}

/// BI-168 to BI-170, SE-76, SE-77.
#[test]
fn overrides_of_response_headers_cannot_split_or_come_from_anybody() {
    let scene = Scene::new();
    let server = &scene.server;
    for text in ["a%0d%0aSet-Cookie:x", "a%0aSet-Cookie:x", "a%0dSet-Cookie:x", "a%00b"] {
        for name in ["response-content-disposition", "response-content-type", "response-cache-control"] {
            let reply = server.get(&format!("/shut/k?{name}={text}"));
            assert!([200, 400].contains(&reply.status), "BI-168 {name}={text}: {}", reply.text());
            assert!(reply.header("set-cookie").is_none(), "BI-168 {name}={text}");
        }
    }
    let reply = server.get(&format!("/shut/k?response-content-disposition={}", "a".repeat(8192)));
    assert!([200, 400].contains(&reply.status), "BI-168");
    for name in ["content-type", "content-disposition", "expires", "cache-control", "content-language"] {
        let reply = server.anonymous().get(&format!("/open/k?response-{name}=text/html"));
        let got = (reply.status, reply.element("Code"));
        assert_eq!(got, (400, Some("InvalidRequest".to_owned())), "BI-169 {name}");
    }
    for (target, status) in [("/shut/missing", 404), ("/missing/k", 404)] {
        let reply = server.head(target).expect(status);
        assert!(reply.body.is_empty(), "BI-170 {target}");
    }
    server.anonymous().head("/shut/k").expect(403);
    scene.is_unharmed("overrides");
}
