//! How a registry asks who is there: the challenges of RFC 9110 (11.6.1) and the token protocol of the distribution
//! project.

use super::Credential;
use crate::net::Url;
use serde::Deserialize;

/// Longest answer of a token service, in bytes.
pub(super) const MAX_TOKEN: u64 = 1 << 20;

/// How a registry wants to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Challenge {
    /// It does not ask.
    None,
    /// Name and password with every request.
    Basic,
    /// A token, to be had at `realm`.
    Bearer { realm: Url, service: Option<String> },
}

/// The challenge to follow among those of an answer's `WWW-Authenticate` fields: a token before a password. `None` if
/// there is none that we know.
pub(super) fn choose<'v>(values: impl Iterator<Item = &'v str>) -> Option<Challenge> {
    let mut basic = None;
    for value in values {
        for (scheme, parameters) in split(value) {
            let parameter =
                |name: &str| parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(Ok(realm)) = parameter("realm").map(|realm| Url::parse(&realm))
            {
                return Some(Challenge::Bearer { realm, service: parameter("service") });
            }
        }
    }
    basic
}

/// The challenges of a field: each scheme with its parameters.
fn split(value: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = value.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        rest = tail.trim_start();
        let Some(assigned) = rest.strip_prefix('=') else {
            found.push((word.to_owned(), Vec::new()));
            rest = rest.trim_start_matches([' ', ',']);
            continue;
        };
        let (text, tail) = argument(assigned.trim_start());
        if let Some((_, parameters)) = found.last_mut() {
            parameters.push((word.to_owned(), text));
        }
        rest = tail.trim_start_matches([' ', ',']);
    }
    found
}

/// A token or quoted string, and what follows it.
fn argument(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut out = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                out.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (out, &quoted[at + 1..]),
            _ => out.push(c),
        }
    }
    (out, "")
}

/// What a token service answers.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    pub fn token(self) -> Option<String> {
        self.token.filter(|t| !t.is_empty()).or(self.access_token).filter(|t| is_token(t))
    }
}

/// Whether it can stand in a header field.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The address and, for an identity token, the form of a request for a token to `scopes`.
pub(super) fn token_request(
    realm: &Url,
    service: Option<&str>,
    scopes: &[String],
    credential: Option<&Credential>,
) -> (String, Option<String>) {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    fields.extend(service.map(|s| ("service", s)));
    if let Some(Credential::Identity(token)) = credential {
        let scope = scopes.join(" ");
        fields.extend([("grant_type", "refresh_token"), ("client_id", "rbuild"), ("refresh_token", token)]);
        fields.push(("scope", &scope));
        return (realm.to_string(), Some(form(&fields)));
    }
    fields.extend(scopes.iter().map(|s| ("scope", s.as_str())));
    let separator = if realm.to_string().contains('?') { '&' } else { '?' };
    (format!("{realm}{separator}{}", form(&fields)), None)
}

/// `a=b&c=d`, percent-encoded.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", percent(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn percent(text: &str) -> String {
    let encode = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_every_form_and_a_token_is_preferred() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: Url::parse(realm).unwrap(), service: service.map(Into::into) })
        };
        let full = r#"Bearer realm="https://a/t",service="reg, \"x\"",scope="repository:a/b:pull""#;
        for (values, expected) in [
            (vec![full], bearer("https://a/t", Some("reg, \"x\""))),
            (vec!["bearer realm=https://a/t"], bearer("https://a/t", None)),
            (vec!["Basic realm=\"x\""], Some(Challenge::Basic)),
            (vec!["Basic"], Some(Challenge::Basic)),
            (vec!["Basic realm=\"x\", Bearer realm=\"https://a/t\""], bearer("https://a/t", None)),
            (vec!["Basic realm=x", "Bearer realm=\"https://a/t\""], bearer("https://a/t", None)),
            (vec!["Bearer realm=\"ftp://a\""], None),
            (vec!["Bearer"], None),
            (vec!["Negotiate abc=="], None),
            (vec!["\"", "=", "Bearer realm=\"unended"], None),
            (vec![], None),
        ] {
            assert_eq!(choose(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn a_token_is_asked_for_with_every_scope_and_an_identity_token_goes_in_the_body() {
        let realm = Url::parse("https://a/t?x=1").unwrap();
        let scopes = ["repository:a/b:pull,push".to_owned(), "repository:c:pull".to_owned()];
        let (url, body) = token_request(&realm, Some("r s"), &scopes, None);
        assert_eq!(
            (url.as_str(), body),
            ("https://a/t?x=1&service=r%20s&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull", None)
        );
        let identity = Credential::Identity("s3cret".into());
        let (url, body) = token_request(&realm, None, &scopes[1..], Some(&identity));
        assert_eq!(url, "https://a/t?x=1");
        assert_eq!(
            body.as_deref(),
            Some("grant_type=refresh_token&client_id=rbuild&refresh_token=s3cret&scope=repository%3Ac%3Apull")
        );
    }

    #[test]
    fn a_token_that_cannot_stand_in_a_header_is_none() {
        let token = |text: &str| serde_json::from_str::<TokenAnswer>(text).unwrap().token();
        assert_eq!(token(r#"{"token":"","access_token":"b"}"#).as_deref(), Some("b"));
        assert_eq!(token(r#"{"token":"a\r\nX: y"}"#), None);
        assert_eq!(token("{}"), None);
    }
}
