//! Races: requests that can only be decided at the moment of the commit, sent at the same time.
//!
//! `S3PAIL_RACES` is how many conditional writes race on each backend (300 without it); the races of uploads
//! and buckets are a tenth of that.

use super::harness::{Client, Reply, TestServer, for_each_backend};
use s3pail::config::Config;
use std::sync::Barrier;

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
            assert!(
                statuses.iter().all(|it| [200, 204, 400, 404].contains(it)),
                "race {round}: {statuses:?}"
            );
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
