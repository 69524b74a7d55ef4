//! Which location an object gets: the one function that decides where bytes go.
//!
//! The order, the checks and the three texts are Scality S3 Server's: a header of the request, else the
//! location of the bucket, else the one that the endpoint stands for; what comes first counts, and an
//! unknown one is refused rather than passed over. S3 itself has no such choice.

use super::Context;
use crate::config::{Backend, Config};
use crate::error::{Error, Result};

/// The user metadata that names a location, without `x-amz-meta-`. It is stored and shown like any other.
pub const METADATA_NAME: &str = "scal-location-constraint";

/// Locations that buckets without one of their own get, before the endpoint is asked.
const OLD_BUCKET_LOCATIONS: [&str; 2] = ["sproxyd", "legacy"];

/// Decides by the metadata that an object is going to have. Returns the location whose store gets the
/// bytes: its name with data backend `multiple`, else the empty string, for then there is one store for
/// everything and locations are only names. A storage class that has a location of its own decides before
/// everything else, so that all objects of the class are where the class says, however they came to it.
///
/// # Errors
/// `InvalidArgument` for a location that is not configured.
pub fn of_new_object(
    ctx: &Context<'_>,
    metadata: &[(String, String)],
    storage_class: &str,
) -> Result<String> {
    let asked = metadata.iter().find(|(name, _)| name == METADATA_NAME).map(|(_, value)| value.as_str());
    let bucket = ctx.bucket().record.location.as_str();
    let chosen = choose(&ctx.service.config, asked.unwrap_or(""), bucket, &ctx.target.endpoint)?;
    Ok(of_class(&ctx.service.config, storage_class).map_or(chosen, str::to_owned))
}

/// The location that the bytes of a storage class go to; `None` where they stay wherever they are.
pub fn of_class<'c>(config: &'c Config, storage_class: &str) -> Option<&'c str> {
    let multiple = config.data == Backend::Multiple;
    config.storage_classes.get(storage_class).filter(|_| multiple).map(String::as_str)
}

/// Of the three names the first that is not empty; `endpoint` is a host.
fn choose(config: &Config, asked: &str, bucket: &str, endpoint: &str) -> Result<String> {
    let multiple = config.data == Backend::Multiple;
    let known = |name: &str| config.locations.contains_key(name);
    let name = if !asked.is_empty() {
        let text = format!(
            "Object Location Error - Your object location \"{asked}\"is not  in your location config - Please update."
        );
        known(asked).then_some(asked).ok_or_else(|| refused(asked, text))?
    } else if !bucket.is_empty() {
        let text = format!(
            "Bucket Location Error - Your bucket location \"{bucket}\" is not in your location config - Please update."
        );
        // With one store, buckets may have been created in any AWS region, configured or not.
        let only_a_name = !multiple && super::bucket::is_region(bucket);
        (known(bucket) || only_a_name).then_some(bucket).ok_or_else(|| refused(bucket, text))?
    } else if let Some(old) = OLD_BUCKET_LOCATIONS.into_iter().find(|name| known(name)) {
        old
    } else if !multiple {
        ""
    } else {
        let text = format!(
            "Endpoint Location Error - Your endpoint \"{endpoint}\" is not in restEndpoints in your config OR the default location constraint for request endpoint \"{endpoint}\" does not match any config locationConstraint - Please update."
        );
        let of_endpoint = config.rest_endpoints.get(endpoint).map(String::as_str);
        of_endpoint.filter(|name| known(name)).ok_or_else(|| refused(endpoint, text))?
    };
    Ok(if multiple { name.to_owned() } else { String::new() })
}

fn refused(value: &str, text: String) -> Error {
    Error::invalid_argument("x-amz-meta-scal-location-constraint", value, text)
}

/// Whether a location is configured without `legacyAwsBehavior`, which changes two answers: creating a
/// bucket again, and aborting an upload that does not exist.
pub fn is_not_legacy(config: &Config, location: &str) -> bool {
    config.locations.get(location).is_some_and(|location| !location.legacy_aws_behavior)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: Backend) -> Config {
        let mut config = Config { data, ..Config::in_memory() };
        config.rest_endpoints.insert("to-mem".to_owned(), "mem".to_owned());
        config.rest_endpoints.insert("to-nowhere".to_owned(), "gone".to_owned());
        config
    }

    #[test]
    fn the_first_name_counts_and_an_unknown_one_is_refused() {
        let cases = [
            (("file", "mem", "to-mem"), Ok("file")),
            (("", "mem", "to-mem"), Ok("mem")),
            (("", "", "to-mem"), Ok("mem")),
            (
                ("mars", "mem", "to-mem"),
                Err("Object Location Error - Your object location \"mars\"is not  in"),
            ),
            (("", "mars", "to-mem"), Err("Bucket Location Error - Your bucket location \"mars\" is not in")),
            (("", "eu-nowhere-9", "to-mem"), Err("Bucket Location Error")),
            (("", "", "stranger"), Err("Endpoint Location Error - Your endpoint \"stranger\" is not in")),
            (("", "", "to-nowhere"), Err("endpoint \"to-nowhere\" does not match any config")),
        ];
        let config = config(Backend::Multiple);
        for ((asked, bucket, endpoint), expected) in cases {
            let chosen = choose(&config, asked, bucket, endpoint);
            match (&chosen, expected) {
                (Ok(name), Ok(wanted)) => assert_eq!(name, wanted),
                (Err(error), Err(text)) => assert!(error.message().contains(text), "{}", error.message()),
                _ => panic!("{asked:?} {bucket:?} {endpoint:?}: {chosen:?}"),
            }
        }
    }

    #[test]
    fn with_one_store_names_are_checked_and_mean_nothing() {
        for data in [Backend::Memory, Backend::File] {
            let config = config(data);
            assert_eq!(choose(&config, "file", "mem", "").expect("known"), "");
            assert_eq!(choose(&config, "", "eu-nowhere-9", "").expect("a region"), "");
            assert_eq!(choose(&config, "", "", "stranger").expect("not asked"), "");
            assert!(choose(&config, "mars", "mem", "").is_err());
            assert!(choose(&config, "", "mars", "").is_err());
        }
    }

    #[test]
    fn a_bucket_without_a_location_prefers_the_old_names() {
        let mut config = config(Backend::Multiple);
        let location = config.locations["mem"].clone();
        config.locations.insert("legacy".to_owned(), location);
        assert_eq!(choose(&config, "", "", "to-mem").expect("configured"), "legacy");
    }

    #[test]
    fn only_a_configured_location_can_be_other_than_legacy() {
        let config = config(Backend::Memory);
        for (name, expected) in [("us-east-1", false), ("mem", true), ("mars", false), ("", false)] {
            assert_eq!(is_not_legacy(&config, name), expected, "{name}");
        }
    }
}
