"""Serving, measured against what people use today: `python -m benchmarks.serving`.

`load` asks from a process of its own; `ours` and `peers` are what it asks; `rows` has one function for each line of the
table and `table3` the paper's Table 3; `abba` keeps the order and the ratios, `table` the words.
"""
