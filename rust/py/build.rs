//! Reads the docstrings of the Python stubs (`*.pyi`) and generates the macro `stub!`. The macro inserts a docstring
//! of the stubs into the extension, so that the docs of the Python API are written only in the stubs.
//!
//! `stub!(Swap.alloc)` is the docstring of a method. `stub!(Swap)` is the docstring of a class. `stub!(_core)` is the
//! docstring of the module. If a method returns a `TypedDict`, its docstring ends with the docs of the keys of the
//! dict.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let package =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../python/swapcore");
    let mut stubs = Stubs::default();
    for path in paths(&package) {
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).expect("a stub is readable");
        stubs.read(path.file_stem().and_then(|stem| stem.to_str()).expect("a name"), &text);
    }
    let mut code = String::from("macro_rules! stub {\n");
    for (name, item) in &stubs.items {
        let doc = item.doc.clone() + &stubs.keys(&item.annotation, "Keys");
        // `type` is a keyword of Rust, so the Rust name of a property `type` is `r#type`.
        let name = name.replace(".type", ".r#type");
        writeln!(code, "    ({name}) => {{ {doc:?} }};").expect("a write to a String cannot fail");
    }
    code += "}\n";
    build_facts();
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("stub.rs"), code).expect("the folder of the build is writable");
}

/// Passes the facts of the build that only a build script knows to the crate, as variables of the environment.
fn build_facts() {
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let printed = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&printed).split(' ').nth(1).unwrap_or("unknown").trim().to_owned();
    println!("cargo::rustc-env=SWAPCORE_RUSTC={version}");
    for (variable, fact) in [("TARGET", "SWAPCORE_TARGET"), ("OPT_LEVEL", "SWAPCORE_OPT_LEVEL")] {
        println!("cargo::rustc-env={fact}={}", env::var(variable).expect("cargo sets it"));
    }
}

/// Returns the paths of the stubs of the extension: `_core.pyi` and its parts `_core_*.pyi`.
fn paths(package: &Path) -> Vec<PathBuf> {
    let files =
        fs::read_dir(package).expect("the package is beside the crates").map(|file| file.expect("a file").path());
    let is_stub = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("_core") && name.ends_with(".pyi")
    };
    let mut paths: Vec<_> = files.filter(is_stub).collect();
    paths.sort();
    paths
}

/// A module, class, method or function with a docstring, or a key of a `TypedDict`.
#[derive(Default)]
struct Item {
    doc: String,
    /// The type annotation of the item: the result type of a function, or the type of a key.
    annotation: String,
}

#[derive(Default)]
struct Stubs {
    items: BTreeMap<String, Item>,
    /// For each class, the text after the class name, which has the base classes in parentheses.
    bases: BTreeMap<String, String>,
    /// The keys of each `TypedDict`, in the order of the stub.
    keys: BTreeMap<String, Vec<(String, Item)>>,
}

impl Stubs {
    /// Reads the text of a stub and stores its items. A docstring is the first string after a `class`, a `def` or a
    /// key, and ends with `"""`.
    fn read(&mut self, module: &str, text: &str) {
        let mut class = String::new();
        let mut documented = Some(module.to_owned());
        let mut item = Item::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let code = line.trim();
            let is_in_class = line.starts_with("    ");
            if let Some(start) = code.strip_prefix("\"\"\"") {
                item.doc = docstring(start, &mut lines);
                match documented.take() {
                    Some(name) => self.items.insert(name, std::mem::take(&mut item)).map_or((), drop),
                    None => self.add_key_doc(&class, std::mem::take(&mut item.doc)),
                }
            } else if let Some(rest) = code.strip_prefix("class ") {
                class = identifier(rest);
                self.bases.insert(class.clone(), rest[class.len()..].to_owned());
                documented = Some(class.clone());
            } else if let Some(rest) = code.strip_prefix("def ") {
                let name = identifier(rest);
                documented = Some(if is_in_class { format!("{class}.{name}") } else { name });
            } else if let (None, true, Some((key, annotation))) = (&documented, is_in_class, code.split_once(": ")) {
                let key_item = Item { doc: String::new(), annotation: annotation.to_owned() };
                self.keys.entry(class.clone()).or_default().push((key.to_owned(), key_item));
            }
            if let Some((_, annotation)) = code.split_once("-> ") {
                item.annotation = annotation.to_owned();
            }
            if code.ends_with(": ...") {
                documented = None;
            }
        }
    }

    fn add_key_doc(&mut self, class: &str, doc: String) {
        if let Some((_, item)) = self.keys.get_mut(class).and_then(|keys| keys.last_mut()) {
            item.doc = doc;
        }
    }

    /// Returns whether a class is a `TypedDict`, directly or through a base class.
    fn is_dict(&self, class: &str) -> bool {
        let bases = self.bases.get(class).map_or("", String::as_str);
        words(bases).any(|base| base == "TypedDict" || self.is_dict(base))
    }

    /// Returns the docs of the keys of each `TypedDict` that an annotation names. If the value of a key is a
    /// `TypedDict` too, the docs of its keys follow.
    fn keys(&self, annotation: &str, title: &str) -> String {
        let mut docs = String::new();
        for class in words(annotation).filter(|word| self.is_dict(word)) {
            write!(docs, "\n\n{title}:").expect("a write to a String cannot fail");
            let mut nested = String::new();
            for (key, item) in self.all_keys(class) {
                let doc = item.doc.replace('\n', "\n        ");
                write!(docs, "\n    {key}: {doc}").expect("a write to a String cannot fail");
                nested += &self.keys(&item.annotation, &format!("Keys of ``{key}``"));
            }
            docs += &nested;
        }
        docs
    }

    /// Returns the keys of a `TypedDict`. The keys of the base classes come first.
    fn all_keys(&self, class: &str) -> Vec<&(String, Item)> {
        let bases = self.bases.get(class).map_or("", String::as_str);
        let inherited = words(bases).flat_map(|base| self.all_keys(base));
        inherited.chain(self.keys.get(class).into_iter().flatten()).collect()
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).filter(|word| !word.is_empty())
}

fn identifier(code: &str) -> String {
    words(code).next().expect("a name follows the keyword").to_owned()
}

/// Reads a docstring. `start` is the text of the first line after the opening quotes. The function removes the
/// indentation as `inspect.cleandoc` does.
fn docstring<'a>(start: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    if let Some(doc) = start.strip_suffix("\"\"\"") {
        return doc.trim().to_owned();
    }
    let mut rest = Vec::new();
    for line in lines {
        let end = line.trim_end().strip_suffix("\"\"\"");
        rest.push(end.unwrap_or(line).trim_end());
        if end.is_some() {
            break;
        }
    }
    let indents = rest.iter().filter(|line| !line.is_empty()).map(|line| line.len() - line.trim_start().len());
    let indent = indents.min().unwrap_or(0);
    let mut doc = start.trim().to_owned();
    for line in rest {
        doc.push('\n');
        doc.push_str(line.get(indent..).unwrap_or(""));
    }
    doc.trim_end().to_owned()
}
