#!/usr/bin/env bash
# pika reads a float in a message's headers as an integer, and refuses to send one.
#
# Versions: pika 1.4.4, py-amqp 5.4.2, aio-pika 10.2.1 (pamqp 4.0.1), RabbitMQ 4.3.6.
# Guess, from memory before the run: pika sends 1.5 as an AMQP double, and reads another client's 1.5 as 1.5.
# Seen: pika reads py-amqp's and aio-pika's 2.75 as 2 and 0.1 as 0, also inside a list, without a word (pika/data.py wraps
# what it unpacked in long()); a Decimal arrives. It raises UnsupportedAMQPFieldException when it is to send a float.
# Reported in 2015 (pika's issue 599). aio-pika sends floats in 32 bits, so 0.1 is no longer 0.1 for py-amqp either.
. "$(dirname "$0")/lib/setup"
pypi pika==1.4.4 amqp==5.4.2 aio-pika==10.2.1 aiormq==7.2.4 pamqp==4.0.1
broker 4.3
python >"$D/seen" <<'PY'
import asyncio, decimal, os
import aio_pika, amqp, pika

VALUES = {"a": 2.75, "b": 0.1, "c": [2.75], "d": decimal.Decimal("2.75")}
url = os.environ["URL"]
pika_channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
amqp_connection = amqp.Connection(f"127.0.0.1:{os.environ['PORT']}", userid="guest", password="guest",
                                  confirm_publish=True)
amqp_connection.connect()
amqp_channel = amqp_connection.channel()

async def aio_pika_publish(queue):
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"", headers=VALUES), queue)

def amqp_publish(queue):
    amqp_channel.basic_publish(amqp.Message("", application_headers=VALUES), routing_key=queue)

def plain(value):
    """Return a value without pika's own class for integers, whose repr ends in L."""
    return [plain(item) for item in value] if isinstance(value, list) else value + 0

for sender, publish in (("py-amqp", amqp_publish), ("aio-pika", lambda queue: asyncio.run(aio_pika_publish(queue)))):
    for reader in ("py-amqp", "pika"):
        queue = f"{sender} to {reader}"
        pika_channel.queue_declare(queue, durable=True)
        publish(queue)
        if reader == "pika":
            headers = pika_channel.basic_get(queue, auto_ack=True)[1].headers
        else:
            headers = amqp_channel.basic_get(queue, no_ack=True).headers
        print(queue, *(f"{key}={plain(value)}" for key, value in sorted(headers.items())))
try:
    pika_channel.basic_publish("", queue, b"", pika.BasicProperties(headers={"a": 2.75}))
except pika.exceptions.UnsupportedAMQPFieldException as error:
    print("pika sends 2.75:", type(error).__name__)
PY
seen <<'TEXT'
py-amqp to py-amqp a=2.75 b=0.1 c=[2.75] d=2.75
py-amqp to pika a=2 b=0 c=[2] d=2.75
aio-pika to py-amqp a=2.75 b=0.10000000149011612 c=[2.75] d=2.75
aio-pika to pika a=2 b=0 c=[2] d=2.75
pika sends 2.75: UnsupportedAMQPFieldException
TEXT
