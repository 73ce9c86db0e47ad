//! What every adapter promises, on RabbitMQ and on Redis.

mod amqp;
mod redis;
