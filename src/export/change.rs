//! `import --change`: the config instructions of a Dockerfile, one at a time.

use super::ExportError;
use crate::image::config::Execution;
use serde_json::{Map, Value};

/// Applies instructions in order: CMD, ENTRYPOINT (JSON or shell form), ENV, LABEL, EXPOSE, VOLUME, USER, WORKDIR and
/// STOPSIGNAL. ENV and LABEL take one `NAME=value`; the value may stand in double quotes.
///
/// # Errors
/// [`ExportError::Change`] for any other instruction and for a value of the wrong form.
pub fn apply_changes(config: &mut Execution, changes: &[String]) -> Result<(), ExportError> {
    for change in changes {
        apply(config, change)
            .map_err(|reason| ExportError::Change { change: change.clone(), reason: reason.to_owned() })?;
    }
    Ok(())
}

fn apply(config: &mut Execution, change: &str) -> Result<(), &'static str> {
    let (word, rest) = change.trim().split_once(char::is_whitespace).ok_or("a value is missing")?;
    let rest = rest.trim();
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(command(rest)?),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)?),
        "ENV" => {
            let (name, value) = pair(rest)?;
            let env = config.env.get_or_insert_default();
            env.retain(|line| line.split('=').next() != Some(name));
            env.push(format!("{name}={value}"));
        }
        "LABEL" => {
            let (name, value) = pair(rest)?;
            config.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let port = if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") };
                config.exposed_ports.get_or_insert_default().insert(port, Value::Object(Map::new()));
            }
        }
        "VOLUME" => {
            let paths = if rest.starts_with('[') { command(rest)? } else { words(rest) };
            for path in paths {
                config.volumes.get_or_insert_default().insert(path, Value::Object(Map::new()));
            }
        }
        "USER" => config.user = Some(rest.to_owned()),
        "WORKDIR" if rest.starts_with('/') => config.working_dir = Some(rest.to_owned()),
        "WORKDIR" => return Err("the path must be absolute"),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        _ => return Err("CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR can be changed"),
    }
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `["a", "b"]` as it is, anything else for a shell.
fn command(text: &str) -> Result<Vec<String>, &'static str> {
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|_| "it is no JSON array of strings");
    }
    Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn pair(text: &str) -> Result<(&str, &str), &'static str> {
    let (name, value) =
        text.split_once('=').or_else(|| text.split_once(' ')).ok_or("it is not of the form NAME=value")?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("it is not of the form NAME=value");
    }
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    match quoted {
        Some(inner) => Ok((name, inner)),
        None if value.contains(char::is_whitespace) => {
            Err("a value with spaces needs double quotes; one pair at a time")
        }
        None => Ok((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_config_in_order() {
        let mut config = Execution::default();
        let changes = [
            "CMD [\"sh\", \"-l\"]",
            "entrypoint exec a b",
            "ENV A=1",
            "ENV B=\"x y\"",
            "ENV A=2",
            "LABEL k=v",
            "EXPOSE 80 53/udp",
            "VOLUME /a /b",
            "USER 1:2",
            "WORKDIR /w",
            "STOPSIGNAL SIGINT",
        ];
        apply_changes(&mut config, &changes.map(str::to_owned)).unwrap();
        assert_eq!(config.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "exec a b"]);
        assert_eq!(config.env.unwrap(), ["B=x y", "A=2"]);
        assert_eq!(config.labels.unwrap()["k"], "v");
        assert_eq!(config.exposed_ports.unwrap().into_keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.volumes.unwrap().into_keys().collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!((config.user.as_deref(), config.working_dir.as_deref()), (Some("1:2"), Some("/w")));
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        for change in ["RUN x", "CMD", "CMD [1]", "ENV A", "ENV A=1 B=2", "WORKDIR w"] {
            assert!(apply_changes(&mut Execution::default(), &[change.to_owned()]).is_err(), "{change}");
        }
    }
}
