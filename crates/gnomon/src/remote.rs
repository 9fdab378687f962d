//! `gnomon device`, and how a running Gnomon is asked over its HTTP interface.

use clap::{Args, Subcommand};
use serde_json::Value;
use ureq::http::Response;

use gnomon_run::Failure;

/// Which Gnomon to ask, and how to print.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// Where the server listens for applications
    #[arg(long, value_name = "ADDR", env = "GNOMON_HTTP", default_value = "127.0.0.1:8080")]
    http: String,
    /// Print JSON, for machines
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceVerb {
    /// List devices that have a record
    List {
        /// Only of this product
        #[arg(long)]
        product: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show everything that is kept about one device
    Show {
        /// The device, as `product/device`
        device: String,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Runs `gnomon device …`.
pub(crate) fn device(verb: &DeviceVerb) -> Result<(), Failure> {
    match verb {
        DeviceVerb::List { product, remote } => list_devices(product.as_deref(), remote),
        DeviceVerb::Show { device, remote } => {
            let (product, name) = device.split_once('/').ok_or_else(|| {
                Failure::new(format!("`{device}` is not a device: write product/device"))
            })?;
            let path = format!("/v1/devices/{}/{}", escape(product), escape(name));
            print_pretty(&remote.get(&path)?);
            Ok(())
        }
    }
}

fn list_devices(product: Option<&str>, remote: &Remote) -> Result<(), Failure> {
    let filter = product.map(|product| format!("product={}", escape(product))).unwrap_or_default();
    remote.each_page("/v1/devices", &filter, "devices", |device| {
        println!("{}/{}", text(&device["product"]), text(&device["device"]));
    })
}

impl Remote {
    /// The Gnomon at this address, for documents that somebody else prints.
    pub(crate) fn at(http: std::net::SocketAddr) -> Self {
        Self { http: http.to_string(), json: false }
    }

    /// Asks for a document.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(path, |agent, url| agent.get(url).call())
    }

    /// Asks for something to be done, of which the path says all.
    pub(crate) fn post(&self, path: &str) -> Result<Value, Failure> {
        self.ask(path, |agent, url| agent.post(url).send_empty())
    }

    /// Asks for something to be removed.
    pub(crate) fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(path, |agent, url| agent.delete(url).call())
    }

    fn ask(
        &self,
        path: &str,
        request: impl Fn(&ureq::Agent, &str) -> Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Failure> {
        let url = format!("http://{}{path}", self.http);
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = request(&agent, &url).map_err(|error| {
            Failure::new(format!("ask {url}: {error}; is `gnomon run` running?"))
        })?;
        let body = response
            .body_mut()
            .read_to_string()
            .map_err(|error| Failure::new(format!("read the answer of {url}: {error}")))?;
        let body: Value = serde_json::from_str(&body)
            .map_err(|error| Failure::new(format!("read the answer of {url}: {error}")))?;
        if response.status().is_success() {
            return Ok(body);
        }
        let (title, detail) = (text(&body["title"]), text(&body["detail"]));
        Err(Failure::new(format!("{path}: {title}: {detail}")))
    }

    /// Prints one document: as JSON, or as `lay_out` does.
    pub(crate) fn print(&self, document: &Value, lay_out: impl Fn(&Value) -> String) {
        if self.json {
            print_pretty(document);
        } else {
            println!("{}", lay_out(document));
        }
    }

    /// Prints every item of a listing: as JSON, one a line, or as `print` does.
    pub(crate) fn each_page(
        &self,
        path: &str,
        filter: &str,
        items: &str,
        print: impl Fn(&Value),
    ) -> Result<(), Failure> {
        let mut after = String::new();
        loop {
            let page = self.get(&format!("{path}?{filter}{after}"))?;
            for item in page[items].as_array().into_iter().flatten() {
                if self.json {
                    println!("{item}");
                } else {
                    print(item);
                }
            }
            if page["next"].is_null() {
                return Ok(());
            }
            let separator = if filter.is_empty() { "" } else { "&" };
            after = format!("{separator}after={}", escape(&text(&page["next"])));
        }
    }
}

fn print_pretty(document: &Value) {
    println!("{document:#}");
}

/// The value for people: a text without quotes, a dash for nothing.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
