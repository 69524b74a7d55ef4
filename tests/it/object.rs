//! Objects: put, get, head, copy, delete, conditions, checksums.

use crate::harness::{Client, Reply, TestServer, engine_cannot, for_each_backend};
use s3pail::codec::digest::{Checksum, ChecksumAlgorithm};
use std::io::{BufReader, Write};
use std::net::TcpStream;

/// Bytes that repeat nowhere within a block.
fn body_of(length: usize) -> Vec<u8> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn an_object_comes_back_as_it_was_put() {
    for_each_backend(|server| {
        server.bucket("abc");
        // Around the sizes where bodies change their place: records, one block, several blocks.
        for length in
            [0, 1, 4_095, 4_096, 16_383, 16_384, 16_385, 65_537, 262_143, 262_144, 262_145, 1_000_000]
        {
            let body = body_of(length);
            let put = server.put("/abc/k", &body).expect(200);
            let got = server.get("/abc/k").expect(200);
            assert_eq!(got.body, body, "{length} bytes");
            assert_eq!(put.header("etag"), got.header("etag"));
            assert_eq!(
                server.head("/abc/k").expect(200).header("content-length"),
                Some(&*length.to_string())
            );
        }
    });
}

#[test]
fn metadata_is_kept_byte_for_byte() {
    let file = if engine_cannot("metadata outside of ASCII") {
        "attachment; filename=\"a b\""
    } else {
        "attachment; filename=\"ä b\""
    };
    for_each_backend(|server| {
        server.bucket("abc");
        let fields = [
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "max-age=3"),
            ("content-disposition", file),
            ("content-encoding", "gzip,aws-chunked"),
            ("content-language", "de"),
            ("expires", "never"),
            ("x-amz-meta-name", "Zoe  two  spaces"),
            ("x-amz-meta-empty", ""),
        ];
        server.send("PUT", "/abc/k", &fields, b"x").expect(200);
        for reply in [server.get("/abc/k"), server.head("/abc/k")] {
            for (name, value) in fields {
                let expected = if name == "content-encoding" { "gzip" } else { value };
                assert_eq!(reply.header(name).unwrap_or(""), expected, "{name}");
            }
        }
        let got = server.get("/abc/k?response-content-type=a/b&response-cache-control=no-store");
        assert_eq!(
            (got.header("content-type"), got.header("cache-control")),
            (Some("a/b"), Some("no-store"))
        );
        let message = server.anonymous().get("/abc/k?response-content-type=a/b");
        message.expect_error(403, "AccessDenied");
        server.get("/abc/k?response-content-type=a%0d%0ab").expect_error(400, "InvalidArgument");
    });
}

/// S3 takes the bytes of a header field for ISO-8859-1, so that a client's UTF-8 is encoded twice; the answers
/// are those that others have recorded.
#[test]
fn user_metadata_beyond_ascii_is_answered_in_encoded_words() {
    let mut cases = vec![
        ("=?UTF-8?Q?actually-ascii?=", "actually-ascii"),
        ("=?UTF-8?B?YWJj?=", "abc"),
        ("=?UTF-8?B?w4RNw4Raw5XDkSBTMw==?=", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
        ("=?UTF-8?B?=GGG?=", "=?UTF-8?B?=GGG?="),
        ("=?UTF-8?Q?a=09b?=", "a\tb"),
        ("=?UTF-8?Q?a=0D=0ASet-Cookie:_b?=", "=?UTF-8?Q?a=0D=0ASet-Cookie:_b?="),
    ];
    if !engine_cannot("metadata outside of ASCII") {
        cases.push(("Miniö", "=?UTF-8?Q?Mini=C3=83=C2=B6?="));
    }
    for_each_backend(|server| {
        server.bucket("abc");
        for (sent, expected) in &cases {
            server.send("PUT", "/abc/k", &[("x-amz-meta-a", sent)], b"x").expect(200);
            server.send("PUT", "/abc/copy", &[("x-amz-copy-source", "abc/k")], b"").expect(200);
            for reply in [server.get("/abc/k"), server.head("/abc/k"), server.head("/abc/copy")] {
                assert_eq!(reply.header("x-amz-meta-a"), Some(*expected), "{sent}");
                assert_eq!(reply.header("set-cookie"), None);
            }
        }
    });
}

/// BI-131 to BI-143. DL-17: nor does a key mean a file or a record of the store.
#[test]
fn keys_are_opaque() {
    for_each_backend(|server| {
        server.bucket("abc");
        let long = "k".repeat(1024);
        let keys = [
            "..",
            ".",
            "../../etc/passwd",
            "a/..",
            "a/../b",
            "a/./b",
            "a//b",
            "/a",
            "a/",
            "a",
            "a/b",
            "CON",
            "%2e%2e",
            "a%2520b",
            "a+b",
            "a%20b",
            "%01%1f",
            "%F0%9F%8E%89",
            ".lock",
            "tmp/x",
            "lock",
            "format",
            "blobs/unsynced",
            "quarantine/",
            "s3pail.journal",
            "o/abc%20",
            "i/00000000000000000000000000000000",
            "s/clean-stop",
            "p/0",
            "%3F%23%26%3B=",
            "A",
            long.as_str(),
        ];
        for key in keys {
            server.put(&format!("/abc/{key}"), key.as_bytes()).expect(200);
        }
        for key in keys.iter().filter(|key| !["..", "%2e%2e"].contains(key)) {
            assert_eq!(server.get(&format!("/abc/{key}")).expect(200).text(), *key);
        }
        // Two spellings of one key.
        assert_eq!(server.get("/abc/..").expect(200).text(), "%2e%2e");
        assert_eq!(server.get("/abc").expect(200).elements("Key").len(), keys.len() - 1);
        server.put(&format!("/abc/{}", "k".repeat(1025)), b"x").expect_error(400, "KeyTooLongError");
        for key in ["%00", "%", "%zz", "%ff", "%c0%ae"] {
            server.put(&format!("/abc/{key}"), b"x").expect_error(400, "InvalidURI");
        }
    });
}

/// BI-163 to BI-167.
#[test]
fn ranges_are_answered_as_s3_answers_them() {
    for_each_backend(|server| {
        server.bucket("abc");
        let body = body_of(600_000);
        server.put("/abc/k", &body).expect(200);
        let range = |range: &str| server.send("GET", "/abc/k", &[("range", range)], b"");
        for (text, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=262140-262150", 262_140, 262_151),
            ("bytes=599999-", 599_999, 600_000),
            ("bytes=-5", 599_995, 600_000),
            ("bytes=5-99999999999999999999", 5, 600_000),
            ("bytes=-99999999999999999999", 0, 600_000),
        ] {
            let reply = range(text).expect(206);
            assert_eq!(reply.body, body[from..to], "{text}");
            assert_eq!(reply.header("content-range"), Some(&*format!("bytes {from}-{}/600000", to - 1)));
        }
        for text in ["bytes=5-2", "bytes=a-b", "bytes=", "items=0-1", "bytes=--1", "bytes=0-1,3-4"] {
            assert_eq!(range(text).expect(200).body.len(), body.len(), "{text}");
        }
        for text in ["bytes=600000-", "bytes=-0", "bytes=99999999999999999999-"] {
            range(text).expect_error(416, "InvalidRange");
        }
        server.put("/abc/empty", b"").expect(200);
        server.send("GET", "/abc/empty", &[("range", "bytes=-1")], b"").expect(200);
        server.send("GET", "/abc/empty", &[("range", "bytes=0-0")], b"").expect_error(416, "InvalidRange");
        let head = server.send("HEAD", "/abc/k", &[("range", "bytes=1-3")], b"").expect(206);
        assert_eq!(head.header("content-length"), Some("3"));
    });
}

#[test]
fn reads_are_conditional() {
    for_each_backend(|server| {
        server.bucket("abc");
        let etag = server.put("/abc/k", b"x").expect(200).header("etag").unwrap().to_owned();
        let modified = server.head("/abc/k").header("last-modified").unwrap().to_owned();
        let get = |name: &str, value: &str| server.send("GET", "/abc/k", &[(name, value)], b"").status;
        assert_eq!(get("if-match", &etag), 200);
        assert_eq!(get("if-match", "\"other\""), 412);
        assert_eq!(get("if-none-match", &etag), 304);
        assert_eq!(get("if-none-match", "\"other\""), 200);
        assert_eq!(get("if-modified-since", &modified), 304);
        assert_eq!(get("if-unmodified-since", &modified), 200);
        assert_eq!(get("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"), 412);
        assert_eq!(get("if-modified-since", "garbage"), 200);
    });
}

/// SE-103.
#[test]
fn conditions_tell_nothing_to_who_may_not_read() {
    let server = TestServer::memory();
    server.bucket("abc");
    let etag = server.put("/abc/k", b"x").expect(200).header("etag").unwrap().to_owned();
    for (name, value) in
        [("if-none-match", etag.as_str()), ("if-match", "\"other\""), ("if-modified-since", "x")]
    {
        for key in ["/abc/k", "/abc/missing"] {
            server.anonymous().send("GET", key, &[(name, value)], b"").expect_error(403, "AccessDenied");
        }
    }
}

#[test]
fn writes_are_conditional() {
    for_each_backend(|server| {
        server.bucket("abc");
        let put = |name: &str, value: &str| server.send("PUT", "/abc/k", &[(name, value)], b"new");
        put("if-match", "\"x\"").expect_error(404, "NoSuchKey");
        let etag = put("if-none-match", "*").expect(200).header("etag").unwrap().to_owned();
        put("if-none-match", "*").expect_error(412, "PreconditionFailed");
        put("if-match", "\"x\"").expect_error(412, "PreconditionFailed");
        put("if-match", &etag).expect(200);
        // S3 takes only `*` here; an ETag is taken at its word.
        put("if-none-match", "\"x\"").expect(200);
        put("if-none-match", &etag).expect_error(412, "PreconditionFailed");
        let both = [("if-match", "*"), ("if-none-match", "\"x\"")];
        server.send("PUT", "/abc/k", &both, b"new").expect_error(501, "NotImplemented");
        let delete = |value: &str| server.send("DELETE", "/abc/k", &[("if-match", value)], b"");
        delete("\"x\"").expect_error(412, "PreconditionFailed");
        delete(&etag).expect(204);
    });
}

/// CC-02: of many creators of one key exactly one wins.
#[test]
fn one_of_many_conditional_creators_wins() {
    for_each_backend(|server| {
        server.bucket("abc");
        for round in 0..10 {
            let target = format!("/abc/{round}");
            let statuses: Vec<u16> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..16)
                    .map(|_| {
                        scope.spawn(|| server.send("PUT", &target, &[("if-none-match", "*")], b"x").status)
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
            assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
        }
    });
}

#[test]
fn every_checksum_is_verified_stored_and_returned() {
    for_each_backend(|server| {
        server.bucket("abc");
        for algorithm in ChecksumAlgorithm::ALL {
            let value = Checksum::of(algorithm, b"hello").to_base64();
            let put = server.send("PUT", "/abc/k", &[(algorithm.header(), &value)], b"hello").expect(200);
            assert_eq!(put.header(algorithm.header()), Some(value.as_str()), "{algorithm:?}");
            let head = server.send("HEAD", "/abc/k", &[("x-amz-checksum-mode", "ENABLED")], b"").expect(200);
            assert_eq!(head.header(algorithm.header()), Some(value.as_str()), "{algorithm:?}");
            assert_eq!(server.head("/abc/k").header(algorithm.header()), None);
            server
                .send("PUT", "/abc/k", &[(algorithm.header(), &value)], b"Hello")
                .expect_error(400, "BadDigest");
            assert_eq!(server.get("/abc/k").text(), "hello");
        }
        let md5 = s3pail::codec::base64(&s3pail::codec::digest::md5(b"hello"));
        server.send("PUT", "/abc/m", &[("content-md5", &md5)], b"hello").expect(200);
        server.send("PUT", "/abc/m", &[("content-md5", &md5)], b"Hello").expect_error(400, "BadDigest");
        server.send("PUT", "/abc/m", &[("content-md5", "x")], b"hello").expect_error(400, "InvalidDigest");
    });
}

/// BI-091, BI-008: an upload that is cut off leaves the old object as it was.
#[test]
fn an_upload_that_is_cut_off_changes_nothing() {
    for_each_backend(|server| {
        server.bucket("abc");
        for length in [100, 1_000_000] {
            server.put("/abc/k", b"old").expect(200);
            let cut = half_an_upload(server, length);
            if !engine_cannot("an upload that is cut off is answered") {
                Reply::read(&mut BufReader::new(cut), false).expect_error(400, "IncompleteBody");
            }
            assert_eq!(server.get("/abc/k").expect(200).text(), "old");
        }
    });
}

/// Sends half of a body under a presigned URL, then ends the sending side.
fn half_an_upload(server: &Client, length: usize) -> TcpStream {
    let mut headers = s3pail::http::Headers::new();
    headers.push("host", &server.address.to_string());
    let signer = s3pail::auth::sigv4::Signer {
        access_key: "accessKey1",
        secret: "verySecretKey1",
        region: "us-east-1",
    };
    let head = s3pail::auth::Head {
        method: s3pail::http::Method::Put,
        path: "/abc/k",
        query: "",
        headers: &headers,
    };
    let query = signer.presign(crate::harness::now(), 60, &head);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let request = format!(
        "PUT /abc/k?{query} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n\r\n{}",
        server.address,
        "x".repeat(length / 2)
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream
}

/// BI-093.
#[test]
fn a_put_without_a_length_is_refused() {
    let server = TestServer::memory();
    server.bucket("abc");
    let request = format!("PUT /abc/k HTTP/1.1\r\nhost: {}\r\n\r\n", server.address());
    let reply = server.raw(request.as_bytes(), false);
    assert!([403, 411].contains(&reply.status), "{}", reply.text());
}

#[test]
fn copies_keep_or_replace_what_they_are_told_to() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.bucket("other");
        let body = body_of(300_000);
        let fields = [("content-type", "a/b"), ("x-amz-meta-m", "1"), ("x-amz-tagging", "t=1")];
        server.send("PUT", "/abc/k", &fields, &body).expect(200);
        let copy = |target: &str, more: &[(&str, &str)]| {
            let fields = [&[("x-amz-copy-source", "/abc/k")], more].concat();
            server.send("PUT", target, &fields, b"")
        };
        copy("/other/k", &[]).expect(200);
        let copied = server.get("/other/k").expect(200);
        assert_eq!(copied.body, body);
        assert_eq!((copied.header("content-type"), copied.header("x-amz-meta-m")), (Some("a/b"), Some("1")));
        assert_eq!(copied.header("x-amz-tagging-count"), Some("1"));
        copy("/other/r", &[("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-n", "2")]).expect(200);
        let replaced = server.head("/other/r");
        assert_eq!((replaced.header("x-amz-meta-m"), replaced.header("x-amz-meta-n")), (None, Some("2")));
        copy("/abc/k", &[]).expect_error(400, "InvalidRequest");
        copy("/abc/k", &[("x-amz-metadata-directive", "REPLACE")]).expect(200);
        assert_eq!(server.get("/abc/k").expect(200).body, body);
        copy("/other/k", &[("x-amz-copy-source-if-none-match", "*")]).expect_error(412, "PreconditionFailed");
        copy("/other/k", &[("x-amz-metadata-directive", "FOO")]).expect_error(400, "InvalidArgument");
    });
}

/// BI-222, SE-28, SE-84.
#[test]
fn a_copy_source_is_checked_like_a_read() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/secret", b"x").expect(200);
    let lisa = server.as_lisa();
    lisa.put("/mine", b"").expect(200);
    lisa.send("PUT", "/mine/k", &[("x-amz-copy-source", "abc/secret")], b"")
        .expect_error(403, "AccessDenied");
    lisa.send("PUT", "/mine/k", &[("x-amz-copy-source", "mine/../abc/secret")], b"")
        .expect_error(404, "NoSuchKey");
    for source in ["", "/", "abc", "abc/", "/abc/"] {
        server
            .send("PUT", "/abc/k", &[("x-amz-copy-source", source)], b"")
            .expect_error(400, "InvalidArgument");
    }
    server.send("PUT", "/abc/k", &[("x-amz-copy-source", "abc/missing")], b"").expect_error(404, "NoSuchKey");
    server
        .send("PUT", "/abc/k", &[("x-amz-copy-source", "missing/k")], b"")
        .expect_error(404, "NoSuchBucket");
}

/// BI-209, BI-210.
#[test]
fn many_objects_are_deleted_at_once() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/a", b"x").expect(200);
        server.put("/abc/b", b"x").expect(200);
        let delete = |body: &str| {
            let md5 = s3pail::codec::base64(&s3pail::codec::digest::md5(body.as_bytes()));
            server.send("POST", "/abc?delete", &[("content-md5", &md5)], body.as_bytes())
        };
        let object = |key: &str| format!("<Object><Key>{key}</Key></Object>");
        let keys = [object("a"), object("missing"), object("a")].concat();
        let reply = delete(&format!("<Delete>{keys}</Delete>")).expect(200);
        assert_eq!(reply.elements("Key"), ["a", "missing", "a"]);
        assert_eq!(server.get("/abc").elements("Key"), ["b"]);
        let quiet = delete(&format!("<Delete><Quiet>true</Quiet>{}</Delete>", object("b"))).expect(200);
        assert!(quiet.elements("Key").is_empty());
        delete("<Delete></Delete>").expect_error(400, "MalformedXML");
        delete(&format!("<Delete>{}</Delete>", object("k").repeat(1_001))).expect_error(400, "MalformedXML");
        delete("<!DOCTYPE a [<!ENTITY b \"c\">]><Delete/>").expect_error(400, "MalformedXML");
        server.post("/abc?delete", b"<Delete/>").expect_error(400, "InvalidRequest");
    });
}

#[test]
fn attributes_tell_what_is_asked() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"hello").expect(200);
        let ask =
            |what: &str| server.send("GET", "/abc/k?attributes", &[("x-amz-object-attributes", what)], b"");
        let reply = ask("ETag,ObjectSize,StorageClass,Checksum").expect(200);
        assert_eq!(reply.element("ObjectSize").as_deref(), Some("5"));
        assert_eq!(reply.element("ETag").as_deref(), Some("5d41402abc4b2a76b9719d911017c592"));
        assert!(reply.element("ChecksumCRC64NVME").is_some());
        ask("").expect_error(400, "InvalidRequest");
        ask("Nonsense").expect_error(400, "InvalidArgument");
    });
}

#[test]
fn objects_and_buckets_outlive_the_server() {
    let server = TestServer::file();
    server.bucket("abc");
    let body = body_of(700_000);
    server.send("PUT", "/abc/large", &[("x-amz-meta-m", "1")], &body).expect(200);
    server.put("/abc/small", b"small").expect(200);
    let server = server.restart();
    assert_eq!(server.get("/abc").elements("Key"), ["large", "small"]);
    let large = server.get("/abc/large").expect(200);
    assert_eq!((large.body == body, large.header("x-amz-meta-m")), (true, Some("1")));
    assert_eq!(server.get("/abc/small").text(), "small");
}

#[test]
fn a_number_that_no_part_has_is_refused_before_the_key_is_looked_up() {
    let server = TestServer::memory();
    server.bucket("abc");
    for number in ["0", "-1", "10001", "x", ""] {
        server.get(&format!("/abc/none?partNumber={number}")).expect_error(400, "InvalidArgument");
        server.head(&format!("/abc/none?partNumber={number}")).expect(400);
    }
    server.get("/abc/none?partNumber=1").expect_error(404, "NoSuchKey");
}

#[test]
fn a_copy_names_no_version_of_its_target() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/k", b"x").expect(200);
    for query in ["versionId", "versionId=null"] {
        let reply = server.send("PUT", &format!("/abc/c?{query}"), &[("x-amz-copy-source", "abc/k")], b"");
        reply.expect_error(400, "InvalidArgument");
    }
    server.get("/abc/c").expect_error(404, "NoSuchKey");
}

/// PT-11: keys, metadata and tags come back as they were sent, from every operation that shows them, and from the
/// next process.
#[test]
fn names_come_back_as_they_were_sent() {
    let server = TestServer::file();
    server.bucket("abc");
    // As they are in a URL; control characters cannot stand in XML, so listings are asked to encode.
    let keys = [
        "%20",
        "a%20%20b",
        "%C3%A9",
        "e%CC%81",
        "%F0%9F%8E%89",
        "a%2Bb",
        "a%252Fb",
        "%26%3C%3E%22%27",
        "%01%7F",
        "%EF%BF%BF",
        "a%0Ab",
        "a%2Fb%2F",
        "~-_.!*()",
        "]]%3E",
        "%5C%2F",
    ];
    for (number, key) in keys.iter().enumerate() {
        let (meta, tags) = (format!("v  {number}"), format!("k%20{number}=%C3%A9%2B%3D"));
        let fields = [("x-amz-meta-a", meta.as_str()), ("x-amz-tagging", tags.as_str())];
        server.send("PUT", &format!("/abc/{key}"), &fields, key.as_bytes()).expect(200);
    }
    let id = server.post("/abc/%F0%9F%8E%89%26?uploads", b"").expect(200).element("UploadId").unwrap();
    let decode = |text: &str| s3pail::codec::uri::decode(&text.replace('+', "%20")).unwrap();
    let sent: std::collections::BTreeSet<String> = keys.iter().map(|key| decode(key)).collect();
    let look = |server: &TestServer| {
        for (number, key) in keys.iter().enumerate() {
            for reply in [server.get(&format!("/abc/{key}")), server.head(&format!("/abc/{key}"))] {
                assert_eq!(reply.header("x-amz-meta-a"), Some(format!("v  {number}").as_str()), "{key}");
            }
            assert_eq!(server.get(&format!("/abc/{key}")).expect(200).body, key.as_bytes());
            let tags = server.get(&format!("/abc/{key}?tagging")).expect(200);
            assert_eq!(tags.element("Key"), Some(format!("k {number}")));
            assert_eq!(tags.element("Value").as_deref(), Some("é+="));
        }
        for version in ["", "&list-type=2"] {
            let listed = server.get(&format!("/abc?encoding-type=url{version}")).expect(200);
            assert_eq!(
                listed
                    .elements("Key")
                    .iter()
                    .map(|key| decode(key))
                    .collect::<std::collections::BTreeSet<_>>(),
                sent
            );
        }
        let parts = server.get(&format!("/abc/%F0%9F%8E%89%26?uploadId={id}")).expect(200);
        assert_eq!(parts.element("Key").as_deref(), Some("\u{1F389}&amp;"));
    };
    look(&server);
    look(&server.restart());
}
