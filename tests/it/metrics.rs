//! `/metrics`: what it counts, who may see it, and that its documentation is the program's own table.

use super::harness::{Client, Folder, TestServer, file_config, for_each_backend, wait_until};
use s3pail::config::Config;
use s3pail::metrics::{CONTENT_TYPE, DURATION_BOUNDS, Kind, METRICS, STATUS_CLASSES, operation_labels};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;

/// The samples of a page by name and labels, after a look at its form.
fn samples(client: &Client) -> BTreeMap<String, f64> {
    let reply = client.get("/metrics").expect(200);
    assert_eq!(reply.header("content-type"), Some(CONTENT_TYPE));
    let mut samples = BTreeMap::new();
    let mut described = BTreeSet::new();
    for line in reply.text().lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            described.insert(comment.split(' ').nth(1).unwrap().to_owned());
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        assert!(described.contains(name) || base.is_some_and(|base| described.contains(base)), "{line}");
        assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    assert_eq!(described.len(), METRICS.len());
    samples
}

fn value(samples: &BTreeMap<String, f64>, series: &str) -> f64 {
    *samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:#?}"))
}

/// Waits until a series has a value: an answer is counted when it has left, which its client may see first.
#[track_caller]
fn wait_for(client: &Client, series: &str, wanted: f64) {
    wait_until(series, || samples(client).get(series) == Some(&wanted));
}

#[test]
fn requests_are_counted_by_operation_and_class_with_bytes_and_errors() {
    for_each_backend(|server| {
        let bucket = server.bucket("counted");
        server.put(&format!("{bucket}/key"), &[7; 1000]).expect(200);
        server.get(&format!("{bucket}/key")).expect(200);
        server.get(&format!("{bucket}/missing")).expect_error(404, "NoSuchKey");
        let metrics = server.anonymous();
        for (operation, class) in [("GetObject", "4xx"), ("GetObject", "2xx"), ("PutObject", "2xx")] {
            let series = format!("s3pail_requests_total{{operation=\"{operation}\",status=\"{class}\"}}");
            wait_for(&metrics, &series, 1.0);
        }
        let page = samples(&metrics);
        assert_eq!(value(&page, "s3pail_errors_total{code=\"NoSuchKey\"}"), 1.0);
        assert_eq!(value(&page, "s3pail_request_duration_seconds_count{operation=\"GetObject\"}"), 2.0);
        let infinite = "s3pail_request_duration_seconds_bucket{operation=\"GetObject\",le=\"+Inf\"}";
        assert_eq!(value(&page, infinite), 2.0);
        assert!(value(&page, "s3pail_request_duration_seconds_sum{operation=\"GetObject\"}") > 0.0);
        assert!(value(&page, "s3pail_received_bytes_total") >= 1000.0);
        assert!(value(&page, "s3pail_sent_bytes_total") >= 1000.0);
    });
}

#[test]
fn a_request_that_is_no_http_is_counted_without_an_operation() {
    if cfg!(feature = "tiny-http") {
        return; // It answers such requests itself.
    }
    let server = TestServer::memory();
    let client = server.anonymous();
    client.raw(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", false).expect(400);
    wait_for(&client, "s3pail_requests_total{operation=\"None\",status=\"4xx\"}", 1.0);
    assert_eq!(value(&samples(&client), "s3pail_errors_total{code=\"BadRequest\"}"), 1.0);
}

#[test]
fn connections_and_workers_are_seen() {
    if cfg!(feature = "tiny-http") {
        return; // The crate does not tell its connections.
    }
    let server = TestServer::memory();
    let client = server.anonymous();
    let idle: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    wait_until("five idle connections and the one that asks", || {
        value(&samples(&client), "s3pail_connections_open") == 6.0
    });
    let page = samples(&client);
    assert!(value(&page, "s3pail_connections_accepted_total") >= 6.0);
    assert_eq!(value(&page, "s3pail_connections_refused_total"), 0.0);
    assert_eq!(value(&page, "s3pail_workers"), 4.0);
    // A worker stays with a connection for a moment after its answer.
    wait_until("only the one that answers is busy", || {
        value(&samples(&client), "s3pail_workers_busy") == 1.0
    });
    drop(idle);
    wait_until("they are gone", || value(&samples(&client), "s3pail_connections_open") == 1.0);
}

#[test]
fn stores_tell_their_size_and_damage_is_counted() {
    let folder = Folder::new();
    let data = folder.0.join("data/blobs");
    let server = TestServer::start("file", file_config(&folder), Some(folder));
    let bucket = server.bucket("rotten");
    server.put(&format!("{bucket}/key"), &[7; 100_000]).expect(200);
    let client = server.anonymous();
    let page = samples(&client);
    assert!(value(&page, "s3pail_store_used_bytes{store=\"records\"}") > 0.0);
    assert!(value(&page, "s3pail_store_free_bytes{store=\"bodies\"}") > 0.0);
    assert_eq!(value(&page, "s3pail_corrupt_reads_total"), 0.0);
    let bodies = std::fs::read_dir(&data).unwrap().flat_map(|entry| std::fs::read_dir(entry.unwrap().path()));
    let paths = bodies.flatten().map(|entry| entry.unwrap().path());
    // Beside it lies the one that pairs the folder with its records.
    let body = paths.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(body).unwrap();
    file.write_all(b"rot").unwrap();
    server.get(&format!("{bucket}/key")).expect_error(500, "InternalError");
    assert_eq!(value(&samples(&client), "s3pail_corrupt_reads_total"), 1.0);
}

#[test]
fn lifecycle_walks_are_counted() {
    let server = TestServer::memory();
    let client = server.anonymous();
    client.post("/_/lifecycle/run", b"").expect(200);
    let page = samples(&client);
    assert!(value(&page, "s3pail_lifecycle_walks_total") >= 1.0);
    assert_eq!(value(&page, "s3pail_lifecycle_actions_total{action=\"failed\"}"), 0.0);
}

/// OP-14; `health.rs` has the health paths, and BI-235 all others.
#[test]
fn who_may_not_see_the_figures_sees_a_bucket_that_is_not_there() {
    let config = Config { health_allow_from: Vec::new(), ..Config::in_memory() };
    let server = TestServer::start("memory", config, None);
    server.anonymous().get("/metrics").expect_error(404, "NoSuchBucket");
    server.bucket("metrics");
    server.anonymous().get("/metrics").expect_error(403, "AccessDenied");
}

#[test]
fn a_bucket_or_a_key_may_be_called_metrics() {
    for_each_backend(|server| {
        for name in ["metrics", "live", "ready"] {
            let bucket = server.bucket(name);
            server.put(&format!("{bucket}/key"), b"x").expect(200);
            assert_eq!(server.get(&bucket).expect(200).elements("Key"), ["key"]);
            // With a query it is never the server's own path.
            server.anonymous().get(&format!("{bucket}?list-type=2")).expect_error(403, "AccessDenied");
            server.anonymous().get(&format!("{bucket}/")).expect_error(403, "AccessDenied");
            // The host names the bucket, so the path is a key, and nobody else's business.
            let host =
                format!("GET {bucket} HTTP/1.1\r\nhost: {name}.localhost\r\nconnection: close\r\n\r\n");
            server.anonymous().raw(host.as_bytes(), false).expect_error(403, "AccessDenied");
        }
        server.anonymous().post("/metrics", b"").expect_error(412, "PreconditionFailed");
    });
}

#[test]
fn hostile_requests_make_no_series() {
    let server = TestServer::memory();
    for index in 0..50 {
        let name = format!("/b{index}-\u{7f}x/k{index}?x{index}=%22%0a");
        server.anonymous().get(&name.replace('\u{7f}', "%7f"));
    }
    let bound = operation_labels().count() * (STATUS_CLASSES.len() + DURATION_BOUNDS.len() + 3) + 200;
    let page = samples(&server.anonymous());
    assert!(page.len() < bound && page.keys().all(|series| !series.contains("b1-")));
    let gets = page.keys().filter(|series| series.starts_with("s3pail_requests_total")).count();
    assert!(gets <= 6, "{page:#?}");
}

/// The page of documentation as it must be.
fn documentation() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         `GET /metrics` answers what the server has counted since its start, in Prometheus' text format. It\n\
         needs no signature and is for the addresses in `healthChecks.allowFrom` (`--health-allow-from`;\n\
         loopback always is) only; for everybody else, and in requests with a signature, a query or a bucket\n\
         in the host name, the path means a bucket or key called `metrics`. In `scrape_configs` the default\n\
         `metrics_path` fits.\n\n\
         Labels are names of operations (of [operations.md](operations.md), and `WebsiteRequest`,\n\
         `PreflightRequest`, `Internal` for the server's own paths, `None` for what was refused before it was\n\
         known what it asks for), error codes and classes of status codes, never buckets, keys or accounts.\n\
         Series of operations and codes appear when they are first counted. A request is counted when its\n\
         answer has left. Objects are not counted, which would take a walk over all of them.\n\n\
         Written by `S3PAIL_BLESS=1 cargo test --test it metrics` from the table in `src/metrics.rs`.\n\n\
         | metric | type | labels | what it is |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let mut labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        labels.extend((metric.kind == Kind::Histogram).then(|| "`le`".to_owned()));
        let (name, kind) = (metric.name, metric.kind.as_str());
        text.push_str(&format!("| `{name}` | {kind} | {} | {} |\n", labels.join(", "), metric.help));
    }
    let bounds: Vec<&str> = DURATION_BOUNDS.iter().map(|(_, bound)| *bound).collect();
    text.push_str(&format!("\nUpper bounds of the histogram, in seconds: {}, +Inf.\n", bounds.join(", ")));
    text
}

#[test]
fn the_documentation_names_every_metric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("S3PAIL_BLESS").is_some() {
        std::fs::write(path, documentation()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), documentation(), "docs/metrics.md");
}
