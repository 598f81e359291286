#!/usr/bin/env python3
"""Time dilation across an emulated ocean: at D = 4 links are verified at four times the delay, and the report says what D = 1 says.
The sockets are the kernel's own: their windows close in silence, by one half for each retransmission timeout, which dilates too.

    dilation.py LONGHAUL        prints TAP

A machine without any netem kernel skips, or fails where LONGHAUL_MUST_RUN contains "kernel".
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

LIMIT_S = 240
LONGHAUL = os.path.abspath(sys.argv[1])
DEVICE = {"model": "resnet-lab", "device": "slow", "parameters": 78962, "samples_per_s": 40, "engine": "cpu",
          "precision": "fp32", "microbatch": 4, "products": "own", "measured": "2026-11-23T00:00:00Z"}
FILE = """longhaul: 1
name: ocean
sites: {us: {peers: 1, device: slow}, eu: {peers: 1, device: slow}}
links:
  - {between: [us, eu], rtt: 60ms, rate: 100mbit}
probe: {goodput: 0, pings: 5}
training: {engine: paced, model: resnet-lab, target-batch: 24, epochs: 5, warmup: 1}
"""


class Skip(Exception):
    pass


def run(where, dilation):
    out = "out%d" % dilation
    done = subprocess.run([LONGHAUL, "run", "ocean.yaml", "-q", "--json", "-o", out, "--set", "dilation=%d" % dilation],
                          cwd=where, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, text=True,
                          env=dict(os.environ, XDG_CONFIG_HOME=str(where)))
    if done.returncode == 3 and "User-Mode Linux cannot stand in" in done.stderr:
        raise Skip(done.stderr.strip())
    assert done.returncode == 0, "exit %d\n%s%s" % (done.returncode, done.stdout[-500:], done.stderr)
    manifest = json.loads(pathlib.Path(where, out, "manifest.json").read_text())
    return json.loads(done.stdout), json.dumps(manifest["verified"])


def ocean(where):
    pathlib.Path(where, "ocean.yaml").write_text(FILE)
    catalogue = pathlib.Path(where, "longhaul", "catalogue.json")
    catalogue.parent.mkdir()
    catalogue.write_text(json.dumps({"schema": "longhaul-catalogue/1", "entries": [DEVICE]}))
    one, verified_one = run(where, 1)
    four, verified_four = run(where, 4)
    assert (one["experiment"]["dilation"], four["experiment"]["dilation"]) == (1, 4)
    assert verified_one != verified_four and "different" not in verified_four
    for a, b in zip(one["links"], four["links"]):
        assert a["rtt_spec_s"] == b["rtt_spec_s"]
        if a["from"] != a["to"]:
            print("# %s->%s measured %.3f ms, %.3f ms" % (a["from"], a["to"], a["rtt_measured_s"] * 1e3,
                                                          b["rtt_measured_s"] * 1e3))
            assert abs(a["rtt_measured_s"] - 0.06) < 0.003 and abs(b["rtt_measured_s"] - 0.06) < 0.003
    for key in "wall_s", "calc_s", "comm_s", "granularity", "throughput_sps":
        a, b = one["summary"][key], four["summary"][key]
        print("# %s: %.4g, dilated %.4g" % (key, a, b))
        assert 0.85 < b / a < 1.18, key
    assert four["summary"]["bytes_sent"] == one["summary"]["bytes_sent"]


def main():
    print("TAP version 13\n1..1", flush=True)
    try:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as where:
            ocean(where)
        print("ok 1 - a dilated ocean")
    except Skip as why:
        if "kernel" in os.environ.get("LONGHAUL_MUST_RUN", "").split(","):
            print("not ok 1 - a dilated ocean: must run: %s" % why)
            return 1
        print("ok 1 - a dilated ocean # SKIP %s" % why)
    except AssertionError as why:
        print("# " + str(why).replace("\n", "\n# ") + "\nnot ok 1 - a dilated ocean")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
