//! From what is asked for to exact packages: `uv pip compile` for one platform, told as a `pylock.toml`, of which versions, file names and
//! hashes are kept and addresses are not.
//!
//! Versions that are already known are put where uv looks for its own earlier output: it keeps them as long as they fit, so that adding one
//! requirement moves nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;

use flowrun_core::outcome::{Failure, Say};
use flowrun_core::stored::lock::{FilePin, PackagePin, PythonWish, is_name, is_sha256, is_version};
use tokio::sync::mpsc::Sender;

use super::elsewhere::{self, Elsewhere};
use super::uv::{Said, Uv, failure, is_network};
use super::{PythonLock, PythonSpec, interpreter, pylock, requirement, tags, unfit};
use crate::fetch::{Cache, Platform, checked_name, infrastructure};

/// What must be known to resolve.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) wish: &'a PythonWish,
    pub(crate) platform: Platform,
    /// Versions to keep where they fit, by package.
    pub(crate) kept: &'a BTreeMap<String, String>,
    /// Whether what the requirements need is wanted too.
    pub(crate) deep: bool,
}

/// Why something cannot be resolved.
#[derive(Debug)]
pub(crate) struct Unresolved {
    pub(crate) failure: Failure,
    /// The requirement that is why, as written, where it is one.
    pub(crate) about: Option<String>,
}

impl From<Failure> for Unresolved {
    fn from(failure: Failure) -> Self {
        Self { failure, about: None }
    }
}

/// Locks `spec` for this or another platform, for an environment that nobody reviews.
pub async fn lock(
    cache: &Cache,
    spec: &PythonSpec,
    platform: Platform,
    say: &Sender<Say>,
) -> Result<PythonLock, Failure> {
    let wish = PythonWish::new(&spec.version, &spec.requirements, &spec.no_binary);
    let question = Question { wish: &wish, platform, kept: &BTreeMap::new(), deep: true };
    let packages = resolve(cache, question, say).await.map_err(|unresolved| unresolved.failure)?;
    Ok(PythonLock::of(&wish.python, platform, packages))
}

/// The packages of an environment, sorted. Asks the index; where there is no network, resolves among what was brought before.
pub(crate) async fn resolve(
    cache: &Cache,
    question: Question<'_>,
    say: &Sender<Say>,
) -> Result<Vec<PackagePin>, Unresolved> {
    let Question { wish, platform, .. } = question;
    for requirement in &wish.requirements {
        let about = || Some(requirement.clone());
        requirement::check(requirement).map_err(|failure| Unresolved { failure, about: about() })?;
    }
    super::check(wish)?;
    if wish.requirements.is_empty() {
        return Ok(Vec::new());
    }
    let uv = Uv::online(cache).await?;
    let mut args = arguments(question)?;
    args.extend(uv.index_args());
    // What builds a package to learn its dependencies should be the Python it is meant for, where that is here.
    if let Ok(found) = interpreter(cache, &wish.python).await {
        args.extend(["--python".into(), found.path.into()]);
    }
    let said = ask(&uv, args, question, say).await?;
    if !said.well {
        return Err(explained(&uv, &said.stderr, question).await?);
    }
    Ok(packages(&uv.read(pylock::NAME)?, wish, platform)?)
}

/// What uv complains of, as somebody who wrote the requirements wants it told.
async fn explained(uv: &Uv, stderr: &str, question: Question<'_>) -> Result<Unresolved, Failure> {
    let Question { wish, platform, deep, .. } = question;
    let about = unfit::about(stderr, &wish.requirements).cloned();
    let Some(missing) = unfit::missing(stderr).map(|missing| missing.in_the_words_of(about.as_deref())) else {
        let what = format!("lock the Python {} environment for {platform}", wish.python);
        return Ok(Unresolved { failure: failure(&what, stderr), about });
    };
    let elsewhere = match missing.wanted() {
        Some(wanted) => elsewhere::wheels(uv, wanted, &wish.python, platform, unfit::glibc_of(wish)).await?,
        None => Elsewhere::Unknown,
    };
    Ok(Unresolved { failure: missing.told(wish, platform, &elsewhere, deep), about })
}

fn arguments(question: Question<'_>) -> Result<Vec<OsString>, Failure> {
    let Question { wish, platform, deep, .. } = question;
    let mut args: Vec<OsString> = ["pip", "compile", "-", "--format", "pylock.toml", "--output-file", pylock::NAME]
        .into_iter()
        .chain(["--only-binary=:all:", "--no-header", "--no-annotate", "--quiet"])
        .chain(["--python-platform", &platform.uv_name(wish.glibc.as_deref()), "--python-version", &wish.python])
        .map(OsString::from)
        .collect();
    for name in &wish.no_binary {
        args.push(format!("--no-binary={}", checked_name(name)?).into());
    }
    if !deep {
        args.push("--no-deps".into());
    }
    Ok(args)
}

async fn ask(uv: &Uv, mut args: Vec<OsString>, question: Question<'_>, say: &Sender<Say>) -> Result<Said, Failure> {
    let wishes: String = question.wish.requirements.iter().map(|requirement| format!("{requirement}\n")).collect();
    let earlier = known(question.kept);
    uv.file(pylock::NAME, &earlier)?;
    let said = uv.run(&args, &wishes, Some(say)).await?;
    if said.well || !is_network(&said.stderr) {
        return Ok(said);
    }
    let _ = say.send(Say::log("no network: resolving among the packages that were fetched before")).await;
    args.push("--offline".into());
    uv.file(pylock::NAME, &earlier)?;
    let again = uv.run(&args, &wishes, None).await?;
    Ok(if again.well { again } else { said })
}

/// Versions in the form of uv's own output.
fn known(kept: &BTreeMap<String, String>) -> String {
    let mut text = String::from("lock-version = \"1.0\"\ncreated-by = \"flowrun\"\n");
    if kept.is_empty() {
        text.push_str("packages = []\n");
    }
    for (name, version) in kept.iter().filter(|(name, version)| is_name(name) && is_version(version)) {
        text.push_str(&format!("\n[[packages]]\nname = \"{name}\"\nversion = \"{version}\"\n"));
    }
    text
}

/// The one file of each package that fits best.
fn packages(text: &str, wish: &PythonWish, platform: Platform) -> Result<Vec<PackagePin>, Failure> {
    let mut all = Vec::new();
    for package in pylock::packages(text)? {
        let odd = |why: &str| {
            infrastructure(format!("uv resolved to something that cannot be locked: `{}` {why}", package.name))
        };
        let version =
            package.version.clone().filter(|version| is_version(version)).ok_or_else(|| odd("has no version"))?;
        let name = checked_name(&package.name)?;
        let wheels: Vec<FilePin> = package.wheels.iter().filter_map(file).collect();
        let source = || package.sdist.as_ref().and_then(file);
        let file = tags::best(wheels, &wish.python, platform)
            .or_else(source)
            .ok_or_else(|| odd("has no file with a sha256"))?;
        all.push(PackagePin::new(&name, &version, file));
    }
    all.sort();
    Ok(all)
}

fn file(file: &pylock::File) -> Option<FilePin> {
    let sha256 = file.hashes.get("sha256").filter(|sha256| is_sha256(sha256))?.clone();
    Some(FilePin { file: file.named()?, sha256, size: file.size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_a_package_is_kept_and_no_address() {
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let text = format!(
            r#"lock-version = "1.0"
            [[packages]]
            name = "two"
            version = "1.0+cpu"
            marker = "python_version < '4'"
            wheels = [
                {{ url = "https://u:p@host/two-1.0%2Bcpu-py3-none-any.whl#x", size = 3, hashes = {{ sha256 = "{a}" }} }},
                {{ url = "https://host/two-1.0%2Bcpu-cp311-cp311-manylinux_2_17_x86_64.whl", hashes = {{ sha256 = "{b}" }} }},
            ]
            [[packages]]
            name = "Built_It"
            version = "2"
            sdist = {{ path = "links/built_it-2.tar.gz", hashes = {{ sha256 = "{c}" }} }}"#
        );
        let wish = PythonWish::new("3.11", &[], &[]);
        let linux = "linux-x86_64".parse().expect("a platform");
        let found = packages(&text, &wish, linux).expect("it is well");
        let lines: Vec<String> = found.iter().map(PackagePin::line).collect();
        assert_eq!(lines, [format!("built-it==2 --hash=sha256:{c}"), format!("two==1.0+cpu --hash=sha256:{b}")]);
        assert_eq!(found[1].file.file, "two-1.0+cpu-cp311-cp311-manylinux_2_17_x86_64.whl");
        assert!(packages(&text.replace(&c, "c"), &wish, linux).is_err(), "nothing without a hash");
    }
}
