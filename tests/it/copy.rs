//! CopyObject and UploadPartCopy with everything that they can be told, deletions with conditions, and
//! attributes of every kind of object.

use crate::harness::{Folder, Reply, TestServer, file_config, for_each_backend, wait_until};
use s3pail::codec::digest::md5;
use s3pail::codec::{base64, time};
use s3pail::config::Config;

fn enable_versioning(server: &TestServer, bucket: &str) {
    let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put(&format!("{bucket}?versioning"), body).expect(200);
}

/// Two buckets and a source with everything that an object can have.
fn prepare(server: &TestServer) -> Reply {
    server.bucket("from");
    server.send("PUT", "/into", &[("x-amz-bucket-object-lock-enabled", "true")], b"").expect(200);
    let fields = [
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("x-amz-meta-a", "1"),
        ("x-amz-tagging", "t=1"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/old"),
        ("x-amz-checksum-algorithm", "SHA1"),
        ("x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00="),
    ];
    server.send("PUT", "/from/k", &fields, b"hello").expect(200)
}

fn copy(server: &TestServer, target: &str, more: &[(&str, &str)]) -> Reply {
    server.send("PUT", target, &[&[("x-amz-copy-source", "from/k")], more].concat(), b"")
}

#[test]
fn a_copy_keeps_what_belongs_to_the_content() {
    for_each_backend(|server| {
        prepare(server);
        let copied = copy(server, "/into/k", &[]).expect(200);
        assert_eq!(copied.element("ChecksumSHA1").as_deref(), Some("qvTGHdzF6KLavt4PO0gs2a6pQ00="));
        let head = server.send("HEAD", "/into/k", &[("x-amz-checksum-mode", "ENABLED")], b"").expect(200);
        for (name, value) in [
            ("content-type", Some("text/plain")),
            ("cache-control", Some("no-cache")),
            ("x-amz-meta-a", Some("1")),
            ("x-amz-tagging-count", Some("1")),
            ("x-amz-checksum-sha1", Some("qvTGHdzF6KLavt4PO0gs2a6pQ00=")),
            // What belongs to the place is not taken along.
            ("x-amz-storage-class", None),
            ("x-amz-website-redirect-location", None),
        ] {
            assert_eq!(head.header(name), value, "{name}");
        }
    });
}

#[test]
fn a_copy_is_told_everything_that_a_put_can_be_told() {
    for_each_backend(|server| {
        prepare(server);
        let fields = [
            ("x-amz-metadata-directive", "REPLACE"),
            ("x-amz-tagging-directive", "REPLACE"),
            ("x-amz-tagging", "u=2&v=3"),
            ("content-type", "image/png"),
            ("x-amz-meta-b", "2"),
            ("x-amz-storage-class", "GLACIER_IR"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", "2060-01-01T00:00:00Z"),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-checksum-algorithm", "SHA256"),
            ("x-amz-acl", "public-read"),
            ("x-amz-website-redirect-location", "/new"),
        ];
        let copied = copy(server, "/into/k", &fields).expect(200);
        let sum = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
        assert_eq!(copied.element("ChecksumSHA256").as_deref(), Some(sum));
        let head = server.send("HEAD", "/into/k", &[("x-amz-checksum-mode", "ENABLED")], b"").expect(200);
        for (name, value) in [
            ("content-type", Some("image/png")),
            ("cache-control", None),
            ("x-amz-meta-a", None),
            ("x-amz-meta-b", Some("2")),
            ("x-amz-tagging-count", Some("2")),
            ("x-amz-storage-class", Some("GLACIER_IR")),
            ("x-amz-server-side-encryption", Some("AES256")),
            ("x-amz-object-lock-mode", Some("GOVERNANCE")),
            ("x-amz-object-lock-legal-hold", Some("ON")),
            ("x-amz-checksum-sha256", Some(sum)),
            ("x-amz-checksum-sha1", None),
            ("x-amz-website-redirect-location", Some("/new")),
        ] {
            assert_eq!(head.header(name), value, "{name}");
        }
        assert_eq!(server.anonymous().get("/into/k").expect(200).body, b"hello");
        for (what, value) in [("metadata", "KEEP"), ("tagging", "replace")] {
            let field = format!("x-amz-{what}-directive");
            let refused = copy(server, "/into/bad", &[(&field, value)]).expect_error(400, "InvalidArgument");
            assert_eq!(refused.element("Message"), Some(format!("Unknown {what} directive.")));
        }
        server.get("/into/bad").expect_error(404, "NoSuchKey");
    });
}

#[test]
fn a_copy_has_conditions_on_both_ends() {
    for_each_backend(|server| {
        let etag = prepare(server).header("etag").unwrap().to_owned();
        let past = time::http_date(0);
        let future = time::http_date(crate::harness::now() + 86_400_000);
        for (name, value, status) in [
            ("x-amz-copy-source-if-match", etag.as_str(), 200),
            ("x-amz-copy-source-if-match", "\"x\"", 412),
            ("x-amz-copy-source-if-none-match", "\"x\"", 200),
            ("x-amz-copy-source-if-none-match", etag.as_str(), 412),
            ("x-amz-copy-source-if-modified-since", past.as_str(), 200),
            // What nothing can have happened since yet is no condition.
            ("x-amz-copy-source-if-modified-since", future.as_str(), 200),
            ("x-amz-copy-source-if-unmodified-since", future.as_str(), 200),
            ("x-amz-copy-source-if-unmodified-since", past.as_str(), 412),
        ] {
            assert_eq!(copy(server, "/into/source", &[(name, value)]).status, status, "{name}: {value}");
        }
        copy(server, "/into/k", &[("if-match", &etag)]).expect_error(404, "NoSuchKey");
        copy(server, "/into/k", &[("if-none-match", "*")]).expect(200);
        copy(server, "/into/k", &[("if-none-match", "*")]).expect_error(412, "PreconditionFailed");
        copy(server, "/into/k", &[("if-match", "\"x\"")]).expect_error(412, "PreconditionFailed");
        copy(server, "/into/k", &[("if-match", &etag)]).expect(200);
    });
}

#[test]
fn a_part_is_copied_from_a_range_of_a_version() {
    for_each_backend(|server| {
        let bucket = server.bucket("from");
        enable_versioning(server, &bucket);
        let version = server.put("/from/k", b"0123456789").expect(200).version();
        server.put("/from/k", b"newer").expect(200);
        let begun = server.post("/from/mp?uploads", b"").expect(200);
        let id = begun.element("UploadId").unwrap();
        let source = format!("from/k?versionId={version}");
        let part = |range: &str| {
            let fields = [("x-amz-copy-source", source.as_str()), ("x-amz-copy-source-range", range)];
            server.send("PUT", &format!("/from/mp?partNumber=1&uploadId={id}"), &fields, b"")
        };
        for bad in ["bytes=0-10", "bytes=5-", "bytes=-5", "bytes=5", "0-5", "bytes=9-0", ""] {
            part(bad).expect_error(400, "InvalidArgument");
        }
        part("bytes=10-11").expect_error(400, "InvalidRequest");
        let copied = part("bytes=2-5").expect(200);
        assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(version.as_str()));
        let etag = copied.element("ETag").unwrap();
        let list = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        server.post(&format!("/from/mp?uploadId={id}"), list.as_bytes()).expect(200);
        assert_eq!(server.get("/from/mp").expect(200).body, b"2345");
    });
}

#[test]
fn deletions_have_conditions_for_one_key_and_for_many() {
    for_each_backend(|server| {
        server.bucket("abc");
        let etag = server.put("/abc/k", b"four").expect(200).header("etag").unwrap().to_owned();
        let modified = server.head("/abc/k").header("last-modified").unwrap().to_owned();
        let (at, size) = ("x-amz-if-match-last-modified-time", "x-amz-if-match-size");
        for (name, value) in [("if-match", "\"x\""), (size, "5"), (at, "Thu, 01 Jan 1970 00:00:00 GMT")] {
            let refused = server.send("DELETE", "/abc/k", &[(name, value)], b"");
            refused.expect_error(412, "PreconditionFailed");
        }
        let fits = [("if-match", etag.as_str()), (size, "4"), (at, modified.as_str())];
        server.send("DELETE", "/abc/k", &fits, b"").expect(204);
        server.send("DELETE", "/abc/k", &[("if-match", "*")], b"").expect_error(404, "NoSuchKey");
        for key in ["a", "b", "c", "d"] {
            server.put(&format!("/abc/{key}"), b"four").expect(200);
        }
        let body = format!(
            "<Delete><Object><Key>a</Key><ETag>\"x\"</ETag></Object><Object><Key>b</Key><ETag>{etag}</ETag></Object>\
             <Object><Key>c</Key><Size>5</Size></Object><Object><Key>d</Key><Size>4</Size></Object></Delete>"
        );
        let digest = base64(&md5(body.as_bytes()));
        let reply =
            server.send("POST", "/abc?delete", &[("content-md5", &digest)], body.as_bytes()).expect(200);
        assert_eq!(reply.elements("Code"), ["PreconditionFailed", "PreconditionFailed"]);
        assert_eq!(server.get("/abc").elements("Key"), ["a", "c"]);
    });
}

fn attributes(server: &TestServer, target: &str, more: &[(&str, &str)]) -> Reply {
    let all = ("x-amz-object-attributes", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize");
    server.send("GET", target, &[&[all], more].concat(), b"")
}

#[test]
fn attributes_are_told_of_versions_and_not_of_delete_markers() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        enable_versioning(server, &bucket);
        let old = server.send("PUT", "/abc/k", &[("x-amz-storage-class", "ONEZONE_IA")], b"old").expect(200);
        server.put("/abc/k", b"newer").expect(200);
        let marker = server.delete("/abc/k").expect(204).version();
        let told =
            attributes(server, &format!("/abc/k?attributes&versionId={}", old.version()), &[]).expect(200);
        assert_eq!(told.element("ObjectSize").as_deref(), Some("3"));
        assert_eq!(told.element("StorageClass").as_deref(), Some("ONEZONE_IA"));
        assert_eq!(told.element("ETag").unwrap(), old.header("etag").unwrap().trim_matches('"'));
        assert!(told.element("ChecksumCRC64NVME").is_some(), "{}", told.text());
        assert_eq!(told.header("x-amz-version-id"), old.header("x-amz-version-id"));
        let gone = attributes(server, "/abc/k?attributes", &[]).expect_error(404, "NoSuchKey");
        assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
        attributes(server, &format!("/abc/k?attributes&versionId={marker}"), &[])
            .expect_error(405, "MethodNotAllowed");
        for bad in ["", "Etag", "ETag,Unknown"] {
            let reply = server.send("GET", "/abc/k?attributes", &[("x-amz-object-attributes", bad)], b"");
            assert_eq!(reply.status, 400, "{bad}");
        }
    });
}

#[test]
fn attributes_of_an_object_under_a_clients_key_need_the_key() {
    for_each_backend(|server| {
        server.bucket("abc");
        let (key, digest) = (base64(&[b'k'; 32]), base64(&md5(&[b'k'; 32])));
        let fields = [
            ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            ("x-amz-server-side-encryption-customer-key", key.as_str()),
            ("x-amz-server-side-encryption-customer-key-md5", digest.as_str()),
        ];
        server.send("PUT", "/abc/k", &fields, b"secret").expect(200);
        attributes(server, "/abc/k?attributes", &[]).expect_error(400, "InvalidRequest");
        let told = attributes(server, "/abc/k?attributes", &fields).expect(200);
        assert_eq!(told.element("ObjectSize").as_deref(), Some("6"));
    });
}

#[test]
fn the_parts_of_an_object_come_in_pages() {
    for_each_backend(|server| {
        server.bucket("abc");
        let begun = server.post("/abc/k?uploads", b"").expect(200);
        let id = begun.element("UploadId").unwrap();
        let mut listed = String::new();
        for (number, size) in [(1, 5 << 20), (4, 5 << 20), (9, 10)] {
            let target = format!("/abc/k?partNumber={number}&uploadId={id}");
            let part = server.put(&target, &vec![number; size]).expect(200);
            let etag = part.header("etag").unwrap();
            listed.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
        }
        let list = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
        server.post(&format!("/abc/k?uploadId={id}"), list.as_bytes()).expect(200);
        let page = attributes(server, "/abc/k?attributes", &[("x-amz-max-parts", "2")]).expect(200);
        assert_eq!(page.elements("PartNumber"), ["1", "2"]);
        assert_eq!(page.element("PartsCount").as_deref(), Some("3"));
        assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
        let marker = page.element("NextPartNumberMarker").unwrap();
        let more = [("x-amz-max-parts", "2"), ("x-amz-part-number-marker", marker.as_str())];
        let page = attributes(server, "/abc/k?attributes", &more).expect(200);
        assert_eq!(
            (page.elements("PartNumber"), page.elements("Size")),
            (vec!["3".to_owned()], vec!["10".to_owned()])
        );
        assert_eq!(page.element("IsTruncated").as_deref(), Some("false"));
        attributes(server, "/abc/k?attributes", &[("x-amz-max-parts", "-1")])
            .expect_error(400, "InvalidArgument");
    });
}

/// As recorded of AWS S3: the same class, named, is a change; another, unnamed, is none.
#[test]
fn a_copy_onto_itself_must_name_what_it_changes() {
    for_each_backend(|server| {
        server.bucket("from");
        server.put("/from/k", b"x").expect(200);
        copy(server, "/from/k", &[]).expect_error(400, "InvalidRequest");
        copy(server, "/from/k", &[("x-amz-storage-class", "STANDARD")]).expect(200);
        copy(server, "/from/k", &[("x-amz-storage-class", "STANDARD_IA")]).expect(200);
        copy(server, "/from/k", &[]).expect_error(400, "InvalidRequest");
    });
}

/// As recorded of AWS S3.
#[test]
fn a_date_in_the_future_is_no_condition() {
    for_each_backend(|server| {
        server.bucket("from");
        server.put("/from/k", b"x").expect(200);
        let future = time::http_date(crate::harness::now() + 86_400_000);
        server.send("GET", "/from/k", &[("if-modified-since", &future)], b"").expect(200);
    });
}

#[test]
fn a_condition_that_misses_its_object_names_the_key() {
    for_each_backend(|server| {
        server.bucket("from");
        let reply = server.send("PUT", "/from/k", &[("if-match", "\"x\"")], b"");
        assert_eq!(reply.expect_error(404, "NoSuchKey").element("Key").as_deref(), Some("k"));
    });
}

/// DL-06: a copy onto itself keeps its bytes, whatever their size and however they came, also when what it left
/// over has been removed and after a start.
#[test]
fn a_copy_onto_itself_keeps_its_bytes() {
    let folder = Folder::new();
    let config = Config { part_bytes_min: 0, ..file_config(&folder) };
    let server = TestServer::start("file", config, Some(folder));
    server.bucket("from");
    let block = s3pail::storage::file_blobs::BLOCK_BYTES;
    let inline = s3pail::storage::file_blobs::INLINE_BYTES_MAX;
    let sizes = [0, 1, inline - 1, inline, inline + 1, block - 1, block, block + 1];
    let body = |size: usize| (0..size).map(|at| (at / 7) as u8).collect::<Vec<u8>>();
    for size in sizes {
        server.put(&format!("/from/{size}"), &body(size)).expect(200);
    }
    let id = server.post("/from/parts?uploads", b"").expect(200).element("UploadId").unwrap();
    let mut list = String::new();
    for number in 1..=2_usize {
        let target = format!("/from/parts?partNumber={number}&uploadId={id}");
        let etag = server.put(&target, &body(20_000 * number)).expect(200).header("etag").unwrap().to_owned();
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    server.post(&format!("/from/parts?uploadId={id}"), list.as_bytes()).expect(200);
    for round in 0..2 {
        for key in sizes.iter().map(usize::to_string).chain(["parts".to_owned()]) {
            let (path, meta) = (format!("/from/{key}"), round.to_string());
            let fields = [
                ("x-amz-copy-source", path.as_str()),
                ("x-amz-metadata-directive", "REPLACE"),
                ("x-amz-meta-round", meta.as_str()),
            ];
            server.send("PUT", &path, &fields, b"").expect(200);
        }
    }
    wait_until("what was left over is gone", || {
        let mut left = 0;
        let range = s3pail::model::keys::all_garbage();
        server
            .service()
            .meta
            .scan(range.start.as_slice()..range.end.as_slice(), &mut |_, _| {
                left += 1;
                s3pail::storage::Visit::Next
            })
            .unwrap();
        left == 0
    });
    let server = server.restart();
    for size in sizes {
        let reply = server.get(&format!("/from/{size}")).expect(200);
        assert_eq!(reply.header("x-amz-meta-round"), Some("1"));
        assert!(reply.body == body(size), "{size}");
    }
    assert!(server.get("/from/parts").expect(200).body == [body(20_000), body(40_000)].concat());
}

/// What a copy's source lacks, in the words that S3 has for it: not those for a bucket that is addressed.
#[test]
fn a_source_that_names_no_object_is_refused_for_its_part() {
    let server = TestServer::memory();
    server.bucket("abc");
    for (source, part) in [
        ("wrongformat", "object key"),
        ("abc/", "object key"),
        ("/abc", "object key"),
        ("UPPER/x", "bucket name"),
        ("my-buc@k/x", "bucket name"),
        ("//x", "bucket name"),
    ] {
        let reply = server.send("PUT", "/abc/k", &[("x-amz-copy-source", source)], b"");
        let refused = reply.expect_error(400, "InvalidArgument");
        assert_eq!(refused.element("Message"), Some(format!("Invalid copy source {part}")), "{source}");
        assert_eq!(refused.element("ArgumentValue").as_deref(), Some("x-amz-copy-source"), "{source}");
    }
    server.send("PUT", "/abc/k", &[("x-amz-copy-source", "nobody/x")], b"").expect_error(404, "NoSuchBucket");
}
