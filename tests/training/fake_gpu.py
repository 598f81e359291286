#!/usr/bin/env python3
"""Engine cuda from end to end with a plugin that plays a GPU (tests/support/fake_gpu.c): memory that the host may not touch, the
same bits as engine cpu, updates on either side, and what becomes of a run whose GPU is lost, full or not there. TAP.

fake_gpu.py LONGHAUL_PEER PLUGIN
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

EPOCHS = 4
failed = 0
number = 0


def check(name, ok, *said):
    global failed, number
    number += 1
    failed += not ok
    for s in said if not ok else ():
        print("# " + str(s).strip().replace("\n", "\n# "))
    print("%sok %d - %s" % ("" if ok else "not ", number, name), flush=True)


class Peer:
    def __init__(self, program, data):
        self.program, self.data = program, data

    def run(self, model="resnet-lab", engine="cuda", fake="", **more):
        config = {
            "protocol": 1, "rank": 0, "size": 1, "secret": "00112233445566778899aabbccddeeff", "engine": engine, "model": model,
            "parameters": 0, "wire": "fp32", "target_batch": 8, "microbatch": 4, "epochs": EPOCHS, "learning_rate": 0.01, "seed": 1,
            "deadline_ns": 10 * 10**9, "data_dir": self.data,
            "peers": [{"name": "eu-0", "host": "127.0.0.1", "port": 29571, "samples_per_s": 1e6}], **more,
        }
        done = subprocess.run([self.program, "--config", "-"], input=json.dumps(config), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, "FAKE_GPU": fake}, timeout=120)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, [e for e in events if e["event"] == "epoch"], events, done.stderr


def hashes(epochs):
    return [e["state_hash"] for e in epochs]


def main():
    program, plugin = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    print("TAP version 13\n1..12")
    with tempfile.TemporaryDirectory() as d:
        peer = pathlib.Path(d) / "longhaul-peer"
        shutil.copy(program, peer)
        there = Peer(peer, d)
        os.symlink(plugin, peer.parent / "longhaul-cuda.so")
        cpu = {m: there.run(m, "cpu") for m in ("resnet-lab", "roberta-lab")}
        for model, (status, epochs, _, said) in cpu.items():
            check("%s on the cpu" % model, status == 0 and len(epochs) == EPOCHS, status, said)
        for model in cpu:
            for fake in ("", "update"):
                status, epochs, _, said = there.run(model, fake=fake)
                check("%s on a device, updates on %s: the same bits" % (model, "the device" if fake else "the host"),
                      status == 0 and hashes(epochs) == hashes(cpu[model][1]), status, said)
        status, epochs, _, said = there.run(fake="update", offload=True)
        check("offload: the host updates although the device could", status == 0 and hashes(epochs) == hashes(cpu["resnet-lab"][1]),
              status, said)
        # resnet-lab: a step is fewer than 200 operations; two a round
        status, epochs, events, said = there.run(fake="lost=500")
        check("a GPU that is lost ends the run with 4, what was done is told",
              status == 4 and 0 < len(epochs) < EPOCHS and events[-1]["event"] == "failed" and said.count("\n") == 1 and
              "GPU 0 (fake): lost" in said and "GPU 0 (fake): lost" in events[-1]["reason"], status, said, events[-1])
        status, epochs, _, said = there.run(fake="memory=300000")
        check("a model that does not fit is refused with 3 and its name",
              status == 3 and not epochs and "model resnet-lab, microbatch 4" in said and "out of memory" in said, status, said)
        status, _, _, said = there.run(fake="driver")
        check("no driver is 3", status == 3 and "no NVIDIA driver" in said and said.count("\n") == 1, status, said)
        status, _, _, said = there.run(gpu=3)
        check("a GPU that there is not is 3", status == 3 and "no GPU 3" in said, status, said)
        status, _, _, said = there.run("digits")
        check("a model without a table is refused", status == 2 and "digits" in said, status, said)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
