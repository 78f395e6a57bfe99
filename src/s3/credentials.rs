//! Which bucket, where it is, and who asks: what the user says, else what the variables and files of Amazon's own tools say
//! (AWS SDKs and Tools Reference Guide, "Standardized credential providers": variables first, then the profile).

use super::S3Error;
use crate::base::fs;
use std::fmt;
use std::path::PathBuf;

/// The region of those who name none.
const DEFAULT_REGION: &str = "us-east-1";

/// A bucket and how it is reached. What is `None` is looked up when the bucket is first used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: Option<String>,
    /// Who has it: an address; without one Amazon in the region.
    pub endpoint: Option<String>,
    /// Whether the bucket's name is in the path, and not in the host's name.
    pub path_style: Option<bool>,
    /// Who asks.
    pub secret: Option<Secret>,
}

/// Credentials. Not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Says who.
    pub key_id: String,
    /// Proves it.
    pub key: String,
    /// Of temporary credentials.
    pub token: Option<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is known of a bucket in the end.
pub(super) struct Settled {
    pub region: String,
    pub endpoint: String,
    pub path_style: bool,
    pub secret: Option<Secret>,
}

impl Bucket {
    /// Fills in what the user did not say.
    pub(super) fn settle(&self) -> Result<Settled, S3Error> {
        self.settle_with(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn settle_with(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Settled, S3Error> {
        let profile = Profile::read(variable)?;
        let region = self.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.or_else(|| profile.region.clone()).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let endpoint =
            self.endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL_S3")).or_else(|| variable("AWS_ENDPOINT_URL"));
        // Amazon wants the bucket in the host's name; of others only those can do that whose host has a name.
        let numbered = endpoint.as_deref().is_some_and(is_numbered);
        let path_style = self.path_style.unwrap_or(numbered);
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let named = || {
            let key_id = variable("AWS_ACCESS_KEY_ID")?;
            let (key, token) = (variable("AWS_SECRET_ACCESS_KEY")?, variable("AWS_SESSION_TOKEN"));
            Some(Secret { key_id, key, token })
        };
        let secret = self.secret.clone().or_else(named).or(profile.secret);
        Ok(Settled { region, endpoint, path_style, secret })
    }
}

/// Whether the host of an address has no name to put another before.
fn is_numbered(endpoint: &str) -> bool {
    let Ok(url) = crate::net::Url::parse(endpoint) else { return false };
    let host = url.host();
    host == "localhost" || host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok()
}

/// What the files say of the profile that `AWS_PROFILE` names.
#[derive(Default)]
struct Profile {
    secret: Option<Secret>,
    region: Option<String>,
}

impl Profile {
    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Profile, S3Error> {
        let name = variable("AWS_PROFILE").unwrap_or_else(|| "default".into());
        let file = |setting: &str, usual: &str| {
            variable(setting)
                .map(PathBuf::from)
                .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws").join(usual)))
        };
        let text = |path: Option<PathBuf>| -> Result<String, S3Error> {
            let bytes = path.map(fs::read_if_exists).transpose()?.flatten();
            Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        let credentials = text(file("AWS_SHARED_CREDENTIALS_FILE", "credentials"))?;
        let config = text(file("AWS_CONFIG_FILE", "config"))?;
        let titled = if name == "default" { name.clone() } else { format!("profile {name}") };
        let get = |key: &str| value(&credentials, &name, key).or_else(|| value(&config, &titled, key));
        let secret = get("aws_access_key_id").zip(get("aws_secret_access_key"));
        let secret = secret.map(|(key_id, key)| Secret { key_id, key, token: get("aws_session_token") });
        Ok(Profile { secret, region: get("region") })
    }
}

/// A key of a section; comments begin with `#` or `;`.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut within = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            within = title.trim() == section;
        } else if let (true, Some((name, value))) = (within, line.split_once('='))
            && name.trim().eq_ignore_ascii_case(key)
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_counts_before_variables_and_these_before_files() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        write(
            "credentials",
            "[default]\naws_access_key_id = FILE\naws_secret_access_key=s3 # no comment\n\n[ci]\n; x\naws_access_key_id=CI\n\
             aws_secret_access_key=c\naws_session_token = t\n",
        );
        write("config", "[default]\nregion = eu-west-1\n[profile ci]\nregion = eu-north-1\n");
        let home = home.path().display().to_string();
        let settle = |bucket: &Bucket, variables: &[(&str, &str)]| {
            let get = |name: &str| match name {
                "HOME" => Some(home.clone()),
                _ => variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()),
            };
            let settled = bucket.settle_with(&get).unwrap();
            let secret = settled.secret.map(|s| format!("{} {} {:?}", s.key_id, s.key, s.token)).unwrap_or_default();
            format!("{} {} {} | {secret}", settled.region, settled.endpoint, settled.path_style)
        };
        let plain = Bucket { name: "b".into(), ..Bucket::default() };
        let own = Bucket {
            region: Some("mars".into()),
            endpoint: Some("http://127.0.0.1:1".into()),
            secret: Some(Secret { key_id: "OWN".into(), key: "o".into(), token: None }),
            ..plain.clone()
        };
        let env = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "e"), ("AWS_REGION", "us-west-2")];
        let amazon = "https://s3.eu-west-1.amazonaws.com";
        for (bucket, variables, expected) in [
            (&plain, &[][..], format!("eu-west-1 {amazon} false | FILE s3 # no comment None")),
            (&plain, &env[..], "us-west-2 https://s3.us-west-2.amazonaws.com false | ENV e None".into()),
            (
                &plain,
                &[("AWS_PROFILE", "ci")][..],
                format!("eu-north-1 {} false | CI c Some(\"t\")", amazon.replace("west", "north")),
            ),
            (&plain, &[("AWS_PROFILE", "none")][..], "us-east-1 https://s3.us-east-1.amazonaws.com false | ".into()),
            (
                &plain,
                &[("AWS_ENDPOINT_URL_S3", "http://minio:9000")][..],
                "eu-west-1 http://minio:9000 false | FILE s3 # no comment None".into(),
            ),
            (&own, &env[..], "mars http://127.0.0.1:1 true | OWN o None".into()),
        ] {
            assert_eq!(settle(bucket, variables), expected);
        }
        assert!(!format!("{own:?}").contains("OWN"));
    }
}
