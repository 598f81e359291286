#include "data/dataset.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"

static const char magic[8] = { 'l', 'h', 'd', 'a', 't', 'a', '1', '\n' };

struct header {
	uint32_t kind, items, side, classes, max_value, held_out;
	uint64_t payload_bytes, hash;
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

#define REFUSE(...) lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, __VA_ARGS__)

static int read_header(const char *name, const uint8_t *data, size_t len, struct header *h, struct lh_err *err)
{
	if (len < LH_DATASET_HEADER || memcmp(data, magic, sizeof magic))
		return REFUSE("%s: not a data set of longhaul", name);
	*h = (struct header){ get32(data + 8), get32(data + 12), get32(data + 16), get32(data + 20),
			      get32(data + 24), get32(data + 28), get64(data + 32), get64(data + LH_DATASET_HASH_AT) };
	if (h->payload_bytes != len - LH_DATASET_HEADER)
		return REFUSE("%s: torn: %zu bytes of payload, the header says %llu", name, len - LH_DATASET_HEADER,
			      (unsigned long long)h->payload_bytes);
	struct lh_hash64_state s;
	lh_hash64_init(&s, 0);
	lh_hash64_update(&s, data, LH_DATASET_HASH_AT);
	lh_hash64_update(&s, data + LH_DATASET_HEADER, len - LH_DATASET_HEADER);
	if (lh_hash64_final(&s) != h->hash)
		return REFUSE("%s: altered: its hash is not the one in its header", name);
	return 0;
}

static int check_images(const char *name, const struct header *h, const uint8_t *payload, struct lh_err *err)
{
	if (h->side < 1 || h->side > LH_DATASET_SIDE_MAX || h->classes < 2 || h->classes > 256 || h->max_value < 1 ||
	    h->max_value > 255)
		return REFUSE("%s: images of %u x %u pixels up to %u in %u classes", name, h->side, h->side,
			      h->max_value, h->classes);
	const size_t item = 1 + (size_t)h->side * h->side;
	if (h->payload_bytes != item * h->items || h->held_out < 1 || h->held_out >= h->items)
		return REFUSE("%s: %u images, %u of them held out, do not make %llu bytes", name, h->items, h->held_out,
			      (unsigned long long)h->payload_bytes);
	for (size_t i = 0; i < h->items; i++, payload += item) {
		if (payload[0] >= h->classes)
			return REFUSE("%s: image %zu has label %u of %u", name, i, payload[0], h->classes);
		for (size_t j = 1; j < item; j++)
			if (payload[j] > h->max_value)
				return REFUSE("%s: image %zu has a pixel of %u, above %u", name, i, payload[j],
					      h->max_value);
	}
	return 0;
}

static int check_text(const char *name, const struct header *h, size_t window, struct lh_err *err)
{
	if (h->side || h->classes != 256 || h->max_value != 255 || h->payload_bytes != h->items)
		return REFUSE("%s: the header is not one of text", name);
	if (h->held_out > h->items || h->held_out <= window || h->items - h->held_out <= window)
		return REFUSE("%s: %u bytes, %u of them held out, are too few for windows of %zu", name, h->items,
			      h->held_out, window);
	return 0;
}

static double entropy_nats(const uint8_t *text, size_t len)
{
	size_t count[256] = { 0 };
	for (size_t i = 0; i < len; i++)
		count[text[i]]++;
	double sum = 0;
	for (int c = 0; c < 256; c++)
		if (count[c])
			sum -= (double)count[c] / (double)len * log((double)count[c] / (double)len);
	return sum;
}

/* Takes `data`, which is malloc'ed, on success. */
static int adopt(const char *name, uint8_t *data, size_t len, enum lh_dataset_kind kind, size_t window,
		 struct lh_dataset *ret, struct lh_err *err)
{
	struct header h = { 0 };
	int rc = read_header(name, data, len, &h, err);
	if (rc)
		return rc;
	if (h.kind != (uint32_t)kind)
		return REFUSE("%s: holds kind %u (1 images, 2 text), wanted %d", name, h.kind, kind);
	const uint8_t *payload = data + LH_DATASET_HEADER;
	rc = kind == LH_DATASET_IMAGES ? check_images(name, &h, payload, err) : check_text(name, &h, window, err);
	if (rc)
		return rc;
	struct lh_dataset d = { .kind = kind, .classes = h.classes, .max_value = h.max_value, .side = h.side,
				.payload = data, .train_items = h.items - h.held_out };
	if (kind == LH_DATASET_IMAGES) {
		d.input_bytes = (size_t)h.side * h.side;
		d.target_bytes = 1;
		d.train_samples = d.train_items;
		d.held_out_samples = h.held_out;
		d.reference = 1.0 / h.classes;
	} else {
		d.input_bytes = d.target_bytes = window;
		d.train_samples = d.train_items - window;
		d.held_out_samples = (h.held_out - 1) / window;
		d.reference = entropy_nats(payload, d.train_items);
	}
	*ret = d;
	return 0;
}

static int check_window(enum lh_dataset_kind kind, size_t window, const char *name, struct lh_err *err)
{
	if (kind == LH_DATASET_TEXT && (window < 1 || window > LH_DATASET_WINDOW_MAX))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: windows of %zu bytes; 1 ... %d are possible", name,
				  window, LH_DATASET_WINDOW_MAX);
	return 0;
}

int lh_dataset_parse(const char *name, const void *data, size_t len, enum lh_dataset_kind kind, size_t window,
		     struct lh_dataset *ret, struct lh_err *err)
{
	int rc = check_window(kind, window, name, err);
	if (rc)
		return rc;
	if (len > LH_DATASET_FILE_MAX)
		return REFUSE("%s: larger than %d bytes", name, LH_DATASET_FILE_MAX);
	uint8_t *copy = malloc(len ? len : 1);
	if (!copy)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", name);
	if (len)
		memcpy(copy, data, len);
	rc = adopt(name, copy, len, kind, window, ret, err);
	if (rc)
		free(copy);
	return rc;
}

static int read_all(const char *path, int fd, uint8_t **ret_data, size_t *ret_len, struct lh_err *err)
{
	struct stat st;
	if (fstat(fd, &st))
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", path);
	if (!S_ISREG(st.st_mode) || st.st_size > LH_DATASET_FILE_MAX)
		return REFUSE("%s: not a regular file of at most %d bytes", path, LH_DATASET_FILE_MAX);
	const size_t size = (size_t)st.st_size;
	uint8_t *data = malloc(size ? size : 1);
	if (!data)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s", path);
	size_t len = 0;
	for (ssize_t got; len < size; len += (size_t)got) {
		got = read(fd, data + len, size - len);
		if (got < 0 && errno == EINTR)
			got = 0;
		else if (got < 0) {
			int code = -errno;
			free(data);
			return lh_err_sys(err, LH_EXIT_INPUT, code, "%s", path);
		} else if (got == 0)
			break; /* shrank under our eyes: the header's length will tell */
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}

int lh_dataset_open(const char *path, enum lh_dataset_kind kind, size_t window, struct lh_dataset *ret,
		    struct lh_err *err)
{
	int rc = check_window(kind, window, path, err);
	if (rc)
		return rc;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo must not hold us */
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", path);
	uint8_t *data = NULL;
	size_t len = 0;
	rc = read_all(path, fd, &data, &len, err);
	close(fd);
	if (rc)
		return rc;
	rc = adopt(path, data, len, kind, window, ret, err);
	if (rc)
		free(data);
	return rc;
}

void lh_dataset_done(struct lh_dataset *d)
{
	if (!d)
		return;
	free(d->payload);
	*d = (struct lh_dataset){ 0 };
}

void lh_dataset_sample(const struct lh_dataset *d, bool held_out, uint64_t index, uint8_t *input, uint8_t *target)
{
	assert(index < (held_out ? d->held_out_samples : d->train_samples));
	const uint8_t *at = d->payload + LH_DATASET_HEADER;
	if (d->kind == LH_DATASET_IMAGES) {
		at += (index + (held_out ? d->train_items : 0)) * (1 + d->input_bytes);
		*target = at[0];
		memcpy(input, at + 1, d->input_bytes);
		return;
	}
	at += held_out ? d->train_items + index * d->input_bytes : index;
	memcpy(input, at, d->input_bytes);
	memcpy(target, at + 1, d->target_bytes);
}
