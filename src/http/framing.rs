//! Where a request body ends: a counted length, or the chunked transfer coding of RFC 9112 section 7.1.
//!
//! Pure state: it is shown bytes and says what they are. That keeps one implementation for the handler's
//! reads, for draining on a worker and for draining from the poller, where the state waits between reads.

use super::limits::{CHUNK_DIGITS_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes left of a counted body.
    Length(u64),
    /// A chunk-size line comes next.
    Size,
    /// Bytes left of a chunk.
    Chunk(u64),
    /// Trailer lines; how many bytes of them have passed.
    Trailer(usize),
    /// The chunked body is complete.
    End,
}

/// What the next bytes of the body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At most that many bytes of content.
    Content(u64),
    /// Not known before more bytes arrive.
    More,
    /// None: the body is complete.
    End,
}

/// The chunked coding is broken; nothing after this point can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Framing {
    /// A body of that many bytes.
    pub fn length(bytes: u64) -> Framing {
        Framing(State::Length(bytes))
    }

    /// A chunked body.
    pub fn chunked() -> Framing {
        Framing(State::Size)
    }

    /// The bytes that are still to come; `None` where only the chunks will tell.
    pub fn remaining(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Whether the body has been read to its end, the trailers included.
    pub fn is_complete(&self) -> bool {
        self.remaining() == Some(0)
    }

    /// Passes over the framing at the start of `input`. Returns how many bytes that were and what comes
    /// after them. `More` asks for a buffer that can hold [`TRAILER_BYTES_MAX`] bytes.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, Step), Malformed> {
        let mut passed = 0;
        loop {
            let rest = &input[passed..];
            let used = match self.0 {
                State::Length(0) | State::End => return Ok((passed, Step::End)),
                State::Length(left) => return Ok((passed, Step::Content(left))),
                State::Chunk(0) => self.pass_chunk_end(rest)?,
                State::Chunk(left) => return Ok((passed, Step::Content(left))),
                State::Size => self.pass_size(rest)?,
                State::Trailer(bytes) => self.pass_trailer(rest, bytes)?,
            };
            match used {
                Some(used) => passed += used,
                None => return Ok((passed, Step::More)),
            }
        }
    }

    /// Notes that content was taken, at most as much as [`Step::Content`] allowed.
    pub fn take(&mut self, bytes: u64) {
        match &mut self.0 {
            State::Length(left) | State::Chunk(left) => *left -= bytes,
            _ => debug_assert_eq!(bytes, 0, "content is only taken where there is some"),
        }
    }

    fn pass_chunk_end(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        match rest {
            [b'\r', b'\n', ..] => {
                self.0 = State::Size;
                Ok(Some(2))
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(Malformed),
        }
    }

    fn pass_size(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some(line) = split_line(rest, CHUNK_LINE_BYTES_MAX)? else {
            return Ok(None);
        };
        self.0 = match parse_size(line)? {
            0 => State::Trailer(0),
            size => State::Chunk(size),
        };
        Ok(Some(line.len() + 2))
    }

    /// Trailers are dropped: nothing that arrives after the body may change what was decided before it.
    fn pass_trailer(&mut self, rest: &[u8], bytes: usize) -> Result<Option<usize>, Malformed> {
        let Some(line) = split_line(rest, TRAILER_BYTES_MAX - bytes)? else {
            return Ok(None);
        };
        let used = line.len() + 2;
        self.0 = if line.is_empty() { State::End } else { State::Trailer(bytes + used) };
        if bytes + used > TRAILER_BYTES_MAX { Err(Malformed) } else { Ok(Some(used)) }
    }
}

/// The first line without its line end, or `None` while it is not complete.
fn split_line(input: &[u8], bytes_max: usize) -> Result<Option<&[u8]>, Malformed> {
    let window = &input[..input.len().min(bytes_max + 2)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => match window[..end].split_last() {
            Some((b'\r', line)) if !line.contains(&b'\r') => Ok(Some(line)),
            _ => Err(Malformed),
        },
        None if window.len() == bytes_max + 2 => Err(Malformed),
        None => Ok(None),
    }
}

/// Reads hexadecimal digits, which an extension may follow. Extensions are ignored.
fn parse_size(line: &[u8]) -> Result<u64, Malformed> {
    let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at(end);
    let hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
    if digits.is_empty() || digits.len() > CHUNK_DIGITS_MAX || !hexadecimal {
        return Err(Malformed);
    }
    if extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Malformed);
    }
    let text = str::from_utf8(digits).map_err(|_| Malformed)?;
    u64::from_str_radix(text, 16).ok().filter(|size| *size <= i64::MAX as u64).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes with a buffer that grows by `step` bytes at a time. `Ok(None)`: the body is not complete.
    fn decode(text: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
        let mut framing = Framing::chunked();
        let mut content = Vec::new();
        let (mut start, mut end) = (0, 0);
        loop {
            let (passed, next) = framing.step(&text[start..end])?;
            start += passed;
            match next {
                Step::End => return Ok(Some((content, start))),
                Step::Content(bytes) if start < end => {
                    let taken = (end - start).min(bytes as usize);
                    content.extend_from_slice(&text[start..start + taken]);
                    framing.take(taken as u64);
                    start += taken;
                }
                Step::Content(_) | Step::More if end == text.len() => return Ok(None),
                Step::Content(_) | Step::More => end = text.len().min(end + step),
            }
        }
    }

    fn check(text: &[u8], expected: Result<Option<(&[u8], usize)>, Malformed>) {
        for step in [1, 2, 3, 7, text.len().max(1)] {
            let shown = String::from_utf8_lossy(&text[..text.len().min(80)]);
            let expected = expected.map(|done| done.map(|(content, end)| (content.to_vec(), end)));
            assert_eq!(decode(text, step), expected, "{shown:?} in steps of {step}");
        }
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        check(b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", Ok(Some((b"abc0123456789", 34))));
        check(b"000003\r\nabc\r\n0\r\n\r\nGET", Ok(Some((b"abc", 18))));
        check(b"0\r\nContent-Length: 3\r\nHost: x\r\n\r\n", Ok(Some((b"", 33))));
        check(b"3\r\nabc\r\n", Ok(None));
        check(b"0\r\n", Ok(None));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            "zz\r\n",
            "\r\n",
            "-3\r\n",
            "+3\r\n",
            "0x3\r\n",
            "3 \r\n",
            "3\t;\r\n",
            " 3\r\n",
            "3\n",
            "3\rabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "3\r\nabc0\r\n",
            "00000000000000003\r\n",
            "ffffffffffffffff\r\n",
            "8000000000000000\r\n",
            "3;\x01\r\n",
            "0\r\na: b\n\r\n",
            ";\r\n",
        ] {
            check(text.as_bytes(), Err(Malformed));
        }
    }

    #[test]
    fn size_lines_and_trailers_are_bounded() {
        let line = |bytes: usize| format!("0;{}\r\n\r\n", "x".repeat(bytes - 2));
        let text = line(CHUNK_LINE_BYTES_MAX);
        check(text.as_bytes(), Ok(Some((b"", text.len()))));
        check(line(CHUNK_LINE_BYTES_MAX + 1).as_bytes(), Err(Malformed));

        let trailer = |bytes: usize| format!("0\r\na:b\r\nc:{}\r\n\r\n", "d".repeat(bytes - 5 - 4 - 2));
        let text = trailer(TRAILER_BYTES_MAX);
        check(text.as_bytes(), Ok(Some((b"", text.len()))));
        check(trailer(TRAILER_BYTES_MAX + 1).as_bytes(), Err(Malformed));
    }

    #[test]
    fn a_counted_body_ends_at_its_length() {
        let mut framing = Framing::length(3);
        assert_eq!(framing.step(b"abcdef"), Ok((0, Step::Content(3))));
        framing.take(3);
        assert_eq!(framing.step(b"def"), Ok((0, Step::End)));
        assert!(framing.is_complete());
    }
}
