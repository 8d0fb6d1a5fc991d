//! Any bytes: lines that make a tree of directories and links (`NAME`, or `NAME -> TARGET`), the last of them a path to be resolved in it.
//! Where it leads is inside, and no link is left on the way.

use lapstrake::tree::{EditError, Editor, LastLink, Metadata, Node, Symlink, Tree, TreePath, Xattrs};

const METADATA: Metadata = Metadata { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Xattrs::new() };

/// More would only be more of the same.
const MOST_LINES: usize = 64;

pub(crate) fn check(bytes: &[u8]) {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').take(MOST_LINES).collect();
    let Some(asked) = lines.pop() else { return };
    let mut editor = Editor::new(&Tree::empty(METADATA));
    for line in lines {
        let arrow = line.windows(4).position(|window| window == b" -> ");
        match arrow {
            None => drop(editor.make_directories(line, &METADATA)),
            Some(at) => {
                let Ok(path) = editor.resolve(&line[..at], LastLink::Keep) else { continue };
                let link = Node::Symlink(Symlink { metadata: METADATA, target: line[at + 4..].into() });
                drop(editor.put(&path, link));
            }
        }
    }
    let tree = editor.finish();
    for last in [LastLink::Follow, LastLink::Keep] {
        let Ok(resolved) = tree.resolve(asked, last) else { continue };
        assert!(resolved.names().all(|name| !matches!(name.as_bytes(), b"" | b"." | b"..")), "{resolved}");
        assert_eq!(tree.resolve(resolved.as_bytes(), last).ok().as_ref(), Some(&resolved));
        let mut above = if last == LastLink::Keep { resolved.parent() } else { Some(resolved.clone()) };
        while let Some(path) = above {
            assert!(!matches!(tree.get(&path), Some(Node::Symlink(_))), "{resolved} leads through {path}");
            above = path.parent();
        }
    }
    let mut editor = Editor::new(&tree);
    match editor.make_directories(asked, &METADATA) {
        Ok(made) => assert!(made == TreePath::root() || matches!(editor.finish().get(&made), Some(Node::Directory(_))), "{made}"),
        Err(
            EditError::NotADirectory { .. }
            | EditError::Missing { .. }
            | EditError::LinkToDirectory { .. }
            | EditError::Climbs { .. }
            | EditError::TooManyLinks { .. }
            | EditError::TooDeep { .. }
            | EditError::Path(_),
        ) => {}
    }
}
