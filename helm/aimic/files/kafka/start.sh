#!/bin/sh
# One node that is broker and controller. With a user name in $SECRETS it asks for it (SASL PLAIN), else it doesn't.
set -eu
umask 077
here=$(dirname "$0")
properties=/tmp/server.properties
protocol=PLAINTEXT
cat "$here/server.properties" > "$properties"
if [ -s "$SECRETS/username" ]; then
    protocol=SASL_PLAINTEXT
    user=$(cat "$SECRETS/username") password=$(cat "$SECRETS/password")
    case "$user$password" in
    *[!A-Za-z0-9._~-]*) echo "User and password of Kafka may hold letters, digits and . _ ~ - only."; exit 1 ;;
    esac
    login="org.apache.kafka.common.security.plain.PlainLoginModule required"
    cat >> "$properties" <<END
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.clients.plain.sasl.jaas.config=$login username="$user" password="$password" user_$user="$password";
END
fi
cat >> "$properties" <<END
listener.security.protocol.map=CLIENTS:$protocol,CONTROLLER:PLAINTEXT
advertised.listeners=CLIENTS://$ADVERTISED
log.dirs=$DATA
END
set -- -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$LIBS/*"
# The id is fixed, so that a formatting that was cut off is done again as the same cluster.
java -Xmx128m "$@" kafka.tools.StorageTool format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$properties"
exec java -Xms256m -Xmx512m "$@" kafka.Kafka "$properties"
