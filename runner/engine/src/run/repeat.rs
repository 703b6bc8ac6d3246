//! A run of which nothing has changed since one that found nothing to do: it says again what that one said.
//!
//! ```text
//! asked the same way? ──► what was left ──► every look finds what it found? ──► told again
//!         │ no                 │ none, an hour old        │ no
//!         └────────────────────┴──────────────────────────┴──► the pipeline is read, and every step looked at
//! ```
//! Reading a pipeline of thousands of steps, rendering them and making their keys takes ten times as long as looking at the files that all of it
//! hangs on. So a run that found all its steps in the cache writes down each look it took: at the pipeline's files and its lock, at
//! sources and code, at the programs of the steps and the folders where they were looked for, at the entries of the cache and the contents they name, at
//! results. What else decides is in the name of what is left: the flowrun that runs, the words of the command, variables ([`VARIABLES`]).
//!
//! A look costs what it costs a step by itself, and finds what it would find: no file is believed for longer, or for less, than the memory of files
//! believes it, and kept contents are looked at as they are at every use. A file that was touched is read again, and goes on to be the same
//! if its bytes are.
//!
//! Nothing is left by a run that ran a step, warned of something, or took up another; a run that is asked to force a step, to take up another or to tell
//! each event does not ask for it. After an hour ([`LONGEST`]) every step is looked at again, and is seen by `gc` to be used.
//!
//! Knows nothing of what an event means to people.

mod looker;
mod retelling;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use flowrun_core::digest::Digest;
use flowrun_core::event::{Event, RunOutcome, Stamped};
use flowrun_core::stored::repeat::{self, Finding, Look, Repeat, Seen, State};
use serde_json::json;

use super::{Ran, Report, now_ms};
use crate::looks::Looks;
use crate::process;
use crate::project::Location;
use crate::store::{RunRecord, Store, read_repeat, stat_of};
use looker::{Compared, Looker};
pub(crate) use retelling::Retelling;

/// How long a run is repeated before every step is looked at again: as often as `gc` hears that results are used.
const LONGEST: Duration = Duration::from_secs(3600);

/// Variables that decide what programs, Pythons and caches are found.
const VARIABLES: [&str; 6] = ["PATH", "PYENV_VERSION", "PYENV_ROOT", "FLOWRUN_CACHE", "XDG_CACHE_HOME", "HOME"];

/// The words of a command that decide what a run finds.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// The profile.
    pub profile: Option<String>,
    /// Params that were set.
    pub set: Vec<(String, String)>,
    /// A file with more of them.
    pub params_file: Option<PathBuf>,
    /// The only steps.
    pub only: Vec<String>,
    /// Whether the lock must hold everything.
    pub locked: bool,
}

/// A run as it was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    root: PathBuf,
    name: Digest,
    looks: Looks,
}

impl Asked {
    /// A run of a pipeline in these words; nothing where it cannot be repeated.
    pub fn new(at: &Location, words: &Words) -> Option<Self> {
        let Location::File { file, root, .. } = at else { return None };
        let program = std::env::current_exe().ok()?;
        let state = format!("{:?}", stat_of(&rustix::fs::stat(&program).ok()?));
        let variables = VARIABLES.map(std::env::var_os);
        let here = std::env::current_dir().ok()?;
        let sandbox = process::sandbox_missing();
        let asked = format!("{file:?} {root:?} {here:?} {words:?} {program:?} {state} {variables:?} {sandbox:?}");
        let looks = Looks::wanted();
        words.params_file.iter().for_each(|file| looks.glance(&here.join(file)));
        Some(Self { root: root.clone(), name: Digest::of(asked.as_bytes()), looks })
    }

    /// Takes down what is looked at for it.
    pub(crate) fn looks(&self) -> &Looks {
        &self.looks
    }

    /// What is said again, where nothing has changed.
    pub fn again(&self) -> Option<Again> {
        let began = Instant::now();
        let bytes = read_repeat(&self.root, &self.name)?;
        let repeat = Repeat::parse(&bytes)?;
        let age = now_ms().checked_sub(repeat.finding.at).map(Duration::from_millis);
        // Opened before anything is looked at, so that nobody removes it meanwhile.
        let store = Store::open(&self.root).ok()?;
        if age.is_none_or(|age| age > LONGEST) || !self.holds(&store, &repeat) {
            store.drop_repeat(&self.name);
            return None;
        }
        let Repeat { finding, told, .. } = repeat;
        Some(Again { root: self.root.clone(), store, finding, told, began })
    }

    /// Whether every look finds what it found. What was only touched is written down as it is now.
    fn holds(&self, store: &Store, repeat: &Repeat<'_>) -> bool {
        let Ok(mut looker) = Looker::new(&self.root, store) else { return false };
        let mut healed = Vec::new();
        for (at, look) in repeat.looks().enumerate() {
            match look.map(|look| looker.compare(&look)) {
                Some(Compared::Same) => {}
                Some(Compared::Touched(state)) => healed.push((at, state)),
                Some(Compared::Other) | None => return false,
            }
        }
        self.heal(store, repeat, &healed);
        true
    }

    fn heal(&self, store: &Store, repeat: &Repeat<'_>, healed: &[(usize, Option<State>)]) {
        // What changed a moment ago is read again next time as well, whatever is written down.
        if healed.is_empty() || healed.iter().any(|(_, state)| state.is_none()) {
            return;
        }
        let mut looks: Vec<Look<'_>> = repeat.looks().flatten().collect();
        for (at, state) in healed {
            if let (Seen::File(seen, _), Some(now)) = (&mut looks[*at].seen, state) {
                *seen = *now;
            }
        }
        if let Some(text) = repeat::to_text(&repeat.finding, &repeat.told, looks) {
            // Losing it costs time.
            let _ = store.keep_repeat(&self.name, &text);
        }
    }
}

/// A run that is told again.
pub struct Again {
    root: PathBuf,
    store: Store,
    finding: Finding,
    told: Vec<Event>,
    began: Instant,
}

impl Again {
    /// Whether steps stand for several of their instances.
    pub fn fans_out(&self) -> bool {
        self.told.iter().any(|event| matches!(event, Event::Expanded { .. }))
    }

    /// Tells it, and records it as a run of its own; nothing where that cannot be begun.
    pub fn tell(self, report: &mut dyn Report) -> Option<Ran> {
        let (id, mut record) = self.begin_record()?;
        let mut results = Vec::new();
        let mut tell = |event: Event| {
            let stamped = Stamped { at: now_ms(), event };
            report.event(&stamped);
            serde_json::to_string(&stamped).map_or(Ok(()), |line| record.note_event(&line))
        };
        let mut written = Ok(());
        for event in self.told {
            if let Event::Published { name, path } = &event {
                results.push((name.clone(), self.root.join(path)));
            }
            written = written.and(tell(renamed(event, &id)));
        }
        let (outcome, counts) = (RunOutcome::Succeeded, self.finding.counts);
        let last = Event::RunFinished { outcome, took_ms: self.began.elapsed().as_millis() as u64, counts };
        written = written.and(tell(last));
        if let Err(error) = written.and_then(|()| record.write_notes()) {
            let text = format!("the record of this run cannot be written: {error}");
            report.event(&Stamped { at: now_ms(), event: Event::Warned { text } });
        }
        Some(Ran { run: id, outcome, counts, failures: Vec::new(), results })
    }

    fn begin_record(&self) -> Option<(String, RunRecord)> {
        let started = self.told.iter().find_map(|event| match event {
            Event::RunStarted { pipeline, file, .. } => Some((pipeline, file)),
            _ => None,
        })?;
        let meta = json!({"pipeline": started.0, "file": started.1, "repeats": self.finding.run});
        let (id, record) = super::new_record(&self.store, &meta).ok()?;
        let repeats = self.told.iter().any(|event| matches!(event, Event::Repeated { .. }));
        if repeats && record.repeat(&self.finding.run).is_err() {
            self.store.forget_run(record, &id);
            return None;
        }
        Some((id, record))
    }
}

fn renamed(event: Event, id: &str) -> Event {
    match event {
        Event::RunStarted { format, pipeline, file, profile, params, steps, resumed, .. } => {
            Event::RunStarted { format, run: id.to_owned(), pipeline, file, profile, params, steps, resumed }
        }
        event => event,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flowrun_core::event::Counts;

    use super::*;
    use crate::store::{Lookup, Sandbox, StoredEntry};

    const HOUR: u64 = 3_600_000;

    fn asked(root: &Path) -> Asked {
        let at = Location::File { given: "p.yaml".into(), file: root.join("p.yaml"), root: root.to_owned() };
        Asked::new(&at, &Words::default()).expect("a file")
    }

    fn leave(asked: &Asked, at: u64, look: &str) -> bool {
        let store = Store::open(&asked.root).expect("opens");
        let finding = Finding { at, run: "r".to_owned(), counts: Counts::default() };
        let looks = [Look { path: look, seen: Seen::There }];
        let text = repeat::to_text(&finding, &[], looks).expect("text");
        store.keep_repeat(&asked.name, &text).expect("kept");
        read_repeat(&asked.root, &asked.name).is_some()
    }

    /// Of a run during which another one made a result anew, the next would otherwise say what holds no longer.
    #[test]
    fn an_entry_counts_as_it_was_when_it_was_read() {
        let folder = tempfile::tempdir().expect("tempdir");
        let store = Store::open(folder.path()).expect("opens");
        let key = Digest::of(b"key");
        let entry = StoredEntry {
            key,
            manifest: json!({}),
            outputs: Default::default(),
            values: Default::default(),
            run: "r".into(),
            took_ms: 1,
            created_unix_ms: 2,
            sandbox: Sandbox::None,
        };
        let save = || store.save_entry(&entry, "tag").expect("kept");
        for made_anew in [false, true] {
            save();
            let asked = asked(folder.path());
            let mut retelling = Retelling::default();
            match store.find_entry(&key).expect("found") {
                (Lookup::Hit(entry), Some(state)) => retelling.found(&entry, &state),
                other => panic!("{other:?}"),
            }
            if made_anew {
                save();
            }
            retelling.leave(&asked, &store, now_ms(), "r", Counts::default()).expect("left");
            assert_eq!(asked.again().is_none(), made_anew);
        }
    }

    #[test]
    fn it_holds_for_an_hour_and_not_before_it_was() {
        let folder = tempfile::tempdir().expect("tempdir");
        let asked = asked(folder.path());
        assert!(asked.again().is_none(), "nothing was left");
        for (at, holds) in [(0, true), (HOUR - 60_000, true), (HOUR + 1, false), (u64::MAX, false)] {
            // The clock may have been set back.
            let at = if at == u64::MAX { now_ms() + 60_000 } else { now_ms() - at };
            assert!(leave(&asked, at, ".flowrun"));
            assert_eq!(asked.again().is_some(), holds, "{at}");
            assert_eq!(read_repeat(&asked.root, &asked.name).is_some(), holds, "what does not hold is gone");
        }
        assert!(leave(&asked, now_ms(), "nowhere") && asked.again().is_none());
    }
}
