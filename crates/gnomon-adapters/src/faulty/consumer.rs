//! A consumer that fails on purpose.

use gnomon_host::port::{Consumer, Delivery, QueueError};

use super::{Fault, Operation, Plan, queue_error};

/// Consumer of a [`Faulty`] queue.
pub struct FaultyConsumer<C> {
    inner: C,
    plan: Plan,
    /// Taken and not yet done.
    late: Vec<u64>,
}

impl<C> FaultyConsumer<C> {
    pub(super) const fn new(inner: C, plan: Plan) -> Self {
        Self { inner, plan, late: Vec::new() }
    }
}

impl<C: Consumer> Consumer for FaultyConsumer<C> {
    fn log_id(&self) -> &str {
        self.inner.log_id()
    }

    async fn pull(&mut self, count_max: usize) -> Result<Vec<Delivery>, QueueError> {
        self.plan.read(Operation::Pull, queue_error(Operation::Pull)).await?;
        self.inner.pull(count_max).await
    }

    async fn acknowledge(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        let fault = self.plan.meet(Operation::Acknowledge).await;
        match fault {
            Some(Fault::Before | Fault::Full | Fault::Conflict) => {
                Err(queue_error(Operation::Acknowledge))
            }
            Some(Fault::Late) => {
                self.late.extend_from_slice(positions);
                Ok(())
            }
            None | Some(Fault::After | Fault::Hold) => {
                let mut all = std::mem::take(&mut self.late);
                all.extend_from_slice(positions);
                self.inner.acknowledge(&all).await?;
                let failed = fault == Some(Fault::After);
                if failed { Err(queue_error(Operation::Acknowledge)) } else { Ok(()) }
            }
        }
    }

    /// Fails as an acknowledgement does, but is never late.
    async fn bury(&mut self, positions: &[u64]) -> Result<(), QueueError> {
        let fault = self.plan.meet(Operation::Acknowledge).await;
        match fault {
            Some(Fault::Before | Fault::Full | Fault::Conflict) => {
                return Err(queue_error(Operation::Acknowledge));
            }
            None | Some(Fault::After | Fault::Hold | Fault::Late) => {}
        }
        self.inner.bury(positions).await?;
        let failed = fault == Some(Fault::After);
        if failed { Err(queue_error(Operation::Acknowledge)) } else { Ok(()) }
    }
}
