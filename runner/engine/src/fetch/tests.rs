//! Wheels and URLs, honest and not. What needs the package index asks for one small wheel.

use std::io::Write;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::{FailureKind, Say};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Sender, channel};
use zip::write::SimpleFileOptions;

use super::cache::sha256_of;
use super::*;

const SIX: &str = "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254";

/// The sha256 of `x`.
const X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache")).unwrap();
    (dir, cache)
}

fn nobody() -> Sender<Say> {
    channel(1).0
}

#[tokio::test]
async fn a_wheel_is_fetched_once_and_pinned() {
    let (_dir, cache) = cache();
    let platform = Platform::current().unwrap();
    let (path, pin) = wheel(&cache, "Six", "1.16.0", platform, None).await.unwrap();
    assert_eq!((pin.name.as_str(), pin.sha256.as_str()), ("six", SIX));
    assert_eq!(sha256_of(&path).unwrap(), SIX);
    let seen = inode(&path);
    let both = [None, Some(&pin)];
    for pinned in both {
        assert_eq!(wheel(&cache, "six", "1.16.0", platform, pinned).await.unwrap(), (path.clone(), pin.clone()));
    }
    assert_eq!(inode(&path), seen, "found again, not fetched again");

    std::fs::write(&path, "damaged").unwrap();
    let (again, _) = wheel(&cache, "six", "1.16.0", platform, Some(&pin)).await.unwrap();
    assert_eq!(sha256_of(&again).unwrap(), SIX, "a damaged one is fetched again");

    let wrong = WheelPin { sha256: "0".repeat(64), ..pin.clone() };
    let failure = wheel(&cache, "six", "1.16.0", platform, Some(&wrong)).await.unwrap_err();
    assert!(failure.message.contains(SIX) && failure.message.contains(&wrong.sha256), "{}", failure.message);

    let member = unzip_member(&cache, &path, "six-*.dist-info/METADATA", false).await.unwrap();
    assert!(std::fs::read_to_string(&member).unwrap().contains("Name: six"));
    assert_eq!(unzip_member(&cache, &path, "six-*.dist-info/METADATA", false).await.unwrap(), member);
}

#[tokio::test]
async fn a_wheel_is_what_its_sha256_says_whatever_somebody_called_it() {
    let (_dir, cache) = cache();
    let keep = |file: &str| {
        let scratch = cache.scratch().unwrap();
        std::fs::write(scratch.path().join("w"), "x").unwrap();
        cache.keep(&scratch.path().join("w"), "wheels", X, file).unwrap();
    };
    keep("six-9.0-py3-none-any.whl");
    assert_eq!(kept_by_hash(&cache, "six", "1.16.0", X), None);
    keep("Six-1.16.0-py3-none-any.whl");
    let found = kept_by_hash(&cache, "six", "1.16.0", X).unwrap();
    assert!(found.ends_with("Six-1.16.0-py3-none-any.whl"));
    assert_eq!(
        (kept_by_hash(&cache, "flask", "1.16.0", X), kept_by_hash(&cache, "six", "1.16.0", "../x")),
        (None, None)
    );
    std::fs::write(&found, "y").unwrap();
    assert_eq!(kept_by_hash(&cache, "six", "1.16.0", X), None, "a damaged one is none");
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[tokio::test]
async fn what_the_index_does_not_have_is_named() {
    let (_dir, cache) = cache();
    let platform = Platform::current().unwrap();
    let failure = wheel(&cache, "six", "99.99", platform, None).await.unwrap_err();
    assert!(failure.message.contains("`six==99.99`"), "{}", failure.message);
}

#[tokio::test]
async fn hostile_names_and_pins_reach_nobody() {
    let (_dir, cache) = cache();
    let platform = Platform::current().unwrap();
    for (name, version) in [
        ("-r", "1"),
        ("six\nflask", "1"),
        ("../six", "1"),
        ("six", "1 --hash=x"),
        ("six", ">=1"),
        ("", "1"),
        ("six", ""),
    ] {
        let failure = wheel(&cache, name, version, platform, None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Step, "{name} {version}");
    }
    let pin = WheelPin { name: "six".into(), version: "1".into(), file: "six.whl".into(), sha256: "0".repeat(64) };
    for pin in [
        WheelPin { file: "../../six.whl".into(), ..pin.clone() },
        WheelPin { file: "/etc/passwd".into(), ..pin.clone() },
        WheelPin { sha256: "../x".into(), ..pin.clone() },
        WheelPin { name: "flask".into(), ..pin.clone() },
    ] {
        let failure = wheel(&cache, "six", "1", platform, Some(&pin)).await.unwrap_err();
        assert!(failure.message.contains("damaged"), "{}", failure.message);
    }
}

#[tokio::test]
async fn uv_runs() {
    // The user's own cache: it is 19 MB, and fetched once a machine.
    let cache = Cache::of_user().unwrap();
    let output = std::process::Command::new(uv(&cache).await.unwrap()).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&format!("uv {UV}")));
    for os in [Os::Linux, Os::Macos] {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let pin = tools::uv_pin(Platform { os, arch }).unwrap();
            assert!(is_sha256(&pin.sha256) && pin.file.starts_with(&format!("uv-{UV}-")));
        }
    }
}

/// A wheel in `dir` with these files.
fn archive(dir: &Path, files: &[(&str, &[u8])]) -> PathBuf {
    let path = dir.join("x.whl");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    path
}

#[tokio::test]
async fn a_hostile_archive_writes_nowhere_else() {
    let (dir, cache) = cache();
    let unzip = async |files: &[(&str, &[u8])], pattern: &str| {
        let _ = std::fs::remove_dir_all(dir.path().join("members"));
        unzip_member(&cache, &archive(dir.path(), files), pattern, false).await
    };
    let found = unzip(&[("../../lib.so.1", b"x")], "../../lib.so.*").await.unwrap();
    assert!(found.starts_with(dir.path().join("members")) && found.ends_with("lib.so.1"));
    assert!(unzip(&[("a/..", b"x")], "a/*").await.is_err());
    assert!(unzip(&[("a/.stamp", b"x")], "a/*").await.is_err());
    assert!(unzip(&[("a/b", b"x"), ("a/c", b"x")], "a/*").await.unwrap_err().message.contains("2 files"));
    assert!(unzip(&[("a/b", b"x")], "b/*").await.unwrap_err().message.contains("0 files"));
    // A member that is longer than it claims.
    let path = archive(dir.path(), &[("a/b", &[0; 100_000])]);
    let mut bytes = std::fs::read(&path).unwrap();
    let claim = 100_000_u32.to_le_bytes();
    for at in (0..bytes.len() - 4).filter(|&at| bytes[at..at + 4] == claim).collect::<Vec<_>>() {
        bytes[at..at + 4].copy_from_slice(&10_u32.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    assert!(unzip_member(&cache, &path, "a/*", false).await.is_err());
    std::fs::write(&path, "no zip").unwrap();
    assert!(unzip_member(&cache, &path, "*/b", false).await.unwrap_err().message.contains("damaged"));
}

/// A server that gives these answers, one a connection, and then none.
async fn server(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let _ = socket.read(&mut request).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/file?token=s3cret")
}

fn answer(status: &str, content: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{content}", content.len())
}

#[tokio::test]
async fn a_url_is_fetched_checked_and_kept() {
    let (_dir, cache) = cache();
    let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let at = server(vec![
        answer("500 No", ""),
        answer("200 OK", "hello"),
        answer("200 OK", "other"),
        answer("200 OK", "long"),
    ])
    .await;
    let found = url(&cache, &at, Some(sum), None, &nobody()).await.unwrap();
    assert_eq!((std::fs::read_to_string(&found.path).unwrap().as_str(), found.size), ("hello", 5));
    assert_eq!(url(&cache, &at, Some(sum), None, &nobody()).await.unwrap(), found, "no network");
    let failure = url(&cache, &at, Some(&"0".repeat(64)), None, &nobody()).await.unwrap_err();
    assert!(failure.message.contains(&"0".repeat(64)) && failure.message.contains("d9298a10d1b0735837dc4bd85dac641b"));
    assert!(!failure.message.contains("s3cret"));
    let failure = url(&cache, &at, None, Some(3), &nobody()).await.unwrap_err();
    assert!(failure.message.contains("larger than the 3 bytes"));
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_tried_again() {
    let (_dir, cache) = cache();
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhel".to_owned();
    let at = server(vec![half, answer("200 OK", "hello")]).await;
    assert_eq!(url(&cache, &at, None, None, &nobody()).await.unwrap().size, 5);
    let at = server(vec![answer("404 Not Found", "")]).await;
    assert!(url(&cache, &at, None, None, &nobody()).await.unwrap_err().message.contains("404"));
    let away = "HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n".to_owned();
    let at = server(vec![away]).await;
    assert!(
        url(&cache, &at, None, None, &nobody()).await.unwrap_err().message.contains("302"),
        "leads off this machine"
    );
}

#[tokio::test]
async fn urls_that_are_not_for_us_are_refused() {
    let (_dir, cache) = cache();
    for bad in [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://example.com/x",
        "http://127.0.0.1.example.com/x",
        "ftp://localhost/x",
        "https://ann:s3cret@example.com/x",
        "https://",
        "",
    ] {
        let failure = url(&cache, bad, None, None, &nobody()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Step, "{bad}");
        assert!(!failure.message.contains("s3cret"));
    }
}

#[tokio::test]
async fn all_libraries_of_a_wheel_are_unpacked_side_by_side_once() {
    let (dir, cache) = cache();
    let unzip = async |files: &[(&str, &[u8])]| {
        unzip_members(&cache, &archive(dir.path(), files), &["n/*/lib/lib*.so*", "m/*.so"]).await
    };
    let whole: [(&str, &[u8]); 5] = [
        ("n/cu/lib/liba.so.1", b"a"),
        ("n/nn/lib/libb.so.2", b"b"),
        ("n/nn/include/b.h", b"no library"),
        ("n/nn/lib/x/libc.so", b"deeper"),
        ("m/d.so", b"d"),
    ];
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let found = unzip(&whole).await.unwrap();
    assert_eq!(names(&found), ["d.so", "liba.so.1", "libb.so.2"]);
    assert!(found.iter().all(|path| path.parent() == found[0].parent()), "{found:?}");
    let seen = inode(&found[1]);
    assert_eq!(unzip(&whole).await.unwrap(), found);
    assert_eq!(inode(&found[1]), seen, "found again, not unpacked again");
    for damage in [&b""[..], b"longer"] {
        std::fs::write(&found[2], damage).unwrap();
        assert_eq!(unzip(&whole).await.unwrap(), found);
        assert_eq!(std::fs::read(&found[2]).unwrap(), b"b", "a damaged one is unpacked again");
    }
    std::fs::remove_file(&found[0]).unwrap();
    assert_eq!(unzip(&whole).await.unwrap(), found, "and so is one that is gone");
}

#[tokio::test]
async fn a_hostile_archive_of_libraries_writes_nowhere_else() {
    let (dir, cache) = cache();
    let refused = async |files: &[(&str, &[u8])]| {
        let failure = unzip_members(&cache, &archive(dir.path(), files), &["*/lib*.so*", "../*"]).await.unwrap_err();
        assert!(!dir.path().join("members").exists(), "nothing is left of {files:?}");
        failure.message
    };
    let more = ("../x", &b"x"[..]);
    assert!(refused(&[("a/liba.so", b"x")]).await.contains("no file like `../*`"));
    assert!(refused(&[more]).await.contains("no file like `*/lib*.so*`"));
    assert!(refused(&[("a/liba.so", b"x"), ("b/liba.so", b"y"), more]).await.contains("exists"), "two of one name");
    assert!(refused(&[("a/liba.so", b"x"), ("../..", b"x")]).await.contains("does not unpack: `..`"));
    let found = unzip_members(&cache, &archive(dir.path(), &[("a/liba.so", b"x"), more]), &["../*"]).await.unwrap();
    assert!(found.len() == 1 && found[0].starts_with(dir.path().join("members")), "{found:?}");
}

#[test]
fn a_wheel_is_told_by_its_name() {
    assert!(is_wheel_of("Odd_One-2.3-py3-none-any.whl", "odd-one", "2.3"));
    for other in ["odd_one-2.4-py3-none-any.whl", "odd-2.3-py3-none-any.whl", "odd_one-2.3.tar.gz", "x.whl", ""] {
        assert!(!is_wheel_of(other, "odd-one", "2.3"), "{other}");
    }
}

#[test]
fn what_a_killed_flowrun_left_is_removed_and_what_one_works_in_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path()).unwrap();
    let used = cache.scratch().unwrap();
    let left = cache.path(&["tmp", "wleft"]);
    let fresh = cache.path(&["tmp", "wfresh"]);
    for folder in [&left, &fresh] {
        std::fs::create_dir(folder).unwrap();
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for folder in [used.path(), &left] {
        std::fs::File::open(folder).unwrap().set_modified(long_ago).unwrap();
    }
    drop(cache.scratch().unwrap());
    assert!(used.path().is_dir(), "somebody holds it");
    assert!(fresh.is_dir(), "somebody may be about to hold it");
    assert!(!left.exists(), "nobody holds it");
}
