//! The scrub: damage is found without a read, counted, moved into quarantine and never deleted; a walk goes on
//! after a restart where it stopped. That its rate is a bound is tested beside the code.

use super::harness::{Client, Folder, TestServer, file_config, wait_until};
use s3pail::check::check;
use s3pail::check::report::Kind;
use s3pail::codec::hex;
use s3pail::config::Config;
use s3pail::model::object::ObjectRecord;
use s3pail::model::{BucketName, keys};
use s3pail::scrub::Progress;
use s3pail::storage::fault::{DiskFaults, DiskStep};
use s3pail::storage::{Batch, Pace, SyncMode};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

static LARGE: [u8; 300_000] = [7; 300_000];

fn config(folder: &Folder) -> Config {
    Config { scrub_rate: 1 << 40, ..file_config(folder) }
}

fn server() -> TestServer {
    let folder = Folder::new();
    let server = TestServer::start("file", config(&folder), Some(folder));
    server.bucket("abc");
    server
}

fn record(server: &TestServer, key: &str) -> (Vec<u8>, ObjectRecord) {
    let key = keys::object(&BucketName::parse("abc").unwrap(), key);
    let value = server.service().meta.get(&key).unwrap().unwrap();
    (key, ObjectRecord::decode(&value).unwrap())
}

/// The file of an object's first body.
fn body_file(server: &TestServer, key: &str) -> PathBuf {
    let id = record(server, key).1.detail.pieces[0].id.0.clone();
    server.folder().join("data/blobs").join(&id[..2]).join(id)
}

fn in_quarantine(file: &Path) -> PathBuf {
    let blobs = file.parent().unwrap().parent().unwrap();
    blobs.join("quarantine").join(file.file_name().unwrap())
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn figure(client: &Client, series: &str) -> u64 {
    let page = client.get("/metrics").expect(200).text();
    let line = page.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series));
    line.unwrap_or_else(|| panic!("no {series}")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Has the scrub walk and waits until that walk is over.
fn scrub(server: &TestServer) {
    let walks = server.service().metrics.scrub.walks();
    server.anonymous().post("/_/scrub/run", b"").expect(202);
    wait_until("a walk is over", || server.service().metrics.scrub.walks() > walks);
}

/// CR-14: a bit that flips is found without any read by a client, and hurts no other object.
#[test]
fn a_flipped_bit_is_found_without_a_read_and_its_file_goes_into_quarantine() {
    let server = server();
    for key in ["bad", "good", "small", "rotten"] {
        let body = if ["small", "rotten"].contains(&key) { &LARGE[..100] } else { &LARGE[..] };
        server.put(&format!("/abc/{key}"), body).expect(200);
    }
    scrub(&server);
    let metrics = server.anonymous();
    assert_eq!(figure(&metrics, "s3pail_scrub_bodies_total"), 4);
    assert_eq!(figure(&metrics, "s3pail_scrub_bytes_total"), 2 * 300_000 + 2 * 104);
    assert_eq!(figure(&metrics, "s3pail_scrub_findings_total{finding=\"damaged\"}"), 0);

    let file = body_file(&server, "bad");
    flip(&file, 290_000);
    let (_, rotten) = record(&server, "rotten");
    let inline = keys::inline_body(&rotten.detail.pieces[0].id);
    let mut batch = Batch::new();
    batch.put(inline.clone(), [LARGE[..99].to_vec(), vec![0; 5]].concat());
    server.service().meta.commit(batch).unwrap();
    scrub(&server);
    assert_eq!(figure(&metrics, "s3pail_scrub_findings_total{finding=\"damaged\"}"), 2);
    assert_eq!(figure(&metrics, "s3pail_quarantined_bodies"), 1);
    assert!(!file.exists() && in_quarantine(&file).exists());
    for key in ["bad", "rotten"] {
        server.get(&format!("/abc/{key}")).expect_error(500, "InternalError");
        server.head(&format!("/abc/{key}")).expect(200);
    }
    assert_eq!(server.get("/abc/good").expect(200).body, LARGE);
    assert_eq!(server.get("/abc/small").expect(200).body, LARGE[..100]);
    assert_eq!(server.get("/abc").expect(200).elements("Key"), ["bad", "good", "rotten", "small"]);
    // Found once more, because its record is still there, but not moved once more.
    scrub(&server);
    assert_eq!(figure(&metrics, "s3pail_quarantined_bodies"), 1);
}

/// CR-14: a page of the index is not verified when it is read. Once the scrub knows that one is damaged, no object
/// is told to be absent, nothing is committed, and what is found is served.
#[test]
fn a_damaged_index_tells_of_no_object_that_it_is_absent() {
    let server = server();
    let key = |number: u32| format!("/abc/object-{number:03}");
    for number in 0..200 {
        server.put(&key(number), &LARGE[..100]).expect(200);
    }
    server.service().meta.sync().unwrap();
    scrub(&server);
    server.get("/abc/none").expect_error(404, "NoSuchKey");
    let file = server.folder().join("metadata/s3pail.redb");
    let wanted = b"o/abc\0object-077";
    let mut bytes = fs::read(&file).unwrap();
    let places = (0..bytes.len() - wanted.len()).filter(|at| bytes[*at..].starts_with(wanted));
    let places: Vec<usize> = places.collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + wanted.len() - 1] ^= 1);
    fs::write(&file, &bytes).unwrap();

    server.anonymous().post("/_/scrub/run", b"").expect(202);
    let findings = "s3pail_scrub_findings_total{finding=\"damaged\"}";
    wait_until("the scrub has found it", || figure(&server.anonymous(), findings) == 1);
    let served = |server: &TestServer| {
        let mut right = 0;
        for number in 0..200 {
            let reply = server.get(&key(number));
            match reply.status {
                200 => assert_eq!(reply.body, LARGE[..100]),
                status => assert_eq!(status, 500, "{number}"),
            }
            right += usize::from(reply.status == 200);
        }
        right
    };
    for target in ["/abc/none", "/abc", "/nobucket"] {
        server.get(target).expect_error(500, "InternalError");
    }
    server.put("/abc/new", b"x").expect_error(503, "ServiceUnavailable");
    assert!(server.delete(&key(1)).status >= 500);
    assert!(served(&server) >= 199);
    let health = server.anonymous().get("/_/healthcheck/deep");
    assert!(health.text().contains("damaged"), "{}", health.text());

    // The next start, of a small database, looks itself, and changes nothing.
    let folder = server.stop_in_vain();
    fs::write(file_in(&folder), &bytes).unwrap();
    let server = TestServer::start("file", config(&folder), Some(folder));
    assert!(served(&server) >= 199);
    server.get(&key(77)).expect_error(500, "InternalError");
    server.get("/abc/none").expect_error(500, "InternalError");
    server.put("/abc/new", b"x").expect_error(503, "ServiceUnavailable");
    let folder = server.stop_in_vain();
    assert!(fs::read(file_in(&folder)).unwrap() == bytes);
    let report = check(&file_config(&folder), true).unwrap();
    assert!(report.findings.iter().any(|finding| finding.kind == Kind::Database), "{}", report.to_text());
}

fn file_in(folder: &Folder) -> PathBuf {
    folder.0.join("metadata/s3pail.redb")
}

/// Commits and checkpoints that go on meanwhile are not taken for damage.
#[test]
fn a_sound_index_is_found_sound_while_it_is_written() {
    let server = server();
    let meta = server.service().meta.clone();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = [1_u32, 7919].map(|step| {
            let (meta, over) = (meta.clone(), &over);
            scope.spawn(move || {
                let mut number = 0_u32;
                while !over.load(Ordering::Relaxed) {
                    number = number.wrapping_add(step);
                    let mut batch = Batch::new();
                    let key =
                        |number: u32| format!("t/{:08x}", number.wrapping_mul(0x9e37_79b1)).into_bytes();
                    batch.put(key(number), vec![number as u8; 200]);
                    batch.remove(key(number.wrapping_sub(step * 1_000)));
                    meta.commit(batch).unwrap();
                    if number.is_multiple_of(500) {
                        meta.sync().unwrap();
                    }
                }
            })
        });
        let sound = (0..20).map(|_| meta.check_index(Pace::new(|_| Ok(()))).unwrap()).collect::<Vec<_>>();
        over.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(sound, [true; 20]);
    });
    let stopped = meta.check_index(Pace::new(|_| Err(io::Error::other("enough"))));
    assert!(stopped.is_err());
    server.put("/abc/new", b"x").expect(200);
}

/// What is in quarantine is reported, and neither a check, a repair, a sweep nor a delete removes it.
#[test]
fn nothing_deletes_what_is_in_quarantine() {
    let server = server();
    server.put("/abc/bad", &LARGE).expect(200);
    let file = body_file(&server, "bad");
    flip(&file, 5);
    scrub(&server);
    let kept = in_quarantine(&file);
    let folder = server.stop();
    for repair in [false, true] {
        let report = check(&file_config(&folder), repair).unwrap();
        let kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
        assert_eq!((kinds, report.quarantined), (vec![Kind::BodyDamaged], 1), "{}", report.to_text());
        assert!(report.findings[0].detail.contains("quarantine"), "{}", report.to_text());
        assert!(report.to_text().contains("1 damaged bodies in quarantine"), "{}", report.to_text());
        assert!(report.damaged() && kept.exists());
    }
    // A start that sweeps, because the last run did not end in order.
    let server = TestServer::start("file", config(&folder), Some(folder));
    assert_eq!(figure(&server.anonymous(), "s3pail_quarantined_bodies"), 1);
    server.get("/abc/bad").expect_error(500, "InternalError");
    server.delete("/abc/bad").expect(204);
    server.get("/abc/bad").expect_error(404, "NoSuchKey");
    server.put("/abc/bad", b"a new one").expect(200);
    let folder = server.stop();
    let report = check(&file_config(&folder), true).unwrap();
    assert!(!report.damaged() && report.quarantined == 1, "{}", report.to_text());
    assert!(kept.exists());
}

/// A file of another length may be half a copy that somebody is putting back, and one that cannot be read may
/// be readable tomorrow: both are counted and stay where they are.
#[test]
fn only_a_whole_file_with_wrong_bytes_goes_into_quarantine() {
    let server = server();
    for key in ["short", "gone", "unreadable"] {
        server.put(&format!("/abc/{key}"), &LARGE).expect(200);
    }
    let [short, gone, unreadable] = ["short", "gone", "unreadable"].map(|key| body_file(&server, key));
    let bytes = fs::read(&short).unwrap();
    fs::write(&short, &bytes[..bytes.len() - 1]).unwrap();
    fs::remove_file(&gone).unwrap();
    // A folder in its place is an error of the system at every read.
    fs::remove_file(&unreadable).unwrap();
    fs::create_dir(&unreadable).unwrap();
    scrub(&server);
    let metrics = server.anonymous();
    for finding in ["damaged", "missing", "failed"] {
        assert_eq!(figure(&metrics, &format!("s3pail_scrub_findings_total{{finding=\"{finding}\"}}")), 1);
    }
    assert_eq!(figure(&metrics, "s3pail_quarantined_bodies"), 0);
    assert!(short.exists() && unreadable.is_dir() && !in_quarantine(&short).exists());
    // Put back, it is as it was.
    fs::write(&short, &bytes).unwrap();
    assert_eq!(server.get("/abc/short").expect(200).body, LARGE);
}

#[test]
fn a_body_that_cannot_be_moved_stays_and_is_counted() {
    let (folder, faults) = (Folder::new(), Arc::new(DiskFaults::default()));
    let server = TestServer::watched(config(&folder), folder, &faults);
    server.bucket("abc");
    server.put("/abc/bad", &LARGE).expect(200);
    let file = body_file(&server, "bad");
    flip(&file, 5);
    faults.watch(|step| match step {
        DiskStep::Rename(..) => Err(io::Error::from_raw_os_error(5)),
        _ => Ok(()),
    });
    scrub(&server);
    assert_eq!(figure(&server.anonymous(), "s3pail_scrub_findings_total{finding=\"damaged\"}"), 1);
    assert_eq!(figure(&server.anonymous(), "s3pail_quarantined_bodies"), 0);
    assert!(file.exists());
}

/// A walk that a stop interrupts goes on with the body that it had not read to its end.
#[test]
fn a_walk_goes_on_after_a_restart_where_it_stopped() {
    let folder = Folder::new();
    // So slow that it stays with the first large body.
    let slow = Config { scrub_rate: 1_000, ..file_config(&folder) };
    let server = TestServer::start("file", slow, Some(folder));
    server.bucket("abc");
    server.put("/abc/a", b"small").expect(200);
    server.put("/abc/b", &LARGE).expect(200);
    server.put("/abc/c", &LARGE[..90_000]).expect(200);
    server.anonymous().post("/_/scrub/run", b"").expect(202);
    wait_until("the small body has been read and the first block of the large one", || {
        server.service().metrics.scrub.bytes() > 100
    });
    let (key, _) = record(&server, "b");
    let folder = server.stop();

    let server = TestServer::start("file", config(&folder), Some(folder));
    let stopped = Progress::stored(server.service()).unwrap().unwrap();
    assert_eq!((stopped.next, stopped.bodies), (Some(hex(&key)), 1));
    scrub(&server);
    let scrubbed = &server.service().metrics.scrub;
    assert_eq!((scrubbed.bodies(), scrubbed.bytes()), (2, 390_000));
    let over = Progress::stored(server.service()).unwrap().unwrap();
    assert_eq!((over.next, over.bodies, over.begun_ms), (None, 3, stopped.begun_ms));
    // The next walk begins anew.
    scrub(&server);
    assert_eq!(Progress::stored(server.service()).unwrap().unwrap().bodies, 3);
}

/// A walk that stopped behind a body of a record goes on behind it, unless the record names another one by then.
#[test]
fn what_took_the_place_of_a_body_that_was_read_is_read() {
    let server = server();
    server.put("/abc/a", &LARGE).expect(200);
    let (key, old) = record(&server, "a");
    let stopped = |server: &TestServer, read: &ObjectRecord| {
        let body = Some(read.detail.pieces[0].id.0.clone());
        let progress = Progress { next: Some(hex(&key)), body, ..Progress::default() };
        let mut batch = Batch::new();
        batch.put(keys::SCRUB, serde_json::to_vec(&progress).unwrap());
        server.service().meta.commit(batch).unwrap();
    };
    stopped(&server, &old);
    scrub(&server);
    assert_eq!(server.service().metrics.scrub.bodies(), 0);
    server.put("/abc/a", &LARGE).expect(200);
    stopped(&server, &old);
    scrub(&server);
    assert_eq!(server.service().metrics.scrub.bodies(), 1);
}

#[test]
fn versions_parts_and_copies_are_scrubbed_and_what_is_elsewhere_is_not() {
    let server = server();
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put("/abc?versioning", enabled).expect(200);
    for _ in 0..3 {
        server.put("/abc/k", &LARGE).expect(200);
    }
    server.delete("/abc/k").expect(204);
    server.send("PUT", "/abc/sealed", &[("x-amz-server-side-encryption", "AES256")], &LARGE).expect(200);
    let id = server.post("/abc/parts?uploads", b"").expect(200).element("UploadId").unwrap();
    server.put(&format!("/abc/parts?partNumber=1&uploadId={id}"), &LARGE).expect(200);
    scrub(&server);
    assert_eq!(server.service().metrics.scrub.bodies(), 5);
    assert_eq!(server.service().damage.damaged() + server.service().damage.missing(), 0);
}

#[test]
fn there_is_no_scrub_where_nothing_is_kept_in_files_or_none_is_wanted() {
    let server = TestServer::memory();
    server.anonymous().post("/_/scrub/run", b"").expect(404);
    let folder = Folder::new();
    let off = Config { scrub_period_ms: 0, sync: SyncMode::None, ..file_config(&folder) };
    let server = TestServer::start("file", off, Some(folder));
    server.anonymous().post("/_/scrub/run", b"").expect(404);
    server.anonymous().get("/_/scrub/run").expect_error(405, "MethodNotAllowed");
}
