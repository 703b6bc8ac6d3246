//! `flowrun gc`: gives disk space back.

use clap::Args;
use flowrun_core::lang::units;
use flowrun_engine::fetch::{self, Cache};
use flowrun_engine::store::GcPolicy;
use flowrun_engine::{bundle, python};

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::past::Past;
use crate::show::amount::{count, size};

/// Remove stored results that are not worth their space, and Python environments, wheels and unpacked bundles that nobody uses any more
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Keep the most recently used results that fit into this size: 20GB, 500MB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Remove results, Python environments, wheels and unpacked bundles not used for this long: 30d, 12h
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<std::time::Duration>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

fn parse_size(text: &str) -> Result<u64, String> {
    units::size(text).ok_or_else(|| "expected a size such as 20GB or 500MiB".to_owned())
}

fn parse_age(text: &str) -> Result<std::time::Duration, String> {
    units::duration(text).ok_or_else(|| "expected an age such as 30d or 12h".to_owned())
}

impl Gc {
    /// Removes them, and what nothing refers to any more.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let policy = GcPolicy { max_bytes: self.max_size, older_than: self.older_than, dry_run: self.dry_run };
        let report = Past::here()?.store().gc(policy)?;
        let unused = self.unused()?;
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let gone = [count(report.entries, "result"), count(report.blobs, "file"), count(report.runs, "run record")];
        let gone = gone.join(", ");
        output::text(&format!("{verb} {gone}: {}; {} stay\n", size(report.bytes), size(report.kept_bytes)))?;
        if !unused.is_empty() {
            output::text(&format!("{verb} {}\n", unused.join(", ")))?;
        }
        Ok(Exit::Ok)
    }

    /// What the user's cache has is of all projects, so it goes by age alone.
    fn unused(&self) -> Result<Vec<String>, Error> {
        let Some(age) = self.older_than else { return Ok(Vec::new()) };
        let cache = Cache::of_user().map_err(Error::failed)?;
        let environments = super::runtime()?.block_on(python::remove_unused(&cache, age, self.dry_run));
        let removed = [
            (environments, "Python environment"),
            (fetch::remove_unused_wheels(&cache, age, self.dry_run), "wheel"),
            (bundle::remove_unused(&cache, age, self.dry_run), "bundle"),
        ];
        let told = removed.into_iter().map(|(number, what)| Ok((number.map_err(Error::failed)?, what)));
        let told: Vec<(usize, &str)> = told.collect::<Result<_, Error>>()?;
        Ok(told.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(number, what)).collect())
    }
}
