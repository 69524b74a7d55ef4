//! The contract of the two storage traits, one test for each sentence, run on every backend; then what
//! only the file stores promise: recovery, locks, formats, bit rot, full disks.

use super::data_daemon::Rig;
use super::harness::{TestServer, wait_until};
use super::journal_entries;
use super::stand_in::metadata::Metadata;
use super::stand_in::sproxyd::{Node, Ring};
use s3pail::storage::fault::{DiskFaults, DiskStep, Fault, Faulty, Step};
use s3pail::storage::file_blobs::{BLOCK_BYTES, FileBlobs};
use s3pail::storage::file_meta::{FileMeta, FileMetaOptions, RECENT_RECORDS_MAX};
use s3pail::storage::inspect::RecordView;
use s3pail::storage::journal::JOURNAL_BYTES_MAX;
use s3pail::storage::memory::{Budget, MemoryBlobs, MemoryMeta};
use s3pail::storage::remote::Deadlines;
use s3pail::storage::s3_upstream::{self, S3Blobs};
use s3pail::storage::sproxyd::{self, SproxydBlobs};
use s3pail::storage::sweep::{DeleteQueue, Swept, sweep_orphans};
use s3pail::storage::{
    Batch, BlobHint, BlobId, BlobStore, Health, KEY_BYTES_MAX, MetaStore, Outcome, Pace,
    Result as StorageResult, StorageError, SyncMode, SyncModes, Visit, WriteError, WrittenBlob,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MODES: [SyncMode; 3] = [SyncMode::Strict, SyncMode::Relaxed, SyncMode::None];
const HINT: BlobHint<'static> = BlobHint { bucket: "b", key: "k", owner: "o", length: None, sync: None };
const BUDGET_BYTES: u64 = 64 * 1024 * 1024;

/// A folder that is removed at the end of its test, unless that fails.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Temporary {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("storage-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Temporary(path)
    }

    fn blobs(&self, sync: SyncMode) -> FileBlobs {
        FileBlobs::open(&self.0.join("data"), sync).unwrap()
    }

    fn meta(&self, sync: SyncMode) -> FileMeta {
        FileMeta::open(&self.0.join("meta"), FileMetaOptions::new(sync)).unwrap()
    }

    /// What a killed process leaves: the files as the page cache has them, at one moment. A checkpoint may be
    /// writing beside, so it is copied until two copies are the same.
    fn copy(&self) -> Temporary {
        let mut last = self.copy_now();
        wait_until("the files stand still", || {
            let before = std::mem::replace(&mut last, self.copy_now());
            contents(&before.0) == contents(&last.0)
        });
        last
    }

    fn copy_now(&self) -> Temporary {
        let copy = Temporary::new();
        copy_folder(&self.0, &copy.0);
        copy
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            match fs::copy(entry.path(), target) {
                // The reserve is given up at any time. Whoever copies does so until nothing changes.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => _ = copied.unwrap(),
            }
        }
    }
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let short = |file: &Path| file.strip_prefix(folder).unwrap().to_owned();
    files(folder).iter().map(|file| (short(file), fs::read(file).unwrap())).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Runs a test on every blob store.
fn on_blobs(test: impl Fn(&dyn BlobStore)) {
    let budget = Budget::new(BUDGET_BYTES);
    eprintln!("memory");
    test(&MemoryBlobs::new(Arc::clone(&budget)));
    assert_eq!(budget.used(), 0);
    eprintln!("memory behind faults");
    test(&Faulty::new(MemoryBlobs::new(budget)));
    for mode in MODES {
        eprintln!("file, {}", mode.as_str());
        let temporary = Temporary::new();
        test(&temporary.blobs(mode));
    }
    eprintln!("file behind faults");
    let temporary = Temporary::new();
    test(&Faulty::new(temporary.blobs(SyncMode::Strict)));
}

/// Runs a test on every store that is a client of another one.
fn on_remote_blobs(test: impl Fn(&dyn BlobStore)) {
    eprintln!("sproxyd");
    let ring = Arc::new(Ring::default());
    let nodes = [Node::start(&ring), Node::start(&ring)];
    test(&SproxydBlobs::new(&sproxyd::Settings {
        bootstrap: nodes.iter().map(|node| node.address.to_string()).collect(),
        class_of_service: Some(3),
        path: None,
        deadlines: Deadlines::default(),
    }));
    ring.check();
    eprintln!("data daemon");
    test(&Rig::new().client());
    eprintln!("S3");
    let remote = TestServer::memory();
    remote.bucket("remote");
    test(&S3Blobs::new(s3_upstream::Settings {
        endpoint: remote.address().to_string(),
        https: false,
        bucket: "remote".to_owned(),
        path_style: true,
        bucket_match: false,
        encrypt: false,
        region: "us-east-1".to_owned(),
        access_key: "accessKey1".to_owned(),
        secret_key: "verySecretKey1".to_owned(),
        deadlines: Deadlines::default(),
    }));
}

/// Runs a test on every record store.
fn on_meta(test: impl Fn(&dyn MetaStore)) {
    let budget = Budget::new(BUDGET_BYTES);
    eprintln!("memory");
    test(&MemoryMeta::new(Arc::clone(&budget)));
    assert_eq!(budget.used(), 0);
    eprintln!("memory behind faults");
    test(&Faulty::new(MemoryMeta::new(budget)));
    for mode in MODES {
        eprintln!("file, {}", mode.as_str());
        let temporary = Temporary::new();
        test(&temporary.meta(mode));
    }
    eprintln!("file behind faults");
    let temporary = Temporary::new();
    test(&Faulty::new(temporary.meta(SyncMode::None)));
    eprintln!("a daemon over memory");
    test(&Metadata::start().client());
    eprintln!("a daemon over files");
    let temporary = Temporary::new();
    test(&Metadata::over(Arc::new(temporary.meta(SyncMode::None))).client());
}

/// Bytes that differ from block to block.
fn body(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ length as u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend((state >> 16).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn write(blobs: &dyn BlobStore, bytes: &[u8]) -> BlobId {
    let written = blobs.write(&mut &*bytes, &HINT).unwrap();
    assert_eq!(written.size, bytes.len() as u64);
    written.id
}

/// The bytes of a range; `None` if the body is absent, an error as text if anything fails.
fn read(blobs: &dyn BlobStore, id: &BlobId, range: Range<u64>) -> Result<Option<Vec<u8>>, String> {
    let Some(mut reader) = blobs.read(id, range).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(Some(bytes))
}

fn whole(blobs: &dyn BlobStore, id: &BlobId, bytes: &[u8]) {
    assert_eq!(read(blobs, id, 0..bytes.len() as u64), Ok(Some(bytes.to_vec())));
}

fn listed(blobs: &dyn BlobStore) -> BTreeSet<BlobId> {
    let mut ids = BTreeSet::new();
    blobs.list(&mut |id| assert!(ids.insert(id))).unwrap();
    ids
}

/// Yields some bytes and then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the client is gone"));
        }
        let count = out.len().min(self.0);
        self.0 -= count;
        Ok(count)
    }
}

#[test]
fn what_is_written_is_read() {
    let block = BLOCK_BYTES;
    let test = |blobs: &dyn BlobStore| {
        for length in [0, 1, 100, 4096, block - 1, block, block + 1, 2 * block, 3 * block + 17] {
            if length == 0 && !blobs.lists() {
                continue; // Remote stores keep no empty bodies.
            }
            let bytes = body(length);
            let id = write(blobs, &bytes);
            whole(blobs, &id, &bytes);
            let end = length as u64;
            for range in
                [0..0, 0..end / 2, end / 3..end, end / 3..end / 2, end..end, end.saturating_sub(1)..end]
            {
                let expected = bytes[range.start as usize..range.end as usize].to_vec();
                assert_eq!(read(blobs, &id, range.clone()), Ok(Some(expected)), "{range:?} of {length}");
            }
            assert!(read(blobs, &id, 0..end + 1).is_err(), "beyond the end of {length}");
            blobs.delete(&id).unwrap();
        }
    };
    on_blobs(test);
    on_remote_blobs(test);
}

#[test]
fn a_reader_that_yields_single_bytes_is_read_to_its_end() {
    struct Slow<'b>(&'b [u8], bool);
    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = self.0.len().min(1);
            self.0.read(&mut out[..count])
        }
    }
    let test = |blobs: &dyn BlobStore| {
        for (length, declared) in [(1000, None), (70_000, None), (70_000, Some(70_000))] {
            let bytes = body(length);
            let hint = BlobHint { length: declared, ..HINT };
            let written = blobs.write(&mut Slow(&bytes, false), &hint).unwrap();
            whole(blobs, &written.id, &bytes);
            blobs.delete(&written.id).unwrap();
        }
    };
    on_blobs(test);
    on_remote_blobs(test);
}

#[test]
fn a_failing_reader_leaves_nothing() {
    on_blobs(|blobs| {
        for length in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES] {
            match blobs.write(&mut Failing(length), &HINT) {
                Err(WriteError::Body(error)) => assert_eq!(error.to_string(), "the client is gone"),
                other => panic!("{other:?}"),
            }
            assert_eq!(listed(blobs), BTreeSet::new(), "{length}");
        }
    });
}

#[test]
fn a_panicking_reader_leaves_nothing() {
    struct Panicking(usize);
    impl Read for Panicking {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            assert!(self.0 > 0, "planned");
            let count = out.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }
    }
    on_blobs(|blobs| {
        let write = || blobs.write(&mut Panicking(BLOCK_BYTES + 1), &HINT).is_ok();
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err());
        assert_eq!(listed(blobs), BTreeSet::new());
        whole(blobs, &self::write(blobs, b"next"), b"next");
    });
}

#[test]
fn a_declared_length_is_not_believed() {
    on_blobs(|blobs| {
        let hint = BlobHint { length: Some(u64::MAX), ..HINT };
        let written = blobs.write(&mut &b"short"[..], &hint).unwrap();
        assert_eq!(written.size, 5);
        whole(blobs, &written.id, b"short");
    });
}

#[test]
fn a_reader_survives_the_delete() {
    on_blobs(|blobs| {
        for length in [100, 3 * BLOCK_BYTES] {
            let bytes = body(length);
            let id = write(blobs, &bytes);
            let mut reader = blobs.read(&id, 0..length as u64).unwrap().unwrap();
            let mut first = vec![0; 50];
            reader.read_exact(&mut first).unwrap();
            blobs.delete(&id).unwrap();
            reader.read_to_end(&mut first).unwrap();
            assert_eq!(first, bytes);
            assert_eq!(read(blobs, &id, 0..1), Ok(None));
        }
    });
}

#[test]
fn deleting_is_idempotent() {
    let test = |blobs: &dyn BlobStore| {
        let id = write(blobs, b"x");
        for _ in 0..2 {
            blobs.delete(&id).unwrap();
        }
        for id in ["", "0", "no such body", "../../../../etc/passwd", "00000000000000000000000000000000", "é"]
        {
            blobs.delete(&BlobId(id.into())).unwrap();
            assert_eq!(read(blobs, &BlobId(id.into()), 0..1), Ok(None));
        }
    };
    on_blobs(test);
    on_remote_blobs(test);
}

#[test]
fn list_visits_every_body_once() {
    on_blobs(|blobs| {
        let ids: BTreeSet<BlobId> = (0..300).map(|_| write(blobs, b"x")).collect();
        assert_eq!(listed(blobs), ids);
        ids.iter().for_each(|id| blobs.delete(id).unwrap());
        assert_eq!(listed(blobs), BTreeSet::new());
    });
}

#[test]
fn many_threads_write_and_read() {
    let test = |blobs: &dyn BlobStore| {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for round in 0..20 {
                        let bytes = body(thread * 10_007 + round * 131);
                        let id = write(blobs, &bytes);
                        whole(blobs, &id, &bytes);
                    }
                });
            }
        });
        assert!(!blobs.lists() || listed(blobs).len() == 160);
        blobs.sync().unwrap();
        assert_eq!(blobs.health().code, 200);
    };
    on_blobs(test);
    on_remote_blobs(test);
}

fn put(meta: &dyn MetaStore, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(key, value);
    assert_eq!(meta.commit(batch).unwrap(), Outcome::Committed);
}

fn scan(meta: &dyn MetaStore, range: Range<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        records.push((key.to_vec(), value.to_vec()));
        Visit::Next
    };
    meta.scan(range, visit).unwrap();
    records
}

#[test]
fn what_is_committed_is_seen_and_what_is_removed_is_not() {
    on_meta(|meta| {
        assert_eq!(meta.get(b"a").unwrap(), None);
        put(meta, b"a", b"1");
        put(meta, b"a", b"2");
        put(meta, b"empty", b"");
        assert_eq!(meta.get(b"a").unwrap(), Some(b"2".to_vec()));
        assert_eq!(meta.get(b"empty").unwrap(), Some(Vec::new()));
        let mut batch = Batch::new();
        batch.remove("a");
        batch.remove("never there");
        assert_eq!(meta.commit(batch).unwrap(), Outcome::Committed);
        assert_eq!(meta.get(b"a").unwrap(), None);
        assert_eq!(scan(meta, b""..b"\xff"), [(b"empty".to_vec(), Vec::new())]);
    });
}

#[test]
fn keys_and_values_are_any_bytes_and_ordered_as_bytes() {
    on_meta(|meta| {
        let long = vec![0xfe; KEY_BYTES_MAX];
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"A", b"a", b"a\0", b"aa", b"\x80", &long];
        for key in keys.iter().rev() {
            put(meta, key, &[key, &b"=\0\xff"[..]].concat());
        }
        let found: Vec<Vec<u8>> = scan(meta, b""..b"\xff").into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, keys);
        assert_eq!(meta.get(&long).unwrap(), Some([&long, &b"=\0\xff"[..]].concat()));
        put(meta, b"large", &body(1_000_000));
        assert_eq!(meta.get(b"large").unwrap(), Some(body(1_000_000)));
    });
}

#[test]
fn a_longer_key_is_refused_and_changes_nothing() {
    on_meta(|meta| {
        let mut batch = Batch::new();
        batch.put("a", "1");
        batch.put(vec![b'k'; KEY_BYTES_MAX + 1], "1");
        assert!(meta.commit(batch).is_err());
        assert_eq!(meta.get(b"a").unwrap(), None);
        put(meta, b"a", b"1");
    });
}

#[test]
fn a_batch_with_an_expectation_that_fails_changes_nothing() {
    on_meta(|meta| {
        put(meta, b"a", b"1");
        let expectations: [(&str, Option<&str>, Outcome); 5] = [
            ("a", Some("1"), Outcome::Committed),
            ("a", Some("2"), Outcome::Conflict),
            ("a", None, Outcome::Conflict),
            ("b", None, Outcome::Committed),
            ("b", Some(""), Outcome::Conflict),
        ];
        for (number, (key, value, outcome)) in expectations.into_iter().enumerate() {
            let written = format!("w{number}");
            let mut batch = Batch::new();
            batch.expect("a", Some(b"1".to_vec()));
            batch.put(written.as_str(), "x");
            batch.expect(key, value.map(Vec::from));
            assert_eq!(meta.commit(batch).unwrap(), outcome, "{key} {value:?}");
            assert_eq!(meta.get(written.as_bytes()).unwrap().is_some(), outcome == Outcome::Committed);
        }
    });
}

#[test]
fn an_empty_range_is_empty_until_it_has_a_record() {
    on_meta(|meta| {
        put(meta, b"bucket/a", b"1");
        let cases: [(&str, &str, Outcome); 6] = [
            ("bucket/", "bucket0", Outcome::Conflict),
            ("bucket/a", "bucket/a\0", Outcome::Conflict),
            ("bucket/", "bucket/a", Outcome::Committed),
            ("bucket/a\0", "bucket0", Outcome::Committed),
            ("bucket/a", "bucket/a", Outcome::Committed),
            ("z", "a", Outcome::Committed),
        ];
        for (start, end, outcome) in cases {
            let mut batch = Batch::new();
            batch.expect_empty(start.into()..end.into());
            assert_eq!(meta.commit(batch).unwrap(), outcome, "{start}..{end}");
        }
        let mut batch = Batch::new();
        batch.remove("bucket/a");
        meta.commit(batch).unwrap();
        let mut batch = Batch::new();
        batch.expect_empty("bucket/".into().."bucket0".into());
        assert_eq!(meta.commit(batch).unwrap(), Outcome::Committed);
    });
}

#[test]
fn of_many_threads_that_race_exactly_one_wins() {
    on_meta(|meta| {
        const THREADS: usize = 16;
        const ROUNDS: usize = 20;
        let wins = AtomicUsize::new(0);
        let barrier = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (wins, barrier) = (&wins, &barrier);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        barrier.wait();
                        let mut batch = Batch::new();
                        batch.expect(format!("race{round}"), None);
                        batch.put(format!("race{round}"), format!("{thread}"));
                        let outcome = meta.commit(batch).unwrap();
                        let found = meta.get(format!("race{round}").as_bytes()).unwrap().unwrap();
                        let mine = found == format!("{thread}").into_bytes();
                        assert_eq!(mine, outcome == Outcome::Committed);
                        wins.fetch_add(usize::from(mine), Ordering::Relaxed);
                        put(meta, format!("own{thread}/{round}").as_bytes(), b"x");
                        assert!(meta.get(format!("own{thread}/{round}").as_bytes()).unwrap().is_some());
                    }
                });
            }
        });
        assert_eq!(wins.into_inner(), ROUNDS);
        assert_eq!(scan(meta, b"own".."owo".as_bytes()).len(), THREADS * ROUNDS);
    });
}

#[test]
fn increments_by_compare_and_swap_are_not_lost() {
    on_meta(|meta| {
        let read = || meta.get(b"n").unwrap().map(|value| String::from_utf8(value).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut left = 10;
                    while left > 0 {
                        let value = read();
                        let next = value.as_ref().map_or(0, |value| value.parse::<u32>().unwrap()) + 1;
                        let mut batch = Batch::new();
                        batch.expect("n", value.map(String::into_bytes));
                        batch.put("n", next.to_string());
                        left -= u32::from(meta.commit(batch).unwrap() == Outcome::Committed);
                    }
                });
            }
        });
        assert_eq!(read().as_deref(), Some("80"));
    });
}

#[test]
fn a_scan_seeks_and_stops() {
    on_meta(|meta| {
        let mut batch = Batch::new();
        for folder in 0..20 {
            for file in 0..500 {
                batch.put(format!("{folder:02}/{file:03}"), "x");
            }
        }
        meta.commit(batch).unwrap();
        let mut folders = Vec::new();
        let mut visited = 0;
        let visit = &mut |key: &[u8], _: &[u8]| {
            visited += 1;
            let folder = String::from_utf8(key[..3].to_vec()).unwrap();
            let behind = folder.replace('/', "0").into_bytes();
            folders.push(folder);
            if folders.len() == 15 { Visit::Stop } else { Visit::Seek(behind) }
        };
        meta.scan(b"05/250"..b"\xff", visit).unwrap();
        assert_eq!((visited, folders.len()), (15, 15));
        assert_eq!((&*folders[0], &*folders[14]), ("05/", "19/"));
    });
}

#[test]
fn a_seek_beyond_the_range_ends_the_scan_and_one_backwards_goes_on() {
    on_meta(|meta| {
        for key in ["a", "b", "c", "d"] {
            put(meta, key.as_bytes(), b"x");
        }
        for (target, expected) in [("d", "a"), ("z", "a"), ("b", "abc"), ("", "abc"), ("a", "abc")] {
            let mut seen = String::new();
            let visit = &mut |key: &[u8], _: &[u8]| {
                seen.push(key[0] as char);
                Visit::Seek(target.into())
            };
            meta.scan(b"a"..b"d", visit).unwrap();
            assert_eq!(seen, expected, "{target}");
        }
        assert_eq!(scan(meta, b"c"..b"c"), []);
        assert_eq!(scan(meta, b"d"..b"a"), []);
    });
}

#[test]
fn a_scan_sees_one_state() {
    on_meta(|meta| {
        let write_all = |value: usize| {
            let mut batch = Batch::new();
            (0..50).for_each(|key| batch.put(format!("k{key:02}"), value.to_string()));
            meta.commit(batch).unwrap();
        };
        write_all(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..100).for_each(write_all);
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let records = scan(meta, b"k"..b"l");
                assert_eq!(records.len(), 50);
                assert!(records.iter().all(|(_, value)| *value == records[0].1), "{records:?}");
            }
        });
    });
}

#[test]
fn random_batches_agree_with_a_map() {
    let seed = 20_261_122_u64;
    eprintln!("seed {seed}");
    on_meta(|meta| {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for round in 0..300 {
            let mut batch = Batch::new();
            for _ in 0..random(6) {
                let key = format!("k{}", random(40)).into_bytes();
                if random(3) == 0 {
                    batch.remove(key);
                } else {
                    batch.put(key, body(random(600) as usize));
                }
            }
            let expected = format!("k{}", random(40)).into_bytes();
            let right = random(4) > 0;
            let value = if right { model.get(&expected).cloned() } else { Some(b"wrong".to_vec()) };
            batch.expect(expected, value);
            if right {
                for (key, value) in batch.writes.clone() {
                    match value {
                        Some(value) => _ = model.insert(key, value),
                        None => _ = model.remove(&key),
                    }
                }
            }
            let outcome = meta.commit(batch).unwrap();
            assert_eq!(outcome == Outcome::Committed, right, "round {round}");
            // Some records are in the database, some in the journal, some in both.
            if random(12) == 0 {
                meta.sync().unwrap();
            }
            let (start, end) =
                (format!("k{}", random(40)).into_bytes(), format!("k{}", random(50)).into_bytes());
            let within: Vec<_> = model.range(start.clone()..end.clone().max(start.clone())).collect();
            let found = scan(meta, &start..&end);
            assert!(
                found.iter().map(|(key, value)| (key, value)).eq(within.iter().copied()),
                "round {round}"
            );
            let mut batch = Batch::new();
            batch.expect_empty(start..end);
            assert_eq!(meta.commit(batch).unwrap() == Outcome::Committed, within.is_empty(), "round {round}");
        }
        assert_eq!(scan(meta, b""..b"\xff"), model.into_iter().collect::<Vec<_>>());
    });
}

#[test]
fn memory_beyond_the_budget_is_refused_and_given_back() {
    let budget = Budget::new(1_000_000);
    let blobs = MemoryBlobs::new(Arc::clone(&budget));
    let meta = MemoryMeta::new(Arc::clone(&budget));
    let id = write(&blobs, &body(900_000));
    match blobs.write(&mut io::repeat(0), &HINT) {
        Err(WriteError::Store(StorageError::Full(_))) => {}
        other => panic!("{other:?}"),
    }
    let mut batch = Batch::new();
    batch.put("k", body(200_000));
    assert!(matches!(meta.commit(batch), Err(StorageError::Full(_))));
    put(&meta, b"k", b"v");
    let reader = blobs.read(&id, 0..1).unwrap();
    blobs.delete(&id).unwrap();
    assert!(budget.used() > 900_000, "a reader still holds the body");
    drop(reader);
    assert!(budget.used() < 1_000);
    drop(meta);
    assert_eq!(budget.used(), 0);
}

#[test]
fn planned_faults_happen_once_and_leave_nothing() {
    let temporary = Temporary::new();
    let blobs = Faulty::new(temporary.blobs(SyncMode::Strict));
    for at in [0, 1, BLOCK_BYTES as u64, 2 * BLOCK_BYTES as u64 + 1] {
        blobs.plan(Step::BlobWriteAt(at), Fault::Full);
        match blobs.write(&mut &*body(3 * BLOCK_BYTES), &HINT) {
            Err(WriteError::Store(StorageError::Full(_))) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!((blobs.left(), listed(&blobs).len()), (0, 0));
    }
    let id = write(&blobs, &body(1000));
    blobs.plan(Step::BlobReadAt(500), Fault::Io);
    assert!(read(&blobs, &id, 0..1000).is_err());
    whole(&blobs, &id, &body(1000));
    let meta = Faulty::new(temporary.meta(SyncMode::Strict));
    meta.plan(Step::CommitUnknown, Fault::Unavailable);
    meta.plan(Step::Commit, Fault::Full);
    let mut batch = Batch::new();
    batch.put("a", "1");
    assert!(matches!(meta.commit(batch.clone()), Err(StorageError::Full(_))));
    assert_eq!(meta.get(b"a").unwrap(), None);
    assert!(matches!(meta.commit(batch), Err(StorageError::Unavailable(_))));
    assert_eq!(meta.get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn a_closed_store_is_as_it_was_when_it_is_opened_again() {
    for mode in MODES {
        let temporary = Temporary::new();
        let bytes = body(BLOCK_BYTES + 5);
        let blobs = temporary.blobs(mode);
        let id = write(&blobs, &bytes);
        assert!(blobs.is_of_this_run(&id));
        drop(blobs);
        put(&temporary.meta(mode), b"a", b"1");
        let blobs = temporary.blobs(mode);
        whole(&blobs, &id, &bytes);
        assert!(!blobs.is_of_this_run(&id));
        let meta = temporary.meta(mode);
        assert_eq!(meta.get(b"a").unwrap(), Some(b"1".to_vec()));
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    for mode in MODES {
        let temporary = Temporary::new();
        let meta = temporary.meta(mode);
        let mut bytes = 0;
        let mut number = 0;
        let mut checks = vec![1, 2, 10];
        // Beyond the journal's length, so that checkpoints and what comes after them are in it.
        while bytes < 2 * JOURNAL_BYTES_MAX + JOURNAL_BYTES_MAX / 2 {
            let value = body(50_000 + number);
            bytes += value.len() as u64;
            put(&meta, format!("{number:05}").as_bytes(), &value);
            number += 1;
            if number % 100 == 0 {
                checks.push(number);
            }
            if checks.contains(&number) {
                let crashed = temporary.copy();
                let after = crashed.meta(mode);
                let records = scan(&after, b""..b"\xff");
                assert_eq!(records.len(), number, "{}", mode.as_str());
                let right = |(at, (_, value)): (usize, &(_, Vec<u8>))| *value == body(50_000 + at);
                assert!(records.iter().enumerate().all(right));
                // Writing goes on, and survives a second crash.
                put(&after, b"x", b"y");
                let again = crashed.copy();
                assert_eq!(again.meta(mode).get(b"x").unwrap(), Some(b"y".to_vec()));
            }
        }
    }
}

/// No bodies at all, whose sync waits until somebody lets it go.
#[derive(Default)]
struct Held {
    syncs: AtomicUsize,
    released: AtomicBool,
    /// Nobody but checkpoints has to wait.
    checkpoints_only: bool,
}

impl BlobStore for Held {
    fn write(&self, _: &mut dyn Read, _: &BlobHint<'_>) -> Result<WrittenBlob, WriteError> {
        Err(StorageError::Unavailable("it keeps nothing".to_owned()).into())
    }

    fn read(&self, _: &BlobId, _: Range<u64>) -> StorageResult<Option<Box<dyn BufRead + Send>>> {
        Ok(None)
    }

    fn delete(&self, _: &BlobId) -> StorageResult<()> {
        Ok(())
    }

    fn list(&self, _: &mut dyn FnMut(BlobId)) -> StorageResult<()> {
        Ok(())
    }

    fn health(&self) -> Health {
        Health { code: 200, message: "OK".to_owned() }
    }

    fn sync(&self) -> StorageResult<()> {
        if self.checkpoints_only && std::thread::current().name() != Some("checkpoint") {
            return Ok(());
        }
        self.syncs.fetch_add(1, Ordering::SeqCst);
        wait_until("the sync of bodies is let go", || self.released.load(Ordering::SeqCst));
        Ok(())
    }
}

/// What is committed beside a checkpoint is seen, decides what comes after it, and survives a crash before and
/// after the checkpoint's end.
#[test]
fn commits_go_on_while_a_checkpoint_is_written() {
    let temporary = Temporary::new();
    let held = Arc::new(Held::default());
    let mut options = FileMetaOptions::new(SyncMode::None);
    options.blobs = Some(held.clone());
    let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
    let key = |number: usize| format!("{number:06}").into_bytes();
    let mut model = BTreeMap::new();
    let write = |model: &mut BTreeMap<Vec<u8>, Vec<u8>>, number: usize, value: &[u8]| {
        put(&meta, &key(number), value);
        model.insert(key(number), value.to_vec());
    };
    // The commit that finds so many begins a checkpoint, which then waits for the bodies.
    (0..=RECENT_RECORDS_MAX).for_each(|number| write(&mut model, number, b"before"));
    wait_until("a checkpoint has begun", || held.syncs.load(Ordering::SeqCst) == 1);
    (0..200).for_each(|number| write(&mut model, number * 7, b"beside"));
    let mut remove = Batch::new();
    remove.remove(key(5));
    remove.expect(key(5), Some(b"before".to_vec()));
    remove.expect(key(7), Some(b"beside".to_vec()));
    assert_eq!(meta.commit(remove).unwrap(), Outcome::Committed);
    model.remove(&key(5));
    let expected: Vec<_> = model.clone().into_iter().collect();
    assert_eq!(scan(&meta, b""..b"\xff"), expected);
    assert_eq!((meta.get(&key(5)).unwrap(), meta.get(&key(6)).unwrap()), (None, Some(b"before".to_vec())));
    assert_eq!(held.syncs.load(Ordering::SeqCst), 1, "it still waits");
    let during = temporary.copy();
    held.released.store(true, Ordering::SeqCst);
    meta.sync().unwrap();
    assert_eq!(scan(&meta, b""..b"\xff"), expected);
    for crashed in [during, temporary.copy()] {
        let after = crashed.meta(SyncMode::None);
        assert_eq!(scan(&after, b""..b"\xff"), expected);
        // What follows a recovery is found by the next one.
        put(&after, b"x", b"y");
        assert_eq!(crashed.copy().meta(SyncMode::None).get(b"x").unwrap(), Some(b"y".to_vec()));
    }
}

/// A checkpoint that fails while commits go on is dealt with by whoever comes next, a reader too: after it the
/// database refuses everything.
#[test]
fn a_checkpoint_that_finds_no_room_beside_commits_ends_neither_reads_nor_writes() {
    for reader_first in [true, false] {
        let temporary = Temporary::new();
        let faults = Arc::new(DiskFaults::default());
        let mut options = FileMetaOptions::new(SyncMode::None);
        // Less than the records take, so that reads reach the file.
        options.cache_bytes = 64 * 1024;
        options.faults = Some(faults.clone());
        let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
        let key = |number: usize| format!("{number:06}").into_bytes();
        const RECORDS: usize = 5_000;
        (0..RECORDS).for_each(|number| put(&meta, &key(number), &body(300)));
        meta.sync().unwrap();
        let (full, refused) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (is_full, counter) = (full.clone(), refused.clone());
        faults.watch(move |step| match step {
            // The database's header has its place on the disk already.
            DiskStep::Write(_, 0, _) => Ok(()),
            DiskStep::Write(path, ..) | DiskStep::SetLength(path, _)
                if path.ends_with("s3pail.redb") && is_full.load(Ordering::SeqCst) =>
            {
                counter.fetch_add(1, Ordering::SeqCst);
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        });
        // Whether there was room for it.
        let commit = |expected: Option<Vec<u8>>, number: usize| {
            let mut batch = Batch::new();
            batch.expect(key(number), expected);
            batch.put(key(number), b"new");
            match meta.commit(batch) {
                Ok(outcome) => outcome == Outcome::Committed,
                Err(StorageError::Full(_)) => false,
                Err(error) => panic!("{error}"),
            }
        };
        let mut records = RECORDS;
        wait_until("the checkpoint has failed", || {
            records += usize::from(commit(None, records));
            refused.load(Ordering::SeqCst) > 0
        });
        if reader_first {
            (0..RECORDS).for_each(|number| assert_eq!(meta.get(&key(number)).unwrap(), Some(body(300))));
            assert_eq!(scan(&meta, b""..b"\xff").len(), records);
        }
        (0..50).for_each(|number| _ = commit(Some(body(300)), number * 97));
        full.store(false, Ordering::SeqCst);
        put(&meta, b"last", b"there is room again");
        assert_eq!(meta.health().code, 200);
        meta.sync().unwrap();
        assert_eq!(scan(&meta, b""..b"\xff").len(), records + 1);
    }
}

/// An entry that the journal has no room for, beside a checkpoint, is refused, and that is all.
#[test]
fn a_commit_that_finds_no_room_beside_a_checkpoint_does_not_stop_the_store() {
    let temporary = Temporary::new();
    let (held, faults) = (Arc::new(Held::default()), Arc::new(DiskFaults::default()));
    let mut options = FileMetaOptions::new(SyncMode::None);
    options.blobs = Some(held.clone());
    options.faults = Some(faults.clone());
    let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
    let key = |number: usize| format!("{number:06}").into_bytes();
    (0..=RECENT_RECORDS_MAX).for_each(|number| put(&meta, &key(number), b"before"));
    wait_until("a checkpoint has begun", || held.syncs.load(Ordering::SeqCst) == 1);
    let full = Arc::new(AtomicBool::new(true));
    let is_full = full.clone();
    faults.watch(move |step| match step {
        DiskStep::Write(path, ..) if !path.ends_with("s3pail.redb") && is_full.load(Ordering::SeqCst) => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    });
    let refused = || {
        let mut batch = Batch::new();
        batch.put(key(1), b"beside");
        assert!(matches!(meta.commit(batch), Err(StorageError::Full(_))));
    };
    refused();
    held.released.store(true, Ordering::SeqCst);
    refused();
    full.store(false, Ordering::SeqCst);
    put(&meta, &key(1), b"after");
    assert_eq!(meta.health().code, 200);
    meta.sync().unwrap();
    assert_eq!(temporary.copy().meta(SyncMode::None).get(&key(1)).unwrap(), Some(b"after".to_vec()));
}

/// Refuses what the database would write beyond its header.
fn full_for_the_database(step: DiskStep<'_>) -> io::Result<()> {
    match step {
        DiskStep::Write(_, 0, _) => Ok(()),
        DiskStep::Write(path, ..) | DiskStep::SetLength(path, _) if path.ends_with("s3pail.redb") => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    }
}

/// Lets the power go: what was not synced when it was written is of another boot from now on.
fn another_boot(temporary: &Temporary) {
    for name in ["meta/s3pail.journal", "meta/s3pail.journal2"] {
        let path = temporary.0.join(name);
        let Ok(mut bytes) = fs::read(&path) else { continue };
        journal_entries::of_another_boot(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

fn promising(sync: SyncMode, writes: &[(&str, Option<&str>)]) -> Batch {
    let mut batch = Batch { sync: Some(sync), ..Batch::new() };
    for (key, value) in writes {
        batch.writes.push((key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec())));
    }
    batch
}

/// For commits of both kinds, without a flusher.
fn mixed() -> FileMetaOptions {
    FileMetaOptions::new(SyncModes::from(SyncMode::None).and(SyncMode::Strict))
}

#[test]
fn after_a_power_cut_lax_entries_count_when_a_strict_one_follows() {
    let temporary = Temporary::new();
    let meta = FileMeta::open(&temporary.0.join("meta"), mixed()).unwrap();
    for (sync, key) in [
        (SyncMode::None, "a"),
        (SyncMode::Strict, "b"),
        (SyncMode::None, "c"),
        (SyncMode::Strict, "d"),
        (SyncMode::None, "e"),
    ] {
        meta.commit(promising(sync, &[(key, Some("1"))])).unwrap();
    }
    let killed = temporary.copy();
    assert_eq!(scan(&killed.copy().meta(SyncMode::Strict), b""..b"\xff").len(), 5);
    another_boot(&killed);
    let keys: Vec<_> =
        scan(&killed.meta(SyncMode::Strict), b""..b"\xff").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"a", b"b", b"c", b"d"]);
    // To settle is to vouch for what is there.
    meta.settle().unwrap();
    another_boot(&temporary);
    assert_eq!(scan(&temporary.copy().meta(SyncMode::Strict), b""..b"\xff").len(), 5);
}

/// What a power cut has undone stays so, though new entries may end where an undone one begins.
#[test]
fn what_a_power_cut_has_undone_does_not_come_back_on_a_full_disk() {
    let temporary = Temporary::new();
    let meta = FileMeta::open(&temporary.0.join("meta"), mixed()).unwrap();
    meta.commit(promising(SyncMode::Strict, &[("k", Some("1")), ("m", Some("1"))])).unwrap();
    meta.commit(promising(SyncMode::None, &[("x", Some("1"))])).unwrap();
    meta.commit(promising(SyncMode::None, &[("m", None)])).unwrap();
    let cut = temporary.copy();
    another_boot(&cut);
    let faults = Arc::new(DiskFaults::default());
    faults.watch(full_for_the_database);
    let held = Arc::new(Held { checkpoints_only: true, ..Held::default() });
    let options = FileMetaOptions { faults: Some(faults), blobs: Some(held.clone()), ..mixed() };
    let meta = FileMeta::open(&cut.0.join("meta"), options).unwrap();
    // As long as the one that was undone.
    meta.commit(promising(SyncMode::None, &[("y", Some("1"))])).unwrap();
    // While a checkpoint tries, what follows goes to the other file.
    let killed = std::thread::scope(|scope| {
        let synced = scope.spawn(|| meta.sync());
        wait_until("a checkpoint has begun", || held.syncs.load(Ordering::SeqCst) == 1);
        meta.commit(promising(SyncMode::Strict, &[("k", Some("2"))])).unwrap();
        let killed = cut.copy();
        held.released.store(true, Ordering::SeqCst);
        assert!(matches!(synced.join().unwrap(), Err(StorageError::Full(_))));
        killed
    });
    assert!(killed.0.join("meta/s3pail.journal2").exists());
    let record = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let expected = [record("k", "2"), record("m", "1"), record("y", "1")];
    for boots in 0..2 {
        assert_eq!(scan(&killed.copy().meta(SyncMode::Strict), b""..b"\xff"), expected, "{boots}");
        another_boot(&killed);
    }
}

/// On a disk where the database cannot grow, what is relaxed becomes durable in the journal, which has its place.
#[test]
fn relaxed_keeps_its_window_on_a_full_disk() {
    let temporary = Temporary::new();
    let faults = Arc::new(DiskFaults::default());
    let options = FileMetaOptions { faults: Some(faults.clone()), ..FileMetaOptions::new(SyncMode::Relaxed) };
    let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
    faults.watch(full_for_the_database);
    put(&meta, b"a", b"1");
    wait_until("it would outlive a power cut", || {
        let cut = temporary.copy();
        another_boot(&cut);
        cut.meta(SyncMode::Relaxed).get(b"a").unwrap() == Some(b"1".to_vec())
    });
    assert_eq!(meta.health().code, 200);
    // Whoever removes bodies has to know that, too.
    meta.settle().unwrap();
}

/// A run that was killed may have written an entry and never synced it, or been told that its sync failed.
#[test]
fn what_a_run_takes_over_on_a_full_disk_is_written_and_synced_before_it_promises_anything() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::Strict);
    put(&meta, b"a", b"1");
    for settles in [false, true] {
        let killed = temporary.copy();
        let (faults, steps) = (Arc::new(DiskFaults::default()), Arc::new(Mutex::new(Vec::new())));
        let log = steps.clone();
        faults.watch(move |step| {
            match step {
                DiskStep::Write(path, at, _) if path.ends_with("s3pail.journal") => {
                    log.lock().unwrap().push(if at == 0 { "write again" } else { "write" });
                }
                DiskStep::SyncFile(path) if path.ends_with("s3pail.journal") => {
                    log.lock().unwrap().push("sync");
                }
                _ => {}
            }
            full_for_the_database(step)
        });
        let options = FileMetaOptions { faults: Some(faults), ..FileMetaOptions::new(SyncMode::Strict) };
        let meta = FileMeta::open(&killed.0.join("meta"), options).unwrap();
        match settles {
            true => meta.settle().unwrap(),
            false => put(&meta, b"b", b"2"),
        }
        put(&meta, b"c", b"3");
        let expected = ["write again", "sync", "write", "sync", "write", "sync"];
        assert_eq!(*steps.lock().unwrap(), expected);
    }
}

/// CR-14, CR-15
#[test]
fn a_torn_journal_ends_at_the_last_whole_entry() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::Strict);
    for number in 0..5 {
        put(&meta, format!("{number}").as_bytes(), &body(200));
    }
    let entry_bytes = 32 + 8 + 1 + 200;
    for torn in [1, 17, 31, 32, 100, entry_bytes - 1] {
        let crashed = temporary.copy();
        let journal = crashed.0.join("meta/s3pail.journal");
        let mut bytes = fs::read(&journal).unwrap();
        bytes[4 * entry_bytes + torn] ^= 0x40;
        fs::write(&journal, bytes).unwrap();
        let after = crashed.meta(SyncMode::Strict);
        assert_eq!(scan(&after, b""..b"\xff").len(), 4, "{torn}");
        // The next entries have the same lengths, and what lies behind them is not taken for theirs.
        put(&after, b"8", &body(200));
        let again = crashed.copy();
        let keys: Vec<_> =
            scan(&again.meta(SyncMode::Strict), b""..b"\xff").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"0", b"1", b"2", b"3", b"8"], "{torn}");
    }
}

/// CR-14: what follows a damaged entry was acknowledged, so its absence is an error; nothing is written over it.
#[test]
fn a_damaged_entry_in_the_middle_of_a_journal_is_not_taken_for_its_end() {
    for sync in [SyncMode::Strict, SyncMode::None] {
        let temporary = Temporary::new();
        let meta = temporary.meta(sync);
        for number in 0..5 {
            put(&meta, format!("{number}").as_bytes(), &body(200));
        }
        let entry_bytes = 32 + 8 + 1 + 200;
        let places = [0, 1, 17, 31, 32, 100, entry_bytes - 1];
        // The last two entries in the same file, or in the second one.
        for (damaged, second) in [(0, false), (2, false), (0, true), (2, true)] {
            let crashed = temporary.copy();
            let folder = crashed.0.join("meta");
            let journal = folder.join("s3pail.journal");
            let mut bytes = fs::read(&journal).unwrap();
            if second {
                fs::write(folder.join("s3pail.journal2"), &bytes[3 * entry_bytes..5 * entry_bytes]).unwrap();
                bytes[3 * entry_bytes..].fill(0);
                fs::write(&journal, &bytes).unwrap();
            }
            let view = RecordView::open(&folder).unwrap();
            assert_eq!((view.recovered(), view.journal_is_sound()), (5, true));
            drop(view);
            for place in places {
                let what = format!("{sync:?}, entry {damaged}, byte {place}, two files: {second}");
                let mut bytes = bytes.clone();
                bytes[damaged * entry_bytes + place] ^= 0x40;
                fs::write(&journal, &bytes).unwrap();
                assert!(!RecordView::open(&folder).unwrap().journal_is_sound(), "{what}");
                for _ in 0..2 {
                    let after = crashed.meta(sync);
                    for number in 0..6 {
                        match after.get(format!("{number}").as_bytes()) {
                            Ok(found) => assert!(number < damaged && found == Some(body(200)), "{what}"),
                            Err(error) => {
                                assert!(
                                    number >= damaged && matches!(error, StorageError::Corrupt(_)),
                                    "{what}"
                                );
                            }
                        }
                    }
                    let mut batch = Batch::new();
                    batch.put(b"8", b"x");
                    assert!(matches!(after.commit(batch), Err(StorageError::ReadOnly(_))), "{what}");
                    assert_eq!(after.health().code, 503);
                }
                assert!(fs::read(&journal).unwrap() == bytes, "{what}");
            }
        }
    }
}

/// A client can write a body that looks like an entry, but not one of this run.
#[test]
fn a_value_that_looks_like_a_later_entry_is_none() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::Strict);
    put(&meta, b"0", &body(200));
    let journal = temporary.0.join("meta/s3pail.journal");
    let mut forged = fs::read(&journal).unwrap()[..32 + 8 + 1 + 200].to_vec();
    forged[8..16].copy_from_slice(&9_u64.to_le_bytes());
    for own_run in [false, true] {
        let run = if own_run { forged[24..28].to_vec() } else { vec![1, 2, 3, 4] };
        let mut forged = forged.clone();
        forged[24..28].copy_from_slice(&run);
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&forged[..28]);
        digest.update(&forged[32..]);
        forged[28..32].copy_from_slice(&(digest.finalize() as u32).to_le_bytes());
        put(&meta, b"1", &forged);
        let crashed = temporary.copy();
        let view = RecordView::open(&crashed.0.join("meta")).unwrap();
        // That it is noticed when it knows the run shows that the value is whole.
        assert_eq!(view.journal_is_sound(), !own_run);
    }
}

/// CR-15: wherever a journal ends, what it holds is the entries that are whole.
#[test]
fn a_journal_that_ends_anywhere_holds_its_whole_entries() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::Strict);
    let lengths = [1, 200, 40];
    for (number, length) in lengths.iter().enumerate() {
        put(&meta, format!("{number}").as_bytes(), &body(*length));
    }
    let crashed = temporary.copy();
    let journal = crashed.0.join("meta/s3pail.journal");
    let whole = fs::read(&journal).unwrap();
    let ends: Vec<usize> = (1..=lengths.len())
        .map(|count| lengths[..count].iter().map(|length| 32 + 8 + 1 + length).sum())
        .collect();
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    for length in (0..=ends[2] + 40).rev() {
        file.set_len(length as u64).unwrap();
        let view = RecordView::open(&crashed.0.join("meta")).unwrap();
        let expected = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(scan(&view, b""..b"\xff").len(), expected, "{length} bytes");
        assert_eq!(view.recovered(), expected as u64, "{length} bytes");
    }
    // A start does the same, and writes go on.
    for length in [0, 31, ends[0], ends[1] - 1, ends[1] + 33] {
        let torn = crashed.copy();
        fs::write(torn.0.join("meta/s3pail.journal"), &whole[..length]).unwrap();
        let after = torn.meta(SyncMode::Strict);
        let expected = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(scan(&after, b""..b"\xff").len(), expected, "{length} bytes");
        put(&after, b"9", b"x");
        assert_eq!(torn.copy().meta(SyncMode::Strict).get(b"9").unwrap(), Some(b"x".to_vec()));
    }
}

#[test]
fn unsynced_entries_of_another_boot_are_ignored() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::Relaxed);
    put(&meta, b"a", b"1");
    meta.sync().unwrap();
    drop(meta);
    // An entry by hand, as another boot would have left it: whole, but not to be trusted.
    let mut payload = Vec::new();
    payload.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    payload.extend(b"b2");
    let mut entry = Vec::new();
    entry.extend(0x6c6a_3373_u32.to_le_bytes());
    entry.extend((payload.len() as u32).to_le_bytes());
    entry.extend(2_u64.to_le_bytes());
    for (boot, expected) in [(1_u64, None), (0, Some(b"2".to_vec()))] {
        let crashed = temporary.copy();
        let mut bytes = entry.clone();
        bytes.extend(boot.to_le_bytes());
        bytes.extend(7_u32.to_le_bytes());
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&bytes);
        digest.update(&payload);
        bytes.extend((digest.finalize() as u32).to_le_bytes());
        bytes.extend(&payload);
        fs::write(crashed.0.join("meta/s3pail.journal"), bytes).unwrap();
        let meta = crashed.meta(SyncMode::Relaxed);
        assert_eq!(meta.get(b"a").unwrap(), Some(b"1".to_vec()));
        if cfg!(target_os = "linux") {
            assert_eq!(meta.get(b"b").unwrap(), expected, "boot {boot}");
        }
    }
}

/// A start in `strict` on a disk so full that the journal of a run without syncs has to stay where it is: what is
/// committed behind those entries must not be ignored with them by the next boot.
#[test]
fn a_synced_commit_behind_unsynced_entries_outlives_the_boot_too() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::None);
    put(&meta, b"a", b"1");
    put(&meta, b"b", &body(500));
    let killed = temporary.copy();
    let faults = Arc::new(DiskFaults::default());
    faults.watch(|step| match step {
        DiskStep::Write(path, at, bytes)
            if path.ends_with("s3pail.redb") && at + bytes.len() as u64 > 4096 =>
        {
            Err(io::ErrorKind::StorageFull.into())
        }
        DiskStep::SetLength(path, _) if path.ends_with("s3pail.redb") => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    });
    let mut options = FileMetaOptions::new(SyncMode::Strict);
    options.faults = Some(faults);
    let meta = FileMeta::open(&killed.0.join("meta"), options).unwrap();
    put(&meta, b"c", b"3");
    let cut = killed.copy();
    let mut journal = fs::read(cut.0.join("meta/s3pail.journal")).unwrap();
    let synced: Vec<bool> = journal_entries::all(&journal)
        .into_iter()
        .map(|it| journal_entries::is_synced(&journal[it]))
        .collect();
    assert_eq!(synced, [false, false, true]);
    journal_entries::of_another_boot(&mut journal);
    fs::write(cut.0.join("meta/s3pail.journal"), journal).unwrap();
    let after = cut.meta(SyncMode::Strict);
    let expected =
        [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), body(500)), (b"c".to_vec(), b"3".to_vec())];
    assert_eq!(scan(&after, b""..b"\xff"), expected);
}

#[test]
fn relaxed_becomes_durable_by_itself() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::Relaxed);
    put(&meta, b"a", b"1");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        // Without its journal, a copy has what the last checkpoint has.
        let copy = temporary.copy();
        fs::remove_file(copy.0.join("meta/s3pail.journal")).unwrap();
        if copy.meta(SyncMode::Relaxed).get(b"a").unwrap().is_some() {
            break;
        }
        assert!(std::time::Instant::now() < deadline);
    }
}

#[test]
fn outside_strict_bodies_are_synced_before_records_become_durable() {
    let temporary = Temporary::new();
    let blobs = Arc::new(Faulty::new(temporary.blobs(SyncMode::Relaxed)));
    let mut options = FileMetaOptions::new(SyncMode::Relaxed);
    options.blobs = Some(Arc::clone(&blobs) as Arc<dyn BlobStore>);
    let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
    blobs.plan(Step::BlobSync, Fault::Io);
    put(&meta, b"a", b"1");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while meta.health().code == 200 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    let mut batch = Batch::new();
    batch.put("b", "1");
    assert!(matches!(meta.commit(batch), Err(StorageError::ReadOnly(_))));
    assert_eq!(meta.get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn a_failed_sync_is_final_until_the_store_is_opened_again() {
    let temporary = Temporary::new();
    let faults = Arc::new(DiskFaults::default());
    let mut options = FileMetaOptions::new(SyncMode::Strict);
    options.faults = Some(Arc::clone(&faults));
    let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
    put(&meta, b"a", b"1");
    faults.set_sync_failing(true);
    for _ in 0..2 {
        let mut batch = Batch::new();
        batch.put("b", "1");
        assert!(matches!(meta.commit(batch), Err(StorageError::ReadOnly(_))));
        faults.set_sync_failing(false);
    }
    assert_eq!(meta.health().code, 503);
    assert!(matches!(meta.sync(), Err(StorageError::ReadOnly(_))));
    assert_eq!(meta.get(b"a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(meta.get(b"b").unwrap(), None);
    drop(meta);
    put(&temporary.meta(SyncMode::Strict), b"c", b"1");
}

#[test]
fn a_failed_checkpoint_leaves_a_store_that_reads() {
    let temporary = Temporary::new();
    let faults = Arc::new(DiskFaults::default());
    let mut options = FileMetaOptions::new(SyncMode::Strict);
    options.faults = Some(Arc::clone(&faults));
    let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
    put(&meta, b"a", b"1");
    faults.set_sync_failing(true);
    assert!(matches!(meta.sync(), Err(StorageError::ReadOnly(_))));
    assert_eq!(meta.get(b"a").unwrap(), Some(b"1".to_vec()));
    drop(meta);
    let meta = temporary.meta(SyncMode::Strict);
    assert_eq!(scan(&meta, b""..b"\xff"), [(b"a".to_vec(), b"1".to_vec())]);
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_reads_go_on() {
    let temporary = Temporary::new();
    let faults = Arc::new(DiskFaults::default());
    let mut options = FileMetaOptions::new(SyncMode::Strict);
    options.faults = Some(Arc::clone(&faults));
    let meta = FileMeta::open(&temporary.0.join("meta"), options).unwrap();
    for key in 0..50 {
        put(&meta, format!("{key:02}").as_bytes(), &body(10_000));
    }
    faults.set_full(true);
    let mut batch = Batch::new();
    batch.put("x", "1");
    assert!(matches!(meta.commit(batch), Err(StorageError::Full(_))));
    assert!(matches!(meta.sync(), Err(StorageError::Full(_) | StorageError::ReadOnly(_))));
    assert_eq!(scan(&meta, b""..b"\xff").len(), 50);
    faults.set_full(false);
    put(&meta, b"x", b"2");
    meta.sync().unwrap();
    drop(meta);
    assert_eq!(scan(&temporary.meta(SyncMode::Strict), b""..b"\xff").len(), 51);
}

/// CR-07: a file system that writes nothing in place (btrfs, ZFS) may have no room for opening the database. The
/// start shows everything nevertheless, and writes resume without another one.
#[test]
fn a_store_opens_where_there_is_no_room_for_opening_its_database() {
    let temporary = Temporary::new();
    let meta = temporary.meta(SyncMode::Strict);
    // Several pages, so that not all of them are read at once.
    let mut expected: Vec<_> =
        (0..40).map(|number| (format!("a{number:02}").into_bytes(), body(3_000))).collect();
    expected.iter().for_each(|(key, value)| put(&meta, key, value));
    meta.sync().unwrap();
    put(&meta, b"b", b"2");
    expected.push((b"b".to_vec(), b"2".to_vec()));
    let killed = temporary.copy();
    let (faults, full) = (Arc::new(DiskFaults::default()), Arc::new(AtomicBool::new(true)));
    let is_full = full.clone();
    faults.watch(move |step| match step {
        DiskStep::SyncFile(_) | DiskStep::SyncFolder(_) | DiskStep::Remove(_) => Ok(()),
        _ if is_full.load(Ordering::SeqCst) => Err(io::ErrorKind::QuotaExceeded.into()),
        _ => Ok(()),
    });
    let options =
        || FileMetaOptions { faults: Some(faults.clone()), ..FileMetaOptions::new(SyncMode::Strict) };
    let path = killed.0.join("meta");
    drop(FileMeta::open(&path, options()).unwrap());
    let meta = FileMeta::open(&path, options()).unwrap();
    let try_in_vain = || {
        let mut batch = Batch::new();
        batch.put("c", "3");
        assert!(matches!(meta.commit(batch), Err(StorageError::Full(_))));
    };
    for _ in 0..2 {
        let mut seen = Vec::new();
        // Whoever tries to write meanwhile does not disturb who reads.
        meta.scan(b""..b"\xff", &mut |key, value| {
            seen.push((key.to_vec(), value.to_vec()));
            if seen.len() % 16 == 1 {
                try_in_vain();
            }
            Visit::Next
        })
        .unwrap();
        assert_eq!(seen, expected);
        assert_eq!(meta.get(b"c").unwrap(), None);
        try_in_vain();
        assert!(matches!(meta.sync(), Err(StorageError::Full(_))));
        assert_eq!(meta.health().code, 200);
    }
    full.store(false, Ordering::SeqCst);
    put(&meta, b"c", b"3");
    expected.push((b"c".to_vec(), b"3".to_vec()));
    assert_eq!(scan(&meta, b""..b"\xff"), expected);
    // A checkpoint that finds no room leaves the store in the same state; nothing takes that for its end.
    full.store(true, Ordering::SeqCst);
    assert!(matches!(meta.sync(), Err(StorageError::Full(_))));
    assert!(matches!(meta.check_index(Pace::new(|_| Ok(()))), Err(StorageError::Full(_))));
    assert_eq!(scan(&meta, b""..b"\xff"), expected);
    full.store(false, Ordering::SeqCst);
    put(&meta, b"d", b"4");
    expected.push((b"d".to_vec(), b"4".to_vec()));
    assert_eq!(scan(&meta, b""..b"\xff"), expected);
    drop(meta);
    assert_eq!(scan(&killed.meta(SyncMode::Strict), b""..b"\xff"), expected);
}

#[test]
fn a_second_opener_is_refused_by_name() {
    let temporary = Temporary::new();
    let (blobs, meta) = (temporary.blobs(SyncMode::Strict), temporary.meta(SyncMode::Strict));
    let refusals = [
        FileBlobs::open(&temporary.0.join("data"), SyncMode::Strict).err().unwrap(),
        FileMeta::open(&temporary.0.join("meta"), FileMetaOptions::new(SyncMode::None)).err().unwrap(),
    ];
    for refusal in refusals {
        let text = refusal.to_string();
        assert!(text.contains(&temporary.0.display().to_string()), "{text}");
        if cfg!(unix) {
            assert!(text.contains(&std::process::id().to_string()), "{text}");
        }
    }
    drop((blobs, meta));
    drop((temporary.blobs(SyncMode::Strict), temporary.meta(SyncMode::Strict)));
}

/// CR-17: no release has written another format, so there is none to be read; a store that says it is of another
/// version is refused in a sentence that says what to do.
#[test]
fn a_newer_or_older_format_is_refused() {
    for (text, opens) in [
        ("s3pail 3\n", true),
        ("s3pail 2\n", true),
        ("", true),
        ("s3pail 1\n", false),
        ("s3pail 4\n", false),
        ("something else", false),
    ] {
        let temporary = Temporary::new();
        drop((temporary.blobs(SyncMode::None), temporary.meta(SyncMode::None)));
        fs::write(temporary.0.join("data/blobs/format"), text).unwrap();
        fs::write(temporary.0.join("meta/format"), text).unwrap();
        assert_eq!(FileBlobs::open(&temporary.0.join("data"), SyncMode::None).is_ok(), opens, "{text:?}");
        let options = FileMetaOptions::new(SyncMode::None);
        let opened = FileMeta::open(&temporary.0.join("meta"), options);
        assert_eq!(opened.is_ok(), opens, "{text:?}");
        if opens {
            for format in ["data/blobs/format", "meta/format"] {
                assert_eq!(fs::read_to_string(temporary.0.join(format)).unwrap(), "s3pail 3\n", "{text:?}");
            }
        }
        if let (Err(error), "s3pail 1\n") = (opened, text) {
            let sentence = error.to_string();
            assert!(
                sentence.contains("was written by an older s3pail (format 1, this one knows 2 to 3)"),
                "{sentence}"
            );
            assert!(sentence.contains("copy the objects with an S3 client"), "{sentence}");
        }
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_readable_by_others_and_links_are_not_followed() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = Temporary::new();
    let (blobs, meta) = (temporary.blobs(SyncMode::Strict), temporary.meta(SyncMode::Strict));
    let id = write(&blobs, b"secret");
    put(&meta, b"a", b"1");
    for file in files(&temporary.0) {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{}", file.display());
    }
    let path = temporary.0.join("data/blobs").join(&id.0[..2]).join(&id.0);
    fs::rename(&path, temporary.0.join("moved")).unwrap();
    std::os::unix::fs::symlink(temporary.0.join("moved"), &path).unwrap();
    if cfg!(any(target_os = "linux", target_os = "macos")) {
        assert!(read(&blobs, &id, 0..6).is_err());
    }
}

#[test]
fn a_changed_byte_anywhere_is_an_error_and_never_other_bytes() {
    let temporary = Temporary::new();
    let blobs = temporary.blobs(SyncMode::None);
    for length in [0, 1, 300] {
        let bytes = body(length);
        let id = write(&blobs, &bytes);
        let path = temporary.0.join("data/blobs").join(&id.0[..2]).join(&id.0);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            for bit in [1, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= bit;
                fs::write(&path, bad).unwrap();
                assert!(read(&blobs, &id, 0..length as u64).is_err(), "byte {at} of {length}");
                if length > 2 {
                    assert!(read(&blobs, &id, 1..length as u64 - 1).is_err(), "byte {at} of {length}");
                }
            }
        }
        for kept in 0..good.len() {
            fs::write(&path, &good[..kept]).unwrap();
            assert!(read(&blobs, &id, 0..length as u64).is_err(), "{kept} bytes of {length}");
        }
        fs::write(&path, [&good[..], b"\0"].concat()).unwrap();
        assert!(read(&blobs, &id, 0..length as u64).is_err(), "longer than {length}");
        fs::write(&path, &good).unwrap();
        whole(&blobs, &id, &bytes);
    }
}

#[test]
fn a_large_body_yields_its_sound_blocks_and_no_byte_of_a_damaged_one() {
    let temporary = Temporary::new();
    let blobs = temporary.blobs(SyncMode::None);
    let bytes = body(4 * BLOCK_BYTES);
    let block = BLOCK_BYTES as u64;
    let id = write(&blobs, &bytes);
    let path = temporary.0.join("data/blobs").join(&id.0[..2]).join(&id.0);
    let mut file = fs::read(&path).unwrap();
    file[2 * (BLOCK_BYTES + 4) + 77] ^= 1;
    fs::write(&path, &file).unwrap();
    let mut reader = blobs.read(&id, 0..4 * block).unwrap().unwrap();
    let mut seen = Vec::new();
    let error = reader.read_to_end(&mut seen).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains(&id.0), "{error}");
    assert_eq!(seen, bytes[..2 * BLOCK_BYTES]);
    assert_eq!(read(&blobs, &id, 3 * block..4 * block), Ok(Some(bytes[3 * BLOCK_BYTES..].to_vec())));
    assert!(matches!(blobs.read(&id, 2 * block..2 * block + 1), Err(StorageError::Corrupt(_))));
    // Two sound blocks in each other's place.
    let (first, rest) = file.split_at_mut(BLOCK_BYTES + 4);
    first.swap_with_slice(&mut rest[..BLOCK_BYTES + 4]);
    fs::write(&path, &file).unwrap();
    assert!(read(&blobs, &id, 0..1).is_err());
    // A sound file under another body's name.
    let (one, other) = (write(&blobs, b"one"), write(&blobs, b"two"));
    let path_of = |id: &BlobId| temporary.0.join("data/blobs").join(&id.0[..2]).join(&id.0);
    fs::copy(path_of(&one), path_of(&other)).unwrap();
    assert!(read(&blobs, &other, 0..3).is_err());
}

/// OP-25.
#[test]
fn a_sweep_removes_the_orphans_of_earlier_runs_and_nothing_else() {
    for mode in MODES {
        let temporary = Temporary::new();
        let blobs = temporary.blobs(mode);
        let live: BTreeSet<BlobId> = (0..20).map(|_| write(&blobs, b"live")).collect();
        let orphans: BTreeSet<BlobId> = (0..10).map(|_| write(&blobs, b"orphan")).collect();
        drop(blobs);
        let stranger = temporary.0.join("data/blobs").join(&orphans.first().unwrap().0[..2]).join("stranger");
        fs::write(&stranger, b"not ours").unwrap();
        let blobs = temporary.blobs(mode);
        let young = write(&blobs, b"no record yet");
        let sweep = || {
            let each_live = &mut |visit: &mut dyn FnMut(&BlobId)| {
                live.iter().for_each(visit);
                Ok(())
            };
            sweep_orphans(&blobs, &|id| blobs.is_of_this_run(id), each_live, &AtomicBool::new(false)).unwrap()
        };
        assert_eq!(sweep(), Swept { seen: 30, removed: 10 });
        assert_eq!(sweep(), Swept { seen: 20, removed: 0 });
        let left = listed(&blobs);
        assert!(live.is_subset(&left) && left.contains(&young) && left.len() == 21);
        assert!(stranger.exists());
    }
}

#[test]
fn a_sweep_that_cannot_read_the_records_removes_nothing() {
    let temporary = Temporary::new();
    write(&temporary.blobs(SyncMode::None), b"live");
    let blobs = temporary.blobs(SyncMode::None);
    let each_live = &mut |_: &mut dyn FnMut(&BlobId)| Err(StorageError::Corrupt("a record".into()));
    assert!(sweep_orphans(&blobs, &|_| false, each_live, &AtomicBool::new(false)).is_err());
    assert_eq!(listed(&blobs).len(), 1);
}

#[test]
fn a_queued_delete_removes_the_body_and_then_its_record() {
    let budget = Budget::new(BUDGET_BYTES);
    let blobs = Arc::new(Faulty::new(MemoryBlobs::new(Arc::clone(&budget))));
    let meta = Arc::new(MemoryMeta::new(budget));
    let queue =
        DeleteQueue::start(Arc::clone(&blobs) as Arc<dyn BlobStore>, Arc::clone(&meta) as Arc<dyn MetaStore>)
            .unwrap();
    let ids: Vec<BlobId> = (0..600).map(|_| write(&*blobs, b"old")).collect();
    blobs.plan(Step::BlobDelete, Fault::Io);
    for id in &ids {
        let key = format!("deletes/{}", id.0).into_bytes();
        put(&*meta, &key, b"");
        queue.push(id.clone(), key);
    }
    drop(queue);
    // The one that failed is still there, and so is the record that says so.
    let left: Vec<BlobId> = listed(&*blobs).into_iter().collect();
    assert_eq!(left.len(), 1);
    let records = scan(&*meta, b"deletes/"..b"deletes0");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].0, format!("deletes/{}", left[0].0).into_bytes());
}

#[test]
fn a_delete_that_fails_is_tried_three_times_in_all() {
    for (failures, given_up) in [(2, 0), (3, 1)] {
        let budget = Budget::new(BUDGET_BYTES);
        let blobs = Arc::new(Faulty::new(MemoryBlobs::new(Arc::clone(&budget))));
        let meta = Arc::new(MemoryMeta::new(budget));
        let queue = DeleteQueue::start_with(
            Arc::clone(&blobs) as Arc<dyn BlobStore>,
            Arc::clone(&meta) as Arc<dyn MetaStore>,
            Duration::from_millis(1),
        )
        .unwrap();
        let id = write(&*blobs, b"old");
        put(&*meta, b"deletes/one", b"");
        (0..failures).for_each(|_| blobs.plan(Step::BlobDelete, Fault::Unavailable));
        queue.push(id, b"deletes/one".to_vec());
        let left = || scan(&*meta, b"deletes/"..b"deletes0").len() as u64;
        wait_until("the delete is done or given up", || left() == 0 || queue.failed() > 0);
        assert_eq!((queue.failed(), left()), (given_up, given_up), "{failures}");
        // None is tried a fourth time, and later ones are not held up.
        put(&*meta, b"deletes/two", b"");
        queue.push(write(&*blobs, b"other"), b"deletes/two".to_vec());
        wait_until("the next delete is done", || left() == given_up);
        drop(queue);
        assert_eq!(listed(&*blobs).len() as u64, given_up);
    }
}
