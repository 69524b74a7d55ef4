//! What went wrong in other servers (rows `SE-...`), where no other test has the shape already.

use super::Scene;
use crate::harness::{Client, DEADLINE, Folder, now};
use s3pail::auth::Head;
use s3pail::auth::sigv4::Signer;
use s3pail::config::Config;
use s3pail::http::{Headers, Method};
use s3pail::log::{Level, Log};
use s3pail::server::Server;
use std::io::Write;
use std::sync::{Arc, Mutex};

fn set_policy(scene: &Scene, statements: &str) {
    let policy = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}");
    scene.server.put("/shut?policy", policy.as_bytes()).expect(204);
}

fn allow(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Effect":"Allow","Principal":"*","Action":"{action}","Resource":"arn:aws:s3:::{resource}"}}"#
    )
}

/// SE-22, SE-24, SE-53: no route hands out identities.
#[test]
fn no_action_is_taken_from_anybody() {
    let scene = Scene::new();
    for action in
        ["AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken", "GetCallerIdentity", "ListUsers"]
    {
        for (target, body) in [
            (format!("/?Action={action}&Version=2011-06-15"), String::new()),
            ("/".to_owned(), format!("Action={action}")),
        ] {
            for client in [&scene.server.anonymous(), &scene.server.as_lisa()] {
                let reply = client.post(&target, body.as_bytes());
                assert!([400, 403, 405, 501].contains(&reply.status), "SE-22 {action}: {}", reply.text());
            }
        }
    }
    scene.is_unharmed("SE-22");
}

/// SE-29: a condition on the source of a copy holds for parts as well.
#[test]
fn a_condition_on_copy_sources_holds_for_both_kinds_of_copy() {
    let scene = Scene::new();
    set_policy(
        &scene,
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::shut/*","Condition":{"StringNotLike":{"s3:x-amz-copy-source":"shut/*"}}}"#,
    );
    let part = format!("/shut/up?partNumber=1&uploadId={}", scene.upload);
    for target in ["/shut/copied", part.as_str()] {
        let source = |from| [("x-amz-copy-source", from)];
        scene.server.send("PUT", target, &source("open/k"), b"").expect_error(403, "AccessDenied");
        scene.server.send("PUT", target, &source("shut/k"), b"").expect(200);
    }
    scene.lives("SE-29");
}

/// SE-30: who may read an object may not read its versions by that alone.
#[test]
fn a_version_is_read_under_its_own_action() {
    let scene = Scene::new();
    set_policy(&scene, &allow("s3:GetObject", "shut/*"));
    let lisa = scene.server.as_lisa();
    lisa.get("/shut/k").expect(200);
    lisa.get("/shut/k?versionId=null").expect_error(403, "AccessDenied");
    lisa.put("/lisas", b"").expect(200);
    let source = [("x-amz-copy-source", "shut/k?versionId=null")];
    lisa.send("PUT", "/lisas/k", &source, b"").expect_error(403, "AccessDenied");
    scene.lives("SE-30");
}

/// SE-31 to SE-33, OP-03: nothing of a private bucket is shown to nobody.
#[test]
fn anonymous_requests_see_nothing_of_a_private_bucket() {
    let scene = Scene::new();
    let nobody = scene.server.anonymous();
    for query in [
        "",
        "?list-type=2",
        "?versions",
        "?uploads",
        "?location",
        "?acl",
        "?policy",
        "?policyStatus",
        "?cors",
        "?lifecycle",
        "?tagging",
        "?versioning",
        "?logging",
        "?notification",
        "?encryption",
        "?object-lock",
        "?website",
    ] {
        for client in [&nobody, &scene.server.as_lisa()] {
            let reply = client.get(&format!("/shut{query}"));
            assert_eq!(reply.status, 403, "SE-32 {query}: {}", reply.text());
        }
    }
    nobody.head("/shut").expect(403);
    nobody.get("/").expect_error(403, "AccessDenied");
    nobody.put("/new", b"").expect_error(403, "AccessDenied");
    nobody.put("/shut/k", b"x").expect_error(403, "AccessDenied");
    // SE-31: a block of public policies closes every listing of a bucket that was open.
    let block = "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
    scene.server.put("/open?publicAccessBlock", block.as_bytes()).expect(200);
    for target in ["/open", "/open?versions", "/open?uploads", "/open/k", "/open/k?versionId=null"] {
        nobody.get(target).expect_error(403, "AccessDenied");
    }
    scene.lives("SE-31");
}

/// SE-36: who may write objects may not write settings.
#[test]
fn writing_objects_does_not_allow_to_write_settings() {
    let mut scene = Scene::new();
    set_policy(&scene, &allow("s3:PutObject", "shut/*"));
    scene.records = super::records(&scene.server);
    let lisa = scene.server.as_lisa();
    for setting in [
        "policy",
        "acl",
        "cors",
        "lifecycle",
        "website",
        "versioning",
        "tagging",
        "notification",
        "replication",
        "encryption",
        "logging",
        "ownershipControls",
        "publicAccessBlock",
        "requestPayment",
        "object-lock",
        "accelerate",
    ] {
        let reply = lisa.put(&format!("/shut?{setting}"), b"<x/>");
        assert_eq!(reply.status, 403, "SE-36 {setting}: {}", reply.text());
        scene.is_unharmed("SE-36");
    }
    for query in ["acl", "tagging", "retention", "legal-hold"] {
        // What may be decisive in the body is looked at before the decision.
        let body = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
        let reply = lisa.put(&format!("/shut/k?{query}"), body.as_bytes());
        assert!([400, 403].contains(&reply.status), "SE-36 {query}: {}", reply.text());
        scene.is_unharmed("SE-36");
    }
    lisa.delete("/shut/k").expect_error(403, "AccessDenied");
    scene.is_unharmed("SE-36");
}

/// BI-159, SE-37, SE-69, SE-95: a sub-resource that S3 has and this server has not is never data.
#[test]
fn operations_that_are_not_there_are_not_taken_for_others() {
    let scene = Scene::new();
    for (method, target) in [
        ("POST", "/shut/k?select&select-type=2"),
        ("POST", "/shut/k?foo"),
        ("PUT", "/shut?foo"),
        ("DELETE", "/shut?foo"),
        ("DELETE", "/shut/k?foo"),
        ("PUT", "/shut/k?foo"),
        ("GET", "/shut?session"),
        ("PUT", "/shut?replication-metrics"),
        ("DELETE", "/shut?replication-x"),
    ] {
        let reply = scene.server.send(method, target, &[], b"x");
        assert!([400, 405, 501].contains(&reply.status), "SE-37 {method} {target}: {}", reply.text());
        scene.is_unharmed("SE-37");
    }
    let fields = [("x-amz-meta-snowball-auto-extract", "true"), ("x-minio-extract", "true")];
    scene.server.send("PUT", "/open/archive.tar", &fields, b"../k").expect(200);
    assert_eq!(scene.server.get("/open/archive.tar").text(), "../k", "SE-69");
}

/// SE-38 to SE-40: what the policy looked at is what is stored.
#[test]
fn a_policy_sees_the_key_that_the_store_sees() {
    let scene = Scene::new();
    scene.server.put("/shut/private", b"hidden").expect(200);
    scene.server.put("/shut/public/a", b"public").expect(200);
    set_policy(&scene, &allow("s3:GetObject", "shut/public/*"));
    let nobody = scene.server.anonymous();
    nobody.get("/shut/public/a").expect(200);
    nobody.get("/shut/public%2Fa").expect(200);
    nobody.get("/shut/%70ublic/a").expect(200);
    for target in [
        "/shut/private",
        "/shut/public/../private",
        "/shut/public/%2e%2e/private",
        "/shut/public/..%2fprivate",
        "/shut//public/a",
        "/shut/PUBLIC/a",
        "/shut/public%252Fa",
        "/shut/x/../public/a",
    ] {
        let reply = nobody.get(target);
        assert!([403, 404].contains(&reply.status), "SE-39 {target}: {}", reply.text());
        assert!(!reply.text().contains("hidden"), "SE-39 {target}");
    }
    for bucket in ["shut2", "sshut"] {
        scene.server.put(&format!("/{bucket}"), b"").expect(200);
        scene.server.put(&format!("/{bucket}/public/a"), b"x").expect(200);
        nobody.get(&format!("/{bucket}/public/a")).expect_error(403, "AccessDenied");
    }
    nobody.get("/shut").expect_error(403, "AccessDenied");
    scene.lives("SE-39");
}

/// SE-42: a denied bypass is denied.
#[test]
fn a_denied_bypass_of_governance_is_denied() {
    let scene = Scene::new();
    let server = &scene.server;
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    server.send("PUT", "/locked", &lock, b"").expect(200);
    let until = s3pail::codec::time::iso8601(now() + 3_600_000);
    let md5 = s3pail::codec::base64(&s3pail::codec::digest::md5(b"x"));
    let fields = [
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", until.as_str()),
        ("content-md5", md5.as_str()),
    ];
    let version = server.send("PUT", "/locked/k", &fields, b"x").expect(200).version();
    let deny = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:BypassGovernanceRetention","Resource":"arn:aws:s3:::locked/*"}]}"#;
    server.put("/locked?policy", deny.as_bytes()).expect(204);
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    let target = format!("/locked/k?versionId={version}");
    server.send("DELETE", &target, &bypass, b"").expect_error(403, "AccessDenied");
    server.get(&target).expect(200);
    scene.lives("SE-42");
}

/// SE-44: a bucket whose record cannot be read is closed, not open.
#[test]
fn a_bucket_that_cannot_be_read_is_closed() {
    let scene = Scene::new();
    let key = scene.records.keys().find(|key| String::from_utf8_lossy(key).contains("open")).unwrap().clone();
    let mut batch = s3pail::storage::Batch::default();
    batch.put(key, b"garbage".to_vec());
    scene.server.service().meta.commit(batch).unwrap();
    for (method, target) in [("GET", "/open/k"), ("DELETE", "/open/k"), ("PUT", "/open/k"), ("GET", "/open")]
    {
        let reply = scene.server.send(method, target, &[], b"");
        assert_eq!(reply.status, 500, "SE-44 {method} {target}: {}", reply.text());
    }
    assert_eq!(scene.server.get("/shut/k").expect(200).body, super::KEPT);
}

/// SE-57: no name is reserved for the server, so none is a way into it.
#[test]
fn names_of_internal_buckets_are_ordinary_or_impossible() {
    let scene = Scene::new();
    for name in [
        ".minio.sys",
        "minio",
        ".s3pail",
        "__metadata",
        "users..bucket",
        "mpu-shadow-bucket",
        "namespace",
        "..",
        "_",
        ".rustfs.sys",
    ] {
        for (method, target) in [
            ("PUT", format!("/{name}/x")),
            ("POST", format!("/{name}")),
            ("GET", format!("/{name}/format.json")),
        ] {
            let content = [("content-type", "multipart/form-data; boundary=x")];
            let reply = scene.server.send(method, &target, &content, b"x");
            assert!(
                (400..500).contains(&reply.status),
                "SE-57 {method} {target}: {} {}",
                reply.status,
                reply.text()
            );
            scene.is_unharmed("SE-57");
        }
    }
}

/// SE-79, SE-80, BI-218, OP-18: without a configuration no origin is let in, and none is echoed.
#[test]
fn an_origin_is_never_echoed_without_a_rule() {
    let scene = Scene::new();
    let long = format!("http://{}", "o".repeat(8000));
    for origin in ["http://evil.example", "null", "<script>", "http://a%0d%0ax: y", &long] {
        let reply = scene.server.send("GET", "/open/k", &[("origin", origin)], b"").expect(200);
        assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "SE-80 {origin}");
        let names = vec!["x-a"; 1000].join(",");
        let fields = [
            ("origin", origin),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", names.as_str()),
        ];
        let reply = scene.server.anonymous().send("OPTIONS", "/open/k", &fields, b"");
        assert_eq!(reply.status, 403, "BI-218 {origin}: {}", reply.text());
        assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "SE-80 {origin}");
    }
    scene.is_unharmed("SE-80");
}

/// SE-113: nothing of the Host header becomes a place to go with credentials.
#[test]
fn a_host_header_never_becomes_a_redirect() {
    let scene = Scene::new();
    for target in ["/", "/open", "/open/k", "/open/", "/missing"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let reply = scene.server.raw(request.as_bytes(), false);
        assert!(!(300..400).contains(&reply.status), "SE-113 {target}");
        assert!(reply.header("location").is_none(), "SE-113 {target}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// SE-86, SE-104, OP-11: broken requests are logged at the most talkative level, in one line each, without
/// secrets and without control characters.
#[test]
fn the_log_holds_no_secret_and_one_line_for_each_request() {
    let lines = Lines::default();
    let log = Arc::new(Log::to_writer(Level::Trace, Box::new(lines.clone())));
    let server = Server::start(Config::in_memory(), log).unwrap();
    let address = server.addresses()[0];
    let bart = Client::new(address, Some(("accessKey1", "verySecretKey1")));
    let wrong = Client::new(address, Some(("accessKey1", "canary-secret")));
    bart.put("/abc", b"").expect(200);
    let customer = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTEyMzQ="),
        ("x-amz-server-side-encryption-customer-key-md5", "x"),
    ];
    bart.send("PUT", "/abc/k", &customer, b"x");
    wrong.get("/abc/k").expect(403);
    bart.send("GET", "/abc/k", &[("x-amz-security-token", "canary-token")], b"");
    let mut headers = Headers::new();
    headers.push("host", &address.to_string());
    let signer = Signer { access_key: "accessKey1", secret: "verySecretKey1", region: "us-east-1" };
    let head = Head { method: Method::Get, path: "/abc/k", query: "", headers: &headers };
    let url = signer.presign(now(), 60, &head);
    let signature = url.rsplit_once("X-Amz-Signature=").unwrap().1[..64].to_owned();
    let anonymous = Client::new(address, None);
    anonymous.get(&format!("/abc/k?{url}"));
    anonymous.get("/abc/a%0Ab%1B%5B31m%0D%22");
    anonymous.raw(b"GET / HTTP/1.1\r\nHost: h\r\nx\r\n\r\n", false);
    anonymous.raw(b"GET /\x1b[31m HTTP/1.1\r\nHost: h\r\n\r\n", false);
    let requests = 9;
    let count = || String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    crate::harness::wait_until("all requests are logged", || {
        count().lines().filter(|line| line.contains("\"request\"") || line.contains("\"refused\"")).count()
            >= requests - 1
    });
    server.stop(DEADLINE).unwrap();
    let text = count();
    for secret in ["verySecretKey1", "canary-secret", "Y2FuYXJ5", "canary-token", signature.as_str()] {
        assert!(!text.contains(secret), "SE-104 {secret}: {text}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "OP-11: {text}");
    for line in text.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "OP-11: {line}");
    }
}

/// SE-18, SE-82, SE-96: what no source of the server does.
#[test]
fn no_source_spawns_a_program_or_compares_signatures_early() {
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            read += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("process::Command") && !text.contains("Command::new("), "SE-82 {path:?}");
            let auth = path.components().any(|part| part.as_os_str() == "auth");
            let test = path.ends_with("tests.rs");
            for line in
                text.lines().filter(|_| auth && !test).filter(|line| !line.trim_start().starts_with("//"))
            {
                let early = line.contains("== signature")
                    || line.contains("signature ==")
                    || line.contains("== secret");
                assert!(!early && !line.contains("provided =="), "SE-18 {path:?}: {line}");
            }
        }
    }
    assert!(read > 50, "the sources were read");
    let manifest = include_str!("../../../Cargo.toml");
    assert!(manifest.contains("unwrap_used = \"warn\""), "SE-96");
}

/// SE-70, SE-71, OP-07: keys are not paths, so neither a folder beside the data nor a link in it is reached.
#[cfg(unix)]
#[test]
fn links_and_neighbours_of_the_data_folder_are_not_followed() {
    let scene = Scene::new();
    let root = scene.canary.parent().unwrap().to_owned();
    std::fs::create_dir(root.join("data2")).unwrap();
    std::fs::write(root.join("data2").join("x"), b"neighbour").unwrap();
    std::os::unix::fs::symlink(&scene.canary, root.join("data").join("link")).unwrap();
    for key in ["link", "../data2/x", "2/x", "..%2fdata2%2fx", "../data/link"] {
        scene.server.get(&format!("/shut/{key}")).expect_error(404, "NoSuchKey");
        scene.server.put(&format!("/shut/{key}"), b"new").expect(200);
        scene.server.delete(&format!("/shut/{key}")).expect(204);
        scene.lives("SE-71");
    }
    assert_eq!(std::fs::read(root.join("data2").join("x")).unwrap(), b"neighbour");
}

/// SE-109, OP-01: the server listens where it was told to, and nowhere else.
#[cfg(target_os = "linux")]
#[test]
fn one_port_is_open() {
    let folder = Folder::new();
    let server = crate::config::Server::start(crate::config::s3pail(
        &folder.0,
        &["--listen", "127.0.0.1:0", "--backend", "mem"],
        &[],
    ));
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", server.id()))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_string_lossy().strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
        })
        .collect();
    let mut listening = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let open = table.starts_with("udp") || fields[3] == "0A";
            if open && inodes.contains(&fields[9].to_owned()) {
                listening.push(format!("{table} {}", fields[1]));
            }
        }
    }
    assert_eq!(listening.len(), 1, "{listening:?}");
    assert!(listening[0].starts_with("tcp 0100007F:"), "{listening:?}");
}
