/* uml_xstate.c - a library that is preloaded into linux.uml on machines with more vector state than it knows.
 *
 * User-Mode Linux before 6.13 keeps 2696 bytes of XSAVE state per process: all up to AVX-512 and protection keys.
 * On a host with AMX the whole state is some 11000 bytes, and PTRACE_SETREGSET refuses (EFAULT) anything that is not
 * the whole: init dies with "ptrace set fp regs failed, errno = 14". So the part that UML knows is put into a
 * whole one here. The guest loses nothing: AMX needs a permission that it has no way to ask for.
 *
 * Not part of longhaul itself: built as a shared module, embedded in the library (uml.c) and written into the
 * guest's scratch.
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum {
	WHOLE_MAX = 65536,
	HEADER = 512, /* offset of XSTATE_BV: which components are not in their initial state */
};

/* x87, SSE, AVX, the three of AVX-512, protection keys: the components below byte 2696 */
#define KNOWN_COMPONENTS UINT64_C(0x2e7)

typedef long ptrace_fn(int request, int pid, void *addr, void *data);

static _Alignas(64) unsigned char whole[WHOLE_MAX];
static size_t whole_size;

__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_fn *real;
	va_list ap;
	va_start(ap, request);
	int pid = va_arg(ap, int);
	void *addr = va_arg(ap, void *);
	void *data = va_arg(ap, void *);
	va_end(ap);
	if (!real)
		real = (ptrace_fn *)dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || (uintptr_t)addr != NT_X86_XSTATE)
		return real((int)request, pid, addr, data);
	if (!whole_size) {
		struct iovec all = { whole, sizeof whole };
		if (real(PTRACE_GETREGSET, pid, addr, &all) < 0)
			return -1;
		whole_size = all.iov_len;
		memset(whole, 0, sizeof whole);
	}
	const struct iovec *part = data;
	if (part->iov_len >= whole_size || part->iov_len < HEADER + sizeof(uint64_t))
		return real((int)request, pid, addr, data);
	memcpy(whole, part->iov_base, part->iov_len);
	uint64_t components;
	memcpy(&components, whole + HEADER, sizeof components);
	components &= KNOWN_COMPONENTS;
	memcpy(whole + HEADER, &components, sizeof components);
	struct iovec all = { whole, whole_size };
	return real((int)request, pid, addr, &all);
}
