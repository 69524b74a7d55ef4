//! Sizes: what is just small enough is taken, and what is one past is refused with S3's code.

use crate::harness::{TestServer, for_each_backend};
use s3pail::model::multipart::{PartRecord, UploadRecord};
use s3pail::model::{BucketName, SortedId, keys};
use s3pail::storage::Batch;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

const PUT_BYTES_MAX: u64 = 5 << 30;

/// Declares a body of this length without sending it. The first bytes of the answer.
fn declare(server: &TestServer, target: &str, length: u64) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = vec![0; 2048];
    let mut read = 0;
    while !answer[..read].ends_with(b"\r\n\r\n") && !answer[..read].ends_with(b"</Error>") {
        let count = stream.read(&mut answer[read..]).unwrap();
        if count == 0 {
            break;
        }
        read += count;
    }
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[test]
fn a_body_may_be_declared_up_to_five_gibibytes() {
    for_each_backend(|server| {
        server.send("PUT", "/abc", &[("x-amz-acl", "public-read-write")], b"").expect(200);
        let taken = declare(server, "/abc/k", PUT_BYTES_MAX);
        assert!(taken.starts_with("HTTP/1.1 100"), "{taken}");
        let refused = declare(server, "/abc/k", PUT_BYTES_MAX + 1);
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
        server.get("/abc/k").expect_error(404, "NoSuchKey");
    });
}

/// Begins an upload and gives it parts of declared sizes that have no bytes.
fn upload_of(server: &TestServer, parts: u16, bytes_each: u64) -> (String, String) {
    let begun = server.post("/abc/k?uploads", b"").expect(200);
    let id = begun.element("UploadId").unwrap();
    let etag = "0123456789abcdef0123456789abcdef".to_owned();
    let part = PartRecord {
        modified_ms: 1,
        size: bytes_each,
        etag: etag.clone(),
        checksum: None,
        pieces: Vec::new(),
        drafted: None,
    };
    let stored = part.encode();
    let mut batch = Batch::new();
    for number in 1..=parts {
        batch.put(keys::part(SortedId::parse(&id).unwrap(), number), stored.clone());
    }
    server.service().meta.commit(batch).unwrap();
    let listed: String = (1..=parts)
        .map(|number| format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>"))
        .collect();
    (id, format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"))
}

#[test]
fn an_upload_has_ten_thousand_parts_and_fifty_terabytes() {
    for_each_backend(|server| {
        server.bucket("abc");
        let (id, list) = upload_of(server, 10_000, 5_000_000_000);
        let page = server.get(&format!("/abc/k?uploadId={id}&part-number-marker=9000")).expect(200);
        assert_eq!(page.elements("PartNumber").last().map(String::as_str), Some("10000"));
        server
            .put(&format!("/abc/k?partNumber=10001&uploadId={id}"), b"x")
            .expect_error(400, "InvalidArgument");
        server.put(&format!("/abc/k?partNumber=0&uploadId={id}"), b"x").expect_error(400, "InvalidArgument");
        server.post(&format!("/abc/k?uploadId={id}"), list.as_bytes()).expect(200);
        let head = server.head("/abc/k?partNumber=10000").expect(206);
        assert_eq!(head.header("x-amz-mp-parts-count"), Some("10000"));
        assert_eq!(head.header("content-length"), Some("5000000000"));
        let range = "bytes 49995000000000-49999999999999/50000000000000";
        assert_eq!(head.header("content-range"), Some(range));
        server.delete("/abc/k").expect(204);
        let (id, list) = upload_of(server, 10_000, 5_000_000_001);
        let target = format!("/abc/k?uploadId={id}");
        server.post(&target, list.as_bytes()).expect_error(400, "EntityTooLarge");
        let past = list.replace(
            "</CompleteMultipartUpload>",
            "<Part><PartNumber>10001</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
        );
        let refused = server.post(&target, past.as_bytes());
        assert_eq!(refused.status, 400, "{}", refused.text());
        server.head("/abc/k").expect(404);
    });
}

/// BI-226: a copy of more is made part by part.
#[test]
fn a_copy_in_one_call_has_at_most_five_gibibytes() {
    for_each_backend(|server| {
        server.bucket("abc");
        // The first of three parts has its bytes; the others are only declared.
        let content = vec![7; 5 << 20];
        let (id, list) = upload_of(server, 3, PUT_BYTES_MAX / 2);
        let first = server.put(&format!("/abc/k?partNumber=1&uploadId={id}"), &content).expect(200);
        let list = list.replacen("\"0123456789abcdef0123456789abcdef\"", first.header("etag").unwrap(), 1);
        server.post(&format!("/abc/k?uploadId={id}"), list.as_bytes()).expect(200);
        let size =
            server.head("/abc/k").expect(200).header("content-length").unwrap().parse::<u64>().unwrap();
        assert!(size > PUT_BYTES_MAX, "{size}");
        let source = ("x-amz-copy-source", "/abc/k");
        server.put("/abc/copy", b"kept").expect(200);
        server.send("PUT", "/abc/copy", &[source], b"").expect_error(400, "InvalidRequest");
        assert_eq!(server.get("/abc/copy").expect(200).body, b"kept");
        // Part by part it works, but no part may be larger either.
        let id = server.post("/abc/copy?uploads", b"").expect(200).element("UploadId").unwrap();
        let target = format!("/abc/copy?partNumber=1&uploadId={id}");
        let all = format!("bytes=0-{PUT_BYTES_MAX}");
        for fields in [&[source][..], &[source, ("x-amz-copy-source-range", &all)]] {
            server.send("PUT", &target, fields, b"").expect_error(400, "EntityTooLarge");
        }
        let part = [source, ("x-amz-copy-source-range", "bytes=0-5242879")];
        let copied = server.send("PUT", &target, &part, b"").expect(200);
        let etag = copied.element("ETag").unwrap();
        assert_eq!(etag.replace("&quot;", "\""), first.header("etag").unwrap());
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        server.post(&format!("/abc/copy?uploadId={id}"), list.as_bytes()).expect(200);
        assert!(server.get("/abc/copy").expect(200).body == content);
    });
}

/// BI-230: uploads that nobody finishes are listed a page at a time, in order, each once. (A part of one byte
/// each: `an_upload_has_ten_thousand_parts_and_fifty_terabytes` lists as many.)
#[test]
fn a_hundred_thousand_open_uploads_are_listed_page_by_page() {
    const UPLOADS: u64 = 100_000;
    let server = TestServer::memory();
    server.bucket("abc");
    let bucket = BucketName::parse("abc").unwrap();
    let record = UploadRecord { owner: "owner".to_owned(), ..UploadRecord::default() }.encode();
    for first in (0..UPLOADS).step_by(1000) {
        let mut batch = Batch::new();
        for number in first..first + 1000 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            batch.put(keys::upload(&bucket, &format!("{:05}", number / 2), SortedId(id)), record.clone());
        }
        server.service().meta.commit(batch).unwrap();
    }
    let (mut marker, mut found, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = server.get(&format!("/abc?uploads{marker}")).expect(200);
        let (names, ids) = (page.elements("Key"), page.elements("UploadId"));
        assert!(names.len() == ids.len() && ids.len() <= 1000, "{} uploads on a page", ids.len());
        found.extend(names.into_iter().zip(ids));
        pages += 1;
        if page.element("IsTruncated").as_deref() != Some("true") {
            break;
        }
        let next = |name| page.element(name).unwrap();
        marker =
            format!("&key-marker={}&upload-id-marker={}", next("NextKeyMarker"), next("NextUploadIdMarker"));
    }
    assert_eq!((found.len() as u64, pages), (UPLOADS, 100));
    assert!(found.windows(2).all(|pair| pair[0].0 <= pair[1].0), "out of order");
    let ids: BTreeSet<&String> = found.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len() as u64, UPLOADS);
}

#[test]
fn keys_have_at_most_1024_bytes_whatever_their_characters() {
    for_each_backend(|server| {
        server.bucket("abc");
        let fits = ["k".repeat(1024), "%C3%A9".repeat(512)];
        for key in &fits {
            server.put(&format!("/abc/{key}"), b"x").expect(200);
            server.get(&format!("/abc/{key}")).expect(200);
        }
        for key in ["k".repeat(1025), format!("{}k", fits[1])] {
            for method in ["PUT", "GET", "DELETE"] {
                let reply = server.send(method, &format!("/abc/{key}"), &[], b"");
                reply.expect_error(400, "KeyTooLongError");
            }
            server.post(&format!("/abc/{key}?uploads"), b"").expect_error(400, "KeyTooLongError");
            let copy = [("x-amz-copy-source", format!("abc/{}", fits[0]))];
            let copy = copy.each_ref().map(|(name, value)| (*name, value.as_str()));
            server.send("PUT", &format!("/abc/{key}"), &copy, b"").expect_error(400, "KeyTooLongError");
        }
    });
}

#[test]
fn metadata_has_at_most_two_kibibytes() {
    for_each_backend(|server| {
        server.bucket("abc");
        // Names and values count, `x-amz-meta-` does not.
        for (length, status) in [(2 * 1024 - 2, 200), (2 * 1024 - 1, 400)] {
            let (first, second) = ("v".repeat(1_000), "v".repeat(length - 1_000));
            let fields = [("x-amz-meta-a", first.as_str()), ("x-amz-meta-b", second.as_str())];
            let copy = [
                fields[0],
                fields[1],
                ("x-amz-copy-source", "abc/s"),
                ("x-amz-metadata-directive", "REPLACE"),
            ];
            server.put("/abc/s", b"x").expect(200);
            for reply in [
                server.send("PUT", "/abc/k", &fields, b"x"),
                server.send("POST", "/abc/k?uploads", &fields, b""),
                server.send("PUT", "/abc/k", &copy, b""),
            ] {
                let reply = reply.expect(status);
                if status == 400 {
                    reply.expect_error(400, "MetadataTooLarge");
                }
            }
        }
    });
}

#[test]
fn an_object_has_at_most_ten_tags() {
    for_each_backend(|server| {
        server.bucket("abc");
        let tags = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join("&");
        server.send("PUT", "/abc/k", &[("x-amz-tagging", &tags(10))], b"x").expect(200);
        assert_eq!(server.head("/abc/k").header("x-amz-tagging-count"), Some("10"));
        server.send("PUT", "/abc/k", &[("x-amz-tagging", &tags(11))], b"y").expect_error(400, "BadRequest");
        let (name, value) = ("n".repeat(128), "v".repeat(256));
        server.send("PUT", "/abc/k", &[("x-amz-tagging", &format!("{name}={value}"))], b"x").expect(200);
        for tag in [format!("{name}n=v"), format!("n={value}v")] {
            server.send("PUT", "/abc/k", &[("x-amz-tagging", &tag)], b"y").expect_error(400, "InvalidTag");
        }
        assert_eq!(server.get("/abc/k").body, b"x");
    });
}
