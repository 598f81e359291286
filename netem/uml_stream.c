/* uml_stream.c - the guest's output as it grows.
 *
 * The guest appends to a file of the host (UML's own tty lines stall for good when the far end is a full pipe); we pass
 * it on and give the space back by punching holes, so that a long run's output does not fill the scratch.
 */
#include "uml_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A pipe that polls writable takes this much without blocking (PIPE_BUF). */
enum { PIECE = 4096, PUNCH = 1 << 20 };

bool lh_uml_stream_pending(const struct lh_uml_stream *s)
{
	struct stat st;
	return !s->gone && !fstat(s->file, &st) && st.st_size > s->at;
}

int lh_uml_stream_pump(struct lh_uml_stream *s)
{
	char piece[PIECE];
	ssize_t n = pread(s->file, piece, sizeof piece, s->at);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	ssize_t done = write(s->to, piece, (size_t)n);
	if (done < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (done < 0) {
		s->gone = true;
		return -EPIPE; /* whatever the reason, there is no way on */
	}
	s->at += done;
	if (s->at - s->punched >= PUNCH &&
	    !fallocate(s->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, s->punched, PUNCH))
		s->punched += PUNCH;
	return 0;
}
