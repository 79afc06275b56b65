#!/bin/bash
# Whether the broker answers the smallest question of its protocol (ApiVersions), which it does once it has joined its
# cluster. An open port alone says nothing: the listener is bound before that.
exec 3<>/dev/tcp/127.0.0.1/9092 || exit 1
printf '\000\000\000\012\000\022\000\000\000\000\000\001\377\377' >&3
[ "$(timeout 3 head -c 4 <&3 | wc -c)" -eq 4 ]
