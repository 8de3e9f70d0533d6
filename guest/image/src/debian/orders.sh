#!/bin/sh
# Does what the host says, a line at a time: tests change the guest by it.
port=/dev/virtio-ports/org.farshore.orders.0
[ -e "$port" ] || exec sleep 1000000
while :; do
    while read -r line; do sh -c "$line" > /dev/ttyS0 2>&1 < /dev/null; done < "$port"
    sleep 1
done
