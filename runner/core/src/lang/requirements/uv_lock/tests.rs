//! Against a lock that uv wrote, of which only the files of packages were left out, and against hand-made ones.

use super::*;

/// A project that is packaged itself, with extras of its own and of others, a group, and a package in three versions.
const REAL: &str = include_str!("../testdata/uv.lock");

fn lock(packages: &str) -> String {
    format!(
        "version = 1\nrevision = 3\n[[package]]\nname = 'top'\nversion = '0.1.0'\nsource = {{ virtual = '.' }}\n{packages}"
    )
}

fn package(name: &str, version: &str, rest: &str) -> String {
    format!(
        "[[package]]\nname = '{name}'\nversion = '{version}'\nsource = {{ registry = 'https://index.test/simple' }}\n{rest}\n"
    )
}

fn refused(text: &str) -> String {
    requirements(text).expect_err("refused")
}

#[test]
fn a_projects_own_dependencies_are_taken_however_deep_and_nothing_else() {
    let found = requirements(REAL).expect("uv wrote it");
    let expected = [
        "anyio==4.16.0",
        "certifi==2026.10.19.post1",
        "click==8.5.1",
        "colorama==0.4.6 ; sys_platform == 'win32'",
        "exceptiongroup==1.3.2 ; python_full_version < '3.11'",
        "h11==0.16.0",
        "h2==4.4.1",
        "hpack==4.2.0",
        "httpcore==1.0.9",
        "httpx==0.28.1",
        "hyperframe==6.1.0",
        "idna==3.20",
        "markdown-it-py==4.3.0",
        "mdurl==0.1.2",
        "numpy==2.2.6 ; python_full_version < '3.11'",
        "numpy==2.4.6 ; python_full_version == '3.11.*'",
        "numpy==2.5.5 ; python_full_version >= '3.12'",
        "pygments==2.21.0",
        "rich==13.9.4",
        "tqdm==4.70.1",
        // `uv export --no-dev` says the same but for this line: that one marker lies within the other is not known here.
        "typing-extensions==4.16.0 ; python_full_version < '3.11'",
        "typing-extensions==4.16.0 ; python_full_version < '3.15'",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_package_has_a_line_for_each_way_that_counts() {
    let text = lock("dependencies = [{ name = 'a', marker = \"os_name == 'x'\" }, { name = 'b' }, { name = 'd' }]\n")
        + &package("a", "1+cu", "dependencies = [{ name = 'c', marker = \"os_name == 'z' or os_name == 'w'\" }]")
        + &package("b", "2", "dependencies = [{ name = 'a', marker = \"os_name == 'y'\", extra = ['more', 'none'] }]")
        + &package("c", "3", "dependencies = [{ name = 'd', marker = \"os_name == 'q'\" }, { name = 'a' }]")
        + &package("d", "4", "")
        + &package("e", "5", "")
        + &package("f", "6", "");
    let more = "[package.optional-dependencies]\nmore = [{ name = 'e' }, { name = 'top' }]\nnot = [{ name = 'f' }]\n[[package]]\nname = 'b'";
    let found = requirements(&text.replace("[[package]]\nname = 'b'", more)).expect("it is well");
    let expected = [
        "a==1+cu ; os_name == 'x'",
        "a==1+cu ; os_name == 'y'",
        "b==2",
        "c==3 ; (os_name == 'x') and (os_name == 'z' or os_name == 'w')",
        "c==3 ; (os_name == 'y') and (os_name == 'z' or os_name == 'w')",
        "d==4",
        "e==5 ; os_name == 'y'",
    ];
    assert_eq!(found, expected, "a circle ends, and `d` is wanted anyway");
}

#[test]
fn what_is_no_package_of_an_index_is_named() {
    for (source, kind) in [
        ("git = 'https://ann:s3cret@host/x?rev=1#0'", "is from git"),
        ("url = 'https://ann:s3cret@host/x.whl'", "is from an address"),
        ("path = 'x.whl'", "is a file"),
        ("editable = 'libs/x'", "is a project of its own"),
        ("directory = 'libs/x'", "is a project of its own"),
    ] {
        let text = lock("dependencies = [{ name = 'x' }]\n");
        let local = format!("[[package]]\nname = 'x'\nversion = '1'\nsource = {{ {source} }}\n");
        let why = refused(&format!("{text}{local}"));
        assert!(why.contains("`x`") && why.contains(kind) && why.contains("`uv export`"), "{why}");
        assert!(!why.contains("s3cret"), "{why}");
        let unused = lock("dependencies = [{ name = 'y' }]\n") + &local + &package("y", "1", "");
        assert_eq!(requirements(&unused), Ok(vec!["y==1".to_owned()]), "what nobody asks for is no matter");
    }
    let why = refused(&lock("").replace("virtual = '.'", "virtual = 'libs/top'"));
    assert!(why.contains("no project in its own folder"), "{why}");
}

#[test]
fn a_version_that_is_there_twice_is_told_apart_by_its_source() {
    let other = package("x", "1", "").replace("https://index.test", "https://other.test");
    let two = package("x", "1", "") + &other;
    let edge = "{ name = 'x', version = '1', source = { registry = 'https://other.test/simple' } }";
    assert_eq!(requirements(&(lock(&format!("dependencies = [{edge}]\n")) + &two)), Ok(vec!["x==1".to_owned()]));
    let why = refused(&(lock("dependencies = [{ name = 'x', version = '1' }]\n") + &two));
    assert!(why.contains("more than one `x` for `top`"), "{why}");
}

#[test]
fn a_damaged_lock_is_told_and_a_hostile_one_ends() {
    assert!(refused("version = 1\n[[package]").starts_with("cannot be read: "));
    assert!(refused("version = 1\npackage = 3").starts_with("cannot be read: "));
    assert!(refused("").contains("missing field `version`"));
    assert!(refused("version = 2\npackages = {}\n").contains("uv's format 2, and this flowrun reads 1"));
    assert!(refused("version = 1\n").contains("no project"));
    assert!(refused(&lock("dependencies = [{ name = 'gone' }]\n")).contains("it has no `gone` for `top`"));
    for (name, version) in [("x y", "1"), ("-r", "1"), ("x\\n-r evil", "1"), ("x", "1 --index-url"), ("x", "")] {
        let text = lock(&format!("dependencies = [{{ name = \"{name}\" }}]\n"));
        let why = refused(&(text + &package("x", version, "").replace("'x'", &format!("\"{name}\""))));
        assert!(why.contains("is damaged") && !why.contains('\n'), "{why}");
    }
    // Every package doubles the ways to the next.
    let mut text = lock("dependencies = [{ name = 'p0' }]\n");
    for index in 0..60 {
        let next = index + 1;
        let edge = |system: &str| format!("{{ name = 'p{next}', marker = \"os_name == '{system}{index}'\" }}");
        text += &package(&format!("p{index}"), "1", &format!("dependencies = [{}, {}]", edge("a"), edge("b")));
    }
    assert!(refused(&(text + &package("p60", "1", ""))).contains("too many markers"));
    // As many packages as fit into a file that is read, each needing the next hundred.
    let mut text = lock("dependencies = [{ name = 'p0' }]\n");
    for index in 0..2000 {
        let edges: String =
            (index + 1..(index + 100).min(2000)).map(|next| format!("{{ name = 'p{next}' }},")).collect();
        text += &package(&format!("p{index}"), "1", &format!("dependencies = [{edges}]"));
    }
    assert_eq!(requirements(&text).map(|found| found.len()), Ok(2000));
}
