"""AIMIC: train, judge and serve microscopic image classifiers without writing code."""
