//! The table, as Markdown, and the page with its charts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::chart;
use crate::finding::{Bound, Finding};
use crate::goals::Report;
use crate::rounds::Effort;

/// Points of one line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) chart: Chart,
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Chart {
    Latency,
    Throughput,
    Growth,
}

impl Chart {
    const ALL: [Self; 3] = [Self::Latency, Self::Throughput, Self::Growth];

    fn file(self) -> &'static str {
        match self {
            Self::Latency => "put-latency.svg",
            Self::Throughput => "throughput.svg",
            Self::Growth => "growth.svg",
        }
    }

    /// What it shows, and its axes.
    fn titles(self) -> [&'static str; 3] {
        match self {
            Self::Latency => [
                "One put",
                "bytes of the bucket, as k8s-kv stores it",
                "p50, ms",
            ],
            Self::Throughput => ["Puts per second", "tasks at once", "puts/s"],
            Self::Growth => ["One put, by the size of the bucket", "entries", "ms"],
        }
    }
}

impl Curve {
    pub(crate) fn latency(name: &'static str) -> Self {
        Self::new(Chart::Latency, name)
    }

    pub(crate) fn throughput(name: &'static str) -> Self {
        Self::new(Chart::Throughput, name)
    }

    pub(crate) fn growth(name: &'static str) -> Self {
        Self::new(Chart::Growth, name)
    }

    fn new(chart: Chart, name: &'static str) -> Self {
        Self {
            chart,
            name,
            points: Vec::new(),
        }
    }
}

pub(crate) fn table(findings: &[Finding]) -> String {
    let mut text = "| goal | | found | wanted | | sides |\n|---|---|---|---|---|---|\n".to_owned();
    for finding in findings {
        let sides: Vec<String> = finding
            .sides
            .iter()
            .map(|(name, figure)| format!("{name} {figure}"))
            .collect();
        let verdict = match (finding.bound, finding.is_reached()) {
            (Bound::None, _) => "",
            (_, true) => "reached",
            (_, false) => "**missed**",
        };
        let (found, wanted) = (finding.found(), finding.wanted());
        let (goal, what, sides) = (finding.goal, &finding.what, sides.join("; "));
        let _ = writeln!(
            text,
            "| {goal} | {what} | {found} | {wanted} | {verdict} | {sides} |"
        );
    }
    text
}

/// Writes `benchmark.md` and the charts.
pub(crate) fn write(
    folder: &Path,
    report: &Report,
    effort: Effort,
    took: Duration,
) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let mut charts = String::new();
    for chart in Chart::ALL {
        let curves: Vec<&Curve> = report
            .curves
            .iter()
            .filter(|curve| curve.chart == chart)
            .collect();
        if curves.is_empty() {
            continue;
        }
        chart::draw(&folder.join(chart.file()), chart.titles(), &curves)?;
        let _ = writeln!(charts, "![{}]({})\n", chart.titles()[0], chart.file());
    }
    let template = include_str!("page.md");
    let page = template
        .replace("{table}", table(&report.findings).trim_end())
        .replace("{charts}", charts.trim_end())
        .replace("{machine}", &machine())
        .replace("{minutes}", &took.as_secs().div_ceil(60).to_string())
        .replace("{rounds}", &effort.rounds.to_string())
        .replace("{seconds}", &effort.seconds().to_string());
    fs::write(folder.join("benchmark.md"), page)?;
    Ok(())
}

/// The processor, the memory and the kernel.
fn machine() -> String {
    let line = |path: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = line("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory = line("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim();
    format!(
        "{processors} processors ({model}), {} GiB of memory, Linux {kernel}",
        kib.div_ceil(1024 * 1024)
    )
}
