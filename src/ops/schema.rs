//! Checking a document against a table, and writing it back in the form that S3 returns.
//!
//! Some settings of a bucket are only kept for those who read them. Their documents are checked to be
//! what S3 would accept, and kept as text; one table per document says what that is.

use crate::codec::xml_reader::{Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::error::Result;

/// An element that a document may have.
pub struct Field {
    name: &'static str,
    least: usize,
    most: usize,
    content: Content,
}

/// What an element contains.
#[derive(Clone, Copy)]
pub enum Content {
    /// Any text.
    Text,
    /// A text of at least one character and at most this many.
    Short(usize),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number between the two.
    Number(u64, u64),
    /// `true` or `false`.
    Boolean,
    /// A text that begins so.
    Prefixed(&'static str),
    /// Elements, in any order.
    Elements(&'static [Field]),
    /// Exactly one of these elements, or none.
    AtMostOne(&'static [Field]),
}

/// An element that must be there once.
pub const fn one(name: &'static str, content: Content) -> Field {
    Field { name, least: 1, most: 1, content }
}

/// An element that may be there once.
pub const fn maybe(name: &'static str, content: Content) -> Field {
    Field { name, least: 0, most: 1, content }
}

/// An element that may be there up to so many times, and must be there `least` times.
pub const fn several(name: &'static str, least: usize, most: usize, content: Content) -> Field {
    Field { name, least, most, content }
}

/// Checks the children of an element and writes them in the order of the table.
///
/// # Errors
/// `MalformedXML`.
pub fn rewrite(element: Element<'_>, fields: &[Field], xml: &mut XmlWriter) -> Result<()> {
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    element.only(&names)?;
    for field in fields {
        let count = element.children(field.name).count();
        if !(field.least..=field.most).contains(&count) {
            return Err(malformed(format_args!("{} has {count} of {}", element.name(), field.name)));
        }
        for child in element.children(field.name) {
            xml.open(field.name);
            rewrite_content(child, field.content, xml)?;
            xml.close(field.name);
        }
    }
    Ok(())
}

fn rewrite_content(element: Element<'_>, content: Content, xml: &mut XmlWriter) -> Result<()> {
    match content {
        Content::Elements(fields) => return rewrite(element, fields, xml),
        Content::AtMostOne(fields) => {
            if element.elements().count() > 1 {
                return Err(malformed(format_args!("{} has more than one child", element.name())));
            }
            return rewrite(element, fields, xml);
        }
        _ => {}
    }
    let text = element.content()?;
    if !is_valid(&text, content) {
        return Err(malformed(format_args!("{} has a value that is not allowed", element.name())));
    }
    xml.text(&text);
    Ok(())
}

fn is_valid(text: &str, content: Content) -> bool {
    match content {
        Content::Text => true,
        Content::Short(chars_max) => !text.is_empty() && text.chars().count() <= chars_max,
        Content::OneOf(allowed) => allowed.contains(&text),
        Content::Number(least, most) => {
            text.bytes().all(|byte| byte.is_ascii_digit())
                && text.parse().is_ok_and(|number| (least..=most).contains(&number))
        }
        Content::Boolean => ["true", "false"].contains(&text),
        Content::Prefixed(prefix) => text.len() > prefix.len() && text.starts_with(prefix),
        Content::Elements(_) | Content::AtMostOne(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Content::{AtMostOne, Boolean, Elements, Number, OneOf, Prefixed, Short, Text};
    use super::*;
    use crate::codec::xml_reader::parse;

    static SCHEMA: [Field; 5] = [
        one("Id", Short(3)),
        maybe("Filter", AtMostOne(&[maybe("Prefix", Text), maybe("Days", Number(1, 30))])),
        several("Tag", 0, 2, Elements(&[one("On", Boolean)])),
        maybe("Kind", OneOf(&["A", "B"])),
        maybe("To", Prefixed("arn:")),
    ];

    fn check(content: &str) -> Option<String> {
        let body = format!("<R>{content}</R>");
        let document = parse(body.as_bytes()).expect("well-formed");
        let mut xml = XmlWriter::bare();
        rewrite(document.root("R").expect("the root"), &SCHEMA, &mut xml).ok()?;
        let text = String::from_utf8(xml.finish()).expect("UTF-8");
        Some(text.split_once('\n').expect("a declaration").1.to_owned())
    }

    #[test]
    fn a_document_comes_back_in_the_order_of_its_table() {
        assert_eq!(
            check(" <Tag><On>true</On></Tag>\n<Id>a&amp;b</Id> <Filter><Prefix/></Filter>").as_deref(),
            Some("<Id>a&amp;b</Id><Filter><Prefix></Prefix></Filter><Tag><On>true</On></Tag>")
        );
    }

    #[test]
    fn what_the_table_does_not_have_is_refused() {
        for content in [
            "",
            "<Id></Id>",
            "<Id>abcd</Id>",
            "<Id>a</Id><Id>b</Id>",
            "<Id>a</Id><Else/>",
            "<Id>a</Id>text",
            "<Id><On/></Id>",
            "<Id>a</Id><Filter><Prefix/><Days>1</Days></Filter>",
            "<Id>a</Id><Filter><Days>0</Days></Filter>",
            "<Id>a</Id><Filter><Days>31</Days></Filter>",
            "<Id>a</Id><Filter><Days>+1</Days></Filter>",
            "<Id>a</Id><Tag><On>yes</On></Tag>",
            "<Id>a</Id><Tag/>",
            "<Id>a</Id><Kind>C</Kind>",
            "<Id>a</Id><To>arn:</To>",
            "<Id>a</Id><To>urn:x</To>",
        ] {
            assert_eq!(check(content), None, "{content}");
        }
    }
}
