"""The gRPC shell over the data plane."""
