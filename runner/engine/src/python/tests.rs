//! Locks and environments of one small package, through the real uv. They share the user's cache of uv and of wheels where that
//! is what is meant, and have a cache of their own where it must be empty.

use std::process::Command;
use std::time::{Duration, Instant};

use flowrun_core::outcome::{FailureKind, Say};
use flowrun_core::stored::lock::FilePin;
use tokio::sync::mpsc::{Sender, channel};

use super::*;
use crate::fetch::{Cache, Platform};

fn nobody() -> Sender<Say> {
    channel(1).0
}

/// A cache of its own that has uv already, by links into the user's.
async fn cache() -> (tempfile::TempDir, Cache) {
    let users = Cache::of_user().unwrap();
    crate::fetch::uv(&users).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path()).unwrap();
    std::os::unix::fs::symlink(users.path(&["wheels"]), cache.path(&["wheels"])).unwrap();
    (dir, cache)
}

/// The version of the Python that is here.
fn version() -> String {
    let ask = "import sys; print('%d.%d' % sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", ask]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn spec(requirements: &[&str]) -> PythonSpec {
    let requirements = requirements.iter().map(|requirement| (*requirement).to_owned()).collect();
    PythonSpec { version: version(), requirements, no_binary: vec![] }
}

#[tokio::test]
async fn what_is_locked_is_built_once_and_shared() {
    let (_dir, cache) = cache().await;
    let platform = Platform::current().unwrap();
    let lock = lock(&cache, &spec(&["six==1.16.0"]), platform, &nobody()).await.unwrap();
    assert_eq!(
        lock.lines(),
        ["six==1.16.0 --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"]
    );
    let (one, two) = (nobody(), nobody());
    let (one, two) = tokio::join!(environment(&cache, &lock, &one), environment(&cache, &lock, &two));
    let built = one.unwrap();
    assert_eq!(two.unwrap(), built);
    let script = "import six, sys; print(six.__version__, sys.prefix, six.__cached__)";
    let output = Command::new(&built.python).args(["-I", "-c", script]).env_clear().output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let mut words = said.split_whitespace();
    assert_eq!(words.next(), Some("1.16.0"));
    assert_eq!(words.next().map(Into::into), Some(built.root.clone()));
    assert!(words.next().is_some_and(|compiled| std::path::Path::new(compiled).exists()), "bytecode is compiled");

    let before = Instant::now();
    assert_eq!(environment(&cache, &lock, &nobody()).await.unwrap(), built);
    assert!(before.elapsed() < Duration::from_millis(50), "found again by a glance: {:?}", before.elapsed());

    // One that was never finished is built anew.
    std::fs::remove_file(built.root.join("flowrun-environment.json")).unwrap();
    std::fs::write(built.root.join("rest"), "").unwrap();
    assert_eq!(environment(&cache, &lock, &nobody()).await.unwrap(), built);
    assert!(!built.root.join("rest").exists());

    let mut wrong = lock.clone();
    wrong.packages[0].file.sha256 = "0".repeat(64);
    let failure = environment(&cache, &wrong, &nobody()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Step, "{failure:?}");
    assert!(failure.message.to_lowercase().contains("hash"), "{}", failure.message);
}

#[tokio::test]
async fn a_lock_for_another_platform_is_made_but_not_built() {
    let (_dir, cache) = cache().await;
    let platforms = ["linux-x86_64", "linux-aarch64", "macos-aarch64"].map(|name| name.parse::<Platform>().unwrap());
    let here = Platform::current().unwrap();
    let other = platforms.into_iter().find(|platform| *platform != here).unwrap();
    let lock = lock(&cache, &spec(&["markupsafe==3.0.2"]), other, &nobody()).await.unwrap();
    assert!(lock.lines()[0].starts_with("markupsafe==3.0.2 --hash=sha256:"));
    let failure = environment(&cache, &lock, &nobody()).await.unwrap_err();
    assert!(failure.message.contains(&other.to_string()), "{}", failure.message);
}

#[tokio::test]
async fn what_cannot_be_locked_is_explained() {
    let (_dir, cache) = cache().await;
    let platform = Platform::current().unwrap();
    let fails = async |requirements: &[&str]| lock(&cache, &spec(requirements), platform, &nobody()).await.unwrap_err();
    let failure = fails(&["six==99.99"]).await;
    assert_eq!(failure.kind, FailureKind::Step);
    assert!(failure.message.contains("six==99.99"), "{}", failure.message);
    let failure = fails(&["promise==2.3"]).await;
    assert!(failure.hint.is_some_and(|hint| hint.contains("no_binary: [promise]")), "{}", failure.message);
    let failure = fails(&["--index-url https://ann:s3cret@evil/simple"]).await;
    assert_eq!(failure.kind, FailureKind::Step);
    assert!(!failure.message.contains("s3cret"));
}

#[tokio::test]
async fn a_python_that_is_not_here_is_named_with_those_that_are() {
    let (_dir, cache) = cache().await;
    let failure = interpreter(&cache, "3.99").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Infrastructure);
    let here = interpreter(&cache, &version()).await.unwrap();
    assert!(failure.message.contains("3.99") && failure.message.contains(&here.version), "{}", failure.message);
    assert_eq!(interpreter(&cache, &here.version).await.unwrap(), here);
    for bad in ["3", "2.7", "3.11; x", "../3.11", "3.11.7.1", ""] {
        assert_eq!(interpreter(&cache, bad).await.unwrap_err().kind, FailureKind::Step, "{bad}");
    }
}

#[tokio::test]
async fn a_hostile_lock_reaches_nobody() {
    let (_dir, cache) = cache().await;
    let platform = Platform::current().unwrap().to_string();
    let good = PythonLock { python: version(), platform, packages: vec![] };
    let package = |name: &str, version: &str, file: &str| {
        let file = FilePin { file: file.to_owned(), sha256: "0".repeat(64), size: None };
        PythonLock { packages: vec![PackagePin::new(name, version, file)], ..good.clone() }
    };
    for bad in [
        package("--index-url https://evil", "1", "x-1.whl"),
        package("six", "1 --index-url https://evil", "x-1.whl"),
        package("six @ https://evil", "1", "x-1.whl"),
        // A source that nobody has built.
        package("six", "1.16.0", "six-1.16.0.tar.gz"),
        PythonLock { python: "../..".into(), ..good.clone() },
    ] {
        assert_eq!(environment(&cache, &bad, &nobody()).await.unwrap_err().kind, FailureKind::Step, "{bad:?}");
    }
    assert!(environment(&cache, &good, &nobody()).await.unwrap().python.exists(), "an empty one is well");
}

#[test]
fn another_wish_has_another_digest() {
    let first = spec(&["six"]);
    assert_eq!(first.digest(), spec(&["six"]).digest());
    assert_ne!(first.digest(), spec(&["six==1.16.0"]).digest());
    assert_ne!(first.digest(), PythonSpec { no_binary: vec!["six".into()], ..first.clone() }.digest());
    assert_ne!(first.digest(), PythonSpec { version: "3.99".into(), ..first.clone() }.digest());
}
