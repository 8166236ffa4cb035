//! The status page at the admin address: what an operator sees while clients are refused.

use std::process::Command;

use fantoccini::{Client, Locator};
use serde_json::json;

use super::chromium::{Browser, Scheme, found, keep_screenshot, look, text, until};
use super::demo_process::Demo;
use crate::program::binary;

/// A request to the token endpoint whose proof has no nonce: refused, and counted.
async fn refuse_one(demo: &Demo, key: &std::path::Path) {
    let url = format!("{}/token", demo.gate());
    let made =
        Command::new(binary()).args(["proof", "--method", "POST", "--url", &url, "--key"]).arg(key).output().unwrap();
    let proof = String::from_utf8(made.stdout).unwrap();
    let sent = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-H", &format!("DPoP: {}", proof.trim())])
        .arg(&url)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(sent.stdout).unwrap(), "400");
}

/// Waits until the text of an element has all of these words.
async fn shows(client: &Client, css: &str, words: &[&str]) {
    until(&format!("{words:?} in {css}"), || async {
        let told = text(client, css).await;
        words.iter().all(|word| told.contains(word)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_appears_while_somebody_watches() {
    Browser::with(async |client: Client| {
        let demo = Demo::start();
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.jwk");
        let made = Command::new(binary()).args(["keygen", "--out"]).arg(&key).output().unwrap();
        let told = String::from_utf8(made.stderr).unwrap();
        let thumbprint = told.split_whitespace().last().unwrap().to_owned();

        client.goto(&demo.word_after("What the gate sees")).await.unwrap();
        found(&client, "#state[data-state=ready]").await;
        shows(&client, "#latest", &["None so far."]).await;
        refuse_one(&demo, &key).await;
        shows(&client, "#latest", &["nonce missing", "400", "token", &thumbprint[..10]]).await;
        shows(&client, "#reasons", &["nonce missing"]).await;
        shows(&client, "#routes", &["/api/", "dpop", "enforce"]).await;
        shows(&client, "#upstreams", &["healthy"]).await;
        shows(&client, "#issuers", &[&demo.gate()]).await;
        shows(&client, "#proofs", &["required", "1,000,000"]).await;
        assert!(!client.source().await.unwrap().contains(&thumbprint), "a whole thumbprint");
        // Whoever lacks a nonce is only asked for one.
        found(&client, "#chart rect.challenged").await;
        shows(&client, "#legend", &["asked for a nonce 1"]).await;
        assert!(client.find_all(Locator::Css("#chart rect.refused")).await.unwrap().is_empty());

        for scheme in Scheme::BOTH {
            for (width, height) in [(1280, 900), (390, 844)] {
                look(&client, scheme, width, height).await;
                let wide = client.execute("return document.documentElement.scrollWidth", vec![]).await.unwrap();
                assert!(wide.as_u64().unwrap() <= u64::from(width), "{wide} wide at {width}");
                keep_screenshot(&client, &format!("status-{}-{width}", scheme.name())).await;
            }
        }

        drop(demo);
        found(&client, "#state[data-state=gone]").await;
        shows(&client, "#state", &["does not answer"]).await;
        let loaded = "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)";
        let origins = client.execute(loaded, vec![]).await.unwrap();
        let own = client.execute("return location.origin", vec![]).await.unwrap();
        assert!(origins.as_array().unwrap().iter().all(|origin| *origin == own), "{origins}");
        assert_ne!(origins, json!([]));
    })
    .await;
}
