//! One value as the user wrote it, with where it was written: what every check starts from, and what
//! every complaint names.

use std::fmt;

use serde_json::Value;

/// The longest excerpt of a refused value that a complaint repeats, in characters.
const EXCERPT_CHARS_MAX: usize = 80;

/// Why the configuration cannot be used: one sentence for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// What the name of a file begins with that is part of the program.
pub const BUILT_IN: &str = "built-in ";

/// Where a value was written, weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file, the built-in ones included, under a dotted key.
    File {
        /// The path, as it was found.
        file: String,
        /// The key, its parts joined by dots.
        key: String,
    },
    /// In an environment variable.
    Variable(String),
    /// In a command-line flag.
    Flag(String),
}

impl Origin {
    /// The strength of this origin: of two values, the one with the higher rank counts.
    pub fn rank(&self) -> u8 {
        match self {
            Origin::File { .. } => 1,
            Origin::Variable(_) => 2,
            Origin::Flag(_) => 3,
        }
    }

    /// Whether this is a file that is part of the program, so that the user wrote nothing.
    pub fn is_built_in(&self) -> bool {
        matches!(self, Origin::File { file, .. } if file.starts_with(BUILT_IN))
    }

    /// Whether values from here are text to be read, rather than typed JSON.
    fn is_text(&self) -> bool {
        matches!(self, Origin::Variable(_) | Origin::Flag(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, key } if key.is_empty() => write!(f, "{file}"),
            Origin::File { file, key } => write!(f, "{file}: {key}"),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Text from flags and variables, anything from files.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
}

impl Given {
    /// The complaint about this value: place, value and what is allowed.
    pub fn refuse(&self, allowed: &str) -> ConfigError {
        ConfigError(format!("{}: {} is not allowed; allowed: {allowed}", self.origin, self.excerpt()))
    }

    /// The complaint about a value that must not be repeated on a terminal or in a log.
    pub fn refuse_secret(&self, allowed: &str) -> ConfigError {
        ConfigError(format!("{}: this value (not shown) is not allowed; allowed: {allowed}", self.origin))
    }

    fn excerpt(&self) -> String {
        let text = self.value.to_string();
        match text.char_indices().nth(EXCERPT_CHARS_MAX) {
            None => text,
            Some((cut, _)) => format!("{}...", &text[..cut]),
        }
    }

    /// A non-empty text.
    pub fn text(&self, allowed: &str) -> Result<&str, ConfigError> {
        self.value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| self.refuse(allowed))
    }

    /// One of a fixed set of words, compared exactly.
    pub fn choice(&self, choices: &'static [&'static str]) -> Result<&'static str, ConfigError> {
        let word = self.value.as_str();
        let found = choices.iter().find(|choice| Some(**choice) == word);
        found.copied().ok_or_else(|| self.refuse(&choices.join(", ")))
    }

    /// A whole number between two bounds, both included. Files must write a number, not a string.
    pub fn number(&self, min: u64, max: u64) -> Result<u64, ConfigError> {
        let number = match &self.value {
            Value::String(digits) if self.origin.is_text() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok()
            }
            value => value.as_u64(),
        };
        let within = number.filter(|number| (min..=max).contains(number));
        within.ok_or_else(|| self.refuse(&format!("a whole number from {min} to {max}")))
    }

    /// Yes or no: a boolean in files, `yes` or `no` elsewhere.
    pub fn switch(&self) -> Result<bool, ConfigError> {
        match &self.value {
            Value::Bool(on) => Ok(*on),
            Value::String(word) if self.origin.is_text() && word == "yes" => Ok(true),
            Value::String(word) if self.origin.is_text() && word == "no" => Ok(false),
            _ if self.origin.is_text() => Err(self.refuse("yes, no")),
            _ => Err(self.refuse("true, false")),
        }
    }

    /// A list of non-empty texts: an array in files, separated by commas elsewhere. Each item keeps
    /// its place, so that a complaint can name it.
    pub fn list(&self, allowed: &str) -> Result<Vec<Given>, ConfigError> {
        let items: Vec<Given> = match &self.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.child(&format!("[{index}]"), item))
                .collect(),
            Value::String(text) if self.origin.is_text() => {
                text.split(',').map(|item| self.child("", &Value::from(item.trim()))).collect()
            }
            _ => return Err(self.refuse(allowed)),
        };
        for item in &items {
            item.text(allowed)?;
        }
        Ok(items)
    }

    /// A value inside this one, under its own key.
    pub fn child(&self, key: &str, value: &Value) -> Given {
        let origin = match &self.origin {
            Origin::File { file, key: parent } => {
                let dot = if parent.is_empty() || key.starts_with('[') { "" } else { "." };
                Origin::File { file: file.clone(), key: format!("{parent}{dot}{key}") }
            }
            other => other.clone(),
        };
        Given { value: value.clone(), origin }
    }

    /// The value of a key of this object; `None` when it is not there.
    pub fn get(&self, key: &str) -> Option<Given> {
        self.value.get(key).map(|value| self.child(key, value))
    }

    /// The value of a key of this object that must be there.
    pub fn require(&self, key: &str, allowed: &str) -> Result<Given, ConfigError> {
        self.get(key).ok_or_else(|| {
            let missing = self.child(key, &Value::Null);
            ConfigError(format!("{}: the key is missing; allowed: {allowed}", missing.origin))
        })
    }

    /// The entries of an object, each with its own place.
    pub fn entries(&self, allowed: &str) -> Result<Vec<(String, Given)>, ConfigError> {
        let object = self.value.as_object().ok_or_else(|| self.refuse(allowed))?;
        Ok(object.iter().map(|(key, value)| (key.clone(), self.child(key, value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(value: Value) -> Given {
        Given { value, origin: Origin::File { file: "config.json".to_owned(), key: "port".to_owned() } }
    }

    fn in_variable(text: &str) -> Given {
        Given { value: Value::from(text), origin: Origin::Variable("NAME".to_owned()) }
    }

    #[test]
    fn a_complaint_names_file_key_value_and_what_is_allowed() {
        let error = in_file(Value::from("80")).number(0, 65_535).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.json: port: \"80\" is not allowed; allowed: a whole number from 0 to 65535"
        );
    }

    #[test]
    fn numbers_are_whole_and_within_their_bounds() {
        for (text, expected) in [("1", Some(1)), ("9", Some(9)), ("0", None), ("10", None), ("+5", None)] {
            assert_eq!(in_variable(text).number(1, 9).ok(), expected, "{text}");
        }
        for (value, expected) in
            [(Value::from(5), Some(5)), (Value::from(5.5), None), (Value::from(-5), None)]
        {
            assert_eq!(in_file(value).number(1, 9).ok(), expected);
        }
        assert!(in_variable("").number(0, 9).is_err());
        assert!(in_variable("99999999999999999999999").number(0, u64::MAX).is_err());
    }

    #[test]
    fn a_list_is_an_array_in_files_and_comma_separated_elsewhere() {
        let texts = |given: &Given| {
            let items = given.list("names")?;
            Ok::<_, ConfigError>(items.iter().map(|i| i.value.clone()).collect::<Vec<_>>())
        };
        assert_eq!(texts(&in_variable("a, b")).unwrap(), ["a", "b"]);
        assert_eq!(texts(&in_file(serde_json::json!(["a", "b"]))).unwrap(), ["a", "b"]);
        assert!(texts(&in_file(Value::from("a,b"))).is_err());
        assert!(texts(&in_variable("a,,b")).is_err());
        let error = texts(&in_file(serde_json::json!(["a", 5]))).unwrap_err();
        assert_eq!(error.0, "config.json: port[1]: 5 is not allowed; allowed: names");
    }

    #[test]
    fn a_long_value_is_cut_and_a_secret_never_repeated() {
        let given = in_variable(&"é".repeat(10_000));
        assert!(given.refuse("x").0.len() < 300);
        assert!(!in_variable("hunter2").refuse_secret("text").0.contains("hunter2"));
    }
}
