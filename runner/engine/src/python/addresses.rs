//! Where the index has the files of an environment, found out again: a lock does not say, and a `pylock.toml` must.
//!
//! uv is asked for each locked version, and of what it finds the file with the locked sha256 counts, whatever it is called. An address is
//! handed on without credentials; one that would not work without them (a signed one) is refused.

use std::collections::BTreeMap;
use std::ffi::OsString;

use flowrun_core::export;
use flowrun_core::outcome::Failure;
use flowrun_core::stored::lock::PackagePin;

use super::pylock;
use super::uv::{Uv, failure};
use crate::fetch::{Cache, Platform, refused};

/// What to do where the index does not help.
const FOLDER: &str = "`--wheels DIR` names a folder of files instead, and asks no index";

/// The addresses of an environment's files, in the order of its packages.
pub(crate) async fn addresses(cache: &Cache, environment: &export::Environment<'_>) -> Result<Vec<String>, Failure> {
    if environment.packages.is_empty() {
        return Ok(Vec::new());
    }
    let uv = Uv::online(cache).await?;
    let pinned = environment.packages.iter();
    let pinned: String = pinned.map(|package| format!("{}=={}\n", package.name, package.version)).collect();
    let mut args = arguments(environment)?;
    args.extend(uv.index_args());
    let said = uv.run(&args, &pinned, None).await?;
    if !said.well {
        let what = format!("find the packages of step `{}` for {}", environment.step, environment.platform);
        return Err(failure(&what, &said.stderr));
    }
    let found = found(&uv.read(pylock::NAME)?)?;
    environment.packages.iter().map(|package| address(package, &found)).collect()
}

fn arguments(environment: &export::Environment<'_>) -> Result<Vec<OsString>, Failure> {
    let unknown = |()| refused(format!("flowrun does not know the platform `{}`", environment.platform));
    let platform: Platform = environment.platform.parse().map_err(unknown)?;
    let uv_name = platform.uv_name(environment.glibc);
    let args = ["pip", "compile", "-", "--format", "pylock.toml", "--output-file", pylock::NAME, "--no-deps"]
        .into_iter()
        .chain(["--only-binary=:all:", "--no-header", "--no-annotate", "--quiet"])
        .chain(["--python-platform", uv_name.as_str(), "--python-version", environment.python]);
    let built = environment.built().map(|package| format!("--no-binary={}", package.name).into());
    Ok(args.map(OsString::from).chain(built).collect())
}

/// Addresses by sha256.
fn found(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let files = pylock::packages(text)?.into_iter().flat_map(|package| package.wheels.into_iter().chain(package.sdist));
    Ok(files.filter_map(|mut file| Some((file.hashes.remove("sha256")?, file.url?))).collect())
}

fn address(package: &PackagePin, found: &BTreeMap<String, String>) -> Result<String, Failure> {
    let PackagePin { name, version, file, .. } = package;
    let Some(url) = found.get(&file.sha256) else {
        let text = format!("the index has no file of `{name}=={version}` with the locked sha256 {}", file.sha256);
        return Err(refused(text).hint(format!("it is called {}; {FOLDER}", file.file)));
    };
    plain(url).ok_or_else(|| {
        let text = format!("the index gives `{}` by an address with a query, which may hold a secret", file.file);
        refused(text).hint(FOLDER)
    })
}

/// An address without user, password and fragment; nothing where it has a query.
fn plain(url: &str) -> Option<String> {
    let url = url.split('#').next().unwrap_or(url);
    let (scheme, rest) = url.split_once("://")?;
    if rest.contains('?') {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    Some(format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use flowrun_core::stored::lock::FilePin;

    use super::*;

    #[test]
    fn addresses_are_found_by_content_and_hold_no_secret() {
        let text = r#"lock-version = "1.0"
            [[packages]]
            name = "a"
            wheels = [
                { url = "https://ann:s3cret@host:8080/x@1/a-1.whl#x", hashes = { sha256 = "1" } },
                { url = "https://host/a-1.whl?token=t0ken", hashes = { sha256 = "2" } },
            ]
            sdist = { url = "file:///links/a-1.tar.gz", hashes = { sha256 = "3" } }"#;
        let found = found(text).expect("it is well");
        let of = |sha256: &str| {
            let file = FilePin { file: "f.whl".into(), sha256: sha256.into(), size: None };
            address(&PackagePin::new("a", "1", file), &found)
        };
        assert_eq!(of("1").as_deref(), Ok("https://host:8080/x@1/a-1.whl"));
        assert_eq!(of("3").as_deref(), Ok("file:///links/a-1.tar.gz"));
        let signed = of("2").expect_err("it would not work without");
        assert!(signed.message.contains("f.whl") && !format!("{signed:?}").contains("t0ken"), "{signed:?}");
        assert!(of("4").expect_err("other bytes").message.contains("no file of `a==1` with the locked sha256 4"));
    }
}
