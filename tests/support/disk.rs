//! A small disk of one's own, where this user may mount one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted memory disk; unmounted when it goes out of use.
pub struct Disk {
    place: PathBuf,
}

impl Disk {
    /// Mounts one of so many bytes (`4m`, `300k`); nothing where this user may not.
    pub fn mount(place: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(place).expect("mkdir");
        let disk = Self { place: place.to_owned() };
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], place).then_some(disk)
    }

    /// Changes how it is mounted: `ro`, `rw`, `size=64m`.
    pub fn again(&self, options: &str) {
        // The kernel lets go of the folders that a sandbox named a moment after the last process in it has ended.
        super::wait_for(&format!("mounting again with {options}"), || {
            mount(&["-o", &format!("remount,{options}")], &self.place)
        });
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also where something still looks at it.
        let _ = Command::new("umount").arg("-l").arg(&self.place).stderr(std::process::Stdio::null()).status();
    }
}

fn mount(args: &[&str], place: &Path) -> bool {
    let output = Command::new("mount").args(args).arg(place).output();
    output.is_ok_and(|output| output.status.success())
}
