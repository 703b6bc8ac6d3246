//! Results: copies of what the pipeline names under `results`, where a person finds them.
//!
//! Copies, never links: what a person does to them must not reach the store. A result is made aside, as `.NAME.PID-N` in the same folder, and
//! takes its name at one instant, so that a name holds a whole result of one run, whoever dies and whoever else publishes meanwhile: of two
//! runs that publish at once the last wins. What a dead run left aside the next one removes.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flowrun_core::artifact::Artifact;
use flowrun_core::key::Content;
use flowrun_core::lang::reference::Reference;
use flowrun_core::outcome::{Failure, FailureKind};
use flowrun_core::plan;
use indexmap::IndexMap;
use rustix::process::{Pid, test_kill_process};

use super::look::{Upstream, store_failure};
use super::session::Session;
use crate::store::How;

/// What lies aside for so long is nobody's, also where its process seems to live: numbers of processes are given again. No copy takes so long.
const LONGEST_COPY: Duration = Duration::from_secs(3600);

/// How often a name may be taken or given up by others between our two looks at it. Each time another run has published.
const ROUNDS: usize = 100;

/// Puts every result that was made in its place. Names and paths of those, and warnings about the others.
pub(crate) fn publish(session: &Session, made: &IndexMap<String, Upstream>) -> (Vec<(String, PathBuf)>, Vec<String>) {
    let folder = session.project.root.join("results").join(&session.project.name);
    let results: Vec<(&str, Reference)> = plan::results(&session.project.program.pipeline).collect();
    let names: Vec<&str> = results.iter().map(|(name, _)| *name).collect();
    session.project.looks.glance(&folder);
    for left in left_aside(&folder, &names) {
        // What cannot be removed now will be next time.
        let _ = session.store.discard(&left);
    }
    let mut published = Vec::new();
    let mut warnings = Vec::new();
    for (name, reference) in results {
        let missing = reference.step().filter(|step| matches!(made.get(*step), None | Some(Upstream::Nothing)));
        if let Some(step) = missing {
            warnings.extend(earlier(&folder, name).map(|path| {
                let shown = path.strip_prefix(&session.project.root).unwrap_or(&path).display().to_string();
                format!("{shown} is an earlier run's: `{step}` made no result now")
            }));
            continue;
        }
        match place(session, &folder, name, &reference, made) {
            Ok(path) => published.push((name.to_owned(), path)),
            Err(failure) => warnings.push(format!("result `{name}`: {}", failure.message)),
        }
    }
    (published, warnings)
}

/// What an earlier run published under this name, whatever its extension was.
fn earlier(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| path.file_stem().is_some_and(|stem| stem == name))
}

fn place(
    session: &Session,
    folder: &Path,
    name: &str,
    reference: &Reference,
    made: &IndexMap<String, Upstream>,
) -> Result<PathBuf, Failure> {
    let mut origins = Vec::new();
    let input = session.input(reference, made, &mut origins)?;
    session.ensure(&origins)?;
    let Content::Known(artifact) = input.content else {
        return Err(Failure::new(FailureKind::Step, "a download cannot be a result"));
    };
    let extension = input.file.as_deref().and_then(|file| Path::new(file).extension());
    let path = folder.join(name);
    let path = extension.map_or_else(|| path.clone(), |extension| path.with_extension(extension));
    if path.exists()
        && session.hash(&path).is_ok_and(|found| found.digest == artifact.digest && found.mode == artifact.mode)
    {
        return Ok(path);
    }
    session.project.looks.spoil();
    std::fs::create_dir_all(folder).map_err(|error| disk(folder, &error))?;
    let aside = aside(folder, name);
    let placed = copy_into_place(session, &artifact, &aside, &path);
    // What had the name before, or what was begun.
    let discarded = session.store.discard(&aside).map_err(store_failure);
    placed.and(discarded)?;
    Ok(path)
}

fn copy_into_place(session: &Session, artifact: &Artifact, aside: &Path, path: &Path) -> Result<(), Failure> {
    // A process of the same number may have died here.
    session.store.discard(aside).map_err(store_failure)?;
    session.store.materialise(artifact, aside, How::Copy).map_err(store_failure)?;
    replace(aside, path).map_err(|error| disk(path, &error))
}

fn disk(path: &Path, error: &io::Error) -> Failure {
    store_failure(format!("{}: {error}", path.display()))
}

/// A name for something half-made that no other process or thread has now.
fn aside(folder: &Path, name: &str) -> PathBuf {
    static MADE: AtomicU64 = AtomicU64::new(0);
    folder.join(format!(".{name}.{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)))
}

/// What dead processes left aside of these results.
fn left_aside(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let left = entries.filter(|entry| {
        let file = entry.file_name();
        let Some((name, owner)) = file.to_str().and_then(|file| file.strip_prefix('.')?.rsplit_once('.')) else {
            return false;
        };
        let Some(pid) = owner.split('-').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) else {
            return false;
        };
        names.contains(&name) && (!lives(pid) || is_old(&entry.path()))
    });
    left.map(|entry| entry.path()).collect()
}

fn lives(pid: Pid) -> bool {
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

fn is_old(path: &Path) -> bool {
    let changed = std::fs::symlink_metadata(path).and_then(|found| found.modified());
    changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age > LONGEST_COPY))
}

/// Gives what is aside its name. What had the name is aside then, or gone.
fn replace(aside: &Path, place: &Path) -> io::Result<()> {
    for _ in 0..ROUNDS {
        match std::fs::rename(aside, place) {
            // A folder takes no name from what is not an empty folder, nor a file from a folder.
            Err(error) if is_in_the_way(error.kind()) => {}
            done => return done,
        }
        match exchange(aside, place) {
            // Another run took away what was in the way.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
    }
    Err(ErrorKind::ResourceBusy.into())
}

fn is_in_the_way(kind: ErrorKind) -> bool {
    use ErrorKind::{AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory};
    matches!(kind, AlreadyExists | DirectoryNotEmpty | IsADirectory | NotADirectory)
}

/// Swaps two names, at one instant where the system can.
fn exchange(aside: &Path, place: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, aside, CWD, place, RenameFlags::EXCHANGE) {
            // A file system that cannot, such as some network ones.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            done => return done.map_err(io::Error::from),
        }
    }
    exchange_in_steps(aside, place)
}

/// For a moment nothing has the name.
fn exchange_in_steps(aside: &Path, place: &Path) -> io::Result<()> {
    let mut old = aside.as_os_str().to_owned();
    old.push("-old");
    std::fs::rename(place, &old)?;
    std::fs::rename(aside, place)?;
    std::fs::rename(&old, aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(root: &Path, name: &str, text: &str) -> PathBuf {
        let path = root.join(name);
        std::fs::create_dir(&path).expect("mkdir");
        ["a", "b", "c"].iter().for_each(|file| std::fs::write(path.join(file), text).expect("write"));
        path
    }

    fn texts(folder: &Path) -> Vec<String> {
        let read = |file| std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| error.to_string());
        ["a", "b", "c"].map(read).to_vec()
    }

    #[test]
    fn anything_takes_the_name_of_anything() {
        let bed = tempfile::tempdir().expect("tempdir");
        let (root, place) = (bed.path(), bed.path().join("result"));
        for swap in [replace, |aside: &Path, place: &Path| match place.is_dir() {
            true => exchange_in_steps(aside, place),
            false => replace(aside, place),
        }] {
            for round in 0..2 {
                let aside = folder_of(root, ".result.1-0", "folder");
                swap(&aside, &place).expect("a folder");
                assert_eq!(texts(&place), ["folder"; 3], "{round}");
                let _ = std::fs::remove_dir_all(&aside).or_else(|_| std::fs::remove_file(&aside));
            }
            let aside = root.join(".result.1-1");
            for text in ["one", "two"] {
                std::fs::write(&aside, text).expect("write");
                swap(&aside, &place).expect("a file");
                assert_eq!(std::fs::read_to_string(&place).expect("read"), text);
                let _ = std::fs::remove_dir_all(&aside);
            }
            assert_eq!(std::fs::read_dir(root).expect("list").count(), 1, "nothing else is left");
        }
    }

    #[test]
    fn of_many_who_publish_at_once_one_wins_whole() {
        let bed = tempfile::tempdir().expect("tempdir");
        let (root, place) = (bed.path(), bed.path().join("result"));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let place = &place;
                scope.spawn(move || {
                    for round in 0..50 {
                        let aside = aside(root, "result");
                        let name = aside.file_name().and_then(|name| name.to_str()).expect("name").to_owned();
                        folder_of(root, &name, &thread.to_string());
                        replace(&aside, place).unwrap_or_else(|error| panic!("{thread}, {round}: {error}"));
                        let _ = std::fs::remove_dir_all(&aside);
                    }
                });
            }
        });
        let won = texts(&place);
        assert!(won[0].parse::<usize>().is_ok() && won.iter().all(|text| *text == won[0]), "{won:?}");
        assert_eq!(std::fs::read_dir(root).expect("list").count(), 1, "nothing else is left");
    }

    #[test]
    fn only_what_nobody_works_at_is_left_over() {
        let bed = tempfile::tempdir().expect("tempdir");
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        child.wait().expect("ends");
        let (dead, ours) = (child.id(), std::process::id());
        let names = [
            format!(".model.{dead}-3"),
            format!(".model.{dead}"),
            format!(".model.{ours}-1"),
            format!(".model.{ours}-2"),
        ];
        let others =
            [format!(".other.{dead}"), "model.txt".to_owned(), ".model.txt".to_owned(), ".gitignore".to_owned()];
        names.iter().chain(&others).for_each(|name| std::fs::write(bed.path().join(name), "").expect("write"));
        let old = SystemTime::now() - LONGEST_COPY - Duration::from_secs(60);
        let file = std::fs::File::options().write(true).open(bed.path().join(&names[3])).expect("open");
        file.set_modified(old).expect("utime");
        let mut left = left_aside(bed.path(), &["model", "report"]);
        left.sort();
        let mut expected = [&names[0], &names[1], &names[3]].map(|name| bed.path().join(name));
        expected.sort();
        assert_eq!(left, expected);
    }
}
