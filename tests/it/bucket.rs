//! Buckets: create, list, head, locate, delete.

use crate::harness::{TestServer, for_each_backend};

#[test]
fn a_bucket_is_created_listed_and_deleted() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.head(&bucket).expect(200);
        assert_eq!(server.get("/").elements("Name"), ["abc"]);
        server.delete(&bucket).expect(204);
        server.head(&bucket).expect(404);
        server.delete(&bucket).expect_error(404, "NoSuchBucket");
        assert!(server.get("/").elements("Name").is_empty());
    });
}

#[test]
fn the_arn_of_a_bucket_is_told_where_it_is_created_looked_at_and_listed() {
    for_each_backend(|server| {
        for told in [server.put("/abc", b"").expect(200), server.head("/abc").expect(200)] {
            assert_eq!(told.header("x-amz-bucket-arn"), Some("arn:aws:s3:::abc"));
        }
        assert_eq!(server.get("/").elements("BucketArn"), ["arn:aws:s3:::abc"]);
    });
}

#[test]
fn a_bucket_with_an_object_is_not_deleted() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        server.put("/abc/k", b"x").expect(200);
        server.delete(&bucket).expect_error(409, "BucketNotEmpty");
        server.delete("/abc/k").expect(204);
        server.delete(&bucket).expect(204);
    });
}

#[test]
fn a_bucket_with_open_uploads_is_deleted_with_them() {
    for_each_backend(|server| {
        let bucket = server.bucket("abc");
        let id = server.post("/abc/k?uploads", b"").expect(200).element("UploadId").unwrap();
        server.put(&format!("/abc/k?partNumber=1&uploadId={id}"), b"part").expect(200);
        server.delete(&bucket).expect(204);
        server.bucket("abc");
        server.get(&format!("/abc/k?uploadId={id}")).expect_error(404, "NoSuchUpload");
    });
}

#[test]
fn creating_a_bucket_again_is_for_its_owner_in_a_legacy_location() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.as_lisa().put("/abc", b"").expect_error(409, "BucketAlreadyExists");
        let body = |name: &str| {
            format!(
                "<CreateBucketConfiguration><LocationConstraint>{name}</LocationConstraint></CreateBucketConfiguration>"
            )
        };
        server.put("/eu-bucket", body("eu-west-1").as_bytes()).expect(200);
        assert!(server.get("/eu-bucket?location").text().contains(">eu-west-1</LocationConstraint>"));
        server.put("/eu-bucket", body("eu-west-1").as_bytes()).expect_error(409, "BucketAlreadyOwnedByYou");
        server.put("/us-bucket", body("us-east-1").as_bytes()).expect(200);
        server.put("/us-bucket", body("us-east-1").as_bytes()).expect(200);
        assert!(server.get("/us-bucket?location").text().contains("></LocationConstraint>"));
        server.put("/mars-bucket", body("mars").as_bytes()).expect_error(400, "InvalidLocationConstraint");
        server.put("/bad-bucket", b"<CreateBucketConfiguration>").expect_error(400, "MalformedXML");
    });
}

#[test]
fn accounts_do_not_see_each_others_buckets() {
    for_each_backend(|server| {
        server.bucket("of-bart");
        let lisa = server.as_lisa();
        lisa.put("/of-lisa", b"").expect(200);
        assert_eq!(lisa.get("/").elements("Name"), ["of-lisa"]);
        for target in ["/of-bart", "/of-bart?location", "/of-bart?versions", "/of-bart?uploads"] {
            lisa.get(target).expect_error(403, "AccessDenied");
            server.anonymous().get(target).expect_error(403, "AccessDenied");
        }
        lisa.put("/of-bart/k", b"x").expect_error(403, "AccessDenied");
        lisa.delete("/of-bart").expect_error(403, "AccessDenied");
        server.anonymous().get("/").expect_error(403, "AccessDenied");
    });
}

#[test]
fn buckets_are_listed_in_pages() {
    for_each_backend(|server| {
        for index in 0..5 {
            server.bucket(&format!("page-{index}"));
        }
        server.bucket("other");
        let first = server.get("/?max-buckets=2&prefix=page-").expect(200);
        assert_eq!(first.elements("Name"), ["page-0", "page-1"]);
        let token = first.element("ContinuationToken").unwrap().replace('=', "%3D");
        let second =
            server.get(&format!("/?max-buckets=3&prefix=page-&continuation-token={token}")).expect(200);
        assert_eq!(second.elements("Name"), ["page-2", "page-3", "page-4"]);
        assert_eq!(second.element("ContinuationToken"), None);
        // Any parameter of the paged form brings the regions with it, a prefix alone too.
        assert!(server.get("/").expect(200).elements("BucketRegion").is_empty());
        assert_eq!(server.get("/?prefix=page-").expect(200).elements("BucketRegion").len(), 5);
        server.get("/?max-buckets=0").expect_error(400, "InvalidArgument");
        server.get("/?continuation-token=%21").expect_error(400, "InvalidArgument");
    });
}

/// BI-145, BI-146.
#[test]
fn names_that_cannot_be_buckets_are_refused() {
    let server = TestServer::memory();
    for name in ["..", ".", "a..b", "-ab", "A_B", "ab", "192.168.0.1", "xn--abc", "%2e%2e"] {
        server.put(&format!("/{name}"), b"").expect_error(400, "InvalidBucketName");
    }
    server.put("/", b"").expect_error(405, "MethodNotAllowed");
    server.delete("/").expect_error(405, "MethodNotAllowed");
}

/// Terraform and other tools read every setting; none may be 501.
#[test]
fn settings_that_were_never_made_are_answered_as_s3_answers() {
    let server = TestServer::memory();
    server.bucket("abc");
    for (sub, status) in [
        ("accelerate", 200),
        ("analytics", 200),
        ("cors", 404),
        // Not 200 as on AWS: nothing is encrypted by default here (README, "Differences").
        ("encryption", 404),
        ("intelligent-tiering", 200),
        ("inventory", 200),
        ("lifecycle", 404),
        ("logging", 200),
        ("metrics", 200),
        ("notification", 200),
        ("object-lock", 404),
        ("ownershipControls", 404),
        ("policy", 404),
        ("policyStatus", 200), // 404 at AWS; see bucket_policy::status
        ("publicAccessBlock", 404),
        ("replication", 404),
        ("requestPayment", 200),
        ("tagging", 404),
        ("versioning", 200),
        ("website", 404),
    ] {
        let reply = server.get(&format!("/abc?{sub}"));
        assert_eq!(reply.status, status, "{sub}: {}", reply.text());
    }
}

/// BI-156, BI-159.
#[test]
fn unknown_and_conflicting_sub_resources_are_never_plain_writes() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/k?unheard-of", b"x").expect_error(501, "NotImplemented");
    server.delete("/abc?unheard-of").expect_error(501, "NotImplemented");
    server.get("/abc?acl&policy").expect_error(400, "InvalidArgument");
    server.get("/abc/k").expect_error(404, "NoSuchKey");
    server.head("/abc").expect(200);
}

/// A part that lost its upload must not replace the whole object.
#[test]
fn a_part_number_without_an_upload_is_never_a_plain_write() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/k", b"whole").expect(200);
    server.put("/abc/k?partNumber=1", b"part").expect_error(400, "InvalidArgument");
    assert_eq!(server.get("/abc/k").expect(200).body, b"whole");
}

#[test]
fn listings_of_a_bucket_are_not_listings_of_a_key() {
    let server = TestServer::memory();
    server.bucket("abc");
    for (sub, said) in [
        ("versions", "There is no such thing as the ?versions sub-resource for a key"),
        ("uploads", "Key is not expected for the GET method ?uploads subresource"),
    ] {
        let reply = server.get(&format!("/abc/k?{sub}")).expect_error(400, "InvalidRequest");
        assert_eq!(reply.element("Message").as_deref(), Some(said));
    }
}

#[test]
fn a_bucket_can_be_created_with_tags() {
    for_each_backend(|server| {
        let create = |name: &str, tags: &str| {
            let body = format!("<CreateBucketConfiguration><Tags>{tags}</Tags></CreateBucketConfiguration>");
            server.put(name, body.as_bytes())
        };
        let tag = |key: &str| format!("<Tag><Key>{key}</Key><Value>v</Value></Tag>");
        create("/tagged", &(tag("a") + &tag("b"))).expect(200);
        assert_eq!(server.get("/tagged?tagging").expect(200).elements("Key"), ["a", "b"]);
        create("/untagged", "").expect(200);
        server.get("/untagged?tagging").expect_error(404, "NoSuchTagSet");
        create("/refused", &tag("a!")).expect_error(400, "InvalidTag");
        create("/refused", &tag("a").repeat(2)).expect_error(400, "InvalidTag");
        create("/refused", "<Tag><Key>a</Key></Tag>").expect_error(400, "MalformedXML");
        server.head("/refused").expect(404);
    });
}
