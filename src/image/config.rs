//! The image configuration (OCI image-spec "Image Configuration", with docker's extensions Healthcheck, OnBuild,
//! Shell, ArgsEscaped, which everyone reads).

use super::{DocumentError, Platform, canonical, null_is_default, parse};
use crate::base::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The whole document. Fields that rbuild does not know are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// GOARCH.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Author (MAINTAINER).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What runs and how.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: Execution,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// One line per instruction.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// GOOS.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// CPU variant, e.g. `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What rbuild does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The `config` object. Maps with empty-object values are sets, as the specification has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Execution {
    /// Windows leftover that BuildKit sets with CMD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// CMD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// ENTRYPOINT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// ENV, `NAME=value`, in order of first definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// EXPOSE, `80/tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// HEALTHCHECK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
    /// LABEL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// ONBUILD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// SHELL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// STOPSIGNAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// USER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// VOLUME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Value>>,
    /// WORKDIR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// What rbuild does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// HEALTHCHECK; durations in nanoseconds, 0 and absent mean "inherit".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Between checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// For one check.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// In which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between checks in the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Failures in a row that mean unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One line of the history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// What rbuild does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The `rootfs` object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers_kind")]
    pub kind: String,
    /// Bottom first. Docker writes `null` for an image of no layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: layers_kind(), diff_ids: Vec::new() }
    }
}

fn layers_kind() -> String {
    "layers".into()
}

/// Top-level fields in which docker kept facts about how an image was built; they would be untrue of an image built on
/// top of it.
const BUILD_FACTS: [&str; 7] =
    ["container", "container_config", "docker_version", "id", "moby.buildkit.buildinfo.v1", "parent", "throwaway"];

impl ImageConfig {
    /// Reads a config document. Unknown fields are kept; `null` counts as absent, as docker's own readers have it.
    ///
    /// # Errors
    /// The bytes are no JSON, or a known field has the wrong shape.
    pub fn from_bytes(bytes: &[u8]) -> Result<ImageConfig, DocumentError> {
        parse("image config", bytes)
    }

    /// The canonical bytes: compact JSON with sorted keys. Their digest is the image ID.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(self)
    }

    /// The same config without what only described the making of the image it came from.
    #[must_use]
    pub fn without_build_facts(mut self) -> ImageConfig {
        for field in BUILD_FACTS {
            self.extra.remove(field);
        }
        self
    }

    /// What its programs are for; this host, if it does not say.
    pub fn for_platform(&self) -> Platform {
        match (self.os.as_str(), self.architecture.as_str()) {
            ("", _) | (_, "") => Platform::default(),
            (os, arch) => Platform::new(os, arch, self.variant.as_deref().unwrap_or_default()),
        }
    }

    /// `os/arch[/variant]`, for people.
    pub fn platform(&self) -> String {
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => format!("{}/{}/{variant}", self.os, self.architecture),
            _ => format!("{}/{}", self.os, self.architecture),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_read_and_unknown_fields_stay() {
        let text = r#"{"architecture":"amd64","config":{"Cmd":null,"Env":["A=b"],"Healthcheck":{"Test":["CMD","x"],
            "Interval":30000000000},"OnBuild":null,"StopTimeout":7,"Volumes":{"/v":{}}},"container":"c","created":null,
            "history":null,"os":"linux","os.version":"1","rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(config.config.healthcheck.as_ref().unwrap().interval, 30_000_000_000);
        assert_eq!(config.config.extra["StopTimeout"], 7);
        assert_eq!(config.extra["os.version"], "1");
        assert!(!config.clone().without_build_facts().extra.contains_key("container"));
        let again = ImageConfig::from_bytes(&config.to_bytes()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn bytes_are_compact_sorted_and_pinned() {
        let mut config = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
        config.config.env = Some(vec!["PATH=/bin".into()]);
        config.config.labels = Some(BTreeMap::from([("b".into(), "<2>".into()), ("a".into(), "1".into())]));
        config.rootfs.diff_ids = vec![Digest::of(b"")];
        config.extra.insert("aaa".into(), Value::from(1));
        let text = String::from_utf8(config.to_bytes()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"aaa":1,"architecture":"amd64","config":{"Env":["PATH=/bin"],"Labels":{"a":"1","b":"<2>"}},"#,
                r#""os":"linux","rootfs":{"diff_ids":["#,
                r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],"type":"layers"}}"#
            )
        );
    }

    #[test]
    fn the_oci_reference_types_accept_what_is_written() {
        let mut config = ImageConfig { architecture: "arm64".into(), os: "linux".into(), ..ImageConfig::default() };
        config.variant = Some("v8".into());
        config.created = Some("2026-11-22T04:05:06Z".into());
        config.config.cmd = Some(vec!["/bin/sh".into()]);
        config.config.exposed_ports = Some(BTreeMap::from([("80/tcp".into(), Value::Object(Map::new()))]));
        config.config.volumes = Some(BTreeMap::from([("/data".into(), Value::Object(Map::new()))]));
        config.config.stop_signal = Some("SIGQUIT".into());
        config.history = vec![History {
            created_by: Some("CMD".into()),
            created: config.created.clone(),
            empty_layer: true,
            ..History::default()
        }];
        let bytes = config.to_bytes();
        let oracle = oci_spec::image::ImageConfiguration::from_reader(&bytes[..]).unwrap();
        assert_eq!(oracle.variant().as_deref(), Some("v8"));
        assert_eq!(oracle.history().as_ref().unwrap()[0].empty_layer(), Some(true));
        let run = oracle.config().as_ref().unwrap();
        assert_eq!(run.exposed_ports().as_deref(), Some(&["80/tcp".to_owned()][..]));
        assert_eq!(run.volumes().as_deref(), Some(&["/data".to_owned()][..]));
    }

    #[test]
    fn wrong_shapes_are_refused_by_name() {
        let error = ImageConfig::from_bytes(br#"{"rootfs":{"diff_ids":["sha512:00"]}}"#).unwrap_err().to_string();
        assert!(error.contains("image config") && error.contains("sha512:00"), "{error}");
    }
}
