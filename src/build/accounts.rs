//! Names of users and groups → their numbers, as the image itself has them.
//!
//! `/etc/passwd` and `/etc/group` are read from the tree with links resolved inside it, and with limits: a base can be hostile.

use std::io::{self, Read};

use crate::tree::{Contents, LastLink, Node, Tree, TreePath};

/// More bytes than this are not read of an account file.
const LIMIT_BYTES: u64 = 1 << 20;

/// Owner of a file, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Somebody a command can run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The groups of `/etc/group` that list the user; empty where a group was named.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// A name that the image does not know, or an account file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such name.
    #[error("the image has no {what} `{name}` in `{file}`; use a number, or make it in an earlier step")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
    /// The text is not `user[:group]`.
    #[error("`{0}` is no owner: expected `user`, `user:group` or numbers up to 4294967294")]
    Malformed(String),
    /// The account file is too large or cannot be read.
    #[error("`{file}` of the image cannot be read")]
    File {
        /// Which.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The accounts of one image.
pub(super) struct Accounts<'a> {
    tree: &'a Tree,
    contents: &'a dyn Contents,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(tree: &'a Tree, contents: &'a dyn Contents) -> Accounts<'a> {
        Accounts { tree, contents }
    }

    /// The owner `user[:group]`. Without a group, a name's own group; of a number the group is the same number.
    pub(super) fn owner(&self, text: &str) -> Result<Owner, AccountError> {
        let (user, group) = split(text)?;
        let (uid, own) = match number(user, text)? {
            Some(uid) => (uid, None),
            None => {
                let (uid, gid, _) = self.user_by_name(user)?;
                (uid, Some(gid))
            }
        };
        let gid = match group {
            Some(group) => self.group(group, text)?,
            None => own.unwrap_or(uid),
        };
        Ok(Owner { uid, gid })
    }

    /// Whom `user[:group]` runs as; empty means 0:0.
    pub(super) fn account(&self, text: &str) -> Result<Account, AccountError> {
        let (user, group) = split(if text.is_empty() { "0" } else { text })?;
        let passwd = self.lines("/etc/passwd")?;
        let known = match number(user, text)? {
            Some(uid) => passwd.iter().filter_map(|line| user_line(line)).find(|(_, known, ..)| *known == uid),
            None => {
                Some(passwd.iter().filter_map(|line| user_line(line)).find(|(name, ..)| *name == user).ok_or_else(|| unknown_user(user))?)
            }
        };
        let (name, uid, own, home) = match known {
            Some((name, uid, gid, home)) => (Some(name), uid, gid, home.to_owned()),
            None => (None, number(user, text)?.unwrap_or_default(), 0, "/".to_owned()),
        };
        let (gid, groups) = match group {
            Some(group) => (self.group(group, text)?, Vec::new()),
            None => (own, self.groups_of(name)?),
        };
        let home = if home.is_empty() { "/".to_owned() } else { home };
        Ok(Account { uid, gid, groups, home })
    }

    fn user_by_name(&self, name: &str) -> Result<(u32, u32, String), AccountError> {
        let lines = self.lines("/etc/passwd")?;
        let found = lines.iter().filter_map(|line| user_line(line)).find(|(known, ..)| *known == name);
        found.map(|(_, uid, gid, home)| (uid, gid, home.to_owned())).ok_or_else(|| unknown_user(name))
    }

    fn group(&self, group: &str, text: &str) -> Result<u32, AccountError> {
        if let Some(gid) = number(group, text)? {
            return Ok(gid);
        }
        let lines = self.lines("/etc/group")?;
        let found = lines.iter().filter_map(|line| group_line(line)).find(|(name, ..)| *name == group);
        found.map(|(_, gid, _)| gid).ok_or(AccountError::Unknown { what: "group", name: group.to_owned(), file: "/etc/group" })
    }

    fn groups_of(&self, name: Option<&str>) -> Result<Vec<u32>, AccountError> {
        let Some(name) = name else { return Ok(Vec::new()) };
        let lines = self.lines("/etc/group")?;
        let mut groups: Vec<u32> = lines
            .iter()
            .filter_map(|line| group_line(line))
            .filter(|(_, _, members)| members.split(',').any(|member| member == name))
            .map(|(_, gid, _)| gid)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// The lines of an account file; none where it is not there.
    fn lines(&self, file: &'static str) -> Result<Vec<String>, AccountError> {
        let failed = |source| AccountError::File { file, source };
        let path = match self.tree.resolve(file.as_bytes(), LastLink::Follow) {
            Ok(path) => path,
            Err(error) => return Err(failed(io::Error::other(error))),
        };
        let Some(Node::File(found)) = self.get(&path) else { return Ok(Vec::new()) };
        if found.content.size > LIMIT_BYTES {
            let reason = format!("it has {} bytes, more than {LIMIT_BYTES}", found.content.size);
            return Err(failed(io::Error::other(reason)));
        }
        let mut text = Vec::new();
        let reader = self.contents.open(&path, &found.content).map_err(failed)?;
        reader.take(LIMIT_BYTES).read_to_end(&mut text).map_err(failed)?;
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }

    fn get(&self, path: &TreePath) -> Option<Node> {
        self.tree.get(path)
    }
}

fn unknown_user(name: &str) -> AccountError {
    AccountError::Unknown { what: "user", name: name.to_owned(), file: "/etc/passwd" }
}

fn split(text: &str) -> Result<(&str, Option<&str>), AccountError> {
    let malformed = || AccountError::Malformed(text.to_owned());
    match text.split_once(':') {
        None if text.is_empty() => Err(malformed()),
        None => Ok((text, None)),
        Some((user, group)) if user.is_empty() || group.is_empty() || group.contains(':') => Err(malformed()),
        Some((user, group)) => Ok((user, Some(group))),
    }
}

/// A number, or nothing where the word is a name. The last number is the kernel's word for "no id".
fn number(word: &str, text: &str) -> Result<Option<u32>, AccountError> {
    if !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse::<u32>() {
        Ok(number) if number != u32::MAX => Ok(Some(number)),
        Ok(_) | Err(_) => Err(AccountError::Malformed(text.to_owned())),
    }
}

/// Name, number, group and home of a line of `/etc/passwd`, passwd(5).
fn user_line(line: &str) -> Option<(&str, u32, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((name, uid, gid, fields.nth(1).unwrap_or("/")))
}

/// Name, number and members of a line of `/etc/group`, group(5).
fn group_line(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or("")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lapstrake_cache::Fingerprint;

    use super::*;
    use crate::tree::{Content, File, Metadata, Xattrs};

    struct Fixed(BTreeMap<Fingerprint, &'static [u8]>);

    impl Contents for Fixed {
        fn open(&self, _path: &TreePath, content: &Content) -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(self.0[&content.fingerprint]))
        }
    }

    fn image() -> (Tree, Fixed) {
        let metadata = Metadata { mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() };
        let files: [(&[u8], &'static [u8]); 2] = [
            (b"etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:,,,:/srv/web:/bin/sh\nbroken\n"),
            (b"etc/group", b"root:x:0:\nweb:x:1001:\nlogs:x:44:other,web\n"),
        ];
        let mut editor = crate::tree::Editor::new(&Tree::empty(metadata.clone()));
        let mut contents = BTreeMap::new();
        for (path, bytes) in files {
            let content = Content { fingerprint: Fingerprint::of(bytes), size: bytes.len() as u64 };
            contents.insert(content.fingerprint, bytes);
            let path = TreePath::new(path).unwrap();
            editor.make_directories(path.parent().unwrap().as_bytes(), &metadata).unwrap();
            editor.put(&path, Node::File(File { metadata: metadata.clone().into(), content })).unwrap();
        }
        (editor.finish(), Fixed(contents))
    }

    #[test]
    fn names_and_numbers_are_those_of_the_image() {
        let (tree, contents) = image();
        let accounts = Accounts::new(&tree, &contents);
        for (text, uid, gid) in [("web", 1000, 1001), ("web:logs", 1000, 44), ("7", 7, 7), ("7:web", 7, 1001), ("0:5", 0, 5)] {
            assert_eq!(accounts.owner(text).unwrap(), Owner { uid, gid }, "{text}");
        }
        let web = Account { uid: 1000, gid: 1001, groups: vec![44], home: "/srv/web".to_owned() };
        assert_eq!(accounts.account("web").unwrap(), web.clone());
        assert_eq!(accounts.account("1000").unwrap(), web.clone());
        assert_eq!(accounts.account("web:0").unwrap(), Account { gid: 0, groups: vec![], ..web });
        assert_eq!(accounts.account("").unwrap(), Account { uid: 0, gid: 0, groups: vec![], home: "/root".to_owned() });
        assert_eq!(accounts.account("12").unwrap(), Account { uid: 12, gid: 0, groups: vec![], home: "/".to_owned() });
    }

    #[test]
    fn what_is_not_there_is_named() {
        let (tree, contents) = image();
        let accounts = Accounts::new(&tree, &contents);
        assert_eq!(
            accounts.owner("nobody").unwrap_err().to_string(),
            "the image has no user `nobody` in `/etc/passwd`; use a number, or make it in an earlier step"
        );
        for bad in ["", ":", "web:", ":web", "a:b:c", "4294967295", "99999999999"] {
            assert!(accounts.owner(bad).is_err(), "{bad}");
        }
    }
}
