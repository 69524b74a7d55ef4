//! Reading the XML of request bodies: a bounded parse, and access to elements the way S3's schemas see
//! them.
//!
//! The grammar is the business of `roxmltree`. What it leaves open is settled here: only UTF-8, no
//! document type declaration, and bounds on everything a client could use to make a small body expensive.
//! Names are compared without their namespace, because S3 accepts bodies that leave it out. Whatever does
//! not fit is `MalformedXML`; the reason goes to the log.

use std::borrow::Cow;
use std::fmt;

use roxmltree::{Node, NodeType, ParsingOptions};

use super::clock::Millis;
use super::time;
use crate::error::{Code, Error, Result};

/// Elements may stand this deep; the root is at depth 1. S3's deepest schema needs 8.
pub const DEPTH_MAX: usize = 32;
/// Elements, stretches of text, comments and processing instructions in a document. The largest honest
/// body, the completion of a multipart upload, has 10,000 parts with some ten nodes each.
pub const NODES_MAX: usize = 200_000;
/// Attributes of an element, namespace declarations included.
pub const ATTRIBUTES_MAX: usize = 32;
/// Namespace declarations in a document. The parser keeps for each declaring element a list of all that
/// are in scope, so what they cost grows with the square of this.
pub const NAMESPACES_MAX: usize = 1_024;
/// Bytes in a stretch of text or in the value of an attribute.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The parser reserves memory by the number of `<`, of which an element has at most two.
const ANGLES_MAX: usize = 2 * NODES_MAX;
/// The parser reserves memory by the number of `=`. A thousand keys of a thousand bytes may have as many.
const EQUALS_MAX: usize = 1 << 20;

/// `MalformedXML` with a reason for the log.
pub fn malformed(reason: impl fmt::Display) -> Error {
    Error::new(Code::MalformedXML).cause(reason)
}

/// A parsed body.
pub struct Document<'a>(roxmltree::Document<'a>);

/// Parses a body. Bounding its size is the caller's business; time and memory are linear in it.
///
/// # Errors
/// `MissingRequestBodyError` for an empty one, else `MalformedXML`.
pub fn parse(bytes: &[u8]) -> Result<Document<'_>> {
    if bytes.is_empty() {
        return Err(Code::MissingRequestBodyError.into());
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(malformed)?;
    check_encoding(text)?;
    check_shape(bytes)?;
    let options = ParsingOptions { nodes_limit: NODES_MAX as u32, ..ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(text, options).map_err(malformed)?;
    check_text(&document)?;
    Ok(Document(document))
}

impl<'a> Document<'a> {
    /// The root element, which must have this name.
    pub fn root(&self, name: &str) -> Result<Element<'_>> {
        let root = self.any_root();
        if root.name() != name {
            return Err(malformed(format_args!("the root is {} and not {name}", root.name())));
        }
        Ok(root)
    }

    /// The root element, for operations that take more than one kind of document.
    pub fn any_root(&self) -> Element<'_> {
        Element(self.0.root_element())
    }
}

/// An element of a [`Document`].
///
/// The methods that take a name look for a child element of that name. Where a child stands twice and
/// only one is expected, and where its content is not of the expected kind, they answer `MalformedXML`.
#[derive(Clone, Copy)]
pub struct Element<'a>(Node<'a, 'a>);

impl<'a> Element<'a> {
    /// The name, without namespace.
    pub fn name(&self) -> &'a str {
        self.0.tag_name().name()
    }

    /// The value of an attribute, whatever its namespace: `type` finds `xsi:type`.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.0.attributes().find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
    }

    /// All child elements, in order.
    pub fn elements(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        self.0.children().filter(Node::is_element).map(Element)
    }

    /// The child elements of this name, in order.
    pub fn children<'n>(&self, name: &'n str) -> impl Iterator<Item = Element<'a>> + use<'a, 'n> {
        self.elements().filter(move |child| child.name() == name)
    }

    /// The child of this name, if there is one.
    pub fn child(&self, name: &str) -> Result<Option<Element<'a>>> {
        let mut found = self.children(name);
        let first = found.next();
        if found.next().is_some() {
            return Err(malformed(format_args!("{} has more than one {name}", self.name())));
        }
        Ok(first)
    }

    /// The child of this name, which must be there.
    pub fn required(&self, name: &str) -> Result<Element<'a>> {
        self.child(name)?.ok_or_else(|| malformed(format_args!("{} has no {name}", self.name())))
    }

    /// Demands that this element has no other children than these, and no text beside them.
    pub fn only(self, names: &[&str]) -> Result<Element<'a>> {
        if let Some(child) = self.elements().find(|child| !names.contains(&child.name())) {
            return Err(malformed(format_args!("{} has an unknown child {}", self.name(), child.name())));
        }
        let is_text =
            |node: &Node<'_, '_>| node.is_text() && node.text().is_some_and(|text| !text.trim().is_empty());
        if self.0.children().any(|node| is_text(&node)) {
            return Err(malformed(format_args!("{} has text beside its children", self.name())));
        }
        Ok(self)
    }

    /// The text of this element, exactly as written; it must have no child elements.
    pub fn content(&self) -> Result<Cow<'a, str>> {
        if self.elements().next().is_some() {
            return Err(malformed(format_args!("{} has children where text is expected", self.name())));
        }
        let mut pieces = self.0.children().filter(Node::is_text).filter_map(|node| node.text());
        let first = pieces.next().unwrap_or("");
        // Comments cut text into pieces.
        Ok(pieces.fold(Cow::Borrowed(first), |text, piece| text + piece))
    }

    /// The text of a child, exactly as written.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>> {
        self.child(name)?.map(|child| child.content()).transpose()
    }

    /// The text of a child that must be there.
    pub fn required_text(&self, name: &str) -> Result<Cow<'a, str>> {
        self.required(name)?.content()
    }

    /// The text of every child of this name, in order.
    pub fn texts(&self, name: &str) -> Result<Vec<Cow<'a, str>>> {
        self.children(name).map(|child| child.content()).collect()
    }

    /// The whole number in a child, from 0. White space around it is ignored.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        self.read(name, "a number", |text| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        })
    }

    /// The whole number in a child, of either sign, for rules that give negative numbers an error of
    /// their own.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        self.read(name, "an integer", |text| text.parse().ok())
    }

    /// The truth value in a child: `true` or `false`, of either case.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, "true or false", |text| match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        })
    }

    /// The ISO 8601 date in a child.
    pub fn date(&self, name: &str) -> Result<Option<Millis>> {
        self.read(name, "a date", time::parse_iso8601)
    }

    /// The value that stands in `values` beside the text of a child.
    pub fn one_of<T: Copy>(&self, name: &str, values: &[(&str, T)]) -> Result<Option<T>> {
        self.read(name, "one of the allowed values", |text| {
            values.iter().find(|(allowed, _)| *allowed == text).map(|(_, value)| *value)
        })
    }

    /// What `convert` makes of the text of a child without the white space around it.
    pub fn read<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match convert(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(malformed(format_args!("{name} is not {expected}"))),
        }
    }
}

/// Demands what [`Element::number`] and its siblings found to be there.
pub fn required<T>(found: Option<T>, name: &str) -> Result<T> {
    found.ok_or_else(|| malformed(format_args!("{name} is missing")))
}

/// Refuses a declaration that promises another encoding than the one that is read.
fn check_encoding(text: &str) -> Result<()> {
    let Some(rest) = text.strip_prefix("<?xml") else { return Ok(()) };
    let declaration = rest.split("?>").next().unwrap_or(rest);
    let Some((_, value)) = declaration.split_once("encoding") else { return Ok(()) };
    let value = value.trim_start().trim_start_matches('=').trim();
    let name = value.get(1..).and_then(|quoted| quoted.split(['"', '\'']).next()).unwrap_or("");
    if ["UTF-8", "UTF8", "US-ASCII"].iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(malformed("the declared encoding is not UTF-8"))
}

/// Bounds depth, attributes and namespaces before the parser sees the text, because the parser compares
/// all attributes of an element with each other and copies the namespaces in scope.
fn check_shape(bytes: &[u8]) -> Result<()> {
    let count = |wanted: u8| bytes.iter().filter(|byte| **byte == wanted).count();
    if count(b'<') > ANGLES_MAX || count(b'=') > EQUALS_MAX {
        return Err(malformed("the document is too complex"));
    }
    let mut depth = 0_usize;
    let mut namespaces = 0;
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|byte| *byte == b'<') {
        check_references(&rest[..start])?;
        rest = &rest[start..];
        rest = match rest {
            [b'<', b'!', b'-', b'-', inner @ ..] => skip_past(inner, b"-->")?,
            [b'<', b'!', b'[', inner @ ..] => skip_past(inner, b"]]>")?,
            [b'<', b'!', ..] => return Err(malformed("a document type declaration")),
            [b'<', b'?', inner @ ..] => skip_past(inner, b"?>")?,
            [b'<', b'/', inner @ ..] => {
                depth = depth.checked_sub(1).ok_or_else(|| malformed("an end tag without a start tag"))?;
                skip_past(inner, b">")?
            }
            _ => {
                let tag = StartTag::scan(&rest[1..])?;
                namespaces += tag.namespaces;
                if tag.attributes > ATTRIBUTES_MAX || namespaces > NAMESPACES_MAX {
                    return Err(malformed("too many attributes or namespaces"));
                }
                if depth == DEPTH_MAX {
                    return Err(malformed("elements are nested too deep"));
                }
                depth += usize::from(!tag.is_empty_element);
                let (tag, behind) = rest.split_at(1 + tag.length);
                check_references(tag)?;
                behind
            }
        };
    }
    Ok(())
}

/// Refuses references to characters that XML does not have, for which the parser would put U+FFFD.
fn check_references(bytes: &[u8]) -> Result<()> {
    // The longest reference is `&#x10FFFF;`; more leading zeros than this fits are nobody's habit.
    const DIGITS_MAX: usize = 16;
    let mut pieces = bytes.split(|byte| *byte == b'&');
    pieces.next();
    for reference in pieces.filter_map(|piece| piece.strip_prefix(b"#")) {
        let end = reference.iter().take(DIGITS_MAX).position(|byte| *byte == b';');
        let digits = end.and_then(|end| std::str::from_utf8(&reference[..end]).ok()).unwrap_or("");
        let number = match digits.strip_prefix('x') {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => digits.parse(),
        };
        if !number.ok().and_then(char::from_u32).is_some_and(is_xml_char) {
            return Err(malformed("a reference to a character that does not exist"));
        }
    }
    Ok(())
}

/// XML 1.0 section 2.2.
fn is_xml_char(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

fn skip_past<'a>(bytes: &'a [u8], end: &[u8]) -> Result<&'a [u8]> {
    bytes
        .windows(end.len())
        .position(|window| window == end)
        .map(|at| &bytes[at + end.len()..])
        .ok_or_else(|| malformed("markup without an end"))
}

/// What [`check_shape`] counts in a start tag.
struct StartTag {
    /// From behind the `<` to behind the `>`.
    length: usize,
    attributes: usize,
    namespaces: usize,
    is_empty_element: bool,
}

impl StartTag {
    /// Reads `bytes`, which follow a `<`, to the `>` that is not within quotes.
    fn scan(bytes: &[u8]) -> Result<StartTag> {
        let mut tag = StartTag { length: 0, attributes: 0, namespaces: 0, is_empty_element: false };
        let mut quote = None;
        let mut name_start = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            match (quote, byte) {
                (Some(open), _) if open == byte => (quote, name_start) = (None, at + 1),
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'=') => {
                    tag.attributes += 1;
                    tag.namespaces += usize::from(bytes[name_start..at].starts_with(b"xmlns"));
                }
                (None, b' ' | b'\t' | b'\r' | b'\n') => name_start = at + 1,
                (None, b'>') => {
                    tag.length = at + 1;
                    tag.is_empty_element = bytes[..at].ends_with(b"/");
                    return Ok(tag);
                }
                (None, b'<') => break,
                (None, _) => {}
            }
        }
        Err(malformed("a tag without an end"))
    }
}

fn check_text(document: &roxmltree::Document<'_>) -> Result<()> {
    for node in document.descendants() {
        let too_long = match node.node_type() {
            NodeType::Text => node.text().is_some_and(|text| text.len() > TEXT_BYTES_MAX),
            NodeType::Element => node.attributes().any(|it| it.value().len() > TEXT_BYTES_MAX),
            _ => false,
        };
        if too_long {
            return Err(malformed("a text is too long"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> bool {
        match parse(bytes) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.code(), Code::MalformedXML);
                assert!(error.log_cause().is_some());
                true
            }
        }
    }

    #[test]
    fn what_is_not_a_document_is_malformed() {
        assert_eq!(parse(b"").err().map(|error| error.code()), Some(Code::MissingRequestBodyError));
        let refusals: [&[u8]; 29] = [
            b" ",
            b"text",
            b"<a>",
            b"<a",
            b"<a></b>",
            b"</a>",
            b"<a/></a>",
            b"<a/><b/>",
            b"<a/>garbage",
            b"<a><!-- </a>",
            b"<a><![CDATA[ </a>",
            b"<a b=\"c/>",
            b"<a b='1' b='2'/>",
            b"<a>\xff</a>",
            b"<a>\0</a>",
            b"<a>&#0;</a>",
            b"<a>&#xFFFFFFFF;</a>",
            b"<a>&#x110000;</a>",
            b"<a>&#xD800;</a>",
            b"<a>&#8;</a>",
            b"<a b='&#x1F;'/>",
            b"<a>&#x41</a>;",
            b"<a>&#00000000000000000000065;</a>",
            b"<a>&unknown;</a>",
            b"<x:a/>",
            b"\xff\xfe<\0a\0/\0>\0",
            b"\xfe\xff\0<\0a\0/\0>",
            b"<?xml version='1.0' encoding='UTF-7'?><a/>",
            b"<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>",
        ];
        for bytes in refusals {
            assert!(refused(bytes), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn every_way_to_write_utf8_is_read() {
        for text in [
            "<a/>",
            "\u{feff}<a/>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a/>",
            "<?xml version='1.0' encoding = 'utf-8' standalone='yes'?><a/>",
            "<?xml version=\"1.0\"?><a/>",
            " <a />\n",
            "<a b='&#xA;'>&#65;&#x10FFFF;&lt;&#x0041;<!-- &#0; --><![CDATA[&#0;]]></a>",
            "<!-- <a> --><a b='>' c=\"/>\"/><!-- -->",
        ] {
            assert!(!refused(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_document_type_declaration_is_refused() {
        for text in [
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
            "<?xml version='1.0'?><!doctype a><a/>",
            "<a><!ELEMENT b></a>",
        ] {
            assert!(refused(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(!refused(nested(DEPTH_MAX - 1).as_bytes()));
        assert!(!refused(nested(DEPTH_MAX).as_bytes()));
        assert!(refused(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(refused(nested(100_000).as_bytes()));
        assert!(refused("<a>".repeat(500_000).as_bytes()));
        let leaf = |depth: usize| "<a>".repeat(depth) + "<b/>" + &"</a>".repeat(depth);
        assert!(!refused(leaf(DEPTH_MAX - 1).as_bytes()));
        assert!(refused(leaf(DEPTH_MAX).as_bytes()));
    }

    #[test]
    fn attributes_and_namespaces_are_bounded() {
        let element = |count: usize, prefix: &str| {
            let attributes: String = (0..count).map(|n| format!(" {prefix}{n}='x'")).collect();
            format!("<a{attributes}/>")
        };
        for prefix in ["b", "xmlns:b"] {
            assert!(!refused(element(ATTRIBUTES_MAX, prefix).as_bytes()));
            assert!(refused(element(ATTRIBUTES_MAX + 1, prefix).as_bytes()));
            assert!(refused(element(100_000, prefix).as_bytes()));
        }
        let declaring = |count: usize| format!("<a>{}</a>", "<b xmlns='x'/>".repeat(count));
        assert!(!refused(declaring(NAMESPACES_MAX).as_bytes()));
        assert!(refused(declaring(NAMESPACES_MAX + 1).as_bytes()));
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let children = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count));
        // The document itself and its root element are nodes too.
        assert!(!refused(children(NODES_MAX - 2).as_bytes()));
        assert!(refused(children(NODES_MAX - 1).as_bytes()));
        assert!(refused("<".repeat(ANGLES_MAX + 1).as_bytes()));
        assert!(refused(format!("<a>{}</a>", "=".repeat(EQUALS_MAX + 1)).as_bytes()));
    }

    #[test]
    fn the_length_of_a_text_is_bounded() {
        let text = |length: usize| "x".repeat(length);
        assert!(!refused(format!("<a>{}</a>", text(TEXT_BYTES_MAX)).as_bytes()));
        assert!(refused(format!("<a>{}</a>", text(TEXT_BYTES_MAX + 1)).as_bytes()));
        assert!(refused(format!("<a><![CDATA[{}]]></a>", text(TEXT_BYTES_MAX + 1)).as_bytes()));
        assert!(!refused(format!("<a b='{}'/>", text(TEXT_BYTES_MAX)).as_bytes()));
        assert!(refused(format!("<a b='{}'/>", text(TEXT_BYTES_MAX + 1)).as_bytes()));
    }

    const SAMPLE: &str = r#"<s:Root xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/"
            xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
        <Key> a&amp;b <![CDATA[<c>]]></Key>
        <Split>one<!-- not text -->two</Split>
        <Empty/>
        <Number> 42 </Number>
        <Negative>-7</Negative>
        <Huge>99999999999999999999</Huge>
        <Yes>True</Yes>
        <Date>2026-01-02T00:00:00.000Z</Date>
        <Status>Enabled</Status>
        <Twice>1</Twice><Twice>2</Twice>
        <Grantee xsi:type="CanonicalUser"><ID>x</ID></Grantee>
    </s:Root>"#;

    #[test]
    fn children_are_found_whatever_their_namespace() {
        let document = parse(SAMPLE.as_bytes()).expect("well-formed");
        let root = document.root("Root").expect("the root's name");
        assert!(document.root("Other").is_err());
        assert_eq!(root.text("Key").expect("text").as_deref(), Some(" a&b <c>"));
        assert_eq!(root.required_text("Split").expect("text"), "onetwo");
        assert_eq!(root.required_text("Empty").expect("text"), "");
        assert!(root.text("Missing").expect("absence is no error").is_none());
        assert!(root.required("Missing").is_err());
        assert!(root.child("Twice").is_err());
        assert!(root.text("Twice").is_err());
        assert_eq!(root.texts("Twice").expect("texts"), ["1", "2"]);
        assert_eq!(root.children("Twice").count(), 2);
        let grantee = root.required("Grantee").expect("a grantee");
        assert_eq!(grantee.attribute("type"), Some("CanonicalUser"));
        assert!(grantee.content().is_err());
        assert_eq!(root.elements().last().map(|child| child.name()), Some("Grantee"));
    }

    #[test]
    fn values_are_converted_or_malformed() {
        let document = parse(SAMPLE.as_bytes()).expect("well-formed");
        let root = document.any_root();
        assert_eq!(root.number("Number").ok(), Some(Some(42)));
        assert_eq!(root.number("Missing").ok(), Some(None));
        assert_eq!(root.integer("Negative").ok(), Some(Some(-7)));
        assert_eq!(root.boolean("Yes").ok(), Some(Some(true)));
        assert_eq!(root.date("Date").ok(), Some(Some(1_767_312_000_000)));
        let states = [("Enabled", 1), ("Suspended", 2)];
        assert_eq!(root.one_of("Status", &states).ok(), Some(Some(1)));
        for name in ["Negative", "Huge", "Empty", "Status"] {
            assert!(root.number(name).is_err(), "{name}");
        }
        assert!(root.integer("Huge").is_err());
        assert!(root.boolean("Number").is_err());
        assert!(root.date("Number").is_err());
        assert!(root.one_of("Number", &states).is_err());
        assert!(required(root.number("Missing").expect("absent"), "Missing").is_err());
    }

    #[test]
    fn a_strict_element_has_only_known_children_and_no_stray_text() {
        let check =
            |text: &str| parse(text.as_bytes()).expect("well-formed").any_root().only(&["b", "c"]).is_ok();
        assert!(check("<a/>"));
        assert!(check("<a> <b/><!-- x --><c/>\n<b/> </a>"));
        assert!(!check("<a><b/><d/></a>"));
        assert!(!check("<a><b/>text</a>"));
    }

    #[test]
    fn mutated_documents_never_panic() {
        let seed = 0x5eed_1234_u64;
        println!("seed {seed:#x}");
        let mut state = seed;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for _ in 0..5_000 {
            let mut bytes = SAMPLE.as_bytes().to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % bytes.len();
                bytes[at] = b"<>/='\"&;!-[]?x \xff"[next() % 16];
            }
            if let Ok(document) = parse(&bytes) {
                let root = document.any_root();
                let _ = (root.text("Key"), root.number("Number"), root.only(&["Key"]).is_ok());
            }
        }
    }
}
