"""Executors: with what a bundle's network is run, the quickest one that answers as eager torch does.

`kinds` lists them, `choose` measures, `admission` compares answers; the rest is one file per library. No torch here.
"""

from aimic.nets.executors.machine import machine_class

__all__ = ["machine_class"]
