//! The house rules that a compiler does not know: layers, the clock, names, sizes. The layers are read from the table
//! in `src/lib.rs`, so that the map and the land cannot part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Neighbours on one layer that may be used, and by whom.
const NEIGHBOURS: &[(&str, &str)] =
    &[("policy", "token"), ("nonce", "dpop"), ("journal", "gate"), ("issuer", "verifier")];
/// On the topmost layer, where things are put together, everything may use everything.
const ASSEMBLY: usize = 5;
/// What may stand at the top of the repository, beside dot-files and `target`.
const TOP: &[&str] =
    &["Cargo.toml", "Cargo.lock", "src", "config", "tests", "benches", "deploy", "README.md", "LICENSE"];
/// Names that say nothing.
const NO_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "globals", "misc"];
const LINE_COLUMNS: usize = 120;
/// Of a file without its tests; most have far fewer.
const FILE_LINES: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, with its path from the repository's root.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "node_modules") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(folder != "src" || found.len() > 10, "found only {found:?}");
    found
}

/// Module and layer, by the table in the documentation of `lib.rs`.
fn layers(lib: &str) -> BTreeMap<String, usize> {
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | "));
    let numbered = rows.filter_map(|row| Some((row.split(' ').next()?.parse::<usize>().ok()?, row)));
    let named = numbered.flat_map(|(layer, row)| {
        let modules = row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2);
        modules.map(move |module| (module.to_owned(), layer)).collect::<Vec<_>>()
    });
    named.collect()
}

/// The top-level module that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let name = path.components().nth(1)?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

/// How deep below the crate's root the file's own items stand: 1 for `src/nonce.rs` and `src/gate/mod.rs`.
fn depth_of(path: &Path) -> usize {
    let segments = path.components().count() - 1;
    if path.ends_with("mod.rs") { segments - 1 } else { segments }
}

/// Line numbers and top-level modules that the text names, by `crate::x`, `crate::{x, y::z}` or `super::` up to the
/// root.
fn references(text: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inline = 0;
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let start = offset;
        offset += line.len();
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if code.starts_with("mod ") && code.trim_end().ends_with('{') {
            inline = 1;
        }
        for (at, _) in line.match_indices("crate::") {
            if line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
                continue;
            }
            let rest = &text[start + at + "crate::".len()..];
            found.extend(heads(rest).into_iter().map(|module| (number + 1, module)));
        }
        let up = "super::".repeat(depth + inline);
        if let Some(at) = line.find(&up)
            && !line[..at].ends_with("super::")
        {
            let rest = &text[start + at + up.len()..];
            found.extend(heads(rest).into_iter().map(|module| (number + 1, module)));
        }
    }
    found
}

/// The first words of a path or of each path in a group.
fn heads(rest: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut words, mut nested, mut fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => nested += 1,
            '}' if nested == 0 => break,
            '}' => nested -= 1,
            ',' if nested == 0 => fresh = true,
            c if fresh && nested == 0 && !c.is_whitespace() => {
                words.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    words
}

fn may_use(layers: &BTreeMap<String, usize>, user: &str, used: &str) -> bool {
    let (Some(&above), Some(&below)) = (layers.get(user), layers.get(used)) else { return false };
    user == used || below < above || above == ASSEMBLY && below == ASSEMBLY || NEIGHBOURS.contains(&(user, used))
}

#[test]
fn the_map_names_every_module() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let layers = layers(&lib);
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: Vec<&str> = modules.collect();
    assert!(modules.len() > 10, "{modules:?}");
    for module in &modules {
        assert!(layers.contains_key(*module), "{module} is not in the table of src/lib.rs");
    }
    for module in layers.keys() {
        assert!(modules.contains(&module.as_str()), "{module} is in the table and not in the crate");
    }
}

#[test]
fn dependencies_point_down() {
    let layers = layers(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(user) = module_of(&path) else { continue };
        for (line, used) in references(&text, depth_of(&path)) {
            if layers.contains_key(&used) && !may_use(&layers, &user, &used) {
                wrong.push(format!("{}:{line}: {user} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_of_dependencies_sees_every_way_to_name_a_module() {
    let names = |text, depth| references(text, depth).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names("use crate::gate::Gate;", 1), ["gate"]);
    assert_eq!(names("use crate::{\n    gate::{Gate, Refusal},\n    proxy,\n};", 1), ["gate", "proxy"]);
    assert_eq!(names("pub(crate) fn f() -> crate::app::App { todo!() }", 2), ["app"]);
    assert_eq!(names("use super::gate::Gate;", 1), ["gate"]);
    assert_eq!(names("use super::gate::Gate;", 2), [""; 0], "of its own folder");
    assert_eq!(names("use super::super::gate::Gate;", 2), ["gate"]);
    assert_eq!(names("mod tests {\n    use super::*;\n    use super::super::gate;\n}", 1), ["gate"]);
    assert_eq!(names("// crate::gate\n/// [`crate::gate`]\nlet x = mycrate::gate;", 1), [""; 0]);

    let layers = layers(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    for (user, used, allowed) in [
        ("gate", "dpop", true),
        ("dpop", "gate", false),
        ("proxy", "admin", false),
        ("policy", "token", true),
        ("token", "policy", false),
        ("nonce", "dpop", true),
        ("dpop", "nonce", false),
        ("app", "config", true),
        ("jose", "secret", false),
    ] {
        assert_eq!(may_use(&layers, user, used), allowed, "{user} uses {used}");
    }
}

#[test]
fn only_the_clock_reads_the_system_clock() {
    for (path, text) in sources("src") {
        if path.ends_with("src/clock.rs") || path.starts_with("src/clock") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let reads = ["SystemTime::now", "UtcDateTime::now", "OffsetDateTime::now", "UNIX_EPOCH.elapsed"];
            let code = !line.trim_start().starts_with("//");
            let found = reads.iter().find(|read| code && line.contains(*read));
            assert!(found.is_none(), "{}:{}: {}", path.display(), number + 1, line.trim());
        }
    }
}

#[test]
fn files_have_names_that_say_something_and_a_size_that_can_be_read() {
    for (path, text) in sources("src") {
        for part in &path {
            let name = part.to_str().unwrap().trim_end_matches(".rs");
            assert!(!NO_NAMES.contains(&name), "{}: {name} says nothing", path.display());
        }
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        assert!(lines <= FILE_LINES, "{} has {lines} lines without its tests", path.display());
    }
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        for (number, line) in text.lines().enumerate() {
            // What cannot be broken: a string, a row of a table.
            let whole = line.contains('"') || line.trim_start().starts_with("//! |");
            let columns = line.chars().count();
            assert!(columns <= LINE_COLUMNS || whole, "{}:{}: {columns} columns", path.display(), number + 1);
        }
    }
}

#[test]
fn the_top_of_the_repository_is_the_frame_and_nothing_else() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = name.starts_with('.') || name == "target" || TOP.contains(&name.as_str());
        assert!(known, "{name} has no place at the top of the repository");
    }
}

/// What Cargo calls in place of the compiler. A file that this cannot read would end the build.
#[test]
fn the_release_alone_is_compiled_with_counts_of_its_branches() {
    let config = fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    let named = config.lines().find_map(|line| line.strip_prefix("rustc-wrapper = \"")?.strip_suffix('"'));
    let wrapper = root().join(named.expect("a wrapper"));
    for (level, is_told) in [("opt-level=3", true), ("opt-level=s", true), ("opt-level=1", false)] {
        let told = Command::new(&wrapper).args(["echo", "--crate-name", "a b", "-C", level]).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let rest = told.strip_prefix(&format!("--crate-name a b -C {level}")).unwrap().trim_end();
        let profile = rest.strip_prefix(" -C profile-use=").map(|profile| fs::read(profile).unwrap());
        assert_eq!(profile.is_some(), is_told, "{level}: {told}");
        assert!(profile.is_none_or(|profile| profile.starts_with(b"\xfflprofi\x81")), "{level}: no profile of LLVM's");
    }
}
