use std::fs;

use super::*;

fn password(user: &str, password: &str) -> Option<Credential> {
    Some(Credential::Password { user: user.to_owned(), password: Secret::new(password) })
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A helper that is a shell script.
    fn helper(&self, name: &str, script: &str) {
        helper::write_program(&self.0.path().join(format!("docker-credential-{name}")), &format!("#!/bin/sh\n{script}\n"));
    }

    fn credentials(&self, text: &str) -> DockerCredentials {
        let search_path = format!("{}:/usr/bin:/bin", self.0.path().display());
        DockerCredentials::new(vec![self.file("config.json", text)]).with_helpers_from(search_path.into())
    }

    fn get(&self, text: &str, registry: &str, repository: &str) -> Result<Option<Credential>, String> {
        self.credentials(text).get(registry, repository).map_err(|error| error.to_string())
    }
}

#[test]
fn entries_are_read_in_every_form_that_tools_write() {
    let home = Home::new();
    // alice:s3:cret, with and without padding, and with Docker's old trailing zero.
    for (entry, expected) in [
        (r#"{"auth":"YWxpY2U6czM6Y3JldA=="}"#, password("alice", "s3:cret")),
        (r#"{"auth":"YWxpY2U6czM6Y3JldA"}"#, password("alice", "s3:cret")),
        (r#"{"auth":"YWxpY2U6czM6Y3JldAA="}"#, password("alice", "s3:cret")),
        (r#"{"username":"alice","password":"p"}"#, password("alice", "p")),
        (r#"{"auth":"YTo=","identitytoken":"t"}"#, Some(Credential::IdentityToken(Secret::new("t")))),
        (r#"{"registrytoken":"t"}"#, Some(Credential::RegistryToken(Secret::new("t")))),
        (r#"{"auth":"","email":"a@example.com"}"#, None),
        ("{}", None),
    ] {
        let text = format!(r#"{{"auths":{{"r.example.com":{entry}}},"HttpHeaders":{{}}}}"#);
        assert_eq!(home.get(&text, "r.example.com", "a/b"), Ok(expected), "{entry}");
    }
}

#[test]
fn the_longest_key_wins_and_old_spellings_are_known() {
    let home = Home::new();
    let entry = |user: &str| format!(r#"{{"username":"{user}","password":"p"}}"#);
    for (keys, registry, repository, user) in [
        (&["quay.io", "quay.io/org", "quay.io/org/app"][..], "quay.io", "org/app", Some("quay.io/org/app")),
        (&["quay.io", "quay.io/org"], "quay.io", "org/app", Some("quay.io/org")),
        (&["quay.io", "quay.io/org"], "quay.io", "organisation/app", Some("quay.io")),
        (&["quay.io/org"], "quay.io", "other", None),
        (&["https://index.docker.io/v1/"], "docker.io", "library/python", Some("https://index.docker.io/v1/")),
        (&["index.docker.io/v1"], "docker.io", "library/python", Some("index.docker.io/v1")),
        (&["docker.io"], "docker.io", "library/python", Some("docker.io")),
        (&["https://r.example.com/v2/"], "r.example.com", "a", Some("https://r.example.com/v2/")),
        (&["http://127.0.0.1:5000"], "127.0.0.1:5000", "a", Some("http://127.0.0.1:5000")),
        (&["127.0.0.1"], "127.0.0.1:5000", "a", None),
        (&["example.com"], "r.example.com", "a", None),
        (&["r.example.com.evil.example"], "r.example.com", "a", None),
    ] {
        let entries: Vec<String> = keys.iter().map(|key| format!(r#""{key}":{}"#, entry(key))).collect();
        let text = format!(r#"{{"auths":{{{}}}}}"#, entries.join(","));
        let expected = user.and_then(|user| password(user, "p"));
        assert_eq!(home.get(&text, registry, repository), Ok(expected), "{keys:?} for {registry}/{repository}");
    }
}

#[test]
fn helpers_are_asked_for_the_server_and_may_have_nothing() {
    let home = Home::new();
    home.helper("echo", r#"test "$1" = get && printf '{"ServerURL":"x","Username":"u","Secret":"%s"}' "$(cat)""#);
    home.helper("token", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    home.helper("none", "echo credentials not found in native keychain; exit 1");
    for (text, registry, expected) in [
        (r#"{"credsStore":"echo"}"#, "r.example.com", password("u", "r.example.com")),
        (r#"{"credsStore":"echo"}"#, "docker.io", password("u", "https://index.docker.io/v1/")),
        (r#"{"credsStore":"none","credHelpers":{"r.example.com":"echo"}}"#, "r.example.com", password("u", "r.example.com")),
        (r#"{"credsStore":"none","credHelpers":{"r.example.com":"echo"}}"#, "other.example.com", None),
        (r#"{"credHelpers":{"r.example.com":"token"}}"#, "r.example.com", Some(Credential::IdentityToken(Secret::new("t")))),
        (r#"{"credsStore":"none","auths":{"r.example.com":{"username":"f","password":"p"}}}"#, "r.example.com", password("f", "p")),
    ] {
        assert_eq!(home.get(text, registry, "a"), Ok(expected), "{text}");
    }
}

#[test]
fn a_failing_helper_is_an_error_that_says_which_and_nothing_it_said() {
    let home = Home::new();
    home.helper("fails", "echo hunter2; echo hunter2 >&2; exit 3");
    home.helper("babbles", "echo hunter2");
    home.helper("hangs", "exec sleep 1000");
    let long = Duration::from_secs(300);
    for (name, limit, expected) in [
        ("fails", long, "`docker-credential-fails` failed"),
        ("babbles", long, "`docker-credential-babbles` answered"),
        ("missing", long, "`docker-credential-missing` is not in the search path"),
        ("../fails", long, "is no credential helper's name"),
        ("hangs", Duration::from_millis(300), "`docker-credential-hangs` did not answer"),
    ] {
        let credentials = home.credentials(&format!(r#"{{"credsStore":"{name}"}}"#)).with_helper_limit(limit);
        let error = credentials.get("r.example.com", "a").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}{error}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn the_first_file_with_an_answer_wins_and_missing_files_are_passed_over() {
    let home = Home::new();
    let entry = |user: &str| format!(r#"{{"auths":{{"r.example.com":{{"username":"{user}","password":"p"}}}}}}"#);
    let files = vec![
        home.0.path().join("missing.json"),
        home.file("empty.json", ""),
        home.file("other.json", r#"{"auths":{"other.example.com":{}}}"#),
        home.file("first.json", &entry("first")),
        home.file("second.json", &entry("second")),
    ];
    assert_eq!(DockerCredentials::new(files).get("r.example.com", "a").unwrap(), password("first", "p"));
}

#[test]
fn damage_is_reported_by_its_place_and_never_by_its_text() {
    let home = Home::new();
    for text in [
        r#"{"auths":{"r.example.com":{"auth":["hunter2"]}}}"#,
        r#"{"auths":"hunter2"}"#,
        r#"{"auths":{"r.example.com":{"auth":"hunter2!"}}}"#,
        "hunter2",
    ] {
        let error = home.credentials(text).get("r.example.com", "a").unwrap_err();
        assert!(!format!("{error:?}{error}").contains("hunter2"), "{error:?}");
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}

#[test]
fn a_login_counts_at_once() {
    let home = Home::new();
    let credentials = home.credentials("{}");
    assert_eq!(credentials.get("r.example.com", "a").unwrap(), None);
    home.file("config.json", r#"{"auths":{"r.example.com":{"username":"u","password":"p"}}}"#);
    assert_eq!(credentials.get("r.example.com", "a").unwrap(), password("u", "p"));
}

#[test]
fn secrets_are_not_printed() {
    assert!(!format!("{:?}", password("u", "hunter2")).contains("hunter2"));
}
