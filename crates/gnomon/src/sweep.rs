//! Devices whose connections ended with the process that held them.

use gnomon_host::port::{Log, Message, Queue, Store, Stream};
use gnomon_host::watch::now_ms;
use gnomon_model::{DeviceKey, Envelope, EnvelopeId, Presence, What};
use gnomon_run::unique;
use tracing::warn;

/// How many records are looked at in one round trip.
const PAGE: usize = 1000;

/// Devices that were online when this store was last in use are not: their connections ended with
/// the process that held them, perhaps without a chance to say so.
pub(crate) async fn sweep<Q: Queue, S: Store>(queue: &Q, store: &S) {
    let mut after: Option<DeviceKey> = None;
    loop {
        let page = match store.list(None, after.as_ref(), PAGE).await {
            Ok(page) => page,
            Err(error) => return warn!(error = %error, "look for stale connections"),
        };
        match store.load(&page.devices).await {
            Ok(loaded) => {
                let online =
                    page.devices.iter().zip(loaded).filter(|(_, one)| one.record.presence.online);
                for (device, stored) in online {
                    tell_offline(queue, device, stored.record.presence.connection).await;
                }
            }
            Err(error) => warn!(error = %error, "look for stale connections"),
        }
        after = page.next;
        if after.is_none() {
            return;
        }
    }
}

async fn tell_offline<Q: Queue>(queue: &Q, device: &DeviceKey, connection: String) {
    let reason = "the process that held the connection ended".to_owned();
    let envelope = Envelope {
        id: EnvelopeId::parse(&format!("stale-{}", unique())).expect("a uuid is a word"),
        device: device.clone(),
        received_at_ms: now_ms(),
        what: What::Presence(Presence { online: false, connection, reason, dialect: None }),
    };
    let log = Log { stream: Stream::Telemetry, partition: device.partition(queue.partitions()) };
    let (id, body) = (envelope.id.to_string(), envelope.encode());
    let device_key = Some(device.clone());
    let message = Message { log, id, device: device_key, body };
    if let Err(error) = queue.append(vec![message]).await {
        warn!(%device, error = %error, "tell that a device is offline");
    }
}
