//! Tags of buckets and objects.

use crate::harness::{Reply, TestServer, for_each_backend};

fn tag_set(tags: &[(&str, &str)]) -> Vec<u8> {
    let tag = |(name, value): &(&str, &str)| format!("<Tag><Key>{name}</Key><Value>{value}</Value></Tag>");
    let tags: String = tags.iter().map(tag).collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>").into_bytes()
}

fn tags_of(reply: &Reply) -> Vec<(String, String)> {
    reply.elements("Key").into_iter().zip(reply.elements("Value")).collect()
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_tags_of_a_bucket_are_set_and_taken_away() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.get("/abc?tagging").expect_error(404, "NoSuchTagSet");
        server.put("/abc?tagging", &tag_set(&[("b", "1"), ("a", "")])).expect(204);
        assert_eq!(tags_of(&server.get("/abc?tagging").expect(200)), pairs(&[("b", "1"), ("a", "")]));
        server.delete("/abc?tagging").expect(204);
        server.get("/abc?tagging").expect_error(404, "NoSuchTagSet");
        server.put("/abc?tagging", &tag_set(&[("a", "")])).expect(204);
        server.put("/abc?tagging", &tag_set(&[])).expect(204);
        server.get("/abc?tagging").expect_error(404, "NoSuchTagSet");
        server.put("/none?tagging", &tag_set(&[])).expect_error(404, "NoSuchBucket");
    });
}

/// DL-14: nor do they reach an object whose key is a part of this one's.
#[test]
fn the_tags_of_an_object_leave_everything_else_of_it_alone() {
    for_each_backend(|server| {
        server.bucket("abc");
        for key in ["a/b/c", "c", "a/b", "b/c"] {
            server.send("PUT", &format!("/abc/{key}"), &[("x-amz-meta-x", "y")], key.as_bytes()).expect(200);
        }
        let before = server.head("/abc/a/b/c").expect(200);
        server.put("/abc/a/b/c?tagging", &tag_set(&[("x", "1")])).expect(200);
        let after = server.get("/abc/a/b/c").expect(200);
        assert_eq!(after.body, b"a/b/c");
        assert_eq!(after.header("x-amz-tagging-count"), Some("1"));
        for name in ["etag", "last-modified", "x-amz-meta-x"] {
            assert_eq!(before.header(name), after.header(name), "{name}");
        }
        for key in ["c", "a/b", "b/c"] {
            assert!(tags_of(&server.get(&format!("/abc/{key}?tagging")).expect(200)).is_empty(), "{key}");
        }
        server.delete("/abc/a/b/c?tagging").expect(204);
        assert!(tags_of(&server.get("/abc/a/b/c?tagging").expect(200)).is_empty());
        assert_eq!(server.get("/abc/a/b/c").header("x-amz-tagging-count"), None);
        server.get("/abc/none?tagging").expect_error(404, "NoSuchKey");
        server.put("/abc/none?tagging", &tag_set(&[])).expect_error(404, "NoSuchKey");
        server.delete("/abc/none?tagging").expect_error(404, "NoSuchKey");
    });
}

#[test]
fn each_version_has_tags_of_its_own() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc?versioning", &versioning("Enabled")).expect(200);
        let put = |body: &[u8]| server.put("/abc/k", body).expect(200).version();
        let (old, new) = (put(b"1"), put(b"2"));
        let set = |target: &str, value: &str| server.put(target, &tag_set(&[("v", value)])).expect(200);
        assert_eq!(set(&format!("/abc/k?tagging&versionId={old}"), "old").version(), old);
        assert_eq!(set("/abc/k?tagging", "new").version(), new);
        for (version, value) in [(&old, "old"), (&new, "new")] {
            let got = server.get(&format!("/abc/k?tagging&versionId={version}")).expect(200);
            assert_eq!((tags_of(&got), got.version()), (pairs(&[("v", value)]), version.clone()));
        }
        // The bytes still belong to the tags, also when the version becomes the newest.
        server.delete(&format!("/abc/k?versionId={new}")).expect(204);
        assert_eq!(tags_of(&server.get("/abc/k?tagging").expect(200)), pairs(&[("v", "old")]));
        assert_eq!(server.get("/abc/k").expect(200).body, b"1");
        assert_eq!(server.delete("/abc/k?tagging").expect(204).version(), old);
        let marker = server.delete("/abc/k").expect(204).version();
        for target in ["/abc/k?tagging".to_owned(), format!("/abc/k?tagging&versionId={marker}")] {
            server.get(&target).expect_error(405, "MethodNotAllowed");
            server.put(&target, &tag_set(&[])).expect_error(405, "MethodNotAllowed");
            server.delete(&target).expect_error(405, "MethodNotAllowed");
        }
        let unknown = format!("/abc/k?tagging&versionId={}", "0".repeat(32));
        server.put(&unknown, &tag_set(&[])).expect_error(404, "NoSuchVersion");
        server.put("/abc/k?tagging&versionId=..", &tag_set(&[])).expect_error(400, "InvalidArgument");
    });
}

#[test]
fn bad_tags_are_refused_and_change_nothing() {
    let server = TestServer::memory();
    server.bucket("abc");
    server.send("PUT", "/abc/k", &[("x-amz-tagging", "z=1&a")], b"x").expect(200);
    let many = |count: usize| -> Vec<(String, String)> {
        (0..count).map(|index| (format!("k{index}"), "v".to_owned())).collect()
    };
    let set = |tags: &[(String, String)]| {
        tag_set(&tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>())
    };
    server.put("/abc/k?tagging", &set(&many(11))).expect_error(400, "BadRequest");
    server.put("/abc?tagging", &set(&many(51))).expect_error(400, "BadRequest");
    let (long_name, long_value) = ("n".repeat(129), "v".repeat(257));
    for tags in [
        vec![("a", "1"), ("a", "2")],
        vec![("", "1")],
        vec![("aws:a", "1")],
        vec![("a|b", "1")],
        vec![("a", "1,2")],
        vec![(long_name.as_str(), "1")],
        vec![("a", long_value.as_str())],
    ] {
        server.put("/abc/k?tagging", &tag_set(&tags)).expect_error(400, "InvalidTag");
        server.put("/abc?tagging", &tag_set(&tags)).expect_error(400, "InvalidTag");
    }
    server.put("/abc/k?tagging", b"").expect_error(400, "MissingRequestBodyError");
    for body in ["<Tagging>", "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"] {
        server.put("/abc/k?tagging", body.as_bytes()).expect_error(400, "MalformedXML");
    }
    let wrong = [("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    server.send("PUT", "/abc/k?tagging", &wrong, &tag_set(&[])).expect_error(400, "BadDigest");
    for header in ["a=1&a=2", "a=%zz", "a=1,b=2"] {
        server.send("PUT", "/abc/k", &[("x-amz-tagging", header)], b"y").expect_error(400, "InvalidArgument");
    }
    assert_eq!(tags_of(&server.get("/abc/k?tagging").expect(200)), pairs(&[("a", ""), ("z", "1")]));
    server.put("/abc/k?tagging", &set(&many(10))).expect(200);
    server.put("/abc?tagging", &set(&many(50))).expect(204);
}

fn versioning(status: &str) -> Vec<u8> {
    format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>").into_bytes()
}

/// As recorded of AWS S3.
#[test]
fn a_document_without_a_set_takes_all_tags_away() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"x").expect(200);
        let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
        for (target, emptied) in [("/abc?tagging", 204), ("/abc/k?tagging", 200)] {
            server.put(target, tags);
            assert_eq!(server.get(target).expect(200).elements("Key"), ["a"]);
            server.put(target, b"<Tagging/>").expect(emptied);
        }
        server.get("/abc?tagging").expect_error(404, "NoSuchTagSet");
        assert!(server.get("/abc/k?tagging").expect(200).elements("Key").is_empty());
    });
}
