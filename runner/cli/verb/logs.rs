//! `flowrun logs`: what a step said.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use clap::Args;

use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::past::{self, Past};
use crate::story::Phase;

/// Print what a step said
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The run: an id, a beginning of one, or @latest
    run: String,
    /// The step; an instance of a fan-out is `train[seed=1]`
    step: String,
    /// Go on until the step has ended
    #[arg(long, short)]
    follow: bool,
}

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

impl Logs {
    /// Prints it.
    pub(crate) fn exec(self) -> Result<Exit, Error> {
        let past = Past::here()?;
        let mut run = past.resolve(&self.run)?;
        let story = past.story(&run)?;
        let (step, told) = past::step(&story, &self.step)?;
        if let Phase::Cached(from, _) = &told.phase {
            output::say(&format!("`{step}` was cached: this is its log of run {from}"));
            run.clone_from(from);
        }
        let path = past.log(&run, step);
        let mut position = 0;
        loop {
            // Looked up before reading, so that what was written until then is not missed.
            let over = !self.follow || !past.is_live(&run) || past::step(&past.story(&run)?, step)?.1.is_over();
            match std::fs::File::open(&path) {
                Ok(mut log) => position += copy_from(&mut log, position, &path)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !over => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && position == 0 => {
                    output::say(&format!("`{step}` left no log in run {run}"));
                }
                Err(error) => return Err(Error::io("read", &path)(error)),
            }
            if over {
                return Ok(Exit::Ok);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Copies what was added since `position`; returns how much. A terminal gets it without codes that would steer it.
fn copy_from(log: &mut std::fs::File, position: u64, path: &std::path::Path) -> Result<u64, Error> {
    use std::io::Seek;
    log.seek(std::io::SeekFrom::Start(position)).map_err(Error::io("read", path))?;
    let stdout = std::io::stdout();
    let tame = stdout.is_terminal();
    let mut out = stdout.lock();
    let mut buffer = vec![0; 64 << 10];
    let mut strip = anstream::adapter::StripBytes::new();
    let mut copied = 0;
    loop {
        let read = log.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            out.flush().map_err(Error::out)?;
            return Ok(copied);
        }
        copied += read as u64;
        if tame {
            for piece in strip.strip_next(&buffer[..read]) {
                out.write_all(piece).map_err(Error::out)?;
            }
        } else {
            out.write_all(&buffer[..read]).map_err(Error::out)?;
        }
    }
}
