//! USER and `--chown`: names to ids by the image's own /etc/passwd and /etc/group (passwd(5), group(5)).
//!
//! Nothing of the host is asked and no NSS module is loaded: the two files are read through the tree, as bytes, within
//! a size limit.

use super::OpError;
use crate::diag::suggest;
use crate::tree::View;

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups; the primary one is among them, as with the engines that run images.
    pub groups: Vec<u32>,
    /// Home directory from passwd; `/` without an entry.
    pub home: String,
}

/// The most that is read of /etc/passwd or /etc/group, in bytes.
const FILE_LIMIT: u64 = 10 << 20;

/// The highest id; the one above, `(uid_t)-1`, means "leave as it is" to chown(2).
const ID_MAX: u32 = u32::MAX - 1;

/// USER: `u`, `u:g`, names or numbers (dockerfile.md 1.9). Empty: root.
///
/// Numbers need no file. Supplementary groups come from /etc/group, and only where no group was given.
pub fn resolve(view: &View<'_>, user: &str) -> Result<Identity, OpError> {
    let (name, group) = split(user);
    let name = if name.is_empty() && group.is_none() { "0" } else { name };
    if let (Some(uid), Some(gid)) = (id(name), group.and_then(id)) {
        // Only the home directory is looked up, and an unreadable file is no reason to fail.
        let home = Users::read(view).ok().and_then(|users| users.by_id(uid).map(User::home));
        return Ok(Identity { uid, gid, groups: vec![gid], home: home.unwrap_or_else(root_dir) });
    }
    let users = Users::read(view)?;
    let (uid, entry) = users.find(name, user)?;
    let home = entry.map_or_else(root_dir, User::home);
    match group {
        Some(group) => {
            let gid = Groups::read(view)?.find(group, user)?;
            Ok(Identity { uid, gid, groups: vec![gid], home })
        }
        None => {
            let gid = entry.map_or(0, |e| e.gid);
            let mut groups = vec![gid];
            if let Some(entry) = entry {
                groups.extend(Groups::read(view)?.of_member(&entry.name).into_iter().filter(|g| *g != gid));
            }
            Ok(Identity { uid, gid, groups, home })
        }
    }
}

/// `--chown`: owner and group (dockerfile.md C17). Unknown names are an error with a suggestion.
///
/// A number alone is also the group. A name alone (or `name:`) brings its primary group. `:group` leaves the user root.
pub fn chown(view: &View<'_>, text: &str) -> Result<(u32, u32), OpError> {
    let (name, group) = split(text);
    if name.is_empty() && group.is_none() {
        return Err(OpError::input("chown-no-user", format!("`--chown={text}` names no user"))
            .with_help("write a user, or a user and a group: `--chown=app` or `--chown=1000:1000`")
            .about(text));
    }
    let group_id = group.and_then(id);
    let (uid, primary) = match id(name) {
        Some(uid) => (uid, uid),
        None if name.is_empty() => (0, 0),
        None => {
            let users = Users::read(view)?;
            let (uid, entry) = users.find(name, text)?;
            (uid, entry.map_or(uid, |e| e.gid))
        }
    };
    let gid = match (group, group_id) {
        (None, _) => primary,
        (Some(_), Some(gid)) => gid,
        (Some(group), None) => Groups::read(view)?.find(group, text)?,
    };
    Ok((uid, gid))
}

/// `u:g` in its halves; an empty group counts as none given.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    }
}

/// A decimal id.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n <= ID_MAX)
}

fn root_dir() -> String {
    "/".to_owned()
}

/// A line of passwd(5).
#[derive(Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl User {
    fn home(&self) -> String {
        if self.home.is_empty() { root_dir() } else { self.home.clone() }
    }
}

/// /etc/passwd; `found` tells a missing file from an empty one.
struct Users {
    entries: Vec<User>,
    found: bool,
}

impl Users {
    fn read(view: &View<'_>) -> Result<Users, OpError> {
        let bytes = view.read(b"etc/passwd", FILE_LIMIT)?;
        Ok(Users { found: bytes.is_some(), entries: Users::parse(&bytes.unwrap_or_default()) })
    }

    /// Lines that are not whole are passed over, as the C library does.
    fn parse(bytes: &[u8]) -> Vec<User> {
        fields(bytes, 7)
            .filter_map(|f| {
                Some(User { uid: id(&f[2])?, gid: id(&f[3])?, home: f[5].clone(), name: f[0].clone() })
                    .filter(|u| !u.name.is_empty())
            })
            .collect()
    }

    fn by_id(&self, uid: u32) -> Option<&User> {
        self.entries.iter().find(|u| u.uid == uid)
    }

    /// By name, else by number; a number need not have an entry.
    fn find(&self, name: &str, text: &str) -> Result<(u32, Option<&User>), OpError> {
        if let Some(user) = self.entries.iter().find(|u| u.name == name) {
            return Ok((user.uid, Some(user)));
        }
        match id(name) {
            Some(uid) => Ok((uid, self.by_id(uid))),
            None => {
                let known = self.entries.iter().map(|u| u.name.as_str());
                Err(unknown("user", name, "/etc/passwd", self.found, known).about(text))
            }
        }
    }
}

/// /etc/group: name, id and members.
struct Groups {
    entries: Vec<(String, u32, Vec<String>)>,
    found: bool,
}

impl Groups {
    fn read(view: &View<'_>) -> Result<Groups, OpError> {
        let bytes = view.read(b"etc/group", FILE_LIMIT)?;
        Ok(Groups { found: bytes.is_some(), entries: Groups::parse(&bytes.unwrap_or_default()) })
    }

    fn parse(bytes: &[u8]) -> Vec<(String, u32, Vec<String>)> {
        fields(bytes, 4)
            .filter_map(|f| {
                let members = f[3].split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
                Some((f[0].clone(), id(&f[2])?, members))
            })
            .collect()
    }

    fn find(&self, group: &str, text: &str) -> Result<u32, OpError> {
        if let Some((_, gid, _)) = self.entries.iter().find(|(name, ..)| name == group) {
            return Ok(*gid);
        }
        id(group).ok_or_else(|| {
            let known = self.entries.iter().map(|(name, ..)| name.as_str());
            unknown("group", group, "/etc/group", self.found, known).about(text)
        })
    }

    /// Ids of the groups that list `user`, each once, in the file's order.
    fn of_member(&self, user: &str) -> Vec<u32> {
        let mut ids: Vec<u32> = Vec::new();
        for (_, gid, members) in &self.entries {
            if members.iter().any(|m| m == user) && !ids.contains(gid) {
                ids.push(*gid);
            }
        }
        ids
    }
}

/// The lines of a `:`-separated file that have at least `count` fields (the last may be missing where it may be empty).
fn fields(bytes: &[u8], count: usize) -> impl Iterator<Item = Vec<String>> {
    bytes.split(|b| *b == b'\n').filter(|l| !l.starts_with(b"#")).filter_map(move |line| {
        let mut all: Vec<String> =
            String::from_utf8_lossy(line).trim_end_matches('\r').split(':').map(String::from).collect();
        if all.len() + 1 == count {
            all.push(String::new());
        }
        (all.len() >= count).then_some(all)
    })
}

fn unknown<'n>(
    what: &'static str,
    name: &str,
    file: &str,
    found: bool,
    known: impl Iterator<Item = &'n str>,
) -> OpError {
    let code = if what == "user" { "unknown-user" } else { "unknown-group" };
    let mut error = OpError::input(code, format!("{what} `{name}` is not in {file} of the image"));
    if !found {
        error = error.note(format!("the image has no {file}"));
    }
    if let Some(near) = suggest::nearest(name, known) {
        error = error.with_help(format!("did you mean `{near}`?"));
    }
    error.with_help(format!("make the {what} in a RUN before this line, or give it as a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fixture::bench;
    use crate::tree::{Rootfs, Trees};

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n#c:x:9:9::/:\nbroken line\napp:x:1000:1001:App:/home/app:/bin/sh\n\
        nohome:x:7:7::\nodd:x:notanumber:1:::\n";
    const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:app,other\napp:x:1001:\naudio:x:29:other,app\n";

    #[test]
    fn passwd_lines_that_are_not_whole_are_passed_over() {
        let names: Vec<String> = Users::parse(PASSWD).into_iter().map(|u| u.name).collect();
        assert_eq!(names, ["root", "app", "nohome"]);
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        let users = Users { entries: Users::parse(PASSWD), found: true };
        assert_eq!(users.find("app", "app").unwrap().0, 1000);
        assert_eq!(users.find("1000", "1000").unwrap().1.unwrap().gid, 1001);
        assert_eq!(users.find("4711", "4711").unwrap(), (4711, None));
        let Err(OpError::Input { code, help, .. }) = users.find("ap", "ap:x") else { panic!("found a user `ap`") };
        assert_eq!(code, "unknown-user");
        assert!(help[0].contains("`app`"), "{help:?}");
    }

    #[test]
    fn groups_are_those_that_list_the_member() {
        let groups = Groups { entries: Groups::parse(GROUP), found: true };
        assert_eq!(groups.of_member("app"), [50, 29]);
        assert_eq!(groups.find("staff", "").unwrap(), 50);
        assert_eq!(groups.find("77", "").unwrap(), 77);
        assert!(groups.find("stuff", "").is_err());
    }

    #[test]
    fn an_empty_group_is_no_group_and_ids_are_bounded() {
        assert_eq!(split("app:"), ("app", None));
        assert_eq!(split("1:2"), ("1", Some("2")));
        assert_eq!(id("4294967295"), None, "(uid_t)-1");
        assert_eq!(id("+1"), None);
        assert_eq!(id(""), None);
    }

    #[test]
    fn users_are_looked_up_in_the_image() {
        let bench = bench();
        let trees = Trees::new(&bench.store);
        let base = bench.rootfs(
            &trees,
            &[
                "etc/passwd f 644 root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
                "etc/group f 644 root:x:0:\nstaff:x:50:app\nwww:x:33:\n",
            ],
        );
        let view = View::new(&trees, &base);
        let id = |text: &str| resolve(&view, text).map(|i| (i.uid, i.gid, i.groups, i.home));
        assert_eq!(id("").unwrap(), (0, 0, vec![0], "/root".into()));
        assert_eq!(id("app").unwrap(), (1000, 1001, vec![1001, 50], "/home/app".into()));
        assert_eq!(id("1000").unwrap(), (1000, 1001, vec![1001, 50], "/home/app".into()));
        assert_eq!(id("app:www").unwrap(), (1000, 33, vec![33], "/home/app".into()));
        assert_eq!(id("77").unwrap(), (77, 0, vec![0], "/".into()));
        assert_eq!(id("77:78").unwrap(), (77, 78, vec![78], "/".into()));
        assert!(id("ap").is_err());
        assert!(id("app:stuff").is_err());
        assert_eq!(chown(&view, "77").unwrap(), (77, 77));
        assert_eq!(chown(&view, "app").unwrap(), (1000, 1001));
        assert_eq!(chown(&view, "app:").unwrap(), (1000, 1001));
        assert_eq!(chown(&view, "app:staff").unwrap(), (1000, 50));
        assert_eq!(chown(&view, ":staff").unwrap(), (0, 50));
        assert!(chown(&view, ":").is_err());
        let empty = Rootfs { layers: Vec::new(), tree: Trees::empty() };
        let scratch = View::new(&trees, &empty);
        assert_eq!(resolve(&scratch, "5:6").unwrap().uid, 5);
        assert!(resolve(&scratch, "app").is_err());
    }
}
