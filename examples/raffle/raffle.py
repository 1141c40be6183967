"""A raffle: `web` takes entries and draws winners, `migrate` makes the tables."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pymysql
import redis

from version import FAULT, VERSION

# Entries that the bad release FAULT = "crowd" gets along with.
SMALL_CROWD = 50


def database():
    return pymysql.connect(
        host=os.environ["DB_HOST"],
        port=int(os.environ.get("DB_PORT", "3306")),
        user="raffle",
        password=os.environ["DB_PASSWORD"],
        database="raffle",
        autocommit=True,
        connect_timeout=3,
        read_timeout=10,
    )


def cache():
    return redis.Redis(
        os.environ["CACHE_HOST"],
        int(os.environ.get("CACHE_PORT", "6379")),
        socket_connect_timeout=3,
        socket_timeout=10,
    )


class Raffle:
    """Who takes part, in the database; how many do, in the cache, which may forget it."""

    def __init__(self):
        self.idle = []
        self.cache = cache()

    def query(self, text, *values):
        try:
            return self.ask(text, values)
        except (pymysql.OperationalError, pymysql.InterfaceError):
            # A connection that broke while nobody used it: those that are left may have, too.
            self.idle.clear()
            return self.ask(text, values)

    def ask(self, text, values):
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = database()
        with connection.cursor() as cursor:
            cursor.execute(text, values)
            rows = cursor.fetchall()
        self.idle.append(connection)
        return rows

    def migrate(self):
        self.query(
            "create table if not exists entries"
            " (id int auto_increment primary key, name varchar(60) not null)"
        )

    def enter(self, name):
        self.query("insert into entries (name) values (%s)", name)
        if FAULT != "miscount":
            self.cache.delete("entries")

    def entries(self):
        known = self.cache.get("entries")
        if known is None:
            [(known,)] = self.query("select count(*) from entries")
            self.cache.set("entries", known, ex=60)
        return int(known)

    def page(self):
        entries = self.entries()
        if FAULT == "crowd" and entries > SMALL_CROWD:
            raise RuntimeError("so many people were not expected")
        return {"version": VERSION, "entries": entries}

    def winner(self):
        rows = self.query("select name from entries order by rand() limit 1")
        return rows[0][0] if rows else None

    def is_well(self):
        self.query("select 1")
        self.cache.ping()


def handler(raffle):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, value):
            body = json.dumps(value).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Raffle-Version", VERSION)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do(self, work):
            try:
                status, value = work()
            except Exception as error:  # whatever went wrong, the client is told that something did
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                status, value = 500, {"error": "the raffle is out of order"}
            self.answer(status, value)

        def do_GET(self):
            if self.path == "/":
                return self.do(lambda: (200, raffle.page()))
            if self.path == "/winner":
                return self.do(lambda: (200, {"version": VERSION, "winner": raffle.winner()}))
            if self.path == "/healthz":
                return self.do(lambda: (200, {"well": raffle.is_well() is None}))
            self.answer(404, {"error": "there is no such page"})

        def do_POST(self):
            name = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            if self.path != "/entries":
                return self.answer(404, {"error": "there is no such page"})
            if not 0 < len(name) <= 60:
                return self.answer(400, {"error": "a name has 1 to 60 characters"})
            self.do(lambda: (201, raffle.enter(name) or {"version": VERSION, "entered": name}))

        def log_message(self, form, *values):
            pass

    return Handler


class Server(ThreadingHTTPServer):
    # Requests that are under way at the end are answered.
    daemon_threads = False
    # Customers come all at once; Python's own default is 5.
    request_queue_size = 1024


def web():
    # On the process engine the port is given; in a container it is the one of compose.yaml.
    port = int(os.environ.get("PORT", "8000"))
    server = Server((os.environ.get("HOST", "0.0.0.0"), port), handler(Raffle()))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"raffle {VERSION} listens on {port}", flush=True)
    server.serve_forever(poll_interval=0.1)


def migrate():
    Raffle().migrate()
    print(f"the tables are those of version {VERSION}")


if __name__ == "__main__":
    commands = {"web": web, "migrate": migrate}
    command = commands.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if command is None:
        sys.exit(f"usage: raffle.py {'|'.join(commands)}")
    command()
