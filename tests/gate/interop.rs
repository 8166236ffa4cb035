//! Clients that somebody else wrote: the npm packages `dpop` and `oauth4webapi`, through the gate, nonces required.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::harness::{World, push};

fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    assert!(folder.join("node_modules").exists(), "the clients are not installed; `bash tests/run` does it");
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_clients_get_a_token_and_an_answer_through_the_gate() {
    let folder = installed();
    let world = World::with(|settings| {
        let issuer = settings["issuers"][0]["issuer"].clone();
        settings["upstreams"]["issuer"] = json!({"urls": [issuer]});
        push(
            &mut settings["routes"],
            json!({"name": "token", "match": {"path": "/token", "methods": ["POST"]},
                                       "upstream": "issuer", "auth": "token_endpoint"}),
        );
    })
    .await;
    let origin = format!("http://{}", world.gate.address());
    world.issuer.publish_token_endpoint(&format!("{origin}/token"));
    let output = tokio::task::spawn_blocking(move || {
        Command::new("node").arg("clients.mjs").arg(origin).current_dir(folder).stdin(Stdio::null()).output().unwrap()
    })
    .await
    .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{:?}", world.gate.log());

    let results: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = results.iter().map(|result| result["client"].as_str().unwrap()).collect();
    assert_eq!(names, ["oauth4webapi", "dpop ES256", "dpop Ed25519", "dpop RS256", "dpop PS256"]);
    for result in &results {
        // Challenged once, at the token endpoint; from then on the nonce is known.
        assert_eq!(result["statuses"], json!([400, 200, 200, 200]), "{result}");
        let headers = result["seen"]["headers"].as_array().unwrap();
        let sent = |name: &str| headers.iter().find(|header| header[0] == name).map(|header| &header[1]);
        assert_eq!(sent("x-auth-jkt"), Some(&result["jkt"]), "{result}");
        assert_eq!(sent("x-auth-subject"), Some(&json!("alice")), "{result}");
        assert_eq!((sent("authorization"), sent("dpop")), (None, None), "{result}");
    }
}

/// The subjects of the Autobahn suite's echo cases, against the server of the npm package `ws`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_frames_come_back_through_the_gate_as_without_it() {
    let folder = installed();
    let node = |arguments: &[&str]| {
        let mut node = Command::new("node");
        node.arg("websocket.mjs").args(arguments).current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::piped());
        node
    };
    let mut echo = node(&["serve"]).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(echo.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let port = port.trim();
    let world = World::with(|settings| {
        settings["upstreams"]["orders"]["urls"] = json!([format!("http://127.0.0.1:{port}")]);
        settings["routes"] = json!([{"match": {"path": "/ws"}, "upstream": "orders", "auth": "public"}]);
    })
    .await;
    let mut run = node(&["run", port, &world.gate.address().port().to_string()]);
    let output = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
    echo.kill().unwrap();
    echo.wait().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!(result["different"], json!([]));
    assert!(result["cases"].as_u64() > Some(100), "{result}");
}
