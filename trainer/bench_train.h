/* bench_train.h - `longhaul-peer bench-train`: how fast a model of the zoo calculates here. */
#ifndef TRAINER_BENCH_TRAIN_H
#define TRAINER_BENCH_TRAIN_H

/* argv[0] is "bench-train". Returns the exit status. */
int lh_bench_train_main(int argc, char **argv);

#endif
