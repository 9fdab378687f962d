//! Mosquitto's own clients, as people use them at a prompt.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::server::Beside;

/// How long a subscription may take.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(20);

fn client(program: &str, broker: SocketAddr) -> Command {
    // Written to a pipe, the clients would hold their output back until their buffer is full.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program, "-V", "mqttv311", "-q", "1"]);
    command.args(["-h", &broker.ip().to_string(), "-p", &broker.port().to_string()]);
    command
}

/// Subscribes at QoS 1 as a client of that name, whose session stays, and waits until it is granted.
///
/// # Panics
/// It is not.
#[must_use]
pub fn subscribe(broker: SocketAddr, name: &str, filter: &str) -> Beside {
    let mut command = client("mosquitto_sub", broker);
    let mut subscriber = Beside::start(command.args(["-d", "-v", "-c", "-i", name, "-t", filter]));
    subscriber.wait_for(&["Subscribed (mid: 1): 1"], SUBSCRIBED_WITHIN);
    subscriber
}

/// Publishes at QoS 1 as an anonymous client.
///
/// # Panics
/// The broker does not take it.
pub fn publish(broker: SocketAddr, topic: &str, payload: &str) {
    let output = client("mosquitto_pub", broker).args(["-t", topic, "-m", payload]).output();
    let output = output.expect("mosquitto_pub runs: `make test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
