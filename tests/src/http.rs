//! HTTP as an application speaks it.

use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

/// How long a request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(70);

/// A response, whatever its status.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The entity tag, if any.
    pub etag: Option<String>,
    /// The body as text.
    pub text: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Panics
    /// It is not JSON; the message shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text))
    }
}

/// Sends a request and reads the response.
///
/// # Panics
/// The server does not answer.
#[must_use]
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_WITHIN))
        .build()
        .into();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_owned()).expect("a request of the tests is well-formed");
    let mut response = agent.run(request).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let etag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let text = response.body_mut().read_to_string().expect("a body is text");
    Response { status: response.status().as_u16(), etag, text }
}

/// Reads a resource.
///
/// # Panics
/// The server does not answer.
#[must_use]
pub fn get(url: &str) -> Response {
    request("GET", url, &[], "")
}

/// Reads a JSON resource until it is as wanted: what a message changes is seen soon after it is
/// acknowledged, not at once.
///
/// # Panics
/// It is not as wanted after `within`; the message shows the last body.
pub fn get_until(url: &str, within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + within;
    loop {
        let response = get(url);
        let late = Instant::now() > deadline;
        assert!(!late, "{url} is not as wanted after {within:?}: {}", response.text);
        if response.status == 200 {
            let body = response.json();
            if wanted(&body) {
                return body;
            }
        }
        std::thread::yield_now();
    }
}
