//! The log: one JSON object a line, on standard error.
//!
//! Standard output carries the start line only, so that a script can wait for it and read the port
//! from it. There is no global logger: whoever logs holds a [`Log`]. Nothing here knows what a secret
//! is; callers must never pass one.

use std::fmt;
use std::io::Write;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest text of one field that is written, in bytes.
pub const FIELD_BYTES_MAX: usize = 2048;
/// What follows a text that was cut.
const CUT_MARK: &str = "...";
/// The room that a usual line needs, in bytes.
const LINE_BYTES: usize = 512;

/// Severity, most talkative first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything, health polls included.
    Trace,
    /// What a developer needs.
    Debug,
    /// One line per request.
    Info,
    /// An operator may have to act.
    Warn,
    /// An operator must act.
    Error,
    /// The process ends.
    Fatal,
}

impl Level {
    /// The name in the log and in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Level> {
        let all = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
        all.into_iter().find(|level| level.as_str() == name)
    }
}

/// The value of a field. It borrows, so that a line that is not written costs nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// Text; cut after [`FIELD_BYTES_MAX`] bytes.
    Text(&'a str),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// The field is left out of the line.
    Absent,
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(text: &'a str) -> Field<'a> {
        Field::Text(text)
    }
}

impl<'a> From<&'a String> for Field<'a> {
    fn from(text: &'a String) -> Field<'a> {
        Field::Text(text)
    }
}

impl From<u64> for Field<'_> {
    fn from(number: u64) -> Self {
        Field::Number(number)
    }
}

impl From<u16> for Field<'_> {
    fn from(number: u16) -> Self {
        Field::Number(number.into())
    }
}

impl From<bool> for Field<'_> {
    fn from(flag: bool) -> Self {
        Field::Flag(flag)
    }
}

impl<'a, T: Into<Field<'a>>> From<Option<T>> for Field<'a> {
    fn from(value: Option<T>) -> Field<'a> {
        value.map_or(Field::Absent, Into::into)
    }
}

/// Where lines go, and which.
pub struct Log {
    level: Level,
    hostname: String,
    pid: u32,
    /// Guards the order of bytes: a line leaves whole, in one write.
    out: Mutex<Box<dyn Write + Send>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Log {
    /// A log on standard error that writes `level` and what is more severe.
    pub fn to_stderr(level: Level) -> Log {
        Log::to_writer(level, Box::new(std::io::stderr()))
    }

    /// A log on any writer.
    pub fn to_writer(level: Level, out: Box<dyn Write + Send>) -> Log {
        Log { level, hostname: hostname(), pid: std::process::id(), out: Mutex::new(out) }
    }

    /// A log that nobody reads.
    pub fn off() -> Log {
        Log::to_writer(Level::Fatal, Box::new(std::io::sink()))
    }

    /// Whether lines of this level are written.
    pub fn enabled(&self, level: Level) -> bool {
        level >= self.level
    }

    /// Writes one line with the given fields after the usual ones (`name`, `time` in milliseconds
    /// since 1970, `level`, `message`, `hostname`, `pid`).
    ///
    /// A line that cannot be written is lost: there is nowhere left to say so, and serving goes on.
    pub fn write(&self, level: Level, message: &str, fields: &[(&str, Field<'_>)]) {
        if !self.enabled(level) {
            return;
        }
        let line = self.line(level, message, fields);
        // A poisoned lock guards nothing but the order of bytes, which a panic elsewhere cannot break.
        let mut out = self.out.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }

    fn line(&self, level: Level, message: &str, fields: &[(&str, Field<'_>)]) -> Vec<u8> {
        // The system's time, not the server's clock, which users may freeze.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut line = Vec::with_capacity(LINE_BYTES);
        line.extend_from_slice(b"{\"name\":\"S3\"");
        push(&mut line, "time", Field::Number(time));
        push(&mut line, "level", Field::Text(level.as_str()));
        push(&mut line, "message", Field::Text(message));
        for (name, value) in fields {
            push(&mut line, name, *value);
        }
        push(&mut line, "hostname", Field::Text(&self.hostname));
        push(&mut line, "pid", Field::Number(self.pid.into()));
        line.extend_from_slice(b"}\n");
        line
    }
}

fn push(line: &mut Vec<u8>, name: &str, value: Field<'_>) {
    if value == Field::Absent {
        return;
    }
    line.push(b',');
    push_text(line, name);
    line.push(b':');
    match value {
        Field::Text(text) => push_text(line, text),
        Field::Number(number) => line.extend_from_slice(number.to_string().as_bytes()),
        Field::Flag(flag) => line.extend_from_slice(if flag { b"true" } else { b"false" }),
        Field::Absent => {}
    }
}

/// Appends a JSON string. `serde_json` escapes what would end the string or the line.
fn push_text(line: &mut Vec<u8>, text: &str) {
    let written = if text.len() <= FIELD_BYTES_MAX {
        serde_json::to_writer(line, text)
    } else {
        serde_json::to_writer(line, &format!("{}{CUT_MARK}", cut(text)))
    };
    written.expect("a string always serializes into a vector");
}

/// The longest beginning of a too long `text` that ends between two characters.
fn cut(text: &str) -> &str {
    let end = (0..=FIELD_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// The name of this machine, for logs that are gathered from many.
fn hostname() -> String {
    let of_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let of_kernel = of_kernel.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let of_environment = || std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok();
    of_kernel.or_else(of_environment).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(level: Level, write: impl Fn(&Log)) -> Vec<Value> {
        let memory = Memory::default();
        write(&Log::to_writer(level, Box::new(memory.clone())));
        let bytes = memory.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_is_one_json_object_with_the_usual_fields() {
        let lines = lines(Level::Info, |log| {
            let fields = [
                ("httpMethod", "GET".into()),
                ("httpCode", 200_u16.into()),
                ("ok", true.into()),
                ("bucketName", None::<&str>.into()),
            ];
            log.write(Level::Info, "request", &fields);
        });
        let line = &lines[0];
        assert_eq!((lines.len(), &line["name"], &line["level"]), (1, &"S3".into(), &"info".into()));
        assert_eq!((&line["message"], &line["httpMethod"]), (&"request".into(), &"GET".into()));
        assert_eq!((&line["httpCode"], &line["ok"]), (&200.into(), &true.into()));
        assert!(line["time"].is_u64() && line["pid"].is_u64() && line["hostname"].is_string());
        assert!(line.get("bucketName").is_none());
    }

    #[test]
    fn less_severe_lines_are_not_written() {
        let written = lines(Level::Warn, |log| {
            for level in [Level::Trace, Level::Info, Level::Warn, Level::Fatal] {
                log.write(level, "x", &[]);
            }
        });
        assert_eq!(written.len(), 2);
    }

    #[test]
    fn hostile_text_cannot_end_the_line_or_forge_a_field() {
        let text = "a\n{\"level\":\"fatal\"}\r\u{1b}[31m\0\u{2028}\"";
        let lines = lines(Level::Info, |log| log.write(Level::Info, text, &[("k\n", text.into())]));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["message"], text);
        assert_eq!(lines[0]["k\n"], text);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for (length, kept) in [(FIELD_BYTES_MAX, FIELD_BYTES_MAX), (FIELD_BYTES_MAX + 1, FIELD_BYTES_MAX + 3)]
        {
            let text = "x".repeat(length);
            let lines = lines(Level::Info, |log| log.write(Level::Info, &text, &[]));
            assert_eq!(lines[0]["message"].as_str().unwrap().len(), kept);
        }
        let text = "é€😀".repeat(1000);
        let lines = lines(Level::Info, |log| log.write(Level::Info, &text, &[]));
        assert!(lines[0]["message"].as_str().unwrap().len() <= FIELD_BYTES_MAX + CUT_MARK.len());
    }

    #[test]
    fn every_level_is_read_back_from_its_name() {
        for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal] {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!(Level::parse("INFO"), None);
    }
}
