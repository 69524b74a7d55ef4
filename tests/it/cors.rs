//! Cross-origin requests: the configuration, preflights, and ordinary answers.

use crate::harness::{Reply, TestServer, for_each_backend};
use s3pail::codec::base64;

const RULES: &str = "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedMethod>HEAD</AllowedMethod>\
    <AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedHeader>x-amz-*</AllowedHeader>\
    <ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-meta-a</ExposeHeader>\
    <MaxAgeSeconds>300</MaxAgeSeconds></CORSRule>\
    <CORSRule><ID>any</ID><AllowedMethod>PUT</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>";

const PAGE: &str = "https://www.example.com";

fn put_rules(server: &TestServer, bucket: &str, rules: &str) -> Reply {
    let body = format!("<CORSConfiguration>{rules}</CORSConfiguration>");
    let md5 = base64(&s3pail::codec::digest::md5(body.as_bytes()));
    server.send("PUT", &format!("{bucket}?cors"), &[("content-md5", &md5)], body.as_bytes())
}

fn preflight(server: &TestServer, target: &str, fields: &[(&str, &str)]) -> Reply {
    server.anonymous().send("OPTIONS", target, fields, b"")
}

#[track_caller]
fn has_no_cors_field(reply: &Reply) {
    let found = reply.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
    assert_eq!(found, None, "{}", reply.text());
}

#[test]
fn a_configuration_is_stored_returned_and_removed() {
    for_each_backend(|server| {
        let bucket = server.bucket("cors");
        let target = format!("{bucket}?cors");
        server.get(&target).expect_error(404, "NoSuchCORSConfiguration");
        server.put(&target, b"<CORSConfiguration/>").expect_error(400, "InvalidRequest");
        put_rules(server, &bucket, "").expect_error(400, "MalformedXML");
        put_rules(server, &bucket, RULES).expect(200);
        let reply = server.get(&target).expect(200);
        assert_eq!(reply.elements("AllowedMethod"), ["GET", "HEAD", "PUT"]);
        assert_eq!(reply.elements("AllowedOrigin"), ["https://*.example.com", "*"]);
        assert_eq!(reply.elements("ExposeHeader"), ["ETag", "x-amz-meta-a"]);
        assert_eq!(reply.elements("MaxAgeSeconds"), ["300"]);
        assert_eq!(reply.elements("ID"), ["any"]);
        server.as_lisa().get(&target).expect_error(403, "AccessDenied");
        server.as_lisa().delete(&target).expect_error(403, "AccessDenied");
        server.delete(&target).expect(204);
        server.delete(&target).expect(204);
        server.get(&target).expect_error(404, "NoSuchCORSConfiguration");
    });
}

#[test]
fn a_preflight_is_answered_without_credentials() {
    let server = TestServer::memory();
    let bucket = server.bucket("cors");
    put_rules(&server, &bucket, RULES).expect(200);
    let fields = [
        ("origin", PAGE),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "X-Amz-Date, x-amz-user-agent"),
    ];
    for target in ["/cors", "/cors/k", "/cors/k?uploads&partNumber=%zz"] {
        let reply = preflight(&server, target, &fields).expect(200);
        for (name, value) in [
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, HEAD"),
            ("access-control-allow-headers", "x-amz-date, x-amz-user-agent"),
            ("access-control-expose-headers", "ETag, x-amz-meta-a"),
            ("access-control-max-age", "300"),
            ("vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
            ("content-length", "0"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name}");
        }
    }
    let put = [("origin", "null"), ("access-control-request-method", "PUT")];
    let reply = preflight(&server, "/cors/k", &put).expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
}

#[test]
fn a_preflight_that_no_rule_allows_is_refused() {
    let server = TestServer::memory();
    let bucket = server.bucket("cors");
    let get = ("access-control-request-method", "GET");
    let reply = preflight(&server, &bucket, &[("origin", PAGE), get]).expect_error(403, "AccessForbidden");
    assert_eq!(
        reply.element("Message").as_deref(),
        Some("CORSResponse: CORS is not enabled for this bucket.")
    );
    assert_eq!(reply.element("ResourceType").as_deref(), Some("BUCKET"));
    put_rules(&server, &bucket, RULES).expect(200);
    let reply = preflight(&server, &bucket, &[get]).expect_error(400, "BadRequest");
    let message = "Insufficient information. Origin request header needed.";
    assert_eq!(reply.element("Message").as_deref(), Some(message));
    preflight(&server, &bucket, &[("origin", PAGE)]).expect_error(400, "BadRequest");
    let patch = ("access-control-request-method", "PATCH");
    preflight(&server, &bucket, &[("origin", PAGE), patch]).expect_error(400, "BadRequest");
    preflight(&server, "/nobucket", &[("origin", PAGE), get]).expect_error(404, "NoSuchBucket");
    let many = (0..1000).map(|i| format!("h{i}")).collect::<Vec<_>>().join(",");
    for fields in [
        vec![("origin", "https://example.com"), get],
        vec![("origin", "https://www.example.com.evil"), get],
        vec![("origin", PAGE), ("access-control-request-method", "DELETE")],
        vec![("origin", PAGE), get, ("access-control-request-headers", "authorization")],
        vec![("origin", PAGE), get, ("access-control-request-headers", &many)],
        // Without AllowedHeader no header may be asked for.
        vec![
            ("origin", PAGE),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-amz-a"),
        ],
    ] {
        let reply = preflight(&server, "/cors/k", &fields).expect_error(403, "AccessForbidden");
        assert_eq!(reply.element("ResourceType").as_deref(), Some("OBJECT"));
        has_no_cors_field(&reply);
    }
}

/// SE-80: nothing without a configuration, and only to the origins that it names.
#[test]
fn answers_carry_the_fields_only_where_a_rule_matches() {
    let server = TestServer::memory();
    let bucket = server.bucket("cors");
    server.put("/cors/k", b"x").expect(200);
    let send =
        |method: &str, target: &str, origin: &str| server.send(method, target, &[("origin", origin)], b"");
    has_no_cors_field(&send("GET", "/cors/k", PAGE).expect(200));
    put_rules(&server, &bucket, RULES).expect(200);
    for (method, target, status) in
        [("GET", "/cors/k", 200), ("GET", "/cors/none", 404), ("GET", "/cors", 200)]
    {
        let reply = send(method, target, PAGE).expect(status);
        assert_eq!(reply.header("access-control-allow-origin"), Some(PAGE), "{target}");
        assert_eq!(reply.header("access-control-expose-headers"), Some("ETag, x-amz-meta-a"));
        assert!(reply.header("vary").is_some());
    }
    has_no_cors_field(&send("GET", "/cors/k", "https://elsewhere").expect(200));
    has_no_cors_field(&send("DELETE", "/cors/none", PAGE).expect(204));
    has_no_cors_field(&server.get("/cors/k").expect(200));
    has_no_cors_field(&send("GET", "/other-bucket/k", PAGE).expect(404));
    // A stranger's refusal can be read by the page too, which would otherwise see only a network error.
    let refused = server.anonymous().send("GET", "/cors/k", &[("origin", PAGE)], b"").expect(403);
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
    let bad = [("origin", PAGE), ("authorization", "AWS4-HMAC-SHA256 Credential=x")];
    let refused = server.anonymous().send("GET", "/cors/k", &bad, b"").expect(400);
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
}

/// Else the page that asked for the change would see a network error.
#[test]
fn who_takes_the_rules_away_is_answered_by_them() {
    let server = TestServer::memory();
    let bucket = server.bucket("cors");
    let rule = "<CORSRule><AllowedMethod>DELETE</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>";
    for target in ["/cors?cors", "/cors"] {
        put_rules(&server, &bucket, rule).expect(200);
        let reply = server.send("DELETE", target, &[("origin", PAGE)], b"").expect(204);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{target}");
    }
}

#[test]
fn what_cannot_name_a_header_is_refused() {
    let server = TestServer::memory();
    let bucket = server.bucket("cors");
    let methods = "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>";
    for name in ["two words", "a:b", "a(b)", "a/b", "a=b", "a@b", "\u{141}"] {
        for element in ["AllowedHeader", "ExposeHeader"] {
            let rule = format!("<CORSRule>{methods}<{element}>{name}</{element}></CORSRule>");
            put_rules(&server, &bucket, &rule).expect_error(400, "InvalidRequest");
        }
    }
    put_rules(&server, &bucket, &format!("<CORSRule>{methods}</CORSRule>")).expect(200);
    let method = ("access-control-request-method", "GET");
    for headers in ["two words", "x-a, a(b)"] {
        let fields = [("origin", PAGE), method, ("access-control-request-headers", headers)];
        preflight(&server, &bucket, &fields).expect_error(400, "BadRequest");
    }
    preflight(&server, &bucket, &[("origin", ""), method]).expect_error(400, "BadRequest");
}

/// BI-217, SE-75.
#[test]
fn no_line_end_reaches_a_header() {
    let server = TestServer::memory();
    let bucket = server.bucket("cors");
    for end in ["&#10;", "&#13;", "&#13;&#10;", "\r\n", "\u{2028}", "%0d%0a"] {
        let rules = format!(
            "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>\
             <ExposeHeader>ETag{end}Set-Cookie: a=b</ExposeHeader></CORSRule>"
        );
        let reply = put_rules(&server, &bucket, &rules);
        assert_eq!(reply.status, 400, "{end:?}");
    }
    server.get("/cors?cors").expect_error(404, "NoSuchCORSConfiguration");
}
