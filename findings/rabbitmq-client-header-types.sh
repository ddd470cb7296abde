#!/usr/bin/env bash
# The npm package rabbitmq-client sends a Buffer in a message's headers as a table of its bytes, and a Date as an empty table.
#
# Versions: rabbitmq-client 5.0.8, py-amqp 5.4.2, RabbitMQ 4.3.6.
# Guess, from memory before the run: a Buffer arrives as bytes, and a Date as a timestamp.
# Seen: Buffer.from([255, 1]) arrives as {'0': 255, '1': 1}, a Date as {}, both without an error.
. "$(dirname "$0")/lib/setup"
pypi amqp==5.4.2
npm_registry rabbitmq-client@5.0.8
broker 4.3
cat >"$D/send.js" <<'JS'
const { Connection } = require('rabbitmq-client')
async function main() {
  const connection = new Connection(process.env.URL)
  const publisher = connection.createPublisher({ confirm: true, queues: [{ queue: 'headers', durable: true }] })
  await publisher.send({ routingKey: 'headers', headers: { buffer: Buffer.from([255, 1]) } }, '')
  await publisher.send({ routingKey: 'headers', headers: { date: new Date(1000) } }, '')
  await publisher.close()
  await connection.close()
}
main()
JS
timeout 120 node "$D/send.js"
python >"$D/seen" <<'PY'
import os, amqp
with amqp.Connection(f"127.0.0.1:{os.environ['PORT']}", userid="guest", password="guest") as connection:
    channel = connection.channel()
    for _ in range(2):
        print(channel.basic_get("headers", no_ack=True).headers)
PY
seen <<'TEXT'
{'buffer': {'0': 255, '1': 1}}
{'date': {}}
TEXT
