#!/usr/bin/env bash
# oslo.messaging's RPC client and server fail with a configuration object of one's own: they read options that only the
# global object has. Such a server loses requests.
#
# Versions: oslo.messaging 18.3.1, oslo.config 10.7.0, RabbitMQ 4.3.6.
# Guess, from memory before the run: with conf = cfg.ConfigOpts(), on either side, call() returns the method's result.
# Seen: with such a client, call() and cast() raise NoSuchOptError for oslo_messaging_tracing. With such a server, the
# request is acknowledged, its method does not run, and call() of a sound client ends at its timeout.
. "$(dirname "$0")/lib/setup"
pypi oslo.messaging==18.3.1 oslo.config==10.7.0
broker 4.3
python 2>"$D/log" >"$D/seen" <<'PY' || { cat "$D/log" >&2; exit 1; }
import os
import oslo_messaging
from oslo_config import cfg

class Endpoint:
    def double(self, context, n):
        return 2 * n

def transport(conf):
    conf([], project="finding")
    return oslo_messaging.get_rpc_transport(conf, url=os.environ["URL"].replace("amqp", "rabbit") + "/")

transports = {"cfg.CONF": transport(cfg.CONF), "cfg.ConfigOpts()": transport(cfg.ConfigOpts())}
for servers in transports:
    target = oslo_messaging.Target(topic=f"served with {servers}", server="one")
    oslo_messaging.get_rpc_server(transports[servers], target, [Endpoint()], executor="threading").start()
for servers, clients, timeout in (
    ("cfg.CONF", "cfg.CONF", 60),
    ("cfg.CONF", "cfg.ConfigOpts()", 60),
    ("cfg.ConfigOpts()", "cfg.CONF", 10),
):
    target = oslo_messaging.Target(topic=f"served with {servers}")
    client = oslo_messaging.get_rpc_client(transports[clients], target, timeout=timeout)
    try:
        outcome = client.call({}, "double", n=21)
    except (cfg.NoSuchOptError, oslo_messaging.MessagingTimeout) as error:
        outcome = type(error).__name__
    print(f"server with {servers}, client with {clients}: {outcome}", flush=True)
os._exit(0)
PY
ctl list_queues name messages_ready messages_unacknowledged | grep 'served with cfg.ConfigOpts()\s' >>"$D/seen"
seen <<'TEXT'
server with cfg.CONF, client with cfg.CONF: 42
server with cfg.CONF, client with cfg.ConfigOpts(): NoSuchOptError
server with cfg.ConfigOpts(), client with cfg.CONF: MessagingTimeout
served with cfg.ConfigOpts()	0	0
TEXT
