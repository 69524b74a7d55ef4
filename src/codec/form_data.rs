//! The streaming reader of `multipart/form-data` bodies (RFC 7578): some small fields, then one file
//! of any size, then perhaps more fields, which S3 ignores.
//!
//! The fields are read whole, within bounds. The file is not: once [`FormReader::fields`] has returned,
//! the reader itself yields the bytes of the file, and it yields their end only when the rest of the
//! form is in order too. Memory is one fixed buffer, whatever the client sends.

use crate::error::{Code, Error, Result};
use std::io::{self, Read};

/// Bytes of a form before its file and again behind it, boundaries and part headers included (S3 API
/// reference, "POST Object").
pub const FORM_BYTES_MAX: usize = 20 * 1024;

/// The most fields before the file.
pub const FIELDS_MAX: usize = 100;

/// The longest boundary (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Bytes that are read from the source at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// A field before the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name as sent.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What stands before the bytes of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The fields in order.
    pub fields: Vec<Field>,
    /// The file's name, without the folders that some browsers put before it; `None` when the form has
    /// no file at all. A file without a name has the empty one.
    pub file_name: Option<String>,
}

/// Reads a form.
pub struct FormReader<R> {
    source: R,
    /// A line end, two dashes and the boundary.
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes at `start` that are known to be content.
    content: usize,
    /// Bytes outside the file that may still come.
    budget: usize,
    done: bool,
}

/// The header of a part.
#[derive(Default)]
struct PartHeader {
    name: Option<String>,
    file_name: Option<String>,
}

impl<R: Read> FormReader<R> {
    /// A reader for a body of this content type.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` when the type names no usable boundary.
    pub fn new(source: R, content_type: &str) -> Result<FormReader<R>> {
        let boundary = boundary(content_type).ok_or_else(|| Error::new(Code::MalformedPOSTRequest))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        // The first boundary may stand at the very start; with this every boundary follows a line end.
        buffer[..2].copy_from_slice(b"\r\n");
        Ok(FormReader {
            source,
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            buffer,
            start: 0,
            end: 2,
            content: 0,
            budget: FORM_BYTES_MAX,
            done: false,
        })
    }

    /// Reads everything up to the first byte of the file.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`; `MaxPostPreDataLengthExceededError` past [`FORM_BYTES_MAX`] or
    /// [`FIELDS_MAX`]; what reading the body means.
    pub fn fields(&mut self) -> Result<Fields> {
        self.read_fields().map_err(Error::from_body)
    }

    fn read_fields(&mut self) -> io::Result<Fields> {
        let mut form = Fields::default();
        self.content_text()?;
        while !self.is_last_delimiter()? {
            let header = self.part_header()?;
            let name = header.name.ok_or_else(malformed)?;
            if name.eq_ignore_ascii_case("file") {
                form.file_name = Some(base_name(&header.file_name.unwrap_or_default()).to_owned());
                self.budget = FORM_BYTES_MAX;
                return Ok(form);
            }
            if form.fields.len() >= FIELDS_MAX {
                return Err(too_long());
            }
            let value = String::from_utf8(self.content_text()?).map_err(|_| malformed())?;
            form.fields.push(Field { name, value });
        }
        self.drain()?;
        Ok(form)
    }

    /// Reads what follows the file: other fields, which count for nothing, but not another file.
    fn finish(&mut self) -> io::Result<()> {
        while !self.is_last_delimiter()? {
            let header = self.part_header()?;
            if header.name.is_some_and(|name| name.eq_ignore_ascii_case("file")) {
                return Err(io::Error::other(file_count(2)));
            }
            self.content_text()?;
        }
        self.drain()
    }

    /// Reads what follows the last boundary, so that the body has been seen to its end.
    fn drain(&mut self) -> io::Result<()> {
        self.done = true;
        loop {
            self.spend(self.end - self.start)?;
            (self.start, self.end) = (0, 0);
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    /// Reads the rest of the line of a delimiter: two dashes say that it was the last one.
    fn is_last_delimiter(&mut self) -> io::Result<bool> {
        while self.end - self.start < 2 {
            if self.fill()? == 0 {
                return Err(malformed());
            }
        }
        if self.buffer[self.start..].starts_with(b"--") {
            self.start += 2;
            return Ok(true);
        }
        let rest = self.line()?;
        if rest.iter().all(|byte| b" \t".contains(byte)) { Ok(false) } else { Err(malformed()) }
    }

    fn part_header(&mut self) -> io::Result<PartHeader> {
        let mut header = PartHeader::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(header);
            }
            let line = String::from_utf8(line).map_err(|_| malformed())?;
            let (name, value) = line.split_once(':').ok_or_else(malformed)?;
            if !name.trim().eq_ignore_ascii_case("content-disposition") {
                continue;
            }
            let (kind, rest) = value.split_once(';').unwrap_or((value, ""));
            if !kind.trim().eq_ignore_ascii_case("form-data") || header.name.is_some() {
                return Err(malformed());
            }
            let parameters = parameters(rest).ok_or_else(malformed)?;
            let find = |name: &str| parameters.iter().find(|(known, _)| known == name);
            header.name = find("name").map(|(_, value)| value.clone());
            header.file_name = find("filename").map(|(_, value)| value.clone());
        }
    }

    /// Reads a line without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            if self.start == self.end && self.fill()? == 0 {
                return Err(malformed());
            }
            let byte = self.buffer[self.start];
            self.start += 1;
            self.spend(1)?;
            match byte {
                b'\n' if line.last() == Some(&b'\r') => {
                    line.pop();
                    return Ok(line);
                }
                _ => line.push(byte),
            }
        }
    }

    /// Reads content whole, up to and including the delimiter behind it.
    fn content_text(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut step = [0; 512];
        while let Some(count) = self.read_content(&mut step)? {
            self.spend(count)?;
            bytes.extend_from_slice(&step[..count]);
        }
        self.spend(self.delimiter.len())?;
        Ok(bytes)
    }

    /// Reads content; `None` when the delimiter behind it has been read.
    fn read_content(&mut self, out: &mut [u8]) -> io::Result<Option<usize>> {
        while self.content == 0 {
            let bytes = &self.buffer[self.start..self.end];
            match find(bytes, &self.delimiter) {
                Some(0) => {
                    self.start += self.delimiter.len();
                    return Ok(None);
                }
                Some(at) => self.content = at,
                // The last bytes could be the beginning of a delimiter.
                None => self.content = (bytes.len() + 1).saturating_sub(self.delimiter.len()),
            }
            if self.content == 0 && self.fill()? == 0 {
                return Err(malformed());
            }
        }
        let count = self.content.min(out.len());
        out[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        self.content -= count;
        Ok(Some(count))
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }

    fn spend(&mut self, bytes: usize) -> io::Result<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(too_long)?;
        Ok(())
    }
}

/// The bytes of the file. A form that turns out to be malformed behind them is an error in place of
/// their end.
impl<R: Read> Read for FormReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.done || out.is_empty() {
            return Ok(0);
        }
        match self.read_content(out)? {
            Some(count) => Ok(count),
            None => self.finish().map(|()| 0),
        }
    }
}

fn malformed() -> io::Error {
    io::Error::other(Error::new(Code::MalformedPOSTRequest))
}

fn too_long() -> io::Error {
    io::Error::other(Error::new(Code::MaxPostPreDataLengthExceededError))
}

/// S3's answer to a form without exactly one file.
pub fn file_count(count: u8) -> Error {
    let message = "POST requires exactly one file upload per request.";
    Error::invalid_argument("file", &count.to_string(), message)
}

/// Where `needle` begins in `bytes`. It begins with a carriage return, which is rare in most files.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while bytes.len() - from >= needle.len() {
        from += bytes[from..].iter().position(|byte| *byte == needle[0])?;
        if bytes[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
    None
}

fn boundary(content_type: &str) -> Option<String> {
    let (_, rest) = content_type.split_once(';')?;
    let (_, boundary) = parameters(rest)?.into_iter().find(|(name, _)| name == "boundary")?;
    let valid = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && !boundary.ends_with(' ');
    valid.then_some(boundary)
}

/// Reads `name=value; name="value"`, names in lower case.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = match behind.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let (value, behind) = behind.split_once(';').unwrap_or((behind, ""));
                (value.trim().to_owned(), behind)
            }
        };
        found.push((name.trim().to_ascii_lowercase(), value));
        rest = behind.trim_start().trim_start_matches(';').trim_start();
    }
    Some(found)
}

/// Reads to the closing quote. A backslash counts only before a quote: old browsers send Windows paths
/// as they are. Newer ones write a quote and the line ends in percent-code (HTML standard, "Multipart
/// form data").
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let value = value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
                return Some((value, &text[at + 1..]));
            }
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                value.push('"');
            }
            _ => value.push(c),
        }
    }
    None
}

/// The name behind the last slash of either kind.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xyz";

    /// Yields a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read(body: &[u8], step: usize) -> Result<(Fields, Vec<u8>)> {
        let mut reader = FormReader::new(Trickle(body, step), TYPE)?;
        let fields = reader.fields()?;
        let mut file = Vec::new();
        if fields.file_name.is_some() {
            reader.read_to_end(&mut file).map_err(Error::from_body)?;
        }
        Ok((fields, file))
    }

    fn part(disposition: &str, content: &str) -> String {
        format!("--xyz\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    }

    #[track_caller]
    fn refused(body: &str, code: Code) {
        for step in [1, 7, BUFFER_BYTES] {
            let error = read(body.as_bytes(), step).expect_err(body);
            assert_eq!(error.code(), code, "{body:?} in steps of {step}");
        }
    }

    #[test]
    fn fields_and_file_come_out_whatever_the_reads() {
        let file = "a\r\n--xy\r\n--xy\r\r\n-\r\n--xyZ\0--xyz\r\n\r\n";
        let body = format!(
            "{}{}{}--xyz--\r\nepilogue",
            part("name=\"Key\"", "a\r\nb"),
            part("name=\"file\"; filename=\"C:\\dir\\na\\\"me%22.txt\"\r\nContent-Type: text/plain", file),
            part("name=\"submit\"", "Upload")
        );
        for preamble in ["", "\r\n", "ignored\r\n"] {
            let body = format!("{preamble}{body}");
            for step in 1..100 {
                let (fields, content) = read(body.as_bytes(), step).expect("well-formed");
                assert_eq!(fields.file_name.as_deref(), Some("na\"me\".txt"));
                let field = Field { name: "Key".to_owned(), value: "a\r\nb".to_owned() };
                assert_eq!(fields.fields, [field]);
                assert_eq!(String::from_utf8_lossy(&content), file, "step {step}");
            }
        }
    }

    #[test]
    fn a_file_may_be_larger_than_the_buffer() {
        let file = "\r\n--xyw".repeat(50_000);
        let body = format!("{}--xyz--", part("name=file", &file));
        let (fields, content) = read(body.as_bytes(), 10_007).expect("well-formed");
        assert_eq!(fields.file_name.as_deref(), Some(""));
        assert!(content == file.as_bytes());
    }

    /// BI-199, BI-200.
    #[test]
    fn forms_that_are_not_whole_are_refused() {
        let malformed = Code::MalformedPOSTRequest;
        let file = part("name=\"file\"; filename=\"f\"", "content");
        refused("", malformed);
        refused("--xyz", malformed);
        refused("--other\r\n", malformed);
        refused(&file, malformed);
        refused(&format!("{file}--xyz"), malformed);
        refused(&format!("{file}--xyz-"), malformed);
        refused(&format!("{file}--xyz\r\n--xyz--"), malformed);
        refused(&format!("{file}--xyzz\r\n\r\n"), malformed);
        refused("--xyz\r\nno colon\r\n\r\n\r\n--xyz--", malformed);
        refused("--xyz\r\nA: b\r\n\r\nvalue\r\n--xyz--", malformed);
        refused(&format!("{}--xyz--", part("name=\"k", "v")), malformed);
        refused(&format!("{}{file}--xyz--", part("filename=\"k\"", "v")), malformed);
        refused(&format!("{file}{file}--xyz--"), Code::InvalidArgument);
        let (fields, _) = read(format!("{}--xyz--", part("name=k", "v")).as_bytes(), 5).expect("no file");
        assert_eq!(fields.file_name, None);
    }

    /// BI-201.
    #[test]
    fn what_is_not_the_file_is_bounded() {
        let too_long = Code::MaxPostPreDataLengthExceededError;
        let file = part("name=\"file\"", "content");
        let rest = format!("{file}--xyz--");
        let around = part("name=\"k\"", "").len() + "\r\n".len();
        // The last part header counts as well.
        let header = file.len() - "content\r\n".len();
        let most = FORM_BYTES_MAX - around - header;
        for (bytes, fits) in [(most - 8, true), (most, true), (most + 1, false), (most + 8, false)] {
            let body = format!("{}{rest}", part("name=\"k\"", &"v".repeat(bytes)));
            assert_eq!(read(body.as_bytes(), 99).is_ok(), fits, "{bytes}");
        }
        refused(&format!("--xyz\r\nA: {}\r\n\r\n", "b".repeat(1 << 20)), too_long);
        refused(&"p".repeat(1 << 20), too_long);
        refused(&format!("{rest}{}", "e".repeat(FORM_BYTES_MAX + 1)), too_long);
        let fields = part("name=k", "").repeat(FIELDS_MAX);
        assert!(read(format!("{fields}{rest}").as_bytes(), 999).is_ok());
        refused(&format!("{}{fields}{rest}", part("name=k", "")), too_long);
    }

    #[test]
    fn a_boundary_is_read_from_the_content_type() {
        let long = "b".repeat(70);
        for (text, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("multipart/form-data; charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"a ", None),
            ("multipart/form-data; boundary=\"a \"", None),
            (&format!("multipart/form-data; boundary={long}"), Some(&long)),
            (&format!("multipart/form-data; boundary={long}b"), None),
        ] {
            assert_eq!(boundary(text).as_deref(), expected, "{text}");
        }
    }
}
