//! Lifecycle rules: what is accepted, what answers say of them, and what they do when their day comes.

use crate::harness::{Reply, TestServer, for_each_backend};
use s3pail::codec::base64;
use s3pail::codec::digest::md5;
use s3pail::config::Config;
use serde_json::Value;

const DAY_MS: u64 = 86_400_000;

/// Puts rules, given as the content of each `Rule`.
fn put_rules(server: &TestServer, bucket: &str, rules: &[&str]) -> Reply {
    let rules: String = rules
        .iter()
        .enumerate()
        .map(|(at, rule)| format!("<Rule><ID>r{at}</ID><Status>Enabled</Status>{rule}</Rule>"))
        .collect();
    let body = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
    let md5 = base64(&md5(body.as_bytes()));
    server.send("PUT", &format!("{bucket}?lifecycle"), &[("content-md5", &md5)], body.as_bytes())
}

/// Runs the rules as they would run in that many days. Signatures are of today, so the clock goes back.
fn run_in_days(server: &TestServer, days: u64) -> Value {
    let clock = &server.service().clock;
    let today = clock.now();
    clock.advance(days * DAY_MS);
    let report = server.anonymous().post("/_/lifecycle/run", b"").expect(200);
    clock.set(today);
    let report: Value = serde_json::from_slice(&report.body).unwrap();
    assert_eq!(report["failed"], 0, "{report}");
    report
}

fn enable_versioning(server: &TestServer, bucket: &str) {
    let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put(&format!("{bucket}?versioning"), body).expect(200);
}

fn keys(server: &TestServer, bucket: &str) -> Vec<String> {
    server.get(bucket).expect(200).elements("Key")
}

#[test]
fn rules_are_put_given_back_and_deleted() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.get("/abc?lifecycle").expect_error(404, "NoSuchLifecycleConfiguration");
        server.delete("/abc?lifecycle").expect(204);
        let rule = "<Filter><Prefix>a/</Prefix></Filter><Expiration><Days>3</Days></Expiration>";
        let reply = put_rules(server, &bucket, &[rule]).expect(200);
        let header = "x-amz-transition-default-minimum-object-size";
        assert_eq!(reply.header(header), Some("all_storage_classes_128K"));
        let reply = server.get("/abc?lifecycle").expect(200);
        assert!(reply.text().contains("<Filter><Prefix>a/</Prefix></Filter>"), "{}", reply.text());
        assert_eq!(
            (reply.element("ID").as_deref(), reply.element("Days").as_deref()),
            (Some("r0"), Some("3"))
        );
        assert_eq!(reply.header(header), Some("all_storage_classes_128K"));
        server.as_lisa().get("/abc?lifecycle").expect_error(403, "AccessDenied");
        put_rules(server, &bucket, &["<Prefix/><Expiration><Days>0</Days></Expiration>"])
            .expect_error(400, "InvalidArgument");
        server.put("/abc?lifecycle", b"<LifecycleConfiguration/>").expect_error(400, "InvalidRequest");
        server.delete("/abc?lifecycle").expect(204);
        server.get("/abc?lifecycle").expect_error(404, "NoSuchLifecycleConfiguration");
    });
}

#[test]
fn answers_name_the_day_on_which_an_object_expires() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        let rules = [
            "<Prefix>a/</Prefix><Expiration><Days>1</Days></Expiration>",
            "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Expiration><Days>9</Days></Expiration>",
            "<Prefix>a/</Prefix><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
        ];
        put_rules(server, &bucket, &rules).expect(200);
        let now = server.service().clock.now();
        let midnight = |days: u64| {
            let at = (now + days * DAY_MS).div_ceil(DAY_MS) * DAY_MS;
            s3pail::codec::time::http_date(at)
        };
        let of = |reply: Reply| reply.expect(200).header("x-amz-expiration").map(str::to_owned);
        let first = Some(format!("expiry-date=\"{}\", rule-id=\"r0\"", midnight(1)));
        assert_eq!(of(server.put("/abc/a/1", b"x")), first);
        assert_eq!(of(server.get("/abc/a/1")), first);
        assert_eq!(of(server.head("/abc/a/1")), first);
        assert_eq!(of(server.send("PUT", "/abc/a/2", &[("x-amz-copy-source", "abc/a/1")], b"")), first);
        assert_eq!(of(server.put("/abc/b", b"x")), None);
        let tagged = of(server.send("PUT", "/abc/b", &[("x-amz-tagging", "k=v")], b"x"));
        assert_eq!(tagged, Some(format!("expiry-date=\"{}\", rule-id=\"r1\"", midnight(9))));
        let upload = server.post("/abc/a/3?uploads", b"").expect(200);
        assert_eq!(upload.header("x-amz-abort-date"), Some(midnight(2).as_str()));
        assert_eq!(upload.header("x-amz-abort-rule-id"), Some("r2"));
        let id = upload.element("UploadId").unwrap();
        let parts = server.get(&format!("/abc/a/3?uploadId={id}")).expect(200);
        assert_eq!(parts.header("x-amz-abort-rule-id"), Some("r2"));
    });
}

#[test]
fn objects_expire_by_prefix_tag_size_and_date() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        let rules = [
            "<Prefix>a/</Prefix><Expiration><Days>1</Days></Expiration>",
            "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Expiration><Days>1</Days></Expiration>",
            "<Filter><And><Prefix>s/</Prefix><ObjectSizeGreaterThan>3</ObjectSizeGreaterThan></And></Filter><Expiration><Days>1</Days></Expiration>",
            "<Prefix>past/</Prefix><Expiration><Date>2015-01-01T00:00:00Z</Date></Expiration>",
            "<Prefix>future/</Prefix><Expiration><Date>2999-01-01T00:00:00Z</Date></Expiration>",
        ];
        put_rules(server, &bucket, &rules).expect(200);
        for key in ["a/1", "b", "future/x", "past/x", "s/123", "s/1234"] {
            let body = key.rsplit('/').next().unwrap();
            server.put(&format!("/abc/{key}"), body.as_bytes()).expect(200);
        }
        server.send("PUT", "/abc/tagged", &[("x-amz-tagging", "k=v&l=w")], b"x").expect(200);
        let report = run_in_days(server, 0);
        assert_eq!((&report["buckets"], &report["expired"]), (&1.into(), &1.into()), "{report}");
        assert_eq!(keys(server, &bucket).len(), 6);
        let report = run_in_days(server, 3);
        assert_eq!(report["expired"], 3, "{report}");
        assert_eq!(keys(server, &bucket), ["b", "future/x", "s/123"]);
        assert_eq!(run_in_days(server, 3)["expired"], 0);
    });
}

#[test]
fn with_versions_an_expired_object_gets_a_delete_marker_and_everything_goes_in_time() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        enable_versioning(server, &bucket);
        let rule = "<Filter/><Expiration><Days>1</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>10</NoncurrentDays></NoncurrentVersionExpiration>";
        put_rules(server, &bucket, &[rule]).expect(200);
        server.put("/abc/k", b"x").expect(200);
        let report = run_in_days(server, 3);
        assert_eq!((&report["deleteMarkersCreated"], &report["expired"]), (&1.into(), &0.into()), "{report}");
        server.get("/abc/k").expect_error(404, "NoSuchKey");
        let versions = server.get("/abc?versions").expect(200);
        assert_eq!((versions.elements("Version").len(), versions.elements("DeleteMarker").len()), (1, 1));
        // The marker bears the date of the run, and an older version stands behind it.
        assert_eq!(run_in_days(server, 6)["deleteMarkersRemoved"], 0);
        let report = run_in_days(server, 30);
        assert_eq!(report["noncurrentExpired"], 1, "{report}");
        assert_eq!(run_in_days(server, 30)["deleteMarkersRemoved"], 1);
        assert!(server.get("/abc?versions").expect(200).elements("Key").is_empty());
        server.delete(&bucket).expect(204);
    });
}

#[test]
fn the_newest_noncurrent_versions_are_kept() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        enable_versioning(server, &bucket);
        let rule = "<Filter/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration>";
        put_rules(server, &bucket, &[rule]).expect(200);
        let put = |key: &str| {
            let reply = server.put(&format!("/abc/{key}"), b"x").expect(200);
            reply.header("x-amz-version-id").unwrap().to_owned()
        };
        let of_k: Vec<String> = (0..6).map(|_| put("k")).collect();
        let of_l: Vec<String> = (0..3).map(|_| put("l")).collect();
        assert_eq!(run_in_days(server, 0)["noncurrentExpired"], 0);
        assert_eq!(run_in_days(server, 3)["noncurrentExpired"], 3);
        let left = server.get("/abc?versions").expect(200).elements("VersionId");
        let newest_first = |ids: &[String]| ids.iter().rev().take(3).cloned().collect::<Vec<_>>();
        assert_eq!(left, [newest_first(&of_k), newest_first(&of_l)].concat());
    });
}

#[test]
fn a_delete_marker_with_nothing_behind_it_goes_when_asked_for() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        enable_versioning(server, &bucket);
        let id = server.put("/abc/alone", b"x").expect(200).header("x-amz-version-id").unwrap().to_owned();
        server.put("/abc/kept", b"x").expect(200);
        server.delete("/abc/alone").expect(204);
        server.delete("/abc/kept").expect(204);
        server.delete(&format!("/abc/alone?versionId={id}")).expect(204);
        let rule =
            "<Filter/><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
        put_rules(server, &bucket, &[rule]).expect(200);
        assert_eq!(run_in_days(server, 0)["deleteMarkersRemoved"], 1);
        assert_eq!(server.get("/abc?versions").expect(200).elements("Key"), ["kept", "kept"]);
    });
}

#[test]
fn objects_move_to_other_classes_and_keep_their_date() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        enable_versioning(server, &bucket);
        let rule = "<Filter><ObjectSizeGreaterThan>2</ObjectSizeGreaterThan></Filter><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>60</Days><StorageClass>GLACIER_IR</StorageClass></Transition><NoncurrentVersionTransition><NoncurrentDays>5</NoncurrentDays><StorageClass>DEEP_ARCHIVE</StorageClass></NoncurrentVersionTransition>";
        put_rules(server, &bucket, &[rule]).expect(200);
        server.put("/abc/k", b"old").expect(200);
        let before = server.put("/abc/k", b"new").and_then_head(server, "/abc/k");
        server.put("/abc/small", b"xx").expect(200);
        let class = || server.head("/abc/k").expect(200).header("x-amz-storage-class").map(str::to_owned);
        assert_eq!((class(), run_in_days(server, 4)["transitioned"].clone()), (None, 0.into()));
        assert_eq!(run_in_days(server, 32)["transitioned"], 2);
        assert_eq!(class().as_deref(), Some("STANDARD_IA"));
        assert_eq!(run_in_days(server, 62)["transitioned"], 1);
        let after = server.head("/abc/k").expect(200);
        assert_eq!(after.header("x-amz-storage-class"), Some("GLACIER_IR"));
        assert_eq!(after.header("last-modified"), before.header("last-modified"));
        let classes = server.get("/abc?versions").expect(200).elements("StorageClass");
        assert_eq!(classes, ["GLACIER_IR", "DEEP_ARCHIVE", "STANDARD"]);
        assert_eq!(server.get("/abc/k").expect(200).body, b"new");
    });
}

impl Reply {
    /// Expects success, then looks at the object.
    fn and_then_head(self, server: &TestServer, target: &str) -> Reply {
        self.expect(200);
        server.head(target).expect(200)
    }
}

#[test]
fn uploads_that_were_never_completed_are_aborted() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        let begin = |key: &str| {
            let id =
                server.post(&format!("/abc/{key}?uploads"), b"").expect(200).element("UploadId").unwrap();
            server.put(&format!("/abc/{key}?partNumber=1&uploadId={id}"), b"part").expect(200);
            id
        };
        let (old, other) = (begin("a/1"), begin("b/1"));
        let rule = "<Prefix>a/</Prefix><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        put_rules(server, &bucket, &[rule]).expect(200);
        assert_eq!(run_in_days(server, 1)["uploadsAborted"], 0);
        assert_eq!(run_in_days(server, 4)["uploadsAborted"], 1);
        server.get(&format!("/abc/a/1?uploadId={old}")).expect_error(404, "NoSuchUpload");
        server.get(&format!("/abc/b/1?uploadId={other}")).expect(200);
    });
}

#[test]
fn a_locked_version_outlives_the_rules() {
    for_each_backend(|server| {
        let enabled = [("x-amz-bucket-object-lock-enabled", "true")];
        server.send("PUT", "/abc", &enabled, b"").expect(200);
        let md5 = base64(&md5(b"held"));
        let hold = [("x-amz-object-lock-legal-hold", "ON"), ("content-md5", md5.as_str())];
        server.send("PUT", "/abc/k", &hold, b"held").expect(200);
        server.put("/abc/k", b"free").expect(200);
        server.put("/abc/k", b"newest").expect(200);
        let rule = "<Prefix/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
        put_rules(server, "/abc", &[rule]).expect(200);
        let report = run_in_days(server, 3);
        assert_eq!((&report["noncurrentExpired"], &report["locked"]), (&1.into(), &1.into()), "{report}");
        assert_eq!(server.get("/abc?versions").expect(200).elements("Version").len(), 2);
    });
}

#[test]
fn rules_that_are_disabled_or_deleted_do_nothing() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.put("/abc/k", b"x").expect(200);
        let body = "<LifecycleConfiguration><Rule><Prefix/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
        let md5 = base64(&md5(body.as_bytes()));
        server.send("PUT", "/abc?lifecycle", &[("content-md5", &md5)], body.as_bytes()).expect(200);
        assert_eq!(run_in_days(server, 9)["expired"], 0);
        put_rules(server, &bucket, &["<Prefix/><Expiration><Days>1</Days></Expiration>"]).expect(200);
        server.delete("/abc?lifecycle").expect(204);
        assert_eq!(run_in_days(server, 9)["buckets"], 0);
        server.head("/abc/k").expect(200);
    });
}

#[test]
fn a_walk_over_more_than_a_page_reaches_every_object() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        enable_versioning(server, &bucket);
        // More than a page of what is due, and a key whose versions span pages.
        for number in 0..300 {
            server.put(&format!("/abc/{number:04}"), b"").expect(200);
            server.put("/abc/many", b"").expect(200);
        }
        let rule = "<Prefix/><Expiration><Days>1</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
        put_rules(server, &bucket, &[rule]).expect(200);
        let report = run_in_days(server, 3);
        assert_eq!(
            (&report["deleteMarkersCreated"], &report["noncurrentExpired"]),
            (&301.into(), &299.into()),
            "{report}"
        );
    });
}

#[test]
fn a_shortened_day_lets_the_thread_act_by_itself() {
    let config = Config { lifecycle_day_ms: 50, ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    let bucket = server.bucket("abc");
    server.put("/abc/k", b"x").expect(200);
    put_rules(&server, &bucket, &["<Prefix/><Expiration><Days>1</Days></Expiration>"]).expect(200);
    crate::harness::wait_until("the object expires", || server.head("/abc/k").status == 404);
}

/// S3's own default keeps objects below 128 KiB where they are, and the objects of tests are small.
#[test]
fn where_days_are_shortened_small_objects_move_to_the_archive_classes() {
    let config = Config { lifecycle_day_ms: 50, ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    let bucket = server.bucket("abc");
    let move_to = |class: &str| {
        format!(
            "<Prefix>{class}/</Prefix><Transition><Days>1</Days><StorageClass>{class}</StorageClass></Transition>"
        )
    };
    server.put("/abc/GLACIER/k", b"x").expect(200);
    server.put("/abc/GLACIER_IR/k", b"x").expect(200);
    let (archive, other) = (move_to("GLACIER"), move_to("GLACIER_IR"));
    let header = "x-amz-transition-default-minimum-object-size";
    let reply = put_rules(&server, &bucket, &[&archive, &other]).expect(200);
    assert_eq!(reply.header(header), Some("varies_by_storage_class"));
    let class = |key: &str| server.head(key).expect(200).header("x-amz-storage-class").map(str::to_owned);
    crate::harness::wait_until("the object moves", || class("/abc/GLACIER/k").as_deref() == Some("GLACIER"));
    // Both rules are carried out in one walk, so the other object has been looked at, too.
    assert_eq!(class("/abc/GLACIER_IR/k"), None);
    // Who says what should hold is believed.
    let body = format!(
        "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status>{archive}</Rule></LifecycleConfiguration>"
    );
    let md5 = base64(&md5(body.as_bytes()));
    let fields = [("content-md5", md5.as_str()), (header, "all_storage_classes_128K")];
    let reply = server.send("PUT", &format!("{bucket}?lifecycle"), &fields, body.as_bytes()).expect(200);
    assert_eq!(reply.header(header), Some("all_storage_classes_128K"));
}

#[test]
fn only_who_may_ask_for_the_state_may_run_the_rules() {
    let config = Config { health_allow_from: Vec::new(), ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    server.anonymous().post("/_/lifecycle/run", b"").expect(403);
    let server = TestServer::memory();
    server.anonymous().get("/_/lifecycle/run").expect_error(405, "MethodNotAllowed");
}
