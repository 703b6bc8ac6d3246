//! Plugins in registries of the OCI kind, where teams keep their container images: brought from there and put there.
//!
//! ```text
//! oci://HOST/REPO:TAG ─► manifest ─► one layer, the component's bytes ─► the user's cache, by sha256
//!                           │                │                                  │
//!               against an asked digest  against its digest and size    against the lock's pin, at each reading
//! ```
//! The layout is that of the CNCF's "Wasm OCI artifact", which other WebAssembly tools read and write too: a config of type
//! `application/vnd.wasm.config.v0+json` and one layer of type `application/wasm`. So the layer's digest is the component's, and a pinned
//! component is asked for by that alone: whatever became of its tag, it is those bytes or none.
//!
//! | file          | knows                                                              |
//! |---------------|--------------------------------------------------------------------|
//! | `reference`   | how `oci://…` is spelled, and which hosts may be spoken to plainly |
//! | `credentials` | where docker keeps who we are                                      |
//! | `client`      | the way to a registry, and what its troubles mean                  |
//! | `artifact`    | the layout                                                         |
//! | `pull`, `push`| the two ways                                                       |
//! | `wanted`      | which of a pipeline's plugins are there, and bringing the others   |
//!
//! Knows nothing of runs. What is pinned is written down by whoever holds the lock.

mod artifact;
mod client;
mod credentials;
mod pull;
mod push;
mod reference;
mod wanted;

pub use pull::{Pulled, pull};
pub use push::{Pushed, push};
pub use reference::{Reference, SCHEME};

pub(crate) use pull::kept;
pub(crate) use wanted::{Ready, ready};
