//! Website endpoints: pages, redirects and errors, for whoever comes by.

use crate::harness::{Reply, TestServer, for_each_backend, wait_until};
use s3pail::config::Config;

const HOST: &str = "s3-website.test";

fn start() -> TestServer {
    let config = Config { website_endpoints: vec![HOST.to_owned()], ..Config::in_memory() };
    TestServer::start("memory", config, None)
}

/// Asks the website of a bucket by its own host.
fn visit(server: &TestServer, method: &str, path: &str, fields: &str) -> Reply {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: site.{HOST}\r\nConnection: close\r\n{fields}\r\n");
    server.anonymous().raw(request.as_bytes(), method == "HEAD")
}

fn get(server: &TestServer, path: &str) -> Reply {
    visit(server, "GET", path, "")
}

fn configure(server: &TestServer, content: &str) -> Reply {
    let body = format!("<WebsiteConfiguration>{content}</WebsiteConfiguration>");
    server.put("/site?website", body.as_bytes())
}

fn put_public(server: &TestServer, key: &str, body: &str) {
    let fields = [("x-amz-acl", "public-read"), ("content-type", "text/html")];
    server.send("PUT", &format!("/site/{key}"), &fields, body.as_bytes()).expect(200);
}

const INDEX: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>";
const ERROR: &str = "<ErrorDocument><Key>error.html</Key></ErrorDocument>";

#[test]
fn a_configuration_is_stored_returned_and_removed() {
    for_each_backend(|server| {
        server.bucket("site");
        server.get("/site?website").expect_error(404, "NoSuchWebsiteConfiguration");
        configure(server, "").expect_error(400, "InvalidArgument");
        let rule = "<RoutingRules><RoutingRule><Condition><KeyPrefixEquals>a/</KeyPrefixEquals>\
            <HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals></Condition><Redirect>\
            <Protocol>https</Protocol><HostName>h</HostName><ReplaceKeyPrefixWith>b/</ReplaceKeyPrefixWith>\
            <HttpRedirectCode>302</HttpRedirectCode></Redirect></RoutingRule></RoutingRules>";
        configure(server, &format!("{INDEX}{ERROR}{rule}")).expect(200);
        let text = server.get("/site?website").expect(200).text();
        for part in [INDEX, ERROR, rule] {
            assert!(text.contains(part), "{text}");
        }
        server.as_lisa().delete("/site?website").expect_error(403, "AccessDenied");
        server.delete("/site?website").expect(204);
        server.get("/site?website").expect_error(404, "NoSuchWebsiteConfiguration");
    });
}

#[test]
fn folders_have_index_pages() {
    let server = start();
    assert!(get(&server, "/").expect(404).text().contains("<li>Code: NoSuchBucket</li>"));
    server.send("PUT", "/site", &[("x-amz-acl", "public-read")], b"").expect(200);
    assert!(get(&server, "/").expect(404).text().contains("NoSuchWebsiteConfiguration"));
    configure(&server, INDEX).expect(200);
    put_public(&server, "index.html", "home");
    put_public(&server, "docs/index.html", "docs");
    put_public(&server, "page", "page");
    for (path, body) in [
        ("/", "home"),
        ("/docs/", "docs"),
        ("/page", "page"),
        ("/page?acl&versionId=x", "page"),
        ("/index.html", "home"),
    ] {
        let reply = get(&server, path).expect(200);
        assert_eq!(
            (reply.text().as_str(), reply.header("content-type")),
            (body, Some("text/html")),
            "{path}"
        );
    }
    let found = get(&server, "/docs").expect(302);
    assert_eq!(found.header("location"), Some("/docs/"));
    assert_eq!(found.header("x-amz-error-code"), Some("Found"));
    assert!(found.text().contains("<li>Message: Resource Found</li>"));
    let by_path = format!("GET /site/docs HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    let reply = server.anonymous().raw(by_path.as_bytes(), false).expect(302);
    assert_eq!(reply.header("location"), Some("/site/docs/"));
    let etag = get(&server, "/page").header("etag").unwrap().to_owned();
    visit(&server, "GET", "/page", &format!("If-None-Match: {etag}\r\n")).expect(304);
    assert_eq!(visit(&server, "GET", "/page", "Range: bytes=1-2\r\n").expect(206).body, b"ag");
    assert_eq!(visit(&server, "HEAD", "/", "").expect(200).header("content-length"), Some("4"));
}

#[test]
fn errors_are_pages() {
    let server = start();
    server.send("PUT", "/site", &[("x-amz-acl", "public-read")], b"").expect(200);
    configure(&server, &format!("{INDEX}{ERROR}")).expect(200);
    server.put("/site/private", b"x").expect(200);
    let reply = get(&server, "/no/%3Cscript%3E").expect(404);
    let text = reply.text();
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(text.contains("<h1>404 Not Found</h1>") && text.contains("<li>Code: NoSuchKey</li>"), "{text}");
    assert!(text.contains("Retrieve a Custom Error Document"), "{text}");
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"), "{text}");
    put_public(&server, "error.html", "sorry");
    assert_eq!(get(&server, "/none").expect(404).text(), "sorry");
    assert_eq!(visit(&server, "GET", "/none", "Range: bytes=0-0\r\n").expect(404).text(), "sorry");
    let denied = get(&server, "/private").expect(403);
    assert_eq!((denied.text().as_str(), denied.header("x-amz-error-code")), ("sorry", Some("AccessDenied")));
    let head = visit(&server, "HEAD", "/none", "").expect(404);
    assert_eq!(head.header("x-amz-error-code"), Some("NoSuchKey"));
    assert!(head.header("x-amz-error-message").is_some());
    let refused = visit(&server, "PUT", "/k", "Content-Length: 0\r\n").expect(405);
    assert!(refused.text().contains("MethodNotAllowed"));
    // A signature makes nobody more than a visitor here.
    visit(&server, "GET", "/private", "Authorization: AWS accessKey1:x\r\n").expect(403);
}

#[test]
fn missing_pages_of_unlisted_buckets_are_forbidden() {
    let server = start();
    server.bucket("site");
    configure(&server, INDEX).expect(200);
    get(&server, "/none").expect(403);
}

#[test]
fn rules_and_objects_redirect() {
    let server = start();
    server.send("PUT", "/site", &[("x-amz-acl", "public-read")], b"").expect(200);
    let rule = |condition: &str, redirect: &str| {
        format!(
            "<RoutingRule><Condition>{condition}</Condition><Redirect>{redirect}</Redirect></RoutingRule>"
        )
    };
    let rules = [
        rule("<KeyPrefixEquals>old/</KeyPrefixEquals>", "<ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith>"),
        rule(
            "<HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>",
            "<Protocol>https</Protocol><HostName>h</HostName><ReplaceKeyWith>gone</ReplaceKeyWith>\
             <HttpRedirectCode>307</HttpRedirectCode>",
        ),
    ];
    configure(&server, &format!("{INDEX}<RoutingRules>{}</RoutingRules>", rules.concat())).expect(200);
    let moved = get(&server, "/old/a%20b").expect(301);
    assert_eq!(moved.header("location").unwrap(), format!("http://site.{HOST}/new/a%20b"));
    assert_eq!(get(&server, "/none").expect(307).header("location"), Some("https://h/gone"));
    let fields = [("x-amz-acl", "public-read"), ("x-amz-website-redirect-location", "/elsewhere")];
    server.send("PUT", "/site/page", &fields, b"").expect(200);
    assert_eq!(get(&server, "/page").expect(301).header("location"), Some("/elsewhere"));
    let all = "<RedirectAllRequestsTo><HostName>other</HostName></RedirectAllRequestsTo>";
    configure(&server, all).expect(200);
    assert_eq!(get(&server, "/a/b?c").expect(301).header("location"), Some("http://other/a/b"));
    // Reading through the API is not redirected.
    server.get("/site/page").expect(200);
}

#[test]
fn visits_are_in_the_access_log_as_such() {
    let server = start();
    server.bucket("site");
    configure(&server, &format!("{INDEX}{ERROR}")).expect(200);
    put_public(&server, "index.html", "hello");
    server.send("PUT", "/logs", &[("x-amz-acl", "log-delivery-write")], b"").expect(200);
    let logging = b"<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix/></LoggingEnabled></BucketLoggingStatus>";
    server.put("/site?logging", logging).expect(200);
    get(&server, "/").expect(200);
    wait_until("a line of the visit", || {
        server.anonymous().post("/_/logging/deliver", b"").expect(200);
        let keys = server.get("/logs?list-type=2").expect(200).elements("Key");
        keys.iter().any(|key| {
            let text = server.get(&format!("/logs/{key}")).expect(200).text();
            text.lines().any(|line| {
                line.contains(" - ") && line.contains(" WEBSITE.GET.OBJECT - \"GET / HTTP/1.1\" 200 ")
            })
        })
    });
}
