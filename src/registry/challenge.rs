//! `WWW-Authenticate` headers → challenges.
//!
//! The text comes from outside and the result decides where credentials go, so what is not exactly of the grammar ends the reading:
//! what was read before it counts, nothing is guessed.
//! Source of truth: RFC 9110, section 11.6.1; the distribution project's "Token Authentication Specification".

/// The longest header that is read.
const LIMIT_BYTES: usize = 16 << 10;

/// How a registry wants us to say who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server's address, as written.
        realm: String,
        /// The name the token server knows the registry by.
        service: Option<String>,
        /// Scopes that the registry wants, separated by spaces.
        scope: Option<String>,
    },
}

/// Reads one header. Schemes that are not known, and `Bearer` without a realm, are passed over.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    if header.len() > LIMIT_BYTES {
        return challenges;
    }
    let mut rest = Cursor { rest: header };
    loop {
        rest.skip_list_separators();
        let Some(scheme) = rest.token() else { return challenges };
        let Some(parameters) = rest.parameters() else { return challenges };
        let parameter = |name: &str| parameters.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameter("realm")
        {
            challenges.push(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") });
        }
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !accept(byte)).unwrap_or(self.rest.len());
        // Only ASCII is accepted, so the end is at a character's border.
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn spaces(&mut self) -> bool {
        !self.take_while(|byte| matches!(byte, b' ' | b'\t')).is_empty()
    }

    fn skip_list_separators(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b','));
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        let token = self.take_while(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
        });
        (!token.is_empty()).then_some(token)
    }

    /// The parameters of one challenge, up to the next scheme or the end; `None` where the grammar is broken or one comes twice.
    fn parameters(&mut self) -> Option<Vec<(&'a str, String)>> {
        let mut parameters: Vec<(&str, String)> = Vec::new();
        if !self.spaces() {
            return (self.rest.is_empty() || self.rest.starts_with(',')).then_some(parameters);
        }
        loop {
            let before = self.rest;
            self.skip_list_separators();
            let Some(name) = self.token() else {
                return self.rest.is_empty().then_some(parameters);
            };
            self.spaces();
            if !self.eat('=') {
                // Not a parameter but the next scheme.
                self.rest = before;
                return Some(parameters);
            }
            self.spaces();
            let value = if self.eat('"') { self.quoted()? } else { self.token()?.to_owned() };
            if parameters.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
                return None;
            }
            parameters.push((name, value));
            self.spaces();
            if !(self.rest.is_empty() || self.rest.starts_with(',')) {
                return None;
            }
        }
    }

    /// The rest of a quoted string whose first quote is behind us.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                character if character.is_control() => return None,
                character => value.push(character),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned), scope: scope.map(str::to_owned) }
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/python:pull""#,
                vec![bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:library/python:pull"))],
            ),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            ("basic realm=x , BEARER Realm=\"r\" , Service = s", vec![Challenge::Basic, bearer("r", Some("s"), None)]),
            (r#"Negotiate, Bearer realm="a,b \"c\"""#, vec![bearer("a,b \"c\"", None, None)]),
            (r#"Bearer realm="r",error="insufficient_scope",,scope="a b""#, vec![bearer("r", None, Some("a b"))]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_not_of_the_grammar_is_not_guessed() {
        for header in [
            "",
            "Bearer",
            "Bearer service=x",
            "Bearer realm",
            r#"Bearer realm="https://a"#,
            r#"Bearer realm="https://a"x"#,
            r#"Bearer realm="https://a",realm="https://b""#,
            r#"Bearer realm="https://a" service="b""#,
            "Bearer realm=\"a\nb\"",
            r#"Bearer realm=https://a"#,
            "Bearer=x",
        ] {
            assert_eq!(parse(header), Vec::new(), "{header}");
        }
        assert_eq!(parse(&format!("Basic realm=\"{}\"", "x".repeat(LIMIT_BYTES))), Vec::new());
    }

    proptest! {
        #[test]
        fn no_header_panics(header in "[ -~]{0,80}|.{0,60}|(Bearer|Basic|realm|=|\"|\\\\|,| |x){0,20}") {
            parse(&header);
        }

        #[test]
        fn any_quoted_value_comes_back(realm in "[^\\p{Cc}]{0,40}", service in "[a-z.]{1,10}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{quoted}\",service={service}");
            prop_assert_eq!(parse(&header), vec![bearer(&realm, Some(&service), None)]);
        }
    }
}
