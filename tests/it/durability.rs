//! What a client sees of the durability contract: a device that is nearly or quite full, bit rot, syncs that
//! fail. Failures at each single step are in `disk_failures`, power cuts in `power_cut`.

use super::harness::{Client, Folder, Reply, TestServer, file_config, wait_until};
use crossbeam_channel::{Receiver, Sender, bounded};
use s3pail::config::{Config, Location};
use s3pail::model::keys;
use s3pail::storage::fault::{DiskFaults, DiskStep};
use s3pail::storage::{Batch, SyncMode, Visit};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const BLOCK: usize = s3pail::storage::file_blobs::BLOCK_BYTES;

fn server(sync: SyncMode) -> (TestServer, Arc<DiskFaults>) {
    let (folder, faults) = (Folder::new(), Arc::new(DiskFaults::default()));
    let config = Config { sync, ..file_config(&folder) };
    let server = TestServer::watched(config, folder, &faults);
    server.bucket("abc");
    (server, faults)
}

fn deep(server: &TestServer, entry: &str) -> String {
    let reply = server.anonymous().get("/_/healthcheck/deep");
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    body[entry]["message"].as_str().unwrap_or_default().to_owned()
}

fn upload(server: &TestServer, key: &str) -> String {
    let id = server.post(&format!("/abc/{key}?uploads"), b"").expect(200).element("UploadId").unwrap();
    server.put(&format!("/abc/{key}?partNumber=1&uploadId={id}"), &[3; 50_000]).expect(200);
    id
}

#[test]
fn below_the_mark_new_bodies_are_refused_and_everything_else_goes_on() {
    let (server, faults) = server(SyncMode::Strict);
    server.put("/abc/small", b"small").expect(200);
    server.put("/abc/large", &[1; 50_000]).expect(200);
    let id = upload(&server, "parts");
    faults.set_available(Some(100_000));
    let part = format!("/abc/parts?partNumber=2&uploadId={id}");
    for (target, body) in [("/abc/small", &b"new"[..]), ("/abc/new", &[2; 50_000]), (&part, b"x")] {
        server.put(target, body).expect_error(507, "InsufficientStorage");
    }
    let copy = [("x-amz-copy-source", "/abc/large")];
    server.send("PUT", "/abc/copy", &copy, b"").expect_error(507, "InsufficientStorage");
    assert_eq!(server.get("/abc/small").expect(200).body, b"small");
    assert_eq!(server.get("/abc").expect(200).elements("Key"), ["large", "small"]);
    server.delete("/abc/large").expect(204);
    server.delete(&format!("/abc/parts?uploadId={id}")).expect(204);
    server
        .put(
            "/abc?versioning",
            b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        )
        .expect(200);
    server.delete("/abc/small").expect(204);
    server.put("/abc/new", b"x").expect_error(507, "InsufficientStorage");
    for path in ["/live", "/ready"] {
        server.anonymous().get(path).expect(200);
    }
    faults.set_available(None);
    server.put("/abc/new", b"new").expect(200);
    assert_eq!(server.get("/abc/new").expect(200).body, b"new");
}

#[test]
fn below_the_mark_an_upload_is_not_invited() {
    let (server, faults) = server(SyncMode::None);
    server.put("/abc?ownershipControls", b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>").expect(200);
    server.delete("/abc?publicAccessBlock");
    server.send("PUT", "/abc?acl", &[("x-amz-acl", "public-read-write")], b"").expect(200);
    let status_line = || {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let head =
            "PUT /abc/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    };
    assert!(status_line().starts_with("HTTP/1.1 100 "));
    faults.set_available(Some(0));
    let line = status_line();
    assert!(line.starts_with("HTTP/1.1 507 "), "{line}");
}

#[test]
fn a_full_disk_gives_up_its_reserve_to_deletes_and_gets_it_back() {
    for rounds in [1, 3] {
        let (server, faults) = server(SyncMode::Strict);
        let reserve = server.folder().join("metadata/reserve");
        for number in 0..rounds {
            server.put(&format!("/abc/{number}"), &[1; 50_000]).expect(200);
        }
        let id = upload(&server, "parts");
        assert!(reserve.metadata().unwrap().len() > 0);
        // Full of what others wrote: only the reserve's room is left.
        faults.set_available(Some(0));
        faults.set_full_until_released();
        for number in 0..rounds {
            server.delete(&format!("/abc/{number}")).expect(204);
            server.get(&format!("/abc/{number}")).expect(404);
        }
        server.delete(&format!("/abc/parts?uploadId={id}")).expect(204);
        assert!(!reserve.exists());
        server.put("/abc/new", b"x").expect_error(507, "InsufficientStorage");
        faults.set_available(None);
        server.put("/abc/new", b"x").expect(200);
        assert!(reserve.metadata().unwrap().len() > 0);
        server.stop();
    }
}

#[test]
fn memory_beyond_its_budget_is_refused_and_comes_back() {
    let config = Config { memory_bytes: 1 << 20, ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    server.bucket("abc");
    server.put("/abc/one", &[1; 600_000]).expect(200);
    server.put("/abc/two", &[1; 600_000]).expect_error(507, "InsufficientStorage");
    assert_eq!(server.get("/abc/one").expect(200).body.len(), 600_000);
    server.delete("/abc/one").expect(204);
    wait_until("the bytes are given back", || server.put("/abc/two", &[1; 600_000]).status == 200);
}

/// The file of the only large body. The one that pairs bodies with records is small.
fn body_file(folder: &Path) -> PathBuf {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder.join("data/blobs")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.retain(|path| path.metadata().unwrap().len() > 40_000);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn damage(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_body_is_a_500_or_a_cut_and_is_counted() {
    let (server, _) = server(SyncMode::None);
    let sent: Vec<u8> = (0..3 * BLOCK).map(|at| (at / 7) as u8).collect();
    server.put("/abc/k", &sent).expect(200);
    assert_eq!(deep(&server, "integrity"), "OK");
    let file = body_file(&server.folder());
    damage(&file, BLOCK + 1_000);
    let range = |range: String| server.send("GET", "/abc/k", &[("range", range.as_str())], b"");
    // A range pays for the blocks that it touches and no others.
    assert_eq!(range(format!("bytes=10-{}", BLOCK - 1)).expect(206).body, sent[10..BLOCK]);
    assert_eq!(range(format!("bytes={}-", 2 * BLOCK)).expect(206).body, sent[2 * BLOCK..]);
    range(format!("bytes={BLOCK}-{BLOCK}")).expect_error(500, "InternalError");
    assert_eq!(server.service().damage.damaged(), 1);
    // The head has left: the connection ends before the announced length, and before the damaged block.
    let cut = server.get("/abc/k");
    assert_eq!(cut.status, 200);
    assert!(cut.body.len() <= BLOCK && sent.starts_with(&cut.body), "{}", cut.body.len());
    wait_until("the cut is counted", || server.service().damage.damaged() == 2);
    damage(&file, 5);
    server.get("/abc/k").expect_error(500, "InternalError");
    server
        .send("PUT", "/abc/copy", &[("x-amz-copy-source", "/abc/k")], b"")
        .expect_error(500, "InternalError");
    server.get("/abc/copy").expect_error(404, "NoSuchKey");
    assert!(deep(&server, "integrity").starts_with("4 reads found damaged bytes"));
    server.head("/abc/k").expect(200);
}

#[test]
fn a_damaged_small_body_is_a_500_and_is_counted() {
    let (server, _) = server(SyncMode::None);
    for key in ["one", "two"] {
        server.put(&format!("/abc/{key}"), key.as_bytes()).expect(200);
    }
    let meta = &server.service().meta;
    let mut stored = Vec::new();
    meta.scan(b"i/"..b"i0", &mut |key, value| {
        stored.push((key.to_vec(), value.to_vec()));
        s3pail::storage::Visit::Next
    })
    .unwrap();
    // Each is sound, but not under the other's id.
    let mut batch = Batch::new();
    batch.put(stored[0].0.clone(), stored[1].1.clone());
    batch.put(stored[1].0.clone(), stored[0].1.clone());
    meta.commit(batch).unwrap();
    for key in ["one", "two"] {
        server.get(&format!("/abc/{key}")).expect_error(500, "InternalError");
    }
    assert_eq!(server.service().damage.damaged(), 2);
}

#[test]
fn a_missing_body_is_a_500_and_its_record_stays() {
    let (server, _) = server(SyncMode::None);
    server.put("/abc/file", &[1; 50_000]).expect(200);
    server.put("/abc/record", b"small").expect(200);
    std::fs::remove_file(body_file(&server.folder())).unwrap();
    let mut batch = Batch::new();
    server
        .service()
        .meta
        .scan(b"i/"..b"i0", &mut |key, _| {
            batch.remove(key);
            s3pail::storage::Visit::Next
        })
        .unwrap();
    server.service().meta.commit(batch).unwrap();
    for key in ["file", "record"] {
        server.get(&format!("/abc/{key}")).expect_error(500, "InternalError");
        server.head(&format!("/abc/{key}")).expect(200);
    }
    assert_eq!(server.service().damage.missing(), 2);
    assert_eq!(server.get("/abc").expect(200).elements("Key"), ["file", "record"]);
    assert!(deep(&server, "integrity").contains("2 found no body"));
}

#[test]
fn a_damaged_record_is_a_500_for_its_key_and_does_not_keep_the_server_from_starting() {
    let (server, _) = server(SyncMode::None);
    for key in ["bad", "good"] {
        server.put(&format!("/abc/{key}"), b"body").expect(200);
    }
    let key = keys::object(&s3pail::model::BucketName::parse("abc").unwrap(), "bad");
    let mut value = server.service().meta.get(&key).unwrap().unwrap();
    let last = value.len() - 1;
    value[last] ^= 1;
    let mut batch = Batch::new();
    batch.put(key, value);
    server.service().meta.commit(batch).unwrap();
    let server = server.restart();
    server.get("/abc/bad").expect_error(500, "InternalError");
    server.head("/abc/bad").expect(500);
    server.get("/abc/good").expect(200);
    // It does not vanish from a listing without a word.
    server.get("/abc").expect_error(500, "InternalError");
}

/// A server with a location for each mode, in which there is a bucket of that name, and what counts the syncs.
fn with_locations(usual: SyncMode) -> (TestServer, Arc<AtomicUsize>) {
    let (folder, faults) = (Folder::new(), Arc::new(DiskFaults::default()));
    let mut config = Config { sync: usual, ..file_config(&folder) };
    for mode in SyncMode::ALL {
        let location = Location { sync: Some(mode), ..config.locations["us-east-1"].clone() };
        config.locations.insert(mode.as_str().to_owned(), location);
    }
    let server = TestServer::watched(config, folder, &faults);
    for mode in SyncMode::ALL.map(SyncMode::as_str) {
        let create = format!(
            "<CreateBucketConfiguration><LocationConstraint>{mode}</LocationConstraint></CreateBucketConfiguration>"
        );
        server.put(&format!("/{mode}"), create.as_bytes()).expect(200);
    }
    let syncs = Arc::new(AtomicUsize::new(0));
    let counter = syncs.clone();
    faults.watch(move |step| {
        // Checkpoints sync the database whenever they like.
        if matches!(step, DiskStep::SyncFile(path) if !path.ends_with("s3pail.redb")) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    (server, syncs)
}

/// Every kind of change to an object, small and large; whether each returned only after a sync of its own.
fn each_change_is_synced(server: &TestServer, syncs: &AtomicUsize, bucket: &str) -> Vec<bool> {
    let path = |key: &str| format!("/{bucket}/{key}");
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    let copy = format!("/{bucket}/small");
    let mut synced = Vec::new();
    let mut change = |change: &dyn Fn() -> Reply| {
        let before = syncs.load(Ordering::SeqCst);
        let reply = change();
        synced.push(syncs.load(Ordering::SeqCst) > before);
        assert!(reply.status < 300, "{}", String::from_utf8_lossy(&reply.body));
        reply
    };
    change(&|| server.put(&path("small"), b"small"));
    change(&|| server.put(&path("large"), &[1; 50_000]));
    change(&|| server.send("PUT", &path("copy"), &[("x-amz-copy-source", &copy)], b""));
    change(&|| server.put(&path("small?tagging"), tags));
    let id = change(&|| server.post(&path("parts?uploads"), b"")).element("UploadId").unwrap();
    let part = path(&format!("parts?partNumber=1&uploadId={id}"));
    let etag = change(&|| server.put(&part, &[2; 50_000])).header("etag").unwrap().to_owned();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    change(&|| server.post(&path(&format!("parts?uploadId={id}")), list.as_bytes()));
    change(&|| server.delete(&path("copy")));
    synced
}

#[test]
fn a_location_decides_what_changes_to_its_buckets_promise() {
    for usual in SyncMode::ALL {
        let (server, syncs) = with_locations(usual);
        let strict = each_change_is_synced(&server, &syncs, "strict");
        assert_eq!(strict, vec![true; strict.len()], "strict in {}", usual.as_str());
        let never = each_change_is_synced(&server, &syncs, "none");
        // A flusher or a checkpoint may come between, but not between each and the next.
        assert!(never.iter().filter(|synced| **synced).count() <= 2, "none in {}: {never:?}", usual.as_str());
        let relaxed = each_change_is_synced(&server, &syncs, "relaxed");
        assert!(relaxed.iter().filter(|synced| **synced).count() <= 2, "{}: {relaxed:?}", usual.as_str());
        let before = syncs.load(Ordering::SeqCst);
        wait_until("the flusher has synced what was relaxed", || syncs.load(Ordering::SeqCst) > before);
        // No header of a request chooses a promise.
        let before = syncs.load(Ordering::SeqCst);
        let elsewhere = [("x-amz-meta-scal-location-constraint", "none")];
        server.send("PUT", "/strict/k", &elsewhere, &[1; 50_000]).expect(200);
        assert!(syncs.load(Ordering::SeqCst) >= before + 2, "body and record");
        let others = SyncMode::ALL.into_iter().filter(|mode| *mode != usual);
        let mut names: Vec<String> = others.map(|mode| format!("{0} in {0}", mode.as_str())).collect();
        names.sort();
        assert_eq!(deep(&server, "durability"), format!("{}, {}", usual.as_str(), names.join(", ")));
    }
}

#[test]
fn settings_of_a_bucket_are_durable_in_every_location() {
    for usual in [SyncMode::Strict, SyncMode::Relaxed] {
        let (server, syncs) = with_locations(usual);
        for bucket in SyncMode::ALL.map(SyncMode::as_str) {
            let before = syncs.load(Ordering::SeqCst);
            let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            server.put(&format!("/{bucket}?versioning"), enabled).expect(200);
            assert!(syncs.load(Ordering::SeqCst) > before, "{bucket} in {}", usual.as_str());
        }
    }
}

#[test]
fn a_failed_sync_that_nobody_waited_for_stops_writes_and_says_so() {
    let (server, faults) = server(SyncMode::Relaxed);
    assert_eq!(deep(&server, "durability"), "relaxed");
    server.put("/abc/k", &[1; 50_000]).expect(200);
    faults.set_sync_failing(true);
    wait_until("small writes are refused", || {
        let reply = server.put("/abc/small", b"x");
        reply.status == 503 && reply.element("Code").as_deref() == Some("ServiceUnavailable")
    });
    faults.set_sync_failing(false);
    server.put("/abc/large", &[1; 50_000]).expect_error(503, "ServiceUnavailable");
    // What needs no room for a body is refused when the records have noticed: within the window.
    wait_until("deletes are refused", || server.delete("/abc/other").status == 503);
    server.put("/abc/k", b"x").expect_error(503, "ServiceUnavailable");
    assert_eq!(server.get("/abc/k").expect(200).body, [1; 50_000]);
    server.anonymous().get("/live").expect(503);
    let folder = server.stop_in_vain();
    // The next start takes what is there, and writes again.
    let server = TestServer::start("file", file_config(&folder), Some(folder));
    server.put("/abc/k", b"x").expect(200);
}

#[test]
fn buckets_and_their_settings_are_durable_before_the_answer_in_relaxed_too() {
    let wanted: [(&str, &[u8]); 2] = [
        ("/new", b""),
        ("/abc?versioning", b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
    ];
    for (target, body) in wanted {
        let (server, faults) = server(SyncMode::Relaxed);
        faults.set_sync_failing(true);
        server.put(target, body).expect_error(503, "ServiceUnavailable");
    }
    let (server, faults) = server(SyncMode::Relaxed);
    faults.set_sync_failing(true);
    server.delete("/abc").expect_error(503, "ServiceUnavailable");
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// CR-14: one flipped bit in any file of a store makes no answer wrong: it is the right bytes, or an error, or a
/// connection that is cut, but never that an object is not there. A start refuses in a sentence or serves, and a
/// flip in a body hurts no other key.
#[test]
fn a_flipped_bit_in_any_file_makes_neither_other_bytes_nor_an_absent_object() {
    let keys = ["small", "large", "other"];
    let body = |key: &str| vec![key.as_bytes()[0]; if key == "small" { 500 } else { 2 * BLOCK + 77 }];
    let (server, _) = server(SyncMode::None);
    for key in keys {
        server.put(&format!("/abc/{key}"), &body(key)).expect(200);
    }
    let folder = server.stop();
    let mut flips = 0;
    for file in files(&folder.0) {
        let good = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(&folder.0).unwrap().display().to_string();
        if name.ends_with("reserve") || good.is_empty() {
            // Never read.
            continue;
        }
        // The beginning, the end, and what is not zero in between; and whatever finds the objects.
        let mut places = vec![0, good.len() / 2, good.len() - 1];
        let full = (0..good.len()).filter(|at| good[*at] != 0).collect::<Vec<_>>();
        places.extend(full.iter().step_by((full.len() / 8).max(1)));
        let starts = |key: &str| {
            let key = format!("o/abc\0{key}");
            (0..good.len()).filter(|at| good[*at..].starts_with(key.as_bytes())).collect::<Vec<_>>()
        };
        places.extend(keys.iter().flat_map(|key| starts(key)).map(|at| at + 6));
        for at in places {
            let what = format!("{name}, byte {at} of {}", good.len());
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&file, bad).unwrap();
            flips += 1;
            let config = file_config(&folder);
            // Nobody waits for the port: only whether it starts matters.
            let started = s3pail::server::Server::start(config, Arc::new(s3pail::log::Log::off()));
            if let Ok(server) = started {
                let client = Client::new(server.addresses()[0], Some(("accessKey1", "verySecretKey1")));
                let in_body = name.contains("blobs/") && !name.ends_with("format") && !name.ends_with("lock");
                let right = keys.iter().filter(|key| {
                    let reply = client.get(&format!("/abc/{key}"));
                    let whole = reply.body == body(key);
                    let cut = reply.status == 200 && reply.body.len() < body(key).len();
                    let failed = reply.status >= 500;
                    assert!(reply.status == 200 && whole || cut || failed, "{what}: {} {key}", reply.status);
                    whole
                });
                let right = right.count();
                assert!(!in_body || right >= keys.len() - 1, "{what}: hurts another key");
                let _ = server.stop(std::time::Duration::from_secs(1));
            }
            // What the start wrote goes as well.
            std::fs::write(&file, &good).unwrap();
        }
    }
    assert!(flips > 40, "{flips}");
}

/// Lets every sync of a file hang until the second of what is returned is dropped; from the first comes a word for
/// each that has begun.
fn hang_syncs(faults: &DiskFaults) -> (Receiver<()>, Sender<()>) {
    let (entered, entries) = bounded(100);
    let (release, released) = bounded::<()>(0);
    faults.watch(move |step| {
        if matches!(step, DiskStep::SyncFile(_)) {
            let _ = entered.send(());
            // Until the other end is dropped.
            let _ = released.recv();
        }
        Ok(())
    });
    (entries, release)
}

/// CC-11, CR-09: a sync that takes long holds up those who wait for it and nobody else.
#[test]
fn a_sync_that_hangs_holds_up_no_reader() {
    let (server, faults) = server(SyncMode::Strict);
    server.put("/abc/small", b"small").expect(200);
    server.put("/abc/large", &[1; 50_000]).expect(200);
    let (entries, release) = hang_syncs(&faults);
    std::thread::scope(|scope| {
        let writer = Client::new(server.address(), Some(("accessKey1", "verySecretKey1")));
        let write = scope.spawn(move || writer.put("/abc/small", b"new").expect(200));
        entries.recv().unwrap();
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(server.get("/abc/large").expect(200).body, [1; 50_000]);
            // Not acknowledged, not durable: not seen.
            assert_eq!(server.get("/abc/small").expect(200).body, b"small");
            assert_eq!(server.get("/abc").expect(200).elements("Key"), ["large", "small"]);
        }));
        drop(release);
        write.join().unwrap();
        read.unwrap();
    });
    assert_eq!(server.get("/abc/small").expect(200).body, b"new");
}

/// DL-04: of a completion and an abort the one whose commit has begun wins, however long its sync takes, and what is
/// read meanwhile and afterwards agrees.
#[test]
fn an_abort_and_a_completion_do_not_both_happen_while_one_of_them_hangs() {
    let (server, faults) = server(SyncMode::Strict);
    for completes_first in [true, false] {
        let key = format!("{completes_first}");
        let id = upload(&server, &key);
        let target = format!("/abc/{key}?uploadId={id}");
        let etag = server.get(&target).expect(200).element("ETag").unwrap();
        let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
        let list = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
        let client = || Client::new(server.address(), Some(("accessKey1", "verySecretKey1")));
        let send = |completes: bool| match completes {
            true => client().post(&target, list.as_bytes()).status,
            false => client().delete(&target).status,
        };
        let agree = |there: bool| {
            let status = server.get(&format!("/abc/{key}")).status;
            let listed = server.get("/abc").expect(200).elements("Key").contains(&key);
            assert_eq!((status == 200, listed), (there, there), "{key}: {status}");
        };
        let (entries, release) = hang_syncs(&faults);
        let statuses = std::thread::scope(|scope| {
            let first = scope.spawn(|| send(completes_first));
            entries.recv().unwrap();
            let second = scope.spawn(|| send(!completes_first));
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| agree(false)));
            drop(release);
            let statuses = (first.join().unwrap(), second.join().unwrap());
            read.unwrap();
            statuses
        });
        assert_eq!(statuses, (if completes_first { 200 } else { 204 }, 404));
        agree(completes_first);
        assert!(server.get("/abc?uploads").expect(200).elements("UploadId").is_empty());
    }
    assert_eq!(server.get("/abc/true").expect(200).body, [3; 50_000]);
}

/// PT-08: when everything has been deleted, nothing of it is left: no record, no file, no byte of memory.
#[test]
fn nothing_is_left_of_what_was_deleted() {
    let records = |server: &TestServer| {
        let mut keys = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            keys.push(key.escape_ascii().to_string());
            Visit::Next
        };
        server.service().meta.scan(b""..b"\xff", visit).unwrap();
        keys
    };
    for server in [TestServer::file(), TestServer::memory()] {
        let is_file = server.service().config.metadata == s3pail::config::Backend::File;
        if is_file {
            wait_until("the bodies and the records are a pair", || {
                server.service().meta.get(keys::PAIRED_BODY).unwrap().is_some()
            });
        }
        let state = || {
            let bodies = if is_file { files(&server.folder().join("data")).len() } else { 0 };
            let memory = server.service().blobs.usage().used_bytes;
            (records(&server), bodies, if is_file { None } else { memory })
        };
        let before = state();
        server.bucket("abc");
        let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        for round in 0..3 {
            for length in [0, 100, 20_000] {
                server.put(&format!("/abc/{length}"), &vec![round; length]).expect(200);
            }
            if round == 0 {
                server.put("/abc?versioning", enabled).expect(200);
            }
        }
        upload(&server, "aborted");
        server.delete("/abc/100").expect(204);
        let listed = server.get("/abc?versions").expect(200);
        let (names, ids) = (listed.elements("Key"), listed.elements("VersionId"));
        for (key, id) in names.iter().zip(ids) {
            server.delete(&format!("/abc/{key}?versionId={id}")).expect(204);
        }
        let id = server.get("/abc?uploads").expect(200).element("UploadId").unwrap();
        server.delete(&format!("/abc/aborted?uploadId={id}")).expect(204);
        server.delete("/abc").expect(204);
        wait_until("nothing is left", || state() == before);
    }
}
