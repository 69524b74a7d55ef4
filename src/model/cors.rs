//! Which foreign pages may use a bucket: the rules of a CORS configuration, and how they match.
//!
//! Source: S3 user guide, "Elements of a CORS configuration"; the Fetch standard, "CORS protocol".

use serde::{Deserialize, Serialize};

/// The CORS configuration of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsConfiguration {
    /// The rules; the first that matches decides.
    pub rules: Vec<CorsRule>,
}

/// One rule. No text in it has a control character, so all of it can stand in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    /// The client's name for the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Origins, each with at most one `*`.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Request headers, each with at most one `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Response headers that a page may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// How long a browser may remember the answer to a preflight, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<i64>,
}

impl CorsConfiguration {
    /// The first rule that allows a request; `headers` are the names that a preflight asks for.
    pub fn find(&self, origin: &str, method: &str, headers: &[&str]) -> Option<&CorsRule> {
        self.rules.iter().find(|rule| rule.allows(origin, method, headers))
    }
}

impl CorsRule {
    fn allows(&self, origin: &str, method: &str, headers: &[&str]) -> bool {
        self.methods.iter().any(|allowed| allowed == method)
            && self.origins.iter().any(|pattern| matches(pattern, origin))
            && headers.iter().all(|name| self.allows_header(name))
    }

    fn allows_header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.headers.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &name))
    }

    /// Whether the rule is for everybody, without cookies.
    pub fn is_for_any_origin(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }
}

/// Matches a pattern with at most one `*`, which stands for any text, none included.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stands_for_any_text() {
        let cases = [
            ("*", "null", true),
            ("*", "", true),
            ("http://a", "http://a", true),
            ("http://a", "http://A", false),
            ("*suffix", "foo.suffix", true),
            ("*suffix", "suffix.", false),
            ("start*end", "startend", true),
            ("start*end", "start12end", true),
            ("start*end", "0start12end", false),
            ("aba*aba", "aba", false),
            ("aba*aba", "ababa", false),
            ("prefix*", "prefix", true),
            ("http://*.example.com", "http://example.com", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_without_headers_allows_none() {
        let mut rule = CorsRule {
            origins: vec!["*".to_owned()],
            methods: vec!["GET".to_owned()],
            ..CorsRule::default()
        };
        assert!(rule.allows("o", "GET", &[]));
        assert!(!rule.allows("o", "HEAD", &[]));
        assert!(!rule.allows("o", "GET", &["x-a"]));
        rule.headers = vec!["X-Amz-*".to_owned()];
        assert!(rule.allows("o", "GET", &["x-amz-meta-a", "X-AMZ-DATE"]));
        assert!(!rule.allows("o", "GET", &["x-amz-meta-a", "content-type"]));
    }
}
