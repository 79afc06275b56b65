"""Models judged on data sets, without any image that they could know."""
