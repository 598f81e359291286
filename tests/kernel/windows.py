#!/usr/bin/env python3
"""Kernel suite: tuned sockets have their windows open before the first exchange. On 150 ms each exchange, the first one
too, takes what is predicted, whichever stream it goes by, and no segment is sent twice; the kernel alone would offer 64 KiB and
need a trip more for every stream. Where the machine's memory for sockets is too small, segments are dropped and sent again.

windows.py LONGHAUL
"""
import json
import os
import pathlib
import subprocess
import sys

LONGHAUL = sys.argv[1]
FAR = pathlib.Path(__file__).resolve().parents[2] / "topologies/bench/far.yaml"
WITHIN = 1.4  # a trip more would be 2; the first exchange also touches its memory for the first time
TRIES = 2
CASES = [("central", "180kB", ["--streams", "4"]), ("butterfly", "400kB", [])]


def bench(algorithm, size, more):
    command = [LONGHAUL, "bench", "allreduce", str(FAR), "--json", "-q", "-b", size, "--runs", "6", "--warmup", "0",
               "--algorithm", algorithm, "--set", "training.sockets=tuned"] + more
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)


def judge(row):
    problems, exchanges = [], row["exchanges"]
    for i, e in enumerate(exchanges):
        if not e["time_s"] <= WITHIN * row["predicted_s"]:
            problems.append("exchange %d: %.3f s, predicted %.3f s" % (i + 1, e["time_s"], row["predicted_s"]))
    if sum(e["retransmits"] for e in exchanges):
        problems.append("%d segments sent again" % sum(e["retransmits"] for e in exchanges))
    if row["wrong"]:
        problems.append("%d wrong elements" % row["wrong"])
    return problems


def main():
    print("TAP version 13\n1..%d" % len(CASES))
    failed = 0
    for number, (algorithm, size, more) in enumerate(CASES, 1):
        for _ in range(TRIES):
            done = bench(algorithm, size, more)
            if done.returncode == 3 and "User-Mode Linux cannot stand in" in done.stderr and \
                    "kernel" not in os.environ.get("LONGHAUL_MUST_RUN", ""):
                print("ok %d - %s # SKIP kernel: %s" % (number, algorithm, done.stderr.strip().splitlines()[-1]))
                problems = None
                break
            row = json.loads(done.stdout)["rows"][0] if done.returncode == 0 else None
            problems = judge(row) if row else [done.stderr.strip()]
            if row:
                print("# %s: %s s, predicted %.4f" % (algorithm, ", ".join("%.4f" % e["time_s"] for e in row["exchanges"]),
                                                      row["predicted_s"]))
            for p in problems:
                print("# " + p)
            if not problems:
                break
        if problems is not None:
            failed += bool(problems)
            print("%sok %d - %s" % ("not " if problems else "", number, algorithm))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
