//! What the caller of a build sets of the surroundings of its RUNs: the same for each of them.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Beyond files, variables and network. All of it can be seen by the process, so all of it is part of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Surroundings {
    /// The host name; `None`: the usual one.
    pub hostname: Option<String>,
    /// `--add-host`: names and addresses behind the usual lines of /etc/hosts, in order.
    pub hosts: Vec<(String, IpAddr)>,
    /// `--shm-size`: bytes of /dev/shm; `None`: the usual size.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub limits: Vec<Limit>,
}

impl Surroundings {
    /// Name and value of each thing that is set.
    pub fn parts(&self) -> impl Iterator<Item = (String, String)> {
        let hostname = self.hostname.iter().map(|name| ("hostname".to_owned(), name.clone()));
        let hosts = self.hosts.iter().map(|(name, address)| (format!("host {name}"), address.to_string()));
        let shm = self.shm_size.iter().map(|size| ("shm-size".to_owned(), size.to_string()));
        let limits = self
            .limits
            .iter()
            .map(|l| (format!("ulimit {}", l.resource.name()), format!("{}:{}", value(l.soft), value(l.hard))));
        hostname.chain(hosts).chain(shm).chain(limits)
    }
}

/// A limit of setrlimit(2). `None`: unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// What the process starts with.
    pub soft: Option<u64>,
    /// What it may raise that to.
    pub hard: Option<u64>,
}

/// A limit for people, and for keys.
fn value(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".into(), |limit| limit.to_string())
}

/// What is limited, by the names of docker's `--ulimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "setrlimit(2) tells of each")]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 15] = [
        Resource::Core,
        Resource::Cpu,
        Resource::Data,
        Resource::Fsize,
        Resource::Locks,
        Resource::Memlock,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Nofile,
        Resource::Nproc,
        Resource::Rss,
        Resource::Rtprio,
        Resource::Rttime,
        Resource::Sigpending,
        Resource::Stack,
    ];

    /// The option's word.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Core => "core",
            Resource::Cpu => "cpu",
            Resource::Data => "data",
            Resource::Fsize => "fsize",
            Resource::Locks => "locks",
            Resource::Memlock => "memlock",
            Resource::Msgqueue => "msgqueue",
            Resource::Nice => "nice",
            Resource::Nofile => "nofile",
            Resource::Nproc => "nproc",
            Resource::Rss => "rss",
            Resource::Rtprio => "rtprio",
            Resource::Rttime => "rttime",
            Resource::Sigpending => "sigpending",
            Resource::Stack => "stack",
        }
    }
}
