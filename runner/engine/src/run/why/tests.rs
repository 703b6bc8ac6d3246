use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::{Memo, Take};

struct Bed {
    _folder: tempfile::TempDir,
    root: PathBuf,
    store: Store,
}

fn bed() -> Bed {
    let folder = tempfile::tempdir().expect("tempdir");
    let root = folder.path().to_owned();
    let store = Store::open(&root).expect("opens");
    Bed { _folder: folder, root, store }
}

impl Bed {
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        std::fs::write(&path, bytes).expect("write");
        path
    }

    /// As a step reads it: known by content, and brought into the store.
    fn kept(&self, path: &Path) -> Artifact {
        self.store.ingest(path, Take::Copy).expect("ingest")
    }

    /// As a look finds it: known by content, its bytes still in the workspace alone.
    fn seen(&self, path: &Path) -> Artifact {
        self.store.hash_source(path, &Memo::load(&self.store)).expect("hash")
    }

    fn told(&self, old: &Artifact, new: &Artifact, origins: &[(PathBuf, Artifact)]) -> Vec<String> {
        Bytes { store: &self.store, origins, told: &Told::default() }.contents(old, new)
    }
}

fn text(leaf: &str, old: &str, new: &str) -> Vec<String> {
    texts(leaf, old, new)
}

#[test]
fn a_text_that_can_be_shown_whole_needs_no_detail_and_a_longer_one_gets_a_diff() {
    let none = Vec::<String>::new();
    assert_eq!(text("env.MODE", "a", "b"), none);
    assert_eq!(text("plugin", &"a".repeat(64), &"b".repeat(64)), none);
    assert_eq!(text("input.weights", &format!("sha256:{}", "a".repeat(64)), "sha256:b"), none);
    assert_eq!(
        text("run", "set -x\necho a\n", "set -x\necho b\n"),
        ["@@ -1,2 +1,2 @@", " set -x", "-echo a", "+echo b"]
    );
    let (old, new) = (format!("echo {} a", "x".repeat(40)), format!("echo {} b", "x".repeat(40)));
    assert_eq!(text("run", &old, &new), ["@@ -1 +1 @@".to_owned(), format!("-{old}"), format!("+{new}")]);
}

#[test]
fn a_long_text_that_is_new_or_gone_is_told_whole() {
    let bed = bed();
    let told = Told::default();
    let bytes = Bytes { store: &bed.store, origins: &[], told: &told };
    let long = Some(Leaf::Text("x".repeat(SHORT + 1)));
    let come = bytes.detail(&Difference { leaf: "env.A".into(), old: None, new: long.clone() });
    assert_eq!(come, ["@@ -0,0 +1 @@".to_owned(), format!("+{}", "x".repeat(SHORT + 1))]);
    let gone = bytes.detail(&Difference { leaf: "env.A".into(), old: long, new: None });
    assert_eq!(gone, ["@@ -1 +0,0 @@".to_owned(), format!("-{}", "x".repeat(SHORT + 1))]);
    assert!(
        bytes.detail(&Difference { leaf: "env.A".into(), old: None, new: Some(Leaf::Text("3".into())) }).is_empty()
    );
}

#[test]
fn json_is_compared_as_it_was_written() {
    assert_eq!(
        text(
            "with.prompt",
            r#""a line of thirty characters, or so\ntwo""#,
            r#""a line of thirty characters, or so\n2""#
        ),
        ["@@ -1,2 +1,2 @@", " a line of thirty characters, or so", "-two", "+2"]
    );
    let (old, new) =
        (r#"{"a":1,"b":[1,2],"long":"01234567890123456789"}"#, r#"{"a":1,"b":[1,3],"long":"01234567890123456789"}"#);
    assert_eq!(
        text("onnx.settings", old, new),
        [
            "@@ -3,5 +3,5 @@",
            "   \"b\": [",
            "     1,",
            "-    2",
            "+    3",
            "   ],",
            "   \"long\": \"01234567890123456789\""
        ]
    );
}

#[test]
fn an_environment_is_told_by_its_packages() {
    let line = |wish: &str, hash: char| format!("{wish} --hash=sha256:{}", hash.to_string().repeat(64));
    let old = [line("numpy==1", 'a'), line("six==1.16.0", 'b')].join("\n");
    let new = [line("numpy==1", 'a'), line("six==1.17.0", 'c')].join("\n");
    assert_eq!(text("python", &old, &new), ["@@ -1,2 +1,2 @@", " numpy==1", "-six==1.16.0", "+six==1.17.0"]);
    let rebuilt = [line("numpy==1", 'd'), line("six==1.16.0", 'b')].join("\n");
    let told = text("python", &old, &rebuilt);
    assert!(told[1].starts_with("-numpy==1 (hashes ") && told[2].starts_with("+numpy==1 (hashes "), "{told:?}");
    assert_ne!(told[1][1..], told[2][1..]);
}

#[test]
fn a_small_text_is_compared_wherever_its_bytes_are() {
    let bed = bed();
    let path = bed.write("a.txt", "one\ntwo\n");
    let old = bed.kept(&path);
    bed.write("a.txt", "one\n2\n");
    let new = bed.seen(&path);
    let origins = [(path.clone(), new)];
    assert_eq!(bed.told(&old, &new, &origins), ["@@ -1,2 +1,2 @@", " one", "-two", "+2"]);
    assert!(bed.told(&old, &new, &[]).is_empty(), "its bytes are nowhere");
    bed.write("a.txt", "one\n3\n");
    assert!(bed.told(&old, &new, &origins).is_empty(), "the file is another since it was looked at");
}

#[test]
fn what_is_large_or_no_text_is_not_compared_line_by_line() {
    let bed = bed();
    let kept = |bytes: &[u8]| bed.kept(&bed.write("file", bytes));
    let text = kept(b"text\n");
    for other in [&b"\xff\xfe"[..], b"nul\0nul", &vec![b'x'; LARGEST_TEXT as usize + 1]] {
        assert!(bed.told(&text, &kept(other), &[]).is_empty());
    }
    assert!(!bed.told(&text, &kept(&vec![b'x'; LARGEST_TEXT as usize]), &[]).is_empty());
}

#[test]
fn a_folder_names_its_files() {
    let bed = bed();
    for (name, text) in
        [("gone.txt", "gone"), ("old.txt", "the same"), ("run.sh", "sh"), ("sub/a.txt", "one\n"), ("empty", "")]
    {
        bed.write(&format!("data/{name}"), text);
    }
    let path = bed.root.join("data");
    let old = bed.kept(&path);
    std::fs::remove_file(path.join("gone.txt")).expect("remove");
    std::fs::remove_file(path.join("empty")).expect("remove");
    std::fs::rename(path.join("old.txt"), path.join("sub/new.txt")).expect("rename");
    std::fs::set_permissions(path.join("run.sh"), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    bed.write("data/sub/a.txt", "one and a half\n");
    bed.write("data/also-empty", "");
    let new = bed.seen(&path);
    let expected = [
        "also-empty added, 0 B",
        "empty removed, 0 B",
        "gone.txt removed, 4 B",
        "old.txt → sub/new.txt renamed",
        "run.sh is executable now",
        "sub/a.txt changed, 4 B → 15 B",
    ];
    assert_eq!(bed.told(&old, &new, &[(path, new)]), expected);
}

#[test]
fn a_lone_small_text_of_a_folder_is_compared() {
    let bed = bed();
    bed.write("data/b.txt", "b");
    let file = bed.write("data/sub/a.txt", "one\n");
    let path = bed.root.join("data");
    let old = bed.kept(&path);
    std::fs::write(&file, "two\n").expect("write");
    let whole = bed.seen(&path);
    let diff = ["@@ -1 +1 @@", "-one", "+two"];
    let expected = |name: &str| [vec![format!("{name} changed, 4 B → 4 B")], diff.map(str::to_owned).to_vec()].concat();
    assert_eq!(bed.told(&old, &whole, &[(path.clone(), whole)]), expected("sub/a.txt"));
    // A step may take only a part of a source: the bytes are still found.
    let part = |artifact: &Artifact| bed.store.subpath(artifact, "sub").expect("reads").expect("is there");
    assert_eq!(bed.told(&part(&old), &part(&whole), &[(path, whole)]), expected("a.txt"));
}

#[test]
fn many_files_are_counted() {
    let bed = bed();
    bed.write("data/a", "a");
    let path = bed.root.join("data");
    let old = bed.kept(&path);
    for n in 0..MOST_FILES + 7 {
        bed.write(&format!("data/{n:04}"), n.to_string());
    }
    let new = bed.seen(&path);
    let told = bed.told(&old, &new, &[]);
    assert_eq!(told.len(), MOST_FILES + 1);
    assert_eq!(told[MOST_FILES], "and 7 more files");
}
