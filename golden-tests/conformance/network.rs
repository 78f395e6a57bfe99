//! What cases fetch: pages and git repositories, served on the loopback while a case is built.

use super::material::escaped;
use crate::env::Place;
use crate::remote::{Daemon, free_port, script};
use crate::server::{Page, Server};
use libtest_mimic::Failed;

/// How a case's Dockerfile and arguments write the two servers' addresses.
const NAMES: [&str; 2] = ["@http@", "@git@"];

/// Header fields that pages may have.
const FIELDS: [&str; 5] = ["Content-Disposition", "Content-Type", "ETag", "Last-Modified", "Location"];

/// What a case wants served.
#[derive(Default)]
pub struct Wanted {
    pages: Vec<(String, Page)>,
    repositories: Vec<(String, String)>,
}

impl Wanted {
    /// A page: `--- http PATH [STATUS]`, then header fields, a blank line, and the contents; `\n` and the like stand for
    /// bytes as in escaped files, if `STATUS` is `escaped`.
    pub fn page(&mut self, path: &str, status: Option<&str>, text: &str) -> Result<(), String> {
        let (head, body) =
            text.split_once("\n\n").or_else(|| text.strip_prefix('\n').map(|body| ("", body))).unwrap_or((text, ""));
        let mut page = Page { body: body.into(), ..Page::default() };
        match status {
            None => {}
            Some("escaped") => page.body = escaped(body)?,
            Some(number) => page.status = number.parse().map_err(|_| format!("'{number}' is no status"))?,
        }
        for line in head.lines() {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("'{line}' is no header field"))?;
            let name = FIELDS.iter().find(|field| **field == name).ok_or_else(|| format!("no page may have {name}"))?;
            page.headers.push((name, value.to_owned()));
        }
        self.pages.push((path.to_owned(), page));
        Ok(())
    }

    /// Whether git has to be there.
    pub fn has_repositories(&self) -> bool {
        !self.repositories.is_empty()
    }

    /// A repository `NAME.git`: `--- repository NAME`, then shell lines that run in its working tree.
    pub fn repository(&mut self, name: &str, script: &str) {
        self.repositories.push((name.to_owned(), script.to_owned()));
    }
}

/// The servers of one build; the git daemon ends with it.
pub struct Network {
    /// Addresses, in the order of [`NAMES`].
    addresses: [Option<String>; 2],
    _daemon: Option<(Daemon, Place)>,
}

impl Network {
    /// Starts what is wanted.
    pub fn start(wanted: &Wanted) -> Result<Network, Failed> {
        let mut network = Network { addresses: [None, None], _daemon: None };
        if !wanted.pages.is_empty() {
            let server = Server::plain();
            for (path, page) in &wanted.pages {
                let mut page = page.clone();
                page.headers.iter_mut().for_each(|(_, value)| *value = value.replace(NAMES[0], &server.base));
                server.put(path, page);
            }
            network.addresses[0] = Some(server.base);
        }
        if !wanted.repositories.is_empty() {
            let place = Place::new();
            let daemon = Daemon::start(&place.work(), free_port()?)?;
            network.addresses[1] = Some(daemon.1.clone());
            for (name, text) in &wanted.repositories {
                let text = network.addressed(text);
                script(
                    &place,
                    &format!(
                        "git init -q -b main {name}; cd {name}\n{text}\ncd ..; git clone -q --bare {name} {name}.git"
                    ),
                )?;
            }
            network._daemon = Some((daemon, place));
        }
        Ok(network)
    }

    fn known(&self) -> impl Iterator<Item = (&str, &str)> {
        NAMES.iter().zip(&self.addresses).filter_map(|(name, address)| Some((*name, address.as_deref()?)))
    }

    /// A text with the servers' addresses instead of their names.
    pub fn addressed(&self, text: &str) -> String {
        self.known().fold(text.to_owned(), |text, (name, address)| text.replace(name, address))
    }

    /// The other way: what is recorded holds no address.
    pub fn named(&self, text: &str) -> String {
        self.known().fold(text.to_owned(), |text, (name, address)| text.replace(address, name))
    }
}
