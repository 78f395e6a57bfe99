//! Where a redirect may not lead: to the machine itself, to its link, and so to no cloud's metadata service. An address
//! that the user wrote may lead anywhere; what a server answers may not choose among the user's own services.

use super::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Resolves names, and drops addresses that the request may not go to.
#[derive(Debug)]
pub(super) struct Guard {
    inner: DefaultResolver,
    /// What is allowed.
    reach: Reach,
}

/// How far a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// Anywhere: the user named it.
    Anywhere,
    /// Not to this machine or its link.
    Away,
}

impl Guard {
    pub fn new(reach: Reach) -> Guard {
        Guard { inner: DefaultResolver::default(), reach }
    }
}

impl Resolver for Guard {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        // The address of a proxy is the user's choice.
        if self.reach == Reach::Anywhere || config.proxy().is_some() {
            return Ok(found);
        }
        let mut kept = self.empty();
        found.iter().filter(|a| !is_near(a.ip())).for_each(|a| kept.push(*a));
        if kept.is_empty() {
            return Err(ureq::Error::Other(Box::new(Near)));
        }
        Ok(kept)
    }
}

/// A redirect to this machine.
#[derive(Debug, thiserror::Error)]
#[error("a redirect may not lead to this machine or its link")]
pub(super) struct Near;

/// Whether the host of a redirect is written as a number that it may not be.
pub(super) fn is_near_number(url: &Url) -> bool {
    let host = url.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_near)
}

/// Loopback, link-local (169.254.169.254 among them), unspecified, and the metadata service of EC2 over IPv6.
fn is_near(address: IpAddr) -> bool {
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let near = |v4: Ipv4Addr| v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0 || v4.is_broadcast();
    match address {
        IpAddr::V4(v4) => near(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => near(v4),
            None => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6 == METADATA,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_redirect_may_not_lead_to() {
        for (host, near) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0.0.0.0", true),
            ("169.254.169.254", true),
            ("[::1]", true),
            ("[fe80::1]", true),
            ("[::ffff:169.254.169.254]", true),
            ("[fd00:ec2::254]", true),
            ("localhost", true),
            ("10.0.0.1", false),
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
            ("example.org", false),
        ] {
            let url = Url::parse(&format!("http://{host}/")).unwrap();
            assert_eq!(is_near_number(&url), near, "{host}");
        }
    }
}
