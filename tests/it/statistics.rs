//! Requests and failures, counted in a Redis that may be unwell.

use super::harness::{DEADLINE, TestServer, wait_until};
use super::locations::{location, multiple_of};
use super::stand_in::redis::{Mood, Redis};
use s3pail::config::{Config, LocalCache, Remote};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

fn config(address: SocketAddr, password: Option<&str>) -> Config {
    let remote = Remote { host: address.ip().to_string(), port: address.port() };
    let local_cache = Some(LocalCache { remote, password: password.map(str::to_owned) });
    Config { local_cache, ..Config::in_memory() }
}

fn counting_in(redis: &Redis) -> TestServer {
    TestServer::start("memory", config(redis.address, None), None)
}

fn health(server: &TestServer) -> Value {
    serde_json::from_slice(&server.anonymous().get("/_/healthcheck").expect(200).body).unwrap()
}

fn deep(server: &TestServer) -> Value {
    serde_json::from_slice(&server.anonymous().get("/_/healthcheck/deep").expect(200).body).unwrap()
}

fn sample(requests: u64, faults: u64) -> Value {
    json!({ "requests": requests, "500s": faults, "sampleDuration": 30 })
}

#[test]
fn requests_are_counted_under_the_keys_of_scality_s3_server() {
    let redis = Redis::start(Mood::Well, None);
    let server = counting_in(&redis);
    server.service().clock.freeze();
    server.service().clock.set(1_800_000_003_999);
    for _ in 0..7 {
        server.anonymous().get("/none/k").expect(404);
    }
    wait_until("all are told", || redis.sum("s3:") == 7);
    server.service().clock.advance(2_000);
    server.anonymous().get("/none/k").expect(404);
    wait_until("the next is told", || redis.sum("s3:") == 8);
    let keys = |start: u64, count: u64| (format!("s3:requests:{start}"), count);
    let expected = [keys(1_800_000_000_000, 7), keys(1_800_000_005_000, 1)];
    assert_eq!(*redis.values.lock().unwrap(), expected.clone().into());
    wait_until("they expire", || redis.expiry.lock().unwrap().len() == 2);
    assert_eq!(*redis.expiry.lock().unwrap(), expected.map(|(key, _)| (key, 30)).into());
}

#[test]
fn failures_of_the_server_are_counted_apart() {
    let redis = Redis::start(Mood::Well, None);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let details = json!({ "connector": { "sproxyd": { "bootstrap": [nobody.to_string()] } } });
    let server = multiple_of(config(redis.address, None), &[("ring", location("scality", details))]);
    server.bucket("bucket");
    let ring = ("x-amz-meta-scal-location-constraint", "ring");
    server.send("PUT", "/bucket/key", &[ring], b"x").expect_error(503, "ServiceUnavailable");
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
    wait_until("all are told", || redis.sum("s3:requests:") == 3);
    assert_eq!(redis.sum("s3:500s:"), 1);
    assert_eq!(health(&server), sample(3, 1));
}

#[test]
fn the_health_answer_shows_the_last_half_minute_of_all_servers() {
    let redis = Redis::start(Mood::Well, None);
    let (one, other) = (counting_in(&redis), counting_in(&redis));
    for server in [&one, &other] {
        server.service().clock.freeze();
        server.service().clock.set(1_800_000_000_000);
        assert_eq!(health(server), sample(redis.sum("s3:requests:"), 0));
        server.anonymous().get("/none/k").expect(404);
        server.anonymous().get("/none/k").expect(404);
    }
    wait_until("all are told", || redis.sum("s3:") == 4);
    assert_eq!(health(&one), sample(4, 0));
    let live: Value = serde_json::from_slice(&one.anonymous().get("/live").expect(200).body).unwrap();
    assert_eq!(live, sample(4, 0));
    one.service().clock.advance(29_999);
    assert_eq!(health(&one), sample(4, 0));
    one.service().clock.advance(1);
    assert_eq!(health(&one), sample(0, 0));
    assert_eq!(redis.sum("s3:"), 4, "health polls are counted");
    assert_eq!(deep(&one)["localCache"], json!({ "code": 200, "message": "OK" }));
}

#[test]
fn without_a_redis_nothing_is_shown() {
    let server = TestServer::memory();
    server.get("/none/k").expect(404);
    for path in ["/_/healthcheck", "/live"] {
        assert_eq!(server.anonymous().get(path).expect(200).text(), "{}");
    }
    assert!(deep(&server).get("localCache").is_none());
}

#[test]
fn a_redis_that_is_unwell_costs_counts_and_no_request() {
    for mood in [Mood::HangsUp, Mood::Stalls, Mood::IsFull, Mood::TalksNonsense] {
        let redis = Redis::start(mood, None);
        let server = counting_in(&redis);
        server.service().clock.freeze();
        let bucket = server.bucket("bucket");
        let started = Instant::now();
        for _ in 0..50 {
            server.put(&format!("{bucket}/key"), b"x").expect(200);
        }
        wait_until("the trouble is seen", || deep(&server)["localCache"]["message"] != "OK");
        assert_eq!(health(&server), sample(51, 0), "{mood:?}: this process's own counts");
        assert!(started.elapsed() < DEADLINE, "{mood:?}");

        redis.be(Mood::Well);
        // What was lost with the failed exchanges stays lost; what comes now arrives.
        let statistics = server.service().statistics.as_ref().unwrap();
        wait_until("it is well again", || {
            server.get(&format!("{bucket}/key")).expect(200);
            !statistics.is_away() && redis.sum("s3:requests:") > 0
        });
        let own = statistics.own(server.service().clock.now()).requests;
        wait_until("every request is told or known as lost", || {
            redis.sum("s3:requests:") + statistics.dropped() == own
        });
    }
}

#[test]
fn a_redis_that_goes_away_and_comes_back_is_told_again() {
    let redis = Redis::start(Mood::Well, None);
    let server = counting_in(&redis);
    server.anonymous().get("/none/k").expect(404);
    wait_until("it is told", || redis.sum("s3:") == 1);
    redis.be(Mood::HangsUp);
    let statistics = server.service().statistics.as_ref().unwrap();
    wait_until("it is away", || {
        server.anonymous().get("/none/k").expect(404);
        statistics.is_away()
    });
    redis.be(Mood::Well);
    wait_until("it is told again", || {
        server.anonymous().get("/none/k").expect(404);
        redis.sum("s3:") > 1
    });
}

#[test]
fn nobody_listening_loses_nothing_that_fits_and_the_server_stops_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer::start("memory", config(nobody, None), None);
    server.anonymous().get("/none/k").expect(404);
    wait_until("it is away", || deep(&server)["localCache"]["message"] == "away");
    assert_eq!(health(&server)["requests"], 1);
    let started = Instant::now();
    drop(server);
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn what_is_left_at_the_end_is_told() {
    let redis = Redis::start(Mood::Well, None);
    let server = counting_in(&redis);
    for _ in 0..20 {
        server.anonymous().get("/none/k").expect(404);
    }
    // The first count is told at once, so that there is a connection.
    wait_until("one is told", || redis.sum("s3:") > 0);
    drop(server);
    assert_eq!(redis.sum("s3:"), 20);
}

#[test]
fn the_password_is_needed_and_must_be_right() {
    let redis = Redis::start(Mood::Well, Some("open sesame"));
    for (password, told) in [(None, false), (Some("wrong"), false), (Some("open sesame"), true)] {
        let server = TestServer::start("memory", config(redis.address, password), None);
        server.anonymous().get("/none/k").expect(404);
        let statistics = server.service().statistics.as_ref().unwrap();
        wait_until("it has answered", || redis.sum("s3:") > 0 || statistics.is_away());
        assert_eq!(redis.sum("s3:") > 0, told, "{password:?}");
    }
}
