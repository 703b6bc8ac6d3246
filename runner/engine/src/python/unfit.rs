//! A package that has no wheel: which, for what, who wants it, which wheels there are, and the ways out. All of it from uv's words, which
//! are those of one version of uv.
//!
//! flowrun never builds a package on its own: what comes out would depend on the machine's compiler and libraries, and the lock would not
//! say so. Who wants that says `no_binary`.

use flowrun_core::lang::glibc::Glibc;
use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::PythonWish;

use crate::fetch::{Os, Platform, checked_name, refused};

/// What a package lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// A wheel for the platform.
    Platform,
    /// A wheel for the Python.
    Python,
    /// Any wheel.
    Wheel,
}

/// How uv says it: a package in front, what it lacks, and whether wheels of another kind are told.
const SIGNS: [(&str, Lack); 6] = [
    ("no wheels with a matching platform tag", Lack::Platform),
    ("no wheels with a matching Python", Lack::Python),
    ("no wheels with a matching platform", Lack::Platform),
    ("no usable wheels", Lack::Wheel),
    ("no `pip`-compatible wheels", Lack::Wheel),
    ("no wheels", Lack::Wheel),
];

/// The failure, where uv's complaint is a missing wheel. What is wanted for its wheel cannot be built instead.
pub(super) fn found(stderr: &str, wish: &PythonWish, platform: Platform, may_be_built: bool) -> Option<Failure> {
    let words = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let (package, lack) = lacking(&words)?;
    let there = available(&words, package);
    let mut message = match lack {
        Lack::Platform if platform.os == Os::Linux => {
            format!("`{package}` has no wheel for {platform} with glibc {}", glibc_of(wish).version())
        }
        Lack::Platform => format!("`{package}` has no wheel for {platform}"),
        Lack::Python => format!("`{package}` has no wheel for Python {} on {platform}", wish.python),
        Lack::Wheel => {
            format!("`{package}` has no wheel at all, for {platform} or any other: there is only its source")
        }
    };
    if let Some(there) = &there {
        message.push_str(&format!("; there are some for {}", there.join(", ")));
    }
    let chain = chain(&words, package);
    if !chain.is_empty() {
        message.push_str(&format!("; {package} is needed by {}", chain.join(", needed by ")));
    }
    let mut ways = ways_out(lack, there.as_deref().unwrap_or_default(), platform, glibc_of(wish));
    if may_be_built {
        ways.push_str(&format!(", or `no_binary: [{package}]` builds its wheel from its source, once, and pins it"));
    }
    Some(refused(message).hint(ways))
}

fn lacking(words: &str) -> Option<(&str, Lack)> {
    SIGNS.iter().find_map(|(sign, lack)| {
        let at = words.find(&format!("has {sign}")).or_else(|| words.find(&format!("have {sign}")))?;
        Some((name(words[..at].trim_end().rsplit(' ').next()?)?, *lack))
    })
}

/// The package in `keras-cv>=0.9.0,<1`.
fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(text.len());
    let name = text[..end].trim_end_matches('.');
    (!name.is_empty()).then_some(name)
}

/// What the wheels are for that there are.
fn available(words: &str, package: &str) -> Option<Vec<String>> {
    let starts = [format!("Wheels are available for `{package}`"), format!("only found wheels for `{package}`")];
    let (_, rest) = starts.iter().find_map(|start| words.split_once(start.as_str()))?;
    let (_, list) = rest.split_once(": ")?;
    let mut tags = Vec::new();
    for word in list.split(' ') {
        let tag = word.trim_end_matches(',');
        match tag.strip_prefix('`').and_then(|tag| tag.strip_suffix('`')) {
            Some(tag) => tags.push(tag.to_owned()),
            None => break,
        }
    }
    (!tags.is_empty()).then_some(tags)
}

/// Who needs the package, up to what the pipeline asks for.
fn chain(words: &str, package: &str) -> Vec<String> {
    let mut edges: Vec<(&str, &str)> = Vec::new();
    for sign in [" depends on ", " depend on "] {
        for (at, _) in words.match_indices(sign) {
            let (before, after) = (words[..at].rsplit(' ').next(), words[at + sign.len()..].split(' ').next());
            if let (Some(by), Some(needed)) = (before.and_then(name), after.and_then(name)) {
                edges.push((by, needed));
            }
        }
    }
    let mut chain = Vec::new();
    let mut current = package;
    while let Some((by, _)) = edges.iter().find(|(_, needed)| *needed == current) {
        current = by;
        // uv's reasons may go in a circle.
        if chain.iter().any(|known| known == by) || *by == package {
            break;
        }
        chain.push((*by).to_owned());
    }
    if let Some(asked) = asked(words, current)
        && asked != package
    {
        match chain.last_mut() {
            Some(last) => *last = format!("`{asked}`"),
            None => chain.clear(),
        }
    }
    chain
}

/// The requirement, as written, that uv's complaint comes down to.
pub(super) fn about<'a>(stderr: &str, requirements: &'a [String]) -> Option<&'a String> {
    let words = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = |text: &str| checked_name(name(text.trim_matches('`'))?).ok();
    let written = |text: &str| {
        let package = plain(text)?;
        requirements.iter().find(|requirement| plain(requirement).as_ref() == Some(&package))
    };
    let missing = lacking(&words).and_then(|(package, _)| {
        let by = chain(&words, package);
        by.last().and_then(|last| written(last)).or_else(|| written(package))
    });
    missing.or_else(|| required(&words).find_map(written))
}

/// The requirement of the pipeline that names a package, as uv repeats it.
fn asked<'a>(words: &'a str, package: &str) -> Option<&'a str> {
    required(words).find(|word| name(word) == Some(package))
}

/// The requirements that uv repeats.
fn required(words: &str) -> impl Iterator<Item = &str> {
    let asked = words.match_indices("you require ").map(|(at, sign)| &words[at + sign.len()..]);
    asked.filter_map(|rest| rest.split(' ').next()).map(|word| word.trim_end_matches([',', '.', ';']))
}

fn glibc_of(wish: &PythonWish) -> Glibc {
    wish.glibc.as_deref().and_then(Glibc::of).unwrap_or(Glibc::USUAL)
}

fn ways_out(lack: Lack, there: &[String], platform: Platform, glibc: Glibc) -> String {
    let minor = |glibc: &Glibc| glibc.version().trim_start_matches("2.").parse::<u32>().unwrap_or(0);
    let made_for = |tag: &String| {
        let (its, arch) = tag.strip_prefix("manylinux_2_")?.split_once('_')?;
        its.parse::<u32>().ok().filter(|its| arch == platform.arch.to_string() && *its > minor(&glibc))
    };
    let oldest = there.iter().filter_map(made_for).min();
    let newer = oldest.and_then(|oldest| Glibc::ALL.into_iter().find(|glibc| minor(glibc) >= oldest));
    match lack {
        Lack::Platform
            if let Some(newer) = newer
                && platform.os == Os::Linux =>
        {
            format!(
                "take a version with such a wheel, or set `glibc: \"{}\"` where no machine has an older one",
                newer.version()
            )
        }
        Lack::Platform => format!("take a version that has one for {platform}, leave {platform} out of `platforms`"),
        Lack::Python => "take a version that has one for this Python, or a Python that it has one for".to_owned(),
        Lack::Wheel => "take a version that has one, or do without what needs it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stderr: &str, python: &str, platform: &str) -> (String, String) {
        let failure = found(stderr, &PythonWish::new(python, &[], &[]), platform.parse().expect("a platform"), true)
            .expect("a missing wheel");
        (failure.message, failure.hint.unwrap_or_default())
    }

    #[test]
    fn the_words_of_uv_are_understood() {
        let promise = "error: No solution found when resolving dependencies
  cause: Because all versions of promise have no usable wheels and all versions of tensorflow-datasets depend on promise, we can \
         conclude that all versions of tensorflow-datasets cannot be used.
         And because keras-cv>=0.9.0 depends on tensorflow-datasets and you require keras-cv==0.9.0, we can conclude that your \
         requirements are unsatisfiable.

hint: Wheels are required for `promise` because building from source is disabled for all packages (i.e., with `--no-build`)";
        let (message, hint) = told(promise, "3.11", "linux-x86_64");
        assert_eq!(
            message,
            "`promise` has no wheel at all, for linux-x86_64 or any other: there is only its source; \
             promise is needed by tensorflow-datasets, needed by `keras-cv==0.9.0`"
        );
        assert!(hint.contains("`no_binary: [promise]`"), "{hint}");
        let written = ["six", "Keras_CV == 0.9.0"].map(str::to_owned);
        assert_eq!(about(promise, &written), Some(&written[1]));
        let none = "Because there is no version of six>=99 and you require six>=99, we can conclude that they are unsatisfiable.";
        assert_eq!(about(none, &written), Some(&written[0]));
        assert_eq!(about("error: Request failed after 3 retries", &written), None);

        let torch = "error: No solution found when resolving dependencies
  cause: Because torch==2.3.0 has no wheels with a matching platform tag (e.g., `macosx_13_0_x86_64`) and you require torch==2.3.0, we \
         can conclude that your requirements are unsatisfiable.

hint: Wheels are available for `torch` (v2.3.0) on the following platforms: `manylinux1_x86_64`, `manylinux2014_aarch64`, `win_amd64`";
        let (message, hint) = told(torch, "3.12", "macos-x86_64");
        assert_eq!(
            message,
            "`torch` has no wheel for macos-x86_64; there are some for manylinux1_x86_64, manylinux2014_aarch64, win_amd64"
        );
        assert!(hint.contains("leave macos-x86_64 out"), "{hint}");
        let newer = torch.replace("manylinux1_x86_64", "manylinux_2_34_x86_64");
        assert!(told(&newer, "3.12", "linux-x86_64").1.contains("or set `glibc: \"2.34\"`"));

        let python = "cause: Because onnxruntime==1.23.2 has no wheels with a matching Python ABI tag (e.g., `cp314`) and you require \
                      onnxruntime==1.23.2, we can conclude\n\nhint: You require CPython 3.14 (`cp314`), but we only found wheels for \
                      `onnxruntime` (v1.23.2) with the following Python ABI tags: `cp310`, `cp311`";
        let (message, _) = told(python, "3.14", "linux-x86_64");
        assert_eq!(
            message,
            "`onnxruntime` has no wheel for Python 3.14 on linux-x86_64; there are some for cp310, cp311"
        );
        assert!(
            found(
                "error: No solution found: Because a==1 depends on b",
                &PythonWish::new("3.11", &[], &[]),
                "linux-x86_64".parse().expect("one"),
                true
            )
            .is_none()
        );
    }
}
