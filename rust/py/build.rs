//! Makes the docstrings of the extension from the stubs: the one place of the Python API's docs.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

/// The stubs, relative to this crate.
const STUBS: [&str; 3] = [
    "../../python/swapcore/_core.pyi",
    "../../python/swapcore/_core_memcg.pyi",
    "../../python/swapcore/_core_replay.pyi",
];
const QUOTES: &str = r#"""""#;

/// Writes the macro `stub!`: `stub!(Swap.alloc)` is the docstring of that method. A name without a docstring in the stub
/// fails the build.
fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let mut arms = String::new();
    for stub in STUBS {
        println!("cargo:rerun-if-changed={stub}");
        let text =
            fs::read_to_string(Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join(stub))?;
        for (name, doc) in docstrings(&text) {
            writeln!(arms, "    ({name}) => {{ {doc:?} }};").map_err(io::Error::other)?;
        }
    }
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("stub.rs"), format!("macro_rules! stub {{\n{arms}}}\n"))
}

/// Returns the docstrings of a stub by the names they belong to, `Class`, `Class.member` or `function`.
fn docstrings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut class, mut name) = (None, String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (indent, code) = (line.len() - line.trim_start().len(), line.trim_start());
        if let Some(first) = code.strip_prefix(QUOTES) {
            let mut doc = vec![first];
            while !doc[doc.len() - 1].ends_with(QUOTES) {
                // A docstring without an end makes the last line of the file its own.
                let Some(line) = lines.next() else { break };
                doc.push(line);
            }
            if !name.is_empty() {
                found.push((name.clone(), dedented(&doc)));
            }
        } else if indent == 0
            && let Some(ident) = code.strip_prefix("class ")
        {
            class = Some(word(ident));
            name = word(ident).to_owned();
        } else if indent == 0
            && let Some(ident) = code.strip_prefix("def ")
        {
            class = None;
            name = word(ident).to_owned();
        } else if indent == 4
            && let Some(class) = class
        {
            let ident = code.strip_prefix("def ").unwrap_or(code);
            // A line of a signature, an attribute or a decorator: only the second and a method have a name.
            if !word(ident).is_empty() {
                name = format!("{class}.{}", word(ident));
            }
        }
    }
    found
}

/// Returns the identifier at the beginning of a text.
fn word(text: &str) -> &str {
    &text[..text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len())]
}

/// Returns a docstring without the indentation of its lines, as Python's `inspect.cleandoc` does.
fn dedented(doc: &[&str]) -> String {
    let blank = |line: &&&str| !line.trim().is_empty();
    let indents = doc[1..].iter().filter(blank).map(|line| line.len() - line.trim_start().len());
    let indent = indents.min().unwrap_or(0);
    let first = std::iter::once(doc[0]);
    let lines: Vec<_> = first.chain(doc[1..].iter().map(|line| line.get(indent..).unwrap_or(""))).collect();
    lines.join("\n").trim().trim_end_matches(QUOTES).trim_end().to_owned()
}
