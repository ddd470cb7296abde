#!/usr/bin/env bash
# oslo.messaging's RPC client fails with a configuration object of one's own: it wants an option that only the global
# object has.
#
# Versions: oslo.messaging 18.3.1, oslo.config 10.7.0, RabbitMQ 4.3.6.
# Guess, from memory before the run: with conf = cfg.ConfigOpts(), call() returns what the server's method returns.
# Seen: NoSuchOptError for oslo_messaging_tracing, raised by call() and cast() before anything is sent. With cfg.CONF,
# the same call returns.
. "$(dirname "$0")/lib/setup"
pypi oslo.messaging==18.3.1 oslo.config==10.7.0
broker 4.3
python 2>"$D/log" >"$D/seen" <<'PY'
import os
import oslo_messaging
from oslo_config import cfg

class Endpoint:
    def double(self, context, n):
        return 2 * n

def transport(conf):
    conf([], project="finding")
    return oslo_messaging.get_rpc_transport(conf, url=os.environ["URL"].replace("amqp", "rabbit") + "/")

shared = transport(cfg.CONF)
server = oslo_messaging.get_rpc_server(
    shared, oslo_messaging.Target(topic="numbers", server="one"), [Endpoint()], executor="threading")
server.start()
for name, used in (("cfg.CONF", shared), ("cfg.ConfigOpts()", transport(cfg.ConfigOpts()))):
    client = oslo_messaging.get_rpc_client(used, oslo_messaging.Target(topic="numbers"), timeout=60)
    for method in (client.call, client.cast):
        try:
            print(name, method.__name__, method({}, "double", n=21))
        except cfg.NoSuchOptError as error:
            print(name, method.__name__, error, flush=True)
server.stop()
PY
seen <<'TEXT'
cfg.CONF call 42
cfg.CONF cast None
cfg.ConfigOpts() call no such option oslo_messaging_tracing in group [DEFAULT]
cfg.ConfigOpts() cast no such option oslo_messaging_tracing in group [DEFAULT]
TEXT
