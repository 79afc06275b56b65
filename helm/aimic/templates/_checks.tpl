{{/* Rules between several values, each with a sentence that says what to do. */}}
{{- define "aimic.checks" -}}
{{- $stores := dict "postgresql" "records" "minio" "blobs" "kafka" "events" -}}
{{- range $store, $name := $stores }}
{{- $inside := (index $.Values $store).enabled }}
{{- $url := (index $.Values $name).url }}
{{- if and (not $inside) (not $url) }}
{{- fail (printf "There is no server for %s: set %s.enabled=true for the chart's own, or name yours in %s.url." $name $store $name) }}
{{- end }}
{{- if and $inside $url }}
{{- fail (printf "There are two servers for %s: set %s.enabled=false to use the one in %s.url, or leave that empty." $name $store $name) }}
{{- end }}
{{- if and (not $inside) $.Values.networkPolicies.enabled (not (index $.Values.networkPolicies.external $name).cidrs) }}
{{- fail (printf "Nothing may reach your server for %s: name its addresses in networkPolicies.external.%s.cidrs." $name $name) }}
{{- end }}
{{- end }}
{{- if .Values.records.url }}
{{- if or (not .Values.records.systemUrl) (not .Values.records.ownerUrl) }}
{{- fail "Your PostgreSQL needs three logins: set records.systemUrl and records.ownerUrl beside records.url." }}
{{- end }}
{{- if or (not .Values.secrets.postgresql.existingSecret) (not .Values.secrets.postgresqlOwner.existingSecret) }}
{{- fail "Your PostgreSQL needs its passwords: name Secrets in secrets.postgresql.existingSecret and secrets.postgresqlOwner.existingSecret." }}
{{- end }}
{{- end }}
{{- if and .Values.blobs.url (not .Values.secrets.s3.existingSecret) }}
{{- fail "Your S3 needs its keys: name a Secret in secrets.s3.existingSecret." }}
{{- end }}
{{- if gt (int .Values.trainer.minReplicas) (int .Values.trainer.maxReplicas) }}
{{- fail "trainer.minReplicas is larger than trainer.maxReplicas: make it smaller." }}
{{- end }}
{{- end }}
