//! What others write, on our screen: a terminal is told nothing by it but text and colours.

use crate::hostile::rungs::{Rung, project, said};
use crate::lab::{Lab, Ran};

/// A title, the clipboard, a cleared screen, hidden text, a bell, text from right to left, a line over another.
const ATTACK: &str =
    r"printf '\033]0;title\007\033]52;c;b3duZWQ=\033\\\033[2J\033[1;1H\033[8mhidden\033[0m\007\342\200\256over\rtext\n\033[31mred\n'";

/// No control characters but line ends and what colours need.
fn assert_harmless(text: &str) {
    let without_colours = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap().replace_all(text, "").into_owned();
    for character in without_colours.chars() {
        assert!((!character.is_control() || character == '\n' || character == '\t') && character != '\u{202e}', "{text:?}");
    }
    assert!(!text.contains("\x1b[8m"), "{text:?}");
}

#[test]
fn output_of_commands_moves_no_cursor_and_sets_no_title() {
    for end in ["true", "exit 3"] {
        let lab = Lab::new();
        let project = project(&lab, &format!("[[stages.app.steps]]\nrun = '''\n{ATTACK}\n{end}\n'''"));
        let ran = Rung::Root.build(&lab, &project, &[]);
        assert_eq!(ran.code, Some(if end == "true" { 0 } else { 1 }), "{ran:#?}");
        assert_harmless(&ran.err);
        // (The last of what was written over each other on one line.)
        assert!(said(&ran).contains(&"text"), "{}", ran.err);
        // Colours end with their line.
        let red = ran.err.lines().find(|line| line.contains("red") && line.starts_with('#')).unwrap();
        assert!(red.ends_with("\x1b[0m"), "{red:?}");
    }
}

/// A terminal of its own for the program, by util-linux' `script`; what arrived there.
#[test]
fn on_a_terminal_too() {
    let lab = Lab::new();
    let project = project(&lab, &format!("[[stages.app.steps]]\nrun = '''\n{ATTACK}\nexit 3\n'''"));
    let program = crate::lab::PROGRAM;
    let log = lab.path("typescript");
    let command = format!("{program} build {} --progress tty", project.display());
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &command]).arg(&log).env_clear().envs(lab.environment()).env("TERM", "xterm");
    script.current_dir(lab.path("")).stdin(std::process::Stdio::null());
    let ran = Ran::of(&mut script);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let seen = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    assert!(seen.contains("text"), "{seen:?}");
    for attack in ["\x1b]", "\x1b[8m", "\x1b[2J", "\x1b[1;1H", "\u{202e}", "\x07"] {
        assert!(!seen.contains(attack), "{attack:?} in {seen:?}");
    }
}

#[test]
fn events_are_one_object_a_line_whatever_is_in_them() {
    let lab = Lab::new();
    let project = project(&lab, &format!("[[stages.app.steps]]\nrun = '''\n{ATTACK}\n'''"));
    let ran = lab.run(&["build", project.to_str().unwrap(), "--progress", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    for line in ran.err.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["version"], 1, "{line}");
    }
    assert!(!ran.err.contains('\x1b'), "{}", ran.err);
}

#[test]
fn lines_without_end_are_shown_in_pieces_and_take_no_memory() {
    let lab = Lab::new();
    // 64 MiB on one line.
    let project =
        project(&lab, "steps = [{ run = \"dd if=/dev/zero bs=1048576 count=64 2>/dev/null | tr '\\\\000' x; echo; printf end\" }]");
    let (peak_kib, ran) = crate::hostile::sizes::measured(&lab, &project);
    assert_eq!(ran.code, Some(0), "{}", &ran.err[..1000.min(ran.err.len())]);
    assert_eq!(said(&ran).last(), Some(&"end"));
    assert!(said(&ran).iter().all(|line| line.len() <= 256 << 10));
    assert!(peak_kib > 0 && peak_kib < 128 << 10, "the build took {} MiB", peak_kib >> 10);
}

#[test]
fn what_a_spec_says_is_shown_harmless_too() {
    let lab = Lab::new();
    let project = project(
        &lab,
        "[[stages.app.steps]]\nrun = \"true # \\u001b]0;title\\u0007 \\u202e\"\n[[stages.app.steps]]\nrun = \"false # \\u001b[2J\"",
    );
    let ran = Rung::Root.build(&lab, &project, &[]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_harmless(&ran.err);
}
