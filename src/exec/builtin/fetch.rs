//! One file by its SHA-256, over `https:`, `http:` or from `file:`.
//!
//! The digest decides what the bytes are, and the URL only where to look, so a URL is never part of a key. Even
//! so a server may not lead us where the user did not: redirects are followed by hand, only to http and https,
//! never from https down to http, and never to this machine or to the link-local addresses where clouds keep
//! credentials. Bytes go to a file of the caller's scratch folder; nothing is kept of a fetch that fails.
//! Retrying, and putting the file into the store, are the caller's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::control::Control;
use super::network::NetworkEnv;
use crate::pipeline::FetchFile;

/// Why a file can't be had.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The URL can't be read, or has a scheme that is not allowed.
    #[error("`{url}` can't be fetched: {why}; write an `https:`, `http:` or `file:` URL")]
    Url { url: String, why: &'static str },
    /// The digest in the pipeline is no SHA-256.
    #[error("`{0}` is no SHA-256 digest: write its 64 hexadecimal digits")]
    BadDigest(String),
    /// The server, or the way to it, failed; trying again may help.
    #[error("`{url}` can't be reached: {source}; check the network and the proxy settings")]
    Network { url: String, source: Box<ureq::Error> },
    /// The server answered with an error.
    #[error("`{url}` answered {status}; check the address, or whether it asks for a login")]
    Status { url: String, status: u16 },
    /// A redirect that is not followed.
    #[error("`{url}` leads to `{to}`, which {why}; write the final address in the pipeline if it is meant")]
    Redirect { url: String, to: String, why: &'static str },
    /// The bytes are not the wanted ones.
    #[error("`{url}` gave other bytes than expected: wanted sha256 {wanted}, got {got}{hint}")]
    Digest { url: String, wanted: String, got: String, hint: &'static str },
    /// More bytes than allowed.
    #[error("`{url}` gives more than {limit} bytes, which is the limit")]
    TooLarge { url: String, limit: u64 },
    /// It took too long.
    #[error("`{url}` was not complete after {} s; raise the step's `timeout`, or try again", limit.as_secs())]
    TimedOut { url: String, limit: Duration },
    /// The connection ended early.
    #[error("`{url}` broke off after {received} bytes: {source}")]
    Broken { url: String, received: u64, source: io::Error },
    /// A local file can't be read or written.
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The certificates that the environment names can't be used.
    #[error("the certificates in `{}` can't be used: {why}; check `SSL_CERT_FILE`", path.display())]
    Certificates { path: PathBuf, why: String },
    /// The proxy that the environment names can't be used.
    #[error("the proxy `{0}` can't be used; check `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`")]
    Proxy(String),
    /// The work was stopped from outside.
    #[error("fetching was stopped")]
    Stopped,
}

impl FetchError {
    /// True where the same fetch may succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            FetchError::Network { .. } | FetchError::Broken { .. } => true,
            FetchError::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        }
    }
}

/// What a fetch may at most take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: u64,
    pub time: Duration,
    /// The longest time without a byte.
    pub silence: Duration,
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 256 << 30,
            time: Duration::from_secs(2 * 3600),
            silence: Duration::from_secs(60),
            redirects: 10,
        }
    }
}

/// Fetches `file` into the new file `target` and checks its digest. It blocks.
pub fn fetch(
    file: &FetchFile,
    target: &Path,
    env: &NetworkEnv,
    limits: Limits,
    control: &Control<'_>,
) -> Result<(), FetchError> {
    let wanted = sha256_text(&file.sha256.value)?;
    let url = file.url.value.as_str();
    let cannot_write = |source| FetchError::File { path: target.to_owned(), source };
    let mut body = match url.strip_prefix("file:") {
        Some(rest) => open_file(url, rest)?,
        None => open_web(url, env, limits)?,
    };
    let mut output = File::create_new(target).map_err(cannot_write)?;
    let copied = copy(url, &mut body, &mut output, target, limits, control);
    let result = copied.and_then(|copied| copied.expect(url, &wanted));
    if result.is_err() {
        // The folder is the caller's to throw away; removing here only frees the disk sooner.
        let _ = std::fs::remove_file(target);
    }
    result
}

/// The digest in lower case, without an `sha256:` before it.
fn sha256_text(text: &str) -> Result<String, FetchError> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err(FetchError::BadDigest(text.to_owned()))
    }
}

/// The SHA-256 of bytes as 64 digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

struct Copied {
    sha256: String,
    first: Vec<u8>,
}

impl Copied {
    fn expect(self, url: &str, wanted: &str) -> Result<(), FetchError> {
        if self.sha256 == wanted {
            return Ok(());
        }
        let hint = hint(&self.first);
        Err(FetchError::Digest { url: shown(url), wanted: wanted.to_owned(), got: self.sha256, hint })
    }
}

/// What wrong bytes often are.
fn hint(first: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(first).trim_start().to_ascii_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "; it is an HTML page: the address may ask for a login, or name a page about the file"
    } else if text.starts_with("version https://git-lfs") {
        "; it is a Git LFS pointer: fetch the file that it points to"
    } else if first.is_empty() {
        "; it is empty"
    } else {
        "; if the file was changed on purpose, write the new digest"
    }
}

fn copy(
    url: &str,
    body: &mut dyn Read,
    output: &mut File,
    target: &Path,
    limits: Limits,
    control: &Control<'_>,
) -> Result<Copied, FetchError> {
    let started = Instant::now();
    let mut hasher = Sha256::new();
    let mut first = Vec::new();
    let mut received: u64 = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        if control.is_stopped() {
            return Err(FetchError::Stopped);
        }
        if started.elapsed() > limits.time {
            return Err(FetchError::TimedOut { url: shown(url), limit: limits.time });
        }
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(FetchError::Broken { url: shown(url), received, source }),
        };
        received += count as u64;
        if received > limits.bytes {
            return Err(FetchError::TooLarge { url: shown(url), limit: limits.bytes });
        }
        let piece = &buffer[..count];
        if first.len() < 64 {
            first.extend_from_slice(&piece[..count.min(64)]);
        }
        hasher.update(piece);
        output.write_all(piece).map_err(|source| FetchError::File { path: target.to_owned(), source })?;
        control.advance(count as u64);
    }
    Ok(Copied { sha256: hex(&hasher.finalize()), first })
}

/// Opens `file:///path` or `file:/path`, with `%20` and the like decoded.
fn open_file(url: &str, rest: &str) -> Result<Box<dyn Read>, FetchError> {
    let refuse = |why| FetchError::Url { url: shown(url), why };
    let path = rest.strip_prefix("//localhost").or_else(|| rest.strip_prefix("//")).unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(refuse("a `file:` URL holds an absolute path, as in `file:///data/model.bin`"));
    }
    let path =
        PathBuf::from(percent_decoded(path).ok_or_else(|| refuse("its `%` signs are not followed by two digits"))?);
    let failed = |source| FetchError::File { path: path.clone(), source };
    let metadata = std::fs::metadata(&path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no file")));
    }
    Ok(Box::new(File::open(&path).map_err(failed)?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Asks for `url` and follows redirects until there is a body.
fn open_web(url: &str, env: &NetworkEnv, limits: Limits) -> Result<Box<dyn Read>, FetchError> {
    let mut at = parse(url)?;
    let starts_at_home = is_home(&at);
    for _ in 0..=limits.redirects {
        let here = at.to_string();
        let network = |source| FetchError::Network { url: shown(&here), source: Box::new(source) };
        let agent = agent(&at, env, limits)?;
        let response = agent.get(&at).call().map_err(network)?;
        let status = response.status().as_u16();
        if matches!(status, 301 | 302 | 303 | 307 | 308) {
            let to = response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or("");
            at = redirect(&at, to, starts_at_home)?;
            continue;
        }
        if status != 200 {
            return Err(FetchError::Status { url: shown(&here), status });
        }
        return Ok(Box::new(response.into_body().into_with_config().limit(limits.bytes.saturating_add(1)).reader()));
    }
    Err(FetchError::Redirect { url: shown(url), to: shown(&at.to_string()), why: "is one redirect too many" })
}

fn parse(url: &str) -> Result<Uri, FetchError> {
    let refuse = |why| FetchError::Url { url: shown(url), why };
    let uri: Uri = url.parse().map_err(|_| refuse("it is no URL"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        (Some("http" | "https"), None) => Err(refuse("it names no host")),
        _ => Err(refuse("its scheme is not supported")),
    }
}

/// The target of a redirect, where it may be followed.
fn redirect(from: &Uri, location: &str, starts_at_home: bool) -> Result<Uri, FetchError> {
    let refuse = |why| FetchError::Redirect { url: shown(&from.to_string()), to: shown(location), why };
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let absolute = if location.is_empty() {
        return Err(refuse("is no address"));
    } else if has_scheme(location) {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let to = parse(&absolute).map_err(|_| refuse("is neither http nor https"))?;
    if scheme == "https" && to.scheme_str() != Some("https") {
        return Err(refuse("is not encrypted, while this was"));
    }
    if is_link_local(&to) {
        return Err(refuse("is a link-local address, where clouds keep credentials"));
    }
    if is_home(&to) && !starts_at_home {
        return Err(refuse("is this machine itself"));
    }
    Ok(to)
}

/// True where the text begins with `letters:`, as `http:`, `file:` and `javascript:` do.
fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    })
}

fn address(uri: &Uri) -> Option<IpAddr> {
    let address: IpAddr = uri.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(address.to_canonical())
}

fn is_link_local(uri: &Uri) -> bool {
    match address(uri) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        // fd00:ec2::254 is where one cloud keeps the same service for IPv6.
        Some(IpAddr::V6(address)) => address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0xec2],
        None => uri.host().is_some_and(|host| host.eq_ignore_ascii_case("metadata.google.internal")),
    }
}

fn is_home(uri: &Uri) -> bool {
    match address(uri) {
        Some(address) => address.is_loopback() || address.is_unspecified(),
        None => uri.host().is_some_and(|host| host.eq_ignore_ascii_case("localhost")),
    }
}

/// An agent with the proxy and certificates that `uri` needs; errors of the server are answers to look at.
fn agent(uri: &Uri, env: &NetworkEnv, limits: Limits) -> Result<Agent, FetchError> {
    let scheme = uri.scheme_str().unwrap_or("https");
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy(env, scheme)?)
        .timeout_connect(Some(Duration::from_secs(30).min(limits.time)))
        .timeout_recv_response(Some(limits.silence))
        .timeout_per_read(Some(limits.silence))
        .timeout_global(Some(limits.time))
        .user_agent(concat!("pipe/", env!("CARGO_PKG_VERSION")));
    if scheme == "https"
        && let Some(path) = env.certificates()
    {
        config = config.tls_config(TlsConfig::builder().root_certs(certificates(&path)?).build());
    }
    Ok(config.build().new_agent())
}

fn proxy(env: &NetworkEnv, scheme: &str) -> Result<Option<Proxy>, FetchError> {
    let Some(text) = env.proxy(scheme) else { return Ok(None) };
    let failed = |_| FetchError::Proxy(shown(text));
    let plain = Proxy::new(text).map_err(failed)?;
    let Some(without) = env.no_proxy() else { return Ok(Some(plain)) };
    let mut builder = Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let Some(name) = plain.username() {
        builder = builder.username(name);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for host in without.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
    }
    builder.build().map(Some).map_err(failed)
}

fn certificates(path: &Path) -> Result<RootCerts, FetchError> {
    let failed = |why: String| FetchError::Certificates { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// A URL for a message: without a login, and without a query, which may hold a signature.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    let plain = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => plain.to_owned(),
    };
    plain.chars().take(300).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
