//! Health: the routes of Scality S3 Server row by row, who may ask, and what container tools poll.

use super::harness::{Reply, TestServer, for_each_backend};
use super::locations::{location, multiple};
use s3pail::config::{Backend, Cidr, Config};
use serde_json::{Value, json};
use std::net::TcpListener;

const ROUTES: [&str; 4] =
    ["/_/healthcheck", "/_/healthcheck/", "/_/healthcheck/anything", "/_/healthcheck/deep"];

fn is_json(reply: Reply, status: u16) -> Value {
    assert_eq!(reply.header("content-type"), Some("application/json"));
    serde_json::from_slice(&reply.expect(status).body).unwrap()
}

/// A server that lets only these ask.
fn open_to(networks: &[&str]) -> TestServer {
    let health_allow_from = networks.iter().map(|text| Cidr::parse(text).unwrap()).collect();
    TestServer::start("memory", Config { health_allow_from, ..Config::in_memory() }, None)
}

#[test]
fn health_answers_get_and_post_and_no_other_method() {
    for_each_backend(|server| {
        let client = server.anonymous();
        for route in ROUTES {
            for method in ["GET", "POST"] {
                let body = is_json(client.send(method, route, &[], b""), 200);
                assert_eq!(body == json!({}), !route.ends_with("/deep"), "{method} {route}: {body}");
            }
            let head = client.head(route).expect(200);
            assert!(head.body.is_empty() && head.header("content-length") != Some("0"));
            for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
                assert_eq!(is_json(client.send(method, route, &[], b""), 400), json!([]), "{method} {route}");
            }
        }
    });
}

#[test]
fn who_is_not_on_the_list_is_refused_before_anything_else() {
    for (networks, allowed) in [
        (&[][..], false),
        (&["10.0.0.0/8", "::1"], false),
        (&["127.0.0.2"], false),
        (&["127.0.0.1"], true),
        (&["10.0.0.0/8", "127.0.0.0/8"], true),
    ] {
        let server = open_to(networks);
        // A signature opens no more than its lack.
        for client in [&*server, &server.anonymous()] {
            let more = ["/_/notifications", "/_/logging/deliver", "/_/lifecycle/run", "/_/scrub/run"];
            for route in ROUTES.iter().chain(&more) {
                for method in ["GET", "POST", "PUT", "DELETE"] {
                    let reply = client.send(method, route, &[], b"");
                    let refused = reply.status == 403 && reply.text() == "[]";
                    assert_eq!(refused, !allowed, "{networks:?} {method} {route}: {}", reply.text());
                }
            }
        }
    }
}

#[test]
fn what_a_client_says_of_its_address_counts_nothing() {
    let server = open_to(&["10.0.0.1"]);
    let claims = [("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1"), ("forwarded", "for=10.0.0.1")];
    server.anonymous().send("GET", "/_/healthcheck", &claims, b"").expect(403);
}

#[test]
fn an_unknown_service_is_no_uri() {
    for server in [TestServer::memory(), open_to(&[])] {
        for path in ["/_/", "/_/x", "/_/healthcheckx", "/_/HEALTHCHECK", "/_/report", "/_//healthcheck"] {
            for method in ["GET", "PUT", "DELETE"] {
                server.anonymous().send(method, path, &[], b"").expect_error(400, "InvalidURI");
            }
        }
    }
}

#[test]
fn other_spellings_of_a_health_path_reveal_nothing() {
    let server = open_to(&[]);
    for path in ["/%5f/healthcheck", "//_/healthcheck", "/_%2fhealthcheck/deep", "/./_/healthcheck/deep"] {
        let reply = server.anonymous().get(path);
        assert!(reply.status >= 400, "{path}: {} {}", reply.status, reply.text());
        assert!(!reply.text().contains("vaultMem"), "{path}: {}", reply.text());
    }
}

#[test]
fn container_tools_need_no_permission_and_learn_nothing() {
    let server = open_to(&[]);
    for path in ["/live", "/ready"] {
        for method in ["GET", "POST"] {
            assert_eq!(is_json(server.anonymous().send(method, path, &[], b""), 200), json!({}));
        }
        server.anonymous().head(path).expect(200);
    }
}

#[test]
fn a_bucket_may_be_called_live() {
    for_each_backend(|server| {
        for name in ["live", "ready"] {
            let bucket = server.bucket(name);
            server.put(&format!("{bucket}/key"), b"x").expect(200);
            assert_eq!(server.get(&bucket).expect(200).elements("Key"), ["key"]);
            for method in ["PUT", "DELETE"] {
                server.anonymous().send(method, &bucket, &[], b"").expect_error(403, "AccessDenied");
            }
            let form = [("content-type", "multipart/form-data; boundary=x")];
            server.anonymous().send("POST", &bucket, &form, b"--x--\r\n").expect(400);
        }
    });
}

#[test]
fn one_location_that_is_down_fails_the_deep_answer_and_nothing_else() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ring = json!({ "connector": { "sproxyd": { "bootstrap": [nobody] } } });
    let upstream = json!({
        "awsEndpoint": nobody, "https": false, "bucketName": "remote",
        "credentials": { "accessKey": "a", "secretKey": "s" },
    });
    let server = multiple(&[("ring", location("scality", ring)), ("far", location("aws_s3", upstream))]);
    let client = server.anonymous();
    let deep = is_json(client.get("/_/healthcheck/deep"), 500);
    for name in ["ring", "far"] {
        let text = deep[name]["error"].as_str().unwrap();
        assert!(deep[name]["code"].as_u64().unwrap() >= 500 && !text.is_empty(), "{deep}");
        assert!(deep[name].get("message").is_none(), "{deep}");
    }
    for name in ["us-east-1", "mem", "file", "memorybucket", "vaultMem", "durability"] {
        assert_eq!(deep[name]["code"], 200, "{name}: {deep}");
        assert!(deep[name]["message"].is_string() && deep[name].get("error").is_none(), "{name}: {deep}");
    }
    for path in ["/_/healthcheck", "/live", "/ready"] {
        client.get(path).expect(200);
    }
}

#[test]
fn a_server_without_any_store_is_alive_and_not_ready() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let details = json!({ "connector": { "sproxyd": { "bootstrap": [nobody] } } });
    let mut config = Config { data: Backend::Multiple, ..Config::in_memory() };
    for place in config.locations.values_mut() {
        *place = location("scality", details.clone());
    }
    let server = TestServer::start("memory", config, None);
    let client = server.anonymous();
    client.get("/_/healthcheck/deep").expect(500);
    assert_eq!(is_json(client.get("/ready"), 503), json!({}));
    client.get("/live").expect(200);
}
