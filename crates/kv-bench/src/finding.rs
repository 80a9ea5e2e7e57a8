//! What was found about a goal.

use std::ops::RangeInclusive;

/// The figure that a goal asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Only for comparison.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) goal: u8,
    pub(crate) what: String,
    /// Each side with its figure, ours first.
    pub(crate) sides: Vec<(String, String)>,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) bound: Bound,
    /// For a count of requests or bytes, which hardly depends on the machine: what a worse one is
    /// a regression of, and so is one that cannot be: what counts does not count any more.
    regression: Option<RangeInclusive<f64>>,
}

impl Finding {
    pub(crate) fn ratio(goal: u8, what: impl Into<String>, value: f64, bound: Bound) -> Self {
        Self {
            goal,
            what: what.into(),
            sides: Vec::new(),
            value,
            unit: "x",
            bound,
            regression: None,
        }
    }

    pub(crate) fn figure(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// A count, and what it has to be, whatever the goal.
    pub(crate) fn count_within(mut self, expected: RangeInclusive<f64>) -> Self {
        self.regression = Some(expected);
        self
    }

    pub(crate) fn side(mut self, name: impl Into<String>, figure: impl Into<String>) -> Self {
        self.sides.push((name.into(), figure.into()));
        self
    }

    pub(crate) fn sides(mut self, sides: Vec<(String, String)>) -> Self {
        self.sides.extend(sides);
        self
    }

    pub(crate) fn is_reached(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.value <= most,
            Bound::AtLeast(least) => self.value >= least,
            Bound::None => true,
        }
    }

    pub(crate) fn is_count(&self) -> bool {
        self.regression.is_some()
    }

    pub(crate) fn is_regression(&self) -> bool {
        let expected = self.regression.as_ref();
        expected.is_some_and(|expected| !expected.contains(&self.value))
    }

    pub(crate) fn wanted(&self) -> String {
        match self.bound {
            Bound::AtMost(most) => format!("≤ {}", self.with_unit(most)),
            Bound::AtLeast(least) => format!("≥ {}", self.with_unit(least)),
            Bound::None => "–".to_owned(),
        }
    }

    pub(crate) fn found(&self) -> String {
        self.with_unit(self.value)
    }

    fn with_unit(&self, value: f64) -> String {
        let digits = match value.abs() {
            size if size >= 100.0 || size == size.round() => 0,
            size if size >= 10.0 => 1,
            _ => 2,
        };
        let space = if self.unit == "x" { "" } else { " " };
        format!("{value:.digits$}{space}{}", self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, Finding};

    #[test]
    fn a_count_is_a_regression_that_is_worse_or_cannot_be() {
        let requests = |value| Finding::ratio(1, "requests", value, Bound::AtMost(2.0));
        let is_regression = |value| requests(value).count_within(1.0..=1.1).is_regression();
        assert_eq!(
            [0.0, 1.0, 1.1, 1.2].map(is_regression),
            [true, false, false, true]
        );
        assert!(is_regression(f64::NAN));
        // A time is never one.
        assert!(!requests(3.0).is_count() && !requests(3.0).is_regression());
    }
}
