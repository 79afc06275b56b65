"""The REST shell over the data plane."""
