//! What a hostile command finds around it, rung by rung: SECURITY.md's tables are what is asserted here, no more and no less.

use std::process::Command;
use std::sync::OnceLock;

use crate::hostile::outside::{CANARY, Outside, Reached};
use crate::hostile::rungs::{Rung, said};
use crate::lab::{Lab, Ran, set_mode};

/// The program that attacks, where a step that mounts `tools` has it.
pub(super) fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("attack");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/programs/attack.rs");
        let mut compiler = Command::new("rustc");
        compiler.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-o"]).arg(&output).arg(source);
        assert!(compiler.status().unwrap().success());
        std::fs::read(output).unwrap()
    })
}

/// Runs one script on a rung, with the attacks as `/tools/attack`. `further` are more keys of the step.
pub(super) fn attack(rung: Rung, script: &str, further: &str) -> (Ran, Lab) {
    let lab = Lab::new();
    let step = format!(
        "[[stages.app.steps]]\nrun = '''\n{script}\n'''\nmounts = [{{ from = \"context\", path = \"tools\", at = \"/tools\" }}]\n{further}"
    );
    let project = crate::hostile::rungs::project(&lab, &step);
    std::fs::create_dir(project.join("tools")).unwrap();
    std::fs::write(project.join("tools/attack"), program()).unwrap();
    set_mode(&project.join("tools/attack"), 0o755);
    let ran = rung.build(&lab, &project, &[]);
    (ran, lab)
}

/// The answers of `/tools/attack`, one by one.
fn answers(rung: Rung, words: &[String], further: &str) -> Vec<bool> {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let (ran, _lab) = attack(rung, &format!("/tools/attack {}", quoted.join(" ")), further);
    assert_eq!(ran.code, Some(0), "{rung:?}: {}", ran.err);
    let lines = said(&ran);
    assert_eq!(lines.len(), words.len(), "{rung:?}: {}", ran.err);
    words
        .iter()
        .zip(lines)
        .map(|(word, line)| match line.strip_prefix(&format!("{word}: ")) {
            Some("done") => true,
            Some("refused") => false,
            Some(_) | None => panic!("{rung:?}: {line}"),
        })
        .collect()
}

/// Memory that is shared by number, as long as the value lives.
struct SharedMemory(String);

impl SharedMemory {
    fn new() -> SharedMemory {
        let made = crate::real::run("ipcmk", &["--shmem", "4096", "--mode", "0666"]);
        let text = String::from_utf8(made.stdout).unwrap();
        SharedMemory(text.trim().rsplit(' ').next().unwrap().to_owned())
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        let _ = Command::new("ipcrm").args(["--shmem-id", &self.0]).status();
    }
}

/// Whether the kernel keeps signals and abstract sockets of a process without namespaces among its own.
fn scopes() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attack");
    std::fs::write(&path, program()).unwrap();
    crate::programs::make_startable(&path);
    let out = Command::new(&path).arg("landlock").output().unwrap().stdout;
    String::from_utf8(out).unwrap().trim().rsplit(' ').next().unwrap().parse::<i64>().unwrap() >= 6
}

/// The canary test: all that a step can try on the outside, on every rung, with and without the network.
#[test]
fn the_outside_is_reached_by_what_is_conceded_and_by_nothing_else() {
    let memory = SharedMemory::new();
    for rung in Rung::ALL {
        for network in [false, true] {
            let outside = Outside::plant();
            let at = |name: &str| outside.path(name).display().to_string();
            let process = outside.process();
            let mut words: Vec<String> = ["file", "secret", "directory/below"].iter().map(|name| format!("read:{}", at(name))).collect();
            words.extend(["file", "directory/below", "directory/new"].map(|name| format!("write:{}", at(name))));
            words.extend([format!("list:{}", outside.text()), format!("read:/proc/{process}/environ"), format!("list:/proc/{process}/fd")]);
            words.extend(["ask", "trace", "memory", "kill"].map(|attack| format!("{attack}:{process}")));
            words.push(format!("unix:{}", at("socket")));
            let never = words.len();
            words.extend([format!("tcp:{}", outside.tcp), format!("abstract:{}", outside.name), format!("shm:{}", memory.0)]);
            let further = if network { "network = true" } else { "" };
            let answers = answers(rung, &words, further);
            for (word, reached) in words.iter().zip(&answers).take(never) {
                assert!(!reached, "{rung:?}, network {network}: {word}");
            }
            let separate = rung != Rung::Chroot;
            // With the network come the services of the loopback, and names that belong to the network namespace.
            let name = if separate { network } else { !scopes() };
            let conceded = [network, name, !separate];
            assert_eq!(answers[never..], conceded, "{rung:?}, network {network}: tcp, abstract, shared memory");
            let expected = Reached { tcp: usize::from(network), path: 0, name: usize::from(name) };
            // The kernel has taken the connections; the canary may not have counted them yet.
            let mut seen = outside.reached();
            crate::waiting::until(&format!("{rung:?}, network {network}: {expected:?} is counted"), || {
                seen = seen.and(outside.reached());
                seen.tcp >= expected.tcp && seen.name >= expected.name
            });
            assert_eq!(seen, expected, "{rung:?}, network {network}");
            outside.assert_untouched(&format!("{rung:?}, network {network}"));
        }
    }
}

#[test]
fn no_descriptor_is_inherited() {
    for rung in Rung::ALL {
        // What the builder's own caller left open is not passed on either.
        let (ran, _lab) = attack(rung, "/tools/attack descriptors", "");
        assert_eq!(said(&ran), ["descriptors: 0 1 2"], "{rung:?}: {}", ran.err);
    }
}

#[test]
fn the_environment_is_what_the_spec_says() {
    for rung in Rung::ALL {
        let (ran, _lab) = attack(rung, "env | sort", "env = { OWN = \"1\" }");
        assert_eq!(ran.code, Some(0), "{rung:?}: {}", ran.err);
        let mut lines: Vec<&str> = said(&ran).into_iter().filter(|line| !line.starts_with("SHLVL=") && !line.starts_with("_=")).collect();
        lines.retain(|line| *line != "PWD=/");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(lines, ["HOME=/root", "OWN=1", path, "SOURCE_DATE_EPOCH=315619200"], "{rung:?}");
    }
}

#[test]
fn no_process_but_those_of_the_step_is_seen() {
    for rung in Rung::SEPARATE {
        let (ran, _lab) = attack(rung, "for p in /proc/[0-9]*; do tr '\\000' ' ' < $p/cmdline; echo; done", "");
        assert_eq!(ran.code, Some(0), "{rung:?}: {}", ran.err);
        // Process 1 of the step, the shell, and `tr`, whose own line it reads.
        for line in said(&ran) {
            assert!(
                ["lapstrake", "/bin/sh -ec", "tr ", "/bin/sh"].iter().any(|own| line.trim().starts_with(own.trim()))
                    || line.contains("cmdline")
                    || line.trim().is_empty()
                    || line.contains("done"),
                "{rung:?}: {line}"
            );
            assert!(!line.contains("--isolation"), "{rung:?}: the builder is seen");
        }
    }
    // There is no /proc at all.
    let (ran, _lab) = attack(Rung::Chroot, "ls /proc | wc -l", "");
    assert_eq!(said(&ran), ["0"], "{}", ran.err);
}

#[test]
fn calls_that_would_lead_out_are_refused() {
    let words = ["mount", "unshare", "keyring", "uring", "enter:/proc/1/ns/mnt", "enter:/proc/1/ns/net", "enter:/proc/1/ns/user"]
        .map(str::to_owned);
    for rung in Rung::ALL {
        for (word, reached) in words.iter().zip(answers(rung, &words, "")) {
            assert!(!reached, "{rung:?}: {word}");
        }
    }
}

#[test]
fn a_step_makes_no_device_of_the_machine() {
    let word = "device:/tmp/node".to_owned();
    for rung in Rung::ALL {
        match rung {
            // Whoever asks for one is ended: a refusal might be overheard.
            Rung::Root | Rung::User => {
                let (ran, _lab) = attack(rung, &format!("/tools/attack {word} || true"), "");
                assert_eq!((ran.code, said(&ran)), (Some(3), vec![]), "{rung:?}: {ran:#?}");
                assert!(ran.err.contains("to make the character device 1:5"), "{rung:?}: {}", ran.err);
            }
            Rung::Alone | Rung::Chroot => assert_eq!(answers(rung, std::slice::from_ref(&word), ""), [false], "{rung:?}"),
        }
    }
}

/// The classic way out of a root that is no mount's, each by itself: it changes what the attacker sees afterwards.
#[test]
fn another_root_below_the_own_leads_nowhere_above_it() {
    let outside = Outside::plant();
    for rung in Rung::ALL {
        // Where the step's root is a mount's it may have others below it, as in other builders.
        assert_eq!(answers(rung, &["chroot".to_owned()], ""), [rung != Rung::Chroot], "{rung:?}");
        let words = [format!("escape:{}", outside.path("file").display())];
        assert_eq!(answers(rung, &words, ""), [false], "{rung:?}");
        // The same attempt finds what is inside.
        assert_eq!(answers(rung, &["escape:/tools/attack".to_owned()], ""), [true], "{rung:?}");
    }
    outside.assert_untouched("another root below");
}

#[test]
fn sockets_past_the_network_are_its_own_or_none() {
    let words = ["raw", "packet", "inet"].map(str::to_owned);
    for rung in Rung::ALL {
        // In a network namespace of its own a step sees its own loopback by them, and no more.
        let expected = if rung == Rung::Chroot { [false, false, false] } else { [true, true, true] };
        assert_eq!(answers(rung, &words, ""), expected, "{rung:?}");
        // On the host's network they would see what others send: NET_RAW counts there only where the network is the namespace's own.
        let expected = [false, false, true];
        assert_eq!(answers(rung, &words, "network = true"), expected, "{rung:?} with the network");
    }
}

#[test]
fn the_kernel_is_not_set_or_triggered() {
    let files = [
        "sysrq-trigger",
        "sys/kernel/core_pattern",
        "sys/kernel/hostname",
        "sys/kernel/modprobe",
        "sys/vm/overcommit_memory",
        "sys/fs/file-max",
        "irq/default_smp_affinity",
        "timer_list",
        "kcore",
        "1/mem",
    ];
    let mut words: Vec<String> = files.iter().map(|file| format!("write:/proc/{file}")).collect();
    words.extend(["write:/sys/kernel/uevent_helper", "write:/sys/power/state", "write:/sys/fs/cgroup/cgroup.procs"].map(str::to_owned));
    let outside = Outside::plant();
    for rung in Rung::ALL {
        for further in ["", "network = true"] {
            for (word, reached) in words.iter().zip(answers(rung, &words, further)) {
                // A file in place of one that tells of the host takes what is written to it, and nothing comes of it.
                let hidden = word.ends_with("timer_list") || word.ends_with("kcore");
                assert!(!reached || hidden, "{rung:?}, {further}: {word}");
            }
            outside.assert_unreached("writing to /proc and /sys");
        }
    }
}

#[test]
fn its_own_init_is_not_killed_written_or_traced() {
    for rung in Rung::SEPARATE {
        let words = [
            "kill:1",
            "trace:1",
            "memory:1",
            "write:/proc/1/exe",
            "read:/proc/1/exe",
            "read:/proc/1/environ",
            "read:/proc/1/fd/0",
            "list:/proc/1/root",
        ]
        .map(str::to_owned);
        let answers = answers(rung, &words, "");
        // A signal that process 1 has no handler for is taken, and does nothing.
        assert!(answers[1..].iter().all(|reached| !reached), "{rung:?}: {answers:?}");
        let (ran, _lab) = attack(rung, "kill -9 1; kill -TERM 1; kill -9 -1 2> /dev/null || true; echo alive", "");
        assert_eq!((ran.code, said(&ran)), (Some(0), vec!["alive"]), "{rung:?}: {}", ran.err);
    }
}

/// CVE-2019-5736: what is run again and again must not be what a step can write.
#[test]
fn the_helper_is_sealed_against_everybody() {
    let lab = Lab::new();
    let mark = crate::processes::mark();
    let project = crate::hostile::rungs::project(&lab, &format!("steps = [{{ run = \"sleep {mark}\" }}]"));
    let mut command = lab.command(&["build", project.to_str().unwrap()]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let parent = format!("\nPPid:\t{}\n", child.id());
    let helper = crate::waiting::until_some("the helper runs, and its step sleeps", || {
        assert!(child.try_wait().unwrap().is_none(), "the build ended");
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_helper = |path: &std::path::PathBuf| std::fs::read_to_string(path.join("status")).is_ok_and(|text| text.contains(&parent));
        let helper = all.filter(is_helper).map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).next();
        helper.filter(|_| crate::processes::with_argument(&mark).iter().any(|line| line.starts_with("sleep ")))
    });
    let executable = std::path::PathBuf::from(format!("/proc/{helper}/exe"));
    assert!(std::fs::read_link(&executable).unwrap().to_string_lossy().starts_with("/memfd:"));
    assert!(std::fs::File::options().write(true).open(&executable).is_err());
    let open = std::fs::File::open(&executable).unwrap();
    let seals = rustix::fs::fcntl_get_seals(&open).unwrap();
    let needed = rustix::fs::SealFlags::SEAL | rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::GROW | rustix::fs::SealFlags::SHRINK;
    assert!(seals.contains(needed), "{seals:?}");
    // It knows nothing of its caller either.
    assert_eq!(std::fs::read(format!("/proc/{helper}/environ")).unwrap(), b"");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn devices_of_a_base_are_not_opened_by_steps() {
    use crate::hostile::raw::{Block, Raw};
    let mut tar = crate::project::busybox().to_vec();
    tar.truncate(tar.len() - 1024);
    // The memory of zeros and a disk; set-user-id comes along, for it is the image's own.
    let raw =
        Raw::default().block(Block::new(b'3', "node").device(1, 5).mode(0o4666)).block(Block::new(b'4', "disk").device(8, 0).mode(0o666));
    let tar = [tar, raw.end()].concat();
    for rung in Rung::SEPARATE {
        let lab = Lab::new();
        let project = crate::hostile::rungs::project(
            &lab,
            "steps = [{ run = \"head -c 1 /node >/dev/null 2>&1 && echo opened; head -c 1 /disk >/dev/null 2>&1 && echo opened; echo end\" }]",
        );
        std::fs::write(project.join("base.tar"), &tar).unwrap();
        let ran = rung.build(&lab, &project, &[]);
        assert!(!said(&ran).contains(&"opened"), "{rung:?}: {}", ran.err);
        assert!(matches!(ran.code, Some(0 | 3)), "{rung:?}: {ran:#?}");
    }
}

#[test]
fn what_a_step_starts_ends_with_it() {
    for rung in Rung::ALL {
        let mark = crate::processes::mark();
        // Out of its session, with all signals ignored, of many generations.
        let script = format!(
            "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'trap \"\" TERM HUP INT; (sleep {mark} &); (setsid sleep {mark} &); sleep {mark}' &) 2>/dev/null; done; \
             (sh -c 'while :; do sleep {mark} & sleep 0.02; done' &); sleep 0.2; echo end"
        );
        let script = script.replace("setsid", "busybox setsid");
        let (ran, _lab) = attack(rung, &script, "");
        assert_eq!((ran.code, said(&ran)), (Some(0), vec!["end"]), "{rung:?}: {}", ran.err);
        assert_eq!(crate::processes::with_argument(&mark), Vec::<String>::new(), "{rung:?}");
    }
}

#[test]
fn the_store_and_the_builder_are_nowhere_in_a_step() {
    const MARK: &str = "mark-of-the-store";
    for rung in Rung::ALL {
        let (ran, lab) = attack(rung, "echo made", "");
        assert_eq!((ran.code, said(&ran)), (Some(0), vec!["made"]), "{rung:?}: {}", ran.err);
        // In the store itself and in each directory that it keeps things in: whichever of them is anywhere in a step is found.
        let all = walkdir::WalkDir::new(lab.store()).max_depth(1).into_iter().flatten();
        let directories: Vec<_> = all.filter(|one| one.file_type().is_dir()).collect();
        assert!(directories.len() > 3, "{directories:?}");
        directories.iter().for_each(|directory| std::fs::write(directory.path().join(MARK), "").unwrap());
        let script = "cat /proc/self/mountinfo 2>/dev/null || true; echo > /tmp/own-mark-of-the-step; \
                      busybox find / -name '*mark-of-the-st*' 2>/dev/null || true; \
                      for f in /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/fd/*; do \
                        busybox find $f/ -maxdepth 3 -name '*mark-of-the-st*'; ls $f/../../../../../../; done 2>/dev/null | sort -u; echo end";
        let step = format!("[[stages.app.steps]]\nrun = '''\n{script}\n'''\n");
        let project = crate::hostile::rungs::project(&lab, &step);
        let ran = rung.build(&lab, &project, &[]);
        assert_eq!((ran.code, said(&ran).last()), (Some(0), Some(&"end")), "{rung:?}: {}", ran.err);
        assert!(said(&ran).contains(&"/tmp/own-mark-of-the-step"), "{rung:?}: the search finds what is there: {}", ran.err);
        let here = lab.path("").file_name().unwrap().to_string_lossy().into_owned();
        for line in said(&ran) {
            assert!(!line.contains(&here) && !line.contains(MARK) && !line.contains(CANARY), "{rung:?}: {line}");
        }
    }
}

#[test]
fn without_a_rung_no_command_is_run() {
    let lab = Lab::new();
    let project = crate::hostile::rungs::project(&lab, "steps = [{ run = \"echo ran\" }]");
    let said = lab.fail(2, &project, &["--isolation", "none"]);
    assert!(!said.contains(" | ran"), "{said}");
    let project = crate::hostile::rungs::project(&lab, "steps = [{ mkdir = \"/made\" }]");
    lab.build(&project, &["--isolation", "none"]);
}
