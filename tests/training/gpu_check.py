#!/usr/bin/env python3
"""scripts/gpu-check from end to end where no GPU is: programs carried in a folder, the plugin that plays a GPU, an nvidia-smi, a
compute-sanitizer and a test program that say what they are told. TAP.

gpu_check.py GPU_CHECK LONGHAUL_PEER FAKE_PLUGIN
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MODELS = "resnet-lab=4 roberta-lab=2"
number, failed = 0, 0


def check(name, ok, *said):
    global number, failed
    number += 1
    failed += not ok
    for s in said if not ok else ():
        print("# " + str(s).strip().replace("\n", "\n# "))
    print("%sok %d - %s" % ("" if ok else "not ", number, name), flush=True)


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def main():
    program, peer, plugin = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
    print("TAP version 13\n1..10")
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        packed, out, tools = d / "packed", d / "out", d / "tools"
        for folder in (packed, tools):
            folder.mkdir()
        shutil.copy(peer, packed / "longhaul-peer")
        shutil.copy(plugin, packed / "longhaul-cuda.so")
        (packed / "pack.json").write_text(json.dumps({"commit": "abc1234", "clean": True, "archs": "90", "toolkit": ["13"]}))
        script(packed / "test_gpu", "echo '# fp32: worst 5e-07 of a length, 9 cases'; echo ok 1 - fp32\n")
        script(tools / "nvidia-smi", "echo 'NVIDIA Play 1, 9.0, 580.1, 81559'\n")
        script(tools / "compute-sanitizer", "[ $2 != racecheck ] || { echo '========= Race reported'; exit 9; }\n"
               "echo '========= ERROR SUMMARY: 0 errors'\n")

        def run(*words, path=tools, fake="update"):
            done = subprocess.run([sys.executable, program, "--packed", packed, "--out", out, "--precision", "fp32", "--models", MODELS,
                                   "--seconds", "0.05",
                                   *words], text=True, capture_output=True, timeout=150,
                                  env={**os.environ, "PATH": "%s:%s" % (path, os.environ["PATH"]), "FAKE_GPU": fake})
            record = out / "nvidia-play-1.json"
            return done, json.loads(record.read_text()) if record.is_file() else None

        done, doc = run("--quick")
        check("--quick writes nothing", done.returncode == 0 and doc is None and '"passed": true' in done.stdout, done)

        done, doc = run("--minutes", "0")
        check("no time: nothing is measured, and that is said", done.returncode == 1 and doc["steps"] == {} and
              "no time was left for operations" in done.stderr, done, doc)

        # The driver is gone before the models: what was measured stays, each failure has its reason.
        done, doc = run(fake="driver")
        check("a GPU that goes", done.returncode == 1 and doc["steps"]["operations"]["passed"] and
              "no NVIDIA driver" in doc["steps"]["resnet-lab: ours"]["why"] and
              "no NVIDIA driver" in (out / "nvidia-play-1.md").read_text(), done, doc)

        out.joinpath("nvidia-play-1.json").unlink()
        done, doc = run("--continue")
        steps = doc["steps"]
        check("both models are timed", all(steps[m + ": ours"]["samples_per_s"] > 0 for m in ("resnet-lab", "roberta-lab")), done, doc)
        check("copies to the device are not in the rate", all(
            abs(o["samples_per_s"] * (o["forward_s"] + o["backward_s"] + o["update_s"]) - o["microbatch"]) < 1e-3 and o["copy_s"] > 0
            for o in (steps[m + ": ours"] for m in ("resnet-lab", "roberta-lab"))), doc)
        check("both models train", all(len(steps[m + ": training"]["losses"]) == 20 for m in ("resnet-lab", "roberta-lab")), done, doc)
        check("a race is a failure", done.returncode == 1 and steps["sanitizer: racecheck"]["passed"] is False and
              steps["sanitizer: memcheck"]["passed"] is True, done, doc)
        check("the record says what it is of", (doc["commit"], doc["gpu"]["name"], doc["precision"]) == ("abc1234", "NVIDIA Play 1", "fp32"),
              doc)

        before = json.dumps(doc["steps"])
        done, doc = run("--continue", fake="driver")
        check("--continue measures nothing twice", json.dumps(doc["steps"]) == before, done, doc)

        script(tools / "nvidia-smi", "exit 9\n")
        done, _ = run(fake="driver")
        check("no GPU: exit 3 with the driver's words", done.returncode == 3 and "fake" in done.stderr, done)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
