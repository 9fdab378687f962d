//! What NATS does to keep messages, and what a power cut costs.

use gnomon_host::port::Promise;

use super::Nats;
use super::monitor::{self, Sync};

impl Nats {
    pub(super) async fn read_promise(&self) -> Promise {
        let shared = &self.shared;
        let sync = match &shared.monitor {
            Some(url) => monitor::read(url).await,
            None => Err("set queue_monitor".to_owned()),
        };
        let copies = shared.replicas.values().copied().min().unwrap_or(1);
        let mut settings = vec![("sync_interval".to_owned(), shown(&sync))];
        let each = shared.replicas.iter();
        settings.extend(each.map(|(class, copies)| {
            (format!("replicas of {}", class.as_str()), copies.to_string())
        }));
        let (power_cut, weak) = cost(&sync, copies);
        let server = format!("NATS {}", self.server_version());
        Promise { server, settings, power_cut, weak }
    }
}

fn shown(sync: &Result<Sync, String>) -> String {
    match sync {
        Ok(Sync::Always) => "always".to_owned(),
        Ok(Sync::Every(time)) => format!("{time:?}"),
        Err(why) => format!("not visible ({why})"),
    }
}

/// The cost in a line, and whether it is more than a few seconds.
fn cost(sync: &Result<Sync, String>, copies: usize) -> (String, bool) {
    const FEW_SECONDS: std::time::Duration = std::time::Duration::from_secs(5);
    let (mut lost, weak) = match sync {
        Ok(Sync::Always) => ("no acknowledged message".to_owned(), false),
        Ok(Sync::Every(time)) => {
            (format!("acknowledged messages of up to {time:?}"), *time > FEW_SECONDS)
        }
        Err(_) => (
            "acknowledged messages of up to two minutes, unless sync_interval says otherwise"
                .to_owned(),
            true,
        ),
    };
    if copies > 1 && *sync != Ok(Sync::Always) {
        lost.push_str(&format!(", if it takes all {copies} copies at once"));
    }
    (format!("a power cut costs {lost}; a killed process costs nothing"), weak)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_cost_follows_the_setting() {
        let every = |seconds| Ok(Sync::Every(Duration::from_secs(seconds)));
        for (sync, copies, said, weak) in [
            (Ok(Sync::Always), 1, "no acknowledged message;", false),
            (every(120), 1, "up to 120s;", true),
            (every(1), 3, "up to 1s, if it takes all 3 copies", false),
            (Err("why".to_owned()), 1, "two minutes", true),
        ] {
            let (told, found) = cost(&sync, copies);
            assert!(told.contains(said), "{said} in {told}");
            assert_eq!(found, weak, "{told}");
        }
    }
}
