//! Proxies that somebody else wrote, run by the very files of `config/forward-auth/`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Gate, Upstream, exchange, until};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Traefik,
    Caddy,
    Envoy,
}

impl Kind {
    /// Its files in `config/forward-auth/`; the first one names the others.
    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf"],
            Self::Traefik => &["traefik.yaml", "traefik-routes.yaml"],
            Self::Caddy => &["Caddyfile"],
            Self::Envoy => &["envoy.yaml"],
        }
    }

    /// In the foreground, as one process, with nothing written beside `folder`.
    fn command(self, folder: &Path) -> Command {
        let installed = root().join("tests/proxies/installed");
        let program = match self {
            Self::Nginx => {
                ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from).into_iter().find(|p| p.exists())
            }
            Self::Traefik => Some(installed.join("bin/traefik")),
            Self::Caddy => Some(installed.join("bin/caddy")),
            Self::Envoy => Some(installed.join("envoy/_bin/envoy")),
        };
        let program = program.filter(|program| program.exists());
        let mut command = Command::new(program.expect("the proxies are not installed; `bash tests/run` does it"));
        let file = folder.join(self.files()[0]).display().to_string();
        let arguments: Vec<String> = match self {
            Self::Nginx => {
                let foreground = format!("daemon off; master_process off; pid {}/pid;", folder.display());
                vec!["-c".into(), file, "-e".into(), "stderr".into(), "-g".into(), foreground]
            }
            Self::Traefik => vec![format!("--configfile={file}")],
            Self::Caddy => vec!["run".into(), "--config".into(), file, "--adapter".into(), "caddyfile".into()],
            Self::Envoy => {
                let quiet = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"];
                ["-c", &file].into_iter().chain(quiet).map(str::to_owned).collect()
            }
        };
        command
            .args(arguments)
            .current_dir(folder)
            .env("HOME", folder)
            .env("XDG_DATA_HOME", folder)
            .env("XDG_CONFIG_HOME", folder);
        command
    }
}

/// A proxy in front of a gate and an upstream. Ends with its owner.
pub struct OtherProxy {
    child: Child,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl OtherProxy {
    /// Starts it and waits until it asks the gate.
    pub async fn start(kind: Kind, gate: &Gate, upstream: &Upstream) -> Self {
        let folder = TempDir::new().unwrap();
        let address = free_address();
        let asked = if kind == Kind::Envoy { gate.ext_authz() } else { gate.forward_auth() };
        let ports = [(8080, address), (9100, asked), (9101, asked), (9000, upstream.address())];
        // Debian's nginx would write below /var/lib, which not everybody may.
        let scratch = format!(
            "http {{\naccess_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; \
                               fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;",
            folder.path().display()
        );
        for file in kind.files() {
            let text = fs::read_to_string(root().join("config/forward-auth").join(file)).unwrap();
            let text = with_ports(&text, &ports);
            let text = if kind == Kind::Nginx { text.replacen("http {", &scratch, 1) } else { text };
            fs::write(folder.path().join(file), text).unwrap();
        }
        let mut command = kind.command(folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let proxy = Self { child, address, _folder: folder };
        until("the proxy to ask the gate", || async {
            tokio::net::TcpStream::connect(address).await.ok()?;
            let request = http::Request::get("/nowhere").header("host", "x").body(Vec::new()).unwrap();
            (exchange(address, request).await.error() == "not_found").then_some(())
        })
        .await;
        proxy
    }
}

impl Drop for OtherProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text with every port of the documented ones exchanged, in one pass: a new one may look like another old one.
fn with_ports(text: &str, ports: &[(u16, SocketAddr)]) -> String {
    let marked = ports.iter().enumerate().fold(text.to_owned(), |text, (index, (old, _))| {
        let marker = format!("<port {index}>");
        let text = text.replace(&format!(":{old}"), &format!(":{marker}"));
        text.replace(&format!("port_value: {old}"), &format!("port_value: {marker}"))
    });
    ports
        .iter()
        .enumerate()
        .fold(marked, |text, (index, (_, new))| text.replace(&format!("<port {index}>"), &new.port().to_string()))
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
