//! Every row of the operations table: done when it may be, refused to who may not, refused when it makes
//! no sense, and its answer byte for byte as it is kept in `tests/it/golden/`.
//!
//! A case of `cases.rs` says what must be there first, the request, and a request of the same operation
//! that is wrong. The golden files and `docs/operations.md` are written by
//! `S3PAIL_BLESS=1 cargo test --test it operations`; read the difference before committing it.

mod cases;

use crate::harness::{Client, Reply, TestServer};
use cases::{CASES, Case, Step};
use s3pail::codec::base64;
use s3pail::codec::digest::md5;
use s3pail::ops::Scope;
use s3pail::ops::table::OPERATIONS;
use s3pail::ops::unbuilt::UNBUILT;
use s3pail::storage::Visit;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Elements whose text differs from run to run.
const VARYING: [&str; 8] = [
    "NextUploadIdMarker",
    "LastModified",
    "Initiated",
    "CreationDate",
    "VersionId",
    "UploadId",
    "RequestId",
    "HostId",
];

/// What earlier answers told: `{upload}`, `{version}` and `{etag}` in later requests.
type Told = HashMap<&'static str, String>;

fn filled(text: &str, told: &Told) -> String {
    told.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn send(client: &Client, step: &Step, told: &Told) -> Reply {
    let line = filled(step.line, told);
    let (method, target) = line.split_once(' ').expect("a method and a target");
    let body = filled(step.body, told);
    let digest = base64(&md5(body.as_bytes()));
    let mut fields: Vec<(&str, &str)> = step.fields.to_vec();
    if !body.is_empty() {
        fields.push(("content-md5", &digest));
    }
    client.send(method, &target.replace(' ', "%20"), &fields, body.as_bytes())
}

fn learn(told: &mut Told, reply: &Reply) {
    let header = |name: &str| reply.header(name).map(str::to_owned);
    let found = [
        ("upload", reply.element("UploadId")),
        ("version", header("x-amz-version-id")),
        ("etag", header("etag")),
    ];
    told.extend(found.into_iter().filter_map(|(name, value)| Some((name, value?))));
}

/// A server on which everything that the case needs is there.
fn prepared(case: &Case) -> (TestServer, Told) {
    let server = TestServer::memory();
    let mut told = Told::new();
    for step in case.given {
        let reply = send(&server, step, &told);
        assert!(reply.status < 300, "{}: {}: {}", case.operation, step.line, reply.text());
        learn(&mut told, &reply);
    }
    (server, told)
}

/// Every record that users can tell: all but those of writes on their way.
fn records(server: &TestServer) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = BTreeMap::new();
    let everything = [].as_slice()..[0xff; 8].as_slice();
    let mut visit = |key: &[u8], value: &[u8]| {
        if !key.starts_with(b"g") {
            records.insert(key.to_vec(), value.to_vec());
        }
        Visit::Next
    };
    server.service().meta.scan(everything, &mut visit).unwrap();
    records
}

#[test]
fn every_operation_has_a_case() {
    let missing: Vec<&str> = OPERATIONS
        .iter()
        .map(|row| row.name)
        .filter(|name| !CASES.iter().any(|case| case.operation == *name))
        .collect();
    assert!(missing.is_empty(), "no case in tests/it/operations/cases.rs for: {missing:?}");
    for case in CASES {
        assert!(OPERATIONS.iter().any(|row| row.name == case.operation), "{}: no such row", case.operation);
    }
}

#[test]
fn every_operation_is_done_and_answers_as_it_always_did() {
    let mut differing = Vec::new();
    for case in CASES {
        let (server, told) = prepared(case);
        let reply = send(&server, &case.ask, &told);
        if (reply.status >= 300) != case.ended
            || !matches_golden(&format!("{}.http", case.operation), &golden_text(&reply, &server))
        {
            differing.push(case.operation);
        }
    }
    assert!(differing.is_empty(), "answers differ from tests/it/golden/: {differing:?}");
}

/// Sends each case's request and fails naming every case that is not refused as expected, or that changed
/// anything.
fn each_is_refused(request: impl Fn(&TestServer, &Case, &Told) -> (Reply, (u16, &'static str))) {
    let mut failures = Vec::new();
    for case in CASES {
        let (server, told) = prepared(case);
        let before = records(&server);
        let (reply, expected) = request(&server, case, &told);
        let code = reply.element("Code").unwrap_or_default();
        if (reply.status, code.as_str()) != expected {
            failures.push(format!("{}: {} {}, not {expected:?}", case.operation, reply.status, reply.text()));
        }
        if records(&server) != before {
            failures.push(format!("{}: something changed", case.operation));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_operation_is_denied_to_a_stranger_and_changes_nothing() {
    each_is_refused(|server, case, told| {
        let stranger = if case.anyone_with_a_key { server.anonymous() } else { server.as_lisa() };
        (send(&stranger, &case.ask, told), case.denial)
    });
}

#[test]
fn every_operation_refuses_a_request_that_is_wrong_and_changes_nothing() {
    each_is_refused(|server, case, told| (send(server, &case.wrong, told), case.refusal));
}

/// Bodies that no configuration has.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let deep = "<a>".repeat(200);
    vec![
        ("nothing", Vec::new()),
        ("half an element", b"<".to_vec()),
        ("another document", b"<Unknown xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>".to_vec()),
        ("a document type", b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".to_vec()),
        ("depth", deep.into_bytes()),
        ("bytes that are not UTF-8", b"<A>\xff\xfe</A>".to_vec()),
        ("JSON of another kind", b"{\"a\": [1, 2]}".to_vec()),
        ("five million bytes", vec![b' '; 5_000_000]),
    ]
}

#[test]
fn every_configuration_refuses_nonsense_and_stays_as_it_was() {
    let mut failures = Vec::new();
    for case in CASES.iter().filter(|case| case.is_configuration()) {
        let (server, told) = prepared(case);
        let done = send(&server, &case.ask, &told);
        assert!(done.status < 300, "{}: {}", case.operation, done.text());
        let before = records(&server);
        for (what, body) in nonsense() {
            let (method, target) = case.ask.line.split_once(' ').unwrap();
            let reply = server.send(method, &filled(target, &told), &[], &body);
            let refused = (400..500).contains(&reply.status) && reply.element("Code").is_some();
            if !refused || records(&server) != before {
                failures.push(format!("{} with {what}: {} {}", case.operation, reply.status, reply.text()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The answer as it is kept: status, the fields that S3 defines, the body with what varies left out.
fn golden_text(reply: &Reply, server: &TestServer) -> String {
    let mut text = format!("{}\n", reply.status);
    let mut fields: Vec<String> = reply
        .headers
        .iter()
        .filter(|(name, _)| {
            !["date", "connection", "server", "x-amz-id-2", "content-length"].contains(&name.as_str())
        })
        .map(|(name, value)| match name.as_str() {
            "x-amz-request-id" | "x-amz-version-id" | "last-modified" | "x-amz-copy-source-version-id" => {
                format!("{name}: ...\n")
            }
            _ => format!("{name}: {value}\n"),
        })
        .collect();
    fields.sort();
    text.push_str(&fields.concat());
    text.push('\n');
    text.push_str(&VARYING.iter().fold(reply.text(), |body, name| without_text(&body, name)));
    text.push('\n');
    text.replace(&server.address().to_string(), "server")
}

/// Leaves out the text of every element of this name.
fn without_text(body: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut parts = body.split(&open);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(&close).map_or(part, |end| &part[end..]);
        kept.push_str(&format!("{open}...{rest}"));
    }
    kept
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden")
}

/// Whether a file of `tests/it/golden` is this text; makes it so when `S3PAIL_BLESS` is set.
fn matches_golden(name: &str, text: &str) -> bool {
    is_kept(&folder().join(name), text)
}

fn is_kept(path: &Path, text: &str) -> bool {
    if std::env::var_os("S3PAIL_BLESS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    if kept != text {
        eprintln!("{}:\n--- kept\n{kept}\n--- now\n{text}", path.display());
    }
    kept == text
}

#[test]
fn the_documentation_lists_every_operation_as_the_table_has_it() {
    let mut page = String::from(
        "# Operations\n\n\
         Every operation of the S3 API (2006-03-01) that s3pail answers, from the table in\n\
         `src/ops/table.rs`. Written by `S3PAIL_BLESS=1 cargo test --test it operations`; each row's case\n\
         in `tests/it/operations/cases.rs` shows success, denial and refusal, its golden answer lies in\n\
         `tests/it/golden/`, and what it does is shown in the file of the last column. *kept* means that\n\
         a setting is checked, stored and returned, and that nothing acts on it.\n\n\
         | operation | request | permission | status | shown in |\n|---|---|---|---|---|\n",
    );
    for row in OPERATIONS {
        let case = CASES.iter().find(|case| case.operation == row.name).expect("a case for every row");
        let place = match row.scope {
            Scope::Service => "/",
            Scope::Bucket => "/bucket",
            Scope::Object => "/bucket/key",
        };
        let query = if row.sub.is_empty() { String::new() } else { format!("?{}", row.sub) };
        let header = row.header.map(|name| format!(", `{name}`")).unwrap_or_default();
        let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{}.rs", case.shown_in));
        assert!(shown.is_file(), "{}: {}", row.name, shown.display());
        page.push_str(&format!(
            "| {} | `{} {place}{query}`{header} | `{}` | {} | `tests/it/{}.rs` |\n",
            row.name,
            row.method.as_str(),
            row.action,
            match case {
                Case { ended: true, .. } => "ended by S3",
                case if case.is_kept_only() => "kept",
                _ => "enforced",
            },
            case.shown_in,
        ));
    }
    page.push_str(
        "\n## Not built\n\nAnswered with 501 `NotImplemented` and the reason, and never taken for another operation\n\
         (`src/ops/unbuilt.rs`, shown in `tests/it/actions.rs`).\n\n| operation | reason |\n|---|---|\n",
    );
    for row in UNBUILT {
        page.push_str(&format!("| {} | {} |\n", row.name, row.reason));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    assert!(is_kept(&path, &page), "docs/operations.md differs from the table");
}
