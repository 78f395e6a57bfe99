//! SLSA provenance v1 (slsa.dev/spec/v1.0/provenance): from what and how an image was made. The build type and what its
//! fields mean is docs/attestations.md.

use super::purl::Purl;
use crate::base::{Digest, Hasher, clock};
use crate::graph::{CopySource, Graph, Op, Remote, RunMount, Step, StepId, remote};
use crate::image::Reference;
use crate::solver::Solution;
use crate::store::steps::StepRecord;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a builder of this kind does, for `buildType`.
pub const BUILD_TYPE: &str = "https://github.com/rbuild/rbuild/blob/main/docs/attestations.md#build-type";
/// Who builds, for `builder.id`: no service, just the program.
pub const BUILDER: &str = "https://github.com/rbuild/rbuild";

/// In which detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// What it was made from, for which target and platform, and when.
    Min,
    /// Also arguments, labels, the Dockerfile's text and each step.
    Max,
}

impl Mode {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Min => "min",
            Mode::Max => "max",
        }
    }
}

/// An image that the build stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// As the Dockerfile names it.
    pub reference: String,
    /// Digest of its manifest; `None`: the store no longer has it under that name.
    pub manifest: Option<Digest>,
}

/// What a build knows of itself.
#[derive(Debug)]
pub struct Facts<'f> {
    /// In which detail it is told.
    pub mode: Mode,
    /// Name of the Dockerfile.
    pub dockerfile: &'f str,
    /// Its text.
    pub text: &'f str,
    /// The target stage, if one was named.
    pub target: Option<&'f str>,
    /// `--build-arg`.
    pub args: &'f BTreeMap<String, String>,
    /// `--label`.
    pub labels: &'f BTreeMap<String, String>,
    /// Ids of secrets, whose values are nowhere.
    pub secrets: Vec<&'f str>,
    /// Ids of ssh agents.
    pub ssh: Vec<&'f str>,
    /// Names of contexts on this machine: `context` is the main one.
    pub locals: Vec<&'f str>,
    /// `os/arch[/variant]` of the result.
    pub platform: &'f str,
    /// The same of this machine.
    pub machine: &'f str,
    /// All steps of the build.
    pub graph: &'f Graph,
    /// Those that the image needs, in order.
    pub steps: &'f [StepId],
    /// What each step of the build came to.
    pub solutions: &'f [Solution],
    /// The images that steps stand on.
    pub bases: &'f [Base],
    /// Begin and end, seconds since the epoch; `None`: no clock may show.
    pub times: Option<(i64, i64)>,
}

impl Facts<'_> {
    /// The predicate. `record` gives the record of a step by its key.
    pub fn predicate(&self, record: &dyn Fn(&Digest) -> Option<StepRecord>) -> Value {
        let definition = json!({
            "buildType": BUILD_TYPE,
            "externalParameters": self.external(),
            "internalParameters": self.internal(),
            "resolvedDependencies": self.dependencies(record),
        });
        let mut metadata = Map::new();
        let mut invocation = Hasher::new();
        invocation.field(definition.to_string().as_bytes());
        if let Some((begin, end)) = self.times {
            metadata.insert("startedOn".into(), clock::rfc3339(begin).into());
            metadata.insert("finishedOn".into(), clock::rfc3339(end).into());
            invocation.number(begin.unsigned_abs()).number(u64::from(std::process::id()));
        }
        metadata.insert("invocationId".into(), invocation.finish().hex().into());
        json!({
            "buildDefinition": definition,
            "runDetails": {
                "builder": { "id": BUILDER, "version": { "rbuild": env!("CARGO_PKG_VERSION") } },
                "metadata": metadata,
            },
        })
    }

    fn solved(&self) -> impl Iterator<Item = (&Step, &Solution)> {
        self.steps.iter().map(|id| (self.graph.step(*id), &self.solutions[id.index()]))
    }

    fn external(&self) -> Value {
        let source = json!({
            "path": self.dockerfile,
            "digest": { "sha256": Digest::of(self.text.as_bytes()).hex() },
        });
        let mut request = json!({ "frontend": "dockerfile", "platform": self.platform });
        if let Some(target) = self.target {
            request["target"] = target.into();
        }
        if self.mode == Mode::Max {
            request["args"] = json!(self.args);
            request["labels"] = json!(self.labels);
            request["locals"] = self.locals.iter().map(|name| json!({ "name": name })).collect();
            request["secrets"] = self.secrets.iter().map(|id| json!({ "id": id })).collect();
            request["ssh"] = self.ssh.iter().map(|id| json!({ "id": id })).collect();
        }
        json!({ "configSource": source, "request": request })
    }

    fn internal(&self) -> Value {
        let mut internal = json!({ "builderPlatform": self.machine, "mode": self.mode.name() });
        if self.mode == Mode::Max {
            internal["dockerfile"] = self.text.into();
            internal["steps"] = self.solved().map(|(step, solution)| self.described(step, solution)).collect();
        }
        internal
    }

    /// A step by its name and results. What it does is the Dockerfile's to say; its environment may hold what nobody should
    /// read.
    fn described(&self, step: &Step, solution: &Solution) -> Value {
        let inputs: Vec<usize> = step.inputs().iter().map(|id| id.index()).collect();
        let mut out = json!({ "id": step.id.index(), "name": step.label, "stage": step.stage, "inputs": inputs });
        if let Some(key) = solution.key {
            out["key"] = key.to_string().into();
        }
        // A layer's diffID holds the times of its files, a tree's digest does not.
        if let (Some(layer), Some(_)) = (solution.layer, self.times) {
            out["layer"] = layer.to_string().into();
        }
        out["tree"] = solution.rootfs.tree.to_string().into();
        out
    }

    /// What went in, each once: images, files and commits from the network, and what was read of contexts.
    fn dependencies(&self, record: &dyn Fn(&Digest) -> Option<StepRecord>) -> Vec<Value> {
        let mut all = Vec::new();
        for base in self.bases {
            let uri = match base.reference.parse::<Reference>() {
                Ok(name) => Purl::of_image(&name, self.platform).to_string(),
                Err(_) => base.reference.clone(),
            };
            let digest = base.manifest.map_or(json!({}), |digest| json!({ "sha256": digest.hex() }));
            all.push(json!({ "uri": uri, "digest": digest }));
        }
        for (step, solution) in self.solved() {
            if let Op::Fetch(source) = &step.op {
                let facts = solution.key.as_ref().and_then(record).map(|record| record.preimage).unwrap_or_default();
                all.push(fetched(source, &facts));
            }
        }
        for (context, digest) in self.contexts() {
            let name = context.unwrap_or("context");
            all.push(json!({ "name": name, "uri": format!("urn:rbuild:context:{name}"), "digest": { "rbuildContext": digest.hex() } }));
        }
        let mut seen = BTreeSet::new();
        all.retain(|dependency| seen.insert(dependency.to_string()));
        all
    }

    /// For each context that is a directory here a digest of what the steps read of it: of the keys of those steps,
    /// which hold the files and where they go.
    fn contexts(&self) -> BTreeMap<Option<&str>, Digest> {
        let mut keys: BTreeMap<Option<&str>, Vec<Digest>> = BTreeMap::new();
        for (step, solution) in self.solved() {
            let Some(key) = solution.key else { continue };
            let read: BTreeSet<Option<&str>> = sources(step)
                .into_iter()
                .filter_map(|source| match source {
                    CopySource::Context { context, .. } => {
                        Some(context.and_then(|id| self.graph.contexts.get(id.index())?.as_deref()))
                    }
                    _ => None,
                })
                .collect();
            read.into_iter().for_each(|context| keys.entry(context).or_default().push(key));
        }
        let digest = |mut keys: Vec<Digest>| {
            keys.sort();
            keys.dedup();
            let mut hasher = Hasher::new();
            hasher.field(b"rbuild.context.1");
            keys.iter().for_each(|key| {
                hasher.field(key.as_bytes());
            });
            hasher.finish()
        };
        keys.into_iter().map(|(context, keys)| (context, digest(keys))).collect()
    }
}

/// What a step reads beside its base.
pub fn sources(step: &Step) -> Vec<&CopySource> {
    match &step.op {
        Op::Copy(copy) => copy.sources.iter().collect(),
        Op::Run(run) => {
            let of = |mount| match mount {
                &RunMount::Bind { ref source, .. } | &RunMount::Cache { from: Some(ref source), .. } => Some(source),
                _ => None,
            };
            run.mounts.iter().filter_map(of).collect()
        }
        _ => Vec::new(),
    }
}

/// What was fetched, from what is noted of it.
fn fetched(source: &Remote, facts: &[(String, String)]) -> Value {
    let fact = |name: &str| facts.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    match source {
        Remote::Http(http) => {
            let digest = fact("content").and_then(|content| content.strip_prefix("sha256:"));
            json!({ "uri": remote::redacted(&http.url), "digest": digest.map_or(json!({}), |hex| json!({ "sha256": hex })) })
        }
        Remote::Git(git) => {
            let url = if git.local { "urn:rbuild:repository".to_owned() } else { remote::redacted(&git.url) };
            let reference = git.reference.as_deref().map(|r| format!("@{r}")).unwrap_or_default();
            let commit = fact("commit").map_or(json!({}), |commit| json!({ "gitCommit": commit }));
            json!({ "uri": format!("git+{url}{reference}"), "digest": commit })
        }
    }
}

/// Replaces values of secrets wherever they stand.
pub fn masked(value: Value, hide: &dyn Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::String(text) => Value::String(hide(&text).unwrap_or(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| masked(item, hide)).collect()),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (hide(&key).unwrap_or(key), masked(value, hide)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{ContextId, CopyOp, GitSource, HttpSource, ImageOp};
    use crate::solver::event::Outcome;
    use crate::tree::Rootfs;

    fn step(id: u32, op: Op) -> Step {
        Step { id: StepId(id), op, label: format!("[1/{id}] STEP"), stage: "stage-0".into(), span: None }
    }

    fn graph() -> Graph {
        let http = HttpSource { url: "https://u:p@h/f".into(), name: "f".into(), checksum: None, unpack: false };
        let git = GitSource { url: "https://h/r.git".into(), reference: Some("v1".into()), ..GitSource::default() };
        let copy = |base, sources| Op::Copy(CopyOp::new(StepId(base), sources, "/"));
        let context = CopySource::Context { context: Some(ContextId(0)), pattern: "a".into() };
        let steps = vec![
            step(0, Op::Image(ImageOp { reference: "debian:12".into(), layers: vec![] })),
            step(1, Op::Fetch(Remote::Http(http))),
            step(2, Op::Fetch(Remote::Git(git))),
            step(3, copy(0, vec![context])),
        ];
        Graph { steps, contexts: vec![None], targets: vec![StepId(3)] }
    }

    fn solution(id: u8) -> Solution {
        Solution {
            rootfs: Rootfs { layers: vec![], tree: Digest::of(&[id]) },
            layer: None,
            created: None,
            key: (id > 0).then(|| Digest::of(&[id, 0])),
            outcome: Outcome::Ran,
            millis: None,
            ran: None,
            from: None,
            unrecorded: None,
        }
    }

    fn predicate(mode: Mode, times: Option<(i64, i64)>) -> Value {
        let (graph, args) = (graph(), BTreeMap::from([("VERSION".to_owned(), "1".to_owned())]));
        let solutions: Vec<Solution> = (0..4).map(solution).collect();
        let bases = [Base { reference: "debian:12".into(), manifest: Some(Digest::of(b"debian")) }];
        let facts = Facts {
            mode,
            dockerfile: "Dockerfile",
            text: "FROM debian:12\n",
            target: None,
            args: &args,
            labels: &BTreeMap::new(),
            secrets: vec!["token"],
            ssh: vec![],
            locals: vec!["context"],
            platform: "linux/amd64",
            machine: "linux/amd64",
            graph: &graph,
            steps: &[StepId(0), StepId(1), StepId(2), StepId(3)],
            solutions: &solutions,
            bases: &bases,
            times,
        };
        facts.predicate(&|key| {
            let fact = if *key == Digest::of(&[1, 0]) { ("content", "sha256:abcd") } else { ("commit", "c0ffee") };
            Some(StepRecord {
                key: *key,
                layer: None,
                tree: *key,
                created: 0,
                millis: 0,
                label: String::new(),
                place: String::new(),
                preimage: vec![(fact.0.into(), fact.1.into())],
            })
        })
    }

    #[test]
    fn what_went_in_is_listed_with_digests_and_without_passwords() {
        let predicate = predicate(Mode::Min, None);
        let all = predicate["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
        let uris: Vec<&str> = all.iter().map(|d| d["uri"].as_str().unwrap()).collect();
        let expected = [
            "pkg:docker/debian@12?platform=linux%2Famd64",
            "https://h/f",
            "git+https://h/r.git@v1",
            "urn:rbuild:context:context",
        ];
        assert_eq!(uris, expected);
        assert_eq!(all[0]["digest"]["sha256"], Digest::of(b"debian").hex());
        assert_eq!(all[1]["digest"]["sha256"], "abcd");
        assert_eq!(all[2]["digest"]["gitCommit"], "c0ffee");
    }

    #[test]
    fn only_max_tells_arguments_and_steps_and_without_times_no_clock_shows() {
        let (min, max) = (predicate(Mode::Min, None), predicate(Mode::Max, None));
        let request = |p: &Value| p["buildDefinition"]["externalParameters"]["request"].clone();
        assert_eq!(request(&min).get("args"), None);
        assert_eq!(request(&max)["args"]["VERSION"], "1");
        assert_eq!(request(&max)["secrets"], json!([{ "id": "token" }]));
        assert_eq!(min["buildDefinition"]["internalParameters"].get("steps"), None);
        assert_eq!(max["buildDefinition"]["internalParameters"]["steps"][3]["inputs"], json!([0]));
        assert_eq!(max, predicate(Mode::Max, None));
        assert_eq!(max["runDetails"]["metadata"].get("startedOn"), None);
        let dated = predicate(Mode::Max, Some((0, 60)));
        assert_eq!(dated["runDetails"]["metadata"]["finishedOn"], "1970-01-01T00:01:00Z");
    }

    #[test]
    fn secrets_are_masked_in_keys_and_values() {
        let hide = |text: &str| text.contains("s3cret").then(|| text.replace("s3cret", "***"));
        let value = masked(json!({ "a": ["x s3cret"], "s3cret": 1 }), &hide);
        assert_eq!(value, json!({ "a": ["x ***"], "***": 1 }));
    }
}
