//! EXPOSE port specifications: `80`, `8000-8010/udp`, and docker's `ip:host:container`, of which the last part counts.

/// `port/proto` keys that one word stands for. The error says what is wrong with it.
pub fn ports(word: &str) -> Result<Vec<String>, String> {
    let (spec, proto) = match word.rsplit_once('/') {
        Some((spec, "")) => (spec, "tcp".to_owned()),
        Some((spec, proto)) => (spec, proto.to_ascii_lowercase()),
        None => (word, "tcp".to_owned()),
    };
    if !matches!(proto.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{proto}` is not tcp, udp or sctp"));
    }
    let container = spec.rsplit(':').next().unwrap_or(spec);
    let (first, last) = container.split_once('-').unwrap_or((container, container));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("the range runs backwards from {first} to {last}"));
    }
    Ok((first..=last).map(|port| format!("{port}/{proto}")).collect())
}

fn port(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Err("the port is missing".into());
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{text}` is not a port number"));
    }
    text.parse().map_err(|_| format!("{text} is above 65535, the last port"))
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn ports_ranges_and_protocols() {
        let cases: [(&str, Option<&[&str]>); 12] = [
            ("80", Some(&["80/tcp"])),
            ("53/UDP", Some(&["53/udp"])),
            ("7000-7002", Some(&["7000/tcp", "7001/tcp", "7002/tcp"])),
            ("127.0.0.1:8080:80/tcp", Some(&["80/tcp"])),
            ("0", Some(&["0/tcp"])),
            ("65536", None),
            ("+80", None),
            ("80/", Some(&["80/tcp"])),
            ("80/icmp", None),
            ("9-8", None),
            ("http", None),
            ("80-", None),
        ];
        for (word, want) in cases {
            let got = ports(word).ok();
            let want = want.map(|list| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
            assert_eq!(got, want, "{word}");
        }
    }
}
