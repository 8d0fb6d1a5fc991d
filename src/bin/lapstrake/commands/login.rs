//! `lapstrake login` and `logout`: credentials into the files that Docker and Podman read, and out of them.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use lapstrake::image::Reference;
use lapstrake::registry::{
    Account, Checked, Credential, CredentialError, Credentials, DockerLogins, Erased, Kept, LoginFormat, Registry, Secret,
};

use crate::args;
use crate::exit::{Failure, Voice, chain, print, remark};
use crate::machine::Machine;
use crate::{prompt, registries};

/// The most that a password or token may have.
const SECRET_LIMIT_BYTES: u64 = 64 << 10;

pub(crate) fn login(machine: &Machine, arguments: &args::Login) -> Result<(), Failure> {
    let account = account(&arguments.account)?;
    let logins = logins(machine)?;
    let credential = credential(arguments, &account)?;
    if !arguments.no_check {
        let settings = machine.registry_settings()?;
        let registry = Registry::new(settings, Arc::new(Given(credential.clone()))).map_err(|error| Failure::world(chain(&error)))?;
        match registry.check_login(&account.registry, account.path.as_deref(), machine.cancel()) {
            Ok(Checked::Accepted) => {}
            Ok(Checked::NotAsked) => {
                remark(
                    &format!("note: `{}` lets everybody in, so nobody knows whether the password is right\n", account.registry),
                    machine.voice,
                );
            }
            Err(error) => return Err(Failure::world(format!("{}; nothing was kept", chain(&error)))),
        }
    }
    let kept = logins.store(&account, &credential).map_err(|error| Failure::world(chain(&error)))?;
    if let Kept::File(path) = &kept
        && machine.voice != Voice::Quiet
    {
        let text =
            format!("note: the password is kept in `{}` as it is; a credential helper (`credsStore`) keeps it better\n", path.display());
        remark(&text, machine.voice);
    }
    if machine.surroundings.authfile.is_some() {
        let text = "note: other commands find it with `--authfile`, or where REGISTRY_AUTH_FILE names the file\n";
        remark(text, machine.voice);
    }
    print(&format!("logged in to {}; kept {}\n", arguments.account, shown(&kept)))
}

pub(crate) fn logout(machine: &Machine, arguments: &args::Logout) -> Result<(), Failure> {
    let account = account(&arguments.account)?;
    let Erased { kept, failed } = logins(machine)?.erase(&account).map_err(|error| Failure::world(chain(&error)))?;
    let places: Vec<String> = kept.iter().map(shown).collect();
    match (failed, places.as_slice()) {
        (None, []) => print(&format!("there was no login to {}\n", arguments.account)),
        (None, _) => print(&format!("logged out of {}; it was {}\n", arguments.account, places.join(" and "))),
        (Some(error), []) => Err(Failure::world(chain(&error))),
        (Some(error), _) => {
            print(&format!("the login to {} was {} and is gone from there\n", arguments.account, places.join(" and ")))?;
            Err(Failure::world(chain(&error)))
        }
    }
}

/// The same for every registry: what is being checked.
struct Given(Credential);

impl Credentials for Given {
    fn get(&self, _registry: &str, _repository: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(self.0.clone()))
    }
}

fn shown(kept: &Kept) -> String {
    match kept {
        Kept::File(path) => format!("in `{}`", path.display()),
        Kept::Helper(name) => format!("by docker-credential-{name}"),
    }
}

/// `HOST[/PATH]`, also with a scheme in front, as people paste it.
fn account(text: &str) -> Result<Account, Failure> {
    let wrong = |reason: &str| Failure::usage(format!("`{text}` is no registry: {reason}; expected HOST[:PORT][/PATH]"));
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text).trim_end_matches('/');
    if bare.contains('@') {
        return Err(Failure::usage("a registry is named without user and password: expected HOST[:PORT][/PATH] and `--username`"));
    }
    let (host, path) = bare.split_once('/').map_or((bare, None), |(host, path)| (host, Some(path)));
    let (host, path) = match (host, path) {
        ("docker.io" | "index.docker.io" | "registry-1.docker.io", path) => ("docker.io", path.filter(|path| *path != "v1")),
        other => other,
    };
    // A name in a repository of that host is read by the rules for references.
    let probe: Reference = format!("{host}/{}", path.unwrap_or("probe"))
        .parse()
        .map_err(|error: lapstrake::image::InvalidReference| wrong(&error.to_string()))?;
    if probe.registry != host {
        return Err(wrong("its host has neither a dot nor a port and is not `localhost`"));
    }
    if path.is_some_and(|path| path.contains([':', '@'])) {
        return Err(wrong("a tag or digest has no login of its own"));
    }
    Ok(Account { registry: host.to_owned(), path: path.map(str::to_owned) })
}

fn logins(machine: &Machine) -> Result<DockerLogins, Failure> {
    let surroundings = &machine.surroundings;
    let of_containers = surroundings.authfile.clone().or_else(|| surroundings.variable("REGISTRY_AUTH_FILE").map(PathBuf::from));
    let (path, format) = match of_containers {
        Some(path) => (path, LoginFormat::Containers),
        None => match registries::docker_config(surroundings) {
            Some(path) => (path, LoginFormat::Docker),
            None => return Err(Failure::usage("no place for the login: set `HOME` or `DOCKER_CONFIG`, or name a file by `--authfile`")),
        },
    };
    Ok(DockerLogins::new(path, format, surroundings.variable("PATH").unwrap_or_default().to_owned()))
}

fn credential(arguments: &args::Login, account: &Account) -> Result<Credential, Failure> {
    if arguments.identity_token_stdin {
        return Ok(Credential::IdentityToken(of_stdin("token")?));
    }
    let user = match &arguments.username {
        Some(user) => user.clone(),
        None => prompt::ask(&format!("User at {}: ", account.registry), prompt::Echo::Shown)?,
    };
    if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
        return Err(Failure::usage("a user's name is not empty and has no colon in it"));
    }
    let password =
        if arguments.password_stdin { of_stdin("password")? } else { Secret::new(prompt::ask("Password: ", prompt::Echo::Hidden)?) };
    if password.expose().is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    Ok(Credential::Password { user, password })
}

/// A secret from standard input, without the line end after it.
fn of_stdin(what: &str) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(SECRET_LIMIT_BYTES).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("cannot read the {what} from standard input: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Failure::usage(format!("there is no {what} on standard input")));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_as_in_references() {
        let of = |registry: &str, path: Option<&str>| Account { registry: registry.to_owned(), path: path.map(str::to_owned) };
        for (text, expected) in [
            ("docker.io", of("docker.io", None)),
            ("https://index.docker.io/v1/", of("docker.io", None)),
            ("docker.io/team", of("docker.io", Some("team"))),
            ("r.example.com:5000", of("r.example.com:5000", None)),
            ("https://r.example.com/", of("r.example.com", None)),
            ("quay.io/team/app", of("quay.io", Some("team/app"))),
            ("localhost", of("localhost", None)),
            ("[::1]:5000", of("[::1]:5000", None)),
        ] {
            assert_eq!(account(text).unwrap(), expected, "{text}");
        }
        for text in ["", "nohost", "r.example.com/Upper", "u:hunter2@r.example.com", "r.example.com/a:tag", "r.example.com/a@sha256:0"] {
            let failure = account(text).unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
