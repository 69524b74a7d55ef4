//! `locationConfig.json` and credentials files through the real binary: what starts, and what each complaint says.
#![allow(clippy::unwrap_used)] // What tests are made of may unwrap as tests do.

use super::config::{Folder, Server, output, refused, s3pail, stderr_of};
use super::harness::{Client, Folder as DataFolder, TestServer, wait_until};
use super::locations::{location, multiple};
use super::s3_upstream::details;
use s3pail::config::Config;
use serde_json::{Value, json};
use std::net::TcpListener;

const MULTIPLE: [&str; 2] = ["--data=multiple", "--listen=127.0.0.1:0"];

/// A file with `us-east-1` in memory and a location `far`.
fn file(far: &Value) -> String {
    let memory = json!({ "type": "mem", "legacyAwsBehavior": true, "details": {} });
    json!({ "us-east-1": memory, "far": far, "file": memory }).to_string()
}

fn upstream(changes: Value) -> Value {
    let mut all = details("127.0.0.1:1".parse().unwrap());
    for (name, value) in changes.as_object().unwrap() {
        match value.is_null() {
            true => all.as_object_mut().unwrap().remove(name),
            false => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    json!({ "type": "aws_s3", "legacyAwsBehavior": false, "details": all })
}

fn ring(sproxyd: Value) -> Value {
    json!({ "type": "scality", "legacyAwsBehavior": false, "details": { "connector": { "sproxyd": sproxyd } } })
}

#[test]
fn every_wrong_field_of_a_location_is_named_with_file_key_value_and_what_is_allowed() {
    let place = |key: &str, value: Value| {
        let mut all = json!({ "type": "file", "legacyAwsBehavior": true, "details": {} });
        all[key] = value;
        all
    };
    let nodes = json!(["127.0.0.1:1"]);
    for (far, said) in [
        (json!([]), "far: [] is not allowed; allowed: an object with type"),
        (place("type", json!(5)), "far.type: 5 is not allowed; allowed: mem, file, scality, aws_s3"),
        (place("type", json!("s3")), "far.type: \"s3\" is not allowed; allowed: mem, file, scality, aws_s3"),
        (
            place("legacyAwsBehavior", json!("true")),
            "far.legacyAwsBehavior: \"true\" is not allowed; allowed: true",
        ),
        (place("details", json!("")), "far.details: \"\" is not allowed; allowed: an object"),
        (
            place("objectId", json!(1)),
            "far.objectId: 1 is not allowed; allowed: a text that no other location has",
        ),
        (place("isTransient", json!(1)), "far.isTransient: 1 is not allowed; allowed: true, false"),
        (place("isCold", json!("no")), "far.isCold: \"no\" is not allowed; allowed: true, false"),
        (place("sizeLimitGB", json!("1")), "far.sizeLimitGB: \"1\" is not allowed; allowed: a number, null"),
        (upstream(json!({ "awsEndpoint": 1 })), "far.details.awsEndpoint: 1 is not allowed; allowed: a text"),
        (upstream(json!({ "bucketName": {} })), "far.details.bucketName: {} is not allowed; allowed: a text"),
        (upstream(json!({ "region": 1 })), "far.details.region: 1 is not allowed; allowed: a text"),
        (
            upstream(json!({ "credentialsProfile": 1 })),
            "far.details.credentialsProfile: 1 is not allowed; allowed: a text",
        ),
        (upstream(json!({ "bucketMatch": 1 })), "far.details.bucketMatch: 1 is not allowed; allowed: true"),
        (upstream(json!({ "https": "no" })), "far.details.https: \"no\" is not allowed; allowed: true"),
        (upstream(json!({ "pathStyle": 0 })), "far.details.pathStyle: 0 is not allowed; allowed: true"),
        (
            upstream(json!({ "serverSideEncryption": "AES256" })),
            "far.details.serverSideEncryption: \"AES256\" is not allowed; allowed: true",
        ),
        (
            upstream(json!({ "supportsVersioning": [] })),
            "far.details.supportsVersioning: [] is not allowed; allowed: true",
        ),
        (
            upstream(json!({ "credentials": { "accessKey": 1, "secretKey": "s" } })),
            "far.details.credentials.accessKey: this value (not shown) is not allowed; allowed: a text",
        ),
        (
            upstream(json!({ "credentials": { "accessKey": "a" } })),
            "far.details.credentials.secretKey: the key is missing; allowed: a text",
        ),
        (upstream(json!({ "bucketName": null })), "far: details.bucketName is missing; allowed: the name of"),
        (upstream(json!({ "bucketName": "" })), "far: details.bucketName is missing; allowed: the name of"),
        (
            upstream(json!({ "credentials": null })),
            "far: details.credentials is missing; allowed: an object with",
        ),
        (
            json!({ "type": "scality", "legacyAwsBehavior": false, "details": { "connector": { "hdclient": {} } } }),
            "far: details.connector.sproxyd is missing; allowed: an object with bootstrap",
        ),
        (ring(json!([])), "far.details.connector.sproxyd: [] is not allowed; allowed: an object"),
        (
            ring(json!({ "bootstrap": "a:1" })),
            "far.details.connector.sproxyd.bootstrap: \"a:1\" is not allowed",
        ),
        (ring(json!({ "bootstrap": [1] })), "far.details.connector.sproxyd.bootstrap[0]: 1 is not allowed"),
        (
            ring(json!({ "bootstrap": nodes, "chordCos": 7 })),
            "far.details.connector.sproxyd.chordCos: 7 is not allowed; allowed: a whole number from 0 to 6",
        ),
        (
            ring(json!({ "bootstrap": nodes, "path": [] })),
            "far.details.connector.sproxyd.path: [] is not allowed",
        ),
    ] {
        let text = file(&far);
        let stderr = refused(&[("locationConfig.json", &text)], &MULTIPLE);
        let start = "s3pail: locationConfig.json: ";
        assert!(stderr.starts_with(&format!("{start}{said}")), "{far}: {stderr}");
        assert!(stderr.contains("; allowed: "), "{stderr}");
    }
}

#[test]
fn known_types_that_are_not_built_are_names_until_bodies_would_go_there() {
    for kind in ["azure", "gcp", "pfs", "mongodb", "dmf", "azure_archive"] {
        let text = file(&json!({ "type": kind, "legacyAwsBehavior": true, "details": {} }));
        let files = [("locationConfig.json", text.as_str())];
        let said = format!(
            "s3pail: locationConfig.json: far.type: \"{kind}\" is not allowed; allowed: with data backend \
             multiple: mem, file, scality, aws_s3"
        );
        let stderr = refused(&files, &MULTIPLE);
        assert_eq!(stderr.trim_end(), said);
        let folder = Folder::new(&files);
        let server = Server::start(s3pail(&folder.0, &["--backend=mem", "--listen=127.0.0.1:0"], &[]));
        assert!(server.start_line.contains("listening"), "{}", server.start_line);
    }
}

#[test]
fn a_file_that_is_no_json_object_of_locations_is_named() {
    for (text, said) in [
        ("", "locationConfig.json: not JSON: "),
        ("{", "locationConfig.json: not JSON: "),
        ("[]", "locationConfig.json: [] is not allowed; allowed: one JSON object"),
        ("{}", "locationConfig.json: us-east-1: the key is missing; allowed: "),
        (r#"{"a": {}, "a": {}}"#, "\"a\" stands twice"),
    ] {
        let stderr = refused(&[("locationConfig.json", text)], &MULTIPLE);
        assert!(stderr.contains(said), "{text}: {stderr}");
    }
}

const PROFILES: &str = "[default]\naws_access_key_id = nobody\naws_secret_access_key = none\n\n\
    [far]\naws_access_key_id = accessKey1\naws_secret_access_key = verySecretKey1\n\n\
    [half]\naws_access_key_id = accessKey1\n\n[empty]\naws_access_key_id =\naws_secret_access_key =\n";

#[test]
fn a_profile_that_cannot_be_used_is_named_with_its_file() {
    for (profile, credentials, variables, said) in [
        ("mars", "", &[][..], "there is no home folder"),
        ("mars", "", &[("HOME", ".")], "./.aws/credentials: "),
        ("mars", "", &[("AWS_SHARED_CREDENTIALS_FILE", "absent")], "absent: "),
        (
            "mars",
            "credentials",
            &[("AWS_SHARED_CREDENTIALS_FILE", "credentials")],
            "credentials has no key pair",
        ),
        (
            "half",
            "credentials",
            &[("AWS_SHARED_CREDENTIALS_FILE", "credentials")],
            "credentials has no key pair",
        ),
        (
            "empty",
            "credentials",
            &[("AWS_SHARED_CREDENTIALS_FILE", "credentials")],
            "credentials has no key pair",
        ),
        ("far", "conf", &[("AWS_SHARED_CREDENTIALS_FILE", "conf")], "conf: "),
    ] {
        let text = file(&upstream(json!({ "credentials": null, "credentialsProfile": profile })));
        let mut files = vec![("locationConfig.json", text.as_str())];
        if credentials == "credentials" {
            files.push(("credentials", PROFILES));
        }
        let folder = Folder::new(&files);
        let output = output(s3pail(&folder.0, &MULTIPLE, variables));
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let start = format!(
            "s3pail: locationConfig.json: far: details.credentialsProfile: \"{profile}\" cannot be used: "
        );
        assert!(stderr.starts_with(&start) && stderr.contains(said), "{variables:?}: {stderr}");
        assert!(stderr.contains("; allowed: a profile with aws_access_key_id"), "{stderr}");
        assert!(!stderr.contains("verySecretKey1") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn a_profile_signs_for_a_location_and_wins_over_nothing_but_its_absence() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    let far = json!({ "type": "aws_s3", "legacyAwsBehavior": false, "details": {
        "awsEndpoint": remote.address().to_string(), "https": false, "bucketName": "remote",
        "credentialsProfile": "far" } });
    let files = [
        ("locationConfig.json", file(&far)),
        ("credentials", PROFILES.to_owned()),
        ("conf/.keep", String::new()),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let folder = Folder::new(&files);
    std::fs::create_dir_all(folder.0.join("home/.aws")).unwrap();
    std::fs::write(folder.0.join("home/.aws/credentials"), PROFILES).unwrap();
    for variables in [[("AWS_SHARED_CREDENTIALS_FILE", "credentials")], [("HOME", "home")]] {
        let args = [&MULTIPLE[..], &["--metadata=mem"]].concat();
        let server = Server::start(s3pail(&folder.0, &args, &variables));
        let address = server.start_line.split("http://").nth(1).unwrap().split(' ').next().unwrap();
        let client = Client::new(address.parse().unwrap(), Some(("accessKey1", "verySecretKey1")));
        client.put("/bucket", b"").expect(200);
        let far = ("x-amz-meta-scal-location-constraint", "far");
        client.send("PUT", "/bucket/key", &[far], b"through").expect(200);
        assert_eq!(client.get("/bucket/key").expect(200).body, b"through");
        let there = remote.get("/remote?list-type=2").expect(200).elements("Key");
        assert_eq!(there.len(), 1, "{there:?}");
        client.delete("/bucket/key").expect(204);
        wait_until("the body is gone", || {
            remote.get("/remote?list-type=2").expect(200).elements("Key").is_empty()
        });
    }
}

#[test]
fn what_a_remote_refuses_is_a_temporary_error_and_names_its_cause_in_health() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    let changed = |changes: Value| {
        let mut all = details(remote.address());
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        location("aws_s3", all)
    };
    let wrong = json!({ "credentials": { "accessKey": "accessKey1", "secretKey": "wrong" } });
    let places = [("wrong", changed(wrong)), ("missing", changed(json!({ "bucketName": "missing" })))];
    let server = multiple(&places);
    server.bucket("bucket");
    let health = server.anonymous().get("/_/healthcheck/deep").expect(500);
    let health: Value = serde_json::from_slice(&health.body).unwrap();
    for (name, status) in [("wrong", "403"), ("missing", "404")] {
        let there = ("x-amz-meta-scal-location-constraint", name);
        for body in [&b"x"[..], &[7; 300_000]] {
            server.send("PUT", "/bucket/key", &[there], body).expect_error(503, "ServiceUnavailable");
        }
        server.get("/bucket/key").expect_error(404, "NoSuchKey");
        assert!(health[name]["error"].as_str().unwrap().contains(status), "{health}");
    }
    assert!(remote.get("/remote?list-type=2").expect(200).elements("Key").is_empty());
}

#[test]
fn a_location_that_is_dead_at_the_start_serves_once_it_is_there() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = multiple(&[("far", location("aws_s3", details(address)))]);
    server.bucket("bucket");
    let far = ("x-amz-meta-scal-location-constraint", "far");
    server.send("PUT", "/bucket/key", &[far], b"x").expect_error(503, "ServiceUnavailable");
    server.put("/bucket/here", b"y").expect(200);
    server.anonymous().get("/_/healthcheck/deep").expect(500);
    // Another test may have been given the port meanwhile; then there is nothing to show.
    if TcpListener::bind(address).is_err() {
        return;
    }
    let folder = DataFolder::new();
    let remote =
        TestServer::start("memory", Config { listen: vec![address], ..Config::in_memory() }, Some(folder));
    remote.bucket("remote");
    server.send("PUT", "/bucket/key", &[far], b"x").expect(200);
    assert_eq!(server.get("/bucket/key").expect(200).body, b"x");
    server.anonymous().get("/_/healthcheck/deep").expect(200);
    drop(remote);
    server.get("/bucket/key").expect_error(503, "ServiceUnavailable");
    assert_eq!(server.get("/bucket/here").expect(200).body, b"y");
}

#[test]
fn other_bytes_at_the_remote_are_an_error_and_never_an_answer() {
    let remote = TestServer::memory();
    remote.bucket("remote");
    let server = multiple(&[("far", location("aws_s3", details(remote.address())))]);
    server.bucket("bucket");
    let far = ("x-amz-meta-scal-location-constraint", "far");
    server.send("PUT", "/bucket/key", &[far], &[7; 300_000]).expect(200);
    let keys = remote.get("/remote?list-type=2").expect(200).elements("Key");
    let path = format!("/remote/{}", keys[0]);
    remote.put(&path, &[7; 1_000]).expect(200);
    server.get("/bucket/key").expect_error(500, "InternalError");
    let range = [("range", "bytes=500-2000")];
    server.send("GET", "/bucket/key", &range, b"").expect_error(500, "InternalError");
    remote.delete(&path).expect(204);
    server.get("/bucket/key").expect_error(500, "InternalError");
    server.head("/bucket/key").expect(200);
    server.put("/bucket/key", b"new").expect(200);
    assert_eq!(server.get("/bucket/key").expect(200).body, b"new");
}
