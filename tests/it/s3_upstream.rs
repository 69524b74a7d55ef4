//! Another S3 store as a location: a second s3pail, and one that lies.

use super::harness::{DEADLINE, TestServer, wait_until};
use super::locations::{location, multiple};
use s3pail::storage::s3_upstream::{S3Blobs, Settings};
use s3pail::storage::{BlobHint, BlobId, BlobStore, StorageError, WriteError};
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Instant;

/// The details of a location that is bucket `remote` at an address.
pub fn details(address: SocketAddr) -> Value {
    json!({
        "awsEndpoint": address.to_string(), "https": false, "pathStyle": true, "bucketName": "remote",
        "credentials": { "accessKey": "accessKey1", "secretKey": "verySecretKey1" },
    })
}

fn client(address: SocketAddr, changes: Value) -> S3Blobs {
    let mut all: Map<String, Value> = details(address).as_object().unwrap().clone();
    all.extend(changes.as_object().unwrap().clone());
    S3Blobs::new(Settings::from_details(&all).unwrap())
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

fn write(blobs: &S3Blobs, key: &str, body: &[u8]) -> Result<BlobId, WriteError> {
    let hint =
        BlobHint { bucket: "bucket", key, owner: "owner", length: Some(body.len() as u64), sync: None };
    blobs.write(&mut &*body, &hint).map(|written| written.id)
}

fn read(blobs: &S3Blobs, id: &BlobId, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = blobs.read(id, range).map_err(io::Error::other)?;
    reader.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The keys in the remote bucket.
fn keys(remote: &TestServer) -> Vec<String> {
    remote.get("/remote?list-type=2").expect(200).elements("Key")
}

#[test]
fn bodies_come_back_whole_and_in_ranges_and_go() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    for bucket_match in [false, true] {
        let blobs = client(remote.address(), json!({ "bucketMatch": bucket_match }));
        for (key, length) in [("a b/é?&+%2F'", 1), ("k", 65_536), ("../k", 65_537), ("k", 3_000_000)] {
            let body = body(length);
            let id = write(&blobs, key, &body).unwrap();
            let end = length as u64;
            for range in [0..end, end - 1..end, end / 2..end] {
                let expected = &body[range.start as usize..range.end as usize];
                assert_eq!(read(&blobs, &id, range.clone()).unwrap(), expected, "{key} {range:?}");
            }
            assert_eq!(keys(&remote).len(), 1);
            blobs.delete(&id).unwrap();
            blobs.delete(&id).unwrap();
            assert!(blobs.read(&id, 0..1).unwrap().is_none());
        }
        assert_eq!(blobs.health().code, 200);
    }
    assert!(keys(&remote).is_empty());
}

#[test]
fn remote_keys_show_where_bodies_belong() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    for (bucket_match, start) in [(false, "bucket/dir/key/"), (true, "dir/key/")] {
        let blobs = client(remote.address(), json!({ "bucketMatch": bucket_match }));
        let id = write(&blobs, "dir/key", b"x").unwrap();
        assert!(keys(&remote)[0].starts_with(start), "{:?}", keys(&remote));
        blobs.delete(&id).unwrap();
    }
}

#[test]
fn a_remote_that_says_no_is_an_error_and_not_absence() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    let blobs = client(remote.address(), json!({}));
    let id = write(&blobs, "key", b"x").unwrap();
    let secret = json!({ "credentials": { "accessKey": "accessKey1", "secretKey": "wrong" } });
    let stranger = json!({ "credentials": { "accessKey": "nobody", "secretKey": "wrong" } });
    for changes in [secret, stranger, json!({ "bucketName": "missing" })] {
        let blobs = client(remote.address(), changes.clone());
        assert!(matches!(blobs.read(&id, 0..1), Err(StorageError::Unavailable(_))), "{changes}");
        for length in [1, 200_000] {
            let error = write(&blobs, "key", &body(length)).unwrap_err();
            assert!(matches!(error, WriteError::Store(StorageError::Unavailable(_))), "{changes}: {error:?}");
        }
        assert!(blobs.delete(&id).is_err(), "{changes}");
        assert_ne!(blobs.health().code, 200, "{changes}");
    }
    assert_eq!(read(&blobs, &id, 0..1).unwrap(), b"x");
}

/// A server that reads requests and gives each of them the same answer, then closes the connection.
fn saying(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let _ = io::copy(&mut reader.take(length), &mut io::sink());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn answers_that_do_not_fit_are_errors() {
    let id = BlobId(format!("bucket/key/{}", "0".repeat(32)));
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\nContent-Range: bytes 3-6/10\r\n\r\nabcd",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\nContent-Range: bytes 2-5/10\r\n\r\nab",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\n\r\nabcd",
        "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n",
    ] {
        let blobs = client(saying(answer), json!({}));
        assert!(matches!(blobs.read(&id, 2..6), Err(StorageError::Corrupt(_))), "{answer}");
    }
    for answer in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "",
    ] {
        let blobs = client(saying(answer), json!({}));
        let started = Instant::now();
        assert!(matches!(blobs.read(&id, 2..6), Err(StorageError::Unavailable(_))), "{answer}");
        assert!(started.elapsed() < DEADLINE);
    }
    let cut = "HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/10\r\n\r\nab";
    assert!(read(&client(saying(cut), json!({})), &id, 2..6).is_err());
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    assert_eq!(read(&client(saying(whole), json!({})), &id, 2..6).unwrap(), b"2345");
}

#[test]
fn another_digest_than_that_of_the_body_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n",
    ] {
        let blobs = client(saying(answer), json!({}));
        for length in [1, 100_000] {
            assert!(matches!(write(&blobs, "key", &body(length)), Err(WriteError::Store(_))), "{answer}");
        }
    }
    let encrypted = "HTTP/1.1 200 OK\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n\
                     x-amz-server-side-encryption: aws:kms\r\nContent-Length: 0\r\n\r\n";
    write(&client(saying(encrypted), json!({})), "key", b"x").unwrap();
}

/// What a connection says without having been asked is never taken for the answer to the next request.
#[test]
fn a_connection_with_bytes_that_nobody_asked_for_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((go, gone), (said, heard)) = (mpsc::channel::<()>(), mpsc::channel::<()>());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.by_ref().lines().map_while(Result::ok).any(|line| line.is_empty()) {
                let head = "HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\nContent-Range: bytes 2-3/10\r\n\r\n";
                stream.write_all(format!("{head}ab").as_bytes()).unwrap();
                if gone.recv().is_err() {
                    return;
                }
                let _ = stream.write_all(format!("{head}XX").as_bytes());
                said.send(()).unwrap();
            }
        }
    });
    let blobs = client(address, json!({}));
    let id = BlobId(format!("bucket/key/{}", "0".repeat(32)));
    for _ in 0..5 {
        assert_eq!(read(&blobs, &id, 2..4).unwrap(), b"ab");
        go.send(()).unwrap();
        heard.recv_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn objects_live_at_the_remote() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    let server = multiple(&[("far", location("aws_s3", details(remote.address())))]);
    server.bucket("bucket");
    let far = ("x-amz-meta-scal-location-constraint", "far");
    for (length, count) in [(0, 0), (1, 1), (300_000, 1)] {
        server.send("PUT", "/bucket/key", &[far], &body(length)).expect(200);
        wait_until("the old body is gone", || keys(&remote).len() == count);
        assert_eq!(server.get("/bucket/key").expect(200).body, body(length));
    }
    server.send("PUT", "/bucket/near", &[("x-amz-copy-source", "bucket/key")], b"").expect(200);
    wait_until("there are two bodies", || keys(&remote).len() == 2);
    server.delete("/bucket/key").expect(204);
    assert_eq!(server.get("/bucket/near").expect(200).body, body(300_000));
    server.delete("/bucket/near").expect(204);
    wait_until("nothing is left", || keys(&remote).is_empty());
}

#[test]
fn a_location_that_lacks_something_stops_the_start() {
    let mut incomplete = details("127.0.0.1:1".parse().unwrap());
    incomplete.as_object_mut().unwrap().remove("bucketName");
    let mut config = s3pail::config::Config {
        data: s3pail::config::Backend::Multiple,
        ..s3pail::config::Config::in_memory()
    };
    config.locations.retain(|_, location| location.kind == "mem");
    config.locations.insert("far".to_owned(), location("aws_s3", incomplete));
    let log = std::sync::Arc::new(s3pail::log::Log::off());
    let error = s3pail::server::Server::start(config, log).err().unwrap();
    assert!(error.starts_with("location far: details.bucketName is missing; allowed: "), "{error}");
}
