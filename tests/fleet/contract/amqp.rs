//! The queue's contract on RabbitMQ.

use std::time::Duration;

use lockflight_fleet::Work;
use lockflight_fleet::amqp::{AmqpFleet, AmqpOptions};
use lockflight_fleet::contract::QueueWorld;
use lockflight_promotion::RepoId;
use lockflight_tests::servers::{RabbitMq, TcpProxy};

use crate::amqp::{at, declared, options, taking_all};

/// One process on the broker that all tests share, reached through a proxy so that the process can die without being one.
struct World {
    options: AmqpOptions,
    fleet: AmqpFleet,
    proxy: TcpProxy,
    /// The processes that have died: cut off for good, but there is something left of them, such as deliveries.
    dead: Vec<(AmqpFleet, TcpProxy)>,
}

impl World {
    async fn new() -> Self {
        let options = options(&RabbitMq::shared().await.uri());
        declared(&options).await;
        Self::with(options, Vec::new()).await
    }

    async fn with(options: AmqpOptions, dead: Vec<(AmqpFleet, TcpProxy)>) -> Self {
        let proxy = TcpProxy::start(RabbitMq::shared().await.port()).await;
        let fleet = taking_all(&at(&options, &RabbitMq::uri_at(proxy.port())));
        Self {
            options,
            fleet,
            proxy,
            dead,
        }
    }
}

impl QueueWorld for World {
    type Queue = AmqpFleet;

    fn queue(&self) -> AmqpFleet {
        self.fleet.clone()
    }

    async fn inject(&self, work: Work, repo: RepoId, bytes: Vec<u8>) {
        self.fleet.inject(work, repo, bytes).await.unwrap();
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn visibility(&self) -> Duration {
        self.options.visibility
    }

    fn max_attempts(&self) -> u32 {
        self.options.max_attempts
    }

    fn longest_wait(&self) -> Duration {
        // A wait ends with a rung, and the broker looks at a queue's times now and then.
        self.options.backoff.max + Duration::from_millis(200)
    }

    fn longest_turn(&self) -> usize {
        // Of a hundred, some arrive before the last has.
        50
    }

    async fn close(&self) {
        self.fleet.close();
    }

    async fn restart(mut self) -> Self {
        self.proxy.refuse();
        self.proxy.reset();
        self.dead.push((self.fleet, self.proxy));
        Self::with(self.options, self.dead).await
    }
}

lockflight_fleet::queue_contract!(World::new);
