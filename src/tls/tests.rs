#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::test_pki::{Pki, server_tls};
use super::*;

#[test]
fn what_cannot_be_used_is_named() {
    let pki = Pki::new();
    let other = Pki::new();
    let good = server_tls(&pki);
    let empty = pki.ca_file().with_file_name("empty");
    fs::write(&empty, "").unwrap();
    let absent = pki.ca_file().with_file_name("absent");
    let client = |ca: &PathBuf| Some(ClientAuth { ca: ca.clone(), required: true });
    for (options, file, expected) in [
        (ServerTls { certificate: absent.clone(), ..good.clone() }, &absent, "No such file"),
        (ServerTls { certificate: empty.clone(), ..good.clone() }, &empty, "no PEM certificate"),
        (ServerTls { certificate: pki.key_file(), ..good.clone() }, &pki.key_file(), "no PEM certificate"),
        (ServerTls { key: empty.clone(), ..good.clone() }, &empty, "no PEM private key"),
        (ServerTls { key: pki.certificate_file(), ..good.clone() }, &pki.certificate_file(), "no PEM private key"),
        (ServerTls { key: other.key_file(), ..good.clone() }, &other.key_file(), "keys may not be consistent"),
        (ServerTls { client: client(&absent), ..good.clone() }, &absent, "No such file"),
        (ServerTls { client: client(&empty), ..good.clone() }, &empty, "no PEM certificate"),
    ] {
        let message = server_config(&options).unwrap_err().to_string();
        assert!(message.starts_with(&file.display().to_string()), "{message}");
        assert!(message.contains(expected), "{message}, not {expected}");
    }
    assert!(client_config(&ClientTls { ca: Some(empty), identity: None }).is_err());
}

/// Where each file is good by itself, what they are together is what is wrong.
#[test]
fn every_file_that_is_wrong_is_named_at_once() {
    let (pki, other) = (Pki::new(), Pki::new());
    let absent = |name: &str| pki.ca_file().with_file_name(name);
    let good = server_tls(&pki);
    let client = Some(ClientAuth { ca: absent("c"), required: true });
    let all = ServerTls { certificate: absent("a"), key: absent("b"), client };
    let pair = ServerTls { key: other.key_file(), ..good.clone() };
    for (options, named) in [(&all, vec![absent("a"), absent("b"), absent("c")]), (&pair, vec![other.key_file()])] {
        let problems = server_problems(options, server_config(options).unwrap_err());
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), named.len(), "{told:?}");
        for (told, file) in told.iter().zip(named) {
            assert!(told.starts_with(&format!("{}: ", file.display())), "{told}");
        }
    }
    let all = ClientTls { ca: Some(absent("a")), identity: Some((absent("b"), absent("c"))) };
    assert_eq!(client_problems(&all, client_config(&all).unwrap_err()).len(), 3);
    let pair = ClientTls { ca: Some(pki.ca_file()), identity: Some((good.certificate, other.key_file())) };
    assert_eq!(client_problems(&pair, client_config(&pair).unwrap_err()).len(), 1);
}

#[test]
fn sessions_are_resumed_only_where_no_client_certificate_would_go_unverified() {
    let pki = Pki::new();
    let plain = server_config(&server_tls(&pki)).unwrap();
    assert!(plain.ticketer.enabled());
    let client = Some(ClientAuth { ca: pki.ca_file(), required: false });
    let mutual = server_config(&ServerTls { client, ..server_tls(&pki) }).unwrap();
    assert!(!mutual.ticketer.enabled() && !mutual.session_storage.can_cache());
    assert_eq!(mutual.send_tls13_tickets, 0);
}

#[test]
fn a_refresh_takes_the_new_pair_and_keeps_the_old_one_over_a_bad_pair() {
    let pki = Pki::new();
    let rotating = Rotating::new(server_tls(&pki)).unwrap();
    let first = rotating.current();
    rotating.refresh();
    assert!(Arc::ptr_eq(&rotating.current(), &first), "nothing changed");
    fs::write(pki.key_file(), fs::read(Pki::new().key_file()).unwrap()).unwrap();
    rotating.refresh();
    assert!(Arc::ptr_eq(&rotating.current(), &first), "the key is another certificate's");
    pki.renew();
    rotating.refresh();
    assert!(!Arc::ptr_eq(&rotating.current(), &first));
}

/// Both ends of a handshake in one process: whether the client was content.
async fn shake(server: Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &'static str) -> bool {
    let (theirs, ours) = tokio::io::duplex(1 << 16);
    let name = rustls_pki_types::ServerName::try_from(name).unwrap();
    let accept = tokio_rustls::TlsAcceptor::from(server).accept(theirs);
    let (_, connected) = tokio::join!(accept, tokio_rustls::TlsConnector::from(Arc::clone(client)).connect(name, ours));
    connected.is_ok()
}

#[tokio::test]
async fn the_systems_roots_are_read_once_when_a_certificate_comes_and_judge_as_ever() {
    let (pki, other) = (Pki::new(), Pki::new());
    let ca = |pki: &Pki| Some(pki.ca_file());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (trusted, name, good) in [
            (ca(&pki), "gate.test", true),
            (ca(&pki), "example.org", false),
            (ca(&other), "gate.test", false),
            (None, "gate.test", false),
        ] {
            let reads = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&reads);
            let read = move || {
                counted.fetch_add(1, Ordering::Relaxed);
                trusted.as_ref().map_or(Err(TlsError::NoSystemRoots), |ca| roots(ca))
            };
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = Arc::new(LazyRoots::new(Arc::clone(&provider), read));
            let client = verified_by(verifier, provider).unwrap().with_no_client_auth();
            let server = ServerConfig::builder_with_protocol_versions(&[version]);
            let key = private_key(&pki.key_file()).unwrap();
            let server =
                server.with_no_client_auth().with_single_cert(certificates(&pki.certificate_file()).unwrap(), key);
            let (server, client) = (Arc::new(server.unwrap()), Arc::new(client));
            assert_eq!(reads.load(Ordering::Relaxed), 0, "before anybody was asked");
            for _ in 0..2 {
                assert_eq!(shake(Arc::clone(&server), &client, name).await, good, "{version:?} {name}");
            }
            assert_eq!(reads.load(Ordering::Relaxed), 1, "{version:?} {name}");
        }
    }
}
