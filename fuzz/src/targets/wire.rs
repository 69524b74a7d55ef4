//! What arrives on a connection, in whatever pieces: heads, chunked bodies, aws-chunked bodies, forms.

use super::{Pieces, choice, outcome, texts};
use s3pail::auth::Trailers;
use s3pail::auth::chunked::{ChunkedReader, Framing as Frames, encode};
use s3pail::codec::form_data::FormReader;
use s3pail::http::framing::{Framing, Step};
use s3pail::http::head::{HeadScan, parse};
use s3pail::http::limits::{Limits, TRAILER_BYTES_MAX};
use std::io::Read;

pub fn heads() -> Vec<Vec<u8>> {
    texts(&[
        "GET /b/k?x=y HTTP/1.1\r\nHost: h\r\nAccept: a, b\r\n\r\nrest",
        "\r\nPUT /b/k HTTP/1.1\r\nhost:h:8000\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n12345",
        "POST http://h/b HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        "OPTIONS * HTTP/1.1\nHost: [::1]:1\nConnection: close\n\n",
    ])
}

/// FZ-01: the end of a head and what it says do not depend on how it was split.
pub fn head(input: &[u8]) -> u64 {
    let limits = Limits::default();
    let whole = HeadScan::default().advance(input, &limits);
    // A refusal may come earlier or later, or be left to the parser; that a head is good may not.
    let good = |seen: &Result<Option<usize>, _>| match seen {
        Ok(Some(end)) => parse(&input[..*end], &limits).ok().map(|_| *end),
        _ => None,
    };
    for step in [1, 2, 7, 64] {
        let (mut scan, mut seen) = (HeadScan::default(), Ok(None));
        for end in (0..input.len()).step_by(step).chain([input.len()]) {
            seen = scan.advance(&input[..end], &limits);
            if !matches!(seen, Ok(None)) {
                break;
            }
        }
        assert_eq!(good(&seen), good(&whole), "in pieces of {step}: {seen:?}, whole: {whole:?}");
    }
    let Ok(Some(end)) = whole else { return outcome(format!("{whole:?}")) };
    assert!(end <= input.len());
    let first = parse(&input[..end], &limits);
    match &first {
        Ok(head) => {
            let text = head.headers.iter().all(|(name, value)| {
                let token = name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase());
                token && !name.is_empty() && !value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
            });
            assert!(text, "{head:?}");
            outcome((
                head.headers.len().min(8),
                head.keep_alive,
                head.http_1_0,
                head.framing.remaining().is_some(),
            ))
        }
        Err(refusal) => outcome(format!("{refusal:?}")),
    }
}

pub fn chunked_bodies() -> Vec<Vec<u8>> {
    texts(&[
        "5\r\nhello\r\n0\r\n\r\nGET /",
        "5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
        "ffffffffffffffff\r\n",
    ])
}

/// FZ-02: a body ends where it ends, however it arrives, and nothing behind it is taken.
pub fn framing(input: &[u8]) -> u64 {
    let whole = walk(input, usize::MAX);
    for most in [1, 3, 17] {
        assert_eq!(walk(input, most), whole, "with {most} bytes more each time");
    }
    outcome(whole.map(|(used, content)| (used.min(9), content.min(9))))
}

/// Bytes that were used and content bytes among them; `None` for a malformed body. An unfinished one counts
/// with what it had.
fn walk(input: &[u8], more: usize) -> Option<(usize, u64)> {
    let (mut framing, mut used, mut content) = (Framing::chunked(), 0, 0);
    let mut arrived = more.min(input.len());
    loop {
        let (passed, step) = framing.step(&input[used..arrived]).ok()?;
        used += passed;
        assert!(used <= arrived);
        match step {
            Step::End => return Some((used, content)),
            Step::Content(allowed) if arrived > used => {
                let taken = ((arrived - used) as u64).min(allowed);
                framing.take(taken);
                used += taken as usize;
                content += taken;
            }
            _ if arrived == input.len() => return Some((used, content)),
            // A line that is longer than any buffer is refused before it is complete.
            _ => {
                assert!(arrived - used <= 2 * TRAILER_BYTES_MAX + more.min(input.len()));
                arrived = arrived.saturating_add(more).min(input.len());
            }
        }
    }
}

pub fn aws_chunked_bodies() -> Vec<Vec<u8>> {
    let trailer = [("x-amz-checksum-crc32", "DUoRhQ==")];
    let with_choice = |variant: u8, body: Vec<u8>| [vec![variant, 5], body].concat();
    vec![
        with_choice(0, encode(&[b"hello"], None, None)),
        with_choice(0, encode(&[b"he", b"llo"], None, None)),
        with_choice(4, encode(&[b"he", b"llo"], None, None)),
        with_choice(4, encode(&[b"hel", b"lo"], None, None)),
        with_choice(1, encode(&[b"hello"], None, Some(&trailer))),
        with_choice(
            1,
            b"5;chunk-signature=00\r\nhello\r\n0;x\r\nx-amz-checksum-crc32 : DUoRhQ==\n\n".to_vec(),
        ),
    ]
}

/// FZ-03: what was declared is what comes out, or an error; the same in any pieces.
pub fn aws_chunked(input: &[u8]) -> u64 {
    let (variant, rest) = choice(input);
    let (length, body) = choice(rest);
    let read = |most: usize| {
        let trailers = Trailers::default();
        let declared = (variant % 2 == 1).then(|| vec!["x-amz-checksum-crc32".to_owned()]);
        let frames = Frames {
            decoded_length: length as u64,
            chain: None,
            declared,
            trailers: trailers.clone(),
            unverified: variant % 4 == 3,
            chunk_bytes_min: if variant % 8 >= 4 { 3 } else { 0 },
        };
        let mut decoded = Vec::new();
        let ended = ChunkedReader::new(Pieces::new(body, most), frames).read_to_end(&mut decoded);
        assert!(decoded.len() <= length, "{} of {length} bytes", decoded.len());
        if ended.is_ok() {
            assert_eq!(decoded.len(), length, "a body that ended early was taken for whole");
        }
        let trailer = ended.is_ok().then(|| trailers.get("x-amz-checksum-crc32"));
        (ended.is_ok().then_some(decoded), trailer)
    };
    let whole = read(usize::MAX);
    assert_eq!(read(1), whole);
    assert_eq!(read(5), whole);
    outcome((whole.0.map(|decoded| decoded.len().min(16)), whole.1.map(|trailer| trailer.is_some())))
}

pub fn forms() -> Vec<Vec<u8>> {
    texts(&[
        "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b\r\nContent-Disposition: form-data; \
         name=\"file\"; filename=\"C:\\a\\b.txt\"\r\nContent-Type: text/plain\r\n\r\nbytes\r\n--b--\r\n",
        "preamble\r\n--b \r\ncontent-disposition:form-data;name=a\r\n\r\n\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"a\\\"b\"; name=c\r\n\r\n--bx\r\n--b\r\n",
    ])
}

/// FZ-07: fields and file do not depend on the pieces, and memory does not grow with the file.
pub fn form(input: &[u8]) -> u64 {
    let read = |most: usize| {
        let mut reader = FormReader::new(Pieces::new(input, most), "multipart/form-data; boundary=b").ok()?;
        let fields = reader.fields().ok()?;
        let mut file = Vec::new();
        let ended = reader.read_to_end(&mut file).is_ok();
        assert!(file.len() <= input.len());
        Some((fields, ended.then_some(file)))
    };
    let whole = read(usize::MAX);
    assert_eq!(read(1), whole);
    assert_eq!(read(29), whole);
    outcome(
        whole.map(|(fields, file)| (fields.fields.len().min(8), fields.file_name.is_some(), file.is_some())),
    )
}
