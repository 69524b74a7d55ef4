//! Races: requests that can only be decided at the moment of the commit, sent at the same time.
//!
//! `S3PAIL_RACES` is how many conditional writes race on each backend (300 without it); the races of uploads
//! and buckets are a tenth of that.

use super::harness::{Client, Folder, Reply, TestServer, file_config, for_each_backend};
use s3pail::codec::digest::md5;
use s3pail::codec::hex;
use s3pail::config::Config;
use s3pail::housekeeping;
use s3pail::storage::sweep::Swept;
use s3pail::stores::Stores;
use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

const RACES: usize = 300;
const RACERS: usize = 4;

/// Method, target, fields, body.
type Request<'r> = (&'r str, &'r str, &'r [(&'r str, &'r str)], &'r [u8]);

fn races() -> usize {
    std::env::var("S3PAIL_RACES").map_or(RACES, |text| text.parse().expect("a number"))
}

fn client(server: &TestServer) -> Client {
    Client::new(server.address(), Some(("accessKey1", "verySecretKey1")))
}

/// Sends all requests as close to each other as threads go.
fn race(server: &TestServer, requests: &[Request<'_>]) -> Vec<Reply> {
    let start = Barrier::new(requests.len());
    std::thread::scope(|scope| {
        let send = |(method, target, fields, body): &Request<'_>| {
            let client = client(server);
            start.wait();
            client.send(method, target, fields, body)
        };
        let threads: Vec<_> =
            requests.iter().map(|request| scope.spawn(move || send(request))).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// CC-02: exactly one writer finds the key absent.
#[test]
fn one_of_many_conditional_writes_wins() {
    for_each_backend(|server| {
        server.bucket("abc");
        for round in 0..races() {
            let target = format!("/abc/{}", round % 50);
            // Small bodies are records, large ones files.
            let length = if round % 10 == 0 { 20_000 } else { 100 };
            let bodies: Vec<Vec<u8>> = (0..RACERS).map(|racer| vec![racer as u8; length]).collect();
            let absent: &[(&str, &str)] = &[("if-none-match", "*")];
            let requests: Vec<_> =
                bodies.iter().map(|body| ("PUT", target.as_str(), absent, body.as_slice())).collect();
            let replies = race(server, &requests);
            let won: Vec<usize> = (0..RACERS).filter(|racer| replies[*racer].status == 200).collect();
            assert_eq!(
                won.len(),
                1,
                "race {round}: {:?}",
                replies.iter().map(|it| it.status).collect::<Vec<_>>()
            );
            assert!(replies.iter().all(|it| [200, 409, 412].contains(&it.status)), "race {round}");
            assert_eq!(server.get(&target).expect(200).body, bodies[won[0]], "race {round}");
            server.delete(&target).expect(204);
        }
    });
}

/// CC-04, DL-03 to DL-05: whatever wins, an object that was answered is whole, and no upload stays half.
#[test]
fn completes_an_abort_and_a_part_agree_on_one_outcome() {
    for_each_backend(|server| {
        server.bucket("abc");
        for round in 0..races().div_ceil(10) {
            let key = format!("/abc/{round}");
            let id = server.post(&format!("{key}?uploads"), b"").expect(200).element("UploadId").unwrap();
            let (part_target, target) =
                (format!("{key}?partNumber=1&uploadId={id}"), format!("{key}?uploadId={id}"));
            let (body, other) = (vec![1; 20_000], vec![2; 20_000]);
            let etag = server.put(&part_target, &body).expect(200).header("etag").unwrap().to_owned();
            let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
            let list = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
            let complete: Request<'_> = ("POST", &target, &[], list.as_bytes());
            let mut requests = vec![complete, complete];
            if round % 2 == 0 {
                requests.push(("DELETE", &target, &[], b""));
            }
            if round % 3 == 0 {
                requests.push(("PUT", &part_target, &[], &other));
            }
            let replies = race(server, &requests);
            let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
            // Where a store puts the parts together itself, it takes none while it does.
            let may_be = |(status, request): (&u16, &Request<'_>)| {
                [200, 204, 400, 404].contains(status) || (*status, request.0) == (409, "PUT")
            };
            assert!(statuses.iter().zip(&requests).all(may_be), "race {round}: {statuses:?}");
            let completed = statuses[..2].contains(&200);
            let shown = server.get(&key);
            assert_eq!(shown.status, if completed { 200 } else { 404 }, "race {round}: {statuses:?}");
            assert!(!completed || shown.body == body, "race {round}: another body");
            assert_eq!(server.get("/abc").elements("Key").contains(&round.to_string()), completed);
            let aborted = server.delete(&target).status;
            assert!([204, 404].contains(&aborted), "race {round}: {aborted}");
            assert!(server.get("/abc?uploads").elements("UploadId").is_empty(), "race {round}");
        }
    });
}

/// CC-05: a write that was acknowledged is never lost with its bucket.
#[test]
fn a_bucket_is_not_deleted_around_a_write() {
    for_each_backend(|server| {
        for round in 0..races().div_ceil(10) {
            server.bucket("fleeting");
            let body = vec![3; if round % 2 == 0 { 10 } else { 20_000 }];
            let replies =
                race(server, &[("PUT", "/fleeting/k", &[], &body), ("DELETE", "/fleeting", &[], b"")]);
            match (replies[0].status, replies[1].status) {
                (200, 409) => {
                    assert_eq!(server.get("/fleeting/k").expect(200).body, body);
                    server.delete("/fleeting/k").expect(204);
                    server.delete("/fleeting").expect(204);
                }
                (404, 204) => _ = server.get("/fleeting/k").expect(404),
                other => panic!("race {round}: {other:?}"),
            }
        }
    });
}

/// BI-232, CC-06: a hundred creations of one bucket make one bucket of one owner.
#[test]
fn a_hundred_creations_of_a_bucket_have_one_winner() {
    for_each_backend(|server| {
        for round in 0..races().div_ceil(100) {
            let name = format!("wanted-{round}");
            let target = format!("/{name}");
            let start = Barrier::new(100);
            let statuses: Vec<(bool, u16)> = std::thread::scope(|scope| {
                let create = |racer: u32| {
                    let bart = racer.is_multiple_of(2);
                    let client = if bart { client(server) } else { server.as_lisa() };
                    start.wait();
                    (bart, client.put(&target, b"").status)
                };
                let threads: Vec<_> = (0..100).map(|racer| scope.spawn(move || create(racer))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let owned_by_bart = server.head(&target).status == 200;
            assert!(owned_by_bart != (server.as_lisa().head(&target).status == 200), "round {round}");
            // Creating one's own bucket again is 200 in us-east-1; everybody else is told of the owner.
            for (bart, status) in statuses {
                assert_eq!(status, if bart == owned_by_bart { 200 } else { 409 }, "round {round}");
            }
            let buckets = [server.get("/"), server.as_lisa().get("/")].map(|reply| reply.elements("Name"));
            let named = buckets.iter().flatten().filter(|found| **found == name).count();
            assert_eq!(named, 1, "round {round}");
            let owner = if owned_by_bart { client(server) } else { server.as_lisa() };
            owner.delete(&target).expect(204);
        }
    });
}

/// The store that the races leave is sound: no body is lost, doubled or left over.
#[test]
fn races_leave_a_sound_store() {
    let server = TestServer::file();
    server.bucket("abc");
    for round in 0..races().div_ceil(10) {
        let (one, two) = (vec![1; 20_000 + round], vec![2; 20_000 + round]);
        let requests: [Request<'_>; 4] = [
            ("PUT", "/abc/k", &[], &one),
            ("PUT", "/abc/k", &[], &two),
            ("DELETE", "/abc/k", &[], b""),
            ("PUT", "/abc/copy", &[("x-amz-copy-source", "/abc/k")], b""),
        ];
        let replies = race(&server, &requests);
        assert!(replies.iter().all(|it| [200, 204, 404].contains(&it.status)), "race {round}");
    }
    let folder = server.stop();
    let config = Config { ..super::harness::file_config(&folder) };
    let report = s3pail::check::check(&config, false).unwrap();
    assert!(!report.damaged(), "{}", report.to_text());
}

/// What a client did to the one key, and what it was told.
#[derive(Clone, Debug)]
enum Did {
    /// A PUT of a value that nobody else puts.
    Put(u8),
    /// The same with `If-None-Match: *`: whether the key was absent.
    PutIfAbsent(u8, bool),
    /// The same with `If-Match` of an earlier value: whether the key had that.
    PutIfSame(u8, u8, bool),
    Delete,
    Get(Option<u8>),
}

/// Something done between two moments.
#[derive(Clone, Debug)]
struct Event {
    begun: Instant,
    ended: Instant,
    did: Did,
}

/// What the key is after something that was done to it, if the answer fits what it was.
fn after(value: Option<u8>, did: &Did) -> Option<Option<u8>> {
    match *did {
        Did::Put(new) => Some(Some(new)),
        Did::PutIfAbsent(new, true) => value.is_none().then_some(Some(new)),
        Did::PutIfAbsent(_, false) => value.is_some().then_some(value),
        Did::PutIfSame(new, old, true) => (value == Some(old)).then_some(Some(new)),
        Did::PutIfSame(_, old, false) => (value != Some(old)).then_some(value),
        Did::Delete => Some(None),
        Did::Get(seen) => (seen == value).then_some(value),
    }
}

/// Whether some order explains all answers in which nothing comes before what had ended when it began.
fn is_linearisable(history: &[Event]) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![(0_u64, None)];
    let all = (1_u64 << history.len()) - 1;
    while let Some((done, value)) = open.pop() {
        if done == all {
            return true;
        }
        if !seen.insert((done, value)) {
            continue;
        }
        let left = |at: &usize| done & 1 << at == 0;
        let earliest_end = (0..history.len()).filter(left).map(|at| history[at].ended).min();
        for at in (0..history.len()).filter(left) {
            if Some(history[at].begun) > earliest_end {
                continue;
            }
            open.extend(after(value, &history[at].did).map(|next| (done | 1 << at, next)));
        }
    }
    false
}

const CLIENTS: u8 = 4;
const STEPS: u8 = 5;

/// One client's part of a history; every value is put once.
fn act(client: &Client, number: u8, seed: usize) -> Vec<Event> {
    let mut events = Vec::new();
    let mut last = None;
    for step in 0..STEPS {
        let value = number * STEPS + step;
        let body = value_body(value, seed);
        let begun = Instant::now();
        let did = match (seed / 3 + usize::from(number * 3 + step)) % 6 {
            0 => {
                client.put("/abc/one", &body).expect(200);
                last = Some(value);
                Did::Put(value)
            }
            1 => {
                let reply = client.send("PUT", "/abc/one", &[("if-none-match", "*")], &body);
                match reply.status {
                    200 => last = Some(value),
                    412 => {}
                    // Somebody else was faster, which says nothing about now.
                    status => assert_eq!(status, 409),
                }
                if reply.status == 409 {
                    continue;
                }
                Did::PutIfAbsent(value, reply.status == 200)
            }
            2 if last.is_some() => {
                let old = last.unwrap();
                let etag = format!("\"{}\"", hex(&md5(&value_body(old, seed))));
                let reply = client.send("PUT", "/abc/one", &[("if-match", &etag)], &body);
                match reply.status {
                    200 => last = Some(value),
                    404 | 412 => {}
                    status => assert_eq!(status, 409),
                }
                if reply.status == 409 {
                    continue;
                }
                Did::PutIfSame(value, old, reply.status == 200)
            }
            3 => {
                client.delete("/abc/one").expect(204);
                Did::Delete
            }
            _ => {
                let reply = client.get("/abc/one");
                let seen = (reply.status == 200).then(|| reply.body[0]);
                assert!(seen.is_some() || reply.status == 404, "{}", reply.status);
                assert!(
                    reply.status == 404 || reply.body.iter().all(|byte| Some(*byte) == seen),
                    "a mixture"
                );
                Did::Get(seen)
            }
        };
        events.push(Event { begun, ended: Instant::now(), did });
    }
    events
}

/// The body that stands for a value: a record or a file.
fn value_body(value: u8, seed: usize) -> Vec<u8> {
    let is_file = (seed + usize::from(value % STEPS)).is_multiple_of(7);
    vec![value; if is_file { 20_000 } else { 50 }]
}

/// CC-01: what clients are told of one key has an order that explains it.
#[test]
fn the_history_of_a_key_is_linearisable() {
    for_each_backend(|server| {
        server.bucket("abc");
        for round in 0..races().div_ceil(5) {
            server.delete("/abc/one").expect(204);
            let start = Barrier::new(usize::from(CLIENTS));
            let history: Vec<Event> = std::thread::scope(|scope| {
                let run = |number: u8| {
                    let (client, start) = (client(server), &start);
                    scope.spawn(move || {
                        start.wait();
                        act(&client, number, round)
                    })
                };
                let threads: Vec<_> = (0..CLIENTS).map(run).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            assert!(is_linearisable(&history), "round {round}: {history:#?}");
        }
    });
}

#[test]
fn a_history_without_an_order_is_told_from_one_that_has_one() {
    let begun = Instant::now();
    let at = |from: u64, to: u64, did: Did| {
        let time = |ms: u64| begun + std::time::Duration::from_millis(ms);
        Event { begun: time(from), ended: time(to), did }
    };
    let put = at(0, 10, Did::Put(1));
    assert!(is_linearisable(&[put.clone(), at(5, 15, Did::Get(None)), at(20, 30, Did::Get(Some(1)))]));
    // A read after the write has ended does not see it.
    assert!(!is_linearisable(&[put.clone(), at(11, 15, Did::Get(None))]));
    // One reader sees it and a later one does not.
    let (first, second) = (at(1, 2, Did::Get(Some(1))), at(3, 4, Did::Get(None)));
    assert!(!is_linearisable(&[put.clone(), first, second]));
    // Both find the key absent.
    let absent = |from, value| at(from, from + 9, Did::PutIfAbsent(value, true));
    assert!(!is_linearisable(&[absent(0, 1), absent(1, 2)]));
    assert!(is_linearisable(&[absent(0, 1), at(1, 9, Did::Delete), absent(2, 2)]));
}

/// CC-03: who reads while a key is overwritten gets one version whole.
#[test]
fn readers_of_a_key_that_is_overwritten_get_one_version_whole() {
    for_each_backend(|server| {
        server.bucket("abc");
        let body = |version: usize| vec![version as u8; 3_000_000 + version];
        server.put("/abc/k", &body(0)).expect(200);
        let over = AtomicBool::new(false);
        let read = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let client = client(server);
                let (over, read) = (&over, &read);
                scope.spawn(move || {
                    while !over.load(Ordering::Acquire) {
                        let found = client.get("/abc/k").expect(200).body;
                        let version = found.len() - 3_000_000;
                        assert!(found.iter().all(|byte| *byte == version as u8), "a mixture of versions");
                        read.fetch_add(1, Ordering::AcqRel);
                    }
                });
            }
            let writing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for version in 1..races().div_ceil(15).min(200) {
                    server.put("/abc/k", &body(version)).expect(200);
                }
                super::harness::wait_until("every reader has had a turn", || {
                    read.load(Ordering::Acquire) >= 8
                });
            }));
            over.store(true, Ordering::Release);
            writing.unwrap();
        });
    });
}

/// CC-07: what no record names is removed again and again, and the scrub walks, while records of bodies of an
/// earlier run move from place to place.
#[test]
fn a_sweep_without_end_removes_nothing_that_is_named() {
    let folder = Folder::new();
    let config = Config { part_bytes_min: 0, scrub_rate: 1 << 40, ..file_config(&folder) };
    let server = TestServer::start("file", config.clone(), Some(folder));
    server.bucket("abc");
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put("/abc?versioning", enabled).expect(200);
    let body = |key: usize| vec![key as u8; 20_000 + key];
    let mut uploads = Vec::new();
    const KEYS: usize = 20;
    for key in 0..KEYS {
        server.put(&format!("/abc/{key}"), &body(key)).expect(200);
        let target = format!("/abc/upload{key}");
        let id = server.post(&format!("{target}?uploads"), b"").expect(200).element("UploadId").unwrap();
        let part = server.put(&format!("{target}?partNumber=1&uploadId={id}"), &body(key)).expect(200);
        uploads.push((format!("{target}?uploadId={id}"), part.header("etag").unwrap().to_owned()));
    }
    super::harness::wait_until("the bodies and the records are a pair", || {
        server.service().meta.get(s3pail::model::keys::PAIRED_BODY).unwrap().is_some()
    });
    let folder = server.stop();

    let stores = Stores::open(&config).unwrap();
    let (meta, blobs) = (stores.meta.clone(), stores.folder().unwrap().own().clone());
    let server = TestServer::on_stores(config, folder, stores);
    let stop = AtomicBool::new(false);
    let swept = std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            let mut total = Swept::default();
            while !stop.load(Ordering::Acquire) {
                let Swept { seen, removed } =
                    housekeeping::sweep(meta.as_ref(), &blobs, &AtomicBool::new(false)).unwrap();
                total = Swept { seen: total.seen + seen, removed: total.removed + removed };
                server.service().scrub.wake();
            }
            total
        });
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (key, (upload, etag)) in uploads.iter().enumerate() {
                let path = format!("/abc/{key}");
                // From newest to older and back, twice.
                for _ in 0..2 {
                    let newer = server.put(&path, b"newer").expect(200).version();
                    server.delete(&format!("{path}?versionId={newer}")).expect(204);
                    let marker = server.delete(&path).expect(204).version();
                    server.delete(&format!("{path}?versionId={marker}")).expect(204);
                }
                let part = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
                let list = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
                server.post(upload, list.as_bytes()).expect(200);
            }
        }));
        stop.store(true, Ordering::Release);
        moved.unwrap();
        sweeper.join().unwrap()
    });
    assert!(swept.seen > KEYS as u64 && swept.removed == 0, "{swept:?}");
    for key in 0..KEYS {
        assert_eq!(server.get(&format!("/abc/{key}")).expect(200).body, body(key));
        assert_eq!(server.get(&format!("/abc/upload{key}")).expect(200).body, body(key));
    }
    assert_eq!(server.service().metrics.scrub.findings(s3pail::scrub::Finding::Missing), 0);
}

/// DL-11: names that are folders to a file system are keys like others, whoever writes and removes them.
#[test]
fn writers_of_keys_that_contain_one_another_do_not_meet() {
    for_each_backend(|server| {
        server.bucket("abc");
        let keys = ["a", "a/b", "a/b/c", "a/"];
        std::thread::scope(|scope| {
            for (number, key) in keys.iter().enumerate() {
                let client = client(server);
                scope.spawn(move || {
                    let target = format!("/abc/{key}");
                    for round in 0..races().div_ceil(10) {
                        let body = vec![number as u8; if round % 3 == 0 { 20_000 } else { 10 }];
                        client.put(&target, &body).expect(200);
                        assert_eq!(client.get(&target).expect(200).body, body);
                        client.delete(&target).expect(204);
                        client.get(&target).expect(404);
                    }
                    client.put(&target, key.as_bytes()).expect(200);
                });
            }
        });
        assert_eq!(server.get("/abc").expect(200).elements("Key"), ["a", "a/", "a/b", "a/b/c"]);
        for key in keys {
            assert_eq!(server.get(&format!("/abc/{key}")).expect(200).body, key.as_bytes());
        }
    });
}

/// CC-12: copies in both directions with fewer workers than requests need no second worker.
#[test]
fn copies_in_both_directions_do_not_wait_for_each_other() {
    let server = TestServer::start("memory", Config { workers: 1, ..Config::in_memory() }, None);
    for bucket in ["one", "two"] {
        server.bucket(bucket);
        server.put(&format!("/{bucket}/k"), &[1; 50_000]).expect(200);
    }
    let fields = |from| [("x-amz-copy-source", from)];
    let (there, back) = (fields("/one/k"), fields("/two/k"));
    let requests: Vec<Request<'_>> = (0..32)
        .map(|number| match number % 2 {
            0 => ("PUT", "/two/k", &there[..], &b""[..]),
            _ => ("PUT", "/one/k", &back[..], &b""[..]),
        })
        .collect();
    assert!(race(&server, &requests).iter().all(|reply| reply.status == 200));
}

/// CC-06: while keys come and go between them, every key that stays is on one page, once, and in order.
#[test]
fn pages_show_what_stays_once_while_other_keys_come_and_go() {
    for_each_backend(|server| {
        server.bucket("abc");
        let stays: Vec<String> = (0..30).map(|number| format!("k{number:02}/stays")).collect();
        for key in &stays {
            server.put(&format!("/abc/{key}"), b"x").expect(200);
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..2 {
                let (client, over) = (client(server), &over);
                scope.spawn(move || {
                    for round in (0..30).cycle() {
                        if over.load(Ordering::Acquire) {
                            break;
                        }
                        let target = format!("/abc/k{round:02}/{number}");
                        client.put(&target, b"x").expect(200);
                        client.delete(&target).expect(204);
                    }
                });
            }
            let walks = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for walk in 0..races().div_ceil(20) {
                    let (mut found, mut from) = (Vec::new(), String::new());
                    loop {
                        let target = format!("/abc?list-type=2&max-keys={}{from}", 1 + walk % 7);
                        let page = server.get(&target).expect(200);
                        found.extend(page.elements("Key"));
                        let Some(token) = page.element("NextContinuationToken") else { break };
                        from = format!("&continuation-token={}", s3pail::codec::uri::encode(&token));
                    }
                    assert!(found.is_sorted_by(|one, next| one < next), "{found:?}");
                    found.retain(|key| key.ends_with("stays"));
                    assert_eq!(found, stays);
                }
            }));
            over.store(true, Ordering::Release);
            walks.unwrap();
        });
    });
}
