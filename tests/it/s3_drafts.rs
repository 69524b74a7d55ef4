//! Uploads in parts whose bodies another S3 store puts together: one upload there, and afterwards one object,
//! whatever goes wrong on the way.

use super::harness::{DEADLINE, Folder, Reply, TestServer, file_config, wait_until};
use super::locations::{location, multiple, multiple_of};
use super::s3_upstream::details;
use super::stand_in::line::{Fate, Line};
use s3pail::codec::hex;
use s3pail::config::{Backend, Config};
use s3pail::log::Log;
use s3pail::model::object::Piece;
use s3pail::server::Server;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

const HEADER: &str = "x-amz-meta-scal-location-constraint";
const FAR: (&str, &str) = (HEADER, "far");
const MIB: usize = 1024 * 1024;

/// A server with a location `far` that is a second server, and a line between them.
struct Rig {
    remote: TestServer,
    line: Line,
    server: TestServer,
}

impl Rig {
    fn new() -> Rig {
        let remote = TestServer::memory();
        remote.bucket("remote");
        let line = Line::to(remote.address());
        let server = multiple(&[("far", location("aws_s3", details(line.address)))]);
        server.bucket("bucket");
        Rig { remote, line, server }
    }

    fn create(&self) -> String {
        self.create_with(&[FAR])
    }

    fn create_with(&self, fields: &[(&str, &str)]) -> String {
        let begun = self.server.send("POST", "/bucket/key?uploads", fields, b"").expect(200);
        begun.element("UploadId").unwrap()
    }

    fn part(&self, id: &str, number: u16, body: &[u8]) -> Reply {
        self.server.put(&part_of(id, number), body)
    }

    /// Uploads a part and returns its ETag.
    fn stored(&self, id: &str, number: u16, body: &[u8]) -> String {
        etag(&self.part(id, number, body).expect(200))
    }

    fn complete(&self, id: &str, parts: &[(u16, &str)]) -> Reply {
        self.server.post(&upload_of(id), completion(parts).as_bytes())
    }

    /// The ids of the uploads that are open at the remote.
    fn uploads(&self) -> Vec<String> {
        self.remote.get("/remote?uploads").expect(200).elements("UploadId")
    }

    /// The keys and sizes of the objects at the remote.
    fn objects(&self) -> Vec<(String, usize)> {
        let list = self.remote.get("/remote?list-type=2").expect(200);
        let sizes = list.elements("Size").into_iter().map(|size| size.parse().unwrap());
        list.elements("Key").into_iter().zip(sizes).collect()
    }

    fn wait_until_nothing_is_left(&self) {
        wait_until("nothing is left at the remote", || {
            self.uploads().is_empty() && self.objects().is_empty()
        });
    }
}

fn part_of(id: &str, number: u16) -> String {
    format!("/bucket/key?partNumber={number}&uploadId={id}")
}

fn upload_of(id: &str) -> String {
    format!("/bucket/key?uploadId={id}")
}

fn etag(reply: &Reply) -> String {
    reply.header("etag").map(str::to_owned).or(reply.element("ETag")).unwrap()
}

fn completion(parts: &[(u16, &str)]) -> String {
    let part = |(number, etag): &(u16, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts: String = parts.iter().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// Which step of an upload a request to the remote is.
fn step(request: &str) -> &'static str {
    let (method, target) = request.split_once(' ').unwrap();
    match (method, target) {
        ("POST", target) if target.contains("?uploads") => "create",
        ("PUT", target) if target.contains("partNumber=") => "part",
        ("POST", target) if target.contains("uploadId=") => "complete",
        ("DELETE", target) if target.contains("uploadId=") => "abort",
        ("HEAD", _) => "head",
        ("DELETE", _) => "delete",
        _ => "other",
    }
}

/// Decides about the first so many requests of a step, and lets everything else pass.
fn first(
    steps: usize,
    wanted: &'static str,
    mut fate: impl FnMut() -> Fate + Send + 'static,
) -> impl FnMut(&str) -> Fate + Send + 'static {
    let mut left = steps;
    move |request| {
        if step(request) != wanted || left == 0 {
            return Fate::Pass;
        }
        left -= 1;
        fate()
    }
}

#[test]
fn an_upload_is_one_upload_at_the_remote_and_then_one_object() {
    let rig = Rig::new();
    rig.server.put("/bucket/source", &body(900)).expect(200);
    let id = rig.create();
    let far = rig.uploads();
    assert_eq!((far.len(), rig.objects().len()), (1, 0));
    let one = body(5 * MIB);
    let etags = [rig.stored(&id, 1, b"replaced later"), rig.stored(&id, 7, b"not wanted")];
    let first = rig.stored(&id, 1, &one);
    assert_ne!(first, etags[0]);
    let copied = [("x-amz-copy-source", "bucket/source"), ("x-amz-copy-source-range", "bytes=100-899")];
    let second = etag(&rig.server.send("PUT", &part_of(&id, 2), &copied, b"").expect(200));
    let listed = rig.server.get(&upload_of(&id)).expect(200);
    assert_eq!(listed.elements("Size"), ["5242880", "800", "10"]);
    let key = rig.remote.get("/remote?uploads").element("Key").unwrap();
    let there = rig.remote.get(&format!("/remote/{key}?uploadId={}", far[0])).expect(200);
    assert_eq!(there.elements("Size"), listed.elements("Size"));
    assert_eq!((rig.uploads(), rig.objects().len()), (far, 0));

    let done = rig.complete(&id, &[(1, &first), (2, &second)]).expect(200);
    let whole = [one.as_slice(), &body(900)[100..]].concat();
    assert!(rig.uploads().is_empty());
    assert_eq!(rig.objects(), [(key.clone(), whole.len())]);
    assert_eq!(rig.remote.get(&format!("/remote/{key}")).expect(200).body, whole);

    let got = rig.server.get("/bucket/key").expect(200);
    assert_eq!((got.header("etag"), got.body == whole), (Some(unquoted(&done).as_str()), true));
    assert!(unquoted(&done).ends_with("-2\""), "{}", unquoted(&done));
    let seam = [("range", "bytes=5242878-5242881")];
    assert_eq!(
        rig.server.send("GET", "/bucket/key", &seam, b"").expect(206).body,
        whole[5_242_878..5_242_882]
    );
    let part = rig.server.get("/bucket/key?partNumber=2").expect(206);
    assert_eq!((part.body.as_slice(), part.header("x-amz-mp-parts-count")), (&whole[5 * MIB..], Some("2")));

    let from = ("x-amz-copy-source", "bucket/key");
    for copy in ["/bucket/near", "/bucket/far"] {
        let place = if copy.ends_with("far") { FAR } else { (HEADER, "mem") };
        let replace = ("x-amz-metadata-directive", "REPLACE");
        rig.server.send("PUT", copy, &[from, replace, place], b"").expect(200);
        assert!(rig.server.get(copy).expect(200).body == whole);
    }
    assert_eq!(rig.objects().len(), 2);
    rig.server.delete("/bucket/key").expect(204);
    rig.server.delete("/bucket/far").expect(204);
    rig.wait_until_nothing_is_left();
}

fn unquoted(done: &Reply) -> String {
    done.element("ETag").unwrap().replace("&quot;", "\"")
}

#[test]
fn sealed_parts_stand_behind_each_other_in_one_object() {
    let rig = Rig::new();
    let id = rig.create_with(&[FAR, ("x-amz-server-side-encryption", "AES256")]);
    let bodies = [body(5 * MIB), body(5 * MIB + 70_001), body(3)];
    let etags: Vec<String> =
        bodies.iter().zip(1..).map(|(body, number)| rig.stored(&id, number, body)).collect();
    rig.complete(&id, &[(1, &etags[0]), (2, &etags[1]), (3, &etags[2])]).expect(200);
    let whole = bodies.concat();
    let [(key, size)] = rig.objects().try_into().unwrap();
    assert!(size > whole.len());
    let there = rig.remote.get(&format!("/remote/{key}")).expect(200).body;
    assert!(!there.windows(64).any(|window| window == &whole[..64]), "the remote can read it");
    assert!(rig.server.get("/bucket/key").expect(200).body == whole);
    let seams = [5 * MIB, 10 * MIB + 70_001];
    for (start, end) in
        [(0, 10), (seams[0] - 3, seams[0] + 3), (seams[0], seams[1]), (seams[1] - 1, whole.len())]
    {
        let range = format!("bytes={start}-{}", end - 1);
        let got = rig.server.send("GET", "/bucket/key", &[("range", &range)], b"").expect(206);
        assert!(got.body == whole[start..end], "{range}");
    }
    for (number, body) in (1..).zip(&bodies) {
        assert!(rig.server.get(&format!("/bucket/key?partNumber={number}")).expect(206).body == *body);
    }
    rig.server.send("PUT", "/bucket/copy", &[("x-amz-copy-source", "bucket/key")], b"").expect(200);
    assert!(rig.server.get("/bucket/copy").expect(200).body == whole);
    rig.server.delete("/bucket/key").expect(204);
    rig.server.delete("/bucket/copy").expect(204);
    rig.wait_until_nothing_is_left();
}

#[test]
fn parts_without_bytes_need_no_remote() {
    let rig = Rig::new();
    let id = rig.create();
    let first = rig.stored(&id, 1, &body(5 * MIB));
    let empty = rig.stored(&id, 2, b"");
    rig.complete(&id, &[(1, &first), (2, &empty)]).expect(200);
    assert!(rig.server.get("/bucket/key").expect(200).body == body(5 * MIB));
    let id = rig.create();
    let overwritten = rig.stored(&id, 1, b"bytes");
    let empty = rig.stored(&id, 1, b"");
    rig.complete(&id, &[(1, &overwritten)]).expect_error(400, "InvalidPart");
    rig.complete(&id, &[(1, &empty)]).expect(200);
    assert!(rig.server.get("/bucket/key").expect(200).body.is_empty());
    rig.wait_until_nothing_is_left();
}

#[test]
fn whoever_ends_an_upload_ends_it_at_the_remote() {
    let rig = Rig::new();
    let begin = || {
        let id = rig.create();
        rig.stored(&id, 1, b"x");
        assert_eq!(rig.uploads().len(), 1);
        id
    };
    rig.server.delete(&upload_of(&begin())).expect(204);
    rig.wait_until_nothing_is_left();
    begin();
    let rule = "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Prefix/>\
                <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                </AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>";
    let md5 = s3pail::codec::base64(&s3pail::codec::digest::md5(rule.as_bytes()));
    rig.server.send("PUT", "/bucket?lifecycle", &[("content-md5", &md5)], rule.as_bytes()).expect(200);
    let clock = &rig.server.service().clock;
    let today = clock.now();
    clock.advance(3 * 86_400_000);
    rig.server.anonymous().post("/_/lifecycle/run", b"").expect(200);
    clock.set(today);
    rig.wait_until_nothing_is_left();
    begin();
    rig.server.delete("/bucket").expect(204);
    rig.wait_until_nothing_is_left();
}

#[test]
fn a_creation_that_fails_or_is_sent_twice_leaves_one_upload_or_none() {
    let rig = Rig::new();
    rig.line.decide(first(usize::MAX, "create", || Fate::error(403, "AccessDenied")));
    rig.server.send("POST", "/bucket/key?uploads", &[FAR], b"").expect_error(503, "ServiceUnavailable");
    rig.line.decide(first(usize::MAX, "create", Fate::lose));
    rig.server.send("POST", "/bucket/key?uploads", &[FAR], b"").expect_error(503, "ServiceUnavailable");
    rig.wait_until_nothing_is_left();
    assert!(rig.server.get("/bucket?uploads").elements("UploadId").is_empty());
    rig.line.decide(first(1, "create", Fate::lose));
    let id = rig.create();
    assert_eq!(rig.uploads().len(), 1, "the creation whose answer was lost made another one");
    let etag = rig.stored(&id, 1, b"body");
    rig.complete(&id, &[(1, &etag)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "body");
}

#[test]
fn a_part_that_the_remote_does_not_take_is_not_there() {
    let rig = Rig::new();
    let id = rig.create();
    rig.line.decide(first(1, "part", Fate::lose));
    let etag = rig.stored(&id, 1, b"sent twice");
    rig.line.decide(first(1, "part", || Fate::error(403, "AccessDenied")));
    rig.part(&id, 1, b"refused").expect_error(503, "ServiceUnavailable");
    let other = "HTTP/1.1 200 OK\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\nContent-Length: 0\r\n\r\n";
    rig.line.decide(first(1, "part", || Fate::Say(other.to_owned())));
    rig.part(&id, 1, b"stored as something else").expect_error(500, "InternalError");
    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    rig.server.send("PUT", &part_of(&id, 1), &wrong, &body(200_000)).expect_error(400, "BadDigest");
    rig.line.decide(|_| Fate::Pass);
    assert_eq!(rig.server.get(&upload_of(&id)).elements("Size"), ["10"]);
    rig.complete(&id, &[(1, &etag)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "sent twice");
}

#[test]
fn a_completion_that_the_remote_refuses_changes_nothing() {
    let rig = Rig::new();
    let id = rig.create();
    let etag = rig.stored(&id, 1, b"body");
    for (status, code) in
        [(200, "InvalidPart"), (400, "InvalidPart"), (400, "InvalidPartOrder"), (400, "EntityTooSmall")]
    {
        rig.line.decide(first(1, "complete", move || Fate::error(status, code)));
        rig.complete(&id, &[(1, &etag)]).expect_error(400, code);
        rig.server.get("/bucket/key").expect_error(404, "NoSuchKey");
    }
    // A part may be uploaded again after a refusal.
    let etag = rig.stored(&id, 1, b"another");
    for (status, code) in [(200, "InternalError"), (403, "AccessDenied"), (409, "OperationAborted")] {
        rig.line.decide(first(3, "complete", move || Fate::error(status, code)));
        rig.complete(&id, &[(1, &etag)]).expect_error(503, "ServiceUnavailable");
        rig.server.get("/bucket/key").expect_error(404, "NoSuchKey");
    }
    rig.line.decide(first(1, "complete", || Fate::error(200, "InternalError")));
    rig.complete(&id, &[(1, &etag)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "another");
}

/// A part that was overwritten behind our back is not the one that was listed.
#[test]
fn the_remotes_own_refusal_is_the_clients() {
    let rig = Rig::new();
    let id = rig.create();
    let etag = rig.stored(&id, 1, b"body");
    let key = rig.remote.get("/remote?uploads").element("Key").unwrap();
    rig.remote.put(&format!("/remote/{key}?partNumber=1&uploadId={}", rig.uploads()[0]), b"else").expect(200);
    rig.complete(&id, &[(1, &etag)]).expect_error(400, "InvalidPart");
    let etag = rig.stored(&id, 1, b"again");
    rig.complete(&id, &[(1, &etag)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "again");
}

#[test]
fn a_lost_answer_to_a_completion_loses_nothing() {
    let rig = Rig::new();
    // The remote says the same once more.
    let id = rig.create();
    let etag = rig.stored(&id, 1, b"one");
    rig.line.decide(first(1, "complete", Fate::lose));
    rig.complete(&id, &[(1, &etag)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "one");
    // The remote knows the upload no more.
    let id = rig.create();
    let etag = rig.stored(&id, 1, b"two");
    let mut tries = 0;
    rig.line.decide(first(2, "complete", move || {
        tries += 1;
        if tries == 1 { Fate::lose() } else { Fate::error(404, "NoSuchUpload") }
    }));
    rig.complete(&id, &[(1, &etag)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "two");
    // No answer comes at all.
    let id = rig.create();
    let one = rig.stored(&id, 1, &body(5 * MIB));
    let two = rig.stored(&id, 2, b"end");
    rig.line.decide(first(usize::MAX, "complete", Fate::lose));
    rig.complete(&id, &[(1, &one)]).expect_error(503, "ServiceUnavailable");
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "two", "half an object");
    assert_eq!(rig.server.get("/bucket?uploads").elements("UploadId"), [id.as_str()]);
    rig.line.decide(|_| Fate::Pass);
    // What was asked for first is what there is.
    rig.part(&id, 2, b"late").expect_error(409, "OperationAborted");
    rig.complete(&id, &[(1, &one), (2, &two)]).expect_error(409, "OperationAborted");
    rig.complete(&id, &[(1, &one)]).expect(200);
    assert!(rig.server.get("/bucket/key").expect(200).body == body(5 * MIB));
    rig.server.delete("/bucket/key").expect(204);
    rig.wait_until_nothing_is_left();
}

#[test]
fn another_choice_of_parts_counts_when_the_first_was_never_heard_of_and_is_refused() {
    let rig = Rig::new();
    let id = rig.create();
    let one = rig.stored(&id, 1, b"one");
    let two = rig.stored(&id, 2, b"two");
    rig.line.decide(first(usize::MAX, "complete", || Fate::error(503, "SlowDown")));
    rig.complete(&id, &[(1, &one)]).expect_error(503, "ServiceUnavailable");
    rig.line.decide(first(1, "complete", || Fate::error(400, "InvalidPart")));
    rig.complete(&id, &[(2, &two)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "two");
}

#[test]
fn an_upload_whose_completion_was_lost_can_be_aborted() {
    let rig = Rig::new();
    let id = rig.create();
    let etag = rig.stored(&id, 1, b"body");
    rig.line.decide(first(usize::MAX, "complete", Fate::lose));
    rig.complete(&id, &[(1, &etag)]).expect_error(503, "ServiceUnavailable");
    assert_eq!(rig.objects().len(), 1);
    rig.server.delete(&upload_of(&id)).expect(204);
    rig.complete(&id, &[(1, &etag)]).expect_error(404, "NoSuchUpload");
    rig.wait_until_nothing_is_left();
}

#[test]
fn an_abort_that_fails_at_the_remote_is_made_good_later() {
    let rig = Rig::new();
    let id = rig.create();
    rig.stored(&id, 1, b"body");
    let failed = Arc::new(AtomicUsize::new(0));
    let counted = failed.clone();
    rig.line.decide(first(4, "abort", move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Fate::error(500, "InternalError")
    }));
    rig.server.delete(&upload_of(&id)).expect(204);
    rig.server.get(&upload_of(&id)).expect_error(404, "NoSuchUpload");
    rig.wait_until_nothing_is_left();
    assert_eq!(failed.load(Ordering::SeqCst), 4);
}

#[test]
fn a_condition_that_fails_leaves_the_upload_as_it_is() {
    let rig = Rig::new();
    rig.server.put("/bucket/key", b"there").expect(200);
    let id = rig.create();
    let etag = rig.stored(&id, 1, b"body");
    let listed = completion(&[(1, &etag)]);
    let absent = [("if-none-match", "*")];
    let conditional = || rig.server.send("POST", &upload_of(&id), &absent, listed.as_bytes());
    conditional().expect_error(412, "PreconditionFailed");
    assert_eq!(rig.uploads().len(), 1);
    let etag = rig.stored(&id, 1, b"changed");
    // The object appears while the remote puts the parts together.
    rig.server.delete("/bucket/key").expect(204);
    let id = rig.create();
    let etag_now = rig.stored(&id, 1, b"changed");
    assert_eq!(etag, etag_now);
    let (address, key) = (rig.server.address(), ("accessKey1", "verySecretKey1"));
    rig.line.decide(first(1, "complete", move || {
        Fate::PassThen(Box::new(move || {
            _ = super::harness::Client::new(address, Some(key)).put("/bucket/key", b"faster").expect(200);
        }))
    }));
    let listed = completion(&[(1, &etag)]);
    rig.server
        .send("POST", &upload_of(&id), &absent, listed.as_bytes())
        .expect_error(412, "PreconditionFailed");
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "faster");
    rig.complete(&id, &[(1, &etag)]).expect(200);
    assert_eq!(rig.server.get("/bucket/key").expect(200).text(), "changed");
}

/// Of two that write a part at once, the records have the one that the remote has.
#[test]
fn overlapping_uploads_of_a_part_end_with_the_one_that_is_stored() {
    for before in [true, false] {
        let rig = Rig::new();
        let id = rig.create();
        let (address, key, target) =
            (rig.server.address(), ("accessKey1", "verySecretKey1"), part_of(&id, 1));
        let (sender, inner) = mpsc::channel();
        rig.line.decide(first(1, "part", move || {
            let (sender, target) = (sender.clone(), target.clone());
            let act = Box::new(move || {
                let reply =
                    super::harness::Client::new(address, Some(key)).put(&target, b"inner").expect(200);
                sender.send(etag(&reply)).unwrap();
            });
            if before { Fate::PassAfter(act) } else { Fate::PassThen(act) }
        }));
        let outer = rig.stored(&id, 1, b"outer");
        let inner = inner.recv_timeout(DEADLINE).unwrap();
        let (stored, other, text) = match before {
            true => (&outer, &inner, "outer"),
            false => (&inner, &outer, "inner"),
        };
        assert_eq!(rig.server.get(&upload_of(&id)).elements("ETag").len(), 1);
        rig.complete(&id, &[(1, other)]).expect_error(400, "InvalidPart");
        rig.complete(&id, &[(1, stored)]).expect(200);
        assert_eq!(rig.server.get("/bucket/key").expect(200).text(), text);
    }
}

#[test]
fn completions_parts_and_an_abort_at_once_have_one_winner_and_lose_nothing() {
    let rig = Rig::new();
    for round in 0..12 {
        let id = rig.create();
        let one = rig.stored(&id, 1, &vec![1; 5 * MIB]);
        let two = rig.stored(&id, 2, b"two");
        let race = |at: usize| match at {
            0 | 1 => rig.complete(&id, &[(1, &one)]).status,
            2 | 3 => rig.complete(&id, &[(1, &one), (2, &two)]).status,
            4 => rig.part(&id, 2, b"other").status,
            _ if round % 2 == 0 => rig.server.delete(&upload_of(&id)).status,
            _ => rig.part(&id, 2, b"two").status,
        };
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|at| {
                    scope.spawn({
                        let race = &race;
                        move || race(at)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (short, long) = (statuses[..2].contains(&200), statuses[2..4].contains(&200));
        let aborted = round % 2 == 0 && statuses[5] == 204;
        let winners = [short, long, aborted].into_iter().filter(|won| *won).count();
        assert_eq!(winners, 1, "{statuses:?}");
        let body = rig.server.get("/bucket/key");
        match (short, long) {
            (true, _) => assert_eq!(body.expect(200).body.len(), 5 * MIB, "{statuses:?}"),
            (_, true) => {
                assert_eq!(body.expect(200).body[5 * MIB..], *b"two", "{statuses:?}");
            }
            _ => _ = body.expect_error(404, "NoSuchKey"),
        }
        // Whatever is still open can be aborted.
        rig.server.delete(&upload_of(&id));
        rig.server.delete("/bucket/key").expect(204);
        rig.wait_until_nothing_is_left();
    }
}

/// The configuration of a server on files with a location at an address.
fn on_files(folder: &Folder, line: &Line) -> Config {
    let mut config = Config { data: Backend::Multiple, ..file_config(folder) };
    config.locations.insert("far".to_owned(), location("aws_s3", details(line.address)));
    config
}

#[test]
fn a_crash_between_the_remotes_object_and_the_record_loses_nothing() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    let (line, folder) = (Line::to(remote.address()), Folder::new());
    let start = || Server::start(on_files(&folder, &line), Arc::new(Log::off())).unwrap();
    let client = |server: &Server| {
        super::harness::Client::new(server.addresses()[0], Some(("accessKey1", "verySecretKey1")))
    };
    let server = start();
    let requests = client(&server);
    requests.put("/bucket", b"").expect(200);
    let id =
        requests.send("POST", "/bucket/key?uploads", &[FAR], b"").expect(200).element("UploadId").unwrap();
    let etag = etag(&requests.put(&part_of(&id, 1), b"whole").expect(200));
    // The remote has put the object together, and the front end never gets to know.
    line.decide(first(usize::MAX, "complete", Fate::lose));
    let listed = completion(&[(1, &etag)]);
    requests.post(&upload_of(&id), listed.as_bytes()).expect(503);
    assert_eq!(remote.get("/remote?list-type=2").elements("Key").len(), 1);
    // A creation whose process ended before its commit: the name is reserved, the upload is there.
    let service = server.service();
    let blobs = service.blobs_of("far").unwrap();
    let drafts = blobs.drafts().unwrap();
    let hint = s3pail::storage::BlobHint { bucket: "bucket", key: "k", owner: "o", length: None, sync: None };
    let reserved = Piece::whole(drafts.reserve(&hint), 0, "far");
    service.reserve(&reserved).unwrap();
    drafts.begin(&reserved.id).unwrap();
    assert_eq!(remote.get("/remote?uploads").elements("UploadId").len(), 1);
    server.stop(DEADLINE).unwrap();

    line.decide(|_| Fate::Pass);
    let server = start();
    let requests = client(&server);
    wait_until("the creation is undone", || remote.get("/remote?uploads").elements("UploadId").is_empty());
    requests.get("/bucket/key").expect_error(404, "NoSuchKey");
    requests.post(&upload_of(&id), listed.as_bytes()).expect(200);
    assert_eq!(requests.get("/bucket/key").expect(200).text(), "whole");
    assert_eq!(remote.get("/remote?list-type=2").elements("Key").len(), 1);
    server.stop(DEADLINE).unwrap();
}

/// The record of an upload that was begun by an earlier version names no draft: its parts are bodies.
#[test]
fn uploads_without_a_draft_go_on_part_by_part() {
    let rig = Rig::new();
    let id = rig.create();
    let service = rig.server.service();
    let name = s3pail::model::BucketName::parse("bucket").unwrap();
    let sorted = s3pail::model::SortedId::parse(&id).unwrap();
    let upload_key = s3pail::model::keys::upload(&name, "key", sorted);
    let stored = service.meta.get(&upload_key).unwrap().unwrap();
    let mut record = s3pail::model::multipart::UploadRecord::decode(&stored).unwrap();
    let draft = record.draft.take().unwrap();
    let mut batch = s3pail::storage::Batch::new();
    batch.put(upload_key, record.encode());
    batch.put(s3pail::model::keys::garbage("far", &draft.id), Vec::new());
    service.commit(batch).unwrap();
    (service.discard)(Piece::whole(draft.id, 0, "far"));
    let one = rig.stored(&id, 1, &body(5 * MIB));
    let two = rig.stored(&id, 2, b"end");
    assert_eq!(rig.objects().len(), 2);
    rig.complete(&id, &[(1, &one), (2, &two)]).expect(200);
    assert!(rig.server.get("/bucket/key").expect(200).body == [body(5 * MIB), b"end".to_vec()].concat());
    rig.server.delete("/bucket/key").expect(204);
    rig.wait_until_nothing_is_left();
}

#[test]
fn a_class_that_moves_takes_sealed_parts_along() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    let mut config = Config::in_memory();
    config.storage_classes.insert("STANDARD_IA".to_owned(), "mem".to_owned());
    let server = multiple_of(config, &[("far", location("aws_s3", details(remote.address())))]);
    server.bucket("bucket");
    let sealed = ("x-amz-server-side-encryption", "AES256");
    let begun = server.send("POST", "/bucket/key?uploads", &[FAR, sealed], b"").expect(200);
    let id = begun.element("UploadId").unwrap();
    let bodies = [body(5 * MIB), body(70_000)];
    let part = |number: u16, body: &[u8]| etag(&server.put(&part_of(&id, number), body).expect(200));
    let etags = [part(1, &bodies[0]), part(2, &bodies[1])];
    let listed = completion(&[(1, &etags[0]), (2, &etags[1])]);
    server.post(&upload_of(&id), listed.as_bytes()).expect(200);
    let rule = "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Prefix/>\
                <Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>\
                </Rule></LifecycleConfiguration>";
    let md5 = s3pail::codec::base64(&s3pail::codec::digest::md5(rule.as_bytes()));
    server.send("PUT", "/bucket?lifecycle", &[("content-md5", &md5)], rule.as_bytes()).expect(200);
    let clock = &server.service().clock;
    let today = clock.now();
    clock.advance(40 * 86_400_000);
    server.anonymous().post("/_/lifecycle/run", b"").expect(200);
    clock.set(today);
    let moved = server.get("/bucket/key").expect(200);
    assert_eq!(moved.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert!(moved.body == bodies.concat(), "{}", hex(&s3pail::codec::digest::md5(&moved.body)));
    wait_until("the remote has nothing left", || {
        remote.get("/remote?list-type=2").elements("Key").is_empty()
    });
}
