#!/usr/bin/env bash
# With rascal, a message handler that throws gets the same message from a classic queue again at once, without a limit.
#
# Versions: rascal 21.0.1, amqplib 2.3.1 (npm), RabbitMQ 4.3.6.
# Guess, from memory before the run: an uncaught exception ends the process, and RabbitMQ keeps the message. (A second
# guess, asked with the listener named, was right.)
# Seen: with a listener for the subscription's "error", the process stays up, and the message is redelivered at once: 16,832
# times in 37 seconds on two cores (the script stops at 500). rascal's limit of 100 redeliveries does not apply, as its
# default counter counts none. Not run here: without the listener, the process ends, and a quorum queue drops the message
# after 21 calls.
. "$(dirname "$0")/lib/setup"
npm_registry rascal@21.0.1 amqplib@2.3.1
broker 4.3
cat >"$D/consume.js" <<'JS'
const rascal = require('rascal')
const vhost = {
  connection: { url: process.env.URL },
  queues: ['work'],
  publications: { out: { queue: 'work' } },
  subscriptions: { in: { queue: 'work' } },
}
async function main() {
  const broker = await rascal.BrokerAsPromised.create(rascal.withDefaultConfig({ vhosts: { '/': vhost } }))
  broker.on('error', (error) => console.log('broker:', error.message))
  let calls = 0, errors = 0
  const subscription = await broker.subscribe('in')
  subscription.on('error', () => { errors += 1 })
  subscription.on('message', (message) => {
    calls += 1
    if (calls < 3) console.log('redelivered:', message.fields.redelivered)
    if (calls === 500) {
      console.log('500 calls for one message,', errors, 'errors')
      process.exit()
    }
    throw new Error('a bug in the handler')
  })
  await broker.publish('out', 'hello')
}
main()
JS
timeout 120 node "$D/consume.js" >"$D/seen"
seen <<'TEXT'
redelivered: false
redelivered: true
500 calls for one message, 499 errors
TEXT
