//! Records: loaded together, committed together, each by compare-and-set.

use gnomon_host::port::{Committed, Page, Promise, Store, StoreError, Stored, Write};
use gnomon_model::{DeviceKey, DueKind, ProductKey, Record};
use redis::Cmd;

use super::{Redis, read};
use crate::memory::page;

/// Writes revision and document if the revision is the expected one.
const COMPARE_AND_SET: &str = "\
local v = redis.call('HGET', KEYS[1], 'v') or '0' \
if v ~= ARGV[1] then return 0 end \
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'doc', ARGV[3]) \
return 1";

impl Redis {
    fn record_key(&self, device: &DeviceKey) -> String {
        self.key(&[":{", device.product.as_str(), "/", device.device.as_str(), "}:record"])
    }

    fn devices_key(&self, product: &str) -> String {
        self.key(&[":devices:", product])
    }

    /// Enters a device into the index.
    fn enter(&self, device: &DeviceKey, commands: &mut Vec<Cmd>) {
        let (product, device) = (device.product.as_str(), device.device.as_str());
        let mut command = redis::cmd("SADD");
        command.arg(self.key(&[":products"])).arg(product);
        commands.push(command);
        let mut command = redis::cmd("ZADD");
        command.arg(self.devices_key(product)).arg(0).arg(device);
        commands.push(command);
    }

    pub(super) fn compare_and_set(
        &self,
        device: &DeviceKey,
        expected_revision: u64,
        json: &[u8],
    ) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(COMPARE_AND_SET).arg(1).arg(self.record_key(device));
        command.arg(expected_revision).arg(expected_revision.wrapping_add(1)).arg(json);
        command
    }

    /// Asks for revision and document of each device.
    pub(super) fn record_asks(&self, devices: &[DeviceKey]) -> Vec<Cmd> {
        let ask = |device| {
            let mut command = redis::cmd("HMGET");
            command.arg(self.record_key(device)).arg("v").arg("doc");
            command
        };
        devices.iter().map(ask).collect()
    }

    /// Loads records in one round trip; one that is damaged leaves the others as they are.
    pub(super) async fn load_each(
        &self,
        devices: &[DeviceKey],
    ) -> Result<Vec<Result<Stored, StoreError>>, StoreError> {
        let rows = self.ask(self.record_asks(devices)).await?;
        let rows = devices.iter().zip(rows);
        Ok(rows.map(|(device, row)| decode(device, read(row)?)).collect())
    }

    /// Products that have a device, sorted.
    async fn products(&self) -> Result<Vec<String>, StoreError> {
        let mut ask = redis::cmd("SMEMBERS");
        ask.arg(self.key(&[":products"]));
        let answer = self.ask(vec![ask]).await?.pop().unwrap_or(redis::Value::Nil);
        let mut products: Vec<String> = read(answer)?;
        products.sort_unstable();
        Ok(products)
    }

    /// Up to `count_max` devices of a product, sorted, after one of them.
    async fn devices(
        &self,
        product: &str,
        after: Option<&str>,
        count_max: usize,
    ) -> Result<Vec<DeviceKey>, StoreError> {
        let start = after.map_or("-".to_owned(), |after| format!("({after}"));
        let mut ask = redis::cmd("ZRANGEBYLEX");
        ask.arg(self.devices_key(product)).arg(start).arg("+");
        ask.arg("LIMIT").arg(0).arg(i64::try_from(count_max).unwrap_or(i64::MAX));
        let answer = self.ask(vec![ask]).await?.pop().unwrap_or(redis::Value::Nil);
        let names: Vec<String> = read(answer)?;
        Ok(names.iter().filter_map(|name| DeviceKey::parse(product, name).ok()).collect())
    }
}

fn decode(device: &DeviceKey, row: (Option<u64>, Option<Vec<u8>>)) -> Result<Stored, StoreError> {
    let (Some(revision), Some(document)) = row else { return Ok(Stored::default()) };
    match Record::decode(&document) {
        Ok(record) => Ok(Stored { record, revision }),
        Err(error) => {
            Err(StoreError::Damaged { device: device.clone(), reason: error.to_string() })
        }
    }
}

impl Store for Redis {
    async fn load(&self, devices: &[DeviceKey]) -> Result<Vec<Stored>, StoreError> {
        self.load_each(devices).await?.into_iter().collect()
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Committed>, StoreError> {
        let mut commands = Vec::with_capacity(writes.len());
        for write in writes.iter().filter(|write| write.expected_revision == 0) {
            self.enter(&write.device, &mut commands);
        }
        writes.iter().for_each(|write| self.enter_due(write, &mut commands));
        let entered = commands.len();
        if self.shared.connection.is_cluster() && entered > 0 {
            // Commands for several nodes have no order among them.
            self.ask(std::mem::take(&mut commands)).await?;
        }
        let skipped = commands.len();
        commands.extend(writes.iter().map(|write| {
            self.compare_and_set(&write.device, write.expected_revision, &write.record.encode())
        }));
        let answers = self.ask(commands).await?.into_iter().skip(skipped);
        let done = |(write, answer): (&Write, redis::Value)| {
            Ok(match read::<u8>(answer)? {
                0 => Committed::Conflict,
                _ => Committed::Done { revision: write.expected_revision.wrapping_add(1) },
            })
        };
        writes.iter().zip(answers).map(done).collect()
    }

    async fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Page, StoreError> {
        let products = match product {
            Some(product) => vec![product.as_str().to_owned()],
            None => self.products().await?,
        };
        let mut devices = Vec::new();
        for product in products {
            let after = match after {
                Some(after) if after.product.as_str() > product.as_str() => continue,
                Some(after) if after.product.as_str() == product => Some(after.device.as_str()),
                _ => None,
            };
            // One more than asked for tells whether there is a next page.
            let wanted = count_max.saturating_add(1) - devices.len();
            devices.extend(self.devices(&product, after, wanted).await?);
            if devices.len() > count_max {
                break;
            }
        }
        Ok(page(devices, count_max))
    }

    async fn erase(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        let remove = |device: &DeviceKey| {
            let mut record = redis::cmd("DEL");
            record.arg(self.record_key(device));
            record
        };
        let leave = |device: &DeviceKey| {
            let mut index = redis::cmd("ZREM");
            index.arg(self.devices_key(device.product.as_str())).arg(device.device.as_str());
            index
        };
        // Records first: one that stands in no index would be missed by every listing.
        self.ask(devices.iter().map(remove).collect()).await?;
        self.ask(devices.iter().map(leave).collect()).await?;
        self.forget_due(devices).await
    }

    async fn promise(&self) -> Promise {
        // What it said when it was opened, if it does not answer now.
        let now = super::probe::read(&self.shared.connection).await;
        now.as_ref().unwrap_or(&self.shared.durability).promise()
    }

    async fn due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<(DeviceKey, i64)>, StoreError> {
        self.find_due(kind, now_ms, count_max).await
    }
}
