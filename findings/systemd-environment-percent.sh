#!/usr/bin/env bash
# systemd drops an Environment= whose AMQP URL has a percent-encoded password, and starts the service without it.
#
# Versions: systemd 252 (Debian 12); booted with 257.13 (Debian 13), the service saw no variable, and its program took its
# default URL.
# Guess, from memory before the run: %2 is no specifier, so that the service sees amqp://ada:p%23ss@host as it stands.
# Seen: "Failed to resolve specifiers", "ignoring". With %%23 nothing is said; EnvironmentFile= takes it as it stands.
. "$(dirname "$0")/lib/setup"
debian 'systemd=252.*' 'libsystemd-shared=252.*' 'libkmod2=30*' 'libapparmor1=3.0.8*' 'libip4tc2=1.8.9*'
for percent in % %%; do
  printf '[Unit]\nDefaultDependencies=no\n[Service]\nEnvironment=AMQP_URL=amqp://ada:p%s23ss@host\nExecStart=/bin/true\n' "$percent" >"$D/rpc.service"
  echo "with $percent:"
  systemd-analyze verify --man=no "$D/rpc.service" 2>&1 | sed "s#$D/##" || echo "exit code $?"
done >"$D/seen"
seen <<'TEXT'
with %:
rpc.service:4: Failed to resolve specifiers in AMQP_URL=amqp://ada:p%23ss@host, ignoring: Invalid slot
with %%:
TEXT
