"""What a process and its descendants have cost, from /proc."""

import os
from dataclasses import dataclass

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
# How far the two clocks of the kernel may differ before the precise one is taken to have lost a thread that ended.
CLOCKS_DIFFER_US = 2 * TICK_US
CLOCKS_DIFFER_SHARE = 0.02


@dataclass(frozen=True)
class Cpu:
    """CPU time so far, in microseconds, by two clocks."""

    # utime + stime of /proc/PID/stat: all threads, ended ones too, but in ticks (mostly 10 ms).
    stat_us: float
    # First field of every thread's schedstat: the same time in nanoseconds, but of living threads alone.
    sched_us: float

    def since(self, before):
        """CPU time since then: the precise clock, unless a thread has ended with more than a tick's worth on it."""
        stat = self.stat_us - before.stat_us
        sched = self.sched_us - before.sched_us
        agree = abs(stat - sched) <= CLOCKS_DIFFER_US + CLOCKS_DIFFER_SHARE * stat
        return sched if agree and self.sched_us > 0 else stat


def cpu(pids):
    """CPU time of these processes. A process's io_uring kernel workers are threads of it, so they count."""
    return Cpu(sum(map(stat_us, pids)), sum(map(sched_us, pids)))


def stat_us(pid):
    fields = stat_fields(pid)
    # Fields 14 to 17 of proc(5): utime, stime, and both of children that have ended. Field 3 comes first here.
    return sum(int(ticks) for ticks in fields[11:15]) * TICK_US if fields else 0.0


def sched_us(pid):
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            text = read(f"/proc/{pid}/task/{thread}/schedstat")
            total += int(text.split()[0]) if text else 0
    except OSError:
        return 0.0
    return total / 1000


def pss_bytes(pids):
    """Proportional set size: private pages whole, shared ones by share."""
    total = 0
    for pid in pids:
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def start_time(pid):
    """When a process was started, in ticks since boot; None when there is none. Number and time name a process."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def tree(pid):
    """A process and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        fields = stat_fields(name) if name.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo.extend(children.get(one, []))
    return found


def stat_fields(pid):
    """The fields of /proc/PID/stat from the third on: the name before them may hold spaces and parentheses."""
    text = read(f"/proc/{pid}/stat")
    return text.rpartition(")")[2].split() if text else None


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
