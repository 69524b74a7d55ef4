//! Settings that are kept and returned: acceleration, replication, configurations with ids.

use crate::harness::{TestServer, for_each_backend};
use s3pail::codec::base64;

fn metrics(id: &str) -> String {
    format!(
        "<MetricsConfiguration><Id>{id}</Id><Filter><Prefix>a&amp;b</Prefix></Filter></MetricsConfiguration>"
    )
}

#[test]
fn configurations_with_ids_are_put_listed_and_deleted() {
    for_each_backend(|server| {
        server.bucket("kept");
        let empty = server.get("/kept?metrics").expect(200);
        assert_eq!(empty.element("IsTruncated").as_deref(), Some("false"));
        server.get("/kept?metrics&id=a").expect_error(404, "NoSuchConfiguration");
        server.delete("/kept?metrics&id=a").expect_error(404, "NoSuchConfiguration");
        server.put("/kept?metrics", metrics("a").as_bytes()).expect_error(400, "InvalidArgument");
        server.put("/kept?metrics&id=b", metrics("a").as_bytes()).expect_error(400, "MalformedXML");
        server.put("/kept?metrics&id=a", b"<MetricsConfiguration/>").expect_error(400, "MalformedXML");
        server.put("/kept?metrics&id=a", metrics("a").as_bytes()).expect(204);
        let stored = server.get("/kept?metrics&id=a").expect(200);
        assert_eq!(stored.element("Prefix").as_deref(), Some("a&amp;b"));
        server.get("/kept?inventory&id=a").expect_error(404, "NoSuchConfiguration");
        server.as_lisa().get("/kept?metrics&id=a").expect_error(403, "AccessDenied");
        server.delete("/kept?metrics&id=a").expect(204);
        server.get("/kept?metrics&id=a").expect_error(404, "NoSuchConfiguration");
    });
}

#[test]
fn a_list_of_configurations_has_pages() {
    let server = TestServer::memory();
    server.bucket("kept");
    for i in 0..101 {
        let id = format!("id-{i:03}");
        server.put(&format!("/kept?metrics&id={id}"), metrics(&id).as_bytes()).expect(204);
    }
    let first = server.get("/kept?metrics").expect(200);
    assert_eq!(first.element("IsTruncated").as_deref(), Some("true"));
    let token = first.element("NextContinuationToken").unwrap().replace('=', "%3D");
    let second = server.get(&format!("/kept?metrics&continuation-token={token}")).expect(200);
    assert_eq!(second.element("IsTruncated").as_deref(), Some("false"));
    let mut ids = first.elements("Id");
    ids.extend(second.elements("Id"));
    assert_eq!((ids.len(), ids.is_sorted(), ids.last().unwrap().as_str()), (101, true, "id-100"));
}

#[test]
fn acceleration_is_kept() {
    let server = TestServer::memory();
    let put = |bucket: &str, status: &str| {
        let body = format!("<AccelerateConfiguration><Status>{status}</Status></AccelerateConfiguration>");
        server.put(&format!("/{bucket}?accelerate"), body.as_bytes())
    };
    server.bucket("kept");
    server.bucket("dotted.name");
    assert_eq!(server.get("/kept?accelerate").expect(200).element("Status"), None);
    put("kept", "On").expect_error(400, "MalformedXML");
    put("kept", "Enabled").expect(200);
    assert_eq!(server.get("/kept?accelerate").expect(200).element("Status").as_deref(), Some("Enabled"));
    put("dotted.name", "Enabled").expect_error(400, "InvalidRequest");
}

#[test]
fn objects_that_replication_is_for_are_marked_pending() {
    for_each_backend(|server| {
        server.bucket("kept");
        let body = "<ReplicationConfiguration><Role>arn:aws:iam::1:role/r</Role><Rule><ID>r</ID>\
            <Prefix>log/</Prefix><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::other</Bucket>\
            </Destination></Rule></ReplicationConfiguration>";
        let md5 = base64(&s3pail::codec::digest::md5(body.as_bytes()));
        let put = || server.send("PUT", "/kept?replication", &[("content-md5", &md5)], body.as_bytes());
        server.get("/kept?replication").expect_error(404, "ReplicationConfigurationNotFoundError");
        put().expect_error(400, "InvalidRequest");
        let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        server.put("/kept?versioning", enabled).expect(200);
        server.put("/kept/log/before", b"x").expect(200);
        put().expect(200);
        assert_eq!(server.get("/kept?replication").expect(200).element("ID").as_deref(), Some("r"));
        server.put("/kept/log/a", b"x").expect(200);
        server.put("/kept/a", b"x").expect(200);
        let copy = [("x-amz-copy-source", "/kept/a")];
        server.send("PUT", "/kept/log/copy", &copy, b"").expect(200);
        for (key, status) in
            [("log/a", Some("PENDING")), ("log/copy", Some("PENDING")), ("log/before", None), ("a", None)]
        {
            let reply = server.head(&format!("/kept/{key}")).expect(200);
            assert_eq!(reply.header("x-amz-replication-status"), status, "{key}");
        }
        // Replication counts on versions: they cannot be suspended under it.
        let suspended = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        server.put("/kept?versioning", suspended).expect_error(409, "InvalidBucketState");
        server.put("/kept?versioning", enabled).expect(200);
        server.delete("/kept?replication").expect(204);
        server.put("/kept?versioning", suspended).expect(200);
        server.get("/kept?replication").expect_error(404, "ReplicationConfigurationNotFoundError");
    });
}

/// A document of each kind: the sub-resource, the root, and the content but for the id.
const KINDS: [(&str, &str, &str); 4] = [
    ("analytics", "AnalyticsConfiguration", "<StorageClassAnalysis/>"),
    (
        "intelligent-tiering",
        "IntelligentTieringConfiguration",
        "<Status>Enabled</Status><Tiering><AccessTier>ARCHIVE_ACCESS</AccessTier><Days>90</Days></Tiering>",
    ),
    (
        "inventory",
        "InventoryConfiguration",
        "<Destination><S3BucketDestination><Bucket>arn:aws:s3:::to</Bucket><Format>CSV</Format></S3BucketDestination></Destination><IsEnabled>true</IsEnabled><IncludedObjectVersions>All</IncludedObjectVersions><Schedule><Frequency>Daily</Frequency></Schedule>",
    ),
    ("metrics", "MetricsConfiguration", "<Filter><Prefix>a</Prefix></Filter>"),
];

#[test]
fn configurations_of_every_kind_are_checked_kept_apart_and_bounded() {
    for_each_backend(|server| {
        server.bucket("kept");
        for (sub, root, content) in KINDS {
            let body = |id: &str, content: &str| format!("<{root}><Id>{id}</Id>{content}</{root}>");
            let put = |id: &str, body: &str| server.put(&format!("/kept?{sub}&id={id}"), body.as_bytes());
            put("one", &body("one", content)).expect(204);
            let got = server.get(&format!("/kept?{sub}&id=one")).expect(200);
            assert_eq!(got.element("Id").as_deref(), Some("one"), "{sub}");
            let mismatch = if sub == "inventory" { "IdMismatch" } else { "MalformedXML" };
            put("one", &body("other", content)).expect_error(400, mismatch);
            server
                .put(&format!("/kept?{sub}"), body("one", content).as_bytes())
                .expect_error(400, "InvalidArgument");
            server.delete(&format!("/kept?{sub}")).expect_error(400, "InvalidArgument");
            let long = "i".repeat(65);
            put("one", "").expect_error(400, "MissingRequestBodyError");
            for bad in [
                "{}".to_owned(),
                body("one", &format!("{content}<Unknown/>")),
                body(
                    "one",
                    &content
                        .replace("Enabled", "On")
                        .replace("Daily", "Hourly")
                        .replace("Prefix", "Suffix")
                        .replace("StorageClassAnalysis", "X"),
                ),
                content.to_owned(),
            ] {
                put("one", &bad).expect_error(400, "MalformedXML");
            }
            assert_eq!(put(&long, &body(&long, content)).status, 400, "{sub}");
            server.get(&format!("/kept?{sub}&id=none")).expect_error(404, "NoSuchConfiguration");
            server.delete(&format!("/kept?{sub}&id=none")).expect_error(404, "NoSuchConfiguration");
            assert_eq!(server.get(&format!("/kept?{sub}")).expect(200).elements("Id"), ["one"], "{sub}");
            server.as_lisa().get(&format!("/kept?{sub}")).expect_error(403, "AccessDenied");
            server.delete(&format!("/kept?{sub}&id=one")).expect(204);
            assert!(server.get(&format!("/kept?{sub}")).expect(200).elements("Id").is_empty());
        }
    });
}
