"""A shop: a page and a JSON API. `shop.py PORT`; start several, each says which one it is."""

import json
import sys

sys.dont_write_bytecode = True

from application import Application, run  # noqa: E402

ITEMS = [
    {"name": "hourglass", "price": 12},
    {"name": "stopwatch", "price": 35},
    {"name": "metronome", "price": 48},
]

PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Shop</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }</style>
<h1>Shop</h1>
<ul id="items"></ul>
<p id="said">Order something; more than five at once is too many.</p>
<script>
const said = document.getElementById("said");
async function order(name) {
  const response = await fetch("/api/orders", { method: "POST", body: JSON.stringify({ item: name }) });
  said.textContent = response.ok ? (await response.json()).said
    : `${response.status}: come back in ${response.headers.get("retry-after")} s`;
}
async function show() {
  const { items, served_by } = await (await fetch("/api/items")).json();
  for (const { name, price } of items) {
    const button = Object.assign(document.createElement("button"), { textContent: `${name}, ${price}` });
    button.onclick = () => order(name);
    document.getElementById("items").appendChild(document.createElement("li")).appendChild(button);
  }
  said.textContent += ` (The list is from port ${served_by}.)`;
}
show();
</script>
"""


class Shop(Application):
    """A shop that has what it has, and forgets its orders."""

    def page(self):
        """The page."""
        self.answer("text/html; charset=utf-8", PAGE)

    def items(self):
        """What there is."""
        self.answer_json({"items": ITEMS, "served_by": self.port})

    def order(self):
        """Takes an order: `{"item": NAME}`."""
        try:
            wanted = json.loads(b"".join(self.body()))["item"]
        except (ValueError, KeyError, TypeError):
            wanted = None
        if any(item["name"] == wanted for item in ITEMS):
            self.answer_json({"said": f"One {wanted} is on its way.", "served_by": self.port}, status=201)
        else:
            self.answer_json({"said": "There is no such thing."}, status=422)

    pages = {("GET", "/"): page, ("GET", "/api/items"): items, ("POST", "/api/orders"): order}


if __name__ == "__main__":
    run(Shop)
