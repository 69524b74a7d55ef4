//! Canonical requests: the text that a Signature Version 4 signature is over. The verifier and the
//! signer share it, so the two can only be wrong together; published vectors guard against that.

use super::Head;
use std::borrow::Cow;

/// A query parameter, decoded once (`+` is a space, as routing reads it). A broken escape is kept as it
/// stands: the signature is still over what was sent, and routing refuses the request.
pub struct Pair<'q> {
    /// The name.
    pub name: Cow<'q, [u8]>,
    /// The value; `None` where there was no `=`.
    pub value: Option<Cow<'q, [u8]>>,
}

impl Pair<'_> {
    fn value(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    /// The value as text; `None` when it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.value()).ok()
    }
}

/// Splits and decodes a raw query, keeping the order.
pub fn pairs(raw: &str) -> Vec<Pair<'_>> {
    let split = raw.split('&').filter(|pair| !pair.is_empty());
    split
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => Pair { name: decode(name), value: Some(decode(value)) },
            None => Pair { name: decode(pair), value: None },
        })
        .collect()
}

fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = if first == b'%' { escape(tail) } else { None };
        decoded.push(escaped.unwrap_or(if first == b'+' { b' ' } else { first }));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Cow::Owned(decoded)
}

/// The byte that the two hexadecimal digits after a `%` stand for.
fn escape(tail: &[u8]) -> Option<u8> {
    let high = (*tail.first()? as char).to_digit(16)?;
    let low = (*tail.get(1)? as char).to_digit(16)?;
    Some((high * 16 + low) as u8)
}

const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn push_encoded(byte: u8, out: &mut String) {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        out.push(byte as char);
    } else {
        out.push('%');
        out.push(HEX_UPPER[usize::from(byte >> 4)] as char);
        out.push(HEX_UPPER[usize::from(byte & 15)] as char);
    }
}

/// Which text of the path is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// Decoded once and encoded again: what SDKs sign.
    Normal,
    /// As it stands in the request line: what clients sign that encode less, or in lower case.
    AsSent,
}

/// Writes the canonical URI. An escaped slash stays escaped: `/a%2Fb` and `/a/b` are different
/// requests, and dot segments and repeated slashes mean themselves in S3.
pub fn push_path(raw: &str, form: PathForm, out: &mut String) {
    if form == PathForm::AsSent {
        out.push_str(raw);
        return;
    }
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = if first == b'%' { escape(tail) } else { None };
        match (first, escaped) {
            (b'/', _) => out.push('/'),
            (_, Some(byte)) => push_encoded(byte, out),
            (_, None) => push_encoded(first, out),
        }
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
}

/// The canonical query: names and values encoded, sorted by name and then value, without the signature.
pub fn query(pairs: &[Pair<'_>]) -> String {
    let mut encoded = String::with_capacity(64);
    let mut ranges = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().filter(|pair| pair.name.as_ref() != b"X-Amz-Signature") {
        let start = encoded.len();
        pair.name.iter().for_each(|byte| push_encoded(*byte, &mut encoded));
        let middle = encoded.len();
        pair.value().iter().for_each(|byte| push_encoded(*byte, &mut encoded));
        ranges.push((start..middle, middle..encoded.len()));
    }
    ranges.sort_by(|(name_a, value_a), (name_b, value_b)| {
        let text = |range: &std::ops::Range<usize>| &encoded[range.clone()];
        (text(name_a), text(value_a)).cmp(&(text(name_b), text(value_b)))
    });
    let mut sorted = String::with_capacity(encoded.len() + 2 * ranges.len());
    for (name, value) in ranges {
        if !sorted.is_empty() {
            sorted.push('&');
        }
        sorted.push_str(&encoded[name]);
        sorted.push('=');
        sorted.push_str(&encoded[value]);
    }
    sorted
}

/// What a canonical request is made of besides its path.
pub struct Canonical<'r> {
    /// Method, path and header fields.
    pub head: &'r Head<'r>,
    /// The canonical query, see [`query`].
    pub query: &'r str,
    /// The names of `SignedHeaders`, joined by `;`.
    pub signed_headers: &'r str,
    /// The last line: a hash in hexadecimal, or a word such as `UNSIGNED-PAYLOAD`.
    pub payload: &'r str,
    /// What an absent `content-length` is taken for: the length of the body in bytes.
    pub length: Option<u64>,
    /// The parameters of a presigned URL, which may hold the value of a signed `x-amz-*` field that the
    /// request leaves out: the SDK for JavaScript v2 writes such URLs, and S3 accepts them.
    pub hoisted: &'r [Pair<'r>],
}

impl Canonical<'_> {
    /// Writes the canonical request over what `out` held. False when `SignedHeaders` is not in strictly
    /// ascending lower case or names a field that the request does not have: no signature can be right
    /// then.
    pub fn write(&self, path: PathForm, out: &mut String) -> bool {
        out.clear();
        out.push_str(self.head.method.as_str());
        out.push('\n');
        push_path(self.head.path, path, out);
        out.push('\n');
        out.push_str(self.query);
        out.push('\n');
        let mut sound = true;
        let mut previous = "";
        for name in self.signed_headers.split(';') {
            sound &= name > previous && !name.bytes().any(|byte| byte.is_ascii_uppercase());
            sound &= self.push_field(name, out);
            previous = name;
        }
        out.push('\n');
        out.push_str(self.signed_headers);
        out.push('\n');
        out.push_str(self.payload);
        sound
    }

    /// Writes `name:value` and a line end; fields of one name are joined by commas.
    fn push_field(&self, name: &str, out: &mut String) -> bool {
        out.push_str(name);
        out.push(':');
        let mut found = false;
        for value in self.head.headers.get_all(name) {
            if found {
                out.push(',');
            }
            push_collapsed(value, out);
            found = true;
        }
        if !found {
            found = self.push_absent(name, out);
        }
        out.push('\n');
        found
    }

    fn hoisted_value(&self, name: &str) -> Option<&str> {
        let mut named = self.hoisted.iter().filter(|pair| pair.name.as_ref() == name.as_bytes());
        named.next().filter(|_| name.starts_with("x-amz-")).and_then(Pair::text)
    }

    /// Fields that proxies and HTTP libraries take out of a request after it has been signed.
    fn push_absent(&self, name: &str, out: &mut String) -> bool {
        match (name, self.length) {
            ("expect", _) => out.push_str("100-continue"),
            ("content-length", Some(0)) => out.push('0'),
            _ => match self.hoisted_value(name) {
                Some(value) => push_collapsed(value, out),
                None => return false,
            },
        }
        true
    }
}

/// Writes a value without surrounding spaces and with each inner run of spaces as one.
fn push_collapsed(value: &str, out: &mut String) {
    let value = value.trim_matches([' ', '\t']);
    if !value.contains("  ") {
        out.push_str(value);
        return;
    }
    let mut after_space = false;
    for c in value.chars() {
        if c != ' ' || !after_space {
            out.push(c);
        }
        after_space = c == ' ';
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Headers, Method};

    /// BI-188: the signature is over what was sent; nothing is normalised but the encoding.
    #[test]
    fn a_canonical_path_is_encoded_once_and_keeps_its_segments() {
        for (raw, expected) in [
            ("/", "/"),
            ("/test$file.text", "/test%24file.text"),
            ("/test%24file.text", "/test%24file.text"),
            ("/a/../b", "/a/../b"),
            ("//a//", "//a//"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2520b", "/a%2520b"),
            ("/a+b", "/a%2Bb"),
            ("/fran%c3%a7ais", "/fran%C3%A7ais"),
            ("/français", "/fran%C3%A7ais"),
            ("/%ff", "/%FF"),
            ("/100%", "/100%25"),
            ("/%7e", "/~"),
        ] {
            let mut out = String::new();
            push_path(raw, PathForm::Normal, &mut out);
            assert_eq!(out, expected, "{raw}");
            out.clear();
            push_path(raw, PathForm::AsSent, &mut out);
            assert_eq!(out, raw);
        }
    }

    #[test]
    fn a_canonical_query_is_sorted_by_encoded_name_and_then_value() {
        for (raw, expected) in [
            ("", ""),
            ("lifecycle", "lifecycle="),
            ("prefix=J&max-keys=2", "max-keys=2&prefix=J"),
            ("b=2&b=10&a", "a=&b=10&b=2"),
            ("a=1&a-b=2", "a=1&a-b=2"),
            ("k=a+b", "k=a%20b"),
            ("k=a%2Bb", "k=a%2Bb"),
            ("k=a%2fb/c", "k=a%2Fb%2Fc"),
            ("z=1&%C3%BC=2", "%C3%BC=2&z=1"),
            ("&&a=b=c&", "a=b%3Dc"),
            ("a=%zz", "a=%25zz"),
            ("X-Amz-Signature=0&a=1", "a=1"),
        ] {
            assert_eq!(query(&pairs(raw)), expected, "{raw}");
        }
    }

    #[test]
    fn header_values_are_trimmed_collapsed_and_joined() {
        let mut headers = Headers::new();
        headers.push("Host", "h");
        headers.push("X-Amz-Meta-A", "  one   two \t three ");
        headers.push("X-Amz-Meta-B", "1");
        headers.push("X-Amz-Meta-B", "2");
        let head = Head { method: Method::Get, path: "/", query: "", headers: &headers };
        let mut canonical = Canonical {
            head: &head,
            query: "",
            signed_headers: "host;x-amz-meta-a;x-amz-meta-b",
            payload: "P",
            length: Some(0),
            hoisted: &[],
        };
        let mut out = String::new();
        assert!(canonical.write(PathForm::Normal, &mut out));
        let expected = "GET\n/\n\nhost:h\nx-amz-meta-a:one two \t three\nx-amz-meta-b:1,2\n\n\
                        host;x-amz-meta-a;x-amz-meta-b\nP";
        assert_eq!(out, expected);

        for (signed, sound) in [
            ("content-length;expect;host", true),
            ("host;range", false),
            ("x-amz-meta-a;host", false),
            ("host;host", false),
            ("Host", false),
            ("", false),
            ("host;", false),
        ] {
            canonical.signed_headers = signed;
            assert_eq!(canonical.write(PathForm::Normal, &mut out), sound, "{signed} (BI-178)");
        }
        canonical.length = Some(3);
        canonical.signed_headers = "content-length";
        assert!(!canonical.write(PathForm::Normal, &mut out));
    }
}
