//! HEALTHCHECK's part of the config.

use super::site::{Fault, Site};
use crate::dockerfile::ast::{Command, Flag, Healthcheck};
use crate::dockerfile::duration;
use crate::image::config::Health;

/// The config's Healthcheck. Durations are Go's; 0 leaves the value to the runtime, else at least 1 ms, as the parser
/// sees to.
pub fn health(site: &Site<'_>, flags: &[Flag], check: &Healthcheck) -> Result<Health, Fault> {
    let mut health = Health::default();
    for flag in flags {
        let value = site.flag_value(flag)?;
        let bad = |reason: String| -> Fault { site.error("bad-flag-value", reason, value.span).into() };
        let nanoseconds = || {
            let duration = duration::parse(&value.value).map_err(bad)?;
            u64::try_from(duration.as_nanos()).map_err(|_| bad(format!("`{}` is too long", value.value)))
        };
        match flag.name.value.as_str() {
            "interval" => health.interval = nanoseconds()?,
            "timeout" => health.timeout = nanoseconds()?,
            "start-period" => health.start_period = nanoseconds()?,
            "start-interval" => health.start_interval = nanoseconds()?,
            "retries" => {
                let count: u32 = value.value.parse().map_err(|_| bad(format!("`{}` is not a count", value.value)))?;
                health.retries = count.into();
            }
            _ => return Err(site.unsupported_flag("HEALTHCHECK", flag)),
        }
    }
    health.test = match check {
        Healthcheck::None => vec!["NONE".into()],
        Healthcheck::Cmd(Command::Shell { text, .. }) => vec!["CMD-SHELL".into(), text.value.clone()],
        Healthcheck::Cmd(Command::Exec { argv, .. }) => {
            std::iter::once("CMD".to_owned()).chain(argv.iter().map(|w| w.value.clone())).collect()
        }
    };
    Ok(health)
}
