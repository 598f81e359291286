/* See state_file.h. */
#include "state_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"

enum { CHUNK = 256 * 1024, HASH_AT = 40 };

const char *const lh_state_kind_names[] = { "parameter", "optimizer", "buffer", "shared", "own", "held", NULL };
const char *const lh_state_type_names[] = { "f32", "f64", "u64", "u8", NULL };

static const char magic[8] = { 'l', 'h', 'c', 'k', 'p', 't', '\n', 0 };
static const uint32_t byte_order = 0x01020304;

static void put(uint8_t *at, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *at, size_t bytes)
{
	uint64_t v = 0;
	for (size_t i = 0; i < bytes; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}

size_t lh_state_width(enum lh_state_type type)
{
	return type == LH_STATE_F32 ? 4 : type == LH_STATE_U8 ? 1 : 8;
}

uint64_t lh_state_tensor_bytes(const struct lh_state_tensor *t)
{
	uint64_t bytes = lh_state_width(t->type);
	for (uint32_t i = 0; i < t->ndim; i++) {
		if (!t->shape[i] || t->shape[i] > (UINT64_MAX >> 1) / bytes)
			return 0;
		bytes *= t->shape[i];
	}
	return bytes;
}

/* ---- writing ---- */

int lh_state_lay_out(struct lh_state_head *h, struct lh_err *err)
{
	if (h->fact_bytes > LH_STATE_FACTS_MAX || h->ntensors > LH_STATE_TENSORS_MAX)
		return lh_err_set(err, LH_EXIT_MACHINE, -EINVAL, "%u bytes of facts and %u tensors are more than %d and %d",
				  h->fact_bytes, h->ntensors, LH_STATE_FACTS_MAX, LH_STATE_TENSORS_MAX);
	h->bytes = LH_STATE_FIXED + h->fact_bytes + (uint64_t)h->ntensors * LH_STATE_ENTRY;
	uint64_t at = h->bytes;
	for (uint32_t i = 0; i < h->ntensors; i++) {
		struct lh_state_tensor *t = &h->tensors[i];
		t->offset = at;
		t->bytes = lh_state_tensor_bytes(t);
		if (!t->bytes || t->bytes > (UINT64_MAX >> 1) - at)
			return lh_err_set(err, LH_EXIT_MACHINE, -EINVAL, "tensor %s has no size", t->name);
		at += t->bytes;
	}
	h->file_bytes = at;
	return 0;
}

static void print_tensor(const struct lh_state_tensor *t, uint8_t *at)
{
	memset(at, 0, LH_STATE_ENTRY);
	memcpy(at, t->name, strnlen(t->name, LH_STATE_NAME_MAX - 1));
	put(at + 112, t->kind, 4);
	put(at + 116, t->type, 4);
	put(at + 120, t->ndim, 4);
	for (uint32_t i = 0; i < LH_STATE_DIMS_MAX; i++)
		put(at + 128 + 8 * i, i < t->ndim ? t->shape[i] : 0, 8);
	put(at + 160, t->offset, 8);
	put(at + 168, t->bytes, 8);
	put(at + 176, t->hash, 8);
}

void lh_state_head_print(const struct lh_state_head *h, uint8_t *ret)
{
	memset(ret, 0, LH_STATE_FIXED);
	memcpy(ret, magic, sizeof magic);
	put(ret + 8, LH_STATE_FORMAT, 4);
	memcpy(ret + 12, &byte_order, sizeof byte_order);
	put(ret + 16, h->bytes, 8);
	put(ret + 24, h->file_bytes, 8);
	put(ret + 32, h->fact_bytes, 4);
	put(ret + 36, h->ntensors, 4);
	memcpy(ret + LH_STATE_FIXED, h->facts, h->fact_bytes);
	for (uint32_t i = 0; i < h->ntensors; i++)
		print_tensor(&h->tensors[i], ret + LH_STATE_FIXED + h->fact_bytes + (size_t)i * LH_STATE_ENTRY);
	put(ret + HASH_AT, lh_hash64(ret, h->bytes, 0), 8);
}

/* ---- reading ---- */

static int refuse(struct lh_err *err, const char *why)
{
	return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "%s", why);
}

uint64_t lh_state_head_bytes(const uint8_t fixed[LH_STATE_FIXED], struct lh_err *err)
{
	uint32_t order;
	uint64_t format = get(fixed + 8, 4), bytes = get(fixed + 16, 8), facts = get(fixed + 32, 4),
		 tensors = get(fixed + 36, 4);
	memcpy(&order, fixed + 12, sizeof order);
	if (memcmp(fixed, magic, sizeof magic)) {
		refuse(err, "not a checkpoint: it begins otherwise");
		return 0;
	}
	if (format != LH_STATE_FORMAT) {
		lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "a checkpoint of format %llu; this program reads format %d",
			   (unsigned long long)format, LH_STATE_FORMAT);
		return 0;
	}
	if (order != byte_order) {
		refuse(err, "written by a machine of the other byte order, or altered");
		return 0;
	}
	if (facts > LH_STATE_FACTS_MAX || tensors > LH_STATE_TENSORS_MAX ||
	    bytes != LH_STATE_FIXED + facts + tensors * LH_STATE_ENTRY) {
		refuse(err, "altered: its head has no possible size");
		return 0;
	}
	return bytes;
}

static bool is_name(const char *name)
{
	size_t n = strnlen(name, LH_STATE_NAME_MAX);
	for (size_t i = 0; i < n; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return n && n < LH_STATE_NAME_MAX;
}

/* What print_tensor makes of a tensor that lay_out has put at `at`. */
static int parse_tensor(const uint8_t *row, uint64_t at, struct lh_state_tensor *ret)
{
	struct lh_state_tensor t = { .kind = (enum lh_state_kind)get(row + 112, 4),
				     .type = (enum lh_state_type)get(row + 116, 4), .ndim = (uint32_t)get(row + 120, 4),
				     .offset = get(row + 160, 8), .bytes = get(row + 168, 8), .hash = get(row + 176, 8) };
	uint8_t again[LH_STATE_ENTRY];
	memcpy(t.name, row, sizeof t.name);
	if (!is_name(t.name) || (unsigned)t.kind >= LH_STATE_KINDS || (unsigned)t.type >= LH_STATE_TYPES || !t.ndim ||
	    t.ndim > LH_STATE_DIMS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < t.ndim; i++)
		t.shape[i] = get(row + 128 + 8 * i, 8);
	if (t.offset != at || !t.bytes || t.bytes != lh_state_tensor_bytes(&t) || t.bytes > (UINT64_MAX >> 1) - at)
		return -EBADMSG;
	print_tensor(&t, again);
	if (memcmp(again, row, sizeof again))
		return -EBADMSG;
	*ret = t;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct lh_state_tensor *const *)a)->name, (*(const struct lh_state_tensor *const *)b)->name);
}

static int check_names(const struct lh_state_head *h, struct lh_err *err)
{
	const struct lh_state_tensor **sorted = calloc(h->ntensors + 1, sizeof *sorted);
	int rc = sorted ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "table");
	for (uint32_t i = 0; !rc && i < h->ntensors; i++)
		sorted[i] = &h->tensors[i];
	if (!rc && h->ntensors)
		qsort(sorted, h->ntensors, sizeof *sorted, by_name);
	for (uint32_t i = 1; !rc && i < h->ntensors; i++)
		if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
			rc = lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "altered: it has tensor %s twice", sorted[i]->name);
	free(sorted);
	return rc;
}

/* Lines, each with a key; no byte that a terminal would not show as it is. */
static bool are_facts(const char *facts, size_t n)
{
	bool key = false, begun = false;
	for (size_t i = 0; i < n; i++) {
		if (facts[i] == '\n') {
			if (!key)
				return false;
			key = begun = false;
			continue;
		}
		if (facts[i] < ' ' || facts[i] > '~' || (facts[i] == '=' && !begun))
			return false;
		key |= facts[i] == '=';
		begun = true;
	}
	return !begun;
}

static int parse_rows(const uint8_t *bytes, uint64_t file_bytes, struct lh_state_head *h, struct lh_err *err)
{
	uint64_t at = h->bytes;
	memcpy(h->facts, bytes + LH_STATE_FIXED, h->fact_bytes);
	if (!are_facts(h->facts, h->fact_bytes))
		return refuse(err, "altered: what it says of itself is not text");
	for (uint32_t i = 0; i < h->ntensors; i++) {
		if (parse_tensor(bytes + LH_STATE_FIXED + h->fact_bytes + (size_t)i * LH_STATE_ENTRY, at, &h->tensors[i]))
			return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "altered: row %u of its table of tensors cannot be",
					  i);
		at += h->tensors[i].bytes;
	}
	if (at != h->file_bytes)
		return refuse(err, "altered: its tensors do not fill it");
	if (at != file_bytes)
		return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "torn: it has %llu of %llu bytes",
				  (unsigned long long)file_bytes, (unsigned long long)at);
	return check_names(h, err);
}

int lh_state_head_parse(const uint8_t *bytes, size_t len, uint64_t file_bytes, struct lh_state_head *ret,
			struct lh_err *err)
{
	if (len < LH_STATE_FIXED)
		return refuse(err, "not a checkpoint: too short");
	uint64_t head = lh_state_head_bytes(bytes, err);
	if (!head)
		return -EBADMSG;
	if (head > len)
		return refuse(err, "torn: it ends within its head");
	uint8_t fixed[LH_STATE_FIXED];
	struct lh_hash64_state hash;
	memcpy(fixed, bytes, sizeof fixed);
	put(fixed + HASH_AT, 0, 8);
	lh_hash64_init(&hash, 0);
	lh_hash64_update(&hash, fixed, sizeof fixed);
	lh_hash64_update(&hash, bytes + sizeof fixed, head - sizeof fixed);
	if (lh_hash64_final(&hash) != get(bytes + HASH_AT, 8))
		return refuse(err, "altered: its head is not what was written");
	struct lh_state_head h = { .bytes = head, .fact_bytes = (uint32_t)get(bytes + 32, 4),
				   .ntensors = (uint32_t)get(bytes + 36, 4), .file_bytes = get(bytes + 24, 8) };
	h.facts = calloc(h.fact_bytes + 1, 1);
	h.tensors = calloc(h.ntensors ? h.ntensors : 1, sizeof *h.tensors);
	int rc = h.facts && h.tensors ? parse_rows(bytes, file_bytes, &h, err) :
					lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "table");
	if (rc)
		lh_state_head_done(&h);
	else
		*ret = h;
	return rc;
}

void lh_state_head_done(struct lh_state_head *h)
{
	free(h->facts);
	free(h->tensors);
	*h = (struct lh_state_head){ 0 };
}

/* ---- files ---- */

bool lh_state_file_name(const char *name, unsigned *ret_rank, uint32_t *ret_round)
{
	unsigned rank, round;
	char again[64];
	if (sscanf(name, "peer-%9u-round-%10u", &rank, &round) != 2)
		return false;
	snprintf(again, sizeof again, LH_STATE_FILE_NAME, rank, round);
	if (strcmp(again, name))
		return false;
	*ret_rank = rank;
	*ret_round = round;
	return true;
}

static int read_at(int fd, void *data, size_t len, uint64_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)(at + done));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EBADMSG;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int check_tensors(int fd, const struct lh_state_head *h, struct lh_err *err)
{
	uint8_t *chunk = malloc(CHUNK);
	int rc = chunk ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "table");
	for (uint32_t i = 0; !rc && i < h->ntensors; i++) {
		const struct lh_state_tensor *t = &h->tensors[i];
		struct lh_hash64_state hash;
		lh_hash64_init(&hash, 0);
		for (uint64_t at = 0; !rc && at < t->bytes; at += CHUNK) {
			size_t n = t->bytes - at < CHUNK ? (size_t)(t->bytes - at) : CHUNK;
			rc = read_at(fd, chunk, n, t->offset + at);
			if (rc)
				rc = lh_err_sys(err, LH_EXIT_INPUT, rc, "tensor %s", t->name);
			else
				lh_hash64_update(&hash, chunk, n);
		}
		if (!rc && lh_hash64_final(&hash) != t->hash)
			rc = lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "altered: tensor %s is not what was written", t->name);
	}
	free(chunk);
	return rc;
}

int lh_state_file_read(int fd, bool whole, struct lh_state_head *ret, struct lh_err *err)
{
	uint8_t fixed[LH_STATE_FIXED], *bytes = NULL;
	struct lh_state_head h;
	struct stat st;
	if (fstat(fd, &st))
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "its size");
	if (!S_ISREG(st.st_mode))
		return refuse(err, "not a checkpoint: not a regular file");
	if (st.st_size < LH_STATE_FIXED)
		return refuse(err, "torn, or not a checkpoint: too short");
	int rc = read_at(fd, fixed, sizeof fixed, 0);
	if (rc)
		return lh_err_sys(err, LH_EXIT_INPUT, rc, "its head");
	uint64_t head = lh_state_head_bytes(fixed, err);
	if (!head)
		return -EBADMSG;
	if (head > (uint64_t)st.st_size)
		return refuse(err, "torn: it ends within its head");
	bytes = malloc(head);
	if (!bytes)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "its head");
	rc = read_at(fd, bytes, head, 0);
	rc = rc ? lh_err_sys(err, LH_EXIT_INPUT, rc, "its head") :
		  lh_state_head_parse(bytes, head, (uint64_t)st.st_size, &h, err);
	free(bytes);
	if (!rc && whole && (rc = check_tensors(fd, &h, err)))
		lh_state_head_done(&h);
	if (!rc)
		*ret = h;
	return rc;
}

/* ---- looking things up ---- */

const char *lh_state_fact(const struct lh_state_head *h, const char *key, size_t *ret_len)
{
	size_t n = strlen(key);
	for (const char *line = h->facts; *line; line += strcspn(line, "\n") + 1)
		if (!strncmp(line, key, n) && line[n] == '=') {
			*ret_len = strcspn(line + n + 1, "\n");
			return line + n + 1;
		}
	return NULL;
}

int lh_state_fact_number(const struct lh_state_head *h, const char *key, uint64_t *ret)
{
	size_t n = 0;
	const char *text = lh_state_fact(h, key, &n);
	uint64_t value = 0;
	if (!text)
		return -ENOENT;
	if (!n || n > 19)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	*ret = value;
	return 0;
}

const struct lh_state_tensor *lh_state_find(const struct lh_state_head *h, const char *name)
{
	for (uint32_t i = 0; i < h->ntensors; i++)
		if (!strcmp(h->tensors[i].name, name))
			return &h->tensors[i];
	return NULL;
}
