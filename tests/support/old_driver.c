/* libcuda.so.1 of a driver that is years too old, for CUDA's own runtime to find: what the real plugin says then. */
__attribute__((visibility("default"))) int cuInit(unsigned flags);
__attribute__((visibility("default"))) int cuDriverGetVersion(int *version);

int cuInit(unsigned flags) { return 0; }

int cuDriverGetVersion(int *version)
{
	*version = 10010;
	return 0;
}
