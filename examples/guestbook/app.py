"""The guestbook's pages. What is written is shown once the worker has looked at it."""

from flask import Flask, abort, jsonify, redirect, render_template_string, request

import book
import tasks

VERSION = "1"
TITLE = "Guestbook"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ title }}</title>
<h1>{{ title }}</h1>
<form method="post" action="/entries">
  <input name="name" placeholder="Your name" maxlength="60" required>
  <input name="text" placeholder="What you say" maxlength="500" required>
  <button>Sign</button>
</form>
{% for entry in entries %}
<p><b>{{ entry.name }}</b>, {{ entry.words }} words: {{ entry.text }}</p>
{% else %}
<p>Nobody signed yet.</p>
{% endfor %}
<footer>Version {{ version }}</footer>
</html>
"""

app = Flask(__name__)


@app.get("/")
def index():
    """Shows the newest entries that were looked at."""
    return render_template_string(PAGE, title=TITLE, version=VERSION, entries=book.shown())


@app.get("/entries")
def entries():
    """Lists the same entries for programs."""
    return jsonify(version=VERSION, entries=book.shown())


@app.post("/entries")
def sign():
    """Takes an entry, and leaves the rest to the worker."""
    name = request.form.get("name", "").strip()
    text = request.form.get("text", "").strip()
    if not 0 < len(name) <= 60 or not 0 < len(text) <= 500:
        abort(422, "A name of up to 60 characters and a text of up to 500, please.")
    number = book.add(name, text)
    tasks.look_at.delay(number)
    if request.accept_mimetypes.best == "application/json":
        return jsonify(version=VERSION, number=number), 201
    return redirect("/", 303)


@app.get("/healthz")
def healthz():
    """Answers once requests can be served: the store is there and was prepared."""
    if book.schema() != book.SCHEMA:
        abort(503, "The store was not prepared for this version.")
    return jsonify(version=VERSION)
