"""Networks: building, weights, preprocessing, bundles, calibration.

torch lives here and in services/trainer only; `preprocessing`, `bundle*`, `info`, `model_card` and `calibration`
work without it, so that ingest can verify a bundle.
"""
