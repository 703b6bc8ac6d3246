//! The host's side of `flowrun:step`, generated from the WIT that plugins are built against.
//!
//! Knows nothing of what the calls do: `guest` implements them. A later version of the interface gets a module of its
//! own beside this one, which forwards to the newest host code.

wasmtime::component::bindgen!({
    path: "../../plugins/wit/v1",
    world: "step",
    imports: { default: trappable },
});

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flowrun_core::digest::Digest;

    /// The digest of version 1 as it was when the first plugin of somebody else could have been built against it.
    const V1: &str = "9bf896bfa516ea7f87eef011a533aa26d9ccd5bc499688d7de88fa0e2b46f7bc";

    /// What plugins were built against does not change: what is new gets a version and a folder of its own.
    #[test]
    fn the_interface_is_frozen() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/wit/v1");
        let entries = std::fs::read_dir(&folder).expect("the folder");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        let mut all = Vec::new();
        for file in files {
            all.extend(file.file_name().expect("a name").as_encoded_bytes());
            all.push(0);
            let text = std::fs::read_to_string(&file).expect("a text");
            all.extend(Digest::of(text.replace("\r\n", "\n").as_bytes()).as_bytes());
        }
        assert_eq!(Digest::of(&all).to_string(), V1, "`plugins/wit/v1` has changed, and nothing in it may");
    }
}
