//! Two front ends over one metadata daemon and one store of bodies: what one does the other sees, races
//! across both have one winner, and neither disturbs the other.

use crate::data_daemon::Rig;
use crate::harness::{Client, DEADLINE, Folder, Reply, TestServer, engine_cannot, file_config, wait_until};
use crate::stand_in::metadata::{Line, Metadata};
use s3pail::config::{Backend, Config, Listen, Remote, Role};
use s3pail::log::Log;
use s3pail::model::keys;
use s3pail::server::Server;
use s3pail::storage::Visit;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const ROUNDS: usize = 25;
const RACERS: usize = 16;

/// What the front ends share, and the folders that they do not.
struct Cluster {
    metadata: Metadata,
    bodies: Bodies,
    folders: [Folder; 2],
}

/// Where the bodies of both go.
enum Bodies {
    /// Another S3 store, under reserved names.
    S3(Box<TestServer>),
    /// A data daemon, which makes the names.
    Daemon(Rig),
}

/// Runs a test on both kinds of stores of bodies.
fn on_each(test: impl Fn(&Cluster)) {
    eprintln!("bodies in another S3 store");
    test(&Cluster::start());
    eprintln!("bodies with a data daemon");
    test(&Cluster { bodies: Bodies::Daemon(Rig::new()), ..Cluster::start() });
}

impl Cluster {
    fn start() -> Cluster {
        let bodies = TestServer::memory();
        bodies.bucket("bodies");
        let folders = [Folder::new(), Folder::new()];
        Cluster { metadata: Metadata::start(), bodies: Bodies::S3(Box::new(bodies)), folders }
    }

    /// The configuration of a front end; those with the same folder have the same file of keys.
    fn config(&self, folder: usize) -> Config {
        let config = Config {
            metadata_client: Some(self.metadata.remote()),
            metadata_path: self.folders[folder].0.clone(),
            workers: RACERS,
            ..file_config(&self.folders[folder])
        };
        let remote = match &self.bodies {
            Bodies::S3(remote) => remote,
            Bodies::Daemon(rig) => {
                let data_client = rig.front_end(&self.folders[folder]).data_client;
                return Config { data_client, ..config };
            }
        };
        let details = json!({
            "awsEndpoint": remote.address().to_string(), "https": false, "bucketName": "bodies",
            "credentials": { "accessKey": "accessKey1", "secretKey": "verySecretKey1" },
        });
        let mut config = Config { data: Backend::Multiple, ..config };
        for location in config.locations.values_mut() {
            location.kind = "aws_s3".to_owned();
            location.details = details.as_object().unwrap().clone();
        }
        config
    }

    fn front_end(&self) -> TestServer {
        TestServer::start("front end", self.config(0), None)
    }

    fn two(&self) -> [TestServer; 2] {
        [self.front_end(), self.front_end()]
    }

    /// The keys of records in a family.
    fn records(&self, family: &str) -> Vec<String> {
        let (start, end) = (format!("{family}/"), format!("{family}0"));
        let mut found = Vec::new();
        self.metadata
            .store
            .scan(start.as_bytes()..end.as_bytes(), &mut |key, _| {
                found.push(String::from_utf8_lossy(key).into_owned());
                Visit::Next
            })
            .unwrap();
        found
    }
}

/// Sends the same kind of request from many threads, to both front ends alternately, and counts statuses.
fn race(fronts: &[TestServer; 2], send: impl Fn(usize, &TestServer) -> Reply + Sync) -> Vec<Reply> {
    let barrier = std::sync::Barrier::new(RACERS);
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (barrier, send, front) = (&barrier, &send, &fronts[racer % 2]);
                scope.spawn(move || {
                    barrier.wait();
                    send(racer, front)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

fn won(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.status == 200).count()
}

#[test]
fn what_is_put_on_one_is_read_listed_and_deleted_on_the_other() {
    on_each(|cluster| {
        let [a, b] = cluster.two();
        a.bucket("abc");
        for (size, key) in [(0, "empty"), (5, "small"), (300_000, "large")] {
            let body = vec![7; size];
            let target = format!("/abc/{key}");
            let etag = a.put(&target, &body).expect(200).header("etag").unwrap().to_owned();
            let read = b.get(&target).expect(200);
            assert_eq!((read.body, read.headers.iter().any(|(_, value)| *value == etag)), (body, true));
        }
        assert_eq!(b.get("/abc?list-type=2").elements("Key"), ["empty", "large", "small"]);
        assert_eq!(b.get("/abc?list-type=2&delimiter=l&prefix=s").elements("Prefix"), ["s", "smal"]);
        assert_eq!(b.get("/").elements("Name"), ["abc"]);
        for key in ["empty", "small", "large"] {
            b.delete(&format!("/abc/{key}")).expect(204);
            a.get(&format!("/abc/{key}")).expect_error(404, "NoSuchKey");
        }
        b.delete("/abc").expect(204);
        a.get("/abc").expect_error(404, "NoSuchBucket");
        a.put("/abc/k", b"body").expect_error(404, "NoSuchBucket");
        // The bodies of what was deleted on one are gone as well.
        wait_until("the bodies are deleted", || match &cluster.bodies {
            Bodies::S3(remote) => remote.get("/bodies?list-type=2").elements("Key").is_empty(),
            Bodies::Daemon(rig) => rig.bodies() == 0,
        });
        wait_until("and so are their records", || cluster.records("g").is_empty());
    });
}

#[test]
fn a_changed_bucket_is_seen_by_the_other_at_once() {
    let cluster = Cluster::start();
    let [a, b] = cluster.two();
    a.bucket("abc");
    a.put("/abc/k", b"body").expect(200);
    for round in 0..10 {
        b.anonymous().get("/abc/k").expect_error(403, "AccessDenied");
        let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Principal": "*",
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::abc/*" }] });
        a.put("/abc?policy", policy.to_string().as_bytes()).expect(204);
        b.anonymous().get("/abc/k").expect(200);
        a.delete("/abc?policy").expect(204);
        let status = if round % 2 == 0 { "Enabled" } else { "Suspended" };
        let versioning =
            format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        a.put("/abc?versioning", versioning.as_bytes()).expect(200);
        assert_eq!(b.get("/abc?versioning").element("Status").as_deref(), Some(status));
        let id = b.put("/abc/v", b"body").expect(200).header("x-amz-version-id").map(str::to_owned);
        assert_eq!(id.is_some_and(|id| id != "null"), status == "Enabled");
    }
}

#[test]
fn of_many_creations_across_both_exactly_one_wins() {
    on_each(|cluster| {
        let fronts = cluster.two();
        fronts[0].bucket("abc");
        for round in 0..ROUNDS {
            let target = format!("/abc/k{round}");
            let replies = race(&fronts, |racer, front| {
                front.send("PUT", &target, &[("if-none-match", "*")], racer.to_string().as_bytes())
            });
            assert_eq!(won(&replies), 1, "round {round}: {replies:?}");
            let winner = replies.iter().position(|reply| reply.status == 200).unwrap();
            for front in &fronts {
                assert_eq!(front.get(&target).expect(200).text(), winner.to_string());
            }
            let others = replies.iter().filter(|reply| reply.status != 200);
            others.for_each(|reply| assert!([409, 412].contains(&reply.status), "{reply:?}"));
        }
    });
}

#[test]
fn of_many_updates_of_one_etag_across_both_exactly_one_wins() {
    on_each(|cluster| {
        let fronts = cluster.two();
        fronts[0].bucket("abc");
        let mut etag = fronts[0].put("/abc/k", b"first").expect(200).header("etag").unwrap().to_owned();
        for round in 0..ROUNDS {
            let replies = race(&fronts, |racer, front| {
                let body = format!("{round} {racer}");
                front.send("PUT", "/abc/k", &[("if-match", &etag)], body.as_bytes())
            });
            assert_eq!(won(&replies), 1, "round {round}: {replies:?}");
            let winner = replies.iter().find(|reply| reply.status == 200).unwrap();
            etag = winner.header("etag").unwrap().to_owned();
            for front in &fronts {
                assert_eq!(front.head("/abc/k").expect(200).header("etag"), Some(etag.as_str()));
            }
        }
    });
}

#[test]
fn a_bucket_that_two_accounts_create_on_both_is_one_accounts() {
    let cluster = Cluster::start();
    let fronts = cluster.two();
    for round in 0..ROUNDS {
        let target = format!("/bucket-{round}");
        let replies = race(&fronts, |racer, front| match racer % 2 {
            0 => front.put(&target, b""),
            _ => front.as_lisa().put(&target, b""),
        });
        // The owner may create it again here, as in us-east-1.
        let owners: Vec<usize> = (0..RACERS).filter(|racer| replies[*racer].status == 200).collect();
        assert!(!owners.is_empty() && owners.iter().all(|owner| owner % 2 == owners[0] % 2), "{replies:?}");
        let refused = replies.iter().filter(|reply| reply.status != 200);
        refused.for_each(|reply| assert_eq!(reply.element("Code").as_deref(), Some("BucketAlreadyExists")));
    }
}

#[test]
fn a_bucket_is_never_deleted_under_an_object_that_the_other_puts() {
    on_each(|cluster| {
        let [a, b] = cluster.two();
        for round in 0..ROUNDS {
            a.bucket("abc");
            let (put, deleted) = std::thread::scope(|scope| {
                let put = scope.spawn(|| a.put("/abc/k", b"body"));
                let deleted = scope.spawn(|| b.delete("/abc"));
                (put.join().unwrap(), deleted.join().unwrap())
            });
            match (put.status, deleted.status) {
                (200, 409) => {
                    b.get("/abc/k").expect(200);
                    b.delete("/abc/k").expect(204);
                    a.delete("/abc").expect(204);
                }
                (404, 204) => {}
                other => panic!("round {round}: {other:?}"),
            }
            assert_eq!(cluster.records("o"), [] as [&str; 0]);
        }
    });
}

#[test]
fn parts_that_were_sent_to_one_are_completed_on_the_other() {
    on_each(|cluster| {
        let [a, b] = cluster.two();
        a.bucket("abc");
        let id = a.post("/abc/k?uploads", b"").expect(200).element("UploadId").unwrap();
        let bodies = [vec![1; 5 * 1024 * 1024], vec![2; 1000]];
        let mut parts = String::new();
        for (front, (number, body)) in [&a, &b].iter().zip(bodies.iter().enumerate()) {
            let number = number + 1;
            let reply = front.put(&format!("/abc/k?partNumber={number}&uploadId={id}"), body).expect(200);
            let etag = reply.header("etag").unwrap();
            parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        assert_eq!(b.get(&format!("/abc/k?uploadId={id}")).elements("PartNumber"), ["1", "2"]);
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        b.post(&format!("/abc/k?uploadId={id}"), body.as_bytes()).expect(200).element("ETag").unwrap();
        assert_eq!(a.get("/abc/k").expect(200).body, bodies.concat());
        assert_eq!(cluster.records("p"), [] as [&str; 0]);
        assert_eq!(cluster.records("g"), [] as [&str; 0]);
    });
}

#[test]
fn versions_that_are_put_on_both_are_listed_in_the_order_of_their_writes() {
    let cluster = Cluster::start();
    let fronts = cluster.two();
    fronts[0].bucket("abc");
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    fronts[0].put("/abc?versioning", enabled.as_bytes()).expect(200);
    // One of them has a clock that is ten minutes slow.
    let slow = &fronts[1].service().clock;
    slow.set(slow.now() - 600_000);
    let mut written: Vec<String> = Vec::new();
    for number in 0..20 {
        let front = &fronts[number % 2];
        written.insert(0, front.put("/abc/k", number.to_string().as_bytes()).expect(200).version());
    }
    for front in &fronts {
        assert_eq!(front.get("/abc?versions").elements("VersionId"), written);
        assert_eq!(front.get("/abc/k").text(), "19");
    }
    let ids: Vec<String> =
        race(&fronts, |racer, front| front.put("/abc/k", racer.to_string().as_bytes()).expect(200))
            .iter()
            .map(Reply::version)
            .collect();
    let mut listed = fronts[0].get("/abc?versions").elements("VersionId");
    listed.truncate(RACERS);
    assert!(ids.iter().all(|id| listed.contains(id)), "{ids:?} {listed:?}");
}

#[test]
fn a_front_end_that_starts_leaves_the_uploads_of_another_alone() {
    let cluster = Cluster::start();
    let a = cluster.front_end();
    let address = a.address();
    a.bucket("abc");
    // Anybody may write, so that the request needs no signature over its body.
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Principal": "*",
        "Action": "s3:PutObject", "Resource": "arn:aws:s3:::abc/*" }] });
    a.put("/abc?policy", policy.to_string().as_bytes()).expect(204);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let body = vec![b'x'; 200_000];
    let head = format!("PUT /abc/k HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..150_000]).unwrap();
    wait_until("the body is reserved", || !cluster.records("g").is_empty());
    let b = cluster.front_end();
    // Its housekeeping has gone over the list: what is put on it after a start is seen after the list.
    b.put("/abc/other", b"body").expect(200);
    b.delete("/abc/other").expect(204);
    drop(b);
    assert_eq!(cluster.records("g").len(), 1);
    stream.write_all(&body[150_000..]).unwrap();
    Reply::read(&mut BufReader::new(stream), false).expect(200);
    // Its owner is nobody, so that the bucket's owner only gets to list it.
    assert_eq!(a.get("/abc?list-type=2").elements("Size"), [body.len().to_string()]);
    assert_eq!(cluster.records("g"), [] as [&str; 0]);
}

#[test]
fn without_their_daemon_front_ends_say_503_and_work_again_when_it_is_back() {
    if engine_cannot("a stopped server ends its connections") {
        return;
    }
    let cluster = Cluster::start();
    let fronts = cluster.two();
    fronts[0].bucket("abc");
    fronts[1].put("/abc/k", b"body").expect(200);
    cluster.metadata.stop();
    for front in &fronts {
        front.get("/abc/k").expect_error(503, "ServiceUnavailable");
        front.put("/abc/k", b"new").expect_error(503, "ServiceUnavailable");
        front.get("/abc").expect_error(503, "ServiceUnavailable");
        front.anonymous().get("/ready").expect(503);
    }
    cluster.metadata.start_again();
    for front in &fronts {
        assert_eq!(front.get("/abc/k").expect(200).text(), "body");
        front.put("/abc/k2", b"new").expect(200);
        front.anonymous().get("/ready").expect(200);
    }
}

#[test]
fn a_body_whose_commit_is_in_doubt_is_kept() {
    let folder = Folder::new();
    let cluster = Cluster::start();
    let local = Config { data: Backend::File, data_path: folder.0.clone(), ..cluster.config(0) };
    check_doubt(&cluster, local);
    let cluster = Cluster { bodies: Bodies::Daemon(Rig::new()), ..Cluster::start() };
    check_doubt(&cluster, cluster.config(0));
}

fn check_doubt(cluster: &Cluster, config: Config) {
    let line = Line::to(cluster.metadata.address);
    let remote = Remote { host: line.address.ip().to_string(), port: line.address.port() };
    let front = TestServer::start("front end", Config { metadata_client: Some(remote), ..config }, None);
    front.bucket("abc");
    let body = vec![7; 100_000];
    line.lose.store(usize::MAX, Ordering::SeqCst);
    front.put("/abc/k", &body).expect_error(503, "ServiceUnavailable");
    line.lose.store(0, Ordering::SeqCst);
    assert_eq!(front.get("/abc/k").expect(200).body, body);
}

#[test]
fn a_front_end_with_daemons_beside_it_shares_with_one_that_has_none() {
    let [one, other] = [Folder::new(), Folder::new()];
    let listen = || {
        let addresses = vec!["127.0.0.1:0".parse().unwrap()];
        Some(Listen { addresses, origin: "test".to_owned() })
    };
    let config = Config { metadata_daemon: listen(), data_daemon: listen(), ..file_config(&one) };
    let a = Server::start(config, Arc::new(Log::off())).unwrap();
    let client = |role| {
        let daemon = a.daemons().iter().find(|daemon| daemon.role() == role).unwrap();
        let address = daemon.addresses()[0];
        Some(Remote { host: address.ip().to_string(), port: address.port() })
    };
    let config = Config {
        metadata_client: client(Role::Metadata),
        data_client: client(Role::Data),
        ..file_config(&other)
    };
    let b = TestServer::start("front end", config, None);
    let front = Client::new(a.addresses()[0], Some(("accessKey1", "verySecretKey1")));
    front.put("/abc", b"").expect(200);
    let body = vec![7; 300_000];
    front.put("/abc/a", &body).expect(200);
    b.put("/abc/b", &body).expect(200);
    assert_eq!(b.get("/abc/a").expect(200).body, body);
    assert_eq!(front.get("/abc/b").expect(200).body, body);
    front.delete("/abc/b").expect(204);
    b.delete("/abc/a").expect(204);
    b.delete("/abc").expect(204);
    front.get("/abc").expect_error(404, "NoSuchBucket");
    drop(b);
    a.stop(DEADLINE).unwrap();
}

#[test]
fn each_event_is_sent_once_whichever_front_end_it_was_on() {
    let cluster = Cluster::start();
    let (url, bodies) = webhook();
    let start = || {
        let notification_destinations = vec![("events".to_owned(), url.clone())];
        TestServer::start("front end", Config { notification_destinations, ..cluster.config(0) }, None)
    };
    let fronts = [start(), start()];
    fronts[0].bucket("abc");
    let arn = "arn:aws:sqs:us-east-1:123456789012:events";
    let configuration = format!(
        "<NotificationConfiguration><QueueConfiguration><Id>q</Id><Queue>{arn}</Queue>\
         <Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event></QueueConfiguration>\
         </NotificationConfiguration>"
    );
    fronts[0].put("/abc?notification", configuration.as_bytes()).expect(200);
    let mut expected = Vec::new();
    for number in 0..20 {
        let (one, other) = (&fronts[number % 2], &fronts[(number + 1) % 2]);
        one.put("/abc/k", number.to_string().as_bytes()).expect(200);
        other.delete("/abc/k").expect(204);
        expected.extend(["ObjectCreated:Put", "ObjectRemoved:Delete"]);
    }
    wait_until("all events are sent", || cluster.records("n").is_empty());
    let bodies = bodies.lock().unwrap();
    let names = bodies.iter().filter_map(|body| body["Records"][0]["eventName"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), expected);
}

/// The URL of a webhook and what has come to it.
fn webhook() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
    let got = bodies.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let got = got.clone();
            std::thread::spawn(move || take_events(stream, &got));
        }
    });
    (url, bodies)
}

fn take_events(stream: TcpStream, got: &Mutex<Vec<Value>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        got.lock().unwrap().push(serde_json::from_slice(&body).ok()?);
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

const ENCRYPTED: [(&str, &str); 1] = [("x-amz-server-side-encryption", "AES256")];

#[test]
fn front_ends_with_one_file_of_keys_read_what_the_other_encrypted() {
    let cluster = Cluster::start();
    let [a, b] = cluster.two();
    a.bucket("abc");
    a.send("PUT", "/abc/sse", &ENCRYPTED, b"secret").expect(200);
    assert_eq!(b.get("/abc/sse").expect(200).text(), "secret");
    let named = [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "mine"),
    ];
    b.send("PUT", "/abc/kms", &named, b"secret").expect(200);
    assert_eq!(a.get("/abc/kms").expect(200).text(), "secret");
    a.send("PUT", "/abc/kms", &named, b"again").expect(200);
    assert_eq!(b.get("/abc/kms").expect(200).text(), "again");
}

#[test]
fn front_ends_with_different_keys_are_told_so() {
    let cluster = Cluster::start();
    let a = cluster.front_end();
    let b = TestServer::start("front end", cluster.config(1), None);
    a.bucket("abc");
    a.send("PUT", "/abc/k", &ENCRYPTED, b"secret").expect(200);
    // It would make a key of its own, under which the first could not read.
    b.send("PUT", "/abc/k", &ENCRYPTED, b"other").expect_error(500, "InternalError");
    assert_eq!(a.get("/abc/k").expect(200).text(), "secret");
    drop(b);
    let error = Server::start(cluster.config(1), Arc::new(Log::off())).err().unwrap();
    assert!(error.contains("keys.json") && error.contains("other front ends"), "{error}");
    let name = "keys.json";
    std::fs::copy(cluster.folders[0].0.join(name), cluster.folders[1].0.join(name)).unwrap();
    let b = TestServer::start("front end", cluster.config(1), None);
    assert_eq!(b.get("/abc/k").expect(200).text(), "secret");
}

#[test]
fn front_ends_with_folders_of_bodies_of_their_own_are_refused() {
    let cluster = Cluster::start();
    let [one, other] = [Folder::new(), Folder::new()];
    let config =
        |folder: &Folder| Config { data: Backend::File, data_path: folder.0.clone(), ..cluster.config(0) };
    let a = TestServer::start("front end", config(&one), None);
    let error = Server::start(config(&other), Arc::new(Log::off())).err().unwrap();
    assert!(error.contains("must share a data daemon"), "{error}");
    drop(a);
    drop(TestServer::start("front end", config(&one), None));
}

#[test]
fn what_leases_and_keys_leave_in_the_records_is_little() {
    let cluster = Cluster::start();
    let fronts = cluster.two();
    fronts[0].bucket("abc");
    fronts[0].send("PUT", "/abc/k", &ENCRYPTED, b"secret").expect(200);
    drop(fronts);
    let left = cluster.records("s");
    let is_known = |key: &String| key.as_bytes().starts_with(&keys::key_claim(""));
    assert!(left.len() == 2 && left.iter().all(is_known), "{left:?}");
}
