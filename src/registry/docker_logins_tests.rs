use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::registry::{Credentials, DockerCredentials, Secret};

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("new/config.json")
    }

    fn search_path(&self) -> OsString {
        format!("{}:/usr/bin:/bin", self.0.path().display()).into()
    }

    fn logins(&self, format: LoginFormat) -> DockerLogins {
        DockerLogins::new(self.path(), format, self.search_path())
    }

    fn write(&self, text: &str) {
        fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        fs::write(self.path(), text).unwrap();
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path()).unwrap()).unwrap()
    }

    fn get(&self, registry: &str, repository: &str) -> Option<Credential> {
        let credentials = DockerCredentials::new(vec![self.path()]).with_helpers_from(self.search_path());
        credentials.get(registry, repository).unwrap()
    }

    /// A helper that keeps what it is told in files of its own.
    fn helper(&self, name: &str) {
        let kept = self.0.path().join("kept");
        fs::create_dir_all(&kept).unwrap();
        let script = format!(
            "#!/bin/sh\ncd {} || exit 1\nread -r line || :\nname() {{ printf %s \"$1\" | tr -c 'a-zA-Z0-9' _; }}\ncase $1 in\nstore) server=$(printf %s \"$line\" | \
             sed 's/.*\"ServerURL\":\"\\([^\"]*\\)\".*/\\1/'); printf %s \"$line\" >\"$(name \"$server\")\";;\n\
             get) f=$(name \"$line\"); if [ -f \"$f\" ]; then cat \"$f\"; else echo credentials not found in native keychain; exit 1; fi;;\n\
             erase) rm \"$(name \"$line\")\";;\nesac\n",
            kept.display()
        );
        helper::write_program(&self.0.path().join(format!("docker-credential-{name}")), &script);
    }
}

fn account(registry: &str, path: Option<&str>) -> Account {
    Account { registry: registry.to_owned(), path: path.map(str::to_owned) }
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: Secret::new(password) }
}

#[test]
fn what_is_stored_is_found_again_under_each_tools_own_key() {
    for (format, registry, path, key) in [
        (LoginFormat::Docker, "r.example.com:5000", None, "r.example.com:5000"),
        (LoginFormat::Docker, "docker.io", None, "https://index.docker.io/v1/"),
        (LoginFormat::Containers, "docker.io", None, "docker.io"),
        (LoginFormat::Containers, "quay.io", Some("team"), "quay.io/team"),
        (LoginFormat::Docker, "quay.io", Some("team/app"), "quay.io/team/app"),
    ] {
        let home = Home::new();
        let logins = home.logins(format);
        for credential in [password("alice", "s3:cret"), Credential::IdentityToken(Secret::new("t"))] {
            assert_eq!(logins.store(&account(registry, path), &credential).unwrap(), Kept::File(home.path()));
            let keys: Vec<String> = home.read()["auths"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys, [key]);
            let repository = path.map_or_else(|| "a/b".to_owned(), |path| format!("{path}/b"));
            assert_eq!(home.get(registry, &repository), Some(credential));
        }
        assert_eq!(logins.erase(&account(registry, path)).unwrap().kept, [Kept::File(home.path())]);
        assert_eq!(home.get(registry, "a"), None);
        assert_eq!(logins.erase(&account(registry, path)).unwrap().kept, []);
    }
}

#[test]
fn everything_else_in_the_file_stays_and_old_spellings_are_replaced() {
    let home = Home::new();
    home.write(
        r#"{"HttpHeaders":{"X":"y"},"auths":{"other.example.com":{"auth":"YTpi","email":"e"},"https://r.example.com/v1/":{"auth":"YTpi"}},"proxies":{"default":{}},"credHelpers":{}}"#,
    );
    home.logins(LoginFormat::Docker).store(&account("r.example.com", None), &password("u", "p")).unwrap();
    let read = home.read();
    assert_eq!(read["HttpHeaders"]["X"], "y");
    assert_eq!(read["proxies"], json!({"default": {}}));
    assert_eq!(read["auths"]["other.example.com"], json!({"auth": "YTpi", "email": "e"}));
    assert_eq!(read["auths"]["r.example.com"], json!({"auth": "dTpw"}));
    assert_eq!(read["auths"].as_object().unwrap().len(), 2);
}

#[test]
fn the_file_is_its_owners_alone_and_nothing_is_left_beside_it() {
    let home = Home::new();
    home.write("{}");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o666)).unwrap();
    home.logins(LoginFormat::Docker).store(&account("r.example.com", None), &password("u", "p")).unwrap();
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(home.path().parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_link_stays_one() {
    let home = Home::new();
    home.write("{}");
    let elsewhere = home.0.path().join("elsewhere.json");
    fs::rename(home.path(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, home.path()).unwrap();
    home.logins(LoginFormat::Docker).store(&account("r.example.com", None), &password("u", "p")).unwrap();
    assert!(fs::symlink_metadata(home.path()).unwrap().is_symlink());
    assert_eq!(home.get("r.example.com", "a"), Some(password("u", "p")));
}

#[test]
fn a_damaged_file_is_left_alone_and_its_text_is_not_repeated() {
    for text in [r#"{"auths": hunter2"#, "[]", "hunter2"] {
        let home = Home::new();
        home.write(text);
        let error = home.logins(LoginFormat::Docker).store(&account("r.example.com", None), &password("u", "hunter2")).unwrap_err();
        assert!(!format!("{error:?}{error}").contains("hunter2"), "{error:?}");
        assert_eq!(fs::read_to_string(home.path()).unwrap(), text);
    }
}

#[test]
fn a_helper_keeps_what_the_file_does_not() {
    for config in [r#"{"credsStore":"keeps"}"#, r#"{"credsStore":"missing","credHelpers":{"https://r.example.com":"keeps"}}"#] {
        let home = Home::new();
        home.helper("keeps");
        home.write(config);
        let logins = home.logins(LoginFormat::Docker);
        let kept = logins.store(&account("r.example.com", None), &password("alice", "wonder")).unwrap();
        assert_eq!(kept, Kept::Helper("keeps".to_owned()));
        assert!(!fs::read_to_string(home.path()).unwrap().contains("wonder"));
        assert_eq!(home.read()["auths"]["r.example.com"], json!({}));
        assert_eq!(home.get("r.example.com", "a"), Some(password("alice", "wonder")));
        assert_eq!(logins.erase(&account("r.example.com", None)).unwrap().kept, [Kept::Helper("keeps".to_owned())]);
        assert_eq!(logins.erase(&account("r.example.com", None)).unwrap().kept, []);
        assert!(!fs::read_to_string(home.path()).unwrap().contains("\"r.example.com\""));
    }
}

#[test]
fn a_helper_that_fails_leaves_the_file_as_it_was_and_is_not_quoted() {
    let home = Home::new();
    helper::write_program(&home.0.path().join("docker-credential-fails"), "#!/bin/sh\ncat; cat >&2; exit 1\n");
    home.write(r#"{"credsStore":"fails"}"#);
    let error = home.logins(LoginFormat::Docker).store(&account("r.example.com", None), &password("u", "hunter2")).unwrap_err();
    assert!(error.to_string().contains("docker-credential-fails"), "{error}");
    assert!(!format!("{error:?}{error}").contains("hunter2"), "{error:?}");
    assert_eq!(fs::read_to_string(home.path()).unwrap(), r#"{"credsStore":"fails"}"#);
}

#[test]
fn a_helper_that_fails_or_is_missing_keeps_no_password_in_the_file() {
    for name in ["fails", "missing"] {
        let home = Home::new();
        let path = home.0.path().join("docker-credential-fails");
        fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        home.write(&format!(r#"{{"credsStore":"{name}","auths":{{"r.example.com":{{"auth":"dTpw"}}}}}}"#));
        let erased = home.logins(LoginFormat::Docker).erase(&account("r.example.com", None)).unwrap();
        assert_eq!(erased.kept, [Kept::File(home.path())]);
        assert!(erased.failed.is_some_and(|error| error.to_string().contains(&format!("docker-credential-{name}"))));
        assert!(!fs::read_to_string(home.path()).unwrap().contains("r.example.com"));
    }
}

#[test]
fn a_login_that_is_in_the_file_and_with_a_helper_is_told_of_as_both() {
    let home = Home::new();
    home.helper("keeps");
    home.write(r#"{"credsStore":"keeps"}"#);
    let logins = home.logins(LoginFormat::Docker);
    logins.store(&account("r.example.com", None), &password("alice", "wonder")).unwrap();
    home.write(r#"{"credsStore":"keeps","auths":{"r.example.com":{"auth":"dTpw"}}}"#);
    let erased = logins.erase(&account("r.example.com", None)).unwrap();
    assert_eq!(erased.kept, [Kept::Helper("keeps".to_owned()), Kept::File(home.path())]);
    assert!(erased.failed.is_none());
}

#[test]
fn two_at_once_lose_nothing() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let logins = home.logins(LoginFormat::Docker);
            scope.spawn(move || logins.store(&account(&format!("r{number}.example.com"), None), &password("u", "p")).unwrap());
        }
    });
    assert_eq!(home.read()["auths"].as_object().unwrap().len(), 8);
}

#[test]
fn the_file_belongs_to_whom_it_belonged_to() {
    let home = Home::new();
    home.write("{}");
    let owner = if rustix::process::geteuid().is_root() {
        (1234, 1235)
    } else {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    };
    std::os::unix::fs::chown(home.path(), Some(owner.0), Some(owner.1)).unwrap();
    home.logins(LoginFormat::Docker).store(&account("a.example", None), &password("me", "word")).unwrap();
    let found = fs::metadata(home.path()).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (owner.0, owner.1, 0o600));
}
