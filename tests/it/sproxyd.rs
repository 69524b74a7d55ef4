//! The client of sproxyd against a RING that fails: it errs within its deadline or succeeds on another
//! node, and never hands out wrong data.

use super::harness::{DEADLINE, wait_until};
use super::locations::{location, multiple};
use super::stand_in::sproxyd::{Fault, Node, Ring};
use s3pail::storage::remote::Deadlines;
use s3pail::storage::sproxyd::{Settings, SproxydBlobs};
use s3pail::storage::{BlobHint, BlobId, BlobStore, StorageError, WriteError};
use serde_json::{Value, json};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const HINT: BlobHint<'_> =
    BlobHint { bucket: "bucket", key: "key", owner: "owner", length: None, sync: None };

/// A RING with so many nodes, and its client.
struct Rig {
    ring: Arc<Ring>,
    nodes: Vec<Node>,
    blobs: SproxydBlobs,
}

impl Rig {
    fn new(nodes: usize) -> Rig {
        let ring = Arc::new(Ring::default());
        let nodes: Vec<Node> = (0..nodes).map(|_| Node::start(&ring)).collect();
        let deadlines = Deadlines {
            connect: Duration::from_millis(500),
            answer: Duration::from_millis(300),
            idle: Duration::from_millis(300),
            attempts: Duration::from_secs(3),
        };
        let settings = Settings {
            bootstrap: nodes.iter().map(|node| node.address.to_string()).collect(),
            class_of_service: Some(3),
            path: None,
            deadlines,
        };
        Rig { ring, nodes, blobs: SproxydBlobs::new(&settings) }
    }

    fn write(&self, body: &[u8]) -> Result<BlobId, WriteError> {
        let hint = BlobHint { length: Some(body.len() as u64), ..HINT };
        let written = self.blobs.write(&mut &*body, &hint)?;
        assert_eq!(written.size, body.len() as u64);
        Ok(written.id)
    }

    fn read(&self, id: &BlobId, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let reader = self.blobs.read(id, range).map_err(io::Error::other)?;
        reader.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

#[test]
fn one_connection_serves_one_read_after_another() {
    let rig = Rig::new(1);
    let id = rig.write(&body(10_000)).unwrap();
    let before = rig.ring.connections.load(Ordering::SeqCst);
    for range in [0..10_000, 0..1, 5_000..9_000, 9_999..10_000, 0..10_000] {
        // Who reads knows how much there is, and does not ask for more.
        let mut bytes = vec![0; (range.end - range.start) as usize];
        rig.blobs.read(&id, range).unwrap().unwrap().read_exact(&mut bytes).unwrap();
    }
    assert!(rig.ring.connections.load(Ordering::SeqCst) <= before + 1);
}

#[test]
fn bodies_come_back_whole_and_in_ranges_and_go() {
    let rig = Rig::new(1);
    for length in [1, 1000, 65_536, 65_537, 1_000_000] {
        let body = body(length);
        let id = rig.write(&body).unwrap();
        let end = length as u64;
        for range in [0..end, 0..1, end - 1..end, end / 2..end] {
            let expected = &body[range.start as usize..range.end as usize];
            assert_eq!(rig.read(&id, range.clone()).unwrap(), expected, "{range:?}");
        }
        rig.blobs.delete(&id).unwrap();
        rig.blobs.delete(&id).unwrap();
        assert!(rig.blobs.read(&id, 0..1).unwrap().is_none());
    }
    assert_eq!(rig.ring.len(), 0);
    assert_eq!(rig.blobs.health().code, 200);
    rig.ring.check();
}

#[test]
fn a_body_of_unknown_length_is_announced_all_the_same() {
    let rig = Rig::new(1);
    for length in [1, 65_537, 500_000] {
        let body = body(length);
        let written = rig.blobs.write(&mut body.as_slice(), &HINT).unwrap();
        assert_eq!(rig.read(&written.id, 0..length as u64).unwrap(), body);
    }
    let empty = rig.blobs.write(&mut io::empty(), &HINT).unwrap();
    assert_eq!((empty.size, rig.ring.len()), (0, 3));
    rig.ring.check();
}

#[test]
fn lost_nodes_are_passed_over() {
    let mut rig = Rig::new(3);
    let small = rig.write(&body(100)).unwrap();
    let large = rig.write(&body(200_000)).unwrap();
    while rig.nodes.len() > 1 {
        rig.nodes.pop();
        for _ in 0..3 {
            assert_eq!(rig.read(&small, 0..100).unwrap(), body(100));
            assert_eq!(rig.read(&large, 5..200_000).unwrap(), body(200_000)[5..]);
            rig.write(&body(100)).unwrap();
            rig.write(&body(200_000)).unwrap();
        }
    }
    rig.nodes.pop();
    let started = Instant::now();
    assert!(matches!(rig.blobs.read(&small, 0..1), Err(StorageError::Unavailable(_))));
    assert!(matches!(rig.write(b"x"), Err(WriteError::Store(StorageError::Unavailable(_)))));
    assert!(matches!(rig.blobs.delete(&small), Err(StorageError::Unavailable(_))));
    assert_ne!(rig.blobs.health().code, 200);
    assert!(started.elapsed() < DEADLINE);
    rig.ring.check();
}

#[test]
fn a_request_without_an_answer_is_repeated() {
    let rig = Rig::new(2);
    let large = rig.write(&body(200_000)).unwrap();
    for fault in [Fault::Close, Fault::Stall] {
        rig.ring.plan(&[fault]);
        let small = rig.write(&body(100)).unwrap();
        rig.ring.plan(&[fault]);
        assert_eq!(rig.read(&small, 0..100).unwrap(), body(100), "{fault:?}");
        rig.ring.plan(&[fault]);
        assert_eq!(rig.read(&large, 0..200_000).unwrap(), body(200_000), "{fault:?}");
        rig.ring.plan(&[fault]);
        rig.blobs.delete(&small).unwrap();
        rig.ring.plan(&[fault]);
        assert_eq!(rig.blobs.health().code, 200);
    }
    rig.ring.check();
}

#[test]
fn an_answer_is_final_whatever_it_says() {
    let rig = Rig::new(2);
    let id = rig.write(b"x").unwrap();
    for status in [400, 403, 422, 500, 503] {
        let before = rig.ring.requests.load(Ordering::SeqCst);
        rig.ring.plan(&[Fault::Status(status)]);
        assert!(matches!(rig.blobs.read(&id, 0..1), Err(StorageError::Unavailable(_))), "{status}");
        assert_eq!(rig.ring.requests.load(Ordering::SeqCst), before + 1);
        rig.ring.plan(&[Fault::Status(status)]);
        assert!(rig.write(b"y").is_err());
        rig.ring.unplan();
    }
    rig.ring.plan(&[Fault::Status(423)]);
    rig.blobs.delete(&id).unwrap();
    rig.ring.plan(&[Fault::Status(500)]);
    assert!(rig.blobs.delete(&id).is_err());
    rig.ring.check();
}

#[test]
fn a_body_that_cannot_be_sent_again_is_sent_once() {
    let rig = Rig::new(3);
    for fault in [Fault::CloseAfterReading(100_000), Fault::Close, Fault::Stall, Fault::Status(500)] {
        let before = rig.ring.len();
        rig.ring.plan(&[fault]);
        let started = Instant::now();
        let error = rig.write(&body(4_000_000)).unwrap_err();
        assert!(matches!(error, WriteError::Store(StorageError::Unavailable(_))), "{fault:?}: {error:?}");
        assert!(started.elapsed() < DEADLINE, "{fault:?}");
        assert_eq!(rig.ring.len(), before, "{fault:?}");
    }
    // One whose length was not known lies in a file, and can be.
    rig.ring.plan(&[Fault::CloseAfterReading(100_000)]);
    let body = body(4_000_000);
    let written = rig.blobs.write(&mut body.as_slice(), &HINT).unwrap();
    assert_eq!(rig.read(&written.id, 0..4_000_000).unwrap(), body);
    rig.ring.check();
}

#[test]
fn a_body_that_breaks_off_is_read_on_from_there() {
    let rig = Rig::new(2);
    let id = rig.write(&body(300_000)).unwrap();
    for fault in [Fault::Cut(100_000), Fault::StallAt(100_000), Fault::Cut(0), Fault::StallAt(0)] {
        rig.ring.plan(&[fault, fault]);
        assert_eq!(rig.read(&id, 10..299_990).unwrap(), body(300_000)[10..299_990], "{fault:?}");
    }
    rig.ring.plan(&[Fault::Cut(0); 8]);
    assert!(rig.read(&id, 0..300_000).is_err());
    rig.ring.unplan();
    rig.ring.check();
}

#[test]
fn other_bytes_than_were_asked_for_are_an_error() {
    let rig = Rig::new(1);
    let id = rig.write(&body(1000)).unwrap();
    for fault in [Fault::OtherRange, Fault::Short] {
        rig.ring.plan(&[fault]);
        assert!(matches!(rig.blobs.read(&id, 10..1000), Err(StorageError::Corrupt(_))), "{fault:?}");
    }
    rig.ring.keys.lock().unwrap().get_mut(&id.0).unwrap().truncate(500);
    assert!(matches!(rig.blobs.read(&id, 0..1000), Err(StorageError::Corrupt(_))));
    rig.ring.check();
}

/// Fails after some bytes, as a client that goes away.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.0);
        self.0 -= count;
        if count == 0 { Err(io::Error::other("gone")) } else { Ok(count) }
    }
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let rig = Rig::new(1);
    for (sent, announced) in [(0, Some(10)), (10, Some(100)), (200_000, Some(300_000)), (200_000, None)] {
        let hint = BlobHint { length: announced, ..HINT };
        let error = rig.blobs.write(&mut Failing(sent), &hint).unwrap_err();
        assert!(matches!(error, WriteError::Body(_)), "{sent}: {error:?}");
    }
    // One byte too many, or an error where the end should be: the store had it all already.
    for mut reader in [body(200_001).chain_error(false), body(200_000).chain_error(true)] {
        let hint = BlobHint { length: Some(200_000), ..HINT };
        let error = rig.blobs.write(&mut reader, &hint).unwrap_err();
        assert!(matches!(error, WriteError::Body(_)), "{error:?}");
    }
    assert_eq!(rig.ring.len(), 0);
    rig.ring.check();
}

trait ChainError {
    fn chain_error(self, fail: bool) -> Box<dyn Read>;
}

impl ChainError for Vec<u8> {
    fn chain_error(self, fail: bool) -> Box<dyn Read> {
        let own = io::Cursor::new(self);
        if fail { Box::new(own.chain(Failing(0))) } else { Box::new(own) }
    }
}

/// A server with a `scality` location, `ring`.
fn server(rig: &Rig) -> super::harness::TestServer {
    let nodes: Vec<String> = rig.nodes.iter().map(|node| node.address.to_string()).collect();
    let details = json!({ "connector": { "sproxyd": { "bootstrap": nodes, "chordCos": 3 } } });
    multiple(&[("ring", location("scality", details))])
}

const ON_THE_RING: (&str, &str) = ("x-amz-meta-scal-location-constraint", "ring");

#[test]
fn objects_live_on_the_ring() {
    let rig = Rig::new(2);
    let server = server(&rig);
    server.bucket("bucket");
    for (length, keys) in [(0, 0), (1, 1), (300_000, 1)] {
        server.send("PUT", "/bucket/key", &[ON_THE_RING], &body(length)).expect(200);
        wait_until("the old body is gone", || rig.ring.len() == keys);
        assert_eq!(server.get("/bucket/key").expect(200).body, body(length));
    }
    server.delete("/bucket/key").expect(204);
    wait_until("nothing is left", || rig.ring.len() == 0);
    rig.ring.check();
}

#[test]
fn a_ring_that_is_away_is_a_temporary_error_of_its_objects_alone() {
    let mut rig = Rig::new(1);
    let server = server(&rig);
    server.bucket("bucket");
    server.send("PUT", "/bucket/there", &[ON_THE_RING], b"x").expect(200);
    server.put("/bucket/here", b"y").expect(200);
    rig.nodes.clear();
    server.get("/bucket/there").expect_error(503, "ServiceUnavailable");
    server.send("PUT", "/bucket/there", &[ON_THE_RING], b"z").expect_error(503, "ServiceUnavailable");
    server.send("PUT", "/bucket/new", &[ON_THE_RING], b"z").expect_error(503, "ServiceUnavailable");
    server.get("/bucket/new").expect_error(404, "NoSuchKey");
    assert_eq!(server.get("/bucket/here").expect(200).body, b"y");
    let anonymous = server.anonymous();
    let health: Value =
        serde_json::from_slice(&anonymous.get("/_/healthcheck/deep").expect(500).body).unwrap();
    assert!(health["ring"]["error"].is_string() && health["mem"]["error"].is_null(), "{health}");
    anonymous.get("/ready").expect(200);
    anonymous.get("/live").expect(200);
    rig.ring.check();
}

#[test]
fn a_write_that_failed_is_cleared_away_from_the_ring() {
    let rig = Rig::new(1);
    let server = server(&rig);
    server.bucket("bucket");
    let wrong_md5 = ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
    let reply = server.send("PUT", "/bucket/key", &[ON_THE_RING, wrong_md5], &body(300_000));
    reply.expect_error(400, "BadDigest");
    wait_until("the body is gone", || rig.ring.len() == 0);
    let lists = &[ON_THE_RING, ("if-none-match", "*")];
    server.send("PUT", "/bucket/key", lists, b"x").expect(200);
    server.send("PUT", "/bucket/key", lists, b"y").expect_error(412, "PreconditionFailed");
    wait_until("one body is left", || rig.ring.len() == 1);
    let garbage = s3pail::model::keys::all_garbage();
    wait_until("the to-delete list is empty", || {
        let mut entries = 0;
        let mut count = |_: &[u8], _: &[u8]| {
            entries += 1;
            s3pail::storage::Visit::Next
        };
        server.service().meta.scan(&garbage.start..&garbage.end, &mut count).unwrap();
        entries == 0
    });
    rig.ring.check();
}
