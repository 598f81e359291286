#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"

enum { CHUNK = 256 * 1024 };

static const char magic[8] = { 'l', 'h', 'c', 'k', 'p', 't', '\n', 0 };

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

/* What the state must fit to. */
static uint64_t fingerprint(const struct lh_peer_config *c)
{
	uint64_t numbers[] = { c->engine, c->parameters, c->target_batch, c->seed, c->sync.optimizer };
	return lh_hash64(c->model, strlen(c->model), lh_hash64(numbers, sizeof numbers, LH_CHECKPOINT_FORMAT));
}

void lh_checkpoint_path(const struct lh_peer_config *c, char ret[sizeof c->checkpoint_dir + 32])
{
	snprintf(ret, sizeof c->checkpoint_dir + 32, "%s/peer-%u.checkpoint", c->checkpoint_dir, c->rank);
}

static int write_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void print_header(const struct lh_peer_config *c, uint32_t version, uint64_t bytes, uint64_t hash,
			 uint8_t ret[LH_CHECKPOINT_HEADER])
{
	memcpy(ret, magic, sizeof magic);
	put(ret + 8, LH_CHECKPOINT_FORMAT, 4);
	put(ret + 12, c->rank, 4);
	put(ret + 16, c->size, 4);
	put(ret + 20, version, 4);
	put(ret + 24, fingerprint(c), 8);
	put(ret + 32, bytes, 8);
	put(ret + 40, hash, 8);
}

/* The state through the hash into the file, behind a header that is written last. */
static int write_state(int fd, const struct lh_peer_config *c, const struct lh_engine_ops *ops,
		       struct lh_engine_state *engine, uint32_t version, struct lh_err *err)
{
	uint8_t header[LH_CHECKPOINT_HEADER] = { 0 }, *chunk = malloc(CHUNK);
	uint64_t bytes = ops->state_bytes(engine);
	struct lh_hash64_state h;
	if (!chunk)
		return -ENOMEM;
	print_header(c, version, bytes, 0, header);
	lh_hash64_init(&h, 0);
	lh_hash64_update(&h, header, sizeof header);
	int rc = write_all(fd, header, sizeof header);
	for (uint64_t at = 0; !rc && at < bytes; at += CHUNK) {
		size_t n = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;
		rc = ops->state_read(engine, at, n, chunk, err);
		lh_hash64_update(&h, chunk, n);
		if (!rc)
			rc = write_all(fd, chunk, n);
	}
	free(chunk);
	print_header(c, version, bytes, lh_hash64_final(&h), header);
	if (!rc && pwrite(fd, header, sizeof header, 0) != sizeof header)
		rc = -errno;
	if (!rc && fsync(fd))
		rc = -errno;
	return rc;
}

int lh_checkpoint_write(const struct lh_peer_config *c, const struct lh_engine_ops *ops, struct lh_engine_state *engine,
			uint32_t version, uint64_t *ret_bytes, struct lh_err *err)
{
	char path[sizeof c->checkpoint_dir + 32], beside[sizeof path + 8];
	lh_checkpoint_path(c, path);
	snprintf(beside, sizeof beside, "%s.new", path);
	int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "checkpoint %s", beside);
	int rc = write_state(fd, c, ops, engine, version, err);
	if (close(fd) && !rc)
		rc = -errno;
	if (!rc && rename(beside, path))
		rc = -errno;
	if (rc) {
		unlink(beside);
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "checkpoint %s", path);
	}
	int dir = open(c->checkpoint_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) {
		fsync(dir); /* that the name lasts, too; a file system that cannot is no reason to stop */
		close(dir);
	}
	*ret_bytes = LH_CHECKPOINT_HEADER + ops->state_bytes(engine);
	return 0;
}

static int read_all(int fd, void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)data + done, len - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EBADMSG;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static const char *check_header(const uint8_t *header, const struct lh_peer_config *c, const struct lh_engine_ops *ops,
				const struct lh_engine_state *engine, uint64_t file_bytes)
{
	uint64_t bytes = get(header + 32, 8);
	if (memcmp(header, magic, sizeof magic) || get(header + 8, 4) != LH_CHECKPOINT_FORMAT)
		return "is not a checkpoint of this version";
	if (get(header + 24, 8) != fingerprint(c))
		return "is of another run (model, batch, seed or optimiser differ)";
	if (file_bytes < LH_CHECKPOINT_HEADER || bytes != file_bytes - LH_CHECKPOINT_HEADER)
		return "is cut off or too long";
	if (engine && bytes != ops->state_bytes(engine))
		return "is of a model of another size";
	return NULL;
}

/* Once to check, and only then once more into the engine. */
static int pass(int fd, uint8_t *header, uint64_t bytes, const struct lh_engine_ops *ops,
		struct lh_engine_state *engine, struct lh_err *err)
{
	uint8_t *chunk = malloc(CHUNK);
	uint64_t hash = get(header + 40, 8);
	struct lh_hash64_state h;
	int rc = chunk ? 0 : -ENOMEM;
	put(header + 40, 0, 8);
	lh_hash64_init(&h, 0);
	lh_hash64_update(&h, header, LH_CHECKPOINT_HEADER);
	put(header + 40, hash, 8);
	if (!rc && lseek(fd, LH_CHECKPOINT_HEADER, SEEK_SET) < 0)
		rc = -errno;
	for (uint64_t at = 0; !rc && at < bytes; at += CHUNK) {
		size_t n = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;
		rc = read_all(fd, chunk, n);
		if (!rc)
			lh_hash64_update(&h, chunk, n);
		if (!rc && engine)
			rc = ops->state_write(engine, at, n, chunk, err);
	}
	free(chunk);
	return rc ? rc : lh_hash64_final(&h) == hash ? 0 : -EBADMSG;
}

int lh_checkpoint_read(const struct lh_peer_config *c, const struct lh_engine_ops *ops, struct lh_engine_state *engine,
		       struct lh_checkpoint *ret, struct lh_err *err)
{
	char path[sizeof c->checkpoint_dir + 32];
	uint8_t header[LH_CHECKPOINT_HEADER];
	struct stat st;
	lh_checkpoint_path(c, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "checkpoint %s", path);
	int rc = fstat(fd, &st) ? -errno : read_all(fd, header, sizeof header);
	const char *wrong = rc ? NULL : check_header(header, c, ops, engine, (uint64_t)st.st_size);
	uint64_t bytes = rc || wrong ? 0 : get(header + 32, 8);
	if (!rc && !wrong)
		rc = pass(fd, header, bytes, ops, NULL, err);
	if (!rc && !wrong && engine)
		rc = pass(fd, header, bytes, ops, engine, err);
	close(fd);
	if (wrong)
		return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "checkpoint %s: %s", path, wrong);
	if (rc == -EBADMSG)
		return lh_err_set(err, LH_EXIT_MACHINE, rc, "checkpoint %s: torn or altered", path);
	if (rc)
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "checkpoint %s", path);
	*ret = (struct lh_checkpoint){
		.rank = (uint32_t)get(header + 12, 4), .size = (uint32_t)get(header + 16, 4),
		.version = (uint32_t)get(header + 20, 4), .bytes = bytes, .hash = get(header + 40, 8),
	};
	return 0;
}
