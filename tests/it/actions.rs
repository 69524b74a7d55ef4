//! Every action of the S3 API is answered as what it is, and none is taken for another.

use crate::harness::{TestServer, for_each_backend};

/// Requests for operations that are not built: method, target, the name in the answer.
const UNBUILT: &[(&str, &str, &str)] = &[
    ("GET", "/?max-directory-buckets=10", "ListDirectoryBuckets"),
    ("GET", "/abc?session", "CreateSession"),
    ("GET", "/abc?abac", "GetBucketAbac"),
    ("PUT", "/abc?abac", "PutBucketAbac"),
    ("POST", "/abc?metadataConfiguration", "CreateBucketMetadataConfiguration"),
    ("GET", "/abc?metadataConfiguration", "GetBucketMetadataConfiguration"),
    ("DELETE", "/abc?metadataConfiguration", "DeleteBucketMetadataConfiguration"),
    ("POST", "/abc?metadataTable", "CreateBucketMetadataTableConfiguration"),
    ("GET", "/abc?metadataTable", "GetBucketMetadataTableConfiguration"),
    ("DELETE", "/abc?metadataTable", "DeleteBucketMetadataTableConfiguration"),
    ("PUT", "/abc?metadataAnnotationTable", "UpdateBucketMetadataAnnotationTableConfiguration"),
    ("PUT", "/abc?metadataInventoryTable", "UpdateBucketMetadataInventoryTableConfiguration"),
    ("PUT", "/abc?metadataJournalTable", "UpdateBucketMetadataJournalTableConfiguration"),
    ("PUT", "/abc/k?annotation&annotationName=n", "PutObjectAnnotation"),
    ("GET", "/abc/k?annotation&annotationName=n", "GetObjectAnnotation"),
    ("GET", "/abc/k?annotation", "ListObjectAnnotations"),
    ("DELETE", "/abc/k?annotation&annotationName=n", "DeleteObjectAnnotation"),
    ("PUT", "/abc/k?renameObject", "RenameObject"),
    ("POST", "/abc/k?select&select-type=2", "SelectObjectContent"),
    ("PUT", "/abc/k?encryption", "UpdateObjectEncryption"),
];

#[test]
fn what_is_not_built_says_so_and_changes_nothing() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"original").expect(200);
        for (method, target, name) in UNBUILT {
            let body = if ["PUT", "POST"].contains(method) { b"<x/>".as_slice() } else { b"" };
            let reply = server.send(method, target, &[], body).expect_error(501, "NotImplemented");
            let message = reply.element("Message").unwrap();
            assert!(message.starts_with(&format!("{name} is not implemented: ")), "{message}");
            // And in the form that some clients give parameters without a value.
            if !target.contains('&') && !target.contains('=') {
                server.send(method, &format!("{target}="), &[], body).expect_error(501, "NotImplemented");
            }
        }
        let reply = server.post("/WriteGetObjectResponse", b"x").expect_error(501, "NotImplemented");
        assert!(reply.text().contains("WriteGetObjectResponse"));
        assert_eq!(server.get("/abc/k").expect(200).body, b"original");
        assert_eq!(server.get("/abc").expect(200).elements("Key"), ["k"]);
    });
}

#[test]
fn no_sub_resource_falls_into_a_plain_write_or_deletion() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.put("/abc/k", b"original").expect(200);
    let subs = s3pail::ops::table::OPERATIONS.iter().map(|row| row.sub).filter(|sub| !sub.is_empty());
    let unbuilt = s3pail::ops::unbuilt::UNBUILT.iter().map(|row| row.sub);
    for sub in subs.chain(unbuilt).chain(["torrent", "x-unheard-of"]) {
        for target in [format!("/abc/k?{sub}"), format!("/abc/k?{sub}=")] {
            for method in ["PUT", "POST", "DELETE"] {
                // `uploadId` without a part or with an unknown id, and the tags, locks and grants of the
                // object itself, may be answered in any way but by a change of its bytes.
                server.send(method, &target, &[], b"overwritten");
                assert_eq!(server.get("/abc/k").expect(200).body, b"original", "{method} {target}");
            }
        }
    }
    // S3 has given up BitTorrent.
    server.get("/abc/k?torrent").expect_error(404, "NoSuchKey");
}

#[test]
fn a_bucket_may_be_created_with_tags() {
    for_each_backend(|server| {
        let body =
            |content: &str| format!("<CreateBucketConfiguration>{content}</CreateBucketConfiguration>");
        let tag = |name: &str, value: &str| format!("<Tag><Key>{name}</Key><Value>{value}</Value></Tag>");
        let both = format!(
            "<LocationConstraint>us-east-1</LocationConstraint><Tags>{}{}</Tags>",
            tag("team", "a b"),
            tag("cost", "1")
        );
        server.put("/abc", body(&both).as_bytes()).expect(200);
        let tags = server.get("/abc?tagging").expect(200);
        assert_eq!(tags.elements("Key"), ["team", "cost"]);
        assert_eq!(tags.elements("Value"), ["a b", "1"]);
        server.put("/bare", body("<Tags/>").as_bytes()).expect(200);
        server.get("/bare?tagging").expect_error(404, "NoSuchTagSet");
        let twice = tag("a", "1").repeat(2);
        for (tags, code) in [
            (twice.as_str(), "InvalidTag"),
            (tag("aws:x", "1").as_str(), "InvalidTag"),
            ("<Tag><Key>a</Key></Tag>", "MalformedXML"),
            ("<Unknown/>", "MalformedXML"),
        ] {
            let refused = server.put("/bad-tags", body(&format!("<Tags>{tags}</Tags>")).as_bytes());
            refused.expect_error(400, code);
        }
        let many = |count: usize| (0..count).map(|at| tag(&format!("k{at}"), "v")).collect::<String>();
        server
            .put("/bad-tags", body(&format!("<Tags>{}</Tags>", many(51))).as_bytes())
            .expect_error(400, "BadRequest");
        server.head("/bad-tags").expect(404);
        server.put("/full", body(&format!("<Tags>{}</Tags>", many(50))).as_bytes()).expect(200);
        assert_eq!(server.get("/full?tagging").elements("Key").len(), 50);
    });
}

#[test]
fn a_directory_bucket_is_refused_with_a_clear_sentence() {
    let server = TestServer::memory();
    for content in [
        "<Location><Name>use1-az4</Name><Type>AvailabilityZone</Type></Location>",
        "<Bucket><DataRedundancy>SingleAvailabilityZone</DataRedundancy><Type>Directory</Type></Bucket>",
    ] {
        let body = format!("<CreateBucketConfiguration>{content}</CreateBucketConfiguration>");
        let reply = server.put("/abc", body.as_bytes()).expect_error(501, "NotImplemented");
        assert!(reply.element("Message").unwrap().contains("no directory buckets"));
    }
    server.put("/abc--use1-az4--x-s3", b"").expect_error(400, "InvalidBucketName");
    server.head("/abc").expect(404);
}

#[test]
fn buckets_are_listed_in_pages_by_prefix_and_region() {
    for_each_backend(|server| {
        for number in 0..7 {
            let region = if number % 2 == 0 { "us-east-1" } else { "eu-west-1" };
            let body = format!(
                "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            );
            server.put(&format!("/page-{number}"), body.as_bytes()).expect(200);
        }
        server.bucket("other");
        server.as_lisa().put("/page-lisa", b"").expect(200);
        let (mut found, mut token, mut pages) = (Vec::new(), None, 0);
        loop {
            let after = token
                .map(|token: String| format!("&continuation-token={}", s3pail::codec::uri::encode(&token)));
            let target = format!("/?max-buckets=3&prefix=page-{}", after.unwrap_or_default());
            let page = server.get(&target).expect(200);
            assert_eq!(page.element("Prefix").as_deref(), Some("page-"));
            assert!(page.elements("Name").len() <= 3);
            assert_eq!(page.elements("Name").len(), page.elements("BucketRegion").len());
            found.extend(page.elements("Name"));
            pages += 1;
            token = page.element("ContinuationToken");
            if token.is_none() {
                break;
            }
        }
        let all: Vec<String> = (0..7).map(|number| format!("page-{number}")).collect();
        assert_eq!((found, pages), (all, 3));
        let west = server.get("/?bucket-region=eu-west-1").expect(200);
        assert_eq!(west.elements("Name"), ["page-1", "page-3", "page-5"]);
        for target in
            ["/?max-buckets=0", "/?max-buckets=10001", "/?max-buckets=x", "/?continuation-token=%00"]
        {
            server.get(target).expect_error(400, "InvalidArgument");
        }
        let refused = server.get("/?bucket-region=eu-east-1").expect_error(400, "InvalidArgument");
        let message = "Argument value eu-east-1 is not a valid AWS Region";
        assert_eq!(refused.element("Message").as_deref(), Some(message));
        assert_eq!(refused.element("ArgumentName").as_deref(), Some("bucket-region"));
    });
}
