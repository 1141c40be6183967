"""Looks at a shop and orders, over keep-alive connections, and counts what went wrong.

    python3 load.py http://localhost:8080 --seconds 20 [--clients 4] [--until FILE]

An answer that is not 200 or 201, and a connection that breaks, is a failed request: the exit code is
then 1. With --until it stops once the file is there. Nothing but Python's own library is needed.
"""

import argparse
import collections
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

PAUSE_S = 0.02


def client(address, is_over, versions, failures):
    """Sends one request after the other over one connection until it is over."""
    connection = http.client.HTTPConnection(address, timeout=30)
    turn = 0
    while not is_over():
        turn += 1
        try:
            connection.request(*(("POST", "/orders", b"") if turn % 10 == 0 else ("GET", "/")))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status not in (200, 201):
                raise ValueError(f"status {answer.status}")
            versions[json.loads(body)["version"]] += 1
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures[f"{type(error).__name__}: {error}"] += 1
            connection.close()
        time.sleep(PAUSE_S)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--until")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds

    def is_over():
        found = arguments.until is not None and os.path.exists(arguments.until)
        return found or time.monotonic() > end

    counts = [(collections.Counter(), collections.Counter()) for _ in range(arguments.clients)]
    address = urllib.parse.urlsplit(arguments.url).netloc
    threads = [threading.Thread(target=client, args=(address, is_over, *pair)) for pair in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = sum((pair[0] for pair in counts), collections.Counter())
    failures = sum((pair[1] for pair in counts), collections.Counter())
    for version, count in sorted(versions.items()):
        print(f"version {version}: {count} requests answered")
    print(f"{sum(failures.values())} failed")
    for what, count in failures.most_common():
        print(f"  {count} x {what}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
