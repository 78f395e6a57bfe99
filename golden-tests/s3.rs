//! Caches in buckets: against moto's server, which speaks S3, and servers that are down or refuse.

use crate::env::{self, Need, Place, check, contains, same};
use crate::server::{Page, Server};
use libtest_mimic::{Failed, Trial};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub fn trials() -> Vec<Trial> {
    let needs = [Need::Busybox, Need::Sandbox, Need::S3];
    vec![
        env::trial("s3/a-fresh-store-has-every-hit-of-the-first", &needs, shared),
        env::trial("s3/large-layers-go-in-parts", &[Need::S3], parts),
        env::trial("s3/a-damaged-cache-costs-a-miss", &needs, damaged),
        env::trial("s3/a-bucket-that-cannot-be-used", &[Need::S3], unusable),
    ]
}

const KEY_ID: &str = "AKIATESTTESTTESTTEST";
const SECRET: &str = "verysecretkeyverysecretkeyverysecretkey1";

/// moto's server with a bucket `cache`, ended with the test.
struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    fn start() -> Result<Moto, Failed> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(env::moto())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let moto = Moto { child, port };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > end {
                return Err("moto does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        contains(&moto.ask("PUT", "/cache", b"")?, "200 OK")?;
        Ok(moto)
    }

    /// A request without credentials; head and body of the answer. moto verifies none, but where something is written over
    /// it looks for `Signature=`.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<String, Failed> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Keys and lengths of the objects.
    fn objects(&self) -> Result<Vec<(String, u64)>, Failed> {
        let listing = self.ask("GET", "/cache?list-type=2", b"")?;
        let text = |part: &str, name: &str| {
            let (_, rest) = part.split_once(&format!("<{name}>"))?;
            Some(rest.split_once('<')?.0.to_owned())
        };
        let parts = listing.split("<Contents>").skip(1);
        Ok(parts.filter_map(|part| Some((text(part, "Key")?, text(part, "Size")?.parse().ok()?))).collect())
    }

    /// `type=s3,…` for its bucket.
    fn cache(&self, further: &str) -> String {
        format!(
            "type=s3,bucket=cache,region=eu-west-1,prefix=ci,name=app,endpoint_url=http://127.0.0.1:{}{further}",
            self.port
        )
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a build with credentials in the environment, and sees to it that nothing shows them.
fn build(place: &Place, further: &[&str]) -> Result<Output, Failed> {
    let arguments = [&["build", "--reproducible", "--progress", "plain", "-t", "x"], further, &["."]].concat();
    let mut command = place.rbuild(&arguments);
    let output = command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET).output()?;
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        for hidden in [SECRET, "X-Amz-Signature"] {
            same(hidden, text.contains(hidden), false).map_err(|_| format!("{hidden} is shown: {text}"))?;
        }
    }
    Ok(output)
}

/// What a build that came through said.
fn built(place: &Place, further: &[&str]) -> Result<String, Failed> {
    let output = build(place, further)?;
    check(further, &output)?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn refused(place: &Place, code: i32, further: &[&str]) -> Result<String, Failed> {
    let output = build(place, further)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    same("exit code", output.status.code(), Some(code)).map_err(|_| format!("not {code}: {text}"))?;
    Ok(text)
}

fn id(place: &Place) -> Result<String, Failed> {
    Ok(place.ok(&["images", "-q", "--no-trunc"])?.lines().next().unwrap_or_default().to_owned())
}

/// All steps of [`project`] were taken from the cache.
fn hits(told: &str) -> Result<(), Failed> {
    let count = told.matches("CACHED (from s3://cache/ci:app)").count();
    if count == 3 { Ok(()) } else { Err(format!("{count} hits and not 3 in {told}").into()) }
}

/// Files for a build of a few steps on nothing.
fn project(place: &Place) -> Result<(), Failed> {
    place.write("busybox", std::fs::read("/bin/busybox")?);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.work().join("busybox"), mode)?;
    place.write(
        "Dockerfile",
        "FROM scratch AS tools\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo one > /one\"]\n\
         FROM scratch\nCOPY --from=tools /one /\n",
    );
    Ok(())
}

fn shared() -> Result<(), Failed> {
    let (moto, first) = (Moto::start()?, Place::new());
    project(&first)?;
    let to = moto.cache(",mode=max");
    let told = built(&first, &["--cache-to", &to])?;
    contains(&told, "writing cache s3://cache/ci:app")?;
    let objects = moto.objects()?;
    same("a manifest", objects.iter().any(|(key, _)| key == "ci/manifests/app"), true)?;
    same("all else", objects.iter().filter(|(key, _)| key.starts_with("ci/blobs/sha256/")).count(), objects.len() - 1)?;
    contains(&built(&first, &["--cache-to", &to])?, "; 0 blobs sent")?;

    let fresh = Place::new();
    project(&fresh)?;
    let told = built(&fresh, &["--cache-from", &moto.cache("")])?;
    hits(&told)?;
    same("the image", id(&fresh)?, id(&first)?)?;
    fresh.ok(&["fsck"])?;
    // The same with the credentials of a file, and the bucket named as Amazon's own tools have it.
    let home = fresh.path().join("home/.aws");
    std::fs::create_dir_all(&home)?;
    let text = format!("[other]\naws_access_key_id={KEY_ID}\naws_secret_access_key={SECRET}\nregion=eu-west-1\n");
    std::fs::write(home.join("credentials"), text)?;
    let mut command = fresh.rbuild(&["build", "-q", "--cache-to", "type=s3,bucket=cache,prefix=file", "."]);
    let endpoint = format!("http://127.0.0.1:{}", moto.port);
    let output = command.env("AWS_PROFILE", "other").env("AWS_ENDPOINT_URL_S3", endpoint).output()?;
    check(&["with a profile"], &output)?;
    same("a manifest", moto.objects()?.iter().any(|(key, _)| key == "file/manifests/rbuild"), true)
}

fn parts() -> Result<(), Failed> {
    let (moto, first) = (Moto::start()?, Place::new());
    let mut noise = vec![0; 70 << 20];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut noise)?;
    first.write("noise", &noise);
    first.write("Dockerfile", "FROM scratch\nCOPY noise /\n");
    built(&first, &["--cache-to", &moto.cache("")])?;
    let largest = moto.objects()?.into_iter().max_by_key(|(_, size)| *size).ok_or("no object")?;
    same("all of it", largest.1 > 70 << 20, true)?;
    contains(&moto.ask("HEAD", &format!("/cache/{}", largest.0), b"")?, "-5\"")?;
    let fresh = Place::new();
    fresh.write("noise", &noise);
    fresh.write("Dockerfile", "FROM scratch\nCOPY noise /\n");
    contains(&built(&fresh, &["--cache-from", &moto.cache("")])?, "CACHED")?;
    same("the image", id(&fresh)?, id(&first)?)
}

fn damaged() -> Result<(), Failed> {
    let (moto, first) = (Moto::start()?, Place::new());
    project(&first)?;
    built(&first, &["--cache-to", &moto.cache(",mode=max")])?;
    for (key, size) in moto.objects()?.iter().filter(|(key, _)| key.contains("/blobs/")) {
        let cut = vec![b'x'; usize::try_from(*size)? / 2];
        contains(&moto.ask("PUT", &format!("/cache/{key}?Signature=x"), &cut)?, "200 OK")?;
    }
    let fresh = Place::new();
    project(&fresh)?;
    built(&fresh, &["--cache-from", &moto.cache("")])?;
    same("the image", id(&fresh)?, id(&first)?)?;
    fresh.ok(&["fsck"])?;
    // What was cut off is put there again.
    built(&fresh, &["--cache-to", &moto.cache(",mode=max")])?;
    let third = Place::new();
    project(&third)?;
    let told = built(&third, &["--cache-from", &moto.cache("")])?;
    hits(&told)
}

/// A store that knows nothing, and a build of one step.
fn small() -> Place {
    let place = Place::new();
    place.write("f", "1");
    place.write("Dockerfile", "FROM scratch\nCOPY f /\n");
    place
}

fn unusable() -> Result<(), Failed> {
    let (moto, place) = (Moto::start()?, small());
    let missing = moto.cache("").replace("bucket=cache", "bucket=nowhere");
    contains(&refused(&place, 7, &["--cache-to", &missing])?, "there is no bucket 'nowhere'")?;
    contains(
        &built(&place, &["--cache-to", &format!("{missing},ignore-error=true")])?,
        "there is no bucket 'nowhere'",
    )?;
    contains(&built(&small(), &["--cache-from", &missing])?, "there is no bucket 'nowhere'")?;

    let server = Server::plain();
    server.otherwise(Page { status: 403, ..Page::default() });
    let forbidden = format!("type=s3,bucket=cache,endpoint_url={}", server.base);
    contains(&refused(&place, 7, &["--cache-to", &forbidden])?, "the credentials are not accepted")?;
    contains(&built(&small(), &["--cache-from", &forbidden])?, "the credentials are not accepted")?;

    let down = moto.cache("");
    drop(moto);
    contains(&refused(&place, 7, &["--cache-to", &down])?, "cannot reach 127.0.0.1")?;
    contains(&built(&place, &["--cache-to", &format!("{down},ignore-error=true")])?, "cannot reach 127.0.0.1")?;
    built(&small(), &["--cache-from", &down]).map(drop)
}
