//! Store and sessions that fail as planned.

use gnomon_host::port::{
    Committed, Page, Promise, SavedSession, SessionChange, Sessions, Store, StoreError, Stored,
    Write,
};
use gnomon_model::{DeviceKey, DueKind, ProductKey};

use super::{Fault, Faulty, Operation, store_error};

impl<T: Store> Store for Faulty<T> {
    async fn load(&self, devices: &[DeviceKey]) -> Result<Vec<Stored>, StoreError> {
        self.plan.read(Operation::Load, store_error(Operation::Load)).await?;
        self.inner.load(devices).await
    }

    async fn commit(&self, writes: &[Write]) -> Result<Vec<Committed>, StoreError> {
        match self.plan.meet(Operation::Commit).await {
            None | Some(Fault::Late | Fault::Hold) => self.inner.commit(writes).await,
            Some(Fault::Before | Fault::Full) => Err(store_error(Operation::Commit)),
            Some(Fault::Conflict) => Ok(vec![Committed::Conflict; writes.len()]),
            Some(Fault::After) => {
                self.inner.commit(writes).await?;
                Err(store_error(Operation::Commit))
            }
        }
    }

    async fn list(
        &self,
        product: Option<&ProductKey>,
        after: Option<&DeviceKey>,
        count_max: usize,
    ) -> Result<Page, StoreError> {
        self.plan.read(Operation::List, store_error(Operation::List)).await?;
        self.inner.list(product, after, count_max).await
    }

    async fn due(
        &self,
        kind: DueKind,
        now_ms: i64,
        count_max: usize,
    ) -> Result<Vec<(DeviceKey, i64)>, StoreError> {
        self.plan.read(Operation::Due, store_error(Operation::Due)).await?;
        self.inner.due(kind, now_ms, count_max).await
    }

    async fn erase(&self, devices: &[DeviceKey]) -> Result<(), StoreError> {
        self.inner.erase(devices).await
    }

    async fn promise(&self) -> Promise {
        self.inner.promise().await
    }
}

impl<T: Sessions> Sessions for Faulty<T> {
    async fn gateways(&self) -> Result<Vec<String>, StoreError> {
        self.inner.gateways().await
    }

    async fn forget_gateway(&self, gateway: &str) -> Result<(), StoreError> {
        self.inner.forget_gateway(gateway).await
    }

    async fn load_all(&self, gateway: &str) -> Result<Vec<SavedSession>, StoreError> {
        self.plan.read(Operation::LoadAll, store_error(Operation::LoadAll)).await?;
        self.inner.load_all(gateway).await
    }

    async fn find(&self, client: &str) -> Result<Option<SavedSession>, StoreError> {
        self.plan.read(Operation::LoadAll, store_error(Operation::LoadAll)).await?;
        self.inner.find(client).await
    }

    async fn change(&self, gateway: &str, changes: Vec<SessionChange>) -> Result<(), StoreError> {
        match self.plan.meet(Operation::Change).await {
            None | Some(Fault::Late | Fault::Hold) => self.inner.change(gateway, changes).await,
            Some(Fault::Before | Fault::Full | Fault::Conflict) => {
                Err(store_error(Operation::Change))
            }
            Some(Fault::After) => {
                self.inner.change(gateway, changes).await?;
                Err(store_error(Operation::Change))
            }
        }
    }
}
