/* MPI_Allreduce as `longhaul bench allreduce` times it: a barrier, then from there to the last rank's end; the median.
 *
 * allreduce BYTES RUNS WARMUP PAUSE_S    floats, since MPI has no type of 16 bits: as many bytes as ours have on the wire
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	int rank, size;
	if (argc != 5)
		return 2;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	long n = atol(argv[1]) / 4, wrong = 0, all_wrong;
	int runs = atoi(argv[2]), warmup = atoi(argv[3]);
	float *in = malloc((size_t)n * sizeof *in), *out = malloc((size_t)n * sizeof *out);
	double *times = calloc((size_t)runs, sizeof *times);
	if (!in || !out || !times || n < 1 || runs < 1)
		MPI_Abort(MPI_COMM_WORLD, 3);
	for (int k = 0; k < warmup + runs; k++) {
		for (long i = 0; i < n; i++)
			in[i] = (float)((i + rank) % 7);
		usleep((useconds_t)(atof(argv[4]) * 1e6));
		MPI_Barrier(MPI_COMM_WORLD);
		double begin = MPI_Wtime(), took, slowest;
		MPI_Allreduce(in, out, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
		took = MPI_Wtime() - begin;
		MPI_Reduce(&took, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
		if (k >= warmup)
			times[k - warmup] = slowest;
		for (long i = 0; i < n; i++) {
			float want = 0;
			for (int r = 0; r < size; r++)
				want += (float)((i + r) % 7);
			wrong += out[i] != want;
		}
	}
	MPI_Reduce(&wrong, &all_wrong, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
	qsort(times, (size_t)runs, sizeof *times, compare);
	if (!rank)
		printf("{\"time_s\": %.9g, \"size_bytes\": %ld, \"wrong\": %ld}\n",
		       runs % 2 ? times[runs / 2] : (times[runs / 2 - 1] + times[runs / 2]) / 2, n * 4, all_wrong);
	MPI_Finalize();
	return 0;
}
