//! Whole specs to begin with: what `lapstrake init NAME` writes. They are `specs/stock/*.toml`.

/// A spec to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// What it is asked for by, such as `python-web`.
    pub name: &'static str,
    /// The text of its `lapstrake.toml`; the first line is a comment that says what it is for.
    pub text: &'static str,
}

/// Names each file once; a test compares the list with the folder.
macro_rules! stock {
    ($($name:literal,)*) => {
        &[$(Stock { name: $name, text: include_str!(concat!("../../specs/stock/", $name, ".toml")) },)*]
    };
}

/// Every stock spec, sorted by name.
pub const STOCK: &[Stock] = stock!["multi-image", "python-web", "static-binary", "static-site",];

impl Stock {
    /// What it is for, in one sentence.
    #[must_use]
    pub fn purpose(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_folder_and_each_says_what_it_is_for() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/specs/stock");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<String> = STOCK.iter().map(|stock| format!("{}.toml", stock.name)).collect();
        assert_eq!(listed, files);
        for stock in STOCK {
            assert!(stock.text.starts_with("# ") && stock.purpose().ends_with('.'), "{}", stock.name);
        }
    }
}
