//! What clients see when the disk fails: at every step of every write, with each error that a system gives,
//! and on a disk that is really full.
//!
//! An answer is an S3 error or the truth, what was there before stays as it was, reads go on, and a store whose
//! sync failed takes no more writes until it is opened again.

use super::harness::{Folder, Reply, TestServer, file_config, wait_until};
use s3pail::check::check;
use s3pail::check::report::Kind;
use s3pail::config::Config;
use s3pail::storage::SyncMode;
use s3pail::storage::fault::{DiskFaults, DiskStep};
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
static OLD: [u8; 40_000] = [1; 40_000];
static NEW: [u8; 50_000] = [2; 50_000];

fn config(folder: &Folder) -> Config {
    Config { sync: SyncMode::Strict, part_bytes_min: 0, ..file_config(folder) }
}

/// Fails the step that `countdown` reaches zero at, and notes whether that was a sync.
fn failing(countdown: &Arc<AtomicI64>, errno: i32) -> (Arc<DiskFaults>, Arc<Mutex<Option<String>>>) {
    let (faults, hit) = (Arc::new(DiskFaults::default()), Arc::new(Mutex::new(None)));
    let (countdown, noted) = (countdown.clone(), hit.clone());
    faults.watch(move |step| {
        if countdown.fetch_sub(1, Ordering::AcqRel) != 0 {
            return Ok(());
        }
        *noted.lock().unwrap() = Some(match step {
            DiskStep::SyncFolder(path) => format!("sync of folder {}", path.display()),
            DiskStep::SyncFile(path) => format!("sync of {}", path.display()),
            other => format!("{other:?}").chars().take(60).collect(),
        });
        Err(io::Error::from_raw_os_error(errno))
    });
    (faults, hit)
}

/// A write, and what `/b/old` is when it has succeeded.
type Write = (&'static str, fn(&TestServer) -> Reply, Option<&'static [u8]>);

static WRITES: [Write; 5] = [
    ("put small", |server| server.put("/abc/old", &NEW[..9]), Some(NEW.split_at(9).0)),
    ("put large", |server| server.put("/abc/old", &NEW), Some(&NEW)),
    (
        "copy",
        |server| server.send("PUT", "/abc/old", &[("x-amz-copy-source", "/abc/source")], b""),
        Some(&NEW),
    ),
    ("delete", |server| server.delete("/abc/old"), None),
    ("complete", complete, Some(&NEW)),
];

/// Uploads in one part. The failure may come at any of the three requests.
fn complete(server: &TestServer) -> Reply {
    let reply = server.post("/abc/old?uploads", b"");
    let Some(id) = reply.element("UploadId") else { return reply };
    let reply = server.put(&format!("/abc/old?partNumber=1&uploadId={id}"), &NEW);
    let Some(etag) = reply.header("etag").map(str::to_owned) else { return reply };
    let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
    let list = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
    server.post(&format!("/abc/old?uploadId={id}"), list.as_bytes())
}

/// Runs one write with its `nth` step failing. False when it has no such step.
fn fail_at((name, write, after): Write, nth: i64, errno: i32) -> bool {
    let folder = Folder::new();
    let first = TestServer::start("file", config(&folder), Some(folder));
    first.bucket("abc");
    first.put("/abc/old", &OLD).expect(200);
    first.put("/abc/source", &NEW).expect(200);
    let folder = first.stop();
    let countdown = Arc::new(AtomicI64::new(i64::MAX));
    let (faults, hit) = failing(&countdown, errno);
    let server = TestServer::watched(config(&folder), folder, &faults);
    countdown.store(nth, Ordering::Release);
    let reply = write(&server);
    countdown.store(i64::MAX, Ordering::Release);
    let hit = hit.lock().unwrap().clone();
    let what = format!("{name}, errno {errno} at step {nth}: {hit:?}");

    let succeeded = reply.status < 300;
    if !succeeded {
        let code = reply.element("Code").unwrap_or_default();
        let known = [(500, "InternalError"), (503, "ServiceUnavailable"), (507, "InsufficientStorage")];
        assert!(known.contains(&(reply.status, code.as_str())), "{what}: {} {code}", reply.status);
        assert!(hit.is_some(), "{what}: an error without a cause");
    }
    let shown = server.get("/abc/old");
    let expected = if succeeded { after } else { Some(&OLD[..]) };
    assert_eq!(shown.status, if expected.is_some() { 200 } else { 404 }, "{what}");
    assert!(expected.is_none_or(|bytes| shown.body == bytes), "{what}: another body");
    assert_eq!(server.get("/abc/source").expect(200).body, NEW, "{what}");
    assert_eq!(
        server.get("/abc").expect(200).elements("Key").len(),
        1 + usize::from(expected.is_some()),
        "{what}"
    );

    let next = server.put("/abc/next", &NEW[..100]);
    let lost_sync = hit.as_ref().is_some_and(|hit| {
        hit.starts_with("sync of folder") || hit.contains("s3pail.journal") && hit.starts_with("sync")
    });
    if lost_sync && !succeeded {
        assert!(next.status == 503 || hit.unwrap().contains("folder"), "{what}: {}", next.status);
        assert_eq!(server.put("/abc/next", &NEW).status, 503, "{what}: a large body after a failed sync");
    } else {
        assert_eq!(next.status, 200, "{what}: {}", next.text());
    }
    // The failure left nothing that a start could not cope with: the old state, or the new one.
    let folder = server.stop_anyhow();
    let report = check(&config(&folder), false).unwrap();
    let only_orphans = report.findings.iter().all(|it| it.kind == Kind::OrphanBody);
    assert!(only_orphans, "{what}: {}", report.to_text());
    let server = TestServer::start("file", config(&folder), Some(folder));
    let shown = server.get("/abc/old");
    let (old, new) = (shown.body == OLD, after.map_or(shown.status == 404, |bytes| shown.body == bytes));
    assert!(if succeeded { new } else { old || new }, "{what}: after a start, {}", shown.status);
    server.put("/abc/next", &NEW).expect(200);
    countdown_was_reached(nth, &what)
}

/// No write has this many steps.
const STEPS_MAX: i64 = 40;

fn countdown_was_reached(nth: i64, what: &str) -> bool {
    assert!(nth < STEPS_MAX, "{what}: endless");
    !what.ends_with("None")
}

fn fail_everywhere(errno: i32) {
    for write in WRITES {
        let mut steps = 0;
        while fail_at(write, steps, errno) {
            steps += 1;
        }
        eprintln!("{}: {steps} steps", write.0);
        assert!(steps >= 2, "{}: the watch sees nothing", write.0);
    }
}

/// CR-06, CR-10, DL-12, PT-03: each step by itself, among them each sync; who tries again succeeds.
#[test]
fn an_io_error_at_any_step_of_a_write_is_answered_cleanly() {
    fail_everywhere(EIO);
}

/// CR-08: the same where the file system has become read-only.
#[test]
fn a_read_only_file_system_at_any_step_of_a_write_is_answered_cleanly() {
    fail_everywhere(EROFS);
}

#[test]
fn a_full_disk_at_any_step_of_a_write_is_answered_cleanly() {
    fail_everywhere(ENOSPC);
}

/// A file system of its own, unmounted at the end.
struct Mounted(Folder);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

/// CR-07, DL-09
#[test]
fn a_really_full_disk_refuses_writes_keeps_reading_and_deletes() {
    let mounted = Mounted(Folder::new());
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&mounted.0.0).output();
    if !mount.as_ref().is_ok_and(|it| it.status.success()) {
        eprintln!("skipped: no tmpfs can be mounted here: {mount:?}");
        return;
    }
    let inside = Folder(mounted.0.0.join("store"));
    let mut server = TestServer::start("file", config(&inside), Some(inside));
    server.bucket("abc");
    let body = |number: usize, length: usize| vec![number as u8; length];
    // Large bodies until no more fits, then small ones, which are records, until those do not fit either.
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for length in [1 << 20, 100_000, 5_000] {
        loop {
            let number = kept.len();
            let reply = server.put(&format!("/abc/{number}"), &body(number, length));
            if reply.status != 200 {
                reply.expect_error(507, "InsufficientStorage");
                break;
            }
            kept.push((number, length));
            assert!(kept.len() < 100_000, "it never gets full");
        }
    }
    for restart in [false, true] {
        if restart {
            let folder = server.stop_anyhow();
            server = TestServer::start("file", config(&folder), Some(folder));
        }
        for (number, length) in &kept {
            let shown = server.get(&format!("/abc/{number}")).expect(200);
            assert!(shown.body == body(*number, *length), "{number}, restart {restart}");
        }
    }
    // Deleting makes room, and writing goes on without a start.
    let (number, _) = kept.remove(0);
    server.delete(&format!("/abc/{number}")).expect(204);
    server.get(&format!("/abc/{number}")).expect(404);
    wait_until("the deleted body has made room", || {
        server.put("/abc/again", &body(9, 500_000)).status == 200
    });
    let folder = server.stop();
    let report = check(&config(&folder), false).unwrap();
    assert!(report.findings.iter().all(|it| it.kind == Kind::OrphanBody), "{}", report.to_text());
}
