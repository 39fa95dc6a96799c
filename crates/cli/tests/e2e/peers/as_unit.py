"""as_unit.py UNIT COMMAND...: runs a command as a systemd unit would, as far as that matters to what it may do: its user (nobody),
capabilities, limit of locked memory, system calls, address families, and what it may write. For tests without systemd."""

import errno
import os
import resource
import subprocess
import sys

NOBODY = 65534
PROT_WRITE, PROT_EXEC = 2, 4


def settings(path):
    """Each key with its values, in their order."""
    found = {}
    for line in open(path, encoding="utf-8"):
        key, sign, value = line.strip().partition("=")
        if sign and not key.startswith("#"):
            found.setdefault(key, []).extend(value.split())
    return found


def calls_of(name):
    """The system calls of a set such as @system-service."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True)
    names = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return {call for name in names if name and not name.startswith("#") for call in calls_of(name)}


def allowed_calls(unit):
    """systemd.exec(5): lines are taken one after another, and one that begins with ~ takes away."""
    allowed, take_away = set(), False
    for line in open(unit, encoding="utf-8"):
        if not line.startswith("SystemCallFilter="):
            continue
        value = line.strip().partition("=")[2]
        take_away = value.startswith("~")
        for name in value.removeprefix("~").split():
            allowed = allowed - calls_of(name) if take_away else allowed | calls_of(name)
    return allowed


def protect(unit):
    """ProtectSystem=strict and ProtectKernelTunables=yes: nothing can be written but in the directory of the runtime."""
    assert unit["ProtectSystem"] == ["strict"] and unit["ProtectKernelTunables"] == ["yes"]
    own = f"/run/{unit['RuntimeDirectory'][0]}"
    os.makedirs(own, mode=0o700, exist_ok=True)
    os.chown(own, NOBODY, NOBODY)
    for folder in (own, "/proc/sys"):
        subprocess.run(["mount", "--bind", folder, folder], check=True)
    for folder in ("/", "/run", "/proc/sys", "/sys"):
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def become_unit(path, command):
    unit = settings(path)
    protect(unit)
    names = [name.removeprefix("CAP_").lower() for name in unit["AmbientCapabilities"]]
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] and unit["LimitMEMLOCK"] == ["infinity"]
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, PermissionError):
        # Who runs this may not raise the limit, which is systemd's to do; this does as much.
        names.append("ipc_lock")
    caps = ",".join("+" + name for name in names)
    user = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs"]
    user += ["--bounding-set", f"-all,{caps}", "--inh-caps", f"-all,{caps}", "--ambient-caps", f"-all,{caps}"]
    os.execvp(user[0], [*user, sys.executable, __file__, "--filtered", path, *command])


def become_filtered(path, command):
    import seccomp
    from seccomp import ALLOW, EQ, ERRNO, MASKED_EQ, Arg

    unit = settings(path)
    assert unit["MemoryDenyWriteExecute"] == ["yes"] and unit["SystemCallErrorNumber"] == ["EPERM"]
    rules = seccomp.SyscallFilter(ERRNO(errno.EPERM))
    for call in allowed_calls(path) - {"socket", "mmap", "mprotect", "pkey_mprotect", "socketcall"}:
        try:
            rules.add_rule(ALLOW, call)
        except (RuntimeError, OSError, ValueError):
            pass  # of another architecture
    for family in unit["RestrictAddressFamilies"]:
        number = {"AF_XDP": 44, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}[family]
        rules.add_rule(ALLOW, "socket", Arg(0, EQ, number))
    rules.add_rule(ALLOW, "mmap", Arg(2, MASKED_EQ, PROT_WRITE, 0))
    rules.add_rule(ALLOW, "mmap", Arg(2, MASKED_EQ, PROT_EXEC, 0))
    rules.add_rule(ALLOW, "mprotect", Arg(2, MASKED_EQ, PROT_EXEC, 0))
    rules.load()
    os.execvp(command[0], command)


if sys.argv[1] == "--filtered":
    become_filtered(sys.argv[2], sys.argv[3:])
else:
    become_unit(sys.argv[1], sys.argv[2:])
