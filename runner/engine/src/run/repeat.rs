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

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flowrun_core::artifact::Artifact;
use flowrun_core::digest::Digest;
use flowrun_core::event::{Counts, Event, RunOutcome, Stamped};
use flowrun_core::stored::repeat::{self, Finding, Look, Repeat, Seen, State};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde_json::json;

use super::{Ran, Report, now_ms};
use crate::looks::Looks;
use crate::project::Location;
use crate::store::{Memo, Result, RunRecord, Store, is_kept, now_nanos, read_repeat, stat_of};

/// How long a run is repeated before every step is looked at again: as often as `gc` hears that results are used.
const LONGEST: Duration = Duration::from_secs(3600);

/// More steps than this without values are counted and not told one by one.
const MOST_TOLD: usize = 64;

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
        let asked = format!("{file:?} {root:?} {here:?} {words:?} {program:?} {state} {variables:?}");
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
        let Repeat { finding, told, .. } = &Repeat::parse(&bytes)?;
        let age = now_ms().checked_sub(finding.at).map(Duration::from_millis);
        // Opened before anything is looked at, so that nobody removes it meanwhile.
        let store = Store::open(&self.root).ok()?;
        if age.is_none_or(|age| age > LONGEST) || !self.holds(&store, &Repeat::parse(&bytes)?) {
            store.drop_repeat(&self.name);
            return None;
        }
        Some(Again { root: self.root.clone(), store, finding: finding.clone(), told: told.clone(), began })
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

/// What a look finds.
enum Compared {
    Same,
    /// The same bytes in another state; which, where that can be believed next time.
    Touched(Option<State>),
    Other,
}

/// Looks again.
struct Looker<'a> {
    store: &'a Store,
    root: &'a Path,
    folder: std::os::fd::OwnedFd,
    /// The memory of files, once it is needed.
    memo: Option<Memo>,
}

impl<'a> Looker<'a> {
    fn new(root: &'a Path, store: &'a Store) -> std::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { store, root, folder: rustix::fs::open(root, flags, Mode::empty())?, memo: None })
    }

    fn compare(&mut self, look: &Look<'_>) -> Compared {
        let flags = match look.seen {
            Seen::Leads(_) => AtFlags::empty(),
            _ => AtFlags::SYMLINK_NOFOLLOW,
        };
        let found = match rustix::fs::statat(&self.folder, look.path, flags) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) if look.seen == Seen::Absent => return Compared::Same,
            Err(_) => return Compared::Other,
        };
        let same = match &look.seen {
            Seen::Absent => false,
            Seen::There => true,
            Seen::Itself(state) | Seen::Leads(state) | Seen::File(state, _) => State::of(&stat_of(&found)) == *state,
            Seen::Kept(mode, size) => is_kept(&found, *mode, *size),
        };
        match &look.seen {
            _ if same => Compared::Same,
            Seen::File(_, artifact) if FileType::from_raw_mode(found.st_mode).is_file() => {
                self.read_again(look.path, artifact, State::of(&stat_of(&found)), &found)
            }
            _ => Compared::Other,
        }
    }

    fn read_again(&mut self, path: &str, artifact: &Artifact, state: State, found: &rustix::fs::Stat) -> Compared {
        let memo = self.memo.get_or_insert_with(|| Memo::load(self.store));
        let rested = stat_of(found).is_settled(now_nanos());
        match self.store.hash_source(&self.root.join(path), memo) {
            Ok(now) if now == *artifact => Compared::Touched(rested.then_some(state)),
            _ => Compared::Other,
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

/// Hears a run, to leave what the next one can say again.
#[derive(Debug, Default)]
pub(super) struct Retelling {
    started: Option<Event>,
    steps: Vec<Event>,
    quiet: usize,
    published: Vec<Event>,
    /// Results that were there.
    found: Vec<(Digest, Vec<Artifact>)>,
}

impl Retelling {
    /// Hears an event; whether the run may still be repeated.
    pub(super) fn hear(&mut self, event: &Event) -> bool {
        match event {
            Event::RunStarted { resumed: None, .. } => self.started = Some(event.clone()),
            Event::Published { .. } => self.published.push(event.clone()),
            Event::Cached { key, outputs, .. } => {
                self.found.push((*key, outputs.values().map(|output| output.artifact).collect()));
                self.hear_step(event);
            }
            Event::Expanded { .. } | Event::Passed { .. } | Event::Skipped { .. } => self.hear_step(event),
            _ => return false,
        }
        true
    }

    fn hear_step(&mut self, event: &Event) {
        self.quiet += usize::from(event.is_quiet());
        if self.quiet == MOST_TOLD + 1 {
            self.steps.retain(|event| !event.is_quiet());
        }
        if self.quiet <= MOST_TOLD || !event.is_quiet() {
            self.steps.push(event.clone());
        }
    }

    /// Leaves it, where everything can be looked at again.
    pub(super) fn leave(self, asked: &Asked, store: &Store, at: u64, run: &str, counts: Counts) -> Result<()> {
        let Some(looks) = asked.looks.take() else { return Ok(()) };
        let mut told: Vec<Event> = self.started.into_iter().chain(self.steps).collect();
        if self.quiet > MOST_TOLD {
            told.push(Event::Repeated { run: run.to_owned(), steps: self.quiet });
        }
        told.extend(self.published);
        let looks = merged(looks, kept(store, &self.found)?);
        let root = &asked.root;
        let paths: Option<Vec<(&str, Seen)>> =
            looks.iter().map(|(path, seen)| Some((path.strip_prefix(root).unwrap_or(path).to_str()?, *seen))).collect();
        let finding = Finding { at, run: run.to_owned(), counts };
        let Some(paths) = paths else { return Ok(()) };
        let looks = paths.iter().map(|(path, seen)| Look { path, seen: *seen });
        match repeat::to_text(&finding, &told, looks) {
            Some(text) => store.keep_repeat(&asked.name, &text),
            None => Ok(()),
        }
    }
}

/// What the store holds of the results: entries and contents.
fn kept(store: &Store, found: &[(Digest, Vec<Artifact>)]) -> Result<Vec<(PathBuf, Seen)>> {
    let (mut looks, mut seen) = (Vec::new(), HashSet::new());
    for (key, outputs) in found {
        let (path, stat) = store.entry_state(key)?;
        looks.push((path, Seen::Itself(State::of(&stat))));
        for output in outputs {
            let files = store.files_of(output, &mut seen)?;
            looks.extend(files.into_iter().map(|(path, mode, size)| (path, Seen::Kept(mode, size))));
        }
    }
    Ok(looks)
}

/// All looks, each once, and none that another one of the same path makes needless.
fn merged(looks: Vec<(PathBuf, Seen)>, kept: Vec<(PathBuf, Seen)>) -> Vec<(PathBuf, Seen)> {
    let mut known = HashSet::new();
    let seen: HashSet<PathBuf> =
        looks.iter().filter(|(_, seen)| *seen != Seen::There).map(|(path, _)| path.clone()).collect();
    let is_new = |look: &(PathBuf, Seen)| {
        let needless = look.1 == Seen::There && seen.contains(&look.0);
        !needless && known.insert(look.clone())
    };
    looks.into_iter().filter(is_new).chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn looks_find_what_they_found_and_nothing_else() {
        let folder = tempfile::tempdir().expect("tempdir");
        let root = folder.path();
        std::fs::write(root.join("a"), "a").expect("write");
        std::os::unix::fs::symlink("a", root.join("link")).expect("link");
        std::os::unix::fs::symlink("nowhere", root.join("dangling")).expect("link");
        let store = Store::open(root).expect("opens");
        let mut looker = Looker::new(root, &store).expect("opens");
        let state = |path: &str| State::of(&stat_of(&rustix::fs::lstat(&root.join(path)).expect("there")));
        let mut same = |path, seen| matches!(looker.compare(&Look { path, seen }), Compared::Same);
        assert!(same("a", Seen::There) && !same("b", Seen::There) && same("dangling", Seen::There));
        assert!(same("b", Seen::Absent) && same("a/b", Seen::Absent) && !same("a", Seen::Absent));
        assert!(!same("dangling", Seen::Absent), "it may lead somewhere");
        assert!(same("a", Seen::Itself(state("a"))) && !same("link", Seen::Itself(state("a"))));
        assert!(same("link", Seen::Leads(state("a"))) && !same("link", Seen::Leads(state("link"))));
        assert!(!same("a", Seen::Kept(flowrun_core::artifact::Mode::File, 1)), "no stamp");
    }
}
