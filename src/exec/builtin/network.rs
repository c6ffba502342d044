//! What a fetch may take over from the user's environment: proxies, certificates, and the settings of pip and uv.
//!
//! Library code reads no environment, so the caller copies the variables that [`NetworkEnv::wants`] names. None
//! of them is part of a key: they say how bytes come here, and the digest says which bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables by their full name that fetching honours.
const NAMES: &[&str] = &[
    "PATH",
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CACHE_HOME",
    "NETRC",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// Beginnings of further names.
const PREFIXES: &[&str] = &["PIP_", "UV_"];

/// Settings of pip and uv that would change what is brought instead of from where.
const REFUSED: &[&str] = &[
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_DEST",
    "PIP_PLATFORM",
    "PIP_PYTHON_VERSION",
    "PIP_ABI",
    "PIP_IMPLEMENTATION",
    "PIP_REQUIREMENT",
    "PIP_CONSTRAINT",
    "PIP_LOG",
    "PIP_QUIET",
    "PIP_VERBOSE",
];

/// Where the certificates of the system are, on the systems that we know; a company's own certificate is put
/// there by its administrators, and nowhere else.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The variables of the user's environment that fetching honours.
#[derive(Debug, Clone, Default)]
pub struct NetworkEnv {
    vars: BTreeMap<String, String>,
}

impl NetworkEnv {
    /// True for a variable that a fetch takes over.
    pub fn wants(name: &str) -> bool {
        let known = NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        known && !REFUSED.contains(&name)
    }

    /// Takes the variables that it wants out of `vars`.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        NetworkEnv { vars: vars.into_iter().filter(|(name, _)| NetworkEnv::wants(name)).collect() }
    }

    /// All variables, for a process that fetches.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// The proxy for URLs of `scheme`, as it was written.
    pub fn proxy(&self, scheme: &str) -> Option<&str> {
        let own = match scheme {
            "https" => ["https_proxy", "HTTPS_PROXY"],
            _ => ["http_proxy", "HTTP_PROXY"],
        };
        self.first(&[own[0], own[1], "all_proxy", "ALL_PROXY"])
    }

    /// Hosts that are reached without the proxy, parted by commas.
    pub fn no_proxy(&self) -> Option<&str> {
        self.first(&["no_proxy", "NO_PROXY"])
    }

    /// The file of trusted certificates: the user's, else the system's, else none (a list that is built in).
    pub fn certificates(&self) -> Option<PathBuf> {
        self.first(&["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"])
            .map(PathBuf::from)
            .or_else(|| SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()))
    }

    fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.vars.get(*name)).map(String::as_str).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> NetworkEnv {
        NetworkEnv::from_vars(vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn only_settings_of_the_network_pass() {
        let env = env(&[("PIP_INDEX_URL", "x"), ("PYTHONPATH", "y"), ("PIP_TARGET", "z"), ("HTTPS_PROXY", "p")]);
        let names: Vec<&str> = env.vars().keys().map(String::as_str).collect();
        assert_eq!(names, ["HTTPS_PROXY", "PIP_INDEX_URL"]);
    }

    #[test]
    fn the_proxy_follows_the_scheme_and_falls_back_to_the_one_for_all() {
        let both = env(&[("https_proxy", "s"), ("ALL_PROXY", "a")]);
        assert_eq!((both.proxy("https"), both.proxy("http")), (Some("s"), Some("a")));
        assert_eq!(env(&[("https_proxy", "")]).proxy("https"), None);
    }
}
