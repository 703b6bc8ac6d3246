//! `flowrun plugin build`: from a folder to one component that carries its manifest.

use std::path::{Path, PathBuf};

use clap::Args;
use flowrun_core::outcome::Say;
use flowrun_core::plugin::Described;
use flowrun_engine::craft::{self, Language};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::show::amount::size;
use crate::show::line::Line;

/// Build the plugin in a folder: one component that carries its manifest
///
/// `plugin.py` is built by componentize-py, `plugin.js` by componentize-qjs, `plugin.c` by Zig's C compiler: each is brought once,
/// into the user's cache. `Cargo.toml` is built by the cargo that is there, which needs the target `wasm32-wasip2`.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Take this component or core module, which something else has built, and put the manifest in
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Show what the compiler says
    #[arg(long, short)]
    verbose: bool,
}

impl Build {
    /// Builds it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let manifest = manifest(&self.dir)?;
        let cache = super::cache()?;
        output::say(&format!("building {}{}", manifest.manifest.name, self.way()?));
        let verbose = self.verbose;
        let made = super::super::runtime()?.block_on(async {
            let (say, mut heard) = mpsc::channel(64);
            let listener = tokio::spawn(async move {
                while let Some(said) = heard.recv().await {
                    if let (true, Say::Line { text, .. }) = (verbose, said) {
                        output::say_lines(&[Line::new().dim("│ ").plain(text)]);
                    }
                }
            });
            let made = craft::build(&cache, &self.dir, self.from.as_deref(), &say).await;
            drop(say);
            // It ends with the channel; what it could not write, nobody reads.
            let _ = listener.await;
            made
        });
        made.map_err(Error::failed)?;
        let path = craft::component_path(&self.dir).map_err(Error::failed)?;
        let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        output::say(&format!("{}  {}", path.display(), size(bytes)));
        Ok(Exit::Ok)
    }

    fn way(&self) -> Result<String, Error> {
        if let Some(file) = &self.from {
            return Ok(format!(" from {}", file.display()));
        }
        Ok(match Language::of(&self.dir).map_err(Error::failed)? {
            Language::Rust => " with cargo",
            Language::Python => " with componentize-py",
            Language::JavaScript => " with componentize-qjs",
            Language::C => " with Zig's C compiler",
        }
        .to_owned())
    }
}

/// The manifest in a plugin's folder, or all that is wrong with it.
pub(super) fn manifest(dir: &Path) -> Result<Described, Error> {
    let path = dir.join("plugin.yaml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let error = Error::usage(format!("`{}` is no plugin's folder: it has no `plugin.yaml`", dir.display()));
            return Err(error.hint("`flowrun plugin new OWNER/NAME` writes a plugin to start from"));
        }
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    Described::parse(&text).map_err(|findings| super::findings(&path, &text, findings))
}
