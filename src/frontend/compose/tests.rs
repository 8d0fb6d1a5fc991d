//! What no case as data can say: any text is read or refused, and what stands beside the spec.

use proptest::prelude::*;

use super::*;
use crate::diagnostic::{SourceMap, render_plain};

/// Files in memory.
struct Memory {
    map: SourceMap,
    texts: BTreeMap<String, String>,
}

impl Files for Memory {
    fn read(&mut self, path: &str) -> Result<Option<(SourceId, String)>, String> {
        if path.ends_with("unreadable") {
            return Err("permission denied".to_owned());
        }
        Ok(self.texts.get(path).map(|text| (self.map.add(path, text.as_str()), text.clone())))
    }

    fn repository(&mut self, address: &str, _: &RepositoryKeys) -> Result<Option<String>, String> {
        match crate::frontend::GitAddress::parse(address) {
            Ok(None) => Ok(None),
            Ok(Some(_)) => Err("nothing is fetched here".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn add(&mut self, name: &str, text: &str) -> SourceId {
        self.map.add(name, text)
    }
}

fn read(text: &str, others: &[(&str, &str)]) -> (Diagnosed<Compose>, String) {
    let texts = others.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let mut files = Memory { map: SourceMap::new(), texts };
    let source = files.map.add("compose.yaml", text);
    let parsed = parse(source, text, &Options::default(), &mut files);
    let rendered = render_plain(&files.map, &parsed.diagnostics);
    (parsed, rendered)
}

const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM scratch\nARG VERSION\nARG PYTHON\nLABEL a=$VERSION$PYTHON\n");

#[test]
fn the_first_example_of_a_page_has_that_mistake_and_the_last_has_none() {
    for code in CODES {
        let page = crate::diagnostic::page(code).unwrap();
        let (language, start) = if *code == "dotenv-syntax" { (".env", "```sh\n") } else { ("compose.yaml", "```yaml\n") };
        let mut examples = page.split(start).skip(1).map(|rest| rest.split("```").next().unwrap());
        let (wrong, right) = (examples.next().unwrap(), examples.last().unwrap());
        let of = |example: &str| {
            let others = [DOCKERFILE, ("web/Dockerfile", DOCKERFILE.1), (language, example)];
            let (parsed, rendered) = if language == ".env" { read("services: {web: {build: .}}", &others) } else { read(example, &others) };
            // What is said where no base declares an argument counts.
            let offered = parsed.value.iter().flat_map(|compose| compose.offered.values());
            let codes: BTreeSet<&str> = parsed.diagnostics.iter().chain(offered).map(|diagnostic| diagnostic.code.0).collect();
            (codes, rendered)
        };
        let (found, rendered) = of(wrong);
        assert!(found == BTreeSet::from([*code]), "{code}\n{rendered}");
        assert_eq!(of(right).1, "", "{code}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_at_the_place_that_names_it() {
    let (parsed, rendered) = read("services:\n  web:\n    build: {context: ., dockerfile: unreadable}\n", &[]);
    assert!(parsed.value.is_none());
    assert!(rendered.contains("cannot read `unreadable`: permission denied") && rendered.contains("compose.yaml:3:37"), "{rendered}");
}

#[test]
fn services_that_share_a_context_have_the_default_one() {
    let text = "services:\n  a: {build: app}\n  b: {build: ./app/}\n";
    let spec = read(text, &[("app/Dockerfile", "FROM scratch\nCOPY a /\n")]).0.value.unwrap().spec;
    assert_eq!(spec.context.map(|context| context.value).as_deref(), Some("app"));
    assert!(spec.contexts.is_empty());
}

/// A file with most of what is read, to be spoiled.
const WHOLE: &str = "x-build: &build\n  context: .\n  args: &args {A: 1, B: \"${X:-${Y-z}}\"}\nservices:\n  web:\n    image: 'r.example.com/web:${TAG:-1}'\n    \
build:\n      <<: [*build]\n      args: [A=1, B, 'C=$$x']\n      target: run\n      platforms: [linux/amd64]\n      labels: {a: 1.0, b: }\n      secrets: [s, {source: \
s, target: t}]\n      ssh: [default]\n      additional_contexts: {c: ./d, e: \"service:db\", f: oci-layout://g:h}\n      dockerfile_inline: |\n        FROM c AS run\n        \
RUN --mount=type=secret,id=s a\n  db:\n    extends: {service: other, file: o.yaml}\n    profiles: [p]\n  w: {extends: web, build: {tags: [x]}}\nsecrets: {s: {file: \
./s}, t: {environment: T}}\n";

/// Pieces that mean something somewhere.
const PIECES: [&str; 40] = [
    "\n",
    " ",
    "  ",
    "\t",
    ":",
    ": ",
    "- ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "&a ",
    "*a",
    "!t ",
    "|",
    ">-",
    "'",
    "\"",
    "%",
    "---\n",
    "...\n",
    "<<: *a",
    "$",
    "${",
    "$$",
    "}",
    ":-",
    "build",
    "services:",
    "extends: web",
    "~",
    "null",
    "0x1",
    "\r",
    "\u{feff}",
    "\u{0}",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn a_spoiled_file_is_read_or_refused(cuts in prop::collection::vec((0..WHOLE.len(), 0..40_usize, 0..30_usize), 1..6)) {
        let mut text = WHOLE.to_owned();
        for (at, piece, length) in cuts {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let end = (at + length).min(text.len());
            let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
            text.replace_range(at..end, PIECES[piece]);
        }
        let (parsed, _) = read(&text, &[DOCKERFILE, ("o.yaml", WHOLE), (".env", &text)]);
        prop_assert!(parsed.value.is_some() || parsed.has_errors());
    }

    #[test]
    fn any_pieces_are_read_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40)) {
        let text = pieces.concat();
        let (parsed, _) = read(&text, &[(".env", &text)]);
        prop_assert!(parsed.value.is_some() || parsed.has_errors());
    }
}
