//! Plain HTTP through a proxy: the proxy gets the request with the whole address in its first line (RFC 9112, 3.2.2). The HTTP
//! library asks for a tunnel instead, which proxies grant for https only.

use base64::Engine as _;
use std::fmt;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};

/// A proxy that requests are handed to.
#[derive(Clone)]
pub(super) struct Proxy {
    uri: Uri,
    /// A line of the head, with its end.
    authorization: String,
}

/// Without credentials.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri)
    }
}

impl Proxy {
    /// Reads a proxy's address; `None` unless it is spoken to in plain HTTP.
    pub fn parse(text: &str) -> Option<Proxy> {
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = super::Url::parse(&text).ok().filter(|url| !url.is_https())?;
        let authorization = url.user().map_or_else(String::new, |user| {
            format!("Proxy-Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(user))
        });
        Some(Proxy { uri: url.uri().clone(), authorization })
    }

    /// A client for one request to `target`.
    pub fn agent(self, config: Config, target: &Uri) -> ureq::Agent {
        let authority = target.authority().map_or("", |a| a.as_str());
        let forward = Forward { origin: format!("http://{authority}"), header: self.authorization.clone() };
        ureq::Agent::with_parts(config, ().chain(TcpConnector::default()).chain(forward), self)
    }
}

/// Every name leads to the proxy.
impl Resolver for Proxy {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        DefaultResolver::default().resolve(&self.uri, config, timeout)
    }
}

/// Wraps a connection to the proxy.
#[derive(Clone)]
struct Forward {
    origin: String,
    header: String,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forward({})", self.origin)
    }
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Forwarded<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| Forwarded { inner, forward: self.clone(), begun: false }))
    }
}

/// A connection to the proxy, for one request.
#[derive(Debug)]
struct Forwarded<T> {
    inner: T,
    forward: Forward,
    begun: bool,
}

impl<T: Transport> Transport for Forwarded<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let mut amount = amount;
        if !self.begun {
            self.begun = true;
            let output = self.inner.buffers().output();
            amount =
                rewrite(output, amount, &self.forward).ok_or(ureq::Error::LargeResponseHeader(amount, output.len()))?;
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Puts the origin before the path and the header behind the first line of the request in `buffer[..amount]`; gives the new
/// length. `None` if that is no request or does not fit.
fn rewrite(buffer: &mut [u8], amount: usize, forward: &Forward) -> Option<usize> {
    let head = buffer.get(..amount)?;
    let path = head.iter().position(|b| *b == b' ')? + 1;
    let line = head.windows(2).position(|w| w == b"\r\n")? + 2;
    let new = [&head[..path], forward.origin.as_bytes(), &head[path..line], forward.header.as_bytes(), &head[line..]]
        .concat();
    buffer.get_mut(..new.len())?.copy_from_slice(&new);
    Some(new.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_gets_the_whole_address_and_its_credentials() {
        let proxy = Proxy::parse("me:word@proxy:3128").unwrap();
        assert_eq!(
            (format!("{proxy:?}").as_str(), proxy.authorization.as_str()),
            ("http://proxy:3128/", "Proxy-Authorization: Basic bWU6d29yZA==\r\n")
        );
        assert!(Proxy::parse("https://proxy:3128").is_none() && Proxy::parse("socks5://proxy").is_none());
        let forward = Forward { origin: "http://h:81".into(), header: "P: x\r\n".into() };
        let request = b"GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n";
        let mut buffer = [0; 64];
        buffer[..request.len()].copy_from_slice(request);
        let length = rewrite(&mut buffer, request.len(), &forward).unwrap();
        assert_eq!(&buffer[..length], b"GET http://h:81/a?b HTTP/1.1\r\nP: x\r\nhost: h\r\n\r\n");
        assert_eq!(rewrite(&mut buffer, 50, &forward), None, "no room");
    }
}
