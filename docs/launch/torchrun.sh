#!/bin/bash
# One or several machines without SLURM, by torchrun. A recipe and its options follow:
#
#   docs/launch/torchrun.sh recipes/pretrain_simclr.py --data D --output O
#   MACHINES=2 MACHINE=0 MAIN=10.0.0.1 docs/launch/torchrun.sh recipes/pretrain_simclr.py ...
#
# Run it on every machine, with MACHINE from 0 to MACHINES - 1; MAIN is the address of machine 0, and
# PORT is free there. PROCESSES is the number on each machine, one a GPU by default.
set -euo pipefail

machines=${MACHINES:-1}
where=(--standalone)
if [ "$machines" -gt 1 ]; then
    where=(--nnodes "$machines" --node_rank "$MACHINE" --master_addr "$MAIN")
    where+=(--master_port "${PORT:-29500}")
fi
torchrun "${where[@]}" --nproc_per_node "${PROCESSES:-gpu}" "$@"
