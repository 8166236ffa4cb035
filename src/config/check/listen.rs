//! `listen`, `admin`, `public_url`, `trusted_proxies`.

use std::net::SocketAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::gate::Spend;
use crate::server::{Door, ListenAddress, ListenerOptions, Sharing};
use crate::target::{Account, PublicUrl, Trust};
use crate::tls::{ClientAuth, ServerTls};

use super::Checker;
use crate::config::raw;

impl Checker<'_> {
    /// What proxy listeners and forward-auth listeners believe.
    pub(super) fn trust(&mut self, file: &raw::File) -> (Trust, Trust) {
        let public_urls = self.public_urls(file);
        let written = file.trusted_proxies.as_deref().map(|written| self.proxies(written));
        let asks = file.listen.iter().any(|listen| listen.mode != raw::Door::Proxy);
        if asks && file.trusted_proxies.as_ref().is_some_and(Vec::is_empty) {
            let message = "empty, so that a forward_auth or ext_authz listener answers nobody; expected its callers' addresses, or \
                           no key at all for loopback";
            self.error("trusted_proxies", message);
        }
        let loopback = || vec![IpNet::V4(loopback_v4()), IpNet::V6(loopback_v6())];
        let forward_auth =
            Trust { proxies: written.clone().unwrap_or_else(loopback), public_urls: public_urls.clone() };
        (Trust { proxies: written.unwrap_or_default(), public_urls }, forward_auth)
    }

    fn public_urls(&mut self, file: &raw::File) -> Vec<PublicUrl> {
        let written: Vec<(String, &String)> = match &file.public_url {
            None => Vec::new(),
            Some(raw::OneOrMany::One(url)) => vec![("public_url".to_owned(), url)],
            Some(raw::OneOrMany::Many(urls)) => {
                if urls.is_empty() {
                    self.error("public_url", "empty; expected a URL, a list of them, or no key at all");
                }
                urls.iter().enumerate().map(|(index, url)| (format!("public_url[{index}]"), url)).collect()
            }
        };
        let mut urls = Vec::with_capacity(written.len());
        for (key, url) in written {
            if self.report.is_broken(&key) {
                continue;
            }
            match PublicUrl::parse(url) {
                None => self.error(
                    &key,
                    "not the URL of an origin; expected http:// or https://, a host, and neither user name, query nor \
                     fragment",
                ),
                Some(url) if urls.contains(&url) => self.error(&key, "listed twice; expected once"),
                Some(url) => urls.push(url),
            }
        }
        urls
    }

    fn proxies(&mut self, written: &[String]) -> Vec<IpNet> {
        let mut proxies = Vec::with_capacity(written.len());
        for (index, text) in written.iter().enumerate() {
            let key = format!("trusted_proxies[{index}]");
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
            match net {
                Err(_) => {
                    let shown = self.shown(&key, text);
                    self.error(&key, format!("{shown} is no address; expected one such as 10.0.0.7, or 10.0.0.0/8"));
                }
                // CVE-2026-76835: everybody a trusted proxy means that everybody says who they are.
                Ok(net) if net.prefix_len() == 0 => {
                    self.error(&key, "trusts everybody to say where a request came from; expected your own proxies");
                }
                Ok(net) => proxies.push(net.trunc()),
            }
        }
        proxies
    }

    /// `listen`.
    pub(super) fn listeners(&mut self, file: &raw::File) -> Vec<ListenerOptions> {
        let mut listeners: Vec<ListenerOptions> = Vec::with_capacity(file.listen.len());
        for (index, listen) in file.listen.iter().enumerate() {
            let key = format!("listen[{index}]");
            let door = self.door(&key, listen);
            let tls = listen.tls.as_ref().map(|tls| self.listen_tls(&format!("{key}.tls"), tls));
            let key = format!("{key}.address");
            let Some(address) = self.listen_address(&key, &listen.address) else { continue };
            // Port 0 takes a free one, each time another.
            let is_free = matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
            if !is_free && listeners.iter().any(|other| other.address == address) {
                self.error(&key, "another listener has this address; expected each once");
            }
            let sharing = if listen.reuse_port { Sharing::Shared } else { Sharing::Alone };
            if sharing == Sharing::Shared && matches!(address, ListenAddress::Unix(_)) {
                let message = "a Unix socket has one listener; expected an IP:PORT, or no `reuse_port`";
                self.error(&format!("listen[{index}].reuse_port"), message);
            }
            listeners.push(ListenerOptions { address, sharing, door, tls });
        }
        listeners
    }

    fn door(&mut self, key: &str, listen: &raw::Listen) -> Door {
        let spend = match listen.jti {
            raw::Jti::Consume => Spend::Consume,
            raw::Jti::Check => Spend::Check,
        };
        let account = match listen.original {
            raw::Account::Any => Account::Any,
            raw::Account::XForwarded => Account::XForwarded,
            raw::Account::XOriginal => Account::XOriginal,
            raw::Account::RequestLine => Account::RequestLine,
        };
        if account != Account::Any && listen.mode != raw::Door::ForwardAuth {
            let message = "only a forward_auth listener is told of an original request; expected `mode: forward_auth`, or no \
                           `original`";
            self.error(&format!("{key}.original"), message);
        }
        match listen.mode {
            raw::Door::Proxy => {
                if spend == Spend::Check {
                    let message = "`check` on a proxy listener would let every proof be replayed; expected `consume`";
                    self.error(&format!("{key}.jti"), message);
                }
                Door::Proxy
            }
            raw::Door::ForwardAuth => Door::ForwardAuth(spend, account),
            raw::Door::ExtAuthz => Door::ExtAuthz(spend),
        }
    }

    fn listen_address(&mut self, key: &str, text: &str) -> Option<ListenAddress> {
        const EXPECTED: &str = "expected IP:PORT such as 127.0.0.1:8080 or [::]:8443, or unix:/path";
        if let Some(path) = text.strip_prefix("unix:") {
            // sockaddr_un holds 108 bytes, the last of them NUL.
            let path = self.path(path);
            if text == "unix:" || path.as_os_str().len() > 107 {
                self.error(key, "no path, or one longer than 107 bytes; expected unix:/path");
                return None;
            }
            return Some(ListenAddress::Unix(path));
        }
        match text.parse() {
            Ok(address) => Some(ListenAddress::Tcp(address)),
            Err(_) => {
                let shown = self.shown(key, text);
                self.error(key, format!("{shown} is no address to listen on; {EXPECTED}"));
                None
            }
        }
    }

    fn listen_tls(&mut self, key: &str, tls: &raw::ListenTls) -> ServerTls {
        let client = tls
            .client_ca
            .as_ref()
            .map(|ca| ClientAuth { ca: self.path(ca), required: tls.client_auth == Some(raw::ClientAuth::Required) });
        if client.is_none() && tls.client_auth.is_some() {
            let message = "without `client_ca` no client certificate can be verified; expected `client_ca` beside it";
            self.error(&format!("{key}.client_auth"), message);
        }
        let options = ServerTls { certificate: self.path(&tls.certificate), key: self.path(&tls.key), client };
        let parts = ["certificate", "key", "client_ca"].map(|part| format!("{key}.{part}"));
        if !parts.iter().any(|part| self.report.is_broken(part)) {
            self.server_tls(key, &options);
        }
        options
    }

    /// `admin`.
    pub(super) fn admin(&mut self, file: &raw::File) -> Option<SocketAddr> {
        let written = &file.admin.as_ref()?.address;
        let Ok(address) = written.parse::<SocketAddr>() else {
            let shown = self.shown("admin.address", written);
            self.error("admin.address", format!("{shown} is no address; expected IP:PORT such as 127.0.0.1:9901"));
            return None;
        };
        let taken = file.listen.iter().any(|listen| listen.address.parse() == Ok(address));
        if taken && address.port() != 0 {
            self.error("admin.address", "a listener has this address; expected one of its own");
        }
        Some(address)
    }
}

fn loopback_v4() -> Ipv4Net {
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)
}

fn loopback_v6() -> Ipv6Net {
    Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)
}
