"""What the worker does."""

import os

from celery import Celery

import book

app = Celery("guestbook", broker=os.environ["REDIS_URL"])
app.conf.update(
    # A task that a worker had when it was stopped is done by another one.
    task_acks_late=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task
def look_at(number):
    """Looks at an entry, and shows it."""
    return book.show(number)
