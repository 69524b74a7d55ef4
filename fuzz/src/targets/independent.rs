//! Signature Version 4 once more, from its description alone, so that the server's own text of a request is
//! compared with another one. Slow, and for requests whose escapes are whole.

use s3pail::auth::Head;
use s3pail::auth::keys::sha256;
use s3pail::codec::hex;
use std::collections::BTreeMap;

const BLOCK_BYTES: usize = 64;

/// HMAC-SHA256 as RFC 2104 has it.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&sha256(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
    let inner = sha256(&[padded(0x36), text.to_vec()].concat());
    sha256(&[padded(0x5c), inner.to_vec()].concat())
}

fn encoded(bytes: impl IntoIterator<Item = u8>) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.into_iter().map(one).collect()
}

/// `None` when an escape is not whole.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(&piece.as_bytes()[2..]);
    }
    Some(bytes)
}

/// Each segment by itself, so that an escaped slash stays escaped.
fn path(raw: &str) -> Option<String> {
    let segments: Option<Vec<String>> =
        raw.split('/').map(|segment| unescaped(segment).map(encoded)).collect();
    Some(segments?.join("/"))
}

fn query(raw: &str) -> Option<String> {
    let mut pairs = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let part = |text: &str| unescaped(&text.replace('+', " ")).map(encoded);
        pairs.push((part(name)?, part(value)?));
    }
    pairs.sort();
    Some(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

/// The signature over all fields of `head`, at a time such as `20231114T221320Z`; `None` for a request that
/// this does not understand.
pub fn signature(head: &Head<'_>, time: &str, secret: &str, region: &str, payload: &str) -> Option<String> {
    let mut fields: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in head.headers.iter() {
        let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
        fields.entry(name).or_default().push(words.join(" "));
    }
    let lines: String =
        fields.iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect();
    let names = fields.keys().copied().collect::<Vec<_>>().join(";");
    let method = head.method.as_str();
    let request =
        format!("{method}\n{}\n{}\n{lines}\n{names}\n{payload}", path(head.path)?, query(head.query)?);
    let scope = format!("{}/{region}/s3/aws4_request", &time[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&sha256(request.as_bytes())));
    let mut key = format!("AWS4{secret}").into_bytes();
    for step in [&time[..8], region, "s3", "aws4_request"] {
        key = hmac(&key, step.as_bytes()).to_vec();
    }
    Some(hex(&hmac(&key, text.as_bytes())))
}
