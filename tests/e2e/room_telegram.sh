#!/bin/bash
# loam room --telegram beside stand-ins of the Bot API and of both kinds of services, killed on the way: nothing lost, nothing doubled,
# no key in anything that was printed. LOAM_LONG: 200 rooms, 10 members, 10,000 messages, 50 kills.
set -u
if [ -n "${LOAM_LONG:-}" ]; then
    python3 -B "$LOAM_SOURCE/bench/room_stress.py" "$LOAM"
else
    python3 -B "$LOAM_SOURCE/bench/room_stress.py" "$LOAM" --rooms 4 --members 3 --messages 60 --kills 3
fi
