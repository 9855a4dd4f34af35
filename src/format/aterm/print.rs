//! Printing: the form that hashes are taken of.
//!
//! Strings of builder, arguments and environment are escaped; names, paths and the platform are
//! printed as they are, as Nix does.

use std::collections::BTreeMap;

use super::super::derivation::{DerivationOutput, InputNode};
use super::super::{Derivation, Hash, StoreDir};

/// Whether output paths are printed, or left empty to compute them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format) enum Mask {
    /// Output paths and their variables are printed.
    Show,
    /// They are printed as empty strings.
    Hide,
}

pub(super) fn print(drv: &Derivation, dir: &StoreDir) -> Vec<u8> {
    let mut printer = Printer::new(drv, dir, Mask::Show);
    printer.head();
    printer.list(drv.input_drvs.iter(), |p, (path, node)| {
        p.out.extend_from_slice(b"(");
        p.path(path);
        p.node(node);
        p.out.push(b')');
    });
    printer.tail();
    printer.out
}

/// Prints `drv` with `inputs` (base-16 hashes and output names) in place of its input derivations.
pub(in crate::format) fn print_with_inputs(
    drv: &Derivation,
    dir: &StoreDir,
    mask: Mask,
    inputs: &BTreeMap<String, std::collections::BTreeSet<String>>,
) -> Vec<u8> {
    let mut printer = Printer::new(drv, dir, mask);
    printer.head();
    printer.list(inputs.iter(), |p, (hash, outputs)| {
        p.out.push(b'(');
        p.plain(hash.as_bytes());
        p.out.push(b',');
        p.list(outputs.iter(), |p, output| p.plain(output.as_bytes()));
        p.out.push(b')');
    });
    printer.tail();
    printer.out
}

struct Printer<'a> {
    drv: &'a Derivation,
    dir: &'a StoreDir,
    mask: Mask,
    out: Vec<u8>,
}

impl<'a> Printer<'a> {
    fn new(drv: &'a Derivation, dir: &'a StoreDir, mask: Mask) -> Self {
        Self { drv, dir, mask, out: Vec::with_capacity(4096) }
    }

    fn head(&mut self) {
        let drv = self.drv;
        let dynamic = drv.input_drvs.values().any(|node| !node.dynamic.is_empty());
        let start: &[u8] = if dynamic { b"DrvWithVersion(\"xp-dyn-drv\"," } else { b"Derive(" };
        self.out.extend_from_slice(start);
        self.list(drv.outputs.iter(), |p, (name, output)| p.output(name, output));
        self.out.push(b',');
    }

    fn tail(&mut self) {
        let drv = self.drv;
        self.out.push(b',');
        self.list(drv.input_srcs.iter(), Self::path);
        self.out.push(b',');
        self.plain(&drv.platform);
        self.out.push(b',');
        self.string(&drv.builder);
        self.out.push(b',');
        self.list(drv.args.iter(), |p, arg| p.string(arg));
        self.out.push(b',');
        self.list(drv.env.iter(), |p, (name, value)| {
            let hidden = p.mask == Mask::Hide
                && std::str::from_utf8(name).is_ok_and(|n| p.drv.outputs.contains_key(n));
            p.out.push(b'(');
            p.string(name);
            p.out.push(b',');
            p.string(if hidden { b"" } else { value });
            p.out.push(b')');
        });
        self.out.push(b')');
    }

    fn list<T>(&mut self, items: impl Iterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.out.push(b'[');
        for (i, item) in items.enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            each(self, item);
        }
        self.out.push(b']');
    }

    fn output(&mut self, name: &str, output: &DerivationOutput) {
        let typed = |prefix: &str, algorithm| format!("{prefix}{algorithm}");
        let fixed_hash = |hash: &Hash| hash.base16();
        let (path, algorithm, hash) = match output {
            DerivationOutput::InputAddressed(path) => (Some(path), String::new(), String::new()),
            DerivationOutput::Fixed { path, method, hash } => {
                (Some(path), typed(method.prefix(), hash.algorithm()), fixed_hash(hash))
            }
            DerivationOutput::Floating { method, algorithm } => {
                (None, typed(method.prefix(), *algorithm), String::new())
            }
            DerivationOutput::Deferred => (None, String::new(), String::new()),
            DerivationOutput::Impure { method, algorithm } => {
                (None, typed(method.prefix(), *algorithm), "impure".to_owned())
            }
        };
        self.out.push(b'(');
        self.plain(name.as_bytes());
        self.out.push(b',');
        match path {
            Some(path) if self.mask == Mask::Show => self.path(path),
            _ => self.plain(b""),
        }
        self.out.push(b',');
        self.plain(algorithm.as_bytes());
        self.out.push(b',');
        self.plain(hash.as_bytes());
        self.out.push(b')');
    }

    /// An input's outputs with the comma before them. The depth is bounded where nodes are made.
    fn node(&mut self, node: &InputNode) {
        self.out.push(b',');
        if node.dynamic.is_empty() {
            self.list(node.outputs.iter(), |p, output| p.plain(output.as_bytes()));
            return;
        }
        self.out.push(b'(');
        self.list(node.outputs.iter(), |p, output| p.plain(output.as_bytes()));
        self.out.push(b',');
        self.list(node.dynamic.iter(), |p, (output, child)| {
            p.out.push(b'(');
            p.plain(output.as_bytes());
            p.node(child);
            p.out.push(b')');
        });
        self.out.push(b')');
    }

    fn path(&mut self, path: &super::super::StorePath) {
        self.out.push(b'"');
        self.out.extend_from_slice(self.dir.as_str().as_bytes());
        self.out.push(b'/');
        self.out.extend_from_slice(path.as_str().as_bytes());
        self.out.push(b'"');
    }

    fn plain(&mut self, text: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    fn string(&mut self, text: &[u8]) {
        self.out.push(b'"');
        for &byte in text {
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                _ => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }
}
