//! Dead letters that somebody has done with: the server erases them.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::DeleteMessageErrorKind;
use futures_util::future::try_join_all;
use gnomon_host::port::QueueError;

use super::{Nats, unavailable};
use crate::logs::DEAD;

/// Requests on their way at once.
const AT_ONCE: usize = 64;

impl Nats {
    pub(super) async fn delete_dead(&self, positions: &[u64]) -> Result<(), QueueError> {
        let stream = self.stream(DEAD).await?;
        let erase = async |position: u64| match stream.delete_message(position).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                DeleteMessageErrorKind::JetStream(refusal) if is_gone(&refusal) => Ok(()),
                _ => Err(unavailable("forget letters of", DEAD, &error)),
            },
        };
        for some in positions.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|position| erase(*position))).await?;
        }
        Ok(())
    }
}

/// Whether the server holds no message at that position.
fn is_gone(refusal: &async_nats::jetstream::Error) -> bool {
    let code = refusal.error_code();
    code == ErrorCode::SEQUENCE_NOT_FOUND
        || code == ErrorCode::NO_MESSAGE_FOUND
        || code == ErrorCode::STREAM_MESSAGE_DELETE_FAILED
}
