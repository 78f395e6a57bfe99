//! How registries are reached: what the configuration file says of each.

use crate::net::STALL;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where docker.io really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// What there is to know before a registry is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// By registry as names have it: `docker.io`, `localhost:5000`.
    pub hosts: BTreeMap<String, Host>,
    /// How long the first wait before a request is sent again is; each further one is twice as long.
    pub patience: Duration,
    /// How long a registry may be silent in the middle of an answer.
    pub stall: Duration,
}

/// `[registry."HOST"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Host {
    /// Whether it may be spoken to in plain HTTP, or with a certificate that nobody vouches for.
    #[serde(default)]
    pub insecure: bool,
    /// A PEM file of certificates that vouch for it, beside the system's.
    pub ca: Option<PathBuf>,
    /// Registries that are asked before it when pulling, in order: `HOST[:PORT]`.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { hosts: BTreeMap::new(), patience: Duration::from_millis(500), stall: STALL }
    }
}

/// One way to speak to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Settings {
    pub(super) fn host(&self, registry: &str) -> Host {
        self.hosts.get(registry).cloned().unwrap_or_default()
    }

    /// The schemes to try, in order. This machine is asked in plain HTTP first: nobody listens between.
    pub(super) fn schemes(&self, registry: &str) -> &'static [Scheme] {
        if is_loopback(registry) {
            return &[Scheme::Http, Scheme::Https];
        }
        if self.host(registry).insecure { &[Scheme::Https, Scheme::Http] } else { &[Scheme::Https] }
    }
}

/// Host and port that answer for a registry.
pub(super) fn endpoint(registry: &str) -> &str {
    if registry == crate::image::reference::DEFAULT_REGISTRY { DOCKER_HUB } else { registry }
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((number, _)) => number,
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_for_whom_the_user_says() {
        let insecure = Host { insecure: true, ..Host::default() };
        let settings = Settings { hosts: [("lan:5000".to_owned(), insecure)].into(), ..Settings::default() };
        for (registry, plain) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.1.2.3:80", true),
            ("[::1]:5000", true),
            ("lan:5000", true),
            ("lan", false),
            ("docker.io", false),
            ("localhost.example.org", false),
            ("128.0.0.1", false),
        ] {
            assert_eq!(settings.schemes(registry).contains(&Scheme::Http), plain, "{registry}");
        }
        assert_eq!((endpoint("docker.io"), endpoint("ghcr.io")), ("registry-1.docker.io", "ghcr.io"));
    }
}
