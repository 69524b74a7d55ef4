//! Versions: what makes one, what removes one, and what is the newest then.

use crate::harness::{Client, Reply, TestServer, for_each_backend};

fn configuration(status: &str) -> Vec<u8> {
    format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>").into_bytes()
}

fn set(client: &Client, status: &str) {
    client.put("/abc?versioning", &configuration(status)).expect(200);
}

/// Version ids and whether each is the newest, as listed.
fn listed(client: &Client) -> Vec<(String, String)> {
    let list = client.get("/abc?versions").expect(200);
    list.elements("VersionId").into_iter().zip(list.elements("IsLatest")).collect()
}

fn ids(client: &Client) -> Vec<String> {
    listed(client).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn the_state_of_a_bucket_is_enabled_or_suspended_once_it_was_set() {
    for_each_backend(|server| {
        server.bucket("abc");
        assert_eq!(server.get("/abc?versioning").expect(200).element("Status"), None);
        for status in ["Enabled", "Suspended", "Enabled"] {
            set(server, status);
            let got = server.get("/abc?versioning").expect(200);
            assert_eq!(got.element("Status").as_deref(), Some(status));
        }
        let empty = b"<VersioningConfiguration/>";
        server.put("/abc?versioning", empty).expect_error(400, "IllegalVersioningConfigurationException");
        server.put("/abc?versioning", &configuration("enabled")).expect_error(400, "MalformedXML");
        server.put("/abc?versioning", b"").expect_error(400, "MissingRequestBodyError");
    });
}

#[test]
fn every_write_makes_a_version_and_removing_the_newest_uncovers_the_one_before() {
    for_each_backend(|server| {
        server.bucket("abc");
        set(server, "Enabled");
        let put = |body: &[u8]| server.put("/abc/k", body).expect(200).version();
        let (one, two) = (put(b"1"), put(b"2"));
        let marker = server.delete("/abc/k").expect(204);
        assert_eq!(marker.header("x-amz-delete-marker"), Some("true"));
        let gone = server.get("/abc/k").expect_error(404, "NoSuchKey");
        assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
        assert_eq!(gone.version(), marker.version());
        assert_eq!(ids(server), [marker.version(), two.clone(), one.clone()]);
        assert_eq!(server.get(&format!("/abc/k?versionId={one}")).expect(200).body, b"1");
        server.get(&format!("/abc/k?versionId={}", marker.version())).expect_error(405, "MethodNotAllowed");

        let removed = server.delete(&format!("/abc/k?versionId={}", marker.version())).expect(204);
        assert_eq!(removed.header("x-amz-delete-marker"), Some("true"));
        assert_eq!(server.get("/abc/k").expect(200).body, b"2");
        server.delete(&format!("/abc/k?versionId={two}")).expect(204);
        assert_eq!(server.get("/abc/k").expect(200).body, b"1");
        assert_eq!(listed(server), [(one.clone(), "true".to_owned())]);
        server.delete("/abc").expect_error(409, "BucketNotEmpty");
        server.delete(&format!("/abc/k?versionId={one}")).expect(204);
        server.delete(&format!("/abc/k?versionId={one}")).expect(204);
        server.get(&format!("/abc/k?versionId={one}")).expect_error(404, "NoSuchVersion");
        server.delete("/abc").expect(204);
    });
}

#[test]
fn there_is_at_most_one_null_version() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"first").expect(200);
        set(server, "Enabled");
        let kept = server.put("/abc/k", b"kept").expect(200).version();
        assert_eq!(ids(server), [kept.clone(), "null".to_owned()]);
        assert_eq!(server.get("/abc/k?versionId=null").expect(200).body, b"first");
        set(server, "Suspended");
        assert_eq!(server.put("/abc/k", b"second").expect(200).header("x-amz-version-id"), None);
        assert_eq!(ids(server), ["null".to_owned(), kept.clone()]);
        assert_eq!(server.get("/abc/k?versionId=null").expect(200).body, b"second");
        server.put("/abc/k", b"third").expect(200);
        assert_eq!(ids(server), ["null".to_owned(), kept.clone()]);
        let marker = server.delete("/abc/k").expect(204);
        assert_eq!(marker.header("x-amz-version-id"), Some("null"));
        assert_eq!(ids(server), ["null".to_owned(), kept.clone()]);
        server.get("/abc/k").expect_error(404, "NoSuchKey");
        server.delete("/abc/k?versionId=null").expect(204);
        assert_eq!(server.get("/abc/k").expect(200).body, b"kept");
        assert_eq!(listed(server), [(kept, "true".to_owned())]);
    });
}

#[test]
fn an_id_that_cannot_be_one_is_told_from_one_that_is_not_there() {
    let server = TestServer::memory();
    server.bucket("abc");
    set(&server, "Enabled");
    server.put("/abc/k", b"x").expect(200);
    for id in ["", "..", "../../x", "nULL", "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"] {
        let target = format!("/abc/k?versionId={id}");
        server.get(&target).expect_error(400, "InvalidArgument");
        server.delete(&target).expect_error(400, "InvalidArgument");
    }
    let absent = format!("/abc/k?versionId={}", "0".repeat(32));
    server.get(&absent).expect_error(404, "NoSuchVersion");
    server.delete(&absent).expect(204);
    server.get("/abc/k?versionId=null").expect_error(404, "NoSuchVersion");
    // The id of a version of one key opens no other key.
    let other = server.put("/abc/other", b"y").expect(200).version();
    server.get(&format!("/abc/k?versionId={other}")).expect_error(404, "NoSuchVersion");
    assert_eq!(server.get("/abc/k").expect(200).body, b"x");
}

#[test]
fn one_request_removes_many_versions() {
    for_each_backend(|server| {
        server.bucket("abc");
        set(server, "Enabled");
        let put = |key: &str| server.put(&format!("/abc/{key}"), b"x").expect(200).version();
        let (a, b) = (put("a"), put("b"));
        let body = format!(
            "<Delete><Object><Key>a</Key><VersionId>{a}</VersionId></Object><Object><Key>b</Key></Object>\
             <Object><Key>c</Key><VersionId>no-id</VersionId></Object></Delete>"
        );
        let reply = delete_many(server, &body);
        assert_eq!(reply.elements("DeleteMarker"), ["true"]);
        assert_eq!(reply.element("Code").as_deref(), Some("NoSuchVersion"));
        let marker = reply.element("DeleteMarkerVersionId").unwrap();
        assert_eq!(ids(server), [marker.clone(), b.clone()]);
        let body = format!(
            "<Delete><Quiet>true</Quiet><Object><Key>b</Key><VersionId>{b}</VersionId></Object>\
             <Object><Key>b</Key><VersionId>{marker}</VersionId></Object></Delete>"
        );
        assert!(!delete_many(server, &body).text().contains("<Deleted>"));
        assert!(ids(server).is_empty());
    });
}

fn delete_many(client: &Client, body: &str) -> Reply {
    let md5 = s3pail::codec::base64(&s3pail::codec::digest::md5(body.as_bytes()));
    client.send("POST", "/abc?delete", &[("content-md5", &md5)], body.as_bytes()).expect(200)
}

#[test]
fn conditions_look_at_the_newest_version_only() {
    for_each_backend(|server| {
        server.bucket("abc");
        set(server, "Enabled");
        let when =
            |name: &str, value: &str, body: &[u8]| server.send("PUT", "/abc/k", &[(name, value)], body);
        let one = when("if-none-match", "*", b"1").expect(200);
        when("if-none-match", "*", b"2").expect_error(412, "PreconditionFailed");
        let two = when("if-match", one.header("etag").unwrap(), b"2").expect(200);
        when("if-match", one.header("etag").unwrap(), b"3").expect_error(412, "PreconditionFailed");
        when("if-none-match", two.header("etag").unwrap(), b"3").expect_error(412, "PreconditionFailed");
        let old = one.header("etag").unwrap();
        server.send("DELETE", "/abc/k", &[("if-match", old)], b"").expect_error(412, "PreconditionFailed");
        server.send("DELETE", "/abc/k", &[("if-match", two.header("etag").unwrap())], b"").expect(204);
        when("if-match", two.header("etag").unwrap(), b"3").expect_error(404, "NoSuchKey");
        when("if-none-match", "*", b"3").expect(200);
        assert_eq!(ids(server).len(), 4);
        assert_eq!(server.get("/abc/k").expect(200).body, b"3");
    });
}

/// Removing the newest version moves an older one into its place, where a removal of that one at the
/// same moment must still find it.
#[test]
fn versions_that_are_removed_at_once_are_all_gone() {
    for_each_backend(|server| {
        server.bucket("abc");
        let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        server.put("/abc?versioning", enabled).expect(200);
        for _ in 0..10 {
            let ids: Vec<String> = (0..8)
                .map(|_| {
                    server.put("/abc/k", b"x").expect(200).header("x-amz-version-id").unwrap().to_owned()
                })
                .collect();
            std::thread::scope(|scope| {
                for id in &ids {
                    scope.spawn(move || server.delete(&format!("/abc/k?versionId={id}")).expect(204));
                }
            });
            assert!(server.get("/abc?versions").expect(200).elements("VersionId").is_empty());
        }
    });
}

#[test]
fn the_list_of_a_null_version_names_it_where_versions_were_ever_kept() {
    for_each_backend(|server| {
        server.bucket("abc");
        server.put("/abc/k", b"x").expect(200);
        assert_eq!(server.get("/abc/k?acl").expect(200).header("x-amz-version-id"), None);
        let suspended = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        server.put("/abc?versioning", suspended).expect(200);
        assert_eq!(server.get("/abc/k?acl").expect(200).version(), "null");
    });
}
