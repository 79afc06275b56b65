"""What Prometheus sees of serving."""

from prometheus_client import Counter, Gauge, Histogram

# Fit for 1 ms to 10 s: a cached network on one image up to a large batch on a busy machine.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = ("model", "version")

DECODE_SECONDS = Histogram(
    "aimic_inference_decode_seconds", "Decoding and resizing one image, waiting included", LABELS, buckets=BUCKETS
)
QUEUE_SECONDS = Histogram(
    "aimic_inference_queue_seconds", "From decoded to the start of its batch, per image", LABELS, buckets=BUCKETS
)
COMPUTE_SECONDS = Histogram(
    "aimic_inference_compute_seconds", "The network on one batch, as each of its images saw it", LABELS, buckets=BUCKETS
)
TOTAL_SECONDS = Histogram(
    "aimic_inference_total_seconds", "One request, from admission to answer", LABELS, buckets=BUCKETS
)
BATCH_IMAGES = Histogram(
    "aimic_inference_batch_images", "Images per batch", ["bundle"], buckets=(1, 2, 4, 8, 16, 32, 64)
)
IN_FLIGHT = Gauge("aimic_inference_images_in_flight", "Images admitted and not yet answered")
REJECTED = Counter("aimic_inference_rejections_total", "Requests and images without an answer, by reason", ["reason"])
LOADED = Gauge("aimic_inference_models_loaded", "Models in memory")
STATES = Gauge("aimic_inference_versions", "Versions known, by state", ["state"])
UP = Gauge("aimic_inference_server_up", "1 when the server answered last time, else 0: ingest, events", ["server"])
REGISTRY_FAILURES = Counter("aimic_inference_registry_failures_total", "Questions to the registry without an answer")
DECODER_DEATHS = Counter("aimic_inference_decoder_deaths_total", "Decoding processes that died or took too long")
GRPC_SECONDS = Histogram(
    "aimic_inference_grpc_seconds", "gRPC calls, by method and code", ["method", "code"], buckets=BUCKETS
)

PROBES = Counter("aimic_inference_probes_total", "Pictures with a known answer that were asked", ["outcome"])
FENCED = Gauge("aimic_inference_models_fenced", "Models in memory that take no requests since they don't answer")
THREADS_LEFT = Counter("aimic_inference_threads_left_total", "Calls of a network that were given up with their thread")
