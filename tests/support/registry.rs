//! A registry of this machine: the real program that Debian packages as `docker-registry`, on a free port, with its storage in a folder.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::wait_for;

/// The only user of a closed registry, the password, and what `docker login` would store of both.
pub const USER: &str = "ann";
pub const PASSWORD: &str = "quiet-otter-42";
pub const STORED: &str = "YW5uOnF1aWV0LW90dGVyLTQy";
/// bcrypt of the password, as `htpasswd -B` writes it.
const HASHED: &str = "$2y$05$abcdefghijklmnopqrstuu.WInMlne/GlvvhaLvgXYzRv8KXVa/7C";

pub struct Registry {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Registry {
    /// One that is open to all; nothing, and a word about it, where the program is not there.
    pub fn open() -> Option<Self> {
        Self::start("")
    }

    /// One that only [`USER`] may use.
    pub fn closed() -> Option<Self> {
        Self::start("auth: { htpasswd: { realm: test, path: FOLDER/users } }\n")
    }

    fn start(auth: &str) -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().expect("tempdir");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("address").port();
        drop(free);
        let root = folder.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: {root}/storage }} }}\n\
             http: {{ addr: '127.0.0.1:{port}' }}\n{}",
            auth.replace("FOLDER", &root)
        );
        std::fs::write(folder.path().join("config.yml"), config).expect("write");
        std::fs::write(folder.path().join("users"), format!("{USER}:{HASHED}\n")).expect("write");
        let mut registry = Self { program, folder, port, child: None };
        registry.go_on();
        Some(registry)
    }

    /// Starts it, at first or again.
    pub fn go_on(&mut self) {
        let config = self.folder.path().join("config.yml");
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("the registry starts"));
        wait_for("the registry", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Ends it; its storage stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How something in it is named.
    pub fn name(&self, rest: &str) -> String {
        format!("oci://{}/{rest}", self.host())
    }

    /// The file of a blob, by its sha256.
    pub fn blob(&self, sha256: &str) -> PathBuf {
        self.folder.path().join("storage/docker/registry/v2/blobs/sha256").join(&sha256[..2]).join(sha256).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([Path::new("/usr/bin").to_owned()]);
    let found = places.find(|folder| folder.join("docker-registry").is_file());
    if found.is_none() {
        super::skip(
            "plugins of registries",
            "`docker-registry` is not there; `apt-get install docker-registry` brings it",
        );
    }
    Some(found?.join("docker-registry"))
}
