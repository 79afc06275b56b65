"""The Open Inference Protocol v2, by REST and gRPC: pure translation over the data plane."""
