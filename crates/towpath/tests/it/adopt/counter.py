"""Counts its requests in Redis."""
import os

from flask import Flask
from redis import Redis

app = Flask(__name__)
redis = Redis(host="redis", port=6379)


@app.route("/")
def hello():
    release = os.environ.get("RELEASE", "1")
    return f"release {release} marker none hits {redis.incr('hits')}\n"


app.run(host="0.0.0.0", port=8000, threaded=True)
