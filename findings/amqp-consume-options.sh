#!/usr/bin/env bash
# amqp-consume takes the options of the command that it is to run for its own, such as the -c of sh -c.
#
# Versions: amqp-tools 0.11.0 (Debian 12), RabbitMQ 4.3.6.
# Guess, from memory before the run: "amqp-consume … sh -c 'cat; exit 1'" works as written, as options end at the first
# word that is none.
# Seen: -c is amqp-consume's --count, wherever it stands: "cat; echo: invalid numeric value", before it tries to connect.
# After --, the command runs.
. "$(dirname "$0")/lib/setup"
debian 'amqp-tools=0.11.0*' 'librabbitmq4=0.11.0*' 'libpopt0=1.19*'
broker 4.3
{
  amqp-declare-queue --url "$URL" --queue work --durable
  amqp-publish --url "$URL" --routing-key work --body hello
  amqp-consume --url amqp://127.0.0.1:1 --queue work --count 1 sh -c 'cat; echo' 2>"$D/errors" || echo "exit code $?"
  head -n 1 "$D/errors"
  amqp-consume --url "$URL" --queue work --count 1 -- sh -c 'cat; echo'
} >"$D/seen"
seen <<'TEXT'
work
exit code 1
cat; echo: invalid numeric value
hello
TEXT
