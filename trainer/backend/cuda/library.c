#include "backend/cuda/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>

#include "longhaul/err.h"

/* dlerror's words, without the name that we say ourselves. */
static void *open_any(const char *const *names, char *why, size_t size)
{
	for (size_t i = 0; names[i]; i++) {
		void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
		if (library)
			return library;
		if (!i)
			snprintf(why, size, "%s", dlerror());
	}
	return NULL;
}

int lh_library_open(const char *what, const char *const *names, const char *const *functions, size_t count, void **at,
		    void **ret_library, struct lh_err *err)
{
	char why[256];
	void *library = open_any(names, why, sizeof why);
	if (!library)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOENT, "engine cuda needs %s: %s", what, why);
	for (size_t i = 0; i < count; i++) {
		at[i] = dlsym(library, functions[i]);
		if (!at[i]) {
			dlclose(library);
			return lh_err_set(err, LH_EXIT_MACHINE, -ENOENT, "engine cuda: this machine's %s has no %s", what,
					  functions[i]);
		}
	}
	*ret_library = library;
	return 0;
}

#define NAME(name) #name,

int lh_lt_open(struct lh_lt *lt, struct lh_err *err)
{
	/* Built against one major version: another one's structures may differ. */
	static const char *const names[] = { LH_LT_SONAME, NULL };
	static const char *const functions[] = { LH_LT_FUNCTIONS(NAME) };
	const size_t count = sizeof functions / sizeof *functions;
	void *at[sizeof functions / sizeof *functions];
	if (lt->library)
		return 0;
	int rc = lh_library_open("cuBLASLt (" LH_LT_SONAME ")", names, functions, count, at, &lt->library, err);
	if (rc)
		return rc;
	size_t i = 0;
#define TAKE(name) lt->name##_ = (__typeof__(lt->name##_))at[i++];
	LH_LT_FUNCTIONS(TAKE)
#undef TAKE
	return 0;
}
