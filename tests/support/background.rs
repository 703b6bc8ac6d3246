//! Runs that go on while a test does something else.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Bed, wait_for};

/// A run in the background. It is killed when the test ends.
pub struct Background {
    child: Child,
    said: PathBuf,
}

impl Background {
    /// `flowrun run ARGS`; what it says, on both streams, goes to a file of this name in the project.
    pub fn start(bed: &Bed, name: &str, args: &[&str]) -> Self {
        let said = bed.path(name);
        let file = || Stdio::from(std::fs::File::options().create(true).append(true).open(&said).expect("open"));
        let child = bed.command(&[&["run"], args].concat()).stdout(file()).stderr(file()).spawn().expect("starts");
        Self { child, said }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn says(&self, text: &str) {
        wait_for(&format!("`{text}` in {}", self.said()), || self.said().contains(text));
    }

    /// The run's id, from the first line that it says.
    #[track_caller]
    pub fn id(&self) -> String {
        self.says("run 2");
        let said = self.said();
        let id = said.split("run 2").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an id");
        format!("2{id}")
    }

    /// Whether it still goes on.
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill");
        assert!(status.success());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("wait")
    }

    #[track_caller]
    pub fn ends_with(&mut self, code: i32) {
        assert_eq!(self.end().code(), Some(code), "{}", self.said());
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It has most often ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
