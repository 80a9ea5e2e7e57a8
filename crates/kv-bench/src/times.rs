//! Where the time of writes goes, as the servers' own metrics tell it.

use std::ops::Sub;

use crate::environment::Environment;
use crate::goals::time;
use crate::server::sum_of;

/// How long something has taken in all, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Total {
    seconds: f64,
    count: f64,
}

/// What the servers have spent on writes of ConfigMaps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerTimes {
    /// Requests that make an object, in the API server.
    creates: Total,
    /// Requests that replace an object, in the API server.
    updates: Total,
    /// The part of the latter that the API server waits for etcd.
    updates_in_etcd: Total,
    /// What etcd does to have its log on the disk.
    syncs: Total,
}

impl ServerTimes {
    /// All since the servers began.
    pub(crate) async fn now(env: &Environment) -> anyhow::Result<Self> {
        let apiserver = env.apiserver_metrics().await?;
        let etcd = env.servers.metrics().await?;
        let of = |verb| {
            let labels = ["resource=\"configmaps\"", verb, "subresource=\"\""];
            Total::read(&apiserver, "apiserver_request_duration_seconds", &labels)
        };
        let in_etcd = ["operation=\"update\"", "resource=\"configmaps\""];
        Ok(Self {
            creates: of("verb=\"POST\""),
            updates: of("verb=\"PUT\""),
            updates_in_etcd: Total::read(&apiserver, "etcd_request_duration_seconds", &in_etcd),
            syncs: Total::read(&etcd, "etcd_disk_wal_fsync_duration_seconds", &[]),
        })
    }

    /// What each of the writes since `before` has taken, on the average, as sides of a finding.
    pub(crate) fn sides_since(self, before: Self) -> Vec<(String, String)> {
        let sides = [
            ("a PUT in the API server", self.updates - before.updates),
            (
                "of it in etcd",
                self.updates_in_etcd - before.updates_in_etcd,
            ),
            ("a sync of etcd's log", self.syncs - before.syncs),
            ("a POST in the API server", self.creates - before.creates),
        ];
        let sides = sides.into_iter().filter(|(_, total)| total.count > 0.0);
        sides
            .map(|(name, total)| (name.to_owned(), time(total.mean_micros())))
            .collect()
    }
}

impl Total {
    /// Adds up the histograms of a name that have all of these labels.
    fn read(metrics: &str, name: &str, labels: &[&str]) -> Self {
        Self {
            seconds: sum_of(metrics, &format!("{name}_sum"), labels),
            count: sum_of(metrics, &format!("{name}_count"), labels),
        }
    }

    fn mean_micros(self) -> f64 {
        self.seconds * 1e6 / self.count
    }
}

impl Sub for Total {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            seconds: self.seconds - before.seconds,
            count: self.count - before.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Total;

    #[test]
    fn histograms_are_added_up_by_their_labels() {
        let metrics = "\
            # HELP wait_seconds how long\n\
            wait_seconds_bucket{verb=\"PUT\",le=\"1\"} 3\n\
            wait_seconds_sum{verb=\"PUT\",scope=\"a\"} 1.5\n\
            wait_seconds_count{verb=\"PUT\",scope=\"a\"} 2\n\
            wait_seconds_sum{verb=\"PUT\",scope=\"b\"} 2.5\n\
            wait_seconds_count{verb=\"PUT\",scope=\"b\"} 6\n\
            wait_seconds_sum{verb=\"POST\",scope=\"a\"} 9\n\
            other_wait_seconds_sum{verb=\"PUT\"} 9\n";
        let total = Total::read(metrics, "wait_seconds", &["verb=\"PUT\""]);
        let expected = Total {
            seconds: 4.0,
            count: 8.0,
        };
        assert_eq!(total, expected);
        assert_eq!(total.mean_micros(), 500_000.0);
    }
}
