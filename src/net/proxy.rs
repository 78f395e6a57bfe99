//! Which proxy a request goes through, by the environment: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, also
//! in capitals, as curl and Go read them. (`HTTP_PROXY` alone is no danger here: we are no CGI program.)

use super::Url;
use std::net::IpAddr;

/// The proxy for `url`, as its address stands in the environment that `get` reads.
pub(super) fn choose(url: &Url, get: impl Fn(&str) -> Option<String>) -> Option<String> {
    let read = |name: &str| get(name).or_else(|| get(&name.to_ascii_uppercase())).filter(|v| !v.trim().is_empty());
    if read("no_proxy").is_some_and(|list| list.split(',').any(|entry| exempts(entry.trim(), url))) {
        return None;
    }
    let own = if url.is_https() { "https_proxy" } else { "http_proxy" };
    read(own).or_else(|| read("all_proxy"))
}

/// Whether one entry of `no_proxy` means the host of `url`: `*`, a host or domain (with or without a dot before it), an
/// address, a network in CIDR notation; each with or without a port.
fn exempts(entry: &str, url: &Url) -> bool {
    let host = url.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse::<u16>() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    };
    if port.is_some_and(|port| port != url.port()) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if name == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return match name.split_once('/') {
            Some((network, bits)) => within(address, network, bits),
            None => name.parse() == Ok(address),
        };
    }
    let domain = name.trim_start_matches("*.").trim_start_matches('.');
    !domain.is_empty() && (host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

fn within(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            let shift = 32 - bits;
            u64::from(a.to_bits()) >> shift == u64::from(n.to_bits()) >> shift
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => {
            a.to_bits().checked_shr(128 - bits) == n.to_bits().checked_shr(128 - bits)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_proxy_and_who_needs_none() {
        let environment = |no_proxy: &'static str| {
            move |name: &str| match name {
                "http_proxy" => Some("http://plain:1".to_owned()),
                "HTTPS_PROXY" => Some("http://secure:2".to_owned()),
                "no_proxy" => Some(no_proxy.to_owned()),
                _ => None,
            }
        };
        for (url, no_proxy, proxy) in [
            ("http://a.example/x", "", Some("http://plain:1")),
            ("https://a.example/x", "", Some("http://secure:2")),
            ("http://a.example/x", "*", None),
            ("http://a.example/x", "b, example", None),
            ("http://a.example/x", ".example", None),
            ("http://a.example/x", "*.example", None),
            ("http://example/x", ".example", None),
            ("http://badexample/x", "example", Some("http://plain:1")),
            ("http://a.example:8080/x", "a.example:8080", None),
            ("http://a.example/x", "a.example:8080", Some("http://plain:1")),
            ("http://10.1.2.3/x", "10.0.0.0/8", None),
            ("http://11.1.2.3/x", "10.0.0.0/8", Some("http://plain:1")),
            ("http://[fd00::1]/x", "fd00::/8", None),
            ("http://[::1]/x", "::1", None),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(choose(&url, environment(no_proxy)).as_deref(), proxy, "{url}, no_proxy={no_proxy}");
        }
        let all = |name: &str| (name == "ALL_PROXY").then(|| "http://all:3".to_owned());
        assert_eq!(choose(&Url::parse("https://h/").unwrap(), all).as_deref(), Some("http://all:3"));
    }
}
