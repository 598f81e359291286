#include "backend/plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN_FILE "longhaul-cuda.so"

/* Where the running program lies: a build directory, or libexecdir. */
static int own_directory(char *path, size_t size)
{
	const ssize_t n = readlink("/proc/self/exe", path, size - 1);
	if (n <= 0)
		return -ENOENT;
	path[n] = 0;
	char *slash = strrchr(path, '/');
	if (!slash)
		return -ENOENT;
	*slash = 0;
	return 0;
}

static int check(const struct lh_backend_plugin *p, const char *path, struct lh_err *err)
{
	static const uint32_t sizes[4] = LH_BACKEND_PLUGIN_SIZES;
	if (!p)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOEXEC, "engine cuda: %s is not a plugin of longhaul", path);
	if (strncmp(p->version, LH_VERSION, sizeof p->version) || memcmp(p->sizes, sizes, sizeof sizes))
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOEXEC, "engine cuda: %s is of another build (%.31s, not %s)", path,
				  p->version, LH_VERSION);
	return 0;
}

/* -ENOENT without a word: there is no such file. */
static int load_from(const char *directory, const struct lh_backend_plugin **ret, struct lh_err *err)
{
	char path[PATH_MAX];
	if ((size_t)snprintf(path, sizeof path, "%s/" PLUGIN_FILE, directory) >= sizeof path || access(path, R_OK))
		return -ENOENT;
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENOEXEC, "engine cuda: load the plugin: %s", dlerror());
	const struct lh_backend_plugin *p = dlsym(library, LH_BACKEND_PLUGIN_SYMBOL);
	int rc = check(p, path, err);
	if (rc)
		dlclose(library);
	else
		*ret = p; /* stays loaded: its code may be on any thread's stack */
	return rc;
}

int lh_backend_plugin_load(const char *directory, const struct lh_backend_plugin **ret, struct lh_err *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static const struct lh_backend_plugin *loaded;
	char own[PATH_MAX - 16] = "", below[PATH_MAX];
	int rc = 0;
	pthread_mutex_lock(&lock);
	if (!loaded) {
		own_directory(own, sizeof own);
		snprintf(below, sizeof below, "%s/backend/cuda", own); /* where it is in a build directory */
		const char *const places[] = { directory ? directory : own, below, LH_LIBEXECDIR };
		rc = -ENOENT;
		for (size_t i = 0; i < (directory ? 1 : sizeof places / sizeof *places) && rc == -ENOENT; i++)
			rc = load_from(places[i], &loaded, err);
		if (rc == -ENOENT)
			rc = lh_err_set(err, LH_EXIT_MACHINE, -ENOENT,
					"engine cuda: no " PLUGIN_FILE " here: longhaul was built without CUDA");
	}
	*ret = loaded;
	pthread_mutex_unlock(&lock);
	return rc;
}

int lh_backend_find(const char *engine, enum lh_precision precision, const struct lh_backend_ops **ret,
		    struct lh_err *err)
{
	const struct lh_backend_plugin *plugin = NULL;
	if (!strcmp(engine, "cpu") && precision == LH_PRECISION_FP32) {
		*ret = &lh_backend_cpu;
		return 0;
	}
	if (!strcmp(engine, "cpu"))
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "engine cpu calculates in fp32, not in %s",
				  lh_precision_names[precision]);
	if (strcmp(engine, "cuda"))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "engine %s: there is no such engine; there are cpu and cuda",
				  engine);
	int rc = lh_backend_plugin_load(NULL, &plugin, err);
	unsigned devices = 0;
	if (!rc)
		rc = plugin->probe(&devices, err);
	if (!rc)
		*ret = plugin->ops[precision];
	return rc;
}
