/* uml_internal.h - what the two sides of User-Mode Linux agree on: the job directory.
 *
 * A directory of the host that the guest mounts writable. Files:
 *   job      host -> guest: NUL-terminated records, a letter and a text (enum lh_uml_record)
 *   signals  host -> guest: numbers of signals for the command, one byte each, as they come
 *   up       guest -> host: pid 1 listens (before, Ctrl-Alt-Del would restart the guest)
 *   out err  guest -> host: the command's stdout and stderr
 *   rc       guest -> host: exit status as text; missing: the guest did not come to its end
 *   why      guest -> host: what pid 1 could not do
 *   console  kernel messages
 */
#ifndef NETEM_UML_INTERNAL_H
#define NETEM_UML_INTERNAL_H

#include <stdbool.h>

/* The variable by which processes of the guest know where they are; its value is the job directory on the host. */
#define LH_UML_VARIABLE "LONGHAUL_UML_JOB"
/* Where the guest sees the job directory, and where its own temporary files go (tmpfs, below /run). */
#define LH_UML_JOB_DIR "/run/longhaul-job"
#define LH_UML_TMP_DIR "/run/longhaul-tmp"
#define LH_UML_MODULES_DIR "/usr/lib/uml/modules"

enum lh_uml_record {
	LH_UML_ARGUMENT = 'a',
	LH_UML_ENVIRONMENT = 'e',
	LH_UML_CWD = 'd',
	LH_UML_WRITABLE = 'w', /* a directory of the host to mount writable in its place */
	LH_UML_READABLE = 'r', /* one that a tmpfs of the guest hides, to mount read-only in its place */
	LH_UML_STDIN = 'i',    /* a file to read from */
};

/* One output file of the guest on its way to one of our descriptors. */
struct lh_uml_stream {
	int file, to;
	long long at, punched; /* bytes passed on; bytes given back to the file system */
	bool gone;             /* nobody reads any more */
};

bool lh_uml_stream_pending(const struct lh_uml_stream *s);
/* Pass on what fits without blocking, where `to` is ready. -EPIPE when nobody reads any more. */
int lh_uml_stream_pump(struct lh_uml_stream *s);

/* In a mount namespace of our own: make everything read-only but these directories. 0 or -errno. */
int lh_uml_confine(const char *const *writable, const char *scratch);

/* Where guest memory and job directory may be: executable, with that much room. NULL: nowhere. */
const char *lh_uml_scratch_dir(const char *const *candidates, unsigned long long bytes);

#endif
