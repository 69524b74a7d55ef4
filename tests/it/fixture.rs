//! The fixture profile through its port: reset, snapshots, namespaces, clock, journal, faults, signatures.

use super::harness::{Client, DEADLINE, Reply, now};
use s3pail::TestServer;
use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::config::Config;
use s3pail::config::fixture::Start;
use s3pail::fixture::faults::Rule;
use s3pail::fixture::journal::Filter;
use s3pail::fixture::routes::{PREFIX, ROUTES};
use s3pail::http::{Headers, Method};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const KEYS: Option<(&str, &str)> = Some(("accessKey1", "verySecretKey1"));

fn client(server: &TestServer) -> Client {
    Client::new(server.address(), KEYS)
}

#[track_caller]
fn call(server: &TestServer, method: &str, path: &str, body: &Value) -> Value {
    call_in(server, "", method, path, body)
}

#[track_caller]
fn call_in(server: &TestServer, namespace: &str, method: &str, path: &str, body: &Value) -> Value {
    let reply = raw_call(server, namespace, method, path, body.to_string().as_bytes());
    serde_json::from_slice(&reply.expect(200).body).unwrap()
}

fn raw_call(server: &TestServer, namespace: &str, method: &str, path: &str, body: &[u8]) -> Reply {
    let header = ("x-s3pail-namespace", namespace);
    let fields: &[(&str, &str)] = if namespace.is_empty() { &[] } else { &[header] };
    let client = Client::new(server.address(), None);
    if method == "GET" {
        client.send(method, path, fields, b"")
    } else {
        client.send(method, path, fields, body)
    }
}

/// What arrives before the connection ends.
fn until_cut(server: &TestServer, line: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn presigned(target: &str, host: &str, at: u64, expires_s: u32) -> String {
    let (mut headers, signer) = (Headers::new(), signer());
    headers.push("host", host);
    let head = Head { method: Method::Get, path: target, query: "", headers: &headers };
    format!("{target}?{}", signer.presign(at, expires_s.into(), &head))
}

fn signer() -> Signer<'static> {
    Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" }
}

#[test]
fn without_the_profile_its_calls_are_absent() {
    let server = super::harness::TestServer::memory();
    for path in ["/_/test", "/_/test/", "/_/test/reset", "/_/test/journal"] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            server.anonymous().send(method, path, &[], b"").expect(404);
        }
    }
}

#[test]
fn the_document_shows_every_call_as_the_program_has_it() {
    let mut table = String::from("| call | takes | does |\n|---|---|---|\n");
    for route in ROUTES {
        let line = format!(
            "| `{} {PREFIX}{}` | {} | {} |\n",
            route.method.as_str(),
            route.path,
            route.takes,
            route.does
        );
        table.push_str(&line);
    }
    let page = include_str!("../../docs/fixture.md");
    assert!(page.contains(&table), "docs/fixture.md must hold this table:\n\n{table}");
}

#[test]
fn every_call_answers_and_unknown_ones_say_what_is_allowed() {
    let server = TestServer::start();
    let about = call(&server, "GET", "/_/test", &json!({}));
    assert_eq!(about["calls"].as_array().unwrap().len(), ROUTES.len());
    raw_call(&server, "", "GET", "/_/test/resets", b"").expect(404);
    let wrong = raw_call(&server, "", "GET", "/_/test/reset", b"").expect(405);
    assert!(wrong.text().contains("allowed: POST"), "{}", wrong.text());
    for (path, body) in [
        ("/_/test/reset", r#"{"too":"start"}"#),
        ("/_/test/reset", "nonsense"),
        ("/_/test/reset", r#"{"keep":["everything"]}"#),
        ("/_/test/clock", r#"{"set":"yesterday"}"#),
        ("/_/test/faults", r#"{"operation":"GetObject"}"#),
        ("/_/test/faults", r#"{"status":503,"opration":"GetObject"}"#),
    ] {
        let refused = raw_call(&server, "", "POST", path, body.as_bytes()).expect(400);
        assert!(refused.text().contains("error"), "{}", refused.text());
    }
    raw_call(&server, "", "POST", "/_/test/reset", br#"{"to":"nowhere"}"#).expect(404);
    let large = vec![b' '; (s3pail::fixture::routes::BODY_BYTES_MAX + 1) as usize];
    raw_call(&server, "", "POST", "/_/test/reset", &large).expect(413);
    raw_call(&server, "../x", "GET", "/_/test", b"").expect(400);
}

#[test]
fn a_reset_leads_back_to_the_start_and_to_nothing() {
    let server = TestServer::start().with_buckets(["first"]);
    let client = client(&server);
    client.put("/first/k", b"1").expect(200);
    client.put("/second", b"").expect(200);
    call(&server, "POST", "/_/test/reset", &json!({}));
    client.get("/first/k").expect_error(404, "NoSuchKey");
    client.get("/second").expect_error(404, "NoSuchBucket");
    call(&server, "POST", "/_/test/reset", &json!({ "to": "empty" }));
    client.get("/first").expect_error(404, "NoSuchBucket");
    call(&server, "POST", "/_/test/reset", &json!({}));
    client.get("/first").expect(200);
}

#[test]
fn a_reset_puts_clock_and_rules_back_unless_they_are_kept() {
    let server = TestServer::start();
    let disturb = || {
        server.advance(std::time::Duration::from_secs(86_400));
        server.add_fault(Rule { reset: true, bucket: Some("none".into()), ..Rule::default() }).unwrap();
        client(&server).get("/");
    };
    disturb();
    call(&server, "POST", "/_/test/reset", &json!({ "keep": ["clock", "faults", "journal"] }));
    assert!(server.now() > now() + 80_000_000);
    assert_eq!((server.faults().len(), server.counts().requests), (1, 1));
    call(&server, "POST", "/_/test/reset", &json!({}));
    assert!(server.now() < now() + 80_000_000);
    assert_eq!((server.faults().len(), server.counts().requests), (0, 0));
}

#[test]
fn a_snapshot_is_restored_with_bodies_versions_and_keys_of_encryption() {
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    let versioning = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/box?versioning", versioning).expect(200);
    let large = vec![7; 300_000];
    client.put("/box/large", &large).expect(200);
    let sse = [("x-amz-server-side-encryption", "AES256")];
    client.send("PUT", "/box/sealed", &sse, b"secret").expect(200);
    let version = client.put("/box/k", b"one").expect(200).version();
    call(&server, "PUT", "/_/test/snapshots/before", &json!({}));
    client.put("/box/k", b"two").expect(200);
    client.delete("/box/large").expect(204);
    client.delete(&format!("/box/k?versionId={version}")).expect(204);
    call(&server, "POST", "/_/test/snapshots/before", &json!({}));
    assert_eq!(client.get("/box/k").expect(200).body, b"one");
    assert_eq!(client.get("/box/k").version(), version);
    assert_eq!(client.get("/box/large").expect(200).body, large);
    assert_eq!(client.get("/box/sealed").expect(200).body, b"secret");
    client.delete("/box/large").expect(204);
    server.restore("before").unwrap();
    assert_eq!(client.get("/box/large").expect(200).body, large, "a snapshot can be restored again");
    call(&server, "DELETE", "/_/test/snapshots/before", &json!({}));
    raw_call(&server, "", "POST", "/_/test/snapshots/before", b"").expect(404);
}

#[test]
fn namespaces_do_not_see_each_other_and_begin_like_the_start() {
    let server = TestServer::start().with_buckets(["shared"]);
    let client = client(&server);
    let within = |name: &'static str| [("x-s3pail-namespace", name)];
    for name in ["one", "two"] {
        client.send("PUT", "/shared/k", &within(name), name.as_bytes()).expect(200);
    }
    client.get("/shared/k").expect_error(404, "NoSuchKey");
    for name in ["one", "two"] {
        assert_eq!(client.send("GET", "/shared/k", &within(name), b"").expect(200).text(), name);
    }
    call_in(&server, "one", "POST", "/_/test/clock", &json!({ "set": "2040-01-01T00:00:00Z" }));
    call_in(&server, "one", "POST", "/_/test/faults", &json!({ "status": 500 }));
    client.send("GET", "/shared/k", &within("one"), b"").expect(500);
    client.send("GET", "/shared/k", &within("two"), b"").expect(200);
    assert!(server.now() < now() + 1_000_000);
    assert_eq!(call(&server, "GET", "/_/test/namespaces", &json!({}))["namespaces"], json!(["one", "two"]));
    call(&server, "DELETE", "/_/test/namespaces/one", &json!({}));
    client.send("GET", "/shared/k", &within("one"), b"").expect_error(404, "NoSuchKey");
    client.send("GET", "/shared/k", &within("not a name"), b"").expect_error(400, "InvalidArgument");
}

#[test]
fn the_number_of_namespaces_is_bounded() {
    let server = TestServer::start();
    for number in 0..s3pail::fixture::NAMESPACES_MAX {
        server.namespace_of(&number.to_string()).unwrap();
    }
    let Err(refused) = server.namespace_of("more") else { panic!("one too many") };
    assert_eq!(refused.status, 409);
    server.drop_namespace("0").unwrap();
    server.namespace_of("more").unwrap();
}

#[test]
fn each_access_key_can_have_a_namespace() {
    let start = Start { namespace_per_key: true, ..Start::default() };
    let server = TestServer::with_config(Config { start, ..Config::in_memory() }).unwrap();
    client(&server).put("/box", b"").expect(200);
    let lisa = Client::new(server.address(), Some(("accessKey2", "verySecretKey2")));
    lisa.get("/box").expect_error(404, "NoSuchBucket");
    lisa.put("/box", b"").expect(200);
}

#[test]
fn everything_follows_the_clock() {
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    let began = now();
    client.put("/box/k", b"1").expect(200);
    let url = presigned("/box/k", &server.address().to_string(), began, 600);
    let anonymous = Client::new(server.address(), None);
    anonymous.get(&url).expect(200);
    call(&server, "POST", "/_/test/clock", &json!({ "advanceSeconds": 660 }));
    anonymous.get(&url).expect_error(403, "AccessDenied");
    // Clients go on signing by the system's time.
    call(&server, "POST", "/_/test/clock", &json!({ "set": "2040-01-01T00:00:00Z", "frozen": true }));
    client.put("/box/k", b"2").expect(200);
    let head = client.head("/box/k");
    assert_eq!(head.header("last-modified"), Some("Sun, 01 Jan 2040 00:00:00 GMT"));
    assert_eq!(head.header("date"), Some("Sun, 01 Jan 2040 00:00:00 GMT"));
    let clock = call(&server, "GET", "/_/test/clock", &json!({}));
    assert_eq!(clock["now"], "2040-01-01T00:00:00.000Z");
    call(&server, "POST", "/_/test/clock", &json!({ "set": 1_000_000_000_000_u64 }));
    client.get("/box/k").expect(200);
    call(&server, "POST", "/_/test/clock", &json!({ "system": true }));
    assert!(server.now() >= began);
}

/// CR-16: versions stay in the order in which they were written, and their times never go back, when the clock
/// jumps by an hour or a year under them.
#[test]
fn a_clock_that_jumps_leaves_versions_in_order() {
    const HOUR: i64 = 3_600_000;
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/box?versioning", enabled).expect(200);
    let (began, year) = (now() as i64, 365 * 24 * HOUR);
    let mut written = Vec::new();
    let jumps = [0, HOUR, -HOUR, year, -year, 0, 1];
    for (number, jump) in jumps.iter().enumerate() {
        call(&server, "POST", "/_/test/clock", &json!({ "set": began + jump }));
        let body = number.to_string();
        written.insert(0, client.put("/box/k", body.as_bytes()).expect(200).version());
        client.put(&format!("/box/other{number}"), b"x").expect(200);
        assert_eq!(client.get("/box/k").expect(200).text(), body);
    }
    let listed = client.get("/box?versions&prefix=k").expect(200);
    assert_eq!(listed.elements("VersionId"), written);
    let times = listed.elements("LastModified");
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert_eq!(client.get("/box").expect(200).elements("Key").len(), 1 + jumps.len());
}

#[test]
fn lifecycle_runs_when_it_is_told_to() {
    let document = r#"{ "buckets": [{ "name": "box", "lifecycle": [
        { "ID": "r", "Status": "Enabled", "Filter": { "Prefix": "" }, "Expiration": { "Days": 30 } }],
        "objects": [{ "key": "k", "text": "x" }] }] }"#;
    let server = TestServer::start().with_init(document).unwrap();
    assert_eq!(call(&server, "POST", "/_/test/lifecycle", &json!({}))["expired"], 0);
    call(&server, "POST", "/_/test/clock", &json!({ "advanceDays": 32 }));
    assert_eq!(call(&server, "POST", "/_/test/lifecycle", &json!({}))["buckets"], 1);
    client(&server).get("/box/k").expect_error(404, "NoSuchKey");
}

#[test]
fn retention_ends_when_the_clock_says_so() {
    let document = r#"{ "buckets": [{ "name": "box", "objectLock": true }] }"#;
    let server = TestServer::start().with_init(document).unwrap();
    call(&server, "POST", "/_/test/clock", &json!({ "set": "2030-01-01T00:00:00Z", "frozen": true }));
    let lock = [
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2030-01-02T00:00:00Z"),
    ];
    let version =
        server.request(Method::Put, "/box/k", &lock, b"x").header("x-amz-version-id").unwrap().to_owned();
    let target = format!("/box/k?versionId={version}");
    client(&server).delete(&target).expect_error(403, "AccessDenied");
    call(&server, "POST", "/_/test/clock", &json!({ "advanceDays": 2 }));
    client(&server).delete(&target).expect(204);
}

#[test]
fn a_seed_gives_the_same_ids_on_each_run() {
    let run = || {
        let server = TestServer::start().with_buckets(["box"]);
        call(&server, "POST", "/_/test/clock", &json!({ "set": "2030-01-01T00:00:00Z", "frozen": true }));
        call(&server, "PUT", "/_/test/ids", &json!({ "seed": 42 }));
        let client = client(&server);
        let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        client.put("/box?versioning", enabled).expect(200);
        let put = client.put("/box/k", b"1").expect(200);
        let upload = client.post("/box/m?uploads", b"").expect(200).element("UploadId").unwrap();
        (put.version(), put.header("x-amz-request-id").unwrap().to_owned(), upload)
    };
    assert_eq!(run(), run());
}

#[test]
fn the_journal_tells_what_was_asked_without_secrets() {
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    let key = s3pail::codec::base64(&[1; 32]);
    let fields = [("x-amz-server-side-encryption-customer-key", key.as_str()), ("x-test", "seen")];
    client.send("PUT", "/box/a/k", &fields, b"12345");
    client.put("/box/a/k", b"12345").expect(200);
    client.get("/box/a/k").expect(200);
    Client::new(server.address(), None).get("/box/a/k").expect_error(403, "AccessDenied");
    let journal =
        call(&server, "GET", "/_/test/journal?prefix=a/&operation=PutObject&status=200", &json!({}));
    let put = &journal["requests"][0];
    assert_eq!(
        (&put["bytesReceived"], &put["bucket"], &put["accessKey"]),
        (&json!(5), &json!("box"), &json!("accessKey1"))
    );
    let everything = call(&server, "GET", "/_/test/journal", &json!({})).to_string();
    assert!(everything.contains("x-test") && everything.contains("Signature=..."), "{everything}");
    assert!(!everything.contains(&key), "the key of SSE-C is a secret");
    let denied = &server.journal(&Filter { status: Some(403), ..Filter::default() })[0];
    assert_eq!((denied.code.as_deref(), denied.refused_at), (Some("AccessDenied"), Some("operation")));
    let counts = call(&server, "GET", "/_/test/journal/count?operation=GetObject", &json!({}));
    assert_eq!((&counts["matching"], &counts["all"]["requests"]), (&json!(2), &json!(4)));
    let limited = call(&server, "GET", "/_/test/journal?limit=1&since=2", &json!({}));
    assert_eq!(limited["requests"][0]["sequence"], 4);
    raw_call(&server, "", "GET", "/_/test/journal?operatoin=x", b"").expect(400);
    call(&server, "DELETE", "/_/test/journal", &json!({}));
    assert_eq!(server.counts().requests, 0);
}

#[test]
fn a_wrong_signature_is_explained_line_by_line() {
    let server = TestServer::start().with_buckets(["box"]);
    raw_call(&server, "", "GET", "/_/test/signature", b"").expect(404);
    // Signed for another host, as behind a proxy or in a container.
    let url = presigned("/box/k", "minio:9000", now(), 60);
    Client::new(server.address(), None).get(&url).expect_error(403, "SignatureDoesNotMatch");
    let shown = call(&server, "GET", "/_/test/signature", &json!({}));
    assert_eq!(shown["canonicalRequest"][0]["server"], "GET");
    let hints = shown["hints"].to_string();
    assert!(hints.contains("host:minio:9000"), "{shown}");
    let lines = shown["canonicalRequest"].as_array().unwrap().iter();
    let ours: Vec<&str> = lines.map(|line| line["server"].as_str().unwrap()).collect();
    let theirs: Vec<String> = ours
        .iter()
        .map(|line| if line.starts_with("host:") { "host:minio:9000".to_owned() } else { (*line).to_owned() })
        .collect();
    let compared =
        call(&server, "POST", "/_/test/signature", &json!({ "canonicalRequest": theirs.join("\n") }));
    let lines = compared["canonicalRequest"].as_array().unwrap();
    let marked: Vec<&Value> = lines.iter().filter(|line| line["firstDifference"] == true).collect();
    assert_eq!((marked.len(), &marked[0]["part"]), (1, &json!("header")));
    // With another key's secret.
    let wrong = Client::new(server.address(), Some(("accessKey1", "verySecretKey2")));
    wrong.get("/box/k").expect_error(403, "SignatureDoesNotMatch");
    let shown = call(&server, "GET", "/_/test/signature", &json!({}));
    assert!(shown["hints"].to_string().contains("secret of access key accessKey2"), "{shown}");
    let entry =
        &server.journal(&Filter { code: Some("SignatureDoesNotMatch".into()), ..Filter::default() })[1];
    assert_eq!(entry.refused_at, Some("authentication"));
}

#[test]
fn rules_answer_with_errors_and_are_counted() {
    let server = TestServer::start().with_buckets(["box", "other"]);
    let client = client(&server);
    let rule = json!({ "name": "busy", "operation": "PutObject", "bucket": "box", "key": "logs/*", "times": 2, "status": 503, "retryAfter": 7 });
    assert_eq!(call(&server, "POST", "/_/test/faults", &rule)["name"], "busy");
    client.put("/box/k", b"").expect(200);
    client.put("/other/logs/1", b"").expect(200);
    let refused = client.put("/box/logs/1", b"body").expect_error(503, "SlowDown");
    assert_eq!(refused.header("retry-after"), Some("7"));
    client.put("/box/logs/1", b"").expect(503);
    client.put("/box/logs/1", b"").expect(200);
    let listed = call(&server, "GET", "/_/test/faults", &json!({}));
    assert_eq!((&listed["faults"][0]["matched"], &listed["faults"][0]["applied"]), (&json!(3), &json!(2)));
    assert_eq!(server.journal(&Filter { status: Some(503), ..Filter::default() })[0].faults, ["busy"]);
    call(&server, "DELETE", "/_/test/faults/busy", &json!({}));
    raw_call(&server, "", "DELETE", "/_/test/faults/busy", b"").expect(404);
    let by_key = json!({ "accessKey": "accessKey2", "code": "InternalError" });
    call(&server, "POST", "/_/test/faults", &by_key);
    client.get("/box/k").expect(200);
    Client::new(server.address(), Some(("accessKey2", "verySecretKey2")))
        .get("/box/k")
        .expect_error(500, "InternalError");
}

#[test]
fn rules_drop_connections_before_and_after_the_work() {
    if cfg!(feature = "tiny-http") {
        eprintln!(
            "skipped on tiny_http: it answers a request that is dropped with an empty connection of its own"
        );
    }
    let server = TestServer::start().with_buckets(["box:public-read-write"]);
    server.put("/box/k", &vec![b'x'; 1_000_000]);
    server.add_fault(Rule { reset: true, nth: Some(1), ..Rule::default() }).unwrap();
    assert_eq!(until_cut(&server, "GET /box/k"), b"");
    assert_eq!(server.journal(&Filter::default())[0].status, 0);
    server.clear_faults();
    server.add_fault(Rule { cut_after_bytes: Some(1_000), ..Rule::default() }).unwrap();
    let cut = until_cut(&server, "GET /box/k");
    let body = cut.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
    assert!(String::from_utf8_lossy(&cut[..body]).contains("Content-Length: 1000000"));
    assert_eq!(cut.len() - body, 1_000);
    server.clear_faults();
    let lose = Rule { lose_answer: true, operation: Some("PutObject".into()), ..Rule::default() };
    server.add_fault(lose).unwrap();
    assert_eq!(until_cut(&server, "PUT /box/written"), b"");
    assert!(server.get("/box").text().contains("<Key>written</Key>"), "but it was done");
}

#[test]
fn rules_spoil_bodies_checksums_and_uploads() {
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    let etag = client.put("/box/k", b"value").expect(200).header("etag").unwrap().to_owned();
    server
        .add_fault(Rule { corrupt_body: true, operation: Some("GetObject".into()), ..Rule::default() })
        .unwrap();
    let spoilt = client.get("/box/k").expect(200);
    assert_eq!((spoilt.body.len(), spoilt.header("etag")), (5, Some(etag.as_str())));
    assert_ne!(spoilt.body, b"value");
    server.clear_faults();
    server.add_fault(Rule { wrong_checksum: true, ..Rule::default() }).unwrap();
    let spoilt = client.send("GET", "/box/k", &[("x-amz-checksum-mode", "ENABLED")], b"").expect(200);
    assert_eq!(spoilt.body, b"value");
    assert_ne!(spoilt.header("etag"), Some(etag.as_str()));
    server.clear_faults();
    server.add_fault(Rule { cut_upload_after_bytes: Some(2), ..Rule::default() }).unwrap();
    client.put("/box/cut", b"value").expect_error(400, "IncompleteBody");
    server.clear_faults();
    client.get("/box/cut").expect_error(404, "NoSuchKey");
}

#[test]
fn rules_slow_requests_down() {
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    client.put("/box/k", &[0; 4_000]).expect(200);
    for rule in [
        Rule { delay_ms: Some(200), ..Rule::default() },
        Rule { bytes_per_second: Some(20_000), ..Rule::default() },
    ] {
        server.clear_faults();
        server.add_fault(rule).unwrap();
        let began = Instant::now();
        assert_eq!(client.get("/box/k").expect(200).body.len(), 4_000);
        assert!(began.elapsed().as_millis() >= 190, "{:?}", began.elapsed());
    }
}

#[test]
fn rules_let_single_keys_of_a_multi_delete_fail() {
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    for key in ["bad-1", "good-1"] {
        client.put(&format!("/box/{key}"), b"x").expect(200);
    }
    let rule = json!({ "operation": "DeleteObjects", "key": "bad-*", "code": "SlowDown" });
    call(&server, "POST", "/_/test/faults", &rule);
    let body = b"<Delete><Object><Key>bad-1</Key></Object><Object><Key>good-1</Key></Object></Delete>";
    let digest = s3pail::codec::base64(&s3pail::codec::digest::md5(body));
    let reply = client.send("POST", "/box?delete", &[("content-md5", &digest)], body).expect(200);
    assert_eq!(reply.elements("Key").len(), 2);
    assert_eq!((reply.element("Code").as_deref(), reply.elements("Deleted").len()), (Some("SlowDown"), 1));
    client.get("/box/bad-1").expect(200);
    client.get("/box/good-1").expect(404);
    assert_eq!(server.faults()[0].applied, 1);
}

#[test]
fn rules_let_reads_be_stale() {
    let server = TestServer::start().with_buckets(["box"]);
    let client = client(&server);
    client.put("/box/k", b"old").expect(200);
    server.add_fault(Rule { stale: true, times: Some(2), ..Rule::default() }).unwrap();
    client.put("/box/k", b"new").expect(200);
    assert_eq!(client.get("/box/k").expect(200).body, b"old");
    assert_eq!(client.get("/box/k").expect(200).body, b"new");
}

#[test]
fn any_key_and_no_key_are_let_in_where_that_was_asked_for() {
    let start = Start { accept_any: true, ..Start::default() };
    let server = TestServer::with_config(Config { start, ..Config::in_memory() }).unwrap();
    let stranger = Client::new(server.address(), Some(("anything", "at all")));
    stranger.put("/box", b"").expect(200);
    stranger.put("/box/k", b"body").expect(200);
    assert_eq!(Client::new(server.address(), None).get("/box/k").expect(200).body, b"body");
    let chunked = b"4;chunk-signature=00\r\nbody\r\n0;chunk-signature=00\r\n\r\n";
    let fields = [
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("x-amz-decoded-content-length", "4"),
        ("content-encoding", "aws-chunked"),
    ];
    Client::new(server.address(), None).send("PUT", "/box/chunked", &fields, chunked).expect(200);
    assert_eq!(server.get("/box/chunked").body, b"body");
    let url = presigned("/box/k", "elsewhere", 1_000_000, 60);
    assert_eq!(stranger.get(&url).expect(200).body, b"body");
}

#[test]
fn a_presigned_url_for_an_alias_is_good_here() {
    let start = Start { host_aliases: vec!["s3:8000".to_owned()], ..Start::default() };
    let server =
        TestServer::with_config(Config { start, ..Config::in_memory() }).unwrap().with_buckets(["box"]);
    server.put("/box/k", b"value");
    let anonymous = Client::new(server.address(), None);
    assert_eq!(anonymous.get(&presigned("/box/k", "s3:8000", now(), 60)).expect(200).body, b"value");
    anonymous.get(&presigned("/box/k", "s3:8001", now(), 60)).expect_error(403, "SignatureDoesNotMatch");
    let virtual_host = presigned("/k", "box.s3:8000", now(), 60);
    let here =
        format!("GET {virtual_host} HTTP/1.1\r\nhost: box.localhost:8000\r\nconnection: close\r\n\r\n");
    anonymous.raw(here.as_bytes(), false).expect(200);
}

#[test]
fn with_files_a_fixture_keeps_its_journal_and_refuses_to_reset() {
    let folder = super::harness::Folder::new();
    let server = TestServer::with_config(super::harness::file_config(&folder)).unwrap();
    client(&server).put("/box", b"").expect(200);
    assert_eq!(server.counts().requests, 1);
    for (method, path) in
        [("POST", "/_/test/reset"), ("PUT", "/_/test/snapshots/a"), ("PUT", "/_/test/namespaces/a")]
    {
        let refused = raw_call(&server, "", method, path, b"").expect(409);
        assert!(refused.text().contains("--backend mem"), "{}", refused.text());
    }
}

#[test]
fn many_servers_live_in_one_process() {
    let servers: Vec<TestServer> = (0..20).map(|_| TestServer::start().with_buckets(["box"])).collect();
    for (number, server) in servers.iter().enumerate() {
        client(server).put("/box/k", number.to_string().as_bytes()).expect(200);
    }
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(client(server).get("/box/k").expect(200).text(), number.to_string());
    }
    let address = servers[0].address();
    drop(servers);
    assert!(TcpStream::connect(address).is_err(), "a dropped server listens no more");
}
