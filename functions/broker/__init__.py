"""The brokers, chosen by URL: RabbitMQ in production, SQLite on one machine, memory in tests."""

from functions.broker.base import (
    Broker,
    BrokerError,
    Consumer,
    DeadLetter,
    Delivery,
    Depth,
    NotPermitted,
    QueueDiffers,
    TooLarge,
    Unroutable,
)

__all__ = [
    "Broker",
    "BrokerError",
    "Consumer",
    "DeadLetter",
    "Delivery",
    "Depth",
    "NotPermitted",
    "QueueDiffers",
    "TooLarge",
    "Unroutable",
    "connect",
]


async def connect(url: str) -> Broker:
    """Open the broker that a URL names: `amqp://…`, `amqps://…`, `sqlite:///file` or `memory://`.

    Raises:
        BrokerError: the URL names no known broker, or it cannot be reached.
    """
    scheme, _, rest = url.partition("://")
    # Each backend is imported only when chosen: aio-pika alone costs 200 ms of a cold start.
    if scheme in ("amqp", "amqps"):
        from functions.broker.rabbit import RabbitBroker

        return await RabbitBroker.open(url)
    if scheme == "sqlite" and rest.startswith("/"):
        from functions.broker.sqlite import SqliteBroker

        return await SqliteBroker.open(rest[1:])
    if scheme == "memory":
        from functions.broker.memory import MemoryBroker

        return MemoryBroker()
    # Only the scheme is shown: the rest may hold a password.
    raise BrokerError(f"BONGSU_BROKER_URL must be amqp://…, sqlite:///file or memory://, got {scheme!r}://…")
