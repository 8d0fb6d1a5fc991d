//! Against the distribution project's registry and skopeo.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lapstrake::event::Cancel;
use lapstrake::image::MediaType;
use lapstrake::registry::{
    Anonymous, Certificates, Credential, DockerCredentials, Error, Login, Pushed, Registry, Secret, Settings, Unreachable,
};
use lapstrake_cache::Digest;

use crate::support::fake::basic;
use crate::support::http::{Handler, Request, Response, Server};
use crate::support::real::{HTPASSWD, PASSWORD, RealRegistry, run};
use crate::support::{at, image};
use crate::{Always, anonymous, pull, push_blob, push_image, settings};

#[test]
fn an_image_goes_to_the_real_registry_and_comes_back_through_skopeo() {
    let real = RealRegistry::start("", &[]);
    let registry = anonymous();
    let target = at(real.address, "team/web:1.0");
    let image = image(500_000);
    assert_eq!(push_image(&registry, &target, &image).unwrap(), [Pushed::Uploaded, Pushed::Uploaded]);
    assert_eq!(push_image(&registry, &target, &image).unwrap(), [Pushed::Existed, Pushed::Existed]);
    let resolved = registry.resolve(&target, &Cancel::new()).unwrap();
    assert_eq!(resolved.bytes, image.manifest);
    assert_eq!(pull(&registry, &target, &image.blobs[0].0).unwrap(), image.blobs[0].1);
    assert_eq!(registry.published(&target, &Cancel::new()).unwrap(), Some(Digest::of(&image.manifest)));
    assert_eq!(registry.tags(&target, &Cancel::new()).unwrap(), ["1.0"]);

    let inspected = run("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{target}")]);
    let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["Digest"], Digest::of(&image.manifest).to_string());
    assert_eq!(inspected["Architecture"], "amd64");
    // What skopeo copies under another name is the same image.
    let copy = at(real.address, "team/copy:1");
    let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    run("skopeo", &["copy", tls[0], tls[1], "--preserve-digests", &format!("docker://{target}"), &format!("docker://{copy}")]);
    assert_eq!(registry.resolve(&copy, &Cancel::new()).unwrap().bytes, image.manifest);
}

#[test]
fn the_real_registry_mounts_from_another_repository() {
    let real = RealRegistry::start("", &[]);
    let registry = anonymous();
    let image = image(1000);
    let base = at(real.address, "library/base:1");
    push_image(&registry, &base, &image).unwrap();
    let target = at(real.address, "team/web:1");
    let mounts = [at(real.address, "library/none"), base];
    for blob in &image.blobs {
        assert_eq!(push_blob(&registry, &target, blob, &mounts).unwrap(), Pushed::Mounted);
    }
    registry.push_manifest(&target, MediaType::OCI_MANIFEST, &image.manifest, &Cancel::new()).unwrap();
}

#[test]
fn what_the_real_registry_does_not_have_is_not_found() {
    let real = RealRegistry::start("", &[]);
    let registry = anonymous();
    let missing = at(real.address, "team/web:1.0");
    let error = registry.resolve(&missing, &Cancel::new()).unwrap_err();
    assert!(matches!(&error, Error::NotFound { messages, .. } if messages[0].code == "MANIFEST_UNKNOWN"), "{error:?}");
    let error = pull(&registry, &missing, &image(10).blobs[0].0).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    let error = registry.push_manifest(&missing, MediaType::OCI_MANIFEST, &image(10).manifest, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error:?}");
}

#[test]
fn a_password_from_dockers_file_opens_the_real_registry() {
    let auth = "auth:\n  htpasswd:\n    realm: a realm\n    path: {directory}/htpasswd\n";
    let real = RealRegistry::start(auth, &[("htpasswd", HTPASSWD)]);
    let target = at(real.address, "team/web:1");
    let image = image(300_000);
    let refused = push_image(&anonymous(), &target, &image).unwrap_err();
    assert!(matches!(refused, Error::Unauthorized { login: Login::Nothing, .. }), "{refused:?}");
    let file = real.directory().join("config.json");
    let encoded = STANDARD.encode(format!("alice:{PASSWORD}"));
    std::fs::write(&file, format!(r#"{{"auths":{{"{}":{{"auth":"{encoded}"}}}}}}"#, real.address)).unwrap();
    let registry = Registry::new(settings(), Arc::new(DockerCredentials::new(vec![file]))).unwrap();
    push_image(&registry, &target, &image).unwrap();
    assert_eq!(registry.resolve(&target, &Cancel::new()).unwrap().bytes, image.manifest);
    let wrong = Always(Credential::Password { user: "alice".to_owned(), password: Secret::new("wrong") });
    let refused = Registry::new(settings(), Arc::new(wrong)).unwrap().resolve(&target, &Cancel::new()).unwrap_err();
    assert!(matches!(refused, Error::Unauthorized { login: Login::Credentials, .. }), "{refused:?}");
}

/// A key and a certificate for it, made by openssl in a directory.
fn certificate(directory: &std::path::Path) -> (String, String) {
    let path = |name: &str| directory.join(name).display().to_string();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let subject = ["-subj", "/CN=lapstrake test", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    let mut arguments = vec!["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", &key, "-out", &certificate];
    arguments.extend(subject);
    run("openssl", &arguments);
    (key, certificate)
}

#[test]
fn the_real_registry_over_tls_is_believed_by_its_own_certificate_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = certificate(directory.path());
    let http = format!("http:\n  addr: {{address}}\n  tls:\n    certificate: {certificate}\n    key: {key}\n");
    let real = RealRegistry::start(&http, &[]);
    let target = at(real.address, "team/web:1");
    let tls = Settings { tls: [real.address.to_string()].into(), ..settings() };
    let trusting = Settings { certificates: Certificates::Only(vec![std::fs::read(&certificate).unwrap()]), ..tls.clone() };
    let registry = Registry::new(trusting, Arc::new(Anonymous)).unwrap();
    push_image(&registry, &target, &image(3_000_000)).unwrap();
    for certificates in [Certificates::System, Certificates::Only(Vec::new())] {
        let registry = Registry::new(Settings { certificates, ..tls.clone() }, Arc::new(Anonymous)).unwrap();
        let error = registry.resolve(&target, &Cancel::new()).unwrap_err();
        assert!(matches!(error, Error::Unreachable { problem: Unreachable::Tls, .. }), "{error:?}");
    }
    let nonsense = Settings { certificates: Certificates::SystemAnd(vec![b"nonsense".to_vec()]), ..tls };
    assert!(matches!(Registry::new(nonsense, Arc::new(Anonymous)), Err(Error::Settings { .. })));
}

/// Signs tokens as the distribution project's specification has them.
struct Signer {
    key: String,
    /// The certificate in base64, without the lines around it.
    certificate: String,
}

impl Handler for Signer {
    fn handle(&self, request: Request) -> Response {
        if request.header("authorization") != Some(&basic("alice", PASSWORD)) {
            return Response::new(401);
        }
        let access: Vec<serde_json::Value> = request
            .parameters("scope")
            .iter()
            .map(|scope| {
                let parts: Vec<&str> = scope.split(':').collect();
                serde_json::json!({"type": parts[0], "name": parts[1], "actions": parts[2].split(',').collect::<Vec<_>>()})
            })
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = serde_json::json!({"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]});
        let claims = serde_json::json!({
            "iss": "lapstrake test", "sub": "alice", "aud": "real", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1", "access": access,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &signed).unwrap();
        let signature = run("openssl", &["dgst", "-sha256", "-sign", &self.key, &file.path().display().to_string()]).stdout;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Response::new(200).body(serde_json::json!({"token": token, "expires_in": 300}).to_string())
    }
}

#[test]
fn the_real_registry_takes_our_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = certificate(directory.path());
    let pem = std::fs::read_to_string(&certificate).unwrap();
    let inside: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let server = Server::start(Arc::new(Signer { key, certificate: inside }));
    let auth = format!(
        "auth:\n  token:\n    realm: http://{}/token\n    service: real\n    issuer: lapstrake test\n    rootcertbundle: {certificate}\n",
        server.address
    );
    let real = RealRegistry::start(&auth, &[]);
    let credentials = Always(Credential::Password { user: "alice".to_owned(), password: Secret::new(PASSWORD) });
    let registry = Registry::new(settings(), Arc::new(credentials)).unwrap();
    let (base, target) = (at(real.address, "library/base:1"), at(real.address, "team/web:1"));
    let image = image(1000);
    push_image(&registry, &base, &image).unwrap();
    assert_eq!(push_blob(&registry, &target, &image.blobs[0], std::slice::from_ref(&base)).unwrap(), Pushed::Mounted);
    assert_eq!(registry.resolve(&base, &Cancel::new()).unwrap().bytes, image.manifest);
    let refused = anonymous().resolve(&base, &Cancel::new()).unwrap_err();
    assert!(matches!(refused, Error::Unauthorized { login: Login::Nothing, .. }), "{refused:?}");
}
