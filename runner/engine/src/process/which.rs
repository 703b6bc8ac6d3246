//! Where a program is, as `execvp` would find it. Knows nothing of why it is wanted.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The executable file that `program` names: as it is where it holds a `/` (from `dir` where it is relative), else the first in
/// the folders of `path` (separated by `:`; an empty or relative one starts at `dir`).
pub fn which(program: &OsStr, path: &OsStr, dir: &Path) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(dir.join(program)).filter(|file| is_executable(file));
    }
    if program.is_empty() {
        return None;
    }
    std::env::split_paths(path).map(|folder| dir.join(folder).join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_would() {
        let root = Path::new("/");
        let found = |program: &str| which(program.as_ref(), "/nowhere:/usr/bin:/bin".as_ref(), root);
        assert!(found("sh").is_some_and(|sh| sh.ends_with("bin/sh")));
        assert_eq!(found("/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(which("./sh".as_ref(), "".as_ref(), Path::new("/bin")), Some("/bin/./sh".into()));
        assert_eq!(which("sh".as_ref(), "".as_ref(), Path::new("/bin")), Some("/bin/sh".into()));
        assert_eq!(found("no-such-program-here"), None);
        assert_eq!(found("/etc/passwd"), None, "not executable");
        assert_eq!(found("/bin"), None, "a folder");
        assert_eq!(found(""), None);
    }
}
