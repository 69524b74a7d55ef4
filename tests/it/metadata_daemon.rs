//! The metadata daemon and its client: lost answers, restarts, hostile requests, the binary.

use crate::harness::{Client, DEADLINE, Folder, Reply, engine_cannot};
use crate::stand_in::metadata::{Line, Metadata};
use s3pail::storage::fault::{DiskFaults, DiskStep};
use s3pail::storage::file_meta::{FileMeta, FileMetaOptions};
use s3pail::storage::meta_wire::{COMMIT_BYTES_MAX, PAGE_BYTES_MAX, PAGE_RECORDS_MAX, REQUEST_BYTES_MAX};
use s3pail::storage::remote::Deadlines;
use s3pail::storage::remote_meta::RemoteMeta;
use s3pail::storage::{Batch, Expect, MetaStore, Outcome, StorageError, SyncMode, SyncModes, Visit};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One more than the number under a key, unless somebody else was first.
fn increment(meta: &dyn MetaStore) -> Result<Outcome, StorageError> {
    let stored = meta.get(b"number")?;
    let number: u64 = stored.as_ref().map_or(0, |text| String::from_utf8_lossy(text).parse().unwrap());
    let mut batch = Batch::new();
    batch.expect("number", stored);
    batch.put("number", (number + 1).to_string());
    meta.commit(batch)
}

fn number(metadata: &Metadata) -> String {
    String::from_utf8(metadata.store.get(b"number").unwrap().unwrap()).unwrap()
}

#[test]
fn a_commit_whose_answer_is_lost_is_made_once_and_reported_as_it_was() {
    let metadata = Metadata::start();
    let line = Line::to(metadata.address);
    let client = line.client();
    assert_eq!(increment(&client).unwrap(), Outcome::Committed);
    for lost in 1..=3 {
        line.lose.store(lost, Ordering::SeqCst);
        assert_eq!(increment(&client).unwrap(), Outcome::Committed);
        assert_eq!(number(&metadata), (lost + 1).to_string());
    }
    line.lose.store(1, Ordering::SeqCst);
    let wrong = Expect::Record { key: b"number".to_vec(), value: None };
    let batch = Batch { expects: vec![wrong], writes: vec![(b"number".to_vec(), None)], sync: None };
    assert_eq!(client.commit(batch).unwrap(), Outcome::Conflict);
    assert_eq!(number(&metadata), "4");
}

#[test]
fn a_commit_whose_answers_are_all_lost_is_in_doubt() {
    let metadata = Metadata::start();
    let line = Line::to(metadata.address);
    let client = line.client();
    line.lose.store(usize::MAX, Ordering::SeqCst);
    let error = increment(&client).unwrap_err();
    assert!(matches!(&error, StorageError::InDoubt(_)), "{error}");
    assert_eq!(number(&metadata), "1");
    line.lose.store(0, Ordering::SeqCst);
    assert_eq!(increment(&client).unwrap(), Outcome::Committed);
}

#[test]
fn a_commit_whose_answer_was_lost_with_the_daemons_run_is_in_doubt_and_not_made_twice() {
    let metadata = std::sync::Arc::new(Metadata::start());
    let line = Line::to(metadata.address);
    let client = line.client();
    let again = metadata.clone();
    *line.lost.lock().unwrap() = Box::new(move || again.start_again());
    line.lose.store(1, Ordering::SeqCst);
    // Without an expectation, so that nothing but the protocol keeps it from being made again.
    let mut batch = Batch::new();
    batch.put("k", "1");
    let error = client.commit(batch).unwrap_err();
    assert!(matches!(&error, StorageError::InDoubt(_)), "{error}");
    // The next one is for the new run.
    assert_eq!(increment(&client).unwrap(), Outcome::Committed);
    assert_eq!(metadata.store.get(b"k").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn a_daemon_that_is_away_is_unavailable_and_works_again_when_it_is_back() {
    let metadata = Metadata::start();
    let client = metadata.client();
    assert_eq!(increment(&client).unwrap(), Outcome::Committed);
    metadata.stop();
    let error = increment(&client).unwrap_err();
    assert!(matches!(&error, StorageError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains(&metadata.address.to_string()), "{error}");
    let error = client.commit(Batch::new()).unwrap_err();
    assert!(matches!(&error, StorageError::Unavailable(_)), "{error}");
    assert_eq!(client.health().code, 503);
    metadata.start_again();
    assert_eq!(increment(&client).unwrap(), Outcome::Committed);
    assert_eq!((number(&metadata).as_str(), client.health().code), ("2", 200));
}

#[test]
fn a_scan_of_many_pages_visits_every_record_once_in_order() {
    let metadata = Metadata::start();
    let mut batch = Batch::new();
    let keys: Vec<String> = (0..PAGE_RECORDS_MAX * 2 + 1).map(|number| format!("k{number:06}")).collect();
    keys.iter().for_each(|key| batch.put(key.as_str(), "v"));
    // Pages end by their bytes too.
    (0..3).for_each(|number| batch.put(format!("l{number}"), vec![0; PAGE_BYTES_MAX]));
    metadata.store.commit(batch).unwrap();
    let client = metadata.client();
    for few in [1, 2, PAGE_RECORDS_MAX, usize::MAX] {
        let mut seen = Vec::new();
        client
            .scan_few(b"k".as_slice()..b"m".as_slice(), few, &mut |key, value| {
                assert_eq!(value.len(), if key[0] == b'k' { 1 } else { PAGE_BYTES_MAX });
                seen.push(String::from_utf8(key.to_vec()).unwrap());
                Visit::Next
            })
            .unwrap();
        assert_eq!(seen.len(), keys.len() + 3);
        assert_eq!(seen[..keys.len()], keys);
    }
    let mut seen = Vec::new();
    client
        .scan(b"k".as_slice()..b"l".as_slice(), &mut |key, _| {
            seen.push(String::from_utf8(key.to_vec()).unwrap());
            // Every third hundred.
            let hundred: usize = String::from_utf8_lossy(&key[1..]).parse::<usize>().unwrap() / 100;
            Visit::Seek(format!("k{:06}", (hundred + 3) * 100).into_bytes())
        })
        .unwrap();
    let expected: Vec<String> = (0..=2000).step_by(300).map(|number| format!("k{number:06}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_commit_just_too_large_is_refused_and_one_just_small_enough_is_made() {
    let metadata = Metadata::start();
    let client = metadata.client();
    let put = |bytes: usize| {
        let mut batch = Batch::new();
        batch.put("k", vec![7; bytes - 1]);
        client.commit(batch)
    };
    assert_eq!(put(COMMIT_BYTES_MAX).unwrap(), Outcome::Committed);
    assert_eq!(client.get(b"k").unwrap().unwrap().len(), COMMIT_BYTES_MAX - 1);
    assert!(put(COMMIT_BYTES_MAX + 1).is_err());
}

/// A front end's bodies may go only when the daemon cannot lose the commit any more that stopped naming them, and
/// settings of a bucket are durable before the answer.
#[test]
fn a_front_end_can_have_commits_of_a_relaxed_daemon_made_durable() {
    let (folder, faults) = (Folder::new(), Arc::new(DiskFaults::default()));
    let options = FileMetaOptions {
        faults: Some(faults.clone()),
        ..FileMetaOptions::new(SyncModes::from(SyncMode::None).and(SyncMode::Strict))
    };
    let metadata = Metadata::over(Arc::new(FileMeta::open(&folder.0, options).unwrap()));
    let syncs = Arc::new(AtomicUsize::new(0));
    let counter = syncs.clone();
    faults.watch(move |step| {
        if matches!(step, DiskStep::SyncFile(path) if path.ends_with("s3pail.journal")) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    let client = metadata.client();
    client.settle().unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 0, "there is nothing to settle");
    increment(&client).unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 0);
    client.settle().unwrap();
    let settled = syncs.load(Ordering::SeqCst);
    assert!(settled > 0);
    let mut batch = Batch { sync: Some(SyncMode::Strict), ..Batch::new() };
    batch.put("b/bucket", "settings");
    client.commit(batch).unwrap();
    assert!(syncs.load(Ordering::SeqCst) > settled);
}

fn call(metadata: &Metadata, name: &str, body: &str) -> Reply {
    let head = format!("POST /metadata/{name} HTTP/1.1\r\nhost: m\r\nconnection: close\r\n");
    raw(metadata, format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}

fn raw(metadata: &Metadata, request: &[u8]) -> Reply {
    Client::new(metadata.address, None).raw(request, false)
}

#[track_caller]
fn refused(reply: Reply, status: u16, kind: &str, text: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    let answer: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(answer["errorType"], kind, "{answer}");
    assert!(answer["errorMessage"].as_str().unwrap().contains(text), "{answer}");
}

#[test]
fn what_is_no_call_is_refused_with_a_reason_and_the_daemon_goes_on() {
    let metadata = Metadata::start();
    let token = "0".repeat(32);
    for (name, body, status, kind, text) in [
        ("get", "", 400, "BadRequest", "EOF"),
        ("get", "{", 400, "BadRequest", "EOF"),
        ("get", "[]", 400, "BadRequest", "struct Get"),
        ("get", "null", 400, "BadRequest", "invalid type"),
        ("get", "{\"key\":\"YQ==\"}", 400, "BadRequest", "protocol"),
        ("get", "{\"protocol\":2,\"key\":\"YQ==\"}", 400, "BadRequest", "allowed: 1"),
        ("get", "{\"protocol\":1,\"key\":\"not base64\"}", 400, "BadRequest", "base64"),
        ("get", "{\"protocol\":1,\"key\":\"YQ\"}", 400, "BadRequest", "base64"),
        ("get", "{\"protocol\":1,\"key\":7}", 400, "BadRequest", "base64"),
        ("scan", "{\"protocol\":1,\"start\":\"\",\"end\":\"\",\"records_max\":-1}", 400, "BadRequest", "-1"),
        ("commit", "{\"protocol\":1,\"run\":\"\"}", 400, "BadRequest", "token"),
        ("drop", "{}", 404, "UnknownCall", "get, scan, commit"),
        ("", "{}", 404, "UnknownCall", "/metadata/"),
        ("../get", "{}", 404, "UnknownCall", "/metadata/"),
        ("status", "{}", 405, "MethodNotAllowed", "allowed: GET"),
    ] {
        eprintln!("{name} {body}");
        refused(call(&metadata, name, body), status, kind, text);
    }
    let nested = "[".repeat(200_000);
    refused(call(&metadata, "get", &nested), 400, "BadRequest", "");
    let commit = |run: &str, token: &str| {
        let writes = json!([["YQ==", "Yg=="]]);
        let commit = json!({ "protocol": 1, "run": run, "token": token, "repeated": false, "seen": 0,
            "expects": [], "writes": writes });
        call(&metadata, "commit", &commit.to_string())
    };
    refused(commit("another", &token), 409, "OtherRun", "run");
    refused(commit("another", "0"), 400, "BadRequest", "32 hexadecimal digits");
    let get = b"GET /metadata/get HTTP/1.1\r\nhost: m\r\n\r\n";
    refused(raw(&metadata, get), 405, "MethodNotAllowed", "allowed: POST");
    refused(raw(&metadata, b"BREW / HTTP/1.1\r\nhost: m\r\n\r\n"), 404, "UnknownCall", "");
    if !engine_cannot("a head that is not HTTP is answered by the handler") {
        refused(raw(&metadata, b"nonsense\r\n\r\n"), 400, "BadRequest", "");
    }
    assert_eq!(metadata.store.get(b"a").unwrap(), None);
    assert_eq!(increment(&metadata.client()).unwrap(), Outcome::Committed);
}

#[test]
fn a_body_that_is_too_large_or_breaks_off_is_refused() {
    let metadata = Metadata::start();
    let head = |length: usize| {
        format!("POST /metadata/commit HTTP/1.1\r\nhost: m\r\ncontent-length: {length}\r\n\r\n{{")
    };
    let too_large = head(REQUEST_BYTES_MAX + 1);
    refused(raw(&metadata, too_large.as_bytes()), 413, "RequestTooLarge", "allowed");
    // Without a length it is counted.
    let mut stream = TcpStream::connect(metadata.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let chunked = "POST /metadata/get HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(chunked.as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 0x10_0000], b"\r\n"].concat();
    // The daemon may answer and close before it has been sent everything.
    for _ in 0..=REQUEST_BYTES_MAX / 0x10_0000 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    refused(Reply::read(&mut BufReader::new(stream), false), 413, "RequestTooLarge", "allowed");
    if engine_cannot("an upload that is cut off is answered") {
        return;
    }
    let mut stream = TcpStream::connect(metadata.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(head(100).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    refused(Reply::read(&mut BufReader::new(stream), false), 400, "BadRequest", "body");
    assert_eq!(increment(&metadata.client()).unwrap(), Outcome::Committed);
}

#[test]
fn an_answer_carries_the_ids_of_its_request() {
    let metadata = Metadata::start();
    let status = |fields: &str| {
        let request =
            format!("GET /metadata/status HTTP/1.1\r\nhost: m\r\nconnection: close\r\n{fields}\r\n");
        raw(&metadata, request.as_bytes()).expect(200)
    };
    let reply = status("X-Scal-Request-Uids: abc:def\r\n");
    assert_eq!(reply.header("x-scal-request-uids"), Some("abc:def"));
    let answer: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&answer["protocol"], &answer["code"]), (&json!(1), &json!(200)));
    assert_eq!(status("").header("x-scal-request-uids").map(str::len), Some(20));
    // A number that another front end knows goes to all the others.
    let number = |reply: Reply| reply.header("x-s3pail-sequence").unwrap().parse::<u64>().unwrap();
    let ahead = crate::harness::now() * 1_000 + 30_000_000;
    assert!(number(status(&format!("X-S3pail-Sequence: {ahead}\r\n"))) >= ahead);
    assert!(number(status(&format!("X-S3pail-Sequence: {}\r\n", u64::MAX))) < u64::MAX / 2);
    let long = format!("X-Scal-Request-Uids: {}\r\n", "u".repeat(257));
    assert_eq!(status(&long).header("x-scal-request-uids").map(str::len), Some(20));
}

#[test]
fn container_tools_find_out_whether_it_lives() {
    let metadata = Metadata::start();
    raw(&metadata, b"GET /live HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n").expect(200);
}

#[test]
fn what_is_no_metadata_daemon_is_not_believed() {
    let s3 = crate::harness::TestServer::memory();
    let client = RemoteMeta::new(&s3.address().to_string(), Deadlines::default());
    assert!(client.get(b"k").is_err());
    assert_ne!(client.health().code, 200);
}

#[test]
fn the_binary_serves_records_and_keeps_them() {
    let folder = Folder::new();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3pail"));
        command.current_dir(&folder.0).env_clear();
        command.args(["--role", "metadata", "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("metadata daemon, file backend, sync strict"), "{line}");
        let address = line.split("http://").nth(1).unwrap().split([' ', ',']).next().unwrap().to_owned();
        (child, RemoteMeta::new(&address, Deadlines::default()))
    };
    let (mut child, client) = start();
    assert_eq!(increment(&client).unwrap(), Outcome::Committed);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(increment(&client), Err(StorageError::Unavailable(_))));
    let (mut child, client) = start();
    assert_eq!(client.get(b"number").unwrap(), Some(b"1".to_vec()));
    child.kill().unwrap();
    child.wait().unwrap();
}
