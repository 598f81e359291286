/* The scheduler of fibres, shared memory that tells races, and memory between guard pages. Theory: simt.h. */
#include "simt.h"

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBRE_LEAVE(save, to, size) __sanitizer_start_switch_fiber(save, to, size)
#define FIBRE_ENTER(save, from, size) __sanitizer_finish_switch_fiber(save, from, size)
#else
#define FIBRE_LEAVE(save, to, size) (void)0
#define FIBRE_ENTER(save, from, size) (void)0
#endif

/* swapcontext asks the kernel for the signal mask each time, which is most of the time of a test; where we know how, we
 * change stacks ourselves. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define OWN_SWITCH 1
extern "C" void lh_simt_switch(void **save, void *to);
asm(".text\n.type lh_simt_switch, @function\nlh_simt_switch:\n"
    "	push %rbp\n	push %rbx\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
    "	mov %rsp, (%rdi)\n	mov %rsi, %rsp\n"
    "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbx\n	pop %rbp\n	ret\n"
    ".size lh_simt_switch, . - lh_simt_switch\n");
#else
#define OWN_SWITCH 0
#endif

namespace simt
{
thread *self;
unsigned block_epoch;

namespace
{
enum { STACK_BYTES = 64 * 1024 };

/* waiting: at a block's barrier; exchanging: in a warp's operation. */
enum class state { ready, waiting, exchanging, done };

#if OWN_SWITCH
typedef void *context_t;
void change(context_t *from, context_t *to) { lh_simt_switch(from, *to); }
void make(context_t *c, char *stack, size_t size, void (*entry)())
{
	void **top = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(stack + size) / 16 * 16) - 2; /* as after a call */
	top[0] = reinterpret_cast<void *>(entry);
	top[1] = nullptr;
	for (int i = 1; i <= 6; i++)
		top[-i] = nullptr;
	*c = top - 6;
}
#else
typedef ucontext_t context_t;
void change(context_t *from, context_t *to) { swapcontext(from, to); }
void make(context_t *c, char *stack, size_t size, void (*entry)())
{
	getcontext(c);
	c->uc_stack.ss_sp = stack;
	c->uc_stack.ss_size = size;
	c->uc_link = nullptr;
	makecontext(c, entry, 0);
}
#endif

struct fibre {
	thread seen;
	context_t context;
	std::unique_ptr<char[]> stack;
	void *fake_stack;
	state now;
	exchange kind;
	unsigned mask, source;
	uint64_t given, got;
};

std::vector<fibre> fibres;
unsigned live;                  /* threads of the block at hand */
fibre *current;
context_t scheduler;
[[maybe_unused]] void *scheduler_fake;
[[maybe_unused]] const void *scheduler_stack;
[[maybe_unused]] size_t scheduler_size;
const std::function<void()> *body;
std::string message;
bool failed;
uint64_t random_state = 1;
uint64_t collected[THREADS_MAX];

struct held {
	shared_block block;
	std::unique_ptr<char[]> data;
	std::unique_ptr<access[]> seen;
};
std::map<const void *, held> arrays;
size_t shared_bytes, dynamic_bytes;

unsigned draw(unsigned below)
{
	random_state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t x = random_state;
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return static_cast<unsigned>((x ^ (x >> 31)) % below);
}

/* A fibre goes back to the scheduler. */
void leave([[maybe_unused]] bool for_ever)
{
	FIBRE_LEAVE(for_ever ? nullptr : &current->fake_stack, scheduler_stack, scheduler_size);
	change(&current->context, &scheduler);
	FIBRE_ENTER(current->fake_stack, nullptr, nullptr);
}

void begin()
{
	FIBRE_ENTER(nullptr, &scheduler_stack, &scheduler_size);
	(*body)();
	current->now = state::done;
	leave(true);
}

void resume(fibre *f)
{
	current = f;
	self = &f->seen;
	FIBRE_LEAVE(&scheduler_fake, f->stack.get(), STACK_BYTES);
	change(&scheduler, &f->context);
	FIBRE_ENTER(scheduler_fake, nullptr, nullptr);
}

void prepare(fibre *f, unsigned number, dim3 block, dim3 blocks, dim3 threads)
{
	if (!f->stack)
		f->stack.reset(new char[STACK_BYTES]);
	f->seen = {dim3(number % threads.x, number / threads.x % threads.y, number / threads.x / threads.y), block, threads,
		   blocks, number, 0};
	f->now = state::ready;
	f->fake_stack = nullptr;
	make(&f->context, f->stack.get(), STACK_BYTES, begin);
}

std::string text(const char *format, va_list ap)
{
	char line[512];
	vsnprintf(line, sizeof line, format, ap);
	return line;
}

std::string place(const thread &t)
{
	char line[160];
	snprintf(line, sizeof line, "block (%u, %u, %u), thread (%u, %u, %u): ", t.block_index.x, t.block_index.y,
		 t.block_index.z, t.thread_index.x, t.thread_index.y, t.thread_index.z);
	return line;
}

void note(const std::string &what)
{
	if (!failed)
		message = what;
	failed = true;
}

/* All lanes of the mask have come: they get what they asked for and go on. */
void exchange_now(unsigned first, const fibre &asked)
{
	unsigned ballot = 0;
	for (unsigned i = 0; i < WARP; i++)
		if (asked.mask >> i & 1 && fibres[first + i].given)
			ballot |= 1u << i;
	for (unsigned i = 0; i < WARP; i++) {
		if (!(asked.mask >> i & 1))
			continue;
		fibre &f = fibres[first + i];
		f.got = asked.kind == exchange::ballot ? ballot : 0;
		if (asked.kind == exchange::collect)
			collected[first + i] = f.given;
		if (asked.kind == exchange::shuffle) {
			if (!(asked.mask >> f.source & 1))
				return note(place(f.seen) + "a shuffle reads a lane that is not in its mask");
			f.got = fibres[first + f.source].given;
		}
	}
	for (unsigned i = 0; i < WARP; i++)
		if (asked.mask >> i & 1) {
			fibres[first + i].now = state::ready;
			fibres[first + i].seen.warp_epoch += asked.kind == exchange::sync;
		}
}

/* f has just come to an operation of its warp. */
void try_exchange(const fibre &f)
{
	const unsigned first = f.seen.number / WARP * WARP;
	for (unsigned i = 0; i < WARP; i++) {
		if (!(f.mask >> i & 1))
			continue;
		if (first + i >= live)
			return note(place(f.seen) + "a mask names lanes that the block does not have");
		const fibre &o = fibres[first + i];
		if (o.now != state::exchanging)
			return;
		if (o.mask != f.mask || o.kind != f.kind)
			return note(place(f.seen) + "lanes of a warp meet in different operations");
	}
	exchange_now(first, f);
}

/* Nobody is ready: all wait at the barrier, or somebody waits for one who does not come. */
bool release_barrier()
{
	for (unsigned i = 0; i < live; i++) {
		const fibre &f = fibres[i];
		if (f.now == state::exchanging) {
			note(place(f.seen) + "waits in an operation of its warp which not all lanes of the mask reach");
			return false;
		}
		if (f.now == state::done) {
			for (unsigned j = 0; j < live; j++)
				if (fibres[j].now == state::waiting) {
					note(place(fibres[j].seen) + "waits at a barrier which not all threads reach");
					return false;
				}
		}
	}
	for (unsigned i = 0; i < live; i++)
		fibres[i].now = state::ready;
	block_epoch++;
	return true;
}

void run_block(dim3 block, dim3 blocks, dim3 threads)
{
	std::vector<unsigned> ready;
	arrays.clear();
	shared_bytes = 0;
	block_epoch = 0;
	for (unsigned i = 0; i < live; i++) {
		prepare(&fibres[i], i, block, blocks, threads);
		ready.push_back(i);
	}
	for (unsigned done = 0; done < live && !failed;) {
		if (ready.empty()) {
			if (!release_barrier())
				return;
			for (unsigned i = 0; i < live; i++)
				ready.push_back(i);
		}
		const unsigned pick = draw(static_cast<unsigned>(ready.size())), number = ready[pick];
		fibre &f = fibres[number];
		ready[pick] = ready.back();
		ready.pop_back();
		resume(&f);
		done += f.now == state::done;
		if (f.now != state::exchanging || failed)
			continue;
		try_exchange(f);
		if (f.now == state::ready)
			for (unsigned i = 0; i < WARP; i++)
				if (f.mask >> i & 1)
					ready.push_back(number / WARP * WARP + i);
	}
}

bool guards_whole(std::string *what);
} // namespace

const char *error() { return message.c_str(); }

void fail(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	note(place(*self) + text(format, ap));
	va_end(ap);
	leave(true); /* the scheduler does not come back to it */
	abort();
}

void sync_threads()
{
	current->now = state::waiting;
	leave(false);
}

uint64_t warp(exchange kind, unsigned mask, uint64_t value, unsigned source)
{
	if (!(mask >> lane() & 1))
		fail("a lane that is not in the mask of its warp's operation");
	fibre *f = current;
	f->kind = kind;
	f->mask = mask;
	f->given = value;
	f->source = source;
	f->now = state::exchanging;
	leave(false);
	return f->got;
}

const uint64_t *collect(uint64_t mine)
{
	warp(exchange::collect, 0xffffffffu, mine, 0);
	return &collected[self->number / WARP * WARP];
}

/* No barrier between then and now for the thread at hand and the one who was there. */
static bool together(unsigned who, unsigned block, unsigned warp)
{
	if (who == self->number + 1 || block != block_epoch)
		return false;
	return (who - 1) / WARP != self->number / WARP || warp == self->warp_epoch;
}

void on_read(access *a, const char *name, size_t i)
{
	if (!a->writer)
		fail("%s[%zu] is read and was never written", name, i);
	if (together(a->writer, a->write_block, a->write_warp))
		fail("race on %s[%zu]: thread %u wrote it and no barrier is between", name, i, a->writer - 1u);
	const bool before = a->reader && a->read_block == block_epoch;
	const bool same_warp = before && (a->reader - 1u) / WARP == self->number / WARP;
	a->warps = before && (a->warps || !same_warp);
	a->lanes = same_warp && a->read_warp == self->warp_epoch && (a->lanes || a->reader != self->number + 1);
	a->reader = static_cast<uint16_t>(self->number + 1);
	a->read_block = block_epoch;
	a->read_warp = self->warp_epoch;
}

void on_write(access *a, const char *name, size_t i)
{
	if (a->writer && together(a->writer, a->write_block, a->write_warp))
		fail("race on %s[%zu]: thread %u wrote it too and no barrier is between", name, i, a->writer - 1u);
	const bool read = a->reader && a->read_block == block_epoch;
	const bool others = a->warps || (a->lanes && a->read_warp == self->warp_epoch);
	if (read && (others || together(a->reader, a->read_block, a->read_warp)))
		fail("race on %s[%zu]: thread %u read it and no barrier is between", name, i, a->reader - 1u);
	a->writer = static_cast<uint16_t>(self->number + 1);
	a->write_block = block_epoch;
	a->write_warp = self->warp_epoch;
}

shared_block *shared(const void *key, const char *name, size_t size, size_t count, bool dynamic)
{
	held &h = arrays[key];
	if (!h.data) {
		if (dynamic && size * count > dynamic_bytes)
			fail("%s needs %zu bytes of shared memory, the launch gives %zu", name, size * count, dynamic_bytes);
		shared_bytes += dynamic ? dynamic_bytes : size * count;
		if (shared_bytes > SHARED_MAX)
			fail("%zu bytes of shared memory, a block has %d", shared_bytes, SHARED_MAX);
		h.data.reset(new char[size * count + 16]);
		memset(h.data.get(), 0xff, size * count + 16);
		h.seen.reset(new access[count ? count : 1]());
		h.block = {h.data.get(), h.seen.get(), count, name};
	}
	return &h.block;
}

namespace
{
#if !defined(__SANITIZE_ADDRESS__)
const char *running;

/* A page that cannot be touched was: says by whom, and dies of it. */
void on_fault(int number)
{
	char line[256];
	const int n = snprintf(line, sizeof line, "simt: kernel %s: %smemory out of range\n", running ? running : "(none)",
			       running && self ? place(*self).c_str() : "");
	if (n > 0 && write(STDERR_FILENO, line, static_cast<size_t>(n)) < 0)
		_exit(1);
	raise(number); /* SA_RESETHAND: by default now */
}

/* On a stack of its own: a fibre's is small. */
void watch(const char *what)
{
	static char stack[64 * 1024];
	static bool done;
	running = what;
	if (done)
		return;
	done = true;
	stack_t alternative = {};
	alternative.ss_sp = stack;
	alternative.ss_size = sizeof stack;
	struct sigaction action = {};
	action.sa_handler = on_fault;
	action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND);
	if (!sigaltstack(&alternative, nullptr))
		sigaction(SIGSEGV, &action, nullptr);
}
#else
void watch(const char *) {} /* AddressSanitizer has its own */
#endif
} // namespace

int run(dim3 blocks, dim3 threads, size_t shared, const char *what, const std::function<void()> &kernel)
{
	const size_t size = static_cast<size_t>(threads.x) * threads.y * threads.z;
	const size_t count = static_cast<size_t>(blocks.x) * blocks.y * blocks.z;
	failed = false;
	message.clear();
	watch(what);
	if (!size || size > THREADS_MAX || size % WARP || threads.z > 64 || blocks.y > GRID_YZ_MAX || blocks.z > GRID_YZ_MAX ||
	    blocks.x > INT32_MAX || !count || shared > SHARED_MAX) {
		message = "a grid or block that the device does not allow";
		return -1;
	}
	if (fibres.size() < size)
		fibres.resize(size);
	live = static_cast<unsigned>(size);
	dynamic_bytes = shared;
	body = &kernel;
	/* A random order that visits each block once: a start, and a step without a common divisor. */
	size_t step = count > 2 ? 1 + draw(static_cast<unsigned>(count - 1)) : 1, at = draw(static_cast<unsigned>(count));
	auto divisor = [](size_t a, size_t b) {
		while (b) {
			const size_t c = a % b;
			a = b;
			b = c;
		}
		return a;
	};
	while (divisor(step, count) != 1)
		step++;
	for (size_t i = 0; i < count && !failed; i++, at = (at + step) % count)
		run_block(dim3(static_cast<unsigned>(at % blocks.x), static_cast<unsigned>(at / blocks.x % blocks.y),
			       static_cast<unsigned>(at / blocks.x / blocks.y)),
			  blocks, threads);
	std::string broken;
	if (!failed && !guards_whole(&broken))
		note(std::string(what) + ": " + broken);
	arrays.clear();
	watch(nullptr);
	return failed ? -1 : 0;
}

namespace
{
/* --- memory --- */
enum { GUARD_BYTE = 0xa5, ALIGN = 16 };

struct room {
	char *map;
	size_t mapped, bytes, slack; /* slack: bytes from the end of the room to the page that cannot be touched */
};
std::map<void *, room> rooms;

bool guards_whole(std::string *what)
{
	for (const auto &r : rooms)
		for (size_t i = 0; i < r.second.slack; i++)
			if (static_cast<unsigned char *>(r.first)[r.second.bytes + i] != GUARD_BYTE) {
				char line[128];
				snprintf(line, sizeof line, "something was written %zu bytes behind %zu bytes of memory", i,
					 r.second.bytes);
				*what = line;
				return false;
			}
	return true;
}
} // namespace
} // namespace simt

void *lh_simt_alloc(size_t bytes, bool zero)
{
	const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
	const size_t aligned = (bytes + simt::ALIGN - 1) / simt::ALIGN * simt::ALIGN, body = (aligned + page) / page * page;
	char *map = static_cast<char *>(
	    mmap(nullptr, body + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	if (map == MAP_FAILED)
		return nullptr;
	if (mprotect(map + page, body, PROT_READ | PROT_WRITE)) {
		munmap(map, body + 2 * page);
		return nullptr;
	}
	char *at = map + page + body - aligned;
	if (!zero)
		memset(at, 0xff, bytes);
	memset(at + bytes, simt::GUARD_BYTE, aligned - bytes);
	simt::rooms[at] = {map, body + 2 * page, bytes, aligned - bytes};
	return at;
}

void lh_simt_free(void *p)
{
	const auto found = simt::rooms.find(p);
	if (!p || found == simt::rooms.end())
		return;
	munmap(found->second.map, found->second.mapped);
	simt::rooms.erase(found);
}

void lh_simt_seed(uint64_t seed) { simt::random_state = seed * 2 + 1; }
