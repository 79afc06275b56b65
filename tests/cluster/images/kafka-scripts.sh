#!/usr/bin/env bash
# kafka-scripts.sh DIR: the launchers of /opt/kafka/bin that the chart may call; the Maven artifacts have none.
set -euo pipefail
mkdir -p "$1"
cat >"$1/kafka-run-class.sh" <<'EOF'
#!/bin/bash
exec java ${KAFKA_HEAP_OPTS:--Xmx256m} ${KAFKA_JVM_PERFORMANCE_OPTS:-} ${KAFKA_LOG4J_OPTS:-} ${KAFKA_OPTS:-} -cp "/opt/kafka/libs/*" "$@"
EOF
launcher() {  # launcher SCRIPT CLASS
  printf '#!/bin/bash\nexec /opt/kafka/bin/kafka-run-class.sh %s "$@"\n' "$2" >"$1"
}
launcher "$1/kafka-server-start.sh" kafka.Kafka
launcher "$1/kafka-storage.sh" kafka.tools.StorageTool
launcher "$1/kafka-configs.sh" kafka.admin.ConfigCommand
launcher "$1/kafka-topics.sh" org.apache.kafka.tools.TopicCommand
launcher "$1/kafka-acls.sh" kafka.admin.AclCommand
launcher "$1/kafka-broker-api-versions.sh" org.apache.kafka.tools.BrokerApiVersionsCommand
launcher "$1/kafka-consumer-groups.sh" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand
launcher "$1/kafka-metadata-quorum.sh" org.apache.kafka.tools.MetadataQuorumCommand
