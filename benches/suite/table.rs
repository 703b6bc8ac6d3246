//! A line of the table: one figure of flowrun's, the same of others, a ratio and a goal.

use serde::Serialize;

/// What is to be reached, by the ratio where there is one, by the figure itself where there is none.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// A line.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    what: String,
    unit: &'static str,
    flowrun: f64,
    /// The same of others; none for one that is not there.
    others: Vec<(&'static str, Option<f64>)>,
    /// flowrun's figure to that of whom it is measured by.
    ratio: Option<f64>,
    goal: Option<Goal>,
}

impl Line {
    /// flowrun's figure.
    pub(crate) fn new(what: impl Into<String>, flowrun: f64, unit: &'static str) -> Self {
        Self { what: what.into(), unit, flowrun, others: Vec::new(), ratio: None, goal: None }
    }

    /// With the figure of another.
    pub(crate) fn beside(mut self, name: &'static str, value: Option<f64>) -> Self {
        self.others.push((name, value));
        self
    }

    /// With the ratio that counts; none where whom it is measured by is not there.
    pub(crate) fn ratio(mut self, ratio: Option<f64>) -> Self {
        self.ratio = ratio;
        self
    }

    /// With a goal, if there is one.
    pub(crate) fn goal(mut self, goal: Option<Goal>) -> Self {
        self.goal = goal;
        self
    }

    fn verdict(&self) -> String {
        // A goal by ratio cannot be judged where the peer is missing.
        let judged = if self.others.is_empty() { Some(self.flowrun) } else { self.ratio };
        let (Some(goal), Some(judged)) = (self.goal, judged) else { return String::new() };
        match goal {
            Goal::AtMost(most) if judged <= most => format!("<= {most}"),
            Goal::AtMost(most) => format!("MISSED: > {most}"),
            Goal::AtLeast(least) if judged >= least => format!(">= {least}"),
            Goal::AtLeast(least) => format!("MISSED: < {least}"),
        }
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// Prints lines that have the same columns.
pub(crate) fn print(lines: &[Line]) {
    let mut columns: Vec<&str> = Vec::new();
    for line in lines {
        let names: Vec<&str> = line.others.iter().map(|(name, _)| *name).collect();
        if names != columns {
            let heads: String = names.iter().map(|name| format!("{name:>11}")).collect();
            println!("{:<56} {:>11}{heads}  ratio  goal", "", "flowrun");
            columns = names;
        }
        let others: String = line.others.iter().map(|(_, value)| format!("{:>11}", figure(*value))).collect();
        let what = format!("{}, {}", line.what, line.unit);
        println!(
            "{what:<56} {:>11}{others}  {:>5}  {}",
            figure(Some(line.flowrun)),
            figure(line.ratio),
            line.verdict()
        );
    }
}
