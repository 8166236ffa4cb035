//! nginx, Traefik, Caddy and Envoy, each run by its file of `config/forward-auth/`: they ask the gate, and what reaches
//! upstream and client is what the gate says.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::harness::{Channel, Client, Kind, OtherProxy, Raw, World, http1, push, soon, until};

/// A gate without a word about upstreams, and one proxy before it.
struct Scene {
    world: World,
    proxy: OtherProxy,
    client: Client,
}

impl Scene {
    async fn with(kind: Kind, change: impl FnOnce(&mut Value)) -> Self {
        let world = World::with(|settings| {
            settings["listen"] = json!([{"address": "127.0.0.1:0"},
                                        {"address": "127.0.0.1:0", "mode": "forward_auth"},
                                        {"address": "127.0.0.1:0", "mode": "ext_authz"}]);
            push(
                &mut settings["routes"],
                json!({"name": "status", "match": {"path": "/status"}, "auth": "public",
                                                 "upstream": "orders"}),
            );
            push(
                &mut settings["routes"],
                json!({"name": "admin", "match": {"path": "/admin/"}, "upstream": "orders",
                                                 "require": {"scopes": ["orders.admin"]}}),
            );
            push(
                &mut settings["routes"],
                json!({"name": "app", "match": {"path": "/app/"}, "upstream": "orders",
                                                 "cors": {"origins": ["https://app.example"]}}),
            );
            change(settings);
        })
        .await;
        let proxy = OtherProxy::start(kind, &world.gate, &world.upstream).await;
        let client = world.stranger().naming(&format!("http://{}", proxy.address)).at_address(proxy.address);
        Self { world, proxy, client }
    }

    /// The names under which some framework could look for an identity header, and what arrived there.
    fn identity(&self) -> Vec<(String, String)> {
        let seen = self.world.upstream.last();
        let folded = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let known = ["xauthsubject", "xauthjkt", "xauthscope", "xauthissuer", "xauthclientid"];
        let headers = seen.headers.iter().filter(|(name, _)| known.contains(&folded(name.as_str()).as_str()));
        let mut found: Vec<_> =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        found.sort();
        found
    }
}

/// Every way in which a client could try to be somebody else.
const SPOOFED: [&str; 6] =
    ["X-Auth-Subject", "x-AUTH-issuer", "X_Auth_Subject", "X.Auth.Subject", "X-Auth_Subject", "X~Auth-Jkt"];

async fn a_good_request_passes_with_identity_and_no_other_does(scene: &Scene) {
    let challenge = scene.client.get("/orders/1").send().await;
    assert_eq!((challenge.status, challenge.error().as_str()), (401, "use_dpop_nonce"), "{challenge:?}");
    assert!(challenge.headers_of("www-authenticate").starts_with("DPoP error=\"use_dpop_nonce\""), "{challenge:?}");
    assert_eq!(challenge.headers.get_all("www-authenticate").iter().count(), 1, "{challenge:?}");
    assert!(challenge.header("dpop-nonce").is_some() && challenge.header("cache-control") == Some("no-store"));
    assert_eq!(challenge.header("content-type"), Some("application/json"), "{challenge:?}");

    let mut call = scene.client.get("/orders/1?q=1");
    for name in SPOOFED {
        call = call.header(name, "root");
    }
    let request = call.header("Connection", "close, X-Auth-Subject").prepare();
    let answer = scene.client.send(&request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let issuer = scene.world.issuer.url();
    let jkt = scene.client.key.thumbprint();
    let expected = [
        ("x-auth-client-id", "shop"),
        ("x-auth-issuer", &issuer),
        ("x-auth-jkt", &jkt),
        ("x-auth-scope", "orders.read orders.write"),
        ("x-auth-subject", "alice"),
    ];
    assert_eq!(scene.identity(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let seen = scene.world.upstream.last();
    assert_eq!((seen.header("authorization"), seen.header("dpop"), seen.uri.as_str()), (None, None, "/orders/1?q=1"));

    let replay = scene.client.send(&request).await;
    assert_eq!((replay.status, replay.error().as_str()), (401, "invalid_dpop_proof"), "{replay:?}");
    assert_eq!(scene.world.gate.refusals("replayed").await, 1.0);
}

async fn a_public_route_has_no_identity_and_its_own_credentials(scene: &Scene) {
    let mut call = scene.client.get("/status").authorization(&["Basic eDp5"]).proofs(&[]);
    for name in SPOOFED {
        call = call.header(name, "root");
    }
    assert_eq!(call.send().await.status, 200);
    assert_eq!(scene.identity(), []);
    assert_eq!(scene.world.upstream.last().header("authorization"), Some("Basic eDp5"));
}

async fn refusals_arrive_complete(scene: &Scene) {
    let before = scene.world.upstream.count();
    let doubled = scene.client.get("/orders/1?access_token=x").send().await;
    assert_eq!((doubled.status, doubled.error().as_str()), (400, "invalid_request"), "{doubled:?}");
    let scope = scene.client.get("/admin/1").send().await;
    assert_eq!((scope.status, scope.error().as_str()), (403, "insufficient_scope"), "{scope:?}");
    assert!(scope.headers_of("www-authenticate").contains("scope=\"orders.admin\""), "{scope:?}");
    let lost = scene.client.get("/nowhere").send().await;
    assert_eq!((lost.status, lost.error().as_str()), (404, "not_found"), "{lost:?}");
    assert!(lost.json()["error_description"].is_string());
    let bare = scene.client.post("/orders/1", vec![b'x'; 300_000]).authorization(&[]).proofs(&[]).send().await;
    assert_eq!((bare.status, bare.error().as_str()), (401, "unauthorized"), "with a body that nobody reads: {bare:?}");
    assert_eq!(scene.world.upstream.count(), before, "nothing went upstream");
}

/// The Fetch standard: a browser's preflight has no credentials, and a script reads only what is exposed.
async fn browsers_can_call(scene: &Scene) {
    let preflight = scene.client.call("OPTIONS", "/app/1").authorization(&[]).proofs(&[]);
    let preflight = preflight.header("Origin", "https://app.example").header("Access-Control-Request-Method", "GET");
    let preflight =
        preflight.header("X-Auth-Subject", "root").header("Access-Control-Request-Headers", "dpop").send().await;
    assert!([200, 204].contains(&preflight.status), "{preflight:?}");
    let refused = scene.client.get("/app/1").header("Origin", "https://app.example").proofs(&[]).send().await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example"), "{refused:?}");
    assert!(refused.headers_of("access-control-expose-headers").contains("DPoP-Nonce"), "{refused:?}");
    let strange = scene.client.call("OPTIONS", "/app/1").authorization(&[]).proofs(&[]);
    let strange = strange.header("Origin", "https://evil.example").header("Access-Control-Request-Method", "GET");
    assert_eq!(strange.send().await.status, 401, "no preflight of ours");
}

/// A piece of the upload arrives before the next is sent: nobody on the way waits for the whole.
async fn an_upload_streams(scene: &Scene) {
    const PIECE: usize = 64 * 1024;
    let stream = tokio::net::TcpStream::connect(scene.proxy.address).await.unwrap();
    let mut sender = http1(stream).await;
    let (upload, body) = Channel::new();
    let request = scene.client.post("/orders/swallow", "").prepare().builder().body(body).unwrap();
    let answering = tokio::spawn(sender.send_request(request));
    let before = scene.world.upstream.count();
    for number in 0..3 {
        let piece = Bytes::from(vec![b'u'; PIECE]);
        upload.send(http_body::Frame::data(piece)).await.unwrap();
        until("some of the piece at the upstream", || async {
            let arrived =
                scene.world.upstream.seen().get(before).is_some_and(|seen| seen.body_bytes > (number * PIECE) as u64);
            arrived.then_some(())
        })
        .await;
    }
    drop(upload);
    let answer = soon("the answer", answering).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let length = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(length, (3 * PIECE).to_string());
}

/// The npm package `oauth4webapi`, unmodified: it finds the issuer, is challenged once, tries again and succeeds.
async fn a_public_client_library_succeeds(scene: &Scene) {
    let token_endpoint = format!("http://{}/token", scene.world.gate.address());
    scene.world.issuer.publish_token_endpoint(&token_endpoint);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    let origin = format!("http://{}", scene.proxy.address);
    let run = move || {
        let mut node = Command::new("node");
        node.args(["clients.mjs", &origin, "oauth4webapi"]).current_dir(folder).stdin(Stdio::null()).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The token endpoint's challenge, the token; the resource's challenge, its answers.
    assert_eq!(result["statuses"], json!([400, 200, 401, 200, 200]), "{result}");
    assert_eq!(scene.identity().last().unwrap(), &("x-auth-subject".to_owned(), "alice".to_owned()));
}

/// Past half of a nonce's lifetime an allowed response brings the next. Traefik can add nothing to a response that the
/// gate has let through: its clients are challenged again.
async fn the_next_nonce_arrives(kind: Kind, scene: &Scene) {
    let first = scene.client.nonce();
    until("the next nonce", || async {
        let answer = scene.client.get("/orders/nonce").send().await;
        assert!(answer.header("dpop-nonce") != Some("the-upstreams-own"), "{answer:?}");
        if answer.status == 401 {
            return (kind == Kind::Traefik && scene.client.nonce() != first).then_some(());
        }
        answer.header("dpop-nonce")?;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        Some(())
    })
    .await;
}

async fn credentials_go_on_as_configured(kind: Kind) {
    for setting in [json!(true), json!("bearer")] {
        let scene = Scene::with(kind, |settings| {
            settings["identity"]["forward_token"] = setting.clone();
            settings["routes"][1]["mode"] = json!("report");
            settings["routes"][1]["auth"] = json!("dpop");
            settings["dpop"]["nonce"]["lifetime"] = json!("2s");
        })
        .await;
        let client = scene.client.clone().greeted().await;
        let request = client.get("/orders/1").prepare();
        assert_eq!(client.send(&request).await.status, 200);
        let seen = scene.world.upstream.last();
        let whole = setting == json!(true);
        let scheme = if whole { "DPoP" } else { "Bearer" };
        assert_eq!(seen.header("authorization"), Some(&*format!("{scheme} {}", client.token)));
        assert_eq!(seen.header("dpop"), whole.then(|| request.value_of("dpop")));

        // Report mode: as it came, without identity.
        let reported = client.get("/status").authorization(&["Digest x"]).header("X-Auth-Subject", "root").send().await;
        assert_eq!(reported.status, 200, "{reported:?}");
        assert_eq!((scene.world.upstream.last().header("authorization"), scene.identity()), (Some("Digest x"), vec![]));
        assert_eq!(scene.world.gate.metric("dpop_gate_requests_total", &[("outcome", "reported")]).await, 1.0);
        if whole {
            the_next_nonce_arrives(kind, &scene).await;
        }
    }
}

async fn story(kind: Kind) {
    let issuer_behind_the_gate = |settings: &mut Value| {
        settings["upstreams"]["issuer"] = json!({"urls": [settings["issuers"][0]["issuer"]]});
        push(
            &mut settings["routes"],
            json!({"name": "token", "match": {"path": "/token"}, "upstream": "issuer",
                                             "auth": "token_endpoint"}),
        );
    };
    let scene = Scene::with(kind, issuer_behind_the_gate).await;
    a_good_request_passes_with_identity_and_no_other_does(&scene).await;
    a_public_route_has_no_identity_and_its_own_credentials(&scene).await;
    refusals_arrive_complete(&scene).await;
    browsers_can_call(&scene).await;
    an_upload_streams(&scene).await;
    a_public_client_library_succeeds(&scene).await;
}

/// What the gate decides on is what the proxy forwards, to the last byte of the request line.
async fn no_part_of_the_target_is_hidden_from_the_gate(kind: Kind) {
    let scene = Scene::with(kind, |settings| {
        let open = json!({"name": "all", "match": {"path": "/", "host": "api.example.com"}, "auth": "public",
                          "upstream": "orders"});
        push(&mut settings["routes"], open);
    })
    .await;
    let before = scene.world.upstream.count();
    for (target, host) in [
        ("/status#/../../orders/1", "api.example.com"),
        ("/status?x#/../../orders/1", "api.example.com"),
        ("/orders/1", "api.example.com?"),
        ("/orders/1", "api.example.com?x="),
        ("/orders/1", "api.example.com:80?"),
        ("/orders/1", "api.example.com#"),
    ] {
        let mut raw = Raw::connect(scene.proxy.address).await;
        raw.write(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{target} at {host}: {answer}");
        assert_eq!(scene.world.upstream.count(), before, "{target} at {host} went upstream");
    }
    let open = scene.client.get("/status?x").authorization(&[]).proofs(&[]).send().await;
    assert_eq!((open.status, scene.world.upstream.count()), (200, before + 1), "{open:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_hides_no_part_of_the_target() {
    no_part_of_the_target_is_hidden_from_the_gate(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_hides_no_part_of_the_target() {
    no_part_of_the_target_is_hidden_from_the_gate(Kind::Traefik).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_hides_no_part_of_the_target() {
    no_part_of_the_target_is_hidden_from_the_gate(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_hides_no_part_of_the_target() {
    no_part_of_the_target_is_hidden_from_the_gate(Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_asks_the_gate() {
    story(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_asks_the_gate() {
    story(Kind::Traefik).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_asks_the_gate() {
    story(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_asks_the_gate() {
    story(Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_forwards_credentials_as_configured() {
    credentials_go_on_as_configured(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_forwards_credentials_as_configured() {
    credentials_go_on_as_configured(Kind::Traefik).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_forwards_credentials_as_configured() {
    credentials_go_on_as_configured(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_forwards_credentials_as_configured() {
    credentials_go_on_as_configured(Kind::Envoy).await;
}
