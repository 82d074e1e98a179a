"""What a container lets its processes have, as Linux tells it."""

from pathlib import Path


CGROUP = Path("/sys/fs/cgroup")


def memory_limit() -> int | None:
    """In bytes, if there is a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((CGROUP / name).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if limit < 2**50:
            return limit
    return None


def core_limit() -> float | None:
    """Seconds of computing per second, if there is a limit."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((CGROUP / name).read_text() for name in files).split()
            limit = int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
            continue
        if limit > 0:  # -1: none
            return limit
    return None
