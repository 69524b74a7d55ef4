//! What a bucket does as a website: its documents, its redirects, and which redirect a request meets.
//!
//! Source: S3 user guide, "Hosting a static website using Amazon S3" and "Configuring a webpage
//! redirect".

use crate::codec::uri;
use serde::{Deserialize, Serialize};

/// The website configuration of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebsiteConfiguration {
    /// Redirect every request; then nothing else is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_all: Option<RedirectAll>,
    /// What is appended to a key that is empty or ends with a slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_suffix: Option<String>,
    /// The key of the page for errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_key: Option<String>,
    /// Redirects; the first that matches decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RoutingRule>,
}

/// Where every request is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectAll {
    /// The host.
    pub host: String,
    /// `http` or `https`; that of the request when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

/// A redirect with its conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingRule {
    /// The beginning of the keys that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The status of the error that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u16>,
    /// `http` or `https`; that of the request when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The host; that of the request when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the whole key becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_key: Option<String>,
    /// What the prefix becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<String>,
    /// The status of the redirect; 301 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// What of a request a redirect keeps.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'r> {
    /// `http` or `https`.
    pub scheme: &'r str,
    /// The host with its port.
    pub host: &'r str,
    /// `/bucket/`, or `/` where the host names the bucket.
    pub root: &'r str,
}

impl WebsiteConfiguration {
    /// The first rule for a key. `error` is the status that the request came to, or `None` before
    /// anything was tried.
    pub fn find_rule(&self, key: &str, error: Option<u16>) -> Option<&RoutingRule> {
        self.rules.iter().find(|rule| {
            rule.error == error && rule.prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_str()))
        })
    }
}

impl RedirectAll {
    /// Where a request for `key` is sent.
    pub fn location(&self, origin: Origin<'_>, key: &str) -> String {
        let scheme = self.protocol.as_deref().unwrap_or(origin.scheme);
        format!("{scheme}://{}/{}", self.host, uri::encode_path(key))
    }
}

impl RoutingRule {
    /// Where a request for `key` is sent.
    pub fn location(&self, origin: Origin<'_>, key: &str) -> String {
        let scheme = self.protocol.as_deref().unwrap_or(origin.scheme);
        let (host, root) = match &self.host {
            Some(host) => (host.as_str(), "/"),
            None => (origin.host, origin.root),
        };
        format!("{scheme}://{host}{root}{}", uri::encode_path(&self.new_key(key)))
    }

    fn new_key(&self, key: &str) -> String {
        let prefix = self.prefix.as_deref().unwrap_or("");
        match (&self.replace_key, &self.replace_prefix) {
            (Some(whole), _) => whole.clone(),
            (None, Some(start)) => format!("{start}{}", key.strip_prefix(prefix).unwrap_or(key)),
            (None, None) => key.to_owned(),
        }
    }

    /// The status of the redirect.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(301)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_changes_what_it_names_and_keeps_the_rest() {
        let origin = Origin { scheme: "http", host: "b.site:80", root: "/" };
        let some = |text: &str| Some(text.to_owned());
        let base = RoutingRule { prefix: some("docs/"), ..RoutingRule::default() };
        let cases = [
            (base.clone(), "http://b.site:80/docs/a%20b"),
            (RoutingRule { replace_prefix: some("doc/"), ..base.clone() }, "http://b.site:80/doc/a%20b"),
            (RoutingRule { replace_prefix: some(""), ..base.clone() }, "http://b.site:80/a%20b"),
            (RoutingRule { replace_key: some("x\r\ny"), ..base.clone() }, "http://b.site:80/x%0D%0Ay"),
            (RoutingRule { host: some("h"), protocol: some("https"), ..base }, "https://h/docs/a%20b"),
            (
                RoutingRule { replace_prefix: some("p/"), ..RoutingRule::default() },
                "http://b.site:80/p/docs/a%20b",
            ),
        ];
        for (rule, expected) in cases {
            assert_eq!(rule.location(origin, "docs/a b"), expected, "{rule:?}");
        }
        let all = RedirectAll { host: "h".to_owned(), protocol: None };
        assert_eq!(all.location(Origin { root: "/b/", ..origin }, "k"), "http://h/k");
    }

    #[test]
    fn rules_are_found_by_prefix_and_error() {
        let some = |text: &str| Some(text.to_owned());
        let rule = |prefix, error, host| RoutingRule { prefix, error, host, ..RoutingRule::default() };
        let website = WebsiteConfiguration {
            rules: vec![
                rule(some("a/"), Some(404), some("1")),
                rule(None, Some(404), some("2")),
                rule(some("a/"), None, some("3")),
            ],
            ..WebsiteConfiguration::default()
        };
        for (key, error, host) in [
            ("a/x", Some(404), Some("1")),
            ("b", Some(404), Some("2")),
            ("a/x", None, Some("3")),
            ("b", None, None),
            ("a/x", Some(403), None),
        ] {
            let found = website.find_rule(key, error).and_then(|rule| rule.host.as_deref());
            assert_eq!(found, host, "{key} {error:?}");
        }
    }
}
