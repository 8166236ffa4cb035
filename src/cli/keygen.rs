//! `keygen`: a private JWK.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use crate::jose::{Algorithm, PrivateKey};

use super::output;

/// What `keygen` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The algorithm that the key is for; it becomes the JWK's `alg`
    #[arg(long, value_enum, ignore_case = true, default_value_t = KeyAlgorithm::Es256)]
    alg: KeyAlgorithm,
    /// Where to write it, readable by you alone (mode 0600); an existing file is never overwritten. Standard output if
    /// absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The algorithms under their JWA names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyAlgorithm {
    #[value(name = "ES256")]
    Es256,
    #[value(name = "ES384")]
    Es384,
    #[value(name = "EdDSA")]
    EdDsa,
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "PS256")]
    Ps256,
}

impl From<KeyAlgorithm> for Algorithm {
    fn from(name: KeyAlgorithm) -> Self {
        match name {
            KeyAlgorithm::Es256 => Self::Es256,
            KeyAlgorithm::Es384 => Self::Es384,
            KeyAlgorithm::EdDsa => Self::EdDsa,
            KeyAlgorithm::Rs256 => Self::Rs256,
            KeyAlgorithm::Ps256 => Self::Ps256,
        }
    }
}

/// Makes the key: the JWK to the file or standard output, its thumbprint to standard error.
pub(super) fn run(args: Args) -> ExitCode {
    let key = match PrivateKey::generate(args.alg.into()) {
        Ok(key) => key,
        Err(error) => return output::failed(&error),
    };
    let jwk = key.to_jwk_json();
    let written = match &args.out {
        Some(path) => match create(path) {
            Ok(file) => write_or_remove(file, path, &jwk),
            Err(error) => return output::usage(&format_args!("--out {}: {}", path.display(), refused(&error))),
        },
        None => output::line(&*jwk),
    };
    match written {
        Ok(()) => {
            output::note(key.public().thumbprint());
            ExitCode::SUCCESS
        }
        Err(error) => output::unwritable(&error),
    }
}

/// A file that did not exist, private from its first moment: neither a race nor a symbolic link can make this write
/// into somebody else's.
fn create(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn refused(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AlreadyExists {
        "the file exists and is not overwritten; name a new one".to_owned()
    } else {
        format!("cannot be created: {error}")
    }
}

/// Half a key is worse than none.
fn write_or_remove(mut file: std::fs::File, path: &Path, jwk: &str) -> io::Result<()> {
    let written = writeln!(file, "{jwk}").and_then(|()| file.sync_all());
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(path);
    }
    written
}
