//! `flowrun verify`: runs cached steps again and says whether they make the same.

use clap::Args;
use flowrun_core::artifact::Mode;
use flowrun_core::event::{Output, RunOutcome};
use flowrun_engine::run::{self, Options, OutputDiffers, Place, Stop, Told, Verdict, Verification, Verified};
use serde_json::{Map, Value as Json, json};

use super::pipeline::PipelineArgs;
use crate::error::Error;
use crate::exit::{self, Exit};
use crate::output;
use crate::report::Stopping;
use crate::show::amount::{count, duration, grouped, size};
use crate::show::line::{Line, Tone};
use crate::show::{reason, value};

/// Run cached steps again, aside, and say whether they make the same
///
/// Each step runs once more in a folder of its own, with the same inputs; what it makes is compared with its stored result, which stays as
/// it is. Gates and steps with `cache: false` are left out, as is whatever is not cached. What the second runs made takes room in the
/// store until `flowrun gc`.
#[derive(Debug, Args)]
#[command(override_usage = "flowrun verify [OPTIONS] [STEP]... [FILE]")]
pub(crate) struct Verify {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The steps, all that are cached where none is given; an instance of a fan-out is `train[seed=1]`
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// Write one JSON object a step
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Verifies them.
    pub(crate) fn exec(mut self) -> Result<Exit, Error> {
        self.sort_out_words()?;
        let project = self.pipeline.open()?;
        let options = Options { params: self.pipeline.params(&project)?, ..Options::default() };
        let runtime = super::runtime()?;
        let mut broken = None;
        let verification = runtime.block_on(async {
            let stop = Stop::new();
            let listener = tokio::spawn(super::run::listen(stop.clone(), Stopping::default()));
            let mut tell = |told: Told<'_>| {
                // Steps that still run go on when nobody reads any more: what was found decides how this ends.
                if let Err(error) = tell(told, self.json) {
                    broken.get_or_insert(error);
                }
            };
            tokio::select! {
                verification = run::verify(&project, options, &self.steps, stop, &mut tell) => Some(verification),
                _ = listener => None,
            }
        });
        // Whatever a thread still does is of no use to anyone; what it started ends with this process.
        runtime.shutdown_background();
        let Some(verification) = verification.transpose()? else { return Ok(Exit::Interrupted) };
        if let Some(error) = broken {
            return Err(error);
        }
        if !self.json {
            output::say_lines(&closing(&verification));
        }
        Ok(exit_of(&verification))
    }

    /// Steps and the file may stand in any order: a step's id has no dot and no slash.
    fn sort_out_words(&mut self) -> Result<(), Error> {
        let is_file = |word: &String| word.split('[').next().is_some_and(|id| id.contains(['.', '/']));
        let words = self.pipeline.file.take().map(|file| file.to_string_lossy().into_owned());
        let words: Vec<String> = words.into_iter().chain(std::mem::take(&mut self.steps)).collect();
        let (files, steps): (Vec<String>, Vec<String>) = words.into_iter().partition(is_file);
        if let [first, second, ..] = files.as_slice() {
            return Err(Error::usage(format!(
                "`{first}` and `{second}` are two files: one pipeline is verified at a time"
            )));
        }
        self.pipeline.file = files.into_iter().next().map(Into::into);
        self.steps = steps;
        Ok(())
    }
}

fn tell(told: Told<'_>, json: bool) -> Result<(), Error> {
    match told {
        Told::Preparing(what) => output::say_lines(&[verdict_word(Tone::Dim, "make").plain(what)]),
        Told::Begins(step, took_ms) => {
            let line = verdict_word(Tone::Busy, "again").plain(step);
            output::say_lines(&[line.dim(format!("  took {}", duration(took_ms)))]);
        }
        Told::Ended(verified) if json => {
            let mut text = document(verified).to_string();
            text.push('\n');
            output::text(&text)?;
        }
        Told::Ended(verified) => output::lines(&lines(verified))?,
    }
    Ok(())
}

/// The columns of the word in front.
const WORD: usize = 9;

fn verdict_word(tone: Tone, word: &str) -> Line {
    Line::new().cell(tone, word, WORD)
}

/// The most lines of a diff below an output; it is a sample of what differs, not a patch.
const MOST_DIFF: usize = 12;

fn lines(verified: &Verified) -> Vec<Line> {
    let step = &verified.step;
    let timed = |tone, word| verdict_word(tone, word).plain(step).dim(format!("  {}", duration(verified.took_ms)));
    match &verified.verdict {
        Verdict::Same => vec![timed(Tone::Good, "same")],
        Verdict::NotRun { why } => vec![verdict_word(Tone::Dim, "left out").plain(step).dim("  ").dim(why)],
        Verdict::Failed { failure, tail } => {
            let mut lines = vec![timed(Tone::Bad, "failed").plain("  ").plain(&failure.message)];
            if let Some(hint) = &failure.hint {
                lines.push(below().with(Tone::Busy, "hint").plain(": ").plain(hint));
            }
            lines.extend(tail.iter().map(|text| below().dim("│ ").plain(text)));
            lines
        }
        Verdict::Differs { outputs, values } => {
            let mut lines = vec![timed(Tone::Bad, "differs")];
            outputs.iter().for_each(|output| lines.extend(output_lines(output)));
            lines.extend(values.iter().map(|(name, old, new)| {
                below().plain("value ").with(Tone::Strong, name).plain(format!(": {}", both(old, new)))
            }));
            lines
        }
    }
}

fn below() -> Line {
    Line::new().plain(" ".repeat(WORD))
}

/// Two values in a few words, or whole where those would be the same.
fn both(old: &Json, new: &Json) -> String {
    let (short_old, short_new) = (value::short(old), value::short(new));
    if short_old == short_new { format!("{old} → {new}") } else { format!("{short_old} → {short_new}") }
}

fn output_lines(differs: &OutputDiffers) -> Vec<Line> {
    let title = below().plain("output ").with(Tone::Strong, &differs.name);
    let mut lines = Vec::new();
    if let (false, [only]) = (is_folder(&differs.new), differs.places.as_slice()) {
        lines.push(title.plain(format!(" ({}: {})", differs.new.name, sizes(only))));
    } else {
        let files = differs.places.len() + differs.more;
        lines.push(title.plain(format!(" ({}/: {})", differs.new.name, count(files, "file"))));
        lines.extend(differs.places.iter().map(|place| below().plain("  ").plain(file(place))));
        if differs.more > 0 {
            lines.push(below().dim(format!("  and {}", count(differs.more, "more file"))));
        }
    }
    lines.extend(differs.diff.iter().take(MOST_DIFF).map(|text| below().plain("  ").join(reason::diff_line(text))));
    if differs.diff.len() > MOST_DIFF {
        lines.push(below().dim(format!("  and {}", count(differs.diff.len() - MOST_DIFF, "more line"))));
    }
    lines
}

fn is_folder(output: &Output) -> bool {
    output.artifact.mode == Mode::Folder
}

/// `12 MB, first difference at byte 4,211`: bytes are counted from 1, as `cmp` does.
fn sizes(place: &Place) -> String {
    let sizes = match (&place.change.old, &place.change.new) {
        (Some(old), Some(new)) if old.size != new.size => format!("{} → {}", size(old.size), size(new.size)),
        (_, Some(file)) | (Some(file), None) => size(file.size),
        (None, None) => String::new(),
    };
    match place.at {
        Some(at) => format!("{sizes}, first difference at byte {}", grouped(at as usize + 1)),
        None => format!("{sizes}, {}", place.change),
    }
}

fn file(place: &Place) -> String {
    match place.at {
        Some(_) => format!("{}: {}", place.change.shown(), sizes(place)),
        None => place.change.to_string(),
    }
}

fn closing(verification: &Verification) -> Vec<Line> {
    let of = |wanted: fn(&Verdict) -> bool| verification.steps.iter().filter(|step| wanted(&step.verdict)).count();
    let same = of(|verdict| matches!(verdict, Verdict::Same));
    let differ = of(|verdict| matches!(verdict, Verdict::Differs { .. }));
    let failed = of(|verdict| matches!(verdict, Verdict::Failed { .. }));
    let left_out = of(|verdict| matches!(verdict, Verdict::NotRun { .. }));
    let parts = [(same, "the same"), (differ, "different"), (failed, "failed"), (left_out, "left out")];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", grouped(*n))).collect();
    let tone = match verification.outcome {
        RunOutcome::Succeeded => Tone::Good,
        RunOutcome::Interrupted => Tone::Warn,
        RunOutcome::Failed => Tone::Bad,
    };
    let word = if verification.outcome == RunOutcome::Interrupted { "interrupted" } else { "verified" };
    let tally = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    let mut lines = vec![Line::new(), Line::new().with(tone, word).plain(format!(": {tally}"))];
    if differ > 0 {
        let hint = |text: &str| Line::new().with(Tone::Busy, "  hint").plain(": ").plain(text);
        lines.push(hint("often it is a seed that is not set, the time, the number of threads, the order in which a folder is listed"));
        lines.push(hint("what is cached stays as it is; `flowrun run --force STEP` replaces it"));
    }
    lines
}

fn exit_of(verification: &Verification) -> Exit {
    let differ = verification.steps.iter().any(|step| matches!(step.verdict, Verdict::Differs { .. }));
    let failures = verification.steps.iter().filter_map(|step| match &step.verdict {
        Verdict::Failed { failure, .. } => Some(failure),
        _ => None,
    });
    match exit::of_run(verification.outcome, failures) {
        Exit::Interrupted => Exit::Interrupted,
        _ if differ => Exit::Pipeline,
        other => other,
    }
}

fn document(verified: &Verified) -> Json {
    let mut told = Map::new();
    told.insert("step".into(), json!(verified.step));
    let word = match &verified.verdict {
        Verdict::Same => "same",
        Verdict::Differs { .. } => "differs",
        Verdict::Failed { .. } => "failed",
        Verdict::NotRun { .. } => "left-out",
    };
    told.insert("verdict".into(), json!(word));
    if let Some(key) = &verified.key {
        told.insert("key".into(), json!(key));
        told.insert("took_ms".into(), json!(verified.took_ms));
    }
    match &verified.verdict {
        Verdict::Same => {}
        Verdict::NotRun { why } => drop(told.insert("why".into(), json!(why))),
        Verdict::Failed { failure, tail } => {
            told.insert("failure".into(), json!(failure));
            told.insert("tail".into(), json!(tail));
        }
        Verdict::Differs { outputs, values } => {
            told.insert("outputs".into(), outputs.iter().map(output_document).collect());
            let value = |(name, old, new): &(String, Json, Json)| json!({"value": name, "old": old, "new": new});
            told.insert("values".into(), values.iter().map(value).collect());
        }
    }
    Json::Object(told)
}

fn output_document(differs: &OutputDiffers) -> Json {
    let place = |place: &Place| {
        let change = &place.change;
        json!({"path": change.path, "old": change.old, "new": change.new, "first_difference": place.at})
    };
    let files: Json = differs.places.iter().map(place).collect();
    json!({"output": differs.name, "file": differs.new.name, "old": differs.old.artifact, "new": differs.new.artifact,
        "files": files, "more": differs.more, "diff": differs.diff})
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Verb};
    use super::*;
    use clap::Parser;
    use flowrun_core::outcome::{Failure, FailureKind};

    fn sorted(words: &[&str]) -> Result<(Option<String>, Vec<String>), Error> {
        let cli = Cli::try_parse_from(["flowrun", "verify"].iter().chain(words)).expect("parses");
        let Verb::Verify(mut verify) = cli.verb else { unreachable!("asked for verify") };
        verify.sort_out_words()?;
        Ok((verify.pipeline.file.map(|file| file.display().to_string()), verify.steps))
    }

    #[test]
    fn steps_and_the_file_stand_in_any_order() {
        let file = || Some("a.yaml".to_owned());
        let steps = || vec!["train[lr=0.1]".to_owned(), "score".to_owned()];
        for words in [
            ["train[lr=0.1]", "score", "a.yaml"],
            ["a.yaml", "train[lr=0.1]", "score"],
            ["train[lr=0.1]", "a.yaml", "score"],
        ] {
            assert_eq!(sorted(&words).expect("one file"), (file(), steps()), "{words:?}");
        }
        assert_eq!(sorted(&[]).expect("no file"), (None, Vec::new()));
        assert_eq!(sorted(&["score"]).expect("no file"), (None, vec!["score".to_owned()]));
        assert!(sorted(&["a.yaml", "pipelines/b"]).is_err());
    }

    fn ended(verdicts: &[Verdict], outcome: RunOutcome) -> Exit {
        let step = |verdict: &Verdict| Verified { step: "s".into(), key: None, took_ms: 0, verdict: verdict.clone() };
        exit_of(&Verification { steps: verdicts.iter().map(step).collect(), outcome })
    }

    #[test]
    fn a_difference_is_the_pipelines_fault_whatever_else_failed() {
        let differs = Verdict::Differs { outputs: Vec::new(), values: vec![("v".into(), json!(1), json!(2))] };
        let failed = |kind| Verdict::Failed { failure: Failure::new(kind, "x"), tail: Vec::new() };
        let slow = failed(FailureKind::Timeout);
        let left_out = Verdict::NotRun { why: "a gate".into() };
        assert_eq!(ended(&[Verdict::Same, left_out], RunOutcome::Succeeded), Exit::Ok);
        assert_eq!(ended(&[Verdict::Same, differs.clone()], RunOutcome::Failed), Exit::Pipeline);
        assert_eq!(ended(&[slow.clone(), differs.clone()], RunOutcome::Failed), Exit::Pipeline);
        assert_eq!(ended(&[slow], RunOutcome::Failed), Exit::Timeout);
        assert_eq!(ended(&[failed(FailureKind::Infrastructure)], RunOutcome::Failed), Exit::Environment);
        assert_eq!(ended(&[differs], RunOutcome::Interrupted), Exit::Interrupted);
    }

    #[test]
    fn values_that_look_alike_are_told_whole() {
        assert_eq!(both(&json!(0.5), &json!(0.75)), "0.5 → 0.75");
        assert_eq!(both(&json!(0.50001), &json!(0.50002)), "0.50001 → 0.50002");
    }
}
