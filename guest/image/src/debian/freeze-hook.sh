#!/bin/sh
# Run by the guest's agent before it freezes the file systems, and after it thawed them. Lets the
# ledger end its transaction first, and leaves a trace of both.
run=/run/ledger
case "$1" in
freeze)
    rm -f $run/paused
    touch $run/pause
    for i in $(seq 100); do
        [ -s $run/paused ] && break
        sleep 0.02
    done
    echo "freeze $(cat $run/paused)" >> /data/hook
    ;;
thaw)
    rm -f $run/pause
    echo "thaw" >> /data/hook
    ;;
esac
