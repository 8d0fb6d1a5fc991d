//! What comes of `${…}`: by variable, by form, by what is known of it.

use crate::diagnostic::{SourceMap, render_plain};
use crate::frontend::dockerfile::*;
use crate::spec::{Change, to_toml};

/// What stands as `label` in the image, or the first thing that is wrong.
fn label(before: &str, value: &str) -> Result<String, String> {
    let text = format!("FROM scratch\n{before}\nLABEL label={value}");
    let mut map = SourceMap::new();
    let parsed = parse(map.add("Dockerfile", text.as_str()), &text, &Options::default());
    let Some(spec) = parsed.value else { return Err(render_plain(&map, &parsed.diagnostics)) };
    let image = spec.images.values().next().unwrap();
    let toml = to_toml(&spec);
    match &image.labels["label"].value {
        Change::Set(template) => match template.as_literal() {
            Some(literal) => Ok(literal.to_owned()),
            None => {
                Ok(toml.lines().find_map(|line| line.strip_prefix("labels = { label = \"")).unwrap().trim_end_matches("\" }").to_owned())
            }
        },
        Change::Clear => Err("cleared".to_owned()),
    }
}

#[test]
fn what_is_known_is_worked_out() {
    let env = "ENV A=one.two.three E= P=a/b/c";
    for (value, expected) in [
        ("$A", "one.two.three"),
        ("x${A}y", "xone.two.threey"),
        ("${A:-w}", "one.two.three"),
        ("${E:-w}", "w"),
        ("${E-w}", ""),
        ("${U-w}", "w"),
        ("${U:-${A}}", "one.two.three"),
        ("${A:+w}", "w"),
        ("${E:+w}", ""),
        ("${E+w}", "w"),
        ("${U+w}", ""),
        ("${A:?no}", "one.two.three"),
        ("${A#*.}", "two.three"),
        ("${A##*.}", "three"),
        ("${A%.*}", "one.two"),
        ("${A%%.*}", "one"),
        ("${A/o/0}", "0ne.two.three"),
        ("${A//o/0}", "0ne.tw0.three"),
        ("${P//\\//-}", "a-b-c"),
        ("${P#a\\/}", "b/c"),
        ("${A#\\*}", "one.two.three"),
        ("'$A'", "$A"),
        ("\"$A\"", "one.two.three"),
        ("\\$A", "$A"),
        ("\"\\$A\"", "$A"),
        ("\"a\\b\"", "a\\b"),
        ("a\\b", "ab"),
        ("$", "$"),
        ("$$", ""),
        ("$1x", "x"),
        ("\"a b\"'c d'", "a bc d"),
    ] {
        assert_eq!(label(env, value).as_deref(), Ok(expected), "{value}");
    }
}

#[test]
fn what_is_wrong_is_refused() {
    for (value, expected) in [
        ("${}", "expected the name of a variable"),
        ("${A", "does not end"),
        ("${A:x}", "means nothing after the name"),
        ("${A!}", "means nothing after the name"),
        ("${A#\\x}", "means nothing in a pattern"),
        ("${U?gone}", "`U` is needed: gone"),
        ("${U:?}", "`U` is needed: it is not set"),
        ("\"a", "a double quote is not closed"),
        ("'a", "a single quote is not closed"),
    ] {
        let found = label("ENV A=a", value).unwrap_err();
        assert!(found.contains(expected), "{value}: {found}");
    }
}

#[test]
fn what_the_caller_says_stays_a_reference() {
    for (value, expected) in [
        ("$D", "${args.D}"),
        ("${D:-w}", "${args.D:-w}"),
        ("${D-w}", "${args.D}"),
        ("${D+w}", "w"),
        ("${D:+w}", "${args.D:+w}"),
        ("${D%.*}", "${args.D%.*}"),
        ("${O:-w}", "${args.O:-w}"),
        ("${O:+w}", "${args.O:+w}"),
        ("${O#w}", "${args.O+${args.O#w}}"),
        ("${O:?w}", "${args.O:?w}"),
        ("${M:-w}", "${args.M:-m${args.D}${args.M+w}}"),
    ] {
        let found = label("ARG D=d\nARG O\nARG M=m$D", value).map(|found| found.replace('\'', ""));
        // What is always something needs no word of its own.
        let found = found.map(|found| found.replace("${args.M-m${args.D}}${args.M+w}", "m${args.D}${args.M+w}"));
        assert_eq!(found.as_deref(), Ok(expected), "{value}");
    }
}

#[test]
fn the_last_of_arg_and_env_counts() {
    assert_eq!(label("ARG A=arg\nENV A=env", "$A").as_deref(), Ok("env"));
    assert_eq!(label("ENV A=env\nARG A=arg", "$A").as_deref(), Ok("${args.A}"));
    assert_eq!(label("ENV A=1\nENV B=$A A=2 C=$A\nENV D=$A", "$A$B$C$D").as_deref(), Ok("2112"));
}

#[test]
fn a_child_stage_has_the_environment_of_the_image_below_and_the_arguments_behind_it() {
    let text = "FROM scratch AS a\nENV A=env\nARG A=arg B=b\nFROM a\nLABEL label=$A$B";
    let mut map = SourceMap::new();
    let parsed = parse(map.add("Dockerfile", text), text, &Options::default());
    assert!(to_toml(&parsed.value.unwrap()).contains("label = \"env${args.B}\""));
}
