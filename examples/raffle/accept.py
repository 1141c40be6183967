"""What a release is asked once it runs in staging: as a customer would, at TOWPATH_URL."""

import json
import os
import sys
import urllib.request

from version import VERSION

URL = os.environ["TOWPATH_URL"]


def ask(path, body=None):
    with urllib.request.urlopen(URL + path, body, timeout=10) as answer:
        return json.load(answer)


# Whoever enters clears the number that is kept: what an earlier release left there does not count.
ask("/entries", b"Grace")
before = ask("/")
print(f"{URL} answers: {before}")
if before["version"] != VERSION:
    sys.exit(f"version {before['version']} answers in place of {VERSION}")
ask("/entries", b"Ada")
after = ask("/")
if after["entries"] != before["entries"] + 1:
    sys.exit(f"Ada entered, and there are {after['entries']} entries after {before['entries']}")
print(f"the winner is {ask('/winner')['winner']}")
