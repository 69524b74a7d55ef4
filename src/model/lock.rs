//! Object lock: what keeps a version from being deleted, and for how long.
//!
//! Source: S3 user guide, "Locking objects with Object Lock".

use crate::codec::clock::Millis;
use crate::codec::time::{Civil, MILLIS_MAX};
use serde::{Deserialize, Serialize};

/// How strict a retention is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockMode {
    /// Who holds the permission may delete or shorten all the same.
    Governance,
    /// Nobody may, until it is over.
    Compliance,
}

impl LockMode {
    /// Both, with their names in XML and headers.
    pub const ALL: [(&'static str, LockMode); 2] =
        [("GOVERNANCE", LockMode::Governance), ("COMPLIANCE", LockMode::Compliance)];

    /// The name in XML and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<LockMode> {
        LockMode::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, mode)| mode)
    }
}

/// Until when a version must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// How strictly.
    pub mode: LockMode,
    /// The first moment at which it may go.
    pub until_ms: Millis,
}

/// The locks on a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLock {
    /// The retention, over or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The legal hold; `None` when it was never set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
}

impl ObjectLock {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        *self == ObjectLock::default()
    }
}

/// How long a default retention lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Period {
    /// So many days of 24 hours.
    Days(u32),
    /// So many calendar years.
    Years(u32),
}

/// The retention that a bucket gives to new versions that bring none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRetention {
    /// How strict.
    pub mode: LockMode,
    /// How long.
    pub period: Period,
}

impl DefaultRetention {
    /// The retention of a version that is created at `now`.
    pub fn starting(&self, now: Millis) -> Retention {
        let until_ms = match self.period {
            Period::Days(days) => now.saturating_add(u64::from(days) * 86_400_000),
            Period::Years(years) => years_after(now, years),
        };
        Retention { mode: self.mode, until_ms: until_ms.min(MILLIS_MAX) }
    }
}

/// The same day and time so many years later; the 28th for a 29th of February that the year lacks.
fn years_after(now: Millis, years: u32) -> Millis {
    let mut at = Civil::from_millis(now);
    at.year += u64::from(years);
    at.to_millis().or_else(|| Civil { day: 28, ..at }.to_millis()).unwrap_or(MILLIS_MAX)
}

/// Whether a request overrides retention in governance mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Governance {
    /// It holds.
    Respected,
    /// The request said `x-amz-bypass-governance-retention` and its sender may.
    Bypassed,
}

/// Whether a version must not be deleted now. `now` is the time of the request in milliseconds.
pub fn is_locked(lock: &ObjectLock, now: Millis, governance: Governance) -> bool {
    let retained = lock.retention.is_some_and(|retention| {
        let bypassed = retention.mode == LockMode::Governance && governance == Governance::Bypassed;
        now < retention.until_ms && !bypassed
    });
    retained || lock.legal_hold == Some(true)
}

/// Whether a retention may take the place of another (`None` takes it away): a running one may be
/// prolonged by everybody; anything else needs a bypass in governance mode, and is impossible in
/// compliance mode.
pub fn may_replace(
    current: Option<Retention>,
    wanted: Option<Retention>,
    now: Millis,
    governance: Governance,
) -> bool {
    let Some(current) = current.filter(|current| now < current.until_ms) else { return true };
    let prolongs =
        wanted.is_some_and(|wanted| wanted.mode == current.mode && wanted.until_ms >= current.until_ms);
    prolongs || (current.mode == LockMode::Governance && governance == Governance::Bypassed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::time::{iso8601, parse_iso8601};
    use Governance::{Bypassed, Respected};
    use LockMode::{Compliance, Governance as Lenient};

    const NOW: Millis = 1_000;

    fn until(mode: LockMode, until_ms: Millis) -> Option<Retention> {
        Some(Retention { mode, until_ms })
    }

    #[test]
    fn a_version_is_locked_until_its_retention_ends_or_its_hold_is_lifted() {
        for (retention, legal_hold, governance, locked) in [
            (None, None, Respected, false),
            (None, Some(false), Respected, false),
            (None, Some(true), Bypassed, true),
            (until(Lenient, 1_001), None, Respected, true),
            (until(Lenient, 1_001), None, Bypassed, false),
            (until(Lenient, 1_001), Some(true), Bypassed, true),
            (until(Lenient, 1_000), None, Respected, false),
            (until(Compliance, 1_001), Some(false), Bypassed, true),
            (until(Compliance, 1_000), None, Respected, false),
        ] {
            let lock = ObjectLock { retention, legal_hold };
            assert_eq!(is_locked(&lock, NOW, governance), locked, "{lock:?} {governance:?}");
        }
    }

    #[test]
    fn a_running_retention_is_only_ever_prolonged() {
        for (current, wanted, respected, bypassed) in [
            (None, until(Compliance, 1_001), true, true),
            (until(Compliance, 1_000), None, true, true),
            (until(Lenient, 1_005), until(Lenient, 1_006), true, true),
            (until(Lenient, 1_005), until(Lenient, 1_005), true, true),
            (until(Lenient, 1_005), until(Lenient, 1_004), false, true),
            (until(Lenient, 1_005), until(Compliance, 1_009), false, true),
            (until(Lenient, 1_005), None, false, true),
            (until(Compliance, 1_005), until(Compliance, 1_006), true, true),
            (until(Compliance, 1_005), until(Compliance, 1_004), false, false),
            (until(Compliance, 1_005), until(Lenient, 1_009), false, false),
            (until(Compliance, 1_005), None, false, false),
        ] {
            for (governance, may) in [(Respected, respected), (Bypassed, bypassed)] {
                assert_eq!(may_replace(current, wanted, NOW, governance), may, "{current:?} {wanted:?}");
            }
        }
    }

    #[test]
    fn default_retention_counts_days_and_calendar_years() {
        let start = parse_iso8601("2024-02-29T12:00:00.000Z").expect("a date");
        for (period, end) in [
            (Period::Days(1), "2024-03-01T12:00:00.000Z"),
            (Period::Years(1), "2025-02-28T12:00:00.000Z"),
            (Period::Years(4), "2028-02-29T12:00:00.000Z"),
        ] {
            let retention = DefaultRetention { mode: Compliance, period }.starting(start);
            assert_eq!(iso8601(retention.until_ms), end);
        }
    }
}
