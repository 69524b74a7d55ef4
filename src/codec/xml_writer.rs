//! The XML emitter. S3's answers are small and of fixed shape, so it is a string and a few rules.

use std::fmt::Write;

/// Builds one XML document. Elements are closed in the order they were opened.
pub struct XmlWriter {
    text: String,
}

/// The namespace of almost every S3 document.
pub const S3_NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

impl XmlWriter {
    /// A document whose root has S3's namespace.
    pub fn document(root: &str) -> XmlWriter {
        let mut writer = XmlWriter::bare();
        writer.text.push('<');
        writer.text.push_str(root);
        writer.text.push_str(" xmlns=\"");
        writer.text.push_str(S3_NAMESPACE);
        writer.text.push_str("\">");
        writer
    }

    /// A document with only the XML declaration, for roots without a namespace.
    pub fn bare() -> XmlWriter {
        let mut text = String::with_capacity(1024);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        XmlWriter { text }
    }

    /// Makes room for so many more bytes, which the document will have about.
    pub fn expect_bytes(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    /// A piece of a document, to be stored and written with [`XmlWriter::raw`] later.
    pub fn empty() -> XmlWriter {
        XmlWriter { text: String::new() }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    /// Opens an element with attributes, which must be given ready (`name="value"`).
    pub fn open_with(&mut self, name: &str, attributes: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push(' ');
        self.text.push_str(attributes);
        self.text.push('>');
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// An element with escaped text.
    pub fn element(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(text, &mut self.text);
        self.close(name);
    }

    /// An element with a sentence for people, whose quotation marks stand as they are: S3 writes those of ETags as
    /// references and those of error messages not, and there are clients that compare the latter as text.
    pub fn sentence(&mut self, name: &str, text: &str) {
        self.open(name);
        for (number, part) in text.split('"').enumerate() {
            if number > 0 {
                self.text.push('"');
            }
            escape(part, &mut self.text);
        }
        self.close(name);
    }

    /// Escaped text.
    pub fn text(&mut self, text: &str) {
        escape(text, &mut self.text);
    }

    /// An element with a number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.open(name);
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{number}");
        self.close(name);
    }

    /// An element with `true` or `false`.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.element(name, if value { "true" } else { "false" });
    }

    /// An element, if there is a value for it.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.element(name, text);
        }
    }

    /// Text that already is XML, such as a stored configuration.
    pub fn raw(&mut self, xml: &str) {
        self.text.push_str(xml);
    }

    /// The finished document.
    pub fn finish(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    /// Closes the root and finishes.
    pub fn end(mut self, root: &str) -> Vec<u8> {
        self.close(root);
        self.finish()
    }
}

/// Bytes that stand for themselves wherever they are: not so the first bytes of characters that may have to be
/// written as references (U+0080 to U+009F, U+FFFE, U+FFFF).
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_special = matches!(byte as u8, b'&' | b'<' | b'>' | b'"' | ..=0x1f | 0x7f | 0xc2 | 0xef);
        plain[byte] = !is_special;
        byte += 1;
    }
    plain
};

/// Escapes text for element content and attribute values.
///
/// Control characters that XML 1.0 allows only as references (or, below U+0020, not at all) are
/// written as references, as S3 does: clients of S3 read them back, and the document stays one line.
pub fn escape(text: &str, out: &mut String) {
    // Nearly all text is of this kind. To look at each character made a quarter of a listing's cost.
    if text.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("&#x{:X};", c as u32));
            }
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_documents_are_closed() {
        let mut xml = XmlWriter::document("Root");
        xml.element("Key", "a<b>&\"c\"\r\u{1}");
        xml.sentence("Message", "\"<\" is \"less\"");
        let text = String::from_utf8(xml.end("Root")).expect("UTF-8");
        let expected =
            "<Key>a&lt;b&gt;&amp;&quot;c&quot;&#xD;&#x1;</Key><Message>\"&lt;\" is \"less\"</Message></Root>";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn what_has_no_reference_stands_for_itself_and_the_rest_does_not() {
        for c in (0..=0x1_0000).filter_map(char::from_u32) {
            let mut text = String::new();
            escape(&format!("x{c}"), &mut text);
            let refers = "&<>\"".contains(c)
                || (c.is_control() && !"\t\n".contains(c))
                || matches!(c, '\u{fffe}' | '\u{ffff}');
            assert_eq!(text == format!("x{c}"), !refers, "{:x}: {text}", c as u32);
        }
    }
}
