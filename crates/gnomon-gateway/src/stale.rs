//! Devices whose connections ended with the gateway that held them.

use gnomon_host::port::{Log, Message, Queue, QueueError, Store, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::{DeviceKey, Envelope, EnvelopeId, Presence, What};

use crate::peers::MoveError;

/// How many records are looked at in one round trip.
const PAGE: usize = 1000;

/// Tells that devices are offline which are online by connections that are gone: they ended with
/// their gateway, perhaps without a chance to say so.
///
/// # Errors
/// The store or the queue is unavailable or closed; not all devices were told of. Telling it again of
/// one that was changes nothing.
pub async fn tell_stale<Q: Queue, S: Store>(
    queue: &Q,
    store: &S,
    is_gone: impl Fn(&str) -> bool,
) -> Result<(), MoveError> {
    let mut after: Option<DeviceKey> = None;
    loop {
        let page = store.list(None, after.as_ref(), PAGE).await?;
        let loaded = store.load(&page.devices).await?;
        let presences = loaded.into_iter().map(|one| one.record.presence);
        for (device, presence) in page.devices.iter().zip(presences) {
            if presence.online && is_gone(&presence.connection) {
                tell_offline(queue, device, presence.connection).await?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn tell_offline<Q: Queue>(
    queue: &Q,
    device: &DeviceKey,
    connection: String,
) -> Result<(), QueueError> {
    let reason = "the process that held the connection ended".to_owned();
    let envelope = Envelope {
        id: EnvelopeId::parse(&format!("stale-{}", uuid::Uuid::now_v7().simple()))
            .expect("a uuid is a word"),
        device: device.clone(),
        received_at_ms: now_ms(),
        what: What::Presence(Presence { online: false, connection, reason, dialect: None }),
    };
    let log = Log { stream: Stream::Telemetry, partition: device.partition(queue.partitions()) };
    let (id, body) = (envelope.id.to_string(), envelope.encode());
    let device_key = Some(device.clone());
    let message = Message { log, id, device: device_key, body };
    queue.append(vec![message]).await
}
