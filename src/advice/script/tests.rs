use proptest::prelude::*;

use super::*;

/// Each command on a line, `?` for what is not known, words with blanks in brackets.
fn read(script: &str) -> Vec<String> {
    let word = |text: &str| {
        let text = text.replace(UNKNOWN, "?");
        if text.is_empty() || text.contains(char::is_whitespace) { format!("[{text}]") } else { text }
    };
    let line = |command: Command| {
        let assignments = command.assignments.iter().map(|(name, value)| format!("{name}={}", word(value)));
        assignments.chain(command.words.iter().map(|word_| word(&word_.text))).collect::<Vec<_>>().join(" ")
    };
    commands(&Template::literal(script)).into_iter().map(line).collect()
}

#[test]
fn lists_pipes_and_lines_are_commands_of_their_own() {
    assert_eq!(read("a 1 && b 2||c;d|e&f\ng \\\n  h"), ["a 1", "b 2", "c", "d", "e", "f", "g h"]);
}

#[test]
fn quotes_and_escapes_make_words() {
    assert_eq!(read(r#"a 'b c' "d \"e\" $f" g\ h i"j"'k' '' "a;b&&c""#), [r#"a [b c] [d "e" ?] [g h] ijk [] a;b&&c"#]);
}

#[test]
fn comments_are_no_words_and_a_hash_inside_a_word_is_one() {
    assert_eq!(read("a # b; c\nd#e f#\n#g\nh"), ["a", "d#e f#", "h"]);
}

#[test]
fn expansions_are_unknown_and_their_commands_are_read() {
    assert_eq!(read("a $b ${c:-\"}\"} $((1 + (2))) x$(d \"$(e)\" ')') `f` $1$@z $"), ["e", "d ? )", "f", "a ? ? ? x? ? ??z $"]);
}

#[test]
fn redirections_and_here_documents_are_no_arguments() {
    assert_eq!(
        read("a >b 2>&1 <c d &>e 3 2>/dev/null\ncat <<EOF >x <<-'E 2'\nrm -rf /\nEOF\n\tno $(no)\n\tE 2\nf <<<word g\nh"),
        ["a d 3", "cat", "f g", "h"]
    );
}

#[test]
fn compound_commands_show_what_they_run() {
    assert_eq!(read("if ! a; then b; elif c; then (d; e) else { f; } fi"), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(read("for x in apt-get update; do a \"$x\"; done; while b; do c; done"), ["a ?", "b", "c"]);
    assert_eq!(read("case \"$x\" in\n apk) a;;\n (b|c) d ;;\n *) e\nesac\nf"), ["a", "d", "e", "f"]);
    assert_eq!(read("f() { a; }; g () ( b )\nf"), ["a", "b", "f"]);
}

#[test]
fn variables_before_a_command_are_not_words() {
    assert_eq!(read("A=1 B='2 3' c D=4\nE=$x"), ["A=1 B=[2 3] c D=4", "E=?"]);
}

#[test]
fn what_a_shell_is_given_is_read_and_prefixes_are_passed() {
    assert_eq!(
        read("bash -euxc 'a && b' && sudo -E env X=1 /usr/bin/c d"),
        ["bash -euxc [a && b]", "a", "b", "sudo -E env X=1 /usr/bin/c d"]
    );
    let last = commands(&Template::literal("sudo -E env X=1 /usr/bin/c d")).pop().unwrap();
    assert_eq!(last.program().map(|(name, rest)| (name, rest.len())), Some(("c", 1)));
    assert_eq!(last.program_word().map(|word| word.raw.as_str()), Some("/usr/bin/c"));
}

#[test]
fn a_word_knows_which_of_its_likes_it_is() {
    let words: Vec<usize> = commands(&Template::literal("a b; a b a")).iter().flat_map(|one| &one.words).map(|word| word.before).collect();
    assert_eq!(words, [0, 0, 1, 1, 2]);
}

#[test]
fn what_is_not_closed_ends_with_the_text() {
    for script in ["a 'b", "a \"b", "a $(b", "a ${b", "a `b", "a <<E\nb", "a \\", "(a", "a)", "case x", "$((", "$'", "a >", "\u{e9}\\"] {
        let _ = read(script);
    }
    assert_eq!(read("a 'b c"), ["a [b c]"]);
    assert_eq!(read(&"$(".repeat(10_000)), vec!["?"; DEEPEST + 1]);
    assert_eq!(read(&"\"$(".repeat(10_000)).len(), DEEPEST + 1);
    assert_eq!(read(&"(".repeat(10_000)), Vec::<String>::new());
}

proptest! {
    #[test]
    fn no_text_stops_it(script in "[ \\n;&|<>()$`'\"\\\\{}#a-c=-]{0,80}") {
        let _ = read(&script);
    }

    #[test]
    fn plain_words_come_back(words in proptest::collection::vec("[a-z0-9./_-]{1,8}", 1..8)) {
        let words: Vec<String> = ["zz".to_owned()].into_iter().chain(words).collect();
        prop_assert_eq!(read(&words.join(" ")), [words.join(" ")]);
    }
}
