//! A browser without a window. Each [`Browser`] is a process of its own with a profile of its own, and ends with its
//! owner.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Longest wait for anything that should happen soon; generous because the cores are shared.
const SOON: Duration = Duration::from_secs(60);

/// Which colours a page is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    pub const BOTH: [Self; 2] = [Self::Light, Self::Dark];

    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// Browsers at a time: each of them wants a core of its own.
static ROOM: Semaphore = Semaphore::const_new(2);

/// A running Chromium and the program that drives it.
pub struct Browser {
    pub client: Client,
    _driver: Driver,
}

struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Browser {
    /// Runs a test in a browser, and ends the browser whatever becomes of the test.
    pub async fn with<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Client) -> F) {
        let _room = ROOM.acquire().await.unwrap();
        let browser = Self::start().await;
        let outcome = tokio::spawn(test(browser.client.clone())).await;
        // Asked first, so that it takes its processes with it.
        let _ = browser.client.clone().close().await;
        if let Err(error) = outcome {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is not installed; `bash tests/run` does it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // Read on, so that it never writes into a pipe that is full or closed.
        std::thread::spawn(move || lines.for_each(drop));
        let driver = Driver(driver);
        let port = port.expect("chromedriver says where it listens");
        // Root may not use the sandbox, and a container's /dev/shm is small.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"];
        let options = json!({"goog:chromeOptions": {"args": arguments}});
        let capabilities: Capabilities = options.as_object().unwrap().clone();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self { client, _driver: driver }
    }
}

/// A command of the DevTools protocol, which WebDriver has no word for.
#[derive(Debug)]
struct DevTools(Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}

/// Shows pages in that scheme, on a screen of that width.
pub async fn look(client: &Client, scheme: Scheme, width: u32, height: u32) {
    let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme.name()}]});
    let screen = json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600});
    for (cmd, params) in [("Emulation.setEmulatedMedia", media), ("Emulation.setDeviceMetricsOverride", screen)] {
        client.issue_cmd(DevTools(json!({"cmd": cmd, "params": params}))).await.unwrap();
    }
}

/// Keeps what the page looks like now, the whole of it, below `target/tmp`; the path is for whoever wants to see it.
pub async fn keep_screenshot(client: &Client, name: &str) -> PathBuf {
    let params = json!({"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": true}});
    let shot = client.issue_cmd(DevTools(params)).await.unwrap();
    let png = base64(shot["data"].as_str().unwrap());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
    std::fs::write(&path, png).unwrap();
    path
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// Asks again and again until there is an answer; fails with `what` at the deadline.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {SOON:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Waits for an element that is there, whatever else happens.
pub async fn found(client: &Client, css: &str) -> fantoccini::elements::Element {
    until(css, || async { client.find(Locator::Css(css)).await.ok() }).await
}

/// Clicks on what is there and can be clicked on.
pub async fn click(client: &Client, css: &str) {
    let enabled = format!("{css}:not(:disabled)");
    found(client, &enabled).await.click().await.unwrap();
}

/// The text of an element.
pub async fn text(client: &Client, css: &str) -> String {
    found(client, css).await.text().await.unwrap()
}
