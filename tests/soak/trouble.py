"""What happens to the proxy and its origins while clients want something: on a schedule that a seed decides."""

import random
import threading
import time

from settings import GUESTS, broken

# What each group can bear without a client noticing: those of `streams` have bodies that nobody can send again.
FLAPS = {
    "app": ["stop", "kill", "503", "sick", "reset"],
    "streams": ["retire", "sick"],
    "two": ["stop", "503", "sick"],
    "hangs": ["hang"],
}
UPGRADES = (1 / 6, 1 / 2, 0.70)
DENIED = 0.3  # an upgrade that must fail


class Trouble:
    """Threads that make it: one for each group that flaps, and the operator."""

    def __init__(self, place, proxy, origins, certificates, seconds, seed):
        self.place = place
        self.proxy = proxy
        self.ledger = place.ledger
        self.settings = place.settings
        self.origins = origins
        self.certificates = certificates
        self.seconds = seconds
        self.pace = min(1.0, seconds / 300)  # short runs have short pauses
        self.random = random.Random(f"{seed} operator")
        # Whoever takes an endpoint out of a group holds its lock: never two of a group are out at once.
        self.locks = {name: threading.Lock() for name in self.settings.groups}
        self.threads = [threading.Thread(target=self.guarded, args=(self.operate,), name="operator", daemon=True)]
        for name in FLAPS:
            arguments = (self.flap, name, random.Random(f"{seed} {name}"))
            self.threads.append(threading.Thread(target=self.guarded, args=arguments, name=f"flap {name}", daemon=True))

    def guarded(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - the run goes on, and fails
            self.ledger.fail("trouble", f"{threading.current_thread().name}: {type(error).__name__}: {error}")

    def rest(self, seconds):
        """A pause; false when it is time to end."""
        return not self.place.stopped.wait(seconds)

    # Endpoints

    def flap(self, group, dice):
        while self.rest(dice.uniform(2, 8) * max(self.pace, 0.15)):
            with self.locks[group]:
                index = dice.randrange(len(self.origins[group].ports))
                mode = dice.choice(FLAPS[group])
                self.fail_for(group, index, mode, dice.uniform(1, 6) * max(self.pace, 0.3))

    def fail_for(self, group, index, mode, seconds):
        origin = self.origins[group]
        with self.ledger.span(mode, group):
            self.ledger.note(f"{group} {origin.ports[index]} {mode}")
            if mode == "retire":
                self.retire(group, index)
            else:
                origin.order(index, mode)
            self.rest(seconds)
            origin.order(index, "up")
        self.ledger.count(f"flaps: {mode}")
        self.proxy.until(lambda: self.serves(group, origin.ports[index]), 40, f"serving {group} {origin.ports[index]}")

    def retire(self, group, index):
        """Stops listening once nobody is sent there any more, and whoever was has arrived: what waits in the queue of a
        socket that is closed is lost."""
        origin = self.origins[group]
        origin.order(index, "sick")
        gone = lambda: self.place.stopped.is_set() or not self.serves(group, origin.ports[index])
        self.proxy.until(gone, 40, f"without {group} {origin.ports[index]}")
        self.rest(1)
        origin.order(index, "stop")

    def serves(self, group, port):
        samples = self.proxy.metrics()
        return any(
            value == 1 for name, value in samples.items()
            if name.startswith("ringress_endpoint_serves") and f'group="{group}"' in name and f":{port}" in name
        )

    # The operator

    def operate(self):
        begun = time.monotonic()
        plan = [(share * self.seconds, self.upgrade) for share in UPGRADES] + [(DENIED * self.seconds, self.denied)]
        plan.sort(key=lambda entry: entry[0])
        while self.rest(self.random.uniform(0.5, 3) * self.pace):
            if plan and time.monotonic() - begun >= plan[0][0]:
                plan.pop(0)[1]()
            else:
                self.random.choice(
                    [self.change, self.change, self.change, self.refused, self.renew, self.take_out, self.drain]
                )()
        if plan and self.seconds >= 60:  # a smoke run may have been too short for them
            self.ledger.fail("trouble", f"{len(plan)} upgrades did not come to their turn")

    def alter(self):
        """Something in the file."""
        settings = self.settings
        what = self.random.choice(["guests", "weights", "limit", "balance"])
        if what == "guests":
            settings.guests = {guest for guest in range(GUESTS) if self.random.random() < 0.5}
        elif what == "weights":
            group = settings.groups["app"]
            group.weights = {port: self.random.choice([1, 2, 3]) for port in group.ports}
        elif what == "limit":
            settings.limit = self.random.randrange(2, 20)
            self.ledger.count("limit changed")
        else:
            settings.balance = self.random.choice(["least-requests", "round-robin"])
        return what

    def change(self):
        with self.ledger.span("change"):
            what = self.alter()
            self.reload(self.random.choice(["signal", "order", "change of a file"]), what)

    def reload(self, way, what):
        """A new file, by one of three ways, and proof that it is what is served."""
        self.settings.version += 1
        self.ledger.note(f"reload by {way}: {what}, version {self.settings.version}")
        before = self.proxy.reloads("success")
        self.proxy.write()
        if way == "order":
            status, body = self.proxy.ask("/reload", "POST")
            if status != 200:
                self.ledger.fail("reload", f"{status}: {body}")
        else:
            if way == "signal":
                self.proxy.hang_up()
            self.proxy.until(lambda: self.proxy.reloads("success") > before, 20, f"reloaded by {way}")
        self.ledger.count(f"reloads by {way}")
        self.proxy.until(self.is_served, 5, f"serving version {self.settings.version}")
        self.ledger.count("changes")

    def is_served(self):
        """Asked twice, since each worker looks for itself."""
        return all(self.version() == self.settings.version for _ in range(4))

    def version(self):
        connection = self.place.connection()
        try:
            connection.request("GET", "/version", headers={"Connection": "close"})
            reply = connection.getresponse()
            body = reply.read()
            if reply.status != 200:
                self.ledger.fail("version", f"{reply.status}")
            return int(body)
        finally:
            connection.close()

    def refused(self):
        """A file that is no good: refused, and nothing changes."""
        what, text, restart = broken(self.random, self.settings.text())
        self.ledger.note(f"broken: {what}")
        before = self.proxy.reloads("failure")
        self.proxy.write(text)
        if self.random.random() < 0.5:
            status, body = self.proxy.ask("/reload", "POST")
            if status != (409 if restart else 422):
                self.ledger.fail("refusal", f"{what}: {status} {body}")
        else:
            self.proxy.hang_up()
        self.proxy.until(lambda: self.proxy.reloads("failure") > before, 20, f"refused: {what}")
        if self.version() != self.settings.version:
            self.ledger.fail("refusal", f"{what}: version {self.version()} is served")
        self.ledger.count("refusals")
        with self.ledger.span("change"):
            self.reload("order", "put right")

    def renew(self):
        """Another certificate in the place of the one that is served."""
        serial = self.certificates.renew()
        self.ledger.note(f"certificate {serial}")
        if self.random.random() < 0.5:
            self.proxy.hang_up()
        self.proxy.until(lambda: self.certificates.shown(self.settings.tls) == serial, 20, "showing the certificate")
        self.ledger.count("certificates")

    def take_out(self):
        """An endpoint that leaves the file, and comes back."""
        name = self.random.choice(["app", "streams", "two"])
        if not self.locks[name].acquire(timeout=0.1):
            return
        try:
            group = self.settings.groups[name]
            with self.ledger.span("change"):
                group.out = {self.random.choice(group.ports)}
                self.reload("signal", f"{name} without {group.out}")
            self.rest(self.random.uniform(0.3, 3) * self.pace)
            with self.ledger.span("change"):
                group.out = set()
                self.reload("order", f"{name} complete")
        finally:
            group.out = set()
            self.locks[name].release()

    def drain(self):
        """An endpoint that is told to finish, and to serve again."""
        name = self.random.choice(["app", "streams", "two"])
        if not self.locks[name].acquire(timeout=0.1):
            return
        try:
            group = self.settings.groups[name]
            port = self.random.choice(group.ports)
            for order in ("drain", "undrain"):
                status, body = self.proxy.ask(f"/endpoints/{name}/{group.label(port)}/{order}", "POST")
                if status // 100 != 2:
                    self.ledger.fail("order", f"{order} {name} {port}: {status} {body}")
                self.rest(self.random.uniform(0.3, 3) * self.pace)
            self.ledger.count("endpoints drained")
        finally:
            self.locks[name].release()

    # Upgrades

    def upgrade(self):
        self.proxy.remember()
        old = self.proxy.pid
        with self.ledger.span("drain"):
            done, said = self.proxy.upgrade()
        self.ledger.note(f"upgrade of {old}: {done} {said}")
        if not done:
            return self.ledger.fail("upgrade", said)
        self.ledger.count("upgrades")
        # Later signals are for the new process; it serves what the file says.
        self.proxy.until(self.is_served, 10, "serving after an upgrade")
        return None

    def denied(self):
        """An upgrade to a process that cannot start: the old one goes on."""
        self.proxy.write(self.settings.text() + "\n[[route\n")
        done, said = self.proxy.upgrade()
        self.ledger.note(f"upgrade that must fail: {said}")
        if done:
            self.ledger.fail("upgrade", "it succeeded with a broken file")
        if self.version() != self.settings.version:
            self.ledger.fail("upgrade", "the old process serves something else")
        self.ledger.count("upgrades that failed as they must")
        with self.ledger.span("change"):
            self.reload("order", "put right")
