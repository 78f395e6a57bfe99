//! Addresses of things on the network (RFC 3986, as far as HTTP needs it).

use std::fmt;
use ureq::http::Uri;

/// The longest address that is taken, in bytes.
const MAX: usize = 16 * 1024;

/// An absolute `http` or `https` address. What stands before an `@` in it is kept apart and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    user: Option<String>,
}

/// Why a text is no [`Url`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is not well formed.
    #[error("it is not a valid address: {0}")]
    Invalid(String),
    /// Another scheme.
    #[error("its scheme is '{0}', not http or https")]
    Scheme(String),
}

impl Url {
    /// Reads an address. A fragment (`#…`) is dropped; bytes that may not stand in one are percent-encoded.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let invalid = |reason: &str| UrlError::Invalid(reason.to_owned());
        if text.len() > MAX {
            return Err(invalid("it is too long"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("it has no scheme"))?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(UrlError::Scheme(scheme));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(decode(user)).filter(|u| !u.is_empty()), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(invalid("it names no host"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let uri = format!("{scheme}://{host}{}", encode(&path));
        let uri: Uri = uri.parse().map_err(|e: ureq::http::uri::InvalidUri| UrlError::Invalid(e.to_string()))?;
        if uri.authority().is_none_or(|a| a.host().is_empty() || (a.as_str() != a.host() && a.port_u16().is_none())) {
            return Err(invalid("it names no host"));
        }
        Ok(Url { uri, user })
    }

    /// What a `Location` that came from here means (RFC 9110, 10.2.2).
    pub fn join(&self, location: &str) -> Result<Url, UrlError> {
        let location = location.trim();
        let origin = format!("{}://{}", self.scheme(), self.authority());
        if location.contains("://") && location.find("://") < location.find(['/', '?', '#']) {
            Url::parse(location)
        } else if location.starts_with("//") {
            Url::parse(&format!("{}:{location}", self.scheme()))
        } else if location.starts_with('/') {
            Url::parse(&format!("{origin}{location}"))
        } else if location.starts_with('?') {
            Url::parse(&format!("{origin}{}{location}", self.uri.path()))
        } else {
            let path = self.uri.path();
            let dir = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            Url::parse(&format!("{origin}{dir}{location}"))
        }
    }

    /// For the HTTP library.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// `USER:PASSWORD` before the `@`, percent-decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or("http")
    }

    /// The host's name or number, an IPv6 number in brackets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// The port, that of the scheme if none is written.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    fn authority(&self) -> &str {
        self.uri.authority().map_or("", |a| a.as_str())
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.scheme() == "https"
    }

    /// Whether both are of the same scheme, host and port: credentials for one may go to the other.
    pub fn same_origin(&self, other: &Url) -> bool {
        self.scheme() == other.scheme() && self.host().eq_ignore_ascii_case(other.host()) && self.port() == other.port()
    }

    /// The last component of its path, percent-decoded; `None` if it has none that could name a file.
    pub fn file_name(&self) -> Option<String> {
        let path = decode(self.uri.path());
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let bad = matches!(name, "" | "." | "..") || name.contains('\0');
        (!bad).then(|| name.to_owned())
    }
}

/// Without credentials.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Percent-encodes what may not stand in a path or query.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            0..=b' ' | 0x7f.. | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                out.push_str(&format!("%{byte:02X}"));
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

/// Decodes percent-encoding; what is none stays.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_credentials() {
        for (text, shown, user, name) in [
            ("http://h", "http://h/", None, None),
            ("HTTPS://h:8443/a/b.tar?x=/y#frag", "https://h:8443/a/b.tar?x=/y", None, Some("b.tar")),
            ("http://u:p%40w@h/a b/", "http://h/a%20b/", Some("u:p@w"), Some("a b")),
            ("http://u:p@ss@h/x", "http://h/x", Some("u:p@ss"), Some("x")),
            ("http://[::1]:80/%2e%2e", "http://[::1]:80/%2e%2e", None, None),
            ("http://h?q", "http://h/?q", None, None),
            ("http://h/é", "http://h/%C3%A9", None, Some("é")),
        ] {
            let url = Url::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(format!("{url:?}"), shown, "{text}");
            assert_eq!((url.user(), url.file_name().as_deref()), (user, name), "{text}");
        }
        for bad in ["", "h/x", "ftp://h/x", "http://", "http:///x", "http://:80/", "http://h:99999/", "file:///etc"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn locations_are_relative_to_where_they_came_from() {
        let base = Url::parse("https://u:p@h:1/a/b?q").unwrap();
        for (location, target) in [
            ("http://o/x", "http://o/x"),
            ("//o/x", "https://o/x"),
            ("/x?r=http://y", "https://h:1/x?r=http://y"),
            ("c", "https://h:1/a/c"),
            ("c?u=http://y", "https://h:1/a/c?u=http://y"),
            ("?z", "https://h:1/a/b?z"),
        ] {
            let joined = base.join(location).unwrap_or_else(|e| panic!("{location}: {e}"));
            assert_eq!((joined.to_string().as_str(), joined.user()), (target, None), "{location}");
        }
        assert!(base.join("file:///etc/passwd").is_err());
        assert!(base.same_origin(&base.join("/x").unwrap()));
        assert!(!base.same_origin(&Url::parse("http://h:1/").unwrap()), "another scheme is another origin");
    }
}
