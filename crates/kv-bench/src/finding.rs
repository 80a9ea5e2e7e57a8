//! What was found about a goal.

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
    /// a regression of.
    regression: Option<Bound>,
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

    /// A count, which is to be as good as the goal.
    pub(crate) fn count(self) -> Self {
        let bound = self.bound;
        self.count_within(bound)
    }

    /// A count that is near its goal, so that chance decides whether it is reached.
    pub(crate) fn count_within(mut self, bound: Bound) -> Self {
        self.regression = Some(bound);
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
        self.is_within(self.bound)
    }

    pub(crate) fn is_regression(&self) -> bool {
        self.regression.is_some_and(|bound| !self.is_within(bound))
    }

    fn is_within(&self, bound: Bound) -> bool {
        match bound {
            Bound::AtMost(most) => self.value <= most,
            Bound::AtLeast(least) => self.value >= least,
            Bound::None => true,
        }
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
