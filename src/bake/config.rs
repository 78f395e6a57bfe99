//! What files define, and what is to be built of it: data between the parts of this module and for those that use it.

use super::decode::Group;
use super::scope::Variable;
use super::target::Target;
use crate::diag::Source;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a definition is read with.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment: it overrides the defaults of variables.
    pub environment: BTreeMap<String, String>,
    /// The text of `.env`, for compose files.
    pub dotenv: Option<Source>,
    /// The platform of this machine, as `linux/amd64`.
    pub platform: String,
}

/// All that files define.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Targets by name, as they stand: nothing inherited yet.
    pub targets: BTreeMap<String, Target>,
    /// Variables, by name.
    pub variables: Vec<Variable>,
}

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// Groups that the command line's targets stand for; `default` is all of them.
    pub groups: BTreeMap<String, Group>,
    /// Targets by name, those that others use among them.
    pub targets: BTreeMap<String, Target>,
}

impl Definition {
    /// The targets' names, each after those that its contexts name, else by name.
    pub fn order(&self) -> Vec<&str> {
        let mut order = Vec::with_capacity(self.targets.len());
        for name in self.targets.keys() {
            self.place(name, &mut order);
        }
        order
    }

    /// Targets do not need each other, which [`super::resolve`] saw to.
    fn place<'d>(&'d self, name: &'d str, order: &mut Vec<&'d str>) {
        let Some(target) = self.targets.get(name).filter(|_| !order.contains(&name)) else { return };
        for used in target.contexts.values().filter_map(|value| value.strip_prefix("target:")) {
            self.place(used, order);
        }
        order.push(name);
    }

    /// As `docker buildx bake --print` shows it.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Printed<'d> {
            group: BTreeMap<&'d str, PrintedGroup>,
            target: &'d BTreeMap<String, Target>,
        }
        #[derive(Serialize)]
        struct PrintedGroup {
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<String>,
            targets: Vec<String>,
        }
        let group = |group: &'_ Group| PrintedGroup {
            description: group.description.clone().filter(|text| !text.is_empty()),
            targets: group.targets.clone(),
        };
        let group = self.groups.iter().map(|(name, of)| (name.as_str(), group(of))).collect();
        serde_json::to_string_pretty(&Printed { group, target: &self.targets })
    }
}
