//! What the terminal shows of a run: the lines that stay, and the small region below them that is drawn again and again.
//! Pure: a function of the story, the time and the size.

use flowrun_core::event::{Event, Reason, Skip};
use flowrun_core::outcome::FailureKind;

use super::Stage;
use crate::show::amount::{count, duration, elapsed, grouped};
use crate::show::line::{Line, Tone};
use crate::show::reason;
use crate::story::{Phase, Step, Story};

/// The columns of a bar.
const BAR: usize = 20;

/// Names wider than this do not push the rest away.
const WIDEST_NAME: usize = 28;

/// The columns of the time.
const TIME: usize = 7;

/// How wide names are shown.
pub(super) fn name_width(story: &Story) -> usize {
    story.widest.min(WIDEST_NAME)
}

/// The region: running steps, at most as many as fit, and a line about the whole. Every line fits `width`.
pub(super) fn frame(story: &Story, now: u64, width: usize, height: usize, stage: Stage) -> Vec<Line> {
    let names = name_width(story);
    let busy = story.steps.iter().filter(|(_, step)| step.is_active() || step.is_away());
    let running: Vec<(&String, &Step)> = busy.collect();
    // One line for the whole, one for the cursor, one so that something of what stays is seen.
    let room = height.saturating_sub(3).max(1);
    let roomy = running.len() * 2 <= room;
    let mut lines = Vec::new();
    if let Some(what) = &story.preparing {
        lines.push(Line::new().plain("  ").with(Tone::Busy, spinner(now)).plain(" ").plain(what));
    }
    let shown = if running.len() > room { room - 1 } else { running.len() };
    for (name, step) in &running[..shown] {
        lines.push(running_line(name, step, now, names, width));
        if let Some(below) = below(step).filter(|_| roomy) {
            lines.push(Line::new().plain(" ".repeat(names + TIME + 7)).dim(below));
        }
    }
    if running.len() > shown {
        lines.push(Line::new().dim(format!("    and {} more", grouped(running.len() - shown))));
    }
    lines.push(if stage == Stage::Going { whole(story, now) } else { stopping(story, stage) });
    lines.into_iter().map(|line| line.fit(width)).collect()
}

fn running_line(name: &str, step: &Step, now: u64, names: usize, width: usize) -> Line {
    if let Phase::Pausing(attempt, until) = step.phase {
        let left = duration(until.saturating_sub(now).div_ceil(1000) * 1000);
        let line = Line::new().plain("  ").with(Tone::Warn, "↻").plain(" ").cell(Tone::Plain, name, names);
        return line.dim(format!("  attempt {attempt} failed, again in {left}"));
    }
    if step.is_away() {
        let line = Line::new().plain("  ").with(Tone::Warn, "⋯").plain(" ").cell(Tone::Plain, name, names);
        let line = line.plain(" ").right(Tone::Plain, elapsed(now.saturating_sub(step.since)), TIME).plain("  ");
        return line.dim(doing(step).unwrap_or_default());
    }
    let line = Line::new().plain("  ").with(Tone::Busy, spinner(now)).plain(" ").cell(Tone::Strong, name, names);
    let line = line.plain(" ").right(Tone::Plain, elapsed(now.saturating_sub(step.since)), TIME).plain("  ");
    let line = match step.phase {
        Phase::Running(attempt @ 2..) => line.with(Tone::Warn, format!("attempt {attempt}  ")),
        _ => line,
    };
    match &step.progress {
        Some((done, total, _)) if *total > 0 && width >= line.width() + BAR + 12 => {
            line.join(bar(*done, *total)).plain("  ").plain(doing(step).unwrap_or_default())
        }
        _ => line.dim(doing(step).unwrap_or_else(|| reason::line(&step.reasons))),
    }
}

/// The second line of a running step: what it last said where its progress stands above, else why it runs.
fn below(step: &Step) -> Option<String> {
    match (&step.progress, &step.said) {
        (Some(_), Some(said)) => Some(said.clone()),
        (None, None) => None,
        // That there is no earlier result tells nothing of what changed.
        _ if matches!(step.reasons.as_slice(), [] | [Reason::New]) => None,
        _ => Some(reason::line(&step.reasons)),
    }
}

/// Whom it waits for; else the last progress, else the last line of log.
pub(super) fn doing(step: &Step) -> Option<String> {
    if let Phase::Away(run) = &step.phase {
        return Some(format!("waits {}", reason::wait(run.as_deref())));
    }
    match &step.progress {
        Some((done, 0, what)) if *done == 0 => Some(what.clone()),
        Some((done, 0, what)) => Some(format!("{done} {what}")),
        Some((done, total, what)) => Some(format!("{done}/{total} {what}")),
        None => step.said.clone(),
    }
}

fn bar(done: u64, total: u64) -> Line {
    let halves = (done.min(total) as f64 / total as f64 * (BAR * 2) as f64) as usize;
    let (full, half) = (halves / 2, halves % 2);
    let rest = BAR - full - half;
    Line::new().with(Tone::Busy, "━".repeat(full) + if half == 1 { "╸" } else { "" }).dim("─".repeat(rest))
}

fn spinner(now: u64) -> &'static str {
    const TURNS: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
    TURNS[(now / 100 % 10) as usize]
}

fn whole(story: &Story, now: u64) -> Line {
    let many = |is: fn(&Step) -> bool| story.steps.values().filter(|step| is(step)).count();
    let (over, running, away) = (many(Step::is_over), many(Step::is_active), many(Step::is_away));
    let waiting = story.steps.len().saturating_sub(over + running + away);
    let time = story.started.map_or(0, |started| now.saturating_sub(started));
    let mut parts = vec![format!("{}/{} done", grouped(over), grouped(story.steps.len()))];
    for (number, word) in [(running, "running"), (away, "made by other runs"), (waiting, "waiting")] {
        if number > 0 {
            parts.push(format!("{} {word}", grouped(number)));
        }
    }
    parts.push(elapsed(time));
    Line::new().plain("    ").dim(parts.join(" · "))
}

/// What is said after Ctrl-C.
pub(super) fn stopping(story: &Story, stage: Stage) -> Line {
    let running = story.steps.values().filter(|step| step.is_active()).count();
    let text = match stage {
        Stage::Forced => format!("killing {}", count(running, "step")),
        _ if running == 0 => "stopping".to_owned(),
        _ => {
            let them = if running == 1 { "it" } else { "them" };
            format!("stopping: waiting for {}; press again to kill {them}", count(running, "step"))
        }
    };
    Line::new().with(Tone::Warn, text)
}

/// ` · profile quick · takes up RUN`, where it applies.
pub(super) fn setting(story: &Story) -> String {
    let profile = story.profile.as_ref().map(|profile| format!(" · profile {profile}"));
    let resumed = story.resumed.as_ref().map(|run| format!(" · takes up {run}"));
    profile.unwrap_or_default() + &resumed.unwrap_or_default()
}

/// The line that stays of an event; most leave none.
pub(super) fn kept(event: &Event, story: &Story) -> Option<Line> {
    let names = name_width(story);
    let line = |tone, glyph: &str, name: &str| {
        Line::new().plain("  ").with(tone, glyph).plain(" ").cell(Tone::Plain, name, names).plain(" ")
    };
    let timed = |tone, glyph: &str, name: &str, ms: u64| line(tone, glyph, name).right(Tone::Plain, duration(ms), TIME);
    Some(match event {
        Event::RunStarted { pipeline, run, .. } => {
            Line::new().with(Tone::Strong, pipeline).dim(format!("  run {run}{}", setting(story)))
        }
        Event::Warned { text } => Line::new().with(Tone::Warn, "  ! ").plain(text),
        Event::Cached { step, took_ms, .. } => {
            let line = line(Tone::Good, "✓", step).right(Tone::Dim, "cached", TIME);
            if *took_ms < 100 { line } else { line.dim(format!("  {} saved", duration(*took_ms))) }
        }
        Event::Finished { step, took_ms, .. } => {
            let why = story.steps.get(step).map(|step| reason::line(&step.reasons)).unwrap_or_default();
            timed(Tone::Good, "✓", step, *took_ms).dim("  ").dim(why)
        }
        Event::Failed { step, took_ms, failure, .. } if failure.kind == FailureKind::Interrupted => {
            timed(Tone::Warn, "-", step, *took_ms).dim("  stopped")
        }
        Event::Failed { step, took_ms, failure, tolerated, .. } => {
            let (tone, glyph) = if *tolerated { (Tone::Warn, "!") } else { (Tone::Bad, "✗") };
            // A gate closes at once.
            let time = if *took_ms == 0 { String::new() } else { duration(*took_ms) };
            let line =
                line(tone, glyph, step).right(Tone::Plain, time, TIME).plain("  ").plain(first_line(&failure.message));
            if *tolerated { line.dim("  the run goes on") } else { line }
        }
        Event::Retrying { step, attempt, failure, .. } => line(Tone::Warn, "↻", step)
            .plain(" ".repeat(TIME))
            .plain("  ")
            .plain(first_line(&failure.message))
            .dim(format!("  attempt {attempt}")),
        Event::ChangedSince { step, run, reasons } => {
            Line::new().with(Tone::Dim, "  ~ ").dim("since ").dim(reason::since(run, step, reasons))
        }
        Event::Passed { step } => line(Tone::Good, "✓", step).right(Tone::Dim, "passed", TIME),
        Event::Skipped { why: Skip::Stopped | Skip::LeftOut, .. } => return None,
        Event::Skipped { step, why } => {
            line(Tone::Dim, "-", step).right(Tone::Dim, "skipped", TIME).dim("  ").dim(reason::skip(why))
        }
        _ => return None,
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::tests::{failed, started, story};

    fn busy(steps: usize) -> Story {
        let names: Vec<String> = (0..steps).map(|n| format!("step{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut story = story([(0, started(&names))]);
        for name in names {
            let missed = Event::Missed { step: name.into(), key: None, reasons: vec![Reason::New] };
            for event in [missed, Event::Started { step: name.into(), attempt: 1 }] {
                story.take(&flowrun_core::event::Stamped { at: 1000, event });
            }
        }
        story
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.paint(false)).collect()
    }

    #[test]
    fn a_running_step_shows_its_bar_its_words_and_why_it_runs() {
        let mut story = busy(1);
        let shown = texts(&frame(&story, 13_300, 80, 24, Stage::Going));
        assert_eq!(shown, ["  ⠸ step0    12 s  never ran here", "    0/1 done · 1 running · 13 s"]);
        story.steps[0].reasons = vec![Reason::Forced];
        story.steps[0].said = Some("epoch 1".into());
        let shown = texts(&frame(&story, 13_300, 80, 24, Stage::Going));
        assert_eq!(shown[..2], ["  ⠸ step0    12 s  epoch 1", "                   forced"]);
        story.steps[0].progress = Some((1, 4, "epochs".into()));
        story.steps[0].said = Some("loss 0.4".into());
        let shown = texts(&frame(&story, 13_300, 80, 24, Stage::Going));
        assert_eq!(shown[0], "  ⠸ step0    12 s  ━━━━━───────────────  1/4 epochs");
        assert_eq!(shown[1].trim(), "loss 0.4");
        assert!(texts(&frame(&story, 13_300, 30, 24, Stage::Going))[0].contains("1/4 epochs"));
    }

    #[test]
    fn a_step_that_waits_for_another_run_is_shown_and_is_not_running() {
        let mut story = busy(1);
        let event = Event::Waiting { step: "step0".into(), run: Some("r1".into()) };
        story.take(&flowrun_core::event::Stamped { at: 2000, event });
        let shown = texts(&frame(&story, 14_300, 80, 24, Stage::Going));
        assert_eq!(shown, ["  ⋯ step0    12 s  waits for run r1", "    0/1 done · 1 made by other runs · 14 s"]);
        assert_eq!(stopping(&story, Stage::Asked).paint(false), "stopping");
    }

    #[test]
    fn the_region_fits_every_terminal() {
        for steps in [0, 1, 5, 100] {
            let story = busy(steps);
            for (width, height) in [(80, 24), (120, 10), (20, 5), (1, 4), (0, 0)] {
                for stage in [Stage::Going, Stage::Asked, Stage::Forced] {
                    let lines = frame(&story, 5000, width, height, stage);
                    assert!(
                        lines.len() <= height.saturating_sub(1).max(2),
                        "{steps} {width}x{height}: {}",
                        lines.len()
                    );
                    assert!(lines.iter().all(|line| line.width() <= width));
                }
            }
        }
    }

    #[test]
    fn what_stays_is_one_line_a_step() {
        let story = busy(2);
        let line = kept(&failed("step0"), &story).expect("stays").paint(false);
        assert_eq!(line, "  ✗ step0   1.2 s  exited with 1");
        assert_eq!(
            stopping(&story, Stage::Asked).paint(false),
            "stopping: waiting for 2 steps; press again to kill them"
        );
    }
}
