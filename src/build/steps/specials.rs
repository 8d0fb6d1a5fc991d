//! What a root has that cannot say on disk what it is or whom it belongs to, where ids are a model: trees in, a list for the sandbox out.

use std::collections::BTreeMap;

use crate::build::Failure;
use crate::build::site::Site;
use crate::build::state::State;
use crate::plan::{MountKind, Run};
use crate::sandbox::{Bytes, SpecialBelow, SpecialNode};
use crate::tree::{LastLink, Node, SpecialKind, Tree, TreePath};

/// All devices of a step's root and of what is mounted into it, and the links and pipes that do not belong to 0:0.
pub(super) fn of_step(site: &Site<'_>, run: &Run, tree: &Tree, shown: &BTreeMap<String, State>) -> Result<Vec<SpecialBelow>, Failure> {
    let mut found = of_tree(tree, &TreePath::root());
    for mount in &run.mounts {
        if let MountKind::From { source: _, path, access: _ } = &mount.kind
            && let Some(state) = shown.get(&mount.at)
        {
            let other = site.layers.tree(state)?;
            let part = other.resolve(path.as_bytes(), LastLink::Follow).ok().and_then(|part| other.subtree(&part));
            let at = tree.resolve(mount.at.as_bytes(), LastLink::Follow);
            if let (Some(part), Ok(at)) = (part, at) {
                found.extend(of_tree(&part, &at));
            }
        }
    }
    Ok(found)
}

fn of_tree(tree: &Tree, at: &TreePath) -> Vec<SpecialBelow> {
    let special = |path: &TreePath, metadata: &crate::tree::Metadata, node: Option<SpecialNode>| SpecialBelow {
        path: Bytes(at.join_path(path).as_bytes().to_vec()),
        uid: metadata.uid,
        gid: metadata.gid,
        node,
    };
    let mut found = Vec::new();
    for (path, node) in tree.walk() {
        let (metadata, node) = match &node {
            Node::Directory(_) | Node::File(_) => continue,
            Node::Symlink(symlink) => (&symlink.metadata, None),
            Node::Special(special) => {
                let node = match special.kind {
                    SpecialKind::Character { major, minor } => Some(SpecialNode::Character { major, minor }),
                    SpecialKind::Block { major, minor } => Some(SpecialNode::Block { major, minor }),
                    SpecialKind::Fifo => None,
                };
                (&special.metadata, node)
            }
        };
        if node.is_some() || (metadata.uid, metadata.gid) != (0, 0) {
            found.push(special(&path, metadata, node));
        }
    }
    found
}
