"""What all tests share. pytest reads this before anything imports torch."""

import os

# Of torch, in this process and in those that it starts. Threads of tiny models wait for each other
# in a busy loop: with other processes on the cores, six times as long (measured). The jobs of the
# pipeline set their number of threads themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
