#!/usr/bin/env python3
"""A peer that only tells, for tests of what the harness makes of peers that come and go.

It keeps to a script that training.seed picks; all copies know the script, so they need no network. Epochs of 0.2 s
and 120 samples. The go's instant is in a file beside the checkpoint directories.

  1  rank 1 is gone (killed at 0.7 s by the schedule) from epoch 4 on, and back (added at 1.5 s) from epoch 11 on
  2  the same, but two members tell different members of view 2
  3  rank 2 gives up in epoch 3
  4  every peer ends in epoch 3
  5  as 1, but a sample of the dealt share is told twice
"""
import json
import os
import pathlib
import select
import sys
import time

EPOCH = 200_000_000
BATCH = 120


def main():
    if len(sys.argv) > 1 and not sys.argv[1].startswith("--"):  # what is asked of the program, not of a peer
        real = pathlib.Path(os.environ["LONGHAUL_EXE"]).parent.parent / "trainer" / "longhaul-peer"
        os.execv(real, [str(real), *sys.argv[1:]])
    args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    with os.fdopen(int(args["--config-fd"])) as f:
        c = json.load(f)
    events, control = int(args["--event-fd"]), int(args["--control-fd"])
    me, script, size = c["rank"], c["seed"], c["size"]
    go_file = os.path.join(os.path.dirname(c["checkpoint_dir"]), "go")

    def now():
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def tell(kind, **more):
        line = {"event": kind, "rank": me, "t_ns": now()}
        line.update(more)
        os.write(events, (json.dumps(line) + "\n").encode())

    def until(t):
        while now() < t:
            ready, _, _ = select.select([control], [], [], (t - now()) / 1e9)
            if ready:
                b = os.read(control, 1)
                if b in (b"", b"s"):
                    tell("finished")
                    sys.exit(0)

    def view(number, members, gone=0, came=0, cause="lost", version=0, aborted=0, redealt=0):
        t = now()
        tell("view", view=number, members="%016x" % members, gone="%016x" % gone, came="%016x" % came, cause=cause,
             noticed_ns=t, version=version, aborted_round=aborted, samples_redealt=redealt)

    def epoch(e, number, members, begin, go, whole):
        here = [r for r in range(size) if members >> r & 1]
        share = BATCH // len(here)
        first = (e - 1) * BATCH + here.index(me) * share
        text = "%d+%d" % (first, share)
        if whole and share == 40:  # a share of before, and what the lost one had, dealt again
            old = (e - 1) * BATCH + me * 30
            text = "%d+30,%d+10" % (old, (e - 1) * BATCH + 30 + here.index(me) * 10)
            if script == 5 and me == 0:
                text = "%d+30,%d+10" % (old, (e - 1) * BATCH + 60)
        end = go + e * EPOCH
        until(end)
        tell("epoch", epoch=e, view=number, begin_ns=begin, calc_end_ns=end - 50_000_000, exchange_end_ns=end,
             commit_ns=end, samples=share, total_samples=BATCH, ranges=text, bytes_sent=1000, bytes_received=1000,
             loss_sum=1.0, busy_ns=1000, late_ns=0, state_hash="%016x" % e)
        return end

    tell("listening")
    tell("joined", parameters=10, state_hash="%016x" % 77)
    everybody = (1 << size) - 1
    if os.read(control, 1) != b"g":
        sys.exit(4)
    e = 1
    if c.get("absent"):
        assert c["incarnation"] == 1, c
        with open(go_file) as f:
            go = int(f.read())
        begin = now()
        until(go + 9 * EPOCH + EPOCH // 2)
        tell("synced", version=9, donor=2, begin_ns=begin, bytes_received=5000, state_hash="%016x" % 9)
        e = 10
        commit = now()
    else:
        go = now() + 20_000_000
        if me == 0:
            with open(go_file, "w") as f:
                f.write(str(go))
        commit = go
        view(1, everybody, came=everybody, cause="start")
    number, members = 1, everybody
    while e <= c["epochs"]:
        if script in (3, 4) and e == 3 and (script == 4 or me == 2):
            tell("failed", culprit=-1, reason="too few members of the group are in reach")
            sys.exit(4)
        if script in (1, 2, 5) and e == 4 and me != 1:
            until(go + 3 * EPOCH + EPOCH * 7 // 8)
            number, members = 2, everybody & ~2
            view(2, members | (2 if script == 2 and me == 0 else 0), gone=2, version=3, aborted=4, redealt=30)
        if script == 3 and e == 3:
            number, members = 2, everybody & ~4
            view(2, members, gone=4, version=2)
        if e == 11 or (e == 10 and c.get("absent")):
            if e == 10:
                until(go + 10 * EPOCH)
                commit, e = now(), 11
            if script in (1, 5):
                number, members = 3, everybody
                view(3, members, came=2, cause="joined", version=10)
        commit = epoch(e, number, members, min(commit, go + e * EPOCH - 60_000_000), go, script != 3 and e == 4)
        e += 1
    tell("finished")


main()
