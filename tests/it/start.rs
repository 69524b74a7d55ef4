//! How the process starts for a test suite: what is there, how it tells that it is ready, when it ends.

use super::config::{Folder, output, refused, s3pail, stderr_of};
use super::harness::{Client, DEADLINE, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// A process that is ended with its owner, and the JSON of its ready line.
struct Ready {
    child: Child,
    line: Value,
}

impl Ready {
    fn start(mut command: Command) -> Ready {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(DEADLINE).expect("no ready line");
        let line = serde_json::from_str(&line).unwrap_or_else(|_| {
            let _ = child.kill();
            let mut stderr = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut stderr);
            panic!("not JSON: {line:?} {stderr}")
        });
        Ready { child, line }
    }

    fn address(&self) -> SocketAddr {
        self.line["endpoint"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn client(&self) -> Client {
        Client::new(self.address(), Some(("accessKey1", "verySecretKey1")))
    }

    fn anonymous(&self) -> Client {
        Client::new(self.address(), None)
    }

    fn wait_for_end(&mut self) {
        wait_until("the process ends", || self.child.try_wait().unwrap().is_some());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FIXTURE: [&str; 3] = ["--fixture", "--listen", "127.0.0.1:0"];

fn fixture(folder: &Path, args: &[&str]) -> Ready {
    Ready::start(s3pail(folder, &[&FIXTURE, args].concat(), &[]))
}

#[test]
fn the_ready_line_tells_programs_where_and_with_what() {
    let folder = Folder::new(&[]);
    let ready = fixture(&folder.0, &["--ready-file", "ready.json"]);
    let line = &ready.line;
    assert_eq!(
        (&line["ready"], &line["fixture"], &line["auth"]),
        (&true.into(), &true.into(), &"exact".into())
    );
    assert_eq!((&line["accessKey"], &line["secretKey"]), (&"accessKey1".into(), &"verySecretKey1".into()));
    assert_eq!(line["pid"], ready.child.id());
    ready.client().get("/").expect(200);
    let file = std::fs::read_to_string(folder.0.join("ready.json")).unwrap();
    assert_eq!(&serde_json::from_str::<Value>(&file).unwrap(), line);
    assert!(!folder.0.join("localData").exists(), "the profile keeps everything in memory");
}

/// OP-04: where secrets come from; no flag takes one, and the process has no children.
#[test]
fn a_secret_of_ones_own_is_never_announced() {
    let folder = Folder::new(&[]);
    for (key, secret) in
        [("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"), ("SCALITY_ACCESS_KEY_ID", "SCALITY_SECRET_ACCESS_KEY")]
    {
        let variables = [(key, "minioadmin"), (secret, "hunter2hunter2")];
        let ready = Ready::start(s3pail(&folder.0, &FIXTURE, &variables));
        assert_eq!(
            (&ready.line["accessKey"], &ready.line["secretKey"]),
            (&"minioadmin".into(), &Value::Null)
        );
        Client::new(ready.address(), Some(("minioadmin", "hunter2hunter2"))).get("/").expect(200);
    }
    let output = output(s3pail(&folder.0, &FIXTURE, &[("MINIO_ROOT_USER", "only")]));
    assert!(
        stderr_of(&output).contains("environment variable MINIO_ROOT_USER: it is set and "),
        "{output:?}"
    );
}

#[test]
fn named_buckets_are_there_and_as_open_as_they_are_meant() {
    let folder = Folder::new(&[]);
    let names = [
        "S3PAIL_BUCKETS",
        "initialBuckets",
        "COM_ADOBE_TESTING_S3MOCK_STORE_INITIAL_BUCKETS",
        "MINIO_DEFAULT_BUCKETS",
    ];
    for name in names {
        let ready = Ready::start(s3pail(
            &folder.0,
            &FIXTURE,
            &[(name, "closed, open:public-read,drop:public-read-write")],
        ));
        let (client, anonymous) = (ready.client(), ready.anonymous());
        client.put("/closed/k", b"1").expect(200);
        client.put("/open/k", b"2").expect(200);
        anonymous.get("/closed/k").expect_error(403, "AccessDenied");
        anonymous.get("/open/k").expect(200);
        anonymous.get("/open").expect(200);
        anonymous.put("/open/k", b"3").expect_error(403, "AccessDenied");
        anonymous.put("/drop/k", b"3").expect(200);
        ready.anonymous().post("/_/test/reset", b"").expect(200);
        ready.client().get("/closed").expect(200);
    }
    for wrong in ["Upper", "a,ok-one", "fine:public-reed"] {
        let stderr = refused(&[], &["--buckets", wrong]);
        assert!(stderr.contains("--buckets: ") && stderr.contains("public-read-write"), "{stderr}");
    }
}

#[test]
fn named_buckets_of_a_server_of_files_survive_its_next_start() {
    let folder = Folder::new(&[]);
    let args = ["--listen=127.0.0.1:0", "--ready-line=json", "--buckets=box", "--seed=seed", "--sync=none"];
    std::fs::create_dir_all(folder.0.join("seed/box/deep")).unwrap();
    std::fs::write(folder.0.join("seed/box/deep/page.html"), "<p>").unwrap();
    for round in 0..2 {
        let ready = Ready::start(s3pail(&folder.0, &args, &[]));
        let page = ready.client().get("/box/deep/page.html").expect(200);
        assert_eq!((page.text().as_str(), page.header("content-type")), ("<p>", Some("text/html")));
        if round == 0 {
            ready.client().put("/box/own", b"kept").expect(200);
        }
        assert_eq!(ready.client().get("/box/own").expect(200).body, b"kept");
        ready.anonymous().get("/_/test").expect(404);
    }
}

#[test]
fn a_folder_becomes_buckets_and_keys() {
    let folder = Folder::new(&[]);
    for (path, text) in
        [("one/a.txt", "A"), ("one/x y/é+.json", "{}"), ("two/empty.bin", ""), (".hidden/no", "x")]
    {
        let path = folder.0.join("seed").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let ready = fixture(&folder.0, &["--seed", "seed"]);
    let client = ready.client();
    let json = client.get("/one/x%20y/%C3%A9%2B.json").expect(200);
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(client.get("/one/a.txt").expect(200).text(), "A");
    assert_eq!(client.get("/two/empty.bin").expect(200).body, b"");
    assert_eq!(client.get("/").elements("Name"), ["one", "two"]);
    drop(ready);
    std::fs::write(folder.0.join("seed/stray.txt"), "").unwrap();
    let output = output(s3pail(&folder.0, &[&FIXTURE[..], &["--seed", "seed"]].concat(), &[]));
    let stderr = stderr_of(&output);
    assert!(stderr.contains("stray.txt") && stderr.contains("allowed: a folder for each bucket"), "{stderr}");
}

const INIT: &str = r#"{
    "accounts": [{ "name": "alice", "accessKey": "AK-ALICE", "secretKey": "alice-secret" }],
    "clock": { "set": "2031-05-06T07:08:09Z", "frozen": true },
    "ids": { "seed": 7 },
    "faults": [{ "name": "slow", "operation": "DeleteBucket", "code": "SlowDown" }],
    "buckets": [
        { "name": "site", "owner": "alice", "access": "public-read",
          "versioning": "Enabled", "tags": { "team": "web" }, "accelerate": "Suspended",
          "requestPayment": "BucketOwner", "ownership": "BucketOwnerPreferred",
          "encryption": [{ "ApplyServerSideEncryptionByDefault": { "SSEAlgorithm": "AES256" } }],
          "cors": [{ "AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "MaxAgeSeconds": 5 }],
          "lifecycle": { "Rules": [{ "ID": "r", "Status": "Enabled", "Filter": { "Prefix": "tmp/" }, "Expiration": { "Days": 1 } }] },
          "website": { "IndexDocument": { "Suffix": "index.html" } },
          "publicAccessBlock": { "BlockPublicAcls": false, "IgnorePublicAcls": false, "BlockPublicPolicy": false, "RestrictPublicBuckets": false },
          "metrics": [{ "Id": "all" }],
          "logging": { "LoggingEnabled": { "TargetBucket": "logs", "TargetPrefix": "site/" } },
          "notification": { "QueueConfigurations": [{ "Id": "n", "QueueArn": "arn:aws:sqs:us-east-1:1:q", "Events": ["s3:ObjectCreated:*"],
              "Filter": { "Key": { "FilterRules": [{ "Name": "prefix", "Value": "in/" }] } } }] },
          "objects": [
              { "key": "index.html", "file": "pages/index.html", "metadata": { "author": "Jürgen" }, "tags": { "k": "v w" } },
              { "key": "data", "json": { "n": 1 } },
              { "key": "raw", "base64": "AAEC", "contentType": "x/y", "headers": { "cache-control": "no-store" } } ] },
        { "name": "logs", "owner": "alice", "acl": "log-delivery-write", "ownership": "ObjectWriter" },
        { "name": "locked", "objectLock": true, "policy": { "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::locked/*" }] },
          "objectLockConfiguration": { "ObjectLockEnabled": "Enabled", "Rule": { "DefaultRetention": { "Mode": "GOVERNANCE", "Days": 1 } } } }
    ]
}"#;

#[test]
fn one_document_says_everything_that_is_there() {
    let folder = Folder::new(&[("init.json", INIT)]);
    std::fs::create_dir(folder.0.join("pages")).unwrap();
    std::fs::write(folder.0.join("pages/index.html"), "<h1>").unwrap();
    let ready = fixture(&folder.0, &["--init", "init.json", "--notification-webhook", "http://127.0.0.1:9/"]);
    let alice = Client::new(ready.address(), Some(("AK-ALICE", "alice-secret")));
    for (sub, part) in [
        ("versioning", "<Status>Enabled</Status>"),
        ("tagging", "<Value>web</Value>"),
        ("accelerate", "Suspended"),
        ("requestPayment", "BucketOwner"),
        ("ownershipControls", "BucketOwnerPreferred"),
        ("encryption", "AES256"),
        ("cors", "<MaxAgeSeconds>5</MaxAgeSeconds>"),
        ("lifecycle", "<Prefix>tmp/</Prefix>"),
        ("website", "index.html"),
        ("policy", "s3:GetObject"),
        ("metrics&id=all", "<Id>all</Id>"),
        ("logging", "<TargetBucket>logs</TargetBucket>"),
        ("notification", "in/"),
        ("publicAccessBlock", "<BlockPublicPolicy>false"),
    ] {
        let reply = alice.get(&format!("/site?{sub}")).expect(200);
        assert!(reply.text().contains(part), "{sub}: {}", reply.text());
    }
    let page = ready.anonymous().get("/site/index.html").expect(200);
    assert_eq!(
        (page.text().as_str(), page.header("x-amz-meta-author")),
        ("<h1>", Some("=?UTF-8?Q?J=C3=BCrgen?="))
    );
    assert_eq!(page.header("last-modified"), Some("Tue, 06 May 2031 07:08:09 GMT"));
    assert!(alice.get("/site/index.html?tagging").text().contains("v w"));
    assert_eq!(alice.get("/site/data").expect(200).text(), r#"{"n":1}"#);
    let raw = alice.get("/site/raw").expect(200);
    assert_eq!((raw.body.as_slice(), raw.header("content-type")), (&[0, 1, 2][..], Some("x/y")));
    assert_eq!(raw.header("cache-control"), Some("no-store"));
    assert!(ready.client().get("/locked?object-lock").expect(200).text().contains("GOVERNANCE"));
    alice.delete("/logs").expect_error(503, "SlowDown");
    // The same document over HTTP changes nothing.
    let versions = alice.get("/site?versions").elements("VersionId");
    let mut again: Value = serde_json::from_str(INIT).unwrap();
    again.as_object_mut().unwrap().remove("accounts");
    again["buckets"][0]["objects"].as_array_mut().unwrap().remove(0);
    ready.anonymous().post("/_/test/init", again.to_string().as_bytes()).expect(200);
    assert_eq!(alice.get("/site?versions").elements("VersionId"), versions);
}

#[test]
fn a_bad_entry_stops_the_start_and_is_named() {
    for (document, parts) in [
        (r#"{ "bucket": [] }"#, ["init.json: bucket: this key is not allowed", "allowed: accounts, buckets"]),
        (r#"{ "buckets": [{ "name": "UP" }] }"#, ["init.json: buckets[0].name: \"UP\"", "lower-case"]),
        (
            r#"{ "buckets": [{ "name": "abc", "versoning": "Enabled" }] }"#,
            ["buckets[0].versoning: this key", "versioning"],
        ),
        (
            r#"{ "buckets": [{ "name": "abc", "versioning": "On" }] }"#,
            ["buckets[0].versioning: ", "Enabled or Suspended"],
        ),
        (r#"{ "buckets": [{ "name": "abc", "owner": "bob" }] }"#, ["buckets[0].owner: \"bob\"", "Bart"]),
        (
            r#"{ "buckets": [{ "name": "abc", "cors": [{ "AllowedMethods": ["FETCH"], "AllowedOrigins": ["*"] }] }] }"#,
            ["buckets[0].cors: ", "a list of rules"],
        ),
        (
            r#"{ "buckets": [{ "name": "abc", "objects": [{ "key": "k", "file": "none" }] }] }"#,
            ["buckets[0].objects[0].file: \"none\"", "a readable file"],
        ),
        (
            r#"{ "buckets": [{ "name": "abc", "objects": [{ "key": "k" }] }] }"#,
            ["buckets[0].objects[0]: the content", "exactly one of"],
        ),
        (
            r#"{ "accounts": [{ "name": "x", "accessKey": "accessKey1", "secretKey": "s" }] }"#,
            ["init.json: accounts: \"accessKey1\"", "no other account"],
        ),
        (
            r#"{ "faults": [{ "status": 503, "opration": "x" }] }"#,
            ["init.json: faults[0]: unknown field `opration`", "operation"],
        ),
        (r#"{ "clock": { "set": "noon" } }"#, ["init.json: clock: set: \"noon\"", "2030-01-31T12:00:00Z"]),
    ] {
        let folder = Folder::new(&[("init.json", document)]);
        let output = output(s3pail(&folder.0, &[&FIXTURE[..], &["--init", "init.json"]].concat(), &[]));
        let stderr = stderr_of(&output);
        assert_ne!(output.status.code(), Some(0), "{stderr}");
        assert!(output.stdout.is_empty(), "it was not ready");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}");
    }
    let clock = [("init.json", r#"{ "clock": { "frozen": true } }"#)];
    let folder = Folder::new(&clock);
    let output =
        output(s3pail(&folder.0, &["--listen=127.0.0.1:0", "--backend=mem", "--init=init.json"], &[]));
    assert!(
        stderr_of(&output).contains("init.json: clock: this key is not allowed; allowed: with --fixture"),
        "{output:?}"
    );
}

#[test]
fn letting_everybody_in_needs_the_profile_and_is_announced() {
    let stderr = refused(&[], &["--auth", "any"]);
    assert!(
        stderr.contains("--auth: \"any\" is not allowed; allowed: exact, or any together with --fixture"),
        "{stderr}"
    );
    assert!(refused(&[], &["--namespace-per-key"]).contains("together with --fixture"));
    let folder = Folder::new(&[]);
    let ready = fixture(&folder.0, &["--auth", "any"]);
    assert_eq!(ready.line["auth"], "any");
    Client::new(ready.address(), Some(("who", "ever"))).put("/box", b"").expect(200);
    let text = [&FIXTURE[..], &["--auth=any", "--ready-line=text"]].concat();
    let server = super::config::Server::start(s3pail(&folder.0, &text, &[]));
    assert!(
        server.start_line.contains("WARNING: --auth any") && server.start_line.contains("/_/test/"),
        "{}",
        server.start_line
    );
}

#[test]
fn it_ends_with_its_standard_input() {
    let folder = Folder::new(&[]);
    let mut command =
        s3pail(&folder.0, &[&FIXTURE[..], &["--exit-with-stdin", "--ready-file=ready"]].concat(), &[]);
    command.stdin(Stdio::piped());
    let mut ready = Ready::start(command);
    ready.client().get("/").expect(200);
    assert!(ready.child.try_wait().unwrap().is_none());
    drop(ready.child.stdin.take());
    ready.wait_for_end();
    assert!(!folder.0.join("ready").exists(), "the file of a server that is gone");
}

#[test]
fn it_ends_with_the_process_that_it_is_told() {
    let folder = Folder::new(&[]);
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let mut ready = fixture(&folder.0, &["--parent-pid", &other.id().to_string()]);
    ready.client().get("/").expect(200);
    other.kill().unwrap();
    other.wait().unwrap();
    ready.wait_for_end();
    let gone = other.id().to_string();
    let output = output(s3pail(&folder.0, &[&FIXTURE[..], &["--parent-pid", &gone]].concat(), &[]));
    assert!(stderr_of(&output).contains("--parent-pid: "), "{output:?}");
}
