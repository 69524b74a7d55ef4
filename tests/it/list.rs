//! Listings: pages, prefixes, delimiters, markers, encodings.

use crate::harness::{TestServer, for_each_backend};

fn with_keys(server: &TestServer, keys: &[&str]) {
    server.bucket("abc");
    for key in keys {
        server.put(&format!("/abc/{key}"), b"x").expect(200);
    }
}

#[test]
fn keys_come_in_byte_order_in_both_versions() {
    for_each_backend(|server| {
        with_keys(server, &["b", "a/b", "a", "%C3%A9", "a%01", "A", "a//b"]);
        let expected = ["A", "a", "a&#x1;", "a//b", "a/b", "b", "é"];
        assert_eq!(server.get("/abc").expect(200).elements("Key"), expected);
        assert_eq!(server.get("/abc?list-type=2").expect(200).elements("Key"), expected);
        let encoded = server.get("/abc?encoding-type=url").expect(200).elements("Key");
        assert_eq!(encoded, ["A", "a", "a%01", "a//b", "a/b", "b", "%C3%A9"]);
    });
}

#[test]
fn a_delimiter_groups_keys_and_a_prefix_opens_a_group() {
    for_each_backend(|server| {
        with_keys(server, &["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud"]);
        let page = server.get("/abc?delimiter=/").expect(200);
        assert_eq!(page.elements("Key"), ["asdf"]);
        assert_eq!(page.elements("Prefix"), ["", "boo/", "cquux/"]);
        let page = server.get("/abc?list-type=2&delimiter=/&prefix=boo/").expect(200);
        assert_eq!(page.elements("Key"), ["boo/bar"]);
        assert_eq!(page.elements("Prefix"), ["boo/", "boo/baz/"]);
        assert_eq!(page.element("KeyCount").as_deref(), Some("2"));
        assert!(server.get("/abc?prefix=zzz&delimiter=a").expect(200).elements("Key").is_empty());
    });
}

/// PT-04 in small: whatever the page size, the pages together are the whole list, each entry once.
#[test]
fn pages_of_any_size_make_the_whole_list() {
    for_each_backend(|server| {
        with_keys(server, &["a", "a/", "a/1", "a/2", "a0", "b/1", "b/2/3", "c", "d/"]);
        for delimiter in ["", "/", "2"] {
            let whole = names(&server.get(&format!("/abc?delimiter={delimiter}")).expect(200).text());
            for size in 1..=10 {
                let (mut v1, mut marker) = (Vec::new(), String::new());
                let (mut v2, mut token) = (Vec::new(), String::new());
                loop {
                    let page = server
                        .get(&format!("/abc?delimiter={delimiter}&max-keys={size}&marker={marker}"))
                        .expect(200);
                    v1.extend(names(&page.text()));
                    if page.element("IsTruncated").as_deref() == Some("false") {
                        break;
                    }
                    let last_key = page.elements("Key").pop();
                    marker = page.element("NextMarker").or(last_key).unwrap();
                }
                loop {
                    let target = format!("/abc?list-type=2&delimiter={delimiter}&max-keys={size}{token}");
                    let page = server.get(&target).expect(200);
                    v2.extend(names(&page.text()));
                    let Some(next) = page.element("NextContinuationToken") else { break };
                    token = format!("&continuation-token={}", next.replace('+', "%2B").replace('=', "%3D"));
                }
                v1.sort();
                v2.sort();
                let mut expected = whole.clone();
                expected.sort();
                assert_eq!(v1, expected, "V1, delimiter {delimiter:?}, pages of {size}");
                assert_eq!(v2, expected, "V2, delimiter {delimiter:?}, pages of {size}");
            }
        }
    });
}

/// Keys and groups of a page.
fn names(text: &str) -> Vec<String> {
    let after_head = text.split("</IsTruncated>").nth(1).unwrap_or("");
    let mut names = Vec::new();
    for (open, close) in [("<Key>", "</Key>"), ("<Prefix>", "</Prefix>")] {
        names.extend(after_head.split(open).skip(1).map(|rest| rest.split(close).next().unwrap().to_owned()));
    }
    names
}

/// BI-150 to BI-155.
#[test]
fn parameters_that_make_no_sense_are_refused() {
    let server = TestServer::memory();
    with_keys(&server, &["a", "b"]);
    for query in [
        "max-keys=-1",
        "max-keys=abc",
        "max-keys=2147483648",
        "max-keys=1.5",
        "encoding-type=foo",
        "list-type=3",
        "list-type=2&continuation-token=garbage",
        "versions&version-id-marker=abc",
        "uploads&max-uploads=-1",
    ] {
        server.get(&format!("/abc?{query}")).expect_error(400, "InvalidArgument");
    }
    let empty = server.get("/abc?max-keys=0").expect(200);
    assert!(empty.elements("Key").is_empty());
    assert_eq!(empty.element("IsTruncated").as_deref(), Some("false"));
    assert_eq!(server.get("/abc?max-keys=").expect(200).elements("Key"), ["a", "b"]);
    assert_eq!(server.get("/abc?max-keys=100000").expect(200).element("MaxKeys").as_deref(), Some("1000"));
}

#[test]
fn a_token_of_another_bucket_is_refused() {
    let server = TestServer::memory();
    with_keys(&server, &["a", "b"]);
    server.put("/other", b"").expect(200);
    let token = server.get("/abc?list-type=2&max-keys=1").element("NextContinuationToken").unwrap();
    let token = token.replace('=', "%3D");
    server
        .get(&format!("/other?list-type=2&continuation-token={token}"))
        .expect_error(400, "InvalidArgument");
}

#[test]
fn start_after_and_fetch_owner_are_honoured() {
    for_each_backend(|server| {
        with_keys(server, &["a", "b", "c"]);
        let page = server.get("/abc?list-type=2&start-after=a&fetch-owner=true").expect(200);
        assert_eq!(page.elements("Key"), ["b", "c"]);
        assert_eq!(page.elements("DisplayName"), ["Bart", "Bart"]);
        assert!(server.get("/abc?list-type=2").elements("DisplayName").is_empty());
        assert_eq!(server.get("/abc").elements("DisplayName").len(), 3);
    });
}

/// As recorded of AWS S3: who continues from inside a group has had the group.
#[test]
fn a_marker_inside_a_group_leaves_the_whole_group_behind() {
    for_each_backend(|server| {
        with_keys(server, &["f/a/1", "f/a/2", "f/b", "f/c"]);
        for key in ["f/a/1", "f/b"] {
            server.post(&format!("/abc/{key}?uploads"), b"").expect(200);
        }
        for target in [
            "/abc?prefix=f/&delimiter=/&max-keys=1&marker=f/a/1",
            "/abc?list-type=2&prefix=f/&delimiter=/&max-keys=1&start-after=f/a/1",
            "/abc?versions&prefix=f/&delimiter=/&max-keys=1&key-marker=f/a/1",
            "/abc?uploads&prefix=f/&delimiter=/&max-uploads=1&key-marker=f/a/1",
        ] {
            let page = server.get(target).expect(200);
            assert_eq!(page.elements("Key"), ["f/b"], "{target}");
            assert_eq!(page.elements("Prefix"), ["f/"], "{target}");
        }
    });
}

/// As recorded of AWS S3, and as the official SDKs read it.
#[test]
fn listings_of_uploads_and_parts_always_say_where_they_end() {
    for_each_backend(|server| {
        server.bucket("abc");
        let page = server.get("/abc?uploads").expect(200);
        assert_eq!(page.element("NextKeyMarker").as_deref(), Some(""));
        assert_eq!(page.element("NextUploadIdMarker").as_deref(), Some(""));
        assert!(page.elements("Prefix").is_empty());
        let id = server.post("/abc/k?uploads", b"").element("UploadId").unwrap();
        let page = server.get("/abc?uploads").expect(200);
        assert_eq!(page.element("IsTruncated").as_deref(), Some("false"));
        assert_eq!(page.element("NextKeyMarker").as_deref(), Some("k"));
        assert_eq!(page.element("NextUploadIdMarker"), Some(id.clone()));
        let parts = server.get(&format!("/abc/k?uploadId={id}")).expect(200);
        assert_eq!(parts.element("NextPartNumberMarker").as_deref(), Some("0"));
    });
}

/// So that a client may compare them with `Last-Modified`.
#[test]
fn times_in_documents_have_no_part_of_a_second() {
    for_each_backend(|server| {
        with_keys(server, &["a"]);
        let id = server.post("/abc/k?uploads", b"").element("UploadId").unwrap();
        server.put(&format!("/abc/k?partNumber=1&uploadId={id}"), b"x").expect(200);
        let copied = server.send("PUT", "/abc/b", &[("x-amz-copy-source", "abc/a")], b"").expect(200);
        for (page, element) in [
            (server.get("/"), "CreationDate"),
            (server.get("/abc"), "LastModified"),
            (server.get("/abc?versions"), "LastModified"),
            (server.get("/abc?uploads"), "Initiated"),
            (server.get(&format!("/abc/k?uploadId={id}")), "LastModified"),
            (copied, "LastModified"),
        ] {
            let time = page.expect(200).element(element).unwrap();
            assert!(time.ends_with(".000Z"), "{element} {time}");
        }
    });
}
