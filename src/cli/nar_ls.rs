//! `drover nar ls`: what is in an archive, as `nix nar ls` lists it.
//!
//! The archive is read once from front to end; memory grows with the number of its entries, not
//! with their contents. Archives are at most 64 folders deep, so walks of the tree may recurse.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path};

use bstr::{BStr, BString, ByteSlice};
use serde_json::{Map, Value, json};

use crate::format::derivation_json;
use crate::format::nar::{self, Contents, Executable, NarError, Visitor};

use super::args::NarLsArgs;
use super::{CliError, output};
use crate::base::error::with_causes;

/// Bytes read at once.
const PIECE: usize = 1 << 16;

/// An entry of an archive.
#[derive(Debug)]
enum Node {
    Folder(BTreeMap<BString, Node>),
    Symlink(BString),
    File { executable: Executable, size: u64, offset: u64 },
}

/// Lists.
///
/// # Errors
/// [`CliError::Input`] if the archive cannot be read, is none, or has no such path.
pub fn run(args: &NarLsArgs) -> Result<(), CliError> {
    let shown = args.nar.display();
    let wrong = |why: String| CliError::Input(format!("cannot list archive `{shown}`: {why}"));
    let file = std::fs::File::open(&args.nar).map_err(|e| wrong(e.to_string()))?;
    let root = read(BufReader::with_capacity(PIECE, file)).map_err(|e| wrong(with_causes(&e)))?;
    let node = find(&root, &args.path)
        .ok_or_else(|| wrong(format!("path `{}` does not exist in it", args.path.display())))?;
    if args.json {
        let deep = if args.recursive { Depth::All } else { Depth::Own };
        return Ok(output::line(&derivation_json::text(&to_json(node, deep)))?);
    }
    let name = args.path.file_name().unwrap_or_default();
    Ok(output::stream(|out| match node {
        Node::Folder(entries) => folder(entries, b".".into(), args, out),
        other => line(other, std::os::unix::ffi::OsStrExt::as_bytes(name).into(), args, out),
    })?)
}

fn read(source: impl Read) -> Result<Node, NarError> {
    let position = Cell::new(0);
    let mut source = Counting { source, position: &position };
    let mut tree = Tree { position: &position, open: Vec::new(), root: None };
    let offset = nar::read_prefix(&mut source, &mut tree)?;
    let trailing = source.read(&mut [0])?;
    match tree.root {
        Some(root) if trailing == 0 => Ok(root),
        _ => Err(NarError::Trailing { offset }),
    }
}

fn find<'n>(root: &'n Node, path: &Path) -> Option<&'n Node> {
    let mut node = root;
    for part in path.components() {
        if let Component::Normal(name) = part {
            let Node::Folder(entries) = node else { return None };
            node = entries.get(std::os::unix::ffi::OsStrExt::as_bytes(name).as_bstr())?;
        }
    }
    Some(node)
}

fn folder(
    entries: &BTreeMap<BString, Node>,
    above: &BStr,
    args: &NarLsArgs,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (name, node) in entries {
        let path = BString::from([above.as_bytes(), b"/", name].concat());
        line(node, path.as_bstr(), args, out)?;
        match node {
            Node::Folder(entries) if args.recursive => folder(entries, path.as_bstr(), args, out)?,
            _ => {}
        }
    }
    Ok(())
}

fn line(node: &Node, path: &BStr, args: &NarLsArgs, out: &mut dyn Write) -> io::Result<()> {
    if args.long {
        let (mode, size) = match node {
            Node::Folder(_) => ("dr-xr-xr-x", 0),
            Node::Symlink(_) => ("lrwxrwxrwx", 0),
            Node::File { executable: Executable::Yes, size, .. } => ("-r-xr-xr-x", *size),
            Node::File { executable: Executable::No, size, .. } => ("-r--r--r--", *size),
        };
        write!(out, "{mode} {size:>20} ")?;
    }
    out.write_all(path)?;
    if let (true, Node::Symlink(target)) = (args.long, node) {
        out.write_all(b" -> ")?;
        out.write_all(target)?;
    }
    out.write_all(b"\n")
}

/// How much of a folder JSON tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Names of its entries.
    Own,
    /// Everything below.
    All,
}

fn to_json(node: &Node, depth: Depth) -> Value {
    match node {
        Node::Folder(entries) => {
            let value = |node| match depth {
                Depth::Own => json!({}),
                Depth::All => to_json(node, Depth::All),
            };
            let entries = entries.iter().map(|(name, node)| (name.to_string(), value(node)));
            json!({ "type": "directory", "entries": entries.collect::<Map<_, _>>() })
        }
        Node::Symlink(target) => json!({ "type": "symlink", "target": target.to_string() }),
        Node::File { executable, size, offset } => {
            let mut value = json!({ "type": "regular", "size": size, "narOffset": offset });
            if *executable == Executable::Yes {
                value["executable"] = true.into();
            }
            value
        }
    }
}

/// Counts what passes: where contents start is nowhere else to be had.
struct Counting<'c, R> {
    source: R,
    position: &'c Cell<u64>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        self.position.set(self.position.get().saturating_add(got as u64));
        Ok(got)
    }
}

/// Builds the tree of an archive.
struct Tree<'c> {
    position: &'c Cell<u64>,
    /// Open folders, outermost first, each with its name.
    open: Vec<(BString, BTreeMap<BString, Node>)>,
    root: Option<Node>,
}

impl Tree<'_> {
    fn put(&mut self, name: BString, node: Node) {
        match self.open.last_mut() {
            Some((_, entries)) => drop(entries.insert(name, node)),
            None => self.root = Some(node),
        }
    }
}

impl Visitor for Tree<'_> {
    type Error = NarError;

    fn directory(&mut self, name: Option<&[u8]>) -> Result<(), NarError> {
        self.open.push((name.unwrap_or_default().into(), BTreeMap::new()));
        Ok(())
    }

    fn end_directory(&mut self) -> Result<(), NarError> {
        if let Some((name, entries)) = self.open.pop() {
            self.put(name, Node::Folder(entries));
        }
        Ok(())
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> Result<(), NarError> {
        self.put(name.unwrap_or_default().into(), Node::Symlink(target.into()));
        Ok(())
    }

    fn regular(
        &mut self,
        name: Option<&[u8]>,
        executable: Executable,
        contents: &mut Contents<'_>,
    ) -> Result<(), NarError> {
        let (size, offset) = (contents.size(), self.position.get());
        self.put(name.unwrap_or_default().into(), Node::File { executable, size, offset });
        Ok(())
    }
}
