"""A web shop: `web` serves, `worker` packs orders, `migrate` makes the tables, `check` asks web."""

import json
import os
import signal
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("SHOP_VERSION", "1")
FAULT = os.environ.get("SHOP_FAULT", "none")
UPLOADS = "/uploads"
LARGEST_UPLOAD = 1 << 20
REPORT_S = 0.4
# PostgreSQL takes 100 by default; there may be several instances, of two releases.
CONNECTIONS = 8
PORT = 8000


def database():
    import psycopg2

    with open("/run/secrets/db_password", encoding="utf-8") as file:
        password = file.read().strip()
    connection = psycopg2.connect(
        host=os.environ["DATABASE_HOST"],
        dbname="shop",
        user="shop",
        password=password,
        connect_timeout=3,
    )
    connection.autocommit = True
    return connection


def cache():
    import redis

    return redis.Redis(os.environ["CACHE_HOST"], socket_connect_timeout=3, socket_timeout=10)


class Shop:
    """What the threads of the server work with: a few connections to the database, in turns."""

    def __init__(self):
        self.turns = threading.BoundedSemaphore(CONNECTIONS)
        self.idle = []
        self.cache = cache()

    def query(self, text, values=()):
        import psycopg2

        with self.turns:
            try:
                return self.ask(text, values)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
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
            rows = cursor.fetchall() if cursor.description else []
        self.idle.append(connection)
        return rows

    def page(self):
        rows = self.query("select name, price_cents from products order by id")
        visits = self.cache.incr("visits")
        return {
            "version": VERSION,
            "visits": visits,
            "products": [{"name": name, "price_cents": price} for name, price in rows],
            "orders": self.query("select count(*), count(packed_at) from orders")[0],
            "uploads": len(os.listdir(UPLOADS)),
        }

    def report(self):
        """Counts the orders that each version took, and takes as long as a report does."""
        self.query("select pg_sleep(%s)", (REPORT_S,))
        rows = self.query("select version, count(*) from orders group by version order by version")
        return {"version": VERSION, "orders": dict(rows)}

    def order(self):
        [(number,)] = self.query("insert into orders (version) values (%s) returning id", (VERSION,))
        self.cache.rpush("to-pack", number)
        return {"version": VERSION, "order": number}


def handler(shop):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, value):
            body = json.dumps(value).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Shop-Version", VERSION)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do(self, work):
            try:
                status, value = work()
            except Exception as error:  # whatever went wrong, the client is told that something did
                self.log_error("%s: %s", type(error).__name__, error)
                status, value = 500, {"error": "the shop is out of order"}
            self.answer(status, value)

        def do_GET(self):
            if self.path == "/healthz":
                return self.do(self.health)
            if FAULT == "errors":
                return self.answer(500, {"error": "this release is a bad one"})
            if FAULT == "slow":
                time.sleep(3)
            if self.path == "/":
                return self.do(lambda: (200, shop.page()))
            if self.path == "/report":
                return self.do(lambda: (200, shop.report()))
            self.answer(404, {"error": "there is no such page"})

        def do_POST(self):
            length = int(self.headers.get("Content-Length", "0"))
            if length > LARGEST_UPLOAD:
                self.close_connection = True
                return self.answer(413, {"error": "that is too large"})
            body = self.rfile.read(length)
            if self.path == "/orders":
                return self.do(lambda: (201, shop.order()))
            if self.path == "/uploads":
                return self.do(lambda: (201, self.upload(body)))
            self.answer(404, {"error": "there is no such page"})

        def upload(self, body):
            name = f"{time.time_ns()}-{threading.get_ident()}"
            with open(os.path.join(UPLOADS, name), "xb") as file:
                file.write(body)
            return {"version": VERSION, "upload": name}

        def health(self):
            if FAULT == "unhealthy":
                return 503, {"healthy": False}
            shop.query("select 1")
            shop.cache.ping()
            return 200, {"healthy": True}

        def log_message(self, form, *values):
            if not form.startswith('"%s"'):
                sys.stderr.write(form % values + "\n")

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Customers who were kept waiting come all at once; Python's own default is 5.
    request_queue_size = 1024


def web():
    if FAULT == "crash":
        sys.exit("this release crashes at its start")
    server = Server(("0.0.0.0", PORT), handler(Shop()))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"shop {VERSION} listens on {PORT}")
    server.serve_forever(poll_interval=0.1)


def worker():
    going = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: going.set())
    shop = Shop()
    while not going.is_set():
        try:
            taken = shop.cache.blpop("to-pack", timeout=1)
            if taken:
                shop.query("update orders set packed_at = now() where id = %s", (int(taken[1]),))
        except Exception as error:  # a store that restarts is no reason to end
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            going.wait(1)


def migrate():
    connection = database()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            create table if not exists products
              (id serial primary key, name text unique not null, price_cents int not null);
            create table if not exists orders
              (id serial primary key, version text not null, packed_at timestamptz);
            insert into products (name, price_cents)
              values ('chair', 12900), ('table', 39900), ('lamp', 4900)
              on conflict (name) do nothing;
            """
        )
    print(f"the tables are those of version {VERSION}")


def check():
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=3) as answer:
        sys.exit(0 if answer.status == 200 else 1)


if __name__ == "__main__":
    commands = {"web": web, "worker": worker, "migrate": migrate, "check": check}
    command = commands.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if command is None:
        sys.exit(f"usage: shop.py {'|'.join(commands)}")
    command()
