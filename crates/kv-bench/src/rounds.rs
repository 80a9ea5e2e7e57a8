//! Sides measured in turn, round after round, so that what else the machine does meets all of them.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::drive::Samples;

/// How long and how often is measured, and how large the buckets are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// How long each side has in each round.
    pub(crate) turn: Duration,
    pub(crate) is_quick: bool,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        turn: Duration::from_secs(2),
        is_quick: false,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        turn: Duration::from_millis(500),
        is_quick: true,
    };

    /// How long each side has in all rounds.
    pub(crate) fn seconds(self) -> f64 {
        self.turn.as_secs_f64() * self.rounds as f64
    }

    /// More rounds, for what is found near what is wanted; in a look there is no time for that.
    pub(crate) fn more_rounds(self) -> Self {
        let times = if self.is_quick { 1 } else { 2 };
        Self {
            rounds: self.rounds * times,
            ..self
        }
    }

    /// As much time in a single round.
    pub(crate) fn in_one_round(self) -> Self {
        Self {
            rounds: 1,
            turn: self.turn * self.rounds as u32,
            ..self
        }
    }

    /// As much time in more rounds: the machine's pace changes from second to second, and what is
    /// compared is to meet the same one.
    pub(crate) fn finer(self) -> Self {
        const TIMES: usize = 3;
        Self {
            rounds: self.rounds * TIMES,
            turn: self.turn / TIMES as u32,
            ..self
        }
    }
}

/// A side under a name, and how to measure it once.
pub(crate) struct Side<'a> {
    pub(crate) name: String,
    pub(crate) measure: Box<dyn FnMut() -> BoxFuture<'a, anyhow::Result<Samples>> + Send + 'a>,
}

impl<'a> Side<'a> {
    pub(crate) fn new<F>(
        name: impl Into<String>,
        mut measure: impl FnMut() -> F + Send + 'a,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<Samples>> + Send + 'a,
    {
        Self {
            name: name.into(),
            measure: Box::new(move || Box::pin(measure())),
        }
    }
}

/// What all rounds have measured: a row for each side, a column for each round.
pub(crate) struct Measured {
    pub(crate) names: Vec<String>,
    pub(crate) samples: Vec<Vec<Samples>>,
}

pub(crate) async fn interleave(effort: Effort, sides: &mut [Side<'_>]) -> anyhow::Result<Measured> {
    let mut samples = vec![Vec::new(); sides.len()];
    for round in 0..effort.rounds {
        // Nobody always comes after the same side, which may still have to tidy up.
        for step in 0..sides.len() {
            let step = if round % 2 == 0 {
                step
            } else {
                sides.len() - 1 - step
            };
            let index = (step + round / 2) % sides.len();
            samples[index].push((sides[index].measure)().await?);
        }
    }
    let names = sides.iter().map(|side| side.name.clone()).collect();
    Ok(Measured { names, samples })
}

impl Measured {
    /// The median over the rounds of a figure of one side.
    pub(crate) fn median(&self, side: usize, figure: impl Fn(&Samples) -> f64) -> f64 {
        median(self.samples[side].iter().map(figure))
    }

    /// The median over the rounds of one side's figure by another's.
    pub(crate) fn ratio(&self, one: usize, other: usize, figure: impl Fn(&Samples) -> f64) -> f64 {
        let pairs = self.samples[one].iter().zip(&self.samples[other]);
        median(pairs.map(|(one, other)| figure(one) / figure(other).max(1e-9)))
    }

    /// The median over the rounds of one side's figure less another's.
    pub(crate) fn difference(
        &self,
        one: usize,
        other: usize,
        figure: impl Fn(&Samples) -> f64,
    ) -> f64 {
        let pairs = self.samples[one].iter().zip(&self.samples[other]);
        median(pairs.map(|(one, other)| figure(one) - figure(other)))
    }
}

pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[count / 2],
        count => (figures[count / 2 - 1] + figures[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
