/* models_cmd.h - `longhaul-peer models`: the table of models, on standard output. */
#ifndef TRAINER_MODELS_CMD_H
#define TRAINER_MODELS_CMD_H

/* argv[0] is "models". Returns the exit status. */
int lh_models_main(int argc, char **argv);

#endif
