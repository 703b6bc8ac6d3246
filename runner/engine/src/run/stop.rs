//! Being asked to stop.

use tokio_util::sync::CancellationToken;

/// A request to stop, shared between the terminal and the run.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: CancellationToken,
    forced: CancellationToken,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Start nothing new, and stop what runs, kindly.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// Do not wait for anything: what runs is killed.
    pub fn force(&self) {
        self.asked.cancel();
        self.forced.cancel();
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Whether somebody will not wait.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced.is_cancelled()
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Waits until somebody will not wait.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }

    /// A token that is cancelled when somebody will not wait.
    pub(crate) fn kill(&self) -> CancellationToken {
        self.forced.clone()
    }

    /// A token that is cancelled with this one, and can be cancelled alone.
    pub(crate) fn token(&self) -> CancellationToken {
        self.asked.child_token()
    }
}
