//! Repositories behind a real `sshd`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::served::Repository;
use super::{fetch, read, served, spec};
use crate::lab::{Lab, Ran, set_mode, write};

/// `sshd` on loopback, which lets `root` in by one key and has accounts of its own to look at. It ends with the value.
struct Sshd {
    process: Child,
    address: SocketAddr,
}

impl Sshd {
    fn start(lab: &Lab, key: &Path) -> Sshd {
        let at = lab.files("sshd", &[("passwd", "root:x:0:0:root:/root:/bin/sh\nsshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n")]);
        write(&at.join("shadow"), "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n");
        write(&at.join("trusting"), "[safe]\n\tdirectory = *\n");
        key_pair(&at.join("host"), "");
        std::fs::copy(key.with_extension("pub"), at.join("authorized")).unwrap();
        for _ in 0..10 {
            // It cannot tell which port it took, so one is taken and given back first.
            let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
            let config = format!(
                "ListenAddress {address}\nHostKey {0}/host\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
                 AuthorizedKeysFile {0}/authorized\nAuthenticationMethods publickey\nUseDNS no\nPrintMotd no\n\
                 SetEnv PATH={1} GIT_CONFIG_GLOBAL={0}/trusting\n",
                at.display(),
                std::env::var("PATH").unwrap(),
            );
            write(&at.join("config"), &config);
            let script = format!(
                "set -e\nmount --bind {0}/passwd /etc/passwd\nmount --bind {0}/shadow /etc/shadow\nmount -t tmpfs none /run\nmkdir -m 0755 /run/sshd\n\
                 exec \"$(command -v sshd || echo /usr/sbin/sshd)\" -D -e -f {0}/config 2> {0}/log",
                at.display()
            );
            let mut process = in_own_mounts(Path::new("/bin/sh"), &["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
            for _ in 0..400 {
                if TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_ok() {
                    return Sshd { process, address };
                }
                if process.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            // Somebody else may have taken the port.
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("sshd takes no connections; these tests need Debian's openssh-server:\n{}", read(&at, "log"));
    }

    fn url(&self, path: &Path) -> String {
        format!("ssh://root@{}{}", self.address, path.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command in which mounts can be changed and nobody else sees it.
fn in_own_mounts(program: &Path, arguments: &[&str]) -> Command {
    assert!(rustix::process::geteuid().is_root(), "these tests are run as root");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(program).args(arguments);
    command
}

/// A new key, with this passphrase.
fn key_pair(at: &Path, passphrase: &str) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-C", "a key", "-N", passphrase, "-f"]).arg(at).status().unwrap();
    assert!(made.success());
}

/// The program where `ssh` knows these hosts.
fn lapstrake(lab: &Lab, arguments: &[&str]) -> Command {
    let script = format!("mount --bind {}/known /etc/ssh && exec \"$0\" \"$@\"", lab.path("").display());
    let words = [&["-c", &script, crate::lab::PROGRAM], arguments].concat();
    let mut command = in_own_mounts(Path::new("/bin/sh"), &words);
    command.current_dir(lab.path("")).env_clear().envs(lab.environment()).stdin(Stdio::null());
    command
}

/// The `ssh-agent`s that were started with this `PATH`.
fn agents(path: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let has = |process: &PathBuf, file: &str, text: &str| {
        std::fs::read(process.join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
    };
    let ours = entries.filter(|process| has(process, "comm", "ssh-agent") && has(process, "environ", path));
    ours.map(|process| process.display().to_string()).collect()
}

#[test]
fn repositories_over_ssh_take_the_keys_that_are_given_and_no_others() {
    let lab = Lab::new();
    let repository = Repository::new(lab.path("work"), "sha1");
    repository.write("sub/Dockerfile", "FROM scratch\nCOPY file /\n");
    repository.write("sub/file", "behind a door\n");
    let commit = repository.commit("one");
    let served = served(&lab);
    repository.publish(&served, "private.git");
    let (key, other, locked) = (lab.path("key"), lab.path("other"), lab.path("locked"));
    for (at, passphrase) in [(&key, ""), (&other, ""), (&locked, "hunter2")] {
        key_pair(at, passphrase);
    }
    // As CI systems write files, for everybody, and without a line end.
    let text = std::fs::read_to_string(&key).unwrap();
    write(&lab.path("careless"), &text.trim_end().replace('\n', "\r\n"));
    set_mode(&lab.path("careless"), 0o666);
    let sshd = Sshd::start(&lab, &key);
    let host = std::fs::read_to_string(lab.path("sshd/host.pub")).unwrap();
    write(&lab.path("known/ssh_known_hosts"), &format!("[127.0.0.1]:{} {host}", sshd.address.port()));

    let url = sshd.url(&served.join("private.git"));
    let context = format!("{url}#main:sub");
    let given = |path: &Path| format!("default={}", path.display());
    let compose = |ssh: &str| {
        let text = format!("services: {{web: {{build: {{context: '{context}', ssh: ['{ssh}']}}}}}}\n");
        lab.files("compose", &[("compose.yaml", &text)]).display().to_string()
    };
    let toml = lab.files("toml", &[("lapstrake.toml", &spec(&[fetch(&url, "/", "path = \"sub\"")]))]).display().to_string();
    let docker = lab.files("docker", &[("Dockerfile", &format!("FROM scratch\nADD {url}#{commit}:sub /\n"))]).display().to_string();

    let files = lab.path("files");
    let output = format!("rootfs:{}", files.display());
    let build = |place: &str, ssh: &[&str], agent: Option<&Path>| {
        let _ = std::fs::remove_dir_all(&files);
        let words: Vec<&str> = ssh.iter().flat_map(|given| ["--ssh", given]).collect();
        let mut command = lapstrake(&lab, &[&["build", place, "--no-cache", "-o", &output], &words[..]].concat());
        command.envs(agent.map(|socket| ("SSH_AUTH_SOCK", socket)));
        Ran::of(&mut command)
    };
    for (place, ssh) in [
        (context.as_str(), given(&key)),
        (&context, given(&lab.path("careless"))),
        (&context, format!("{},{}", given(&other), key.display())),
        (&toml, given(&key)),
        (&docker, given(&key)),
    ] {
        let ran = build(place, &[&ssh], None);
        assert_eq!(ran.code, Some(0), "{place} {ssh}\n{ran:#?}");
        assert_eq!(read(&files, "file"), "behind a door\n");
    }
    for ssh in [given(Path::new("../key")), given(&key)] {
        let ran = build(&compose(&ssh), &[], None);
        assert_eq!(ran.code, Some(0), "{ssh}\n{ran:#?}");
    }

    // An agent of the caller's.
    let socket = lab.path("agent");
    let mut agent = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    for _ in 0..400 {
        let added = Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).stderr(Stdio::null()).status().unwrap();
        if added.success() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let by_agent = [
        build(&context, &["default"], Some(&socket)),
        build(&toml, &[&given(&socket)], None),
        build(&compose("default"), &[], Some(&socket)),
        // One that the caller has and did not give is not used, but where the Compose file says so.
        build(&context, &[], Some(&socket)),
    ];
    let _ = agent.kill();
    let _ = agent.wait();
    let codes: Vec<Option<i32>> = by_agent.iter().map(|ran| ran.code).collect();
    assert_eq!(codes, [Some(0), Some(0), Some(0), Some(3)], "{by_agent:#?}");

    for (code, ssh, expected) in [
        (3, None, "give the build an agent that has the key"),
        (3, Some(given(&other)), "give the build an agent that has the key"),
        (2, Some(given(&locked)), "a key with a passphrase is for an agent of yours"),
        (2, Some(given(&lab.path("key.pub"))), "is neither the socket of an agent nor a private key"),
        (2, Some(given(&lab.path("missing"))), "No such file"),
    ] {
        let words: Vec<&str> = ssh.iter().map(String::as_str).collect();
        let ran = build(&context, &words, None);
        assert!(ran.code == Some(code) && ran.err.contains(expected), "{ssh:?}\n{ran:#?}");
    }

    // A host that nobody knows is not spoken to, and a key is not shown to it.
    write(&lab.path("known/ssh_known_hosts"), "");
    let ran = build(&context, &[&given(&key)], None);
    assert!(ran.code == Some(3) && ran.err.contains("Host key verification failed"), "{ran:#?}");
    lab.verify();
}

#[test]
fn an_agent_that_was_started_for_a_key_ends_with_the_build_and_serves_its_steps() {
    let lab = Lab::new();
    let key = lab.path("key");
    key_pair(&key, "");
    let own = lab.path("own-programs");
    std::fs::create_dir(&own).unwrap();
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let project = lab.project(
        "spec = 1\n[stages.app]\nfrom = \"tar:base.tar\"\n[[stages.app.steps]]\nrun = \"test -S $SSH_AUTH_SOCK\"\nmounts = [{ ssh = \"mine\" }]\n\
         [images.web]\nstage = \"app\"\n",
        &[],
    );
    assert!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o077 == 0);
    let ssh = format!("mine={}", key.display());
    lab.build_with(&project, &["--ssh", &ssh], |command| {
        command.env("PATH", &path);
    });
    for _ in 0..600 {
        if agents(own.to_str().unwrap()).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{:?}", agents(own.to_str().unwrap()));
}
