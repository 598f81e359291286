"""Rows of `scripts/bench allreduce`: our all-reduce beside what others make of the same peers in the same run.

Each row has a name, so that one can be run alone, and a time limit of at most three minutes, on a quiet machine of two
cores; all of them together end within a quarter of an hour. What is asked of a row stands in it (`asked`); `met` is None where
nothing is asked or it could not be measured.
"""
import json
import math
import pathlib
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGHAUL = ROOT / "build/harness/longhaul"
BENCH = ROOT / "topologies/bench"
SIXTEENTH, C8 = BENCH / "c-8-16th.yaml", "preset:study/c-8"
LAN, FAR = BENCH / "lan-8.yaml", BENCH / "far.yaml"
TUNED = ("--set", "training.sockets=tuned")
STUDY = ("--set", "training.sockets=study")
PEERS_OF_LAN = 8

# Every peer sends to every other one at once, as a butterfly does; the sum of what was received is what the path carries.
ALL_PAIRS = r"""
n=0; for a in $(echo "$LONGHAUL_ADDRESSES" | tr , ' '); do eval "A$n=$a"; n=$((n + 1)); done
folder=$(mktemp -d); o=1
while [ $o -lt $n ]; do iperf3 -s -1 -p $((6000 + o)) >/dev/null & o=$((o + 1)); done
sleep 1; o=1; clients=
while [ $o -lt $n ]; do
	eval "to=\$A$(((LONGHAUL_RANK + o) % n))"
	iperf3 -c "$to" -p $((6000 + o)) -t 3 -O 1 -J >"$folder/$o" 2>&1 & clients="$clients $!"; o=$((o + 1))
done
for pid in $clients; do wait "$pid"; done
python3 -c 'import json,pathlib,sys
for f in pathlib.Path(sys.argv[1]).iterdir(): print("RECEIVED", json.loads(f.read_text())["end"]["sum_received"]["bits_per_second"])' "$folder"
rm -r "$folder"; wait
"""


class OutOfTime(Exception):
    """The row's time limit ended it."""


class Clock:
    """Of the row that is being measured: nothing that it starts outlives its limit."""
    ends = math.inf

    @classmethod
    def left(cls):
        return None if math.isinf(cls.ends) else max(cls.ends - time.monotonic(), 0.1)


def run(*args):
    with subprocess.Popen([str(a) for a in args], stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            out, _ = child.communicate(timeout=Clock.left())
        except BaseException as e:
            child.send_signal(signal.SIGINT) # longhaul then takes its networks down
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            if isinstance(e, subprocess.TimeoutExpired):
                raise OutOfTime(" ".join(pathlib.Path(str(a)).name for a in args[:3])) from e
            raise
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, [str(a) for a in args])
    return out


def row(who, size, time_s, **more):
    return dict({"who": who, "size_bytes": size, "time_s": time_s, "fraction": None, "of": "", "asked": "", "met": None}, **more)


def exchange(topology, *words):
    """Rows of one `longhaul bench allreduce`, and the document they stand in."""
    document = json.loads(run(LONGHAUL, "bench", "allreduce", topology, "--json", "-q", *words))
    rows = []
    for r in document["rows"]:
        name = r["algorithm"] if r["algorithm"] == r["taken"] else "%s (%s)" % (r["algorithm"], r["taken"])
        rows.append(row("longhaul %s, %s, %s" % (name, document["sockets"], r["type"]), r["size_bytes"], r["time_s"],
                        fraction=r["bound_fraction"], of="of the bound, by " + r["bound_by"],
                        **{k: r[k] for k in ("time_min_s", "time_max_s", "predicted_s", "bound_s", "bound_terms_s",
                                             "host_limited", "wrong", "algorithm", "taken")}))
    return rows, document


def open_mpi(topology, size, runs, warmup, pause=0):
    """The same bytes by MPI_Allreduce on the same peers with the study's TCP settings; nothing where it is not installed."""
    if not shutil.which("mpirun") or not shutil.which("mpicc"):
        return []
    here = ROOT / "scripts/mpi"
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        program = pathlib.Path(folder, "allreduce")
        run("mpicc", "-O2", here / "allreduce.c", "-o", program)
        text = run(LONGHAUL, "exec", topology, "--all", "--", "sh", here / "peer.sh", here, program, size, runs, warmup,
                   pause)
    line = next(l for l in text.splitlines() if "time_s" in l)
    found = json.loads(line[line.index("{"):])
    sysctls = [l.split("SETTING ", 1)[1] for l in text.splitlines() if "SETTING " in l]
    return [row("Open MPI, study", found["size_bytes"], found["time_s"], wrong=found["wrong"],
                program=run("mpirun", "--version").split("\n")[0], settings=sysctls)]


def epoch_comm(topology, *words):
    """Communication of an epoch of a paced run: the mean over the counted epochs."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        result = json.loads(run(LONGHAUL, "run", topology, "--json", "-q", "-o", folder + "/run", *words))
    s = result["summary"]
    return s["comm_s"] / s["epochs"] if s["valid"] and s["epochs"] else math.nan, s


def hivemind(topology, model, size, batch, epochs, wires, *words):
    """The study's profile and ours: the same model, the same network, the same bytes (fp16), each its own run; the first epoch
    is left out. Further wires of ours are not judged."""
    all_ = []
    common = ("--set", "training.model=" + model, "--set", "training.target-batch=%d" % batch, "--set", "training.epochs=%d" % epochs,
              "--set", "training.warmup=1", *words)
    ours = ("--set", "training.algorithm=auto", *TUNED)
    runs = [("longhaul profile: hivemind, fp16, an epoch's comm_s", ("--set", "training.profile=hivemind"))]
    runs += [("longhaul auto, tuned, %s, an epoch's comm_s" % wire, ("--set", "training.wire=" + wire, *ours))
             for wire in ("fp16", *wires)]
    for who, more in runs:
        seconds, s = epoch_comm(topology, *common, *more)
        all_.append(row(who, size, seconds, reason=s["reason"], host_limited=s["host_limited"], split_rounds=s["split_rounds"],
                        **{k: s[k] for k in s if k.startswith("comm_")}))
    return faster(all_, all_[1], 2, all_[:1])


def faster(rows, ours, times, others):
    """Ours is so many times faster than each of the others."""
    for other in others:
        other.update(fraction=other["time_s"] / ours["time_s"], of="times ours", asked=">= %g" % times)
        other["met"] = None if math.isnan(other["fraction"]) else other["fraction"] >= times
    return rows


def bound(rows, share):
    for r in rows:
        r["asked"] = ">= %g of the bound" % share
        r["met"] = r["fraction"] is not None and r["fraction"] >= share
    return rows


def c8(topology, size, few):
    """auto with tuned sockets beside the butterfly with the study's, and Open MPI."""
    ours, _ = exchange(topology, "-b", size, "--algorithm", "auto", *few, *TUNED)
    flat, _ = exchange(topology, "-b", size, "--algorithm", "butterfly", "--runs", "1", "--warmup", "1", *STUDY)
    bound(ours, 0.8)
    faster(flat, ours[0], 1.3, flat)
    return ours + flat


def c8_mpi(topology, size, few):
    """auto with tuned sockets beside Open MPI."""
    ours, _ = exchange(topology, "-b", size, "--algorithm", "auto", *few, *TUNED)
    mpi = open_mpi(topology, ours[0]["size_bytes"], 1, 1)
    return faster(ours + mpi, ours[0], 2, mpi)


def veth_bits_per_s(topology):
    text = run(LONGHAUL, "exec", topology, "--all", "--", "sh", "-c", ALL_PAIRS)
    rates = [float(l.split("RECEIVED ")[1]) for l in text.splitlines() if "RECEIVED " in l]
    if len(rates) != PEERS_OF_LAN * (PEERS_OF_LAN - 1):
        raise ValueError("%d of %d streams of iperf3 ended well" % (len(rates), PEERS_OF_LAN * (PEERS_OF_LAN - 1)))
    return sum(rates)


def lan():
    """Against iperf3 between all pairs of the same peers at once, before and after."""
    before = veth_bits_per_s(LAN)
    rows = []
    for wire in "fp32", "fp16":
        rows += exchange(LAN, "-b", "1MB", "-e", "16MB", "-f", "4", "--codec", wire, "--algorithm", "auto", "--runs", "15",
                         "--warmup", "5", *TUNED)[0]
    path = statistics.mean((before, veth_bits_per_s(LAN)))
    for r in rows:
        # 2 (n - 1) / n of the vector leave each of n peers.
        carried = 8 * r["size_bytes"] * 2 * (PEERS_OF_LAN - 1) / r["time_s"]
        r.update(fraction=carried / path, of="of the %.1f Gbit/s of iperf3" % (path / 1e9), carried_bit_per_s=carried,
                 path_bit_per_s=path, asked=">= 0.8")
        r["met"] = r["fraction"] >= 0.8
    return rows


def small(pause):
    """64 KiB across 150 ms: the round trips that the algorithm needs, and no more."""
    rows, _ = exchange(FAR, "-b", "64KiB", "--algorithm", "butterfly,two-level,auto", "--runs", "5", "--warmup", "2", "--pause",
                       pause, *TUNED)
    for r in rows:
        need = r["bound_terms_s"]["delay"] if r["taken"] == "butterfly" else r["predicted_s"]
        r.update(fraction=r["time_s"] / need, of="x the %.1f ms that its trips take" % (need * 1e3), asked="<= 1.2")
        r["met"] = r["fraction"] <= 1.2
    seconds = float(pause.rstrip("s"))
    return rows + open_mpi(FAR, 65536, 3, 2, seconds)


def codecs():
    rows = []
    for c in json.loads(run(ROOT / "build/tests/bench_codec"))["codecs"]:
        rows.append(row("codec " + c["codec"], None, None, **{k: v for k, v in c.items() if k != "codec"}))
        if c.get("reduction_of_memory") is not None and c["codec"] != "topk": # which reads but a hundredth of the numbers
            rows[-1].update(fraction=c["reduction_of_memory"], of="of memory's bandwidth, reduction, one core")
        if c["codec"] == "fp16":
            rows[-1].update(asked=">= 0.6", met=c["reduction_of_memory"] >= 0.6)
    return rows


# name: (what it is, its time limit in seconds, how)
ROWS = {
    "lan-8": ("eight peers on one network, no limits", 120, lan),
    "small": ("64 KiB, 150 ms", 90, lambda: small("0s")),
    "small-silent": ("64 KiB, 150 ms, after 5 s of silence", 180, lambda: small("5s")),
    "codecs": ("codecs on one core", 60, codecs),
    "c-8-16th": ("four continents, rates and windows / 16, 100 MB", 180,
                 lambda: c8(SIXTEENTH, "100MB", ("--runs", "3", "--warmup", "2"))),
    # A ring of eight sends 2 * 7 / 8 of the vector over each of its links, and a window of 192 KiB over 253 ms (eu to asia)
    # carries 0.78 MB/s: 225 s for 100 MB, 36 s for 16 MB.
    "c-8-16th-mpi": ("the same network, 16 MB, beside Open MPI (100 MB would take it minutes an exchange)", 180,
                     lambda: c8_mpi(SIXTEENTH, "16MB", ("--runs", "3", "--warmup", "2"))),
    "c-8-16th-hivemind": ("the same network, RN50, beside the study's profile", 180,
                          lambda: hivemind(SIXTEENTH, "RN50", 51114064, 32768, 2, (), *ON_A10)),
    "c-8": ("four continents, 16 MB", 120, lambda: c8(C8, "16MB", ("--runs", "5", "--warmup", "3"))),
    "c-8-mpi": ("the same beside Open MPI", 120, lambda: c8_mpi(C8, "16MB", ("--runs", "5", "--warmup", "3"))),
    "c-8-hivemind": ("the same network, RN18, beside the study's profile", 150,
                     lambda: hivemind(C8, "RN18", 23379024, 65536, 3, ("int8",), *ON_A10)),
}
ALL_S = 900 # of them together
ON_A10 = [w for site in ("us", "eu", "asia", "aus") for w in ("--set", "sites.%s.device=A10" % site)]


def table(rows):
    """The rows of every measurement as one table of text."""
    out = ["%-18s %-52s %10s %11s %9s  %-48s %s" % ("row", "who", "bytes", "time (ms)", "figure", "what it is", "asked")]
    for name, list_ in rows.items():
        for r in list_ if isinstance(list_, list) else [row("failed: " + list_["failed"], None, None)]:
            verdict = {True: "  met", False: "  NOT MET", None: ""}[r["met"]]
            out.append("%-18s %-52s %10s %11s %9s  %-48s %s" % (
                name, r["who"], "" if r["size_bytes"] is None else r["size_bytes"],
                "" if r["time_s"] is None else "%.2f" % (r["time_s"] * 1e3),
                "" if r["fraction"] is None else "%.3g" % r["fraction"], r["of"], r["asked"] + verdict))
    return "\n".join(out)


def measure_row(name, note):
    what, limit, how = ROWS[name]
    began = time.monotonic()
    Clock.ends = min(Clock.ends, began + limit)
    limit = Clock.ends - began
    note("allreduce: %s, %s (at most %.0f s)" % (name, what, limit))
    try:
        found = how() if limit > 1 else {"failed": "not begun: the %d s of all rows are over" % ALL_S}
    except OutOfTime as e:
        found = {"failed": "its time limit of %.0f s ended it, in: %s" % (limit, e)}
    except (subprocess.SubprocessError, ValueError, KeyError, StopIteration, OSError) as e:
        found = {"failed": str(e)}
    note("allreduce: %s %s after %.0f s" % (name, "FAILED, " + found["failed"] + "," if isinstance(found, dict) else "done",
                                            time.monotonic() - began))
    return found


def measure(names, note):
    """Every row named, all of them when none is; the peers' kernel settings are in `settings` of Open MPI's rows."""
    found, began = {}, time.monotonic()
    for name in names or ROWS:
        Clock.ends = began + ALL_S
        found[name] = measure_row(name, note)
    return found
