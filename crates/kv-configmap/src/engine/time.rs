use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The latest time that a bucket stores: the year 10889, within what every platform can hold.
const LATEST_MS: u64 = 1 << 48;

pub(super) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(LATEST_MS)
}

pub(super) fn from_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.min(LATEST_MS))
}
