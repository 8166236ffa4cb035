//! Puts the functions that a start runs through next to one another in the program.
//!
//! They are a fifth of it and lie all over it, and the kernel maps a program by 64 KiB around whatever is touched: as
//! the linker leaves them they keep 6 MB resident, side by side little more than half. `benches/layout/start` names
//! them. A function that has got another name since stays where the linker puts it; nothing but memory depends on it.
//!
//! Linkers that know scripts are told by one (GNU's and LLVM's do). A trial says whether this one does; if not, the
//! program is linked as ever.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const START: &str = "benches/layout/start";

fn main() -> io::Result<()> {
    let mut cargo = io::stdout();
    writeln!(cargo, "cargo::rerun-if-changed={START}")?;
    // The compiler is told of this one by benches/profile/rustc, which Cargo does not look into.
    writeln!(cargo, "cargo::rerun-if-changed=benches/profile")?;
    if env::var_os("PROFILE").is_none_or(|profile| profile != "release") {
        return Ok(());
    }
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let script = folder.join("start.ld");
    fs::write(&script, script_of(&fs::read_to_string(START)?))?;
    if is_taken(&script, &folder.join("trial")).unwrap_or(false) {
        writeln!(cargo, "cargo::rustc-link-arg-bins=-T\ncargo::rustc-link-arg-bins={}", script.display())?;
    }
    Ok(())
}

/// Those functions before all others, in the section where all of them are: tools look there. Each function comes to
/// the linker in a section of its own, whose name says what the compiler knows of it. After them those that requests
/// run through most.
fn script_of(start: &str) -> String {
    let names = start.lines().filter(|line| !line.starts_with('#'));
    let sections = |name| format!("    *(.text.{name} .text.hot.{name} .text.unlikely.{name})\n");
    let sections: String = names.map(sections).collect();
    let others = "    *(.text.hot .text.hot.*)\n    *(.text .text.*)\n";
    format!("SECTIONS {{\n  .text : {{\n{sections}{others}  }}\n}} INSERT AFTER .init;\n")
}

/// Whether a program can be linked that way, with the linker and the flags that the gate is linked with.
fn is_taken(script: &Path, trial: &Path) -> io::Result<bool> {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    let mut option = OsString::from("link-arg=");
    option.push(script);
    rustc.args(["--crate-name", "trial", "--target"]).arg(env::var_os("TARGET").unwrap_or_default());
    rustc.args(["-C", "link-arg=-T", "-C"]).arg(option).arg("-o").arg(trial).arg("-");
    let mut rustc = rustc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    if let Some(mut source) = rustc.stdin.take() {
        source.write_all(b"fn main() {}")?;
    }
    Ok(rustc.wait()?.success())
}
