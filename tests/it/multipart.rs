//! Uploads in parts.

use crate::harness::{Reply, TestServer, for_each_backend, wait_until};
use s3pail::codec::digest::{Checksum, ChecksumAlgorithm, md5};
use s3pail::codec::hex;

const MIB: usize = 1024 * 1024;

fn part_body(number: u8, length: usize) -> Vec<u8> {
    vec![number; length]
}

fn create(server: &TestServer, target: &str) -> String {
    server.post(&format!("{target}?uploads"), b"").expect(200).element("UploadId").unwrap()
}

fn upload(server: &TestServer, target: &str, id: &str, number: u8, body: &[u8]) -> String {
    let reply = server.put(&format!("{target}?partNumber={number}&uploadId={id}"), body).expect(200);
    reply.header("etag").unwrap().to_owned()
}

fn complete(server: &TestServer, target: &str, id: &str, parts: &[(u8, &str)]) -> Reply {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    server.post(&format!("{target}?uploadId={id}"), body.as_bytes())
}

#[test]
fn parts_become_an_object() {
    for_each_backend(|server| {
        server.bucket("abc");
        let id = create(server, "/abc/k");
        let bodies = [part_body(1, 5 * MIB), part_body(2, 5 * MIB), part_body(3, 7)];
        let etags: Vec<String> = bodies
            .iter()
            .enumerate()
            .map(|(at, body)| upload(server, "/abc/k", &id, at as u8 + 1, body))
            .collect();
        assert_eq!(server.get("/abc?uploads").elements("UploadId"), [id.as_str()]);
        assert_eq!(server.get(&format!("/abc/k?uploadId={id}")).elements("PartNumber"), ["1", "2", "3"]);
        let listed = [(1, &*etags[0]), (2, &*etags[1]), (3, &*etags[2])];
        let done = complete(server, "/abc/k", &id, &listed).expect(200);
        let digests: Vec<u8> = bodies.iter().flat_map(|body| md5(body)).collect();
        let expected = format!("&quot;{}-3&quot;", hex(&md5(&digests)));
        assert_eq!(done.element("ETag").as_deref(), Some(expected.as_str()));
        assert_eq!(server.get("/abc/k").expect(200).body, bodies.concat());
        let part = server.get("/abc/k?partNumber=3").expect(206);
        assert_eq!((part.body.as_slice(), part.header("x-amz-mp-parts-count")), (&*bodies[2], Some("3")));
        server.get("/abc/k?partNumber=4").expect_error(416, "InvalidPartNumber");
        assert!(server.get("/abc?uploads").elements("UploadId").is_empty());
        let across = [("range", "bytes=5242878-5242881")];
        assert_eq!(server.send("GET", "/abc/k", &across, b"").expect(206).body, [1, 1, 2, 2]);
    });
}

/// A client that missed the answer asks again; PT-07.
#[test]
fn completing_again_is_answered_alike_while_the_object_is_there() {
    for_each_backend(|server| {
        server.bucket("abc");
        let id = create(server, "/abc/k");
        let etag = upload(server, "/abc/k", &id, 1, b"x");
        let other = upload(server, "/abc/k", &id, 2, b"y");
        let first = complete(server, "/abc/k", &id, &[(1, &*etag)]).expect(200);
        let again = complete(server, "/abc/k", &id, &[(1, &*etag)]).expect(200);
        assert_eq!(first.element("ETag"), again.element("ETag"));
        complete(server, "/abc/k", &id, &[(2, &*other)]).expect_error(404, "NoSuchUpload");
        complete(server, "/abc/other", &id, &[(1, &*etag)]).expect_error(404, "NoSuchUpload");
        server.delete(&format!("/abc/k?uploadId={id}")).expect_error(404, "NoSuchUpload");
        server.put("/abc/k", b"newer").expect(200);
        complete(server, "/abc/k", &id, &[(1, &*etag)]).expect_error(404, "NoSuchUpload");
        assert_eq!(server.get("/abc/k").expect(200).text(), "newer");
    });
}

/// BI-212: whatever is wrong with a completion, the upload is still open afterwards.
#[test]
fn a_completion_that_is_wrong_changes_nothing() {
    for_each_backend(|server| {
        server.bucket("abc");
        let id = create(server, "/abc/k");
        let first = upload(server, "/abc/k", &id, 1, b"too small");
        let second = upload(server, "/abc/k", &id, 2, b"last");
        complete(server, "/abc/k", &id, &[]).expect_error(400, "MalformedXML");
        let nothing = server.post(&format!("/abc/k?uploadId={id}"), b"").expect_error(400, "InvalidRequest");
        assert_eq!(nothing.element("Message").as_deref(), Some("You must specify at least one part"));
        complete(server, "/abc/k", &id, &[(2, &second), (1, &first)]).expect_error(400, "InvalidPartOrder");
        complete(server, "/abc/k", &id, &[(1, &first), (1, &first)]).expect_error(400, "InvalidPartOrder");
        complete(server, "/abc/k", &id, &[(3, &first)]).expect_error(400, "InvalidPart");
        complete(server, "/abc/k", &id, &[(2, &first)]).expect_error(400, "InvalidPart");
        complete(server, "/abc/k", &id, &[(1, &first), (2, &second)]).expect_error(400, "EntityTooSmall");
        server.get("/abc/k").expect_error(404, "NoSuchKey");
        complete(server, "/abc/k", &id, &[(2, &second)]).expect(200);
        assert_eq!(server.get("/abc/k").expect(200).text(), "last");
    });
}

/// BI-161, BI-162.
#[test]
fn uploads_and_parts_that_cannot_be_are_refused() {
    let server = TestServer::memory();
    server.bucket("abc");
    let id = create(&server, "/abc/k");
    for number in ["0", "-1", "10001", "1.5", "99999999999", "abc"] {
        server
            .put(&format!("/abc/k?partNumber={number}&uploadId={id}"), b"x")
            .expect_error(400, "InvalidArgument");
    }
    for other in ["../../x", "", "00", &"0".repeat(32)] {
        server.put(&format!("/abc/k?partNumber=1&uploadId={other}"), b"x").expect_error(404, "NoSuchUpload");
        server.delete(&format!("/abc/k?uploadId={other}")).expect_error(404, "NoSuchUpload");
    }
    server.put(&format!("/abc/other?partNumber=1&uploadId={id}"), b"x").expect_error(404, "NoSuchUpload");
}

#[test]
fn an_aborted_upload_is_gone() {
    for_each_backend(|server| {
        server.bucket("abc");
        let id = create(server, "/abc/k");
        upload(server, "/abc/k", &id, 1, b"x");
        server.delete(&format!("/abc/k?uploadId={id}")).expect(204);
        server.delete(&format!("/abc/k?uploadId={id}")).expect_error(404, "NoSuchUpload");
        server.put(&format!("/abc/k?partNumber=1&uploadId={id}"), b"x").expect_error(404, "NoSuchUpload");
    });
}

#[test]
fn a_part_is_copied_from_a_range_of_an_object() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/source", b"0123456789").expect(200);
        let id = create(server, "/abc/k");
        let target = format!("/abc/k?partNumber=1&uploadId={id}");
        let fields = [("x-amz-copy-source", "abc/source"), ("x-amz-copy-source-range", "bytes=2-5")];
        let etag = server.send("PUT", &target, &fields, b"").expect(200).element("ETag").unwrap();
        complete(server, "/abc/k", &id, &[(1, &*etag)]).expect(200);
        assert_eq!(server.get("/abc/k").expect(200).text(), "2345");
    });
}

/// DL-03, CC-04: whoever races, either the completions win or the abort, and the object is whole.
#[test]
fn a_conditional_completion_speaks_of_the_whole_time_of_the_upload() {
    for_each_backend(|server| {
        server.bucket("abc");
        let conditional = |id: &str, etag: &str, name: &str, value: &str| {
            let body = format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
            );
            server.send("POST", &format!("/abc/k?uploadId={id}"), &[(name, value)], body.as_bytes())
        };
        // The object was there, and was deleted meanwhile.
        server.put("/abc/k", b"x").expect(200);
        let id = create(server, "/abc/k");
        let part = upload(server, "/abc/k", &id, 1, b"part");
        conditional(&id, &part, "if-none-match", "*").expect_error(412, "PreconditionFailed");
        server.delete("/abc/k").expect(204);
        conditional(&id, &part, "if-none-match", "*").expect_error(409, "ConditionalRequestConflict");
        let id = create(server, "/abc/k");
        let part = upload(server, "/abc/k", &id, 1, b"part");
        conditional(&id, &part, "if-match", "\"other\"").expect_error(404, "NoSuchKey");
        conditional(&id, &part, "if-none-match", "*").expect(200);
        // The object matches, but was written meanwhile.
        let id = create(server, "/abc/k");
        let part = upload(server, "/abc/k", &id, 1, b"part");
        let clock = &server.service().clock;
        let created = clock.now();
        wait_until("the clock moves on", || clock.now() > created);
        let etag = server.put("/abc/k", b"x").expect(200).header("etag").unwrap().to_owned();
        conditional(&id, &part, "if-match", "\"other\"").expect_error(412, "PreconditionFailed");
        conditional(&id, &part, "if-match", &etag).expect_error(409, "ConditionalRequestConflict");
        let id = create(server, "/abc/k");
        let part = upload(server, "/abc/k", &id, 1, b"part");
        conditional(&id, &part, "if-match", &etag).expect(200);
    });
}

#[test]
fn completions_and_an_abort_never_both_win() {
    for_each_backend(|server| {
        server.bucket("abc");
        for _ in 0..5 {
            let id = create(server, "/abc/k");
            let etag = upload(server, "/abc/k", &id, 1, b"whole");
            let race = |at: usize| match at {
                7 => server.delete(&format!("/abc/k?uploadId={id}")).status,
                _ => complete(server, "/abc/k", &id, &[(1, &*etag)]).status,
            };
            let statuses: Vec<u16> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|at| {
                        scope.spawn({
                            let race = &race;
                            move || race(at)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (completions, abort) = statuses.split_at(7);
            let aborted = abort == [204];
            assert_eq!(completions.contains(&200), !aborted, "{statuses:?}");
            let lost = if aborted { 404 } else { 200 };
            assert!(completions.iter().all(|status| *status == lost), "{statuses:?}");
            if statuses.contains(&200) {
                assert_eq!(server.get("/abc/k").expect(200).text(), "whole");
            }
        }
    });
}

/// Neither the end of an upload nor its completion may miss a part that arrives meanwhile.
#[test]
fn a_part_that_meets_the_end_of_its_upload_does_not_outlive_it() {
    for_each_backend(|server| {
        server.bucket("abc");
        for round in 0..60 {
            let id = create(server, "/abc/k");
            let etag = upload(server, "/abc/k", &id, 200, b"listed");
            std::thread::scope(|scope| {
                for first in [1, 100] {
                    let id = &id;
                    scope.spawn(move || {
                        let target = |number| format!("/abc/k?partNumber={number}&uploadId={id}");
                        (first..first + 90).any(|number| server.put(&target(number), b"x").status != 200)
                    });
                }
                match round % 2 {
                    0 => _ = server.delete(&format!("/abc/k?uploadId={id}")).expect(204),
                    _ => _ = complete(server, "/abc/k", &id, &[(200, &*etag)]).expect(200),
                }
            });
            let parts = s3pail::model::keys::parts(s3pail::model::SortedId::parse(&id).unwrap());
            let mut left = 0;
            let count = &mut |_: &[u8], _: &[u8]| {
                left += 1;
                s3pail::storage::Visit::Next
            };
            server.service().meta.scan(&parts.start..&parts.end, count).unwrap();
            assert_eq!(left, 0, "parts outlive their upload");
        }
    });
}

/// As recorded of AWS S3.
#[test]
fn a_completion_is_told_what_is_wrong_with_it_in_the_order_of_s3() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.post("/abc/k?uploadId=fakeid", b"").expect_error(404, "NoSuchUpload");
    let chosen = [("x-amz-checksum-algorithm", "CRC32")];
    let id = server.send("POST", "/abc/k?uploads", &chosen, b"").expect(200).element("UploadId").unwrap();
    let part = format!("/abc/k?partNumber=1&uploadId={id}");
    let etag = server.send("PUT", &part, &[("x-amz-checksum-crc32", "NSRBwg==")], b"abc").expect(200);
    let etag = etag.header("etag").unwrap().to_owned();
    let complete = |checksum: &str| {
        let body = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>{checksum}</Part></CompleteMultipartUpload>"
        );
        server.post(&format!("/abc/k?uploadId={id}"), body.as_bytes())
    };
    complete("<ChecksumCRC32>AAAAAA==</ChecksumCRC32>").expect_error(400, "InvalidPart");
    let sha256 = Checksum::of(ChecksumAlgorithm::Sha256, b"abc").to_base64();
    let other =
        complete(&format!("<ChecksumSHA256>{sha256}</ChecksumSHA256>")).expect_error(400, "BadDigest");
    let expected = "The sha256 you specified for part 1 did not match what we received.";
    assert_eq!(other.element("Message").as_deref(), Some(expected));
}

/// As AWS answers: a part may come with any checksum, which its answer repeats; what is kept, and told of the
/// object, is CRC64NVME of all bytes.
#[test]
fn an_upload_that_chose_no_checksum_has_crc64nvme_whatever_came_with_its_parts() {
    let sum = |algorithm, bytes: &[u8]| Checksum::of(algorithm, bytes).to_base64();
    for_each_backend(|server| {
        server.bucket("abc");
        let id = create(server, "/abc/k");
        let bodies = [part_body(1, 5 * MIB), part_body(2, 7)];
        let mut etags = Vec::new();
        for (at, (body, algorithm)) in
            bodies.iter().zip([ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Sha256]).enumerate()
        {
            let value = sum(algorithm, body);
            let target = format!("/abc/k?partNumber={}&uploadId={id}", at + 1);
            let part = server.send("PUT", &target, &[(algorithm.header(), &value)], body).expect(200);
            assert_eq!(part.header(algorithm.header()), Some(value.as_str()));
            assert_eq!(part.header("x-amz-checksum-crc64nvme"), None);
            etags.push(part.header("etag").unwrap().to_owned());
            let wrong = [(algorithm.header(), sum(algorithm, b"other"))];
            let wrong = wrong.each_ref().map(|(name, value)| (*name, value.as_str()));
            server.send("PUT", &target, &wrong, body).expect_error(400, "BadDigest");
        }
        let listed = server.get(&format!("/abc/k?uploadId={id}")).expect(200);
        assert!(!listed.text().contains("Checksum"), "{}", listed.text());
        // A checksum of a part is not what the upload has.
        let part = format!("<PartNumber>1</PartNumber><ETag>{}</ETag>", etags[0]);
        let value = sum(ChecksumAlgorithm::Crc32, &bodies[0]);
        let list = format!(
            "<CompleteMultipartUpload><Part>{part}<ChecksumCRC32>{value}</ChecksumCRC32></Part></CompleteMultipartUpload>"
        );
        let target = format!("/abc/k?uploadId={id}");
        server.post(&target, list.as_bytes()).expect_error(400, "InvalidPart");
        let list = format!("<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>");
        let kind = [("x-amz-checksum-type", "FULL_OBJECT")];
        let refused =
            server.send("POST", &target, &kind, list.as_bytes()).expect_error(400, "InvalidRequest");
        assert!(refused.text().contains("the null checksum mode"), "{}", refused.text());
        let done = complete(server, "/abc/k", &id, &[(1, &*etags[0]), (2, &*etags[1])]).expect(200);
        let expected = sum(ChecksumAlgorithm::Crc64Nvme, &bodies.concat());
        assert_eq!(done.element("ChecksumCRC64NVME"), Some(expected.clone()));
        assert_eq!(done.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
        let head = server.send("HEAD", "/abc/k", &[("x-amz-checksum-mode", "ENABLED")], b"").expect(200);
        assert_eq!(head.header("x-amz-checksum-crc64nvme"), Some(expected.as_str()));
    });
}
