//! The paths that are not S3's: health, and calls for tests.
//!
//! Routes and bodies are Scality S3 Server's; `/live` and `/ready` are what container tools poll.

use super::service::Service;
use crate::codec::uri::Query;
use crate::config::Backend;
use crate::error::{Code, Result};
use crate::http::{Method, Response, ResponseBody};
use crate::lifecycle;
use crate::metrics;
use crate::notifications::EVENTS_POLLED_MAX;
use crate::scrub;
use crate::statistics::{SAMPLE_SECONDS, Statistics};
use crate::storage::{BlobStore, Health};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// `/live`: 200 when this process would serve requests. With data backend `multiple` a store that is away
/// does not count: starting this process anew would not bring it back. Who may ask for more sees the
/// statistics, too.
pub fn live(service: &Service, peer: Option<SocketAddr>) -> Response {
    let bodies = service.config.data == Backend::Multiple || service.blobs.health().code == 200;
    let healthy = bodies && service.meta.health().code == 200;
    let body = if is_allowed(service, peer) { statistics(service) } else { "{}".to_owned() };
    json(if healthy { 200 } else { 503 }, &body)
}

/// `/ready`: fails when records or all stores of bodies are away.
pub fn ready(service: &Service) -> Response {
    let bodies = bodies_health(service).iter().any(|(_, health)| health.code == 200);
    let healthy = bodies && service.meta.health().code == 200;
    json(if healthy { 200 } else { 503 }, "{}")
}

/// `/metrics`: the figures of the server, for who may see the state of the backends (`healthChecks.allowFrom`);
/// `None` for everybody else.
pub fn metrics(service: &Service, peer: Option<SocketAddr>) -> Option<Response> {
    is_allowed(service, peer).then(|| {
        let page = metrics::page(service).into_bytes();
        Response::new(200).header("Content-Type", metrics::CONTENT_TYPE).body(ResponseBody::Bytes(page))
    })
}

/// What each store of bodies says of itself: with data backend `multiple` one entry for each location.
/// A store that several locations share is asked once, and all are asked at the same time.
fn bodies_health(service: &Service) -> Vec<(String, Health)> {
    let name = match service.config.data {
        Backend::Memory => "mem",
        Backend::File => "file",
        Backend::Multiple => return locations_health(service),
    };
    vec![(name.to_owned(), service.blobs.health())]
}

fn locations_health(service: &Service) -> Vec<(String, Health)> {
    let mut stores: Vec<(&Arc<dyn BlobStore>, Vec<&String>)> = Vec::new();
    for (name, blobs) in &service.locations {
        match stores.iter_mut().find(|(known, _)| Arc::ptr_eq(known, blobs)) {
            Some((_, names)) => names.push(name),
            None => stores.push((blobs, vec![name])),
        }
    }
    let mut entries: Vec<(String, Health)> = std::thread::scope(|scope| {
        let mut asked = Vec::with_capacity(stores.len());
        for (blobs, names) in stores {
            let thread = std::thread::Builder::new().spawn_scoped(scope, || blobs.health());
            asked.push((names, thread));
        }
        let mut entries = Vec::new();
        for (names, thread) in asked {
            let health = thread.ok().and_then(|thread| thread.join().ok());
            let failed = || Health { code: 500, message: "the check could not be made".to_owned() };
            let health = health.unwrap_or_else(failed);
            entries.extend(names.into_iter().map(|name| (name.clone(), health.clone())));
        }
        entries
    });
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    entries
}

/// Everything under `/_/`. The first segment names a service: an unknown one is no URI, before anything else is
/// looked at.
///
/// # Errors
/// `InvalidURI`, `MethodNotAllowed`.
pub fn internal(
    service: &Service,
    method: Method,
    path: &str,
    query: &str,
    peer: Option<SocketAddr>,
) -> Result<Response> {
    let allowed = is_allowed(service, peer);
    match (path, method) {
        // What stands there belongs to the fixture profile, which is off.
        ("/_/test", _) => Ok(json(404, "{}")),
        _ if path.starts_with("/_/test/") => Ok(json(404, "{}")),
        (
            "/_/healthcheck" | "/_/notifications" | "/_/logging/deliver" | "/_/lifecycle/run"
            | "/_/scrub/run",
            _,
        ) if !allowed => Ok(json(403, "[]")),
        _ if path.starts_with("/_/healthcheck/") && !allowed => Ok(json(403, "[]")),
        ("/_/healthcheck", _) => Ok(health_answer(service, method, path)),
        _ if path.starts_with("/_/healthcheck/") => Ok(health_answer(service, method, path)),
        ("/_/notifications", Method::Get) => Ok(poll(service, query)),
        ("/_/logging/deliver", Method::Post) => Ok(match service.access_log.deliver_now() {
            Some(delivered) => report(&delivered),
            None => json(503, "{}"),
        }),
        ("/_/lifecycle/run", Method::Post) => Ok(report(&lifecycle::run_now(service))),
        ("/_/scrub/run", Method::Post) => Ok(scrub_now(service)),
        ("/_/notifications" | "/_/logging/deliver" | "/_/lifecycle/run" | "/_/scrub/run", _) => {
            Err(Code::MethodNotAllowed.into())
        }
        _ => Err(Code::InvalidURI.into()),
    }
}

/// Has the scrub walk now, and says how far it had come; 404 where there is none.
fn scrub_now(service: &Service) -> Response {
    if !scrub::is_wanted(&service.config) {
        return json(404, "{}");
    }
    service.scrub.wake();
    let last = scrub::Progress::stored(service).ok().flatten();
    json(202, &serde_json::to_string(&last.unwrap_or_default()).unwrap_or_default())
}

/// Whether somebody may see more than whether the server lives (`healthChecks.allowFrom`).
fn is_allowed(service: &Service, peer: Option<SocketAddr>) -> bool {
    let contains = |ip: IpAddr| service.config.health_allow_from.iter().any(|network| network.contains(ip));
    peer.is_some_and(|peer| contains(peer.ip().to_canonical()))
}

/// Anything below `/_/healthcheck` but `deep` is the short answer, as it always was.
fn health_answer(service: &Service, method: Method, path: &str) -> Response {
    if !matches!(method, Method::Get | Method::Post | Method::Head) {
        return json(400, "[]");
    }
    match path {
        "/_/healthcheck/deep" => deep(service),
        _ => json(200, &statistics(service)),
    }
}

/// The counts of the last half minute; without a Redis there are none.
fn statistics(service: &Service) -> String {
    let Some(statistics) = &service.statistics else { return "{}".to_owned() };
    let counts = statistics.sample(service.clock.now());
    let (requests, faults) = (counts.requests, counts.faults);
    format!("{{\"requests\":{requests},\"500s\":{faults},\"sampleDuration\":{SAMPLE_SECONDS}}}")
}

/// What the deep answer says of the Redis. That it is away is no failure: nothing but statistics needs it.
fn statistics_health(statistics: &Statistics) -> serde_json::Value {
    let state = if statistics.is_away() { "away" } else { "OK" };
    let message = match statistics.dropped() {
        0 => state.to_owned(),
        dropped => format!("{state}, {dropped} requests not counted"),
    };
    serde_json::json!({ "code": 200, "message": message })
}

/// The latest events: `bucket` chooses, `max` bounds.
fn poll(service: &Service, query: &str) -> Response {
    let Some(query) = Query::parse(query) else { return json(400, "[]") };
    let max = match query.get("max").map(str::parse) {
        None => EVENTS_POLLED_MAX,
        Some(Ok(max)) => max,
        Some(Err(_)) => return json(400, "[]"),
    };
    report(&serde_json::json!({ "Records": service.notifications.poll(query.get("bucket"), max) }))
}

fn report(report: &impl serde::Serialize) -> Response {
    json(200, &serde_json::to_string(report).expect("reports have string keys only"))
}

/// The answer with an entry per backend; 500 if any of them fails.
fn deep(service: &Service) -> Response {
    let records = match service.config.metadata {
        Backend::Memory => "memorybucket",
        _ => "bucketfile",
    };
    let mut entries = bodies_health(service);
    entries.push((records.to_owned(), service.meta.health()));
    let mut body = serde_json::Map::new();
    for (name, health) in &entries {
        let mut entry = serde_json::Map::new();
        let key = if health.code == 200 { "message" } else { "error" };
        entry.insert("code".to_owned(), health.code.into());
        entry.insert(key.to_owned(), health.message.clone().into());
        body.insert(name.clone(), entry.into());
    }
    body.insert("vaultMem".to_owned(), serde_json::json!({ "code": 200, "message": "OK" }));
    body.insert(
        "durability".to_owned(),
        serde_json::json!({ "code": 200, "message": service.config.sync_text() }),
    );
    // Damage is no reason to take the server out of service: what is sound is served.
    let damage = serde_json::json!({ "code": 200, "message": service.damage.to_string() });
    body.insert("integrity".to_owned(), damage);
    if let Some(statistics) = &service.statistics {
        body.insert("localCache".to_owned(), statistics_health(statistics));
    }
    let healthy = entries.iter().all(|(_, health)| health.code == 200);
    json(if healthy { 200 } else { 500 }, &serde_json::Value::from(body).to_string())
}

fn json(status: u16, body: &str) -> Response {
    Response::new(status)
        .header("Content-Type", "application/json")
        .body(ResponseBody::Bytes(body.as_bytes().to_vec()))
}
