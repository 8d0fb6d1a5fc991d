//! A script in, whether it does the same without a network out.

use super::script::and_list;

/// Programs that change users and groups.
const OF_USERS: [&str; 9] = ["addgroup", "adduser", "delgroup", "deluser", "groupadd", "groupmod", "useradd", "userdel", "usermod"];

/// Programs that change files.
const OF_FILES: [&str; 11] = ["chgrp", "chmod", "chown", "false", "ln", "mkdir", "mv", "rm", "rmdir", "touch", "true"];

/// Whether a script is a chain of commands that ask nobody. A step with the network has files in `/etc` that tell it the names of hosts,
/// which may be links into `/run`, so that commands which may get there are none of them.
pub(super) fn is_local(script: &str) -> bool {
    let is_local = |command: &str| {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        OF_USERS.contains(&program) || OF_FILES.contains(&program) && !words.any(may_be_there)
    };
    and_list(script).is_some_and(|commands| commands.into_iter().all(is_local))
}

fn may_be_there(word: &str) -> bool {
    let bare = word.trim_matches(['"', '\'']);
    bare.contains("etc") || bare.contains("run") || bare.contains('$') || bare.chars().all(|character| "./*?".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_that_ask_nobody_are_local() {
        for local in ["mkdir -p /data && chown app:app /data", "adduser --uid \"${UID}\" app", "chmod +x /start"] {
            assert!(is_local(local), "{local}");
        }
        for other in [
            "pip install x",
            "mkdir a && curl b",
            "rm -rf /etc/*",
            "chown -R a /",
            "chown -R a .",
            "rm -rf *",
            "rm -r $DIR",
            "rm -rf /var/run/*",
            "X=1 mkdir a",
            "mkdir $(a)",
            "sh -c x",
        ] {
            assert!(!is_local(other), "{other}");
        }
    }
}
