#!/usr/bin/env bash
# A headers exchange compares integers by value, whatever their AMQP types, in 3.10 too; there, even the float 1.0 matches 1.
#
# Versions: RabbitMQ 3.10.8 and 4.3.6; pika 1.4.4, py-amqp 5.4.2, aio-pika 10.2.1 (pamqp 4.0.1), amqplib 2.3.1 (npm).
# Guess, from memory before the run: in 3.10 the AMQP types must be equal too, so that only pika's and py-amqp's messages match
# a binding that pika made; in 4.3 all four match.
# Seen: all four match in both, though pika and py-amqp send 1 as a 32-bit integer, amqplib and aio-pika as an 8-bit one. The
# float 1.0 matches in 3.10, and no longer in 4.3. A boolean and a string never match.
. "$(dirname "$0")/lib/setup"
pypi pika==1.4.4 amqp==5.4.2 aio-pika==10.2.1 aiormq==7.2.4 pamqp==4.0.1
npm_registry amqplib@2.3.1
cat >"$D/publish.js" <<'JS'
const amqplib = require('amqplib')
async function main() {
  const connection = await amqplib.connect(process.env.URL)
  const channel = await connection.createConfirmChannel()
  channel.publish('amq.headers', '', Buffer.from('amqplib 1'), { headers: { n: 1 } })
  await channel.waitForConfirms()
  await connection.close()
}
main()
JS
cat >"$D/publish.py" <<'PY'
import asyncio, os, subprocess, sys
import aio_pika, amqp, pika

url = os.environ["URL"]
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.queue_declare("ones", durable=True)
channel.queue_bind("ones", "amq.headers", arguments={"x-match": "all", "n": 1})
channel.confirm_delivery()
for value in (1, True, "1"):
    channel.basic_publish("amq.headers", "", f"pika {value!r}", pika.BasicProperties(headers={"n": value}))
with amqp.Connection(f"127.0.0.1:{os.environ['PORT']}", userid="guest", password="guest", confirm_publish=True) as other:
    for value in (1, 1.0):
        other.channel().basic_publish(amqp.Message(f"py-amqp {value!r}", application_headers={"n": value}), "amq.headers")

async def publish():
    async with await aio_pika.connect(url) as connection:
        exchange = await (await connection.channel()).get_exchange("amq.headers")
        await exchange.publish(aio_pika.Message(b"aio-pika 1", headers={"n": 1}), "")

asyncio.run(publish())
subprocess.run(["node", sys.argv[1]], check=True)
while (message := channel.basic_get("ones", auto_ack=True))[0]:
    print(message[2].decode())
PY
for version in 3.10 4.3; do on "$version" python "$D/publish.py" "$D/publish.js"; done >"$D/seen"
seen <<'TEXT'
RabbitMQ 3.10:
pika 1
py-amqp 1
py-amqp 1.0
aio-pika 1
amqplib 1
RabbitMQ 4.3:
pika 1
py-amqp 1
aio-pika 1
amqplib 1
TEXT
