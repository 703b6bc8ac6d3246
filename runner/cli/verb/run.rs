//! `flowrun run`: runs what has to run.

use std::time::Duration;

use clap::Args;
use flowrun_core::lang::is_fan_out;
use flowrun_engine::project::Location;
use flowrun_engine::run::{self, Asked, Options, Stop, Words};
use tokio::signal::unix::{SignalKind, signal};

use super::pipeline::{PipelineArgs, StepArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::report::{Reporter, Stage, Stopping};

/// Run a pipeline: steps whose result is there are not run again
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    steps: StepArgs,
    /// Run at most this many steps at once; as many as there are cores where it is not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Take up a run with its params: this one, or the last that did not succeed
    #[arg(long, value_name = "RUN", num_args = 0..=1, conflicts_with_all = ["set", "params_file"])]
    resume: Option<Option<String>>,
    /// Go on with steps that do not depend on a failed one
    #[arg(long)]
    keep_going: bool,
    /// Only show what would run and why, as `flowrun plan` does
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Use nothing that the lock does not hold: drift is refused before anything runs. So for a bundle, and where the variable CI is `true`
    #[arg(long, overrides_with = "no_locked")]
    locked: bool,
    /// Complete the lock where it does not hold something, also for a bundle, and where the variable CI is `true`
    #[arg(long, overrides_with = "locked")]
    no_locked: bool,
    /// Write every event as one JSON object a line to standard output
    #[arg(long)]
    json: bool,
}

impl Run {
    /// Runs it.
    pub(crate) fn exec(mut self) -> Result<Exit, Error> {
        self.give_back_file();
        let locked = self.is_locked(std::env::var_os("CI"));
        if self.dry_run {
            return super::plan::Plan::new(self.pipeline, self.steps, self.json, locked).exec();
        }
        let at = Location::find(self.pipeline.file.as_deref())?;
        let stopping = Stopping::default();
        let asked = self.asked(&at, locked);
        if let Some(again) = asked.as_ref().and_then(Asked::again) {
            let mut reporter = Reporter::new(false, stopping.clone(), again.fans_out());
            if again.tell(&mut reporter).is_some() {
                return Ok(reporter.close(&[]));
            }
        }
        let project = self.pipeline.open_watched(&at, locked, asked.as_ref())?;
        let params = match self.resume {
            Some(_) => serde_json::Map::new(),
            None => self.pipeline.params(&project)?,
        };
        let only = self.steps.only.clone();
        let options = Options {
            params,
            jobs: self.jobs.map(usize::from),
            keep_going: self.keep_going,
            force: self.steps.force,
            only: self.steps.only,
            from: self.steps.from,
            resume: self.resume,
            dry_run: false,
            locked,
            asked,
        };
        let mut again = vec!["flowrun".to_owned(), "run".to_owned()];
        again.extend(self.pipeline.words(&project));
        again.extend(only.iter().flat_map(|step| ["--only".to_owned(), step.clone()]));
        again.extend(self.locked.then(|| "--locked".to_owned()));
        again.push("--resume".to_owned());
        let fans_out = project.program.pipeline.steps.values().any(|step| is_fan_out(step));
        let mut reporter = Reporter::new(self.json, stopping.clone(), fans_out);
        let runtime = super::runtime()?;
        let ran = runtime.block_on(async {
            let stop = Stop::new();
            let listener = tokio::spawn(listen(stop.clone(), stopping));
            tokio::select! {
                ran = run::run(&project, options, &mut reporter, stop) => Some(ran),
                _ = listener => None,
            }
        });
        // Whatever a thread still does for this run is of no use to anyone; what it started ends with this process.
        runtime.shutdown_background();
        if let Some(ran) = ran {
            ran?;
        }
        // The process is about to end: to give thousands of steps back piece by piece would only take time.
        std::mem::forget(project);
        Ok(reporter.close(&again))
    }

    /// How the run is asked for, where it may only say again what an earlier one said. Who reads each event is told each.
    fn asked(&self, at: &Location, locked: bool) -> Option<Asked> {
        let always = self.json || self.resume.is_some() || !self.steps.force.is_empty() || !self.steps.from.is_empty();
        let PipelineArgs { profile, set, params_file, .. } = self.pipeline.clone();
        let words = Words { profile, set, params_file, only: self.steps.only.clone(), locked };
        if always { None } else { Asked::new(at, &words) }
    }

    /// Whether drift is refused: a bundle holds all there is to use, and services for continuous integration set `CI`.
    fn is_locked(&self, ci: Option<std::ffi::OsString>) -> bool {
        self.locked || !self.no_locked && (self.pipeline.is_bundle() || ci.is_some_and(|ci| ci == "true"))
    }

    /// `run --resume x.yaml` means the file: a run's id never looks like one.
    fn give_back_file(&mut self) {
        let Some(Some(run)) = &self.resume else { return };
        if self.pipeline.file.is_none() && [".yaml", ".yml", ".flow"].iter().any(|end| run.ends_with(end)) {
            self.pipeline.file = Some(run.into());
            self.resume = Some(None);
        }
    }
}

/// How long a run that was told to end at once may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Hears the signals that ask to stop: the first kindly, the second surely. Ends when the run is not to be waited for any longer.
pub(super) async fn listen(stop: Stop, stopping: Stopping) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (signal(kinds[0]), signal(kinds[1]), signal(kinds[2]))
    else {
        // Without handlers a signal ends the process, and with it what it started.
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        match stopping.advance() {
            Stage::Forced => {
                stop.force();
                return tokio::time::sleep(LAST_WORDS).await;
            }
            Stage::Going | Stage::Asked => stop.ask(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Verb};
    use clap::Parser;

    fn read(words: &[&str]) -> super::Run {
        let cli = Cli::try_parse_from(["flowrun", "run"].iter().chain(words)).expect("parses");
        let Verb::Run(mut run) = cli.verb else { unreachable!("asked for run") };
        run.give_back_file();
        run
    }

    #[test]
    fn resume_does_not_swallow_the_file() {
        for (file, words) in [
            ("a.yaml", &["--resume", "a.yaml"][..]),
            ("a.yaml", &["a.yaml", "--resume"]),
            ("a.flow", &["--resume", "a.flow"]),
        ] {
            let run = read(words);
            assert_eq!((run.resume, run.pipeline.file), (Some(None), Some(file.into())));
        }
        let run = read(&["a.yaml", "--resume", "2026"]);
        assert_eq!(run.resume, Some(Some("2026".to_owned())));
    }

    #[test]
    fn the_last_word_on_drift_counts() {
        assert!(read(&["a.flow"]).is_locked(None) && !read(&["a.flow", "--no-locked"]).is_locked(None));
        let ci = || Some("true".into());
        let locked = |words: &[&str], ci| read(words).is_locked(ci);
        assert!(!locked(&[], None) && locked(&[], ci()) && !locked(&[], Some("false".into())));
        assert!(locked(&["--locked"], None) && !locked(&["--no-locked"], ci()));
        assert!(locked(&["--no-locked", "--locked"], None) && !locked(&["--locked", "--no-locked"], None));
    }

    #[test]
    fn params_of_a_resumed_run_cannot_be_set() {
        assert!(Cli::try_parse_from(["flowrun", "run", "--resume", "--set", "a=1"]).is_err());
    }
}
