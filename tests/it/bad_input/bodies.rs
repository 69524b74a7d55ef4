//! XML and JSON bodies, copies, and what goes with parts (rows BI-203 to BI-236).

use super::Scene;
use s3pail::codec::base64;
use s3pail::codec::digest::md5;

/// A signed request whose body goes with its MD5, as DeleteObjects wants it.
fn with_md5(scene: &Scene, line: &str, body: &[u8]) -> crate::harness::Reply {
    let (method, target) = line.split_once(' ').unwrap();
    let digest = base64(&md5(body));
    let target = target.replace("{upload}", &scene.upload);
    scene.server.send(method, &target, &[("content-md5", &digest)], body)
}

fn refuse(scene: &Scene, id: &str, line: &str, body: &[u8], codes: &[&str]) {
    let reply = with_md5(scene, line, body);
    let code = reply.element("Code").unwrap_or_default();
    let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
    assert!(
        reply.status == 400 && codes.contains(&code.as_str()),
        "{id} {line} {shown:?}: {} {}",
        reply.status,
        reply.text()
    );
    scene.is_unharmed(id);
}

/// The operations that read XML.
const XML: &[&str] = &[
    "PUT /new",
    "PUT /shut?acl",
    "PUT /shut?tagging",
    "PUT /shut?versioning",
    "PUT /shut?cors",
    "PUT /shut?lifecycle",
    "PUT /shut?website",
    "PUT /shut?notification",
    "PUT /shut?replication",
    "PUT /shut?encryption",
    "PUT /shut?logging",
    "PUT /shut?ownershipControls",
    "PUT /shut?publicAccessBlock",
    "PUT /shut?requestPayment",
    "POST /shut?delete",
    "POST /shut/up?uploadId={upload}",
    "PUT /shut/k?tagging",
    "PUT /shut/k?acl",
];

/// BI-203 to BI-208, SE-83, SE-97: no operation resolves, recurses or collects.
#[test]
fn hostile_xml_is_malformed_for_every_operation() {
    let scene = Scene::new();
    let laughs =
        r#"<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]><Tagging>&y;</Tagging>"#;
    let external = r#"<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Tagging>&x;</Tagging>"#;
    let parameter = r#"<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/">%x;]><Tagging/>"#;
    let deep = "<a>".repeat(20_000);
    let attributes: String = (0..3_000).map(|number| format!(" a{number}=''")).collect();
    let spaces: String = (0..2_000).map(|number| format!(" xmlns:a{number}='b'")).collect();
    let wide = format!("<Tagging{attributes}/>");
    let spaced = format!("<Tagging{spaces}/>");
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("<a/>".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let codes = [
        "MalformedXML",
        "MaxMessageLengthExceeded",
        "MalformedACLError",
        "IllegalVersioningConfigurationException",
    ];
    for (id, body) in [
        ("BI-203", laughs.as_bytes()),
        ("BI-203", external.as_bytes()),
        ("BI-203", parameter.as_bytes()),
        ("BI-204", deep.as_bytes()),
        ("BI-205", wide.as_bytes()),
        ("BI-205", spaced.as_bytes()),
        ("BI-207", &utf16),
        ("BI-207", b"\xff<a/>"),
        ("BI-207", b"<a>\0</a>"),
        ("BI-207", b"<a>&#0;</a>"),
        ("BI-207", b"<a>&#xFFFFFFFF;</a>"),
        ("BI-208", b"<Tagging"),
        ("BI-208", b"<Tagging></Tagging>x"),
        ("BI-208", b"<Wrong/>"),
        ("BI-208", b"no xml"),
    ] {
        for line in XML {
            refuse(&scene, id, line, body, &codes);
        }
    }
}

/// BI-206, SE-93, SE-94: a body past its limit is refused unread, signed or not.
#[test]
fn bodies_past_their_limit_are_refused() {
    let scene = Scene::new();
    let large = vec![b' '; 5 << 20];
    for line in XML {
        let codes = ["MaxMessageLengthExceeded", "MalformedXML"];
        refuse(&scene, "BI-206", line, &large, &codes);
    }
    refuse(&scene, "BI-219", "PUT /shut?policy", &vec![b' '; 20_481], &["PolicyTooLarge", "MalformedPolicy"]);
    // SE-93: nobody's gigabyte is refused with three bytes of it sent.
    for line in XML {
        let line = line.replace("{upload}", &scene.upload);
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\nabc");
        let reply = scene.server.raw(request.as_bytes(), false);
        assert!([400, 403].contains(&reply.status), "SE-93 {line}: {}", reply.text());
        assert_eq!(reply.header("connection"), Some("close"), "SE-93 {line}");
    }
    scene.is_unharmed("SE-93");
}

fn deletion(keys: &[&str]) -> String {
    let objects: String = keys.iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    format!("<Delete>{objects}</Delete>")
}

/// BI-209 to BI-211, SE-54.
#[test]
fn deletions_of_many_are_counted_and_checked() {
    let scene = Scene::new();
    let line = "POST /shut?delete";
    for keys in [vec![], vec!["x"; 1001], vec!["x"; 10_000]] {
        refuse(
            &scene,
            "BI-209",
            line,
            deletion(&keys).as_bytes(),
            &["MalformedXML", "MaxMessageLengthExceeded"],
        );
    }
    let empty = with_md5(&scene, line, deletion(&[""]).as_bytes()).expect(200);
    assert_eq!((empty.elements("Error").len(), empty.elements("Deleted").len()), (1, 0), "BI-209");
    let twice = with_md5(&scene, line, deletion(&["x", "x"]).as_bytes()).expect(200);
    assert_eq!(twice.elements("Deleted").len(), 2, "BI-209");
    let body = deletion(&["k"]);
    let wrong = base64(&md5(b"other"));
    scene.refuse(&[
        ("BI-210", line, &[], &body, 400, "InvalidRequest"),
        ("BI-210", line, &[("content-md5", &wrong)], &body, 400, "BadDigest"),
        ("BI-228", line, &[("content-md5", "x")], &body, 400, "InvalidDigest"),
    ]);
    // BI-211, SE-54: each key is judged by itself.
    let lisa = scene.server.as_lisa();
    let digest = base64(&md5(body.as_bytes()));
    let reply = lisa.send("POST", "/shut?delete", &[("content-md5", &digest)], body.as_bytes());
    let denied = reply.status == 403 || reply.elements("Code") == ["AccessDenied"];
    assert!(denied, "BI-211: {}", reply.text());
    scene.is_unharmed("BI-211");
}

/// BI-212: whatever is wrong with a completion, the upload stays open.
#[test]
fn wrong_completions_leave_the_upload_open() {
    let mut scene = Scene::new();
    let target = format!("/shut/up?uploadId={}", scene.upload);
    let mut etags = Vec::new();
    for number in [1, 2] {
        let part =
            scene.server.put(&format!("/shut/up?partNumber={number}&uploadId={}", scene.upload), b"part");
        etags.push(part.expect(200).header("etag").unwrap().to_owned());
    }
    scene.records = super::records(&scene.server);
    let list = |parts: &[(&str, &str)]| {
        let one = |(number, etag): &(&str, &str)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        };
        let parts: String = parts.iter().map(one).collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    };
    let (one, two) = (etags[0].as_str(), etags[1].as_str());
    let numbers: Vec<String> = (1..=10_001).map(|number| number.to_string()).collect();
    let many: Vec<(&str, &str)> = numbers.iter().map(|number| (number.as_str(), one)).collect();
    for (body, codes) in [
        (list(&[]), &["MalformedXML"][..]),
        (list(&many), &["MalformedXML", "InvalidArgument", "MaxMessageLengthExceeded"]),
        (list(&[("2", two), ("1", one)]), &["InvalidPartOrder"]),
        (list(&[("1", one), ("1", one)]), &["InvalidPartOrder"]),
        (list(&[("3", one)]), &["InvalidPart"]),
        (list(&[("1", "\"00000000000000000000000000000000\"")]), &["InvalidPart"]),
        (list(&[("0", one)]), &["InvalidPart", "MalformedXML", "InvalidArgument"]),
        (list(&[("-1", one)]), &["InvalidPart", "MalformedXML", "InvalidArgument"]),
        (list(&[("2147483648", one)]), &["InvalidPart", "MalformedXML", "InvalidArgument"]),
        (list(&[("1", one), ("2", two)]), &["EntityTooSmall"]),
    ] {
        refuse(&scene, "BI-212", "POST /shut/up?uploadId={upload}", body.as_bytes(), codes);
    }
    scene.server.get(&target).expect(200);
    // BI-231: S3 deletes a bucket whose only content is an upload; one with an object stays.
    scene.server.delete("/shut").expect_error(409, "BucketNotEmpty");
    scene.is_unharmed("BI-231");
}

/// BI-213: one of two completions at once makes the object; the other finds it made or the upload gone.
#[test]
fn two_completions_at_once_make_one_object() {
    let scene = Scene::new();
    let part = scene.server.put(&format!("/shut/up?partNumber=1&uploadId={}", scene.upload), b"part");
    let etag = part.expect(200).header("etag").unwrap().to_owned();
    let body = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let target = format!("/shut/up?uploadId={}", scene.upload);
    let complete = || scene.server.post(&target, body.as_bytes()).status;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(complete)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200), "BI-213 {statuses:?}");
    assert!(statuses.iter().all(|status| [200, 404, 409].contains(status)), "BI-213 {statuses:?}");
    assert_eq!(scene.server.get("/shut/up").expect(200).body, b"part", "BI-213");
    scene.lives("BI-213");
}

/// BI-214 to BI-221, SE-36, SE-43, SE-75, SE-88, SE-100.
#[test]
fn configurations_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    let grants: String = (0..101)
        .map(|_| {
            "<Grant><Grantee xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='Group'>\
             <URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>"
        })
        .collect();
    let owner = "<Owner><ID>79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be</ID></Owner>";
    let acl = |grants: &str| {
        format!(
            "<AccessControlPolicy>{owner}<AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
        )
    };
    let tags = |pairs: &[(String, String)]| {
        let tags: String =
            pairs.iter().map(|(k, v)| format!("<Tag><Key>{k}</Key><Value>{v}</Value></Tag>")).collect();
        format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let eleven: Vec<_> = (0..11).map(|number| pair(&number.to_string(), "v")).collect();
    let cors = |rule: &str| format!("<CORSConfiguration>{rule}</CORSConfiguration>");
    let rule = |extra: &str| {
        format!(
            "<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>{extra}</CORSRule>"
        )
    };
    let days = |days: &str| {
        format!(
            "<LifecycleConfiguration><Rule><ID>a</ID><Filter/><Status>Enabled</Status><Expiration><Days>{days}\
             </Days></Expiration></Rule></LifecycleConfiguration>"
        )
    };
    let policy = |statement: &str| format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statement}]}}");
    let bad_tag = &["InvalidTag", "BadRequest"][..];
    let xml = &["MalformedXML", "InvalidRequest", "InvalidArgument"][..];
    let bad_policy = &["MalformedPolicy"][..];
    let nested = "[".repeat(10_000);
    for (id, line, body, codes) in [
        ("BI-214", "PUT /new", "<CreateBucketConfiguration><LocationConstraint>no-such</LocationConstraint></CreateBucketConfiguration>".to_owned(), &["InvalidLocationConstraint"][..]),
        ("BI-214", "PUT /new", format!("<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>", "x".repeat(1 << 20)), &["InvalidLocationConstraint", "MalformedXML", "MaxMessageLengthExceeded"]),
        ("BI-215", "PUT /shut/k?acl", acl(&grants), &["MalformedACLError", "InvalidArgument", "AccessControlListNotSupported", "MalformedXML"]),
        ("BI-215", "PUT /shut/k?acl", acl("<Grant><Grantee xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='Group'><URI>http://example.com/group</URI></Grantee><Permission>READ</Permission></Grant>"), &["InvalidArgument", "MalformedACLError", "AccessControlListNotSupported"]),
        ("BI-216", "PUT /shut/k?tagging", tags(&eleven), &["BadRequest", "InvalidTag"]),
        ("BI-216", "PUT /shut/k?tagging", tags(&[pair("a", "b"), pair("a", "c")]), bad_tag),
        ("BI-216", "PUT /shut/k?tagging", tags(&[pair(&"k".repeat(129), "v")]), bad_tag),
        ("BI-216", "PUT /shut/k?tagging", tags(&[pair("k", &"v".repeat(257))]), bad_tag),
        ("BI-216", "PUT /shut/k?tagging", tags(&[pair("aws:k", "v")]), bad_tag),
        ("BI-217", "PUT /shut?cors", cors(&rule("").repeat(101)), xml),
        ("BI-217", "PUT /shut?cors", cors(&rule("<ExposeHeader>a&#10;b: c</ExposeHeader>")), xml),
        ("SE-75", "PUT /shut?cors", cors(&rule("<ExposeHeader>a&#13;b: c</ExposeHeader>")), xml),
        ("SE-75", "PUT /shut?cors", cors(&rule("<ExposeHeader>a&#13;&#10;b: c</ExposeHeader>")), xml),
        ("BI-217", "PUT /shut?cors", cors("<CORSRule><AllowedOrigin>**</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule>"), xml),
        ("BI-219", "PUT /shut?policy", policy(r#"{"Effect":"Allow","Principal":"*","Action":"s3:NoSuchThing","Resource":"arn:aws:s3:::shut/*"}"#), bad_policy),
        ("BI-219", "PUT /shut?policy", policy(r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::other/*"}"#), bad_policy),
        ("BI-219", "PUT /shut?policy", policy(r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::shut/*","Condition":{"NoSuchOperator":{"aws:SourceIp":"1.2.3.4"}}}"#), bad_policy),
        ("BI-221", "PUT /shut?policy", "{\"Version\":\"2012-10-17\",\"Version\":\"2012-10-17\",\"Statement\":NaN}".to_owned(), bad_policy),
        ("BI-221", "PUT /shut?policy", nested, bad_policy),
        ("BI-220", "PUT /shut?lifecycle", days("-1"), xml),
        ("BI-220", "PUT /shut?lifecycle", days("9223372036854775808"), xml),
        ("BI-220", "PUT /shut?lifecycle", days("0"), xml),
    ] {
        refuse(&scene, id, line, body.as_bytes(), codes);
    }
    let line = "PUT /shut/k";
    scene.refuse(&[
        ("BI-216", line, &[("x-amz-tagging", "a=%zz")], "x", 400, "InvalidArgument"),
        ("BI-216", line, &[("x-amz-tagging", "a=1&a=2")], "x", 400, "InvalidArgument"),
    ]);
}

/// BI-219, SE-100: a pattern of many stars is matched in linear time.
#[test]
fn a_policy_full_of_wildcards_is_evaluated_in_no_time() {
    let scene = Scene::new();
    let bomb = "a*".repeat(400);
    let statement = format!(
        r#"{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::shut/{bomb}b"}}"#
    );
    let policy = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statement}]}}");
    scene.server.put("/shut?policy", policy.as_bytes()).expect(204);
    let key = "a".repeat(1000);
    for _ in 0..20 {
        scene.server.anonymous().get(&format!("/shut/{key}")).expect_error(403, "AccessDenied");
    }
    scene.server.delete("/shut?policy").expect(204);
    scene.lives("SE-100");
}

/// BI-222 to BI-225, BI-227 to BI-229, BI-233, SE-27, SE-28, SE-64, SE-65, SE-84.
#[test]
fn copies_and_headers_that_make_no_sense_are_refused() {
    let scene = Scene::new();
    let put = "PUT /shut/new";
    let part = "PUT /shut/up?partNumber=1&uploadId={upload}";
    let long = format!("/{}", "l".repeat(2048));
    let sse_c = base64(&[7; 31]);
    let sse_c_md5 = base64(&md5(&[7; 31]));
    let customer = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", sse_c.as_str()),
        ("x-amz-server-side-encryption-customer-key-md5", sse_c_md5.as_str()),
    ];
    let source = |value: &'static str| [("x-amz-copy-source", value)];
    let range = |value: &'static str| [("x-amz-copy-source", "shut/k"), ("x-amz-copy-source-range", value)];
    let bad = "InvalidArgument";
    for value in ["", "/", "shut", "shut/", "/shut", "%", "shut/%zz", "shut/%ff"] {
        for line in [put, part] {
            let (method, target) = line.split_once(' ').unwrap();
            let target = target.replace("{upload}", &scene.upload);
            let reply = scene.server.send(method, &target, &source(value), b"");
            assert_eq!(reply.status, 400, "BI-222 SE-84 {value:?} {line}: {}", reply.text());
            scene.is_unharmed("BI-222");
        }
    }
    scene.refuse(&[
        ("SE-64", put, &source("open/../shut/k"), "", 404, "NoSuchKey"),
        ("SE-64", put, &source("open/%2e%2e/shut/k"), "", 404, "NoSuchKey"),
        ("SE-64", part, &source("open/../shut/k"), "", 404, "NoSuchKey"),
        ("SE-65", put, &source("shut/k%3FversionId%3Dnull"), "", 404, "NoSuchKey"),
        ("BI-222", put, &source("shut/k?versionId=garbage"), "", 400, bad),
        ("BI-222", put, &source("shut/%256b"), "", 404, "NoSuchKey"),
        ("BI-224", "PUT /shut/k", &source("shut/k"), "", 400, "InvalidRequest"),
        ("BI-225", part, &range("bytes=0-4"), "", 400, bad),
        ("BI-225", part, &range("bytes=2-1"), "", 400, bad),
        ("BI-225", part, &range("0-1"), "", 400, bad),
        (
            "BI-227",
            put,
            &[("x-amz-copy-source", "shut/k"), ("x-amz-metadata-directive", "FOO")],
            "",
            400,
            bad,
        ),
        ("BI-227", put, &[("x-amz-storage-class", "FOO")], "x", 400, "InvalidStorageClass"),
        ("BI-227", put, &[("x-amz-server-side-encryption", "FOO")], "x", 400, "InvalidArgument"),
        ("BI-227", put, &customer, "x", 400, bad),
        ("BI-228", put, &[("content-md5", "not base64!")], "x", 400, "InvalidDigest"),
        ("BI-228", put, &[("content-md5", "AAAA")], "x", 400, "InvalidDigest"),
        ("BI-228", put, &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], "x", 400, "BadDigest"),
        (
            "BI-229",
            put,
            &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-sha1", "x")],
            "x",
            400,
            "InvalidRequest",
        ),
        ("BI-229", put, &[("x-amz-sdk-checksum-algorithm", "FOO")], "x", 400, "InvalidRequest"),
        (
            "BI-233",
            put,
            &[("x-amz-website-redirect-location", "javascript:alert(1)")],
            "x",
            400,
            "InvalidRedirectLocation",
        ),
        ("BI-233", put, &[("x-amz-website-redirect-location", &long)], "x", 400, "InvalidRedirectLocation"),
    ]);
    // BI-223, SE-27, SE-28: what may not be read cannot be copied.
    let lisa = scene.server.as_lisa();
    lisa.put("/lisas", b"").expect(200);
    let upload = lisa.post("/lisas/up?uploads", b"").expect(200).element("UploadId").unwrap();
    for target in ["/lisas/k".to_owned(), format!("/lisas/up?partNumber=1&uploadId={upload}")] {
        let reply = lisa.send("PUT", &target, &source("shut/k"), b"");
        reply.expect_error(403, "AccessDenied");
    }
    scene.lives("BI-223");
}

/// BI-234, BI-236, OP-12, OP-19: what a client wrote comes back escaped.
#[test]
fn errors_show_what_was_sent_as_text() {
    let scene = Scene::new();
    for target in ["/shut/%3Cscript%3E&amp;", "/shut/]]%3E", "/shut/%00%01%1f", "/shut/%E2%80%A8", "/a%3Cb/c"]
    {
        let reply = scene.server.get(target);
        assert!([400, 404].contains(&reply.status), "BI-236 {target}: {}", reply.text());
        let text = reply.text();
        assert!(!text.contains("<script") && !text.contains("]]>"), "BI-236 {target}: {text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "BI-236 {target}: {text}");
        assert_eq!(reply.header("content-type"), Some("application/xml"), "BI-234 {target}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "OP-19 {target}");
    }
    scene.is_unharmed("BI-236");
}

/// `/live`, `/ready` and `/metrics` answer whoever may ask; see tests/it/health.rs and tests/it/metrics.rs.
/// BI-235, SE-11, SE-47, SE-102, SE-105, SE-106, SE-119: what is not a bucket is no way in.
#[test]
fn internal_paths_tell_nobody_anything() {
    let scene = Scene::new();
    for path in [
        "/_/",
        "/_/config",
        "/_/metrics",
        "/_/backbeat",
        "/_//healthcheck",
        "/_%2fhealthcheck",
        "/./_/healthcheck",
        "/metrics/",
        "/debug/pprof",
        "/minio/admin/v3/info",
        "/minio/bootstrap/v1/verify",
        "/admin",
        "/health",
        "/env",
        "/rustfs/rpc",
        "/?Action=AssumeRole",
        "/.well-known/x",
        "/live/",
        "/ready/",
        "//live",
    ] {
        for method in ["GET", "PUT", "POST", "DELETE", "HEAD"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            let reply = scene.server.raw(request.as_bytes(), method == "HEAD");
            assert!(
                (400..=501).contains(&reply.status) && reply.status != 500,
                "BI-235 {method} {path}: {}",
                reply.status
            );
            assert!(!reply.text().contains("verySecretKey"), "SE-102 {method} {path}");
            scene.is_unharmed("BI-235");
        }
    }
}
