#!/bin/bash
# Works on one results folder with an array of jobs, one GPU each; docs/cluster.md walks through it.
#
# usage: sbatch --array=0-7 examples/slurm.sh SHARED_FOLDER [egcfg run options]
#
# Each job takes whatever unit nobody is at; jobs may start late, end early and come in any number.
#SBATCH --job-name=egcfg
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --output=egcfg-%A_%a.log
# A minute before the time is up: egcfg gives its units back, and the others take them at once.
#SBATCH --signal=B:TERM@60
#SBATCH --requeue

set -euo pipefail
shared=${1:?usage: sbatch --array=0-7 examples/slurm.sh SHARED_FOLDER [egcfg run options]}
shift

# Weights and data sets were fetched once, on a node with a network.
export HF_HOME=${HF_HOME:-$shared/huggingface} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
# Programs run beside the model: leave the sandbox cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(( (${SLURM_CPUS_PER_TASK:-2} + 1) / 2 ))}

echo "job ${SLURM_ARRAY_JOB_ID:-none}, task ${SLURM_ARRAY_TASK_ID:-0}, on $(hostname)" >&2
# `exec`, so that the scheduler's signal reaches egcfg itself. A node whose sandbox lacks a layer
# does nothing, and says so in its log.
exec egcfg run --results-dir "$shared/results" --order cheap_first --sandbox strict "$@"
