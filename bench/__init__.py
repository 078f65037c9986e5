"""Speed and memory: each figure beside a peer in the same run. `make bench` runs all and writes docs/speed.md."""
