"""The demo's worker: says every few seconds that it is at work, and ends at once on SIGTERM."""

import os
import signal
import sys
import time

PERIOD_SECONDS = 5


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    unit = os.environ.get("TRIREME_UNIT", "worker")
    rounds = 0
    while True:
        rounds += 1
        print(f"{unit}: round {rounds} done", flush=True)
        time.sleep(PERIOD_SECONDS)


if __name__ == "__main__":
    main()
