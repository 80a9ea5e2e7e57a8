//! What `cargo test` says about the tests, read from its output.

use std::collections::BTreeSet;
use std::fmt;

/// The reason in the `#[ignore]` of each test that needs a real API server.
pub(crate) const NEEDS_SERVER: &str = "needs a real API server";

/// The tests of one or more runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    ignored: Vec<Ignored>,
    ran: BTreeSet<String>,
    /// Test programs that have begun and not yet told their result.
    unfinished: u64,
}

/// A test that did not run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ignored {
    name: String,
    reason: String,
}

impl Tally {
    pub(crate) fn read_line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.unfinished = self.unfinished.saturating_sub(1);
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
        } else if let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        {
            self.read_test(name, outcome);
        } else if is_beginning(line) {
            self.unfinished += 1;
        }
    }

    fn read_test(&mut self, name: &str, outcome: &str) {
        let name = name.trim_end_matches(" - should panic").to_owned();
        if let Some(reason) = outcome.strip_prefix("ignored") {
            let reason = reason.trim_start_matches(", ").to_owned();
            self.ignored.push(Ignored { name, reason });
            return;
        }
        if outcome.starts_with("FAILED") {
            self.failures.push(name.clone());
        }
        self.ran.insert(name);
    }

    /// Ends the reading of one `cargo test`: what broke without a result counts as a failure.
    pub(crate) fn finish(&mut self, command: &str, success: bool) {
        for _ in 0..self.unfinished {
            self.fail(format!(
                "a test program of `{command}` ended before its result"
            ));
        }
        self.unfinished = 0;
        if !success && self.failed == 0 {
            self.fail(format!("`{command}`"));
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    /// Adds a later run. What it ran, the earlier one has not left out after all.
    pub(crate) fn add(&mut self, later: Self) {
        self.ignored.retain(|test| !later.ran.contains(&test.name));
        self.passed += later.passed;
        self.failed += later.failed;
        self.failures.extend(later.failures);
        self.ignored.extend(later.ignored);
        self.ran.extend(later.ran);
    }

    /// How many wait for a real API server.
    pub(crate) fn waiting_for_server(&self) -> usize {
        self.ignored
            .iter()
            .filter(|test| test.reason == NEEDS_SERVER)
            .count()
    }

    pub(crate) fn is_success(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Ignored { name, reason } in &self.ignored {
            writeln!(
                out,
                "not run: {name} ({})",
                if reason.is_empty() {
                    "no reason"
                } else {
                    reason
                }
            )?;
        }
        for name in &self.failures {
            writeln!(out, "failed: {name}")?;
        }
        write!(out, "{} passed, {} failed", self.passed, self.failed)?;
        if !self.ignored.is_empty() {
            write!(out, ", {} skipped", self.ignored.len())?;
        }
        Ok(())
    }
}

/// `running 3 tests`, the first line of each test program.
fn is_beginning(line: &str) -> bool {
    let mut words = line.split(' ');
    words.next() == Some("running")
        && words
            .next()
            .is_some_and(|number| number.parse::<u64>().is_ok())
        && matches!(words.next(), Some("test" | "tests"))
        && words.next().is_none()
}

/// The number before a word, as in `ok. 3 passed; 0 failed`.
fn count(counts: &str, what: &str) -> u64 {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().split_once(' '))
        .find(|(_, word)| *word == what)
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str, success: bool) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read_line(line));
        tally.finish("cargo test", success);
        tally
    }

    const MIXED: &str = "\
running 4 tests
test keys::empty ... ok
test keys::unicode ... FAILED
test keys::panics - should panic ... ok
test real::put ... ignored, needs a real API server

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn results_add_up_and_names_are_kept() {
        let tally = read(MIXED, false);
        assert_eq!(
            tally.to_string(),
            "not run: real::put (needs a real API server)\nfailed: keys::unicode\n\
             2 passed, 1 failed, 1 skipped"
        );
        assert_eq!(tally.waiting_for_server(), 1);
        assert!(!tally.is_success());
    }

    #[test]
    fn a_test_that_a_later_run_makes_up_for_is_not_skipped() {
        let mut tally = read(MIXED, false);
        tally.add(read(
            "running 1 test\ntest real::put ... ok\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out\n",
            true,
        ));
        assert_eq!(
            tally.to_string(),
            "failed: keys::unicode\n3 passed, 1 failed"
        );
    }

    #[test]
    fn a_program_that_dies_in_the_middle_is_a_failure() {
        let tally = read("running 2 tests\ntest keys::empty ... ok\n", false);
        assert_eq!(tally.failed, 1);
        assert!(tally.failures[0].contains("before its result"));
    }

    #[test]
    fn a_program_that_does_not_compile_is_a_failure() {
        assert_eq!(
            read("", false).to_string(),
            "failed: `cargo test`\n0 passed, 1 failed"
        );
    }

    #[test]
    fn doc_tests_are_tests() {
        let tally = read(
            "running 2 tests\ntest src/lib.rs - put (line 3) ... ok\n\
             test src/lib.rs - get (line 9) ... ignored\n\
             test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n",
            true,
        );
        assert_eq!(
            tally.to_string(),
            "not run: src/lib.rs - get (line 9) (no reason)\n1 passed, 0 failed, 1 skipped"
        );
    }

    #[test]
    fn what_a_test_prints_is_not_a_result() {
        let tally = read(
            "running away\nrunning 3 tests in parallel\ntest of strength\n",
            true,
        );
        assert_eq!(tally.to_string(), "0 passed, 0 failed");
    }
}
