//! `s3pail check`: a sound store is clean, each kind of damage is found and named, and a repair removes
//! nothing but what nothing refers to.

use super::harness::{Folder, TestServer, file_config, wait_until};
use s3pail::check::check;
use s3pail::check::report::{Kind, Report};
use s3pail::model::{BucketName, keys};
use s3pail::storage::file_meta::{FileMeta, FileMetaOptions};
use s3pail::storage::{Batch, BlobId, MetaStore, SyncMode, Visit};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LARGE_BYTES: usize = 600_000;
const SMALL: &[u8] = b"a small body that is kept as a record";

/// A store that has some of everything, and the server that made it.
fn furnished() -> TestServer {
    let server = TestServer::file();
    server.bucket("plain");
    server.bucket("versioned");
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put("/versioned?versioning", enabled).expect(200);
    server.put("/plain/large", &large(1)).expect(200);
    server.put("/plain/small", SMALL).expect(200);
    server.put("/plain/empty", b"").expect(200);
    server.send("PUT", "/plain/sealed", &[("x-amz-server-side-encryption", "AES256")], &large(2)).expect(200);
    for round in 3..6 {
        server.put("/versioned/key", &large(round)).expect(200);
    }
    server.put("/versioned/gone", b"x").expect(200);
    server.delete("/versioned/gone").expect(204);
    upload(&server, "/plain/parts", true);
    upload(&server, "/plain/open", false);
    wait_until("the bodies and the records are a pair", || {
        server.service().meta.get(keys::PAIRED_BODY).unwrap().is_some()
    });
    server
}

fn large(seed: u8) -> Vec<u8> {
    (0..LARGE_BYTES).map(|at| (at / 251) as u8 ^ at as u8 ^ seed).collect()
}

fn upload(server: &TestServer, path: &str, complete: bool) {
    let id = server.post(&format!("{path}?uploads"), b"").expect(200).element("UploadId").unwrap();
    let first: Vec<u8> = (0..5 << 20).map(|at: u32| (at % 253) as u8).collect();
    let mut list = String::from("<CompleteMultipartUpload>");
    for (number, body) in [(1, first.as_slice()), (2, b"tail")] {
        let reply = server.put(&format!("{path}?partNumber={number}&uploadId={id}"), body).expect(200);
        let etag = reply.header("etag").unwrap();
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    list += "</CompleteMultipartUpload>";
    if complete {
        server.post(&format!("{path}?uploadId={id}"), list.as_bytes()).expect(200);
    }
}

fn report(folder: &Folder, repair: bool) -> Report {
    check(&file_config(folder), repair).unwrap()
}

/// Every finding, by kind.
fn kinds(report: &Report) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = report.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort();
    kinds
}

/// What the whole folder holds, byte for byte.
fn image(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(image(&entry.path())),
            false => _ = files.insert(entry.path(), fs::read(entry.path()).unwrap()),
        }
    }
    files
}

/// The file of the body that a record's only (or first) piece names.
fn body_file(folder: &Folder, key: &str) -> PathBuf {
    let record = with_records(folder, |meta| meta.get(&object("plain", key)).unwrap().unwrap());
    let record = s3pail::model::object::ObjectRecord::decode(&record).unwrap();
    let id = &record.detail.pieces[0].id.0;
    folder.0.join("data/blobs").join(&id[..2]).join(id)
}

fn object(bucket: &str, key: &str) -> Vec<u8> {
    keys::object(&BucketName::parse(bucket).unwrap(), key)
}

fn with_records<T>(folder: &Folder, with: impl FnOnce(&FileMeta) -> T) -> T {
    let options = FileMetaOptions::new(SyncMode::None);
    with(&FileMeta::open(&folder.0.join("metadata"), options).unwrap())
}

fn write(folder: &Folder, key: &[u8], value: Option<&[u8]>) {
    let mut batch = Batch::new();
    batch.writes.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    with_records(folder, |meta| meta.commit(batch).map(|_| ())).unwrap();
}

/// The first record of a range.
fn first(folder: &Folder, start: &[u8], end: &[u8]) -> (Vec<u8>, Vec<u8>) {
    with_records(folder, |meta| {
        let mut found = None;
        let visit = &mut |key: &[u8], value: &[u8]| {
            found = Some((key.to_vec(), value.to_vec()));
            Visit::Stop
        };
        meta.scan(start..end, visit).unwrap();
        found.unwrap()
    })
}

#[test]
fn a_sound_store_is_clean_and_stays_as_it_is() {
    let folder = furnished().stop();
    let before = image(&folder.0);
    let report = report(&folder, false);
    assert_eq!(kinds(&report), [], "{}", report.to_text());
    assert_eq!((report.buckets, report.objects, report.versions), (2, 7, 3));
    assert_eq!((report.uploads, report.parts, report.orphans), (1, 2, 0));
    // Large, small, sealed, three versions, the deleted one, two parts of an object and two of an upload.
    assert_eq!(report.bodies, 11);
    assert!(image(&folder.0) == before, "a check changed the store");
}

#[test]
fn restores_under_way_are_no_damage() {
    let server = TestServer::file();
    server.bucket("abc");
    server.send("PUT", "/abc/k", &[("x-amz-storage-class", "GLACIER")], b"cold").expect(200);
    server.post("/abc/k?restore", b"<RestoreRequest><Days>1</Days></RestoreRequest>").expect(202);
    let report = report(&server.stop(), false);
    assert_eq!(kinds(&report), [], "{}", report.to_text());
}

#[test]
fn a_store_that_was_not_stopped_is_checked_as_the_next_start_would_find_it() {
    let server = furnished();
    let crashed = Folder::new();
    let copied = Command::new("cp").arg("-a").arg(server.folder()).arg(crashed.0.join("x")).status();
    assert!(copied.unwrap().success());
    let crashed = Folder(crashed.0.join("x"));
    let before = image(&crashed.0);
    let report = report(&crashed, false);
    assert_eq!(kinds(&report), [], "{}", report.to_text());
    assert!(report.recovered > 0 && report.objects == 7);
    assert!(image(&crashed.0) == before, "a check changed the store");
}

#[test]
fn a_damaged_body_is_found_and_named() {
    let folder = furnished().stop();
    let file = body_file(&folder, "large");
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[300_000] ^= 4;
    let mut other = good.clone();
    other.extend_from_slice(b"more");
    let cases: [(&str, Option<&[u8]>, Kind); 5] = [
        ("flipped", Some(&flipped), Kind::BodyDamaged),
        ("truncated", Some(&good[..good.len() - 1]), Kind::BodyDamaged),
        ("empty", Some(b""), Kind::BodyDamaged),
        ("longer", Some(&other), Kind::BodyDamaged),
        ("missing", None, Kind::BodyMissing),
    ];
    for (name, bytes, kind) in cases {
        match bytes {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        for repair in [false, true] {
            let report = report(&folder, repair);
            assert_eq!(kinds(&report), [kind], "{name}: {}", report.to_text());
            assert_eq!(report.findings[0].subject, "plain/large", "{name}");
            assert!(report.damaged(), "{name}");
        }
    }
    fs::write(&file, &good).unwrap();
    assert!(!report(&folder, false).damaged());
}

#[test]
fn damaged_records_are_found_and_named() {
    let small = |folder: &Folder| first(folder, b"i/", b"i0");
    let pristine = furnished().stop();
    type Damage = fn(&Folder, (Vec<u8>, Vec<u8>));
    let cases: [(&str, &[Kind], Damage); 7] = [
        ("undecodable object", &[Kind::Record, Kind::OrphanBody], |folder, _| {
            let key = object("plain", "large");
            let mut record = with_records(folder, |meta| meta.get(&key).unwrap().unwrap());
            record[20] ^= 1;
            write(folder, &key, Some(&record));
        }),
        ("a name of no family", &[Kind::Record], |folder, _| write(folder, b"x/what", Some(b""))),
        ("a missing inline body", &[Kind::BodyMissing], |folder, (key, _)| write(folder, &key, None)),
        ("a shorter inline body", &[Kind::BodyLength], |folder, (key, value)| {
            write(folder, &key, Some(&value[1..]));
        }),
        ("a changed inline body", &[Kind::BodyDamaged], |folder, (key, mut value)| {
            value[0] ^= 1;
            write(folder, &key, Some(&value));
        }),
        ("a body on the to-delete list", &[Kind::BodyShared, Kind::BodyShared], |folder, _| {
            let id = body_file(folder, "large").file_name().unwrap().to_str().unwrap().to_owned();
            write(folder, &keys::garbage("", &BlobId(id)), Some(b""));
        }),
        ("a bucket is gone", &[Kind::NoBucket; 5], |folder, _| write(folder, b"b/versioned", None)),
    ];
    for (name, expected, damage) in cases {
        let folder = Folder::new();
        let status = Command::new("cp").arg("-a").args([&pristine.0, &folder.0.join("x")]).status();
        assert!(status.unwrap().success());
        let folder = Folder(folder.0.join("x"));
        let body = small(&folder);
        damage(&folder, body);
        let report = report(&folder, false);
        assert_eq!(kinds(&report), expected, "{name}: {}", report.to_text());
    }
}

#[test]
fn a_damaged_database_page_is_found_and_not_repaired() {
    let folder = furnished().stop();
    let path = folder.0.join("metadata/s3pail.redb");
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - SMALL.len()).filter(|at| &bytes[*at..*at + SMALL.len()] == SMALL).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[*at] ^= 1);
    fs::write(&path, &bytes).unwrap();
    for repair in [false, true] {
        let report = report(&folder, repair);
        assert!(kinds(&report).contains(&Kind::Database), "{}", report.to_text());
        assert!(report.damaged() && report.repaired == 0);
    }
}

#[test]
fn a_repair_drops_orphans_and_nothing_else() {
    let folder = furnished().stop();
    let before = image(&folder.0.join("data"));
    let orphan = folder.0.join("data/blobs/ab/ab000000000000000000000000000000");
    let stranger = folder.0.join("data/blobs/ab/notes.txt");
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, b"half a body").unwrap();
    fs::write(&stranger, b"somebody's").unwrap();
    write(&folder, b"i/cd000000000000000000000000000000", Some(b"nobody's"));
    let found = report(&folder, false);
    assert_eq!(kinds(&found), [Kind::OrphanBody, Kind::OrphanBody], "{}", found.to_text());
    assert!(found.damaged() && orphan.exists() && found.orphans == 2);

    let repaired = report(&folder, true);
    assert_eq!((repaired.found, repaired.repaired, repaired.damaged()), (2, 2, false));
    assert!(repaired.repairs.iter().any(|it| it.contains("ab000000000000000000000000000000")));
    assert!(!orphan.exists() && stranger.exists());
    fs::remove_file(&stranger).unwrap();
    assert!(image(&folder.0.join("data")).keys().eq(before.keys()));
    assert_eq!(report(&folder, false).found, 0);
}

#[test]
fn a_repair_rebuilds_the_newest_version_and_closes_what_is_not_open() {
    let folder = furnished().stop();
    write(&folder, &object("versioned", "key"), None);
    let (upload, _) = first(&folder, b"u/", b"u0");
    write(&folder, &upload, None);
    let found = report(&folder, false);
    // The newest version's body has lost its owner too.
    assert_eq!(kinds(&found), [Kind::Index, Kind::OrphanBody, Kind::OrphanPart], "{}", found.to_text());
    let repaired = report(&folder, true);
    assert!(!repaired.damaged(), "{}", repaired.to_text());
    let after = report(&folder, false);
    assert_eq!(
        (after.found, after.uploads, after.parts, after.versions),
        (0, 0, 0, 2),
        "{}",
        after.to_text()
    );
    let server = TestServer::start("file", file_config(&folder), Some(folder));
    assert_eq!(server.get("/versioned/key").expect(200).body, large(4));
}

#[test]
fn no_orphan_is_dropped_while_a_record_cannot_be_read() {
    let folder = furnished().stop();
    let key = object("plain", "large");
    let file = body_file(&folder, "large");
    let mut record = with_records(&folder, |meta| meta.get(&key).unwrap().unwrap());
    record[20] ^= 1;
    write(&folder, &key, Some(&record));
    let report = report(&folder, true);
    assert!(report.damaged() && report.repaired == 0, "{}", report.to_text());
    assert!(file.exists());
}

fn s3pail(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3pail"));
    command.current_dir(folder).env_clear().arg("check").args(args);
    command.args(["--data-path", "data", "--metadata-path", "metadata"]).output().unwrap()
}

#[test]
fn exit_codes_tell_clean_from_damaged_from_not_checked() {
    let server = furnished();
    let in_use = s3pail(&server.folder(), &[]);
    let text = String::from_utf8(in_use.stderr).unwrap();
    assert_eq!(in_use.status.code(), Some(2), "{text}");
    assert!(text.contains("another process") && text.contains(&std::process::id().to_string()), "{text}");

    let folder = server.stop();
    let clean = s3pail(&folder.0, &["--json"]);
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stdout));
    let json: Value = serde_json::from_slice(&clean.stdout).unwrap();
    assert_eq!((&json["clean"], &json["objects"]), (&Value::from(true), &Value::from(7)));

    fs::remove_file(body_file(&folder, "large")).unwrap();
    let damaged = s3pail(&folder.0, &[]);
    assert_eq!(damaged.status.code(), Some(1));
    let text = String::from_utf8(damaged.stdout).unwrap();
    assert!(text.contains("body-missing: plain/large: ") && text.contains("NOT clean"), "{text}");

    let nothing = Folder::new();
    let absent = s3pail(&nothing.0, &[]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(fs::read_dir(&nothing.0).unwrap().next().is_none(), "a check made files");
    let memory = s3pail(&nothing.0, &["--backend", "mem"]);
    assert_eq!(memory.status.code(), Some(2));
}
