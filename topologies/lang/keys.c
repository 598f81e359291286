/* keys.c - the format, declared once.
 *
 * typing.c checks files against this table and takes defaults from it; reference.c prints it as the reference
 * page and as JSON Schema. A new key is one row here and one line where it is used.
 */
#include "lang.h"

#include <string.h>

#define IN(section) (UINT32_C(1) << (section))
#define IMPAIRED (IN(S_LAN) | IN(S_LINK) | IN(S_SET))
#define PER_PEER (IN(S_SITE) | IN(S_GROUP))

#define MS(n) ((uint64_t)(n) * 1000000)
#define SECONDS(n) ((uint64_t)(n) * 1000000000)

static const struct lang_value name_item = { .scalar = T_NAME };
static const struct lang_value real_item = { .scalar = T_REAL, .real_min = -180, .real_max = 180 };
static const struct lang_value octets_item = { .scalar = T_OCTETS, .min = 1, .max = INT32_MAX };
static const struct lang_value path_item = { .scalar = T_PATH };
static const struct lang_value names_item = { .item = &name_item, .min_items = 1, .max_items = LH_SITES_MAX };
static const struct lang_value group_item = { .map = S_GROUP };
static const struct lang_value link_item = { .map = S_LINK };
static const struct lang_value event_item = { .map = S_EVENT };

#define TWO_NAMES { .item = &name_item, .min_items = 2, .max_items = 2 }
#define OCTETS3 { .item = &octets_item, .min_items = 3, .max_items = 3 }
#define DELAY_LIMITS .min = 0, .max = SECONDS(60)
#define RATE_LIMITS .min = 1000, .max = UINT64_C(1000000000000)

const struct lang_key lang_keys[] = {
	/* the file */
	{ IN(S_FILE), "longhaul", { T_COUNT, .min = 1, .max = 1 }, true, NULL, "version of this format" },
	{ IN(S_FILE), "name", { T_TEXT, .max = 63 }, false, NULL, "short name of the experiment; default: the file's" },
	{ IN(S_FILE), "description", { T_TEXT, .max = 4000 }, false, NULL, "free text" },
	{ IN(S_FILE), "seed", { T_COUNT }, false, "1", "of everything random in the network" },
	{ IN(S_FILE), "dilation", { T_COUNT, .min = 1, .max = 1000 }, false, "1",
	  "everything takes so many times as long: delays and timers times it, rates and paces divided by it, so that a "
	  "machine can keep the pace of many peers; reports divide back" },
	{ IN(S_FILE), "include", { T_PATH, .item = &path_item, .max_items = 32 }, false, NULL,
	  "files merged first, in this order, relative to this file; `preset:lan` is the preset of that name" },
	{ IN(S_FILE), "ip", { T_CHOICE, .choices = "4 6" }, false, "4",
	  "what peers talk; both families are always set up" },
	{ IN(S_FILE), "sites", { .map = S_SITES }, true, NULL, "at least one site, at most 64" },
	{ IN(S_FILE), "matrix", { .map = S_MATRIX }, false, NULL, "delay between every two sites" },
	{ IN(S_FILE), "links", { .item = &link_item, .max_items = LANG_LIST_MAX }, false, NULL,
	  "further impairments of single links; they win over the matrix" },
	{ IN(S_FILE), "training", { .map = S_TRAINING }, false, NULL,
	  "what the peers train; may be left out to only probe" },
	{ IN(S_FILE), "probe", { .map = S_PROBE }, false, NULL, "how links are measured before training" },
	{ IN(S_FILE), "schedule", { .item = &event_item, .max_items = LANG_LIST_MAX }, false, NULL,
	  "what changes while training runs" },

	/* sites and peers */
	{ IN(S_SITES), "*", { .map = S_SITE }, false, NULL,
	  "a site, by name: letters, digits, `-` and `_`, at most 31 characters" },
	{ IN(S_SITE), "lan", { .map = S_LAN }, false, NULL, "between two peers of the site" },
	{ IN(S_SITE), "provider", { T_TEXT, .max = LH_NAME_MAX - 1 }, false, NULL, "cloud provider, for reports" },
	{ IN(S_SITE), "zone", { T_TEXT, .max = LH_NAME_MAX - 1 }, false, NULL, "zone of the provider, for reports" },
	{ IN(S_SITE), "at", { .item = &real_item, .min_items = 2, .max_items = 2 },
	  false, NULL,
	  "latitude and longitude in degrees" },
	{ IN(S_SITE), "access", { .map = S_ACCESS }, false, NULL, "one bottleneck for all WAN traffic of the site" },
	{ IN(S_SITE), "store", { T_BOOL, .map = S_STORE }, false, NULL,
	  "a node that holds samples, named site-store: `yes`, or its settings; a site that has one and says nothing of "
	  "`peers` has none. `training.store` says who reads from it" },
	{ IN(S_STORE), "nic", { T_RATE_OR_NONE, RATE_LIMITS }, false, NULL, "limit of the store, each way; default: none" },
	{ IN(S_STORE), "name", { T_NAME }, false, NULL, "of the node; default: the site's name and `-store`" },
	{ IN(S_SITE), "peers",
	  { T_COUNT, .min = 0, .max = LH_PEERS_MAX, .item = &group_item, .min_items = 1, .max_items = LH_PEERS_MAX },
	  false, "1", "number of peers, named site-0, site-1, ..., or a list of groups" },
	{ IN(S_GROUP), "count", { T_COUNT, .min = 1, .max = LH_PEERS_MAX }, false, "1", "peers in this group" },
	{ IN(S_GROUP), "name", { T_NAME }, false, NULL,
	  "of the peer; with a count over 1: name-0, name-1, ...; default: the site's name" },
	{ PER_PEER, "device", { T_NAME }, false, NULL,
	  "`cpu` (default), or a device of the catalogue, whose rate is kept: by waiting alone (`engine: paced`), "
	  "else after each real step" },
	{ PER_PEER, "pace", { T_PACE, .real_min = 0.001, .real_max = 1e9 }, false, NULL,
	  "samples a second that each `cpu` peer keeps; default: training's" },
	{ PER_PEER, "share", { T_COUNT, .min = 0, .max = 1000000 }, false, NULL,
	  "butterfly: weight of the part of the sum that each peer makes; default: 1" },
	{ PER_PEER, "nic", { T_RATE_OR_NONE, RATE_LIMITS }, false, NULL,
	  "limit of each peer, each way; default: none" },
	{ IN(S_FILE) | PER_PEER, "spot", { T_CHOICE, .choices = "none", .map = S_SPOT }, false, NULL,
	  "when each peer's machine is taken away and given back; the group's wins over the site's, that over the file's; "
	  "default: none" },
	{ IN(S_FILE) | PER_PEER | IN(S_STORE), "tcp", { T_CHOICE, .choices = "default", .map = S_TCP }, false, NULL,
	  "TCP settings of each peer; keys left out are inherited from the site, then the file, then `default`" },

	{ IN(S_ACCESS), "up", { T_RATE_OR_NONE, RATE_LIMITS }, false, NULL,
	  "rate out of the site; default: not limited" },
	{ IN(S_ACCESS), "down", { T_RATE_OR_NONE, RATE_LIMITS }, false, NULL,
	  "rate into the site; default: not limited" },
	{ IN(S_ACCESS), "queue", { T_QUEUE }, false, "auto", "before the bottleneck; BDP of the site's largest RTT" },

	{ IN(S_TCP), "congestion", { T_NAME, .max = 15 }, false, NULL, "congestion control; `default` is cubic" },
	{ IN(S_TCP), "rmem", OCTETS3, false, NULL,
	  "receive buffer: least, initial, largest, as sysctl tcp_rmem; `default` is 4096, 131072, 6291456" },
	{ IN(S_TCP), "wmem", OCTETS3, false, NULL,
	  "send buffer, as sysctl tcp_wmem; `default` is 4096, 16384, 4194304" },
	{ IN(S_TCP), "slow-start-after-idle", { T_BOOL }, false, NULL,
	  "shrink the congestion window after an idle time; `default` is yes" },
	{ IN(S_TCP), "initial-window", { T_COUNT, .min = 0, .max = 10000 }, false, NULL,
	  "initial congestion window in segments; 0 is the kernel's own (10)" },

	/* machines that are taken away */
	{ IN(S_SPOT), "mean", { T_TIME, .min = SECONDS(1), .max = SECONDS(8640000) }, false, NULL,
	  "mean time that a peer runs until it is killed, exponentially distributed; drawn from the file's seed" },
	{ IN(S_SPOT), "trace", { T_PATH }, false, NULL,
	  "CSV file with the columns time, peer, what (kill, notice or add); times count from the first epoch" },
	{ IN(S_SPOT), "notice", { T_TIME_OR_WORD, .min = 0, .max = SECONDS(86400), .choices = "aws gcp azure" }, false,
	  "0s", "how long before the kill the peer is told; aws: 120s, gcp, azure: 30s, the providers' own figures" },
	{ IN(S_SPOT), "restart", { T_TIME_OR_WORD, .min = 0, .max = SECONDS(864000), .choices = "never" }, false, "never",
	  "from the kill until the peer is started again" },
	{ IN(S_SPOT), "until", { T_TIME, .min = SECONDS(1), .max = SECONDS(864000) }, false, "1h",
	  "mean: no peer is killed later than this after the first epoch began" },

	/* delays of all pairs */
	{ IN(S_MATRIX), "rtt", { T_TIME_OR_PATH, .map = S_ROWS, DELAY_LIMITS }, false, NULL,
	  "round-trip times: a time for every pair, rows by site, or a CSV file; symmetric unless both directions "
	  "are given, then each direction is half of its own" },
	{ IN(S_MATRIX), "delay", { T_TIME_OR_PATH, .map = S_ROWS, DELAY_LIMITS }, false, NULL,
	  "one-way delays, in the same forms; both directions must be given" },
	{ IN(S_ROWS), "*", { .map = S_ROW }, false, NULL, "row of the site that sends" },
	{ IN(S_ROW), "*", { T_TIME, DELAY_LIMITS }, false, NULL, "to this site" },

	/* one link */
	{ IN(S_LINK) | IN(S_EVENT), "between", TWO_NAMES, false, NULL, "two sites: both directions" },
	{ IN(S_LINK) | IN(S_EVENT) | IN(S_ONEWAY), "from", { T_NAME }, false, NULL,
	  "site that sends, with `to`: one direction" },
	{ IN(S_LINK) | IN(S_EVENT) | IN(S_ONEWAY), "to", { T_NAME }, false, NULL, "site that receives" },
	{ IMPAIRED, "rtt", { T_TIME, DELAY_LIMITS }, false, NULL,
	  "round-trip time: half of it each way; not with `from`, `to`" },
	{ IMPAIRED, "delay", { T_TIME, DELAY_LIMITS }, false, NULL, "one-way delay, of each direction" },
	{ IMPAIRED, "jitter", { T_TIME, .min = 0, .max = SECONDS(2) }, false, NULL,
	  "variation of the delay, at most the delay" },
	{ IMPAIRED, "distribution", { T_CHOICE, .choices = "uniform normal pareto paretonormal" }, false, NULL,
	  "of the jitter; default: uniform" },
	{ IMPAIRED, "jitter-correlation", { T_SHARE }, false, NULL, "with the packet before" },
	{ IMPAIRED, "jitter-reorders", { T_BOOL }, false, NULL,
	  "let a packet overtake one with more jitter; default: packets keep their order" },
	{ IMPAIRED, "loss", { T_SHARE, .map = S_LOSS }, false, NULL, "share of packets lost, or a loss model" },
	{ IMPAIRED, "ecn", { T_BOOL }, false, NULL, "mark ECN-capable packets instead of losing them" },
	{ IMPAIRED, "reorder", { .map = S_REORDER }, false, NULL, "packets sent at once, without the delay" },
	{ IMPAIRED, "duplicate", { T_SHARE, .map = S_PORTION }, false, NULL, "packets sent twice" },
	{ IMPAIRED, "corrupt", { T_SHARE, .map = S_PORTION }, false, NULL, "packets with one bit flipped" },
	{ IMPAIRED, "rate", { T_RATE_OR_NONE, RATE_LIMITS }, false, NULL, "bottleneck; default: none" },
	{ IMPAIRED, "overhead", { T_INTEGER, .real_min = -42, .real_max = 65535 }, false, NULL,
	  "bytes added to each packet for the rate; 24 for Ethernet framing" },
	{ IMPAIRED, "queue", { T_QUEUE }, false, NULL,
	  "before the bottleneck: `0.5bdp`, `500packets`, or `auto` (default: one BDP)" },
	{ IMPAIRED, "slot", { T_CHOICE, .choices = "none", .map = S_SLOT }, false, NULL,
	  "deliver in bursts; default: none" },
	{ IN(S_LINK) | IN(S_LAN), "mode", { T_CHOICE, .choices = "auto packet" }, false, NULL,
	  "`packet`: offloads off, for every link of the site that sends, so that a low rate sees single packets and "
	  "no bursts of 64 KiB; default: auto, that is where packets are lost, corrupted, duplicated or reordered" },
	{ IN(S_LINK) | IN(S_LAN), "seed", { T_COUNT }, false, NULL, "of this link; default: derived from the file's" },

	{ IN(S_LOSS), "random", { T_SHARE }, false, NULL, "each packet for itself" },
	{ IN(S_LOSS), "correlation", { T_SHARE }, false, NULL, "with the packet before, for `random`" },
	{ IN(S_LOSS), "gilbert-elliott", { .map = S_GE }, false, NULL, "good and bad times" },
	{ IN(S_LOSS), "4-state", { .map = S_4STATE }, false, NULL, "the four-state Markov model of tc-netem(8)" },
	{ IN(S_GE), "p", { T_SHARE }, true, NULL, "from good to bad" },
	{ IN(S_GE), "r", { T_SHARE }, false, NULL, "from bad to good; default: 100% - p" },
	{ IN(S_GE), "1-h", { T_SHARE }, false, "100%", "loss in bad times" },
	{ IN(S_GE), "1-k", { T_SHARE }, false, "0%", "loss in good times" },
	{ IN(S_4STATE), "p13", { T_SHARE }, true, NULL, "from good to a burst of losses" },
	{ IN(S_4STATE), "p31", { T_SHARE }, false, NULL, "from a burst of losses to good; default: 100% - p13" },
	{ IN(S_4STATE), "p32", { T_SHARE }, false, "0%", "from a burst of losses to good within a burst" },
	{ IN(S_4STATE), "p23", { T_SHARE }, false, "100%", "from good within a burst to a burst of losses" },
	{ IN(S_4STATE), "p14", { T_SHARE }, false, "0%", "from good to one isolated loss" },
	{ IN(S_REORDER), "percent", { T_SHARE }, true, NULL, "share of packets sent at once" },
	{ IN(S_REORDER), "correlation", { T_SHARE }, false, "0%", "with the packet before" },
	{ IN(S_REORDER), "gap", { T_COUNT, .min = 0, .max = 1000000 }, false, "0",
	  "every so many packets one is sent at once (with probability `percent`); 0: 1" },
	{ IN(S_PORTION), "percent", { T_SHARE }, true, NULL, "share of packets" },
	{ IN(S_PORTION), "correlation", { T_SHARE }, false, "0%", "with the packet before" },
	{ IN(S_SLOT), "min", { T_TIME, .min = 1, .max = SECONDS(10) }, true, NULL, "shortest time between bursts" },
	{ IN(S_SLOT), "max", { T_TIME, .min = 1, .max = SECONDS(10) }, false, NULL, "longest time; default: `min`" },
	{ IN(S_SLOT), "packets", { T_COUNT, .min = 0, .max = INT32_MAX }, false, "0",
	  "most packets of one burst; 0: no limit" },
	{ IN(S_SLOT), "bytes", { T_SIZE, .min = 0, .max = INT32_MAX }, false, "0B",
	  "most bytes of one burst; 0B: no limit" },

	/* training */
	{ IN(S_TRAINING), "engine", { T_CHOICE, .choices = "cpu paced cuda auto" }, false, "cpu",
	  "`cpu` and `cuda` (a GPU; exit 3 without one) really train; `auto`: `cuda` where there is a GPU, else `cpu`; `paced` waits "
	  "the catalogue's time and sends the true number of bytes" },
	{ IN(S_TRAINING), "precision", { T_CHOICE, .choices = "fp32 bf16 fp16" }, false, "fp32",
	  "engine cuda: of activations and products; parameters and sums stay fp32" },
	{ IN(S_TRAINING), "offload", { T_BOOL }, false, "no",
	  "engine cuda: the host updates and keeps the optimiser's state, as the study did; leaves more of the GPU's memory" },
	{ IN(S_TRAINING), "deterministic", { T_BOOL }, false, "no",
	  "engine cuda: same seed and membership, same bits, with slower algorithms where need be; cpu always does so" },
	{ IN(S_TRAINING), "model", { T_TEXT, .max = LH_MODEL_SPEC_MAX - 1 }, true, NULL, "cpu: `digits`, `text`, `resnet-lab`, `convnext-lab`, `roberta-lab`, `roberta-text-lab` or `whisper-lab`, or one of `longhaul models` in other sizes, as `resnet18:width=1/8,depth=1,image=48,symbols=10`; paced: a model of the catalogue" },
	{ IN(S_TRAINING), "data", { T_CHOICE, .choices = "auto digits text tones synthetic" }, false, "auto",
	  "what the model learns from. `digits` and `text` are shipped and real; `tones` (notes and their spectra, "
	  "no speech) and `synthetic` are made by a seeded generator; `auto`: the model's own, which is `synthetic` for all "
	  "but digits, text and roberta-text-lab" },
	{ IN(S_TRAINING), "store", { T_NAME }, false, NULL,
	  "site whose store the samples are read from, over the emulated network; default: each peer makes its own samples" },
	{ IN(S_TRAINING), "sample-bytes", { T_SIZE, .min = 8, .max = LH_SAMPLE_BYTES_MAX }, false, NULL,
	  "with `store`: of each sample on the wire; default: those of the data as they are here, not compressed; engine "
	  "paced has no data and needs it" },
	{ IN(S_TRAINING), "cache", { T_SIZE_OR_WORD, .min = 0, .max = UINT64_C(1) << 40, .choices = "none all" }, false, "none",
	  "with `store`: what each peer keeps of the samples that it read, as stored; `all`: every one" },
	{ IN(S_TRAINING), "prefetch", { T_COUNT, .min = 0, .max = LH_PREFETCH_MAX }, false, "4",
	  "with `store`: microbatches that a peer reads ahead; 0: each when it is needed" },
	{ IN(S_TRAINING), "data-samples", { T_COUNT, .min = 1, .max = LH_DATA_SAMPLES_MAX }, false, NULL,
	  "samples of a data set that is made up (`synthetic`, `tones`, or a store's for engine paced), gone through pass by "
	  "pass; default: it never ends" },
	{ IN(S_TRAINING), "profile", { T_CHOICE, .choices = "none hivemind" }, false, "none",
	  "`hivemind`: what the study ran, that is `strategy: eta`, `wire: fp16`, `algorithm: butterfly`, `streams: 1`, "
	  "`sockets: study`, `match-floor: 5s`" },
	{ IN(S_TRAINING), "wire", { T_CHOICE, .choices = "fp32 fp16 bf16 int8 topk powersgd" }, false, "fp16",
	  "numbers on the wire" },
	{ IN(S_TRAINING), "topk", { T_SHARE, .min = 1, .max = 1000000000 }, false, "1%",
	  "wire topk: share of the numbers that is sent, the largest" },
	{ IN(S_TRAINING), "powersgd-rank", { T_COUNT, .min = 1, .max = 256 }, false, "2",
	  "wire powersgd: columns of its factors" },
	{ IN(S_TRAINING), "error-feedback", { T_BOOL }, false, NULL,
	  "what the wire's rounding took away is added the next time; default: yes for topk and powersgd, which need "
	  "it, else no" },
	{ IN(S_TRAINING), "algorithm", { T_CHOICE, .choices = "butterfly ring halving-doubling two-level central weighted-butterfly packed-trees auto" },
	  false, "butterfly",
	  "how peers sum up: who sends which part of the gradient to whom; `auto`: what is fastest by prediction from the "
	  "probe" },
	{ IN(S_TRAINING), "strategy",
	  { T_CHOICE, .choices = "exact eta delayed local-sgd diloco streaming-diloco async" }, false, "exact",
	  "what is averaged and when: gradients each round (`exact`), when the batch is predicted to be full (`eta`), or "
	  "one round late (`delayed`); parameters every few rounds (`local-sgd`), with an outer step (`diloco`), by "
	  "fragments in the background (`streaming-diloco`), or without waiting (`async`)" },
	{ IN(S_TRAINING), "optimizer", { T_CHOICE, .choices = "adamw sgd lamb" }, false, "adamw",
	  "of each peer; the inner one where there is an outer" },
	{ IN(S_TRAINING), "every", { T_COUNT, .min = 1, .max = 1000000 }, false, "4",
	  "local-sgd, diloco, streaming-diloco: rounds from one exchange to the next" },
	{ IN(S_TRAINING), "outer-learning-rate", { T_REAL, .real_min = 0, .real_max = 10 }, false, "0.7",
	  "diloco, streaming-diloco: of the outer Nesterov step" },
	{ IN(S_TRAINING), "outer-momentum", { T_REAL, .real_min = 0, .real_max = 0.9999 }, false, "0.9",
	  "diloco, streaming-diloco: of the outer Nesterov step" },
	{ IN(S_TRAINING), "fragments", { T_COUNT, .min = 1, .max = 4096 }, false, NULL,
	  "streaming-diloco: parts of the model that are exchanged in turn; default: 4, or `every` where that is less" },
	{ IN(S_TRAINING), "overlap", { T_COUNT, .min = 0, .max = 1000000 }, false, NULL,
	  "streaming-diloco: rounds from the begin of an exchange to its use; default: 1, or 0 with `every: 1`" },
	{ IN(S_TRAINING), "blend", { T_REAL, .real_min = 0, .real_max = 1 }, false, "0.5",
	  "streaming-diloco: weight of the peer's own parameters when a result is used" },
	{ IN(S_TRAINING), "staleness", { T_COUNT, .min = 1, .max = 1000 }, false, "1",
	  "async: rounds that an average may be old when it is used" },
	{ IN(S_TRAINING), "match-floor", { T_TIME, .min = 0, .max = SECONDS(600) }, false, "0s",
	  "every exchange is preceded by at least so long a matchmaking; eta: peers that begin to look for a group further apart average in "
	  "different ones" },
	{ IN(S_TRAINING), "sockets", { T_CHOICE, .choices = "study tuned" }, false, "study",
	  "`study`: as `tcp` says, nothing else; `tuned`: buffers for the link's rate and RTT, no idle restart, pacing" },
	{ IN(S_TRAINING), "streams", { T_COUNT_OR_WORD, .min = 1, .max = LH_STREAMS_MAX, .choices = "auto" }, false, NULL,
	  "TCP connections of each pair of peers; `auto`: from RTT, window and rate; default: 1, `auto` with tuned "
	  "sockets" },
	{ IN(S_TRAINING), "membership", { T_CHOICE, .choices = "fixed elastic" }, false, "fixed",
	  "`fixed`: the loss of a peer ends the run; `elastic`: the others go on, and peers may come (back)" },
	{ IN(S_TRAINING), "checkpoint",
	  { T_TIME_OR_WORD, .min = LH_NS_PER_S, .max = SECONDS(86400), .choices = "none young" }, false, "none",
	  "membership elastic: time between two checkpoints of a peer on disk; `young`: by Young's formula from how often "
	  "peers are taken away" },
	{ IN(S_TRAINING), "checkpoint-rounds", { T_COUNT_OR_WORD, .min = 1, .max = UINT32_MAX, .choices = "none" }, false,
	  "none", "rounds between two checkpoints of all peers on disk, from which `longhaul run --resume` goes on" },
	{ IN(S_TRAINING), "checkpoint-keep", { T_COUNT, .min = 1, .max = 1000 }, false, "2",
	  "so many checkpoints of a peer stay on disk, the newest" },
	{ IN(S_TRAINING), "target-batch", { T_COUNT, .min = 1, .max = UINT64_C(1) << 32 }, false, "256",
	  "samples that all peers reach together before they average" },
	{ IN(S_TRAINING), "microbatch", { T_COUNT_OR_WORD, .min = 1, .max = 65536, .choices = "auto" }, false, "8",
	  "samples of one forward and backward pass; `auto`: the largest power of two, 64 at most, with which all peers fit "
	  "into memory" },
	{ IN(S_TRAINING), "device-turns", { T_BOOL }, false, NULL,
	  "peers calculate one at a time, step by step, whoever had the least of the device first; default: yes where they "
	  "share one (`engine: cuda`), else no" },
	{ IN(S_TRAINING), "epochs", { T_COUNT, .min = 1, .max = 1000000 }, false, "6",
	  "averaging rounds, warm-up included" },
	{ IN(S_TRAINING), "warmup", { T_COUNT, .min = 0, .max = 1000000 }, false, "1",
	  "rounds at the start that the summary leaves out" },
	{ IN(S_TRAINING), "pace", { T_PACE, .real_min = 0.001, .real_max = 1e9 }, false, NULL,
	  "samples a second that each `cpu` peer keeps that declares none itself" },
	{ IN(S_TRAINING), "learning-rate", { T_REAL, .real_min = 0, .real_max = 10 }, false, "0.002", "of `optimizer`" },
	{ IN(S_TRAINING), "learning-rate-warmup", { T_COUNT, .min = 0, .max = 1000000 }, false, NULL,
	  "updates W at the start that go with 1 / (W + 1), 2 / (W + 1), ... of the rate; default: 2, sgd: 0" },
	{ IN(S_TRAINING), "learning-rate-schedule", { T_CHOICE, .choices = "constant cosine" }, false, "constant",
	  "after the warm-up; `cosine`: down to `learning-rate-floor` at the last of `epochs`" },
	{ IN(S_TRAINING), "learning-rate-floor", { T_SHARE }, false, "0%", "schedule cosine: share of the rate that is left" },
	{ IN(S_TRAINING), "momentum", { T_REAL, .real_min = 0, .real_max = 0.9999 }, false, "0", "sgd" },
	{ IN(S_TRAINING), "nesterov", { T_BOOL }, false, "no", "sgd with momentum: look one step ahead" },
	{ IN(S_TRAINING), "beta1", { T_REAL, .real_min = 0, .real_max = 0.9999 }, false, "0.9",
	  "adamw, lamb: of the mean of gradients" },
	{ IN(S_TRAINING), "beta2", { T_REAL, .real_min = 0, .real_max = 0.999999 }, false, NULL,
	  "adamw, lamb: of the mean of their squares; default: 0.99, lamb: 0.999" },
	{ IN(S_TRAINING), "epsilon", { T_REAL, .real_min = 1e-30, .real_max = 1 }, false, NULL,
	  "adamw, lamb: added to the root of the squares' mean; default: 1e-8, lamb: 1e-6" },
	{ IN(S_TRAINING), "weight-decay", { T_REAL, .real_min = 0, .real_max = 10 }, false, NULL,
	  "of matrices and kernels, not of biases, gains and shifts; default: 0.01, sgd: 0" },
	{ IN(S_TRAINING), "clip-norm", { T_REAL, .real_min = 0, .real_max = 1e9 }, false, "0",
	  "longest averaged gradient: what is longer is scaled down to this length; 0: as it is" },
	{ IN(S_TRAINING), "seed", { T_COUNT }, false, "1", "of the initial parameters and the order of samples" },
	{ IN(S_TRAINING), "deadline", { T_TIME, .min = SECONDS(1), .max = SECONDS(86400) }, false, "20s",
	  "no byte from any peer for this long ends the run" },

	/* probe */
	{ IN(S_PROBE), "tolerance", { .map = S_TOLERANCE }, false, NULL,
	  "an RTT may be off by the larger of `absolute` and `relative` of what was asked" },
	{ IN(S_PROBE), "pings", { T_COUNT, .min = 1, .max = 10000 }, false, "20", "RTT samples a link" },
	{ IN(S_PROBE), "goodput", { T_TIME, .min = 0, .max = SECONDS(600) }, false, "2s",
	  "shortest goodput measurement; 0: probe does not measure goodput" },
	{ IN(S_PROBE), "streams", { T_COUNT, .min = 1, .max = 256 }, false, "4",
	  "streams of the second goodput measurement" },
	{ IN(S_TOLERANCE), "absolute", { T_TIME, .min = 0, .max = SECONDS(10) }, false, "0.5ms", "" },
	{ IN(S_TOLERANCE), "relative", { T_SHARE }, false, "0.5%", "" },

	/* schedule */
	{ IN(S_EVENT), "at", { T_TIME, .min = 0, .max = SECONDS(864000) }, false, NULL,
	  "time from the begin of the first epoch; a trace: added to its times, default 0" },
	{ IN(S_EVENT), "set", { .map = S_SET }, false, NULL, "keys of the link that change; the rest keeps its value" },
	{ IN(S_EVENT), "cut", { .map = S_ONEWAY, .item = &name_item, .min_items = 2, .max_items = 2 }, false, NULL,
	  "two sites, or `{from: a, to: b}`: nothing passes any more" },
	{ IN(S_EVENT), "heal",
	  { T_CHOICE, .choices = "all", .map = S_ONEWAY, .item = &name_item, .min_items = 2, .max_items = 2 },
	  false, NULL, "undo a cut or partition; `all`: every link" },
	{ IN(S_EVENT), "partition", { .item = &names_item, .min_items = 2, .max_items = LH_SITES_MAX }, false, NULL,
	  "groups of sites that cannot reach each other; every site is in one" },
	{ IN(S_EVENT), "kill", { T_NAME }, false, NULL, "a peer, by SIGKILL" },
	{ IN(S_EVENT), "notice", { T_NAME }, false, NULL,
	  "a peer is told that it will be killed: it leaves after the round; membership elastic" },
	{ IN(S_EVENT), "add", { T_NAME }, false, NULL,
	  "a peer is started, again or, where this is the first about it, for the first time; membership elastic" },
	{ IN(S_EVENT), "trace", { T_PATH }, false, NULL,
	  "CSV file with the columns time, rtt, rate, loss (time first, the others as needed; an empty cell keeps "
	  "the value)" },
};
const size_t lang_nkeys = sizeof lang_keys / sizeof *lang_keys;

const struct lang_section_info lang_sections[S_COUNT] = {
	[S_FILE] = { "The file", "" },
	[S_SITES] = { "`sites`", "" },
	[S_SITE] = { "A site",
	  "`device`, `pace`, `nic`, `spot` and `tcp` are those of its peers, unless a group says otherwise." },
	[S_GROUP] = { "A group of peers", "" },
	[S_ACCESS] = { "`access`", "" },
	[S_TCP] = { "`tcp`",
	  "Pinned in every peer's namespace, never inherited from the machine. `tcp: default` is the kernel's own "
	  "defaults written down." },
	[S_MATRIX] = { "`matrix`", "" },
	[S_ROWS] = { "`matrix` by rows", "" },
	[S_ROW] = { "A row of the matrix", "" },
	[S_LINK] = { "A link",
	  "Give `between`, or `from` and `to`. One entry a pair; an entry with `from`, `to` refines one with "
	  "`between`." },
	[S_LAN] = { "`lan`", "The keys of a link." },
	[S_SET] = { "`set`",
	  "The keys of a link; `loss`, `reorder`, `duplicate`, `corrupt` and `slot` are replaced as a whole." },
	[S_LOSS] = { "`loss`", "One of the models." },
	[S_GE] = { "`gilbert-elliott`", "" },
	[S_4STATE] = { "`4-state`", "" },
	[S_REORDER] = { "`reorder`", "Needs a delay." },
	[S_PORTION] = { "`duplicate`, `corrupt`", "" },
	[S_SLOT] = { "`slot`", "" },
	[S_TRAINING] = { "`training`", "" },
	[S_PROBE] = { "`probe`", "" },
	[S_TOLERANCE] = { "`tolerance`", "" },
	[S_EVENT] = { "An event of the schedule", 
	  "One of `set`, `cut`, `heal`, `partition`, `kill`, `notice`, `add`, `trace`." },
	[S_ONEWAY] = { "One direction", "" },
	[S_STORE] = { "`store`", "A node of the network beside the peers. Give it a site of its own, and `links` say how far it is." },
	[S_SPOT] = { "`spot`", "Give `mean` or `trace`. Needs `membership: elastic`." },
};

const struct lang_key *lang_key_find(enum lang_section section, const char *key)
{
	const struct lang_key *any = NULL;
	for (size_t i = 0; i < lang_nkeys; i++) {
		if (!(lang_keys[i].in & IN(section)))
			continue;
		if (!strcmp(lang_keys[i].key, key))
			return &lang_keys[i];
		if (!strcmp(lang_keys[i].key, "*"))
			any = &lang_keys[i];
	}
	return any;
}

const char *lang_key_remark(enum lang_section section, const char *key)
{
	static const struct { uint32_t in; const char *key, *remark; } remarks[] = {
		{ IN(S_EVENT), "join", "unknown key \"join\"; did you mean \"add\"?" },
		{ IMPAIRED, "latency", "unknown key \"latency\"; one-way it is \"delay\", there and back \"rtt\"" },
		{ IMPAIRED, "ping", "unknown key \"ping\"; there and back it is \"rtt\", one-way \"delay\"" },
		{ IMPAIRED, "bandwidth", "unknown key \"bandwidth\"; did you mean \"rate\"?" },
		{ IMPAIRED, "limit", "unknown key \"limit\"; the queue before a rate is \"queue\"" },
		{ IMPAIRED, "packet-loss", "unknown key \"packet-loss\"; did you mean \"loss\"?" },
		{ IN(S_FILE), "peers", "unknown key \"peers\"; peers are said per site: sites.NAME.peers" },
		{ IN(S_FILE), "version", "unknown key \"version\"; the format's version is \"longhaul: 1\"" },
		{ IN(S_TRAINING), "batch",
		  "unknown key \"batch\"; all peers together reach \"target-batch\", one pass has \"microbatch\"" },
		{ IN(S_TRAINING), "batch-size",
		  "unknown key \"batch-size\"; all peers together reach \"target-batch\", one pass has "
		  "\"microbatch\"" },
		{ IN(S_TRAINING), "lr", "unknown key \"lr\"; did you mean \"learning-rate\"?" },
	};
	for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
		if (remarks[i].in & IN(section) && !strcmp(remarks[i].key, key))
			return remarks[i].remark;
	return NULL;
}
