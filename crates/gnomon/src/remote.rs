//! `gnomon device` and `gnomon dead`: what a running Gnomon knows, over its HTTP interface.

use clap::{Args, Subcommand};
use serde_json::Value;

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

#[derive(Debug, Subcommand)]
pub(crate) enum DeadVerb {
    /// List messages that can never be applied, oldest first
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one of them
    Show {
        /// Its position, as `list` prints it
        position: u64,
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

/// Runs `gnomon dead …`.
pub(crate) fn dead(verb: &DeadVerb) -> Result<(), Failure> {
    match verb {
        DeadVerb::List { remote } => list_dead(remote),
        DeadVerb::Show { position, remote } => {
            print_pretty(&remote.get(&format!("/v1/dead/{position}"))?);
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

fn list_dead(remote: &Remote) -> Result<(), Failure> {
    remote.each_page("/v1/dead", "", "dead", |letter| {
        let device = &letter["envelope"]["device"];
        let device = format!("{}/{}", text(&device["product"]), text(&device["device"]));
        println!(
            "{:>8}  {:<16}  {device:<32}  {}",
            text(&letter["position"]),
            text(&letter["kind"]),
            text(&letter["reason"]),
        );
    })
}

impl Remote {
    fn get(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("http://{}{path}", self.http);
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.get(&url).call().map_err(|error| {
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

    /// Prints every item of a listing: as JSON, one a line, or as `print` does.
    fn each_page(
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

fn text(value: &Value) -> String {
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
