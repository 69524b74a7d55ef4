//! Configuration through the real binary: what starts, what does not, and what it says.
#![allow(clippy::unwrap_used)] // What tests are made of may unwrap as tests do.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything here may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A folder of its own for each server, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// With these files in it.
    pub fn new(files: &[(&str, &str)]) -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("s3pail-config-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("conf")).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary in a folder, with nothing of this process's environment.
pub fn s3pail(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3pail"));
    command.current_dir(folder).env_clear().args(args).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server that is ended when the test ends.
pub struct Server {
    child: Child,
    /// What it said when it began to serve.
    pub start_line: String,
}

impl Server {
    /// Waits for the start line.
    pub fn start(mut command: Command) -> Server {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let start_line = receiver.recv_timeout(DEADLINE).expect("no start line");
        Server { child, start_line }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; the exit code and what was written to standard error.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = wait(&mut self.child);
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status, stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(started.elapsed() < DEADLINE, "the process does not end");
        std::thread::yield_now();
    }
}

/// Runs to the end. A server that starts although it should not is ended, and fails the test.
pub fn output(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("the process does not end");
        }
        std::thread::yield_now();
    }
    child.wait_with_output().unwrap()
}

/// What it wrote to standard error.
pub fn stderr_of(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Starts with the files and expects exit code 2, nothing on standard output and one sentence.
pub fn refused(files: &[(&str, &str)], args: &[&str]) -> String {
    let folder = Folder::new(files);
    let output = output(s3pail(&folder.0, args, &[]));
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(!folder.0.join("localData").exists(), "a refused start left a folder");
    stderr
}

#[test]
fn without_files_or_options_it_serves_from_local_files_on_loopback() {
    let folder = Folder::new(&[]);
    // Port 0 only because another test may use 8000.
    let server = Server::start(s3pail(&folder.0, &["--listen", "127.0.0.1:0"], &[]));
    assert!(server.start_line.starts_with("s3pail "), "{}", server.start_line);
    assert!(server.start_line.contains(" listening on http://127.0.0.1:"), "{}", server.start_line);
    assert!(server.start_line.contains("(file backend, sync strict, "), "{}", server.start_line);
    assert!(!server.start_line.contains("WARNING") && !server.start_line.contains(":0 "));
    assert!(folder.0.join("localData").is_dir() && folder.0.join("localMetadata").is_dir());
}

/// SE-108, OP-02: well-known keys are good on the loopback; elsewhere every start says so.
#[test]
fn built_in_keys_on_all_addresses_are_warned_about_in_the_start_line() {
    let folder = Folder::new(&[]);
    let variables = [("LISTEN_ADDR", "0.0.0.0:0"), ("S3BACKEND", "mem")];
    let server = Server::start(s3pail(&folder.0, &[], &variables));
    assert!(server.start_line.contains("WARNING: built-in keys on a non-loopback address"));
    assert!(!folder.0.join("localData").exists(), "the memory backend touches no folder");
}

#[test]
fn files_are_found_in_conf_and_then_beside() {
    let mem = r#"{ "s3pail": { "backend": "mem", "workers": 3 }, "listenOn": ["127.0.0.1:0"] }"#;
    let other = r#"{ "s3pail": { "backend": "mem", "workers": 5 }, "listenOn": ["127.0.0.1:0"] }"#;
    for (files, args, workers) in [
        (&[("config.json", mem)][..], &[][..], "3 workers"),
        (&[("config.json", mem), ("conf/config.json", other)], &[], "5 workers"),
        (&[("config.json", mem), ("conf/mine.json", other)], &["--config", "mine.json"], "5 workers"),
        (&[("config.json", mem)], &["--workers", "7"], "7 workers"),
    ] {
        let folder = Folder::new(files);
        let server = Server::start(s3pail(&folder.0, args, &[]));
        assert!(server.start_line.contains(workers), "{}", server.start_line);
    }
}

/// Every section that Scality S3 Server's own files have, of both versions.
const ALL_SECTIONS: &str = r#"{
    "port": 8000, "listenOn": ["127.0.0.1:0"], "replicationGroupId": "RG001", "clusters": 10,
    "replicationEndpoints": [{ "site": "zenko", "servers": ["127.0.0.1:8000"], "default": true }],
    "restEndpoints": { "localhost": "file", "s3.docker.test": "us-east-1" },
    "websiteEndpoints": ["s3-website-us-east-1.amazonaws.com"],
    "cdmi": { "host": "localhost", "port": 81, "path": "/dewpoint", "readonly": true },
    "bucketd": { "bootstrap": ["localhost"] }, "vaultd": { "host": "localhost", "port": 8500 },
    "log": { "logLevel": "info", "dumpLevel": "error" },
    "healthChecks": { "allowFrom": ["127.0.0.1/8", "::1", "10.0.0.0/8"] },
    "metadataClient": { "host": "localhost", "port": 9990 },
    "dataClient": { "host": "localhost", "port": 9991 },
    "metadataDaemon": { "bindAddress": "localhost", "port": 9990, "restEnabled": false },
    "dataDaemon": { "bindAddress": "localhost", "port": 9991 },
    "metricsPort": 8002, "metricsListenOn": [], "recordLog": { "enabled": false },
    "requests": { "viaProxy": false, "trustedProxyCIDRs": [], "extractClientIPFromHeader": "" },
    "localCache": { "name": "mymaster", "sentinels": "localhost:16379" }
}"#;

#[test]
fn files_of_scality_s3_server_start_it_unchanged() {
    let locations = r#"{
        "us-east-1": { "type": "file", "legacyAwsBehavior": true, "details": {} },
        "file": { "type": "file", "legacyAwsBehavior": false, "details": {} },
        "aws-test": { "type": "aws_s3", "legacyAwsBehavior": true, "details": {
            "awsEndpoint": "s3.amazonaws.com", "bucketName": "b", "bucketMatch": true,
            "credentialsProfile": "default" } },
        "azuretest": { "type": "azure", "legacyAwsBehavior": true, "details": { "azureBlobEndpoint": "" } } }"#;
    let accounts = r#"{ "accounts": [{ "name": "Zoe", "email": "zoe@x", "arn": "aws::iam:1:root",
        "canonicalID": "z", "keys": [{ "access": "ZK", "secret": "ZS" }], "users": [] }] }"#;
    let files =
        [("config.json", ALL_SECTIONS), ("locationConfig.json", locations), ("conf/authdata.json", accounts)];
    let folder = Folder::new(&files);
    let server = Server::start(s3pail(&folder.0, &["--backend=mem", "--log-level=trace"], &[]));
    assert!(server.start_line.contains("listening"), "{}", server.start_line);
    drop(server);
    let (arg, part) = ("--data=multiple", "locationConfig.json: azuretest.type: \"azure\" is not allowed");
    assert!(refused(&files, &[arg]).contains(part));
}

#[test]
fn every_bad_file_stops_the_start_with_one_sentence() {
    for (name, text, part) in [
        ("config.json", "", "config.json: not JSON: "),
        ("config.json", "{", "config.json: not JSON: "),
        ("config.json", "[]", "config.json: [] is not allowed; allowed: one JSON object"),
        (
            "config.json",
            r#"{"port": "8000"}"#,
            "config.json: port: \"8000\" is not allowed; allowed: a whole",
        ),
        ("config.json", r#"{"port": 70000}"#, "config.json: port: 70000 is not allowed; allowed: a whole"),
        ("config.json", r#"{"port": 1, "port": 2}"#, "\"port\" stands twice"),
        ("config.json", r#"{"listenOn": "0.0.0.0:1"}"#, "config.json: listenOn: \"0.0.0.0:1\""),
        ("config.json", r#"{"listenOn": ["all"]}"#, "config.json: listenOn[0]: \"all\""),
        ("config.json", r#"{"regions": {}}"#, "config.json: regions: this key is not allowed; use rest"),
        ("config.json", r#"{"restEndpoints": []}"#, "config.json: restEndpoints: []"),
        ("config.json", r#"{"restEndpoints": {"h": 1}}"#, "config.json: restEndpoints.h: 1"),
        ("config.json", r#"{"restEndpoints": {"h": "mars"}}"#, "config.json: restEndpoints.h: \"mars\""),
        ("config.json", r#"{"storageClasses": []}"#, "config.json: storageClasses: []"),
        (
            "config.json",
            r#"{"storageClasses": {"COLD": "file"}}"#,
            "storageClasses.COLD: \"file\" is not allowed; allowed: one of the keys REDUCED_REDUNDANCY,",
        ),
        ("config.json", r#"{"storageClasses": {"STANDARD": "file"}}"#, "storageClasses.STANDARD: \"file\""),
        ("config.json", r#"{"storageClasses": {"GLACIER": "mars"}}"#, "storageClasses.GLACIER: \"mars\""),
        ("config.json", r#"{"s3pail": {"restoreSeconds": -1}}"#, "config.json: s3pail.restoreSeconds: -1"),
        (
            "config.json",
            r#"{"s3pail": {"notificationWebhook": "https://h/"}}"#,
            "s3pail.notificationWebhook: \"https://h/\" is not allowed; allowed: an http:// URL",
        ),
        (
            "config.json",
            r#"{"bucketNotificationDestinations": [{"resource": "q", "type": "webhook", "host": "https://h/"}]}"#,
            "bucketNotificationDestinations[0].host: \"https://h/\" is not allowed; allowed: ",
        ),
        ("config.json", r#"{"websiteEndpoints": [1]}"#, "config.json: websiteEndpoints[0]: 1"),
        ("config.json", r#"{"log": {"logLevel": "loud"}}"#, "config.json: log.logLevel: \"loud\""),
        ("config.json", r#"{"healthChecks": {"allowFrom": ["x"]}}"#, "healthChecks.allowFrom[0]: \"x\""),
        ("config.json", r#"{"dataClient": {"host": "h"}}"#, "dataClient.port: the key is missing"),
        ("config.json", r#"{"certFilePaths": {"key": "k"}}"#, "certFilePaths.key: \"k\""),
        (
            "config.json",
            r#"{"requests": {"viaProxy": true}}"#,
            "requests.trustedProxyCIDRs: the key is missing",
        ),
        ("config.json", r#"{"s3pail": {"sync": "often"}}"#, "config.json: s3pail.sync: \"often\""),
        ("config.json", r#"{"s3pail": {"workers": 0}}"#, "config.json: s3pail.workers: 0"),
        ("locationConfig.json", "{}", "locationConfig.json: us-east-1: the key is missing"),
        ("conf/authdata.json", r#"{"accounts": []}"#, "conf/authdata.json: no account has a key"),
        ("conf/authdata.json", r#"{"accounts": [{}]}"#, "conf/authdata.json: accounts[0].email"),
    ] {
        let stderr = refused(&[(name, text)], &[]);
        assert!(stderr.starts_with("s3pail: ") && stderr.contains(part), "{name} {text}: {stderr}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = Folder::new(&[("file", "")]);
    let output = output(s3pail(&folder.0, &["--data-path", "file/data"], &[]));
    let stderr = stderr_of(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("file/data: cannot be written") && stderr.contains("S3DATAPATH"), "{stderr}");
}

#[test]
fn an_address_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = Folder::new(&[]);
    let output = output(s3pail(&folder.0, &["--backend=mem", "--listen", &address], &[]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr_of(&output).contains(&format!("cannot listen on {address}")));
}

#[test]
fn help_and_version_are_printed_and_need_no_valid_configuration() {
    let folder = Folder::new(&[("config.json", "{")]);
    for (arg, part) in
        [("--help", "--backend KIND"), ("-h", "S3BACKEND"), ("--version", "s3pail "), ("-V", ".")]
    {
        let output = output(s3pail(&folder.0, &[arg], &[("S3BACKEND", "bad")]));
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains(part), "{arg}");
        assert!(output.stderr.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn it_stops_in_order_on_every_usual_signal() {
    for signal in ["-TERM", "-INT", "-HUP", "-QUIT"] {
        let folder = Folder::new(&[]);
        let server = Server::start(s3pail(&folder.0, &["--backend=mem", "--listen=127.0.0.1:0"], &[]));
        let pid = server.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let (code, stderr) = server.wait();
        assert_eq!(code, Some(0), "{signal}: {stderr}");
    }
}

#[cfg(unix)]
#[cfg(all(unix, not(feature = "tiny-http")))]
#[test]
fn a_hangup_makes_it_read_its_certificates_again() {
    let folder =
        Folder::new(&[("config.json", r#"{"certFilePaths": {"key": "tls/key", "cert": "tls/cert"}}"#)]);
    fs::create_dir(folder.0.join("tls")).unwrap();
    let copy = |from: &str, to: &str| {
        fs::copy(crate::certificates::fixture(from), folder.0.join("tls").join(to)).unwrap();
    };
    copy("rsa.pkcs8.key", "key");
    copy("rsa.crt", "cert");
    let mut server = Server::start(s3pail(&folder.0, &["--listen=127.0.0.1:0", "--backend=mem"], &[]));
    assert!(server.start_line.contains(" https://127.0.0.1:"), "{}", server.start_line);
    let pid = server.child.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let mut line_with = |part: &str| {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ends without {part:?}");
        }
        line
    };
    signal("-HUP");
    let line = line_with("certificates read again");
    assert!(line.contains("tls/cert"), "{line}");
    copy("ec.crt", "cert");
    signal("-HUP");
    let line = line_with("the old ones stay");
    assert!(line.contains("certFilePaths.cert: "), "{line}");
    signal("-TERM");
    line_with("stopped");
    assert_eq!(wait(&mut server.child), Some(0));
}

#[test]
fn bad_certificates_are_a_bad_configuration() {
    let pair = |cert: &Path| {
        let key = crate::certificates::fixture("rsa.pkcs8.key");
        format!(r#"{{"certFilePaths": {{"key": {key:?}, "cert": {cert:?}}}}}"#)
    };
    let stderr = refused(&[("config.json", &pair(&crate::certificates::fixture("ec.crt")))], &[]);
    assert!(stderr.contains("certFilePaths.cert: ") && stderr.contains("ec.crt"), "{stderr}");
}

#[cfg(not(feature = "tiny-http"))]
#[test]
fn the_ssl_variable_of_containers_makes_certificates_for_its_endpoint() {
    let folder = Folder::new(&[]);
    let variables = [("SSL", "yes"), ("ENDPOINT", "s3.example.com")];
    let args = ["--listen=127.0.0.1:0", "--backend=mem"];
    let server = Server::start(s3pail(&folder.0, &args, &variables));
    assert!(server.start_line.contains(" https://127.0.0.1:"), "{}", server.start_line);
    let pem = fs::read_to_string(folder.0.join("localTls/server.crt")).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = s3pail::codec::unbase64(&base64).unwrap();
    let has = |name: &[u8]| der.windows(name.len()).any(|window| window == name);
    assert!(has(b"\x82\x0es3.example.com") && has(b"\x82\x10*.s3.example.com"));
    // Without an endpoint it does nothing, which a remark says.
    let server = Server::start(s3pail(&folder.0, &args, &[("SSL", "yes")]));
    assert!(server.start_line.contains(" http://127.0.0.1:"), "{}", server.start_line);
}

#[test]
fn the_log_is_one_json_object_a_line_and_names_ignored_keys() {
    let text = r#"{ "listenOn": ["127.0.0.1:0"], "s3pail": { "backend": "mem" }, "prot": 1, "clusters": 2 }"#;
    for (level, warned, remarked) in [("warn", true, false), ("debug", true, true), ("error", false, false)] {
        let folder = Folder::new(&[("config.json", text)]);
        let server = Server::start(s3pail(&folder.0, &["--log-level", level], &[]));
        let pid = server.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let (_, stderr) = server.wait();
        for line in stderr.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["name"], "S3");
        }
        assert_eq!(stderr.contains("prot: unknown key"), warned, "{stderr}");
        assert_eq!(stderr.contains("clusters: has no effect"), remarked, "{stderr}");
    }
}

#[test]
fn the_health_check_exits_0_only_when_the_server_answers_well() {
    for (answer, code) in [("HTTP/1.1 200 OK\r\n\r\n", 0), ("HTTP/1.1 503 Slow Down\r\n\r\n", 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let folder = Folder::new(&[]);
        let output = output(s3pail(&folder.0, &["healthcheck", "--listen", &address], &[]));
        assert_eq!(output.status.code(), Some(code), "{}", stderr_of(&output));
        server.join().unwrap();
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = Folder::new(&[]);
    let output = output(s3pail(&folder.0, &["healthcheck", "--listen", &nobody], &[]));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_shipped_files_start_the_same_server_as_no_files_and_daemons_beside_it() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let folder = Folder::new(&[]);
    for name in ["locationConfig.json", "authdata.json"] {
        fs::copy(shipped.join(name), folder.0.join("conf").join(name)).unwrap();
    }
    // Tests must not fight for the daemons' ports: everything else is as it is shipped.
    let text = fs::read_to_string(shipped.join("config.json")).unwrap();
    for (key, port) in [("dataDaemon", "9991"), ("metadataDaemon", "9990")] {
        assert!(text.contains(&format!("\"{key}\": {{ \"bindAddress\": \"localhost\", \"port\": {port} }}")));
    }
    let text = text.replace("9991", "59991").replace("9990", "59990");
    let text = text.replace("localhost\", \"port\": 5999", "127.73.99.1\", \"port\": 5999");
    fs::write(folder.0.join("conf/config.json"), text).unwrap();
    let server = Server::start(s3pail(&folder.0, &["--port=0"], &[]));
    assert!(server.start_line.contains("http://127.0.0.1:"), "{}", server.start_line);
    assert!(server.start_line.contains("(file backend, sync strict, "), "{}", server.start_line);
    assert!(TcpStream::connect("127.73.99.1:59991").is_ok());
    // In memory there is nothing that others could be served.
    let memory = Server::start(s3pail(&folder.0, &["--port=0", "--backend=mem"], &[]));
    assert!(memory.start_line.contains("(memory backend"), "{}", memory.start_line);
}

/// Sends a request to the server of a start line and returns the head and the body of the answer.
#[cfg(unix)]
fn ask(server: &Server, request: &str) -> (String, String) {
    let url = server.start_line.split("http://").nth(1).unwrap();
    let mut stream = TcpStream::connect(url.split(' ').next().unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[cfg(unix)]
#[test]
fn a_data_daemon_keeps_its_bodies_when_it_is_stopped_and_started_again() {
    let folder = Folder::new(&[]);
    let start = || Server::start(s3pail(&folder.0, &["--role=data", "--listen=127.0.0.1:0"], &[]));
    let server = start();
    assert!(server.start_line.contains("(data daemon, file backend, sync strict, "), "{}", server.start_line);
    assert!(!server.start_line.contains("WARNING"));
    let put = "PUT /DataFile/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
    let (head, _) = ask(&server, put);
    let location = head.split("Location: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    let address = server.start_line.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let well = output(s3pail(&folder.0, &["healthcheck", "--role=data", "--listen", &address], &[]));
    assert_eq!(well.status.code(), Some(0), "{}", stderr_of(&well));
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let (code, stderr) = server.wait();
    assert_eq!(code, Some(0), "{stderr}");
    let server = start();
    let get = format!("GET {location} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(ask(&server, &get).1, "body");
    assert!(!folder.0.join("localMetadata").exists());
}

#[test]
fn a_daemon_that_cannot_be_is_refused_by_name() {
    let stderr = refused(&[], &["--role=data", "--backend=mem"]);
    assert!(stderr.contains("--role: \"data\" is not allowed"), "{stderr}");
    let file = r#"{ "dataDaemon": { "bindAddress": "here", "port": 1 } }"#;
    let stderr = refused(&[("config.json", file)], &[]);
    assert!(stderr.contains("config.json: dataDaemon.bindAddress: \"here\""), "{stderr}");
}
