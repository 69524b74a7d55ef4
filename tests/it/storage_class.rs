//! Storage classes: where their bytes are, how rules move them there, and how archived ones come back.

use crate::harness::{Folder, Reply, TestServer, for_each_backend, wait_until};
use crate::locations::{bodies, location};
use s3pail::codec::base64;
use s3pail::codec::digest::md5;
use s3pail::codec::time::http_date;
use s3pail::config::{Backend, Config};
use serde_json::{Value, json};

const DAY_MS: u64 = 86_400_000;
const CLASS: &str = "x-amz-storage-class";
const NOTIFY: &str = "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>";

/// A server with a location in files, where buckets are, and one in memory for two of the classes.
fn with_classes(change: impl FnOnce(&mut Config)) -> TestServer {
    let folder = Folder::new();
    let mut config = Config {
        data: Backend::Multiple,
        data_path: folder.0.join("data"),
        sync: s3pail::storage::SyncMode::None,
        ..Config::in_memory()
    };
    for class in ["STANDARD_IA", "GLACIER"] {
        config.storage_classes.insert(class.to_owned(), "mem".to_owned());
    }
    change(&mut config);
    TestServer::start("multiple", config, Some(folder))
}

fn big(byte: u8) -> Vec<u8> {
    vec![byte; 300_000]
}

/// Has everything of a bucket move after a day.
fn put_rule(server: &TestServer, path: &str, action: &str, class: &str) {
    let days = if action == "Transition" { "Days" } else { "NoncurrentDays" };
    let body = format!(
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><ObjectSizeGreaterThan>0</ObjectSizeGreaterThan></Filter><{action}><{days}>30</{days}><StorageClass>{class}</StorageClass></{action}></Rule></LifecycleConfiguration>"
    );
    let digest = base64(&md5(body.as_bytes()));
    let fields = [("content-md5", digest.as_str())];
    server.send("PUT", &format!("{path}?lifecycle"), &fields, body.as_bytes()).expect(200);
}

fn run_in_days(server: &TestServer, days: u64) -> Value {
    let clock = &server.service().clock;
    let today = clock.now();
    clock.advance(days * DAY_MS);
    let report = server.anonymous().post("/_/lifecycle/run", b"").expect(200);
    clock.set(today);
    serde_json::from_slice(&report.body).unwrap()
}

fn put_in(server: &TestServer, path: &str, class: &str, body: &[u8]) -> Reply {
    server.send("PUT", path, &[(CLASS, class)], body).expect(200)
}

fn restore(server: &TestServer, target: &str, days: u32) -> Reply {
    server.post(target, format!("<RestoreRequest><Days>{days}</Days></RestoreRequest>").as_bytes())
}

fn enable_versioning(server: &TestServer, bucket: &str) {
    let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put(&format!("{bucket}?versioning"), body).expect(200);
}

/// The names of the events of a bucket, oldest first.
fn events(server: &TestServer, bucket: &str) -> Vec<String> {
    let reply = server.anonymous().get(&format!("/_/notifications?bucket={bucket}")).expect(200);
    let all: Value = serde_json::from_slice(&reply.body).unwrap();
    let records = all["Records"].as_array().unwrap();
    records.iter().map(|it| it["eventName"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn bytes_of_a_class_with_a_location_are_there_however_they_came() {
    let server = with_classes(|_| {});
    server.bucket("abc");
    server.put("/abc/standard", &big(1)).expect(200);
    put_in(&server, "/abc/put", "STANDARD_IA", &big(2));
    assert_eq!(bodies(&server), (1, 1));
    // Even where a header names another location.
    let fields = [(CLASS, "STANDARD_IA"), ("x-amz-meta-scal-location-constraint", "us-east-1")];
    server.send("PUT", "/abc/header", &fields, &big(3)).expect(200);
    assert_eq!(bodies(&server), (2, 1));
    let source = ("x-amz-copy-source", "abc/standard");
    server.send("PUT", "/abc/copy", &[source, (CLASS, "STANDARD_IA")], b"").expect(200);
    assert_eq!(bodies(&server), (3, 1));
    let begun = server.send("POST", "/abc/parts?uploads", &[(CLASS, "STANDARD_IA")], b"").expect(200);
    let upload = begun.element("UploadId").unwrap();
    server.put(&format!("/abc/parts?partNumber=1&uploadId={upload}"), &big(4)).expect(200);
    assert_eq!(bodies(&server), (4, 1));
    // A class without a location is only a name.
    put_in(&server, "/abc/name", "ONEZONE_IA", &big(5));
    assert_eq!(bodies(&server), (4, 2));
    // And back.
    server.send("PUT", "/abc/put", &[("x-amz-copy-source", "abc/put"), (CLASS, "STANDARD")], b"").expect(200);
    wait_until("the bytes are back", || bodies(&server) == (3, 3));
    for (key, byte) in [("standard", 1), ("put", 2), ("header", 3), ("copy", 1), ("name", 5)] {
        assert_eq!(server.get(&format!("/abc/{key}")).expect(200).body, big(byte), "{key}");
    }
}

#[test]
fn an_unknown_class_is_refused_everywhere() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"x").expect(200);
        for class in ["", "standard", "COLD", "OUTPOSTS", "STANDARD "] {
            let fields = [(CLASS, class)];
            let copy = [(CLASS, class), ("x-amz-copy-source", "abc/k")];
            if class.trim() == "STANDARD" {
                continue;
            }
            server.send("PUT", "/abc/k", &fields, b"y").expect_error(400, "InvalidStorageClass");
            server.send("PUT", "/abc/k", &copy, b"").expect_error(400, "InvalidStorageClass");
            server.send("POST", "/abc/k?uploads", &fields, b"").expect_error(400, "InvalidStorageClass");
        }
        assert_eq!(server.get("/abc/k").expect(200).body, b"x");
    });
}

#[test]
fn a_transition_moves_the_bytes_of_every_kind_of_object() {
    let server = with_classes(|_| {});
    let bucket = server.bucket("abc");
    server.put("/abc/plain", &big(1)).expect(200);
    server.put("/abc/small", b"tiny").expect(200);
    server.send("PUT", "/abc/sealed", &[("x-amz-server-side-encryption", "AES256")], &big(2)).expect(200);
    let begun = server.post("/abc/parts?uploads", b"").expect(200);
    let upload = begun.element("UploadId").unwrap();
    let mut listed = String::new();
    for (number, size) in [(1, 5 << 20), (2, 300_000)] {
        let part = server
            .put(&format!("/abc/parts?partNumber={number}&uploadId={upload}"), &vec![number; size])
            .expect(200);
        let etag = part.header("etag").unwrap();
        listed.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
    }
    let list = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
    server.post(&format!("/abc/parts?uploadId={upload}"), list.as_bytes()).expect(200);
    let keys = ["parts", "plain", "sealed", "small"];
    let before: Vec<Reply> = keys.iter().map(|key| server.get(&format!("/abc/{key}")).expect(200)).collect();
    assert_eq!(bodies(&server), (0, 4));
    put_rule(&server, &bucket, "Transition", "STANDARD_IA");
    let report = run_in_days(&server, 32);
    assert_eq!((&report["transitioned"], &report["failed"]), (&4.into(), &0.into()), "{report}");
    wait_until("the old bytes are gone", || bodies(&server) == (4, 0));
    for (key, before) in keys.iter().zip(before) {
        let after = server.get(&format!("/abc/{key}")).expect(200);
        assert_eq!(after.body, before.body, "{key}");
        assert_eq!(after.header(CLASS), Some("STANDARD_IA"));
        for name in ["etag", "last-modified", "x-amz-server-side-encryption"] {
            assert_eq!(after.header(name), before.header(name), "{key} {name}");
        }
        server.delete(&format!("/abc/{key}")).expect(204);
    }
    wait_until("nothing is left", || bodies(&server) == (0, 0));
}

#[test]
fn older_versions_move_too() {
    let server = with_classes(|_| {});
    let bucket = server.bucket("abc");
    enable_versioning(&server, &bucket);
    let old = server.put("/abc/k", &big(1)).expect(200).version();
    server.put("/abc/k", &big(2)).expect(200);
    put_rule(&server, &bucket, "NoncurrentVersionTransition", "STANDARD_IA");
    assert_eq!(run_in_days(&server, 32)["transitioned"], 1);
    wait_until("one is in each location", || bodies(&server) == (1, 1));
    assert_eq!(server.get(&format!("/abc/k?versionId={old}")).expect(200).body, big(1));
    assert_eq!(server.get("/abc/k").expect(200).body, big(2));
}

#[test]
fn a_move_that_loses_against_overwrites_and_deletions_leaves_nothing_behind() {
    let server = with_classes(|config| config.lifecycle_day_ms = 1_000);
    let bucket = server.bucket("abc");
    put_rule(&server, &bucket, "Transition", "STANDARD_IA");
    for round in 0..10_u8 {
        server.put("/abc/kept", &big(round)).expect(200);
        server.put("/abc/gone", &big(round)).expect(200);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                server.put("/abc/kept", &big(100 + round)).expect(200);
                server.delete("/abc/gone").expect(204);
            });
            let clock = &server.service().clock;
            let today = clock.now();
            // Thirty short days; the client's signatures must not be too old for them.
            clock.advance(31_000);
            let report = s3pail::lifecycle::run_now(server.service());
            clock.set(today);
            assert_eq!(report.failed, 0, "{report:?}");
        });
        assert_eq!(server.get("/abc/kept").expect(200).body, big(100 + round));
        server.get("/abc/gone").expect_error(404, "NoSuchKey");
        wait_until("one body is left", || {
            let (memory, files) = bodies(&server);
            memory + files == 1
        });
    }
}

#[test]
fn a_class_location_that_does_not_answer_is_tried_again() {
    let server = with_classes(|config| {
        let details = json!({
            "awsEndpoint": "127.0.0.1:9", "https": false, "bucketName": "remote",
            "credentials": { "accessKey": "a", "secretKey": "b" },
        });
        config.locations.insert("away".to_owned(), location("aws_s3", details));
        config.storage_classes.insert("STANDARD_IA".to_owned(), "away".to_owned());
    });
    let bucket = server.bucket("abc");
    server.put("/abc/k", &big(1)).expect(200);
    put_rule(&server, &bucket, "Transition", "STANDARD_IA");
    let report = run_in_days(&server, 32);
    assert_eq!((&report["transitioned"], &report["failed"]), (&0.into(), &1.into()), "{report}");
    let reply = server.get("/abc/k").expect(200);
    assert_eq!((reply.body, reply.headers.iter().any(|(name, _)| name == CLASS)), (big(1), false));
}

#[test]
fn archived_objects_are_read_only_after_a_restore() {
    for_each_backend(|server| {
        server.bucket("abc");
        for class in ["GLACIER", "DEEP_ARCHIVE"] {
            put_in(server, "/abc/k", class, b"cold");
            let refused = server.get("/abc/k").expect_error(403, "InvalidObjectState");
            assert_eq!(refused.element("StorageClass").as_deref(), Some(class));
            let copy = [("x-amz-copy-source", "abc/k")];
            server.send("PUT", "/abc/copy", &copy, b"").expect_error(403, "InvalidObjectState");
            let head = server.head("/abc/k").expect(200);
            assert_eq!((head.header("content-length"), head.header("x-amz-restore")), (Some("4"), None));
            restore(server, "/abc/k?restore", 2).expect(202);
            let now = server.service().clock.now();
            let reply = server.get("/abc/k").expect(200);
            assert_eq!((reply.body.as_slice(), reply.header(CLASS)), (b"cold".as_slice(), Some(class)));
            let until = http_date((now + 2 * DAY_MS).div_ceil(DAY_MS) * DAY_MS);
            let said = format!("ongoing-request=\"false\", expiry-date=\"{until}\"");
            assert_eq!(reply.header("x-amz-restore"), Some(said.as_str()));
            assert_eq!(server.head("/abc/k").header("x-amz-restore"), Some(said.as_str()));
            // A second request only moves the end.
            restore(server, "/abc/k?restore", 5).expect(200);
            let until = http_date((now + 5 * DAY_MS).div_ceil(DAY_MS) * DAY_MS);
            assert!(server.head("/abc/k").header("x-amz-restore").unwrap().contains(&until));
            let listed = [("x-amz-optional-object-attributes", "RestoreStatus")];
            let list = server.send("GET", "/abc?list-type=2", &listed, b"").expect(200);
            assert_eq!(list.element("IsRestoreInProgress").as_deref(), Some("false"), "{}", list.text());
            assert!(list.element("RestoreExpiryDate").is_some());
            assert_eq!(server.get("/abc?list-type=2").element("RestoreStatus"), None);
            server.send("PUT", "/abc/copy", &copy, b"").expect(200);
            assert_eq!(server.get("/abc/copy").expect(200).body, b"cold");
            server.delete("/abc/copy").expect(204);
        }
    });
}

#[test]
fn a_restored_copy_goes_when_its_days_are_over() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.put(&format!("{bucket}?notification"), NOTIFY.as_bytes()).expect(200);
        put_in(server, "/abc/k", "GLACIER", b"cold");
        restore(server, "/abc/k?restore", 2).expect(202);
        restore(server, "/abc/k?restore", 4).expect(200);
        assert_eq!(run_in_days(server, 3)["restoresExpired"], 0);
        server.get("/abc/k").expect(200);
        // The background thread may be faster than this call.
        run_in_days(server, 6);
        server.get("/abc/k").expect_error(403, "InvalidObjectState");
        assert_eq!(server.head("/abc/k").expect(200).header("x-amz-restore"), None);
        wait_until("the end is told", || events(server, "abc").len() == 5);
        let names = ["Post", "Completed", "Post", "Delete"].map(|name| format!("ObjectRestore:{name}"));
        assert_eq!(events(server, "abc")[1..], names);
        // The end of a version that is gone by then says nothing.
        restore(server, "/abc/k?restore", 1).expect(202);
        server.delete("/abc/k").expect(204);
        assert_eq!(run_in_days(server, 6)["restoresExpired"], 0);
    });
}

#[test]
fn a_restore_takes_the_time_that_is_set() {
    let config = Config { restore_ms: 600_000, ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    let bucket = server.bucket("abc");
    server.put(&format!("{bucket}?notification"), NOTIFY.as_bytes()).expect(200);
    put_in(&server, "/abc/k", "DEEP_ARCHIVE", b"cold");
    restore(&server, "/abc/k?restore", 2).expect(202);
    restore(&server, "/abc/k?restore", 2).expect_error(409, "RestoreAlreadyInProgress");
    server.get("/abc/k").expect_error(403, "InvalidObjectState");
    assert_eq!(server.head("/abc/k").header("x-amz-restore"), Some("ongoing-request=\"true\""));
    let listed = [("x-amz-optional-object-attributes", "RestoreStatus")];
    let list = server.send("GET", "/abc", &listed, b"").expect(200);
    assert_eq!(list.element("IsRestoreInProgress").as_deref(), Some("true"));
    assert_eq!(events(&server, "abc"), ["ObjectCreated:Put", "ObjectRestore:Post"]);
    let clock = &server.service().clock;
    let asked = clock.now();
    clock.advance(600_000 - 60_000);
    assert_eq!(server.head("/abc/k").header("x-amz-restore"), Some("ongoing-request=\"true\""));
    clock.advance(120_000);
    s3pail::lifecycle::run_now(server.service());
    server.get("/abc/k").expect(200);
    wait_until("the end is told", || events(&server, "abc").last().unwrap() == "ObjectRestore:Completed");
    clock.set(asked);
}

#[test]
fn the_thread_tells_of_a_restore_by_itself() {
    let config = Config { restore_ms: 20, lifecycle_day_ms: 1_000, ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    let bucket = server.bucket("abc");
    server.put(&format!("{bucket}?notification"), NOTIFY.as_bytes()).expect(200);
    put_in(&server, "/abc/k", "GLACIER", b"cold");
    restore(&server, "/abc/k?restore", 1).expect(202);
    wait_until("all is told", || {
        events(&server, "abc")[1..]
            == ["Post", "Completed", "Delete"].map(|name| format!("ObjectRestore:{name}"))
    });
    server.get("/abc/k").expect_error(403, "InvalidObjectState");
}

#[test]
fn a_restore_is_refused_where_it_makes_no_sense() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        enable_versioning(server, &bucket);
        server.put("/abc/warm", b"x").expect(200);
        put_in(server, "/abc/cold", "DEEP_ARCHIVE", b"x");
        let version = put_in(server, "/abc/two", "GLACIER", b"old").version();
        put_in(server, "/abc/two", "GLACIER", b"new");
        restore(server, "/abc/warm?restore", 1).expect_error(403, "InvalidObjectState");
        restore(server, "/abc/none?restore", 1).expect_error(404, "NoSuchKey");
        restore(server, "/abc/cold?restore", 0).expect_error(400, "InvalidArgument");
        server.post("/abc/cold?restore", b"").expect_error(400, "MissingRequestBodyError");
        server.post("/abc/cold?restore", b"<RestoreRequest/>").expect_error(400, "MalformedXML");
        let tier = "<RestoreRequest><Days>1</Days><GlacierJobParameters><Tier>Expedited</Tier></GlacierJobParameters></RestoreRequest>";
        server.post("/abc/cold?restore", tier.as_bytes()).expect_error(400, "InvalidArgument");
        server.post("/abc/two?restore", tier.as_bytes()).expect(202);
        server.get(&format!("/abc/two?versionId={version}")).expect_error(403, "InvalidObjectState");
        restore(server, &format!("/abc/two?restore&versionId={version}"), 1).expect(202);
        assert_eq!(server.get(&format!("/abc/two?versionId={version}")).expect(200).body, b"old");
        let body = b"<RestoreRequest><Days>1</Days></RestoreRequest>";
        server.as_lisa().post("/abc/cold?restore", body).expect_error(403, "AccessDenied");
        server.delete("/abc/cold").expect(204);
        let marker = server.get("/abc?versions").expect(200);
        let marker = marker.text().split_once("<DeleteMarker>").unwrap().1.to_owned();
        let id = marker.split_once("<VersionId>").unwrap().1.split_once('<').unwrap().0.to_owned();
        restore(server, &format!("/abc/cold?restore&versionId={id}"), 1)
            .expect_error(405, "MethodNotAllowed");
    });
}
