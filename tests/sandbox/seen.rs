//! What a step sees, and what it does not.

use lapstrake::sandbox::{Isolation, MountKind, Network, Options, Rung, User};

use crate::lab::{Lab, mount};

#[test]
fn the_environment_is_exactly_what_is_declared() {
    let lab = Lab::new();
    let mut job = lab.job("a", "");
    job.argv = vec!["/bin/env".into()];
    job.env = vec![("B".into(), "2 3".into()), ("A".into(), "1=1".into()), ("EMPTY".into(), "".into())];
    assert_eq!(lab.succeed(&job).out, "B=2 3\nA=1=1\nEMPTY=\n");
}

#[test]
fn without_network_there_is_a_loopback_that_works_and_nothing_else() {
    let lab = Lab::new();
    // What is said lies ready when somebody comes: who asks says nothing, and `nc` ends with what it hears.
    let script = "ls /sys/class/net; ip addr show lo | grep -c 'inet 127.0.0.1'; ip link show lo | head -1; \
                  echo hello > /said; nc -l -p 77 < /said > /dev/null & for i in $(seq 2000); do nc 127.0.0.1 77 < /dev/null 2>/dev/null && break; sleep 0.05; done; ip route | wc -l";
    let out = lab.sh("a", script).out;
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((lines[0], lines[1]), ("lo", "1"));
    assert!(lines[2].contains("UP"), "{out}");
    assert_eq!(lines[3..], ["hello", "0"]);
}

#[test]
fn with_network_the_hosts_devices_are_there() {
    let lab = Lab::new();
    let mut job =
        lab.job("a", "ip link show | grep -c '^[0-9]'; test -s /etc/resolv.conf || test ! -s /etc/resolv.conf; ls /sys/class/net");
    job.network = Network::Host;
    let host = std::fs::read_dir("/sys/class/net").unwrap().filter(|entry| entry.as_ref().unwrap().path().join("ifindex").exists()).count();
    let out = lab.succeed(&job).out;
    assert_eq!(out.lines().next().unwrap(), host.to_string(), "{out}");
}

#[test]
fn the_usual_surroundings() {
    let lab = Lab::new();
    let script = "hostname; umask; cat < /dev/stdin | wc -c; test -t 0 || echo no terminal; readlink /proc/self/fd/0; \
                  grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -c; pwd; id -u; echo $$; cat /proc/sys/kernel/ostype";
    let mut job = lab.job("a", script);
    job.workdir = b"/etc".to_vec();
    let out = lab.succeed(&job).out;
    let expected = "step\n0022\n0\nno terminal\n/dev/null\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n/etc\n0\n2\nLinux\n";
    assert_eq!(out, expected);
}

/// Cores go to a program of the system's where it has one, whatever the limit says.
#[test]
fn nothing_of_a_commands_memory_would_be_in_a_core() {
    for rung in [Rung::UserNamespace, Rung::SingleId] {
        let mut lab = Lab::new();
        lab.isolation = Isolation::open(rung, &Options::default()).unwrap();
        assert_eq!(lab.sh("a", "cat /proc/self/coredump_filter; su user -c 'cat /proc/self/coredump_filter'").out, "00000000\n00000000\n");
    }
}

#[test]
fn devices_work_and_no_others_can_be_made() {
    let lab = Lab::new();
    let script = "head -c 4 /dev/zero | od -An -tx1; echo gone > /dev/null; head -c 8 /dev/urandom | wc -c; ls /dev | sort | tr '\\n' ' '; \
                  test -c /dev/ptmx; (mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk) 2>/dev/null && echo reached a disk || echo no disk; echo err > /dev/stderr";
    let done = lab.sh("a", script);
    assert_eq!(done.out, " 00 00 00 00\n8\nfd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero no disk\n");
    assert_eq!(done.err, "err\n");
}

#[test]
fn no_descriptor_process_or_path_of_the_builder_is_visible() {
    let lab = Lab::new();
    let script = "ls /proc/self/fd | tr '\\n' ' '; echo; ls /proc | grep -E '^[0-9]+$' | sort -n | tr '\\n' ' '; echo; \
                  cat /proc/1/environ 2>&1 | wc -c; tr '\\0' ' ' < /proc/1/cmdline; echo; \
                  ls -l /proc/1/fd /proc/1/cwd /proc/1/root /proc/1/exe 2>&1 | grep -c -i 'permission denied\\|cannot read'; \
                  cat /proc/self/mountinfo";
    let done = lab.sh("a", script);
    let lines: Vec<_> = done.out.lines().collect();
    // The shell, `ls` and its own directory descriptor; process 1, the shell and the pipe's members.
    assert_eq!(lines[0], "0 1 2 3 ", "{}", done.out);
    assert!(lines[1].split_whitespace().count() <= 8, "{}", done.out);
    assert!(lines[1].starts_with("1 2 "), "{}", done.out);
    assert_eq!(lines[3].trim(), "lapstrake");
    assert_ne!(lines[4], "0", "{}", done.out);
    let here = std::fs::canonicalize(lab.path("")).unwrap();
    let here = here.file_name().unwrap().to_string_lossy().into_owned();
    let mounts = &lines[5..];
    assert!(mounts.iter().all(|line| !line.contains(&here)), "paths of the host in {mounts:#?}");
}

#[test]
fn process_1_cannot_be_read_traced_or_written() {
    let lab = Lab::new();
    let script = "for f in exe environ maps mem fd/0 cwd root; do \
                    if cat /proc/1/$f > /tmp/out 2>/dev/null && test -s /tmp/out; then echo read $f; fi; \
                    if (echo x > /proc/1/$f) 2>/dev/null; then echo wrote $f; fi; \
                    if readlink /proc/1/$f 2>/dev/null; then echo followed $f; fi; \
                  done; kill -9 1; kill -TERM 1; sleep 0.1; echo alive";
    let done = lab.sh("a", script);
    assert_eq!(done.out, "alive\n");
}

#[test]
fn the_kernels_settings_cannot_be_changed() {
    let lab = Lab::new();
    let script = "for f in sys/kernel/core_pattern sys/kernel/hostname sys/vm/overcommit_memory sysrq-trigger irq/default_smp_affinity; do \
                    if test -e /proc/$f && (echo 1 > /proc/$f) 2>/dev/null; then echo wrote $f; fi; done; \
                  for f in kcore keys timer_list; do test ! -s /proc/$f || head -c 1 /proc/$f; done; \
                  find /sys/firmware /proc/acpi /proc/scsi -mindepth 1 2>/dev/null | head -3; \
                  (echo x > /sys/kernel/uevent_helper) 2>/dev/null && echo wrote uevent_helper; \
                  mount -t tmpfs x /tmp 2>/dev/null && echo mounted; mount -o remount,rw /proc/sys 2>/dev/null && echo remounted; \
                  umount /proc/sys 2>/dev/null && echo unmounted; echo end";
    assert_eq!(lab.sh("a", script).out, "end\n");
}

#[test]
fn with_network_the_hosts_sys_is_read_only_and_without_what_is_mounted_in_it() {
    let lab = Lab::new();
    let script = "find /sys/fs/cgroup /sys/fs/bpf /sys/kernel/debug /sys/kernel/tracing /sys/kernel/security -mindepth 1 2>/dev/null | head -3; \
                  (echo x > /sys/kernel/uevent_helper) 2>/dev/null && echo wrote; (mkdir /sys/fs/cgroup/x) 2>/dev/null && echo made; \
                  grep ' /sys' /proc/self/mountinfo | grep -v -c ' ro,' || true";
    let mut job = lab.job("a", script);
    job.network = Network::Host;
    assert_eq!(lab.succeed(&job).out, "0\n");
}

#[test]
fn a_namespace_inside_does_not_get_around_what_is_hidden() {
    let lab = Lab::new();
    let script = "unshare -U -r -m -p -f sh -c 'umount /proc/sys 2>/dev/null && echo unmounted; \
                    mount -o remount,rw,bind /proc/sys 2>/dev/null && echo remounted; \
                    mount -t proc proc /tmp 2>/dev/null && echo fresh proc; \
                    (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo wrote; true' 2>/dev/null || true; echo end";
    assert_eq!(lab.sh("a", script).out, "end\n");
}

#[test]
fn capabilities_are_the_usual_set_and_other_users_have_none() {
    let lab = Lab::new();
    let script = "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";
    let usual = "00000000a80425fb";
    let none = "0000000000000000";
    assert_eq!(lab.sh("a", script).out, format!("CapInh:{none} CapPrm:{usual} CapEff:{usual} CapBnd:{usual} CapAmb:{none} "));
    let mut job = lab.job("b", script);
    job.user = User { uid: 1000, gid: 1000, groups: vec![] };
    assert_eq!(lab.succeed(&job).out, format!("CapInh:{none} CapPrm:{none} CapEff:{none} CapBnd:{usual} CapAmb:{none} "));
}

#[test]
fn a_secret_is_readable_by_its_owner_and_in_no_result() {
    let lab = Lab::new();
    let mut job = lab.job("a", "cat /run/secrets/token; stat -c ' %a %u:%g' /run/secrets/token");
    job.user = User { uid: 1000, gid: 1000, groups: vec![44, 45] };
    job.mounts = vec![mount("/run/secrets/token", MountKind::File { bytes: b"hunter2".to_vec(), uid: 1000, gid: 1000, mode: 0o400 })];
    let done = lab.succeed(&job);
    assert_eq!(done.out, "hunter2 400 1000:1000\n");
    let upper = done.finished.upper.directory();
    assert_eq!(crate::lab::names(upper), ["d etc"]);
    assert!(!format!("{job:?}").contains("hunter2"), "a job can be printed");
    let other = lab.sh("b", "test ! -e /run/secrets/token");
    assert!(other.out.is_empty());
}
