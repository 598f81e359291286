/* lhdeny.h - make this process live on a lesser machine. */
#ifndef LHDENY_H
#define LHDENY_H

/* From now on, as in an ordinary container: no new privileges, and every call that makes or enters a namespace or
 * mounts something fails with EPERM (clone3: ENOSYS). For this process and all it starts. 0 or -errno. */
int lh_deny_namespaces(void);
/* Only clone() with one of these CLONE_NEW* flags. */
int lh_deny_clone(unsigned flags);

#endif
