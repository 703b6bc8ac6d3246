//! `flowrun/table`: filters, derives, groups and sorts tables by expressions.
//!
//! This module knows the step's names; [`form`] reads and writes tables, [`work`] is what is done to them, [`expr`] the expressions.

pub mod cell;
pub mod expr;
pub mod form;
mod parquets;
pub mod work;

use flowrun_plugin::{Failure, Plugin, Task, Values, values};
use form::Form;
use serde::Deserialize;

/// The step's `with`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which rows are kept.
    pub r#where: Option<String>,
    /// New columns, one after the other: `NAME = EXPRESSION`.
    pub columns: Vec<String>,
    /// Columns whose combinations are the groups.
    pub group_by: Vec<String>,
    /// Columns of the grouped table: `NAME = FUNCTION(EXPRESSION)`, or `NAME = count()`.
    pub aggregate: Vec<String>,
    /// Columns that are kept, in this order.
    pub select: Option<Vec<String>>,
    /// Columns that rows are sorted by.
    pub sort: Vec<String>,
    /// The most rows.
    pub limit: Option<u64>,
    /// The input's format.
    pub format: Option<Form>,
}

/// The plugin.
pub struct Tables;

impl Plugin for Tables {
    type Config = Config;

    fn run(config: Config, task: &Task) -> Result<Values, Failure> {
        let (input, output) = (task.input("table")?, task.output("table")?);
        let from = match config.format {
            Some(form) => form,
            None => Form::of(input).map_err(|message| Failure::bad_config("format", message))?,
        };
        let to = Form::of(output).map_err(|message| Failure::bad_config("", format!("the output: {message}")))?;
        let read = form::read(from, input).map_err(Failure::bad_input)?;
        let made = work::work(read, &config)?;
        form::write(to, output, &made).map_err(Failure::internal)?;
        Ok(values! { "rows": made.rows.len(), "columns": made.columns })
    }
}

flowrun_plugin::export!(Tables);
