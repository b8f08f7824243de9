"""A chat without words: an event stream that says the time, and uploads that are counted. `chat.py PORT`."""

import itertools
import sys
import threading
import time

sys.dont_write_bytecode = True

from application import Application, run  # noqa: E402

PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Chat</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }</style>
<h1>Chat</h1>
<p>It is <output id="time">…</output>, says the event stream.</p>
<p><input type="file" id="file"> <output id="counted"></output></p>
<script>
new EventSource("events").onmessage = event => { document.getElementById("time").textContent = event.data; };
document.getElementById("file").onchange = async event => {
  const response = await fetch("upload", { method: "PUT", body: event.target.files[0] });
  const { bytes, uploads } = await response.json();
  document.getElementById("counted").textContent = `${bytes} bytes; upload number ${uploads}`;
};
</script>
"""


class Chat(Application):
    """Counts what it is sent, and keeps nothing of it."""

    uploads = itertools.count(1)

    def page(self):
        """The page."""
        self.answer("text/html; charset=utf-8", PAGE)

    def events(self):
        """The time, at once and then once a second, for as long as somebody listens."""
        tick = threading.Event()  # never set: a pause

        def clock():
            for number in itertools.count():
                yield f"id: {number}\ndata: {time.strftime('%H:%M:%S')}\n\n".encode()
                tick.wait(1)

        self.stream("text/event-stream", clock())

    def upload(self):
        """Counts a body as it comes."""
        bytes_seen = sum(len(piece) for piece in self.body())
        self.answer_json({"bytes": bytes_seen, "uploads": next(self.uploads)})

    pages = {("GET", "/"): page, ("GET", "/events"): events, ("PUT", "/upload"): upload, ("POST", "/upload"): upload}


if __name__ == "__main__":
    run(Chat)
