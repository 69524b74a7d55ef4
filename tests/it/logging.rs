//! Server access logging: what may be configured, and the lines that arrive in the target bucket.

use crate::harness::{DEADLINE, Reply, TestServer, for_each_backend, wait_until};
use serde_json::Value;

fn put_logging(server: &TestServer, bucket: &str, content: &str) -> Reply {
    let body = format!("<BucketLoggingStatus>{content}</BucketLoggingStatus>");
    server.put(&format!("{bucket}?logging"), body.as_bytes())
}

fn enabled(target: &str, prefix: &str, rest: &str) -> String {
    format!(
        "<LoggingEnabled><TargetBucket>{target}</TargetBucket><TargetPrefix>{prefix}</TargetPrefix>{rest}</LoggingEnabled>"
    )
}

/// A bucket that takes logs.
fn log_bucket(server: &TestServer, name: &str) {
    server.send("PUT", &format!("/{name}"), &[("x-amz-acl", "log-delivery-write")], b"").expect(200);
}

/// Delivers what has been logged; the text of all files under a prefix, in order.
fn delivered(server: &TestServer, prefix: &str) -> (Vec<String>, String) {
    let reply = server.anonymous().post("/_/logging/deliver", b"").expect(200);
    let delivered: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(delivered["dropped"], 0, "{delivered}");
    let keys = server.get(&format!("/logs?list-type=2&prefix={prefix}")).expect(200).elements("Key");
    let text = keys.iter().map(|key| server.get(&format!("/logs/{key}")).expect(200).text()).collect();
    (keys, text)
}

/// Waits until a line is in the log: answers leave before their lines are written.
#[track_caller]
fn wait_for_line(server: &TestServer, prefix: &str, wanted: &[&str]) -> String {
    let mut found = None;
    wait_until(&format!("a line with {wanted:?}"), || {
        let (_, text) = delivered(server, prefix);
        found = text.lines().find(|line| wanted.iter().all(|part| line.contains(part))).map(str::to_owned);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_configuration_is_put_given_back_and_ended() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        log_bucket(server, "logs");
        assert!(!server.get("/abc?logging").expect(200).text().contains("LoggingEnabled"));
        let format = "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>EventTime</PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>";
        let grants = format!(
            "<TargetGrants><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"><URI>{}</URI></Grantee><Permission>READ</Permission></Grant></TargetGrants>",
            "http://acs.amazonaws.com/groups/global/AllUsers"
        );
        let content = enabled("logs", "log/", &format!("{grants}{format}"));
        put_logging(server, &bucket, &content).expect(200);
        let text = server.get("/abc?logging").expect(200).text();
        assert!(text.contains(&content), "{text}");
        put_logging(server, &bucket, &enabled("logs", "", "")).expect(200);
        assert!(server.get("/abc?logging").expect(200).text().contains(&enabled("logs", "", "")));
        put_logging(server, &bucket, "").expect(200);
        assert!(!server.get("/abc?logging").expect(200).text().contains("LoggingEnabled"));
        server.as_lisa().get("/abc?logging").expect_error(403, "AccessDenied");
    });
}

#[test]
fn a_target_must_exist_and_be_the_owners() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.as_lisa().send("PUT", "/of-lisa", &[("x-amz-acl", "log-delivery-write")], b"").expect(200);
        for target in ["missing", "A_b", "of-lisa"] {
            put_logging(server, &bucket, &enabled(target, "", ""))
                .expect_error(400, "InvalidTargetBucketForLogging");
        }
        let elsewhere = b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        server.send("PUT", "/elsewhere", &[("x-amz-acl", "log-delivery-write")], elsewhere).expect(200);
        put_logging(server, &bucket, &enabled("elsewhere", "", ""))
            .expect_error(403, "CrossLocationLoggingProhibitted");
        put_logging(server, &bucket, "<LoggingEnabled/>").expect_error(400, "MalformedXML");
    });
}

#[test]
fn a_target_may_be_opened_after_it_is_named() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.bucket("logs");
        put_logging(server, &bucket, &enabled("logs", "log/", "")).expect(200);
        server.send("PUT", "/logs?acl", &[("x-amz-acl", "log-delivery-write")], b"").expect(200);
        server.get("/abc").expect(200);
        wait_for_line(server, "log/", &["REST.GET.BUCKET"]);
    });
}

#[test]
fn a_target_without_lists_takes_no_grants() {
    let server = TestServer::memory();
    let bucket = server.bucket("abc");
    let enforced = [("x-amz-object-ownership", "BucketOwnerEnforced")];
    server.send("PUT", "/logs", &enforced, b"").expect(200);
    let grants = "<TargetGrants><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"><URI>http://acs.amazonaws.com/groups/s3/LogDelivery</URI></Grantee><Permission>READ_ACP</Permission></Grant></TargetGrants>";
    put_logging(&server, &bucket, &enabled("logs", "", grants))
        .expect_error(400, "AccessControlListNotSupported");
    put_logging(&server, &bucket, &enabled("logs", "", "")).expect(200);
    server.delete("/logs?ownershipControls").expect(204);
    put_logging(&server, &bucket, &enabled("logs", "", grants)).expect(200);
    assert!(server.get("/abc?logging").expect(200).text().contains(grants));
}

#[test]
fn a_request_may_leave_more_lines_than_its_own() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.bucket("def");
        log_bucket(server, "logs");
        put_logging(server, &bucket, &enabled("logs", "log/", "")).expect(200);
        server.put("/abc/a%20b", b"hello").expect(200);
        server.put("/abc/shut", b"hello").expect(200);
        let copy = [("x-amz-copy-source", "/abc/a%20b")];
        server.send("PUT", "/def/copy", &copy, b"").expect(200);
        wait_for_line(
            server,
            "log/",
            &[" REST.COPY.OBJECT_GET a%20b \"-\" 200 - - 5 ", " SigV4 - AuthHeader "],
        );
        server.as_lisa().put("/of-lisa", b"").expect(200);
        server.as_lisa().send("PUT", "/of-lisa/copy", &copy, b"").expect(403);
        wait_for_line(server, "log/", &[" REST.COPY.OBJECT_GET a%20b \"-\" 403 AccessDenied - - "]);
        let deny = br#"{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::abc/shut"}}"#;
        server.put("/abc?policy", deny).expect(204);
        let body =
            b"<Delete><Quiet>true</Quiet><Object><Key>a b</Key></Object><Object><Key>shut</Key></Object></Delete>";
        let digest = s3pail::codec::base64(&s3pail::codec::digest::md5(body));
        server.send("POST", "/abc?delete", &[("content-md5", &digest)], body).expect(200);
        let line = wait_for_line(server, "log/", &[" BATCH.DELETE.OBJECT a%20b \"-\" 204 - - 5 "]);
        let id = line.split(' ').nth(6).unwrap();
        wait_for_line(server, "log/", &[id, " BATCH.DELETE.OBJECT shut \"-\" 403 AccessDenied - - "]);
        wait_for_line(server, "log/", &[id, " REST.POST.MULTI_OBJECT_DELETE - "]);
    });
}

#[test]
fn a_line_says_whether_a_list_of_grants_was_needed() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        log_bucket(server, "logs");
        put_logging(server, &bucket, &enabled("logs", "log/", "")).expect(200);
        for key in ["open", "shut"] {
            server.send("PUT", &format!("/abc/{key}"), &[("x-amz-acl", "public-read")], b"x").expect(200);
        }
        server.get("/abc/open").expect(200);
        let owners = wait_for_line(server, "log/", &["REST.GET.OBJECT open "]);
        assert!(owners.ends_with(" - - - -"), "{owners}");
        server.anonymous().get("/abc/open").expect(200);
        let granted = wait_for_line(server, "log/", &["127.0.0.1 - ", "REST.GET.OBJECT open "]);
        assert!(granted.ends_with(" - - Yes -"), "{granted}");
        let allow = br#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::abc/*"}}"#;
        server.put("/abc?policy", allow).expect(204);
        server.anonymous().get("/abc/shut").expect(200);
        let allowed = wait_for_line(server, "log/", &["127.0.0.1 - ", "REST.GET.OBJECT shut "]);
        assert!(allowed.ends_with(" - - - -"), "{allowed}");
    });
}

#[test]
fn a_policy_can_let_logs_in_for_one_source() {
    for_each_backend(|server| {
        let (bucket, other) = (server.bucket("abc"), server.bucket("other"));
        server.bucket("logs");
        let policy = |resource: &str, source: &str| {
            let policy = format!(
                r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
                "Principal": {{"Service": "logging.s3.amazonaws.com"}}, "Action": "s3:PutObject",
                "Resource": "arn:aws:s3:::logs/{resource}",
                "Condition": {{"ArnLike": {{"aws:SourceArn": "arn:aws:s3:::{source}"}},
                "StringEquals": {{"aws:SourceAccount": "123456789012"}}}}}}]}}"#
            );
            server.put("/logs?policy", policy.as_bytes()).expect(204);
        };
        policy("log/*", "abc");
        put_logging(server, &bucket, &enabled("logs", "log/", "")).expect(200);
        server.get("/abc").expect(200);
        wait_for_line(server, "log/", &["REST.GET.BUCKET"]);
        let dropped = || {
            let reply = server.anonymous().post("/_/logging/deliver", b"").expect(200);
            serde_json::from_slice::<Value>(&reply.body).unwrap()["dropped"].as_u64().unwrap()
        };
        put_logging(server, &bucket, &enabled("logs", "elsewhere/", "")).expect(200);
        server.get("/abc").expect(200);
        wait_until("lines under another prefix are dropped", || dropped() >= 1);
        put_logging(server, &bucket, "").expect(200);
        let before = dropped();
        put_logging(server, &other, &enabled("logs", "log/", "")).expect(200);
        server.get("/other").expect(200);
        wait_until("lines of another bucket are dropped", || dropped() > before);
        let keys = server.get("/logs?list-type=2").expect(200).elements("Key");
        assert!(keys.iter().all(|key| key.starts_with("log/")), "{keys:?}");
    });
}

#[test]
fn every_request_leaves_a_line() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        log_bucket(server, "logs");
        put_logging(server, &bucket, &enabled("logs", "log/", "")).expect(200);
        let agent = [("user-agent", "agent/1.0"), ("referer", "http://example.com/")];
        server.send("PUT", "/abc/a%20b", &agent, b"hello").expect(200);
        server.send("GET", "/abc/a%20b", &[("range", "bytes=1-2")], b"").expect(206);
        server.get("/abc/missing").expect(404);
        server.anonymous().get("/abc/a%20b").expect(403);
        let line = wait_for_line(server, "log/", &["REST.PUT.OBJECT"]);
        let owner = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";
        assert!(line.starts_with(&format!("{owner} abc [")), "{line}");
        assert!(line.contains("] 127.0.0.1 "), "{line}");
        assert!(line.contains(" REST.PUT.OBJECT a%20b \"PUT /abc/a%20b HTTP/1.1\" 200 - - 5 "), "{line}");
        assert!(line.contains(" \"http://example.com/\" \"agent/1.0\" - "), "{line}");
        assert!(line.contains(" SigV4 - AuthHeader 127.0.0.1:"), "{line}");
        wait_for_line(server, "log/", &["REST.GET.OBJECT a%20b ", " 206 - 2 5 "]);
        wait_for_line(server, "log/", &["REST.GET.OBJECT missing ", " 404 NoSuchKey "]);
        wait_for_line(server, "log/", &["127.0.0.1 - ", "REST.GET.OBJECT a%20b ", " 403 AccessDenied "]);
        // The owner of the target owns the file, and the target itself is not logged.
        let (keys, text) = delivered(server, "log/");
        assert!(keys[0].starts_with("log/20") && !text.contains(" logs "), "{keys:?} {text}");
        let head = server.head(&format!("/logs/{}", keys[0])).expect(200);
        assert_eq!(head.header("content-type"), Some("text/plain"));
    });
}

#[test]
fn a_partitioned_log_lies_in_folders_of_account_region_bucket_and_day() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        log_bucket(server, "logs");
        let format = "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>DeliveryTime</PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>";
        put_logging(server, &bucket, &enabled("logs", "p/", format)).expect(200);
        server.get("/abc").expect(200);
        wait_for_line(server, "p/", &["REST.GET.BUCKET"]);
        let (keys, _) = delivered(server, "p/");
        let day = s3pail::codec::time::iso8601(server.service().clock.now())[..10].replace('-', "/");
        assert!(keys[0].contains(&format!("/us-east-1/abc/{day}/")), "{keys:?}");
    });
}

#[test]
fn nothing_is_lost_when_the_server_stops() {
    let server = TestServer::file();
    let bucket = server.bucket("abc");
    log_bucket(&server, "logs");
    put_logging(&server, &bucket, &enabled("logs", "log/", "")).expect(200);
    server.put("/abc/last", b"x").expect(200);
    let server = server.restart();
    let keys = server.get("/logs?list-type=2&prefix=log/").expect(200).elements("Key");
    let text: String =
        keys.iter().map(|key| server.get(&format!("/logs/{key}")).expect(200).text()).collect();
    assert!(text.contains("REST.PUT.OBJECT last "), "{text}");
}

#[test]
fn lines_for_a_target_that_closed_are_dropped_and_counted() {
    let server = TestServer::memory();
    let bucket = server.bucket("abc");
    log_bucket(&server, "logs");
    put_logging(&server, &bucket, &enabled("logs", "log/", "")).expect(200);
    server.delete("/logs").expect(204);
    server.get("/abc").expect(200);
    let started = std::time::Instant::now();
    loop {
        let reply = server.anonymous().post("/_/logging/deliver", b"").expect(200);
        let delivered: Value = serde_json::from_slice(&reply.body).unwrap();
        if delivered["dropped"].as_u64() >= Some(1) {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "{delivered}");
    }
    server.get("/abc").expect(200);
}
