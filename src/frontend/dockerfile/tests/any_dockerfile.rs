//! Any text: random Dockerfiles and mutated ones.

use proptest::prelude::*;

use crate::diagnostic::{SourceMap, render_plain};
use crate::frontend::dockerfile::*;
use crate::spec;

/// What lines are made of.
const PARTS: [&str; 96] = [
    "FROM ",
    "from ",
    "ARG ",
    "ENV ",
    "LABEL ",
    "RUN ",
    "COPY ",
    "ADD ",
    "CMD ",
    "ENTRYPOINT ",
    "SHELL ",
    "USER ",
    "WORKDIR ",
    "EXPOSE ",
    "VOLUME ",
    "STOPSIGNAL ",
    "HEALTHCHECK ",
    "ONBUILD ",
    "MAINTAINER ",
    "\n",
    "\n",
    "\n",
    "\\\n",
    " \\ \n",
    "`\n",
    "# c\n",
    "# escape=`\n",
    "scratch",
    "debian:12",
    "a",
    "b",
    "AS ",
    " AS b",
    "--from=a ",
    "--from=0 ",
    "--platform=$BUILDPLATFORM ",
    "--mount=",
    "type=cache,",
    "type=secret,",
    "target=/x,",
    "target=y",
    "id=i,",
    "from=a,",
    "rw,",
    "size=1m",
    "--chown=a:b ",
    "--chmod=755 ",
    "--chmod=u+x ",
    "--link ",
    "--parents ",
    "--exclude=*.c ",
    "--exclude=!k ",
    "--network=none ",
    "--interval=1s ",
    "--checksum=",
    "A=1",
    "A",
    "B=",
    "=",
    "$A",
    "${A}",
    "${A:-x}",
    "${A-$B}",
    "${A:+$B}",
    "${A#x*}",
    "${B%%\\*}",
    "${A/x/y}",
    "${PATH//:/-}",
    "${TARGETPLATFORM}",
    "$TARGETARCH",
    "${A:?no}",
    "$",
    "${",
    "}",
    "\"",
    "'",
    "\\",
    " ",
    " ",
    "\t",
    "/",
    "/x/",
    ".",
    "..",
    "./",
    "*",
    "é",
    "80",
    "8000-8001/udp",
    "[\"a\", \"b\"]",
    "[\"a\"",
    "<<E",
    "<<-'E'",
    "E\n",
    "https://h/f",
    "NONE",
];

fn lines() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![8 => prop::sample::select(PARTS.to_vec()).prop_map(str::to_owned), 1 => "[ -~é\u{0}-\u{2}]{0,3}"],
        0..40,
    )
    .prop_map(|parts| parts.concat())
}

/// Lines that are instructions, more often than not good ones.
fn instructions() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "x",
        "/x",
        "x/",
        ".",
        "$A",
        "${B}",
        "${A:-w}",
        "${C+s}",
        "${A%.*}",
        "\"q $A\"",
        "'r $A'",
        "a\\ b",
        "../u",
        "/../v",
        "*.c",
        "${D#p}",
        "$PATH",
        "-",
        "${TARGETARCH}",
        "é",
        "${A:?m}",
        "${B:-${A}}",
        "",
        "${C//x/$A}",
        "%",
        "a:b",
        "1:2",
    ]);
    let name = prop::sample::select(vec!["A", "B", "C", "D", "PATH", "TARGETARCH", "HTTP_PROXY"]);
    let line = (0..26u8, name, word.clone(), word).prop_map(|(kind, name, first, second)| match kind {
        0 => format!("ARG {name}"),
        1 => format!("ARG {name}={first}"),
        2 => format!("ENV {name}={first} E={second}"),
        3 => format!("ENV {name} {first}"),
        4 => format!("RUN echo {first}"),
        5 => format!("RUN --mount=type=cache,target=/{name},id={first} true"),
        6 => format!("COPY {first} {second}"),
        7 => format!("COPY --from=0 {first} {second}"),
        8 => format!("ADD {first} {second}"),
        9 => format!("WORKDIR {first}"),
        10 => format!("USER {first}"),
        11 => format!("LABEL {name}={first}"),
        12 => format!("EXPOSE {first} 80"),
        13 => format!("VOLUME /{first}"),
        14 => format!("CMD {first}"),
        15 => "ENTRYPOINT [\"a\"]".to_owned(),
        16 => format!("FROM debian:{first}"),
        17 => "FROM 0base AS base".to_owned(),
        18 => format!("FROM base AS s{name}").to_lowercase(),
        19 => "FROM scratch AS base".to_owned(),
        20 => format!("ONBUILD COPY {first} {second}"),
        21 => format!("COPY <<E {first}\n{second} $A \"\\$x\"\nE"),
        22 => format!("RUN <<E\n#!{first}\nE"),
        23 => format!("ADD https://h/{first} {second}"),
        24 => format!("COPY --chmod={first} --exclude={second} --parents a/./b c"),
        _ => format!("SHELL [\"{name}\"]"),
    });
    prop::collection::vec(line, 0..12).prop_map(|lines| format!("ARG A=1\nARG B=x$A\nFROM debian:12 AS base\n{}", lines.join("\n")))
}

/// A good Dockerfile with pieces taken out, doubled or put elsewhere.
fn mutated() -> impl Strategy<Value = String> {
    let seeds = ["common", "heredocs", "arguments", "add", "mounts", "onbuild", "copying", "commands"];
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/frontend");
    let texts: Vec<String> = seeds.iter().map(|seed| std::fs::read_to_string(format!("{root}/{seed}/Dockerfile")).unwrap()).collect();
    let change = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0..4u8,
        prop::sample::select(PARTS.to_vec()),
    );
    (prop::sample::select(texts), prop::collection::vec(change, 1..6)).prop_map(|(text, changes)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (from, to, at, kind, part) in changes {
            if characters.is_empty() {
                break;
            }
            let (from, to) = (from.index(characters.len()), to.index(characters.len()));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 40));
            let at = at.index(characters.len());
            match kind {
                0 => drop(characters.drain(from..to)),
                1 => {
                    let piece: Vec<char> = characters[from..to].to_vec();
                    characters.splice(at..at, piece);
                }
                2 => drop(characters.splice(at..at, part.chars())),
                _ => characters.swap(from, to),
            }
        }
        characters.into_iter().collect()
    })
}

/// What holds for every text: places lie in it, there is a spec or an error, and the spec is the same from TOML.
fn check(text: &str) -> Result<(), TestCaseError> {
    let mut map = SourceMap::new();
    let source = map.add("Dockerfile", text);
    let parsed = parse(source, text, &Options::default());
    for label in parsed.diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        let inside = label.span.source == SourceId::NONE || text.get(label.span.start as usize..label.span.end as usize).is_some();
        prop_assert!(inside, "{:?}\n{text}", parsed.diagnostics);
    }
    prop_assert_eq!(parsed.value.is_none(), parsed.has_errors(), "{}", text);
    if let Some(first) = parsed.value {
        let toml = spec::to_toml(&first);
        let again = spec::parse(map.add("lapstrake.toml", toml.as_str()), &toml);
        prop_assert!(again.value.as_ref() == Some(&first), "{text}\n{toml}\n{}", render_plain(&map, &again.diagnostics));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_lines_are_a_spec_or_have_an_error(text in lines()) {
        check(&text)?;
    }

    #[test]
    fn any_instructions_are_a_spec_or_have_an_error(text in instructions()) {
        check(&text)?;
    }

    #[test]
    fn a_changed_dockerfile_is_a_spec_or_has_an_error(text in mutated()) {
        check(&text)?;
    }
}
