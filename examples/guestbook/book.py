"""The entries, in Redis: one hash each, and a sorted set of the numbers of those that are shown."""

import os

import redis

SCHEMA = 1
SHOWN = 20

store = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)


def schema():
    """Returns the version of the store's layout; 0 when it was never prepared."""
    return int(store.get("schema") or 0)


def prepare():
    """Brings the store's layout to this version. It may run again."""
    found = schema()
    if found > SCHEMA:
        raise SystemExit(f"the store has layout {found}, this version knows {SCHEMA}")
    store.set("schema", SCHEMA)
    return found


def add(name, text):
    """Adds an entry that nobody looked at yet, and returns its number."""
    number = store.incr("entries")
    store.hset(f"entry:{number}", mapping={"name": name, "text": text})
    return number


def show(number):
    """Counts an entry's words and shows it. Done twice, it shows it once."""
    key = f"entry:{number}"
    words = len((store.hget(key, "text") or "").split())
    store.hset(key, "words", words)
    store.zadd("shown", {str(number): number})
    return words


def shown():
    """Returns the newest entries that are shown."""
    numbers = store.zrevrange("shown", 0, SHOWN - 1)
    pipeline = store.pipeline()
    for number in numbers:
        pipeline.hgetall(f"entry:{number}")
    return [dict(entry, number=int(number)) for number, entry in zip(numbers, pipeline.execute())]
