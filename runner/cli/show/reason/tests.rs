use super::*;
use flowrun_core::artifact::Artifact;
use flowrun_core::digest::Digest;

fn text(text: &str) -> Option<Leaf> {
    Some(Leaf::Text(text.to_owned()))
}

fn file(bytes: &[u8], mode: Mode) -> Option<Leaf> {
    Some(Leaf::Content(Artifact { mode, digest: Digest::of(bytes), size: bytes.len() as u64 }))
}

fn reason(leaf: &str, old: Option<Leaf>, new: Option<Leaf>, detail: &[&str]) -> Reason {
    let difference = Difference { leaf: leaf.into(), old, new };
    Reason::Changed { difference, detail: detail.iter().map(|line| (*line).to_owned()).collect() }
}

fn change(old: &str, new: &str, detail: &[&str]) -> Reason {
    reason("run", text(old), text(new), detail)
}

#[test]
fn a_reason_names_the_leaf_and_what_it_was_and_is() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let (short_a, short_b) = (a.short(), b.short());
    let pin = |digest: &Digest| text(&format!("sha256:{digest}"));
    let told = [
        (reason("with.copies", text("3"), text("4"), &[]), "with.copies: 3 → 4".to_owned()),
        (reason("with.copies", None, text("4"), &[]), "with.copies is new: 4".to_owned()),
        (reason("with.copies", text("3"), None, &[]), "with.copies is gone: 3".to_owned()),
        (reason("plugin", text(&a.to_string()), text(&b.to_string()), &[]), format!("plugin: {short_a} → {short_b}")),
        (reason("input.weights", pin(&a), pin(&b), &[]), format!("input.weights: sha256:{short_a} → sha256:{short_b}")),
        (
            reason("tool.sort", text(&a.to_string()), text(&b.to_string()), &[]),
            format!("tool.sort is another program: {short_a} → {short_b}"),
        ),
        (
            reason(
                "tool.sort",
                file(b"a", Mode::Executable),
                file(b"b", Mode::Executable),
                &["@@ -1 +1 @@", "-a", "+b"],
            ),
            format!("tool.sort is another program: {short_a} → {short_b}"),
        ),
        (
            reason("input.model", file(b"a", Mode::File), file(b"b", Mode::File), &[]),
            format!("input.model: 1 B {short_a} → 1 B {short_b}"),
        ),
        (
            reason("code.a.sh", file(b"a", Mode::File), file(b"a", Mode::Executable), &[]),
            "code.a.sh is executable now".to_owned(),
        ),
        (
            reason("input.data", file(b"a", Mode::File), file(b"b", Mode::Folder), &[]),
            format!("input.data: 1 B {short_a} → folder 1 B {short_b}"),
        ),
        (reason("code.a.sh", None, file(b"a", Mode::File), &[]), format!("code.a.sh is new: 1 B {short_a}")),
        (
            reason(
                "input.data",
                file(b"a", Mode::Folder),
                file(b"b", Mode::Folder),
                &["a.txt added, 1 B", "b.txt removed, 2 B"],
            ),
            "input.data: a.txt added, 1 B (and 1 more)".to_owned(),
        ),
        (
            reason(
                "input.data",
                file(b"a", Mode::Folder),
                file(b"b", Mode::Folder),
                &["a.txt changed, 1 B → 1 B", "@@ -1 +1 @@", "-a", "+b"],
            ),
            "input.data: a.txt changed, 1 B → 1 B".to_owned(),
        ),
    ];
    for (reason, expected) in told {
        assert_eq!(one(&reason), expected);
    }
}

#[test]
fn a_diff_is_told_by_its_first_place() {
    let told = [
        (&["@@ -1 +1 @@", "-echo a", "+echo b"][..], "run: echo a → echo b"),
        (&["@@ -1,2 +1,3 @@", " set -x", "+  echo b", " echo a"], "run: + echo b"),
        (&["@@ -1,2 +1 @@", " set -x", "-echo a"], "run: - echo a"),
        (&["@@ -1,2 +1,2 @@", "-a", "-b", "+c", "+d", "@@ -9 +9 @@", "-e"], "run: a → c (and 3 more lines)"),
        (&["@@ -1 +1,2 @@", "-a", "\\ No newline at end of file", "+a", "+b"], "run: a → a (and 1 more line)"),
        (
            &["@@ -1 +1 @@", "-awk -v n=200 -v seed=1 'a long script'", "+awk -v n=1500 -v seed=1 'a long script'"],
            "run: …n=200… → …n=1500…",
        ),
    ];
    for (detail, expected) in told {
        assert_eq!(one(&change("a\nb", "a\nc", detail)), expected);
    }
    // A record of an earlier flowrun.
    assert_eq!(one(&change("a\nb", "a\nc", &["- b", "+ c"])), "run: - b (and 1 more)");
}

#[test]
fn long_lines_are_cut_around_what_differs() {
    let long = "x".repeat(50);
    let (old, new) = excerpts(&long, "4");
    assert_eq!((old.chars().count(), new.as_str()), (LONGEST + 1, "4"));
    assert_eq!(excerpts(&format!("{long} a"), &format!("{long} a b")), ("…a".to_owned(), "…a b".to_owned()));
    let (old, new) = excerpts(&format!("{long}a{long}"), &format!("{long}b{long}"));
    assert!(old.contains("xa") && new.contains("xb"), "{old} {new}");
    assert!(old.chars().count() <= LONGEST + 2 && new.chars().count() <= LONGEST + 2);
}

#[test]
fn further_reasons_are_named() {
    let env = |name: &str| reason(&format!("env.{name}"), text("1"), text("2"), &[]);
    assert_eq!(line(&[Reason::New]), "never ran here");
    assert_eq!(line(&[env("A"), env("B")]), "env.A: 1 → 2; also env.B");
    assert_eq!(
        line(&[env("A"), env("B"), env("C"), env("D"), env("E"), env("F")]),
        "env.A: 1 → 2; also env.B, env.C, env.D and 2 more"
    );
    assert_eq!(line(&[Reason::Forced, Reason::Uncached]), "forced; also 1 more");
}

#[test]
fn only_whole_digests_are_cut() {
    let digest = Digest::of(b"a");
    let (text, short) = (digest.to_string(), digest.short());
    assert_eq!(shortened(&format!("onnxruntime==1.2 sha256:{text}!")), format!("onnxruntime==1.2 sha256:{short}!"));
    assert_eq!(shortened(&format!("{text}0 dead 日本")), format!("{text}0 dead 日本"));
}
