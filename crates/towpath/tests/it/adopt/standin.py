"""Stands in for a program that no registry is needed for: it counts its requests in PostgreSQL, and
keeps a word in its volume that it writes once."""
import http.server
import os
import sys
import uuid

import psycopg2

port, volume = int(sys.argv[1]), sys.argv[2]
marker = os.path.join(volume, "marker")
if not os.path.exists(marker):
    with open(marker, "w") as file:
        file.write(uuid.uuid4().hex)
word = open(marker).read()
login = dict(
    host="db",
    user=os.environ.get("DB_USER") or os.environ["POSTGRES_USER"],
    password=os.environ.get("DB_PASSWD") or os.environ["POSTGRES_PASSWORD"],
    dbname=os.environ.get("DB_NAME") or os.environ["POSTGRES_DB"],
)


def count():
    with psycopg2.connect(**login) as database, database.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS hits (id int PRIMARY KEY, n int)")
        cursor.execute(
            "INSERT INTO hits VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = hits.n + 1 RETURNING n"
        )
        return cursor.fetchone()[0]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        release = os.environ.get("RELEASE", "1")
        body = f"release {release} marker {word} hits {count()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("", port), Handler).serve_forever()
