//! Steps that each succeed or fail, and the table of them at the end.

use std::fmt;
use std::time::{Duration, Instant};

/// What the steps until now came to.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    success: bool,
    time: Duration,
}

impl Steps {
    /// Does a step. One that fails does not keep the later ones from being done, so that a person sees
    /// everything at once.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<bool>) {
        println!("== {name}");
        let start = Instant::now();
        let success = step().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        let step = Step {
            name: name.to_owned(),
            success,
            time: start.elapsed(),
        };
        println!("== {step}\n");
        self.done.push(step);
    }

    pub(crate) fn is_success(&self) -> bool {
        self.done.iter().all(|step| step.success)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.done {
            writeln!(out, "{step}")?;
        }
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|step| !step.success)
            .map(|step| step.name.as_str())
            .collect();
        match failed.as_slice() {
            [] => write!(out, "all checks passed"),
            names => write!(out, "failed: {}", names.join(", ")),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.success { "ok" } else { "FAILED" };
        write!(
            out,
            "{:<24} {verdict:<6} {:>7.1} s",
            self.name,
            self.time.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_named_and_the_rest_still_done() {
        let mut steps = Steps::default();
        steps.run("format", || Ok(false));
        steps.run("lints", || anyhow::bail!("no clippy"));
        steps.run("docs", || Ok(true));
        assert!(!steps.is_success());
        assert!(steps.to_string().ends_with("failed: format, lints"));
        assert!(steps.to_string().contains("docs                     ok"));
    }
}
