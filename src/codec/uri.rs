//! Percent-coding and query strings.

use std::fmt::Write as _;

/// Decodes percent-escapes once. `+` stays a plus. `None` for a broken escape or bytes that are not
/// UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let high = (*tail.first()? as char).to_digit(16)?;
        let low = (*tail.get(1)? as char).to_digit(16)?;
        bytes.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Encodes everything but the unreserved characters of RFC 3986 section 2.3.
pub fn encode(text: &str) -> String {
    encode_except(text, b"")
}

/// Like [`encode`], and keeps `/`: the form of paths in canonical requests and of keys in listings.
pub fn encode_path(text: &str) -> String {
    encode_except(text, b"/")
}

fn encode_except(text: &str, kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Query parameters in order of arrival, decoded (`+` is a space, as in HTML forms).
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(String, Option<String>)>,
}

impl Query {
    /// Splits and decodes a raw query. `None` for a broken escape.
    pub fn parse(raw: &str) -> Option<Query> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (pair, None),
            };
            let value = match value {
                Some(value) => Some(decode_form(value)?),
                None => None,
            };
            pairs.push((decode_form(name)?, value));
        }
        Some(Query { pairs })
    }

    /// Whether the parameter is present, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(n, _)| n == name)
    }

    /// The first value of a parameter; a parameter without `=` has the empty value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_deref().unwrap_or(""))
    }

    /// All parameters; the value is `None` where there was no `=`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

fn decode_form(text: &str) -> Option<String> {
    if text.contains('+') { decode(&text.replace('+', " ")) } else { decode(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_done_once_and_broken_escapes_are_refused() {
        assert_eq!(decode("a%2520b+c").as_deref(), Some("a%20b+c"));
        for broken in ["%", "%2", "%zz", "%ff", "%c0%ae", "%ed%a0%80", "%+1"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn encoding_keeps_only_unreserved_characters() {
        assert_eq!(encode("a/b ~é"), "a%2Fb%20~%C3%A9");
        assert_eq!(encode_path("a/b+c"), "a/b%2Bc");
    }

    #[test]
    fn a_query_keeps_order_and_tells_absent_from_empty() {
        let query = Query::parse("acl&prefix=a+b%2F&x=").expect("well-formed");
        assert!(query.has("acl"));
        assert_eq!(query.get("acl"), Some(""));
        assert_eq!(query.get("prefix"), Some("a b/"));
        assert_eq!(query.get("y"), None);
        assert_eq!(query.iter().next(), Some(("acl", None)));
        assert!(Query::parse("a=%zz").is_none());
    }
}
