#!/usr/bin/env python3
"""Kernel suite: `longhaul bench allreduce` on given matrices. Every algorithm sums right over real netem, nobody is
faster than the lower bound, and `auto` is within 10 % (short form: a quarter) of the best measured algorithm. Short: two
matrices; with LONGHAUL_LONG=1 four, and auto takes at least two different algorithms.

One algorithm's times are the median of its exchanges in all repeats so far, and what auto took is that algorithm, whichever
row it stands in: what is judged is the choice, and chance has the more to say the fewer exchanges there are.

allreduce.py LONGHAUL
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

LONGHAUL = sys.argv[1]
TOPOLOGIES = pathlib.Path(__file__).resolve().parents[2] / "topologies/bench"
LONG = os.environ.get("LONGHAUL_LONG") == "1"
# File, its settings, and what is sent.
SHORT_FORM = [("star", "2MB", []), ("even", "2MB", [])]
LONG_FORM = [("star", "8MB", []), ("even", "8MB", []), ("hybrid", "8MB", []),
             ("c-8-16th", "16MB", ["--set", "training.sockets=tuned"])]
ALGORITHMS = "butterfly,two-level,weighted-butterfly,packed-trees,auto"
# A machine that others use too is asked again, with all that it said before: no try is forgotten.
REPEATS = 4
# Short exchanges are worth no better: the same algorithm twice in a row differs by up to 17 %.
WITHIN = 1.10 if LONG else 1.25


def bench(name, size, more):
    command = [LONGHAUL, "bench", "allreduce", str(TOPOLOGIES / (name + ".yaml")), "--json", "-q", "-b", size, "--runs",
               "3", "--warmup", "2", "--algorithm", "all" if LONG else ALGORITHMS] + more
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=1200)
    if done.returncode == 3 and "User-Mode Linux cannot stand in" in done.stderr and \
            "kernel" not in os.environ.get("LONGHAUL_MUST_RUN", ""):
        return None, done.stderr
    try:
        return json.loads(done.stdout)["rows"] if done.returncode == 0 else [], done.stderr
    except ValueError:
        return [], done.stderr


def broken(rows):
    """What no busy machine excuses; empty: nothing."""
    problems = []
    for r in rows:
        if r["wrong"] != 0:
            problems.append("%s: %s wrong elements" % (r["algorithm"], r["wrong"]))
        # The machine's share is measured with an error of its own; the network's bounds are not.
        terms = r["bound_terms_s"]
        if r["time_s"] < 0.99 * max(terms["node"], terms["cut"], terms["delay"]):
            problems.append("%s: %.3f s is less than the bound" % (r["algorithm"], r["time_s"]))
    return problems


def choice(times, taken):
    """What is wrong with auto's choice; None: nothing. times: algorithm -> its exchanges."""
    median = {a: statistics.median(t) for a, t in times.items()}
    best = min(median, key=median.get)
    if median[taken] <= WITHIN * median[best]:
        return None
    return "auto (%s): %.3f s, the best (%s) is %.3f s" % (taken, median[taken], best, median[best])


def repeat(name, size, more):
    """(what is wrong with it, what auto took); (None, why) where it cannot run."""
    times, taken = {}, None
    for _ in range(REPEATS):
        rows, said = bench(name, size, more)
        if rows is None:
            return None, said
        if not rows:
            return ["no rows: " + said.strip()], None
        for r in rows:
            print("# %s %s %s: %.4f s, predicted %.4f, bound %.4f" % (name, r["algorithm"], r["taken"], r["time_s"],
                                                                     r["predicted_s"], r["bound_s"]))
            times.setdefault(r["taken"], []).extend(e["time_s"] for e in r["exchanges"] if e["measured"])
            taken = r["taken"] if r["algorithm"] == "auto" else taken
        wrong = broken(rows)
        if wrong:
            return wrong, taken
        slow = choice(times, taken)
        if not slow:
            return [], taken
        print("# " + slow)
    return [slow], taken


def main():
    cases = LONG_FORM if LONG else SHORT_FORM
    print("TAP version 13\n1..%d" % (len(cases) + LONG))
    failed, taken = 0, set()
    for number, (name, size, more) in enumerate(cases, 1):
        problems, said = repeat(name, size, more)
        if problems is None:
            print("ok %d - %s # SKIP kernel: %s" % (number, name, said.strip().splitlines()[-1]))
            continue
        taken |= {said} if not problems else set()
        for p in problems:
            print("# " + p)
        failed += bool(problems)
        print("%sok %d - %s" % ("not " if problems else "", number, name))
    if LONG:
        failed += len(taken) < 2
        print("# auto took: " + ", ".join(sorted(taken)))
        print("%sok %d - auto takes different algorithms" % ("not " if len(taken) < 2 else "", len(cases) + 1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
