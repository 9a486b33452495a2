"""The queue of runs: order, claim, lease, reap, dispatch."""
