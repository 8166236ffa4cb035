//! The page of `dpop-gate demo`: its flow, its every button, a gate that goes away, a keyboard, a phone.

use fantoccini::Client;
use fantoccini::key::Key;
use serde_json::json;

use super::chromium::{Browser, Scheme, click, found, keep_screenshot, look, text, until};
use super::demo_process::Demo;

/// Opens the page, runs the flow, and approves in the other window.
async fn walked(client: &Client, demo: &Demo) {
    client.goto(&demo.gate()).await.unwrap();
    click(client, "#flow").await;
    decide(client, "approve").await;
    outcome(client, "flow", "accepted").await;
}

/// What the user does in the window that opens: `approve` or `deny`.
async fn decide(client: &Client, decision: &str) {
    let page = client.window().await.unwrap();
    let other = until("the consent window", || async {
        client.windows().await.unwrap().into_iter().find(|window| *window != page)
    })
    .await;
    client.switch_to_window(other).await.unwrap();
    let button = found(client, &format!("button[value={decision}]")).await;
    // The window closes by itself, maybe before the driver has an answer.
    let _ = button.click().await;
    client.switch_to_window(page).await.unwrap();
}

/// Waits for the newest scene of that name to end, and for the page to be ready for more.
async fn outcome(client: &Client, scene: &str, expected: &str) {
    let css = format!("#scenes > :first-child[data-scene={scene}]:not([data-outcome=running])");
    let found_outcome = found(client, &css).await.attr("data-outcome").await.unwrap().unwrap();
    let told = text(client, "#scenes > :first-child").await;
    assert_eq!(found_outcome, expected, "{scene}: {told}");
    found(client, "#flow:not(:disabled)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_browser_walks_the_flow_and_every_arrow_opens() {
    Browser::with(async |client: Client| {
        let demo = Demo::start();
        walked(&client, &demo).await;
        assert!(text(&client, ".verdict.accepted").await.contains("Hello alice."));
        // The legacy API's own view of the last call.
        let told = text(&client, ".panel").await;
        assert!(told.contains("x-auth-subject") && told.contains("orders.read"), "{told}");

        let labels = rows(&client).await;
        for (number, part) in [
            (1, "cannot be exported"),
            (2, "with a proof"),
            (3, "use_dpop_nonce"),
            (4, "signs a new proof"),
            (5, "proof with nonce"),
            (6, "a token bound to the key"),
            (7, "calls the API"),
            (8, "Hello alice"),
        ] {
            let label = labels.iter().find(|label| label.starts_with(&format!("Step {number}: ")));
            assert!(label.is_some_and(|label| label.contains(part)), "{number}: {labels:#?}");
        }
        let opened = open_each(&client).await;
        assert_eq!(opened.len(), labels.len());
        let has = |row: usize, parts: &[&str]| {
            parts.iter().for_each(|part| assert!(opened[row].contains(part), "{part} in {}", opened[row]));
        };
        has(0, &["thumbprint", "InvalidAccessError"]);
        has(1, &["GET /authorize", "code_challenge", "dpop_jkt", "S256"]);
        let challenged = labels.iter().position(|label| label.contains("use_dpop_nonce")).unwrap();
        has(
            challenged,
            &["POST /token", "htm", "htu", "HTTP/1.1 400", "Authorization server requires nonce in DPoP proof."],
        );
        let last = labels.len() - 1;
        has(last, &["GET /api/orders", "ath", "nonce", "cnf", "HTTP/1.1 200", "by the key that the token is bound to"]);
    })
    .await;
}

/// What each row says to a screen reader, in order.
async fn rows(client: &Client) -> Vec<String> {
    let script = "return [...document.querySelectorAll('#scenes > :first-child .row')].map((row) => \
                  row.getAttribute('aria-label'))";
    serde_json::from_value(client.execute(script, vec![]).await.unwrap()).unwrap()
}

/// What each row opens to.
async fn open_each(client: &Client) -> Vec<String> {
    let script = "const scene = document.querySelector('#scenes > :first-child'); \
                  return [...scene.querySelectorAll('.row')].map((_, index) => { \
                    scene.querySelectorAll('.row')[index].dispatchEvent(new MouseEvent('click', {bubbles: true})); \
                    return scene.querySelector('.panel').textContent })";
    serde_json::from_value(client.execute(script, vec![]).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_break_it_is_refused_with_the_gates_reason_beside_the_rfcs() {
    Browser::with(async |client: Client| {
        let demo = Demo::start();
        walked(&client, &demo).await;
        click(&client, "#again").await;
        outcome(&client, "again", "accepted").await;
        for (button, ends, error, section) in [
            ("replay", "refused", "invalid_dpop_proof", "section 11.1"),
            ("stolen", "refused", "invalid_token", "7.1"),
            ("method", "refused", "invalid_dpop_proof", "4.3"),
            ("bearer", "refused", "invalid_token", "section 7.2"),
            ("expired", "challenged", "use_dpop_nonce", "section 9"),
        ] {
            click(&client, &format!("#{button}")).await;
            outcome(&client, button, ends).await;
            let scene = format!("#scenes > [data-scene={button}]");
            let said = async |field: &str| text(&client, &format!("{scene} [data-field={field}]")).await;
            assert_eq!(said("error").await, error, "{button}");
            let description = said("error_description").await;
            let challenge = said("WWW-Authenticate").await;
            let named = format!("DPoP error=\"{error}\", error_description=\"{description}\"");
            assert!(challenge.starts_with(&named) && challenge.contains("algs="), "{button}: {challenge}");
            let rfc = said("rfc").await;
            assert!(rfc.contains("RFC 9449") && rfc.contains(section), "{button}: {rfc}");
            assert!(text(&client, &format!("{scene} .verdict h3")).await.starts_with("401"), "{button}");
            let labels = rows(&client).await;
            assert!(
                labels.iter().any(|label| label.contains("by the gate") && !label.contains("passed on")),
                "{labels:?}"
            );
        }
        look(&client, Scheme::Light, 1280, 900).await;
        keep_screenshot(&client, "demo-broken").await;
        // A client that was told another nonce goes on by itself.
        assert!(rows(&client).await.last().unwrap().contains("200"));
        click(&client, "#again").await;
        outcome(&client, "again", "accepted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_says_no_is_an_outcome_too() {
    Browser::with(async |client: Client| {
        let demo = Demo::start();
        client.goto(&demo.gate()).await.unwrap();
        click(&client, "#flow").await;
        decide(&client, "deny").await;
        outcome(&client, "flow", "failed").await;
        assert!(text(&client, "#status").await.contains("the user said no"));
        found(&client, "#replay:disabled").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_is_gone_is_shown_as_gone_and_one_that_is_back_as_back() {
    Browser::with(async |client: Client| {
        let demo = Demo::start();
        let address = demo.gate().replace("http://", "");
        walked(&client, &demo).await;
        drop(demo);
        click(&client, "#again").await;
        outcome(&client, "again", "failed").await;
        found(&client, "#reach[data-reach=no]").await;
        assert!(text(&client, ".verdict.failed").await.contains("The gate does not answer"));
        assert!(rows(&client).await.last().unwrap().contains("not answered"));

        let _demo = Demo::start_at(&address);
        found(&client, "#reach[data-reach=yes]").await;
        assert!(text(&client, "#status").await.contains("The gate is back"));
        click(&client, "#flow").await;
        decide(&client, "approve").await;
        outcome(&client, "flow", "accepted").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyboard_is_enough() {
    Browser::with(async |client: Client| {
        let demo = Demo::start();
        client.goto(&demo.gate()).await.unwrap();
        let press = async |key: char| {
            client.active_element().await.unwrap().send_keys(&key.to_string()).await.unwrap();
        };
        found(&client, "#flow").await;
        press(Key::Tab.into()).await;
        press(Key::Enter.into()).await;
        decide(&client, "approve").await;
        outcome(&client, "flow", "accepted").await;
        // Everything before the diagram's first row is a button.
        let focus = "document.querySelector('#expired').focus()";
        client.execute(focus, vec![]).await.unwrap();
        press(Key::Tab.into()).await;
        press(Key::Enter.into()).await;
        let panel = text(&client, ".panel h3").await;
        assert_eq!(panel, "A key pair");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_fits_a_phone_and_both_schemes_and_needs_nothing_from_outside() {
    Browser::with(async |client: Client| {
        let demo = Demo::start();
        walked(&client, &demo).await;
        click(&client, "#replay").await;
        outcome(&client, "replay", "refused").await;
        for scheme in Scheme::BOTH {
            for (width, height) in [(1280, 900), (390, 844)] {
                look(&client, scheme, width, height).await;
                let measure = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth, \
                               getComputedStyle(document.body).backgroundColor]";
                let measured = client.execute(measure, vec![]).await.unwrap();
                assert_eq!(measured[0], measured[1], "it scrolls sideways at {width}");
                let dark = measured[2] != json!("rgb(246, 247, 249)");
                assert_eq!(dark, matches!(scheme, Scheme::Dark), "{measured}");
                keep_screenshot(&client, &format!("demo-{}-{width}", scheme.name())).await;
            }
        }
        let loaded = "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)";
        let origins: Vec<String> = serde_json::from_value(client.execute(loaded, vec![]).await.unwrap()).unwrap();
        assert!(origins.len() > 5 && origins.iter().all(|origin| *origin == demo.gate()), "{origins:?}");
    })
    .await;
}
