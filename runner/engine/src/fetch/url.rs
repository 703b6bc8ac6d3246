//! The content of a URL: `https:` anywhere, `http:` on this machine alone, nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flowrun_core::outcome::{Failure, Say};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Sender;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Error};

use super::cache::hex;
use super::{Cache, infrastructure, is_sha256, redact, refused};

const KIND: &str = "urls";
const FILE: &str = "content";
/// How long to wait before each new try: enough for a server that restarts.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];
/// A server that says nothing for so long says nothing more.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two words about the progress.
const WORD: Duration = Duration::from_millis(250);

/// What a URL brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies, in the cache. To be copied or linked, not changed.
    pub path: PathBuf,
    /// Its sha256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

/// Fetches `url`. With `sha256`, it is that content or a failure, and content that is in the cache is not fetched again; without,
/// it is fetched anew. More than `limit` bytes are a failure.
pub async fn url(
    cache: &Cache,
    url: &str,
    sha256: Option<&str>,
    limit: Option<u64>,
    say: &Sender<Say>,
) -> Result<Fetched, Failure> {
    let request = Request::new(url, limit)?;
    let sha256 = sha256.map(str::to_ascii_lowercase);
    if let Some(wanted) = &sha256 {
        if !is_sha256(wanted) {
            return Err(refused(format!("`{}` is not a sha256 of 64 hexadecimal digits", wanted.escape_debug())));
        }
        if let Some(found) = kept(cache, wanted) {
            return Ok(found);
        }
    }
    let _lock = match &sha256 {
        Some(wanted) => Some(cache.lock(&format!("url-{wanted}")).await?),
        None => None,
    };
    if let Some(found) = sha256.as_ref().and_then(|wanted| kept(cache, wanted)) {
        return Ok(found);
    }
    let scratch = cache.scratch()?;
    let file = scratch.path().join(FILE);
    let (found, size) = patiently(&request, &file, say).await?;
    if let Some(wanted) = sha256.filter(|wanted| *wanted != found) {
        let text = format!("`{}` is not what was pinned: sha256 {wanted} was asked for, {found} came", request.shown);
        return Err(refused(text).hint("it was changed since: find out why, and pin the new one only if it is meant"));
    }
    let path = cache.keep(&file, KIND, &found, FILE)?;
    Ok(Fetched { path, sha256: found, size })
}

fn kept(cache: &Cache, sha256: &str) -> Option<Fetched> {
    let path = cache.find(KIND, sha256, FILE)?;
    let size = std::fs::metadata(&path).ok()?.len();
    Some(Fetched { path, sha256: sha256.to_owned(), size })
}

/// A URL that may be asked for.
#[derive(Clone)]
struct Request {
    uri: Uri,
    /// Without credentials.
    shown: String,
    limit: u64,
    local: bool,
}

impl Request {
    fn new(url: &str, limit: Option<u64>) -> Result<Self, Failure> {
        let shown = redact(url);
        let uri: Uri = url.parse().map_err(|error| refused(format!("`{shown}` is not a URL: {error}")))?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(
                refused(format!("`{shown}` names no host")).hint("a file of this machine is an input, not a URL")
            );
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refused(format!("`{shown}` holds credentials"))
                .hint("a pipeline is no place for them: fetch it in a step that is given a secret"));
        }
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if local => {}
            Some("http") => return Err(refused(format!("`{shown}` is not protected on its way")).hint("use `https:`")),
            _ => return Err(refused(format!("`{shown}` is neither `https:` nor `http:`"))),
        }
        Ok(Self { uri, shown, limit: limit.unwrap_or(u64::MAX), local })
    }

    fn agent(&self) -> Agent {
        let tls = TlsConfig::builder().provider(TlsProvider::Rustls).root_certs(RootCerts::PlatformVerifier).build();
        let plain = self.uri.scheme_str() == Some("http");
        let config = Config::builder()
            .https_only(!plain)
            // A redirect from this machine may lead anywhere, unprotected; from `https:` it must lead to `https:`.
            .max_redirects(if plain { 0 } else { 10 })
            .http_status_as_error(false)
            .tls_config(tls)
            .user_agent(concat!("flowrun/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(SILENCE / 2))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        // A proxy would look on its own machine.
        if self.local { config.proxy(None) } else { config }.build().new_agent()
    }
}

/// Why a try failed.
enum Trouble {
    /// Another try may go better.
    Passing(Failure),
    /// It will not.
    Lasting(Failure),
}

/// Tries until it goes, or cannot.
async fn patiently(request: &Request, file: &Path, say: &Sender<Say>) -> Result<(String, u64), Failure> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let failure = match once(request.clone(), file.to_owned(), say.clone()).await {
            Ok(found) => return Ok(found),
            Err(Trouble::Lasting(failure)) => return Err(failure),
            Err(Trouble::Passing(failure)) => failure,
        };
        let Some(pause) = pauses.next() else { return Err(failure) };
        let _ = say.send(Say::log(format!("{}; another try follows", failure.message))).await;
        tokio::time::sleep(pause).await;
    }
}

/// One try, on a thread of its own. It ends with the next bytes where the future is dropped.
async fn once(request: Request, file: PathBuf, say: Sender<Say>) -> Result<(String, u64), Trouble> {
    let unwanted = Arc::new(AtomicBool::new(false));
    let _dropped = OnDrop(unwanted.clone());
    let task = tokio::task::spawn_blocking(move || download(&request, &file, &say, &unwanted));
    task.await.unwrap_or_else(|error| Err(Trouble::Lasting(infrastructure(error.to_string()))))
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn download(
    request: &Request,
    path: &Path,
    say: &Sender<Say>,
    unwanted: &AtomicBool,
) -> Result<(String, u64), Trouble> {
    let shown = &request.shown;
    let broken = |error: &dyn std::fmt::Display| infrastructure(redact(&format!("cannot fetch `{shown}`: {error}")));
    let answer = request.agent().get(request.uri.clone()).call().map_err(|error| match error {
        Error::Io(ref io) if io.to_string().contains("certificate") => Trouble::Lasting(
            broken(&error).hint("this machine's certificates do not vouch for the server: SSL_CERT_FILE names others"),
        ),
        Error::Io(_) | Error::Timeout(_) | Error::ConnectionFailed | Error::HostNotFound | Error::Protocol(_) => {
            Trouble::Passing(broken(&error).hint("is the network there, and the proxy right (HTTPS_PROXY)?"))
        }
        _ => Trouble::Lasting(broken(&error)),
    })?;
    let status = answer.status();
    if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
        return Err(Trouble::Passing(broken(&format!("the server says {status}"))));
    }
    if !status.is_success() {
        return Err(Trouble::Lasting(refused(format!("cannot fetch `{shown}`: the server says {status}"))));
    }
    let body = answer.into_body();
    let announced = body.content_length();
    let too_large =
        || Trouble::Lasting(refused(format!("`{shown}` is larger than the {} bytes it may have", request.limit)));
    if announced.is_some_and(|size| size > request.limit) {
        return Err(too_large());
    }
    let written = |error: std::io::Error| {
        Trouble::Lasting(
            infrastructure(format!("cannot write `{}`: {error}", path.display())).hint("is the disk full?"),
        )
    };
    let mut reader = body.into_with_config().limit(u64::MAX).reader();
    let mut file = File::create(path).map_err(written)?;
    let (mut hasher, mut size, mut word) = (Sha256::new(), 0_u64, Instant::now());
    let mut buffer = vec![0; 128 << 10];
    loop {
        let length = reader.read(&mut buffer).map_err(|error| Trouble::Passing(broken(&error)))?;
        if length == 0 {
            break;
        }
        size += length as u64;
        if size > request.limit {
            return Err(too_large());
        }
        if unwanted.load(Ordering::Relaxed) {
            return Err(Trouble::Lasting(broken(&"nobody waits for it any more")));
        }
        hasher.update(&buffer[..length]);
        file.write_all(&buffer[..length]).map_err(written)?;
        if word.elapsed() >= WORD {
            word = Instant::now();
            // A listener who is behind misses one word of many.
            let _ = say.try_send(Say::Progress { done: size, total: announced.unwrap_or(0), what: "bytes".into() });
        }
    }
    if announced.is_some_and(|announced| announced != size) {
        return Err(Trouble::Passing(broken(&format!("it broke off after {size} bytes"))));
    }
    Ok((hex(hasher), size))
}
