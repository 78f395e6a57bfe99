//! `--add-host` and `--ulimit`, as docker has them.

use crate::graph::{Limit, Resource};
use std::net::IpAddr;

/// For clap: `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets.
pub fn host(text: &str) -> Result<(String, IpAddr), String> {
    let at = text.find(['=', ':']).ok_or("expected NAME:ADDRESS, as in db:10.0.0.5")?;
    let (name, address) = (&text[..at], &text[at + 1..]);
    // It becomes a word of a line in /etc/hosts.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        return Err(format!("'{name}' is no name of a host"));
    }
    if address == "host-gateway" {
        return Err("there is no gateway: steps are on the host's network, where the host is 127.0.0.1".into());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| format!("'{address}' is no IP address"))?;
    Ok((name.to_owned(), address))
}

/// For clap: `NAME=SOFT[:HARD]`; -1 is no limit.
pub fn limit(text: &str) -> Result<Limit, String> {
    let (name, values) = text.split_once('=').ok_or("expected NAME=SOFT[:HARD], as in nofile=1024:4096")?;
    let resource = Resource::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Resource::ALL.iter().map(|r| r.name()).collect();
        format!("'{name}' is nothing that can be limited; there are {}", names.join(", "))
    })?;
    let number = |text: &str| match text {
        "-1" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("'{text}' is no number")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
        return Err(format!("the soft limit of {name} is above the hard one"));
    }
    Ok(Limit { resource, soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_name_and_an_address() {
        for (text, name, address) in [
            ("a:127.0.0.1", "a", "127.0.0.1"),
            ("a.b=::1", "a.b", "::1"),
            ("a:::1", "a", "::1"),
            ("a=[::2]", "a", "::2"),
        ] {
            assert_eq!(host(text), Ok((name.to_owned(), address.parse().unwrap())), "{text}");
        }
        for bad in
            ["a", "a:", ":127.0.0.1", "a:101.10.2", "a:2001::1::3F", "a b:127.0.0.1", "a\n:127.0.0.1", "a:host-gateway"]
        {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_have_a_resource_and_one_or_two_numbers() {
        let nofile = |soft, hard| Ok(Limit { resource: Resource::Nofile, soft, hard });
        assert_eq!(limit("nofile=5"), nofile(Some(5), Some(5)));
        assert_eq!(limit("nofile=5:7"), nofile(Some(5), Some(7)));
        assert_eq!(limit("nofile=5:-1"), nofile(Some(5), None));
        assert_eq!(limit("nofile=-1"), nofile(None, None));
        for bad in ["nofile", "nofile=", "nofile=a", "nofile=7:5", "nofile=-1:5", "nofile=1:2:3", "foo=3", "NOFILE=5"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
