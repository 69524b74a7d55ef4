//! Event notifications: what may be configured, and what a webhook and a poll get to see.

use crate::harness::{DEADLINE, Folder, Reply, TestServer, for_each_backend, wait_until};
use s3pail::config::{Backend, Config};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

const ARN: &str = "arn:aws:sqs:us-east-1:123456789012:events";

fn put_configuration(server: &TestServer, bucket: &str, content: &str) -> Reply {
    let body = format!("<NotificationConfiguration>{content}</NotificationConfiguration>");
    server.put(&format!("{bucket}?notification"), body.as_bytes())
}

fn queue(rest: &str) -> String {
    format!("<QueueConfiguration><Id>q</Id><Queue>{ARN}</Queue>{rest}</QueueConfiguration>")
}

const EVERYTHING: &str = "<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event><Event>s3:ObjectTagging:*</Event><Event>s3:ObjectAcl:Put</Event><Event>s3:LifecycleExpiration:*</Event><Event>s3:LifecycleTransition</Event>";

/// The names and keys of the events that can be polled.
fn polled(server: &TestServer, bucket: &str) -> Vec<(String, String)> {
    let reply = server.anonymous().get(&format!("/_/notifications?bucket={bucket}")).expect(200);
    let events: Value = serde_json::from_slice(&reply.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let event = |event: &Value| (text(&event["eventName"]), text(&event["s3"]["object"]["key"]));
    events["Records"].as_array().unwrap().iter().map(event).collect()
}

fn event(name: &str, key: &str) -> (String, String) {
    (name.to_owned(), key.to_owned())
}

/// A webhook: an HTTP server that keeps the bodies it gets and answers with the status it is told.
struct Hook {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
    status: Arc<AtomicU16>,
}

impl Hook {
    fn start() -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let (bodies, status) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU16::new(200)));
        let hook = Hook { url, bodies: bodies.clone(), status: status.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(DEADLINE));
                let mut reader = BufReader::new(stream);
                while let Some(body) = read_body(&mut reader) {
                    let status = status.load(Ordering::SeqCst);
                    if status == 200 {
                        bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                    }
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                    if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        hook
    }

    fn config(&self) -> Config {
        Config {
            notification_destinations: vec![("events".to_owned(), self.url.clone())],
            ..Config::in_memory()
        }
    }

    /// The events that have arrived, without test events.
    fn events(&self) -> Vec<Value> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().filter_map(|body| body["Records"].get(0).cloned()).collect()
    }
}

/// The body of the next request on a connection.
fn read_body(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

#[test]
fn a_configuration_is_put_given_back_and_ended() {
    let hook = Hook::start();
    let server = TestServer::start("memory", hook.config(), None);
    let bucket = server.bucket("abc");
    assert!(!server.get("/abc?notification").expect(200).text().contains("Configuration><"));
    let content = queue("<Event>s3:ObjectCreated:*</Event>");
    put_configuration(&server, &bucket, &content).expect(200);
    assert!(server.get("/abc?notification").expect(200).text().contains(&content));
    wait_until("the test event", || {
        hook.bodies
            .lock()
            .unwrap()
            .iter()
            .any(|body| body["Event"] == "s3:TestEvent" && body["Bucket"] == "abc")
    });
    put_configuration(&server, &bucket, "").expect(200);
    assert!(!server.get("/abc?notification").expect(200).text().contains("QueueConfiguration"));
    server.as_lisa().get("/abc?notification").expect_error(403, "AccessDenied");
}

#[test]
fn a_target_must_be_configured_unless_it_is_not_to_be_checked() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        let content = queue("<Event>s3:ObjectCreated:*</Event>");
        put_configuration(server, &bucket, &content).expect_error(400, "InvalidArgument");
        let body = format!("<NotificationConfiguration>{content}</NotificationConfiguration>");
        let skip = [("x-amz-skip-destination-validation", "true")];
        server.send("PUT", "/abc?notification", &skip, body.as_bytes()).expect(200);
        server.put("/abc/k", b"x").expect(200);
        assert_eq!(polled(server, "abc"), [event("ObjectCreated:Put", "k")]);
        put_configuration(server, &bucket, &queue("<Event>s3:Nonsense</Event>"))
            .expect_error(400, "InvalidArgument");
    });
}

#[test]
fn every_kind_of_change_can_be_polled() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        put_configuration(server, &bucket, "<EventBridgeConfiguration/>").expect(200);
        server.put("/abc/a%20b", b"x").expect(200);
        server.send("PUT", "/abc/copy", &[("x-amz-copy-source", "abc/a%20b")], b"").expect(200);
        let id = server.post("/abc/mp?uploads", b"").expect(200).element("UploadId").unwrap();
        let part = server.put(&format!("/abc/mp?partNumber=1&uploadId={id}"), b"part").expect(200);
        let etag = part.header("etag").unwrap();
        let body = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        server.post(&format!("/abc/mp?uploadId={id}"), body.as_bytes()).expect(200);
        let tags = b"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
        server.put("/abc/copy?tagging", tags).expect(200);
        server.delete("/abc/copy?tagging").expect(204);
        server.delete("/abc/copy").expect(204);
        let versioning = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        server.put("/abc?versioning", versioning).expect(200);
        server.delete("/abc/mp").expect(204);
        assert_eq!(
            polled(server, "abc"),
            [
                event("ObjectCreated:Put", "a+b"),
                event("ObjectCreated:Copy", "copy"),
                event("ObjectCreated:CompleteMultipartUpload", "mp"),
                event("ObjectTagging:Put", "copy"),
                event("ObjectTagging:Delete", "copy"),
                event("ObjectRemoved:Delete", "copy"),
                event("ObjectRemoved:DeleteMarkerCreated", "mp"),
            ]
        );
        assert!(polled(server, "other").is_empty());
    });
}

#[test]
fn a_webhook_gets_the_message_of_s3() {
    let hook = Hook::start();
    let server = TestServer::start("memory", hook.config(), None);
    let bucket = server.bucket("abc");
    let filter =
        "<Filter><S3Key><FilterRule><Name>suffix</Name><Value>.jpg</Value></FilterRule></S3Key></Filter>";
    put_configuration(&server, &bucket, &queue(&format!("{EVERYTHING}{filter}"))).expect(200);
    let put = server.put("/abc/a.jpg", b"hello").expect(200);
    server.put("/abc/a.png", b"hello").expect(200);
    server.delete("/abc/a.jpg").expect(204);
    wait_until("two events", || hook.events().len() >= 2);
    let events = hook.events();
    let (created, removed) = (&events[0], &events[1]);
    assert_eq!(
        (&created["eventName"], &created["eventVersion"]),
        (&"ObjectCreated:Put".into(), &"2.1".into())
    );
    assert_eq!((&created["eventSource"], &created["awsRegion"]), (&"aws:s3".into(), &"us-east-1".into()));
    let request_id = put.header("x-amz-request-id").unwrap();
    assert_eq!(created["responseElements"]["x-amz-request-id"], request_id);
    assert_eq!(created["requestParameters"]["sourceIPAddress"], "127.0.0.1");
    let (bucket, object) = (&created["s3"]["bucket"], &created["s3"]["object"]);
    assert_eq!((&bucket["name"], &bucket["arn"]), (&"abc".into(), &"arn:aws:s3:::abc".into()));
    assert_eq!((&object["key"], &object["size"]), (&"a.jpg".into(), &5.into()));
    assert_eq!(object["eTag"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(created["s3"]["configurationId"], "q");
    assert_eq!(removed["eventName"], "ObjectRemoved:Delete");
    let sequencer = |event: &Value| event["s3"]["object"]["sequencer"].as_str().unwrap().to_owned();
    assert!(sequencer(created) < sequencer(removed));
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn events_survive_a_target_that_fails_and_a_restart_and_stay_in_order() {
    let hook = Hook::start();
    hook.status.store(503, Ordering::SeqCst);
    let folder = Folder::new();
    let config = || Config {
        data: Backend::File,
        metadata: Backend::File,
        data_path: folder.0.join("data"),
        metadata_path: folder.0.join("metadata"),
        sync: s3pail::storage::SyncMode::None,
        ..hook.config()
    };
    let server = TestServer::start("file", config(), None);
    let bucket = server.bucket("abc");
    put_configuration(&server, &bucket, &queue(EVERYTHING)).expect(200);
    for number in 0..20 {
        server.put("/abc/k", format!("{number}").as_bytes()).expect(200);
    }
    drop(server);
    assert!(hook.events().is_empty());
    hook.status.store(200, Ordering::SeqCst);
    let server = TestServer::start("file", config(), None);
    wait_until("all events", || hook.events().len() >= 20);
    let etags: Vec<String> = hook
        .events()
        .iter()
        .map(|event| event["s3"]["object"]["eTag"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (0..20)
        .map(|number: u32| s3pail::codec::hex(&s3pail::codec::digest::md5(number.to_string().as_bytes())))
        .collect();
    assert_eq!(etags, expected);
    // A target that comes back while the server runs is found again, too.
    hook.status.store(500, Ordering::SeqCst);
    server.delete("/abc/k").expect(204);
    hook.status.store(200, Ordering::SeqCst);
    wait_until("the removal", || {
        hook.events().last().is_some_and(|event| event["eventName"] == "ObjectRemoved:Delete")
    });
}

#[test]
fn rules_that_expire_and_move_objects_tell_of_it() {
    let hook = Hook::start();
    let config = Config { lifecycle_day_ms: 10, ..hook.config() };
    let server = TestServer::start("memory", config, None);
    let bucket = server.bucket("abc");
    put_configuration(&server, &bucket, &queue(EVERYTHING)).expect(200);
    server.put("/abc/gone", b"x").expect(200);
    server.put("/abc/moved", b"x").expect(200);
    let body = "<LifecycleConfiguration><Rule><Prefix>gone</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule><Rule><Filter><And><Prefix>moved</Prefix><ObjectSizeGreaterThan>0</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule></LifecycleConfiguration>";
    let md5 = s3pail::codec::base64(&s3pail::codec::digest::md5(body.as_bytes()));
    server.send("PUT", "/abc?lifecycle", &[("content-md5", &md5)], body.as_bytes()).expect(200);
    wait_until("both events", || hook.events().len() >= 4);
    let events = hook.events();
    let of = |name: &str| events.iter().find(|event| event["eventName"] == name).expect(name);
    assert_eq!(of("LifecycleExpiration:Delete")["s3"]["object"]["key"], "gone");
    let moved = of("LifecycleTransition");
    let class = &moved["lifecycleEventData"]["transitionEventData"]["destinationStorageClass"];
    assert_eq!((class, &moved["eventVersion"]), (&"GLACIER_IR".into(), &"2.3".into()));
}
