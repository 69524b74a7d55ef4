//! Object lock: what may not be deleted, and who may change that.

use crate::harness::{Client, Reply, TestServer, for_each_backend, now};
use s3pail::codec::time::iso8601;

const BYPASS: (&str, &str) = ("x-amz-bypass-governance-retention", "true");

fn locked_bucket(server: &TestServer) {
    server.send("PUT", "/abc", &[("x-amz-bucket-object-lock-enabled", "true")], b"").expect(200);
}

fn md5(body: &[u8]) -> String {
    s3pail::codec::base64(&s3pail::codec::digest::md5(body))
}

/// Puts an object and returns its version.
fn put(client: &Client, key: &str) -> String {
    client.send("PUT", &format!("/abc/{key}"), &[("content-md5", &md5(b"x"))], b"x").expect(200).version()
}

fn retention(mode: &str, seconds: u64) -> Vec<u8> {
    let until = iso8601(now() + seconds * 1_000);
    format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")
        .into_bytes()
}

fn hold(status: &str) -> Vec<u8> {
    format!("<LegalHold><Status>{status}</Status></LegalHold>").into_bytes()
}

fn default_retention(inner: &str) -> Vec<u8> {
    format!(
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{inner}</ObjectLockConfiguration>"
    )
    .into_bytes()
}

fn remove(client: &Client, key: &str, version: &str, fields: &[(&str, &str)]) -> Reply {
    client.send("DELETE", &format!("/abc/{key}?versionId={version}"), fields, b"")
}

#[test]
fn only_buckets_that_keep_versions_get_object_lock_and_they_keep_both() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.get("/abc?object-lock").expect_error(404, "ObjectLockConfigurationNotFoundError");
        let enabled = default_retention("");
        server.put("/abc?object-lock", &enabled).expect_error(409, "InvalidBucketState");
        let versioning = |status: &str| {
            let body =
                format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
            server.put("/abc?versioning", body.as_bytes())
        };
        versioning("Suspended").expect(200);
        server.put("/abc?object-lock", &enabled).expect_error(409, "InvalidBucketState");
        versioning("Enabled").expect(200);
        server.put("/abc?object-lock", &enabled).expect(200);
        versioning("Suspended").expect_error(409, "InvalidBucketState");
        versioning("Enabled").expect(200);
        assert_eq!(server.get("/abc?object-lock").expect(200).element("Rule"), None);
        let rule =
            "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Years>2</Years></DefaultRetention></Rule>";
        server.put("/abc?object-lock", &default_retention(rule)).expect(200);
        let got = server.get("/abc?object-lock").expect(200);
        assert!(got.text().contains(rule), "{}", got.text());
    });
}

#[test]
fn a_retained_version_stays_until_its_time_is_over() {
    for_each_backend(|server| {
        locked_bucket(server);
        let version = put(server, "k");
        server.put("/abc/k?retention", &retention("COMPLIANCE", 300)).expect(200);
        let got = server.get("/abc/k?retention").expect(200);
        assert_eq!(got.element("Mode").as_deref(), Some("COMPLIANCE"));
        let head = server.head("/abc/k").expect(200);
        assert_eq!(head.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
        assert_eq!(
            head.header("x-amz-object-lock-retain-until-date"),
            got.element("RetainUntilDate").as_deref()
        );
        for fields in [&[][..], &[BYPASS]] {
            let refused = remove(server, "k", &version, fields).expect_error(403, "AccessDenied");
            assert!(refused.text().contains("object protected by object lock"), "{}", refused.text());
        }
        // A delete marker covers the version and a new write does too: neither removes it.
        let marker = server.delete("/abc/k").expect(204).version();
        put(server, "k");
        remove(server, "k", &version, &[BYPASS]).expect_error(403, "AccessDenied");
        remove(server, "k", &marker, &[]).expect(204);
        let body = format!("<Delete><Object><Key>k</Key><VersionId>{version}</VersionId></Object></Delete>");
        let digest =
            [("content-md5", md5(body.as_bytes())), ("x-amz-bypass-governance-retention", "true".to_owned())];
        let digest: Vec<(&str, &str)> = digest.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let many = server.send("POST", "/abc?delete", &digest, body.as_bytes()).expect(200);
        assert_eq!(many.element("Code").as_deref(), Some("AccessDenied"));
        assert_eq!(server.get(&format!("/abc/k?versionId={version}")).expect(200).body, b"x");
        server.service().clock.advance(301_000);
        remove(server, "k", &version, &[]).expect(204);
    });
}

#[test]
fn governance_gives_way_to_who_may_and_says_so() {
    for_each_backend(|server| {
        locked_bucket(server);
        let version = put(server, "k");
        let set = |body: &[u8], fields: &[(&str, &str)]| server.send("PUT", "/abc/k?retention", fields, body);
        set(&retention("GOVERNANCE", 600), &[]).expect(200);
        set(&retention("GOVERNANCE", 700), &[]).expect(200);
        set(&retention("GOVERNANCE", 600), &[]).expect_error(403, "AccessDenied");
        set(&retention("COMPLIANCE", 800), &[]).expect_error(403, "AccessDenied");
        set(b"<Retention/>", &[]).expect_error(403, "AccessDenied");
        set(&retention("GOVERNANCE", 600), &[BYPASS]).expect(200);
        remove(server, "k", &version, &[]).expect_error(403, "AccessDenied");
        set(b"<Retention/>", &[BYPASS]).expect(200);
        server.get("/abc/k?retention").expect_error(404, "NoSuchObjectLockConfiguration");
        set(&retention("GOVERNANCE", 600), &[]).expect(200);
        remove(server, "k", &version, &[BYPASS]).expect(204);
        server.get("/abc/k").expect_error(404, "NoSuchKey");
    });
}

#[test]
fn compliance_is_only_ever_prolonged() {
    let server = TestServer::memory();
    locked_bucket(&server);
    put(&server, "k");
    let set = |body: &[u8]| server.send("PUT", "/abc/k?retention", &[BYPASS], body);
    set(&retention("COMPLIANCE", 600)).expect(200);
    set(&retention("COMPLIANCE", 500)).expect_error(403, "AccessDenied");
    set(&retention("GOVERNANCE", 900)).expect_error(403, "AccessDenied");
    set(b"<Retention/>").expect_error(403, "AccessDenied");
    set(&retention("COMPLIANCE", 700)).expect(200);
}

#[test]
fn a_legal_hold_holds_until_it_is_lifted() {
    for_each_backend(|server| {
        locked_bucket(server);
        let version = put(server, "k");
        put(server, "k");
        let target = format!("/abc/k?legal-hold&versionId={version}");
        server.get(&target).expect_error(404, "NoSuchObjectLockConfiguration");
        assert_eq!(server.put(&target, &hold("ON")).expect(200).version(), version);
        assert_eq!(server.get(&target).expect(200).element("Status").as_deref(), Some("ON"));
        server.get("/abc/k?legal-hold").expect_error(404, "NoSuchObjectLockConfiguration");
        remove(server, "k", &version, &[BYPASS]).expect_error(403, "AccessDenied");
        server.put(&target, &hold("off")).expect_error(400, "MalformedXML");
        server.put(&target, &hold("OFF")).expect(200);
        let head = server.head(&format!("/abc/k?versionId={version}")).expect(200);
        assert_eq!(head.header("x-amz-object-lock-legal-hold"), Some("OFF"));
        remove(server, "k", &version, &[]).expect(204);
    });
}

#[test]
fn writes_bring_their_locks_or_take_the_buckets() {
    for_each_backend(|server| {
        locked_bucket(server);
        let until = iso8601(now() + 600_000);
        let fields = [
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", until.as_str()),
            ("x-amz-object-lock-legal-hold", "ON"),
        ];
        let digest = md5(b"x");
        let with_digest = [&fields[..], &[("content-md5", digest.as_str())]].concat();
        server.send("PUT", "/abc/put", &fields, b"x").expect_error(400, "InvalidRequest");
        server.send("PUT", "/abc/put", &with_digest, b"x").expect(200);
        let copy = [&fields[..], &[("x-amz-copy-source", "/abc/put")]].concat();
        server.send("PUT", "/abc/copy", &copy, b"").expect(200);
        server.send("PUT", "/abc/free", &[("x-amz-copy-source", "/abc/put")], b"").expect(200);
        let upload = server.send("POST", "/abc/parts?uploads", &fields, b"").expect(200);
        complete(server, "parts", &upload.element("UploadId").unwrap());
        for (key, locked) in [("put", true), ("copy", true), ("parts", true), ("free", false)] {
            let head = server.head(&format!("/abc/{key}")).expect(200);
            for (name, value) in fields {
                assert_eq!(head.header(name), locked.then_some(value), "{key} {name}");
            }
        }
        let rule = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>";
        server.put("/abc?object-lock", &default_retention(rule)).expect(200);
        server.put("/abc/k", b"x").expect_error(400, "InvalidRequest");
        put(server, "default");
        server.send("PUT", "/abc/own", &with_digest, b"x").expect(200);
        let upload = server.post("/abc/parts?uploads", b"").expect(200);
        complete(server, "parts", &upload.element("UploadId").unwrap());
        for (key, mode) in [("default", "COMPLIANCE"), ("own", "GOVERNANCE"), ("parts", "COMPLIANCE")] {
            let head = server.head(&format!("/abc/{key}")).expect(200);
            assert_eq!(head.header("x-amz-object-lock-mode"), Some(mode), "{key}");
        }
        let marker = server.delete("/abc/default").expect(204).version();
        remove(server, "default", &marker, &[]).expect(204);
    });
}

/// Uploads one part and completes.
fn complete(client: &Client, key: &str, id: &str) {
    let part = client.put(&format!("/abc/{key}?uploadId={id}&partNumber=1"), b"x").expect(200);
    let etag = part.header("etag").unwrap().trim_matches('"').to_owned();
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    client.post(&format!("/abc/{key}?uploadId={id}"), body.as_bytes()).expect(200);
}

#[test]
fn locks_need_a_bucket_for_them_and_must_make_sense() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/k", b"x").expect(200);
    let until = iso8601(now() + 600_000);
    let past = iso8601(now() - 600_000);
    let write = |fields: &[(&str, &str)]| {
        server.send("PUT", "/abc/k", &[fields, &[("content-md5", &md5(b"x"))]].concat(), b"x")
    };
    const MODE: &str = "x-amz-object-lock-mode";
    const UNTIL: &str = "x-amz-object-lock-retain-until-date";
    const HOLD: &str = "x-amz-object-lock-legal-hold";
    write(&[(HOLD, "ON")]).expect_error(400, "InvalidRequest");
    write(&[(MODE, "COMPLIANCE"), (UNTIL, &until)]).expect_error(400, "InvalidRequest");
    for fields in [
        &[(MODE, "COMPLIANCE")][..],
        &[(UNTIL, until.as_str())],
        &[(MODE, "compliance"), (UNTIL, until.as_str())],
        &[(MODE, "COMPLIANCE"), (UNTIL, past.as_str())],
        &[(MODE, "COMPLIANCE"), (UNTIL, "tomorrow")],
        &[(HOLD, "on")],
    ] {
        write(fields).expect_error(400, "InvalidArgument");
    }
    for sub in ["retention", "legal-hold"] {
        server.get(&format!("/abc/k?{sub}")).expect_error(400, "InvalidRequest");
        server.put(&format!("/abc/k?{sub}"), &hold("ON")).expect_error(400, "InvalidRequest");
    }
    server.get("/abc/k").expect(200);
    // S3 refuses that. Test suites clean up so, whatever the bucket.
    server.send("DELETE", "/abc/k", &[BYPASS], b"").expect(204);
}

#[test]
fn locks_outlive_a_restart() {
    let server = TestServer::file();
    locked_bucket(&server);
    let version = put(&server, "k");
    server.put("/abc/k?retention", &retention("COMPLIANCE", 600)).expect(200);
    let server = server.restart();
    remove(&server, "k", &version, &[BYPASS]).expect_error(403, "AccessDenied");
    assert_eq!(server.get("/abc/k").expect(200).body, b"x");
}
