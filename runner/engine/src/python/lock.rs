//! From requirements to a lock: `uv pip compile`, and its output in one form whatever machine made it.

use std::ffi::OsString;

use flowrun_core::outcome::{Failure, Say};
use tokio::sync::mpsc::Sender;

use super::requirement::is_locked;
use super::uv::{Uv, failure, is_network};
use super::{PythonLock, PythonSpec, interpreter};
use crate::fetch::{Cache, Platform, checked_name, infrastructure};

/// Resolves `spec` for `platform`. Asks the index; where there is no network, resolves among what was brought before.
pub async fn lock(
    cache: &Cache,
    spec: &PythonSpec,
    platform: Platform,
    say: &Sender<Say>,
) -> Result<PythonLock, Failure> {
    spec.check()?;
    let mut no_binary = spec.no_binary.iter().map(|name| checked_name(name)).collect::<Result<Vec<_>, _>>()?;
    no_binary.sort();
    no_binary.dedup();
    let lines =
        if spec.requirements.is_empty() { Vec::new() } else { resolve(cache, spec, platform, &no_binary, say).await? };
    Ok(PythonLock {
        python: spec.version.clone(),
        platform: platform.to_string(),
        requirements_txt: lines,
        no_binary,
        spec_digest: spec.digest(),
    })
}

async fn resolve(
    cache: &Cache,
    spec: &PythonSpec,
    platform: Platform,
    no_binary: &[String],
    say: &Sender<Say>,
) -> Result<Vec<String>, Failure> {
    let uv = Uv::online(cache).await?;
    let mut args: Vec<OsString> =
        ["pip", "compile", "-", "--generate-hashes", "--only-binary=:all:", "--no-header", "--no-annotate"]
            .into_iter()
            .chain(["--quiet", "--python-platform", platform.uv_name(), "--python-version", &spec.version])
            .map(OsString::from)
            .collect();
    args.extend(no_binary.iter().map(|name| format!("--no-binary={name}").into()));
    // What builds a package to learn its dependencies should be the Python it is meant for, where that is here.
    if let Ok(found) = interpreter(cache, &spec.version).await {
        args.extend(["--python".into(), found.path.into()]);
    }
    let wishes: String = spec.requirements.iter().map(|requirement| format!("{}\n", requirement.trim())).collect();
    let mut said = uv.run(&args, &wishes, Some(say)).await?;
    if !said.well && is_network(&said.stderr) {
        let _ = say.send(Say::log("no network: resolving among the packages that were fetched before")).await;
        args.push("--offline".into());
        let again = uv.run(&args, &wishes, None).await?;
        if again.well {
            said = again;
        }
    }
    if !said.well {
        return Err(failure(&format!("lock the Python {} environment for {platform}", spec.version), &said.stderr));
    }
    normal(&said.stdout)
}

/// uv's requirements file as a lock's lines: one a package, hashes sorted, lines sorted, nothing else.
fn normal(text: &str) -> Result<Vec<String>, Failure> {
    let joined = text.replace("\\\n", " ");
    let mut lines = Vec::new();
    for line in joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (wish, hashes) = line.split_once("--hash=").unwrap_or((line, ""));
        let mut hashes: Vec<&str> = hashes.split("--hash=").map(str::trim).filter(|hash| !hash.is_empty()).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let line = hashes.iter().fold(wish.trim().to_owned(), |line, hash| format!("{line} --hash={hash}"));
        if !is_locked(&line) {
            let shown: String = crate::fetch::redact(&line).chars().take(200).collect();
            return Err(infrastructure(format!("uv resolved to something that cannot be locked: `{shown}`")));
        }
        lines.push(line);
    }
    lines.sort_unstable();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn a_lock_has_one_form() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let text = format!(
            "six==1.0 \\\n    --hash=sha256:{b} \\\n    --hash=sha256:{a}\n# via x\nab==2 ; python_version < '4' \\\n    --hash=sha256:{a}\n"
        );
        let lines = normal(&text).expect("it is well");
        assert_eq!(
            lines,
            [
                format!("ab==2 ; python_version < '4' --hash=sha256:{a}"),
                format!("six==1.0 --hash=sha256:{a} --hash=sha256:{b}")
            ]
        );
        assert!(normal(&format!("six @ file:///x --hash=sha256:{a}\n")).is_err());
        assert!(normal("--index-url https://x\n").is_err());
    }
}
