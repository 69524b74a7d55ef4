//! Where bytes go: the choice of a location, copies and uploads across locations, health by location.

use super::harness::{DEADLINE, Folder, Reply, TestServer, for_each_backend, wait_until};
use super::stand_in::sproxyd::{Node, Ring};
use s3pail::config::{Backend, Config, Location};
use s3pail::model::object::Piece;
use s3pail::storage::{Batch, BlobId, BlobStore, Outcome};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const HEADER: &str = "x-amz-meta-scal-location-constraint";

/// A location without details.
pub fn location(kind: &str, details: Value) -> Location {
    let details = match details {
        Value::Object(details) => details,
        _ => Map::new(),
    };
    Location { kind: kind.to_owned(), legacy_aws_behavior: false, sync: None, details }
}

/// A server whose data backend is `multiple`: `us-east-1` in files, beside `mem` and `other`.
pub fn multiple(locations: &[(&str, Location)]) -> TestServer {
    multiple_of(Config::in_memory(), locations)
}

/// The same, with further settings.
pub fn multiple_of(config: Config, locations: &[(&str, Location)]) -> TestServer {
    let folder = Folder::new();
    let mut config = Config {
        data: Backend::Multiple,
        data_path: folder.0.join("data"),
        sync: s3pail::storage::SyncMode::None,
        ..config
    };
    for (name, location) in locations {
        config.locations.insert((*name).to_owned(), location.clone());
    }
    TestServer::start("multiple", config, Some(folder))
}

/// How many bodies a store has, without the short one that pairs it with its records.
fn stored(blobs: &Arc<dyn BlobStore>) -> usize {
    let mut ids = Vec::new();
    blobs.list(&mut |id| ids.push(id)).unwrap();
    ids.iter().filter(|id| matches!(blobs.read(id, 0..100), Ok(Some(_)))).count()
}

/// How many bodies are in memory and in files.
pub fn bodies(server: &TestServer) -> (usize, usize) {
    let locations = &server.service().locations;
    (stored(&locations["mem"]), stored(&locations["us-east-1"]))
}

fn big(byte: u8) -> Vec<u8> {
    vec![byte; 300_000]
}

fn create_in(server: &TestServer, path: &str, location: &str) -> Reply {
    let body = format!(
        "<CreateBucketConfiguration><LocationConstraint>{location}</LocationConstraint></CreateBucketConfiguration>"
    );
    server.put(path, body.as_bytes())
}

#[test]
fn the_header_decides_before_the_bucket() {
    let server = multiple(&[]);
    create_in(&server, "/bucket", "mem").expect(200);
    server.put("/bucket/by-bucket", &big(1)).expect(200);
    assert_eq!(bodies(&server), (1, 0));
    server.send("PUT", "/bucket/by-header", &[(HEADER, "us-east-1")], &big(2)).expect(200);
    assert_eq!(bodies(&server), (1, 1));
    for (key, byte) in [("by-bucket", 1), ("by-header", 2)] {
        let path = format!("/bucket/{key}");
        assert_eq!(server.get(&path).expect(200).body, big(byte));
        let range = server.send("GET", &path, &[("range", "bytes=299990-")], b"").expect(206);
        assert_eq!(range.body, vec![byte; 10]);
    }
    assert_eq!(server.head("/bucket/by-header").expect(200).header(HEADER), Some("us-east-1"));
}

#[test]
fn new_bytes_may_go_elsewhere_and_the_old_ones_go_away() {
    let server = multiple(&[]);
    let bucket = server.bucket("bucket");
    let path = format!("{bucket}/key");
    server.put(&path, &big(1)).expect(200);
    assert_eq!(bodies(&server), (0, 1));
    server.send("PUT", &path, &[(HEADER, "mem")], &big(2)).expect(200);
    wait_until("the old bytes are gone", || bodies(&server) == (1, 0));
    assert_eq!(server.get(&path).expect(200).body, big(2));
    server.delete(&path).expect(204);
    wait_until("nothing is left", || bodies(&server) == (0, 0));
}

#[test]
fn unknown_locations_are_refused_in_every_mode() {
    let check = |server: &TestServer| {
        let bucket = server.bucket("bucket");
        let path = format!("{bucket}/key");
        let message = "Object Location Error - Your object location \"mars\"is not  in your location config - Please update.";
        for (method, target, source) in [
            ("PUT", path.clone(), ""),
            ("POST", format!("{path}?uploads"), ""),
            ("PUT", path.clone(), "bucket/there"),
        ] {
            server.put("/bucket/there", b"x").expect(200);
            let mut fields = vec![(HEADER, "mars")];
            if !source.is_empty() {
                fields.push(("x-amz-copy-source", source));
            }
            let reply = server.send(method, &target, &fields, b"").expect_error(400, "InvalidArgument");
            assert_eq!(reply.element("Message").as_deref(), Some(message));
        }
        server.get(&path).expect_error(404, "NoSuchKey");
        server.send("PUT", &path, &[(HEADER, "dataFile")], b"x").expect(200);
    };
    for_each_backend(check);
    check(&multiple(&[]));
}

#[test]
fn a_bucket_whose_location_is_gone_says_so() {
    let server = multiple(&[("other", location("mem", json!({})))]);
    create_in(&server, "/bucket", "other").expect(200);
    let mut record = server.service().bucket(&"bucket".parse_name()).unwrap().record.clone();
    record.location = "gone".to_owned();
    let mut batch = s3pail::storage::Batch::new();
    batch.put(s3pail::model::keys::bucket(&"bucket".parse_name()), record.encode());
    server.service().meta.commit(batch).unwrap();
    let reply = server.put("/bucket/key", b"x").expect_error(400, "InvalidArgument");
    let message = reply.element("Message").unwrap();
    assert!(message.starts_with("Bucket Location Error - Your bucket location"), "{message}");
    server.send("PUT", "/bucket/key", &[(HEADER, "other")], b"x").expect(200);
}

trait ParseName {
    fn parse_name(&self) -> s3pail::model::BucketName;
}

impl ParseName for str {
    fn parse_name(&self) -> s3pail::model::BucketName {
        s3pail::model::BucketName::parse(self).unwrap()
    }
}

#[test]
fn copies_go_where_the_header_or_the_bucket_says() {
    let server = multiple(&[]);
    server.bucket("files");
    create_in(&server, "/memory", "mem").expect(200);
    server.put("/files/source", &big(7)).expect(200);
    let copy = |target: &str, fields: &[(&str, &str)], source: &str| {
        let mut fields = fields.to_vec();
        fields.push(("x-amz-copy-source", source));
        server.send("PUT", target, &fields, b"").expect(200);
        assert_eq!(server.get(target).expect(200).body, big(7), "{target}");
    };
    copy("/memory/one", &[], "files/source");
    assert_eq!(bodies(&server), (1, 1));
    copy("/files/two", &[(HEADER, "mem")], "files/source");
    assert_eq!(bodies(&server), (2, 1));
    assert_eq!(server.head("/files/two").header(HEADER), Some("mem"));
    // Copied metadata goes on to count, because it is the copy's.
    copy("/files/three", &[], "files/two");
    assert_eq!(bodies(&server), (3, 1));
    copy("/files/four", &[(HEADER, "us-east-1")], "files/two");
    assert_eq!(bodies(&server), (3, 2));
    let replace = ("x-amz-metadata-directive", "REPLACE");
    copy("/files/five", &[replace], "files/two");
    assert_eq!(bodies(&server), (3, 3));
    assert_eq!(server.head("/files/five").header(HEADER), None);
}

#[test]
fn parts_go_where_the_upload_was_begun_for() {
    let server = multiple(&[]);
    server.bucket("bucket");
    server.put("/bucket/source", &big(3)).expect(200);
    let begun = server.send("POST", "/bucket/key?uploads", &[(HEADER, "mem")], b"").expect(200);
    let id = begun.element("UploadId").unwrap();
    let part = |number: u32| format!("/bucket/key?partNumber={number}&uploadId={id}");
    let first = vec![4; 5 << 20];
    let etag = |reply: Reply| reply.header("etag").map(str::to_owned).or(reply.element("ETag")).unwrap();
    let one = etag(server.send("PUT", &part(1), &[(HEADER, "us-east-1")], &first).expect(200));
    let source = [("x-amz-copy-source", "bucket/source")];
    let two = etag(server.send("PUT", &part(2), &source, b"").expect(200));
    assert_eq!(bodies(&server), (2, 1));
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{one}</ETag></Part>\
         <Part><PartNumber>2</PartNumber><ETag>{two}</ETag></Part></CompleteMultipartUpload>"
    );
    server.post(&format!("/bucket/key?uploadId={id}"), list.as_bytes()).expect(200);
    assert_eq!(server.get("/bucket/key").expect(200).body, [first, big(3)].concat());
    assert_eq!(server.head("/bucket/key").header(HEADER), Some("mem"));
    server.delete("/bucket/key").expect(204);
    wait_until("both parts are gone", || bodies(&server) == (0, 1));
}

#[test]
fn an_unknown_upload_may_be_aborted_where_the_location_is_not_legacy() {
    let check = |server: &TestServer| {
        server.bucket("legacy");
        create_in(server, "/modern", "mem").expect(200);
        for id in ["0".repeat(32), "nonsense".to_owned()] {
            server.delete(&format!("/legacy/key?uploadId={id}")).expect_error(404, "NoSuchUpload");
            server.delete(&format!("/modern/key?uploadId={id}")).expect(204);
        }
    };
    for_each_backend(check);
    check(&multiple(&[]));
}

#[test]
fn get_bucket_location_names_every_location_but_us_east_1() {
    let server = multiple(&[]);
    server.bucket("plain");
    create_in(&server, "/memory", "mem").expect(200);
    let shown = |path: &str| server.get(&format!("{path}?location")).expect(200).text();
    assert!(shown("/memory").contains("\">mem</LocationConstraint>"), "{}", shown("/memory"));
    assert!(!shown("/plain").contains("us-east-1"), "{}", shown("/plain"));
    let reply = create_in(&server, "/elsewhere", "mars").expect_error(400, "InvalidLocationConstraint");
    let text = "value of the location you are attempting to set - mars - is not listed in the locationConstraint config";
    assert_eq!(reply.element("Message").as_deref(), Some(text));
}

#[test]
fn the_endpoint_gives_buckets_their_location() {
    let folder = Folder::new();
    let mut config =
        Config { data: Backend::Multiple, data_path: folder.0.join("data"), ..Config::in_memory() };
    config.rest_endpoints.insert("127.0.0.1".to_owned(), "mem".to_owned());
    let server = TestServer::start("multiple", config, Some(folder));
    server.bucket("bucket");
    server.put("/bucket/key", &big(1)).expect(200);
    assert_eq!(bodies(&server), (1, 0));
    assert!(server.get("/bucket?location").text().contains(">mem<"));
}

#[test]
fn health_has_an_entry_for_each_location() {
    let server = multiple(&[("other", location("mem", json!({})))]);
    let body: Value =
        serde_json::from_slice(&server.anonymous().get("/_/healthcheck/deep").expect(200).body).unwrap();
    for name in ["us-east-1", "mem", "other", "memorybucket", "vaultMem"] {
        assert_eq!(body[name]["code"], 200, "{name}: {body}");
    }
    for path in ["/live", "/ready"] {
        server.anonymous().get(path).expect(200);
    }
    for_each_backend(|server| {
        let reply = server.anonymous().get("/_/healthcheck/deep").expect(200);
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let name = match server.backend {
            "memory" => "mem",
            "file" | "data_daemon" => "file",
            _ => "us-east-1",
        };
        assert_eq!(body[name]["code"], 200, "{body}");
    });
}

#[test]
fn what_a_crash_left_half_written_is_deleted_and_cannot_be_published() {
    let ring = Arc::new(Ring::default());
    let node = Node::start(&ring);
    let folder = Folder::new();
    let details =
        json!({ "connector": { "sproxyd": { "bootstrap": [node.address.to_string()], "chordCos": 3 } } });
    let mut config = Config {
        data: Backend::Multiple,
        metadata: Backend::File,
        data_path: folder.0.join("data"),
        metadata_path: folder.0.join("metadata"),
        sync: s3pail::storage::SyncMode::None,
        ..Config::in_memory()
    };
    config.locations.insert("ring".to_owned(), location("scality", details));
    let start = || {
        let log = Arc::new(s3pail::log::Log::off());
        s3pail::server::Server::start(config.clone(), log).unwrap()
    };
    // The record and the body of a PUT whose process was killed before its commit.
    let server = start();
    let id = BlobId(format!("{}590000003{}", "0".repeat(30), "0"));
    let piece = Piece::whole(id.clone(), 1, "ring");
    server.service().reserve(&piece).unwrap();
    ring.keys.lock().unwrap().insert(id.0.clone(), b"x".to_vec());
    let mut publishing = Batch::new();
    server.service().publish_in(&mut publishing, std::slice::from_ref(&piece)).unwrap();
    server.stop(DEADLINE).unwrap();

    let server = start();
    wait_until("the body is deleted", || ring.keys.lock().unwrap().is_empty());
    let service = server.service();
    let outcome = service.commit(publishing).unwrap();
    assert_eq!(outcome, Outcome::Conflict, "a body that was taken for a left-over was published");
    assert!(service.publish_in(&mut Batch::new(), &[piece]).is_err());
    server.stop(DEADLINE).unwrap();
    ring.check();
}
