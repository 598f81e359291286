/* lhleft.h - what is left of a program that was started with a mark.
 *
 * A mark is a unique word in the environment of the victim, and so of all that it starts, in the paths that it is
 * given, and nowhere else. Nothing is looked for by a program's name.
 */
#ifndef LHLEFT_H
#define LHLEFT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define LH_MARK_SIZE 40
#define LH_MARK_VARIABLE "LONGHAUL_TEST_MARK"

/* A fresh mark. */
void lh_mark_make(char mark[LH_MARK_SIZE]);
/* fork and exec this very program as `self arg...` (NULL-terminated) with the mark in its environment; returns the pid.
 * stdout_fd and stderr_fd: -1: inherited. */
pid_t lh_mark_spawn(const char *mark, char *const argv[], int stdout_fd, int stderr_fd);
/* Processes that carry the mark, namespaces (of the victim: those that are not ours) that somebody still holds,
 * mounts and files (in /tmp, /dev/shm, /var/tmp and the current directory) that name it or are the scratch of the
 * last victim. Prints each as a TAP comment when `print`. */
size_t lh_left_count(const char *mark, bool print);
/* Wait until nothing is left; true when so before the limit. Prints what is left otherwise. */
bool lh_left_none(const char *mark, int limit_ms);
/* Remember the namespaces of all processes with the mark, to be looked for later by lh_left_count(). */
void lh_left_note(const char *mark);

#endif
