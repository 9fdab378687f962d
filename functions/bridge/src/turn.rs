//! Whose turn the downlink is: that of the bridge that has stood in line the longest.
//!
//! Every bridge that carries the downlink says each second that it is there. Names begin with the
//! time at which a bridge joined the line, so the lowest name is its head, and one that starts later
//! never pushes in. Who is not heard of for a few seconds is out of the line. While two do not see the
//! same line, both may open the log: the later one has it, and the earlier one finds it closed.

use std::convert::Infallible;
use std::time::Duration;

use gnomon_host::port::{Queue, QueueError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The line in which bridges stand that share the log's one consumer, whatever their brokers are;
/// those that share a reader stand in a line of its name.
pub const LINE: &str = "bridge-downlink";
/// Time between two looks at the line.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A place in the line.
pub(crate) struct Turn<Q> {
    queue: Q,
    line: String,
    name: String,
}

impl<Q: Queue> Turn<Q> {
    /// A place at the end of the line.
    pub(crate) fn new(queue: Q, reader: Option<&str>) -> Self {
        Self { queue, line: reader.unwrap_or(LINE).to_owned(), name: name() }
    }

    /// Waits for its turn; false if `stop` is cancelled before.
    ///
    /// # Errors
    /// The queue is closed.
    pub(crate) async fn wait(&self, stop: &CancellationToken) -> Result<bool, QueueError> {
        let mut told = false;
        while !stop.is_cancelled() {
            match self.queue.attend(&self.line, &self.name).await {
                Ok(line) if is_head(&self.name, &line) => return Ok(true),
                Ok(_) if told => {}
                Ok(_) => {
                    told = true;
                    info!("another bridge has the downlink: standing by");
                }
                Err(QueueError::Closed) => return Err(QueueError::Closed),
                Err(error) => warn!(error = %error, "see which bridge has the downlink"),
            }
            let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
        }
        Ok(false)
    }

    /// Stays in the line for as long as it is polled.
    pub(crate) async fn stay(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // Whoever has the log keeps it while the queue is away: nobody else can open it then.
            if let Err(error) = self.queue.attend(&self.line, &self.name).await {
                warn!(error = %error, "say that this bridge has the downlink");
            }
        }
    }

    /// After the log was taken over: goes to the end of the line; whether another bridge is in it. If
    /// none is, something else reads the log.
    ///
    /// # Errors
    /// The queue is closed or away.
    pub(crate) async fn lose(&mut self) -> Result<bool, QueueError> {
        self.queue.leave(&self.line, &self.name).await?;
        self.name = name();
        let line = self.queue.attend(&self.line, &self.name).await?;
        Ok(!is_head(&self.name, &line))
    }

    /// Leaves the line, so that the next one need not wait until this one is missed.
    pub(crate) async fn leave(self) {
        if let Err(error) = self.queue.leave(&self.line, &self.name).await {
            warn!(error = %error, "leave the downlink; another bridge takes over in a few seconds");
        }
    }
}

fn name() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

fn is_head(name: &str, line: &[String]) -> bool {
    line.iter().all(|other| name <= other.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_who_came_is_the_head() {
        let line: Vec<String> = (0..5).map(|_| name()).collect();
        let heads: Vec<_> = line.iter().filter(|one| is_head(one, &line)).collect();
        assert_eq!(heads, [&line[0]]);
        assert!(is_head(&line[3], &line[3..4]));
    }
}
