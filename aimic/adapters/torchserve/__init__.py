"""TorchServe 0.12 as a child of ours, behind the predictor's port: see aimic/adapters/torchserve_predictor.py.

`archive` makes its models of our bundles, `handler` runs in its workers, `ground` is its directory and settings,
`guardian` and `child` keep its process, `tokens` and `calls` speak with it, `fence` and `keeper` watch it.
"""
