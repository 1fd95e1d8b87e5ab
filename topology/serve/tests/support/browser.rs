//! A headless Chromium, driven through chromedriver.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Longest wait for something to be so.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// The name under which WebDriver hides an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                "chromedriver is not installed, and this test is about the page in a browser. Install it: sudo apt-get \
                 install chromium chromium-driver"
            ),
            Err(error) => panic!("chromedriver does not run: {error}"),
        };
        let lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.split("started successfully on port ").nth(1)?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let driver_url = format!("http://127.0.0.1:{}/session", port.expect("chromedriver says its port"));
        let profile = tempfile::tempdir().expect("a folder");
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(), // the tests may be run as root
            "--disable-dev-shm-usage".to_owned(),
            "--autoplay-policy=no-user-gesture-required".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut browser = Self { driver, session: driver_url, agent, _profile: profile };
        let id = browser.say("", &capabilities)["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    fn say(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.session)).header("Content-Type", "application/json");
        let answer = request.send(body.to_string()).expect("an answer");
        let (status, value) = (answer.status(), json_of(answer));
        assert_eq!(status, 200, "{path} {body}: {value}");
        value["value"].clone()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.agent.get(format!("{}{path}", self.session)).call().expect("an answer");
        json_of(answer)["value"].clone()
    }

    pub fn open(&self, url: &str) {
        self.say("/url", &json!({ "url": url }));
    }

    /// What a function body gives in the page.
    pub fn eval(&self, script: &str) -> Value {
        self.say("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a function body gives something that is true, and returns it.
    pub fn until(&self, script: &str) -> Value {
        let start = Instant::now();
        loop {
            let value = self.eval(script);
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "never so: {script}\n{}\n{:?}",
                self.eval("return document.body.innerText"),
                self.complaints()
            );
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    fn elements(&self, selector: &str) -> Vec<String> {
        let found = self.say("/elements", &json!({ "using": "css selector", "value": selector }));
        let ids = found.as_array().expect("elements").iter();
        ids.map(|element| element[ELEMENT].as_str().expect("an id").to_owned()).collect()
    }

    /// Clicks the first element that a selector finds, as a user would: what is covered or hidden cannot be.
    pub fn click(&self, selector: &str) {
        let elements = self.elements(selector);
        let element = elements.first().unwrap_or_else(|| panic!("no {selector}"));
        self.say(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into the first element that a selector finds.
    pub fn type_into(&self, selector: &str, text: &str) {
        let elements = self.elements(selector);
        let element = elements.first().unwrap_or_else(|| panic!("no {selector}"));
        self.say(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// What a screen reader calls the elements that a selector finds.
    pub fn labels(&self, selector: &str) -> Vec<String> {
        let label = |element: &String| self.get(&format!("/element/{element}/computedlabel"));
        self.elements(selector).iter().map(|element| label(element).as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Makes the window so wide.
    pub fn resize(&self, width: u32, height: u32) {
        self.say("/window/rect", &json!({ "width": width, "height": height }));
    }

    /// A picture of the window, as PNG in base64.
    pub fn picture(&self) -> String {
        self.get("/screenshot").as_str().expect("a picture").to_owned()
    }

    /// What the console complains about: errors of scripts, what the policy forbids, what is not found.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.say("/se/log", &json!({ "type": "browser" }));
        let severe = log.as_array().expect("a log").iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }
}

fn json_of(answer: ureq::http::Response<ureq::Body>) -> Value {
    let mut text = String::new();
    answer.into_body().into_reader().read_to_string(&mut text).expect("text");
    serde_json::from_str(&text).expect("JSON")
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call(); // ends the browser
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
