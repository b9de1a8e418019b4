"""How much memory there is, and how much a server takes."""

from pathlib import Path

from hack.plane.warden import descendants


def available_bytes() -> int:
    """What can be had without swapping, as the kernel estimates it; 0 where it does not say."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)


def resident_megabytes(pid: int) -> float | None:
    """Proportional set size of a process and its descendants, in MB; None: there is no such process.

    Proportional, because the backends of Postgres share most of what each of them shows as resident.
    """
    own = proportional_kilobytes(pid)
    if own is None:
        return None
    return sum((proportional_kilobytes(child) or 0 for child in descendants(pid)), start=own) / 1024


def proportional_kilobytes(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), None)
