//! Uploads from HTML forms: what is stored, what is refused, and what a policy is good for.

use crate::harness::{Reply, TestServer, for_each_backend, now};
use s3pail::auth::keys::derive;
use s3pail::codec::{base64, hex, time};

const KEY: &str = "accessKey1";
const SECRET: &str = "verySecretKey1";
const BOUNDARY: &str = "form-boundary";

/// A form with its fields in order; the file comes last.
#[derive(Clone, Default)]
struct Form {
    fields: Vec<(String, String)>,
    file: Option<(String, Vec<u8>)>,
    after: String,
}

impl Form {
    fn new(key: &str, file: &[u8]) -> Form {
        Form { file: Some(("name.txt".to_owned(), file.to_vec())), ..Form::default() }.with("key", key)
    }

    fn with(mut self, name: &str, value: &str) -> Form {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Signs a policy of these conditions, and adds those that the signature itself needs.
    fn signed(self, conditions: &str) -> Form {
        self.signed_until(conditions, now() + 60_000)
    }

    fn signed_until(self, conditions: &str, expires: u64) -> Form {
        let date = time::basic(now());
        let credential = format!("{KEY}/{}/us-east-1/s3/aws4_request", &date[..8]);
        let own = format!(
            "{{\"x-amz-credential\": \"{credential}\"}}, {{\"x-amz-date\": \"{date}\"}}, \
             {{\"x-amz-algorithm\": \"AWS4-HMAC-SHA256\"}}"
        );
        let comma = if conditions.is_empty() { "" } else { "," };
        let policy = format!(
            "{{\"expiration\": \"{}\", \"conditions\": [{conditions}{comma} {own}]}}",
            time::iso8601(expires)
        );
        self.with("x-amz-credential", &credential).with("x-amz-date", &date).signed_policy(&policy)
    }

    fn signed_policy(self, policy: &str) -> Form {
        let policy = base64(policy.as_bytes());
        let date = &self.fields.iter().find(|(name, _)| name == "x-amz-date").unwrap().1[..8];
        let mac = derive(SECRET, date, "us-east-1").chain_update(&policy).finalize();
        let signature = hex(mac.as_ref());
        self.with("x-amz-algorithm", "AWS4-HMAC-SHA256")
            .with("policy", &policy)
            .with("x-amz-signature", &signature)
    }

    fn replace(mut self, name: &str, value: &str) -> Form {
        self.fields.iter_mut().find(|(known, _)| known == name).unwrap().1 = value.to_owned();
        self
    }

    fn without(mut self, name: &str) -> Form {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.fields {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(format!("{head}{value}\r\n").as_bytes());
        }
        if let Some((name, content)) = &self.file {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
                 Content-Type: application/x-ignored\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("{}--{BOUNDARY}--\r\n", self.after).as_bytes());
        body
    }

    fn send(&self, server: &TestServer, target: &str) -> Reply {
        send_raw(server, target, &self.body())
    }
}

fn send_raw(server: &TestServer, target: &str, body: &[u8]) -> Reply {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    server.anonymous().send("POST", target, &[("content-type", &kind)], body)
}

/// What most policies of these tests allow.
const ALLOWED: &str = "{\"bucket\": \"form\"}, [\"starts-with\", \"$key\", \"user/\"]";

#[test]
fn a_signed_form_stores_its_file_with_its_fields() {
    for_each_backend(|server| {
        server.bucket("form");
        let conditions = format!(
            "{ALLOWED}, {{\"acl\": \"private\"}}, [\"starts-with\", \"$Content-Type\", \"text/\"], \
             [\"eq\", \"$x-amz-meta-Tag\", \"a, b=c\"], [\"starts-with\", \"$tagging\", \"\"], \
             [\"content-length-range\", 1, 10000000]"
        );
        let file = b"\r\n--form-boundar\r\n--".repeat(200_000);
        let tags = "<Tagging><TagSet><Tag><Key>a b</Key><Value>c=d</Value></Tag></TagSet></Tagging>";
        let mut form = Form::new("user/${filename}", &file)
            .with("acl", "private")
            .with("Content-Type", "text/plain")
            .with("X-Amz-Meta-Tag", "a, b=c")
            .with("tagging", tags)
            .with("x-ignore-me", "x")
            .signed(&conditions);
        form.file = Some(("C:\\dir\\../a b.txt".to_owned(), file.clone()));
        form.after =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload\r\n");
        let reply = form.send(server, "/form").expect(204);
        let etag = reply.header("etag").unwrap().to_owned();
        assert!(reply.header("location").unwrap().ends_with("/form/user/a%20b.txt"));
        let stored = server.get("/form/user/a%20b.txt").expect(200);
        assert!(stored.body == file);
        assert_eq!(stored.header("etag"), Some(etag.as_str()));
        assert_eq!(stored.header("content-type"), Some("text/plain"));
        assert_eq!(stored.header("x-amz-meta-tag"), Some("a, b=c"));
        let tags = server.get("/form/user/a%20b.txt?tagging").expect(200);
        assert_eq!(
            (tags.element("Key").unwrap(), tags.element("Value").unwrap()),
            ("a b".into(), "c=d".into())
        );
    });
}

#[test]
fn the_form_chooses_the_answer() {
    let server = TestServer::memory();
    server.bucket("form");
    let conditions = format!(
        "{ALLOWED}, [\"starts-with\", \"$success_action_status\", \"\"], \
         [\"starts-with\", \"$success_action_redirect\", \"\"], [\"starts-with\", \"$redirect\", \"\"]"
    );
    let fields = |fields: &[(&str, &str)]| {
        let all = ["success_action_status", "success_action_redirect", "redirect"];
        let mut form = Form::new("user/é k", b"x");
        for name in all {
            let value = fields.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
            form = form.with(name, value);
        }
        form.signed(&conditions).send(&server, "/form")
    };
    assert_eq!(fields(&[("success_action_status", "200")]).expect(200).body, b"");
    fields(&[("success_action_status", "404")]).expect(204);
    let created = fields(&[("success_action_status", "201")]).expect(201);
    assert_eq!(created.element("Bucket").as_deref(), Some("form"));
    assert_eq!(created.element("Key").as_deref(), Some("user/é k"));
    assert_eq!(created.element("ETag").unwrap(), "&quot;9dd4e461268c8034f5c8564e155c67a6&quot;");
    assert_eq!(created.element("Location").as_deref(), created.header("location"));
    let query = "bucket=form&key=user%2F%C3%A9%20k&etag=%229dd4e461268c8034f5c8564e155c67a6%22";
    let redirected = fields(&[("success_action_redirect", "https://h/p?a")]).expect(303);
    assert_eq!(redirected.header("location").unwrap(), format!("https://h/p?a&{query}"));
    // BI-202: where no browser should go, the answer is as if nothing had been asked for.
    for bad in ["javascript:alert(1)", "http://h/\r\nSet-Cookie: a", "/relative"] {
        let reply = fields(&[("success_action_redirect", bad)]).expect(204);
        assert!(reply.header("set-cookie").is_none());
    }
}

/// BI-192, BI-193, BI-194, BI-195, SE-58, SE-59.
#[test]
fn a_form_is_held_to_its_policy() {
    let server = TestServer::memory();
    server.bucket("form");
    let form = |conditions: &str| Form::new("user/k", b"12345").signed(&format!("{ALLOWED}{conditions}"));
    let denied = |form: Form| {
        form.send(&server, "/form").expect_error(403, "AccessDenied").element("Message").unwrap()
    };
    form("").send(&server, "/form").expect(204);
    server.delete("/form/user/k").expect(204);
    assert!(denied(form("").with("acl", "public-read")).contains("Extra input fields: acl"));
    assert!(denied(form("").with("x-amz-meta-a", "b")).contains("Extra input fields: x-amz-meta-a"));
    assert!(
        denied(form("").replace("key", "other/k")).contains("Policy Condition failed: [\"starts-with\", ")
    );
    denied(form(", {\"acl\": \"private\"}"));
    denied(form(", {\"acl\": \"private\"}").with("acl", "public-read"));
    denied(form(", {\"acl\": \"private\"}").with("acl", "private").with("ACL", "public-read"));
    denied(form("").with("KEY", "other"));
    denied(Form::new("user/k", b"").signed("[\"starts-with\", \"$key\", \"\"]"));
    denied(Form::new("user/k", b"").signed_until(ALLOWED, now() - 1_000));
    let size = |range: &str| form(&format!(", [\"content-length-range\", {range}]")).send(&server, "/form");
    size("6, 10").expect_error(400, "EntityTooSmall");
    size("0, 4").expect_error(400, "EntityTooLarge");
    server.get("/form/user/k").expect_error(404, "NoSuchKey");
    size("5, 5").expect(204);
}

/// BI-191, SE-56, SE-61.
#[test]
fn a_policy_is_good_for_its_bucket_only() {
    let server = TestServer::memory();
    server.bucket("form");
    server.bucket("victim");
    let form = Form::new("user/k", b"x").signed(ALLOWED);
    form.send(&server, "/victim").expect_error(403, "AccessDenied");
    form.clone().with("bucket", "form").send(&server, "/victim").expect_error(403, "AccessDenied");
    form.clone().with("bucket", "victim").send(&server, "/form").expect_error(403, "AccessDenied");
    form.with("bucket", "form").send(&server, "/form").expect(204);
    let unbound = Form::new("user/k", b"x").signed("[\"starts-with\", \"$key\", \"\"]");
    unbound.send(&server, "/victim").expect_error(403, "AccessDenied");
    assert!(server.get("/victim").expect(200).element("Key").is_none());
}

/// SE-41: a form opens nothing that its signer may not write.
#[test]
fn a_form_is_good_for_what_its_signer_may_write() {
    let server = TestServer::memory();
    server.as_lisa().put("/lisas", b"").expect(200);
    let conditions = "{\"bucket\": \"lisas\"}, [\"starts-with\", \"$key\", \"\"]";
    let form = Form::new("k", b"x").signed(conditions);
    form.send(&server, "/lisas").expect_error(403, "AccessDenied");
    assert!(server.as_lisa().get("/lisas").expect(200).element("Key").is_none());
}

/// BI-197, BI-198, SE-15.
#[test]
fn a_form_must_be_signed_as_it_is() {
    let server = TestServer::memory();
    server.bucket("form");
    let form = Form::new("user/k", b"x").signed(ALLOWED);
    Form::new("k", b"x").send(&server, "/form").expect_error(403, "AccessDenied");
    let send = |form: Form| form.send(&server, "/form");
    let other = base64(b"{\"expiration\": \"2999-01-01T00:00:00Z\", \"conditions\": []}");
    send(form.clone().replace("policy", &other)).expect_error(403, "SignatureDoesNotMatch");
    let wrong = "0".repeat(64);
    send(form.clone().replace("x-amz-signature", &wrong)).expect_error(403, "SignatureDoesNotMatch");
    let date = time::basic(now() - 1_000);
    send(form.clone().replace("x-amz-date", &date)).expect_error(403, "AccessDenied");
    for name in ["policy", "x-amz-signature", "x-amz-credential", "x-amz-algorithm", "x-amz-date"] {
        send(form.clone().without(name)).expect_error(400, "InvalidArgument");
    }
    send(Form::new("k", b"x").with("policy", &other)).expect_error(400, "InvalidArgument");
    send(Form::new("k", b"x").with("AWSAccessKeyId", KEY)).expect_error(400, "InvalidArgument");
    send(form.clone().with("x-amz-security-token", "t")).expect_error(400, "InvalidToken");
    for bad in ["", "{", "{\"conditions\": []}"] {
        let form = Form::new("k", b"x").with("x-amz-date", &time::basic(now())).with(
            "x-amz-credential",
            &format!("{KEY}/{}/us-east-1/s3/aws4_request", &time::basic(now())[..8]),
        );
        send(form.signed_policy(bad)).expect_error(400, "InvalidPolicyDocument");
    }
    assert!(server.get("/form").expect(200).element("Key").is_none());
}

#[test]
fn anybody_may_post_where_anybody_may_write() {
    let server = TestServer::memory();
    server.send("PUT", "/public", &[("x-amz-acl", "public-read-write")], b"").expect(200);
    Form::new("../k", b"x").with("acl", "public-read").send(&server, "/public").expect(204);
    assert_eq!(server.anonymous().get("/public/../k").expect(200).body, b"x");
    let split = Form::new("k", b"x").with("cache-control", "b\r\nSet-Cookie: c");
    split.send(&server, "/public").expect_error(400, "InvalidArgument");
}

/// Unlike a header, a form says what its characters are; encoded words in it are just text. The answers are
/// those that others have recorded of S3.
#[test]
fn user_metadata_of_a_form_is_text() {
    let server = TestServer::memory();
    server.send("PUT", "/public", &[("x-amz-acl", "public-read-write")], b"").expect(200);
    for (text, expected) in [
        ("ÄMÄZÕÑ S3", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
        (
            "test_—_file%E2%80%94_é_2👑.pdf",
            "=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=F0=9F=91=91.pdf?=",
        ),
        ("=?UTF-8?Q?actually-ascii?=", "=?UTF-8?Q?actually-ascii?="),
        ("\u{1}\u{2}", "=?UTF-8?B?AQI=?="),
        ("b\r\nSet-Cookie: c", "=?UTF-8?Q?b=0D=0ASet-Cookie:_c?="),
        ("! \"#$%&'()*+,-./09:;<>'?@AZ[\\]^_`az{|}~", "! \"#$%&'()*+,-./09:;<>'?@AZ[\\]^_`az{|}~"),
    ] {
        let form = Form::new("k", b"x").with("acl", "public-read").with("x-amz-meta-a", text);
        form.send(&server, "/public").expect(204);
        let reply = server.anonymous().head("/public/k").expect(200);
        assert_eq!((reply.header("x-amz-meta-a"), reply.header("set-cookie")), (Some(expected), None));
    }
}

/// BI-199, BI-200, BI-201, SE-60, SE-88, SE-94.
#[test]
fn a_form_that_is_no_form_is_refused() {
    let server = TestServer::memory();
    server.send("PUT", "/public", &[("x-amz-acl", "public-read-write")], b"").expect(200);
    let anonymous = server.anonymous();
    anonymous
        .send("POST", "/public", &[("content-type", "text/plain")], b"x")
        .expect_error(412, "PreconditionFailed");
    let no_boundary = [("content-type", "multipart/form-data")];
    anonymous.send("POST", "/public", &no_boundary, b"x").expect_error(400, "MalformedPOSTRequest");
    let form = Form::new("k", b"content");
    send_raw(&server, "/nobucket", &form.body()).expect_error(404, "NoSuchBucket");
    let body = form.body();
    for cut in [0, 10, 60, 80, body.len() - 10] {
        send_raw(&server, "/public", &body[..cut]).expect_error(400, "MalformedPOSTRequest");
    }
    let refused = |form: &Form, code: &str| {
        form.send(&server, "/public").expect_error(400, code);
    };
    refused(&form.clone().without("key"), "InvalidArgument");
    refused(&form.clone().replace("key", ""), "InvalidArgument");
    refused(&form.clone().replace("key", &"k".repeat(1025)), "KeyTooLongError");
    refused(&Form { file: None, ..form.clone() }, "InvalidArgument");
    let second = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n");
    refused(&Form { after: second, ..form.clone() }, "InvalidArgument");
    let long = "v".repeat(21 * 1024);
    refused(&form.clone().with("x-ignore-a", &long), "MaxPostPreDataLengthExceededError");
    let many = (0..10_000).fold(form.clone(), |form, i| form.with(&format!("x-ignore-{i}"), ""));
    refused(&many, "MaxPostPreDataLengthExceededError");
    refused(&form.clone().with("x-amz-checksum-crc32", "AAAAAA=="), "BadDigest");
    refused(&form.clone().with("tagging", "<Tagging>"), "MalformedXML");
    assert!(server.get("/public").expect(200).element("Key").is_none(), "nothing was stored");
    // A key is no path, whoever wrote it.
    form.replace("key", "../../canary").send(&server, "/public").expect(204);
    assert_eq!(server.get("/public").expect(200).elements("Key"), ["../../canary"]);
}
