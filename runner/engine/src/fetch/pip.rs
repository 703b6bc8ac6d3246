//! The machine's own pip: it alone knows which index to ask, through which proxy, with which certificates and credentials.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Output, Stdio};

use flowrun_core::outcome::Failure;
use tokio::process::Command;

use super::WheelPin;
use super::{Platform, infrastructure, redact, refused};

/// The Python whose wheels are asked for where a wheel is made for one. flowrun takes libraries and programs out of wheels, which
/// are the same in all of them.
const PYTHON: [&str; 5] = ["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none"];
/// How to start a pip, in the order they are tried.
const PIPS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["uv", "tool", "run", "pip"]];

/// Has pip download one wheel, alone, into `folder` (an empty one: `python -m` looks for modules where it runs).
pub(super) async fn download(
    name: &str,
    version: &str,
    platform: Platform,
    pinned: Option<&WheelPin>,
    folder: &Path,
) -> Result<(), Failure> {
    let wish = match pinned {
        Some(pin) => pin.line(),
        None => format!("{name}=={version}"),
    };
    let for_any = PYTHON.map(str::to_owned);
    // uv itself is wanted before it is known what it would ask.
    let settings = if name == "uv" { BTreeMap::new() } else { of_uv(&environment()) };
    let output = ask(&[wish], &for_any, platform, &settings, folder).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failure(name, version, platform, pinned, &said))
}

/// Has pip download these very wheels of a Python environment, from where uv would bring them.
pub(super) async fn download_all(
    pins: &[&WheelPin],
    python: &str,
    platform: Platform,
    folder: &Path,
) -> Result<(), Failure> {
    let lines: Vec<String> = pins.iter().map(|pin| pin.line()).collect();
    let tag = python.split('.').take(2).collect::<String>();
    let made_for = ["--implementation=cp", "--abi=abi3", "--abi=none"].map(str::to_owned).into_iter();
    let made_for: Vec<String> =
        made_for.chain([format!("--python-version={python}"), format!("--abi=cp{tag}")]).collect();
    // What it was made for is in its name, and may be newer than what is usual.
    let tags = pins.iter().flat_map(|pin| pin.platforms()).map(|tag| format!("--platform={tag}"));
    let made_for: Vec<String> = made_for.into_iter().chain(tags).collect();
    let output = ask(&lines, &made_for, platform, &of_uv(&environment()), folder).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let named = |pin: &&&WheelPin| said.contains(&format!("{}=={} from", pin.name, pin.version));
    let pin = pins.iter().find(named).or(pins.first()).copied();
    let (name, version) = pin.map_or(("", ""), |pin| (&pin.name, &pin.version));
    Err(failure(name, version, platform, pin, &said))
}

fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Where uv's variables say which index to ask, the same for pip: both bring the same packages.
fn of_uv(env: &BTreeMap<String, String>) -> BTreeMap<&'static str, String> {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    // `name=address` is an index with a name.
    let bare = |index: &str| match index.split_once('=') {
        Some((name, address)) if !name.contains(['/', ':']) => address.to_owned(),
        _ => index.to_owned(),
    };
    let spaced = |text: String| text.split([',', ' ']).map(bare).collect::<Vec<_>>().join(" ");
    let no_index = set("UV_NO_INDEX").filter(|value| matches!(value.as_str(), "1" | "true"));
    [
        ("PIP_INDEX_URL", set("UV_DEFAULT_INDEX").or_else(|| set("UV_INDEX_URL")).as_deref().map(bare)),
        ("PIP_EXTRA_INDEX_URL", set("UV_INDEX").or_else(|| set("UV_EXTRA_INDEX_URL")).map(spaced)),
        ("PIP_FIND_LINKS", set("UV_FIND_LINKS").map(|links| links.replace(',', " "))),
        ("PIP_NO_INDEX", no_index),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

async fn ask(
    lines: &[String],
    made_for: &[String],
    platform: Platform,
    settings: &BTreeMap<&'static str, String>,
    folder: &Path,
) -> Result<Output, Failure> {
    let list = folder.join("wish.txt");
    std::fs::write(&list, lines.join("\n") + "\n")
        .map_err(|error| infrastructure(format!("cannot write `{}`: {error}", list.display())))?;
    let mut args: Vec<OsString> =
        ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
            .into_iter()
            .chain(["--disable-pip-version-check", "--no-color"])
            .map(OsString::from)
            .collect();
    args.extend(made_for.iter().map(OsString::from));
    args.extend(platform.tags().into_iter().map(|tag| format!("--platform={tag}").into()));
    args.extend(["--dest".into(), folder.into(), "-r".into(), list.into()]);
    run(&args, settings, folder).await
}

/// Those of `keys` (as `global.index-url`) that pip's own files set, if there is a pip.
pub(crate) async fn config(keys: &[&str], folder: &Path) -> Vec<(String, String)> {
    let none = BTreeMap::new();
    let Ok(output) = run(&["config".into(), "list".into(), "--no-color".into()], &none, folder).await else {
        return Vec::new();
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    // `global.index-url='https://…'`, as Python's repr writes it.
    let pairs =
        pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches(['\'', '"']).replace("\\n", " ")));
    pairs.filter(|(key, _)| keys.contains(&key.as_str())).collect()
}

async fn run(args: &[OsString], settings: &BTreeMap<&'static str, String>, folder: &Path) -> Result<Output, Failure> {
    for pip in PIPS {
        let mut command = Command::new(pip[0]);
        command.args(&pip[1..]).args(args).envs(settings);
        command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
        match command.output().await {
            Ok(output) if !is_absent(&output) => return Ok(output),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(infrastructure(format!("cannot start `{}`: {error}", pip.join(" ")))),
        }
    }
    Err(infrastructure("there is no pip on this machine to download with")
        .hint("install Python 3 with pip (`python3 -m pip --version` must work), or uv"))
}

/// A Python without pip, or a name without a Python behind it (a version manager's).
fn is_absent(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    said.contains("No module named pip") || output.status.code() == Some(127)
}

fn failure(name: &str, version: &str, platform: Platform, pinned: Option<&WheelPin>, said: &str) -> Failure {
    if let Some(pin) = pinned.filter(|_| said.contains("DO NOT MATCH THE HASHES")) {
        let found = said.lines().find_map(|line| line.trim().strip_prefix("Got")).unwrap_or("another").trim();
        return mismatch(pin, found);
    }
    let reasons: Vec<&str> = said.lines().filter(|line| line.starts_with("ERROR:")).take(3).collect();
    let reasons =
        redact(&if reasons.is_empty() { said.lines().last().unwrap_or("").to_owned() } else { reasons.join("; ") });
    let network = [
        "Retrying",
        "ConnectionError",
        "SSLError",
        "ProxyError",
        "Max retries",
        "timed out",
        "HTTPError",
        "401 ",
        "403 ",
    ];
    if said.contains("No matching distribution") && !network.iter().any(|sign| said.contains(sign)) {
        return refused(format!("pip finds no wheel of `{name}=={version}` for {platform}: {reasons}"))
            .hint("does that version exist for this platform, and is it in the index that pip is set up for?");
    }
    infrastructure(format!("pip could not download `{name}=={version}`: {reasons}"))
        .hint("try `python3 -m pip download` by hand: flowrun uses the same settings")
}

/// What came is not what was pinned.
pub(super) fn mismatch(pin: &WheelPin, found: &str) -> Failure {
    refused(format!("`{}` is not the wheel that was pinned: sha256 {} was locked, {found} came", pin.file, pin.sha256))
        .hint("someone replaced it in the index, or on the way: find out who, and lock again only if it is meant")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_is_told_where_uv_would_look() {
        let told = |set: &[(&str, &str)]| {
            of_uv(&set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert!(told(&[("UV_NO_INDEX", "0"), ("UV_INDEX", ""), ("PIP_INDEX_URL", "x")]).is_empty());
        let all = told(&[
            ("UV_DEFAULT_INDEX", "main=https://u:p@host/simple?a=b"),
            ("UV_INDEX", "https://one/s other=https://two/s"),
            ("UV_FIND_LINKS", "/a,/b"),
            ("UV_NO_INDEX", "1"),
        ]);
        assert_eq!(all["PIP_INDEX_URL"], "https://u:p@host/simple?a=b");
        assert_eq!(all["PIP_EXTRA_INDEX_URL"], "https://one/s https://two/s");
        assert_eq!((all["PIP_FIND_LINKS"].as_str(), all["PIP_NO_INDEX"].as_str()), ("/a /b", "1"));
        assert_eq!(told(&[("UV_INDEX_URL", "https://x/?a=b")])["PIP_INDEX_URL"], "https://x/?a=b");
    }
}
