#!/usr/bin/env bash
# RabbitMQ takes an expiration of up to ten years, far beyond the 32 bits of an Erlang timer.
#
# Versions: RabbitMQ 3.10.8 and 4.3.6, pika 1.4.4.
# Guess, from memory before the run: 4294967296 ms, a millisecond more than 32 bits hold, is refused as too large.
# Seen: accepted by classic and quorum queues, and so is 315360000000 (3,650 days). A millisecond more is refused (406).
. "$(dirname "$0")/lib/setup"
pypi pika==1.4.4
cat >"$D/publish.py" <<'PY'
import os
import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["URL"]))
for kind in ("classic", "quorum"):
    for expiration in ("4294967296", "315360000000", "315360000001"):
        channel = connection.channel()
        channel.confirm_delivery()
        queue = f"{kind} {expiration}"
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        try:
            channel.basic_publish("", queue, b"kept", pika.BasicProperties(expiration=expiration))
            print(queue, channel.basic_get(queue, auto_ack=True)[2].decode())
        except pika.exceptions.ChannelClosedByBroker as error:
            print(queue, error.reply_code, error.reply_text)
PY
for version in 3.10 4.3; do on "$version" python "$D/publish.py"; done >"$D/seen"
seen <<'TEXT'
RabbitMQ 3.10:
classic 4294967296 kept
classic 315360000000 kept
classic 315360000001 406 PRECONDITION_FAILED - invalid expiration '315360000001': {value_too_large,315360000001}
quorum 4294967296 kept
quorum 315360000000 kept
quorum 315360000001 406 PRECONDITION_FAILED - invalid expiration '315360000001': {value_too_large,315360000001}
RabbitMQ 4.3:
classic 4294967296 kept
classic 315360000000 kept
classic 315360000001 406 PRECONDITION_FAILED - invalid expiration '315360000001': {value_too_large,315360000001}
quorum 4294967296 kept
quorum 315360000000 kept
quorum 315360000001 406 PRECONDITION_FAILED - invalid expiration '315360000001': {value_too_large,315360000001}
TEXT
