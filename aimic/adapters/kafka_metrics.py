"""What Prometheus is told about events on Kafka."""

from prometheus_client import Counter, Gauge

PUBLISHED = Counter("aimic_events_published_total", "Messages the broker acknowledged", ["topic"])
DEAD_LETTERS = Counter(
    "aimic_events_dead_letters_total",
    "Records that could not be read, by where that is told now: in the dead-letter topic, or in our log only",
    ["topic", "group", "told"],
)
LAG = Gauge(
    "aimic_events_lag_messages",
    "Messages not yet done with, in the partitions that this process reads for the group",
    ["group", "topic"],
)
