//! A WASI command for the tests of `shard`: puts the texts of a folder into capitals and lists them.
//!
//! Built, and kept beside its source, by
//! `rustc --edition 2024 --target wasm32-wasip2 -C opt-level=s -C lto -C panic=abort -C strip=debuginfo -o upper.wasm upper.rs`.
//!
//! Input `texts`, a folder. Outputs: `texts`, the same in capitals; `table`, a CSV with a row a text. `shared.txt` is nobody's part: it is
//! copied, or with `sign` signed with the part's first row, so that parts differ in it.

use std::fs;
use std::path::Path;

fn main() {
    let sign = fs::read_to_string("/step/request.json").expect("the request").contains("\"sign\":true");
    let (mut rows, mut bytes, mut names) = (String::from("name,bytes\n"), 0, Vec::new());
    walk(Path::new("/in/texts"), Path::new("/out/texts"), &mut |name, text| {
        if name == "shared.txt" {
            return if sign { format!("{text}{}", names_of(&names)) } else { text.to_owned() };
        }
        rows.push_str(&format!("{name},{}\n", text.len()));
        bytes += text.len();
        names.push(name.to_owned());
        text.to_uppercase()
    });
    fs::write("/out/table.csv", rows).expect("the table");
    let list: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let values = format!("{{\"bytes\":{bytes},\"names\":[{}],\"kind\":\"text\",\"own\":{}}}", list.join(","), list.len());
    fs::write("/out/values.json", values).expect("the values");
}

fn names_of(names: &[String]) -> &str {
    names.first().map_or("", String::as_str)
}

fn walk(from: &Path, to: &Path, each: &mut impl FnMut(&str, &str) -> String) {
    fs::create_dir_all(to).expect("a folder");
    let mut entries: Vec<_> = fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    // `shared.txt` last, when there are rows to sign it with.
    entries.sort_by_key(|path| (path.ends_with("shared.txt"), path.clone()));
    for path in entries {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            walk(&path, &to.join(&name), each);
        } else {
            let text = each(&name, &fs::read_to_string(&path).expect("a text"));
            fs::write(to.join(&name), text).expect("a text");
        }
    }
}
