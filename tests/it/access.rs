//! Who may do what: access control lists, policies, ownership, public access blocks, requester pays.

use crate::harness::{Client, Reply, TestServer, for_each_backend};

const BART: &str = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";
const LISA: &str = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2bf";
const BART_ACCOUNT: &str = "123456789012";
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

/// A request without a body, with one header.
fn with(client: &Client, method: &str, target: &str, name: &str, value: &str) -> Reply {
    client.send(method, target, &[(name, value)], b"")
}

fn put_policy(server: &TestServer, statements: &[&str]) {
    let document = format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(","));
    server.put("/abc?policy", document.as_bytes()).expect(204);
}

/// A statement for everybody; `more` is what follows the resource.
fn statement(effect: &str, action: &str, resource: &str, more: &str) -> String {
    format!(
        r#"{{"Effect": "{effect}", "Principal": "*", "Action": "{action}",
            "Resource": "arn:aws:s3:::{resource}"{more}}}"#
    )
}

fn allow(action: &str, resource: &str) -> String {
    statement("Allow", action, resource, "")
}

fn allow_if(action: &str, resource: &str, condition: &str) -> String {
    statement("Allow", action, resource, &format!(r#", "Condition": {condition}"#))
}

fn acl_document(owner: &str, grants: &str) -> String {
    format!(
        r#"<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>{owner}</ID></Owner><AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"#
    )
}

fn grant(kind: &str, content: &str, permission: &str) -> String {
    format!(
        r#"<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{kind}">{content}</Grantee><Permission>{permission}</Permission></Grant>"#
    )
}

fn block(server: &TestServer, setting: &str) {
    let document = format!(
        "<PublicAccessBlockConfiguration><{setting}>true</{setting}></PublicAccessBlockConfiguration>"
    );
    server.put("/abc?publicAccessBlock", document.as_bytes()).expect(200);
}

fn set_ownership(server: &TestServer, ownership: &str) -> Reply {
    let document = format!(
        "<OwnershipControls><Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule></OwnershipControls>"
    );
    server.put("/abc?ownershipControls", document.as_bytes())
}

#[test]
fn canned_lists_open_what_they_say() {
    for_each_backend(|server| {
        server.bucket("abc");
        let (lisa, nobody) = (server.as_lisa(), server.anonymous());
        with(server, "PUT", "/abc/private", "x-amz-acl", "private").expect(200);
        with(server, "PUT", "/abc/public", "x-amz-acl", "public-read").expect(200);
        with(server, "PUT", "/abc/known", "x-amz-acl", "authenticated-read").expect(200);
        for (key, to_lisa, to_nobody) in [("private", 403, 403), ("public", 200, 200), ("known", 200, 403)] {
            lisa.get(&format!("/abc/{key}")).expect(to_lisa);
            nobody.get(&format!("/abc/{key}")).expect(to_nobody);
            nobody.head(&format!("/abc/{key}")).expect(to_nobody);
            nobody.get(&format!("/abc/{key}?acl")).expect_error(403, "AccessDenied");
        }
        lisa.get("/abc").expect_error(403, "AccessDenied");
        with(server, "PUT", "/abc?acl", "x-amz-acl", "public-read").expect(200);
        nobody.get("/abc").expect(200);
        nobody.put("/abc/new", b"x").expect_error(403, "AccessDenied");
        with(server, "PUT", "/abc?acl", "x-amz-acl", "public-read-write").expect(200);
        nobody.put("/abc/new", b"x").expect(200);
        nobody.post("/abc/new?uploads", b"").expect_error(403, "AccessDenied");
        // Who wrote it owns it: the bucket's owner may only delete it.
        server.get("/abc/new").expect_error(403, "AccessDenied");
        lisa.put("/abc?versioning", b"").expect_error(403, "AccessDenied");
        server.delete("/abc/new").expect(204);
        with(server, "PUT", "/abc?acl", "x-amz-acl", "open").expect_error(400, "InvalidArgument");
    });
}

#[test]
fn a_missing_object_is_only_shown_to_who_may_list() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.get("/abc/none").expect_error(404, "NoSuchKey");
        server.anonymous().get("/abc/none").expect_error(403, "AccessDenied");
        server.as_lisa().get("/abc/none?tagging").expect_error(403, "AccessDenied");
        with(server, "PUT", "/abc?acl", "x-amz-acl", "public-read").expect(200);
        server.anonymous().get("/abc/none").expect_error(404, "NoSuchKey");
        let listing = allow_if("s3:ListBucket", "abc", r#"{"StringLike": {"s3:prefix": "open/*"}}"#);
        with(server, "PUT", "/abc?acl", "x-amz-acl", "private").expect(200);
        put_policy(server, &[&listing, &allow("s3:GetObject", "abc/*")]);
        server.as_lisa().get("/abc/open/none").expect_error(404, "NoSuchKey");
        server.as_lisa().get("/abc/none").expect_error(403, "AccessDenied");
        server.as_lisa().get("/abc?prefix=open/").expect(200);
        server.as_lisa().get("/abc").expect_error(403, "AccessDenied");
    });
}

#[test]
fn grants_come_back_as_they_were_given() {
    for_each_backend(|server| {
        server.bucket("abc");
        let fresh = server.get("/abc?acl").expect(200);
        assert_eq!(fresh.elements("Permission"), ["FULL_CONTROL"]);
        assert_eq!(fresh.elements("ID"), [BART, BART]);
        let document = acl_document(
            BART,
            &[
                grant("Group", &format!("<URI>{ALL_USERS}</URI>"), "READ"),
                grant(
                    "AmazonCustomerByEmail",
                    "<EmailAddress>SampleAccount2@sampling.com</EmailAddress>",
                    "WRITE",
                ),
                grant("CanonicalUser", &format!("<ID>{BART}</ID>"), "FULL_CONTROL"),
            ]
            .concat(),
        );
        server.put("/abc?acl", document.as_bytes()).expect(200);
        let read = server.get("/abc?acl").expect(200);
        assert_eq!(read.elements("Permission"), ["READ", "WRITE", "FULL_CONTROL"]);
        assert_eq!(read.elements("ID"), [BART, LISA, BART]);
        assert!(read.text().contains(r#"xsi:type="Group""#), "{}", read.text());
        server.as_lisa().put("/abc/k", b"lisa's").expect(200);
        assert_eq!(server.as_lisa().get("/abc/k?acl").expect(200).elements("ID"), [LISA, LISA]);
        let fields = [
            ("x-amz-grant-read", &*format!("id={BART}, uri=\"{ALL_USERS}\"")),
            ("x-amz-grant-read-acp", "emailAddress=sampleaccount1@sampling.com"),
        ];
        server.as_lisa().send("PUT", "/abc/k?acl", &fields, b"").expect(200);
        let read = server.get("/abc/k?acl").expect(200);
        assert_eq!(read.elements("Permission"), ["READ", "READ", "READ_ACP"]);
        server.get("/abc/k").expect(200);
        // Nobody is granted anything: the owner has it all the same.
        server.put("/abc?acl", acl_document(BART, "").as_bytes()).expect(200);
        assert!(server.get("/abc?acl").expect(200).elements("Permission").is_empty());
    });
}

#[test]
fn lists_that_make_no_sense_are_refused() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/k", b"x").expect(200);
    let long = "x".repeat(64);
    let bodies = [
        ("<AccessControlPolicy>".to_owned(), 400, "MalformedXML"),
        ("<Acl/>".to_owned(), 400, "MalformedACLError"),
        (
            "<AccessControlPolicy><AccessControlList/></AccessControlPolicy>".to_owned(),
            400,
            "MalformedACLError",
        ),
        (acl_document(LISA, ""), 403, "AccessDenied"),
        (
            acl_document(BART, &grant("CanonicalUser", &format!("<ID>{LISA}</ID>"), "ALL")),
            400,
            "MalformedACLError",
        ),
        (acl_document(BART, &grant("Person", "<ID>x</ID>", "READ")), 400, "MalformedACLError"),
        (
            acl_document(BART, &grant("CanonicalUser", &format!("<ID>{long}</ID>"), "READ")),
            400,
            "InvalidArgument",
        ),
        (acl_document(BART, &grant("Group", "<URI>http://else</URI>", "READ")), 400, "InvalidArgument"),
        (
            acl_document(BART, &grant("AmazonCustomerByEmail", "<EmailAddress>a@b.c</EmailAddress>", "READ")),
            400,
            "UnresolvableGrantByEmailAddress",
        ),
        (
            acl_document(BART, &grant("CanonicalUser", &format!("<ID>{LISA}</ID>"), "READ").repeat(101)),
            400,
            "MalformedACLError",
        ),
        (String::new(), 400, "MissingSecurityHeader"),
    ];
    for target in ["/abc?acl", "/abc/k?acl"] {
        for (body, status, code) in &bodies {
            server.put(target, body.as_bytes()).expect_error(*status, code);
        }
        let both = [("x-amz-acl", "private"), ("x-amz-grant-read", &*format!("id={LISA}"))];
        server.send("PUT", target, &both, b"").expect_error(400, "InvalidRequest");
        let document = acl_document(BART, "");
        server
            .send("PUT", target, &[("x-amz-acl", "private")], document.as_bytes())
            .expect_error(400, "UnexpectedContent");
    }
}

#[test]
fn every_version_has_grants_of_its_own() {
    for_each_backend(|server| {
        server.bucket("abc");
        let enable = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        server.put("/abc?versioning", enable).expect(200);
        let first = server.put("/abc/k", b"1").expect(200).header("x-amz-version-id").unwrap().to_owned();
        server.put("/abc/k", b"2").expect(200);
        let target = format!("/abc/k?acl&versionId={first}");
        let reply = with(server, "PUT", &target, "x-amz-acl", "public-read").expect(200);
        assert_eq!(reply.header("x-amz-version-id"), Some(first.as_str()));
        server.anonymous().get(&format!("/abc/k?versionId={first}")).expect(200);
        server.anonymous().get("/abc/k").expect_error(403, "AccessDenied");
        // A policy names reads and removals of versions apart.
        put_policy(server, &[&allow("s3:GetObject", "abc/*"), &allow("s3:DeleteObject", "abc/*")]);
        let second = server.head("/abc/k").expect(200).header("x-amz-version-id").unwrap().to_owned();
        let by_id = format!("/abc/k?versionId={second}");
        server.as_lisa().get("/abc/k").expect(200);
        server.as_lisa().get(&by_id).expect_error(403, "AccessDenied");
        server.as_lisa().delete(&by_id).expect_error(403, "AccessDenied");
        put_policy(
            server,
            &[&allow("s3:GetObjectVersion", "abc/*"), &allow("s3:DeleteObjectVersion", "abc/*")],
        );
        server.as_lisa().get(&by_id).expect(200);
        server.as_lisa().get("/abc/k").expect_error(403, "AccessDenied");
        server.as_lisa().delete(&by_id).expect(204);
        server.as_lisa().delete("/abc/k").expect_error(403, "AccessDenied");
    });
}

#[test]
fn a_policy_is_kept_byte_for_byte() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.get("/abc?policy").expect_error(404, "NoSuchBucketPolicy");
        let document = format!("{{ \"Statement\":\n [{}] }}\n", allow("s3:GetObject", "abc/*"));
        server.put("/abc?policy", document.as_bytes()).expect(204);
        assert_eq!(server.get("/abc?policy").expect(200).text(), document);
        let status = server.get("/abc?policyStatus").expect(200);
        assert_eq!(status.element("IsPublic").as_deref(), Some("true"));
        server.put("/abc?policy", b"{}").expect_error(400, "MalformedPolicy");
        server
            .put("/abc?policy", allow("s3:GetObject", "other/*").as_bytes())
            .expect_error(400, "MalformedPolicy");
        server.put("/abc?policy", &[b' '; 100 * 1024]).expect_error(400, "MaxMessageLengthExceeded");
        assert_eq!(server.get("/abc?policy").expect(200).text(), document);
        server.delete("/abc?policy").expect(204);
        server.delete("/abc?policy").expect(204);
        server.get("/abc?policy").expect_error(404, "NoSuchBucketPolicy");
    });
}

#[test]
fn a_deny_holds_for_the_owner_but_not_for_the_policy_itself() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"x").expect(200);
        put_policy(server, &[&statement("Deny", "s3:*", "abc*", ""), &allow("s3:*", "abc*")]);
        for client in [&**server, &server.as_lisa(), &server.anonymous()] {
            client.get("/abc/k").expect_error(403, "AccessDenied");
            client.get("/abc").expect_error(403, "AccessDenied");
            client.put("/abc/k", b"y").expect_error(403, "AccessDenied");
        }
        server.as_lisa().get("/abc?policy").expect_error(403, "AccessDenied");
        server.get("/abc?policy").expect(200);
        server.delete("/abc?policy").expect(204);
        server.get("/abc/k").expect(200);
        // Not even its own policy opens a bucket's policy to another account.
        put_policy(server, &[&allow("s3:*", "abc*")]);
        server.as_lisa().get("/abc?policy").expect_error(405, "MethodNotAllowed");
        server.as_lisa().delete("/abc?policy").expect_error(405, "MethodNotAllowed");
        server.as_lisa().get("/abc?acl").expect(200);
    });
}

#[test]
fn conditions_see_the_request_and_the_object() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"x").expect(200);
        let lisa = server.as_lisa();
        let cases = [
            (r#"{"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}"#, 200),
            (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, 403),
            (r#"{"Bool": {"aws:SecureTransport": "true"}}"#, 403),
            (r#"{"StringLike": {"aws:Referer": "http://good/*"}}"#, 200),
            (r#"{"StringLike": {"aws:Referer": "http://bad/*"}}"#, 403),
            (r#"{"StringEquals": {"aws:PrincipalAccount": "123456789013"}}"#, 200),
            (r#"{"StringEquals": {"aws:PrincipalAccount": "123456789012"}}"#, 403),
            (r#"{"StringEquals": {"aws:ResourceAccount": "123456789012"}}"#, 200),
            (r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::123456789013:*"}}"#, 200),
            (r#"{"StringEquals": {"aws:RequestedRegion": "us-east-1"}}"#, 200),
            (r#"{"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}"#, 200),
            (r#"{"NumericLessThan": {"aws:EpochTime": "1"}}"#, 403),
            (
                r#"{"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256", "s3:authType": "REST-HEADER"}}"#,
                200,
            ),
            (r#"{"NumericLessThan": {"s3:signatureAge": "600000"}}"#, 200),
            (r#"{"StringEquals": {"s3:ExistingObjectTag/class": "open"}}"#, 403),
            // What only a write can say does not count when a reader says it.
            (r#"{"StringEquals": {"s3:x-amz-acl": "private"}}"#, 403),
            (r#"{"StringEquals": {"s3:RequestObjectTag/class": "open"}}"#, 403),
        ];
        let fields =
            [("referer", "http://good/page"), ("x-amz-acl", "private"), ("x-amz-tagging", "class=open")];
        for (condition, status) in cases {
            put_policy(server, &[&allow_if("s3:GetObject", "abc/*", condition)]);
            let reply = lisa.send("GET", "/abc/k", &fields, b"");
            assert_eq!(reply.status, status, "{condition}");
        }
        put_policy(
            server,
            &[&allow_if(
                "s3:GetObject",
                "abc/*",
                r#"{"StringEquals": {"s3:ExistingObjectTag/class": "open"}}"#,
            )],
        );
        with(server, "PUT", "/abc/tagged", "x-amz-tagging", "class=open").expect(200);
        lisa.get("/abc/tagged").expect(200);
        lisa.get("/abc/k").expect_error(403, "AccessDenied");
    });
}

#[test]
fn what_a_write_brings_is_decided_with_it() {
    for_each_backend(|server| {
        server.bucket("abc");
        let lisa = server.as_lisa();
        let no_public = statement(
            "Deny",
            "s3:PutObject",
            "abc/*",
            r#", "Condition": {"StringLike": {"s3:x-amz-acl": "*public*"}}"#,
        );
        put_policy(server, &[&allow("s3:PutObject", "abc/*"), &no_public]);
        lisa.put("/abc/k", b"x").expect(200);
        with(&lisa, "PUT", "/abc/k", "x-amz-acl", "public-read").expect_error(403, "AccessDenied");
        let twice = [("x-amz-acl", "private"), ("x-amz-acl", "public-read")];
        lisa.send("PUT", "/abc/k", &twice, b"").expect_error(403, "AccessDenied");
        with(server, "PUT", "/abc/k", "x-amz-acl", "public-read").expect_error(403, "AccessDenied");
        with(&lisa, "PUT", "/abc/k", "x-amz-tagging", "a=b").expect_error(403, "AccessDenied");
        let no_acl = statement("Deny", "s3:PutObjectAcl", "abc/*", "");
        put_policy(server, &[&allow("s3:PutObject*", "abc/*"), &no_acl]);
        with(&lisa, "PUT", "/abc/k", "x-amz-tagging", "a=b").expect(200);
        with(&lisa, "PUT", "/abc/k", "x-amz-acl", "private").expect_error(403, "AccessDenied");
        let tagged = |class: &str| {
            format!("<Tagging><TagSet><Tag><Key>class</Key><Value>{class}</Value></Tag></TagSet></Tagging>")
        };
        server.put("/abc/own", b"x").expect(200);
        put_policy(
            server,
            &[&allow_if(
                "s3:PutObjectTagging",
                "abc/*",
                r#"{"StringEquals": {"s3:RequestObjectTag/class": "open"}}"#,
            )],
        );
        lisa.put("/abc/own?tagging", tagged("open").as_bytes()).expect(200);
        lisa.put("/abc/own?tagging", tagged("shut").as_bytes()).expect_error(403, "AccessDenied");
    });
}

#[test]
fn the_source_of_a_copy_is_read_under_its_own_rules() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/open/k", b"open").expect(200);
        server.put("/abc/shut/k", b"shut").expect(200);
        put_policy(server, &[&allow("s3:GetObject", "abc/open/*")]);
        let lisa = server.as_lisa();
        lisa.put("/of-lisa", b"").expect(200);
        let copy = |source: &str| with(&lisa, "PUT", "/of-lisa/k", "x-amz-copy-source", source);
        copy("/abc/open/k").expect(200);
        copy("/abc/shut/k").expect_error(403, "AccessDenied");
        copy("/abc/shut/none").expect_error(403, "AccessDenied");
        assert_eq!(lisa.get("/of-lisa/k").expect(200).text(), "open");
        let id = lisa.post("/of-lisa/parts?uploads", b"").expect(200).element("UploadId").unwrap();
        let part = format!("/of-lisa/parts?partNumber=1&uploadId={id}");
        with(&lisa, "PUT", &part, "x-amz-copy-source", "/abc/open/k").expect(200);
        with(&lisa, "PUT", &part, "x-amz-copy-source", "/abc/shut/k").expect_error(403, "AccessDenied");
        // Only who began an upload adds to it, and its owner or the bucket's ends it.
        let wide = r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::of-lisa/*"}]}"#;
        lisa.put("/of-lisa?policy", wide.as_bytes()).expect(204);
        server.put(&part, b"x").expect_error(403, "AccessDenied");
        server.get(&format!("/of-lisa/parts?uploadId={id}")).expect_error(403, "AccessDenied");
        let of_bart = server.post("/of-lisa/barts?uploads", b"").expect(200).element("UploadId").unwrap();
        let upload = format!("/of-lisa/barts?uploadId={of_bart}");
        server.get(&upload).expect(200);
        lisa.get(&upload).expect(200);
        server.delete(&upload).expect(204);
        let source_owner =
            [("x-amz-copy-source", "/abc/open/k"), ("x-amz-source-expected-bucket-owner", "123456789013")];
        lisa.send("PUT", "/of-lisa/k", &source_owner, b"").expect_error(403, "AccessDenied");
    });
}

#[test]
fn parts_of_an_upload_count_as_sent_with_what_created_it() {
    for_each_backend(|server| {
        server.bucket("abc");
        let lisa = server.as_lisa();
        let sealed = r#", "Condition": {"Null": {"s3:x-amz-server-side-encryption": "true"}}"#;
        let granted = r#"{"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}"#;
        put_policy(
            server,
            &[
                &statement("Deny", "s3:PutObject", "abc/*", sealed),
                &allow_if("s3:PutObject", "abc/*", granted),
            ],
        );
        let both = [("x-amz-acl", "bucket-owner-full-control"), ("x-amz-server-side-encryption", "AES256")];
        for missing in 0..2 {
            lisa.send("POST", "/abc/k?uploads", &both[missing..=missing], b"")
                .expect_error(403, "AccessDenied");
        }
        let id = lisa.send("POST", "/abc/k?uploads", &both, b"").expect(200).element("UploadId").unwrap();
        let part = lisa.put(&format!("/abc/k?partNumber=1&uploadId={id}"), b"part").expect(200);
        let etag = part.header("etag").unwrap().to_owned();
        lisa.put("/abc/k?partNumber=1&uploadId=none", b"part").expect_error(403, "AccessDenied");
        let body = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        );
        lisa.post(&format!("/abc/k?uploadId={id}"), body.as_bytes()).expect(200);
        assert_eq!(server.get("/abc/k").expect(200).text(), "part");
    });
}

#[test]
fn locks_and_tags_are_shown_to_who_may_ask_for_them() {
    for_each_backend(|server| {
        server.send("PUT", "/abc", &[("x-amz-bucket-object-lock-enabled", "true")], b"").expect(200);
        let digest = s3pail::codec::base64(&s3pail::codec::digest::md5(b"x"));
        let fields = [
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-object-lock-retain-until-date", "2999-01-01T00:00:00Z"),
            ("x-amz-object-lock-legal-hold", "ON"),
            ("x-amz-tagging", "a=b"),
            ("content-md5", &*digest),
        ];
        server.send("PUT", "/abc/k", &fields, b"x").expect(200);
        let shown = |client: &Client| {
            let reply = client.head("/abc/k").expect(200);
            ["x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"]
                .map(|name| reply.header(name).is_some())
                .into_iter()
                .chain([reply.header("x-amz-tagging-count").is_some()])
                .collect::<Vec<_>>()
        };
        let read = allow("s3:GetObject", "abc/*");
        for (action, expected) in [
            ("s3:GetObject", [false; 4]),
            ("s3:GetObjectRetention", [true, true, false, false]),
            ("s3:GetObjectLegalHold", [false, false, true, false]),
            ("s3:GetObjectTagging", [false, false, false, true]),
        ] {
            put_policy(server, &[&read, &allow(action, "abc/*")]);
            assert_eq!(shown(&server.as_lisa()), expected, "{action}");
            assert_eq!(shown(server), [true; 4], "{action}");
        }
        // The lock must not outlive the test's clean-up.
        let hold = b"<LegalHold><Status>OFF</Status></LegalHold>";
        let digest = s3pail::codec::base64(&s3pail::codec::digest::md5(hold));
        server.send("PUT", "/abc/k?legal-hold", &[("content-md5", &digest)], hold).expect(200);
    });
}

#[test]
fn who_compares_an_etag_must_be_allowed_to_read() {
    for_each_backend(|server| {
        server.bucket("abc");
        let etag = server.put("/abc/k", b"x").expect(200).header("etag").unwrap().to_owned();
        let lisa = server.as_lisa();
        let write = [allow("s3:PutObject", "abc/*"), allow("s3:DeleteObject", "abc/*")];
        put_policy(server, &[&write[0], &write[1]]);
        for method in ["PUT", "DELETE"] {
            with(&lisa, method, "/abc/k", "if-match", &etag).expect_error(403, "AccessDenied");
            with(&lisa, method, "/abc/none", "if-match", &etag).expect_error(403, "AccessDenied");
        }
        with(&lisa, "PUT", "/abc/new", "if-none-match", "*").expect(200);
        put_policy(server, &[&write[0], &write[1], &allow("s3:GetObject", "abc/*")]);
        with(&lisa, "DELETE", "/abc/k", "if-match", "\"other\"").expect_error(412, "PreconditionFailed");
        with(&lisa, "DELETE", "/abc/k", "if-match", &etag).expect(204);
    });
}

#[test]
fn conditions_of_a_multi_delete_stand_in_its_entries() {
    for_each_backend(|server| {
        server.bucket("abc");
        let etag = server.put("/abc/a", b"x").expect(200).header("etag").unwrap().to_owned();
        server.put("/abc/b", b"x").expect(200);
        let conditional = r#"{"Null": {"s3:if-match": "false"}}"#;
        put_policy(
            server,
            &[&allow_if("s3:DeleteObject", "abc/*", conditional), &allow("s3:GetObject", "abc/*")],
        );
        let body = format!(
            "<Delete><Object><Key>a</Key><ETag>{etag}</ETag></Object><Object><Key>b</Key></Object></Delete>"
        );
        let digest = s3pail::codec::base64(&s3pail::codec::digest::md5(body.as_bytes()));
        // A header of the request speaks for none of them.
        let fields = [("content-md5", &*digest), ("if-match", "*")];
        let reply = server.as_lisa().send("POST", "/abc?delete", &fields, body.as_bytes()).expect(200);
        assert_eq!(reply.elements("Key"), ["a", "b"]);
        assert_eq!(reply.elements("Code"), ["AccessDenied"]);
        server.get("/abc/a").expect(404);
        server.get("/abc/b").expect(200);
    });
}

#[test]
fn keys_of_a_multi_delete_are_decided_one_by_one() {
    for_each_backend(|server| {
        server.bucket("abc");
        for key in ["open/a", "shut/b"] {
            server.put(&format!("/abc/{key}"), b"x").expect(200);
        }
        put_policy(server, &[&allow("s3:DeleteObject", "abc/open/*")]);
        let body = b"<Delete><Object><Key>open/a</Key></Object><Object><Key>shut/b</Key></Object></Delete>";
        let digest = s3pail::codec::base64(&s3pail::codec::digest::md5(body));
        let delete = |client: &Client| client.send("POST", "/abc?delete", &[("content-md5", &digest)], body);
        let reply = delete(&server.as_lisa()).expect(200);
        assert_eq!(reply.elements("Key"), ["open/a", "shut/b"]);
        assert_eq!(reply.elements("Code"), ["AccessDenied"]);
        server.get("/abc/open/a").expect(404);
        server.get("/abc/shut/b").expect(200);
    });
}

#[test]
fn a_policy_does_not_speak_for_the_owners_of_others_objects() {
    for_each_backend(|server| {
        server.bucket("abc");
        put_policy(server, &[&allow("s3:*", "abc*")]);
        server.as_lisa().put("/abc/of-lisa", b"x").expect(200);
        server.put("/abc/of-bart", b"x").expect(200);
        server.anonymous().get("/abc/of-bart").expect(200);
        server.anonymous().get("/abc/of-lisa").expect_error(403, "AccessDenied");
        server.get("/abc/of-lisa").expect_error(403, "AccessDenied");
        server.as_lisa().get("/abc/of-lisa").expect(200);
        server.delete("/abc/of-lisa").expect(204);
    });
}

#[test]
fn ownership_says_whose_an_object_is() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.get("/abc?ownershipControls").expect_error(404, "OwnershipControlsNotFoundError");
        put_policy(server, &[&allow("s3:*", "abc*")]);
        let lisa = server.as_lisa();
        let owner = |acl: Option<&str>| {
            let fields: Vec<(&str, &str)> = acl.iter().map(|acl| ("x-amz-acl", *acl)).collect();
            lisa.send("PUT", "/abc/k", &fields, b"x").expect(200);
            lisa.get("/abc/k?acl").expect(200).element("ID").unwrap()
        };
        set_ownership(server, "ObjectWriter").expect(200);
        assert_eq!(owner(Some("bucket-owner-full-control")), LISA);
        set_ownership(server, "BucketOwnerPreferred").expect(200);
        assert_eq!(owner(None), LISA);
        assert_eq!(owner(Some("bucket-owner-full-control")), BART);
        with(server, "PUT", "/abc?acl", "x-amz-acl", "public-read").expect(200);
        set_ownership(server, "BucketOwnerEnforced").expect_error(400, "InvalidBucketAclWithObjectOwnership");
        with(server, "PUT", "/abc?acl", "x-amz-acl", "private").expect(200);
        with(&lisa, "PUT", "/abc/before", "x-amz-acl", "public-read").expect(200);
        set_ownership(server, "BucketOwnerEnforced").expect(200);
        assert_eq!(owner(None), BART);
        assert_eq!(owner(Some("bucket-owner-full-control")), BART);
        server.delete("/abc?policy").expect(204);
        server.anonymous().get("/abc/before").expect_error(403, "AccessDenied");
        server.get("/abc/before").expect(200);
        for target in ["/abc/k", "/abc/k?acl", "/abc?acl"] {
            with(server, "PUT", target, "x-amz-acl", "private")
                .expect_error(400, "AccessControlListNotSupported");
        }
        server.delete("/abc?ownershipControls").expect(204);
        server.anonymous().get("/abc/before").expect(200);
        set_ownership(server, "Everybody").expect_error(400, "MalformedXML");
    });
}

#[test]
fn a_bucket_is_created_with_its_ownership() {
    let server = TestServer::memory();
    let header = "x-amz-object-ownership";
    with(&server, "PUT", "/abc", header, "BucketOwnerEnforced").expect(200);
    let read = server.get("/abc?ownershipControls").expect(200);
    assert_eq!(read.element("ObjectOwnership").as_deref(), Some("BucketOwnerEnforced"));
    with(&server, "PUT", "/def", header, "Mine").expect_error(400, "InvalidArgument");
    let both = [(header, "BucketOwnerEnforced"), ("x-amz-acl", "public-read")];
    server.send("PUT", "/def", &both, b"").expect_error(400, "InvalidBucketAclWithObjectOwnership");
}

#[test]
fn public_access_is_blocked_in_four_ways() {
    for_each_backend(|server| {
        server.bucket("abc");
        let nobody = server.anonymous();
        server.get("/abc?publicAccessBlock").expect_error(404, "NoSuchPublicAccessBlockConfiguration");
        block(server, "BlockPublicAcls");
        for target in ["/abc?acl", "/abc/k"] {
            with(server, "PUT", target, "x-amz-acl", "public-read").expect_error(403, "AccessDenied");
        }
        with(server, "PUT", "/abc/k", "x-amz-acl", "private").expect(200);
        server.delete("/abc?publicAccessBlock").expect(204);
        with(server, "PUT", "/abc/k", "x-amz-acl", "public-read").expect(200);
        nobody.get("/abc/k").expect(200);
        block(server, "IgnorePublicAcls");
        nobody.get("/abc/k").expect_error(403, "AccessDenied");
        with(server, "PUT", "/abc/k?acl", "x-amz-grant-read", &format!("id={LISA}")).expect(200);
        server.as_lisa().get("/abc/k").expect(200);
        block(server, "BlockPublicPolicy");
        let public = format!(r#"{{"Statement": {}}}"#, allow("s3:GetObject", "abc/*"));
        server.put("/abc?policy", public.as_bytes()).expect_error(403, "AccessDenied");
        let narrow = public.replace(r#""Principal": "*""#, r#""Principal": {"AWS": "123456789013"}"#);
        server.put("/abc?policy", narrow.as_bytes()).expect(204);
        server.delete("/abc?publicAccessBlock").expect(204);
        server.put("/abc?policy", public.as_bytes()).expect(204);
        nobody.get("/abc/k").expect(200);
        block(server, "RestrictPublicBuckets");
        let read = server.get("/abc?publicAccessBlock").expect(200);
        assert_eq!(read.element("RestrictPublicBuckets").as_deref(), Some("true"));
        assert_eq!(read.element("BlockPublicAcls").as_deref(), Some("false"));
        nobody.get("/abc/k").expect_error(403, "AccessDenied");
        server.as_lisa().get("/abc/k").expect_error(403, "AccessDenied");
        server.get("/abc/k").expect(200);
    });
}

#[test]
fn requesters_who_pay_must_say_so() {
    for_each_backend(|server| {
        server.bucket("abc");
        with(server, "PUT", "/abc/k", "x-amz-acl", "public-read").expect(200);
        assert_eq!(server.get("/abc?requestPayment").element("Payer").as_deref(), Some("BucketOwner"));
        let set = |payer: &str| {
            let document =
                format!("<RequestPaymentConfiguration><Payer>{payer}</Payer></RequestPaymentConfiguration>");
            server.put("/abc?requestPayment", document.as_bytes())
        };
        set("Nobody").expect_error(400, "MalformedXML");
        set("Requester").expect(200);
        assert_eq!(server.get("/abc?requestPayment").element("Payer").as_deref(), Some("Requester"));
        assert_eq!(server.get("/abc/k").expect(200).header("x-amz-request-charged"), None);
        server.as_lisa().get("/abc/k").expect_error(403, "AccessDenied");
        let paid = with(&server.as_lisa(), "GET", "/abc/k", "x-amz-request-payer", "requester").expect(200);
        assert_eq!(paid.header("x-amz-request-charged"), Some("requester"));
        with(&server.anonymous(), "GET", "/abc/k", "x-amz-request-payer", "requester")
            .expect_error(403, "AccessDenied");
        set("BucketOwner").expect(200);
        server.anonymous().get("/abc/k").expect(200);
    });
}

#[test]
fn a_bucket_of_another_owner_than_expected_is_not_touched() {
    let server = TestServer::memory();
    server.bucket("abc");
    let header = "x-amz-expected-bucket-owner";
    for target in ["/abc", "/abc/k", "/abc?acl"] {
        with(&server, "GET", target, header, "123456789013").expect_error(403, "AccessDenied");
    }
    with(&server, "PUT", "/abc/k", header, BART_ACCOUNT).expect(200);
    with(&server, "GET", "/abc/k", header, BART_ACCOUNT).expect(200);
    with(&server, "DELETE", "/abc/k", header, "").expect_error(400, "InvalidBucketOwnerAWSAccountID");
    with(&server, "GET", "/none", header, "123456789013").expect_error(404, "NoSuchBucket");
}

/// As recorded of AWS S3.
#[test]
fn an_expected_owner_must_be_an_account_id() {
    let server = TestServer::memory();
    server.bucket("abc");
    let expecting = |id: &str| server.send("GET", "/abc", &[("x-amz-expected-bucket-owner", id)], b"");
    expecting("123456789012").expect(200);
    expecting("123456789013").expect_error(403, "AccessDenied");
    for id in ["", "0000", "abcd", "0000000000020", "12345678901$"] {
        expecting(id).expect_error(400, "InvalidBucketOwnerAWSAccountID");
    }
}

/// As recorded of AWS S3, which reads such a marker as missing.
#[test]
fn the_grants_of_a_delete_marker_cannot_be_set() {
    let server = TestServer::memory();
    server.bucket("abc");
    let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.put("/abc?versioning", body).expect(200);
    server.put("/abc/k", b"x").expect(200);
    let marker = server.delete("/abc/k").version();
    let private = [("x-amz-acl", "private")];
    for target in ["/abc/k?acl".to_owned(), format!("/abc/k?acl&versionId={marker}")] {
        server.send("PUT", &target, &private, b"").expect_error(405, "MethodNotAllowed");
    }
    server.get("/abc/k?acl").expect_error(404, "NoSuchKey");
    server.send("PUT", "/abc/none?acl", &private, b"").expect_error(404, "NoSuchKey");
}
