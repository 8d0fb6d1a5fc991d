//! Any text: a Compose file, its Dockerfile and its `.env` at once; something comes of it, or an error.

use lapstrake::diagnostic::{SourceId, SourceMap};
use lapstrake::frontend::compose::{Files, Options, RepositoryKeys, parse};

/// Every file holds the same text.
struct Same<'t>(SourceMap, &'t str);

impl Files for Same<'_> {
    fn read(&mut self, path: &str) -> Result<Option<(SourceId, String)>, String> {
        Ok(Some((self.0.add(path, self.1), self.1.to_owned())))
    }

    fn repository(&mut self, address: &str, _: &RepositoryKeys) -> Result<Option<String>, String> {
        match address.len() % 3 {
            0 => Ok(None),
            1 => Ok(Some("/repository".to_owned())),
            _ => Err("it is not there".to_owned()),
        }
    }

    fn add(&mut self, name: &str, text: &str) -> SourceId {
        self.0.add(name, text)
    }
}

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut files = Same(SourceMap::new(), text);
    let source = files.0.add("compose.yaml", text);
    let parsed = parse(source, text, &Options::default(), &mut files);
    assert!(parsed.value.is_some() || parsed.has_errors());
}
