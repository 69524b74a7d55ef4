//! What a log may show of a request: everything but secrets.
//!
//! One list says which header fields and query parameters are secrets; whatever writes a log passes
//! headers and queries through here. Presigned requests may carry any `x-amz-*` header as a parameter, and
//! names may be percent-encoded or in any case, so both kinds of names are judged alike, decoded and in
//! lower case.

use crate::codec::uri;
use crate::http::Headers;
use std::borrow::Cow;

/// What stands for a secret.
pub const HIDDEN: &str = "...";

/// A field or parameter whose name contains one of these is a secret: signatures (a presigned one may
/// still open the door), tokens, keys of SSE-C with their digests, passwords of proxies.
const SECRET_NAMES: [&str; 9] = [
    "authorization",
    "cookie",
    "customer-key",
    "password",
    "report-token",
    "secret",
    "security-token",
    "session-token",
    "signature",
];

/// Whether the value of this field or (decoded) parameter is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// A query as it was sent, without its secrets. A name that cannot be decoded hides its value, too.
pub fn query(raw: &str) -> Cow<'_, str> {
    let hides = |parameter: &str| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        parameter.contains('=') && uri::decode(name).is_none_or(|name| is_secret(&name))
    };
    if !raw.split('&').any(hides) {
        return Cow::Borrowed(raw);
    }
    let shown = |parameter| match hides(parameter) {
        true => format!("{}={HIDDEN}", parameter.split_once('=').map_or(parameter, |(name, _)| name)),
        false => parameter.to_owned(),
    };
    Cow::Owned(raw.split('&').map(shown).collect::<Vec<_>>().join("&"))
}

/// A value that may be a URL (`Referer`), without the secrets of its query.
pub fn url(value: &str) -> Cow<'_, str> {
    match value.split_once('?') {
        None => Cow::Borrowed(value),
        Some((before, after)) => match query(after) {
            Cow::Borrowed(_) => Cow::Borrowed(value),
            Cow::Owned(after) => Cow::Owned(format!("{before}?{after}")),
        },
    }
}

/// All header fields, a line each, without their secrets.
pub fn headers(headers: &Headers) -> String {
    let mut text = String::new();
    for (name, value) in headers.iter() {
        let shown = if is_secret(name) { Cow::Borrowed(HIDDEN) } else { url(value) };
        text.extend([name, ": ", &shown, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_however_their_names_are_spelled() {
        for (raw, shown) in [
            ("", ""),
            ("a=b&signature", "a=b&signature"),
            ("X-Amz-Signature=f00&x=1", "X-Amz-Signature=...&x=1"),
            ("AWSAccessKeyId=A&Signature=f00%3D&Expires=1", "AWSAccessKeyId=A&Signature=...&Expires=1"),
            ("x-amz-signatur%65=f00", "x-amz-signatur%65=..."),
            ("X-Amz-Security-Token=t", "X-Amz-Security-Token=..."),
            ("x-amz-server-side-encryption-customer-key=k", "x-amz-server-side-encryption-customer-key=..."),
            ("%zz=f00&Signature=a=b", "%zz=...&Signature=..."),
            (
                "X-Amz-SignedHeaders=host&continuation-token=x",
                "X-Amz-SignedHeaders=host&continuation-token=x",
            ),
        ] {
            assert_eq!(query(raw), shown);
        }
    }

    #[test]
    fn headers_show_all_names_and_no_secret() {
        let mut fields = Headers::new();
        for (name, value) in [
            ("Host", "h"),
            ("Authorization", "AWS4-HMAC-SHA256 Signature=f00"),
            ("X-Amz-Security-Token", "t0k"),
            ("x-amz-copy-source-server-side-encryption-customer-key", "k3y"),
            ("Referer", "http://h/b/k?X-Amz-Signature=f00&a=b"),
        ] {
            fields.push(name, value);
        }
        assert_eq!(
            headers(&fields),
            "host: h\nauthorization: ...\nx-amz-security-token: ...\n\
             x-amz-copy-source-server-side-encryption-customer-key: ...\n\
             referer: http://h/b/k?X-Amz-Signature=...&a=b\n"
        );
    }
}
