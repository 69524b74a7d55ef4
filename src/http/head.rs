//! Request heads: from bytes to a checked [`Head`], or to the [`Refusal`] that they deserve.
//!
//! Two steps. [`HeadScan`] looks for the end of the head while it arrives, visits each byte once and
//! holds the limits, so that nothing is parsed twice and nothing grows. [`parse`] then reads the
//! complete head, stricter than RFC 9112 allows: whatever two parsers could read differently is
//! refused, because a proxy in front might have read it the other way.

use std::net::Ipv6Addr;
use std::str;

use super::framing::Framing;
use super::limits::{HOST_BYTES_MAX, LEADING_EMPTY_LINES_MAX, Limits, METHOD_BYTES_MAX};
use super::{Headers, Method, Refusal};

/// Room for the fields of one head. [`Limits::headers_max`] can lower the limit, not raise it.
const FIELDS_MAX: usize = 128;

/// A checked request head.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path as sent.
    pub path: String,
    /// The query as sent, without `?`.
    pub query: String,
    /// All fields.
    pub headers: Headers,
    /// Whether the request is of HTTP/1.0.
    pub http_1_0: bool,
    /// Whether the client can use the connection again.
    pub keep_alive: bool,
    /// How long the body is.
    pub framing: Framing,
    /// Whether the client waits for `100 Continue`.
    pub expects_continue: bool,
}

/// Finds the end of a head that arrives in pieces.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// Bytes that were looked at.
    position: usize,
    /// Where the current line starts.
    line_start: usize,
    /// Where the header lines start.
    headers_start: usize,
    /// Complete lines that are not empty.
    lines: usize,
    /// Empty lines before the request line.
    leading: usize,
}

impl HeadScan {
    /// Looks at what has arrived, of which the beginning was looked at before. `Some` is where the head
    /// ends.
    pub fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        loop {
            let Some(offset) = bytes[self.position..].iter().position(|byte| *byte == b'\n') else {
                self.check_line(&bytes[self.line_start..], bytes.len() - self.position, limits)?;
                self.position = bytes.len();
                return Ok(None);
            };
            let end = self.position + offset;
            let line = &bytes[self.line_start..end];
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Refusal::BadRequest("A line ends without a carriage return."));
            };
            self.check_line(line, offset, limits)?;
            self.position = end + 1;
            self.line_start = end + 1;
            if !line.is_empty() {
                self.count_line(limits)?;
            } else if self.lines > 0 {
                return Ok(Some(self.position));
            } else {
                self.leading += 1;
                if self.leading > LEADING_EMPTY_LINES_MAX {
                    return Err(Refusal::BadRequest("Empty lines stand before the request line."));
                }
            }
        }
    }

    /// Whether nothing but empty lines before a request has been seen, so that those bytes may go.
    pub fn only_leading(&self) -> bool {
        self.lines == 0 && self.line_start == self.position
    }

    /// Forgets the positions, because the bytes before them were dropped, but not the empty lines.
    pub fn rewind(&mut self) {
        *self = HeadScan { leading: self.leading, ..HeadScan::default() };
    }

    fn count_line(&mut self, limits: &Limits) -> Result<(), Refusal> {
        self.lines += 1;
        if self.lines == 1 {
            self.headers_start = self.position;
        }
        if self.lines > limits.headers_max.min(FIELDS_MAX) + 1 {
            return Err(Refusal::HeadersTooLarge);
        }
        Ok(())
    }

    /// Checks a line that may still grow; only its last `fresh` bytes are new.
    fn check_line(&self, line: &[u8], fresh: usize, limits: &Limits) -> Result<(), Refusal> {
        if self.lines > 0 {
            let all = self.line_start - self.headers_start + line.len();
            let within = line.len() <= limits.header_line_bytes_max && all <= limits.headers_bytes_max;
            return if within { Ok(()) } else { Err(Refusal::HeadersTooLarge) };
        }
        if line.len() > limits.request_line_bytes_max {
            return Err(Refusal::RequestLineTooLong);
        }
        // A TLS hello or other noise is refused at its first bytes, not at the head deadline.
        let fresh = &line[line.len().saturating_sub(fresh)..];
        let text = fresh.strip_suffix(b"\r").unwrap_or(fresh);
        if text.iter().any(|byte| !(b' '..=b'~').contains(byte)) {
            return Err(Refusal::BadRequest("The request line has a character that is not allowed."));
        }
        Ok(())
    }
}

/// Reads a complete head, from the first byte (or the empty lines before it) to the empty line.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Head, Refusal> {
    let mut bytes = bytes;
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Refusal::BadRequest("No request line."))?;
    let line = RequestLine::parse(bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]))?;
    let headers = parse_fields(&bytes[end + 1..], limits)?;
    let (path, query) = split_target(&line, &headers)?;
    let framing = parse_framing(&headers, line.http_1_0)?;
    Ok(Head {
        method: Method::parse(line.method),
        path: path.to_owned(),
        query: query.to_owned(),
        http_1_0: line.http_1_0,
        keep_alive: wants_keep_alive(&headers, line.http_1_0),
        expects_continue: expects_continue(&headers, line.http_1_0),
        framing,
        headers,
    })
}

struct RequestLine<'a> {
    method: &'a str,
    target: &'a str,
    http_1_0: bool,
}

impl<'a> RequestLine<'a> {
    /// Splits at single spaces (RFC 9112 section 3); other white space is not taken for one.
    fn parse(line: &'a [u8]) -> Result<RequestLine<'a>, Refusal> {
        const MALFORMED: Refusal = Refusal::BadRequest("The request line is malformed.");
        let line = str::from_utf8(line).map_err(|_| MALFORMED)?;
        if line.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Err(MALFORMED);
        }
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MALFORMED);
        };
        let is_method = (1..=METHOD_BYTES_MAX).contains(&method.len()) && method.bytes().all(is_token);
        if !is_method || target.is_empty() {
            return Err(MALFORMED);
        }
        Ok(RequestLine { method, target, http_1_0: parse_version(version)? })
    }
}

/// The characters of names (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the version is 1.0. Another major version is unsupported, anything else malformed.
fn parse_version(version: &str) -> Result<bool, Refusal> {
    match version.as_bytes() {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() && *major != b'1' =>
        {
            Err(Refusal::VersionNotSupported)
        }
        _ => Err(Refusal::BadRequest("The protocol version is malformed.")),
    }
}

/// Reads the header lines. Names are tokens, values printable UTF-8 without control characters.
fn parse_fields(bytes: &[u8], limits: &Limits) -> Result<Headers, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let fields = match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadersTooLarge),
        Ok(httparse::Status::Partial) | Err(_) => {
            return Err(Refusal::BadRequest("A header line is malformed."));
        }
    };
    if fields.len() > limits.headers_max {
        return Err(Refusal::HeadersTooLarge);
    }
    let mut headers = Headers::with_capacity(fields.len(), bytes.len());
    for field in fields {
        let value = str::from_utf8(field.value)
            .map_err(|_| Refusal::BadRequest("A header value is not valid UTF-8."))?;
        headers.push(field.name, value.trim_matches([' ', '\t']));
    }
    Ok(headers)
}

/// The path and the query, after a check of the target's form (RFC 9112 section 3.2) and of Host.
fn split_target<'a>(line: &RequestLine<'a>, headers: &Headers) -> Result<(&'a str, &'a str), Refusal> {
    let host = parse_host(headers, line.http_1_0)?;
    let target = line.target;
    if target.contains('#') {
        return Err(Refusal::BadRequest("The request target has a fragment."));
    }
    if target == "*" && line.method == "OPTIONS" {
        return Ok(("*", ""));
    }
    let origin = if target.starts_with('/') { target } else { strip_authority(target, host)? };
    match origin.split_once('?') {
        Some(("", query)) => Ok(("/", query)),
        Some((path, query)) => Ok((path, query)),
        None if origin.is_empty() => Ok(("/", "")),
        None => Ok((origin, "")),
    }
}

/// The part of an absolute target after its authority, which must be the one that Host names: a mix of
/// both would let a proxy and this server see different buckets.
fn strip_authority<'a>(target: &'a str, host: Option<&str>) -> Result<&'a str, Refusal> {
    const MALFORMED: Refusal = Refusal::BadRequest("The request target is malformed.");
    let (scheme, rest) = target.split_once("://").ok_or(MALFORMED)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(MALFORMED);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(end);
    match host {
        Some(host) if host.eq_ignore_ascii_case(authority) => Ok(origin),
        None if is_host(authority) => Ok(origin),
        _ => Err(Refusal::BadRequest("The request target and Host name different hosts.")),
    }
}

/// The one Host value. HTTP/1.0 may do without (RFC 9112 section 3.2).
fn parse_host(headers: &Headers, http_1_0: bool) -> Result<Option<&str>, Refusal> {
    let mut hosts = headers.get_all("host");
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host) => Ok(Some(host)),
        (None, None) if http_1_0 => Ok(None),
        (Some(_), None) => Err(Refusal::BadRequest("The Host header is malformed.")),
        _ => Err(Refusal::BadRequest("A request must have exactly one Host header.")),
    }
}

/// Whether a value is a host name or address with an optional port. An IPv6 address may stand without
/// brackets, as some clients send it.
fn is_host(host: &str) -> bool {
    if host.is_empty() || host.len() > HOST_BYTES_MAX {
        return false;
    }
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match host.split_once(':') {
        None => is_name(host),
        Some((_, rest)) if rest.contains(':') => host.parse::<Ipv6Addr>().is_ok(),
        Some((name, port)) => is_name(name) && is_port(port),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Whether a text is labels of 1 to 63 letters, digits, hyphens and (in bucket names) underscores,
/// separated by dots; one dot may end it.
fn is_name(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    labels.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

/// The framing of the body (RFC 9112 section 6). Whatever could be read in two ways is refused.
fn parse_framing(headers: &Headers, http_1_0: bool) -> Result<Framing, Refusal> {
    let mut codings = headers.get_all("transfer-encoding");
    let mut lengths = headers.get_all("content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::length(0)),
        (None, Some(length)) => {
            if lengths.next().is_some() {
                return Err(Refusal::BadRequest("A request must not have two Content-Length headers."));
            }
            parse_length(length).map(Framing::length)
        }
        (Some(_), Some(_)) => {
            Err(Refusal::BadRequest("A request must not have both Content-Length and Transfer-Encoding."))
        }
        (Some(_), None) if http_1_0 || codings.next().is_some() => {
            Err(Refusal::BadRequest("Transfer-Encoding is not allowed here."))
        }
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::chunked()),
        (Some(coding), None) => Err(refuse_coding(coding)),
    }
}

/// Reads a Content-Length: decimal digits, below 2^63.
fn parse_length(text: &str) -> Result<u64, Refusal> {
    let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|length| digits && *length <= i64::MAX as u64)
        .ok_or(Refusal::BadRequest("The Content-Length header is malformed."))
}

/// A list of registered codings is understood and not supported; anything else is malformed.
fn refuse_coding(coding: &str) -> Refusal {
    const REGISTERED: &[&str] =
        &["chunked", "compress", "deflate", "gzip", "identity", "x-compress", "x-gzip"];
    let registered = |name: &str| REGISTERED.iter().any(|known| known.eq_ignore_ascii_case(name.trim()));
    if coding.split(',').all(registered) {
        Refusal::UnknownTransferCoding
    } else {
        Refusal::BadRequest("The Transfer-Encoding header is malformed.")
    }
}

/// `close` wins over `keep-alive`; other connection options are hop-by-hop names and have no say.
fn wants_keep_alive(headers: &Headers, http_1_0: bool) -> bool {
    let mut keep_alive = !http_1_0;
    for option in headers.get_all("connection").flat_map(|value| value.split(',')).map(str::trim) {
        if option.eq_ignore_ascii_case("close") {
            return false;
        }
        keep_alive |= option.eq_ignore_ascii_case("keep-alive");
    }
    keep_alive
}

/// An expectation that is not known may be ignored (RFC 9110 section 10.1.1), and S3 does. A client of
/// HTTP/1.0 cannot read an interim response.
fn expects_continue(headers: &Headers, http_1_0: bool) -> bool {
    !http_1_0 && headers.get_all("expect").any(|value| value.eq_ignore_ascii_case("100-continue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Head, Refusal> {
        let limits = Limits::default();
        let end = HeadScan::default().advance(text, &limits)?.expect("the head is complete");
        parse(&text[..end], &limits)
    }

    fn with_fields(fields: &str) -> Result<Head, Refusal> {
        read(format!("PUT /b/k HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes())
    }

    fn with_line(line: &str) -> Result<Head, Refusal> {
        read(format!("{line}\r\nHost: host:8000\r\n\r\n").as_bytes())
    }

    fn is_bad(result: Result<Head, Refusal>, text: &str) {
        assert!(matches!(result, Err(Refusal::BadRequest(_))), "{text:?}: {result:?}");
    }

    #[test]
    fn a_head_is_read_whole() {
        let head = read(b"\r\nGET /b/k%20?a=1?&b HTTP/1.1\r\nHOST: h\r\nX-A:\t v w \r\n\r\n").unwrap();
        assert_eq!((head.path.as_str(), head.query.as_str()), ("/b/k%20", "a=1?&b"));
        assert_eq!(head.headers.get("x-a"), Some("v w"));
        assert!(head.keep_alive && !head.http_1_0 && !head.expects_continue);
    }

    #[test]
    fn the_end_is_found_wherever_the_head_is_cut() {
        let text = b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\nrest";
        for cut in 0..text.len() - 4 {
            let mut scan = HeadScan::default();
            assert_eq!(scan.advance(&text[..cut], &Limits::default()), Ok(None), "{cut}");
            assert_eq!(scan.advance(text, &Limits::default()), Ok(Some(text.len() - 4)), "{cut}");
        }
    }

    #[test]
    fn malformed_request_lines_are_refused() {
        for line in [
            "GET /",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 x",
            "GET\t/ HTTP/1.1",
            "GET / HTTP/1.2",
            "GET / HTTP/1.1x",
            "GET / http/1.1",
            "GET / HTTP/11",
            "G(T / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET /#f HTTP/1.1",
            "GET * HTTP/1.1",
            "GET b/k HTTP/1.1",
            "CONNECT host:443 HTTP/1.1",
            "GET ftp://host:8000/ HTTP/1.1",
            "GET http://other/ HTTP/1.1",
            "GET http://u@host:8000/ HTTP/1.1",
            "GET /a\u{80} HTTP/1.1",
            "GET /a\0 HTTP/1.1",
            "GET /a\x7f HTTP/1.1",
        ] {
            is_bad(with_line(line), line);
        }
        is_bad(with_line(&format!("{} / HTTP/1.1", "M".repeat(METHOD_BYTES_MAX + 1))), "long method");
    }

    #[test]
    fn other_major_versions_are_named_as_such() {
        for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"] {
            let result = with_line(&format!("GET / {version}"));
            assert_eq!(result.err(), Some(Refusal::VersionNotSupported), "{version}");
        }
        assert_eq!(read(b"PRI * HTTP/2.0\r\n\r\n").err(), Some(Refusal::VersionNotSupported));
    }

    #[test]
    fn targets_have_three_forms() {
        for (line, path, query) in [
            ("GET http://HOST:8000/b/k?q HTTP/1.1", "/b/k", "q"),
            ("GET http://host:8000 HTTP/1.1", "/", ""),
            ("GET http://host:8000?q HTTP/1.1", "/", "q"),
            ("OPTIONS * HTTP/1.1", "*", ""),
            ("get //x?y?z HTTP/1.1", "//x", "y?z"),
        ] {
            let head = with_line(line).unwrap();
            assert_eq!((head.path.as_str(), head.query.as_str()), (path, query), "{line}");
        }
    }

    #[test]
    fn malformed_fields_are_refused() {
        for field in [
            "no colon\r\n",
            "a : b\r\n",
            "a\t: b\r\n",
            "a: b\r\n c\r\n",
            "a: b\r\n c: d\r\n",
            ": b\r\n",
            "a(: b\r\n",
            "a@: b\r\n",
            "a/: b\r\n",
            "a\0: b\r\n",
            "a\u{80}: b\r\n",
            "a: b\0\r\n",
            "a: b\rc\r\n",
            "a: b\nc: d\r\n",
            "a: \x0b\r\n",
            "a: \x7f\r\n",
            "Host: h\r\n",
            "Host: i\r\n",
        ] {
            is_bad(with_fields(field), field);
        }
        is_bad(read(b"GET / HTTP/1.1\r\n Host: h\r\n\r\n"), "white space before the first name");
        is_bad(read(b"GET / HTTP/1.1\r\n\r\n"), "no Host");
        is_bad(read(b"GET / HTTP/1.1\r\nHost: h\r\na: \xff\r\n\r\n"), "not UTF-8");
        assert!(with_fields("x-amz-meta-a: \u{e9}\u{1f600}\r\n").is_ok());
        assert!(read(b"GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn hosts_are_checked() {
        for host in ["h", "127.0.0.1:8000", "[::1]:8000", "[::1]", "::1", "b.s3.local.", "A_b.c:1"] {
            assert!(is_host(host), "{host}");
        }
        let long = format!("{}.h", "a".repeat(64));
        for host in
            ["", "h/p", "u@h", "a b", "a%00", "a..b", ".", "h:99999", "h:", "h:+1", "[::1", "[x]", &long]
        {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn a_length_is_digits_below_two_to_the_63() {
        for (text, length) in [("0", 0), ("5", 5), ("05", 5), ("9223372036854775807", i64::MAX as u64)] {
            let head = with_fields(&format!("Content-Length:  {text} \r\n")).unwrap();
            assert_eq!(head.framing, Framing::length(length), "{text}");
        }
        for text in [
            "abc",
            "",
            "0x10",
            "1e3",
            "5 5",
            "\u{663}",
            "-1",
            "+5",
            "5, 5",
            "5,6",
            "9223372036854775808",
            "18446744073709551616",
            "1111111111111111111111111111111111111111",
            "5\r\nContent-Length: 5",
            "5\r\nContent-Length: 6",
            "5\r\nTransfer-Encoding: chunked",
        ] {
            is_bad(with_fields(&format!("Content-Length: {text}\r\n")), text);
        }
    }

    #[test]
    fn chunked_is_the_only_coding() {
        assert_eq!(with_fields("Transfer-Encoding: ChUnKeD\r\n").unwrap().framing, Framing::chunked());
        for coding in ["gzip", "gzip, chunked", "identity", "chunked, chunked"] {
            let result = with_fields(&format!("Transfer-Encoding: {coding}\r\n"));
            assert_eq!(result.err(), Some(Refusal::UnknownTransferCoding), "{coding}");
        }
        for coding in [
            "xchunked",
            "\"chunked\"",
            "chunked\x0b",
            "\0chunked",
            "chunked;q=1",
            "",
            "chunked\r\nTransfer-Encoding: chunked",
        ] {
            is_bad(with_fields(&format!("Transfer-Encoding: {coding}\r\n")), coding);
        }
        is_bad(read(b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "1.0");
    }

    #[test]
    fn close_wins_over_keep_alive() {
        for (fields, keep_alive) in [
            ("", true),
            ("Connection: close, keep-alive\r\n", false),
            ("Connection: keep-alive\r\nConnection: CLOSE\r\n", false),
            ("Connection: Authorization\r\n", true),
        ] {
            assert_eq!(with_fields(fields).unwrap().keep_alive, keep_alive, "{fields}");
        }
        assert!(!read(b"GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(read(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().keep_alive);
    }

    #[test]
    fn only_one_expectation_is_known() {
        assert!(with_fields("Expect: 100-Continue\r\n").unwrap().expects_continue);
        assert!(!with_fields("Expect: 200-ok\r\n").unwrap().expects_continue);
        assert!(!with_fields("Expect:\r\n").unwrap().expects_continue);
    }

    #[test]
    fn limits_hold_at_the_limit_and_not_past_it() {
        let limits = Limits::default();
        let line = |bytes: usize| {
            let line = format!("GET /{}", "a".repeat(bytes - "GET / HTTP/1.1".len()));
            with_line(&format!("{line} HTTP/1.1")).err()
        };
        assert_eq!(line(limits.request_line_bytes_max), None);
        assert_eq!(line(limits.request_line_bytes_max + 1), Some(Refusal::RequestLineTooLong));

        let field = |bytes: usize| with_fields(&format!("a:{}\r\n", "b".repeat(bytes - 2))).err();
        assert_eq!(field(limits.header_line_bytes_max), None);
        assert_eq!(field(limits.header_line_bytes_max + 1), Some(Refusal::HeadersTooLarge));

        let count = |count: usize| with_fields(&"a:b\r\n".repeat(count - 1)).err();
        assert_eq!(count(limits.headers_max), None);
        assert_eq!(count(limits.headers_max + 1), Some(Refusal::HeadersTooLarge));

        // "Host: h" and three fields fill the section exactly.
        let all = |bytes: usize| {
            let rest = bytes - "Host: h\r\n".len() - 2 * (10_000 + 2) - 4;
            let ten = format!("a:{}\r\n", "b".repeat(10_000 - 2));
            with_fields(&format!("{ten}{ten}c:{}\r\n", "d".repeat(rest))).err()
        };
        assert_eq!(all(limits.headers_bytes_max), None);
        assert_eq!(all(limits.headers_bytes_max + 3), Some(Refusal::HeadersTooLarge));
    }

    #[test]
    fn noise_is_refused_before_the_head_is_complete() {
        let limits = Limits::default();
        for noise in [&b"\x16\x03\x01\x02"[..], b"GET / HTTP/1.1\n", b"\r\n\r\n\r\n", b"\x80"] {
            let result = HeadScan::default().advance(noise, &limits);
            assert!(matches!(result, Err(Refusal::BadRequest(_))), "{noise:?}");
        }
        let endless = vec![b'a'; limits.request_line_bytes_max + 1];
        assert_eq!(HeadScan::default().advance(&endless, &limits), Err(Refusal::RequestLineTooLong));
    }
}
