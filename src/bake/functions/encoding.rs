//! Functions that spell values in other ways, and read them.

use super::arguments::{Function, Outcome, fits, function, text};
use crate::bake::value::Value;
use crate::base::text::csv as csv_fields;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

pub const FUNCTIONS: &[Function] = &[
    function("base64decode", 1, 1, |a| {
        let bytes = STANDARD.decode(text(a, 0)?).map_err(|error| format!("not base64: {error}"))?;
        Ok(String::from_utf8(bytes).map_err(|_| "what is encoded is not UTF-8")?.into())
    }),
    function("base64encode", 1, 1, |a| Ok(STANDARD.encode(text(a, 0)?).into())),
    function("csvdecode", 1, 1, csv),
    function("jsondecode", 1, 1, |a| {
        let json: serde_json::Value =
            serde_json::from_str(&text(a, 0)?).map_err(|error| format!("not JSON: {error}"))?;
        Ok(json.into())
    }),
    function("jsonencode", 1, 1, |a| Ok(a[0].json().into())),
    function("md5", 1, 1, |a| Ok(hex::encode(Md5::digest(text(a, 0)?)).into())),
    function("sha1", 1, 1, |a| Ok(hex::encode(Sha1::digest(text(a, 0)?)).into())),
    function("sha256", 1, 1, |a| Ok(hex::encode(Sha256::digest(text(a, 0)?)).into())),
    function("sha512", 1, 1, |a| Ok(hex::encode(Sha512::digest(text(a, 0)?)).into())),
    function("uuidv5", 2, 2, |a| uuid(&text(a, 0)?, &text(a, 1)?)),
    function("urlencode", 1, 1, |a| Ok(urlencode(&text(a, 0)?).into())),
];

/// As a part of a query: all but letters, digits and `-_.~` is escaped, a blank is a plus.
fn urlencode(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A UUID made of a name (RFC 9562, version 5) within one of the RFC's spaces, or within another UUID.
fn uuid(space: &str, name: &str) -> Outcome {
    let space = match space {
        "dns" => "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "url" => "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
        "oid" => "6ba7b812-9dad-11d1-80b4-00c04fd430c8",
        "x500" => "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
        other => other,
    };
    let bytes = hex::decode(space.replace('-', "")).ok().filter(|bytes| bytes.len() == 16);
    let bytes = bytes.ok_or_else(|| format!("'{space}' is no space of names (dns, url, oid, x500, or a UUID)"))?;
    let mut id = Sha1::new().chain_update(bytes).chain_update(name).finalize().to_vec();
    id.truncate(16);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = hex::encode(id);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").into())
}

/// Rows as maps, named by the first. A field holds no line end.
fn csv(arguments: &[Value]) -> Outcome {
    let subject = text(arguments, 0)?;
    let fields = |line| Ok::<Vec<String>, String>(csv_fields(line)?.into_iter().map(|(_, field)| field).collect());
    let mut lines = subject.lines().filter(|line| !line.is_empty());
    let names = fields(lines.next().ok_or("there is no line with names")?)?;
    let mut rows = Vec::new();
    let mut weight = 0;
    for line in lines {
        let record = fields(line)?;
        if record.len() != names.len() {
            return Err(format!("a line has {} fields, and the first {}", record.len(), names.len()));
        }
        let row = Value::Map(names.iter().cloned().zip(record.into_iter().map(Value::from)).collect());
        weight += row.weight();
        fits(weight)?;
        rows.push(row);
    }
    Ok(rows.into())
}
