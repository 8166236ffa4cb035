//! Where the program is that is tested.

use std::env;
use std::sync::OnceLock;

/// As Cargo says, at run time: when tests are compiled it says so too, but a shell stands between the two
/// (`benches/profile/rustc`), and some of those lose names with a hyphen. Without Cargo: where it puts programs.
pub fn binary() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        env::var("CARGO_BIN_EXE_dpop-gate").unwrap_or_else(|_| {
            let test = env::current_exe().unwrap();
            test.parent().unwrap().with_file_name("dpop-gate").into_os_string().into_string().unwrap()
        })
    })
}
