#!/bin/sh
# Run first of all: names ports as udev would, which this guest has not.
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    [ -s "$port/name" ] && ln -sf "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done
exit 0
