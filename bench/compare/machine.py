"""The machine: its cores and how they are shared out, its limits, and how a result describes it."""

import os
import platform
import resource
import shutil
import subprocess
from dataclasses import dataclass

from . import measure

# No process of the bench needs more descriptors.
DESCRIPTORS_MAX = 20_000


@dataclass(frozen=True)
class Cores:
    """Who runs where."""

    proxy: frozenset
    others: frozenset

    @property
    def shared(self):
        """One core does everything: figures then mean nothing."""
        return bool(self.proxy & self.others)


def cores():
    """The proxy gets the first core of our affinity mask for itself; load generator and origin get the others."""
    mine = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(mine[:1]), frozenset(mine[1:] or mine))


def raise_descriptors():
    """Lifts the soft limit, which children inherit, and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return limit


def describe():
    """What a reader must know of the machine to judge the figures."""
    return {
        "cpu": field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "hypervisor": "hypervisor" in (field("/proc/cpuinfo", "flags") or "").split(),
        "memory_kib": int((field("/proc/meminfo", "MemTotal") or "0").split()[0]),
        "kernel": platform.release(),
        "system": system(),
        "load_average": os.getloadavg(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "mitigations": mitigations(),
        # BBR paces with timers even over loopback, which costs more than the rest of a large transfer.
        "congestion_control": measure.read("/proc/sys/net/ipv4/tcp_congestion_control").strip(),
    }


def field(path, name):
    """The value of the first line `name : value`."""
    for line in measure.read(path).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def system():
    for line in measure.read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def mitigations():
    """Each system call pays for these, so proxies are charged by how many they make."""
    folder = "/sys/devices/system/cpu/vulnerabilities"
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    states = {name: measure.read(f"{folder}/{name}").strip() for name in names}
    return {name: state for name, state in states.items() if state != "Not affected"}


def first_line(*command):
    """The first line a program prints about itself; None when it is not there."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else None


def tool_versions(root):
    """Of what is no peer but has a say in the figures."""
    commit = first_line("git", "-C", str(root), "describe", "--always", "--dirty")
    return {"wrk": first_line("wrk", "-v"), "openssl": first_line("openssl", "version"), "rustc": first_line("rustc", "--version"), "commit": commit}
