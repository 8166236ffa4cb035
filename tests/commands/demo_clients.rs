//! Clients that somebody else wrote get a code, a token, an answer and a refreshed token from the demo: the npm
//! packages `oauth4webapi` and `openid-client`, unmodified, nonces demanded at both servers.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::demo_process::Demo;

#[test]
fn public_clients_walk_the_code_flow_with_pkce_and_refresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    assert!(folder.join("node_modules").exists(), "the clients are not installed; `bash tests/run` does it");
    let demo = Demo::start();
    let output = Command::new("node")
        .args(["code.mjs", &demo.gate(), "demo-app", &format!("{}/callback", demo.gate())])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let results: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = results.iter().map(|result| result["client"].as_str().unwrap()).collect();
    assert_eq!(names, ["oauth4webapi", "openid-client"]);
    for result in &results {
        // Challenged once by each server: code, call, refresh, call.
        assert_eq!(result["statuses"], json!([400, 200, 401, 200, 200, 200]), "{result}");
        assert_eq!(result["rotated"], true, "{result}");
        for seen in result["seen"].as_array().unwrap() {
            let headers = &seen["headers"];
            assert_eq!(headers["x-auth-jkt"], result["jkt"], "{result}");
            assert_eq!(
                (&headers["x-auth-subject"], &headers["x-auth-scope"]),
                (&json!("alice"), &json!("orders.read"))
            );
            assert_eq!(headers["x-auth-client-id"], "demo-app", "{result}");
            assert_eq!((headers.get("authorization"), headers.get("dpop")), (None, None), "{result}");
        }
    }
}
