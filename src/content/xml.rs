//! From JSON to the XML of S3's settings, so that a document of `--init` can be one JSON file.
//!
//! Two shapes are understood, and may be mixed: that of the XML itself (an element is a key, a repeated
//! element a list), and that of the AWS command line and SDKs, where lists have names of their own. What
//! `aws s3api get-bucket-cors` prints can be put into the file as it is.

use crate::codec::xml_writer::{XmlWriter, escape};
use serde_json::Value;

/// How deep a setting may be nested.
const DEPTH_MAX: usize = 32;

/// Lists of the SDKs and the element that each item becomes.
const REPEATED: &[(&str, &str)] = &[
    ("AllowedHeaders", "AllowedHeader"),
    ("AllowedMethods", "AllowedMethod"),
    ("AllowedOrigins", "AllowedOrigin"),
    ("CORSRules", "CORSRule"),
    ("Events", "Event"),
    ("ExposeHeaders", "ExposeHeader"),
    ("FilterRules", "FilterRule"),
    ("LambdaFunctionConfigurations", "CloudFunctionConfiguration"),
    ("NoncurrentVersionTransitions", "NoncurrentVersionTransition"),
    ("QueueConfigurations", "QueueConfiguration"),
    ("Rules", "Rule"),
    ("Tags", "Tag"),
    ("TopicConfigurations", "TopicConfiguration"),
    ("Transitions", "Transition"),
];

/// Lists that keep an element around their items: name, element around, element of an item.
const WRAPPED: &[(&str, &str, &str)] = &[
    ("Grants", "AccessControlList", "Grant"),
    ("RoutingRules", "RoutingRules", "RoutingRule"),
    ("TagSet", "TagSet", "Tag"),
    ("TargetGrants", "TargetGrants", "Grant"),
];

/// Names of the SDKs for elements that are called otherwise in XML.
const RENAMED: &[(&str, &str)] =
    &[("LambdaFunctionArn", "CloudFunction"), ("QueueArn", "Queue"), ("TopicArn", "Topic")];

/// A document with this root element. `Err` says what is wrong with the value.
pub fn document(root: &str, value: &Value) -> Result<Vec<u8>, String> {
    let mut xml = XmlWriter::document(root);
    children(&mut xml, value, DEPTH_MAX)?;
    Ok(xml.end(root))
}

fn children(xml: &mut XmlWriter, value: &Value, depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("nested more than {DEPTH_MAX} deep"));
    }
    match value {
        Value::Object(object) => object.iter().try_for_each(|(key, value)| member(xml, key, value, depth)),
        Value::Array(_) => Err("a list stands where an object or a text belongs".to_owned()),
        Value::Null => Ok(()),
        Value::String(text) => {
            xml.text(text);
            Ok(())
        }
        other => {
            xml.text(&other.to_string());
            Ok(())
        }
    }
}

fn member(xml: &mut XmlWriter, key: &str, value: &Value, depth: usize) -> Result<(), String> {
    if !is_element_name(key) {
        return Err(format!("{key:?} cannot be the name of an element"));
    }
    if let (Value::Array(items), Some((_, around, item_name))) =
        (value, WRAPPED.iter().find(|(name, ..)| *name == key))
    {
        xml.open(around);
        items.iter().try_for_each(|item| element(xml, item_name, item, depth))?;
        xml.close(around);
        return Ok(());
    }
    let renamed = RENAMED.iter().chain(REPEATED).find(|(name, _)| *name == key).map(|(_, element)| *element);
    match (value, renamed) {
        (Value::Array(items), name) => {
            let name = name.unwrap_or(key);
            items.iter().try_for_each(|item| element(xml, name, item, depth))
        }
        (value, Some(name)) => element(xml, name, value, depth),
        // The SDKs call the only filter of a notification `Key`; S3's XML calls it `S3Key`.
        (Value::Object(object), None) if key == "Key" && object.contains_key("FilterRules") => {
            element(xml, "S3Key", value, depth)
        }
        (value, None) => element(xml, key, value, depth),
    }
}

fn element(xml: &mut XmlWriter, name: &str, value: &Value, depth: usize) -> Result<(), String> {
    // The kind of a grantee is an attribute, the only one in all of S3.
    if let (Value::Object(object), "Grantee") = (value, name)
        && let Some(kind) = object.get("Type").or_else(|| object.get("xsi:type")).and_then(Value::as_str)
    {
        let mut escaped = String::new();
        escape(kind, &mut escaped);
        let xsi = "http://www.w3.org/2001/XMLSchema-instance";
        xml.open_with(name, &format!("xmlns:xsi=\"{xsi}\" xsi:type=\"{escaped}\""));
        let rest = object.iter().filter(|(key, _)| !["Type", "xsi:type"].contains(&key.as_str()));
        for (key, value) in rest {
            member(xml, key, value, depth.saturating_sub(1))?;
        }
        xml.close(name);
        return Ok(());
    }
    xml.open(name);
    children(xml, value, depth.saturating_sub(1))?;
    xml.close(name);
    Ok(())
}

fn is_element_name(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value, expected: &str) {
        let xml = String::from_utf8(document("R", &value).unwrap()).unwrap();
        let (_, inside) = xml.split_once("2006-03-01/\">").unwrap();
        assert_eq!(inside, format!("{expected}</R>"));
    }

    #[test]
    fn both_shapes_of_lists_become_repeated_elements() {
        let expected =
            "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod></CORSRule>";
        check(json!({ "CORSRules": [{ "AllowedMethods": ["GET", "PUT"] }] }), expected);
        check(json!({ "CORSRule": { "AllowedMethod": ["GET", "PUT"] } }), expected);
    }

    #[test]
    fn wrapped_lists_numbers_and_grantees_keep_their_form() {
        check(
            json!({ "TagSet": [{ "Key": "k", "Value": "<" }] }),
            "<TagSet><Tag><Key>k</Key><Value>&lt;</Value></Tag></TagSet>",
        );
        check(json!({ "Days": 3, "On": true }), "<Days>3</Days><On>true</On>");
        check(
            json!({ "Grantee": { "Type": "Group", "URI": "u" } }),
            "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"><URI>u</URI></Grantee>",
        );
    }

    #[test]
    fn what_cannot_be_xml_is_refused() {
        for wrong in [json!(["a"]), json!({ "a b": 1 }), json!({ "a": [["b"]] })] {
            assert!(document("R", &wrong).is_err(), "{wrong}");
        }
        let mut deep = json!("x");
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        assert!(document("R", &deep).is_err());
    }
}
