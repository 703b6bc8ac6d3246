//! A package that has no wheel: which, for what, who wants it, which wheels there are, and the ways out. All of it from uv's words, which
//! are those of one version of uv.
//!
//! flowrun never builds a package on its own: what comes out would depend on the machine's compiler and libraries, and the lock would not
//! say so. Who wants that says `no_binary`.

mod words;

use flowrun_core::lang::glibc::Glibc;
use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::PythonWish;

use super::elsewhere::{Elsewhere, OLDEST, Others};
use super::requirement;
use crate::fetch::{Os, Platform, checked_name, refused};
use words::{Lack, available, chain, lacking, name, one_line, required};

/// A package that has no wheel, in uv's words.
#[derive(Debug)]
pub(super) struct Missing {
    words: String,
    /// As uv names it, perhaps with a version.
    wanted: String,
    package: String,
    lack: Lack,
}

/// The package without a wheel, where uv's complaint is one.
pub(super) fn missing(stderr: &str) -> Option<Missing> {
    let words = one_line(stderr);
    let (wanted, lack) = lacking(&words)?;
    let package = name(wanted)?.to_owned();
    let wanted = if requirement::check(wanted).is_ok() { wanted } else { &package }.to_owned();
    Some(Missing { wanted, package, lack, words })
}

/// The package of a requirement or of what uv says, in its normal form.
fn plain(text: &str) -> Option<String> {
    checked_name(name(text.trim_matches('`'))?).ok()
}

impl Missing {
    /// The same where the pipeline itself asks for the package: in its words.
    pub(super) fn in_the_words_of(mut self, requirement: Option<&str>) -> Self {
        if let Some(asked) = requirement.filter(|asked| plain(asked) == plain(&self.package)) {
            self.wanted = asked.to_owned();
        }
        self
    }

    /// What to ask the index about, where uv does not say itself which wheels there are, or only of its oldest version.
    pub(super) fn wanted(&self) -> Option<&str> {
        (self.lack != Lack::Platform).then_some(self.wanted.as_str())
    }

    /// What is wanted for its wheel cannot be built instead.
    pub(super) fn told(&self, wish: &PythonWish, at: Platform, elsewhere: &Elsewhere, may_be_built: bool) -> Failure {
        let Self { words, package, lack, .. } = self;
        let told = matches!(elsewhere, Elsewhere::Wheels(_));
        let there = available(words, package).filter(|_| !told).unwrap_or_default();
        let mut message = self.lacks(wish, at, elsewhere);
        if !there.is_empty() {
            message.push_str(&format!("; there are some for {}", there.join(", ")));
        }
        let chain = chain(words, package);
        if !chain.is_empty() {
            message.push_str(&format!("; {package} is needed by {}", chain.join(", needed by ")));
        }
        let mut ways = match (lack, elsewhere) {
            (Lack::Wheel | Lack::Python, Elsewhere::Wheels(others)) => ways_elsewhere(others, at),
            _ => ways_out(*lack, &there, at, glibc_of(wish)),
        };
        if may_be_built && *lack == Lack::Wheel {
            ways.push_str(&format!(
                ", or `no_binary: [{package}]` builds its wheel from its source, once, and pins it"
            ));
        }
        refused(message).hint(ways)
    }

    fn lacks(&self, wish: &PythonWish, at: Platform, elsewhere: &Elsewhere) -> String {
        let (package, python) = (&self.package, &wish.python);
        match (self.lack, elsewhere) {
            (Lack::Platform, _) if at.os == Os::Linux => {
                format!("`{package}` has no wheel for {at} with glibc {}", glibc_of(wish).version())
            }
            (Lack::Platform, _) => format!("`{package}` has no wheel for {at}"),
            (_, Elsewhere::Wheels(others)) => match others.glibc {
                Some(newer) => format!(
                    "`{}` has no wheel for {at} with glibc {}; there is one for glibc {}",
                    self.wanted,
                    glibc_of(wish).version(),
                    newer.version()
                ),
                None => {
                    format!(
                        "`{}` has no wheel for Python {python} on {at}; {}",
                        self.wanted,
                        listed(others, python, at)
                    )
                }
            },
            (Lack::Python, _) => format!("`{package}` has no wheel for Python {python} on {at}"),
            (Lack::Wheel, Elsewhere::Nothing) => {
                format!(
                    "`{}` has no wheel for any Python since {OLDEST}, on {at} or elsewhere, only its source",
                    self.wanted
                )
            }
            (Lack::Wheel, Elsewhere::Unknown) => {
                format!("`{}` has no wheel that fits Python {python} on {at}, only its source", self.wanted)
            }
        }
    }
}

fn listed(others: &Others, python: &str, at: Platform) -> String {
    let pythons =
        (!others.pythons.is_empty()).then(|| format!("there are some for Python {}", others.pythons.join(", ")));
    let platforms =
        (!others.platforms.is_empty()).then(|| format!("Python {python} has one on {}", others.platforms.join(", ")));
    let all: Vec<String> = pythons.map(|text| format!("{text} on {at}")).into_iter().chain(platforms).collect();
    if all.is_empty() { format!("there are others, such as {}", others.files.join(", ")) } else { all.join("; ") }
}

fn ways_elsewhere(others: &Others, at: Platform) -> String {
    if let Some(newer) = others.glibc {
        let newer = newer.version();
        return format!(
            "take a version with such a wheel, or set `glibc: \"{newer}\"` where no machine has an older one"
        );
    }
    let mut ways = "take a version that has one".to_owned();
    if !others.pythons.is_empty() {
        ways.push_str(", or one of those Pythons");
    }
    if !others.platforms.is_empty() {
        ways.push_str(&format!(", leave {at} out of `platforms`"));
    }
    ways
}

/// The requirement, as written, that uv's complaint comes down to.
pub(super) fn about<'a>(stderr: &str, requirements: &'a [String]) -> Option<&'a String> {
    let words = one_line(stderr);
    let written = |text: &str| {
        let package = plain(text)?;
        requirements.iter().find(|requirement| plain(requirement).as_ref() == Some(&package))
    };
    let missing = missing(stderr).and_then(|missing| {
        let package = missing.package.as_str();
        let by = chain(&words, package);
        by.last().and_then(|last| written(last)).or_else(|| written(package))
    });
    missing.or_else(|| required(&words).find_map(written))
}

pub(super) fn glibc_of(wish: &PythonWish) -> Glibc {
    wish.glibc.as_deref().and_then(Glibc::of).unwrap_or(Glibc::USUAL)
}

fn ways_out(lack: Lack, there: &[String], platform: Platform, glibc: Glibc) -> String {
    let made_for = |tag: &String| {
        let (its, arch) = tag.strip_prefix("manylinux_2_")?.split_once('_')?;
        its.parse::<u32>().ok().filter(|its| arch == platform.arch.to_string() && *its > glibc.minor())
    };
    let oldest = there.iter().filter_map(made_for).min();
    let newer = oldest.and_then(|oldest| Glibc::ALL.into_iter().find(|glibc| glibc.minor() >= oldest));
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

    fn told(stderr: &str, python: &str, platform: &str, elsewhere: Elsewhere) -> (String, String) {
        let missing = missing(stderr).expect("a missing wheel");
        let platform = platform.parse().expect("a platform");
        let failure = missing.told(&PythonWish::new(python, &[], &[]), platform, &elsewhere, true);
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
        let (message, hint) = told(promise, "3.11", "linux-x86_64", Elsewhere::Nothing);
        assert_eq!(
            message,
            "`promise` has no wheel for any Python since 3.8, on linux-x86_64 or elsewhere, only its source; \
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
        let (message, hint) = told(torch, "3.12", "macos-x86_64", Elsewhere::Unknown);
        assert_eq!(
            message,
            "`torch` has no wheel for macos-x86_64; there are some for manylinux1_x86_64, manylinux2014_aarch64, win_amd64"
        );
        assert!(hint.contains("leave macos-x86_64 out"), "{hint}");
        let newer = torch.replace("manylinux1_x86_64", "manylinux_2_34_x86_64");
        assert!(told(&newer, "3.12", "linux-x86_64", Elsewhere::Unknown).1.contains("or set `glibc: \"2.34\"`"));

        let python = "cause: Because onnxruntime==1.23.2 has no wheels with a matching Python ABI tag (e.g., `cp314`) and you require \
                      onnxruntime==1.23.2, we can conclude\n\nhint: You require CPython 3.14 (`cp314`), but we only found wheels for \
                      `onnxruntime` (v1.23.2) with the following Python ABI tags: `cp310`, `cp311`";
        let (message, _) = told(python, "3.14", "linux-x86_64", Elsewhere::Unknown);
        assert_eq!(
            message,
            "`onnxruntime` has no wheel for Python 3.14 on linux-x86_64; there are some for cp310, cp311"
        );
        assert!(missing("error: No solution found: Because a==1 depends on b").is_none());
    }

    #[test]
    fn wheels_for_others_are_told() {
        let numpy = "error: No solution found when resolving dependencies
  cause: Because numpy==1.26.4 has no usable wheels and you require numpy==1.26.4, we can conclude that your requirements are \
         unsatisfiable.";
        assert_eq!(
            missing(numpy).and_then(|missing| missing.wanted().map(str::to_owned)).as_deref(),
            Some("numpy==1.26.4")
        );
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let of = |pythons: &[&str], platforms: &[&str], files: &[&str]| {
            let others =
                Others { pythons: texts(pythons), platforms: texts(platforms), files: texts(files), glibc: None };
            told(numpy, "3.14", "linux-x86_64", Elsewhere::Wheels(others))
        };
        let (message, hint) = of(&["3.11", "3.12"], &[], &[]);
        assert_eq!(
            message,
            "`numpy==1.26.4` has no wheel for Python 3.14 on linux-x86_64; there are some for Python 3.11, 3.12 on linux-x86_64"
        );
        assert!(
            hint.starts_with("take a version that has one, or one of those Pythons, or `no_binary: [numpy]`"),
            "{hint}"
        );
        let (message, hint) = of(&[], &["macos-aarch64"], &[]);
        assert!(message.ends_with("; Python 3.14 has one on macos-aarch64"), "{message}");
        assert!(hint.contains("leave linux-x86_64 out of `platforms`"), "{hint}");
        assert!(
            of(&[], &[], &["n-1-cp311-cp311-win32.whl"])
                .0
                .ends_with("there are others, such as n-1-cp311-cp311-win32.whl")
        );
        let (message, _) = told(numpy, "3.14", "linux-x86_64", Elsewhere::Unknown);
        assert_eq!(message, "`numpy==1.26.4` has no wheel that fits Python 3.14 on linux-x86_64, only its source");
    }

    #[test]
    fn what_the_pipeline_asks_for_is_told_in_its_words() {
        let numpy = "Because numpy{sys_platform == 'linux'}>=1.25.0,<=1.26.4 has no usable wheels and you require \
                     numpy{sys_platform == 'linux'}>=1.25,<2, we can conclude that your requirements are unsatisfiable.";
        let written = ["six".to_owned(), "numpy>=1.25,<2 ; sys_platform == 'linux'".to_owned()];
        let asked = about(numpy, &written);
        assert_eq!(asked, Some(&written[1]));
        let wanted = |asked| missing(numpy).map(|missing| missing.in_the_words_of(asked).wanted);
        assert_eq!(wanted(asked.map(String::as_str)).as_ref(), Some(&written[1]));
        assert_eq!(wanted(Some("six")).as_deref(), Some("numpy>=1.25.0,<=1.26.4"), "another needs it");
        let glibc = Others { glibc: Some(Glibc::V34), ..Others::default() };
        let (message, hint) = told(numpy, "3.11", "linux-x86_64", Elsewhere::Wheels(glibc));
        assert!(
            message.ends_with("has no wheel for linux-x86_64 with glibc 2.28; there is one for glibc 2.34"),
            "{message}"
        );
        assert!(hint.contains("set `glibc: \"2.34\"`"), "{hint}");
    }
}
