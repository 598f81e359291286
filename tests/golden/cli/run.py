#!/usr/bin/env python3
"""Golden cases of the command line: one case = a command, its exit status, what it prints, what it leaves.

    run.py LONGHAUL CASES...

A case file holds blocks that are separated by empty lines:

    # name of the case
    $ longhaul check bad.yaml -o x          run in a fresh directory with an own configuration (xdg/); {src} is the source tree, {long} a long name
    exit 2
    out REGEX        must be found in standard output (several lines: each)
    err REGEX        must be found in standard error
    out-is TEXT      the whole of it; `out-is` alone: empty. err-is too
    file NAME TEXT   made before the command runs; \\n and \\t are escapes
    needs netns      skipped (must run: failed) where the machine refuses namespaces
    leaves NAME...   what is new in the directory afterwards; without it nothing may be

Prints TAP.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[3]
LIMIT_S = 60


class Skip(Exception):
    pass


def unescape(text):
    return text.replace("\\n", "\n").replace("\\t", "\t")


def blocks(path):
    block = []
    for line in path.read_text().splitlines() + [""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def find_all(kind, patterns, whole, text):
    for pattern in patterns:
        if not re.search(pattern, text, re.M):
            yield "%s: /%s/ is not in\n%s" % (kind, pattern, text)
    if whole is not None and text.rstrip("\n") != unescape(whole):
        yield "%s: wanted exactly\n%s\ngot\n%s" % (kind, unescape(whole), text)


def run_case(binary, block):
    want = {"out": [], "err": [], "out-is": None, "err-is": None, "exit": None, "leaves": set(), "needs": ""}
    files, command, problems = [], None, []
    for line in block:
        key, _, rest = line.partition(" ")
        rest = rest.replace("{src}", str(SOURCE)).replace("{long}", "n" * 40)
        if key == "$":
            command = rest
        elif key == "file":
            files.append(rest.partition(" ")[::2])
        elif key == "exit":
            want["exit"] = int(rest)
        elif key in ("out", "err"):
            want[key].append(rest)
        elif key in ("out-is", "err-is", "needs"):
            want[key] = rest
        elif key == "leaves":
            want["leaves"] = set(rest.split())
        elif key != "#":
            return ["unknown line: " + line]
    compared = want["out"] or want["err"] or want["out-is"] is not None or want["err-is"] is not None
    if command is None or want["exit"] is None or not compared:
        return ["a case needs $, exit and something to compare"]
    with tempfile.TemporaryDirectory() as where:
        for name, text in files:
            target = pathlib.Path(where, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(unescape(text))
        before = {str(p.relative_to(where)) for p in pathlib.Path(where).rglob("*")}
        # A shell only where the case asks for one by its syntax.
        words = ["sh", "-c", command] if re.search(r"[|<>;]", command) else shlex.split(command)
        env = dict(os.environ, PATH="%s:%s" % (os.path.dirname(binary), os.environ["PATH"]), LC_ALL="C",
                   XDG_CONFIG_HOME=where + "/xdg")
        for name in ("LONGHAUL_PEER_PROGRAM", "LONGHAUL_DATA"):
            env.pop(name, None)
        done = subprocess.run(words, cwd=where, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        after = {str(p.relative_to(where)) for p in pathlib.Path(where).rglob("*")}
    if want["needs"] and done.returncode == 3 and "namespaces" in err:
        if want["needs"] in os.environ.get("LONGHAUL_MUST_RUN", "").split(","):
            return ["must run: " + err]
        raise Skip(err.strip())
    if done.returncode != want["exit"]:
        problems.append("exit %d, wanted %d\n%s%s" % (done.returncode, want["exit"], out, err))
    problems += find_all("out", want["out"], want["out-is"], out)
    problems += find_all("err", want["err"], want["err-is"], err)
    if after - before != want["leaves"]:
        problems.append("left: %s, wanted: %s" % (sorted(after - before), sorted(want["leaves"])))
    return problems


def main():
    binary = os.path.abspath(sys.argv[1])
    cases = [b for path in sys.argv[2:] for b in blocks(pathlib.Path(path)) if any(l.startswith("$") for l in b)]
    failed = 0
    print("TAP version 13\n1..%d" % len(cases))
    for number, block in enumerate(cases, 1):
        name = next((l[2:] for l in block if l.startswith("# ")), "?")
        try:
            problems = run_case(binary, block)
        except Skip as why:
            print("ok %d - %s # SKIP %s" % (number, name, why), flush=True)
            continue
        except subprocess.TimeoutExpired:
            problems = ["did not end in %d s" % LIMIT_S]
        for problem in problems:
            print("# " + problem.replace("\n", "\n# "))
        failed += bool(problems)
        print("%sok %d - %s" % ("not " if problems else "", number, name), flush=True)
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
