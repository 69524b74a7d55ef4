//! Encoded words (RFC 2047), in which S3 answers with user metadata that is more than printable ASCII.
//!
//! Which of the two encodings is chosen, and where a long text is divided, is not up to the RFC: it is done
//! as the answers of S3 that others have recorded show it (S3 User Guide, "Working with object metadata",
//! and the figures in the tests below).

use super::{base64, unbase64};

/// The most characters of one word between `=?UTF-8?Q?` and `?=`: with these at most 75.
const WORD_LENGTH_MAX: usize = 63;

/// What separates words.
const SPACE: [char; 2] = [' ', '\t'];

/// The text as a value of a header field: itself when it is printable ASCII, else as encoded words.
pub fn encode(text: &str) -> String {
    let (plain, other) = text.encode_utf16().fold((0usize, 0usize), |(plain, other), unit| {
        if is_plain(unit) { (plain + 1, other) } else { (plain, other + 1) }
    });
    match other {
        0 => text.to_owned(),
        _ if plain > other => words(text, Encoding::Quoted),
        _ => words(text, Encoding::Base64),
    }
}

/// The text as encoded words, whatever is in it. [`decode`] yields exactly this text again.
pub fn encode_always(text: &str) -> String {
    words(text, Encoding::Quoted)
}

fn is_plain(unit: u16) -> bool {
    matches!(unit, 0x20..=0x7E | 0x09)
}

#[derive(Clone, Copy)]
enum Encoding {
    Quoted,
    Base64,
}

/// Halves the text until every part fits into a word.
fn words(text: &str, encoding: Encoding) -> String {
    let (letter, encoded) = match encoding {
        Encoding::Quoted => ('Q', quoted(text)),
        Encoding::Base64 => ('B', base64(text.as_bytes())),
    };
    match middle(text) {
        Some(at) if encoded.len() > WORD_LENGTH_MAX => {
            let (first, second) = text.split_at(at);
            format!("{} {}", words(first, encoding), words(second, encoding))
        }
        _ => format!("=?UTF-8?{letter}?{encoded}?="),
    }
}

/// Where a text is divided: in the middle of its UTF-16 units. `None` for a single character.
fn middle(text: &str) -> Option<usize> {
    let half = text.encode_utf16().count() / 2;
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if at > 0 && units > half {
            return Some(at);
        }
    }
    None
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('_'),
            b'=' | b'_' | b'?' | 0..0x20 | 0x7F.. => out.push_str(&format!("={byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// The value of a header field that means this text, where the text is known and not guessed from bytes.
pub fn of_text(text: &str) -> String {
    let text = text.trim();
    let says_itself = encode(text) == text && decode(text) == text;
    if says_itself { text.to_owned() } else { encode_always(text) }
}

/// The text that a value of a header field stands for: encoded words are decoded, and the white space
/// between two of them goes. What is not an encoded word in UTF-8, ISO-8859-1 or ASCII stays.
pub fn decode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let (mut space, mut rest) = ("", value);
    let mut after_word = false;
    while !rest.is_empty() {
        let (token, behind) = rest.split_at(rest.find(SPACE).unwrap_or(rest.len()));
        if !token.is_empty() {
            let word = decode_word(token);
            if !(after_word && word.is_some()) {
                text.push_str(space);
            }
            after_word = word.is_some();
            text.push_str(word.as_deref().unwrap_or(token));
        }
        (space, rest) = behind.split_at(behind.len() - behind.trim_start_matches(SPACE).len());
    }
    text.push_str(space);
    text
}

fn decode_word(word: &str) -> Option<String> {
    let (charset, rest) = word.strip_prefix("=?")?.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (encoded, behind) = rest.split_once("?=")?;
    let bytes = match encoding {
        "Q" | "q" => unquoted(encoded)?,
        "B" | "b" => unbase64(encoded)?,
        _ => return None,
    };
    let text = match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "us-ascii" => String::from_utf8_lossy(&bytes).into_owned(),
        "iso-8859-1" => from_latin1(&bytes),
        _ => return None,
    };
    Some(text + behind)
}

fn unquoted(encoded: &str) -> Option<Vec<u8>> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).map(|value| value as u8);
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => digit(rest.next())? << 4 | digit(rest.next())?,
            other => other,
        });
    }
    Some(bytes)
}

/// The text that bytes are in ISO-8859-1, which has a character for every byte.
pub fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_encoded_as_s3_does() {
        for (text, expected) in [
            ("plain text, (not) =?encoded", "plain text, (not) =?encoded"),
            ("tab\tand spaces ", "tab\tand spaces "),
            ("", ""),
            ("ÄMÄZÕÑ S3", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
            (
                "test_—_file%E2%80%94_é_2?.pdf",
                "=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=3F.pdf?=",
            ),
            ("\0\u{1}\u{2}\u{3}", "=?UTF-8?B?AAECAw==?="),
            (
                "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}",
                "=?UTF-8?B?77+977+977+977+977+977+977+9?=",
            ),
            (
                "test_—_file%E2%80%94_é_2👑.pdf",
                "=?UTF-8?Q?test=5F=E2=80=94=5Ffile%E2%80%94=5F=C3=A9=5F2=F0=9F=91=91.pdf?=",
            ),
        ] {
            assert_eq!(encode(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_a_client_sends_in_utf_8_is_encoded_twice_as_s3_does() {
        for (sent, expected) in [
            ("Miniö", "=?UTF-8?Q?Mini=C3=83=C2=B6?="),
            ("ö", "=?UTF-8?B?w4PCtg==?="),
            ("ÄMÄZÕÑ S3", "=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?="),
        ] {
            assert_eq!(encode(&from_latin1(sent.as_bytes())), expected, "{sent}");
        }
    }

    #[test]
    fn words_are_decoded_and_anything_else_stays() {
        for (value, expected) in [
            ("=?UTF-8?Q?actually-ascii?=", "actually-ascii"),
            ("=?utf-8?b?YWJj?=", "abc"),
            ("=?ISO-8859-1?q?=E9_t=E9?=", "é té"),
            ("=?UTF-8?Q?a?=  =?UTF-8?Q?b?= c  =?UTF-8?Q?d?= ", "ab c  d "),
            ("  two  spaces ", "  two  spaces "),
            ("=?UTF-8?Q?a?=b", "ab"),
            ("=?UTF-8?B?=GGG?=", "=?UTF-8?B?=GGG?="),
            ("=?UTF-8?Q?=4?=", "=?UTF-8?Q?=4?="),
            ("=?UTF-8?X?a?=", "=?UTF-8?X?a?="),
            ("=?KOI8-R?Q?a?=", "=?KOI8-R?Q?a?="),
            ("=?UTF-8?Q?=FF?=", "\u{FFFD}"),
            ("=?UTF-8?Q?open", "=?UTF-8?Q?open"),
            ("=?", "=?"),
            ("", ""),
        ] {
            assert_eq!(decode(value), expected, "{value}");
        }
    }

    #[test]
    fn every_text_comes_back_in_words_of_75_characters() {
        for text in ["x".repeat(2_000), "é👑 ".repeat(400), "\u{1}=_?\r\n".repeat(100), "👑".repeat(50)]
        {
            for value in [encode(&text), encode_always(&text)] {
                assert_eq!(decode(&value), text);
                let long = |word: &&str| word.len() > 75;
                assert!(value == text || !value.split(' ').any(|word| long(&word)), "{value}");
                assert!(!value.contains(['\r', '\n', '\u{1}']), "{value:?}");
            }
        }
    }
}
