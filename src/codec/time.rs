//! The date formats of S3: ISO 8601 with milliseconds in XML, HTTP dates in headers, the basic form in
//! signatures.

use super::clock::Millis;
use std::time::{Duration, UNIX_EPOCH};

/// A calendar date and time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, from 1970.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u64,
    /// Day of the month, 1 to 31.
    pub day: u64,
    /// Hour, 0 to 23.
    pub hour: u64,
    /// Minute, 0 to 59.
    pub minute: u64,
    /// Second, 0 to 59.
    pub second: u64,
    /// Millisecond, 0 to 999.
    pub milli: u64,
}

const DAY_MS: u64 = 86_400_000;

/// The last moment that the formats can write: 9999-12-31T23:59:59.999Z.
pub const MILLIS_MAX: Millis = 253_402_300_799_999;

impl Civil {
    /// Splits a time. Times after the year 9999 are clamped.
    ///
    /// The day arithmetic counts from 0000-03-01, which puts the leap day at the end of a year.
    pub fn from_millis(millis: Millis) -> Civil {
        let millis = millis.min(MILLIS_MAX);
        let days = millis / DAY_MS + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let of_day = millis % DAY_MS;
        Civil {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: of_day / 3_600_000,
            minute: of_day / 60_000 % 60,
            second: of_day / 1_000 % 60,
            milli: of_day % 1_000,
        }
    }

    /// The time in milliseconds; `None` for a date that does not exist or lies before 1970.
    pub fn to_millis(self) -> Option<Millis> {
        let in_range = (1970..=9999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.milli < 1_000;
        if !in_range {
            return None;
        }
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let shifted_month = (self.month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + self.day - 1;
        let year_of_era = year % 400;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = year / 400 * 146_097 + day_of_era - 719_468;
        Some(days * DAY_MS + self.hour * 3_600_000 + self.minute * 60_000 + self.second * 1_000 + self.milli)
    }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2026-11-22T19:30:00.000Z`, the form in S3's XML.
pub fn iso8601(millis: Millis) -> String {
    let at = Civil::from_millis(millis);
    let mut text = String::with_capacity(24);
    let date = [(at.year, 4, '-'), (at.month, 2, '-'), (at.day, 2, 'T')];
    let time = [(at.hour, 2, ':'), (at.minute, 2, ':'), (at.second, 2, '.'), (at.milli, 3, 'Z')];
    for (number, digits, end) in date.into_iter().chain(time) {
        push_digits(&mut text, number, digits);
        text.push(end);
    }
    text
}

/// Appends the last `digits` digits of a number. A page of a listing has a thousand times, of which `format!` made
/// an eighth of its cost.
fn push_digits(text: &mut String, number: u64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        text.push(char::from(b'0' + digit as u8));
    }
}

/// As [`iso8601`], with the second rounded down: what S3 writes for the times of buckets, objects, uploads
/// and parts, so that they equal those of `Last-Modified`.
pub fn iso8601_second(millis: Millis) -> String {
    iso8601(millis - millis % 1000)
}

/// `20261122T193000Z`, the form in signatures.
pub fn basic(millis: Millis) -> String {
    let at = Civil::from_millis(millis);
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", at.year, at.month, at.day, at.hour, at.minute, at.second)
}

/// `Sun, 22 Nov 2026 19:30:00 GMT`, the form in headers (RFC 9110 section 5.6.7).
pub fn http_date(millis: Millis) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(millis.min(MILLIS_MAX)))
}

/// Reads any of the three HTTP date forms, to the second.
pub fn parse_http_date(text: &str) -> Option<Millis> {
    let time = httpdate::parse_http_date(text.trim()).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_millis() as u64)
}

/// Reads the date of an e-mail header (RFC 5322 section 3.3) as HTTP clients write it: the name of the
/// day may be wrong or missing, and the zone may be a number. S3 reads the dates of signatures so.
pub fn parse_mail_date(text: &str) -> Option<Millis> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let words: Vec<&str> = text.split_ascii_whitespace().take(6).collect();
    let [day, month, year, clock, zone] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| month.eq_ignore_ascii_case(name))? as u64 + 1;
    let times: Vec<&str> = clock.split(':').take(4).collect();
    let [hour, minute, second] = times[..] else { return None };
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let civil = Civil {
        year: number(year)?,
        month,
        day: number(day)?,
        hour: number(hour)?,
        minute: number(minute)?,
        second: number(second)?,
        milli: 0,
    };
    let local = civil.to_millis()?;
    if ["GMT", "UTC", "UT", "Z"].iter().any(|name| zone.eq_ignore_ascii_case(name)) {
        return Some(local);
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let minutes = number(digits.get(..2)?)? * 60 + number(digits.get(2..4)?)?;
    match (sign, digits.len()) {
        ("+", 4) => local.checked_sub(minutes * 60_000),
        ("-", 4) => local.checked_add(minutes * 60_000),
        _ => None,
    }
}

/// Reads `20261122T193000Z`.
pub fn parse_basic(text: &str) -> Option<Millis> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    civil(text.get(0..8)?, text.get(9..15)?, 0)
}

/// Reads `2026-11-22T19:30:00Z`, with or without a fraction, and a bare `2026-11-22`.
pub fn parse_iso8601(text: &str) -> Option<Millis> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z').or_else(|| time.strip_suffix("+00:00"))?),
        None => (text, "00:00:00"),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let separators = date.as_bytes().get(4) == Some(&b'-')
        && date.as_bytes().get(7) == Some(&b'-')
        && time.as_bytes().get(2) == Some(&b':')
        && time.as_bytes().get(5) == Some(&b':');
    if !separators || fraction.is_empty() || fraction.len() > 9 || !all_digits(fraction) {
        return None;
    }
    let milli: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    civil(&date.replace('-', ""), &time.replace(':', ""), milli)
}

fn civil(date: &str, time: &str, milli: u64) -> Option<Millis> {
    if date.len() != 8 || time.len() != 6 || !all_digits(date) || !all_digits(time) {
        return None;
    }
    let number = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    Civil {
        year: number(date, 0, 4)?,
        month: number(date, 4, 6)?,
        day: number(date, 6, 8)?,
        hour: number(time, 0, 2)?,
        minute: number(time, 2, 4)?,
        second: number(time, 4, 6)?,
        milli,
    }
    .to_millis()
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_goes_both_ways() {
        for millis in [0, 951_782_400_000, 1_709_164_800_000, 1_795_375_800_000, MILLIS_MAX - 999] {
            assert_eq!(parse_iso8601(&iso8601(millis)), Some(millis));
            assert_eq!(parse_basic(&basic(millis)), Some(millis));
            assert_eq!(parse_http_date(&http_date(millis)), Some(millis));
        }
        assert_eq!(iso8601(1_709_164_800_123), "2024-02-29T00:00:00.123Z");
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in ["20260230T000000Z", "20261301T000000Z", "20260101T240000Z", "2026０101T000000Z", ""] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
        for text in [
            "2026-02-30T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T0:0:0Z",
            "abc",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse_iso8601(text), None, "{text}");
        }
    }

    #[test]
    fn dates_of_mail_are_read_with_any_day_name_and_zone() {
        let at = Some(1_795_375_800_000);
        for text in [
            "Sun, 22 Nov 2026 19:30:00 GMT",
            "Tue, 22 Nov 2026 19:30:00 GMT",
            "22 nov 2026 19:30:00 utc",
            "Sun, 22 Nov 2026 19:30:00 -0000",
            "Sun, 22 Nov 2026 20:30:00 +0100",
            "Sun, 22 Nov 2026 18:00:00 -0130",
        ] {
            assert_eq!(parse_mail_date(text), at, "{text}");
        }
        for text in [
            "",
            "Bad Date",
            "Tue, 07 Jul 1950 21:53:04 GMT",
            "Sun, 31 Feb 2026 19:30:00 GMT",
            "Sun, 22 Nov 2026 19:30 GMT",
            "Sun, 22 Nov 2026 19:30:00",
            "Sun, 22 Nov 2026 19:30:00 EST",
            "Sun, 22 Nov 2026 19:30:00 +1é",
            "Sun, +22 Nov 2026 19:30:00 GMT",
            "Sun, 22 Nov 2026 19:30:00 GMT GMT",
        ] {
            assert_eq!(parse_mail_date(text), None, "{text}");
        }
    }
}
