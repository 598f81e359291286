#!/usr/bin/env python3
"""What a run says, and what it leaves, when training cannot go on: the words, the exit status, results and checkpoints so far.

bad_training.py LONGHAUL LONGHAUL_PEER FAKE_GPU.so DATA [OLD_DRIVER/libcuda.so.1 LONGHAUL_CUDA.so]      TAP

FAKE_GPU.so plays a GPU (tests/support/fake_gpu.c); the old driver is a library that says so to CUDA's own runtime.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FILE = """longhaul: 1
name: a
sites: {us: {peers: 2}}
probe: {goodput: 0, pings: 2}
training: {engine: cpu, model: digits, target-batch: 16, microbatch: 4, epochs: 8, warmup: 1, pace: 40/s, checkpoint-rounds: 2}
"""
CUDA = ("training.engine=cuda", "training.model=resnet-lab")
NANS = ("training.optimizer=sgd", "training.learning-rate=1", "training.weight-decay=10", "training.epochs=90",
        "training.pace=400/s")
LONGHAUL, PEER, FAKE, DATA = (os.path.abspath(p) for p in sys.argv[1:5])
OLD = [os.path.abspath(p) for p in sys.argv[5:7]]
cases = []


class Skip(Exception):
    pass


class Case:
    def __init__(self, where):
        self.where = pathlib.Path(where)
        self.env = dict(os.environ, XDG_CONFIG_HOME=where, LONGHAUL_DATA=DATA)
        (self.where / "a.yaml").write_text(FILE)
        shutil.copy(PEER, self.where / "longhaul-peer")

    def gpu(self, **settings):
        """Peers get a clean environment, so what breaks is in their program's name."""
        if not (self.where / "longhaul-cuda.so").exists():
            (self.where / "longhaul-cuda.so").symlink_to(FAKE)
        self.env["LONGHAUL_PEER_PROGRAM"] = str(self.where / "peer")
        (self.where / "peer").write_text("#!/bin/sh\n%s exec %s/longhaul-peer \"$@\"\n" % (
            " ".join("%s=%s" % s for s in settings.items()), self.where))
        (self.where / "peer").chmod(0o755)

    def run(self, out, *sets, more=()):
        words = [LONGHAUL, "run", "a.yaml", "--kernel", "host", "-q", "-o", out, *more]
        for s in sets:
            words += ["--set", s]
        done = subprocess.run(words, cwd=self.where, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
        if done.returncode == 3 and "namespace" in done.stderr:
            raise Skip(done.stderr.strip())
        return done.returncode, done.stderr

    def refuses(self, status, says, *sets):
        got, err = self.run("out", *sets)
        assert got == status and re.fullmatch(says, err), "exit %d: %s" % (got, err)

    def result(self, out):
        doc = json.loads((self.where / out / "result.json").read_text())
        return doc, sorted(p.name for p in (self.where / out / "checkpoints").glob("*/*"))


def case(f):
    cases.append(f)
    return f


@case
def a_gpu_that_is_lost_in_mid_run(c):
    c.gpu(FAKE_GPU="lost=1000")
    c.refuses(4, r"longhaul: peer us-[01]: GPU 0 \(fake\): lost: unspecified launch failure\n", *CUDA)
    doc, kept = c.result("out")
    rounds = len(doc["epochs"])
    assert not doc["complete"] and 2 < rounds < 8 and doc["failure"]["kind"] == "peer-failed", doc["failure"]
    assert "lost" in doc["failure"]["text"] and len(kept) == 4, kept
    c.gpu(FAKE_GPU="none")
    status, err = c.run("rest", *CUDA, more=("--resume", "out"))
    assert status in (0, 5), err  # a busy machine does not keep the pace
    doc, _ = c.result("rest")
    assert doc["complete"] and doc["resumed"]["rounds"] >= rounds - rounds % 2 and doc["epochs"][-1]["epoch"] == 8


@case
def a_gpu_whose_memory_is_full(c):
    c.gpu(FAKE_GPU="memory=300000")
    c.refuses(4, r"longhaul: peer us-[01]: model resnet-lab, microbatch 4: GPU 0 \(fake\): [0-9.]+ GB of memory: out of memory\n",
              *CUDA)


@case
def no_driver(c):
    c.gpu(FAKE_GPU="driver")
    c.refuses(3, r"longhaul: engine cuda: no NVIDIA driver on this machine: fake\n", *CUDA)
    assert not (c.where / "out").exists()


@case
def a_driver_that_is_too_old(c):
    if len(OLD) < 2:
        raise Skip("built without CUDA")
    (c.where / "longhaul-cuda.so").symlink_to(OLD[1])
    c.gpu(LD_LIBRARY_PATH=os.path.dirname(OLD[0]))
    c.refuses(3, r"longhaul: engine cuda: the NVIDIA driver is too old: it supports CUDA 10\.1 and this build needs 1\d\.\d: "
              r"CUDA driver version is insufficient for CUDA runtime version\n", *CUDA)
    assert not (c.where / "out").exists()


@case
def parameters_that_grow_beyond_numbers(c):
    c.refuses(4, r"longhaul: peer us-[01]: model digits: the loss is not a finite number; the first layer with such an output is "
              r"(conv[123]|hidden|out); lower the learning rate\n", *NANS)
    doc, kept = c.result("out")
    assert not doc["complete"] and len(doc["epochs"]) > 2 and len(kept) == 4, (len(doc["epochs"]), kept)


@case
def data_that_are_damaged(c):
    data = c.where / "data"
    data.mkdir()
    whole = bytearray(pathlib.Path(DATA, "digits.lhdata").read_bytes())
    whole[50000] ^= 1
    (data / "digits.lhdata").write_bytes(whole)
    c.env["LONGHAUL_DATA"] = str(data)
    c.refuses(4, r"longhaul: peer us-[01]: \S*/data/digits\.lhdata: altered: its hash is not the one in its header\n")


@case
def no_such_model_precision_or_engine(c):
    for word, says in (("model=lenet", r'model: engine cpu has no model "lenet"; it has digits, text, .*'),
                       ("precision=fp8", r'precision: "fp8" is not fp32, bf16 or fp16; did you mean "fp32"\?'),
                       ("precision=bf16", r"precision: engine cpu knows fp32 only; bf16 is for engine cuda"),
                       ("engine=tpu", r'engine: "tpu" is not cpu, paced, cuda or auto; did you mean "cpu"\?')):
        c.refuses(2, r"--set:1:\d+: error: %s\n.*\n.*\nlonghaul: a\.yaml: 1 error\n" % says, "training." + word)
    assert not (c.where / "out").exists()


def main():
    print("TAP version 13\n1..%d" % len(cases), flush=True)
    failed = False
    for i, f in enumerate(cases):
        name = "%d - %s" % (i + 1, f.__name__.replace("_", " "))
        try:
            with tempfile.TemporaryDirectory() as where:
                f(Case(where))
            print("ok " + name, flush=True)
        except Skip as why:
            must = "netns" in os.environ.get("LONGHAUL_MUST_RUN", "").split(",") and "CUDA" not in str(why)
            failed |= must
            print("%sok %s # SKIP %s" % ("not " if must else "", name, str(why).replace("\n", " ")), flush=True)
        except (AssertionError, FileNotFoundError, subprocess.TimeoutExpired) as why:
            failed = True
            print("# %s\nnot ok %s" % (str(why).replace("\n", "\n# "), name), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
