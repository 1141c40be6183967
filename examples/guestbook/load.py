"""Signs and reads a guestbook over keep-alive connections, and counts what went wrong.

    python3 load.py http://localhost:8080 --seconds 20 [--clients 4] [--until FILE]

An answer that is not 200 or 201, and a connection that breaks, is a failed request: the exit code is
then 1. With --until it stops once the file is there. Nothing but Python's own library is needed.
"""

import argparse
import collections
import http.client
import json
import os
import threading
import time
import urllib.parse

FORM = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}


class Tally:
    """What all clients saw."""

    def __init__(self):
        self.lock = threading.Lock()
        self.versions = collections.Counter()
        self.failures = collections.Counter()
        self.slowest = 0.0

    def answered(self, version, seconds):
        with self.lock:
            self.versions[version] += 1
            self.slowest = max(self.slowest, seconds)

    def failed(self, what):
        with self.lock:
            self.failures[what] += 1


def request(connection, turn):
    """Sends one request, and returns the version that answered it."""
    if turn % 10 == 0:
        body = urllib.parse.urlencode({"name": "Load", "text": f"request {turn}"})
        connection.request("POST", "/entries", body, FORM)
    else:
        connection.request("GET", "/entries")
    answer = connection.getresponse()
    body = answer.read()
    if answer.status not in (200, 201):
        raise ValueError(f"status {answer.status}")
    return json.loads(body)["version"]


def client(address, tally, is_over):
    """Sends one request after the other over one connection until it is over."""
    connection = http.client.HTTPConnection(address, timeout=30)
    turn = 0
    while not is_over():
        began = time.monotonic()
        try:
            tally.answered(request(connection, turn), time.monotonic() - began)
        except (OSError, http.client.HTTPException, ValueError) as error:
            tally.failed(f"{type(error).__name__}: {error}")
            connection.close()
        turn += 1
        time.sleep(0.01)
    connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--until", metavar="FILE")
    options = parser.parse_args()

    address = urllib.parse.urlsplit(options.url).netloc
    began = time.monotonic()

    def is_over():
        if options.until and os.path.exists(options.until):
            return True
        return time.monotonic() - began >= options.seconds

    tally = Tally()
    clients = [
        threading.Thread(target=client, args=(address, tally, is_over))
        for _ in range(options.clients)
    ]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()

    answered, failed = tally.versions.total(), tally.failures.total()
    seconds = time.monotonic() - began
    print(f"{answered + failed} requests in {seconds:.1f} s, {failed} failed, "
          f"slowest {tally.slowest * 1000:.0f} ms")
    for version, count in sorted(tally.versions.items()):
        print(f"  version {version}: {count}")
    for what, count in tally.failures.most_common():
        print(f"  failed: {what} ({count} times)")
    raise SystemExit(1 if failed or not answered else 0)


if __name__ == "__main__":
    main()
